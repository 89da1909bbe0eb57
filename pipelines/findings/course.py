"""Figures of how the search went: best so far, rungs, learning curves, costs."""

import numpy as np
from matplotlib.collections import LineCollection

from hpo.agreement import agreements
from hpo.arrays import FloatArray, IntArray
from hpo.trial import Trial
from pipelines.findings.analysis import Analysis
from pipelines.findings.drawing import (
    ACCENT,
    DEFAULT,
    GOOD,
    INK,
    MANY,
    MOST_LINES,
    MUTED,
    PAST,
    WINNER,
    Drawing,
    direction,
    dot_size,
    finish,
    new_figure,
    ranked,
    tidy,
    window,
)
from pipelines.findings.evidence import WARM_ORIGIN, Evidence
from pipelines.findings.scales import short

_SOURCES = 4  # past studies whose weights are drawn


def best_so_far(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """The score of each trial and the best so far, over trials and over seconds."""
    done, winner = [trial for trial in evidence.trials if trial.reports], evidence.winner
    if winner is None:
        return None
    numbers = np.array([trial.number for trial in done])
    losses = np.array([trial.loss for trial in done])
    shown = np.array([evidence.shown(loss) for loss in losses])
    bars = {name: evidence.metric.to_loss(value) for name, value in evidence.baselines.items()}
    figure, (left, right) = new_figure(3.9, 1, 2, sharey=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.14, wspace=0.06)
    left.scatter(
        numbers,
        shown,
        c=ranked(losses),
        cmap=GOOD,
        s=dot_size(len(done)),
        linewidths=0,
        rasterized=len(done) > MANY,
    )
    best = [evidence.shown(loss) for loss in np.minimum.accumulate(losses)]
    left.step(numbers, best, where="post", color=ACCENT, linewidth=1.8, label="best so far")
    if default := next((trial for trial in done if trial.origin == "default"), None):
        left.scatter(
            [default.number],
            [evidence.shown(default.loss)],
            marker="D",
            s=34,
            color=DEFAULT,
            label="default",
            zorder=4,
        )
    warm = [trial for trial in done if trial.origin.startswith(WARM_ORIGIN)]
    if warm:
        left.scatter(
            [trial.number for trial in warm],
            [evidence.shown(trial.loss) for trial in warm],
            marker="P",
            s=52,
            color=PAST,
            label="from the past",
            zorder=4,
        )
    left.scatter(
        [winner.number],
        [evidence.shown(winner.loss)],
        marker="*",
        s=150,
        color=WINNER,
        label="winner",
        zorder=5,
    )
    if evidence.best:
        seconds, values = zip(*evidence.best, strict=True)
        right.step([*seconds], [*values], where="post", color=ACCENT, linewidth=1.8)
        right.scatter([seconds[-1]], [values[-1]], s=18, color=ACCENT)
    low, high = window(evidence, losses, [*bars.values()])
    for axes in (left, right):
        tidy(axes)
        for name, loss in bars.items():
            if low <= evidence.shown(loss) <= high:
                axes.axhline(evidence.shown(loss), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
                axes.annotate(
                    f"baseline {short(name)}", (0.995, evidence.shown(loss)), xycoords=("axes fraction", "data"),
                    ha="right", va="bottom", color=MUTED, fontsize=8.5,
                )  # fmt: skip
        axes.set_ylim(low, high)
    left.set(xlabel="trial", ylabel=direction(evidence), title="over trials")
    right.set(xlabel="seconds of search", title="over seconds")
    left.legend(
        loc="lower right" if evidence.metric.greater_is_better else "upper right",
        ncols=2,
        handletextpad=0.3,
    )
    hidden = int(((shown < low) | (shown > high)).sum())
    note = f" {hidden} trials lie outside the picture." if hidden else ""
    return finish(
        figure,
        "best_so_far",
        "Best so far",
        "Each dot is a trial; the line is the best result until then. A line that still moves at its end asks for more "
        "trials, one that has long been flat for fewer, or another space." + note,
        [(left, [*numbers], numbers, np.clip(shown, low, high))],
    )


def rungs(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """How many trials reached each rung, and how they fared."""
    reached: dict[float, list[tuple[Trial, float]]] = {}
    for trial in evidence.trials:
        for report in trial.reports:
            reached.setdefault(report.budget, []).append((trial, report.loss))
    if len(reached) < 2 or evidence.winner is None:
        return None
    budgets, unit = sorted(reached), evidence.header["budget_unit"]
    place = {budget: i for i, budget in enumerate(budgets)}
    figure, (left, right) = new_figure(3.6, 1, 2, width_ratios=(1, 1.8))
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.15, wspace=0.22)
    counts = [len(reached[budget]) for budget in budgets]
    left.bar(range(len(budgets)), counts, color="#a9c3f5", width=0.62)
    for i, count in enumerate(counts):
        left.annotate(
            f"{count}", (i, count), (0, 2), textcoords="offset points", ha="center", color=INK
        )
    losses = np.array([loss for budget in budgets for _, loss in reached[budget]])
    low, high = window(evidence, losses)
    lines, colours, marks = [], [], []
    quality = dict(
        zip(
            [t.number for t in evidence.trials],
            ranked(np.array([t.loss for t in evidence.trials])),
            strict=True,
        )
    )
    for trial in sorted(evidence.trials, key=lambda trial: -trial.loss)[-MOST_LINES:]:
        path = np.array(
            [(place[r.budget], np.clip(evidence.shown(r.loss), low, high)) for r in trial.reports]
        )
        if len(path):
            lines.append(path)
            colours.append(GOOD(quality[trial.number]))
            marks.append((right, [trial.number] * len(path), path[:, 0], path[:, 1]))
    right.add_collection(
        LineCollection(
            lines, colors=colours, linewidths=0.9, alpha=0.8, rasterized=len(lines) > MANY // 2
        )
    )
    stops = np.concatenate(lines)
    right.scatter(
        stops[:, 0],
        stops[:, 1],
        s=9,
        color=[c for path, c in zip(lines, colours, strict=True) for _ in path],
        linewidths=0,
        rasterized=len(lines) > MANY // 2,
    )
    best = np.array(
        [
            (place[r.budget], np.clip(evidence.shown(r.loss), low, high))
            for r in evidence.winner.reports
        ]
    )
    right.plot(*best.T, color=WINNER, linewidth=2.2, marker="o", markersize=4, zorder=5)
    for axes in (left, right):
        axes.set_xticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
        axes.set_xlabel(str(unit))
        tidy(axes)
    left.set(title="trials that reached a rung")
    right.set(title=direction(evidence), ylim=(low, high), xlim=(-0.15, len(budgets) - 0.85))
    said = "; ".join(
        f"{a.low:g} → {a.high:g}: {a.correlation:.2f}" for a in agreements(evidence.trials)
    )
    return finish(
        figure,
        "rungs",
        "Rungs",
        "Left, how many trials were granted each budget; right, their results, the orange line is the "
        "winner. Lines that "
        "cross much mean that an early rung misjudges."
        + (f" Rank agreement of the trials that went on: {said}." if said else ""),
        marks,
        joined=True,
    )


def curves(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """The metric over the budget, within trials."""
    known = {number: curve for number, curve in evidence.curves.items() if len(curve) > 2}
    if not known or evidence.winner is None:
        return None
    by_number = {trial.number: trial for trial in evidence.trials}
    order = sorted(known, key=lambda n: -by_number[n].loss)
    figure, (axes,) = new_figure(3.7)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.96, bottom=0.14)
    quality = ranked(np.array([by_number[n].loss for n in order]))
    marks = []
    for n, rank in zip(order, quality, strict=True):
        x, y = np.array(known[n]).T
        chosen = n == evidence.winner.number
        axes.plot(
            x,
            y,
            color=WINNER if chosen else GOOD(rank),
            linewidth=2.2 if chosen else 1.0,
            zorder=5 if chosen else 2,
        )
        marks.append((axes, [n] * len(x), x, y))
    ends = np.array([evidence.metric.to_loss(curve[-1][1]) for curve in known.values()])
    early = np.array(
        [
            evidence.metric.to_loss(v)
            for curve in known.values()
            for _, v in curve[len(curve) // 8 :]
        ]
    )
    low, high = window(evidence, np.concatenate([ends, early]))
    axes.set(
        xlabel=str(evidence.header["budget_unit"]), ylabel=direction(evidence), ylim=(low, high)
    )
    tidy(axes)
    return finish(
        figure,
        "learning_curves",
        "Learning curves",
        f"The validation metric while training, of {len(known)} trials; the orange curve is the winner's. "
        "One that still "
        "improves at its end would take a larger max_budget.",
        marks,
        joined=True,
    )


def costs(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """What a result cost."""
    done = [trial for trial in evidence.trials if trial.reports]
    if len(done) < 3 or evidence.winner is None:
        return None
    losses, seconds = (
        np.array([getattr(trial, key) for trial in done]) for key in ("loss", "seconds")
    )
    shown = np.array([evidence.shown(loss) for loss in losses])
    low, high = window(evidence, losses)
    figure, (axes,) = new_figure(3.4)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.96, bottom=0.15)
    y = np.clip(shown, low, high)
    axes.scatter(
        seconds,
        y,
        c=ranked(losses),
        cmap=GOOD,
        s=dot_size(len(done)) + 6,
        linewidths=0,
        rasterized=len(done) > MANY,
    )
    front = unbeaten(losses, seconds)
    axes.step(seconds[front], y[front], where="post", color=ACCENT, linewidth=1.4)
    axes.scatter(
        [evidence.winner.seconds],
        [evidence.shown(evidence.winner.loss)],
        marker="*",
        s=150,
        color=WINNER,
        zorder=5,
    )
    if seconds.max() > 20 * max(np.median(seconds), 1e-3):
        axes.set_xscale("log")
    axes.set(xlabel="training seconds of the trial", ylabel=direction(evidence), ylim=(low, high))
    tidy(axes, "both")
    return finish(
        figure,
        "costs",
        "What a result costs",
        "Each dot is a trial; the line joins those that nothing cheaper beats. Left of the winner stands "
        "what is nearly as "
        "good for less time.",
        [(axes, [trial.number for trial in done], seconds, y)],
    )


def unbeaten(losses: FloatArray, seconds: FloatArray) -> IntArray:
    """Which of (n,) trials nothing as cheap or cheaper beats, the cheapest first."""
    order = np.lexsort((losses, seconds))
    before = np.minimum.accumulate(np.append(np.inf, losses[order]))[:-1]
    front: IntArray = order[losses[order] < before]
    return front


def trust(evidence: Evidence, analysis: Analysis | None) -> Drawing | None:
    """How far a study trusted its past, and which past studies, result by result."""
    if evidence.warm is None or len(evidence.warm.trust) < 2:
        return None
    figure, (axes,) = new_figure(2.9)
    axes.step(*zip(*evidence.warm.trust, strict=True), where="post", color=PAST, linewidth=1.8)
    axes.set(xlabel="results", ylim=(-0.03, 1.03))
    tidy(axes)
    return finish(
        figure,
        "trust",
        "Trust in the past",
        "How well the past studies together rank the trials of this one: 1 is as well as is usual, at 0 they are not "
        "asked any more.",
    )
