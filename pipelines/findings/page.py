"""One HTML page that works offline: styles, figures and the little script are inside."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from hpo.trial import Trial
from pipelines.findings import tables
from pipelines.findings.analysis import Analysis
from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.drawing import Drawing
from pipelines.findings.evidence import Evidence, beside_cold_in_words, helped, loss_at
from pipelines.findings.scales import duration, number, short
from pipelines.findings.tables import Table

_NAMED = 1_500  # trials that the pointer finds: the best and an even sample of the rest
_LONG = 80


@dataclass(frozen=True)
class Fact:
    """A figure of the headline."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Row:
    """A row of a table, as it is shown."""

    cells: Sequence[str]
    chosen: bool


@dataclass(frozen=True)
class Section:
    """A part of the page: findings, a figure or a table under a title, and how to read it."""

    title: str
    reading: str = ""
    findings: Sequence[Diagnosis] = ()
    code: str = ""
    name: str = ""
    image: str = ""
    width: float = 0.0
    height: float = 0.0
    columns: Sequence[Column] = ()
    rows: Sequence[Row] = ()

    @classmethod
    def of_drawing(cls, drawing: Drawing) -> "Section":
        """A figure, as an image: nothing inside can reach the page."""
        image = base64.b64encode(drawing.svg).decode("ascii")
        return cls(
            drawing.title,
            drawing.reading,
            name=drawing.name,
            image=image,
            width=drawing.size[0],
            height=drawing.size[1],
        )

    @classmethod
    def of_table(cls, title: str, table: Table, reading: str = "") -> "Section":
        """A table; long texts are cut."""
        kinds = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]
        columns = [
            Column(short(name, _LONG), kind)
            for name, kind in zip(table.columns, kinds, strict=True)
        ]
        rows = [
            Row([_shown(cell) for cell in row], i == table.chosen)
            for i, row in enumerate(table.rows)
        ]
        return cls(title, reading, columns=columns, rows=rows)


@dataclass(frozen=True)
class Page:
    """All that the template is given."""

    title: str
    subtitle: str
    headline: str
    kicker: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    footer: Sequence[str]
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_html(self) -> str:
        """The page; every value is escaped."""
        return _template().render(page=self)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        files("pipelines.findings").joinpath("page.html").read_text(encoding="utf-8")
    )


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _shown(cell: object) -> str:
    return "–" if cell is None else short(number(cell, 5), 300)


def study_page(
    evidence: Evidence,
    analysis: Analysis | None,
    found: Sequence[Diagnosis],
    drawings: Sequence[Drawing],
    price: float | None = None,
) -> Page:
    """The page of one study."""
    header = evidence.header
    what = f"{header['model']} by {header['algorithm']}, {header['task']} of {short(repr(header['target']), 60)}"
    winner = evidence.winner
    return Page(
        title=f"Study {short(evidence.name, 60)}",
        subtitle=f"{what}, study {short(evidence.name, 60)}",
        headline="No trial succeeded"
        if winner is None
        else f"{evidence.metric.name} {number(evidence.shown(winner.loss), 5)}",
        kicker=""
        if winner is None
        else f"trial {winner.number}, the best of {len(evidence.trials)}, on the validation rows",
        facts=[*_facts(evidence)],
        sections=[*_sections(evidence, analysis, found, drawings, price)],
        footer=[
            f"Study {evidence.study}; {header['data'].get('rows', '?')} rows, split {header.get('split')}, validation "
            f"{short(header.get('validation'), 60)}, seed {header.get('seed')}.",
            "Everything on this page was read from MLflow. It needs no network.",
        ],
        data=data_of(evidence, drawings),
    )


def _facts(evidence: Evidence) -> Iterable[Fact]:
    name, winner = evidence.metric.name, evidence.winner
    if name in evidence.test:
        ends = [evidence.test.get(f"{name}_{side}") for side in ("low", "high")]
        between = " to ".join(number(end, 4) for end in ends if end is not None)
        yield Fact(
            "on held-out rows",
            number(evidence.test[name], 5),
            between or "seen once, by the winner",
        )
    default = next((t for t in evidence.trials if t.origin == "default" and t.reports), None)
    if winner and default and default is not winner:
        gain = abs(default.loss - winner.loss)
        yield Fact(
            "the library's default",
            number(evidence.shown(default.loss), 5),
            f"the search gained {gain:.2g}",
        )
    for baseline, value in evidence.baselines.items():
        if baseline != "trivial" or len(evidence.baselines) == 1:
            yield Fact(f"baseline {short(baseline)}", number(value, 5))
    failed = len(evidence.failed)
    yield Fact(
        "trials", f"{len(evidence.trials):,}", f"{failed} failed" if failed else "none failed"
    )
    yield Fact(
        "time of search",
        duration(evidence.elapsed),
        f"{evidence.header.get('workers', '?')} workers",
    )


