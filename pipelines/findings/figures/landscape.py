"""Figures of the space: which parameters matter, and the score over them.

A parameter that is inactive in a trial is not drawn for it.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params
from pipelines.findings.analysis import Analysis, codes_of, making_active
from pipelines.findings.case import Case
from pipelines.findings.evidence import best_and_others
from pipelines.findings.figures.drawing import (
    ACCENT,
    ACCENT_LIGHT,
    GOOD,
    INK,
    LINE,
    LOW_HIGH,
    MAX_LINES,
    MAX_VECTOR_MARKS,
    WINNER,
    Drawing,
    Marks,
    add_grid,
    finish,
    new_figure,
    quality,
    score_limits,
)
from pipelines.findings.importance import Importance, surface
from pipelines.findings.scales import number, short, ticks

_PANELS = 12
_AXES = 9  # of parallel coordinates
_PAIRS = 8  # interactions in the figure of importance
_MAPS = 3
_CELLS = 48  # of a map along one side
_SHARE_LABEL = "share of the variance of the loss"


def parallel(case: Case) -> Drawing | None:
    """Parallel coordinates over the parameters that matter most, and the score."""
    evidence, space, data = case.evidence, case.space, case.evidence.comparable
    if len(data.losses) < 2:
        return None
    columns = case.columns[:_AXES]
    limits = score_limits(evidence, data.losses)
    score = np.clip(limits.position(evidence.scope.scores(data.losses)), 0, 1)
    y = np.column_stack([data.x[:, columns], score])
    x = np.arange(y.shape[1], dtype=float)
    ranks = np.argsort(data.losses, kind="stable")
    trials = ranks[best_and_others(len(ranks), MAX_LINES)][::-1]  # the best on top
    figure, (axes,) = new_figure(4.4)
    figure.subplots_adjust(left=0.06, right=0.93, top=0.82, bottom=0.05)
    _draw_lines(axes, [_active(x, y[i]) for i in trials], quality(data.losses)[trials])
    if case.winner.number in data.numbers:
        line = _active(x, y[data.numbers.index(case.winner.number)])
        axes.plot(*line.T, color=WINNER, linewidth=2.4, zorder=5)
    for k, j in enumerate(columns):
        name = space.names[j]
        _scale(axes, k, ticks(space[name]), short(name, 20), side="left")
    levels = limits.ticks(5)
    labels = [number(level) for level in levels.tolist()]
    scale = list(zip(limits.position(levels).tolist(), labels, strict=True))
    _scale(axes, len(columns), scale, evidence.scope.goal.name, side="right")
    axes.set(xlim=(-0.25, len(columns) + 0.25), ylim=(-0.04, 1.04))
    axes.axis("off")
    note = f" The {len(columns)} most important of {len(space)} parameters are shown."
    numbers = np.array(data.numbers)[trials].tolist()
    return finish(
        figure,
        "parallel_coordinates",
        "Parameters and score",
        "Each line is a trial: dark ones are good, the orange one is the winner. Where dark lines "
        "come together, a value works. Parameters stand in the order of their importance; a line "
        "skips those that are inactive in its trial." + (note if len(columns) < len(space) else ""),
        [Marks(axes, numbers, np.full(len(trials), at), y[trials, k]) for k, at in enumerate(x)],
        joined=True,
    )


def _active(x: FloatArray, y: FloatArray) -> FloatArray:
    """The points of one line, without those of inactive parameters."""
    active = np.isfinite(y)
    return np.column_stack([x[active], y[active]])


def _draw_lines(axes: Axes, lines: Sequence[FloatArray], goodness: FloatArray) -> None:
    axes.add_collection(
        LineCollection(
            lines,
            colors=GOOD(goodness),
            linewidths=np.where(goodness > 0.9, 1.3, 0.7),
            alpha=0.35 if len(lines) > 300 else 0.75,
            rasterized=len(lines) > MAX_VECTOR_MARKS // 4,
        )
    )


def _scale(axes: Axes, x: float, labels: Sequence[tuple[float, str]], name: str, side: str) -> None:
    """A vertical axis at `x`, with its labels on one side."""
    axes.plot([x, x], [0, 1], color=LINE, linewidth=1, zorder=3)
    offset, align = (4, "left") if side == "right" else (-4, "right")
    for code, label in labels:
        axes.annotate(
            label,
            (x, code),
            (offset, 0),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=8.5,
            color=INK,
            zorder=6,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )
    axes.annotate(
        name,
        (x, 1.04),
        (0, 4),
        textcoords="offset points",
        rotation=18,
        ha="left",
        va="bottom",
        fontsize=9.5,
        fontweight="bold",
        annotation_clip=False,
    )


def importances(case: Case) -> Drawing | None:
    """What each parameter explains alone and with others, and which two interact."""
    analysis = case.analysis
    if analysis is None:
        return None
    names, found = case.space.names, analysis.importance
    columns = list(analysis.order[:_PANELS])[::-1]
    figure, (left, right) = new_figure(
        0.9 + 0.3 * max(len(columns), 5), 1, 2, width_ratios=(1.25, 1)
    )
    figure.subplots_adjust(left=0.17, right=0.985, top=0.88, bottom=0.17, wspace=0.62)
    _share_bars(left, found, columns)
    main, spread = np.clip(found.main[columns], 0, None), found.spread[columns]
    places = np.arange(len(columns))
    left.errorbar(main, places, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
    left.set_yticks(places, [short(names[j]) for j in columns])
    left.legend(loc="lower right")
    _pair_bars(right, found, names)
    for axes, title in ((left, "parameters"), (right, "interactions of two")):
        axes.set(title=title, xlabel=_SHARE_LABEL)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        add_grid(axes, "x")
    return finish(
        figure,
        "importance",
        "Which parameters matter",
        "How much of the variation of the result over the whole space a parameter explains, alone "
        "(dark) and together with others (light); lines show how far the trees of the forest "
        f"disagree. The forest predicts {max(analysis.forest.explained, 0):.0%} of the variance of "
        "unseen trials" + ("." if analysis.trustworthy else ": too little to rely on it."),
    )


def _share_bars(axes: Axes, found: Importance, columns: Sequence[int]) -> None:
    """What each parameter explains, alone and together with others."""
    places = np.arange(len(columns))
    main = np.clip(found.main[columns], 0, None)
    rest = np.clip(found.total[columns] - main, 0, None)
    axes.barh(places, main, color=ACCENT, height=0.66, label="alone")
    axes.barh(
        places, rest, left=main, color=ACCENT_LIGHT, height=0.66, label="together with others"
    )


def _pair_bars(axes: Axes, found: Importance, names: Sequence[str]) -> None:
    pairs = sorted(found.pairs.items(), key=lambda item: item[1])[-_PAIRS:]
    places = np.arange(len(pairs))
    axes.barh(places, [share for _, share in pairs], color=ACCENT_LIGHT, height=0.66)
    axes.set_yticks(
        places, [f"{short(names[i], 14)} × {short(names[j], 14)}" for (i, j), _ in pairs]
    )


def in_branch(case: Case) -> Drawing | None:
    """Importance among the parameters of the winner's branch."""
    analysis = case.analysis
    if analysis is None or analysis.branch is None:
        return None
    names, found = case.space.names, analysis.branch
    active = set(case.space.active(case.winner.params)) - analysis.given.keys()
    by_total = np.argsort(-found.total, kind="stable").tolist()
    columns = [j for j in by_total if names[j] in active][:_PANELS][::-1]
    if not columns:
        return None
    figure, (axes,) = new_figure(0.9 + 0.3 * max(len(columns), 4))
    figure.subplots_adjust(left=0.3, right=0.97, top=0.88, bottom=0.18)
    _share_bars(axes, found, columns)
    axes.set_yticks(np.arange(len(columns)), [short(names[j], 34) for j in columns])
    axes.set(xlabel=_SHARE_LABEL)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.legend(loc="lower right")
    add_grid(axes, "x")
    given = sorted(analysis.given.items())
    choices = ", ".join(f"{short(name)}={short(number(value))}" for name, value in given)
    return finish(
        figure,
        "importance_in_branch",
        "Which parameters matter beside the winner",
        f"The same among the trials that share the winner's choices ({short(choices, 160)}): what "
        "is left to tune there.",
    )


