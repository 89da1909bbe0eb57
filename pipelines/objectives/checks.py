"""Checks of the options that need no table."""

import types
import typing
from collections.abc import Collection, Iterator, Sequence
from dataclasses import Field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpo.algorithms import canonical, grants_budgets, is_population
from hpo.errors import ParameterError, UserError, closest, raise_all
from hpo.rungs import Budgets
from pipelines.models import (
    FAMILIES,
    FIDELITIES,
    check_device,
    is_model,
    search_model,
    single_family,
)
from pipelines.objectives.code import checks as code
from pipelines.objectives.deciding.checks import end_mistakes
from pipelines.objectives.model import population_mistakes, with_families
from pipelines.objectives.scoring.goals import goal_mistakes
from pipelines.objectives.space import AUTO_SPACE, choose_space
from pipelines.study.options import (
    AUTO,
    DEVICES,
    MAX_BUDGET,
    OFF,
    PAST,
    PROCESSES,
    TEST_SHARE,
    Options,
    SearchOptions,
    TrainOptions,
    TuneOptions,
    ValidateOptions,
    past_sources,
)
from pipelines.study.sources import is_table, validation_of
from pipelines.study.spending import mistakes as spending_mistakes
from pipelines.study.workshop.clusters import mistakes as cluster_mistakes
from pipelines.table.overrides import parse_overrides
from pipelines.table.roles import ON, parse_monotone
from pipelines.table.scores.losses import Loss
from pipelines.table.source import DATA, TEST
from warmstart.families import is_estimator

FOR_RACES = ("min_budget", "eta", "fidelity", "checkpoints")  # options of races only


def check(options: Options) -> None:
    """Check what needs no table, and report all mistakes at once.

    Raises:
        ParameterError: naming every mistake.
    """
    wrong = value_mistakes(options)
    options = with_families(options)
    if isinstance(options, TuneOptions) and "executor" not in wrong:
        wrong |= cluster_mistakes(options)
    if isinstance(options, TuneOptions) and not {"budget", "price"} & wrong.keys():
        wrong |= spending_mistakes(options.budget, options.price)
    if isinstance(options, TuneOptions) and options.objective is not None:
        raise_all(ParameterError, [*wrong.values(), *_code_mistakes(options, wrong)])
        _check_register(options)
        return
    found = [*wrong.values(), *_table_mistakes(options), *_other_mistakes(options, wrong)]
    if found:  # alone, a mistake in the space is an error of its own
        raise_all(ParameterError, dict.fromkeys([*found, *_space_mistakes(options, wrong)]))
    _check_register(options)


def _check_register(options: Options) -> None:
    register = options.register if isinstance(options, TuneOptions | TrainOptions) else None
    if register:
        from pipelines.registry.versions import check_model_name

        check_model_name(register)


