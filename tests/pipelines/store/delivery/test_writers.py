"""Writing when answers are lost or runs are deleted."""

from typing import Any, ClassVar

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from hpo.errors import StudyError
from hpo.trial import Report, Trial
from pipelines.store import study_run
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