def shapley_view(case: Case) -> Drawing | None:
    """By how much each parameter moved the score of each trial."""
    analysis = case.analysis
    if analysis is None:
        return None
    names, data, explained = case.space.names, analysis.data, analysis.explained
    columns = [j for j in analysis.order if np.isfinite(analysis.shapley[:, j]).any()]
    columns = columns[:_PANELS][::-1]
    figure, (axes,) = new_figure(0.9 + 0.36 * max(len(columns), 4))
    figure.subplots_adjust(left=0.2, right=0.9, top=0.97, bottom=0.15)
    rng = np.random.default_rng(0)
    numbers, marks = np.array(data.numbers)[explained].tolist(), []
    for row, j in enumerate(columns):
        gain, codes = -analysis.shapley[:, j], data.x[explained, j]
        y = row + rng.uniform(-0.28, 0.28, len(gain))
        dots = axes.scatter(gain, y, c=codes, cmap=LOW_HIGH, vmin=0, vmax=1, s=11, linewidths=0)
        marks.append(Marks(axes, numbers, gain, y))
    axes.axvline(0, color=LINE, linewidth=1)
    axes.set_yticks(np.arange(len(columns)), [short(names[j], 30) for j in columns])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set(xlabel=f"improvement of {case.metric} over the average configuration →")
    add_grid(axes, "both")
    bar = figure.colorbar(dots, ax=axes, pad=0.015, aspect=30, ticks=(0, 1))
    bar.ax.set_yticklabels(["low", "high"])
    bar.outline.set_visible(False)
    return finish(
        figure,
        "shapley",
        "What moved each trial",
        f"Shapley values of {len(explained)} trials, one dot each. A dot lies to the right where "
        "the parameter's value made the result better than the average configuration's; purple "
        "values are high, green ones low.",
        marks,
    )


