"""What driver and workers of a table's study exchange: the jobs, and names of what is shared."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hpo.loop import Job
from hpo.trial import Phase, Report, Trial
from pipelines.files.exchange import Exchange
from pipelines.table.scores.costs import ASSUMED_WATTS
from serving.predictor import Share

# Names in the exchange.
FOLDS, PARTS, TEST, WORK = "folds", "parts", "test", "work"
BEST = "best_iteration"  # the metric that counts the rounds or steps after which a model was best

_WORK_FILE = "work.json"


@dataclass(frozen=True)
class Work:
    """What all trainings of a study share.

    Attributes:
        model: `lightgbm`, …, or `all`.
        metric: that is scored; a function has its sign (`metric_text`).
        others: further metrics that are goals, have limits or are terms of sums, and costs.
        goals: as plain values (`Goals.to_dict`); {} for `metric` alone.
        watts: of a core, for estimates of energy.
        seed: of every training.
        threads: of a training.
        rungs: the budgets of the study in the plan's unit, ascending; the last is the largest.
        fidelity: what a smaller budget means.
        checkpoints: a URI for this study alone; without one a promoted trial is trained again from
            the start.
        models: of how many of the best trials the models are kept.
        predictions: of how many the predictions on the validation rows are kept.
        device: auto, cpu or cuda.
        in_population: whether trials are copied while they train (`hpo.schedulers.population`).
            Then a model is scored as it is at the end of a leg, not as it was at its best: a copy
            continues from there.
        before: the earlier values of every trial (`Plan.before`).
    """

    model: str
    metric: str
    seed: int
    threads: int
    rungs: tuple[float, ...]
    fidelity: str = "rounds"
    checkpoints: str | None = None
    models: int = 1
    predictions: int = 0
    device: str = "auto"
    others: tuple[str, ...] = ()
    goals: Mapping[str, Any] = field(default_factory=dict)
    watts: float = ASSUMED_WATTS
    in_population: bool = False
    before: tuple[Phase, ...] = ()

    def write(self, exchange: Exchange) -> None:
        """Put this into the exchange, from which workers read it with their first job."""
        text = json.dumps(asdict(self))
        exchange.put(WORK, lambda folder: (folder / _WORK_FILE).write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, exchange: Exchange) -> "Work":
        """What `write` put there."""
        text = (exchange.get(WORK) / _WORK_FILE).read_text(encoding="utf-8")
        values = json.loads(text)
        before = values.pop("before")
        tuples = {name: tuple(values[name]) for name in ("rungs", "others")}
        return cls(**values | tuples, before=tuple(Phase(**phase) for phase in before))


@dataclass(frozen=True)
class Baseline:
    """Train a baseline instead of a trial; `whole` trains one on all rows but the test rows."""

    name: str
    whole: bool = False

    @property
    def label(self) -> str:
        """The label of its models."""
        return f"{self.name}-refit" if self.whole else self.name


@dataclass(frozen=True)
class Rebuild:
    """Train a trial once more for its model, however good it is."""

    job: Job


@dataclass(frozen=True)
class Refit:
    """Train a trial's configuration on all rows but the test rows, for as long as was best.

    Attributes:
        job: of the trial.
        best: the trial's metric `BEST`.
        test_rows: whether the test rows (`TEST` in the exchange) are added.
    """

    job: Job
    best: float
    test_rows: bool = False

    @property
    def label(self) -> str:
        """The label of its model."""
        return refit_label(self.job.number, test_rows=self.test_rows)


@dataclass(frozen=True)
class Part:
    """Train a configuration on one part of the repeated folds, for its score alone."""

    job: Job
    index: int


TableJob = Job | Baseline | Rebuild | Refit | Part


@dataclass(frozen=True)
class Portion:
    """The models of a label as a part of a predictor; `share` is that in an ensemble."""

    label: str
    share: Share | None = None


def models_of(label: str) -> str:
    """The name of the models of a trial or a baseline, one folder for each fold."""
    return f"models/{label}"


def trial_label(number: int, budget: float) -> str:
    """The label of the models of a trial at a budget."""
    return f"trial-{number}-at-{budget:g}"


def best_report(trial: Trial) -> Report:
    """The report that makes a trial the best; a winner has one."""
    if trial.best is None:
        raise ValueError(f"trial {trial.number} has no result")
    return trial.best


def best_label(trial: Trial) -> str:
    """The label of the models of a trial at its best budget."""
    return trial_label(trial.number, best_report(trial).budget)


def refit_label(number: int, *, test_rows: bool = False) -> str:
    """The label of the model of a trial that was trained once more."""
    return f"trial-{number}-{'all-rows' if test_rows else 'refit'}"
