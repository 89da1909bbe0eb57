"""Figures of the space: which parameters matter, and what the result looks like over them.

What is inactive in a trial is not drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from hpo.arrays import FloatArray
from pipelines.findings.analysis import Analysis, codes_of, making_active
from pipelines.findings.drawing import (
    ACCENT,
    GOOD,
    INK,
    LOW_HIGH,
    MANY,
    MOST_LINES,
    WINNER,
    Drawing,
    finish,
    new_figure,
    ranked,
    tidy,
    window,
)
from pipelines.findings.evidence import Evidence
from pipelines.findings.importance import surface
from pipelines.findings.scales import number, short, ticks

_PANELS = 12


def parallel(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """Parallel coordinates over the parameters that matter most, and the score."""
    data, winner = evidence.comparable, evidence.winner
    if winner is None or len(data.losses) < 2:
        return None
    order = analysis.order if analysis else range(len(evidence.space))
    columns = [j for j in order if np.isfinite(data.x[:, j]).any()][:9]
    low, high = window(evidence, data.losses)
    score = (np.array([evidence.shown(loss) for loss in data.losses]) - low) / (high - low)
    y = np.column_stack([data.x[:, columns], np.clip(score, 0, 1)])
    ranks = np.argsort(data.losses)
    chosen = np.concatenate(
        [
            ranks[: MOST_LINES // 2],
            (rest := ranks[MOST_LINES // 2 :])[:: max(2 * len(rest) // MOST_LINES, 1)],
        ]
    )
    chosen = chosen[::-1]  # the best on top
    figure, (axes,) = new_figure(4.4)
    figure.subplots_adjust(left=0.06, right=0.93, top=0.82, bottom=0.05)
    x = np.arange(y.shape[1], dtype=float)
    lines = LineCollection(
        [_joined(x, y[i]) for i in chosen],
        colors=GOOD(ranked(data.losses)[chosen]),
        linewidths=np.where(ranked(data.losses)[chosen] > 0.9, 1.3, 0.7),
        alpha=0.35 if len(chosen) > 300 else 0.75,
        rasterized=len(chosen) > MANY // 4,
    )
    axes.add_collection(lines)
    if winner.number in data.numbers:
        axes.plot(
            *_joined(x, y[data.numbers.index(winner.number)]).T,
            color=WINNER,
            linewidth=2.4,
            zorder=5,
        )
    for k, j in enumerate(columns):
        _scale(
            axes,
            k,
            ticks(evidence.space[evidence.space.names[j]]),
            short(evidence.space.names[j], 20),
        )
    marks = [value for value in MaxNLocator(5).tick_values(low, high) if low <= value <= high]
    _scale(
        axes,
        len(columns),
        [((v - low) / (high - low), number(v)) for v in marks],
        evidence.metric.name,
        right=True,
    )
    axes.set(xlim=(-0.25, len(columns) + 0.25), ylim=(-0.04, 1.04))
    axes.axis("off")
    left_out = len(evidence.space) - len(columns)
    note = f" The {left_out} parameters that matter least are left out." if left_out else ""
    return finish(
        figure,
        "parallel_coordinates",
        "Parameters and score",
        "Each line is a trial, dark ones are good, the orange one is the winner; where dark lines come "
        "together, a value "
        "works. Parameters stand in the order of their importance; a line skips those that are inactive in its trial."
        + note,
        [
            (axes, np.array(data.numbers)[chosen].tolist(), np.full(len(chosen), k), y[chosen, k])
            for k in range(y.shape[1])
        ],
        joined=True,
    )


def _joined(x: FloatArray, y: FloatArray) -> FloatArray:
    """The points of one line, without those that are inactive."""
    there = np.isfinite(y)
    return np.column_stack([x[there], y[there]])


def _scale(
    axes: Axes, at: float, labels: Sequence[tuple[float, str]], name: str, right: bool = False
) -> None:
    axes.plot([at, at], [0, 1], color="#9aa3b2", linewidth=1, zorder=3)
    for code, label in labels:
        axes.annotate(
            label, (at, code), (4 if right else -4, 0), textcoords="offset points", ha="left" if right else "right",
            va="center", fontsize=8.5, color=INK, zorder=6,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.annotate(
        name, (at, 1.04), (0, 4), textcoords="offset points", rotation=18, ha="left", va="bottom", fontsize=9.5,
        fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def importances(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """What each parameter explains alone, with others, and which two go together."""
    if analysis is None:
        return None
    names, found = evidence.space.names, analysis.importance
    order = [j for j in analysis.order][:_PANELS][::-1]
    pairs = sorted(found.pairs.items(), key=lambda item: item[1])[-8:]
    figure, (left, right) = new_figure(0.9 + 0.3 * max(len(order), 5), 1, 2, width_ratios=(1.25, 1))
    figure.subplots_adjust(left=0.17, right=0.985, top=0.88, bottom=0.17, wspace=0.62)
    main = np.clip(found.main[order], 0, None)
    rest = np.clip(found.total[order] - main, 0, None)
    places = np.arange(len(order))
    left.barh(places, main, color=ACCENT, height=0.66, label="alone")
    left.barh(places, rest, left=main, color="#a9c3f5", height=0.66, label="together with others")
    left.errorbar(
        main, places, xerr=found.spread[order], fmt="none", ecolor=INK, elinewidth=0.9, capsize=2
    )
    left.set_yticks(places, [short(names[j]) for j in order])
    left.legend(loc="lower right")
    right.barh(np.arange(len(pairs)), [share for _, share in pairs], color="#a9c3f5", height=0.66)
    right.set_yticks(
        np.arange(len(pairs)),
        [f"{short(names[i], 14)} × {short(names[j], 14)}" for (i, j), _ in pairs],
    )
    for axes, title in ((left, "parameters"), (right, "interactions of two")):
        axes.set(title=title, xlabel="share of the variance of the loss")
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        tidy(axes, "x")
    trust = (
        f"The forest behind it predicts {max(analysis.forest.explained, 0):.0%} of the variance of unseen trials"
        + ("." if analysis.trustworthy else ": too little to rely on it.")
    )
    return finish(
        figure,
        "importance",
        "Which parameters matter",
        "How much of the variation of the result over the whole space a parameter explains, alone (dark) and together "
        "with others (light); lines show how far the trees of the forest disagree. " + trust,
    )


def in_branch(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """Importance among the parameters of the winner's branch."""
    if analysis is None or analysis.branch is None or evidence.winner is None:
        return None
    active = set(evidence.space.active(evidence.winner.params)) - analysis.given.keys()
    names, found = evidence.space.names, analysis.branch
    order = [int(j) for j in np.argsort(-found.total, kind="stable") if names[j] in active][
        :_PANELS
    ][::-1]
    if not order:
        return None
    figure, (axes,) = new_figure(0.9 + 0.3 * max(len(order), 4))
    figure.subplots_adjust(left=0.3, right=0.97, top=0.88, bottom=0.18)
    main = np.clip(found.main[order], 0, None)
    axes.barh(np.arange(len(order)), main, color=ACCENT, height=0.66, label="alone")
    axes.barh(
        np.arange(len(order)), np.clip(found.total[order] - main, 0, None), left=main, color="#a9c3f5", height=0.66,
        label="together with others",
    )  # fmt: skip
    axes.set_yticks(np.arange(len(order)), [short(names[j], 34) for j in order])
    axes.set(xlabel="share of the variance of the loss")
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.legend(loc="lower right")
    tidy(axes, "x")
    given = ", ".join(
        f"{short(name)}={short(number(value))}" for name, value in sorted(analysis.given.items())
    )
    return finish(
        figure,
        "importance_in_branch",
        "Which parameters matter beside the winner",
        f"The same among the trials that share the winner's choices ({short(given, 160)}): what is left to tune there.",
    )


