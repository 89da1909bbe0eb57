"""The sections of a model card; each function yields the lines of one section."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import counted
from hpo.trial import Trial
from pipelines.findings.analysis import FAIR, choices
from pipelines.findings.evidence import comparable
from pipelines.findings.importance import MIN_TRIALS, decompose, fit
from pipelines.findings.scales import duration
from pipelines.models import search_model, settings
from pipelines.objectives.card.markdown import code_block, escaped, table
from pipelines.objectives.card.recipe import as_yaml, train_command
from pipelines.objectives.jobs import BEST
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.schema import reading
from pipelines.study.plan import Plan
from pipelines.study.summary import failures
from pipelines.table.scores.costs import watts_per_core
from pipelines.table.source import DataPlan
from serving.columns import CategoricalColumn, Column
from serving.features import FeatureEncoder

if TYPE_CHECKING:
    from hpo.space.parameters import Params
    from pipelines.study.choice.confirmation import Confirmation
    from pipelines.study.choice.decision import Judged
    from pipelines.study.choice.ensemble import Ensemble
    from pipelines.table.data import Prepared
    from pipelines.table.scores.bootstrap import Interval
    from pipelines.table.scores.permutation import Permuted

MAX_COLUMNS, MAX_PARAMETERS = 15, 8  # rows of the tables of importance
MAX_INPUTS, MAX_LEVELS = 100, 5  # rows of the table of inputs, and levels in a row


@dataclass(frozen=True)
class Subject:
    """What a card describes.

    Attributes:
        study: the run id of the study.
        trial: the run id of the winner.
        plan: of the study.
        data: the table and the use of its rows.
        prepared: the table.
        best: the winner.
        trials: all of the study.
        score: the held-out score that the registry compares.
        test: every metric on the held-out rows.
        interval: of the deciding metric on the held-out rows.
        baselines: the deciding metric on the validation rows, by name.
        permuted: the importance of the columns.
        confirmation: how the best trials did on repeated folds.
        ensemble: the trials whose mean prediction won; `best` has the largest weight of them.
        decision: how its probabilities are calibrated and made to labels; None as they are.
    """

    study: str
    trial: str
    plan: Plan
    data: DataPlan
    prepared: "Prepared"
    best: Trial
    trials: Sequence[Trial]
    score: HeldOutScore
    test: Mapping[str, float]
    interval: "Interval | None"
    baselines: Mapping[str, float]
    permuted: "Permuted | None"
    confirmation: "Confirmation | None" = None
    ensemble: "Ensemble | None" = None
    decision: "Judged | None" = None

    @property
    def members(self) -> Sequence[tuple[Trial, str, float]]:
        """The trials of an ensemble with their families and weights; none for a single trial."""
        model, weights = (
            search_model(self.plan.model),
            self.ensemble.weights if self.ensemble else {},
        )
        trials = [(self.trials[number], weight) for number, weight in weights.items()]
        return [(trial, model.resolve(trial.params)[0], weight) for trial, weight in trials]

    @property
    def name(self) -> str:
        """What the model is: a family, or an ensemble of some."""
        families = dict.fromkeys(family for _, family, _ in self.members)
        return f"an ensemble of {', '.join(families)}" if families else self.family

    @property
    def family(self) -> str:
        """The model family of the winner."""
        return self._resolved[0]

    @property
    def params(self) -> "Params":
        """The winner's parameters as its family knows them."""
        return self._resolved[1]

    @cached_property
    def _resolved(self) -> "tuple[str, Params]":
        return search_model(self.plan.model).resolve(self.best.params)


def headline(subject: Subject) -> Iterator[str]:
    """The model, its task and its score."""
    score, data, interval = subject.score, subject.data, subject.interval
    bounds = f" [{interval.low:.6g}, {interval.high:.6g}]" if interval else ""
    yield (
        f"**{subject.name}** predicts {escaped(data.target)} ({data.task}): "
        f"**{score}**{bounds} on {score.rows:,} held-out rows "
        f"({score.goal.better} is better; trivial baseline {score.baseline:.6g})."
    )
    yield ""
    largest = ", the one with the largest weight" if subject.ensemble else ""
    yield f"Study `{subject.study}`, trial `{subject.trial}`{largest}."


