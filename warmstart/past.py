"""The summary of a past study: its table's meta-features, its space, and some configurations.

Each study stores its summary as one short text, so that later studies learn from it without reading
a single trial. Losses at a small budget predict those at the full budget poorly (rank correlation
0.48 after 25 of 200 boosting rounds). So configurations that stopped at low rungs are left out if
enough others went further.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
N_BEST = 24  # configurations that are always stored
MAX_CONFIGURATIONS = 64
ENOUGH = 20  # configurations with a higher budget that make those with a lower one useless
MAX_BYTES = 4_000_000  # uncompressed: a hundred times a summary of thirty parameters

_STEPS = 65_535  # of a unit code
_INACTIVE = -1
_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,  # numbers that JSON allows and NumPy does not
    RecursionError,  # nesting that JSON allows and Python does not
)


@dataclass(frozen=True)
class StudyFacts:
    """A study without its results.

    Attributes:
        run_id: of its run.
        name: for people.
        model: the family, or `all`.
        metric: that its losses are made of.
        task: binary, multiclass or regression.
        digest: identifies what is predicted; equal for the same column of equal tables.
        features: of the table; None if they were not computed.
        space: that was searched.
    """

    run_id: str
    name: str
    model: str
    metric: str
    task: str
    digest: str
    features: MetaFeatures | None
    space: SearchSpace


@dataclass(frozen=True)
class PastStudy(StudyFacts):
    """A study with some of its results.

    Attributes:
        x: `(n, d)` unit codes of configurations, `nan` where inactive, best first.
        losses: `(n,)` their losses, ascending; smaller is better.
        seconds: `(n,)` of their trainings, 0 where unknown; empty in summaries of older releases.
    """

    x: FloatArray
    losses: FloatArray
    seconds: FloatArray = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        """The number of configurations."""
        return len(self.losses)

    def to_text(self) -> str:
        """ASCII text of a few thousand characters."""
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
            "losses": [*map(_short, self.losses)],
            "seconds": [float(f"{seconds:.3g}") for seconds in self.seconds],
        }
        packed = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), level=9)
        return base64.b64encode(packed).decode()

    @classmethod
    def from_text(cls, text: str) -> "PastStudy":
        """The inverse of `to_text`, for this version and older ones.

        Raises:
            ValueError: for a damaged text and for a newer version.
        """
        try:
            plain = json.loads(_inflated(base64.b64decode(text, validate=True)))
            version = int(plain.pop("version"))
        except (zlib.error, *_MALFORMED) as error:
            raise ValueError(f"not the summary of a study: {text[:40]!r}…") from error
        if version > VERSION:
            raise ValueError(
                f"the summary of study {plain.get('run_id')} is of version {version}, this release "
                f"reads up to {VERSION}; update it"
            )
        try:
            return cls._from_plain(plain)
        except _MALFORMED as error:
            raise ValueError(f"a damaged summary of a study: {error}") from error

    @classmethod
    def _from_plain(cls, plain: Mapping[str, Any]) -> "PastStudy":
        """The study in these values.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: for invalid values.
        """
        features = plain["features"]
        space = _space(json.dumps(plain["space"]))
        losses = _losses(plain["losses"])
        return cls(
            run_id=_string(plain, "run_id"),
            name=_string(plain, "name"),
            model=_string(plain, "model"),
            metric=_string(plain, "metric"),
            task=_string(plain, "task"),
            digest=_string(plain, "digest"),
            features=None if features is None else MetaFeatures.from_dict(features),
            space=space,
            x=_unit_codes(plain["x"], len(losses), len(space)),
            losses=losses,
            seconds=_seconds(plain.get("seconds", []), len(losses)),
        )


def summary(trials: Sequence[Trial], facts: StudyFacts) -> PastStudy | None:
    """Summarise a study.

    Only trials count that reached at least the budget of the `ENOUGH`-th furthest one, each with
    its best loss. Copies do not count: their values changed while they were trained. The best
    `N_BEST` configurations are stored, and others evenly by rank, up to `MAX_CONFIGURATIONS`.

    Args:
        trials: of the study.
        facts: about the study.

    Returns:
        The summary; None if no trial has a result.
    """
    reported = [trial for trial in trials if trial.reports and trial.parent is None]
    if not reported:
        return None
    reached = np.array([trial.reached for trial in reported])
    far = np.flatnonzero(reached >= np.sort(reached)[::-1][:ENOUGH][-1])
    losses = np.array([reported[i].loss for i in far])
    order = ranked(losses)
    chosen = np.concatenate([order[:N_BEST], thin(order[N_BEST:], MAX_CONFIGURATIONS - N_BEST)])
    x = np.array([facts.space.encode(reported[i].params) for i in far[chosen]])
    seconds = np.array([reported[i].seconds for i in far[chosen]])
    seconds[~(np.isfinite(seconds) & (seconds > 0))] = 0.0  # other tools have all kinds of clocks
    return PastStudy(**vars(facts), x=x, losses=losses[chosen], seconds=seconds)


def _inflated(packed: bytes) -> bytes:
    """Decompress a summary.

    Raises:
        ValueError, zlib.error: if it is larger than any summary, or cut off.
    """
    inflater = zlib.decompressobj()
    text = inflater.decompress(packed, MAX_BYTES)
    if not inflater.eof:
        raise ValueError(f"more than {MAX_BYTES:,} bytes, or cut off")
    return text


def _string(plain: Mapping[str, Any], name: str) -> str:
    value = plain[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, but is {value!r:.40}")
    return value


def _seconds(values: Any, n: int) -> FloatArray:
    """`(n,)` seconds; empty if there are none.

    Raises:
        ValueError, TypeError: for anything else.
    """
    seconds = np.array(values, dtype=float).reshape(-1)
    if len(seconds) not in (0, n) or not ((seconds >= 0) & np.isfinite(seconds)).all():
        raise ValueError(f"a summary holds {n} seconds of 0 or more, or none")
    return seconds


def _losses(values: Any) -> FloatArray:
    """`(n,)` losses that can be standardised.

    Raises:
        ValueError, TypeError: for anything else.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"a loss must be a number, but is {value!r:.40}")
    losses = np.array(values, dtype=float)
    if not 0 < len(losses) <= MAX_CONFIGURATIONS:
        raise ValueError(
            f"a summary holds 1 to {MAX_CONFIGURATIONS} losses, but this one holds {len(losses)}"
        )
    if not np.isfinite(losses).all():
        raise ValueError("losses must be finite")
    with np.errstate(all="ignore"):
        if not np.isfinite(standardised(losses)).all():
            raise ValueError("losses must not be so far apart that they cannot be standardised")
    return losses


def _unit_codes(values: Any, n: int, dimensions: int) -> FloatArray:
    """`(n, d)` unit codes from their integers.

    Raises:
        ValueError, TypeError: for anything else.
    """
    codes = np.array(values, dtype=float)
    if codes.shape != (n, dimensions):
        raise ValueError(
            f"codes of shape {codes.shape} do not match {n} losses and {dimensions} parameters"
        )
    if not np.all((codes == _INACTIVE) | ((codes >= 0) & (codes <= _STEPS))):
        raise ValueError(f"codes must lie between 0 and {_STEPS}, or be {_INACTIVE}")
    return np.where(codes == _INACTIVE, np.nan, codes / _STEPS)


@lru_cache(maxsize=256)
def _space(text: str) -> SearchSpace:
    """The space in a text, checked once and shared by all studies that searched it."""
    return SearchSpace.from_dict(json.loads(text))


def _short(value: float) -> float:
    """The value with six significant digits, which is precise enough."""
    return float(f"{value:.6g}")
