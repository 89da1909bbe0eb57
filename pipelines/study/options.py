"""The options of `tune`, `validate` and `train`: each is named, typed, explained and limited here, once.

The Python signatures, the console commands, `MLproject` and the checks all follow from these
classes (`pipelines.entry_points`).
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, closest
from hpo.rungs import Budgets
from hpo.space import SearchSpace
from pipelines.models import FIDELITIES

AUTO, OFF = "auto", "off"
# Of spaces: the model's own, and that narrowed to where past studies did well.
DEFAULT, PAST = "default", "past"
TRAIN, TRAIN_AND_VALIDATION = "train", "train+validation"
ROWS = (TRAIN, TRAIN_AND_VALIDATION)  # what the logged model may be trained on
MAX_BUDGET = 1_000_000
MAX_FOLDS = 20

Table = str | Path | pd.DataFrame | None
Space = str | Path | SearchSpace | Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """The numbers that an option takes: above or from some number, up to or below another."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def mistake(self, name: str, value: float) -> str | None:
        """What is wrong with a value; None when nothing is."""
        if self.above is not None and self.below is not None:
            inside = self.above < value < self.below
            between = f"must lie between {self.above:g} and {self.below:g}"
            return None if inside else f"{name}={value} {between}"
        if self.above is not None and not value > self.above:  # nan, too
            return f"{name}={value} must be greater than {self.above:g}"
        if self.at_least is not None and value < self.at_least:
            return f"{name}={value} must be {self.at_least:g} or greater"
        if value == math.inf:
            return f"{name}={value} must be finite; leave it out for no limit"
        if self.at_most is not None and value > self.at_most:
            return f"{name}={value} must be {self.at_most:,} or less"
        return None


POSITIVE = Limit(above=0)
BUDGET = Limit(above=0, at_most=MAX_BUDGET)


def option(default: Any, limit: Limit | None = None, *, checked: bool = True) -> Any:
    """An option with its default and its limit.

    The type of an option that is not `checked` here is checked where its value is read, by a
    message that knows more.
    """
    return field(default=default, metadata={"limit": limit, "checked": checked})


@dataclass(frozen=True)
class Options:
    """What is learned from which table.

    Args:
        data: The table: CSV (compressed too), Parquet or Feather, as a path or any URI that fsspec
            opens.
        target: The column to predict.
        model: lightgbm, xgboost, mlp, or all for one search over the three.
        metric: What decides; auto is roc_auc for two classes, log_loss for more, rmse for numbers.
        seed: Of the splits, the models and the search.
        task: auto, binary, multiclass or regression.
        split: How test rows are held out: random, time:COLUMN or group:COLUMN.
        validation: holdout, or cv:K for K folds.
    """

    data: Table = option(None, checked=False)
    target: str | None = option(None, checked=False)
    model: str = option("lightgbm")
    metric: str = option("auto")
    seed: int = option(0, Limit(at_least=0))
    task: str = option("auto")
    split: str = option("random")
    validation: str = option("holdout")

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: value for name, (value, default) in values.items() if _differ(value, default)}


@dataclass(frozen=True)
class SearchOptions(Options):
    """How a search goes.

    Args:
        algorithm: tpe, bohb, asha, hyperband, successive_halving, hyperopt, random, grid; or pairs
            such as tpe+asha.
        trials: How many trials the study has in all; none is as many as 50 full trainings cost.
        timeout: Seconds after which the search ends; none for no limit.
        workers: Worker processes; none takes one for each core, or as many as the resumed study
            began with.
        space: A YAML file; default is the model's own, past where past studies did well,
            auto:RUN_ID that of a study, adjusted by its diagnosis.
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
    """

    algorithm: str = option("tpe")
    trials: int | None = option(None, POSITIVE)
    timeout: float | None = option(None, POSITIVE)
    workers: int | None = option(None, POSITIVE)
    space: Space = option(DEFAULT, checked=False)
    min_budget: int | None = option(None, POSITIVE)
    max_budget: int | None = option(None, BUDGET)
    eta: float = option(3.0)
    fidelity: str = option(AUTO)
    trial_timeout: float | None = option(None, POSITIVE)
    confirm: int | None = option(None, POSITIVE)


@dataclass(frozen=True)
class TuneOptions(SearchOptions):
    """Search the hyperparameters of a model for one table.

    Args:
        study: The run id of a study to resume; everything else is then as that study began.
        register: The name under which the best model is registered, as challenger; none registers
            nothing.
        warm_start: Which past studies to learn from: auto, off, or run ids and experiment names
            with commas between.
        test_share: The share of rows that is held out and never seen by the search.
        checkpoints: Where trials that may be promoted are stored, as a URI that fsspec opens; none
            is on this machine. A resumed study may be given a new place.
    """

    study: str | None = option(None, checked=False)
    register: str | None = option(None)
    warm_start: str = option(AUTO, checked=False)
    test_share: float = option(0.2, Limit(above=0, below=0.5))
    checkpoints: str | None = option(None)


@dataclass(frozen=True)
class ValidateOptions(SearchOptions):
    """Validate a whole search by nested cross-validation.

    Args:
        folds: How many outer folds; each costs a search.
        resume: The run id of a validation to resume; everything else is then as it began.
        trials: How many trials each search has; none is as many as 50 full trainings cost.
        timeout: Seconds after which each search ends; none for no limit.
        split: How outer folds and validation rows are held out: random, time:COLUMN or
            group:COLUMN.
        validation: How each search validates: holdout, or cv:K for K folds.
    """

    folds: int = option(5, Limit(at_least=2, at_most=MAX_FOLDS))
    resume: str | None = option(None, checked=False)


