"""Invalid parameters, missing models and unreadable scores."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from hpo.errors import ParameterError, UserError
from hpo.goals import Goal
from pipelines import entry_points
from pipelines.promote import promote
from pipelines.registry.gate import (
    Candidate,
    HeldOutScore,
    PromotionRefusedError,
)
from tests.pipelines.promotion.models import SCORE, Store


@pytest.mark.parametrize("value", [0.8, math.inf, 1 / 3])
def test_tags_hold_the_score_exactly(value: float) -> None:
    score = replace(SCORE, value=value, goal=Goal(SCORE.metric))
    assert HeldOutScore.from_tags(score.to_tags(), "it") == score


def test_no_such_model(store: Store, name: str) -> None:
    store.register(name, "good")
    with pytest.raises(UserError, match=f"no registered model '{name}x', did you mean 'gate-"):
        promote(f"{name}x")


def test_no_such_version_and_no_challenger(store: Store, name: str) -> None:
    store.client.create_registered_model(name)
    with pytest.raises(
        UserError, match=f"has no challenger; register one with `tune -P register={name}`"
    ):
        promote(name)
    store.register(name, "good")
    with pytest.raises(UserError, match="no version 7; it has: 1"):
        promote(name, version=7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"version": 0}, "version=0 must be 1 or more"),
        ({"name": "in/come"}, "it contains /"),
        ({"margin": -1.0}, "margin=-1.0 must be 0 or greater"),
        ({"margin": math.nan}, "margin=nan must be 0 or greater"),
        ({"confidence": 95.0}, "confidence=95.0 must be at least 0.5 and less than 1"),
        ({"tolerance": -1.0, "max_size": 0.0}, "2 mistakes"),
        ({"max_latency": 0.0}, "max_latency=p99:0 must be greater than 0"),
    ],
)
def test_impossible_parameters(store: Store, given: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        promote(**{"name": "income", **given})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(store: Store, name: str, value: float) -> None:
    store.register(name, "good", value=value)
    with pytest.raises(
        PromotionRefusedError, match=f"version 1 of {name} scored {value} on the held-out rows"
    ):
        promote(name)


def test_versions_without_a_readable_score(store: Store, name: str) -> None:
    number = store.register(name, "good")
    store.client.set_model_version_tag(name, str(number), "hpo.test.score", "good")
    with pytest.raises(PromotionRefusedError, match="hpo.test.score='good'"):
        promote(name)
    store.client.delete_model_version_tag(name, str(number), "hpo.test.score")
    with pytest.raises(
        PromotionRefusedError, match=f"version 1 of {name} has no held-out score.*hpo.test.score"
    ):
        promote(name)


def test_parameters_come_from_the_signature() -> None:
    found = {parameter.name: parameter for parameter in entry_points.parameters(promote)}
    assert list(found)[:3] == ["name", "version", "dry_run"]
    assert found["name"].default is None
    assert found["version"].parse("none") is None
    assert found["dry_run"].parse("true") is True
    assert found["margin"].parse("0.01") == 0.01
    assert found["max_latency"].parse("p50:3") == "p50:3"
    assert all(parameter.help for parameter in found.values())


def test_the_name_of_a_candidate() -> None:
    assert str(Candidate("m", 1, None, {})) == "version 1 of m"
