"""An MLflow project as an objective: each trial is a run of one of its entry points.

`project:URI#entry` names it; `#entry?env=local` chooses MLflow's environment manager. The
parameters of the space are those of the entry point, one of which may be `budget`. The metric is
read from the run.
"""

import fcntl
import functools
import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.projects import utils
from mlflow.projects._project_spec import load_project

from hpo.errors import ParameterError, closest
from pipelines.files.cache import cache_dir, make_private
from pipelines.files.environment import environment
from pipelines.files.uris import first_line, safe
from pipelines.objectives.code import BUDGET, Evaluate
from pipelines.objectives.code.printed import printed_since, printed_so_far
from pipelines.objectives.code.results import ResultError, last_line

PROJECT = "project:"
_MAIN = "main"
_MAX_DIGESTED = 1_000_000  # bytes of a file
_FAILED = re.compile(r"Run \(ID '.*'\) failed")  # all that MLflow says of a failed command
_NOT_THEIRS = ("hpo.", "system/")  # metrics of the study, and those of MLflow itself


@dataclass(frozen=True)
class ProjectCode:
    """An entry point of an MLflow project.

    Attributes:
        uri: of the project.
        entry: the entry point.
        env: MLflow's environment manager; None for the project's own.
        folder: of the project on this machine.
    """

    uri: str
    entry: str
    env: str | None
    folder: Path
    needs_run = True

    @property
    def text(self) -> str | None:
        """How a later process finds it, from wherever; None where the URI has a secret."""
        place = self.uri if "://" in self.uri else str(Path(self.uri).resolve())
        env = f"?env={self.env}" if self.env else ""
        return None if safe(place) != place else f"{PROJECT}{place}#{self.entry}{env}"

    @property
    def _shown(self) -> str:
        return f"{PROJECT}{safe(self.uri)}#{self.entry}"

    @property
    def name(self) -> str:
        """The project and its entry point."""
        return f"{PROJECT}{Path(self.uri.rstrip('/')).name or self.folder.name}#{self.entry}"

    @functools.cached_property
    def _parameters(self) -> frozenset[str]:
        try:
            return frozenset(self._project.get_entry_point(self.entry).parameters)
        except ExecutionException as error:
            known = sorted(self._project._entry_points)
            raise ParameterError(
                f"objective={self._shown!r}: the project has no entry point {self.entry!r}"
                f"{closest(self.entry, known)}; it has {', '.join(known)}"
            ) from error

    @functools.cached_property
    def _project(self) -> Any:
        load: Any = load_project
        try:
            return load(str(self.folder))
        except Exception as error:  # of YAML, and of what MLflow expects in it
            raise ParameterError(
                f"objective={self._shown!r}: MLproject cannot be read ({first_line(error)})"
            ) from error

    @functools.cached_property
    def takes(self) -> frozenset[str]:
        """Whether `budget` is one of its parameters."""
        return frozenset((BUDGET,)) & self._parameters

    @property
    def digest(self) -> str:
        """Of the files in the project's folder, without hidden ones and what runs leave."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            parts = path.relative_to(self.folder).parts
            if path.is_file() and not any(part.startswith((".", "__", "ml")) for part in parts):
                content = path.read_bytes() if path.stat().st_size < _MAX_DIGESTED else b""
                found.update(str(parts).encode() + hashlib.sha256(content).digest())
        return found.hexdigest()[:16]

    def check(self, names: frozenset[str]) -> None:
        """Check that the parameters are those of the entry point.

        Raises:
            ParameterError: naming what is unknown, or needed and missing.
        """
        entry = self._project.get_entry_point(self.entry) if self._parameters else None
        unknown = sorted(names - self._parameters)
        if unknown:
            raise ParameterError(
                f"objective={self._shown!r}: {', '.join(unknown)} of the space is no parameter of "
                f"the entry point; it has {', '.join(sorted(self._parameters)) or 'none'}"
            )
        needed = {n for n, p in entry.parameters.items() if p.default is None} if entry else set()
        missing = sorted(needed - names - {BUDGET})
        if missing:
            raise ParameterError(
                f"objective={self._shown!r}: {', '.join(missing)} has no default in MLproject, so "
                "it must be in the space, such as with a single choice"
            )

    def worker(self) -> Evaluate:
        """Runs the entry point."""
        places = cache_dir() / "environments"
        make_private(places)
        return RunProject(str(self.folder), self.entry, self.env, str(places / self.digest))


@dataclass(frozen=True)
class RunProject:
    """Runs an entry point once for each evaluation, in the trial's own run.

    Attributes:
        folder: of the project.
        entry: the entry point.
        env: the environment manager.
        lock: the first run makes the environment; until then, others wait at this file.
    """

    folder: str
    entry: str
    env: str | None
    lock: str

    def __call__(self, params: dict[str, Any], **beside: Any) -> Any:
        """The metrics of the run.

        Raises:
            ResultError: when the run fails, or has no metrics.
        """
        run = mlflow.active_run()
        if run is None:
            raise ResultError("the trial's run is not in MLflow yet")
        run_id, run_project = str(run.info.run_id), cast(Any, mlflow.projects.run)
        began = round(1e3 * time.time())
        start = printed_so_far()
        with self._environment(), _own_python(self.env):
            try:
                run_project(
                    self.folder,
                    entry_point=self.entry,
                    parameters={name: str(value) for name, value in {**params, **beside}.items()},
                    env_manager=self.env,  # None is the project's own
                    run_id=run_id,
                )
            except (ExecutionException, MlflowException) as error:
                said = last_line(_own_lines(printed_since(start)))
                raise ResultError(f"the run of the project failed{_why(said, error)}") from error
        found = _logged_since(began, run_id)
        if not found:
            raise ResultError("the run of the project has logged no metric")
        return found

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """Let one run alone make the environment."""
        done = Path(f"{self.lock}.made")
        if self.env == "local" or done.exists():
            yield
            return
        with open(self.lock, "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                yield
                done.touch()
                return
        yield


def _logged_since(began: int, run_id: str) -> dict[str, float]:
    """The last value of each metric of a run that was logged since a moment, in milliseconds.

    Earlier legs of the trial, and the study itself, have logged to the same run.
    """
    client, found = MlflowClient(), dict[str, float]()
    for name in client.get_run(run_id).data.metrics:
        if name.startswith(_NOT_THEIRS):
            continue
        points = [p for p in client.get_metric_history(run_id, name) if p.timestamp >= began]
        if points:
            last = max(points, key=lambda point: (point.step, point.timestamp))
            found[name] = float(last.value)
    return found


@contextmanager
def _own_python(env: str | None) -> Iterator[None]:
    """With `env=local`, let `python` be that of this process, also where no shell has it first."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    with environment({"PATH": path} if env == "local" else {}):
        yield


