"""The best few once more: who is asked, who wins, and what a failure or an interruption costs."""

import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hpo.errors import JobError
from hpo.goals import Goal
from hpo.loop import Job, Stop, StopLevel
from hpo.trial import Report, Trial
from hpo.workers.cores import WorkerPlan
from pipelines.files.exchange import Exchange
from pipelines.models import identity, settings
from pipelines.objectives.ending.confirmation import candidates, confirm, judge
from pipelines.objectives.jobs import PARTS, Part
from pipelines.store import StudyStore
from pipelines.store.schema import Confirmed
from pipelines.study.choice.confirmation import Confirmation
from pipelines.study.ending import Ending
from pipelines.study.workshop import Pool, Workshop
from pipelines.table.data import Prepared, load_part
from tests.plans import plan
from tests.tables import prepare, regression


def trial(number: int, loss: float | None, origin: str = "sampler") -> Trial:
    reports = () if loss is None else (Report(5.0, loss, {"rmse": loss}),)
    params = {"learning_rate": 0.1 + number / 100}
    return Trial(number, params, 5.0, origin, reports, failure="no" if loss is None else None)


TRIALS = (
    trial(0, 9.0, "default"),
    trial(1, 3.0),
    trial(2, None),
    trial(3, 2.0),
    trial(4, 1.0),
    trial(5, 2.0),
)


def test_the_best_are_asked_and_always_the_default() -> None:
    assert [t.number for t in candidates(TRIALS, 2)] == [4, 3, 0]
    assert [t.number for t in candidates(TRIALS, 50)] == [4, 3, 5, 1, 0]


def test_a_configuration_is_confirmed_once() -> None:
    again = (
        *TRIALS,
        replace(TRIALS[4], number=6),
        replace(TRIALS[4], number=7, params={"eta": TRIALS[4].params["learning_rate"]}),
    )

    assert [t.number for t in candidates(again, 2, identity("lightgbm"))] == [4, 3, 0]
    assert [t.number for t in candidates(again, 3)] == [4, 7, 3, 0]


def judged(
    scores: dict[int, tuple[float, ...]], direction: str = "minimize", **known: Any
) -> Confirmation:
    """Trial 4 is the one that the search found best."""
    return replace(judge(Goal("score", direction), scores, 0.25), searched=4, **known)


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_the_best_mean_wins_whatever_the_direction(direction: str, sign: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 10)
    scores = {4: sign * (1.0 + noise), 3: sign * (0.9 + noise[::-1]), 0: sign * (2.0 + noise)}
    found = judged({n: tuple(s) for n, s in scores.items()}, default=0, direction=direction)
    assert (found.winner, found.searched, found.runner_up) == (3, 4, 4)
    assert found.against[0].estimate.mean == pytest.approx(1.1, abs=0.02)
    assert found.against[0].adjusted < 0.001
    text = "\n".join(found.lines())
    assert "the search's best was trial 4" in text
    assert "better than the default, trial 0, by 1.1" in text
    assert "better than the runner-up, trial 4, by 0.1" in text


def test_equals_leave_the_search_its_winner() -> None:
    found = judged({4: (1.0, 2.0), 3: (1.0, 2.0)}, failures={5: "out of memory"})
    assert found.winner == 4
    assert "p = 1: no more than chance may give" in "\n".join(found.lines())
    assert "trial 5 failed: out of memory" in "\n".join(found.lines())
    assert len(judged({4: (1.0, 2.0)}).lines()) == 1


# --- the trainings, with workers and a store that the test plays itself
# ---------------------------------


class Store:
    """What is known of trials; `noted` are the calls of `annotate`."""

    def __init__(self) -> None:
        self.known: dict[int, Confirmed] = {}
        self.noted: list[dict[str, Any]] = []
        self.notes = self

    def confirmed(self, number: int) -> Confirmed | None:
        known = self.known.get(number)
        return None if known is None else Confirmed.from_tag(known.to_tag())

    def add_confirmed(self, number: int, confirmed: Confirmed, part: int | None = None) -> None:
        self.known[number] = confirmed

    def annotate(self, **what: Any) -> None:
        self.noted.append(what)


class Workers:
    """Score a trial by `score(number, part)`, one at a time; `asked` are the parts in order."""

    def __init__(self, score: Callable[[int, int], float]) -> None:
        self.score = score
        self.free = 1
        self.asked: list[tuple[int, int]] = []

    def submit(self, job: Part, time_limit: float | None = None) -> "Future[Report]":
        future: Future[Report] = Future()
        self.free = 0
        self.asked.append((job.index, job.job.number))
        assert job.job == Job(
            job.job.number, {"learning_rate": 0.1 + job.job.number / 100}, 0.0, 5.0
        )
        try:
            future.set_result(Report(5.0, self.score(job.job.number, job.index)))
        except ValueError as error:
            future.set_exception(JobError("ValueError", str(error)))
        return future

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> Collection["Future[Report]"]:
        self.free = 1
        return list(futures)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(regression(), "y")


