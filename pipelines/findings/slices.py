"""The figure of slices: the score over one parameter at a time.

All panels lie in one coordinate system (in matplotlib a dozen systems cost a second): each is a
unit square with the parameter's unit code to the right and the score, from the worst to the best
that is shown, upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import MaxNLocator

from hpo.arrays import FloatArray
from hpo.space.parameters import Parameter
from pipelines.findings.analysis import Analysis
from pipelines.findings.drawing import (
    FAINT,
    GOOD,
    INK,
    MANY,
    MUTED,
    WINNER,
    Drawing,
    dot_size,
    finish,
    new_figure,
    ranked,
    window,
)
from pipelines.findings.evidence import Evidence
from pipelines.findings.importance import dependence
from pipelines.findings.scales import number, short, ticks

LEAST = 4  # trials
_PANELS = 12
_BESIDE, _BELOW = 1.1, 1.55  # from panel to panel
_CONFIGURATIONS = 60  # over which the forest is averaged


@dataclass(frozen=True)
class Panel:
    """A parameter, its column among the codes, and the lower left corner of its square."""

    parameter: Parameter
    column: int
    x: float
    y: float


def slices(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """The score over each parameter, with what the forest says of it alone."""
    data, winner = evidence.comparable, evidence.winner
    if len(data.losses) < LEAST or winner is None:
        return None
    panels = _panels(evidence, analysis)
    rows = 1 + max(round(-panel.y / _BELOW) for panel in panels)
    low, high = window(evidence, data.losses)
    height = np.clip((evidence.shown_all(data.losses) - low) / (high - low), 0, 1)
    figure, (axes,) = new_figure(2.2 * rows - 0.2)
    figure.subplots_adjust(left=0.03, right=0.99, top=0.99, bottom=0.01)
    _frames(axes, panels, low, high, evidence.metric.name)
    if analysis:
        _expectations(axes, panels, evidence, analysis, low, high)
    places = [
        (panel.x + _spread(data.x[:, panel.column], panel.parameter), panel.y + height)
        for panel in panels
    ]
    x, y = (np.concatenate(side) for side in zip(*places, strict=True))
    colours = np.tile(ranked(data.losses), len(panels))
    axes.scatter(
        x,
        y,
        c=colours,
        cmap=GOOD,
        s=dot_size(len(height)) * 0.7,
        linewidths=0,
        rasterized=len(x) > MANY,
        zorder=3,
    )
    if winner.number in data.numbers:
        i = data.numbers.index(winner.number)
        stars = np.array([(px[i], py[i]) for px, py in places])
        axes.scatter(stars[:, 0], stars[:, 1], marker="*", s=110, color=WINNER, zorder=5)
    axes.set(xlim=(-0.22, 4 * _BESIDE - 0.06), ylim=(1.32 - rows * _BELOW, 1.2))
    axes.axis("off")
    at_budget = (
        f" All at {data.budget:g} {evidence.header['budget_unit']}."
        if len(evidence.rungs) > 1
        else ""
    )
    return finish(
        figure,
        "slices",
        "One parameter at a time",
        "Dots are trials; the line is what the forest expects if the better half of the trials had that "
        "value, the band "
        "how far its trees disagree. The star is the winner; close to an edge, the range may end too soon."
        + at_budget,
        [(axes, [*data.numbers], px, py) for px, py in places],
    )


def _panels(evidence: Evidence, analysis: Analysis | None) -> list[Panel]:
    """Four in a row, in the order of importance; parameters that no trial has are left out."""
    space, x = evidence.space, evidence.comparable.x
    order = analysis.order if analysis else range(len(space))
    columns = [j for j in order if np.isfinite(x[:, j]).any()][:_PANELS]
    return [
        Panel(space[space.names[j]], j, (k % 4) * _BESIDE, -(k // 4) * _BELOW)
        for k, j in enumerate(columns)
    ]


def _spread(codes: FloatArray, parameter: Parameter) -> FloatArray:
    """Codes, spread within their cells where there are few."""
    if parameter.n_levels is None or parameter.n_levels > 10:
        return codes
    return np.asarray(
        codes + np.random.default_rng(0).uniform(-0.25, 0.25, len(codes)) / parameter.n_levels
    )


def _frames(axes: Axes, panels: Sequence[Panel], low: float, high: float, metric: str) -> None:
    """Names, grid lines and scales."""
    levels = [v for v in MaxNLocator(4).tick_values(low, high) if low <= v <= high]
    heights = [(v - low) / (high - low) for v in levels]
    lines = [[(p.x, p.y + h), (p.x + 1, p.y + h)] for p in panels for h in heights]
    axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, zorder=0))
    edges = [[(p.x, p.y + 1), (p.x, p.y), (p.x + 1, p.y)] for p in panels]
    axes.add_collection(LineCollection(edges, colors="#c5cbd5", linewidths=0.9, zorder=1))
    for panel in panels:
        axes.text(
            panel.x, panel.y + 1.07, short(panel.parameter.name, 26), fontweight="bold", fontsize=10
        )
        labels = ticks(panel.parameter, 4)
        for code, label in labels:
            axes.text(
                panel.x + code,
                panel.y - 0.05,
                short(label, 9),
                ha="center",
                va="top",
                color=MUTED,
                fontsize=8.5,
            )
        if panel.x == 0:
            axes.text(-0.2, panel.y + 0.5, short(metric, 16), rotation=90, ha="center", va="center")
            for level, height in zip(levels, heights, strict=True):
                axes.text(
                    -0.03,
                    panel.y + height,
                    number(level),
                    ha="right",
                    va="center",
                    color=MUTED,
                    fontsize=8.5,
                )


def _expectations(
    axes: Axes,
    panels: Sequence[Panel],
    evidence: Evidence,
    analysis: Analysis,
    low: float,
    high: float,
) -> None:
    """The forest's partial dependence over the better half of the trials, and how far its trees disagree."""
    ranks = np.argsort(analysis.data.losses)
    lines, bands = [], []
    for panel in panels:
        active = ranks[np.isfinite(analysis.data.x[ranks, panel.column])]
        half = active[: -(-len(active) // 2)]
        good = analysis.data.x[half[:: -(-len(half) // _CONFIGURATIONS)]]
        codes = np.linspace(0, 1, 60)
        if panel.parameter.n_levels is not None:
            codes = np.unique(panel.parameter.snap(codes))
        curve = (
            evidence.shown_all(dependence(analysis.forest, good, panel.column, codes)) - low
        ) / (high - low)
        mean, spread = curve.mean(axis=0), curve.std(axis=0)
        lower, upper = (panel.y + np.clip(mean + side * spread, 0, 1) for side in (-1, 1))
        lines.append(np.column_stack([panel.x + codes, panel.y + np.clip(mean, 0, 1)]))
        bands.append(
            np.column_stack([panel.x + np.r_[codes, codes[::-1]], np.r_[lower, upper[::-1]]])
        )
    axes.add_collection(PolyCollection(bands, facecolors=INK, alpha=0.1, linewidths=0, zorder=2))
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=1.4, zorder=4))
