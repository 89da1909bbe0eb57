"""Validations in MLflow: a parent run whose nested runs are studies, one for each outer fold.

The study of a fold is a study like any other, but that its tag `hpo.outer` says which part of the
table it held out. What came of it is written on it last, so a fold without that is searched on.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from hpo.errors import StudyError, UserError
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.lease import Driver, Lease
from pipelines.store.parents import experiment_id
from pipelines.store.studies import read_header
from pipelines.store.tracking import as_study_error, children, connect, search
from pipelines.study.plan import Plan
from pipelines.study.summary import command

ROLE = "validation"


@dataclass(frozen=True)
class FoldResult:
    """What the search came to in one outer fold.

    `study` and `trial` are its winner, `inner` the winner's score in the search, `outer` that of
    its model on the rows held out, with the bounds `low` and `high`; `params` is the winner's
    configuration.
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
        """As JSON; without the configuration where that is too long for a tag."""
        text = json.dumps(asdict(self))
        return text if len(text) <= schema.MAX_TAG else json.dumps(asdict(self) | {"params": {}})

    @classmethod
    def from_tag(cls, text: str) -> "FoldResult | None":
        """What `to_tag` wrote; None for anything else."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Begun:
    """The studies of a validation by outer fold, finished or not, and what came of those that are."""

    studies: Mapping[int, str]
    results: Mapping[int, FoldResult]


def begin(plan: Plan, folds: int, run_id: str | None) -> str:
    """The run id of a new validation, `run_id` where `mlflow run` has made it.

    Raises:
        StudyError: when MLflow cannot be used.
    """
    client = connect()
    with as_study_error("the validation cannot be created"):
        if run_id is None:
            tags = resolve_tags({schema.ROLE: ROLE})
            name = f"validation-{plan.model}-{plan.algorithm}"
            run = client.create_run(experiment_id(client), tags=tags, run_name=name)
        else:
            run = client.get_run(run_id)
        facts = {
            "folds": str(folds),
            "model": plan.model,
            "algorithm": plan.algorithm,
            "metric": plan.metric,
            "target": plan.data.target,
            "trials": str(plan.trials),
        }
        note = (
            f"Nested cross-validation of a search with **{plan.algorithm}** for **{plan.model}**, {folds} outer folds, "
            f"by **{plan.metric}**. In each, the whole search sees the other rows only; each is a nested study.\n\n"
            f"If it was stopped: `{command('validate', resume=run.info.run_id)}` goes on."
        )
        client.log_batch(
            run.info.run_id,
            params=[Param(k, v) for k, v in facts.items() if k not in run.data.params],
            tags=[
                RunTag(schema.ROLE, ROLE),
                RunTag(schema.NOTE, note),
                RunTag("hpo.data.digest", plan.data.digest),
                RunTag("hpo.metric", plan.metric),
                RunTag("hpo.split", plan.data.split),
            ],
        )
    return str(run.info.run_id)


def unfinished(plan: Plan) -> list[str]:
    """The run ids of validations of this table and target in this experiment that can be gone on with.

    Raises:
        StudyError: when MLflow cannot be read.
    """
    client, now = connect(), time.time()
    rule = f"tags.`{schema.ROLE}` = '{ROLE}' AND tags.`hpo.data.digest` = '{plan.data.digest}'"
    with as_study_error("earlier validations cannot be read"):
        found = list(
            search(
                client,
                [experiment_id(client)],
                f"{rule} AND attributes.status != '{schema.FINISHED}'",
            )
        )
    runs = [run for run in found if run.data.params.get("target") == plan.data.target]
    drivers = {
        str(run.info.run_id): Driver.from_tag(run.data.tags.get(schema.DRIVER)) for run in runs
    }
    left = [run_id for run_id, driver in drivers.items() if driver is None or not driver.alive(now)]
    return [run_id for run_id in left if begun(run_id).studies]


@contextmanager
def working_on(run_id: str) -> Iterator[None]:
    """While inside, the run of a validation is RUNNING and nobody else's; an error that leaves it is written on it.

    Raises:
        StudyError: when another process works on it, before anything is changed.
    """
    client = connect()

    def write(driver: str) -> None:
        client.set_tag(run_id, schema.DRIVER, driver)

    lease = Lease(client, run_id, write, "validation")
    with as_study_error(f"validation {run_id} cannot be opened"):
        lease.acquire()
        client.update_run(run_id, status=schema.RUNNING)
        if schema.FAILURE in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, schema.FAILURE)
    try:
        yield
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        with suppress(MlflowException):
            client.set_tag(run_id, schema.FAILURE, schema.cut(reason))
            interrupted = isinstance(error, KeyboardInterrupt)
            client.set_terminated(run_id, schema.KILLED if interrupted else schema.FAILED)
        raise
    finally:
        with suppress(MlflowException):
            lease.release()


def begun(run_id: str) -> Begun:
    """What there is of a validation; of two studies of one fold (two processes at once) the older counts.

    Raises:
        StudyError: when the run is no validation, or MLflow cannot be read.
    """
    client = connect()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)}; a validation is named by its run id"
        ) from error
    if run.data.tags.get(schema.ROLE) != ROLE:
        raise StudyError(
            f"run {run_id} is no validation; for a study, `tune` with study={run_id} goes on"
        )
    with as_study_error(f"validation {run_id} cannot be read"):
        below = children(client, run.info.experiment_id, run_id, "study")
    studies: dict[int, str] = {}
    results: dict[int, FoldResult] = {}
    for study in sorted(
        below, key=lambda study: (study.info.start_time, study.info.run_id), reverse=True
    ):
        tags = study.data.tags
        if schema.SCHEMA not in tags or schema.OUTER not in tags:
            continue
        number = int(tags[schema.OUTER].partition("/")[0])
        studies[number] = str(study.info.run_id)
        if found := FoldResult.from_tag(tags.get(schema.OUTER_RESULT, "")):
            results[number] = found
    return Begun(studies, results)


def plan_of(run_id: str, known: Begun) -> Plan:
    """The plan that the studies of a validation share, but for the outer fold.

    Raises:
        StudyError: when it has none yet.
    """
    if not known.studies:
        raise StudyError(
            f"validation {run_id} was stopped before its first study began; start a new one"
        )
    return Plan.from_header(read_header(connect(), next(iter(known.studies.values()))))


def keep_fold(result: FoldResult) -> None:
    """Write on the study of a fold what came of it: the fold is finished."""
    with as_study_error(f"outer fold {result.number} cannot be written"):
        connect().set_tag(result.study, schema.OUTER_RESULT, result.to_tag())


def end(
    run_id: str, status: str, metrics: Mapping[str, float], summary: Mapping[str, Any] | None
) -> None:
    """Write what a validation came to, so far, and end its run."""
    now = round(time.time() * 1000)
    client = connect()
    with as_study_error(f"validation {run_id} cannot be written"):
        tags = [RunTag(schema.VALIDATION, schema.cut(json.dumps(summary)))] if summary else []
        client.log_batch(
            run_id, metrics=[Metric(k, v, now, 0) for k, v in metrics.items()], tags=tags
        )
        client.set_terminated(run_id, status)
