"""Whether a study survived: what its database says, next to what its drivers printed."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, NullPool, create_engine, text

_STUDY = re.compile(r"^study ([0-9a-f]{32}):", re.MULTILINE)
_LEG = re.compile(r"^trial (\d+)/\d+ \(.*?\)(?: at (\S+) \w+)?  \w+ (\S+)  ", re.MULTILINE)
_FAILED = re.compile(r"^trial (\d+)/\d+ FAILED: ", re.MULTILINE)
_ENDED = re.compile(r"full budget|stopped early|left at \S+")
_TRACEBACK = "Traceback (most recent call last)"
_DIGITS = 2e-5  # relative precision of printed scores

Leg = tuple[int, str, float]
"""A trial's number, the budget as printed, and the score."""


@dataclass
class Printed:
    """What the drivers of one study printed, one after the other."""

    study: str | None = None
    legs: list[Leg] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)
    tracebacks: int = 0

    def add(self, text: str) -> None:
        """Read the output of a driver that has ended."""
        self.study = self.study or study_of(text)
        self.legs += [(int(n), budget, float(score)) for n, budget, score in _LEG.findall(text)]
        self.failed |= {int(number) for number in _FAILED.findall(text)}
        self.tracebacks += text.count(_TRACEBACK)


def study_of(text: str) -> str | None:
    """The run id of the study that a driver has named."""
    found = _STUDY.search(text)
    return found.group(1) if found else None


def n_legs(text: str) -> int:
    """How many results a driver has printed."""
    return len(_LEG.findall(text))


@dataclass(frozen=True)
class _Run:
    """A run as the database has it."""

    status: str
    ended: bool
    tags: dict[str, str]
    history: Sequence[tuple[str, int]]

    @property
    def number(self) -> int:
        return int(self.tags.get("hpo.trial.number", -1))

    @property
    def reports(self) -> list[tuple[float, float]]:
        """Budget and loss of each leg."""
        return [(leg[0], leg[1]) for leg in json.loads(self.tags.get("hpo.trial.reports", "[]"))]


def problems(database: str, printed: Printed, trials: int, metric: str) -> list[str]:
    """What is wrong with a study that should have ended well.

    Args:
        database: the URI of the tracking store.
        printed: by its drivers.
        trials: how many it should have.
        metric: that decides.
    """
    if printed.study is None:
        return ["no study began"]
    found = list(_of_output(printed))
    with create_engine(driven(database), poolclass=NullPool).connect() as store:
        parent = _runs(store, "run_uuid = :value", printed.study)[0]
        runs = _runs(
            store,
            "lifecycle_stage = 'active' AND run_uuid IN "
            "(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :value)",
            printed.study,
        )
    found += _of_parent(parent)
    theirs = [run for run in runs if run.tags.get("hpo.role") == "trial"]
    numbers = sorted(run.number for run in theirs)
    if numbers != list(range(trials)):
        found.append(f"numbers {numbers}, not 0 to {trials - 1}")
    names = Counter(run.tags.get("hpo.baseline") for run in runs if run not in theirs)
    if sorted(map(str, names)) != ["ridge", "trivial"] or max(names.values()) > 1:
        found.append(f"baselines {dict(names)}")
    for run in theirs:
        found += _of_trial(run, run.number in printed.failed, metric)
    by_number = {run.number: run for run in theirs}
    return found + [
        f"trial {number} at {budget}: {score} was printed, and is not stored"
        for number, budget, score in printed.legs
        if number not in by_number or not _has(by_number[number], score)
    ]


def _of_output(printed: Printed) -> Iterator[str]:
    if printed.tracebacks:
        yield f"{printed.tracebacks} tracebacks were printed"
    twice = [leg for leg, n in Counter((n, b) for n, b, _ in printed.legs).items() if n > 1]
    if twice:
        yield f"trained twice: {twice}"


def _of_parent(run: _Run) -> Iterator[str]:
    if run.status != "FINISHED" or not run.ended:
        yield f"the study is {run.status}"
    for tag in ("hpo.driver", "hpo.failure"):
        if run.tags.get(tag):
            yield f"{tag} is {run.tags[tag]:.60}"


def _of_trial(run: _Run, failed: bool, metric: str) -> Iterator[str]:
    budgets = [budget for budget, _ in run.reports]
    if len(set(budgets)) < len(budgets):
        yield f"trial {run.number} has reports at {budgets}"
    steps = Counter(step for name, step in run.history if name == metric)
    if any(n > 1 for n in steps.values()):
        yield f"trial {run.number} has metrics twice"
    state, has_failed = run.tags.get("hpo.trial.ended", ""), "hpo.failure" in run.tags
    good = "FINISHED" if run.reports else "FAILED"
    if not run.ended or run.status != good or has_failed != state.startswith("failed"):
        yield f"trial {run.number} is {run.status}, {state!r}"
    elif has_failed != failed or not (has_failed or _ENDED.fullmatch(state)):
        yield f"trial {run.number} is {run.status}, {state!r}, and was printed otherwise"


def _has(run: _Run, score: float) -> bool:
    return any(abs(abs(loss) - abs(score)) <= _DIGITS * abs(score) for _, loss in run.reports)


def driven(database: str) -> str:
    """The URI of a database with the driver that MLflow takes for it."""
    return database.replace("postgresql://", "postgresql+psycopg://")


def _runs(store: Connection, rule: str, value: str) -> list[_Run]:
    query = text(f"SELECT run_uuid, status, end_time FROM runs WHERE {rule}")  # noqa: S608
    return [_run(store, *row) for row in store.execute(query, {"value": value}).all()]


def _run(store: Connection, run_id: str, status: str, end: int | None) -> _Run:
    run = {"run": run_id}
    tags = store.execute(text("SELECT key, value FROM tags WHERE run_uuid = :run"), run).all()
    points = store.execute(text("SELECT key, step FROM metrics WHERE run_uuid = :run"), run).all()
    return _Run(status, bool(end), {key: value for key, value in tags}, [(k, n) for k, n in points])
