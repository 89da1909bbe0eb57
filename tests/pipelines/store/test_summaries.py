import json
from typing import Any

import numpy as np
import pytest

from hpo.space import SearchSpace
from hpo.trial import Report, Trial
from pipelines.store import schema, summaries
from pipelines.store.summaries import (
    NewerSummaryError,
    prediction,
    summary_from,
    summary_of,
    summary_tags,
)
from tests.stores import HEADER, SPACE
from warmstart.past import PastStudy

FEATURES: dict[str, Any] = {
    "values": {"size.log_rows": 6.5},
    "version": 1,
    "caps": {"rows": 2000},
    "seed": 0,
}
COMPLETE: dict[str, Any] = {
    **HEADER,
    "metric": "roc_auc",
    "task": "binary",
    "rungs": [27, 81],
    "meta_features": FEATURES,
}


def trials(n: int, budget: float = 81.0, space: dict[str, Any] = SPACE) -> list[Trial]:
    searched = SearchSpace.from_dict(space)
    return [
        Trial(
            i,
            searched.sample(np.random.default_rng(i)),
            budget,
            reports=(Report(budget, -0.5 - i / 100),),
        )
        for i in range(n)
    ]


def made(header: dict[str, Any], n: int = 5, budget: float = 81.0) -> PastStudy:
    past = summary_of(header, "r1", trials(n, budget))
    assert past is not None
    return past


def test_what_the_header_says_is_in_the_summary() -> None:
    past = made(COMPLETE)
    assert (past.run_id, past.name, past.digest) == (
        "r1",
        "adult.csv, income",
        prediction("d1", "income"),
    )
    assert (past.model, past.metric, past.task) == ("lightgbm", "roc_auc", "binary")
    assert past.features is not None
    assert past.features.values == FEATURES["values"]
    assert past.losses.tolist() == [-0.54, -0.53, -0.52, -0.51, -0.5]


def test_another_column_of_the_same_table_is_another_prediction() -> None:
    assert made({**COMPLETE, "target": "hours"}).digest != made(COMPLETE).digest


@pytest.mark.parametrize(
    "features", [None, {"values": {}}, {**FEATURES, "version": 99}, "nonsense"]
)
def test_a_study_counts_without_features(features: object) -> None:
    assert made({**COMPLETE, "meta_features": features}).features is None


def test_names_are_for_people() -> None:
    signed = {"uri": "https://user:secret@host/a/adult.csv?key=secret", "digest": "d1"}
    assert made({**COMPLETE, "data": signed}).name == "adult.csv, income"
    assert (
        made({**COMPLETE, "data": {"uri": None, "digest": "d1"}}).name
        == "a table in memory, income"
    )
    assert len(made({**COMPLETE, "target": "x" * 9_000}).name) < 200


def test_one_configuration_is_nothing_to_learn_from() -> None:
    assert summary_of(COMPLETE, "r1", trials(1)) is None
    assert summary_of(COMPLETE, "r1", []) is None
    assert summary_from(summary_tags(None)) is None


def long() -> PastStudy:
    space = {f"p{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(60)}
    past = summary_of({**COMPLETE, "space": space}, "r1", trials(100, space=space))
    assert past is not None
    return past


def test_tags_hold_any_summary() -> None:
    past = long()
    tags = summary_tags(past)
    assert len(tags) > 2
    assert max(map(len, tags.values())) <= schema.MAX_TAG
    back = summary_from(dict(sorted(tags.items())))
    assert back is not None
    assert back.to_text() == past.to_text()


def test_what_an_earlier_longer_summary_left_does_not_count() -> None:
    back = summary_from(summary_tags(long()) | summary_tags(made(COMPLETE)))
    assert back is not None
    assert back.to_text() == made(COMPLETE).to_text()


@pytest.mark.parametrize("lost", [schema.SUMMARY, f"{schema.SUMMARY}.0", f"{schema.SUMMARY}.1"])
def test_a_torn_summary_is_recognised(lost: str) -> None:
    tags = summary_tags(long())
    with pytest.raises(ValueError, match="missing"):
        summary_from({name: value for name, value in tags.items() if name != lost})


def test_a_mixed_summary_is_recognised() -> None:
    mixed = summary_tags(long()) | {
        f"{schema.SUMMARY}.0": summary_tags(made(COMPLETE))[f"{schema.SUMMARY}.0"]
    }
    with pytest.raises(ValueError, match="do not belong together"):
        summary_from(mixed)


@pytest.mark.parametrize(
    "mark",
    [
        *("", "3", "[]", "{}"),
        '{"version": 1, "parts": "many", "sha256": ""}',
        '{"version": 1, "parts": 1e400, "sha256": ""}',
        '{"version": 1e400, "parts": 1, "sha256": ""}',
        '{"version": 1, "parts": -1, "sha256": "e3b0c44298fc1c14"}',
    ],
)
def test_a_damaged_mark_is_recognised(mark: str) -> None:
    with pytest.raises(ValueError):
        summary_from({schema.SUMMARY: mark})


def test_more_parts_than_a_summary_has_are_refused_before_they_are_put_together() -> None:
    tags = {f"{schema.SUMMARY}.{i}": "x" for i in range(summaries.MAX_PARTS + 1)}
    mark = {"version": 1, "parts": len(tags), "sha256": ""}
    with pytest.raises(ValueError, match="at most 50"):
        summary_from(tags | {schema.SUMMARY: json.dumps(mark)})


def test_a_newer_summary_is_told_apart() -> None:
    tags = summary_tags(made(COMPLETE))
    newer = json.loads(tags[schema.SUMMARY]) | {"version": 2}
    with pytest.raises(NewerSummaryError, match="version 2"):
        summary_from(tags | {schema.SUMMARY: json.dumps(newer)})


def test_a_summary_out_of_all_proportion_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "MAX_PARTS", 1)
    assert summary_from(summary_tags(long())) is None
    assert summary_from(summary_tags(made(COMPLETE))) is not None
