"""All figures of a report, in the order of the page.

A figure is a function of a study with a winner, and None if there is nothing to show.
"""

from collections.abc import Callable

from pipelines.findings.analysis import Analysis
from pipelines.findings.case import Case
from pipelines.findings.evidence import Evidence
from pipelines.findings.figures import course, front, landscape, slices
from pipelines.findings.figures.drawing import Drawing, drawing_style

Draw = Callable[[Case], Drawing | None]

FIGURES: tuple[Draw, ...] = (
    front.front,
    course.best_so_far,
    landscape.parallel,
    landscape.importances,
    landscape.in_branch,
    landscape.shapley_view,
    slices.slices,
    landscape.contours,
    course.rungs,
    course.curves,
    course.costs,
    course.trust,
)


def draw_all(evidence: Evidence, analysis: Analysis | None) -> list[Drawing]:
    """All figures of a study that have something to show; none without a winner."""
    if evidence.winner is None:
        return []
    case = Case(evidence, evidence.winner, analysis)
    with drawing_style():
        return [drawn for draw in FIGURES if (drawn := draw(case))]