def configuration(subject: Subject) -> Iterator[str]:
    """The members of an ensemble, the winner's parameters, and how to train them again."""
    if subject.members:
        yield "The prediction is the weighted mean of these trials:"
        yield ""
        yield from table(
            ("trial", "family", "weight"),
            [(str(trial.number), family, f"{w:.3f}") for trial, family, w in subject.members],
        )
        yield ""
        yield f"The configuration of trial {subject.best.number}, of the largest weight:"
        yield ""
    yield f"Save this as `params.yaml`, or use `trial={subject.trial}` instead of `params`."
    yield ""
    yield from code_block(as_yaml(subject.params), "yaml")
    yield ""
    yield from code_block(train_command(subject.plan, subject.data, subject.family), "bash")


def scores(subject: Subject) -> Iterator[str]:
    """Every metric on the held-out rows, and the deciding one on the validation rows."""
    metric, interval = subject.score.metric, subject.interval
    bounds = f" (95 % interval {interval.low:.6g} to {interval.high:.6g})" if interval else ""
    rows = [(metric, f"{subject.score.value:.6g}{bounds}")]
    rows += [(name, f"{value:.6g}") for name, value in subject.test.items() if name != metric]
    yield from table(("metric", "held-out rows"), rows)
    yield ""
    yield _validation_scores(subject)
    if subject.confirmation:
        yield f"{subject.confirmation.lines()[0]}."
    if subject.ensemble:
        yield f"{'; '.join(line.strip() for line in subject.ensemble.lines())}."
    if subject.decision:
        yield from (f"{line}." for line in subject.decision.lines())


def _validation_scores(subject: Subject) -> str:
    score = subject.plan.goal.from_loss(subject.best.loss)
    reason = "" if subject.confirmation else ", by which it was chosen"
    before = " (before it was trained on them, too)" if subject.plan.refits else ""
    baselines = [f", baseline {name} {value:.6g}" for name, value in subject.baselines.items()]
    return (
        f"On the validation rows{reason}: {subject.plan.metric} {score:.6g}{before}"
        f"{''.join(baselines)}."
    )


def data(subject: Subject) -> Iterator[str]:
    """The table, its columns and the division of its rows."""
    plan, prepared = subject.data, subject.prepared
    features, rows = prepared.features, prepared.rows
    place = "in memory" if plan.uri is None else escaped(plan.uri.rpartition("/")[2])
    yield f"- table {place}, digest `{plan.digest}`, {plan.rows:,} rows with a target"
    yield (
        f"- {counted(len(features.inputs), 'column')} read ({len(features.numeric_names)} numeric, "
        f"{len(features.categorical_names)} categorical features), "
        f"target {escaped(plan.target)}, {plan.task}"
    )
    train, valid = rows.folds[0]
    used = f"{len(train):,} to train, {len(valid):,} to validate"
    if len(rows.folds) > 1:
        used = f"{len(rows.rest):,} in {len(rows.folds)} folds"
    held_out = f"of {plan.test_share:g}" if plan.test_share else "with a test table"
    yield (
        f"- {used}, {len(rows.test):,} held out; split {escaped(plan.split)} {held_out}, "
        f"validation {escaped(plan.validation)}, seed {subject.plan.seed}, "
        f"digest `{subject.score.split}`"
    )


def inputs(features: FeatureEncoder) -> Iterator[str]:
    """The columns that a table or a request must have, and how they are read."""
    columns = features.columns
    rows = [(escaped(column.name), _read_as(column)) for column in columns[:MAX_INPUTS]]
    if len(columns) > MAX_INPUTS:
        rows.append((f"{len(columns) - MAX_INPUTS:,} more", ""))
    yield "Each of these columns is required, in any order; others are ignored."
    yield ""
    yield from table(("column", "read as"), rows)


def _read_as(column: Column) -> str:
    if not isinstance(column, CategoricalColumn):
        return escaped(reading(column))
    levels = [escaped(level) for level in column.levels[:MAX_LEVELS]]
    more = len(column.levels) - len(levels)
    return f"{reading(column)}: {', '.join(levels)}" + (f" and {more:,} more" if more else "")


