"""The model of a search: by its name, families that follow from the options, or an estimator."""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.algorithms import is_population
from hpo.errors import ParameterError
from hpo.space import SearchSpace
from pipelines.models import ALONE, CUDA, FAMILIES, is_model, search_model, single_family
from pipelines.objectives.code.function import named
from pipelines.study.options import AUTO, Options, SearchOptions
from pipelines.table.scores.losses import Loss
from warmstart.families import is_estimator, short_name

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

FORM = "an estimator such as SVC(C=2), or text of the form package.module:name"
# What `auto` searches: one family, or several where time is limited, the cheap ones first. A
# training of CatBoost takes some 10 times as long as one of LightGBM, and one of the network 5 to
# 60 times, so each needs a session of so many seconds (docs/tables.md).
TOGETHER = ("lightgbm", "linear", "extra_trees", "xgboost", "catboost", "mlp")
SECONDS_NEEDED = {"catboost": 120.0, "mlp": 300.0}
OF_ONE_FAMILY = {"space", "algorithm", "min_budget", "max_budget", "eta", "fidelity"}
SAMPLE_ROWS = 200  # on which it is tried before a study begins

OptionsT = TypeVar("OptionsT", bound=Options)


def with_model(options: OptionsT) -> OptionsT:
    """The options with the model that is searched: the text of the estimator, or families.

    Raises:
        ParameterError: if it is no estimator, cannot be made in another process, or stands beside
            another model.
    """
    if options.estimator is None:
        return with_families(options)
    for name in ("model", "objective"):
        if name in options.given():
            raise ParameterError(
                f"estimator and {name} are both what is tuned; leave one of them out"
            )
    return replace(options, model=text_of(options.estimator), estimator=None)


def with_families(options: OptionsT) -> OptionsT:
    """The options with the families that `model=auto` means.

    What is taken up, an estimator and an objective of the user have a model of their own.
    """
    is_auto = isinstance(options.model, str) and options.model == AUTO
    own = (options.estimator, getattr(options, "objective", None))
    if not is_auto or options.takes_up or any(each is not None for each in own):
        return options
    return replace(options, model=",".join(_families(options)))


def _families(options: Options) -> list[str]:
    """Several families where time is limited and nothing that is given belongs to one family."""
    if not options.limits_time or OF_ONE_FAMILY & options.given().keys():
        return [ALONE]
    seconds = _seconds(options)
    names = [name for name in TOGETHER if seconds >= SECONDS_NEEDED.get(name, 0.0)]
    return [name for name in names if is_able(name, options)] or [ALONE]


def is_able(name: str, options: Options) -> bool:
    """Whether a family is installed and can be trained as the options say."""
    family = single_family(name)
    try:
        kind = Loss.parse(options.loss).kind if options.loss else ""
    except ParameterError:  # which the checks report
        kind = ""
    return (
        all(library.installed() for library in family.libraries)
        and (not kind or kind in family.losses)
        and (options.monotone is None or family.monotone)
        and (options.weight is None or family.weights)
        and (options.device != CUDA or family.cuda)
    )


def _seconds(options: Options) -> float:
    """The seconds of a session; infinite where only a budget is given."""
    timeout = getattr(options, "timeout", None)
    return float(timeout) if isinstance(timeout, int | float) else math.inf


def text_of(estimator: Any) -> str:
    """The text of an estimator that is given itself, by its place, or as such a text.

    Raises:
        ParameterError: as `with_model`.
    """
    from pipelines.models.scikit.written import read, written

    found = _given_by_text(estimator) if isinstance(estimator, str) else estimator
    if isinstance(found, type):
        raise ParameterError(
            f"estimator={found.__name__} is a class; give an instance: {found.__name__}()"
        )
    if not hasattr(found, "get_params") or not hasattr(found, "fit"):
        raise ParameterError(
            f"estimator={found!r:.100} is no estimator of scikit-learn; give {FORM}"
        )
    text = written(found)
    again = written(read(text))
    if again != text:
        raise ParameterError(
            f"estimator={short_name(text)}: made again from its parameters it is another one, "
            f"{again} instead of {text}; its class must keep its arguments as they are"
        )
    return text


