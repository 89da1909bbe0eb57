"""All figures of a report, in the order of the page.

A figure is a function of the evidence and the analysis, and None if there is nothing to show.
"""

from collections.abc import Callable

from pipelines.findings import course, landscape, slices
from pipelines.findings.analysis import Analysis
from pipelines.findings.drawing import Drawing, drawing_style
from pipelines.findings.evidence import Evidence

Draw = Callable[[Evidence, Analysis | None], Drawing | None]

FIGURES: tuple[Draw, ...] = (
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
    """All figures of a study that have something to show."""
    with drawing_style():
        drawn = [draw(evidence, analysis) for draw in FIGURES]
    return [figure for figure in drawn if figure]