def search(subject: Subject) -> Iterator[str]:
    """The search, and how long the winner was trained."""
    plan, best = subject.plan, subject.best
    if len(subject.trials) == 1:
        yield f"- one configuration, from: {escaped(best.origin)}"
    else:
        yield f"- {plan.algorithm} over {_trials(subject)}"
        largest = ", with the largest weight" if subject.ensemble else ""
        yield f"- won by trial {best.number}{largest}, from: {escaped(best.origin)}"
    reached = f"{best.reached:g} of {plan.rungs[-1]:g} {plan.budget_unit}"
    best_at = best.best.metrics.get(BEST, math.nan) if best.best else math.nan
    unit = settings(subject.family).budget.unit
    yield f"- trained for {reached}, best after {best_at:.4g} {unit}"
    rows = subject.prepared.rows
    if plan.refits:
        n_rows = len(rows.rest)
        yield f"- trained once more for as long on {n_rows:,} training and validation rows"
    if plan.uses_test_rows:
        n_rows = len(rows.rest) + len(rows.test)
        yield (
            f"- after the score it was trained once more on all {n_rows:,} rows: the scores are "
            "those of the model without the held-out rows, on which no comparison is fair any more"
        )


def _trials(subject: Subject) -> str:
    started = [trial for trial in subject.trials if trial.reports or trial.failure]
    failed = [trial for trial in started if not trial.reports]
    reason = f" ({escaped(failures(failed))})" if failed else ""
    return (
        f"{counted(len(subject.plan.space), 'parameter')} of {subject.plan.model}: "
        f"{counted(len(started), 'trial')}, {len(failed)} failed{reason}"
    )


def limits(subject: Subject) -> Iterator[str]:
    """What the model and its scores cannot do."""
    regression = subject.prepared.task.kind == "regression"
    yield "- missing values and unseen levels are accepted; missing columns are refused"
    yield (
        "- the interval is that of this model on rows like the held-out ones; other times or "
        "places may differ, and it is too narrow if rows depend on each other"
    )
    yield "- no group of rows was examined separately: `promote` with `slice=COLUMN` does"
    families = {family for _, family, _ in subject.members} or {subject.family}
    if regression and not families & {"mlp", "linear"}:
        yield "- trees predict nothing beyond the range of the targets in training"
    if not regression:
        yield "- probabilities are those of the model; they were not calibrated"


def importance_of_columns(subject: Subject) -> Iterator[str]:
    """The loss of each column when its held-out values are shuffled."""
    permuted, metric = subject.permuted, subject.score.metric
    if permuted is None:
        yield (f"Not computed: {metric} is not defined on the rows, or there are too many columns.")
        return
    shown, others = permuted.losses[:MAX_COLUMNS], permuted.losses[MAX_COLUMNS:]
    rows = [(escaped(name), f"{loss:.4g}") for name, loss in shown]
    if others:
        rows.append((f"{len(others)} more", f"{others[0][1]:.4g} or less"))
    yield (
        f"How much worse {metric} gets on {permuted.rows:,} held-out rows when a column is "
        "shuffled:"
    )
    yield ""
    yield from table(("column", "loss"), rows)


def importance_of_parameters(subject: Subject) -> Iterator[str]:
    """The share of each parameter in the variance of the scores (fANOVA)."""
    space = subject.plan.space
    trials = comparable(subject.trials, space)
    n_trials = len(trials.losses)
    if n_trials < MIN_TRIALS or np.ptp(trials.losses) == 0:
        yield f"Not computed: it takes {MIN_TRIALS} trials of one budget with different scores."
        return
    forest = fit(trials.x, trials.losses, choices(space))
    if forest.explained < FAIR:
        yield f"Not computed: {n_trials} trials are not enough to predict the score."
        return
    shares = dict(zip(space.names, decompose(forest).total, strict=True))
    ranked = sorted(shares, key=lambda name: -shares[name])[:MAX_PARAMETERS]
    yield (
        "Share of the score's variance that would be missing without the parameter "
        f"(fANOVA of {n_trials} trials):"
    )
    yield ""
    yield from table(
        ("parameter", "share"), [(escaped(name), f"{shares[name]:.3f}") for name in ranked]
    )


def cost(subject: Subject) -> Iterator[str]:
    """The time of all trainings, and an estimate of their energy."""
    threads = subject.plan.threads
    seconds = sum(trial.seconds for trial in subject.trials)
    core_hours = seconds * threads / 3600
    watts, origin = watts_per_core()
    yield (
        f"- trainings that succeeded: {duration(seconds)} of workers with "
        f"{counted(threads, 'thread')}, {core_hours:.3g} core hours at most"
    )
    yield (
        f"- energy, an estimate and not measured: {core_hours * watts:.3g} Wh = core hours × "
        f"{watts:g} W a core ({origin}); memory, other devices and idle cores are not included"
    )
