"""What a worker does for the user's code: call it once for a leg, and read its result."""

import json
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cloudpickle

from hpo.goals import Goals
from hpo.loop import Job
from hpo.trial import Report
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.environment import one_process, surroundings
from pipelines.files.exchange import Exchange
from pipelines.models import CheckpointError
from pipelines.objectives.code import BUDGET, CHECKPOINT, Evaluate, printed
from pipelines.objectives.code.printed import print_lines, printed_to
from pipelines.objectives.code.results import course
from pipelines.objectives.code.trial_run import Place, active, install
from pipelines.study.workshop import Worker

CODE = "code"  # the folder in the exchange
_OURS = str(Path(__file__).parents[2])  # frames of this project say nothing of the user's code
_FRAMES = 5
_TERMS, _CODE = "terms.json", "code.pkl"


@dataclass(frozen=True)
class Terms:
    """What all evaluations of a session share.

    Attributes:
        goals: the metrics that are needed, as plain values (`Goals.to_dict`).
        takes: which of `budget` and `checkpoint` the code takes.
        full: the largest budget.
        checkpoints: the URI of the study's; None if no leg continues another.
    """

    goals: Mapping[str, Any]
    takes: tuple[str, ...]
    full: float
    checkpoints: str | None

    def write(self, folder: Path, code: Evaluate) -> None:
        """Write them as JSON, and the code beside them."""
        (folder / _TERMS).write_text(json.dumps(asdict(self)), encoding="utf-8")
        (folder / _CODE).write_bytes(cloudpickle.dumps(code))

    @classmethod
    def read(cls, folder: Path) -> "Terms":
        """Read what `write` wrote."""
        plain = json.loads((folder / _TERMS).read_text(encoding="utf-8"))
        return cls(**{**plain, "takes": tuple(plain["takes"])})


@dataclass(frozen=True)
class CodeJob:
    """A leg of a trial with the run that it logs to."""

    job: Job
    place: Place


@dataclass(frozen=True)
class Evaluated(Report):
    """The report of a leg.

    Attributes:
        used_run: whether the code has used the trial's run.
    """

    used_run: bool = False


def code_worker() -> Worker:
    """The workers of a study of the user's code."""
    return Worker(Evaluation, (__name__, "mlflow"))


class Evaluation:
    """Calls the user's code. The exchange is read with the first job."""

    def __init__(self, exchange: Exchange) -> None:
        install()  # before the code is unpickled, which may import MLflow's functions by name
        print_lines()
        self._exchange = exchange

    @cached_property
    def _terms(self) -> Terms:
        return Terms.read(self._exchange.get(CODE))

    @cached_property
    def _evaluate(self) -> Evaluate:
        """The code, as the driver of this session has sent it."""
        found: Evaluate = cloudpickle.loads((self._exchange.get(CODE) / _CODE).read_bytes())
        return found

    def __call__(self, leg: CodeJob) -> Evaluated:
        """The report of one leg.

        Raises:
            Exception: whatever the code raises; the trial fails for that reason.
        """
        job, evaluate = leg.job, self._evaluate
        file = self._exchange.printed / printed.name(job.number, job.to)
        with printed_to(file), active(leg.place) as run, self._folder(job) as folder:
            report = self._report(evaluate, job, folder)
            return replace(report, used_run=run.was_used)

    def _report(self, evaluate: Evaluate, job: Job, folder: "_Folder") -> Evaluated:
        began, terms = time.monotonic(), self._terms
        goals = Goals.from_dict(terms.goals)
        more = {BUDGET: _plain(job.to), CHECKPOINT: folder.path}
        given = {name: more[name] for name in terms.takes}
        start = job.start if folder.continues else 0.0
        with _located(), surroundings(), one_process():
            found = course(evaluate(dict(job.params), **given), goals, start)
        not_stored = self._store(job, folder.path)
        return Evaluated(
            job.to,
            goals.first.to_loss(found.metrics[goals.first.name]),
            found.metrics,
            time.monotonic() - began,
            curve=found.curve,
            note="; ".join(filter(None, (folder.note, not_stored))),
        )

    @contextmanager
    def _folder(self, job: Job) -> Iterator["_Folder"]:
        """The trial's own folder, with what its last leg left there."""
        with tempfile.TemporaryDirectory(prefix="trial-", dir=self._exchange.scratch) as scratch:
            path, note = Path(scratch) / "checkpoint", ""
            if job.start > 0 and self._checkpoints is not None:
                try:
                    self._checkpoints.load(job.source, job.start, path)
                except CheckpointError as error:
                    note = f"{error}: evaluated again from the start"
            continues = path.is_dir() and not note
            path.mkdir(exist_ok=True)
            yield _Folder(path, continues, note)

    @cached_property
    def _checkpoints(self) -> Checkpoints | None:
        if CHECKPOINT not in self._terms.takes or self._terms.checkpoints is None:
            return None
        return Checkpoints(self._terms.checkpoints, self._exchange.scratch)

    def _store(self, job: Job, path: Path) -> str:
        """Store the trial's folder for its next leg; returns why that failed."""
        if self._checkpoints is None or job.to >= self._terms.full:
            return ""
        try:
            self._checkpoints.save(job.number, job.to, lambda folder: _copy(path, folder))
        except CheckpointError as error:
            return f"{error}: if promoted, the trial will be evaluated again from the start"
        return ""


@contextmanager
def _located() -> Iterator[None]:
    """Add to an exception of the code where it was raised; its trial stores this text."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(_OURS)]
        error.add_note("".join(traceback.format_list(own[-_FRAMES:])).rstrip())
        raise


@dataclass(frozen=True)
class _Folder:
    path: Path
    continues: bool
    note: str


def _copy(source: Path, folder: Path) -> None:
    """Move the content of the trial's folder into that of the checkpoint."""
    for each in source.iterdir():
        each.rename(folder / each.name)


def _plain(budget: float) -> float:
    """A whole number as `int`."""
    return int(budget) if float(budget).is_integer() else budget
