"""A session with an objective that is no table: it needs nothing but the protocol."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hpo.configurations import by_value
from hpo.errors import StudyError
from hpo.goals import Goal, Goals
from hpo.loop import Job
from hpo.space import Float, SearchSpace
from hpo.trial import Report, Trial
from hpo.workers.cores import WorkerPlan
from hpo.workers.inline import InlineExecutor
from pipelines.files.exchange import Exchange
from pipelines.report import StudyReport, report
from pipelines.store import StudyStore
from pipelines.store.storage import MlflowStorage
from pipelines.study import search
from pipelines.study.ending import Choice, Ending
from pipelines.study.objective import check_same, header_of
from pipelines.study.plan import Plan
from pipelines.study.report import save_report
from pipelines.study.result import Outcome, StudyResult
from pipelines.study.session import Setup, run_study
from pipelines.study.workshop import Workshop
from tests import stores
from tests.memory import MemoryStore
from tests.plans import changed, plan

SPACE = SearchSpace((Float("x", -5.0, 5.0), Float("y", -5.0, 5.0)))
PLAN = plan(
    model="paraboloid",
    goals=Goals((Goal("height", "maximize"),)),
    space=SPACE,
    trials=12,
    first_points=(),
    algorithm="tpe",
)


class Paraboloid:
    """Its height at (x, y), which is to be maximised; the parameters are all that is left of it."""

    goal = Goal("height", "maximize")
    name = "paraboloid"
    identity = staticmethod(by_value)
    again: ClassVar[Mapping[str, str | None]] = {}
    notes: Sequence[str] = ()

    def __init__(self, version: int = 1) -> None:
        self.fingerprint = {"version": version}
        self.reports = 0

    def described(self) -> Mapping[str, Any]:
        return {"data": self.fingerprint}

    def meta_features(self) -> None:
        return None

    def describe(self) -> str:
        return "a paraboloid"

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        exchange.put("top", lambda folder: (folder / "top.txt").write_text("1"))

    def baselines(self) -> Mapping[str, Any]:
        return {"corner": Job(-1, {"x": -5.0, "y": -5.0}, 0, 1)}

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        self.reports += 1


class Peak:
    """Its end: the best trial wins, and nothing is trained."""

    def __init__(self) -> None:
        self.earlier: Outcome | None = None
        self.ends: list[str] = []

    def seconds(self, trials: Sequence[Trial], workers: int) -> float:
        return 0.0

    def choose(self, best: Trial, ending: Ending) -> Choice:
        return Choice(best)

    def finished(self, choice: Choice, ending: Ending) -> Outcome | None:
        return self.earlier

    def ensure_model(self, choice: Choice, ending: Ending) -> Choice:
        self.ends.append("trained")
        return choice

    def finish(self, choice: Choice, ending: Ending) -> Outcome:
        ending.store.notes.set_winner(choice.winner.number)
        self.ends.append("logged")
        return Outcome({})


def worker(uri: str) -> Callable[[Job], Report]:
    """Reads the exchange with its first job, as workers do."""

    def evaluate(job: Job) -> Report:
        top = float((Exchange(uri).get("top") / "top.txt").read_text())
        x, y = float(job.params["x"]), float(job.params["y"])
        height = top - (x - 1) ** 2 - (y + 2) ** 2
        return Report(job.to, Paraboloid.goal.to_loss(height), {"height": height}, 0.01)

    return evaluate


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., StudyResult]:
    exchange = Exchange(str(tmp_path))

    def run(
        store: StudyStore,
        chosen: Plan = PLAN,
        objective: Paraboloid | None = None,
        conclusion: Peak | None = None,
        seconds: float = 0.0,
    ) -> Any:
        executor = InlineExecutor(worker, exchange.uri)
        opened = time.monotonic() - seconds
        shop = Workshop(executor, exchange, WorkerPlan(1, 1), lambda _: executor, opened=opened)
        make = save_report if isinstance(store, MlflowStorage) else None
        evaluated, end = objective or Paraboloid(), conclusion or Peak()
        return run_study(Setup(chosen, evaluated, end, shop, store, make_report=make))

    return run


def test_a_function_is_searched_without_mlflow(session: Callable[..., StudyResult]) -> None:
    store, objective = MemoryStore(), Paraboloid()
    result = session(store, objective=objective)
    heights = [trial.reports[0].metrics["height"] for trial in result.trials]
    assert len(heights) == objective.reports == PLAN.extent.trials
    assert result.best_score == max(heights)
    assert store.notes.winner == result.trials[heights.index(max(heights))].number
    assert store.notes.baselines == {"corner": {"height": -44.0}}
    assert store.closed == ["FINISHED", None]


def test_a_timeout_counts_what_comes_before_the_search(
    session: Callable[..., StudyResult],
) -> None:
    objective, chosen, read = Paraboloid(), changed(PLAN, timeout=3_000.0), 9_000.0
    late = session(MemoryStore(), chosen, objective, seconds=read)
    assert PLAN.extent.trials is not None
    assert len(late.trials) < PLAN.extent.trials  # the search waits for a first success alone
    assert late.winner is not None
    assert late.seconds > read
    in_time = session(MemoryStore(), chosen, objective, seconds=1_000.0)
    assert len(in_time.trials) == PLAN.extent.trials


def test_a_timeout_that_is_too_short_for_one_trial_is_an_error(
    session: Callable[..., StudyResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "patience", lambda timeout, before: timeout)
    store = MemoryStore()
    with pytest.raises(StudyError, match="timeout=1e-09: no trial .* resume with study=.*longer"):
        session(store, changed(PLAN, timeout=1e-9), Paraboloid())
    assert store.closed[0] == "FAILED"


def test_what_an_earlier_session_has_stored_is_not_made_again(
    session: Callable[..., StudyResult],
) -> None:
    store, first, second = MemoryStore(), Peak(), Peak()
    session(store, conclusion=first)
    assert first.ends == ["trained", "logged"]
    second.earlier = Outcome({"height": 7.0})
    assert session(store, conclusion=second).test == {"height": 7.0}
    assert second.ends == []


def test_a_resumed_session_goes_on_as_one_without_interruption(
    session: Callable[..., StudyResult],
) -> None:
    store = MemoryStore()
    session(store, changed(PLAN, trials=5))
    resumed = session(store)
    whole = session(MemoryStore())
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> MlflowStorage:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores.sqlite_uri())
    header = header_of(PLAN, Paraboloid())
    return MlflowStorage.create(header, experiment="paraboloid", connection=stores.connection())


def test_a_function_in_mlflow_is_resumed_and_reported(
    session: Callable[..., StudyResult], storage: MlflowStorage
) -> None:
    session(storage, changed(PLAN, trials=5))
    again = stores.reopen(storage.run_id)
    check_same(Paraboloid(), again.header)
    with pytest.raises(StudyError, match="version was 1, but now it is 2; pass the data"):
        check_same(Paraboloid(version=2), again.header)
    result = session(again)
    assert len(result.trials) == PLAN.extent.trials
    assert result.report is not None
    shown = report(study=storage.run_id)
    assert isinstance(shown, StudyReport)
    assert shown.rows[0]["metrics"]["height"] == result.best_score
    assert f"height {result.best_score:.5g}" in str(shown)
    assert "tpe over paraboloid, 12 trials" in str(shown)