@dataclass(frozen=True)
class TrainOptions(Options):
    """Train one configuration.

    Args:
        trial: The run id of a trial; its table, model and settings are taken over.
        params: A YAML file with the values that are not to be the library's defaults.
        data: The table; needed with params, and with a trial whose table has moved.
        target: The column to predict; needed with params.
        model: lightgbm, xgboost or mlp; a trial brings its own.
        metric: What it is scored by; auto is roc_auc for two classes, log_loss for more, rmse for
            numbers.
        seed: Of the splits and the model; a trial brings its own.
        register: The name under which the model is registered, as challenger; none registers
            nothing.
        test_share: The share of rows that is held out.
        budget: The boosting rounds or training steps; none takes the model's own.
        rows: train, or train+validation for a model trained once more on both, for as long as was
            best without.
    """

    trial: str | None = option(None, checked=False)
    params: str | None = option(None, checked=False)
    register: str | None = option(None)
    test_share: float = option(0.2, Limit(above=0, below=0.5))
    budget: int | None = option(None, BUDGET)
    rows: str = option(TRAIN)


def mistakes(options: Options, models: Mapping[str, Any] | tuple[str, ...]) -> Iterator[str]:
    """What is wrong with some options, as far as that can be said without the table."""
    hints = typing.get_type_hints(type(options))
    wrong_types = set()
    for each in fields(options):
        value = getattr(options, each.name)
        wanted = _wanted(hints[each.name])
        if each.metadata["checked"] and not _is_a(value, hints[each.name]):
            wrong_types.add(each.name)
            yield f"{each.name}={value!r} must be {wanted}"
        elif (limit := each.metadata["limit"]) is not None and value is not None:
            mistake = limit.mistake(each.name, value)
            if mistake is not None:
                yield mistake
    if "model" not in wrong_types and options.model not in models:
        known = ", ".join(models)
        yield f"unknown model {options.model!r}{closest(options.model, models)}; models: {known}"
    if isinstance(options, SearchOptions) and not {"algorithm", "fidelity"} & wrong_types:
        yield from _budget_mistakes(options, wrong_types)
    if isinstance(options, TrainOptions) and options.rows not in ROWS:
        hint = closest(str(options.rows), ROWS)
        yield f"unknown rows={options.rows!r}{hint}; it must be {' or '.join(ROWS)}"
    if isinstance(options, TuneOptions):
        yield from _past_mistakes(options)


def past_sources(warm_start: object) -> tuple[str, ...] | None:
    """The past studies that the option `warm_start` names; None for all (`auto`), () for `off`.

    Raises:
        ParameterError: when it names nothing.
    """
    rule = (
        "must be text: auto, off, or run ids of studies and names of experiments with commas "
        "between them"
    )
    if not isinstance(warm_start, str):
        raise ParameterError(
            f"warm_start={warm_start!r} {rule}; take warm_start={_as_text(warm_start)!r}"
        )
    if warm_start == AUTO:
        return None
    names = tuple(name.strip() for name in warm_start.split(",") if name.strip())
    if not names:
        raise ParameterError(f"warm_start={warm_start!r} {rule.replace('text: ', '')}")
    return () if names == (OFF,) else names


def _as_text(warm_start: object) -> str:
    """The text that somebody meant who gave a list, or True or False."""
    if isinstance(warm_start, list | tuple):
        return ",".join(map(str, warm_start)) or OFF
    return OFF if warm_start is False else AUTO


def _past_mistakes(options: TuneOptions) -> Iterator[str]:
    try:
        past_sources(options.warm_start)
    except ParameterError as error:
        yield str(error)
    if isinstance(options.space, str) and options.space == PAST and options.warm_start == OFF:
        yield (
            "space=past narrows the space to where past studies did well; it needs warm_start=auto"
        )


def _budget_mistakes(options: SearchOptions, wrong_types: set[str]) -> Iterator[str]:
    """What is wrong with the algorithm and the budgets that it grants."""
    try:
        races = grants_budgets(options.algorithm)
    except ParameterError as error:
        yield str(error)
        return
    if getattr(options, "study", None) is not None:
        return  # the algorithm is that of the study, which is compared with these options
    given = options.given()
    if not races:
        for name in ("min_budget", "eta", "fidelity", "checkpoints"):
            if name in given:
                yield (
                    f"{name}={given[name]!r} is for algorithms that grant budgets, such as bohb; "
                    "leave it out"
                )
    if not {"min_budget", "max_budget", "eta"} & wrong_types:
        low, high = options.min_budget or 1, options.max_budget or MAX_BUDGET
        try:
            if low > 0 and high > 0:  # anything else is a mistake of its own
                Budgets(low, high, options.eta or 3.0)
        except ParameterError as error:
            yield str(error)
    kinds = (AUTO, *FIDELITIES)
    if options.fidelity not in kinds:
        hint = closest(options.fidelity, kinds)
        yield f"unknown fidelity {options.fidelity!r}{hint}; fidelities: {', '.join(kinds)}"


def _differ(value: object, default: object) -> bool:
    """Whether a value is not the default; a table is never compared with anything."""
    if value is default:
        return False
    return not (isinstance(value, type(default)) and bool(value == default))


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _is_a(value: object, hint: Any) -> bool:
    """Whether a value has one of the plain types of a hint; an integer is a number, True is not."""
    kinds = _kinds(hint)
    if value is None:
        return type(None) in kinds
    if float in kinds or int in kinds:
        wanted = Real if float in kinds else Integral
        return isinstance(value, wanted) and not isinstance(value, bool)
    return isinstance(value, tuple(kind for kind in kinds if isinstance(kind, type)))


def _wanted(hint: Any) -> str:
    """The name of the values that a hint allows."""
    kinds = _kinds(hint)
    if float in kinds:
        return "a number"
    return "a whole number" if int in kinds else "text"
