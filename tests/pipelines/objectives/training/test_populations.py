"""Trials whose values change while they are trained: legs, rebuilds and refits."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from hpo.loop import Job
from hpo.space import Params
from hpo.trial import Phase
from pipelines.models import FAMILIES, FamilyOptions, family, search_model, settings, single_family
from pipelines.objectives.jobs import BEST, FOLDS, Rebuild, Refit
from pipelines.table.data import load_folds
from pipelines.table.scores.metrics import METRICS
from serving.members import load_member
from tests.pipelines.objectives.training.workers import SAMPLED, Place, members, outcome

CHANGEABLE = [name for name in FAMILIES if single_family(name).changeable]
FEW: Mapping[str, Params] = {**SAMPLED, "catboost": {"depth": 3}, "hist_gradient_boosting": {}}
RATES = (0.2, 0.05, 0.1)


def params_of(model: str, rate: float) -> Params:
    more = {"num_leaves": int(40 * rate)} if model == "lightgbm" else {}
    return {**FEW[model], "learning_rate": rate / (10 if model == "mlp" else 1), **more}


def course(model: str, number: int = 3) -> Job:
    """A trial that was copied twice: at 4 and at 9."""
    first, second, last = (params_of(model, rate) for rate in RATES)
    return Job(number, last, 0, 20, (Phase(0, 4, 1, first), Phase(4, 9, 2, second)))


def copied(model: str) -> list[Job]:
    """The legs of the three trials, as they are trained in a search."""
    whole = course(model)
    first, second = whole.before
    return [
        Job(1, first.params, 0, 4),
        Job(2, second.params, 4, 9, (first,)),
        replace(whole, start=9),
    ]


@pytest.mark.parametrize("model", CHANGEABLE)
def test_a_copy_is_the_same_trained_by_legs_or_by_its_schedule(
    place: Callable[..., Place], model: str
) -> None:
    straight = place(model, in_population=True)
    at_once = straight.worker()(course(model))
    assert at_once.note == ""
    shop = place(model, in_population=True)
    reports = [shop.worker()(job) for job in copied(model)]  # each in another worker
    assert [report.note for report in reports] == ["", "", ""]
    assert outcome(reports[-1]) == outcome(at_once)
    if model in SAMPLED:  # the files of the others differ between equal models
        assert shop.exported(3) == straight.exported(3)
    rebuilt = place(model, in_population=True)
    assert outcome(rebuilt.worker()(Rebuild(course(model)))) == outcome(at_once)
    constant = replace(course(model), before=())
    assert place(model, in_population=True).worker()(constant).loss != at_once.loss


@pytest.mark.parametrize("model", ["lightgbm", "mlp"])
def test_a_lost_checkpoint_of_the_parent_is_trained_again(
    place: Callable[..., Place], model: str
) -> None:
    shop = place(model, in_population=True)
    *_, last = copied(model)
    report = shop.worker()(last)
    assert "trained again from the start" in report.note
    assert outcome(report) == outcome(place(model, in_population=True).worker()(course(model)))


@pytest.mark.parametrize("model", ["lightgbm", "xgboost", "mlp"])
def test_the_winner_is_refitted_with_its_schedule(place: Callable[..., Place], model: str) -> None:
    shop = place(model, in_population=True)
    report = shop.worker()(course(model))
    assert report.metrics[BEST] == 20, "the state at the end of a leg is scored"
    shop.worker()(Refit(course(model), 20.0))
    (member,) = members(shop.folder, Refit(course(model), 0.0).label).iterdir()
    folds = load_folds(shop.folder / FOLDS)
    whole = replace(folds[1].whole(), valid=folds[0].valid)
    first, second, last = (params_of(model, rate) for rate in RATES)
    alone = family(model)(whole, FamilyOptions(METRICS["log_loss"], 1, horizon=20)).start(first, 3)
    for params, to in ((first, 4), (second, 9), (last, 20)):
        alone.change(params)
        alone.train(to)
    served = load_member(member).predict(folds[0].valid)
    np.testing.assert_allclose(served, alone.predict(folds[0].valid), rtol=1e-6)


@pytest.mark.parametrize("model", CHANGEABLE)
def test_the_names_of_what_can_change_are_parameters(model: str) -> None:
    own, both = single_family(model), search_model("lightgbm,xgboost")
    assert set(own.changeable) <= set(own.names.parameters)
    assert any(map(own.is_changeable, settings(model).space.names))
    assert not both.is_changeable("model")
    assert both.is_changeable("xgboost.eta"), "an alias of the learning rate"
