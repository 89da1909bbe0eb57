"""The run of a trial is active while the user's code runs, so that its own MLflow calls log there.

A script calls `mlflow.start_run()` and expects a run of its own. In a trial it gets the trial's,
which ends with the evaluation and not before; `start_run(nested=True)` makes a child of it. So two
functions of MLflow are replaced, once in each process that evaluates the user's code. Outside of a
trial they do what MLflow's own do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import Run, RunData, RunInfo, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import utils

from pipelines.files.environment import environment

_start, _end = mlflow.start_run, mlflow.end_run


class _Current:
    """The trial that this process evaluates.

    Attributes:
        run: of the trial; None outside of trials.
        is_away: whether the trial has no run yet, because MLflow does not answer.
    """

    run: mlflow.ActiveRun | None = None
    is_away = False


def install() -> None:
    """Replace MLflow's functions where its callers look them up, before they import them."""
    for module in (mlflow, fluent):
        places: Any = module
        places.start_run, places.end_run = _start_run, _end_run


@contextmanager
def active(run_id: str | None, experiment_id: str, tracking_uri: str) -> Iterator[None]:
    """Make a run active without asking the store. Runs that were active before are so again after.

    Args:
        run_id: of the trial; None when it is not written yet because MLflow does not answer: then
            code that starts runs fails.
        experiment_id: in which further runs are made.
        tracking_uri: of the store.
    """
    install()
    stack, depth = _stack(), len(_stack())
    uri: str | None = utils._tracking_uri  # None where the environment has it
    with environment({"MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_EXPERIMENT_ID": experiment_id}):
        mlflow.set_tracking_uri(tracking_uri)
        run = None if run_id is None else _run(run_id, experiment_id)
        _Current.run, _Current.is_away = run, run is None
        if run is not None:
            stack.append(run)
        try:
            yield
        finally:
            _Current.run, _Current.is_away = None, False
            while len(stack) > depth:
                if stack[-1] is run:
                    stack.pop()
                else:  # a nested run that the code did not end
                    _end(RunStatus.to_string(RunStatus.FAILED))
            mlflow.set_tracking_uri(uri)  # type: ignore[arg-type]  # None is none


def _stack() -> list[mlflow.ActiveRun]:
    own: Any = fluent
    found: list[mlflow.ActiveRun] = own._active_run_stack.get()
    return found


def _run(run_id: str, experiment_id: str) -> mlflow.ActiveRun:
    status = RunStatus.to_string(RunStatus.RUNNING)
    info = RunInfo(run_id, experiment_id, "", status, 0, None, "active")
    return mlflow.ActiveRun(Run(info, RunData()))  # type: ignore[no-untyped-call]


def _start_run(run_id: str | None = None, *args: Any, **options: Any) -> Any:
    if _Current.is_away:
        raise MlflowException(
            "the trial's run is not in MLflow yet, because MLflow does not answer"
        )
    run, stack = _Current.run, _stack()
    is_asked = run is not None and run_id in (None, run.info.run_id) and not options.get("nested")
    if is_asked and stack and stack[-1] is run:
        if tags := options.get("tags"):
            mlflow.set_tags(tags)
        return run
    return _start(run_id, *args, **options)


def _end_run(*args: Any, **options: Any) -> None:
    stack = _stack()
    if _Current.run is None or not stack or stack[-1] is not _Current.run:
        _end(*args, **options)
