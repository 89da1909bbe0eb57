"""The entry point `report`: what a study found, read back from MLflow, as text and as a page."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.agreement import agreements, describe
from hpo.errors import ParameterError, raise_all
from hpo.trial import Trial
from pipelines.findings.diagnosis import Diagnosis, diagnosis_lines
from pipelines.study.report import FOLDER, LEADERBOARD, PAGE, keep


@dataclass(frozen=True)
class StudyReport:
    """A study's leaderboard and diagnosis.

    `rows` are the trials, best first, those without a result last: number, name, run_id, status,
    budget, origin, failure, reports, params, metrics, seconds.
    """

    study: str
    metric: str
    header: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    top: int
    found: tuple[Diagnosis, ...] = ()
    link: str = ""

    def __str__(self) -> str:
        """The leaderboard, its best configuration, the diagnosis, and what was written where."""
        header, best = self.header, next((row for row in self.rows if row["metrics"]), None)
        failed = [row for row in self.rows if row["failure"]]
        lines = [
            f"study {self.study}: {header['algorithm']} over {header['model']}, {header['task']} of "
            f"{header['target']!r}, {len(self.rows)} trials, {len(failed)} failed",
            "",
        ]
        lines += [self._line(row) for row in self.rows[: self.top]]
        if len(self.rows) > self.top:
            lines.append(
                f"… {len(self.rows) - self.top} more in {LEADERBOARD}, an artifact of the study's run"
            )
        if found := agreements([_trial(row) for row in self.rows]):
            lines += ["", describe(found, header["budget_unit"])]
        if best:
            lines += ["", f"best configuration ({best['name']}, run {best['run_id']}):"]
            lines += [f"  {name}: {value}" for name, value in best["params"].items()]
        lines += ["", *diagnosis_lines(self.found)]
        if self.link:
            lines += ["", f"The report with figures: {self.link}"]
        if best:
            lines += [
                "",
                f"Next: mlflow run . -e train --env-manager local -P trial={best['run_id']}",
            ]
        return "\n".join(lines)

    def _line(self, row: Mapping[str, Any]) -> str:
        if row["failure"] and not row["metrics"]:
            return (
                f"{row['name']:<16} {row['run_id']}  FAILED  {row['failure'].splitlines()[0]:.100}"
            )
        value = row["metrics"].get(self.metric)
        score = f"{value:.5g}" if value is not None else "unfinished"
        at = f"at {row['budget']:<8g}" if len(self.header["rungs"]) > 1 else ""
        name, seconds = f"{row['name']:<16} {row['run_id']}", f"{row['seconds']:7.1f} s"
        return f"{name}  {self.metric} {score:<10} {at}{seconds}  {row['origin']}"


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(row["number"], row["params"], row["budget"], reports=row["reports"])


@dataclass(frozen=True)
class Comparison:
    """Several studies side by side: a table as lines, what to take care of, and where the page opens."""

    lines: Sequence[str]
    notes: Sequence[str]
    link: str

    def __str__(self) -> str:
        """The table of settings and the link."""
        notes = [f"Take care: {note}" for note in self.notes]
        return "\n".join([*self.lines, *notes, "", f"The curves: {self.link}"])


def report(
    study: str | None = None, studies: str | None = None, top: int = 20, price: float | None = None
) -> StudyReport | Comparison:
    """Show what a study found, or several side by side, and keep it as a page with figures and as tables in MLflow.

    Args:
        study: The run id of a study.
        studies: Run ids of several studies of one table, with commas between them.
        top: How many trials to show.
        price: What an hour of the machine costs; then the report says what the study did.

    Raises:
        UserError: when there is no such study, or the studies cannot be compared.
    """
    mistakes = [] if top > 0 else [f"top={top} must be greater than 0"]
    if price is not None and not 0 <= price < float("inf"):
        mistakes.append(f"price={price} must be a number of 0 or more")
    if (study is None) == (studies is None):
        mistakes.append(
            "study or studies is needed: one run id, or several with commas between them"
        )
    raise_all(ParameterError, mistakes)
    if studies is not None:
        return compare([name.strip() for name in studies.split(",") if name.strip()])
    kept = keep(str(study), price)
    return StudyReport(
        str(study), kept.header["metric"], kept.header, kept.rows, top, kept.found, kept.link
    )


def compare(names: Sequence[str]) -> Comparison:
    """Put studies side by side and keep the page with the first of them.

    Raises:
        UserError: when fewer than two are named, one cannot be read, or they are not of one table
            and metric.
    """
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise ParameterError(
            f"studies={','.join(names)} must name two studies at least; for one take study="
        )
    from pipelines.findings import sidebyside
    from pipelines.study.runs import artifact_link, put_files, read_evidence

    evidence = [read_evidence(name) for name in names]
    notes = sidebyside.check(evidence)
    groups = sidebyside.grouped(evidence)
    drawing = sidebyside.draw(groups)
    page = sidebyside.comparison_page(groups, drawing, notes).to_html()
    folder = f"{FOLDER}/comparison-{hashlib.sha256(','.join(names).encode()).hexdigest()[:8]}"
    tables = {
        "settings.csv": sidebyside.settings_table(groups),
        "studies.csv": sidebyside.studies_table(groups),
        "anytime.csv": sidebyside.curves_table(groups),
    }
    contents = {name: table.to_csv().encode("utf-8", "replace") for name, table in tables.items()}
    put_files(
        names[0],
        contents | {PAGE: page.encode("utf-8", "replace"), "anytime.png": drawing.png},
        folder,
    )
    return Comparison(
        tables["settings.csv"].lines(), notes, artifact_link(names[0], f"{folder}/{PAGE}")
    )
