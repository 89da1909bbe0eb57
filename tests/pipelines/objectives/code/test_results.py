"""What code returns, as metrics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import ParameterError
from hpo.goals import Goal, Goals
from pipelines.objectives.code.results import MAX_CURVE, ResultError, course, goal_of

ERR = Goals((Goal("err"),))


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("auto", Goal("loss")),
        ("loss", Goal("loss")),
        ("-err", Goal("err")),
        ("+accuracy_at_5", Goal("accuracy_at_5", "maximize")),
        ("roc_auc", Goal("roc_auc", "maximize")),
        ("rmse", Goal("rmse")),
    ],
)
def test_the_direction_of_a_metric(metric: str, goal: Goal) -> None:
    assert goal_of(metric) == goal


def test_an_unknown_direction_is_asked_for() -> None:
    with pytest.raises(ParameterError, match=r"write -err to minimise it or \+err to maximise it"):
        goal_of("err")


@pytest.mark.parametrize(
    "returned",
    [1, 1.0, np.float32(1), np.array([1.0])[0], torch.tensor(1.0), {"err": 1, "more": 2}],
)
def test_numbers_of_all_libraries(returned: Any) -> None:
    assert course(returned, ERR).metrics["err"] == 1.0


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None; it must return a number or a dict of metrics"),
        ("0.3", "returned '0.3'; it must return"),
        (True, "returned True"),
        ([1, 2], "it must return a number"),
        ({"err": None}, "returned None as err"),
        ({"loss": 1.0}, "returned loss, but the metric is err; .* metric=-loss or metric=\\+loss"),
        (float("nan"), "err is nan; a finite number was expected"),
        (float("inf"), "err is inf"),
        (iter(()), "yielded nothing"),
    ],
)
def test_what_is_no_result(returned: Any, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        course(returned, ERR)


def test_a_generator_yields_its_learning_curve() -> None:
    def train() -> Iterator[dict[str, float]]:
        for step in range(120):
            yield {"err": 1.0 / (step + 1), "step": step}

    found = course(train(), ERR, start=10.0)
    assert found.metrics == {"err": 1 / 120, "step": 119}
    assert found.curve[-1] == (130.0, 1 / 120)
    assert len(found.curve) == 40 <= MAX_CURVE
