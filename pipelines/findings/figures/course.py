"""Figures of how the search went: best so far, rungs, learning curves, costs, trust in the past."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from hpo.agreement import agreements
from hpo.arrays import BoolArray, FloatArray, IntArray
from hpo.trial import Trial
from pipelines.findings.case import Case
from pipelines.findings.evidence import Evidence, Results
from pipelines.findings.figures.drawing import (
    ACCENT,
    ACCENT_LIGHT,
    DEFAULT,
    GOOD,
    INK,
    MAX_LINES,
    MAX_VECTOR_MARKS,
    MUTED,
    PAST,
    WINNER,
    Drawing,
    Limits,
    Marks,
    add_grid,
    dot_size,
    finish,
    legend_place,
    mark_winner,
    metric_label,
    new_figure,
    quality,
    scatter_by_quality,
    score_limits,
)
from pipelines.findings.scales import short


def best_so_far(case: Case) -> Drawing:
    """The score of each trial and the best so far, over trials and over seconds."""
    evidence, winner, results = case.evidence, case.winner, case.evidence.results
    baselines = [evidence.scope.goal.to_loss(value) for value in evidence.baselines.values()]
    limits = score_limits(evidence, results.losses, baselines)
    figure, (left, right) = new_figure(3.9, 1, 2, sharey=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.14, wspace=0.06)
    _scores_by_trial(left, evidence)
    mark_winner(left, winner.number, evidence.scope.score(winner.loss), label="winner")
    _best_by_seconds(right, evidence)
    for axes in (left, right):
        add_grid(axes)
        _baseline_lines(axes, evidence, limits)
        axes.set_ylim(*limits)
    left.set(xlabel="trial", ylabel=metric_label(evidence), title="over trials")
    right.set(xlabel="seconds of search", title="over seconds")
    left.legend(loc=legend_place(evidence), ncols=2, handletextpad=0.3)
    hidden = int((~limits.holds(results.scores)).sum())
    return finish(
        figure,
        "best_so_far",
        "Best so far",
        "Each dot is a trial; the line is the best result until then. If the line still moves at "
        "its end, run more trials; if it has long been flat, fewer are enough, or try another "
        "space." + (f" Trials outside the picture: {hidden}." if hidden else ""),
        [Marks(left, results.numbers.tolist(), results.numbers, limits.clip(results.scores))],
    )


def _scores_by_trial(axes: Axes, evidence: Evidence) -> None:
    results = evidence.results
    numbers, size = results.numbers, dot_size(len(results.numbers))
    scatter_by_quality(axes, numbers, results.scores, results.losses, size)
    best = evidence.scope.scores(np.minimum.accumulate(results.losses))
    axes.step(numbers, best, where="post", color=ACCENT, linewidth=1.8, label="best so far")
    _mark(axes, results, results.is_default, marker="D", s=34, color=DEFAULT, label="default")
    _mark(axes, results, results.is_warm, marker="P", s=52, color=PAST, label="from the past")


def _mark(axes: Axes, results: Results, chosen: BoolArray, **style: Any) -> None:
    if chosen.any():
        axes.scatter(results.numbers[chosen], results.scores[chosen], zorder=4, **style)


def _best_by_seconds(axes: Axes, evidence: Evidence) -> None:
    if not evidence.best:
        return
    seconds, scores = np.array(evidence.best).T
    axes.step(seconds, scores, where="post", color=ACCENT, linewidth=1.8)
    axes.scatter(seconds[-1:], scores[-1:], s=18, color=ACCENT)


def _baseline_lines(axes: Axes, evidence: Evidence, limits: Limits) -> None:
    for name, score in evidence.baselines.items():
        if not limits.low <= score <= limits.high:
            continue
        axes.axhline(score, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"baseline {short(name)}",
            (0.995, score),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color=MUTED,
            fontsize=8.5,
        )


def rungs(case: Case) -> Drawing | None:
    """How many trials reached each rung, and their results there."""
    evidence = case.evidence
    reports = [report for trial in evidence.scored for report in trial.reports]
    counts = Counter(report.budget for report in reports)
    budgets = sorted(counts)
    if len(budgets) < 2:
        return None
    limits = score_limits(evidence, np.array([report.loss for report in reports]))
    figure, (left, right) = new_figure(3.6, 1, 2, width_ratios=(1, 1.8))
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.15, wspace=0.22)
    _rung_counts(left, [counts[budget] for budget in budgets])
    marks = _rung_lines(right, evidence, budgets, limits)
    best = _rung_path(evidence, case.winner, budgets, limits)
    right.plot(*best.T, color=WINNER, linewidth=2.2, marker="o", markersize=4, zorder=5)
    for axes in (left, right):
        axes.set_xticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
        axes.set_xlabel(evidence.scope.budget_unit)
        add_grid(axes)
    left.set(title="trials that reached a rung")
    right.set(title=metric_label(evidence), ylim=limits, xlim=(-0.15, len(budgets) - 0.85))
    return finish(
        figure,
        "rungs",
        "Rungs",
        "Left: how many trials were granted each budget. Right: their results; the orange line is "
        "the winner. If many lines cross, an early rung ranks trials badly."
        + _rank_agreement(evidence),
        marks,
        joined=True,
    )


def _rung_counts(axes: Axes, counts: Sequence[int]) -> None:
    axes.bar(range(len(counts)), counts, color=ACCENT_LIGHT, width=0.62)
    for i, count in enumerate(counts):
        axes.annotate(
            f"{count}", (i, count), (0, 2), textcoords="offset points", ha="center", color=INK
        )


def _rung_lines(
    axes: Axes, evidence: Evidence, budgets: Sequence[float], limits: Limits
) -> list[Marks]:
    """One line for each trial, the best on top."""
    losses = np.array([trial.loss for trial in evidence.trials])
    shown = np.argsort(-losses, kind="stable")[-MAX_LINES:]
    shown = shown[np.isfinite(losses[shown])]
    line_colours = GOOD(quality(losses)[shown])
    trials = [evidence.trials[i] for i in shown]
    paths = [_rung_path(evidence, trial, budgets, limits) for trial in trials]
    many = len(paths) > MAX_VECTOR_MARKS // 2
    axes.add_collection(
        LineCollection(paths, colors=line_colours, linewidths=0.9, alpha=0.8, rasterized=many)
    )
    x, y = np.concatenate(paths).T
    dot_colours = np.repeat(line_colours, [len(path) for path in paths], axis=0)
    axes.scatter(x, y, s=9, color=dot_colours, linewidths=0, rasterized=many)
    return [
        Marks(axes, [trial.number] * len(path), path[:, 0], path[:, 1])
        for trial, path in zip(trials, paths, strict=True)
    ]


def _rung_path(
    evidence: Evidence, trial: Trial, budgets: Sequence[float], limits: Limits
) -> FloatArray:
    """The trial's rungs and scores, `(n_reports, 2)`."""
    at = np.searchsorted(budgets, [report.budget for report in trial.reports])
    scores = evidence.scope.scores(np.array([report.loss for report in trial.reports]))
    return np.column_stack([at, limits.clip(scores)])


