"""Several studies of one table side by side: their curves, by setting, and their final scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import t as student

from hpo.arrays import FloatArray
from hpo.errors import StudyError, raise_all
from pipelines.findings.evidence import Evidence
from pipelines.findings.figures.drawing import (
    Drawing,
    add_grid,
    drawing_style,
    finish,
    legend_place,
    metric_label,
    new_figure,
)
from pipelines.findings.page import READ_FROM_MLFLOW, Fact, Page, Section
from pipelines.findings.scales import duration, number, predicted, short
from pipelines.findings.tables import Table

COLOURS = ("#2563eb", "#ea580c", "#0f9d74", "#b4348c", "#9a6700", "#475569")
CONFIDENCE = 0.95
_POINTS = 200  # of a mean curve
_MUST_AGREE = {
    "metric": "metric",
    "target": "target",
    "task": "task",
    "digest": "the table (its digest)",
}
_SHOULD_AGREE = ("split", "validation", "test_share")
_SETTINGS = (
    "model",
    "algorithm",
    "warm_start",
    "fidelity",
    "rungs",
    "validation",
    "workers",
    "confirm",
    "space",
)
_MAIN_SETTINGS = ("model", "algorithm")

Curve = tuple[FloatArray, FloatArray]  # places and the best loss from there on


@dataclass(frozen=True)
class Anytime:
    """The mean of the best so far at `x`, and the ends of its interval; all are `(g,)`."""

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Group:
    """Studies of one setting, which differ in their seeds.

    `label` says how the setting differs from the others.
    """

    label: str
    studies: tuple[Evidence, ...]

    @property
    def first(self) -> Evidence:
        """The study that was named first."""
        return self.studies[0]

    @property
    def final_scores(self) -> FloatArray:
        """The scores of the winners, `(n_studies,)`."""
        winners = ((study.scope, study.winner) for study in self.studies if study.winner)
        return np.array([scope.score(winner.loss) for scope, winner in winners])

    @property
    def test_scores(self) -> FloatArray:
        """The winners' scores on the held-out rows, for the studies that have one."""
        metric = self.first.scope.goals.score.name
        return np.array([study.test[metric] for study in self.studies if metric in study.test])

    def curves(self, curve_of: Callable[[Evidence], Curve]) -> list[Curve]:
        """The curve of each study, as losses."""
        return list(map(curve_of, self.studies))

    def anytime(self, curve_of: Callable[[Evidence], Curve]) -> Anytime:
        """The mean of the curves, as scores."""
        found, scores = anytime(self.curves(curve_of)), self.first.scope.scores
        low, high = np.sort([scores(found.low), scores(found.high)], axis=0)
        return Anytime(found.x, scores(found.mean), low, high)


def check(studies: Sequence[Evidence]) -> list[str]:
    """Notes on what makes a comparison doubtful.

    Raises:
        StudyError: when the studies are not of one table and one metric, or one has no result.
    """
    first = studies[0]
    raise_all(StudyError, (error for other in studies[1:] for error in _mismatches(first, other)))
    empty = [study.study for study in studies if not study.winner]
    raise_all(
        StudyError, (f"study {name} has no trial with a result yet; leave it out" for name in empty)
    )
    return list(_doubts(studies))


def _mismatches(first: Evidence, other: Evidence) -> Iterator[str]:
    for name, label in _MUST_AGREE.items():
        a, b = _setting(first, name), _setting(other, name)
        if a != b:
            yield (
                f"only studies of one table and one metric can be compared, but {label} is "
                f"{short(repr(b), 60)} in study {other.study} and {short(repr(a), 60)} in "
                f"{first.study}; compare them separately"
            )


def _doubts(studies: Sequence[Evidence]) -> Iterator[str]:
    for name in _SHOULD_AGREE:
        values = {short(_setting(study, name), 40) for study in studies}
        if len(values) > 1:
            listed = ", ".join(sorted(values))
            yield f"the studies differ in {name}: {listed}; their scores are not of the same rows"


def _setting(study: Evidence, name: str) -> Any:
    return study.header.get(name, study.header.get("data", {}).get(name))


