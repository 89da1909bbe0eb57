from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from hpo.errors import StudyError
from pipelines.findings.evidence import Evidence
from pipelines.findings.sidebyside import (
    anytime,
    check,
    comparison_page,
    curves_table,
    draw,
    grouped,
    over_trials,
    settings_table,
)
from tests.pipelines.findings.made_up import SPACE, sampled, study


def seeded(seed: int, shift: float = 0.0, n: int = 20, **header: Any) -> Evidence:
    trials = sampled(SPACE, n, lambda p: float(p["bagging_fraction"]) + shift, seed)
    return replace(study(trials, seed=seed, **header), study=f"{seed:032x}")


def test_the_same_setting_is_one_group_whatever_the_seed() -> None:
    studies = [seeded(1), seeded(2), seeded(3, algorithm="random"), seeded(4, algorithm="random")]
    assert [(group.label, len(group.studies)) for group in grouped(studies)] == [
        ("tpe", 2),
        ("random", 2),
    ]
    other = replace(
        studies[0],
        header={**studies[0].header, "space": {"x": {"type": "float", "low": 0, "high": 1}}},
    )
    assert [group.label for group in grouped([studies[0], other])] == ["space 1", "space 2"]
    assert [group.label for group in grouped([seeded(1)])] == ["lightgbm, tpe"]


def test_the_mean_of_curves_and_its_interval() -> None:
    curves = [(np.array([1.0, 2.0, 3.0]), np.array([float(k + 3), k + 2, k + 1])) for k in range(3)]
    found = anytime(curves)
    assert found.x[[0, -1]].tolist() == [1, 3]
    assert found.mean[[0, -1]].tolist() == [4, 2]
    assert found.high[-1] - found.mean[-1] == pytest.approx(student.ppf(0.975, 2) / np.sqrt(3))
    two = anytime(curves[:2])
    assert (two.low[-1], two.high[-1]) == (1, 2)
    one = anytime(curves[:1])
    assert (one.low == one.high).all()


def test_a_mean_ends_where_the_first_study_does() -> None:
    curves = [over_trials(seeded(1, n=10)), over_trials(seeded(2, n=30))]
    assert anytime(curves).x[-1] == 10


def test_another_metric_or_table_is_refused() -> None:
    first = seeded(1, data={"rows": 10, "digest": "a"})
    others = [
        seeded(2, metric="mae", data={"rows": 10, "digest": "b"}),
        seeded(3, target="y", data={"digest": "a"}),
    ]
    with pytest.raises(StudyError) as error:
        check([first, *others])
    assert "3 mistakes" in str(error.value)
    for part in ("metric is 'mae'", "the table (its digest) is 'b'", "target is 'y'"):
        assert part in str(error.value)
    with pytest.raises(StudyError, match="has no trial with a result"):
        check([first, replace(first, rows=())])


def test_another_split_is_a_warning() -> None:
    assert check([seeded(1), seeded(2)]) == []
    (note,) = check([seeded(1), seeded(2, validation="cv:5")])
    assert "differ in validation: cv:5, holdout" in note


def test_the_page_names_the_best_setting() -> None:
    studies = [
        seeded(1),
        seeded(2),
        seeded(3, 0.5, algorithm="random"),
        seeded(4, 0.5, algorithm="random"),
    ]
    groups = grouped(studies)
    table = settings_table(groups)
    assert [row[:2] for row in table.rows] == [["tpe", 2], ["random", 2]]
    page = comparison_page(groups, draw(groups), check(studies))
    assert page.headline == "tpe"
    assert all(study.study in page.to_html() for study in studies)
    rows = curves_table(groups).rows
    assert all(
        float(str(low)) <= float(str(mean)) <= float(str(high)) for *_, mean, low, high in rows
    )