def _code_mistakes(options: TuneOptions, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes beside the user's own code."""
    yield from code.mistakes(options, wrong)
    if "algorithm" not in wrong:
        yield from _budget_mistakes(options, wrong)
    yield from _past_mistakes(options)


def check_values(options: Any) -> None:
    """Check the type and the limit of each option.

    Raises:
        ParameterError: naming every mistake.
    """
    raise_all(ParameterError, value_mistakes(options).values())


def value_mistakes(options: Any) -> dict[str, str]:
    """The mistakes in the type and the limit of each option, by its name."""
    hints = typing.get_type_hints(type(options))
    mistakes: dict[str, str] = {}
    if getattr(options, "quiet", None) is True and getattr(options, "verbose", None) is True:
        mistakes["verbose"] = "quiet shows less and verbose more; leave one of them out"
    for option in fields(options):
        mistake = _value_mistake(option, getattr(options, option.name), hints[option.name])
        if mistake is not None:
            mistakes[option.name] = mistake
    return mistakes


def _value_mistake(option: "Field[Any]", value: Any, hint: Any) -> str | None:
    if option.metadata["checked"] and not _is_a(value, hint):
        return f"{option.name}={value!r} must be {_type_name(hint)}"
    limit = option.metadata["limit"]
    if limit is None or value is None:
        return None
    mistake: str | None = limit.mistake(option.name, value)
    return mistake


def _other_mistakes(options: Options, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes in names, and in options that do not go together.

    `wrong` are the options whose values are mistakes already.
    """
    if "model" not in wrong:
        yield from _model_mistakes(options)
    if options.types is not None or options.drop is not None:
        yield from _override_mistakes(options)
    if isinstance(options, SearchOptions) and not {"algorithm", "fidelity"} & set(wrong):
        yield from _budget_mistakes(options, wrong)
    yield from end_mistakes(options, wrong)
    yield from _training_mistakes(options, wrong)
    yield from _row_mistakes(options, wrong)
    if isinstance(options, SearchOptions):
        yield from goal_mistakes(options, wrong)
    if isinstance(options, TuneOptions):
        yield from _past_mistakes(options)
    elif isinstance(options, SearchOptions) and _is_past(options.space):
        yield "space=past needs past studies, and validate uses none; leave space out"


def _model_mistakes(options: Options) -> Iterator[str]:
    if options.model == AUTO:
        return
    if isinstance(options, TrainOptions) and not is_estimator(options.model):
        yield from _unknown("model", options.model, tuple(FAMILIES))
        return
    try:
        search_model(options.model)
    except ParameterError as error:
        yield str(error)


def _training_mistakes(options: Options, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes in what models are trained for, and on which device."""
    if options.loss is not None and not {"loss", "model"} & set(wrong):
        yield from _loss_mistakes(options.loss, options.model)
    if options.monotone is not None:
        yield from _monotone_mistakes(options)
    if "balance" not in wrong:
        yield from _unknown("balance", options.balance, (OFF, ON))
        if options.balance == ON and options.task == "regression":
            yield "balance=on is for classes, but the task is regression; leave it out"
    if "device" not in wrong:
        yield from _unknown("device", options.device, DEVICES)
        yield from _device_mistakes(options)


def _loss_mistakes(text: str, model: str) -> Iterator[str]:
    """The mistakes in a loss, and the families that cannot be trained for it."""
    try:
        kind = Loss.parse(text).kind
    except ParameterError as error:
        yield str(error)
        return
    if not is_model(model):
        return
    able = [name for name in FAMILIES if kind in single_family(name).losses]
    for name in search_model(model).families:
        if name not in able:
            yield f"{name} cannot be trained for loss={text!r}; take model={' or '.join(able)}"


def _device_mistakes(options: Options) -> Iterator[str]:
    here = getattr(options, "executor", PROCESSES) == PROCESSES  # others may have other devices
    if here and is_model(options.model):
        try:
            check_device(options.device, options.model)
        except ParameterError as error:
            yield str(error)


def _monotone_mistakes(options: Options) -> Iterator[str]:
    """The mistakes in directions, and the families and losses that know none."""
    try:
        parse_monotone(options.monotone)
    except ParameterError as error:
        yield str(error)
    if isinstance(options.loss, str) and options.loss.startswith("quantile"):
        yield "monotone cannot be kept with a quantile loss; leave one of them out"
    if not is_model(options.model):
        return
    able = [name for name in FAMILIES if single_family(name).monotone]
    for name in search_model(options.model).families:
        if name not in able:
            yield f"{name} takes no monotone columns; take model={' or '.join(able)}"


def _row_mistakes(options: Options, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes in how rows are held out and validated on."""
    if isinstance(options, TuneOptions | TrainOptions) and "test_share" not in wrong:
        share = options.test_share
        if options.test is not None and share not in (0.0, TEST_SHARE):
            yield (
                f"test has the rows to test on, and test_share={share} would hold out more; leave "
                "one of them out"
            )
        elif share == 0.0 and options.test is None and not options.takes_up:
            yield "test_share=0 holds out no rows to test on; give a table of them as test="
    validation = options.validation
    if options.fold is not None and validation != AUTO:
        shown = repr(validation) if isinstance(validation, str) else "a table"
        yield f"fold={options.fold!r} gives the folds, and validation is {shown}; leave one out"
    elif not isinstance(validation, str | Path | pd.DataFrame):
        yield (
            "validation must be text, a path or a pandas DataFrame, but it is a "
            f"{type(validation).__name__}"
        )
    elif is_table(validation) and isinstance(options, ValidateOptions):
        yield (
            "validation is a table of its own, but each outer fold validates on other rows of "
            "data; take holdout, cv:K or fold=COLUMN"
        )
    elif "fold" not in wrong:
        try:
            validation_of(options)
        except ParameterError as error:
            yield str(error)
    if options.fold is not None and getattr(options, "confirm", None):
        yield (
            f"confirm scores trials on random folds, but fold={options.fold!r} gives the folds; "
            "leave confirm out"
        )


def _table_mistakes(options: Options) -> Iterator[str]:
    """The mistakes in the table and the target that can be seen without reading."""
    data, target = options.data, options.target
    for role, table in ((DATA, data), (TEST, getattr(options, TEST, None))):
        if isinstance(table, np.ndarray):
            yield (
                f"{role} is a NumPy array, without column names; give "
                f"pd.DataFrame({role}, columns=…)"
            )
        elif table is not None and not isinstance(table, str | Path | pd.DataFrame):
            way_out = _AS_FRAME.get(type(table), "").format(role)
            yield (
                f"{role} must be a path, a URI or a pandas DataFrame, but it is of the type "
                f"{type(table).__name__}{way_out}"
            )
        elif isinstance(table, str) and not table.strip():
            yield f"{role}={table!r} is empty; give the path or URI of a table"
    if isinstance(target, pd.Series | pd.Index | np.ndarray | pd.DataFrame | list | tuple):
        yield (
            f"target must be the name of a column of data, but it is of the type "
            f"{type(target).__name__}; add the column with data.assign(y=…) and take target='y'"
        )
    elif target is not None and not isinstance(target, str | int):
        yield f"target={target!r} must be the name of a column"
    elif target is None and data is not None and not options.takes_up:
        yield "target=None: data and target are needed; give the name of the column to predict"


_AS_FRAME = {  # ways to make a table of a value
    list: "; give pd.DataFrame({})",
    dict: "; give pd.DataFrame({})",
    pd.Series: "; give {}.to_frame()",
}


def _space_mistakes(options: Options, wrong: Collection[str]) -> list[str]:
    """The mistakes in the space, one by one; that of a past study is not read."""
    if not isinstance(options, SearchOptions) or "model" in wrong:
        return []
    if isinstance(options.space, str) and options.space.startswith(AUTO_SPACE):
        return []
    try:
        choose_space(options.space, options.model)
    except UserError as error:
        return [*error.mistakes] or [str(error)]
    return []


def _unknown(option: str, name: str, known: Sequence[str]) -> Iterator[str]:
    if name not in known:
        plural = "fidelities" if option == "fidelity" else f"{option}s"
        yield f"unknown {option} {name!r}{closest(name, known)}; {plural}: {', '.join(known)}"


def _override_mistakes(options: Options) -> Iterator[str]:
    try:
        parse_overrides(options.types, options.drop)
    except ParameterError as error:
        yield str(error)


def _is_past(space: object) -> bool:
    return isinstance(space, str) and space == PAST


def _past_mistakes(options: TuneOptions) -> Iterator[str]:
    try:
        past_sources(options.warm_start)
    except ParameterError as error:
        yield str(error)
    if _is_past(options.space) and options.warm_start == OFF:
        yield (
            "space=past narrows the space to where past studies did well; it needs warm_start=auto"
        )


def _budget_mistakes(options: SearchOptions, wrong: Collection[str]) -> Iterator[str]:
    """The mistakes in the algorithm and in the budgets that it grants."""
    try:
        races = grants_budgets(canonical(options.algorithm))
    except ParameterError as error:
        yield str(error)
        return
    if options.takes_up:
        return  # what is resumed has an algorithm, and these options are compared with its own
    if is_population(options.algorithm) and getattr(options, "objective", None) is None:
        yield from population_mistakes(options)
    if not races:
        given = options.given()
        for name in FOR_RACES:
            if name in given:
                yield (
                    f"{name}={given[name]!r} is for algorithms that grant budgets, such as bohb; "
                    "leave it out"
                )
    if not {"min_budget", "max_budget", "eta"} & set(wrong):
        try:
            Budgets(options.min_budget or 1, options.max_budget or MAX_BUDGET, options.eta)
        except ParameterError as error:
            yield str(error)
    yield from _unknown("fidelity", options.fidelity, (AUTO, *FIDELITIES))


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the single type."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _is_a(value: object, hint: Any) -> bool:
    """Whether a value has one of the types of a hint; integers are numbers, but True is not."""
    kinds = _kinds(hint)
    if value is None:
        return type(None) in kinds
    if float in kinds or int in kinds:
        number = Real if float in kinds else Integral
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, tuple(kind for kind in kinds if isinstance(kind, type)))


def _type_name(hint: Any) -> str:
    kinds = _kinds(hint)
    if float in kinds:
        return "a number"
    if bool in kinds:
        return "true or false"
    return "a whole number" if int in kinds else "text"
