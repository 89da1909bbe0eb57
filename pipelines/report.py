"""The entry point `report`: what a study found, read back from MLflow, as text and as a page."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.agreement import agreements, shown
from hpo.errors import ParameterError, raise_all
from hpo.trial import Trial
from pipelines.findings.diagnosis import Diagnosis, diagnosis_lines

FOLDER = "report"  # of the artifacts of a study's run
PAGE = "report.html"
LEADERBOARD = "leaderboard.csv"


@dataclass(frozen=True)
class Kept:
    """A report that is an artifact of the study's run: its rows, what was found, where it opens, how long it took."""

    rows: Sequence[Mapping[str, Any]]
    header: Mapping[str, Any]
    found: tuple[Diagnosis, ...]
    link: str
    seconds: float


@dataclass(frozen=True)
class StudyReport:
    """A study's leaderboard and diagnosis.

    `rows` are the trials, best first, those without a result last: number, name, run_id, status, budget, origin,
    failure, reports, params, metrics, seconds.
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
            lines += ["", shown(found, header["budget_unit"])]
        if best:
            lines += ["", f"best configuration ({best['name']}, run {best['run_id']}):"]
            lines += [f"  {name}: {value}" for name, value in best["params"].items()]
        lines += ["", *diagnosis_lines(self.found)]
        if self.link:
            lines += ["", f"The report with figures: {self.link}"]
        if best:
            lines += ["", f"Next: mlflow run . -e train --env-manager local -P trial={best['run_id']}"]
        return "\n".join(lines)

    def _line(self, row: Mapping[str, Any]) -> str:
        if row["failure"] and not row["metrics"]:
            return f"{row['name']:<16} {row['run_id']}  FAILED  {row['failure'].splitlines()[0]:.100}"
        value = row["metrics"].get(self.metric)
        score = f"{value:.5g}" if value is not None else "unfinished"
        at = f"at {row['budget']:<8g}" if len(self.header["rungs"]) > 1 else ""
        name, seconds = f"{row['name']:<16} {row['run_id']}", f"{row['seconds']:7.1f} s"
        return f"{name}  {self.metric} {score:<10} {at}{seconds}  {row['origin']}"


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(row["number"], row["params"], row["budget"], reports=row["reports"])


def report(study: str | None = None, top: int = 20, price: float | None = None) -> StudyReport:
    """Show what a study found, and keep it as a page with figures and as tables, artifacts of its run.

    Args:
        study: The run id of the study.
        top: How many trials to show.
        price: What an hour of the machine costs; then the report says what the study did.

    Raises:
        UserError: when there is no such study.
    """
    mistakes = [] if top > 0 else [f"top={top} must be greater than 0"]
    if price is not None and not 0 <= price < float("inf"):
        mistakes.append(f"price={price} must be a number of 0 or more")
    if study is None:
        mistakes.append("study is needed: the run id of a study")
    raise_all(ParameterError, mistakes)
    kept = keep(str(study), price)
    return StudyReport(str(study), kept.header["metric"], kept.header, kept.rows, top, kept.found, kept.link)


def keep(study: str, price: float | None = None) -> Kept:
    """Make the report of a study and log it to the study's run; the leaderboard first, then all the rest.

    Raises:
        StudyError: when the study cannot be read.
    """
    from pipelines.findings import figures, page, tables
    from pipelines.findings.analysis import analyse
    from pipelines.findings.diagnosis import diagnose
    from pipelines.runs import artifact_link, put_files, put_text, read_evidence

    began = time.monotonic()
    evidence = read_evidence(study)
    put_text(study, tables.leaderboard(evidence.rows).to_csv(), LEADERBOARD)
    analysis = analyse(evidence)
    found = diagnose(evidence, analysis)
    drawings = figures.draw_all(evidence, analysis)
    texts = {
        PAGE: page.study_page(evidence, analysis, found, drawings, price).to_html(),
        "diagnosis.csv": tables.diagnoses(found).to_csv(),
        "best_so_far.csv": tables.best_so_far(evidence).to_csv(),
        "failures.csv": tables.failures(evidence).to_csv(),
        "costs.csv": tables.costs(evidence, price).to_csv(),
    }
    if analysis:
        texts["importance.csv"] = tables.importance(evidence, analysis).to_csv()
        texts["interactions.csv"] = tables.interactions(evidence, analysis).to_csv()
    contents = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    put_files(study, contents | {f"{d.name}.png": d.png for d in drawings if d.png}, FOLDER)
    return Kept(
        evidence.rows,
        evidence.header,
        found,
        artifact_link(study, f"{FOLDER}/{PAGE}"),
        time.monotonic() - began,
    )