@pytest.fixture
def run(prepared: Prepared, tmp_path: Path) -> Callable[..., tuple[Confirmation | None, list[str]]]:
    chosen = plan(space=settings("lightgbm").space)

    def start(
        workers: Workers,
        store: Store,
        stop: Stop | None = None,
        seconds: float = 0.0,
        left: float = math.inf,
    ) -> tuple[Confirmation | None, list[str]]:
        said: list[str] = []
        shop = Workshop(
            cast(Pool, workers),
            Exchange(str(tmp_path)),
            WorkerPlan(1, 1),
            lambda _: cast(Pool, workers),
        )
        trials = tuple(
            replace(t, reports=tuple(replace(r, seconds=seconds) for r in t.reports))
            for t in TRIALS
        )
        nothing: dict[str, float] = {}
        given = chosen, trials, nothing, shop, cast(StudyStore, store), stop or Stop()
        until = time.monotonic() + left
        return confirm(Ending(*given, said.append, until), prepared, 3), said

    return start


def luckiest(number: int, part: int) -> float:
    return {4: 2.0, 3: 1.0, 5: 3.0, 0: 4.0}[number] + 0.01 * part


def test_each_part_is_trained_once_in_order(run: Any, prepared: Prepared, tmp_path: Path) -> None:
    workers, store = Workers(luckiest), Store()
    found, said = run(workers, store)
    assert found.winner == 3
    assert workers.asked == [(part, number) for part in range(10) for number in (4, 3, 5, 0)]
    assert "confirming 4 trials on 10 parts of the search's rows: 40 trainings" in said
    on_study = store.noted[-1]
    assert on_study["metrics"]["confirm_rmse_mean"] == pytest.approx(1.045)
    assert (
        on_study["metrics"]["confirm_rmse_low"] < 1.045 < on_study["metrics"]["confirm_rmse_high"]
    )
    assert {note["trial"]: note["metrics"] for note in store.noted[:-1]}[0] == {
        "confirm_rmse_mean": pytest.approx(4.045)
    }
    fold = load_part(tmp_path / PARTS, 9)
    assert len(fold.train) + len(fold.valid) == len(prepared.rows.rest)
    assert fold.y_valid.shape == (len(fold.valid),)


@pytest.mark.parametrize(("left", "asked"), [(450.0, {4, 3, 5, 0}), (350.0, {4, 3, 0})])
def test_a_timeout_confirms_as_many_as_there_is_time_for(
    run: Any, left: float, asked: set[int]
) -> None:
    workers = Workers(luckiest)
    found, said = run(workers, Store(), seconds=10.0, left=left)
    assert {number for _, number in workers.asked} == asked
    assert found.winner == 3
    fewer = "the timeout leaves time to confirm 2 of the best 3 trials"
    assert (fewer in said) == (len(asked) == 3)


def test_without_time_the_best_trial_of_the_search_wins(run: Any) -> None:
    workers = Workers(luckiest)
    found, said = run(workers, Store(), seconds=10.0, left=10.0)
    assert found is None
    assert workers.asked == []
    assert said == [
        "the timeout leaves no time to confirm trials, so the best trial of the search wins"
    ]


def test_what_was_scored_is_not_trained_again(run: Any) -> None:
    store, stop = Store(), Stop()

    def interrupt(number: int, part: int) -> float:
        stop.level = StopLevel((part, number) == (6, 3))
        return luckiest(number, part)

    found, said = run(Workers(interrupt), store, stop)
    assert found is None
    assert "its scores are stored" in said[-1]
    again = Workers(luckiest)
    found, said = run(again, store)
    assert found.winner == 3
    assert len(again.asked) == 40 - 26
    assert "14 trainings, 26 are there already" in said[0]
    third = Workers(luckiest)
    assert run(third, store)[0] == found
    assert third.asked == []


def test_a_failure_costs_its_trial_only(run: Any) -> None:
    def fail(number: int, part: int) -> float:
        if number == 3 and part == 1:
            raise ValueError("no memory")
        return luckiest(number, part)

    workers, store = Workers(fail), Store()
    found, _ = run(workers, store)
    assert found.winner == 4
    assert found.failures == {3: "ValueError: no memory"}
    assert sum(number == 3 for _, number in workers.asked) == 2
    again = Workers(luckiest)
    assert run(again, store)[0] == found
    assert again.asked == []


def test_when_all_fail_the_search_has_the_word(run: Any) -> None:
    def fail(number: int, part: int) -> float:
        raise ValueError("no memory")

    found, said = run(Workers(fail), Store())
    assert found is None
    assert "no trial could be confirmed" in said[-1]


def test_scores_of_another_division_do_not_count(run: Any) -> None:
    store = Store()
    store.known = {4: Confirmed("another", 5.0, {0: 0.0})}
    workers = Workers(luckiest)
    run(workers, store)
    assert len(workers.asked) == 40


def test_a_tag_of_somebody_else_says_nothing() -> None:
    assert Confirmed.from_tag("") is None
    assert Confirmed.from_tag('{"a": 1}') is None
