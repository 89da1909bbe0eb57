"""The summary of a study, from which later studies learn: made from its trials, stored as tags.

The text of a summary (`warmstart.past`) can be longer than a tag, so it is cut into
`hpo.summary.0`, `.1`, .... The tag `hpo.summary` has the number of parts and their SHA-256, by
which a partly written or mixed summary is recognised.
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

MIN_CONFIGURATIONS = 2  # a single one is neither good nor bad
MAX_PARTS = 50
_MAX_NAME = 100  # characters of a file or column name


class NewerSummaryError(ValueError):
    """A summary that was written by a newer release."""


def summary_of(header: Mapping[str, Any], run_id: str, trials: Sequence[Trial]) -> PastStudy | None:
    """The summary of a study; None when there is nothing to learn from it.

    That is so with fewer than two configurations, such as in the runs of `train`.
    """
    past = summary(trials, facts_of(header, run_id))
    return None if past is None or len(past) < MIN_CONFIGURATIONS else past


def facts_of(header: Mapping[str, Any], run_id: str) -> StudyFacts:
    """What is known of a study before its first trial, from its header."""
    data = header.get("data") or {}
    return StudyFacts(
        run_id=run_id,
        name=_name(header, data),
        model=str(header.get("model", "")),
        metric=str(header["metric"]),
        task=str(header.get("task", "")),
        digest=prediction(
            str(data.get("digest") or data.get("objective", "")), str(header.get("target", ""))
        ),
        features=_features(header),
        space=SearchSpace.from_dict(header["space"]),
    )


def prediction(table: str, target: str) -> str:
    """Identifies the prediction of a column, by the digest of its table."""
    return f"{table}:{_digest(target)}"


def summary_tags(past: PastStudy | None) -> dict[str, str]:
    """The tags that store a summary.

    For None, and for a summary of more than `MAX_PARTS` parts, they say that there is none.
    """
    text = "" if past is None else past.to_text()
    parts = [text[start : start + schema.MAX_TAG] for start in range(0, len(text), schema.MAX_TAG)]
    if len(parts) > MAX_PARTS:
        parts = []
    tags = {f"{schema.SUMMARY}.{i}": part for i, part in enumerate(parts)}
    mark = {"version": VERSION, "parts": len(parts), "sha256": _digest("".join(parts))}
    return tags | {schema.SUMMARY: json.dumps(mark)}


def summary_from(tags: Mapping[str, str]) -> PastStudy | None:
    """Read a summary from the tags of its run; None when they say that there is none.

    Raises:
        NewerSummaryError: when a newer release has written it.
        ValueError: when it is missing, incomplete or damaged.
    """
    try:
        mark = json.loads(tags[schema.SUMMARY])
        parts = int(mark["parts"])
        text = _joined(tags, int(mark["version"]), parts)
        if _digest(text) != str(mark["sha256"]):
            raise ValueError("the parts of the summary do not belong together")
        return PastStudy.from_text(text) if parts else None
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the summary of a study: {error} is missing") from error
    except OverflowError as error:
        raise ValueError(f"not the summary of a study: {error}") from error


def _joined(tags: Mapping[str, str], version: int, parts: int) -> str:
    if version > VERSION:
        raise NewerSummaryError(
            f"a summary of version {version}, but this release reads up to {VERSION}"
        )
    if not 0 <= parts <= MAX_PARTS:
        raise ValueError(f"a summary of {parts} parts, but there are at most {MAX_PARTS}")
    return "".join(tags[f"{schema.SUMMARY}.{i}"] for i in range(parts))


def _name(header: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if "objective" in data:
        return schema.cut(str(data["objective"]), _MAX_NAME)
    uri = safe(str(data.get("uri") or "")).partition("?")[0]
    table = Path(uri).name or "a table in memory"
    target = header.get("target")
    names = (table, str(target)) if target else (table,)
    return ", ".join(schema.cut(" ".join(name.split()), _MAX_NAME) for name in names)


def _features(header: Mapping[str, Any]) -> MetaFeatures | None:
    """The table's meta-features; None when they are missing, damaged or of a newer release."""
    try:
        return MetaFeatures.from_dict(header["meta_features"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
