"""What a watcher reads of a study, and how often."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.errors import StudyError
from hpo.trial import Failure, Report, Trial
from pipelines.store import studies, tracking
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.storage import MlflowStorage
from pipelines.store.studies import Follower
from tests import stores


def follower(storage: MlflowStorage, uri: str | None = None) -> Follower:
    return Follower(storage.run_id, tracking_uri=uri or stores.sqlite_uri(), pause=0.0)


def report(storage: MlflowStorage, trial: Trial, auc: float | None) -> Trial:
    outcome = Failure("boom") if auc is None else Report(trial.budget, -auc, {"auc": auc}, 0.5)
    told = trial.with_outcome(outcome)
    storage.update(told)
    return told


@pytest.mark.parametrize("kind", ["sqlite in bulk", "http"])
def test_what_changes_is_read(kind: str) -> None:
    uri, writer = stores.STORES[kind]()
    storage = stores.study(uri, writer, rungs=[1, 3])
    follows = follower(storage, uri)
    first, second = Trial(0, {"rate": 0.5}, 1), Trial(1, {"rate": 0.1}, 1)
    storage.add(first)
    storage.add(second)
    storage.flush()
    follows.refresh()
    assert [seen.is_running for seen in follows.trials.values()] == [True, True]
    told = report(storage, first, 0.7)
    report(storage, second, None)
    storage.flush()
    follows.refresh()
    assert follows.trials[0].trial.loss == -0.7
    assert follows.trials[1].trial.failure == "boom"
    storage.update(Trial(0, told.params, 3, told.origin, told.reports))  # it is promoted
    storage.flush()
    follows.refresh()
    assert follows.trials[0].is_running
    assert not follows.is_over
    storage.close()
    follows.refresh()
    assert follows.is_over
    assert follows.is_whole
    assert follows.trials[0].status == "KILLED"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["add", "report", "fail", "promote", "look"]), max_size=25))
def test_it_knows_what_the_study_knows(steps: list[str]) -> None:
    storage = stores.study(rungs=[1, 3])
    follows = follower(storage)
    trials: list[Trial] = []
    for step in [*steps, "look"]:
        running = next((trial for trial in trials if not trial.finished), None)
        paused = next((t for t in trials if t.finished and not t.failure and t.budget < 3), None)
        if step == "add":
            trials.append(Trial(len(trials), {"rate": 0.5}, 1))
            storage.add(trials[-1])
        elif step == "promote" and paused:
            up = Trial(paused.number, paused.params, 3, paused.origin, paused.reports)
            storage.update(up)
            trials[up.number] = up
        elif step in ("report", "fail") and running:
            auc = None if step == "fail" else running.number / 10
            trials[running.number] = report(storage, running, auc)
        elif step == "look":
            storage.flush()
            follows.refresh()
            known = [follows.trials[number].trial for number in sorted(follows.trials)]
            assert known == storage.load()
    storage.close()


def test_three_requests_at_most_one_in_each_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stores.study()
    rules: list[str] = []
    waits: list[float] = []
    real: Callable[..., object] = tracking.search

    def counted(client: object, experiments: object, rule: str) -> object:
        rules.append(rule)
        return real(client, experiments, rule)

    for module in (studies, tracking):  # what asks for the study, and for its trials
        monkeypatch.setattr(module, "search", counted)
    follows = Follower(
        storage.run_id, tracking_uri=stores.sqlite_uri(), pause=30.0, sleep=waits.append
    )
    storage.add(Trial(0, {"rate": 0.5}, 1))
    storage.flush()
    follows.refresh()
    assert len(rules) == len(waits) == 2  # the study, and all trials
    follows.refresh()
    assert len(rules) == len(waits) == 5
    assert min(waits) > 20.0
    storage.close()


def test_what_was_written_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "OVERLAP", 0.0)
    storage = stores.study()
    slow, fast, first = (Trial(number, {"rate": 0.5}, 1) for number in range(3))
    for trial in (slow, fast, first):
        storage.add(trial)
    report(storage, first, 0.3)
    storage.flush()
    follows = follower(storage)
    follows.refresh()
    report(storage, slow, 0.1)
    storage.flush()
    end = stores.client().get_run(storage.trial_run_id(0)).info.end_time
    stores.client().set_terminated(storage.trial_run_id(0), end_time=end - 60_000)
    report(storage, fast, 0.2)
    storage.flush()
    follows.refresh()
    assert follows.trials[0].is_running  # its end is older than what is asked for
    assert not follows.is_whole
    follows.refresh()
    assert follows.trials[0].trial.loss == -0.1
    storage.close()


def test_a_study_that_is_gone_and_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match="no run 'nonsense'"):
        Follower("nonsense", tracking_uri=stores.sqlite_uri())
    storage = stores.study(stores.http_uri())
    storage.close()
    follows = follower(storage, stores.http_uri())
    with monkeypatch.context() as patch:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

        def away(*_: object, **__: object) -> object:
            raise MlflowException("no answer", TEMPORARILY_UNAVAILABLE)

        patch.setattr(tracking, "rest_call", away)
        patch.setattr("time.sleep", lambda _: None)
        with pytest.raises(Unreachable, match="no answer"):
            follows.refresh()
    follows.refresh()
    stores.client(stores.http_uri()).delete_run(storage.run_id)
    with pytest.raises(StudyError, match="was deleted"):
        follows.refresh()
