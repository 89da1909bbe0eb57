"""A past study as later ones see it: its table's meta-features, its space, and its best and some other configurations.

Each study leaves this about itself as one short text, so that the knowledge base is read without
looking at a single trial. What a small budget says about a configuration is another thing than what
a full one says (of the 25 first of 200 boosting rounds, rank correlation with the end 0.48), so
configurations that stopped at low rungs are left out as long as there are `ENOUGH` that went
further.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from hpo.past import standardised
from hpo.samplers.tpe import ranked, thin
from hpo.space import SearchSpace
from hpo.trial import Trial
from warmstart.metafeatures import MetaFeatures

VERSION = 1
BEST, MOST = 24, 64  # configurations that are kept: the best ones, and all in all
ENOUGH = 20  # configurations beside which those that stopped at a lower budget say nothing more
_STEPS = 65_535  # of a unit code
_INACTIVE = -1
_LARGEST = (
    4_000_000  # bytes of the plain text: a hundred times what a summary of thirty parameters takes
)
_EXCESSES = (
    OverflowError,
    RecursionError,
)  # numbers and nesting that JSON allows and nothing else does


@dataclass(frozen=True)
class PastStudy:
    """What is known of a study that has ended.

    Attributes:
        run_id: of its run.
        name: what people know it by.
        model: the family, or `all`.
        metric: what its losses were made of; a loss is smaller when it is better.
        task: binary, multiclass or regression.
        digest: of what was predicted, equal for the same column of equal tables.
        features: of the table; None for a study that has none.
        space: that was searched.
        x: `(n, d)` unit codes of configurations, `nan` where inactive, best first.
        losses: `(n,)` their losses, ascending.
    """

    run_id: str
    name: str
    model: str
    metric: str
    task: str
    digest: str
    features: MetaFeatures | None
    space: SearchSpace
    x: FloatArray
    losses: FloatArray

    def __len__(self) -> int:
        return len(self.losses)

    def to_text(self) -> str:
        """ASCII text, some thousand characters."""
        codes = np.where(np.isnan(self.x), _INACTIVE, np.round(self.x * _STEPS)).astype(int)
        features = self.features.to_dict() if self.features else None
        if features:
            features["values"] = {name: _short(value) for name, value in features["values"].items()}
        plain = {
            "version": VERSION,
            "run_id": self.run_id,
            "name": self.name,
            "model": self.model,
            "metric": self.metric,
            "task": self.task,
            "digest": self.digest,
            "features": features,
            "space": self.space.to_dict(),
            "x": codes.tolist(),
            "losses": [_short(loss) for loss in self.losses],
        }
        packed = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), level=9)
        return base64.b64encode(packed).decode()

    @classmethod
    def from_text(cls, text: str) -> "PastStudy":
        """The study that wrote `text`.

        Raises:
            ValueError: when it is damaged, or of a newer version.
        """
        try:
            plain = json.loads(_inflated(base64.b64decode(text, validate=True)))
            version = int(plain.pop("version"))
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, *_EXCESSES) as error:
            raise ValueError(f"not the summary of a study: {text[:40]!r}…") from error
        if version > VERSION:
            raise ValueError(
                f"the summary of study {plain.get('run_id')} is of version {version}, this release reads up to "
                f"{VERSION}; update it"
            )
        try:
            return cls._checked(plain)
        except (ValueError, KeyError, TypeError, AttributeError, *_EXCESSES) as error:
            raise ValueError(f"a damaged summary of a study: {error}") from error

    @classmethod
    def _checked(cls, plain: Mapping[str, Any]) -> "PastStudy":
        """The study in these values.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: naming what cannot be.
        """
        words = {
            name: plain[name] for name in ("run_id", "name", "model", "metric", "task", "digest")
        }
        if strange := [name for name, value in words.items() if not isinstance(value, str)]:
            raise ValueError(f"{strange[0]} must be text, but is {words[strange[0]]!r:.40}")
        space = _space(json.dumps(plain["space"]))
        losses = _numbers(plain["losses"])
        codes = np.array(plain["x"], dtype=float)
        n = len(losses)
        if not 0 < n <= MOST or codes.shape != (n, len(space)):
            raise ValueError(
                f"{n} losses and codes {codes.shape} of {len(space)} parameters do not belong together; at most {MOST} "
                "are kept"
            )
        with np.errstate(all="ignore"):
            if not np.isfinite(standardised(losses)).all():
                raise ValueError(
                    "losses must not be so far apart that no scores can be made of them"
                )
        if not np.all((codes == _INACTIVE) | ((codes >= 0) & (codes <= _STEPS))):
            raise ValueError(f"codes must lie between 0 and {_STEPS}, or be {_INACTIVE}")
        features = plain["features"]
        return cls(
            features=None if features is None else MetaFeatures.from_dict(features),
            space=space,
            x=np.where(codes == _INACTIVE, np.nan, codes / _STEPS),
            losses=losses,
            **words,
        )


def _inflated(packed: bytes) -> bytes:
    """What was deflated, as far as it is no more than a summary can be.

    Raises:
        ValueError, zlib.error: when it is more, or torn.
    """
    inflater = zlib.decompressobj()
    text = inflater.decompress(packed, _LARGEST)
    if not inflater.eof:
        raise ValueError(f"more than {_LARGEST:,} bytes, or torn")
    return text


def _numbers(values: Any) -> FloatArray:
    """`(n,)` finite numbers out of JSON.

    Raises:
        ValueError, TypeError: when they are anything else.
    """
    if strange := [v for v in values if isinstance(v, bool) or not isinstance(v, int | float)]:
        raise ValueError(f"{strange[0]!r:.40} is no number")
    found = np.array(values, dtype=float)
    if not np.isfinite(found).all():
        raise ValueError("losses must be finite")
    return found


@lru_cache(maxsize=256)
def _space(text: str) -> SearchSpace:
    """The space that a text holds: one object for all studies of it, checked once."""
    return SearchSpace.from_dict(json.loads(text))


def summary(
    trials: Sequence[Trial],
    space: SearchSpace,
    *,
    run_id: str,
    name: str,
    model: str,
    metric: str,
    task: str,
    digest: str,
    features: MetaFeatures | None,
) -> PastStudy | None:
    """What a study with these trials leaves; None when none has a result.

    Trials that got as far as `ENOUGH` did count with their best loss. The best `BEST`
    configurations are kept, and of the others so many, evenly by rank, that there are `MOST`. The
    keyword arguments are the attributes of that name.
    """
    far = sorted((trial.reached for trial in trials if trial.reports), reverse=True)
    if not far:
        return None
    done = [trial for trial in trials if trial.reports and trial.reached >= far[:ENOUGH][-1]]
    losses = np.array([trial.loss for trial in done])
    order = ranked(losses)
    chosen = np.concatenate([order[:BEST], thin(order[BEST:], MOST - BEST)])
    return PastStudy(
        run_id=run_id,
        name=name,
        model=model,
        metric=metric,
        task=task,
        digest=digest,
        features=features,
        space=space,
        x=np.array([space.encode(done[i].params) for i in chosen]),
        losses=losses[chosen],
    )


def _short(value: float) -> float:
    """Six digits: more say nothing here."""
    return float(f"{value:.6g}")
