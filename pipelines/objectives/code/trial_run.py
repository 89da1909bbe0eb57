"""The run of a trial is active while the user's code runs, so that its own MLflow calls log there.

A script calls `mlflow.start_run()` and expects a run of its own. In a trial it gets the trial's,
which ends with the evaluation and not before; `start_run(nested=True)` makes a child of it. So two
functions of MLflow are replaced in worker processes, and only there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import Run, RunData, RunInfo, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

_CONTEXT = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID")


@contextmanager
def active(run_id: str | None, experiment_id: str, tracking_uri: str) -> Iterator[None]:
    """Make a run active without asking the store.

    Args:
        run_id: of the trial; None when it is not written yet because MLflow does not answer: then
            code that uses MLflow fails.
        experiment_id: in which further runs are made.
        tracking_uri: of the store.
    """
    own: Any = fluent
    stack: list[mlflow.ActiveRun] = own._active_run_stack.get()
    before = {name: os.environ.get(name) for name in _CONTEXT}
    os.environ.update(zip(_CONTEXT, (tracking_uri, experiment_id), strict=True))
    mlflow.set_tracking_uri(tracking_uri)
    started, ended = mlflow.start_run, mlflow.end_run
    run = None if run_id is None else _run(run_id, experiment_id)
    _replace(_starter(started, run, stack), _ender(ended, run, stack))
    if run is not None:
        stack.append(run)
    try:
        yield
    finally:
        while stack and stack[-1] is not run:  # nested runs that the code did not end
            ended(RunStatus.to_string(RunStatus.FAILED))
        stack.clear()
        _replace(started, ended)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _run(run_id: str, experiment_id: str) -> mlflow.ActiveRun:
    status = RunStatus.to_string(RunStatus.RUNNING)
    info = RunInfo(run_id, experiment_id, "", status, 0, None, "active")
    return mlflow.ActiveRun(Run(info, RunData()))  # type: ignore[no-untyped-call]


def _replace(start: Callable[..., Any], end: Callable[..., Any]) -> None:
    """Replace MLflow's functions where its callers look them up."""
    for module in (mlflow, fluent):
        places: Any = module
        places.start_run, places.end_run = start, end


def _starter(
    start: Callable[..., Any], run: mlflow.ActiveRun | None, stack: list[mlflow.ActiveRun]
) -> Callable[..., Any]:
    def start_run(run_id: str | None = None, *args: Any, **options: Any) -> Any:
        if run is None:
            raise MlflowException(
                "the trial's run is not in MLflow yet, because MLflow does not answer"
            )
        is_own = run_id in (None, run.info.run_id) and not options.get("nested")
        if is_own and stack and stack[-1] is run:
            if tags := options.get("tags"):
                mlflow.set_tags(tags)
            return run
        return start(run_id, *args, **options)

    return start_run


def _ender(
    end: Callable[..., Any], run: mlflow.ActiveRun | None, stack: list[mlflow.ActiveRun]
) -> Callable[..., Any]:
    def end_run(*args: Any, **options: Any) -> None:
        if not (stack and stack[-1] is run):
            end(*args, **options)

    return end_run
