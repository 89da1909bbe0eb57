"""The parent run of a study: how it is created and what it stores before the first trial."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LifecycleStage,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from hpo.errors import ParameterError, StudyError
from hpo.goals import Goals
from hpo.space import SearchSpace
from hpo.space.yaml import to_yaml
from pipelines.files.uris import protocol
from pipelines.store import schema
from pipelines.store.tracking import first_line, is_http
from pipelines.store.views import open_on_runs
from warmstart.families import short_name

HEADER_FILE = "study.json"
SPACE_FILE = "space.yaml"
_HEADER_TAGS = (
    "model",
    "algorithm",
    "metric",
    "direction",
    "seed",
    "target",
    "task",
    "split",
    "test_share",
    "validation",
)

_BUDGETS = ("trials", "timeout", "workers")
MAX_DATASET_NAME = 500
MAX_DIGEST = 36

Header = Mapping[str, Any]
"""The settings that a study was created with, as JSON values."""


def check_header(header: Header) -> None:
    """Check a header before its study is created.

    Raises:
        StudyError: when an entry is missing or the direction is invalid.
        ParameterError: for a name that MLflow does not accept.
    """
    missing = [name for name in ("space", "metric", "direction") if name not in header]
    if missing:
        raise StudyError(f"a study's header needs {', '.join(missing)}")
    try:
        Goals.from_dict(header)
    except ParameterError as error:
        raise StudyError(str(error)) from error
    schema.check_names(schema.parameters_of(header))
    schema.check_names({header["metric"]: None})


def parent_run(
    client: MlflowClient,
    run_id: str | None,
    experiment: str | None,
    name: str | None,
    header: Header,
    parent: str | None = None,
) -> Run:
    """The run that becomes a study.

    Args:
        client: of the tracking store.
        run_id: an existing run; None creates one.
        experiment: its name, for a new run (`experiment_id`).
        name: of the run; None makes one from the header, or leaves that of an existing run.
        header: of the study.
        parent: run id of the validation that a new run is nested in.

    Raises:
        StudyError: when the run was deleted or is a study already.
    """
    if run_id is None:
        return _new_run(client, parent, experiment, name or _run_name(header))
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise StudyError(
            f"run {run_id}, which should become the study, was deleted; unset MLFLOW_RUN_ID if it "
            "is left over"
        )
    if schema.SCHEMA in run.data.tags:
        raise StudyError(f"run {run_id} is a study already; to resume it, give its id as `study`")
    if name:
        client.update_run(run_id, name=name)
    return run


def _new_run(client: MlflowClient, parent: str | None, experiment: str | None, name: str) -> Run:
    tags = resolve_tags({schema.ROLE: "study"})
    if above := parent or os.environ.get("MLFLOW_PARENT_RUN_ID"):
        tags[schema.PARENT_RUN] = above
    if parent:
        place = client.get_run(parent).info.experiment_id
    else:
        place = experiment_id(client, experiment)
    return client.create_run(place, tags=tags, run_name=name)


def end_as_failed(
    client: MlflowClient, run_id: str, kind: object, error: BaseException | None, trace: object
) -> None:
    """End the run of a study that could not be created; an exit callback for `ExitStack.push`."""
    if error is None:
        return
    with suppress(MlflowException):
        client.set_tag(
            run_id, schema.FAILURE, schema.cut(f"the study cannot be created: {first_line(error)}")
        )
        client.set_terminated(run_id, schema.FAILED)


def _run_name(header: Header) -> str:
    outer = _data(header).get("outer")
    fold = f"-fold-{outer.partition('/')[0]}" if outer else ""
    how = "train" if schema.trains_one(header) else header.get("algorithm", "search")
    return f"{short_name(str(header.get('model', 'study')))}-{how}{fold}"


def experiment_id(client: MlflowClient, name: str | None = None) -> str:
    """The id of an experiment, which is created when it does not exist.

    Without a name it is that of MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, or else the default
    experiment.

    Raises:
        StudyError: when the experiment was deleted.
    """
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name is None:
        return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    check_experiment(client, name)
    found = client.get_experiment_by_name(name) or _new_experiment(client, name)
    return str(found.experiment_id)


def check_experiment(client: MlflowClient, name: str | None = None) -> None:
    """Check that an experiment was not deleted; it need not exist.

    Raises:
        StudyError: when it was.
    """
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    found = client.get_experiment_by_name(name) if name else None
    if found is not None and found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise StudyError(
            f"experiment {name!r} was deleted; restore it in MLflow, or give another name"
        )


def _new_experiment(client: MlflowClient, name: str) -> Experiment:
    """Create an experiment, or get the one that another process has created in the meantime."""
    try:
        return client.get_experiment(client.create_experiment(name))
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found


def write_study(
    client: MlflowClient,
    run: Run,
    header: Header,
    artifacts: Mapping[str, str] = MappingProxyType({}),
    description: str | None = None,
) -> None:
    """Write to the run of a study everything that is known before its first trial.

    The tag `hpo.schema` is written last. A run without it is not a study.

    Args:
        client: of the tracking store.
        run: that becomes the study.
        header: the settings of the study.
        artifacts: texts by file name.
        description: of the run; None makes one from the header.
    """
    run_id = run.info.run_id
    open_on_runs(client, run.info.experiment_id)
    client.log_text(run_id, json.dumps(dict(header), indent=1, ensure_ascii=False), HEADER_FILE)
    client.log_text(run_id, to_yaml(SearchSpace.from_dict(header["space"])), SPACE_FILE)
    for name, text in artifacts.items():
        client.log_text(run_id, text, name)
    data = _data(header)
    if data.get("digest"):
        client.log_inputs(run_id, [_dataset(data)])
    tags = _tags(header, description or describe(header))
    client.log_batch(
        run_id,
        params=_params(header, known=run.data.params),
        tags=[RunTag(name, value) for name, value in tags.items()],
        synchronous=True,
    )
    client.set_tag(run_id, schema.SCHEMA, schema.VERSION)


def _facts(header: Header) -> dict[str, str]:
    """The entries that are logged both as tags and as parameters."""
    facts = {name: str(header[name]) for name in _HEADER_TAGS if header.get(name) is not None}
    goals = Goals.from_dict(header)
    if not goals.is_single:
        several = {
            "goals": ", ".join(goal.name for goal in goals.goals),
            "limits": ", ".join(map(str, goals.limits)),
        }
        facts |= {name: text for name, text in several.items() if text}
    return facts


def _data(header: Header) -> Mapping[str, Any]:
    """The entries on the table: `uri`, `digest`, `name`, `rows`, `columns` and `outer`."""
    return header.get("data") or {}


def _given(values: Mapping[str, object]) -> dict[str, str]:
    """The values that are given, as texts."""
    return {name: str(value) for name, value in values.items() if value}


def _params(header: Header, known: Mapping[str, str]) -> list[Param]:
    """The parameters of a study's run, without those that `mlflow run` has logged already."""
    values = _facts(header)
    values |= _given({name: header.get(name) for name in _BUDGETS})
    values |= _given({"data": _data(header).get("uri")})
    new = values.keys() - known.keys()
    return [Param(k, schema.cut(v, schema.MAX_PARAM)) for k, v in values.items() if k in new]


