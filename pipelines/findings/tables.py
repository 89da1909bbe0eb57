"""The tables of a report, for the page and as CSV."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from hpo.space.parameters import Categorical, Parameter
from hpo.trial import Trial, schedule
from pipelines.findings.analysis import Analysis
from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.evidence import Evidence
from pipelines.findings.scales import duration, first_line, number, short

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_BEST = 20  # trials on the page
_LISTED = 8  # numbers of failed trials for each reason
_COLUMNS = ("number", "name", "run_id", "status", "origin", "budget", "seconds", "failure")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Table:
    """Rows under named columns; `chosen` is the position of the row that is highlighted."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    chosen: int | None = None

    @classmethod
    def of(cls, items: Iterable[Item], columns: Mapping[str, Callable[[Item], object]]) -> "Table":
        """A row for each item; `columns` computes the value of each column."""
        rows = [[value(item) for value in columns.values()] for item in items]
        return cls(tuple(columns), rows)

    def to_csv(self) -> str:
        """The table as CSV.

        Text that a spreadsheet would take for a formula is written with a leading apostrophe.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for row in (self.columns, *self.rows):
            writer.writerow(map(_csv_cell, row))
        return out.getvalue()

    def lines(self) -> list[str]:
        """The table for a terminal, in aligned columns."""
        cells = [list(self.columns), *(list(map(_text_cell, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _text_cell(value: object) -> str:
    return "–" if value is None else short(number(value, 5), 60)


def _csv_cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def leaderboard(rows: Sequence[Mapping[str, Any]]) -> Table:
    """All trials with all their metrics and parameters.

    Args:
        rows: Those of `pipelines.store.studies.leaderboard`.
    """
    metrics = sorted(set[str]().union(*(row["metrics"] for row in rows)))
    params = sorted(set[str]().union(*(row["params"] for row in rows)))
    common = itemgetter(*_COLUMNS)
    cells = [
        [*common(row), *map(row["metrics"].get, metrics), *map(row["params"].get, params)]
        for row in rows
    ]
    taken = {*_COLUMNS, *params}
    named = [f"metrics.{name}" if name in taken else name for name in metrics]
    named += [f"params.{name}" if name in _COLUMNS else name for name in params]
    return Table((*_COLUMNS, *named), cells)


def best_trials(evidence: Evidence) -> Table:
    """The best trials; their budgets are shown if the study has rungs."""
    columns: dict[str, Callable[[Trial], object]] = {
        "trial": attrgetter("number"),
        **{name: partial(_score, evidence, name) for name in evidence.scope.goals.names},
        "budget": attrgetter("reached"),
        "seconds": attrgetter("seconds"),
        "origin": attrgetter("origin"),
    }
    if len(evidence.scope.rungs) < 2:
        del columns["budget"]
    shown = evidence.ranked[:_BEST]
    winner = evidence.winner
    chosen = next((row for row, trial in enumerate(shown) if trial is winner), None)
    return replace(Table.of(shown, columns), chosen=chosen)


def _score(evidence: Evidence, name: str, trial: Trial) -> object:
    return evidence.scope.goals.scores(trial.best)[name] if trial.best else None


def course(evidence: Evidence) -> Table:
    """The values that the winner was trained with over time; no rows unless it is a copy."""
    names = evidence.scope.space.names
    winner = evidence.winner
    phases = schedule(evidence.trials, winner.number) if winner else ()
    rows = [
        (
            f"{number(phase.start)} to {number(phase.to)}",
            str(phase.number),
            *(short(phase.params.get(name, "")) for name in names),
        )
        for phase in phases
    ]
    return Table(("budget", "trial", *names), rows if len(rows) > 1 else [])


def configuration(evidence: Evidence) -> Table:
    """The winner's values beside the default's and the range that was searched."""
    winner = evidence.winner.params if evidence.winner else {}
    default = evidence.default.params if evidence.default else {}
    return Table.of(
        winner,
        {
            "parameter": str,
            "winner": winner.get,
            "default": default.get,
            "searched": lambda name: _range(evidence, name),
        },
    )


def _range(evidence: Evidence, name: str) -> str:
    if name not in evidence.scope.space:
        return ""
    parameter: Parameter = evidence.scope.space[name]
    if isinstance(parameter, Categorical):
        return ", ".join(map(str, parameter.choices))
    return f"{parameter.low:g} to {parameter.high:g}{', log' if parameter.log else ''}"


def importance(evidence: Evidence, analysis: Analysis) -> Table:
    """Shares of the variance of the loss, by parameter."""
    found, order = analysis.importance, list(analysis.order)
    names = [evidence.scope.space.names[j] for j in order]
    shares = (found.main[order], found.spread[order], found.total[order])
    rows = list(zip(names, *(share.tolist() for share in shares), strict=True))
    return Table(("parameter", "alone", "spread", "with interactions"), rows)


def interactions(evidence: Evidence, analysis: Analysis) -> Table:
    """Shares of the variance of the loss, by pairs of parameters."""
    names, share = evidence.scope.space.names, analysis.importance.pairs
    return Table.of(
        sorted(share, key=lambda pair: -share[pair]),
        {
            "first": lambda pair: names[pair[0]],
            "second": lambda pair: names[pair[1]],
            "share": lambda pair: share[pair],
        },
    )


def best_so_far(evidence: Evidence) -> Table:
    """The best result after each leg, with the seconds of search until then."""
    rows = [[legs, *point] for legs, point in enumerate(evidence.best, 1)]
    return Table(("legs", "seconds", evidence.scope.goal.name), rows)


def failures(evidence: Evidence) -> Table:
    """Why trials failed: how often, and which."""
    numbers: dict[str, list[str]] = defaultdict(list)
    for trial in evidence.trials:
        if trial.failure:
            reason = first_line(trial.failure, 300) or "no reason was given"
            numbers[reason].append(str(trial.number))
    return Table.of(
        sorted(numbers, key=lambda reason: -len(numbers[reason])),
        {
            "reason": str,
            "trials": lambda reason: len(numbers[reason]),
            "which": lambda reason: _listed(numbers[reason]),
        },
    )


def _listed(numbers: Sequence[str]) -> str:
    return ", ".join(numbers[:_LISTED]) + (" …" if len(numbers) > _LISTED else "")


def costs(evidence: Evidence, price: float | None) -> Table:
    """The time of a study by use, and its price if an hour of the machine has one."""
    return Table(("what", "how much", "share"), list(_costs(evidence, price)))


def _costs(evidence: Evidence, price: float | None) -> Iterator[tuple[str, str, str]]:
    searching = evidence.elapsed
    workers = int(evidence.header.get("workers", 1))
    training = sum(trial.seconds for trial in evidence.trials)
    used = _share(training, searching * workers, "of the workers' time")
    yield "search, at least one trial running", duration(searching), ""
    yield "training, all trials together", duration(training), used
    if evidence.best:
        found = _seconds_to_best(evidence)
        share = _share(found, searching, "of the search")
        yield "until the winner's result", duration(found), share
    if failed := _failed_seconds(evidence):
        yield "spent on failed trials", duration(failed), ""
    for family, seconds in _seconds_by_family(evidence):
        share = _share(seconds, training, "of the training")
        yield f"training {family}", duration(seconds), share
    if price is not None:
        cost = price * searching / 3600
        yield "price of the search", f"{cost:,.2f}", f"at {price:g} an hour"


def _share(part: float, whole: float, of: str) -> str:
    return f"{part / whole:.0%} {of}" if whole > 0 else ""


def _seconds_to_best(evidence: Evidence) -> float:
    _, final = evidence.best[-1]
    return next(seconds for seconds, score in evidence.best if score == final)


def _failed_seconds(evidence: Evidence) -> float:
    failed = [row for row in evidence.rows if row["failure"] and not row["reports"]]
    return sum(float(row["ended"] - row["started"]) for row in failed)


def _seconds_by_family(evidence: Evidence) -> list[tuple[str, float]]:
    """Training seconds by model family, the largest first; none if the study has one family."""
    model = evidence.scope.model
    if model is None or len(model.families) < 2:
        return []
    spent: dict[str, float] = defaultdict(float)
    for trial in evidence.trials:
        family, _ = model.resolve(trial.params)
        spent[family] += trial.seconds
    return sorted(spent.items(), key=lambda item: -item[1])


def classes(evidence: Evidence) -> Table:
    """How many held-out rows of each class the winner finds."""
    return Table.of(
        evidence.classes,
        {
            "class": attrgetter("label"),
            "held-out rows": attrgetter("rows"),
            "found": attrgetter("recall"),
        },
    )


def past(evidence: Evidence) -> Table:
    """The past studies that were learned from."""
    sources = evidence.warm.sources if evidence.warm else ()
    return Table.of(
        sources,
        {
            "past study": attrgetter("name"),
            "run": attrgetter("run_id"),
            "similarity": attrgetter("similarity"),
            "same table": lambda source: "yes" if source.same_table else "no",
            "compared with this one": lambda source: source.why or None,
        },
    )


def diagnoses(findings: Sequence[Diagnosis]) -> Table:
    """Findings with their evidence and what to do."""
    return Table.of(
        findings,
        {
            "severity": attrgetter("severity"),
            "finding": attrgetter("title"),
            "evidence": attrgetter("evidence"),
            "advice": attrgetter("advice"),
        },
    )


def all_tables(
    evidence: Evidence,
    analysis: Analysis | None,
    findings: Sequence[Diagnosis],
    price: float | None,
) -> dict[str, Table]:
    """The tables of a study by the names of their files, without the leaderboard."""
    tables = {
        "diagnosis.csv": diagnoses(findings),
        "best_so_far.csv": best_so_far(evidence),
        "configuration.csv": configuration(evidence),
        "failures.csv": failures(evidence),
        "costs.csv": costs(evidence, price),
    }
    if evidence.classes:
        tables["classes.csv"] = classes(evidence)
    if evidence.warm:
        tables["past.csv"] = past(evidence)
    if analysis:
        tables["importance.csv"] = importance(evidence, analysis)
        tables["interactions.csv"] = interactions(evidence, analysis)
    return tables
