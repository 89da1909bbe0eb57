"""The winner as an MLflow model, and the model registry.

A winner is logged as one object that takes the raw table: the folder of a `serving.predictor.Predictor`, the package
`serving` itself as the model's code, and nothing that is pickled. Everything goes through a client and an explicit
run id; no run becomes active.
"""

import hashlib
import json
import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType

import serving
from hpo.errors import ParameterError, UserError, closest, raise_all
from pipelines.gate import (
    EVIDENCE,
    NOBODY,
    PROBABILITY,
    REPLACED,
    ROLLED_BACK,
    TABLE,
    Candidate,
    HeldOutScore,
    PromotionRefusedError,
    Verdict,
)
from pipelines.lease import SETTLE, Driver
from pipelines.tracking import first_line
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import MANIFEST
from serving.predictor import DESCRIPTION, Predictor
from serving.values import as_text

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
GATE = "hpo.gate"  # on a registered model: who changes its aliases now

STUDY = "hpo.study"  # run id of the study
TRIAL = "hpo.trial"  # run id of the trial
FAMILY = "hpo.model"
TRIAL_NUMBER = "hpo.trial.number"  # on a logged model: which trial of its run's study it is of
CONTENT = "hpo.content"  # on a logged model: the digest of its predictor's files

EXAMPLE_ROWS = 5
MAX_NAME = 250
MODEL_VERSIONS = "mlflow.modelVersions"  # by which the UI links a logged model with its versions

# A family's library, under each name by which it can be installed. Families without one need numpy alone.
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "mlp": ("torch",),
}
ANY = AnyType()  # type: ignore[no-untyped-call]
_NO_FILE_NAME = re.compile(r"[^\w.-]")
_UV_FILES = ("uv.lock", "pyproject.toml", ".python-version")