def _rank_agreement(evidence: Evidence) -> str:
    pairs = [f"{a.low:g} → {a.high:g}: {a.correlation:.2f}" for a in agreements(evidence.trials)]
    return f" Rank agreement of the promoted trials: {'; '.join(pairs)}." if pairs else ""


def curves(case: Case) -> Drawing | None:
    """The metric over the budget, within trials."""
    evidence, winner = case.evidence, case.winner
    losses = {trial.number: trial.loss for trial in evidence.trials}
    known = {n: np.array(curve) for n, curve in evidence.curves.items() if len(curve) > 2}
    if not known:
        return None
    figure, (axes,) = new_figure(3.7)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.96, bottom=0.14)
    order = sorted(known, key=lambda number: -losses[number])
    goodness = quality(np.array([losses[number] for number in order]))
    marks = []
    for number, rank in zip(order, goodness, strict=True):
        x, y = known[number].T
        if number == winner.number:
            axes.plot(x, y, color=WINNER, linewidth=2.2, zorder=5)
        else:
            axes.plot(x, y, color=GOOD(rank), linewidth=1.0, zorder=2)
        marks.append(Marks(axes, [number] * len(x), x, y))
    limits = score_limits(evidence, _typical_losses(evidence, list(known.values())))
    axes.set(xlabel=evidence.scope.budget_unit, ylabel=metric_label(evidence), ylim=limits)
    add_grid(axes)
    return finish(
        figure,
        "learning_curves",
        "Learning curves",
        f"The validation metric during the training of {len(known)} trials; the orange curve is "
        "the winner's. A curve that still improves at its end would gain from a larger max_budget.",
        marks,
        joined=True,
    )


def _typical_losses(evidence: Evidence, curves: Sequence[FloatArray]) -> FloatArray:
    """The losses of all curves without their first eighth, and once more those at their ends."""
    ends = np.concatenate([curve[-1:, 1] for curve in curves])
    late = np.concatenate([curve[len(curve) // 8 :, 1] for curve in curves])
    scores = np.concatenate([ends, late])
    return evidence.scope.goal.to_loss(scores)


def costs(case: Case) -> Drawing | None:
    """Scores over training seconds."""
    evidence, winner, results = case.evidence, case.winner, case.evidence.results
    if len(results.numbers) < 3:
        return None
    losses, seconds = results.losses, results.seconds
    limits = score_limits(evidence, losses)
    scores = limits.clip(results.scores)
    figure, (axes,) = new_figure(3.4)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.96, bottom=0.15)
    scatter_by_quality(axes, seconds, scores, losses, dot_size(len(losses)) + 6)
    front = pareto_front(losses, seconds)
    axes.step(seconds[front], scores[front], where="post", color=ACCENT, linewidth=1.4)
    mark_winner(axes, winner.seconds, evidence.scope.score(winner.loss))
    if seconds.max() > 20 * max(np.median(seconds), 1e-3):
        axes.set_xscale("log")
    axes.set(xlabel="training seconds of the trial", ylabel=metric_label(evidence), ylim=limits)
    add_grid(axes, "both")
    return finish(
        figure,
        "costs",
        "What a result costs",
        "Each dot is a trial; the line joins those that no cheaper trial beats. Trials left of the "
        "winner that are nearly as good take less time.",
        [Marks(axes, results.numbers.tolist(), seconds, scores)],
    )


def pareto_front(losses: FloatArray, seconds: FloatArray) -> IntArray:
    """Which of (n,) trials are not beaten by one that is as cheap or cheaper, cheapest first."""
    order = np.lexsort((losses, seconds))
    before = np.minimum.accumulate(np.append(np.inf, losses[order]))[:-1]
    front: IntArray = order[losses[order] < before]
    return front


def trust(case: Case) -> Drawing | None:
    """How far the search trusted the past studies, by the number of results."""
    warm = case.evidence.warm
    if warm is None or len(warm.trust) < 2:
        return None
    figure, (axes,) = new_figure(2.9)
    axes.step(*np.array(warm.trust).T, where="post", color=PAST, linewidth=1.8)
    axes.set(xlabel="results", ylim=(-0.03, 1.03))
    add_grid(axes)
    return finish(
        figure,
        "trust",
        "Trust in the past",
        "How well the past studies together rank the trials of this one: at 1 they do as well as "
        "is usual, at 0 they no longer guide the search.",
    )