def contours(case: Case) -> Drawing | None:
    """The pairs with the strongest interactions, as maps."""
    analysis, winner = case.analysis, case.winner
    if analysis is None or not analysis.importance.pairs:
        return None
    pairs = _strongest_pairs(analysis.importance)
    figure, panels = new_figure(3.5, 1, len(pairs))
    figure.subplots_adjust(left=0.08, right=0.985, top=0.9, bottom=0.17, wspace=0.38)
    marks = []
    for axes, pair in zip(panels, pairs, strict=True):
        _map(axes, analysis, pair, winner.params)
        marks.append(_dots(axes, analysis, pair))
        if winner.number in analysis.data.numbers:
            position = analysis.data.numbers.index(winner.number)
            x, y = analysis.data.x[position, list(pair)]
            axes.scatter(x, y, marker="*", s=130, color=WINNER, edgecolors="white", zorder=5)
        _name_axes(axes, case.space, pair)
    return finish(
        figure,
        "contours",
        "Two parameters at a time",
        "What the forest expects for two values together, dark is better. A slanted valley means "
        "that the two should be tuned together. White dots are trials; where there are none, the "
        "map is a guess.",
        marks,
    )


def _strongest_pairs(found: Importance) -> list[tuple[int, int]]:
    """The pairs that interact most; what each explains alone decides between weak ones."""
    strength = {
        (i, j): share + 0.1 * (found.main[i] + found.main[j])
        for (i, j), share in found.pairs.items()
    }
    return sorted(strength, key=lambda pair: -strength[pair])[:_MAPS]


def _map(axes: Axes, analysis: Analysis, pair: tuple[int, int], preferred: Params) -> None:
    """The forest's mean loss over two parameters, given what makes both active."""
    names = [analysis.space.names[j] for j in pair]
    needed = [making_active(analysis.space, name, preferred) for name in names]
    given = {k: v for values in needed for k, v in values.items() if k not in names}
    forest = analysis.forest.given(codes_of(analysis.space, given))
    edges, middles = np.linspace(0, 1, _CELLS + 1), (np.arange(_CELLS) + 0.5) / _CELLS
    height = -surface(forest, *pair, middles).T
    axes.pcolormesh(edges, edges, height, cmap=GOOD, rasterized=True)
    if np.ptp(height) > 0:
        axes.contour(
            middles,
            middles,
            height,
            levels=6,
            colors="white",
            linewidths=0.6,
            linestyles="solid",
        )


def _dots(axes: Axes, analysis: Analysis, pair: tuple[int, int]) -> Marks:
    """The trials in which both parameters are active."""
    x, y = analysis.data.x[:, list(pair)].T
    active = np.isfinite(x) & np.isfinite(y)
    numbers, count = np.array(analysis.data.numbers)[active].tolist(), int(active.sum())
    axes.scatter(
        x[active],
        y[active],
        s=8,
        color="white",
        edgecolors=INK,
        linewidths=0.5,
        alpha=0.9 if count < 300 else 0.3,
        rasterized=count > MAX_VECTOR_MARKS // 4,
    )
    return Marks(axes, numbers, x[active], y[active])


def _name_axes(axes: Axes, space: SearchSpace, pair: tuple[int, int]) -> None:
    names = [space.names[j] for j in pair]
    for set_ticks, name in zip((axes.set_xticks, axes.set_yticks), names, strict=True):
        places, labels = zip(*ticks(space[name], 5), strict=True)
        set_ticks(places, labels, fontsize=8.5)
    xlabel, ylabel = map(short, names)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)
