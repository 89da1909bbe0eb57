"""The report of a study as artifacts of its run: leaderboard, page, figures and tables."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.findings.diagnosis import Diagnosis

FOLDER = "report"  # of the artifacts of a study's run
PAGE = "report.html"
EXPLORER = "trials.html"
LEADERBOARD = "leaderboard.csv"


@dataclass(frozen=True)
class SavedReport:
    """A report that was logged to the study's run.

    Attributes:
        rows: The trials as rows, best first.
        header: What the study was created with.
        findings: The diagnosis.
        link: Where the page opens.
        winner: The number of the trial that won, or leads so far; None without a result.
        front: The numbers of the trials of the front, with several goals or limits.
        seconds: How long it took to make the report.
        explorer: Where the page of all trials opens; empty without one.
    """

    rows: Sequence[Mapping[str, Any]]
    header: Mapping[str, Any]
    findings: tuple[Diagnosis, ...]
    link: str
    winner: int | None
    front: frozenset[int]
    seconds: float
    explorer: str = ""


def save_report(study: str, price: float | None = None, explore: bool = False) -> SavedReport:
    """Make the report of a study and log it to the study's run, the leaderboard first.

    Args:
        study: The study's run id.
        price: That of an hour of the machine, for the table of costs.
        explore: Whether to log the page of all trials, too.

    Raises:
        StudyError: when the study cannot be read.
        ParameterError: when plotly is missing, which the page of all trials needs.
    """
    from pipelines.findings import tables
    from pipelines.findings.analysis import analyse
    from pipelines.findings.explorer import check_explorer, explorer_page
    from pipelines.findings.figures import draw_all
    from pipelines.findings.rules import diagnose
    from pipelines.findings.study_page import study_page
    from pipelines.study.runs import artifact_link, log_files, log_text, read_evidence

    if explore:
        check_explorer()
    started = time.monotonic()
    evidence = read_evidence(study)
    log_text(study, tables.leaderboard(evidence.rows).to_csv(), LEADERBOARD)
    analysis = analyse(evidence)
    findings = diagnose(evidence, analysis)
    drawings = draw_all(evidence, analysis)
    page = study_page(evidence, findings, drawings, price)
    written = tables.all_tables(evidence, analysis, findings, price)
    contents = {PAGE: encoded(page.to_html())}
    contents |= {name: encoded(table.to_csv()) for name, table in written.items()}
    contents |= {f"{drawing.name}.svg": drawing.svg for drawing in drawings}
    if explore:
        contents[EXPLORER] = encoded(explorer_page(evidence))
    log_files(study, contents, FOLDER)
    link = artifact_link(study, f"{FOLDER}/{PAGE}")
    seconds = time.monotonic() - started
    winner = evidence.winner.number if evidence.winner else None
    front = () if evidence.scope.goals.is_single else (trial.number for trial in evidence.front)
    return SavedReport(
        evidence.rows,
        evidence.header,
        findings,
        link,
        winner,
        frozenset(front),
        seconds,
        artifact_link(study, f"{FOLDER}/{EXPLORER}") if explore else "",
    )


def encoded(text: str) -> bytes:
    """UTF-8; characters that it cannot hold, such as lone surrogates, become question marks."""
    return text.encode("utf-8", "replace")
