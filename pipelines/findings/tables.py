"""What a report says in rows: on the page, and as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpo.space.parameters import Categorical, Parameter
from pipelines.findings.analysis import Analysis
from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.evidence import Evidence
from pipelines.findings.scales import duration, number, short
from pipelines.models import search_model

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_RANKED = 20  # trials of the leaderboard that the page shows


@dataclass(frozen=True)
class Table:
    """Rows under named columns; `chosen` is the position of one that stands out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    chosen: int | None = None

    def to_csv(self) -> str:
        """The table as CSV; a text cell that a spreadsheet would take for a formula begins with an apostrophe."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([[_cell(value) for value in row] for row in (self.columns, *self.rows)])
        return out.getvalue()

    def lines(self) -> list[str]:
        """The table for a terminal, columns below each other."""
        cells = [[*self.columns], *([_plain(value) for value in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        return [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]


def _plain(value: object) -> str:
    return "–" if value is None else short(number(value, 5), 60)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def leaderboard(rows: Sequence[Mapping[str, object]]) -> Table:
    """All trials with all that is known of them."""
    params = sorted({name for row in rows for name in _mapping(row["params"])})
    metrics = sorted({name for row in rows for name in _mapping(row["metrics"])})
    plain = ("number", "name", "run_id", "status", "origin", "budget", "seconds", "failure")
    return Table(
        (*plain, *metrics, *params),
        [
            [row[name] for name in plain]
            + [_mapping(row["metrics"]).get(name) for name in metrics]
            + [_mapping(row["params"]).get(name) for name in params]
            for row in rows
        ],
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def best_trials(evidence: Evidence) -> Table:
    """The best trials, for people: score, budget where it differs, seconds, origin."""
    done = sorted((t for t in evidence.trials if t.reports), key=lambda t: (t.loss, t.number))[
        :_RANKED
    ]
    races = len(evidence.rungs) > 1
    columns = ["trial", evidence.metric.name, *(["budget"] if races else []), "seconds", "origin"]
    rows = [
        [
            t.number,
            evidence.shown(t.loss),
            *([t.reached] if races else []),
            t.seconds,
            t.origin,
        ]
        for t in done
    ]
    return Table(columns, rows, 0 if rows else None)


def configuration(evidence: Evidence) -> Table:
    """The winner's values beside the default's and the range that was searched."""
    winner = evidence.winner
    default = next((t for t in evidence.trials if t.origin == "default"), None)
    rows = []
    for name, value in winner.params.items() if winner else ():
        searched = _range(evidence.space[name]) if name in evidence.space else ""
        rows.append([name, value, default.params.get(name) if default else None, searched])
    return Table(("parameter", "winner", "default", "searched"), rows)


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(map(str, parameter.choices))
    return f"{parameter.low:g} to {parameter.high:g}{', log' if parameter.log else ''}"


def importance(evidence: Evidence, analysis: Analysis) -> Table:
    """Shares of the variance of the loss, by parameter."""
    found, names = analysis.importance, evidence.space.names
    rows = [
        [names[j], *(float(side[j]) for side in (found.main, found.spread, found.total))]
        for j in analysis.order
    ]
    return Table(("parameter", "alone", "spread", "with interactions"), rows)


def interactions(evidence: Evidence, analysis: Analysis) -> Table:
    """Shares of the variance of the loss, by pairs of parameters."""
    names = evidence.space.names
    pairs = sorted(analysis.importance.pairs.items(), key=lambda item: -item[1])
    return Table(
        ("first", "second", "share"), [[names[i], names[j], share] for (i, j), share in pairs]
    )


def best_so_far(evidence: Evidence) -> Table:
    """The best result after each leg, with the seconds of search until then."""
    return Table(
        ("legs", "seconds", evidence.metric.name),
        [[i + 1, *row] for i, row in enumerate(evidence.best)],
    )


def failures(evidence: Evidence) -> Table:
    """Why trials failed: how often, and which."""
    reasons = Counter(_reason(trial.failure) for trial in evidence.trials if trial.failure)
    rows = []
    for reason, count in reasons.most_common():
        numbers = [
            str(t.number) for t in evidence.trials if t.failure and _reason(t.failure) == reason
        ]
        rows.append([reason, count, ", ".join(numbers[:8]) + (" …" if len(numbers) > 8 else "")])
    return Table(("reason", "trials", "which"), rows)


def _reason(failure: str | None) -> str:
    return short((failure or "").strip().split("\n")[0], 300) or "no reason was given"


def costs(evidence: Evidence, price: float | None) -> Table:
    """Where the time went, and the money when an hour of the machine has a price."""
    training = sum(trial.seconds for trial in evidence.trials)
    final = evidence.best[-1][1] if evidence.best else None
    found = next((seconds for seconds, value in evidence.best if value == final), None)
    failed = sum(
        row["ended"] - row["started"]
        for row in evidence.rows
        if row["failure"] and not row["reports"]
    )
    workers = int(evidence.header.get("workers", 1))
    rows: list[list[object]] = [
        ["search, at least one trial at work", duration(evidence.elapsed), ""],
        [
            "training, all trials together",
            duration(training),
            _share(training, evidence.elapsed * workers, "of the workers' time"),
        ],
    ]
    if found is not None:
        rows.append(
            [
                "until the winner's result",
                duration(found),
                _share(found, evidence.elapsed, "of the search"),
            ]
        )
    if failed:
        rows.append(["spent on trials that failed", duration(failed), ""])
    for family, seconds in sorted(_by_family(evidence).items(), key=lambda item: -item[1]):
        rows.append(
            [f"training {family}", duration(seconds), _share(seconds, training, "of the training")]
        )
    if price is not None:
        rows.append(
            [
                "price of the search",
                f"{price * evidence.elapsed / 3600:,.2f}",
                f"at {price:g} an hour",
            ]
        )
    return Table(("what", "how much", "share"), rows)


def _share(part: float, whole: float, of: str) -> str:
    return f"{part / whole:.0%} {of}" if whole > 0 else ""


def _by_family(evidence: Evidence) -> dict[str, float]:
    model = search_model(str(evidence.header["model"]))
    if len(model.families) < 2:
        return {}
    spent: Counter[str] = Counter()
    for trial in evidence.trials:
        spent[model.resolve(trial.params)[0]] += trial.seconds  # type: ignore[assignment]
    return dict(spent)


def classes(evidence: Evidence) -> Table:
    """How the winner does on the held-out rows of each class."""
    return Table(
        ("class", "held-out rows", "found"), [[c.label, c.rows, c.recall] for c in evidence.classes]
    )


def past(evidence: Evidence) -> Table:
    """The past studies that were learned from."""
    sources = evidence.warm.sources if evidence.warm else ()
    rows = [
        [s.name, s.run_id, s.similarity, "yes" if s.same_table else "no", s.why or None]
        for s in sources
    ]
    return Table(("past study", "run", "similarity", "same table", "compared with this one"), rows)


def written(
    evidence: Evidence, analysis: Analysis | None, found: Sequence[Diagnosis], price: float | None
) -> dict[str, Table]:
    """The tables of a study's page by the names of their files; its best trials are in the leaderboard."""
    tables = {
        "diagnosis.csv": diagnoses(found),
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


def diagnoses(found: Sequence[Diagnosis]) -> Table:
    """Findings with their evidence and what to do."""
    return Table(
        ("severity", "finding", "evidence", "advice"),
        [[d.severity, d.title, d.evidence, d.advice] for d in found],
    )
