"""Checkpoints of a worker: a promoted trial continues where its last leg ended."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpo.loop import Job
from pipelines.files.checkpoints import Checkpoints
from pipelines.models import CheckpointError, Family, Trainable, libraries, search_model
from pipelines.models.libraries import installed_versions
from pipelines.objectives.course import CONTINUED, Course
from pipelines.objectives.jobs import Work
from pipelines.objectives.scoring.scores import Trained
from pipelines.table.data import Fold

_LEG_FILE = "leg.json"
# Where and what is kept, and what is measured besides, changes no training.
_ELSEWHERE = ("checkpoints", "models", "predictions", "others", "goals", "watts")


class StoredLegs:
    """The checkpoints of one study.

    Args:
        work: of the study.
        folds: that its models are trained on.
        scratch: a folder for temporary files.
    """

    def __init__(self, work: Work, folds: Sequence[Fold], scratch: Path) -> None:
        continues = work.fidelity in CONTINUED and work.checkpoints is not None
        self._checkpoints = Checkpoints(str(work.checkpoints), scratch) if continues else None
        self._work = work
        self._scratch = scratch
        self._folds = folds

    def resume(
        self, job: Job, course: Course, families: Sequence[tuple[Fold, Family]]
    ) -> list[Trainable] | None:
        """The models of a trial, one for each fold, as its last leg left them.

        Returns:
            None for a trial's first leg, and where no leg continues another.

        Raises:
            CheckpointError: when they are missing or those of another study or trial.
        """
        if job.start == 0 or self._checkpoints is None:
            return None
        shown = f"the checkpoint of trial {job.source} at {job.start:g}"
        with tempfile.TemporaryDirectory(prefix="resume-", dir=self._scratch) as scratch:
            folder = self._checkpoints.load(job.source, job.start, Path(scratch))
            if _read_leg(folder) != self._identity(job.start):
                raise CheckpointError(
                    f"{shown} is of another study or another version of a library"
                )
            rounds = search_model(self._work.model).rounds(course.name, job.start)
            params, seed = course.params_to(rounds), self._work.seed
            try:
                return [own.resume(params, seed, _folder(folder, fold)) for fold, own in families]
            except CheckpointError as error:
                raise CheckpointError(f"{shown} is of another trial ({error})") from error

    def save(self, job: Job, trained: Sequence[Trained]) -> str:
        """Store the models for the next leg, before the report lets anybody start it.

        Returns:
            Why they are not stored; "" when they are, or no leg will follow.
        """
        if self._checkpoints is None or job.to >= self._work.rungs[-1]:
            return ""

        def write(folder: Path) -> None:
            (folder / _LEG_FILE).write_text(json.dumps(self._identity(job.to)), encoding="utf-8")
            for part in trained:
                part.model.save(_folder(folder, part.fold))

        try:
            self._checkpoints.save(job.number, job.to, write)
        except CheckpointError as error:
            return f"{error}: if promoted, the trial will be trained again from the start"
        return ""

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """The folds, by their targets, and the libraries; only checkpoints need them."""
        return {
            "targets": _targets_digest(self._folds),
            "versions": installed_versions(libraries(search_model(self._work.model).families)),
        }

    def _identity(self, budget: float) -> dict[str, Any]:
        """What a checkpoint must agree with, beside what its family checks, as read from JSON."""
        work = {key: value for key, value in asdict(self._work).items() if key not in _ELSEWHERE}
        whole = {**work, "budget": budget, **self._origin}
        read: dict[str, Any] = json.loads(json.dumps(whole))
        return read


def _targets_digest(folds: Sequence[Fold]) -> str:
    """Equal for the same folds of the same target."""
    found = hashlib.sha256()
    for fold in folds:
        for y in (fold.y_train, fold.y_valid):
            found.update(np.ascontiguousarray(y).tobytes())
    return found.hexdigest()


def _folder(folder: Path, fold: Fold) -> Path:
    return folder / f"fold-{fold.index}"


def _read_leg(folder: Path) -> Any:
    """What the checkpoint says of its leg; None when it says nothing."""
    try:
        return json.loads((folder / _LEG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
