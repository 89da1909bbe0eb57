"""The report of a study as artifacts of its run: the leaderboard, the page with its figures, and the tables."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.findings.diagnosis import Diagnosis

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


def keep(study: str, price: float | None = None) -> Kept:
    """Make the report of a study and log it to the study's run; the leaderboard first, then all the rest.

    Raises:
        StudyError: when the study cannot be read.
    """
    from pipelines.findings import figures, page, tables
    from pipelines.findings.analysis import analyse
    from pipelines.findings.diagnosis import diagnose
    from pipelines.study.runs import artifact_link, put_files, put_text, read_evidence

    began = time.monotonic()
    evidence = read_evidence(study)
    put_text(study, tables.leaderboard(evidence.rows).to_csv(), LEADERBOARD)
    analysis = analyse(evidence)
    found = diagnose(evidence, analysis)
    drawings = figures.draw_all(evidence, analysis)
    texts = {PAGE: page.study_page(evidence, analysis, found, drawings, price).to_html()}
    texts |= {
        name: t.to_csv() for name, t in tables.written(evidence, analysis, found, price).items()
    }
    contents = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    put_files(study, contents | {f"{d.name}.png": d.png for d in drawings if d.png}, FOLDER)
    return Kept(
        evidence.rows,
        evidence.header,
        found,
        artifact_link(study, f"{FOLDER}/{PAGE}"),
        time.monotonic() - began,
    )
