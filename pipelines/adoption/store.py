"""Adopted studies in MLflow.

Each is a run of its own that names the runs it was made of. Those are read and never written to, so
that to take an adoption back is to delete its run.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from hpo.errors import ParameterError, StudyError, closest
from hpo.trial import Trial
from pipelines.adoption.runs import ForeignRun
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.parents import end_as_failed, parent_run, write_study
from pipelines.store.studies import read_header
from pipelines.store.summaries import summary_of, summary_tags
from pipelines.store.tracking import as_study_error, experiments, first_line, search


def find_experiment(client: MlflowClient, name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        ParameterError: when there is none, naming the closest.
    """
    with as_study_error(f"experiment {name!r} cannot be looked up"):
        found = client.get_experiment_by_name(name)
        others = experiments(client) if found is None else []
    if found is None:
        hint = closest(name, (str(place.name) for place in others))
        raise ParameterError(
            f"there is no experiment {name!r} in {safe(client.tracking_uri)}{hint}"
        )
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise ParameterError(f"experiment {name!r} was deleted; restore it in MLflow first")
    return found


def runs_of(
    client: MlflowClient, experiment: Experiment, rule: str, without: str | None
) -> list[ForeignRun]:
    """All active runs of an experiment that match MLflow's filter `rule`, but for the run `without`, page by page.

    Raises:
        ParameterError: when MLflow does not understand the filter.
        StudyError: when it does not answer.
    """
    try:
        found = search(client, [experiment.experiment_id], rule)
        return [_plain(run) for run in found if run.info.run_id != without]
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise StudyError(
                f"the runs of {experiment.name!r} cannot be read: {first_line(error)}"
            ) from error
        raise ParameterError(f"filter={rule!r} is none for MLflow: {first_line(error)}") from error


def _plain(run: Run) -> ForeignRun:
    data = run.data
    return ForeignRun(run.info.run_id, run.info.status, data.tags, data.params, data.metrics)


def adopted_from(client: MlflowClient, experiment: str) -> list[Run]:
    """The studies that were adopted from the experiment that has this name now, wherever they lie.

    An experiment that is no more is known by the name that it had.

    Raises:
        ParameterError: when there is none, naming the experiments that studies were adopted from.
    """
    found = _adopted(client)
    with as_study_error("the experiments of adopted studies cannot be looked up"):
        now = _names(client, {run.data.tags[schema.ADOPTED_ID] for run in found})
    mine = [run for run in found if now[run.data.tags[schema.ADOPTED_ID]] == experiment]
    mine = mine or [run for run in found if _known_as(run, now) == experiment]
    if not mine:
        names = sorted({_known_as(run, now) for run in found})
        known = (
            f"; adopted are: {', '.join(map(repr, names))}"
            if names
            else "; nothing is adopted here"
        )
        raise ParameterError(
            f"no study was adopted from experiment {experiment!r}{closest(experiment, names)}{known}"
        )
    return mine


def _names(client: MlflowClient, ids: Iterable[str]) -> dict[str, str | None]:
    """What the experiments with these ids are called now; None for those that are no more."""
    names: dict[str, str | None] = dict.fromkeys(ids)
    for experiment_id in names:
        try:
            names[experiment_id] = client.get_experiment(experiment_id).name
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return names


def _known_as(run: Run, now: Mapping[str, str | None]) -> str:
    """The name of the experiment that a study was adopted from, or the one that it had in its time."""
    return now[run.data.tags[schema.ADOPTED_ID]] or run.data.tags[schema.ADOPTED]


def _adopted(client: MlflowClient) -> list[Run]:
    with as_study_error("adopted studies cannot be looked up"):
        ids = [str(place.experiment_id) for place in experiments(client)]
        return list(search(client, ids, f"tags.`{schema.ADOPTED_ID}` LIKE '%'")) if ids else []


def overlapping(client: MlflowClient, experiment: Experiment, run_ids: Iterable[str]) -> list[str]:
    """The studies that were adopted from an experiment and made of any of these runs."""
    wanted = frozenset(run_ids)
    earlier = [
        run
        for run in _adopted(client)
        if run.data.tags[schema.ADOPTED_ID] == experiment.experiment_id
    ]
    return [
        run.info.run_id for run in earlier if wanted & _made_of(client, run.info.run_id, wanted)
    ]


def _made_of(client: MlflowClient, run_id: str, unknown: frozenset[str]) -> frozenset[str]:
    """The runs that an adopted study was made of; `unknown` when what it says of itself is lost."""
    try:
        return frozenset(
            trial["run_id"] for trial in read_header(client, run_id)["adopted"]["trials"]
        )
    except (StudyError, KeyError, TypeError):
        return unknown


def keep(
    client: MlflowClient,
    experiment: Experiment,
    header: Mapping[str, Any],
    trials: Sequence[Trial],
    best: float,
    *,
    run_id: str | None,
    description: str,
) -> str:
    """Write an adopted study; the run id that it gets.

    Args:
        client: of the store.
        experiment: that its trials were logged in.
        header: as of every study, with what `_made_of` reads.
        trials: its full trainings, with losses.
        best: the best value of its metric.
        run_id: of the run to use, that of `mlflow run`; without it one is made where MLflow makes
            runs.
        description: in Markdown.

    Raises:
        StudyError: when it cannot be written.
    """
    with as_study_error("the adopted study cannot be written"), ExitStack() as on_failure:
        run = parent_run(client, run_id, None, f"adopted-{experiment.name}"[:250], header)
        study = str(run.info.run_id)
        on_failure.push(partial(end_as_failed, client, study))
        tags = summary_tags(summary_of(header, study, trials))
        tags |= {schema.ADOPTED: experiment.name, schema.ADOPTED_ID: experiment.experiment_id}
        point = Metric(f"best_{header['metric']}", best, run.info.start_time, len(trials))
        client.log_batch(
            study, [point], tags=[RunTag(*tag) for tag in tags.items()], synchronous=True
        )
        write_study(client, client.get_run(study), header, description=description)
        client.set_terminated(study, schema.FINISHED)
    return study


def forget(client: MlflowClient, studies: Iterable[str]) -> None:
    """Move adopted studies to MLflow's trash."""
    with as_study_error("an adopted study cannot be deleted"):
        for study in studies:
            client.delete_run(study)
