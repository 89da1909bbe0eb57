"""The winner as an MLflow model.

The model takes the raw table. It holds the folder of a `serving.predictor.Predictor` and the
package `serving` as its code, and no pickles. All calls go through a client with an explicit run
id; no run becomes active.
"""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType
from mlflow.utils import requirements_utils

import serving
from pipelines.models import libraries
from pipelines.models.libraries import SERVING_LIBRARIES, requirement
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import MANIFEST
from serving.names import normal_names
from serving.predictor import DESCRIPTION, Predictor
from serving.pyfunc import CONFIGURATION
from serving.values import as_text

TRIAL_NUMBER = "hpo.trial.number"  # on a logged model: the number of its trial
CONTENT = "hpo.content"  # on a logged model: the digest of its predictor's files

MODEL_NAME = "model"
EXAMPLE_ROWS = 5

ANY = AnyType()  # type: ignore[no-untyped-call]
_MODULES = "_MODULES_TO_PACKAGES"  # of MLflow; None until it is needed
_UV_FILES = ("uv.lock", "pyproject.toml", ".python-version")


@dataclass(frozen=True)
class LoggedWinner:
    """A logged model.

    Attributes:
        model_id: Its id.
        run_id: The run that it belongs to.
        artifact_location: Where its files are stored.
        requirements: The pip requirements of the model; empty for one of an earlier session.
        seconds: How long logging took.
    """

    model_id: str
    run_id: str
    artifact_location: str
    requirements: tuple[str, ...]
    seconds: float

    @property
    def uri(self) -> str:
        """The URI for `mlflow.pyfunc.load_model` and `mlflow models serve -m`."""
        return f"models:/{self.model_id}"


@dataclass(frozen=True)
class _Contents:
    """The folder of a predictor, described without loading any model."""

    folder: Path
    features: FeatureEncoder
    target: TargetEncoder
    families: tuple[str, ...]

    @property
    def metadata(self) -> dict[str, object]:
        """The metadata of the MLflow model."""
        columns = self.features.to_dict()["columns"]
        return {
            "task": self.target.kind,
            "families": list(dict.fromkeys(self.families)),
            "columns": {column["name"]: column["kind"] for column in columns},
        }


def log_winner(
    client: MlflowClient,
    run_id: str,
    predictor_dir: Path,
    example: pd.DataFrame,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
) -> LoggedWinner:
    """Log a saved predictor as a model of a run.

    A model that cannot be logged completely gets the status FAILED.

    Args:
        client: A client of the tracking store.
        run_id: The run.
        predictor_dir: The folder of the saved predictor.
        example: Raw rows of the user's table, without the target.
        metrics: Logged on the run and linked to the model, if finite.
        params: Stored on the model.
        tags: Stored on the model.

    Raises:
        ValueError: If the folder is not a predictor, or `example` lacks one of its columns.
    """
    started = time.monotonic()
    contents = _read(predictor_dir)
    _check_example(contents.features, list(example.columns))
    requirements = pip_requirements(contents.families)
    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        tags={**(tags or {}), CONTENT: _content(predictor_dir)},
        params={key: str(value) for key, value in (params or {}).items()},
        model_type=contents.target.kind,
    )
    status = LoggedModelStatus.FAILED
    try:
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            signature=signature(contents.features, contents.target),
        )
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model"
            _write_model(path, model, contents, example, requirements)
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
    """The model that an earlier session logged completely of the same predictor, if there is one.

    A predictor of the same trial that was trained again, with other libraries for example, is
    another model: the registered model must be the one that was scored.
    """
    content = _content(predictor_dir)
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    for model in found:
        if model.status == LoggedModelStatus.READY and model.tags.get(CONTENT) == content:
            return LoggedWinner(model.model_id, run_id, model.artifact_location, (), 0.0)
    return None


def is_stored(tracking_uri: str, model_uri: str, name: str | None, version: int | None) -> bool:
    """Whether MLflow still has a logged model, complete, and the version `name`, if it has one."""
    client = MlflowClient(tracking_uri)
    try:
        model = client.get_logged_model(model_uri.rpartition("/")[2])
        if name is not None:
            client.get_model_version(name, str(version))
    except MlflowException:
        return False
    return model.status == LoggedModelStatus.READY


