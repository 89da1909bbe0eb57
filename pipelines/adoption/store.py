"""Adopted studies in MLflow.

Each is a run of its own that lists the runs it was made from. Those are read and never written, so
deleting the run undoes an adoption.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from hpo.errors import ParameterError, StudyError, closest
from pipelines.adoption.optuna import STORAGE
from pipelines.adoption.runs import ForeignPlace, ForeignRun
from pipelines.adoption.study import ADOPTED, AdoptedStudy
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.parents import end_as_failed, parent_run, write_study
from pipelines.store.studies import read_header
from pipelines.store.summaries import summary_of, summary_tags
from pipelines.store.tracking import as_study_error, experiments, first_line, search


@dataclass(frozen=True)
class _Adopted:
    """An adopted study.

    Attributes:
        run_id: Its run id.
        experiment_id: The experiment that it was adopted from, or the study of Optuna.
        experiment: The name that the experiment had then.
    """

    run_id: str
    experiment_id: str
    experiment: str

    @classmethod
    def of(cls, run: Run) -> "_Adopted":
        """The adopted study of a run with the tags of one."""
        tags = run.data.tags
        return cls(run.info.run_id, tags[schema.ADOPTED_ID], tags[schema.ADOPTED])


def place_of(client: MlflowClient, name: str, rule: str, without: str | None) -> ForeignPlace:
    """The experiment of this name with its active runs that match MLflow's filter `rule`.

    `without` is the id of a run to leave out.

    Raises:
        ParameterError: If there is none, or MLflow rejects the filter.
        StudyError: If the runs cannot be read.
    """
    found = _experiment(client, name)
    runs = tuple(_runs(client, found, rule, without))
    return ForeignPlace(str(found.name), str(found.experiment_id), runs)


def _experiment(client: MlflowClient, name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        ParameterError: If there is none, or it was deleted.
    """
    with as_study_error(f"experiment {name!r} cannot be looked up"):
        found = client.get_experiment_by_name(name)
        others = experiments(client) if found is None else []
    if found is None:
        hint = closest(name, (str(other.name) for other in others))
        raise ParameterError(
            f"there is no experiment {name!r} in {safe(client.tracking_uri)}{hint}"
        )
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise ParameterError(f"experiment {name!r} was deleted; restore it in MLflow first")
    return found


def _runs(
    client: MlflowClient, experiment: Experiment, rule: str, without: str | None
) -> list[ForeignRun]:
    try:
        found = search(client, [experiment.experiment_id], rule)
        return [_plain(run) for run in found if run.info.run_id != without]
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise StudyError(
                f"the runs of {experiment.name!r} cannot be read: {first_line(error)}"
            ) from error
        raise ParameterError(
            f"MLflow rejects filter={rule!r}: {first_line(error)}; its run search takes rules such "
            "as params.kind = 'a'"
        ) from error


def _plain(run: Run) -> ForeignRun:
    data = run.data
    return ForeignRun(run.info.run_id, run.info.status, data.tags, data.params, data.metrics)


def adopted_from(client: MlflowClient, experiment: str) -> list[str]:
    """The run ids of the studies that were adopted from the experiment with this name.

    A deleted experiment is found by the name that it had when it was adopted.

    Raises:
        ParameterError: If there are none; the message lists the adopted experiments.
    """
    studies = _adopted_studies(client)
    with as_study_error("the experiments of adopted studies cannot be looked up"):
        current = _current_names(client, {study.experiment_id for study in studies})
    existing: dict[str, list[str]] = defaultdict(list)
    deleted: dict[str, list[str]] = defaultdict(list)
    for study in studies:
        if name := current[study.experiment_id]:
            existing[name].append(study.run_id)
        else:
            deleted[study.experiment].append(study.run_id)
    of_storage = [
        study for name in deleted if _storage(name) == experiment for study in deleted[name]
    ]
    found = existing.get(experiment) or deleted.get(experiment) or of_storage
    if not found:
        raise ParameterError(_not_adopted(experiment, sorted({*existing, *deleted})))
    return found


