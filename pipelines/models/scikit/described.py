"""An estimator of the user as a model family: the driver's side, without data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from hpo.errors import ParameterError, SpaceError, raise_all
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Value
from pipelines.models.families import TASK_GROUPS, SingleFamily
from pipelines.models.libraries import Library
from pipelines.models.names import ParameterNames
from pipelines.models.scikit.calibration import FOLDS, has_probabilities, last_step
from pipelines.models.scikit.written import plain_or_written, read, value_of
from pipelines.models.search import Budget
from serving.trust import trusted_modules
from warmstart.families import short_name

SET = ("random_state", "n_jobs")  # the parameters that the study sets, of all parts
_SCIKIT = (Library.of("scikit-learn"), Library.of("skops"))


@dataclass(frozen=True)
class EstimatorFamily(SingleFamily):
    """The family of one estimator; its name is the estimator's text.

    Attributes:
        calibrates: Whether a classifier gets its probabilities by calibration.
    """

    calibrates: bool = False

    def notes(self, rows: int, kind: str) -> Iterator[str]:
        """That it is calibrated, which costs fits."""
        if self.calibrates and kind != "regression":
            yield (
                f"{short_name(self.name)} has no predict_proba: its decision function is "
                f"calibrated on {FOLDS} folds, so a trial is {FOLDS + 1} fits"
            )

    def knows(self, name: str) -> bool:
        """Whether `name` is a parameter of the estimator, or of what one of them may hold."""
        return name in self.names or name.rpartition("__")[0] in self.names

    def check_space(self, space: SearchSpace) -> None:
        """Check that a space holds only parameters of the estimator.

        Where it chooses among parts of a pipeline, the parameters of each are known.

        Raises:
            SpaceError: lists every mistake, with the closest known name.
        """
        more = {name: () for parameter in space for name in _of_choices(parameter)}
        names = replace(self.names, parameters={**self.names.parameters, **more})
        raise_all(SpaceError, names.mistakes(space.names))


def described(text: str) -> EstimatorFamily:
    """The family of the estimator with this text.

    Raises:
        ParameterError: if there is no such estimator, or its code is not trusted.
    """
    estimator = read(text)
    if not hasattr(estimator, "get_params") or not hasattr(estimator, "fit"):
        raise ParameterError(f"{text} is no estimator: it has no get_params and fit")
    params = estimator.get_params()
    free = {name: () for name in params if not is_set(name)}
    default = dict(_plain(params, free))
    return EstimatorFamily(
        name=text,
        description=f"{short_name(text)}, an estimator of the user.",
        libraries=(*_SCIKIT, *_packages(text)),
        budget=Budget("fits", 1, 1, fidelity="rows"),
        space=SearchSpace(()),
        default=dict.fromkeys(TASK_GROUPS, default),
        tuned_defaults=dict.fromkeys(TASK_GROUPS, ({},)),
        names=ParameterNames(short_name(text), free, {n: () for n in params if is_set(n)}),
        weights=takes_weights(estimator),
        calibrates=not has_probabilities(estimator),
    )


def is_set(name: str) -> bool:
    """Whether the study sets a parameter of an estimator itself."""
    return name.rpartition("__")[2] in SET


def takes_weights(estimator: Any) -> bool:
    """Whether an estimator, or the last step of a pipeline, takes weights of rows in `fit`."""
    from sklearn.utils.validation import has_fit_parameter

    return bool(has_fit_parameter(last_step(estimator), "sample_weight"))


def _plain(params: dict[str, Any], names: Iterable[str]) -> Iterator[tuple[str, Value]]:
    """The parameters with a value that a space may hold."""
    for name in names:
        value = params[name]
        if value is None or isinstance(value, tuple):
            value = plain_or_written(value, name)
        if isinstance(value, bool | int | float | str):
            yield name, value


def _of_choices(parameter: Any) -> Iterator[str]:
    """The parameters of all parts that a parameter may choose."""
    for choice in parameter.choices if isinstance(parameter, Categorical) else ():
        part = value_of(choice)
        if hasattr(part, "get_params"):
            yield from (f"{parameter.name}__{name}" for name in part.get_params())


def _packages(text: str) -> Iterator[Library]:
    """The packages of the trusted modules that an estimator names."""
    for module in trusted_modules():
        if f"{module}." in text:
            top = module.partition(".")[0]
            distributions = metadata.packages_distributions().get(top, [])
            if distributions:
                yield Library.of(sorted(set(distributions)))
