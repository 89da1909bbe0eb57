"""The options of `tune`, `validate` and `train`: their names, types, meanings and limits.

The Python signatures, the console commands, `MLproject` and the checks are made from these classes
(`pipelines.entry_points`, `pipelines.objectives.checks`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.errors import ParameterError
from hpo.samplers.settings import Range
from hpo.space import SearchSpace
from serving.names import listed

AUTO, OFF = "auto", "off"
DEFAULT, PAST = "default", "past"  # spaces: the model's, and that narrowed by past studies
ON, ALL_ROWS = "on", "all"
DEVICES = (AUTO, "cpu", "cuda")
CALIBRATIONS = (OFF, AUTO, ON)
PROCESSES, RAY, SLURM = "processes", "ray", "slurm"  # where trials run
EXECUTORS = (PROCESSES, RAY, SLURM)
REFITS = (AUTO, OFF, ALL_ROWS)  # what the logged model is trained on (the option `refit`)
MAX_BUDGET = 1_000_000
AUTO_MEMBERS, MAX_MEMBERS = 5, 50  # trials of an ensemble: by default, and at most
MAX_FOLDS = 20
TEST_SHARE = 0.2  # of the rows, unless a table of its own has the test rows

Table = str | Path | pd.DataFrame | None
Types = str | Mapping[str, str] | None
Names = str | Sequence[str] | None
Monotone = str | Mapping[str, int] | None
Code = str | Callable[..., Any] | None
Estimator = str | Any | None
Settings = str | Path | Mapping[str, Any] | None
Space = str | Path | SearchSpace | Mapping[str, Any]


POSITIVE = Range(above=0)
BUDGET = Range(above=0, at_most=MAX_BUDGET)


def option(
    default: Any, limit: Range | None = None, *, checked: bool = True, later: bool = False
) -> Any:
    """Define an option.

    Args:
        default: its default.
        limit: its range, for a number.
        checked: whether its type is checked with that of the others. If not, the code that reads
            the value checks it, with a message that says more.
        later: whether it may be given with what is taken up again: the study that is resumed, the
            validation, or the trial that is trained. The others are then as they were at first.
    """
    return field(default=default, metadata={"limit": limit, "checked": checked, "later": later})


@dataclass(frozen=True)
class TableOptions:
    """The table. These two may be given by position; all other options are given by name.

    Args:
        data: The table: CSV (compressed too), Parquet or Feather, as a path or any URI that fsspec
            opens.
        target: The column to predict.
    """

    data: Table = option(None, checked=False, later=True)
    target: str | None = option(None, checked=False)


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """The model, and how it is scored.

    Args:
        model: lightgbm, xgboost, catboost, mlp, hist_gradient_boosting, random_forest, extra_trees,
            linear, svm or knn; several with commas between them, or all (lightgbm, xgboost and
            mlp), for one search over them. auto is several where timeout or budget limits the
            search, and lightgbm otherwise.
        estimator: An estimator or a pipeline of scikit-learn instead of a model: itself from
            Python, package.module:name, or text such as sklearn.svm.SVC(C=2). It needs a space.
        metric: The deciding score; auto is roc_auc for two classes, log_loss for more, rmse for
            numbers. Several with commas between them are goals of one search, such as auto,latency;
            "roc_auc - 0.1*energy" is a sum of scores as one goal.
            Others are roc_auc_ovr, accuracy, balanced_accuracy, f1, f1_macro,
            average_precision, brier and mcc; mae, median_ae, r2, rmsle and mape; any scorer of
            scikit-learn; and your own function, -package.module:function to minimise it or + to
            maximise it.
        seed: The seed of the splits, the models and the search.
        task: auto, binary, multiclass or regression.
        split: How test rows are held out: random, time:COLUMN or group:COLUMN.
        validation: holdout, holdout:SHARE, cv:K for K folds, or a table of rows to validate on;
            auto is cv:5 on small tables where timeout or budget limits the search, or else holdout.
        fold: A column whose values are the folds of the validation; it is no feature.
        types: Types of columns instead of the inferred ones, such as zip:category,age:number;
            number, category, date or boolean.
        drop: Columns that are not used as features, with commas between.
        weight: A column with the weight of each row in training and in every score; it is no
            feature.
        positive: The label of two that counts as positive in scores; none is the last in the
            alphabet.
        monotone: Columns with which predictions rise or fall, such as age:+1,income:-1; for boosted
            trees.
        balance: off, or on, so that all classes weigh the same in training, however rare; scores
            are of the rows as they are.
        loss: What a regression is trained for, and by default scored by: quantile:0.9, poisson,
            tweedie:1.5, gamma or huber; none is the squared error.
        device: What models are trained on: auto takes a GPU where the library can use one, cpu,
            or cuda.
        refit: What the logged model is trained on: auto trains it once more on training and
            validation rows; off does not; all adds the test rows after the score.
        calibrate: Whether probabilities are calibrated on the validation rows: auto where it helps
            on rows that did not fit it, on always, or off.
        threshold: The probability above which the positive label of two is predicted: auto tunes it
            if metric depends on labels, such as f1; or a metric, cost:fp=1,fn=5, a number, or off.
        quiet: Whether to show warnings and the result only.
        verbose: Whether to show each trial with its configuration, also on a terminal.
    """

    model: str = option(AUTO)
    estimator: Estimator = option(None, checked=False)
    metric: str = option("auto")
    seed: int = option(0, Range(at_least=0))
    task: str = option("auto")
    split: str = option("random")
    validation: Table = option(AUTO, checked=False)
    fold: str | None = option(None)
    types: Types = option(None, checked=False)
    drop: Names = option(None, checked=False)
    weight: str | None = option(None)
    positive: str | int | None = option(None, checked=False)
    monotone: Monotone = option(None, checked=False)
    balance: str = option(OFF)
    loss: str | None = option(None)
    device: str = option(AUTO, later=True)
    refit: str = option(AUTO)
    calibrate: str = option(OFF)
    threshold: str = option(AUTO)
    quiet: bool = option(False, later=True)
    verbose: bool = option(False, later=True)

    @property
    def limits_time(self) -> bool:
        """Whether seconds or money, and not a number of trials, are what a search may take."""
        names = ("timeout", "budget")
        return any(getattr(self, name, None) is not None for name in names)

    @property
    def takes_up(self) -> bool:
        """Whether an earlier study, validation or trial is taken up, with its table and model."""
        names = ("study", "resume", "trial")
        return any(getattr(self, name, None) is not None for name in names)

    def fixed(self) -> dict[str, Any]:
        """The given options that what is taken up again has values of its own for."""
        later = {each.name for each in fields(self) if each.metadata["later"]}
        return {name: value for name, value in self.given().items() if name not in later}

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: value for name, (value, default) in values.items() if _differ(value, default)}


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Options):
    """The search.

    Args:
        algorithm: tpe, gp, auto, bohb, asha, hyperband, successive_halving, pbt, evolution, de,
            cmaes, nsga2, llm, hyperopt, random, grid; or pairs such as tpe+asha. Settings follow a
            colon: gp:acquisition=ucb,kappa=2.5.
        trials: How many trials the study has in all; none is as many as timeout or budget allows,
            or as 50 full trainings cost.
        timeout: Seconds of a session, from the start of the command to its end: the search leaves
            time for what follows it. None for no limit.
        patience: The search ends after so many trials in a row without a better result; none for
            any number.
        min_gain: The search ends when 20 more trials are expected to improve the best score by less
            than this; none for no such rule.
        workers: Worker processes; none takes one for each core, or as many as the resumed study
            began with.
        space: A YAML file; or default for the model's own space, past for the part of it where
            past studies did well, auto:RUN_ID for a study's space, adjusted by its diagnosis.
        min_budget: The smallest budget of bohb and its like: rounds or steps (percent for all, and
            of rows); none is the model's.
        max_budget: The budget of a full training, in the same unit; none is the model's own.
        eta: One of eta trials is promoted to the next rung, which is eta times as large; the last
            is max_budget.
        fidelity: What a smaller budget means: rounds, scheduled, scaled or rows; auto is what ranks
            best.
        trial_timeout: Seconds after which a trial, or one leg of it, fails; none is one hour.
        confirm: How many of the best trials are scored again on 2 x 5 folds before the winner is
            named; none is 0.
        ensemble: How many trials the winner may join: auto, off for a single one, or a number.
    """

    algorithm: str = option("tpe")
    trials: int | None = option(None, POSITIVE)
    timeout: float | None = option(None, POSITIVE)
    patience: int | None = option(None, POSITIVE)
    min_gain: float | None = option(None, POSITIVE)
    workers: int | None = option(None, POSITIVE, later=True)
    space: Space = option(DEFAULT, checked=False)
    min_budget: int | None = option(None, POSITIVE)
    max_budget: int | None = option(None, BUDGET)
    eta: float = option(3.0)
    fidelity: str = option(AUTO)
    trial_timeout: float | None = option(None, POSITIVE)
    confirm: int | None = option(None, POSITIVE)
    ensemble: str | int = option(AUTO, checked=False)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(SearchOptions):
    """Search the hyperparameters of a model for one table, or those of your own code.

    Args:
        objective: Your own code instead of a table: a function, as package.module:function,
            file.py:function or itself from Python; cmd:PROGRAM {name}; or project:URI#entry. It
            needs a space.
        study: The run id of a study to resume; everything else is then as that study began.
        limits: What trials should keep, such as latency<5,size<10: metrics; what a model costs:
            latency in ms for 1,000 rows, size in MB, training_seconds, energy in Wh; robustness;
            demographic_parity:COLUMN and equalized_odds:COLUMN.
        prefer: Which trial wins among those that are best in one way or another, such as
            roc_auc:0.8,latency:0.2; none is the one nearest to the best of every goal.
        register: The name under which the best model is registered, as challenger; none registers
            nothing.
        budget: The CPU time that the trainings of all sessions may take, such as 4h or 90 min; or
            money such as 20 EUR, with price. None for no limit.
        price: The price of an hour of one core, in the currency of budget.
        warm_start: Which past studies to learn from: auto, off, own (those that you began), or run
            ids and experiment names with commas between.
        test_share: The share of rows that is held out and never seen by the search; 0 with test.
        test: A table of the rows to test on, with the columns of data; none of data are held out.
        checkpoints: Where trials that may be promoted are stored, as a URI that fsspec opens; none
            is on this machine. A resumed study may be given a new place.
        executor: Where trials run: in processes of this machine, on a ray cluster, or in slurm
            jobs. A resumed study may run elsewhere than before.
        ray_address: The Ray cluster, as host:port or ray://host:port; none is the one that
            RAY_ADDRESS names, or that this machine belongs to.
        slurm: What Slurm is asked for, as a YAML file or from Python a mapping, such as
            {"partition": "cpu", "time": 240}.
        dry_run: Whether to show only what the study would do, and how long it may take.
    """

    objective: Code = option(None, checked=False, later=True)
    study: str | None = option(None, checked=False, later=True)
    register: str | None = option(None, later=True)
    trials: int | None = option(None, POSITIVE, later=True)
    timeout: float | None = option(None, POSITIVE, later=True)
    patience: int | None = option(None, POSITIVE, later=True)
    min_gain: float | None = option(None, POSITIVE, later=True)
    budget: str | None = option(None, later=True)
    price: float | None = option(None, POSITIVE, later=True)
    confirm: int | None = option(None, POSITIVE, later=True)
    ensemble: str | int = option(AUTO, checked=False, later=True)
    refit: str = option(AUTO, later=True)
    calibrate: str = option(OFF, later=True)
    threshold: str = option(AUTO, later=True)
    warm_start: str = option(AUTO, checked=False)
    limits: str | None = option(None)
    prefer: str | None = option(None, later=True)
    test_share: float = option(TEST_SHARE, Range(at_least=0, below=0.5))
    test: Table = option(None, checked=False, later=True)
    checkpoints: str | None = option(None)
    executor: str = option(PROCESSES, later=True)
    ray_address: str | None = option(None, later=True)
    slurm: Settings = option(None, checked=False, later=True)
    dry_run: bool = option(False, later=True)


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(SearchOptions):
    """Validate a whole search by nested cross-validation.

    Args:
        folds: How many outer folds; each costs a search.
        resume: The run id of a validation to resume; everything else is then as it began.
        trials: How many trials each search has; none is as many as timeout allows, or as 50 full
            trainings cost.
        timeout: Seconds of each search, with reading the table; none for no limit.
        split: How outer folds and validation rows are held out: random, time:COLUMN or
            group:COLUMN.
        validation: How each search validates: holdout, holdout:SHARE, or cv:K for K folds.
    """

    folds: int = option(5, Range(at_least=2, at_most=MAX_FOLDS))
    resume: str | None = option(None, checked=False, later=True)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """Train one configuration.

    Args:
        trial: The run id of a trial; its table, model and settings are taken over.
        params: A YAML file with the values that are not to be the library's defaults.
        data: The table; needed with params, and with a trial whose table has moved.
        target: The column to predict; needed with params.
        model: lightgbm, xgboost, catboost, mlp, hist_gradient_boosting, random_forest, extra_trees,
            linear, svm or knn; a trial brings its own.
        metric: What it is scored by; auto is roc_auc for two classes, log_loss for more, rmse for
            numbers.
        seed: The seed of the splits and the model; a trial brings its own.
        register: The name under which the model is registered, as challenger; none registers
            nothing.
        test_share: The share of rows that is held out; 0 with test.
        test: A table of the rows to test on, with the columns of data; none of data are held out.
        max_budget: The boosting rounds or training steps; none takes the model's own.
    """

    trial: str | None = option(None, checked=False, later=True)
    params: str | None = option(None, checked=False)
    register: str | None = option(None, later=True)
    test_share: float = option(TEST_SHARE, Range(at_least=0, below=0.5))
    test: Table = option(None, checked=False, later=True)
    max_budget: int | None = option(None, BUDGET)
    refit: str = option(AUTO, later=True)
    calibrate: str = option(OFF, later=True)
    threshold: str = option(AUTO, later=True)


def most_members(ensemble: object) -> int:
    """Read the option `ensemble`: how many trials an ensemble may have, 0 for `off`.

    Raises:
        ParameterError: when it is no such number.
    """
    if ensemble in (AUTO, OFF):
        return AUTO_MEMBERS if ensemble == AUTO else 0
    most = None if isinstance(ensemble, bool) else _whole_number(ensemble)
    if most is None or not 1 <= most <= MAX_MEMBERS:
        raise ParameterError(
            f"ensemble={ensemble!r} must be auto, off, or how many trials the winner may join, 1 "
            f"to {MAX_MEMBERS}; take ensemble=off for a single one"
        )
    return most


def _whole_number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def past_sources(warm_start: object) -> tuple[str, ...] | None:
    """Read the names of past studies from the option `warm_start`.

    Returns:
        Run ids, names of experiments and `own`; None for all past studies (`auto`), () for `off`.

    Raises:
        ParameterError: when it is not text, or names nothing.
    """
    rule = (
        "must be text: auto, off, own, or run ids of studies and names of experiments with commas "
        "between them"
    )
    if not isinstance(warm_start, str):
        raise ParameterError(
            f"warm_start={warm_start!r} {rule}; take warm_start={_as_text(warm_start)!r}"
        )
    if warm_start == AUTO:
        return None
    names = tuple(listed(warm_start))
    if not names:
        raise ParameterError(f"warm_start={warm_start!r} {rule.replace('text: ', '')}")
    return () if names == (OFF,) else names


def _as_text(warm_start: object) -> str:
    """The text that stands for a list, True or False."""
    if isinstance(warm_start, list | tuple):
        return ",".join(map(str, warm_start)) or OFF
    return OFF if warm_start is False else AUTO


def _differ(value: object, default: object) -> bool:
    """Whether a value is not the default; a table is never compared with its default by value."""
    if value is default:
        return False
    return not (isinstance(value, type(default)) and bool(value == default))