def grouped(studies: Sequence[Evidence]) -> list[Group]:
    """The studies by setting, in the order they were named."""
    settings = pd.DataFrame(map(_settings, studies))
    differing = [name for name in _SETTINGS if settings[name].nunique() > 1]
    spaces = list(settings["space"].unique())
    groups = []
    for _, rows in settings.groupby(list(_SETTINGS), sort=False):
        members = tuple(studies[i] for i in rows.index)
        groups.append(Group(_label(members[0], differing or _MAIN_SETTINGS, spaces), members))
    return groups


def _settings(study: Evidence) -> dict[str, str]:
    return {name: repr(_setting(study, name)) for name in _SETTINGS}


def _label(study: Evidence, names: Sequence[str], spaces: Sequence[str]) -> str:
    parts = (_in_words(name, _setting(study, name), spaces) for name in names)
    return short(", ".join(parts), 60)


def _in_words(name: str, value: Any, spaces: Sequence[str]) -> str:
    if name == "space":
        return f"space {spaces.index(repr(value)) + 1}"
    if name == "rungs":
        return f"rungs {', '.join(f'{rung:g}' for rung in value)}"
    return str(value) if name in _MAIN_SETTINGS else f"{name} {value}"


def over_trials(study: Evidence) -> Curve:
    """Numbers of trials and the best loss after each."""
    losses = [trial.loss for trial in study.trials if trial.finished]
    return np.arange(1.0, len(losses) + 1), np.minimum.accumulate(losses)


def over_seconds(study: Evidence) -> Curve:
    """Seconds of search and the best loss then."""
    best = study.best or ((0.0, study.scope.score(study.trials[0].loss)),)
    losses = [study.scope.goal.to_loss(score) for _, score in best]
    return np.array([seconds for seconds, _ in best]), np.array(losses)


def anytime(curves: Sequence[Curve]) -> Anytime:
    """The mean of step functions, from where all have a value to where the first ends.

    The interval is that of Student's t for the mean of three or more, the range of two, and the
    curve itself for one.
    """
    start = max(_start(curve) for curve in curves)
    end = max(min(float(x[-1]) for x, _ in curves), start)
    grid = np.linspace(start, end, _POINTS)
    values = np.array([_at(curve, grid) for curve in curves])
    mean, n = values.mean(axis=0), len(curves)
    if n < 3:
        return Anytime(grid, mean, values.min(axis=0), values.max(axis=0))
    half = student.ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return Anytime(grid, mean, mean - half, mean + half)


def _start(curve: Curve) -> float:
    """The place of the first result; the end of a curve without one."""
    x, y = curve
    return float([*x[np.isfinite(y)], x[-1]][0])


def _at(curve: Curve, grid: FloatArray) -> FloatArray:
    """The step function at the points of a grid."""
    x, y = curve
    return y[np.maximum(np.searchsorted(x, grid, side="right") - 1, 0)]


AXES: dict[str, Callable[[Evidence], Curve]] = {"trials": over_trials, "seconds": over_seconds}


def draw(groups: Sequence[Group]) -> Drawing:
    """Anytime curves of all groups on the same axes, over trials and over seconds."""
    with drawing_style():
        return _draw(groups)


def _draw(groups: Sequence[Group]) -> Drawing:
    first = groups[0].first
    figure, (left, right) = new_figure(4.4, 1, 2, sharey=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.13, wspace=0.06)
    for axes, curve_of in zip((left, right), AXES.values(), strict=True):
        for i, group in enumerate(groups):
            _draw_group(axes, group, curve_of, COLOURS[i % len(COLOURS)])
        add_grid(axes)
    low, high = _visible(groups)
    left.set(xlabel="trials", ylabel=metric_label(first), title="over trials", ylim=(low, high))
    right.set(xlabel="seconds of search", title="over seconds")
    left.legend(loc=legend_place(first))
    return finish(
        figure,
        "anytime",
        "Best so far, side by side",
        f"The mean over the studies of a setting. The band is the {CONFIDENCE:.0%} interval of the "
        "mean for three studies or more (Student's t), and the range of two. A curve ends where "
        "the first of its studies does.",
    )


def _draw_group(
    axes: Axes, group: Group, curve_of: Callable[[Evidence], Curve], colour: str
) -> None:
    found, n = group.anytime(curve_of), len(group.studies)
    label = f"{group.label} ({n})" if n > 1 else group.label
    axes.fill_between(
        found.x, found.low, found.high, color=colour, alpha=0.13, linewidth=0, step="post"
    )
    axes.step(found.x, found.mean, where="post", color=colour, linewidth=2, label=label)
    if n > 1:
        for x, y in group.curves(curve_of):
            scores = group.first.scope.scores(y)
            axes.step(x, scores, where="post", color=colour, linewidth=0.6, alpha=0.5)


