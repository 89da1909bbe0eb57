"""The parent run of a study: the run that becomes it, and what it holds before the first trial."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from hpo.errors import StudyError
from hpo.space import SearchSpace
from pipelines.store import schema
from pipelines.store.tracking import first_line

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

Header = Mapping[str, Any]


def check_header(header: Header) -> None:
    """Raises `StudyError` for a header that lacks something, `ParameterError` for names that MLflow cannot keep."""
    missing = [name for name in ("space", "metric", "direction") if name not in header]
    if missing:
        raise StudyError(f"a study's header needs {', '.join(missing)}")
    if header["direction"] not in ("minimize", "maximize"):
        raise StudyError(f"direction must be minimize or maximize, but got {header['direction']!r}")
    schema.check_names(header["space"])
    schema.check_names({header["metric"]: None})


def parent_run(
    client: MlflowClient,
    run_id: str | None,
    experiment: str | None,
    name: str | None,
    header: Header,
    parent: str | None = None,
) -> Run:
    """The run that is to become a study: that of `run_id`, or a new one.

    Raises:
        StudyError: when the run is deleted or already a study.
    """
    if run_id is None:
        tags = resolve_tags({schema.ROLE: "study"})
        if above := parent or os.environ.get("MLFLOW_PARENT_RUN_ID"):
            tags[schema.PARENT_RUN] = above
        place = (
            client.get_run(parent).info.experiment_id
            if parent
            else experiment_id(client, experiment)
        )
        return client.create_run(place, tags=tags, run_name=name or _run_name(header))
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise StudyError(
            f"run {run_id}, which was to become the study, was deleted; is MLFLOW_RUN_ID left over?"
        )
    if schema.SCHEMA in run.data.tags:
        raise StudyError(f"run {run_id} is a study already; to continue it, give its id as `study`")
    if name:
        client.update_run(run_id, name=name)
    return run


def end_as_failed(
    client: MlflowClient, run_id: str, kind: object, error: BaseException | None, trace: object
) -> None:
    """Say on a run why no study came of it, if an error says so; for `ExitStack.push`."""
    if error is None:
        return
    with suppress(MlflowException):
        client.set_tag(
            run_id, schema.FAILURE, schema.cut(f"the study cannot be created: {first_line(error)}")
        )
        client.set_terminated(run_id, schema.FAILED)


def _run_name(header: Header) -> str:
    outer = (header.get("data") or {}).get("outer")
    fold = f"-fold-{outer.partition('/')[0]}" if outer else ""
    return f"{header.get('model', 'study')}-{header.get('algorithm', 'search')}{fold}"


def experiment_id(client: MlflowClient, name: str | None = None) -> str:
    """The id of the experiment `name`, made when missing; of the one in force without a name.

    Raises:
        StudyError: when it was deleted.
    """
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name is None:
        return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise StudyError(f"experiment {name!r} was deleted; restore it in MLflow, or name another")
    return str(found.experiment_id)


def write_study(
    client: MlflowClient,
    run: Run,
    header: Header,
    artifacts: Mapping[str, str] = MappingProxyType({}),
    description: str | None = None,
) -> None:
    """Everything that the study's run holds before its first trial; the tag `hpo.schema` last."""
    run_id = run.info.run_id
    client.log_text(run_id, json.dumps(dict(header), indent=1, ensure_ascii=False), HEADER_FILE)
    client.log_text(run_id, SearchSpace.from_dict(header["space"]).to_yaml(), SPACE_FILE)
    for name, text in artifacts.items():
        client.log_text(run_id, text, name)
    data = header.get("data") or {}
    if data.get("digest"):
        client.log_inputs(run_id, [_dataset(data)])
    facts = {name: str(header[name]) for name in _HEADER_TAGS if header.get(name) is not None}
    plain = {
        **facts,
        **{
            name: str(header[name]) for name in ("trials", "timeout", "workers") if header.get(name)
        },
    }
    if data.get("uri"):
        plain["data"] = str(data["uri"])
    params = [
        Param(k, schema.cut(v, schema.MAX_PARAM))
        for k, v in plain.items()
        if k not in run.data.params
    ]
    tags = {f"hpo.{name}": schema.cut(value) for name, value in facts.items()}
    if data.get("digest"):
        tags["hpo.data.digest"] = str(data["digest"])
    if data.get("outer"):
        tags[schema.OUTER] = str(data["outer"])
    tags |= {schema.ROLE: "study", schema.NOTE: schema.cut(description or describe(header))}
    client.log_batch(
        run_id, params=params, tags=[RunTag(k, v) for k, v in tags.items()], synchronous=True
    )
    client.set_tag(run_id, schema.SCHEMA, schema.VERSION)


def _dataset(data: Mapping[str, Any]) -> DatasetInput:
    """The table as MLflow knows data sets; its digest is given, not computed from all rows again."""
    uri = str(data.get("uri", ""))
    remote = "://" in uri and not uri.startswith("file://")
    source = {"url": uri} if uri.startswith(("http://", "https://")) else {"uri": uri}
    profile = {f"num_{name}": data[name] for name in ("rows", "columns") if name in data}
    dataset = Dataset(
        name=str(data.get("name") or Path(uri.partition("?")[0] if remote else uri).name or "data")[
            :500
        ],
        digest=str(data["digest"])[:36],
        source_type=uri.split("://")[0] if remote else "local",
        source=json.dumps(source),
        profile=json.dumps(profile) if profile else None,
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def describe(header: Header) -> str:
    """A study in a sentence or two of Markdown, for the run's description."""
    data = header.get("data") or {}
    table = f" on {_code(data['uri'])}" if data.get("uri") else ""
    target = f", target {_code(header['target'])}" if header.get("target") else ""
    names = ", ".join(map(_code, header["space"]))
    return (
        f"Hyperparameter search of **{header.get('model', 'a model')}**{table}{target}: "
        f"{header.get('algorithm', 'search')}, seed {header.get('seed', 'none')}, "
        f"{header['direction']} **{header['metric']}**.\n\nSearched: {names}.\n\n"
        "Each trial is a nested run; `best_"
        + str(header["metric"])
        + "` is the best so far by finished trials. If it was stopped, `tune` with `study=` and its run id goes on."
    )


def _code(text: str) -> str:
    """A name or a path as Markdown that shows it and nothing else."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
