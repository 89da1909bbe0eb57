"""Several studies of one table side by side: how good each setting was, when, and how sure that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import t as student

from hpo.arrays import FloatArray
from hpo.errors import StudyError, raise_all
from pipelines.findings.drawing import Drawing, direction, drawing, finish, new_figure, tidy
from pipelines.findings.evidence import Evidence
from pipelines.findings.page import Fact, Page, Section
from pipelines.findings.scales import duration, number, short
from pipelines.findings.tables import Table

COLOURS = ("#2563eb", "#ea580c", "#0f9d74", "#b4348c", "#9a6700", "#475569")
CONFIDENCE = 0.95
_POINTS = 200
_MUST_AGREE = ("metric", "target", "task")
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


@dataclass(frozen=True)
class Group:
    """Studies of one setting, which differ in their seeds; `label` says what sets it apart."""

    label: str
    studies: tuple[Evidence, ...]


@dataclass(frozen=True)
class Anytime:
    """Best so far of a group: the mean at `x` (g,) and the ends of its interval; for one study they are the mean."""

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


def check(studies: Sequence[Evidence]) -> list[str]:
    """Notes on what makes a comparison doubtful.

    Raises:
        StudyError: when the studies are not of one table and one metric.
    """
    first = studies[0]
    raise_all(StudyError, (mistake for other in studies[1:] for mistake in _mistakes(first, other)))
    raise_all(
        StudyError,
        (
            f"study {s.study} has no trial with a result yet; leave it out"
            for s in studies
            if not s.winner
        ),
    )
    return [
        f"the studies differ in {name}: {', '.join(sorted(values))}; their scores are not of the same rows"
        for name in _SHOULD_AGREE
        if len(values := {short(_of(study, name), 40) for study in studies}) > 1
    ]


def _mistakes(first: Evidence, other: Evidence) -> Iterator[str]:
    for name in (*_MUST_AGREE, "digest"):
        a, b = _of(first, name), _of(other, name)
        if a != b:
            what = "the table (its digest)" if name == "digest" else name
            yield (
                f"studies of one table and one metric can be compared, but {what} is {short(repr(b), 60)} in study "
                f"{other.study} and {short(repr(a), 60)} in {first.study}; compare them apart"
            )


def _of(study: Evidence, name: str) -> Any:
    header: Mapping[str, Any] = study.header
    return header.get(name, header.get("data", {}).get(name))


def grouped(studies: Sequence[Evidence]) -> list[Group]:
    """The studies by setting, in the order they were named."""
    keys = [{name: repr(_of(study, name)) for name in _SETTINGS} for study in studies]
    telling = [name for name in _SETTINGS if len({key[name] for key in keys}) > 1]
    spaces = list(dict.fromkeys(key["space"] for key in keys))
    groups: dict[tuple[str, ...], list[Evidence]] = {}
    for study, key in zip(studies, keys, strict=True):
        groups.setdefault(tuple(key[name] for name in telling), []).append(study)
    return [
        Group(_label(members[0], telling, spaces), tuple(members)) for members in groups.values()
    ]


def _label(study: Evidence, telling: Sequence[str], spaces: Sequence[str]) -> str:
    parts = []
    for name in telling or ("model", "algorithm"):
        value = _of(study, name)
        if name == "space":
            parts.append(f"space {spaces.index(repr(value)) + 1}")
        elif name == "rungs":
            parts.append(f"rungs {', '.join(f'{rung:g}' for rung in value)}")
        else:
            parts.append(str(value) if name in ("model", "algorithm") else f"{name} {value}")
    return short(", ".join(parts), 60)


def over_trials(study: Evidence) -> tuple[FloatArray, FloatArray]:
    """Trials and the best loss after each."""
    losses = [trial.loss for trial in study.trials if trial.finished]
    return np.arange(1.0, len(losses) + 1), np.minimum.accumulate(losses)


def over_seconds(study: Evidence) -> tuple[FloatArray, FloatArray]:
    """Seconds of search and the best loss then."""
    seconds, values = (
        zip(*study.best, strict=True)
        if study.best
        else ((0.0,), (study.shown(study.trials[0].loss),))
    )
    return np.array(seconds), np.array([study.metric.to_loss(value) for value in values])


def anytime(curves: Sequence[tuple[FloatArray, FloatArray]]) -> Anytime:
    """The mean of step functions, from where all have begun to where the first ends.

    The interval of three or more is that of Student's t for the mean; of two it is what lies
    between them.
    """
    start = max(
        float(x[np.isfinite(y)][0]) if np.isfinite(y).any() else float(x[-1]) for x, y in curves
    )
    end = max(min(float(x[-1]) for x, _ in curves), start)
    grid = np.linspace(start, end, _POINTS)
    values = np.array(
        [y[np.maximum(np.searchsorted(x, grid, side="right") - 1, 0)] for x, y in curves]
    )
    mean, n = values.mean(axis=0), len(curves)
    if n < 3:
        return Anytime(grid, mean, values.min(axis=0), values.max(axis=0))
    half = student.ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return Anytime(grid, mean, mean - half, mean + half)


def draw(groups: Sequence[Group]) -> Drawing:
    """Anytime curves of all groups on the same axes, over trials and over seconds."""
    with drawing():
        return _draw(groups)


def _draw(groups: Sequence[Group]) -> Drawing:
    first = groups[0].studies[0]
    figure, (left, right) = new_figure(4.4, 1, 2, sharey=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.13, wspace=0.06)
    ends: list[float] = []
    for axes, curve_of in ((left, over_trials), (right, over_seconds)):
        for group, colour in zip(groups, _colours(len(groups)), strict=True):
            ends += _lines(axes, group, [curve_of(study) for study in group.studies], colour)
        tidy(axes)
    values = np.array(ends)
    spread = max(float(np.ptp(values)), 1e-12)
    best = float(values.max() if first.metric.greater_is_better else values.min())
    worst = float(np.quantile(values, 0.1 if first.metric.greater_is_better else 0.9))
    low, high = sorted((best, worst))
    left.set(
        xlabel="trials",
        ylabel=direction(first),
        title="over trials",
        ylim=(low - 0.05 * spread, high + 0.05 * spread),
    )
    right.set(xlabel="seconds of search", title="over seconds")
    left.legend(loc="lower right" if first.metric.greater_is_better else "upper right")
    return finish(
        figure,
        "anytime",
        "Best so far, side by side",
        f"The mean over the studies of a setting; the band is the {CONFIDENCE:.0%} interval of the mean "
        "where there are three or "
        "more (Student's t), and what lies between them where there are two. A curve ends where the first "
        "of its studies does.",
    )


def _lines(
    axes: Axes, group: Group, curves: Sequence[tuple[FloatArray, FloatArray]], colour: str
) -> list[float]:
    """Draw a group; the values that the axes must show."""
    study, found = group.studies[0], anytime(curves)
    mean, low, high = (study.shown_all(side) for side in (found.mean, found.low, found.high))
    n = len(group.studies)
    axes.fill_between(found.x, low, high, color=colour, alpha=0.13, linewidth=0, step="post")
    axes.step(
        found.x,
        mean,
        where="post",
        color=colour,
        linewidth=2,
        label=f"{group.label} ({n})" if n > 1 else group.label,
    )
    for x, y in curves if n > 1 else ():
        axes.step(x, study.shown_all(y), where="post", color=colour, linewidth=0.6, alpha=0.5)
    return [float(value) for value in mean if np.isfinite(value)]


def _colours(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def settings_table(groups: Sequence[Group]) -> Table:
    """What each setting came to in the end."""
    metric = groups[0].studies[0].metric.name
    rows = []
    for group in groups:
        finals = np.array(
            [study.shown(study.winner.loss) for study in group.studies if study.winner]
        )
        tests = [study.test[metric] for study in group.studies if metric in study.test]
        rows.append(
            [
                group.label,
                len(group.studies),
                float(finals.mean()),
                float(finals.std(ddof=1)) if len(finals) > 1 else None,
                float(np.mean(tests)) if tests else None,
                float(np.mean([len(study.trials) for study in group.studies])),
                float(np.mean([study.elapsed for study in group.studies])),
            ]
        )
    columns = ("setting", "studies", metric, "standard deviation", "held-out", "trials", "seconds")
    return Table(columns, rows)


def studies_table(groups: Sequence[Group]) -> Table:
    """The studies one by one."""
    metric = groups[0].studies[0].metric.name
    rows = [
        [
            group.label,
            study.study,
            study.header.get("seed"),
            study.shown(study.winner.loss) if study.winner else None,
            study.test.get(metric),
            len(study.trials),
            len(study.failed),
            study.elapsed,
        ]
        for group in groups
        for study in group.studies
    ]
    return Table(
        ("setting", "study", "seed", metric, "held-out", "trials", "failed", "seconds"), rows
    )


def curves_table(groups: Sequence[Group]) -> Table:
    """The curves that are drawn, as rows."""
    rows: list[list[object]] = []
    for group in groups:
        for axis, curve_of in (("trials", over_trials), ("seconds", over_seconds)):
            found = anytime([curve_of(study) for study in group.studies])
            shown = group.studies[0].shown_all
            ends = np.sort([shown(found.low), shown(found.high)], axis=0)
            for x, mean, low, high in zip(found.x, shown(found.mean), *ends, strict=True):
                rows.append([group.label, axis, float(x), float(mean), float(low), float(high)])
    return Table(("setting", "axis", "at", "mean", "low", "high"), rows)


def comparison_page(groups: Sequence[Group], curves: Drawing, notes: Sequence[str]) -> Page:
    """The page of a comparison."""
    first = groups[0].studies[0]
    studies = [study for group in groups for study in group.studies]
    table = settings_table(groups)
    sign = -1 if first.metric.greater_is_better else 1
    best = min(range(len(table.rows)), key=lambda i: sign * float(str(table.rows[i][2])))
    return Page(
        title=f"{len(studies)} studies side by side",
        subtitle=f"{len(studies)} studies of {short(repr(first.header['target']), 60)}, {first.header['task']}",
        headline=short(table.rows[best][0], 60),
        kicker=f"the best setting, {first.metric.name} {number(table.rows[best][2], 5)} in the mean",
        facts=[
            Fact("settings", str(len(groups))),
            Fact("trials", f"{sum(len(study.trials) for study in studies):,}"),
            Fact(
                "time of search", duration(sum(study.elapsed for study in studies)), "all together"
            ),
        ],
        sections=[
            *([Section("Take care", code="\n".join(notes))] if notes else []),
            Section.of_drawing(curves),
            Section.of_table(
                "Settings",
                Table(table.columns, table.rows, best),
                "Means over the studies of a setting.",
            ),
            Section.of_table("Studies", studies_table(groups)),
        ],
        footer=["Everything on this page was read from MLflow. It needs no network."],
        data={"charts": {}, "columns": [], "trials": {}},
    )