def shapley_view(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """By how much each parameter moved each trial, by the parameter's value."""
    if analysis is None:
        return None
    names, sign = evidence.space.names, -1.0
    order = [j for j in analysis.order if np.isfinite(analysis.shapley[:, j]).any()][:_PANELS][::-1]
    figure, (axes,) = new_figure(0.9 + 0.36 * max(len(order), 4))
    figure.subplots_adjust(left=0.2, right=0.9, top=0.97, bottom=0.15)
    rng = np.random.default_rng(0)
    numbers, marks = np.array(analysis.data.numbers)[analysis.explained], []
    for row, j in enumerate(order):
        moved, codes = sign * analysis.shapley[:, j], analysis.data.x[analysis.explained, j]
        y = row + rng.uniform(-0.28, 0.28, len(moved))
        dots = axes.scatter(moved, y, c=codes, cmap=LOW_HIGH, vmin=0, vmax=1, s=11, linewidths=0)
        marks.append((axes, numbers.tolist(), moved, y))
    axes.axvline(0, color="#9aa3b2", linewidth=1)
    axes.set_yticks(np.arange(len(order)), [short(names[j], 30) for j in order])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set(xlabel=f"improvement of {evidence.metric.name} over the average configuration →")
    tidy(axes, "both")
    bar = figure.colorbar(dots, ax=axes, pad=0.015, aspect=30, ticks=(0, 1))
    bar.ax.set_yticklabels(["low", "high"])
    bar.outline.set_visible(False)
    return finish(
        figure,
        "shapley",
        "What moved each trial",
        f"Shapley values: a dot is a trial ({len(analysis.explained)} of them), to the right where the "
        "parameter's value "
        "made the result better than the average configuration's, purple where the value is high, green "
        "where it is low.",
        marks,
    )


def contours(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """The pairs with the strongest interactions, as maps."""
    if analysis is None or evidence.winner is None or len(evidence.space) < 2:
        return None
    space, found = evidence.space, analysis.importance
    strength = {
        pair: share + 0.1 * (found.main[pair[0]] + found.main[pair[1]])
        for pair, share in found.pairs.items()
    }
    pairs = sorted(strength, key=lambda pair: -strength[pair])[:3]
    if not pairs:
        return None
    figure, panels = new_figure(3.5, 1, len(pairs))
    figure.subplots_adjust(left=0.08, right=0.985, top=0.9, bottom=0.17, wspace=0.38)
    grid, data, marks = (np.arange(48) + 0.5) / 48, analysis.data, []
    for axes, (i, j) in zip(panels, pairs, strict=True):
        names = space.names[i], space.names[j]
        at: dict[str, Any] = {}
        for name in names:
            at |= making_active(space, name, evidence.winner.params)
        for name in names:
            at.pop(name, None)
        height = -surface(analysis.forest.given(codes_of(space, at)), i, j, grid).T
        axes.pcolormesh(
            np.linspace(0, 1, 49), np.linspace(0, 1, 49), height, cmap=GOOD, rasterized=True
        )
        if np.ptp(height) > 0:
            axes.contour(
                grid, grid, height, levels=6, colors="white", linewidths=0.6, linestyles="solid"
            )
        there = np.isfinite(data.x[:, [i, j]]).all(axis=1)
        axes.scatter(
            data.x[there, i], data.x[there, j], s=8, color="white", edgecolors=INK, linewidths=0.5,
            alpha=0.9 if there.sum() < 300 else 0.3, rasterized=there.sum() > MANY // 4,
        )  # fmt: skip
        if evidence.winner.number in data.numbers:
            at_winner = data.x[data.numbers.index(evidence.winner.number)]
            axes.scatter(
                at_winner[i],
                at_winner[j],
                marker="*",
                s=130,
                color=WINNER,
                edgecolors="white",
                zorder=5,
            )
        for set_ticks, name in ((axes.set_xticks, names[0]), (axes.set_yticks, names[1])):
            places, labels = zip(*ticks(space[name], 5), strict=True)
            set_ticks(places, labels, fontsize=8.5)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=short(names[0]), ylabel=short(names[1]))
        marks.append(
            (axes, np.array(data.numbers)[there].tolist(), data.x[there, i], data.x[there, j])
        )
    return finish(
        figure,
        "contours",
        "Two parameters at a time",
        "What the forest expects for two values together, dark is better. A slanted valley means that the "
        "two should be "
        "tuned together; white dots are trials, and where there are none the map is a guess.",
        marks,
    )
