"""Validations in MLflow: a parent run whose nested runs are studies, one for each outer fold.

The tag `hpo.outer` of a nested study names its outer fold. The result of the fold is written to
the study last, so the search of a fold without a result is resumed.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from hpo.errors import StudyError, reason
from pipelines.files.commands import command
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.lease import Driver, Lease
from pipelines.store.parents import experiment_id
from pipelines.store.studies import read_header
from pipelines.store.tracking import as_study_error, children, connect, read_tags, search
from pipelines.study.plan import Plan
from pipelines.table.source import DataPlan

ROLE = "validation"


@dataclass(frozen=True)
class FoldResult:
    """The result of the search in one outer fold.

    Attributes:
        number: of the fold, from 1.
        study: the run id of its study.
        trial: the number of the winner; -1 without one.
        inner: the winner's score in the search.
        outer: the score of its model on the held-out rows.
        low: the lower bound of `outer`.
        high: the upper bound of `outer`.
        params: the winner's configuration.
    """

    number: int
    study: str
    trial: int
    inner: float
    outer: float
    low: float
    high: float
    params: Mapping[str, Any]

    def to_tag(self) -> str:
        """JSON; without the configuration if that is too long for a tag."""
        text = json.dumps(asdict(self))
        return text if len(text) <= schema.MAX_TAG else json.dumps(asdict(self) | {"params": {}})

    @classmethod
    def from_tag(cls, text: str) -> "FoldResult | None":
        """Read what `to_tag` wrote; None for any other text."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Stored:
    """The studies of a validation, and the results of its finished folds, by outer fold."""

    studies: Mapping[int, str]
    results: Mapping[int, FoldResult]


def create(plan: Plan, data: DataPlan, folds: int, run_id: str | None) -> str:
    """Create the run of a validation, or use the run `run_id` of `mlflow run`.

    Returns:
        The run id.

    Raises:
        StudyError: when MLflow cannot be used.
    """
    client = connect()
    with as_study_error("the validation cannot be created"):
        run = _new_run(client, plan) if run_id is None else client.get_run(run_id)
        known = run.data.params
        client.log_batch(
            run.info.run_id,
            params=[Param(k, v) for k, v in _params(plan, data, folds).items() if k not in known],
            tags=[RunTag(k, v) for k, v in _tags(plan, data, folds, run.info.run_id).items()],
        )
    return str(run.info.run_id)


def _new_run(client: MlflowClient, plan: Plan) -> Run:
    tags = resolve_tags({schema.ROLE: ROLE})
    name = f"validation-{plan.model}-{plan.algorithm}"
    return client.create_run(experiment_id(client), tags=tags, run_name=name)


def _params(plan: Plan, data: DataPlan, folds: int) -> dict[str, str]:
    return {
        "folds": str(folds),
        "model": plan.model,
        "algorithm": plan.algorithm,
        "metric": plan.metric,
        "target": data.target,
        "trials": str(plan.extent.trials or "until the timeout"),
    }


def _tags(plan: Plan, data: DataPlan, folds: int, run_id: str) -> dict[str, str]:
    note = (
        f"Nested cross-validation of a search with **{plan.algorithm}** for **{plan.model}**, "
        f"{folds} outer folds, by **{plan.metric}**. Each outer fold is a nested study, whose "
        "search never sees the rows that the fold holds out.\n\n"
        f"If it was stopped, resume it with `{command('validate', resume=run_id)}`."
    )
    return {
        schema.ROLE: ROLE,
        schema.NOTE: note,
        "hpo.data.digest": data.digest,
        "hpo.metric": plan.metric,
        "hpo.split": data.split,
    }


def unfinished(data: DataPlan) -> list[str]:
    """The run ids of validations of a table and target that can be resumed.

    Only the current experiment is searched.

    Raises:
        StudyError: when MLflow cannot be read.
    """
    client, now = connect(), time.time()
    rule = (
        f"tags.`{schema.ROLE}` = '{ROLE}' AND tags.`hpo.data.digest` = '{data.digest}' "
        f"AND attributes.status != '{schema.FINISHED}'"
    )
    with as_study_error("earlier validations cannot be read"):
        runs = list(search(client, [experiment_id(client)], rule))
    of_target = [run for run in runs if run.data.params.get("target") == data.target]
    stopped = [str(run.info.run_id) for run in of_target if not _has_driver(run, now)]
    return [run_id for run_id in stopped if stored(run_id).studies]