def _sections(
    evidence: Evidence,
    analysis: Analysis | None,
    found: Sequence[Diagnosis],
    drawings: Sequence[Drawing],
    price: float | None,
) -> Iterable[Section]:
    fine = Diagnosis(
        "fine", "fine", "Nothing stands out", "None of the checks found anything to mend.", ""
    )
    yield Section("Diagnosis", findings=found or [fine], code=_mend(evidence, found))
    first, rest = drawings[:1], drawings[1:]
    yield from map(Section.of_drawing, first)
    if winner := evidence.winner:
        run = next(row["run_id"] for row in evidence.rows if row["number"] == winner.number)
        again = f"Train it again: mlflow run . -e train --env-manager local -P trial={run}"
        yield Section.of_table("The winner's configuration", tables.configuration(evidence), again)
    yield from map(Section.of_drawing, rest)
    if evidence.warm:
        yield Section.of_table(
            "Where warm start helped", tables.past(evidence), _from_the_past(evidence)
        )
    if evidence.classes:
        yield Section.of_table(
            "The winner by class",
            tables.classes(evidence),
            "Which share of each class's held-out rows is found.",
        )
    if any(trial.failure for trial in evidence.trials):
        where = (
            "The first line of each reason; all of it is in the tag hpo.failure of the trial's run."
        )
        yield Section.of_table("Trials that failed", tables.failures(evidence), where)
    yield Section.of_table(
        "Time" if price is None else "Time and money", tables.costs(evidence, price)
    )
    if evidence.winner:
        yield Section.of_table(
            "The best trials", tables.best_trials(evidence), "All trials are in leaderboard.csv."
        )


def _from_the_past(evidence: Evidence) -> str:
    """What the configurations from the past were worth beside the others, and what was told at the start."""
    found, notes = helped(evidence.trials), evidence.warm.notes if evidence.warm else ()
    left_out = f" Told at the start: {'; '.join(notes)}." if notes else ""
    beside = beside_cold_in_words(evidence.warm.beside_cold) if evidence.warm else ""
    verdict = f"{beside[:1].upper()}{beside[1:]}. " if beside else ""
    if found is None:
        return f"{verdict}No configuration was taken from the past as it was; it only guided the search.{left_out}"
    default = next((t for t in evidence.trials if t.origin == "default"), None)
    loss = loss_at(default, found.budget) if default else None
    default_too = "" if loss is None else f", the default {number(evidence.shown(loss), 5)}"
    races = len(evidence.rungs) > 1
    at = f" at {found.budget:g} {evidence.header['budget_unit']}" if races else ""
    return (
        f"{verdict}The best configuration from the past, trial {found.best.number}, reached "
        f"{number(evidence.shown(found.loss), 5)}{at}{default_too}; "
        f"{found.beaten} of the {found.others} other trials are no better, so that it takes {found.trials:.1f} of "
        f"those on average to be as good.{left_out}"
    )


def _mend(evidence: Evidence, found: Sequence[Diagnosis]) -> str:
    if not any(diagnosis.changes for diagnosis in found):
        return ""
    return f"A new study with the space so mended:\n-P space=auto:{evidence.study}"


def data_of(evidence: Evidence, drawings: Sequence[Drawing]) -> dict[str, Any]:
    """What the script knows: where trials stand in the figures, and what to say of each."""
    done = sorted(evidence.trials, key=lambda trial: (trial.loss, trial.number))
    half = _NAMED // 2
    rest = done[half:]
    named = {t.number: t for t in [*done[:half], *rest[:: max(-(-len(rest) // half), 1)]]}
    charts = {
        d.name: {"joined": d.joined, "marks": [mark for mark in d.marks if mark[0] in named]}
        for d in drawings
    }
    columns = [
        "trial",
        evidence.metric.name,
        "seconds",
        "from",
        *(short(name, 40) for name in evidence.space.names),
    ]
    return {
        "charts": charts,
        "columns": columns,
        "trials": {n: _told(evidence, trial) for n, trial in named.items()},
    }


def _told(evidence: Evidence, trial: Trial) -> list[str | None]:
    score = number(evidence.shown(trial.loss), 5) if trial.reports else "failed"
    values = [trial.params.get(name) for name in evidence.space.names]
    return [
        str(trial.number), score, f"{trial.seconds:.1f}", short(trial.origin, 40),
        *(None if value is None else short(number(value), 40) for value in values),
    ]  # fmt: skip