def _why(said: str, error: Exception) -> str:
    """What the project said last; else what MLflow says, unless that is only that it failed."""
    if not said and _FAILED.fullmatch(first_line(error)):
        return " and printed nothing"
    return f": {said or first_line(error)}"


def _own_lines(text: str) -> str:
    """What the project has printed, without what MLflow has logged of it."""
    return "\n".join(line for line in text.splitlines() if " mlflow.projects" not in line)


def project_code(text: str) -> ProjectCode:
    """Fetch a project and read its file.

    Raises:
        ParameterError: when there is none.
    """
    place, mark, entry = text.removeprefix(PROJECT).rpartition("#")
    if not mark:
        place, entry = entry, ""
    entry, _, query = entry.partition("?")
    key, _, env = query.partition("=")
    shown = PROJECT + safe(place)
    if not place or (query and (key != "env" or not env)):
        raise ParameterError(
            f"objective={shown!r} must have the form project:URI#entry, or "
            "project:URI#entry?env=local for another environment manager"
        )
    if "://" not in place and "@" not in place and not Path(place.partition("#")[0]).exists():
        raise ParameterError(f"objective={shown!r}: there is no folder {place}")
    fetch: Any = utils._fetch_project
    logger = logging.getLogger(utils.__name__)
    level = logger.level
    try:
        logger.setLevel(logging.WARNING)  # it would show a password in the URI
        folder = Path(fetch(uri=place)).resolve()
    except Exception as error:  # of Git, zip files and file systems
        raise ParameterError(
            f"objective={shown!r}: the project cannot be fetched ({safe(first_line(error))})"
        ) from error
    finally:
        logger.setLevel(level)
    if not (folder / "MLproject").is_file():
        raise ParameterError(f"objective={shown!r}: there is no file MLproject")
    return ProjectCode(place, entry or _MAIN, env or None, folder)