def _visible(groups: Sequence[Group]) -> tuple[float, float]:
    """The range of scores from the best to the worst tenth of all mean curves, and a bit more."""
    means = [group.anytime(curve_of).mean for curve_of in AXES.values() for group in groups]
    values = np.concatenate(means)
    values = values[np.isfinite(values)]
    margin = 0.05 * max(float(np.ptp(values)), 1e-12)
    greater = groups[0].first.scope.goal.greater_is_better
    low, high = np.quantile(values, (0.1, 1.0) if greater else (0.0, 0.9))
    return float(low) - margin, float(high) + margin


def settings_table(groups: Sequence[Group]) -> Table:
    """The final scores of each setting."""
    return Table.of(
        groups,
        {
            "setting": attrgetter("label"),
            "studies": lambda group: len(group.studies),
            groups[0].first.scope.goal.name: lambda group: float(group.final_scores.mean()),
            "standard deviation": lambda group: _deviation(group.final_scores),
            "held-out": lambda group: _mean(group.test_scores),
            "trials": lambda group: _mean([len(study.trials) for study in group.studies]),
            "seconds": lambda group: _mean([study.elapsed for study in group.studies]),
        },
    )


def _mean(values: Sequence[float] | FloatArray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _deviation(values: FloatArray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def studies_table(groups: Sequence[Group]) -> Table:
    """The studies one by one."""
    labels = {study.study: group.label for group in groups for study in group.studies}
    return Table.of(
        _studies(groups),
        {
            "setting": lambda study: labels[study.study],
            "study": attrgetter("study"),
            "seed": lambda study: study.header.get("seed"),
            groups[0].first.scope.goal.name: _final_score,
            "held-out": lambda study: study.test.get(study.scope.goals.score.name),
            "trials": lambda study: len(study.trials),
            "failed": lambda study: len(study.failed),
            "seconds": attrgetter("elapsed"),
        },
    )


def _studies(groups: Sequence[Group]) -> list[Evidence]:
    return list(chain.from_iterable(group.studies for group in groups))


def _final_score(study: Evidence) -> float | None:
    return study.scope.score(study.winner.loss) if study.winner else None


def curves_table(groups: Sequence[Group]) -> Table:
    """The points of all mean curves."""
    rows: list[list[object]] = []
    for group in groups:
        for axis, curve_of in AXES.items():
            found = group.anytime(curve_of)
            points = np.column_stack([found.x, found.mean, found.low, found.high])
            rows += [[group.label, axis, *point] for point in points.tolist()]
    return Table(("setting", "axis", "at", "mean", "low", "high"), rows)


def comparison_page(groups: Sequence[Group], curves: Drawing, notes: Sequence[str]) -> Page:
    """The page of a comparison."""
    first = groups[0].first
    studies = _studies(groups)
    means = np.array([group.final_scores.mean() for group in groups])
    goal = first.scope.goal
    best = int(np.argmin(goal.to_loss(means)))
    settings = settings_table(groups)
    reading = "Means over the studies of a setting."
    sections = [
        Section.of_drawing(curves),
        Section.of_table("Settings", Table(settings.columns, settings.rows, best), reading),
        Section.of_table("Studies", studies_table(groups)),
    ]
    if notes:
        sections.insert(0, Section("Warnings", code="\n".join(notes)))
    trials = sum(len(study.trials) for study in studies)
    seconds = sum(study.elapsed for study in studies)
    return Page(
        title=f"{len(studies)} studies side by side",
        subtitle=f"{len(studies)} studies{predicted(first.header)}",
        headline=groups[best].label,
        kicker=f"the best setting, {goal.name} {number(float(means[best]), 5)} on average",
        facts=[
            Fact("settings", str(len(groups))),
            Fact("trials", f"{trials:,}"),
            Fact("time of search", duration(seconds), "all together"),
        ],
        sections=sections,
        footer=[READ_FROM_MLFLOW],
        data={"charts": {}, "columns": [], "trials": {}},
    )
