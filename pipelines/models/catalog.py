"""The models by name: families, baselines, and the joint search over all families.

Nothing here imports a model library, so the driver can check a space and plan budgets quickly.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache, partial
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeGuard

from hpo.configurations import Identity, by_value
from hpo.errors import ParameterError
from hpo.space.parameters import Params
from hpo.trial import Trial
from pipelines.models.families import SingleFamily
from pipelines.models.joint import JointSearch
from pipelines.models.libraries import Library, cuda_devices
from pipelines.models.search import SearchModel, Settings, unknown_model
from warmstart.families import ALL, is_estimator

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "lightgbm": "pipelines.models.lightgbm:LightGBM",
        "xgboost": "pipelines.models.xgboost:XGBoost",
        "mlp": "pipelines.models.mlp:MLP",
        "catboost": "pipelines.models.catboost:CatBoost",
        "hist_gradient_boosting": "pipelines.models.scikit.gradient:HistGradientBoosting",
        "random_forest": "pipelines.models.scikit.forests:RandomForest",
        "extra_trees": "pipelines.models.scikit.forests:ExtraTrees",
        "linear": "pipelines.models.scikit.linear:Linear",
        "svm": "pipelines.models.scikit.svm:SVM",
        "knn": "pipelines.models.scikit.neighbours:Neighbours",
    }
)
ESTIMATOR = "pipelines.models.scikit.estimator:Estimator"  # made from the text of an estimator
BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "trivial": "pipelines.models.baselines:Trivial",
        "ridge": "pipelines.models.baselines:Ridge",
    }
)
CUDA = "cuda"
AUTO, ALONE = "auto", "lightgbm"  # the family that `auto` is where nothing else is known
JOINT = ("lightgbm", "xgboost", "mlp")  # the families of `all`


def family(name: str) -> Any:
    """The class of a family or a baseline; this imports its library.

    Raises:
        ParameterError: if the name is unknown.
    """
    if is_estimator(name):
        return partial(_imported(ESTIMATOR), name)
    known = {**FAMILIES, **BASELINES}
    if name not in known:
        raise ParameterError(unknown_model(name, known))
    return _imported(known[name])


@cache
def single_family(name: str) -> SingleFamily:
    """A family as its YAML file describes it; its library is not imported.

    An estimator of the user is imported and describes itself.

    Raises:
        ParameterError: if the name is unknown.
    """
    if is_estimator(name):
        from pipelines.models.scikit.described import described

        return described(name)
    if name not in FAMILIES:
        raise ParameterError(unknown_model(name, [*FAMILIES, ALL]))
    return SingleFamily.read(name)


@cache
def search_model(name: str) -> SearchModel:
    """What a study with `model=name` searches: one family, or several together.

    Several are written with commas between them; `all` is those of `JOINT`. `auto` is replaced by
    families before a study begins (`pipelines.objectives.model`); until then it is `ALONE`.

    Raises:
        ParameterError: if a name is unknown or stands twice.
    """
    if name == AUTO:
        return single_family(ALONE)
    members = JOINT if name == ALL else (name,) if is_estimator(name) else tuple(name.split(","))
    if len(members) == 1:
        return single_family(name)
    for member in members:
        if members.count(member) > 1:
            raise ParameterError(f"model={name!r} names {member} more than once")
    return JointSearch(name, {member: single_family(member) for member in members})


def is_model(name: object) -> TypeGuard[str]:
    """Whether there is such a model: a family, several with commas between them, or `all`."""
    if not isinstance(name, str):
        return False
    try:
        search_model(name)
    except ParameterError:
        return False
    return True


def settings(
    model: str, *, kind: str = "binary", has_categorical: bool = True, rows: int = 0
) -> Settings:
    """A model's budget, space and first points for a task of this kind.

    `rows` are the training rows; 0 where they are not known.

    Raises:
        ParameterError: if the model is unknown.
    """
    return search_model(model).settings(kind=kind, has_categorical=has_categorical, rows=rows)


def identity(model: str) -> Identity:
    """What two configurations that are the same training have in common.

    Raises:
        ParameterError: if the model is unknown.
    """
    searched = search_model(model)

    def effective(params: Params) -> Hashable:
        family, values = searched.effective(params)
        return family, by_value(values)

    return effective


def family_of(model: str) -> Callable[[Trial], str]:
    """Which family a trial of a study with `model` trains.

    Raises:
        ParameterError: if the model is unknown.
    """
    searched = search_model(model)
    return lambda trial: searched.resolve(trial.params)[0]


def check_device(device: str, model: str) -> None:
    """Check that a model can be trained on a device.

    Raises:
        UserError: for `cuda` without a GPU, and for a family that cannot use one.
    """
    if device != CUDA:
        return
    able = [name for name in FAMILIES if single_family(name).cuda]
    unable = [name for name in search_model(model).families if name not in able]
    if unable:
        raise ParameterError(
            f"device={CUDA}: {' and '.join(unable)} cannot be trained on a GPU; take "
            f"model={' or '.join(able)}, or device=auto"
        )
    if not cuda_devices():
        raise ParameterError(
            f"device={CUDA}: this machine has no GPU that CUDA finds; take device=auto or "
            "device=cpu"
        )


def libraries(names: Iterable[str]) -> tuple[Library, ...]:
    """The libraries of these families, without repetition; baselines have none of their own."""
    own = (name for name in names if name in FAMILIES or is_estimator(name))
    found = [single_family(name).libraries for name in own]
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def worker_modules(model: str) -> list[str]:
    """The modules that a worker imports before its first trial of `model`."""
    places = [FAMILIES.get(name, ESTIMATOR) for name in search_model(model).families]
    modules = [place.partition(":")[0] for place in (*places, *BASELINES.values())]
    return list(dict.fromkeys(modules))


def _imported(place: str) -> Any:
    """What `module:Class` stands for."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
