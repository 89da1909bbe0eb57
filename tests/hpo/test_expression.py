"""Sums of scores as goals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import ParameterError
from hpo.goals import MAXIMIZE, Goal, Goals, Limit
from hpo.goals.expression import Expression, Term, canonical
from pipelines.store.schema import check_names

FACTORS = st.floats(1e-9, 1e9) | st.integers(1, 1000).map(float)
NAMES = st.sampled_from(["roc_auc", "energy:15", "equalized_odds:sex", "size", "latency"])


@given(st.lists(NAMES, min_size=2, unique=True), st.data())
def test_a_sum_is_read_again_from_its_name(names: list[str], data: st.DataObject) -> None:
    factors = [data.draw(FACTORS) * data.draw(st.sampled_from([1, -1])) for _ in names]
    terms = (Term(abs(factors[0]), names[0]), *map(Term, factors[1:], names[1:]))
    made = Expression(terms)
    assert Expression.parse(made.name) == made
    check_names({made.name: None})
    scores = {name: float(i) for i, name in enumerate(names)}
    expected = math.fsum(term.factor * scores[term.name] for term in terms)
    assert made.value(scores) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "name", "sign"),
    [
        ("roc_auc - 0.1*energy", "roc_auc minus 0.1 energy", ""),
        ("roc_auc  -  1e-3 * energy:15", "roc_auc minus 0.001 energy:15", ""),
        ("-(error + 0.1*seconds + 2*size)", "error plus 0.1 seconds plus 2 size", "-"),
        ("+( a - b )", "a minus b", "+"),
    ],
)
def test_sums_in_the_words_of_users(text: str, name: str, sign: str) -> None:
    found = Expression.parse(text)
    assert found is not None
    assert (found.name, found.sign, canonical(text)) == (name, sign, name)


@pytest.mark.parametrize(
    "text", ["roc_auc", "-error", "+package.module:function", "pinball:0.9", "val-loss"]
)
def test_single_scores_are_no_sums(text: str) -> None:
    assert Expression.parse(text) is None
    assert canonical(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roc_auc - x*energy", "the term 'x.energy' must be a metric, or a number"),
        ("roc_auc-0.1*energy", "with blanks around"),
        ("roc_auc - 0*energy", "the term '0.energy'"),
        ("roc_auc - __import__('os')", "the term"),
        ("roc_auc - size - size", "has size in two terms"),
        ("2*roc_auc", "has one term"),
        ("-error - 0.1*seconds", r"write -\(…\) around all of it"),
    ],
)
def test_what_is_no_sum(text: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Expression.parse(text)


def test_goals_with_a_sum() -> None:
    limit = Limit("size plus latency", 5.0)
    goals = Goals((Goal("roc_auc minus 0.1 energy", MAXIMIZE), Goal("latency")), (limit,))
    assert goals.score == Goal("roc_auc", MAXIMIZE)
    assert goals.sums.measured == ("roc_auc", "energy", "latency", "size")
    assert not goals.is_plain
    found = goals.sums.with_values({"roc_auc": 0.9, "energy": 2.0, "latency": 1.0, "size": 3.0})
    assert found["roc_auc minus 0.1 energy"] == pytest.approx(0.7)
    assert found["size plus latency"] == 4.0
    assert Goals.from_dict(goals.to_dict()) == goals
    assert math.isnan(goals.sums.with_values({"roc_auc": 0.9})["roc_auc minus 0.1 energy"])