def pip_requirements(families: tuple[str, ...]) -> list[str]:
    """The packages that serve a model of these families, at the versions installed here.

    A local label is omitted (`torch 2.13.0+cpu` becomes `torch==2.13.0`), because the same version
    for another accelerator serves as well, and no public index has the labelled one. `mlflow` is
    required, not `mlflow-skinny`, which cannot read a SQL store.

    Raises:
        UserError: If the library of a family is not installed.
    """
    return [requirement(library) for library in (*SERVING_LIBRARIES, *libraries(families))]


def signature(features: FeatureEncoder, target: TargetEncoder) -> ModelSignature:
    """The signature of a model: its outputs, which are those of `Predictor.predict`.

    Inputs are not declared, on purpose: with a type, MLflow refuses an int64 column where it
    expects a double, a double where it expects an integer, and a categorical or all-missing column
    where it expects a string, although the same table, read from another file or in parts, may have
    any of these types. Without a type (`Any`), its server refuses CSV. The predictor itself checks
    names and values, names those that it cannot read, and accepts everything that it accepted in
    training. The metadata of the model says how it reads each column.
    """
    return ModelSignature(outputs=_outputs(features, target))


def _check_example(features: FeatureEncoder, columns: list[str]) -> None:
    missing = sorted(set(features.inputs).difference(normal_names(columns)))
    if missing:
        raise ValueError(
            f"the example lacks columns of the model: {', '.join(map(repr, missing))}; give raw "
            "rows"
        )


def _content(predictor_dir: Path) -> str:
    """A digest of the names and contents of all files, 32 hex digits."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in predictor_dir.rglob("*") if path.is_file()):
        name, content = path.relative_to(predictor_dir).as_posix().encode(), path.read_bytes()
        total.update(
            len(name).to_bytes(8, "little") + name + len(content).to_bytes(8, "little") + content
        )
    return total.hexdigest()


def _read(predictor_dir: Path) -> _Contents:
    path = predictor_dir / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"{predictor_dir} is not a predictor: it has no {DESCRIPTION}")
    description = json.loads(path.read_text(encoding="utf-8"))
    members = [predictor_dir / f"member-{i}" / MANIFEST for i in range(description["members"])]
    return _Contents(
        folder=predictor_dir,
        features=FeatureEncoder.from_dict(description["features"]),
        target=TargetEncoder.from_dict(description["target"]),
        families=tuple(
            _family(json.loads(member.read_text(encoding="utf-8"))) for member in members
        ),
    )


def _family(manifest: Mapping[str, object]) -> str:
    """The family of a member, or the text of the estimator of a user."""
    return str(manifest.get("estimator", manifest["family"]))


def _write_model(
    path: Path,
    model: Model,
    contents: _Contents,
    example: pd.DataFrame,
    requirements: list[str],
) -> None:
    """Write the folder of an MLflow model, without loading it or inferring requirements."""
    with _without_modules_of_packages():
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module=serving.__name__,
            data_path=str(contents.folder),
            code_paths=[str(Path(serving.__file__ or "").parent)],
            mlflow_model=model,
            signature=model.signature,
            input_example=_plain(example.head(EXAMPLE_ROWS)),
            pip_requirements=requirements,
            metadata=contents.metadata,
            model_config=CONFIGURATION,
        )
    # MLflow copies the files of a uv project in the working directory, and would install from them
    # instead of the requirements.
    for name in _UV_FILES:
        (path / name).unlink(missing_ok=True)


@contextmanager
def _without_modules_of_packages() -> Iterator[None]:
    """Spare MLflow from reading the files of every installed package.

    It warns of requirements that are not installed, which ours are, and looks their modules up for
    that: a second of CPU time. With an empty table it takes the names of the packages.
    """
    if getattr(requirements_utils, _MODULES, True) is not None:
        yield
        return
    setattr(requirements_utils, _MODULES, {})
    try:
        yield
    finally:
        setattr(requirements_utils, _MODULES, None)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with values that JSON can hold; others become the text that the model reads."""
    return pd.DataFrame(
        {name: _plain_column(frame[name]) for name in frame.columns}, index=frame.index
    )


def _plain_column(column: pd.Series) -> pd.Series:
    dtype = column.dtype
    if pd.api.types.is_timedelta64_dtype(dtype):
        seconds: pd.Series = column.dt.total_seconds()
        return seconds
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return column
    cells = [
        None if missing else _plain_cell(cell)
        for cell, missing in zip(column, column.isna(), strict=True)
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
        if math.isfinite(value)  # MLflow would store infinity as 1.8e308
    ]
