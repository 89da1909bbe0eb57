"""The option `estimator`: an estimator of the user instead of a model by its name."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.errors import ParameterError
from pipelines.models import search_model, single_family
from pipelines.objectives.code.function import named
from pipelines.study.options import Options
from warmstart.families import is_estimator, short_name

if TYPE_CHECKING:
    from pipelines.table.data import Prepared

FORM = "an estimator such as SVC(C=2), or text of the form package.module:name"
SAMPLE_ROWS = 200  # on which it is tried before a study begins

OptionsT = TypeVar("OptionsT", bound=Options)


def with_estimator(options: OptionsT) -> OptionsT:
    """The options with the text of the estimator as the model, if there is one.

    Raises:
        ParameterError: if it is no estimator, cannot be made in another process, or stands beside
            another model.
    """
    if options.estimator is None:
        return options
    for name in ("model", "objective"):
        if name in options.given():
            raise ParameterError(
                f"estimator and {name} are both what is tuned; leave one of them out"
            )
    return replace(options, model=text_of(options.estimator), estimator=None)


def text_of(estimator: Any) -> str:
    """The text of an estimator that is given itself, by its place, or as such a text.

    Raises:
        ParameterError: as `with_estimator`.
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
