"""The run of a trial is active while the user's code runs, so that its own MLflow calls log there.

A script calls `mlflow.start_run()` and expects a run of its own. In a trial it gets the trial's,
which ends with the evaluation and not before; `start_run(nested=True)` makes a child of it. So two
functions of MLflow are replaced, once in each process that evaluates the user's code. Outside of a
trial they do what MLflow's own do.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, RunData, RunInfo, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import utils

from pipelines.files.environment import environment
from pipelines.store import schema

PATIENCE = 20.0  # seconds to wait for the run of a trial; without it, the code's MLflow calls fail
_PAUSES = (0.02, 0.5)  # seconds between two looks for it, the first and the longest
_start, _end = mlflow.start_run, mlflow.end_run


@dataclass(frozen=True)
class Place:
    """Where the run of a trial is, or will be.

    Attributes:
        tracking_uri: of the store.
        experiment_id: of the study; further runs are made in it.
        study: the run id of the study.
        number: of the trial.
        run_id: of the trial; None while the driver does not know it.
    """

    tracking_uri: str
    experiment_id: str
    study: str
    number: int
    run_id: str | None = None

    def found(self) -> str:
        """The id of the run; waits until it is in MLflow.

        Raises:
            MlflowException: when it is not after a while.
        """
        client, pause, until = MlflowClient(self.tracking_uri), _PAUSES[0], time.time() + PATIENCE
        rule = (
            f"tags.`{schema.PARENT_RUN}` = '{self.study}' "
            f"AND tags.`{schema.NUMBER}` = '{self.number}'"
        )
        while not (runs := client.search_runs([self.experiment_id], rule, max_results=1)):
            if time.time() > until:
                raise MlflowException(
                    f"the run of trial {self.number} is not in MLflow after {PATIENCE:g} s"
                )
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
        return str(runs[0].info.run_id)


class TrialRun(mlflow.ActiveRun):
    """The run of a trial. If its id is not known, MLflow is asked when the code first needs it.

    Most functions make no MLflow calls, and their trials need not wait until the run is written.

    Attributes:
        was_used: whether the code has used it.
        place: where it is, or will be.
    """

    def __init__(self, place: Place) -> None:
        run = Run(_info(place, place.run_id or ""), RunData())
        super().__init__(run)  # type: ignore[no-untyped-call]
        self.was_used = False
        self.place = place

    @property
    def info(self) -> RunInfo:
        """Its id and experiment."""
        if not self.was_used and self.place.run_id is None:
            self._info = _info(self.place, self.place.found())
        self.was_used = True
        return self._info


def _info(place: Place, run_id: str) -> RunInfo:
    status = RunStatus.to_string(RunStatus.RUNNING)
    return RunInfo(run_id, place.experiment_id, "", status, 0, None, "active")


class _Current:
    """The trial that this process evaluates.

    Attributes:
        run: of the trial; None outside of trials.
    """

    run: TrialRun | None = None


def install() -> None:
    """Replace MLflow's functions where its callers look them up, before they import them."""
    for module in (mlflow, fluent):
        places: Any = module
        places.start_run, places.end_run = _start_run, _end_run


@contextmanager
def active(place: Place) -> Iterator[TrialRun]:
    """Make the run of a trial active without asking the store.

    Runs, the store and the experiment that were active before are so again after.
    """
    install()
    stack, depth = _stack(), len(_stack())
    uri: str | None = utils._tracking_uri  # None where the environment has it
    own: Any = fluent
    experiment = own._active_experiment_id
    where = {
        "MLFLOW_TRACKING_URI": place.tracking_uri,
        "MLFLOW_EXPERIMENT_ID": place.experiment_id,
    }
    with environment(where):
        mlflow.set_tracking_uri(place.tracking_uri)
        run = _Current.run = TrialRun(place)
        stack.append(run)
        try:
            yield run
        finally:
            _Current.run = None
            while len(stack) > depth:
                if stack[-1] is run:
                    stack.pop()
                else:  # a nested run that the code did not end
                    _end(RunStatus.to_string(RunStatus.FAILED))
            own._active_experiment_id = experiment
            mlflow.set_tracking_uri(uri)  # type: ignore[arg-type]  # None is none


def _stack() -> list[mlflow.ActiveRun]:
    own: Any = fluent
    found: list[mlflow.ActiveRun] = own._active_run_stack.get()
    return found


def _start_run(run_id: str | None = None, *args: Any, **options: Any) -> Any:
    run, stack = _Current.run, _stack()
    is_last = run is not None and bool(stack) and stack[-1] is run
    if run is not None and mlflow.get_tracking_uri() != run.place.tracking_uri:
        return _start(run_id, *args, **{**options, "nested": True})  # a run in another store
    is_its_own = is_last and not options.get("nested")
    if run is not None and is_its_own and run_id in (None, run.info.run_id):
        if tags := options.get("tags"):
            mlflow.set_tags(tags)
        return run
    return _start(run_id, *args, **options)


def _end_run(*args: Any, **options: Any) -> None:
    stack = _stack()
    if _Current.run is None or not stack or stack[-1] is not _Current.run:
        _end(*args, **options)
