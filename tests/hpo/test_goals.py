"""Several goals and limits: the order of trials, the front, and the study that follows them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpo.algorithms import algorithm
from hpo.errors import ParameterError
from hpo.goals import MAXIMIZE, Goal, Goals, Limit, hypervolume, nearest, order
from hpo.goals.leaders import hypervolumes, leaders, ranked
from hpo.space import Float, Params, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import Study
from hpo.trial import Report, Trial

ERROR, TIME = Goal("error"), Goal("time")
BOTH = Goals((ERROR, TIME))
SPACE = SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(4)))


def trial(number: int, *reports: tuple[float, float]) -> Trial:
    made = (Report(float(i), e, {"error": e, "time": t}) for i, (e, t) in enumerate(reports, 1))
    return Trial(number, {}, float(len(reports)), reports=tuple(made))


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


small = st.integers(0, 6).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(small, small), min_size=1, max_size=25))
def test_the_front_is_what_nothing_dominates(values: list[tuple[float, float]]) -> None:
    trials = [trial(number, value) for number, value in enumerate(values)]
    expected = {v for v in values if not any(dominates(other, v) for other in values)}
    front = leaders(trials, BOTH).front
    assert {values[number] for number in front} == expected
    assert all(number == values.index(values[number]) for number in front)  # the earliest of equals


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 20), st.just(4)), elements=small))
def test_no_row_comes_after_one_that_it_dominates(values: np.ndarray) -> None:
    values[:, 0] = np.maximum(values[:, 0] - 3, 0)  # the excess, mostly 0
    places = order(values)
    assert sorted(places) == list(range(len(values)))
    rows = [tuple(map(float, values[row])) for row in places]
    for i, row in enumerate(rows):
        for later in rows[i + 1 :]:
            assert row[0] <= later[0]
            if row[0] == later[0] == 0:
                assert not dominates(later[1:], row[1:])


def test_a_single_goal_is_ordered_by_its_loss_and_has_one_leader() -> None:
    single = Goals((ERROR,))
    trials = [trial(0, (2.0, 0.0)), trial(1, (1.0, 9.0)), trial(2, (1.0, 0.0)), Trial(3, {}, 1.0)]
    assert [t.number for t in ranked(trials, single)] == [1, 2, 0]
    assert leaders(trials, single).front == (1,)


def test_a_later_leg_that_is_worse_in_one_goal_lets_others_lead_again() -> None:
    found = leaders([trial(0, (1.0, 1.0)), trial(1, (2.0, 2.0))], BOTH)
    assert [*found.front] == [0]
    assert found.update(trial(0, (1.0, 1.0), (0.5, 3.0)))
    assert [*found.front] == [0, 1]


def test_trials_that_keep_the_limits_lead_then_those_that_break_them_least() -> None:
    goals = Goals((ERROR,), (Limit.parse("time<10"),))
    trials = [trial(0, (1.0, 30.0)), trial(1, (5.0, 12.0)), trial(2, (9.0, 10.0))]
    assert [t.number for t in ranked(trials, goals)] == [2, 1, 0]
    assert leaders(trials[:2], goals).leading == (1,)
    assert not leaders(trials[:2], goals).front
    assert leaders(trials, goals).front == (2,)


@pytest.mark.parametrize(
    ("text", "value", "excess"),
    [
        ("time<5", 5.0, 0.0),
        ("time <= 5", 10.0, 1.0),
        ("recall>0.8", 0.8, 0.0),
        ("recall >= 0.8", 0.4, 0.5),
        ("gap<0", 0.25, 0.25),
    ],
)
def test_limits(text: str, value: float, excess: float) -> None:
    limit = Limit.parse(text)
    assert limit.excess(value) == pytest.approx(excess)
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize("text", ["time", "time<", "<5", "time<fast", "time<nan", "1<time<5", ""])
def test_a_text_that_is_no_limit(text: str) -> None:
    with pytest.raises(ParameterError, match="must be a metric, < or >, and a finite number"):
        Limit.parse(text)


def test_goals_are_the_same_after_a_round_trip() -> None:
    goals = Goals(
        (Goal("auc", MAXIMIZE), TIME),
        (Limit("time", 0.1 + 0.2), Limit("auc", 0.5, False)),
        {"auc": 1.0},
    )
    assert Goals.from_dict(goals.to_dict()) == goals
    assert Goals.from_dict({"metric": "auc", "direction": MAXIMIZE}) == Goals((goals.first,))
    assert str(goals) == "auc, time with time<0.30000000000000004, auc>0.5"


@pytest.mark.parametrize(
    ("goals", "weights", "match"),
    [
        ([], {}, "has 0 goals"),
        ([Goal(str(i)) for i in range(6)], {}, "takes 1 to 5"),
        ([ERROR, ERROR], {}, "names error twice"),
        ([ERROR, TIME], {"tine": 1.0}, "'tine' is not a goal, did you mean 'time'"),
        ([ERROR, TIME], {"time": -1.0}, "0 or greater"),
        ([ERROR, TIME], {"time": 0.0}, "greater than 0"),
    ],
)
def test_goals_that_cannot_be_searched(
    goals: list[Goal], weights: dict[str, float], match: str
) -> None:
    with pytest.raises(ParameterError, match=match):
        Goals(tuple(goals), (), weights)


@pytest.mark.parametrize(
    ("metrics", "failure"),
    [({"error": 1.0}, "time was not reported"), ({"time": math.nan}, "time is nan")],
)
def test_a_report_without_a_goal_is_a_failed_trial(metrics: dict[str, float], failure: str) -> None:
    study = Study(SPACE, *algorithm("random", (1.0,)), MemoryStorage(), seed=0, goals=BOTH)
    first = study.ask()
    assert first is not None
    assert failure in str(study.tell(first.number, Report(1.0, 1.0, metrics)).failure)
    assert study.best_trial is None


def test_weights_choose_a_trial_of_the_front_and_none_the_knee() -> None:
    losses = np.array([[0.0, 1.0], [0.2, 0.2], [1.0, 0.0]])
    assert nearest(losses) == 1
    assert nearest(losses, [1.0, 0.0]) == 0
    assert nearest(losses, [0.01, 1.0]) == 2


def test_the_hypervolume_grows_to_the_share_that_the_front_dominates() -> None:
    trials = [
        trial(0, (1.0, 1.0)),
        trial(1, (0.0, 1.0)),
        trial(2, (0.5, 0.0)),
        trial(3, (1.0, 0.5)),
    ]
    assert hypervolumes(trials, BOTH) == [0.0, 0.0, 0.5, 0.5]
    limited = Goals((ERROR, TIME), (Limit("error", -1.0),))
    assert hypervolumes(trials, limited) == [0.0] * 4
    assert hypervolume(np.empty((0, 2)), np.zeros(2), np.ones(2)) == 0.0


def zdt1(params: Params) -> tuple[float, float]:
    """Zitzler, Deb and Thiele (2000): the front is f2 = 1 - sqrt(f1)."""
    x = [float(params[name]) for name in SPACE.names]
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], g * (1 - math.sqrt(x[0] / g))


def search(name: str, n: int, seed: int = 0) -> Study:
    study = Study(
        SPACE, *algorithm(name, (1.0, 3.0)), MemoryStorage(), seed=seed, max_trials=n, goals=BOTH
    )
    while (asked := study.ask()) is not None:
        first, second = zdt1(asked.params)
        noise = 1 + 1 / asked.budget
        metrics = {"error": first * noise, "time": second * noise}
        study.tell(asked.number, Report(asked.budget, metrics["error"], metrics))
    return study


def share(study: Study) -> float:
    losses = np.array([zdt1(t.params) for t in study.front])
    return hypervolume(losses, np.zeros(2), np.array([1.0, 5.0]))


@pytest.mark.parametrize("name", ["tpe", "kde+full"])
def test_a_model_of_the_order_finds_more_than_chance(name: str) -> None:
    assert share(search(name, 60)) > share(search("random", 60)) + 0.02


def test_a_race_promotes_the_trials_of_the_front() -> None:
    study = search("random+asha", 45)
    promoted = {t.number for t in study.trials if t.reached == 3.0}
    assert 10 <= len(promoted) <= 20
    early = [Trial(t.number, t.params, 1.0, reports=t.reports[:1]) for t in study.trials]
    assert {t.number for t in ranked(early, BOTH)[:5]} <= promoted


def test_a_resumed_study_goes_on_as_it_would_have() -> None:
    whole, storage = search("tpe", 20), MemoryStorage()
    for done in whole.trials[:12]:
        storage.add(done)
    study = Study(SPACE, *algorithm("tpe", (1.0, 3.0)), storage, seed=0, max_trials=20, goals=BOTH)
    asked = study.ask()
    assert asked is not None
    assert asked.params == whole.trials[12].params
    assert study.front == leaders_of(whole.trials[:12])


def leaders_of(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    return tuple(trials[number] for number in leaders(trials, BOTH).front)


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ("time<5,time<3", "limits names an upper bound of time twice"),
        ("time>5,time<3", "no value of time keeps both"),
    ],
)
def test_limits_that_contradict_each_other(limits: str, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        Goals((ERROR,), tuple(map(Limit.parse, limits.split(","))))