def _storage(name: str) -> str:
    """The URL of an Optuna storage, without the name of a study in it."""
    return name.partition("#")[0] if "://" in name else ""


def _not_adopted(experiment: str, names: Sequence[str]) -> str:
    known = f"adopted are: {', '.join(map(repr, names))}" if names else "nothing is adopted here"
    hint = closest(experiment, names)
    what = "" if "://" in experiment else "experiment "
    return f"no study was adopted from {what}{experiment!r}{hint}; {known}"


def _current_names(client: MlflowClient, ids: Iterable[str]) -> dict[str, str | None]:
    """The current names of experiments by id; None for those of Optuna, or that do not exist."""
    names: dict[str, str | None] = dict.fromkeys(ids)
    for experiment_id in names:
        if experiment_id.startswith(STORAGE):
            continue
        try:
            names[experiment_id] = client.get_experiment(experiment_id).name
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return names


def _adopted_studies(client: MlflowClient) -> list[_Adopted]:
    with as_study_error("adopted studies cannot be looked up"):
        ids = [str(experiment.experiment_id) for experiment in experiments(client)]
        found = search(client, ids, f"tags.`{schema.ADOPTED_ID}` LIKE '%'") if ids else ()
        return [_Adopted.of(run) for run in found]


def overlapping(client: MlflowClient, place: ForeignPlace, run_ids: Iterable[str]) -> list[str]:
    """The run ids of studies that were adopted from a place and contain any of these runs."""
    wanted = frozenset(run_ids)
    return [
        study.run_id
        for study in _adopted_studies(client)
        if study.experiment_id == place.source_id
        and wanted & _trial_runs(client, study.run_id, wanted)
    ]


def adopted_as(client: MlflowClient, source_id: str) -> list[str]:
    """The run ids of the studies that were adopted from what has this id."""
    return [s.run_id for s in _adopted_studies(client) if s.experiment_id == source_id]


def _trial_runs(client: MlflowClient, study: str, default: frozenset[str]) -> frozenset[str]:
    """The ids of the runs that a study was adopted from; `default` if its header is unreadable."""
    try:
        trials = read_header(client, study)[ADOPTED]["trials"]
        return frozenset(trial["run_id"] for trial in trials)
    except (StudyError, KeyError, TypeError):
        return default


def save_study(
    client: MlflowClient, name: str, source_id: str, study: AdoptedStudy, run_id: str | None
) -> str:
    """Write an adopted study and return its run id.

    Args:
        client: A client of the store.
        name: Of the experiment that its trials were logged in, or of the study of Optuna.
        source_id: The id of that experiment or study.
        study: What to write.
        run_id: The run to write it to, that of `mlflow run`; None for a new run.

    Raises:
        StudyError: If it cannot be written.
    """
    header = study.header
    with as_study_error("the adopted study cannot be written"), ExitStack() as on_failure:
        run = parent_run(client, run_id, None, f"adopted-{name}"[:250], header)
        saved = str(run.info.run_id)
        on_failure.push(partial(end_as_failed, client, saved))
        tags = summary_tags(summary_of(header, saved, study.trials))
        tags |= {schema.ADOPTED: name, schema.ADOPTED_ID: source_id}
        best, time, step = f"best_{header['metric']}", run.info.start_time, len(study.trials)
        client.log_batch(
            saved,
            [Metric(best, study.best_value, time, step)],
            tags=[RunTag(*tag) for tag in tags.items()],
            synchronous=True,
        )
        write_study(client, client.get_run(saved), header, description=study.description)
        client.set_terminated(saved, schema.FINISHED)
    return saved


def delete_studies(client: MlflowClient, run_ids: Iterable[str]) -> None:
    """Move adopted studies to MLflow's trash."""
    with as_study_error("an adopted study cannot be deleted"):
        for run_id in run_ids:
            client.delete_run(run_id)