def _has_driver(run: Run, now: float) -> bool:
    driver = Driver.from_tag(run.data.tags.get(schema.DRIVER))
    return driver is not None and driver.alive(now)


@contextmanager
def driving(run_id: str) -> Iterator[None]:
    """Hold the lease of a validation, whose run is RUNNING meanwhile.

    An exception that leaves the context is written to the run, which ends as FAILED or KILLED.

    Raises:
        StudyError: when another process drives it, before anything is changed.
    """
    client = connect()

    def write(driver: str) -> None:
        client.set_tag(run_id, schema.DRIVER, driver)

    def read() -> str | None:
        return read_tags(client, run_id).get(schema.DRIVER)

    lease = Lease(run_id, read, write, "validation")
    with as_study_error(f"validation {run_id} cannot be opened"):
        lease.acquire()
        client.update_run(run_id, status=schema.RUNNING)
        if schema.FAILURE in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, schema.FAILURE)
    try:
        yield
    except BaseException as error:
        _end_after(error, client, run_id)
        raise
    finally:
        with suppress(MlflowException):
            lease.release()


def _end_after(error: BaseException, client: MlflowClient, run_id: str) -> None:
    """End the run of a validation that `error` stopped, if MLflow can be reached."""
    status = schema.KILLED if isinstance(error, KeyboardInterrupt) else schema.FAILED
    with suppress(MlflowException):
        client.set_tag(run_id, schema.FAILURE, schema.cut(reason(error)))
        client.set_terminated(run_id, status)


def stored(run_id: str) -> Stored:
    """Read the studies and results of a validation.

    Two processes at once may have created two studies of one fold; the older one counts.

    Raises:
        StudyError: when the run is not a validation, or MLflow cannot be read.
    """
    client = connect()
    run = _find(client, run_id)
    with as_study_error(f"validation {run_id} cannot be read"):
        nested = children(client, run.info.experiment_id, run_id, "study")
    studies: dict[int, str] = {}
    results: dict[int, FoldResult] = {}
    for study in sorted(nested, key=_age):
        tags = study.data.tags
        if schema.SCHEMA not in tags or schema.OUTER not in tags:
            continue
        number = int(tags[schema.OUTER].partition("/")[0])
        studies.setdefault(number, str(study.info.run_id))
        result = FoldResult.from_tag(tags.get(schema.OUTER_RESULT, ""))
        if result is not None:
            results.setdefault(number, result)
    return Stored(studies, results)


def _find(client: MlflowClient, run_id: str) -> Run:
    """The run of a validation."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)}; give the run id of a "
            "validation"
        ) from error
    if run.data.tags.get(schema.ROLE) != ROLE:
        raise StudyError(
            f"run {run_id} is not a validation; to resume a study, use `tune` with study={run_id}"
        )
    return run


def _age(study: Run) -> tuple[int, str]:
    return study.info.start_time, study.info.run_id


def read_plan(run_id: str) -> tuple[Plan, DataPlan]:
    """The plan that the studies of a validation share, and the table of one of them.

    Raises:
        StudyError: when the validation has no study yet.
    """
    studies = stored(run_id).studies
    if not studies:
        raise StudyError(
            f"validation {run_id} was stopped before its first study began; start a new one"
        )
    header = read_header(connect(), next(iter(studies.values())))
    return Plan.from_header(header), DataPlan.from_header(header)


def save_fold(result: FoldResult) -> None:
    """Write the result of a fold to its study, which marks the fold as finished."""
    with as_study_error(f"outer fold {result.number} cannot be written"):
        connect().set_tag(result.study, schema.OUTER_RESULT, result.to_tag())


def finish(
    run_id: str, status: str, metrics: Mapping[str, float], summary: Mapping[str, Any] | None
) -> None:
    """Write the result so far to the run of a validation, and end the run."""
    now = round(time.time() * 1000)
    client = connect()
    points = [Metric(name, value, now, 0) for name, value in metrics.items()]
    tags = [RunTag(schema.VALIDATION, schema.cut(json.dumps(summary)))] if summary else []
    with as_study_error(f"validation {run_id} cannot be written"):
        client.log_batch(run_id, metrics=points, tags=tags)
        client.set_terminated(run_id, status)
