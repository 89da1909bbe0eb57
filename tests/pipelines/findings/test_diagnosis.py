"""Each rule on a study that has the defect, and on one that has not."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings.analysis import analyse
from pipelines.findings.diagnosis import Diagnosis, adjusted_space
from pipelines.findings.evidence import ClassScore, Evidence
from pipelines.findings.rules import diagnose
from tests.pipelines.findings.made_up import SPACE, sampled, study


def in_the_middle(params: Params) -> float:
    """The best of the space is in its middle, and everything matters."""
    rate = math.log(float(params["learning_rate"]) / 0.022)
    leaves = math.log(float(params["num_leaves"]) / 20)
    return (
        1
        + rate**2
        + 0.3 * leaves**2
        + 30 * (float(params["bagging_fraction"]) - 0.85) ** 2
        + 0.5 * bool(params["extra_trees"])
    )


def fast_is_good(params: Params) -> float:
    return (
        1
        + (0.1 - float(params["learning_rate"])) * 10
        + (float(params["num_leaves"]) - 60) ** 2 / 1e6
    )


def found(evidence: Evidence, kind: str) -> list[Diagnosis]:
    return [
        diagnosis for diagnosis in diagnose(evidence, analyse(evidence)) if diagnosis.kind == kind
    ]


def with_reports(trials: list[Trial], **metrics: float) -> list[Trial]:
    """The trials with more metrics."""
    return [
        replace(t, reports=tuple(replace(r, metrics={**r.metrics, **metrics}) for r in t.reports))
        for t in trials
    ]


SOUND = study(sampled(SPACE, 80, in_the_middle), test={"rmse": 1.01})


def test_a_sound_study_has_no_problems() -> None:
    assert [d for d in diagnose(SOUND, analyse(SOUND)) if d.severity == "problem"] == []


def test_best_at_a_bound() -> None:
    (diagnosis,) = found(study(sampled(SPACE, 80, fast_is_good)), "bound")
    assert "learning_rate is at the upper end" in diagnosis.title
    assert "of the 8 best trials" in diagnosis.evidence
    assert diagnosis.advice.startswith("widen learning_rate to [0.005, 0.45]")
    assert not found(SOUND, "bound")


def test_a_bound_is_widened_as_far_as_the_model_goes() -> None:
    for name, high, expected in (
        ("feature_fraction", 0.9, 1.0),
        ("feature_fraction", 1.0, None),
        ("num_leaves", 90000, 131072),
    ):
        kind: Any = Integer if name == "num_leaves" else Float
        space = SearchSpace(
            (kind(name, 4 if name == "num_leaves" else 0.2, high, log=name == "num_leaves"),)
        )

        def loss(params: Params, name: str = name, high: float = high) -> float:
            return 2 - float(params[name]) / high

        trials = sampled(space, 60, loss)
        changed = [
            change.parameter for d in found(study(trials, space), "bound") for change in d.changes
        ]
        assert [
            parameter.high for parameter in changed if not isinstance(parameter, Categorical)
        ] == ([expected] if expected else [])


def test_a_parameter_nobody_knows_the_limits_of_is_left() -> None:
    space = SearchSpace((Float("other_rate", 0.1, 0.5),))
    assert not found(
        study(sampled(space, 60, lambda params: -float(params["other_rate"])), space), "bound"
    )


def test_hardly_matters() -> None:
    (diagnosis,) = found(
        study(sampled(SPACE, 120, lambda p: abs(math.log(float(p["learning_rate"]) / 0.02)))),
        "idle",
    )
    names = {change.parameter.name for change in diagnosis.changes}
    assert names <= {"num_leaves", "bagging_fraction", "extra_trees"}
    assert 1 <= len(names) <= 2  # two are always left to search
    assert not found(SOUND, "idle")


def test_nothing_is_said_to_be_idle_where_nothing_is_understood() -> None:
    noise = iter(range(1000))
    assert not found(
        study(sampled(SPACE, 80, lambda _: float((next(noise) * 7919) % 1013))), "idle"
    )


def test_default_never_beaten() -> None:
    trials = sampled(SPACE, 30, in_the_middle)
    default = replace(trials[0], origin="default", reports=(Report(10.0, 0.5, {"rmse": 0.5}),))
    (diagnosis,) = found(study([default, *trials[1:]]), "default")
    assert "29 sampled trials" in diagnosis.evidence
    assert not found(study([replace(trials[0], origin="default"), *trials[1:]]), "default")


def test_plateau_and_too_few() -> None:
    trials = sampled(SPACE, 60, in_the_middle)
    early = replace(trials[5], reports=(Report(10.0, 0.9, {"rmse": 0.9}),))
    stuck = [*trials[:5], early, *trials[6:]]
    (diagnosis,) = found(study(stuck), "plateau")
    assert diagnosis.title == "nothing better in the last 54 trials"
    late = [*trials[:55], replace(early, number=55), *trials[56:]]
    assert not found(study(late), "plateau")
    assert not found(study(late), "few")
    assert not found(study(trials[:1]), "few"), "a configuration that was trained by itself"
    (few,) = found(study(trials[:12]), "few")
    assert "3.0 for each" in few.evidence
    assert not found(study(stuck[:12]), "plateau")


def test_noise() -> None:
    close = with_reports(sampled(SPACE, 40, lambda p: 1 + in_the_middle(p) / 1e4), rmse_std=0.3)
    (diagnosis,) = found(study(close, validation="cv:5"), "noise")
    assert "standard error over 5 folds is 0.13" in diagnosis.evidence
    apart = with_reports(sampled(SPACE, 40, lambda p: in_the_middle(p) * 100), rmse_std=0.3)
    assert not found(study(apart, validation="cv:5"), "noise")
    assert not found(study(close), "noise")  # one set of validation rows says nothing of it


def test_validation_far_from_test() -> None:
    trials = sampled(SPACE, 40, in_the_middle)
    (diagnosis,) = found(study(trials, test={"rmse": 9.0}), "test")
    assert "9 against" in diagnosis.evidence
    assert "validation=cv:5" in diagnosis.advice
    assert "split=group:COLUMN" in diagnosis.advice
    assert not found(study(trials, test={"rmse": 1.02}), "test")
    assert not found(study(trials, test={"rmse": 0.5}), "test")  # better is no reason to worry


def test_one_fold_carries_the_score() -> None:
    trials = sampled(SPACE, 20, in_the_middle)
    odd = with_reports(
        trials, rmse_fold_0=1.0, rmse_fold_1=1.1, rmse_fold_2=6.0, rmse_fold_3=0.9, rmse_fold_4=1.05
    )
    (diagnosis,) = found(study(odd), "fold")
    assert "fold 3 of 5" in diagnosis.title
    even = with_reports(
        trials, rmse_fold_0=1.0, rmse_fold_1=1.1, rmse_fold_2=1.2, rmse_fold_3=0.9, rmse_fold_4=1.05
    )
    assert not found(study(even), "fold")


def test_one_class_carries_the_score() -> None:
    trials = sampled(SPACE, 20, in_the_middle)
    lost = (ClassScore("no", 900, 0.99), ClassScore("yes", 100, 0.04))
    (diagnosis,) = found(study(trials, classes=lost), "class")
    assert "'no' carries the score; 'yes' is hardly ever found" in diagnosis.title
    assert diagnosis.advice.endswith("or balance=on, or for two classes threshold=f1")
    assert not found(
        study(trials, classes=(ClassScore("no", 900, 0.95), ClassScore("yes", 100, 0.6))), "class"
    )


def test_failed_trials() -> None:
    def breaks(params: Params) -> float:
        if float(params["num_leaves"]) > 80:
            raise ValueError("out of memory\nmuch more")
        return in_the_middle(params)

    (diagnosis,) = found(study(sampled(SPACE, 60, breaks)), "failed")
    assert "× out of memory; they differ most in num_leaves" in diagnosis.evidence
    assert not found(SOUND, "failed")


@pytest.mark.parametrize(("equal", "n", "told"), [(5, 8, True), (4, 8, False), (4, 4, False)])
def test_a_rung_that_does_not_tell_trials_apart(equal: int, n: int, told: bool) -> None:
    losses = [2.0 if number < equal else 3.0 + number for number in range(n)]
    trials = [
        replace(trial, reports=(Report(3.0, loss, {"rmse": loss}), *trial.reports))
        for trial, loss in zip(sampled(SPACE, n, in_the_middle), losses, strict=True)
    ]
    diagnoses = found(study(trials, rungs=[3.0, 10.0]), "undecided")
    assert bool(diagnoses) is told
    if told:
        assert diagnoses[0].title == "3 rounds do not tell trials apart"
        assert diagnoses[0].evidence == "5 of 8 trials have the same rmse there, 2"
        assert "min_budget=10" in diagnoses[0].advice


def test_nothing_succeeded() -> None:
    def breaks(params: Params) -> float:
        raise ValueError("no")

    evidence = study(sampled(SPACE, 5, breaks))
    assert [d.kind for d in diagnose(evidence, analyse(evidence))] == ["failed"]


def test_the_adjusted_space() -> None:
    evidence = study(sampled(SPACE, 150, lambda p: fast_is_good({**p, "num_leaves": 60})))
    space, words = adjusted_space(evidence.scope.space, diagnose(evidence, analyse(evidence)))
    rate = space["learning_rate"]
    assert isinstance(rate, Float)
    assert (rate.low, rate.high, rate.log) == (0.005, 0.45, True)
    assert sum(parameter.n_levels == 1 for parameter in space) == 2
    assert any(word.startswith("widen learning_rate") for word in words)
    assert sum(word.startswith("fix ") for word in words) == 2


def test_a_parent_is_never_fixed() -> None:
    space = SearchSpace(
        (
            Categorical("data_sample_strategy", ("bagging", "goss")),
            Float("bagging_fraction", 0.5, 1.0, when={"data_sample_strategy": ("bagging",)}),
            Float("learning_rate", 0.01, 0.1),
            Float("lambda_l1", 0.1, 1.0),
            Float("lambda_l2", 0.1, 1.0),
        )
    )
    evidence = study(sampled(space, 150, lambda p: float(p["learning_rate"])), space)
    (diagnosis,) = found(evidence, "idle")
    assert "data_sample_strategy" not in {change.parameter.name for change in diagnosis.changes}
    changed, _ = adjusted_space(space, [diagnosis])
    changed.validate(evidence.winner.params if evidence.winner else {})


@pytest.mark.parametrize("severity", ["problem", "hint"])
def test_a_finding_is_one_line(severity: str) -> None:
    assert str(Diagnosis("k", severity, "title", "evidence", "advice")).endswith(
        "title: evidence → advice"
    )


def test_few_trials_are_never_called_enough_to_fix_parameters() -> None:
    """One rule must not say what another says cannot be known yet."""
    trials = sampled(SPACE, 80, lambda params: math.log(float(params["learning_rate"])))
    kinds = [
        {d.kind for d in diagnose(evidence, analyse(evidence))}
        for evidence in (study(trials[:n]) for n in (13, 16, 19, 20, 80))
    ]
    assert not any({"few", "idle"} <= kind for kind in kinds)
    assert "few" in kinds[0]
    assert "idle" in kinds[-1]


def test_a_space_that_is_tried_whole_is_not_told_to_go_on() -> None:
    space = SearchSpace((Categorical("extra_trees", (False, True)), Integer("num_leaves", 2, 3)))
    trials = [
        Trial(i, space.decode(code), 1.0, "sampler", (Report(1.0, float(i)),))
        for i, code in enumerate(np.array([[0.2, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.8]]))
    ]
    assert found(study(trials[:3], space), "few")
    assert not found(study(trials, space), "few")
