"""The model registry: a logged winner as a version of a registered model, and who may change which version is in use.

Everything goes through a client; nothing out of a model itself is run.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

import serving
from hpo.errors import ParameterError, UserError, closest, raise_all
from pipelines.registry.gate import (
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
from pipelines.registry.logged import LoggedWinner
from pipelines.store.lease import SETTLE, Driver
from pipelines.store.tracking import first_line
from serving.predictor import Predictor

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
GATE = "hpo.gate"  # on a registered model: who changes its aliases now

STUDY = "hpo.study"  # run id of the study
TRIAL = "hpo.trial"  # run id of the trial
FAMILY = "hpo.model"

MAX_NAME = 250
MODEL_VERSIONS = "mlflow.modelVersions"  # by which the UI links a logged model with its versions
_NO_FILE_NAME = re.compile(r"[^\w.-]")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: int

    @property
    def uri(self) -> str:
        """The version itself, whatever its aliases become."""
        return f"models:/{self.name}/{self.version}"


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
        mistakes.append(
            f"it contains {' '.join(found)}, which cannot stand in models:/NAME@champion"
        )
    if not name.isprintable():
        mistakes.append("it contains characters that cannot be printed")
    if name in (".", ".."):
        mistakes.append("it is a path")
    if len(name) > MAX_NAME:
        mistakes.append(f"it has {len(name):,} characters, {MAX_NAME} are the most")
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    raise_all(
        ParameterError,
        [
            f"{shown!r} cannot name a registered model: {m}; take letters, digits, - _ and ."
            for m in mistakes
        ],
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

    `study` and `trial` are run ids. `description` is Markdown (`pipelines.objectives.card`): the
    registry shows no metrics itself. The client must be one of the tracking store in force
    (`mlflow.get_tracking_uri()`), where MLflow looks the model up.

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
        return {
            alias: int(number)
            for alias, number in client.get_registered_model(name).aliases.items()
        }
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
        raise UserError(
            f"registered model {name!r} has no version {number}; it has: {there}"
        ) from error
    return Candidate(name, number, found.run_id, dict(found.tags))


def load_predictor(which: Candidate, folder: Path) -> tuple[Predictor, int]:
    """The predictor of a version, downloaded into `folder`, and the bytes of all of the model's files.

    `mlflow.pyfunc.load_model` runs whatever code a model brings along. Here only models of this
    project are read, by the package `serving` that is installed, and nothing out of the model
    itself is run.

    Raises:
        PromotionRefusedError: when it cannot be downloaded or read, or is none of this project's
            models.
    """
    try:
        place = mlflow.artifacts.download_artifacts(
            f"models:/{which.name}/{which.version}", dst_path=str(folder)
        )
    except (MlflowException, OSError) as error:
        raise PromotionRefusedError(
            f"the model of {which} cannot be read: {first_line(error)}"
        ) from error
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


def crown(
    client: MlflowClient, challenger: Candidate, champion: Candidate | None, verdict: Verdict
) -> None:
    """Make a version champion, and the champion until now `previous`.

    The registry moves an alias for whoever asks last: it knows no condition and no lock. So the
    change is made by one gate at a time (`_alone`), and the aliases are read again just before and
    just after.

    Evidence comes first and the alias that counts last: after a kill at any moment the old champion
    is in use, or the new one with all of its evidence, and the same call again completes it. The
    challenger's alias stays: it names the newest candidate, and taking it away could hit one that
    has just been registered.

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
        client.set_model_version_tag(
            name, number, REPLACED, str(champion.version) if champion else NOBODY
        )
        if ROLLED_BACK in challenger.tags:
            client.delete_model_version_tag(name, number, ROLLED_BACK)
        if champion is not None:
            client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        _check_champion(client, name, champion, f"version {number} was compared with")
        client.set_registered_model_alias(name, CHAMPION, number)
        _check_champion(client, name, challenger, "this promotion made it")


def uncrown(
    client: MlflowClient, champion: Candidate, previous: Candidate, before: int | None
) -> None:
    """Make `previous` champion again, and `before` (the one that it had replaced) the new `previous`.

    As with `crown` the alias that counts is moved in one call; a kill after it leaves `previous` on
    the champion, which is completed by `settle`.

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

    Each gate writes its own token to a tag of the registered model, waits, and reads what is there:
    of two at once one finds the other's. (Both could go on only if one stood still for longer than
    the wait between two calls.) What a killed gate leaves is nobody's as soon as its process is
    gone, or after a minute when it ran on another machine.

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
        was, now = (
            f"version {n}" if n else "nobody" for n in (expected and expected.version, found)
        )
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


def _version_of(client: MlflowClient, name: str, winner: LoggedWinner) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((found for found in versions if found.source == winner.uri), None)


def _link_version(client: MlflowClient, model_id: str, name: str, number: Any) -> None:
    """Name the version on the logged model, as `mlflow.register_model` does; a server has done it already."""
    known = json.loads(client.get_logged_model(model_id).tags.get(MODEL_VERSIONS, "[]"))
    if not any(entry["name"] == name and str(entry["version"]) == str(number) for entry in known):
        text = json.dumps([*known, {"name": name, "version": number}])
        client.set_logged_model_tags(model_id, {MODEL_VERSIONS: text})
