"""Versions of registered models: registering a winner, and reading a version.

All calls go through a client; no code of a model itself is run.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

import serving
from hpo.errors import ParameterError, UserError, closest, raise_all
from pipelines.files.objects import folder_size
from pipelines.registry.gate import (
    METRIC,
    TRAINED_ON,
    Candidate,
    HeldOutScore,
    PromotionRefusedError,
)
from pipelines.registry.logged import LoggedWinner
from pipelines.store.tracking import first_line
from serving.predictor import Predictor

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"  # aliases

STUDY = "hpo.study"  # run id of the study
TRIAL = "hpo.trial"  # run id of the trial
FAMILY = "hpo.model"

MAX_NAME = 250
MODEL_VERSIONS = "mlflow.modelVersions"  # the tag by which the UI links a logged model to versions


class LoggedModel(Protocol):
    """A model that MLflow has stored: of this project, or of the user's code."""

    @property
    def model_id(self) -> str:
        """Its id."""
        ...

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        ...

    @property
    def uri(self) -> str:
        """Its URI."""
        ...


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
class Origin:
    """Where a version comes from.

    Attributes:
        study: The run id of the study.
        trial: The run id of the trial.
        family: The model family.
        score: The score on the study's held-out rows.
        trained_on: The rows that the model was trained on (the tag `TRAINED_ON`).
        tags: More tags, by name.
    """

    study: str
    trial: str
    family: str
    score: HeldOutScore
    trained_on: str = "train"
    tags: Mapping[str, str] = field(default_factory=dict)

    def to_tags(self) -> dict[str, str]:
        """The origin as tags of a model version."""
        return {
            **self.score.to_tags(),
            STUDY: self.study,
            TRIAL: self.trial,
            FAMILY: self.family,
            TRAINED_ON: self.trained_on,
            **self.tags,
        }


def check_model_name(name: str) -> None:
    """Check a name for the registry, before anything is trained for it.

    Raises:
        ParameterError: Listing all mistakes.
    """
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    raise_all(
        ParameterError,
        (
            f"{shown!r} cannot name a registered model: {mistake}; use letters, digits, - _ and ."
            for mistake in _name_mistakes(name)
        ),
    )


def _name_mistakes(name: str) -> Iterator[str]:
    if not name.strip():
        yield "it is empty"
    elif name != name.strip():
        yield "it begins or ends with a space"
    if found := sorted(set(re.findall(r"""[/:@\\"'`]""", name))):
        yield f"it contains {' '.join(found)}, which cannot stand in models:/NAME@champion"
    if not name.isprintable():
        yield "it contains characters that cannot be printed"
    if name in (".", ".."):
        yield "it is a path"
    if len(name) > MAX_NAME:
        yield f"it has {len(name):,} characters, more than {MAX_NAME}"


def register_winner(
    client: MlflowClient, winner: LoggedWinner, name: str, origin: Origin, description: str = ""
) -> Registered:
    """Register a logged winner as a new version with the alias `challenger`.

    Registering the same winner again gives the same version.

    Args:
        client: A client of the current tracking store (`mlflow.get_tracking_uri()`), in which
            MLflow looks the model up.
        winner: The logged model.
        name: The registered model.
        origin: What the version's tags record.
        description: The model card in Markdown; the registry itself shows no metrics.

    Raises:
        ParameterError: If `check_model_name` refuses the name.
    """
    return register(client, winner, name, origin.to_tags(), description)


def register(
    client: MlflowClient,
    model: LoggedModel,
    name: str,
    tags: Mapping[str, str],
    description: str = "",
) -> Registered:
    """Register a logged model with the alias `challenger`; the same model only once.

    Raises:
        ParameterError: If `check_model_name` refuses the name.
    """
    check_model_name(name)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = _version_of(client, name, model) or client.create_model_version(
        name,
        source=model.uri,
        run_id=model.run_id,
        model_id=model.model_id,
        tags=dict(tags),
        description=description,
    )
    registered = Registered(name, int(found.version))
    _link_version(client, model.model_id, registered)
    client.set_registered_model_alias(name, CHALLENGER, str(found.version))
    return registered


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """The versions of a registered model, by alias.

    Raises:
        UserError: If there is no such model.
    """
    try:
        found = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = [model.name for model in client.search_registered_models(max_results=1000)]
        raise UserError(
            f"no registered model {name!r}{closest(name, known)}; `tune -P register={name}` "
            "creates it; if it exists, set MLFLOW_TRACKING_URI to its store"
        ) from error
    return {alias: int(number) for alias, number in found.items()}