def check_trainable(model: str, prepared: "Prepared") -> None:
    """Check that a model can be trained on a table, before anything is.

    Raises:
        ParameterError: if it cannot.
    """
    for name in search_model(model).families:
        if prepared.weight is not None and not single_family(name).weights:
            raise ParameterError(
                f"weight: {short_name(name)} takes no weights of rows; leave weight out, or take "
                "another model"
            )
    if is_estimator(model):
        from pipelines.models.scikit.estimator import check_estimator

        check_estimator(model, prepared.sample(SAMPLE_ROWS))


def population_mistakes(options: SearchOptions) -> Iterator[str]:
    """Why a population cannot be trained on a table: its members change values while they train."""
    algorithm = options.algorithm.partition(":")[0]
    if options.fidelity in ("scaled", "rows"):
        yield (
            f"fidelity={options.fidelity} trains each leg from the start, and {algorithm} "
            "continues trainings; take fidelity=rounds, or leave it out"
        )
    if is_model(options.model):
        names = search_model(options.model).families
        fixed = [short_name(name) for name in names if not single_family(name).changeable]
        able = [name for name in FAMILIES if single_family(name).changeable]
        if fixed:
            yield (
                f"algorithm={algorithm} changes values while a model trains, which "
                f"{' and '.join(fixed)} cannot; take a model of {', '.join(able)}, or "
                "algorithm=bohb"
            )


def check_changeable(options: SearchOptions, space: SearchSpace) -> None:
    """Check that a population can change at least one parameter of a space.

    Raises:
        ParameterError: if it cannot.
    """
    model = search_model(options.model)
    if is_population(options.algorithm) and not any(map(model.is_changeable, space.names)):
        raise ParameterError(
            f"algorithm={options.algorithm.partition(':')[0]} changes values while a model trains, "
            f"and none of {', '.join(space.names)} can change then; search a learning rate, too, "
            "or take algorithm=bohb"
        )


def plain_space(space: Any) -> Any:
    """A space of an estimator whose choices are texts, numbers or truth values.

    None, tuples and estimators among them are written down; the workers read them again.

    Raises:
        ParameterError: for a choice that cannot be written.
    """
    if not isinstance(space, Mapping):
        return space
    return {name: _plain_entry(name, entry) for name, entry in space.items()}


def _plain_entry(name: str, entry: Any) -> Any:
    if isinstance(entry, list | tuple):
        if any(isinstance(each, Mapping) for each in entry):  # forbidden combinations
            return entry
        return [*_plain_choices(name, entry)]
    if not isinstance(entry, Mapping):
        return entry
    found = dict(entry)
    if isinstance(found.get("choices"), list | tuple):
        found["choices"] = [*_plain_choices(name, found["choices"])]
    if isinstance(found.get("when"), Mapping):
        found["when"] = {
            parent: [*_plain_choices(name, values)] if isinstance(values, list) else values
            for parent, values in found["when"].items()
        }
    return found


def _plain_choices(name: str, choices: Any) -> Iterator[Any]:
    from pipelines.models.scikit.written import plain_or_written

    return (plain_or_written(choice, name) for choice in choices)


def _given_by_text(text: str) -> Any:
    """The estimator that a text names; a class and a function are called."""
    from pipelines.models.scikit.written import read

    if is_estimator(text.strip()):
        return read(text)
    if ":" not in text:
        raise ParameterError(f"estimator={text!r} must be {FORM}")
    found = named("estimator", text)
    if hasattr(found, "get_params") and not isinstance(found, type):
        return found
    if not callable(found):
        raise ParameterError(f"estimator={text!r} is {found!r:.100}, and no estimator; give {FORM}")
    try:
        inspect.signature(found).bind()
        return found()
    except Exception as error:  # the user's code
        raise ParameterError(
            f"estimator={text!r} cannot be made without arguments: {type(error).__name__}: {error}"
        ) from error
