"""The figure of several goals: every pair of them, and the trials that no other one dominates."""

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hpo.arrays import FloatArray
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.findings.case import Case
from pipelines.findings.evidence import Evidence
from pipelines.findings.figures.drawing import (
    ACCENT,
    FAINT,
    LINE,
    MAX_VECTOR_MARKS,
    MUTED,
    Drawing,
    Marks,
    add_grid,
    dot_size,
    finish,
    mark_winner,
    new_figure,
)

_COLUMNS = 3  # of panels


def front(case: Case) -> Drawing | None:
    """Every pair of goals; None with a single goal and no limit."""
    evidence = case.evidence
    goals = evidence.scope.goals
    if goals.is_single:
        return None
    pairs = list(combinations(_shown(evidence), 2))
    columns = min(len(pairs), _COLUMNS)
    rows = -(-len(pairs) // columns)
    figure, panels = new_figure(0.4 + 3.2 * rows, rows, columns)
    figure.subplots_adjust(left=0.09, right=0.985, top=1 - 0.1 / rows, wspace=0.3, hspace=0.4)
    figure.subplots_adjust(bottom=0.16 / rows)
    leading = {trial.number for trial in evidence.front}
    marks = []
    for axes, (x, y) in zip(panels, pairs, strict=False):
        marks.append(_panel(axes, evidence, (x, y), leading, case.winner))
    for axes in panels[len(pairs) :]:
        axes.remove()
    return finish(
        figure,
        "front",
        "Goals against each other",
        f"Each dot is a trial. The {len(leading)} blue ones form the front: no other trial is "
        "better in one goal without being worse in another. The star is the winner; "
        "prefer= chooses another trial of the front.",
        marks,
    )


def _shown(evidence: Evidence) -> list[Goal]:
    """The goals, and what else has a limit."""
    names = {goal.name: goal for goal in evidence.scope.goals.goals}
    limited = {limit.name: Goal(limit.name) for limit in evidence.scope.goals.limits}
    shown = list((limited | names).values())
    return shown if len(shown) > 1 else [*shown, *shown]


def _panel(
    axes: Axes, evidence: Evidence, pair: tuple[Goal, Goal], leading: set[int], winner: Trial
) -> Marks:
    trials = evidence.scored
    x, y = (_values(evidence, trials, goal) for goal in pair)
    is_leading = np.array([trial.number in leading for trial in trials])
    size, many = dot_size(len(trials)), len(trials) > MAX_VECTOR_MARKS
    axes.scatter(x[~is_leading], y[~is_leading], s=size, color=LINE, linewidths=0, rasterized=many)
    axes.scatter(x[is_leading], y[is_leading], s=size + 10, color=ACCENT, linewidths=0, zorder=4)
    at = next(i for i, trial in enumerate(trials) if trial.number == winner.number)
    mark_winner(axes, float(x[at]), float(y[at]))
    for limit in evidence.scope.goals.limits:
        line: Any = {"color": MUTED, "linewidth": 1, "linestyle": (0, (4, 3))}
        if limit.name == pair[0].name:
            axes.axvline(limit.bound, **line)
        if limit.name == pair[1].name:
            axes.axhline(limit.bound, **line)
    names = [goal.name for goal in evidence.scope.goals.goals]
    axes.set(xlabel=_label(pair[0], names), ylabel=_label(pair[1], names))
    add_grid(axes, "both")
    axes.tick_params(color=FAINT)
    return Marks(axes, [trial.number for trial in trials], x, y)


def _values(evidence: Evidence, trials: tuple[Trial, ...], goal: Goal) -> FloatArray:
    scores = [evidence.scope.goals.scores(trial.best)[goal.name] for trial in trials if trial.best]
    return np.array(scores)


def _label(goal: Goal, names: list[str]) -> str:
    if goal.name not in names:
        return goal.name
    return f"{goal.name} ({goal.better} is better)"