@dataclass(frozen=True)
class LoggedWinner:
    """A model in the tracking store: `models:/<model id>`, the run it stands under, and what logging took."""

    model_id: str
    run_id: str
    artifact_location: str
    requirements: tuple[str, ...]
    seconds: float

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` and `mlflow models serve -m` take."""
        return f"models:/{self.model_id}"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: int

    @property
    def uri(self) -> str:
        """The version itself, whatever its aliases become."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class _Contents:
    """What the folder of a predictor says about itself, read without loading any model."""

    features: FeatureEncoder
    target: TargetEncoder
    families: tuple[str, ...]


def log_winner(
    client: MlflowClient,
    run_id: str,
    predictor_dir: Path,
    example: pd.DataFrame,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    name: str = "model",
) -> LoggedWinner:
    """Log a saved predictor as a model of a run.

    `example` holds raw rows as the user's table has them, without the target. Finite `metrics` are logged on the run,
    linked with the model; `params` and `tags` stand on the model. A model that could not be logged completely is
    left with the status FAILED.

    Raises:
        ValueError: when the folder is no predictor, or `example` lacks one of its columns.
    """
    started = time.monotonic()
    contents = _read(predictor_dir)
    described = signature(contents.features, contents.target, list(example.columns))
    requirements = pip_requirements(contents.families)
    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id,
        name=name,
        source_run_id=run_id,
        tags={**(tags or {}), CONTENT: _content(predictor_dir)},
        params={key: str(value) for key, value in (params or {}).items()},
        model_type=contents.target.kind,
    )
    status = LoggedModelStatus.FAILED
    try:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model"
            model = Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            )
            _write_model(path, model, predictor_dir, contents, described, example, requirements)
            client.log_model_artifacts(logged.model_id, str(path))
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.log_batch(run_id, metrics=_linked(metrics or {}, logged.model_id, run_id))
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)
    return LoggedWinner(
        model_id=logged.model_id,
        run_id=run_id,
        artifact_location=logged.artifact_location,
        requirements=tuple(requirements),
        seconds=time.monotonic() - started,
    )


def logged_before(client: MlflowClient, run_id: str, predictor_dir: Path) -> LoggedWinner | None:
    """The complete model that an earlier session logged of this very predictor; None when there is none.

    Another predictor of the same trial (trained again with other libraries) is another model: what was scored is
    what is registered.
    """
    content = _content(predictor_dir)
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    for model in found:
        if model.status == LoggedModelStatus.READY and model.tags.get(CONTENT) == content:
            return LoggedWinner(model.model_id, run_id, model.artifact_location, (), 0.0)
    return None


def pip_requirements(families: tuple[str, ...]) -> list[str]:
    """What a model of these families needs where it is served, at the versions that are installed here.

    A local label is left out (`torch 2.13.0+cpu` becomes `torch==2.13.0`), because the same version for another
    accelerator serves as well and no public index has the labelled one. `mlflow` and not `mlflow-skinny`: the
    latter reads no SQL store.

    Raises:
        UserError: when the library of a family is not installed.
    """
    libraries = [LIBRARIES[family] for family in dict.fromkeys(families) if family in LIBRARIES]
    return [_pinned(names) for names in (("mlflow",), ("numpy",), ("pandas",), *libraries)]


def signature(features: FeatureEncoder, target: TargetEncoder, columns: list[str]) -> ModelSignature:
    """Inputs: `columns`, of which those that the model reads are required. Outputs: as `Predictor.predict`.

    Inputs have no type on purpose. MLflow refuses an int64 column where it expects a double, a double where it
    expects an integer, and a categorical or all-missing column where it expects a string; all of these are the same
    table, read from another file or in smaller portions. The predictor checks the values itself, names what it
    cannot read, and takes everything that it took in training.

    Raises:
        ValueError: when the model reads a column that is not among `columns`.
    """
    needed = set(features.inputs)
    if lacking := sorted(needed.difference(columns)):
        raise ValueError(
            f"the example lacks the model's column(s) {', '.join(map(repr, lacking))}; give raw rows"
        )
    inputs: list[ColSpec | TensorSpec] = [ColSpec(ANY, name, required=name in needed) for name in columns]
    return ModelSignature(inputs=Schema(inputs), outputs=_outputs(features, target))


def check_model_name(name: str) -> None:
    """Check a name for the registry before anything is trained for it.

    Raises:
        ParameterError: listing all that is wrong with it.
    """
    mistakes = []
    if not name.strip():
        mistakes.append("it is empty")
    elif name != name.strip():
        mistakes.append("it begins or ends with a space")
    if found := sorted(set(re.findall(r"""[/:@\\"'`]""", name))):
        mistakes.append(f"it contains {' '.join(found)}, which cannot stand in models:/NAME@champion")
    if not name.isprintable():
        mistakes.append("it contains characters that cannot be printed")
    if name in (".", ".."):
        mistakes.append("it is a path")
    if len(name) > MAX_NAME:
        mistakes.append(f"it has {len(name):,} characters, {MAX_NAME} are the most")
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    raise_all(
        ParameterError,
        [f"{shown!r} cannot name a registered model: {m}; take letters, digits, - _ and ." for m in mistakes],
    )


def register_winner(
    client: MlflowClient,
    winner: LoggedWinner,
    name: str,
    *,
    study: str,
    trial: str,
    family: str,
    score: HeldOutScore,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Make a logged winner a new version with the alias `challenger`; the same winner again is the same version.

    `study` and `trial` are run ids. `description` is Markdown (`pipelines.card`): the registry shows no metrics itself.
    The client must be one of the tracking store in force (`mlflow.get_tracking_uri()`), where MLflow looks the model
    up.

    Raises:
        ParameterError: for a name that `check_model_name` refuses.
    """
    check_model_name(name)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = _version_of(client, name, winner) or client.create_model_version(
        name,
        source=winner.uri,
        run_id=winner.run_id,
        model_id=winner.model_id,
        tags={**(tags or {}), **score.to_tags(), STUDY: study, TRIAL: trial, FAMILY: family},
        description=description,
    )
    _link_version(client, winner.model_id, name, found.version)
    client.set_registered_model_alias(name, CHALLENGER, str(found.version))
    return Registered(name, int(found.version))


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """The versions of a registered model that have an alias.

    Raises:
        UserError: when there is no such model.
    """
    try:
        return {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = [model.name for model in client.search_registered_models(max_results=1000)]
        raise UserError(
            f"no registered model {name!r}{closest(name, known)}; `tune -P register={name}` makes one, and "
            "MLFLOW_TRACKING_URI must be the store that holds it"
        ) from error


def versions(client: MlflowClient, name: str) -> list[int]:
    """The versions of a registered model, oldest first."""
    return sorted(int(found.version) for found in client.search_model_versions(f"name = '{name}'"))


def candidate(client: MlflowClient, name: str, number: int) -> Candidate:
    """A version as the registry has it now.

    Raises:
        UserError: when there is no such version.
    """
    try:
        found = client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        there = ", ".join(str(v) for v in versions(client, name)) or "none"
        raise UserError(f"registered model {name!r} has no version {number}; it has: {there}") from error
    return Candidate(name, number, found.run_id, dict(found.tags))


def load_predictor(which: Candidate, folder: Path) -> tuple[Predictor, int]:
    """The predictor of a version, downloaded into `folder`, and the bytes of all of the model's files.

    `mlflow.pyfunc.load_model` runs whatever code a model brings along. Here only models of this project are read, by
    the package `serving` that is installed, and nothing out of the model itself is run.

    Raises:
        PromotionRefusedError: when it cannot be downloaded or read, or is none of this project's models.
    """
    try:
        place = mlflow.artifacts.download_artifacts(
            f"models:/{which.name}/{which.version}", dst_path=str(folder)
        )
    except (MlflowException, OSError) as error:
        raise PromotionRefusedError(f"the model of {which} cannot be read: {first_line(error)}") from error
    files = Path(place)
    size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    try:
        flavor = Model.load(str(files)).flavors.get("python_function", {})
        if flavor.get("loader_module") != serving.__name__:
            raise PromotionRefusedError(
                f"{which} is no model of this project (its loader is {flavor.get('loader_module')!r}), and nothing out "
                "of an unknown model is run here"
            )
        return Predictor.load(_inside(files, str(flavor["data"]))), size
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise PromotionRefusedError(
            f"the model of {which} is damaged or gone: {first_line(error)}"
        ) from error


def crown(client: MlflowClient, challenger: Candidate, champion: Candidate | None, verdict: Verdict) -> None:
    """Make a version champion, and the champion until now `previous`.

    The registry moves an alias for whoever asks last: it knows no condition and no lock. So the change is made by
    one gate at a time (`_alone`), and the aliases are read again just before and just after.

    Evidence comes first and the alias that counts last: after a kill at any moment the old champion is in use, or the
    new one with all of its evidence, and the same call again completes it. The challenger's alias stays: it names
    the newest candidate, and taking it away could hit one that has just been registered.

    Raises:
        PromotionRefusedError: when somebody else has changed the champion meanwhile.
    """
    name, number = challenger.name, str(challenger.version)
    with _alone(client, name):
        _check_champion(client, name, champion, f"version {number} was compared with")
        if challenger.run_id:
            path = f"promotion/{_NO_FILE_NAME.sub('_', name)}-{number}.csv"
            client.log_text(challenger.run_id, verdict.to_csv(), path)
            client.set_model_version_tag(name, number, TABLE, f"runs:/{challenger.run_id}/{path}")
        client.set_model_version_tag(name, number, EVIDENCE, verdict.summary)
        client.set_model_version_tag(name, number, PROBABILITY, repr(verdict.probability))
        client.set_model_version_tag(name, number, REPLACED, str(champion.version) if champion else NOBODY)
        if ROLLED_BACK in challenger.tags:
            client.delete_model_version_tag(name, number, ROLLED_BACK)
        if champion is not None:
            client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        _check_champion(client, name, champion, f"version {number} was compared with")
        client.set_registered_model_alias(name, CHAMPION, number)
        _check_champion(client, name, challenger, "this promotion made it")


def uncrown(client: MlflowClient, champion: Candidate, previous: Candidate, before: int | None) -> None:
    """Make `previous` champion again, and `before` (the one that it had replaced) the new `previous`.

    As with `crown` the alias that counts is moved in one call; a kill after it leaves `previous` on the champion, which
    is completed by `settle`.

    Raises:
        PromotionRefusedError: when somebody else has changed the champion meanwhile.
    """
    name = champion.name
    words = f"to version {previous.version}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    with _alone(client, name):
        client.set_model_version_tag(name, str(champion.version), ROLLED_BACK, words)
        _check_champion(client, name, champion, "it was to be rolled back from")
        client.set_registered_model_alias(name, CHAMPION, str(previous.version))
        settle(client, name, before)
        _check_champion(client, name, previous, "this rollback made it")


def settle(client: MlflowClient, name: str, previous: int | None) -> None:
    """Put the alias `previous` where it belongs, or take it away when there is nothing to go back to."""
    if previous is None:
        client.delete_registered_model_alias(name, PREVIOUS)
    else:
        client.set_registered_model_alias(name, PREVIOUS, str(previous))


@contextmanager
def _alone(client: MlflowClient, name: str) -> Iterator[None]:
    """Change the aliases of a model while no other gate does.

    Each gate writes its own token to a tag of the registered model, waits, and reads what is there: of two at once one
    finds the other's. (Both could go on only if one stood still for longer than the wait between two calls.) What a
    killed gate leaves is nobody's as soon as its process is gone, or after a minute when it ran on another machine.

    Raises:
        PromotionRefusedError: when another gate is at work.
    """
    me = Driver.myself()
    holder = _gate(client, name)
    earlier = holder is not None and (holder.machine, holder.pid, holder.born) == (
        me.machine,
        me.pid,
        me.born,
    )
    if holder is not None and not earlier and holder.alive(time.time()):
        raise _busy(name, holder)
    client.set_registered_model_tag(name, GATE, me.to_tag())
    time.sleep(SETTLE)
    holder = _gate(client, name)
    if holder is None or holder.token != me.token:
        raise _busy(name, holder)
    try:
        yield
    except PromotionRefusedError:
        client.delete_registered_model_tag(name, GATE)
        raise
    client.delete_registered_model_tag(name, GATE)


def _gate(client: MlflowClient, name: str) -> Driver | None:
    return Driver.from_tag(client.get_registered_model(name).tags.get(GATE))


def _busy(name: str, holder: Driver | None) -> PromotionRefusedError:
    return PromotionRefusedError(
        f"another promotion or rollback of {name} is at work ({holder or 'it has just ended'}); nothing was changed "
        "by this one: look at the versions and run it again"
    )


def _check_champion(client: MlflowClient, name: str, expected: Candidate | None, why: str) -> None:
    found = aliases(client, name).get(CHAMPION)
    if found != (expected.version if expected else None):
        was, now = (f"version {n}" if n else "nobody" for n in (expected and expected.version, found))
        raise PromotionRefusedError(
            f"somebody else has changed the champion of {name} meanwhile: it is {now}, {why} {was}. Nothing was "
            "undone; look at the versions and run it again"
        )


def _inside(files: Path, name: str) -> Path:
    """A path in a model's folder; `ValueError` when it leads out of it."""
    path = (files / name).resolve()
    if not path.is_relative_to(files.resolve()):
        raise ValueError(f"{name!r} leads out of the model's folder")
    return path


def _content(predictor_dir: Path) -> str:
    """32 hex digits that stand for the names and the bytes of all files."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in predictor_dir.rglob("*") if path.is_file()):
        name, content = path.relative_to(predictor_dir).as_posix().encode(), path.read_bytes()
        total.update(len(name).to_bytes(8, "little") + name + len(content).to_bytes(8, "little") + content)
    return total.hexdigest()


def _read(predictor_dir: Path) -> _Contents:
    path = predictor_dir / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"{predictor_dir} is no predictor: it has no {DESCRIPTION}")
    description = json.loads(path.read_text(encoding="utf-8"))
    members = [predictor_dir / f"member-{i}" / MANIFEST for i in range(description["members"])]
    return _Contents(
        features=FeatureEncoder.from_dict(description["features"]),
        target=TargetEncoder.from_dict(description["target"]),
        families=tuple(str(json.loads(member.read_text(encoding="utf-8"))["family"]) for member in members),
    )


def _write_model(
    path: Path,
    model: Model,
    predictor_dir: Path,
    contents: _Contents,
    described: ModelSignature,
    example: pd.DataFrame,
    requirements: list[str],
) -> None:
    """Write the model's folder as MLflow defines it; nothing is loaded and no requirement is inferred."""
    mlflow.pyfunc.save_model(
        path=str(path),
        loader_module=serving.__name__,
        data_path=str(predictor_dir),
        code_paths=[str(Path(serving.__file__ or "").parent)],
        mlflow_model=model,
        signature=described,
        input_example=_plain(example.head(EXAMPLE_ROWS)),
        pip_requirements=requirements,
        metadata={
            "task": contents.target.kind,
            "families": list(dict.fromkeys(contents.families)),
            "columns": {column["name"]: column["kind"] for column in contents.features.to_dict()["columns"]},
        },
    )
    # MLflow copies the files of a uv project in which the user happens to stand; they would win over the requirements.
    for name in _UV_FILES:
        (path / name).unlink(missing_ok=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as JSON can hold them; cells for which it has no form stand as the text that the model reads in them."""
    return pd.DataFrame({name: _plain_column(frame[name]) for name in frame.columns}, index=frame.index)


def _plain_column(column: pd.Series) -> pd.Series:
    dtype = column.dtype
    if pd.api.types.is_timedelta64_dtype(dtype):
        seconds: pd.Series = column.dt.total_seconds()
        return seconds
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return column
    cells = [
        None if missing else _plain_cell(cell) for cell, missing in zip(column, column.isna(), strict=True)
    ]
    return pd.Series(cells, index=column.index, dtype=object)


def _plain_cell(cell: object) -> object:
    return cell if isinstance(cell, str | int | float | np.generic | date) else as_text(cell)


def _outputs(features: FeatureEncoder, target: TargetEncoder) -> Schema:
    n_classes = len(target.classes)
    raw = np.full((1, n_classes), 1.0 / n_classes) if n_classes else np.zeros(1)
    table = Predictor(features, target, ()).table(raw)
    return Schema([ColSpec(_type(table[name]), str(name)) for name in table.columns])


def _type(column: pd.Series) -> DataType | AnyType:
    kinds = {"i": DataType.long, "f": DataType.double, "b": DataType.boolean}
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in kinds:
        return kinds[column.dtype.kind]
    return DataType.string if isinstance(column.iloc[0], str) else ANY


def _linked(metrics: Mapping[str, float], model_id: str, run_id: str) -> list[Metric]:
    now = time.time_ns() // 1_000_000
    return [
        Metric(key, float(value), now, 0, model_id=model_id, run_id=run_id)
        for key, value in metrics.items()
        if math.isfinite(value)  # MLflow would store an infinite one as 1.8e308
    ]


def _pinned(alternatives: tuple[str, ...]) -> str:
    for name in alternatives:
        try:
            return f"{name}=={version(name).partition('+')[0]}"
        except PackageNotFoundError:
            continue
    raise UserError(f"{alternatives[0]} is not installed, but the model needs it; install it and run again")


def _version_of(client: MlflowClient, name: str, winner: LoggedWinner) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((found for found in versions if found.source == winner.uri), None)


def _link_version(client: MlflowClient, model_id: str, name: str, number: Any) -> None:
    """Name the version on the logged model, as `mlflow.register_model` does; a server has done it already."""
    known = json.loads(client.get_logged_model(model_id).tags.get(MODEL_VERSIONS, "[]"))
    if not any(entry["name"] == name and str(entry["version"]) == str(number) for entry in known):
        text = json.dumps([*known, {"name": name, "version": number}])
        client.set_logged_model_tags(model_id, {MODEL_VERSIONS: text})
