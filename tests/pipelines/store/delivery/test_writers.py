"""Writing when answers are lost or runs are deleted."""

import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from hpo.errors import StudyError
from hpo.trial import Report, Trial
from pipelines.store import study_run
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.delivery.writers import CallWriter, ClientRuns
from pipelines.store.records import Record
from pipelines.store.tracking import children
from tests import stores


@pytest.mark.parametrize("arrives", [True, False])
def test_a_run_whose_answer_was_lost_is_looked_up_before_it_is_made_again(arrives: bool) -> None:
    class Lossy(ClientRuns):
        made: ClassVar[list[str]] = []

        def create(self, *args: Any) -> str:
            lost = not Lossy.made
            Lossy.made.append(super().create(*args) if arrives or not lost else "")
            if lost:
                raise MlflowException(
                    "timed out", error_code=databricks_pb2.TEMPORARILY_UNAVAILABLE
                )
            return Lossy.made[-1]

    store = stores.study(make_writer=lambda c, e, r, known: CallWriter(Lossy(c), e, known))
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.update(Trial(0, {"rate": 0.5}, 1).with_outcome(Report(1, -0.5, {"auc": 0.5})))
    assert store.close()
    runs = children(stores.client(), store.experiment_id, store.run_id)
    assert [run.data.tags.get("hpo.trial.number") for run in runs] == ["0"]
    assert [run.info.run_id for run in runs] == Lossy.made[-1:]
    assert len(Lossy.made) == (1 if arrives else 2)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_requests_grow_with_the_records_and_the_share_that_is_refused(share: float) -> None:
    class Refusing:
        """Refuses a share of the requests, half of them after they had their effect."""

        def __init__(self) -> None:
            self.asked, self.runs, self.rng = 0, dict[str, str](), random.Random(1)

        def ask(self, effect: Callable[[], Any]) -> Any:
            self.asked += 1
            refused = self.rng.random() < share
            result = None if refused and self.rng.random() < 0.5 else effect()
            if refused:
                raise MlflowException("slow down", databricks_pb2.REQUEST_LIMIT_EXCEEDED)
            return result

        def create(self, experiment: str, name: str, start: int, tags: dict[str, str]) -> Any:
            assert name not in self.runs, "a run was made twice"
            return self.ask(lambda: self.runs.setdefault(name, f"id-of-{name}"))

        def find(self, experiment: str, rule: str) -> Any:
            return self.ask(lambda: self.runs.get(rule.rpartition(" = ")[2].strip("'")))

        def log(self, *_: object) -> Any:
            return self.ask(lambda: None)

        def set_status(self, *_: object) -> Any:
            return self.ask(lambda: None)

    runs, n = Refusing(), 200
    left = [
        Record(f"t{i}", f"t{i}", metrics=(("m", 1.0, 1, 1),), mark=("n", str(i)), status="FINISHED")
        for i in range(n)
    ]
    write, attempts = CallWriter(runs, "0", {"study": "s"}, pauses=(0, 0, 0)), 0
    while left:
        attempts += 1
        try:
            write(left)
            break
        except Unreachable as error:
            left = [record for record in left if record.key not in error.written]
    assert len(runs.runs) == n
    assert runs.asked < 3 * n / (1 - share) * 1.4
    assert attempts <= 1 + 3 * n * share**4 * 3  # a request in 3 n fails four times in a row


@pytest.mark.parametrize("make_writer", [None, stores.calls])
def test_a_deleted_study_ends_its_driver_with_a_word(
    make_writer: study_run.WriterMaker | None,
) -> None:
    store = stores.study(make_writer=make_writer)
    stores.client().delete_run(store.run_id)
    store.add(Trial(0, {"rate": 0.5}, 1))
    store.notes.annotate(tags={"note": "call by call, the trial alone would still be written"})
    with pytest.raises(StudyError, match=r"deleted|active"):
        store.flush()
    with pytest.raises(StudyError):
        store.close()
    stores.client().restore_run(store.run_id)
    again = stores.reopen(store.run_id)
    assert [trial.number for trial in again.load()] == [0]
    again.close()


@pytest.mark.parametrize("make_writer", [None, stores.calls])
def test_a_deleted_trial_does_not_end_the_study(make_writer: study_run.WriterMaker | None) -> None:
    store = stores.study(make_writer=make_writer)
    trial = Trial(0, {"rate": 0.5}, 1)
    store.add(trial)
    store.flush()
    stores.client().delete_run(store.trial_run_id(0))
    store.update(trial.with_outcome(Report(1, -0.5, {"auc": 0.5})))
    store.add(Trial(1, {"rate": 0.5}, 1))
    assert store.close()
    assert stores.client().get_run(store.trial_run_id(1)).info.status == "KILLED"


class Batches(ClientRuns):
    """Collects the sizes of batches: metrics, parameters, tags."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int, int]] = []

    def log(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        self.sizes.append((len(metrics), len(params), len(tags)))


@pytest.mark.parametrize(
    ("n_metrics", "n_params", "n_tags", "sizes"),
    [
        (1, 1, 1, [(1, 1, 1)]),
        (0, 0, 0, []),
        (0, 250, 1, [(0, 100, 0), (0, 100, 0), (0, 50, 1)]),
        (2_100, 50, 1, [(950, 50, 0), (1_000, 0, 0), (150, 0, 1)]),
        (1_000, 0, 1, [(1_000, 0, 0), (0, 0, 1)]),
        (1, 1, 101, [(1, 1, 0), (0, 0, 101)]),
    ],
)
def test_batches_respect_the_limits_of_mlflow(
    n_metrics: int, n_params: int, n_tags: int, sizes: list[tuple[int, int, int]]
) -> None:
    runs = Batches()
    record = Record(
        "trial-0",
        tags={f"t{i}": "x" for i in range(n_tags)},
        params={f"p{i}": "1" for i in range(n_params)},
        metrics=tuple((f"m{i}", 1.0, 1, 1) for i in range(n_metrics)),
    )
    CallWriter(runs, "0", {"trial-0": "r"})([record])
    assert runs.sizes == sizes
