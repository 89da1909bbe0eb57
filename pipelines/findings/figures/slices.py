"""The figure of slices: the score over one parameter at a time.

All panels share one coordinate system, because a dozen axes cost matplotlib a second. Each panel is
a unit square: to the right the parameter's unit code, upwards the position of the score between the
limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from hpo.arrays import FloatArray
from hpo.space.parameters import Parameter
from pipelines.findings.analysis import Analysis
from pipelines.findings.case import Case
from pipelines.findings.evidence import Comparable, Evidence
from pipelines.findings.figures.drawing import (
    FAINT,
    FRAME,
    GOOD,
    INK,
    MAX_VECTOR_MARKS,
    MUTED,
    WINNER,
    Drawing,
    Limits,
    Marks,
    dot_size,
    finish,
    new_figure,
    quality,
    score_limits,
)
from pipelines.findings.importance import dependence
from pipelines.findings.scales import number, short, ticks

_MIN_TRIALS = 4
_PANELS = 12
_PER_ROW = 4
_RIGHT, _DOWN = 1.1, 1.55  # from panel to panel
_CONFIGURATIONS = 60  # over which the forest is averaged
_CODES = 60  # where the forest is evaluated


@dataclass(frozen=True)
class Panel:
    """A parameter, its column in the codes, and the lower left corner of its square."""

    parameter: Parameter
    column: int
    x: float
    y: float

    def at(self, codes: FloatArray, positions: FloatArray) -> FloatArray:
        """The points `(n, 2)` of unit codes and scores in this panel; scores outside are cut."""
        return np.column_stack([self.x + codes, self.y + np.clip(positions, 0, 1)])


def slices(case: Case) -> Drawing | None:
    """The score over each parameter, and what the forest expects of it alone."""
    evidence, winner, data = case.evidence, case.winner, case.evidence.comparable
    if len(data.losses) < _MIN_TRIALS:
        return None
    panels = _panels(case)
    rows = -(-len(panels) // _PER_ROW)
    limits = score_limits(evidence, data.losses)
    figure, (axes,) = new_figure(2.2 * rows - 0.2)
    figure.subplots_adjust(left=0.03, right=0.99, top=0.99, bottom=0.01)
    _frames(axes, panels, limits, evidence.scope.goal.name)
    if case.analysis:
        _expectations(axes, panels, evidence, case.analysis, limits)
    heights = limits.position(evidence.scope.scores(data.losses))
    dots = [
        panel.at(_jittered(data.x[:, panel.column], panel.parameter), heights) for panel in panels
    ]
    _draw_dots(axes, dots, data)
    if winner.number in data.numbers:
        x, y = np.array([points[data.numbers.index(winner.number)] for points in dots]).T
        axes.scatter(x, y, marker="*", s=110, color=WINNER, zorder=5)
    axes.set(xlim=(-0.22, _PER_ROW * _RIGHT - 0.06), ylim=(1.32 - rows * _DOWN, 1.2))
    axes.axis("off")
    scope = evidence.scope
    budget = f" All at {data.budget:g} {scope.budget_unit}." if len(scope.rungs) > 1 else ""
    return finish(
        figure,
        "slices",
        "One parameter at a time",
        "Dots are trials. The line is the score that the forest expects if the better half of the "
        "trials had that value; the band is how far its trees disagree. The star is the winner; "
        "if it is close to an edge, the range may end too soon." + budget,
        [Marks(axes, data.numbers, *points.T) for points in dots],
    )


def _panels(case: Case) -> list[Panel]:
    space = case.space
    return [
        Panel(space[space.names[j]], j, (k % _PER_ROW) * _RIGHT, -(k // _PER_ROW) * _DOWN)
        for k, j in enumerate(case.columns[:_PANELS])
    ]


def _jittered(codes: FloatArray, parameter: Parameter) -> FloatArray:
    """Codes, spread within their cells if there are few levels."""
    if parameter.n_levels is None or parameter.n_levels > 10:
        return codes
    noise = np.random.default_rng(0).uniform(-0.25, 0.25, len(codes))
    return np.asarray(codes + noise / parameter.n_levels)


def _draw_dots(axes: Axes, dots: Sequence[FloatArray], data: Comparable) -> None:
    x, y = np.concatenate(dots).T
    axes.scatter(
        x,
        y,
        c=np.tile(quality(data.losses), len(dots)),
        cmap=GOOD,
        s=dot_size(len(data.losses)) * 0.7,
        linewidths=0,
        rasterized=len(x) > MAX_VECTOR_MARKS,
        zorder=3,
    )


def _frames(axes: Axes, panels: Sequence[Panel], limits: Limits, metric: str) -> None:
    """Names, grid lines and scales."""
    levels = limits.ticks(4)
    heights = limits.position(levels)
    lines = [[(p.x, p.y + h), (p.x + 1, p.y + h)] for p in panels for h in heights]
    axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, zorder=0))
    edges = [[(p.x, p.y + 1), (p.x, p.y), (p.x + 1, p.y)] for p in panels]
    axes.add_collection(LineCollection(edges, colors=FRAME, linewidths=0.9, zorder=1))
    for panel in panels:
        name = short(panel.parameter.name, 26)
        axes.text(panel.x, panel.y + 1.07, name, fontweight="bold", fontsize=10)
        for code, label in ticks(panel.parameter, 4):
            _tick(axes, panel.x + code, panel.y - 0.05, short(label, 9), ha="center", va="top")
        if panel.x == 0:
            axes.text(-0.2, panel.y + 0.5, short(metric, 16), rotation=90, ha="center", va="center")
            for level, height in zip(levels, heights, strict=True):
                y = panel.y + height
                _tick(axes, -0.03, y, number(float(level)), ha="right", va="center")


def _tick(axes: Axes, x: float, y: float, label: str, **alignment: str) -> None:
    axes.text(x, y, label, color=MUTED, fontsize=8.5, **alignment)  # type: ignore[arg-type]


def _expectations(
    axes: Axes,
    panels: Sequence[Panel],
    evidence: Evidence,
    analysis: Analysis,
    limits: Limits,
) -> None:
    """The forest's partial dependence over the better half of the trials, with its spread."""
    lines, bands = [], []
    for panel in panels:
        codes = np.linspace(0, 1, _CODES)
        if panel.parameter.n_levels is not None:
            codes = np.unique(panel.parameter.snap(codes))
        trials = _better_half(analysis.data, panel.column)
        losses = dependence(analysis.forest, trials, panel.column, codes)
        curves = limits.position(evidence.scope.scores(losses))
        mean, spread = curves.mean(axis=0), curves.std(axis=0)
        lines.append(panel.at(codes, mean))
        lower, upper = panel.at(codes, mean - spread), panel.at(codes, mean + spread)
        bands.append(np.concatenate([lower, upper[::-1]]))
    axes.add_collection(PolyCollection(bands, facecolors=INK, alpha=0.1, linewidths=0, zorder=2))
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=1.4, zorder=4))


def _better_half(data: Comparable, column: int) -> FloatArray:
    """Codes of an even sample of the better half of the trials with an active parameter."""
    ranks = np.argsort(data.losses)
    active = ranks[np.isfinite(data.x[ranks, column])]
    half = active[: -(-len(active) // 2)]
    sample = half[:: -(-len(half) // _CONFIGURATIONS)]
    return np.asarray(data.x[sample])