def _tags(header: Header, description: str) -> dict[str, str]:
    data = _data(header)
    return {
        **{f"hpo.{name}": schema.cut(value) for name, value in _facts(header).items()},
        **_given({"hpo.data.digest": data.get("digest"), schema.OUTER: data.get("outer")}),
        schema.ROLE: "study",
        schema.NOTE: schema.cut(description),
    }


def _dataset(data: Mapping[str, Any]) -> DatasetInput:
    """The table as a data set of MLflow. Its digest is known, so that MLflow computes none."""
    uri = str(data.get("uri", ""))
    is_remote = "://" in uri and not uri.startswith("file://")
    profile = {f"num_{name}": data[name] for name in ("rows", "columns") if name in data}
    dataset = Dataset(
        name=_dataset_name(data, uri.partition("?")[0] if is_remote else uri),
        digest=str(data["digest"])[:MAX_DIGEST],
        source_type=protocol(uri) if is_remote else "local",
        source=json.dumps({"url" if is_http(uri) else "uri": uri}),
        profile=json.dumps(profile) if profile else None,
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _dataset_name(data: Mapping[str, Any], path: str) -> str:
    name = data.get("name") or Path(path).name or "data"
    return str(name)[:MAX_DATASET_NAME]


def describe(header: Header) -> str:
    """A description of a study in Markdown."""
    data = _data(header)
    table = f" on {_code(data['uri'])}" if data.get("uri") else ""
    target = f", target {_code(header['target'])}" if header.get("target") else ""
    names = ", ".join(map(_code, schema.parameters_of(header)))
    metric = header["metric"]
    subject = f"**{header.get('model', 'a model')}**{table}{target}"
    if schema.trains_one(header):
        return (
            f"One configuration of {subject}: seed {header.get('seed', 'none')}, scored by "
            f"**{metric}**.\n\n"
            f"Its parameters and scores are those of the nested run."
        )
    return (
        f"Hyperparameter search of {subject}: "
        f"{header.get('algorithm', 'search')}, seed {header.get('seed', 'none')}, "
        f"{header['direction']} **{metric}**.\n\n"
        f"Searched: {names}.\n\n"
        f"Each trial is a nested run; `best_{metric}` is the best score so far by number of "
        "finished trials. To resume a stopped study, call `tune` with `study=` and its run id."
    )


def _code(text: str) -> str:
    """A name or path as inline code of Markdown, without line breaks or backticks."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
