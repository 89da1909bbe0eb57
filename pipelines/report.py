"""The entry point `report`: what a study found, read back from MLflow, as text and as a page."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpo.agreement import agreements, describe
from hpo.errors import ParameterError, counted, raise_all
from hpo.goals import Goals
from hpo.trial import Trial
from pipelines.files.commands import command
from pipelines.findings.diagnosis import Diagnosis, diagnosis_lines
from pipelines.findings.scales import predicted
from pipelines.store.autologging import without_autologging
from pipelines.study.report import FOLDER, LEADERBOARD, PAGE, encoded, save_report
from serving.names import listed
from warmstart.families import is_code

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StudyReport:
    """A study's leaderboard and diagnosis.

    Attributes:
        study: The study's run id.
        metric: The metric that decides.
        header: What the study was created with.
        rows: The trials, best first, those without a result last, each with number, name, run_id,
            status, budget, origin, failure, reports, params, metrics and seconds.
        top: How many trials the text shows.
        findings: The diagnosis.
        link: Where the page opens.
        winner: The number of the trial that won, or leads so far; None without a result.
        front: The numbers of the trials of the front, with several goals or limits.
        explorer: Where the page of all trials opens.
    """

    study: str
    metric: str
    header: Mapping[str, Any]
    rows: Sequence[Row]
    top: int
    findings: tuple[Diagnosis, ...] = ()
    link: str = ""
    winner: int | None = None
    front: frozenset[int] = frozenset()
    explorer: str = ""

    def __str__(self) -> str:
        """The leaderboard, its best configuration, the diagnosis, and the next command."""
        best = next((row for row in self.rows if row["number"] == self.winner), None)
        parts = [
            [self._summary()],
            list(self._leaderboard()),
            self._rank_agreement(),
            _configuration(best) if best else [],
            diagnosis_lines(self.findings),
            [f"The report with figures: {self.link}"] if self.link else [],
            [f"All trials, with brushes: {self.explorer}"] if self.explorer else [],
            [self._next_command(best)] if best else [],
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines)

    def _summary(self) -> str:
        header, failed = self.header, sum(bool(row["failure"]) for row in self.rows)
        return (
            f"study {self.study}: {header['algorithm']} over {header['model']}"
            f"{predicted(header)}, {counted(len(self.rows), 'trial')}, {failed} failed"
        )

    def _leaderboard(self) -> Iterator[str]:
        yield from map(self._line, self.rows[: self.top])
        more = len(self.rows) - self.top
        if more > 0:
            yield f"… {more} more in {LEADERBOARD}, an artifact of the study's run"

    def _line(self, row: Row) -> str:
        start = f"{row['name']:<16} {row['run_id']}  "
        if row["failure"] and not row["metrics"]:
            return f"{start}FAILED  {row['failure'].splitlines()[0]:.100}"
        budget = f"at {row['budget']:<8g}" if len(self.header["rungs"]) > 1 else ""
        seconds = f"{row['seconds']:7.1f} s"
        mark = "*" if row["number"] in self.front else ""
        return f"{start}{self._scores(row)} {budget}{seconds}  {row['origin']} {mark}".rstrip()

    @cached_property
    def _goals(self) -> Goals:
        return Goals.from_dict(self.header)

    def _scores(self, row: Row) -> str:
        """The values of all goals and limits."""
        found = []
        for name in self._goals.names:
            value = row["metrics"].get(name)
            found.append(f"{name} {'unfinished' if value is None else f'{value:.5g}':<10}")
        return " ".join(found)

    def _next_command(self, row: Row) -> str:
        if is_code(str(self.header["model"])):
            return f"Next: {command('tune', study=self.study, trials=str(2 * len(self.rows)))}"
        return f"Next: {command('train', trial=row['run_id'])}"

    def _rank_agreement(self) -> list[str]:
        found = agreements(list(map(_trial, self.rows)))
        return [describe(found, self.header["budget_unit"])] if found else []


def _trial(row: Row) -> Trial:
    return Trial(row["number"], row["params"], row["budget"], reports=row["reports"])


def _configuration(row: Row) -> list[str]:
    values = [f"  {name}: {value}" for name, value in row["params"].items()]
    return [f"best configuration ({row['name']}, run {row['run_id']}):", *values]


@dataclass(frozen=True)
class Comparison:
    """Several studies side by side.

    Attributes:
        lines: The table of settings.
        notes: What makes the comparison doubtful.
        link: Where the page opens.
    """

    lines: Sequence[str]
    notes: Sequence[str]
    link: str

    def __str__(self) -> str:
        """The table of settings, the warnings and the link."""
        warnings = [f"warning: {note}" for note in self.notes]
        return "\n".join([*self.lines, *warnings, "", f"The curves: {self.link}"])


@without_autologging()
def report(
    study: str | None = None,
    studies: str | None = None,
    top: int = 20,
    price: float | None = None,
    explore: bool = False,
) -> StudyReport | Comparison:
    """Show what a study found, or several side by side, and log it as a page and tables to MLflow.

    Args:
        study: The run id of a study.
        studies: Run ids of several studies of one table, with commas between them.
        top: How many trials to show.
        price: What an hour of the machine costs; the report then says what the study cost.
        explore: Whether to log a second page, with all trials, a table of them and brushes on every
            axis; needs the extra `[explore]`.

    Raises:
        UserError: when there is no such study, or the studies cannot be compared.
    """
    raise_all(ParameterError, _mistakes(study, studies, top, price, explore))
    if studies is not None:
        return compare(listed(studies))
    saved = save_report(str(study), price, explore)
    return StudyReport(
        str(study),
        saved.header["metric"],
        saved.header,
        saved.rows,
        top,
        saved.findings,
        saved.link,
        saved.winner,
        saved.front,
        saved.explorer,
    )


def _mistakes(
    study: str | None, studies: str | None, top: int, price: float | None, explore: bool
) -> Iterator[str]:
    if top <= 0:
        yield f"top={top} must be greater than 0"
    if price is not None and not 0 <= price < float("inf"):
        yield f"price={price} must be a number of 0 or more"
    if (study is None) == (studies is None):
        yield "give either study, a run id, or studies, run ids with commas between them"
    if explore and studies is not None:
        yield "explore=true is for a single study; leave it out, or give study="


def compare(names: Sequence[str]) -> Comparison:
    """Put studies side by side and log the page to the run of the first.

    Raises:
        UserError: when fewer than two are named, one cannot be read, or they are not of one table
            and metric.
    """
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise ParameterError(
            f"studies={','.join(names)} must name at least two studies; for a single one use study="
        )
    from pipelines.findings import sidebyside
    from pipelines.study.runs import artifact_link, log_files, read_evidence

    studies = list(map(read_evidence, names))
    notes = sidebyside.check(studies)
    groups = sidebyside.grouped(studies)
    drawing = sidebyside.draw(groups)
    page = sidebyside.comparison_page(groups, drawing, notes)
    settings = sidebyside.settings_table(groups)
    folder = f"{FOLDER}/comparison-{hashlib.sha256(','.join(names).encode()).hexdigest()[:8]}"
    contents = {
        PAGE: encoded(page.to_html()),
        "anytime.svg": drawing.svg,
        "settings.csv": encoded(settings.to_csv()),
        "studies.csv": encoded(sidebyside.studies_table(groups).to_csv()),
        "anytime.csv": encoded(sidebyside.curves_table(groups).to_csv()),
    }
    log_files(names[0], contents, folder)
    return Comparison(settings.lines(), notes, artifact_link(names[0], f"{folder}/{PAGE}"))
