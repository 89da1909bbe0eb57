"""The summary that a study leaves on its own run: made of its trials, kept as tags.

Its text (`warmstart.past`) is longer than a tag may be, so it is cut into `hpo.summary.0`, `.1`, …;
the tag `hpo.summary` says how many belong together and what their SHA-256 is. A summary that was
written in part only, or mixed from two, is recognised by that.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines.files.uris import safe
from pipelines.store import schema
from warmstart.metafeatures import MetaFeatures
from warmstart.past import VERSION, PastStudy, StudyFacts, summary

FEWEST = 2  # configurations: a single one is neither good nor bad
MOST_PARTS = 50
_NAME = 100  # characters of a file or a column


class NewerSummaryError(ValueError):
    """A summary that a newer release has written."""


def summary_of(header: Mapping[str, Any], run_id: str, trials: Sequence[Trial]) -> PastStudy | None:
    """What a study with this header and these trials leaves; None when there is nothing to learn from it.

    That is so with fewer than two configurations, of which the runs of `train` have one.
    """
    data = header.get("data") or {}
    facts = StudyFacts(
        run_id=run_id,
        name=_name(header, data),
        model=str(header.get("model", "")),
        metric=str(header["metric"]),
        task=str(header.get("task", "")),
        digest=prediction(str(data.get("digest", "")), str(header.get("target", ""))),
        features=_features(header),
        space=SearchSpace.from_dict(header["space"]),
    )
    past = summary(trials, facts)
    return None if past is None or len(past) < FEWEST else past


def prediction(table: str, target: str) -> str:
    """Equal when the same column of the same table is predicted, by the digest of the table."""
    return f"{table}:{_digest(target)}"


def summary_tags(past: PastStudy | None) -> dict[str, str]:
    """A summary as tags of its study's run; of None, and of one that is out of all proportion, that there is none."""
    text = "" if past is None else past.to_text()
    parts = [text[start : start + schema.MAX_TAG] for start in range(0, len(text), schema.MAX_TAG)]
    if len(parts) > MOST_PARTS:
        parts = []
    tags = {f"{schema.SUMMARY}.{i}": part for i, part in enumerate(parts)}
    mark = {"version": VERSION, "parts": len(parts), "sha256": _digest("".join(parts))}
    return tags | {schema.SUMMARY: json.dumps(mark)}


def summary_from(tags: Mapping[str, str]) -> PastStudy | None:
    """The summary that a run's tags hold; None when they say that there is nothing to learn.

    Raises:
        NewerSummaryError: when a newer release has written it.
        ValueError: when it is missing, torn or damaged.
    """
    try:
        mark = json.loads(tags[schema.SUMMARY])
        version, parts, digest = int(mark["version"]), int(mark["parts"]), str(mark["sha256"])
        if version > VERSION:
            raise NewerSummaryError(
                f"a summary of version {version}; this release reads up to {VERSION}"
            )
        if not 0 <= parts <= MOST_PARTS:
            raise ValueError(f"a summary of {parts} parts; there are at most {MOST_PARTS}")
        text = "".join(tags[f"{schema.SUMMARY}.{i}"] for i in range(parts))
        if digest != _digest(text):
            raise ValueError("the parts do not belong together")
        return PastStudy.from_text(text) if parts else None
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the summary of a study: {error} is missing") from error
    except OverflowError as error:
        raise ValueError(f"not the summary of a study: {error}") from error


def _name(header: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    uri = safe(str(data.get("uri") or "")).partition("?")[0]
    table = Path(uri).name or "a table in memory"
    target = header.get("target")
    names = (table, str(target)) if target else (table,)
    return ", ".join(schema.cut(" ".join(name.split()), _NAME) for name in names)


def _features(header: Mapping[str, Any]) -> MetaFeatures | None:
    """None where they are missing, damaged or of a newer release: a study counts without them, too."""
    try:
        return MetaFeatures.from_dict(header["meta_features"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