def versions(client: MlflowClient, name: str) -> list[int]:
    """The versions of a registered model, oldest first."""
    return sorted(int(found.version) for found in client.search_model_versions(f"name = '{name}'"))


def candidate(client: MlflowClient, name: str, number: int) -> Candidate:
    """A version as the registry has it now.

    Raises:
        UserError: If there is no such version.
    """
    try:
        found = client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = ", ".join(map(str, versions(client, name))) or "none"
        raise UserError(
            f"registered model {name!r} has no version {number}; it has: {known}"
        ) from error
    return Candidate(name, number, found.run_id, dict(found.tags))


def is_own_code(which: Candidate) -> bool:
    """Whether a version is a model that the user's code has logged, or that another tool has."""
    return FAMILY not in which.tags and METRIC not in which.tags


def uri_of(which: Candidate) -> str:
    """The URI of a version."""
    return f"models:/{which.name}/{which.version}"


def size_of(which: Candidate, folder: Path) -> int:
    """The bytes of a version's files, which are downloaded into `folder` and not opened.

    Raises:
        PromotionRefusedError: If they cannot be downloaded.
    """
    return folder_size(_downloaded(uri_of(which), str(which), folder))


def load_predictor(which: Candidate, folder: Path) -> tuple[Predictor, int]:
    """The predictor of a version, and the size of its model's files in bytes.

    The files are downloaded into `folder`. `mlflow.pyfunc.load_model` would run any code that a
    model contains; here only models of this project are read, with the installed package
    `serving`.

    Raises:
        PromotionRefusedError: If it cannot be downloaded or read, or is not a model of this
            project.
    """
    return read_predictor(uri_of(which), str(which), folder)


def read_predictor(uri: str, shown: str, folder: Path) -> tuple[Predictor, int]:
    """The predictor of a logged model, and the size of its files; no code of the model is run.

    Args:
        uri: of the model, as MLflow takes it, or its folder.
        shown: names it in messages.
        folder: to download it to.

    Raises:
        PromotionRefusedError: If it cannot be downloaded or read, or is not a model of this
            project.
    """
    files = _downloaded(uri, shown, folder)
    try:
        return Predictor.load(_predictor_folder(shown, files)), folder_size(files)
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise PromotionRefusedError(
            f"the model of {shown} is damaged or gone: {first_line(error)}"
        ) from error


def _downloaded(uri: str, shown: str, folder: Path) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise PromotionRefusedError(
            f"the model of {shown} cannot be read: {first_line(error)}"
        ) from error


def _predictor_folder(which: str, files: Path) -> Path:
    """The folder of the predictor in a model's files.

    Raises:
        PromotionRefusedError: If it is not a model of this project.
        ValueError: If the folder lies outside the model's.
    """
    flavor = Model.load(str(files)).flavors.get("python_function", {})
    loader = flavor.get("loader_module")
    if loader != serving.__name__:
        raise PromotionRefusedError(
            f"{which} is not a model of this project (its loader is {loader!r}), and code of an "
            "unknown model is not run here"
        )
    path = (files / str(flavor["data"])).resolve()
    if not path.is_relative_to(files.resolve()):
        raise ValueError(f"{flavor['data']!r} lies outside the model's folder")
    return path


def _version_of(client: MlflowClient, name: str, model: LoggedModel) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((version for version in found if version.source == model.uri), None)


def _link_version(client: MlflowClient, model_id: str, registered: Registered) -> None:
    """Link the logged model to its version, like `mlflow.register_model`.

    A tracking server has done this already.
    """
    links = json.loads(client.get_logged_model(model_id).tags.get(MODEL_VERSIONS, "[]"))
    link = {"name": registered.name, "version": registered.version}
    known = [(entry["name"], str(entry["version"])) for entry in links]
    if (registered.name, str(registered.version)) not in known:
        client.set_logged_model_tags(model_id, {MODEL_VERSIONS: json.dumps([*links, link])})
