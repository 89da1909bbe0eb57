"""What defines a study: everything that a later process needs to go on with it.

A plan is written once, as the header of the study in MLflow, and read back on resume; what may
change between two sessions (how many trials, how long, on how many workers) is not part of its
identity.
"""

import hashlib
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hpo.algorithms import algorithm as named
from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, SpaceError, StudyError, closest
from hpo.rungs import Budgets
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Params, Value
from hpo.space.yaml import load_file
from hpo.study import FirstPoint
from pipelines.files.uris import HIDDEN, is_hidden, safe
from pipelines.models import (
    ALL,
    FAMILIES,
    FIDELITIES,
    PERCENT_OF_ROWS,
    Budget,
    Settings,
    canonical,
    check_space,
    knows,
)
from pipelines.table.source import DataPlan

LIBRARIES = (
    "mlflow",
    "hyperopt",
    "lightgbm",
    "xgboost",
    "scikit-learn",
    "torch",
    "pandas",
    "numpy",
)

MOST_BUDGET = 1_000_000
FULL_TRAININGS = 50  # that a study costs for which nothing is said
AUTO, OFF = "auto", "off"
# Of spaces: the model's own, and that narrowed to where past studies did well.
DEFAULT, PAST = "default", "past"
TRAIN, TRAIN_AND_VALIDATION = "train", "train+validation"
ROWS = (TRAIN, TRAIN_AND_VALIDATION)  # what the model that is logged may be trained on
_ROWS = Budget(PERCENT_OF_ROWS, 10, 100)
_TEXTS = (
    "model",
    "algorithm",
    "metric",
    "fidelity",
    "checkpoints",
    "task",
    "split",
    "validation",
    "register",
)
_NUMBERS: dict[str, type] = {
    **dict.fromkeys(
        ("trials", "workers", "budget", "min_budget", "max_budget", "seed", "confirm"), Integral
    ),
    **dict.fromkeys(("timeout", "trial_timeout", "test_share", "eta"), Real),
}


@dataclass(frozen=True)
class Plan:
    """A study before its first trial.

    `workers`, `threads` and `lag` are fixed with the study because its results depend on them
    (`hpo.study`; torch also depends on the number of threads). `rungs` are the budgets at which
    trials may stop, ascending, in `budget_unit`; the last is a full training, and `eta` the factor
    between them. `fidelity` says what a smaller budget means
    (`pipelines.models.catalog.FIDELITIES`), `checkpoints` where trials that may go on are kept.
    `rows` is one of `ROWS`: what the model that is logged was trained on. `confirm` is how many of
    the best trials are trained again on other divisions of the rows before the winner is named.
    `warm_start` says which past studies were learned from (`sources`).
    """

    model: str
    algorithm: str
    metric: str
    direction: str
    seed: int
    data: DataPlan
    space: SearchSpace
    first_points: tuple[FirstPoint, ...]
    rungs: tuple[float, ...]
    eta: float
    budget_unit: str
    fidelity: str
    checkpoints: str | None
    workers: int
    threads: int
    lag: int
    trials: int
    timeout: float | None
    trial_timeout: float | None
    register: str | None = None
    rows: str = TRAIN
    confirm: int | None = None
    warm_start: str = OFF

    @property
    def search_seed(self) -> int:
        """The seed of the search: of the study's seed and the table.

        With the study's seed alone, every study with the default seed would start with the same
        configurations, and however many a server held, later ones would learn nothing of others.
        """
        words = f"{self.seed}:{self.data.digest}:{self.data.target}:{self.data.outer}"
        return int(hashlib.sha256(words.encode()).hexdigest()[:8], 16)

    def to_header(self) -> dict[str, Any]:
        """Plain values, as the study keeps them in MLflow."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["checkpoints"] = self.checkpoints and safe(self.checkpoints)
        data = {field.name: getattr(self.data, field.name) for field in fields(self.data)}
        points = [
            {"params": dict(point.params), "origin": point.origin} for point in self.first_points
        ]
        shown = {
            name: data[name] for name in ("target", "task", "split", "test_share", "validation")
        }
        environment = {
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        }
        return (
            plain
            | shown
            | {
                "data": data,
                "space": self.space.to_dict(),
                "first_points": points,
                "versions": environment,
            }
        )

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "Plan":
        """The plan that `to_header` wrote.

        Raises:
            StudyError: when the header lacks something.
        """
        try:
            values = {
                field.name: header[field.name]
                for field in fields(cls)
                if field.default is MISSING
                or field.name in header  # a study may be older than a choice
            }
            values["data"] = DataPlan(**values["data"])
            values["rungs"] = tuple(values["rungs"])
            values["space"] = SearchSpace.from_dict(values["space"], "the study's space")
            values["first_points"] = tuple(
                FirstPoint(p["params"], p["origin"]) for p in values["first_points"]
            )
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the study's header is incomplete: {error} is missing; it cannot be resumed"
            ) from error
        return cls(**values)

    def refuse_other(self, data: DataPlan) -> None:
        """Check that a table and its use are those of this study.

        Raises:
            StudyError: naming each difference.
        """
        for field in fields(DataPlan):
            mine, other = getattr(self.data, field.name), getattr(data, field.name)
            if field.name != "uri" and mine != other:
                raise StudyError(
                    f"this study is of another data set: {field.name} was {mine!r} and is {other!r} now; "
                    "start a new study (leave `study` out), or give it the table that it began with"
                )

    def going_on(
        self,
        *,
        trials: int | None,
        timeout: float | None,
        register: str | None,
        confirm: int | None,
        checkpoints: str | None,
    ) -> "Plan":
        """This plan with what a later session may change.

        Raises:
            StudyError: when the place of the checkpoints cannot be known from the study.
        """
        if checkpoints is None and is_hidden(self.checkpoints or ""):
            raise StudyError(
                f"the study's checkpoints are at {self.checkpoints}, and what stood in place of {HIDDEN} is kept "
                "nowhere: give the URI as checkpoints=, or another place, where its trials begin anew"
            )
        return replace(
            self,
            checkpoints=checkpoints or self.checkpoints,
            trials=trials or self.trials,
            timeout=timeout,
            register=register if register else self.register,
            confirm=confirm or self.confirm,
        )


def mistakes_in(given: Mapping[str, Any], models: Sequence[str]) -> Iterator[str]:
    """What is wrong with the values given for public parameters, as far as no table is needed to say so."""
    strange = dict(_of_another_type(given))
    yield from (f"{name}={given[name]!r} must be {what}" for name, what in strange.items())
    given = {name: value for name, value in given.items() if name not in strange}
    for name in (
        *("trials", "timeout", "workers", "budget", "min_budget", "max_budget", "trial_timeout"),
        "confirm",
    ):
        value = given.get(name)
        if value is not None and not value > 0:  # nan, too
            yield f"{name}={value} must be greater than 0"
        elif value == math.inf:
            yield f"{name}={value} must be finite; leave it out for no limit"
    for name in ("budget", "max_budget"):
        if (given.get(name) or 0) > MOST_BUDGET:
            yield f"{name}={given[name]} must be {MOST_BUDGET:,} or less"
    if not 0 < given.get("test_share", 0.2) < 0.5:
        yield f"test_share={given['test_share']} must lie between 0 and 0.5"
    if given.get("seed", 0) < 0:
        yield f"seed={given['seed']} must be 0 or greater"
    if (model := given.get("model", models[0])) not in models:
        yield f"unknown model {model!r}{closest(model, models)}; models: {', '.join(models)}"
    yield from _budget_mistakes(given)


def _budget_mistakes(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the algorithm and the budgets it grants."""
    try:
        races = grants_budgets(given.get("algorithm", "tpe"))
    except ParameterError as error:
        yield str(error)
        return
    for name in ("min_budget", "eta", "fidelity", "checkpoints") if not races else ():
        if given.get(name) is not None:
            yield f"{name}={given[name]!r} is for algorithms that grant budgets, such as bohb; leave it out"
    low, high = given.get("min_budget") or 1, given.get("max_budget") or MOST_BUDGET
    try:
        if low > 0 and high > 0:  # else told already
            Budgets(low, high, given.get("eta") or 3.0)
    except ParameterError as error:
        yield str(error)
    if (kind := given.get("fidelity") or AUTO) not in (AUTO, *FIDELITIES):
        yield f"unknown fidelity {kind!r}{closest(kind, FIDELITIES)}; fidelities: {', '.join((AUTO, *FIDELITIES))}"


def _of_another_type(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Parameters to which Python gave something else than they take, and what that is; text is parsed before."""
    for name, kind in _NUMBERS.items():
        if name in given and not _is_number(name, given[name]):
            yield name, "a whole number" if kind is Integral else "a number"
    for name in _TEXTS:
        if name in given and not isinstance(given[name], str):
            yield name, "text"


def _is_number(name: str, value: object) -> bool:
    """Whether a value is of the kind of number that a parameter takes."""
    if value is None:
        return name not in ("seed", "test_share", "eta")
    return isinstance(value, _NUMBERS[name]) and not isinstance(value, bool)


def read_space(space: object, settings: Settings) -> SearchSpace:
    """The space that the parameter `space` means: `default`, `past`, a YAML file, a space, plain values or an hp graph.

    Raises:
        SpaceError: when it cannot be read, or holds what the model does not know.
    """
    if isinstance(space, str) and space in (DEFAULT, PAST):
        return settings.space
    found = _as_space(space)
    check_space(settings.name, _without_switches(settings.name, found))
    return found


def sources(warm_start: object) -> tuple[str, ...] | None:
    """The past studies that the parameter `warm_start` names; None for all there are (`auto`), none for `off`.

    Raises:
        ParameterError: when it says nothing.
    """
    if not isinstance(warm_start, str):  # from Python anything may come
        instead = OFF if warm_start is False else AUTO
        if isinstance(warm_start, list | tuple):
            instead = ",".join(map(str, warm_start)) or OFF
        raise ParameterError(
            f"warm_start={warm_start!r} must be text: auto, off, or run ids of studies and names of experiments with "
            f"commas between them; take warm_start={instead!r}"
        )
    if warm_start == AUTO:
        return None
    names = tuple(name.strip() for name in warm_start.split(",") if name.strip())
    if not names:
        raise ParameterError(
            f"warm_start={warm_start!r} must be auto, off, or run ids of studies and names of experiments with commas "
            "between them"
        )
    return () if names == (OFF,) else names


def budget_of(own: Budget, algorithm: str, fidelity: str) -> Budget:
    """What trials are granted: the model's own budget, or shares of the rows."""
    if not grants_budgets(algorithm):
        return replace(own, fidelity="rounds")
    kind = own.fidelity if fidelity == AUTO else fidelity
    return replace(_ROWS if kind == "rows" else own, fidelity=kind)


def rungs(
    algorithm: str, own: Budget, low: int | None, high: int | None, eta: float
) -> tuple[float, ...]:
    """The budgets at which the trials of a study may stop; where none is given, those of `own`.

    Raises:
        ParameterError: when they do not fit together.
    """
    most = float(high or own.max)
    if own.is_share and most > 100:
        raise ParameterError(
            f"max_budget={most:g} must be 100 or less: budgets are {own.unit} here"
        )
    if not grants_budgets(algorithm):
        return (most,)
    if high is None and low is not None and low > most:
        raise ParameterError(
            f"min_budget={low} must not exceed the model's own max_budget={own.max}; give both"
        )
    least = float(low) if low else min(own.min, max(most // eta, 1.0))
    found = Budgets(least, most, eta).rungs
    if len(found) < 2:
        lower = math.floor(most / eta + 1e-9)
        way_out = (
            f"min_budget={lower} or less" if lower >= 1 else f"max_budget={math.ceil(eta)} or more"
        )
        raise ParameterError(
            f"min_budget={least:g} leaves no rung below max_budget={most:g} with eta={eta:g}; {algorithm} needs two at "
            f"least: take {way_out}"
        )
    return found


def usual_trials(algorithm: str, steps: tuple[float, ...], eta: float) -> int:
    """How many configurations an algorithm tries at the cost of `FULL_TRAININGS`."""
    return math.ceil(FULL_TRAININGS / named(algorithm, steps, eta)[1].cost)


def first_points(settings: Settings, space: SearchSpace) -> tuple[FirstPoint, ...]:
    """The library's default and the tuned default, as far as the parameters of `space` go.

    A parameter that a default does not name is left to the library, unless the space leaves it one
    choice only.
    """
    names = ["default"] + ["tuned default"] * (len(settings.first_points) - 1)
    points = [_projected(settings.name, point, space) for point in settings.first_points]
    unique = [i for i, point in enumerate(points) if point not in points[:i]]
    return tuple(FirstPoint(points[i], names[i]) for i in unique)


def _without_switches(model: str, space: SearchSpace) -> SearchSpace:
    """The parameters that reach the model.

    A categorical that the model does not know, but that others depend on, only chooses between
    branches of the space.
    """
    parents = {parent for parameter in space for parent in parameter.when}
    switches = {name for name in parents if model != ALL and not knows(model, name)}
    kept = [
        replace(
            p, when={parent: values for parent, values in p.when.items() if parent not in switches}
        )
        for p in space
        if p.name not in switches
    ]
    return SearchSpace(tuple(kept))


def _as_space(space: object) -> SearchSpace:
    if isinstance(space, SearchSpace):
        return space
    if isinstance(space, str | Path):
        path = Path(space)
        if not path.is_file():
            beside = [p.name for p in path.parent.glob("*.y*ml") if p.is_file()]
            raise SpaceError(
                f"space={str(space)!r} is neither `default`, `past`, `auto:<run id>` nor a file"
                f"{closest(path.name, [*beside, DEFAULT, PAST])}"
            )
        return SearchSpace.from_dict(load_file(path), str(path))
    if isinstance(space, Mapping) and all(isinstance(v, Mapping | list) for v in space.values()):
        return SearchSpace.from_dict(space)
    from hpo.space.hyperopt import from_hyperopt

    return from_hyperopt(space)


def _projected(model: str, point: Params, space: SearchSpace) -> dict[str, Value]:
    known = _main_name_values(model, point)
    chosen: dict[str, Value] = {}
    for parameter in space:
        if parameter.name not in space.active(chosen):
            continue
        value = known.get(_main_name(model, parameter.name))
        if isinstance(parameter, Categorical) and (value is None or parameter.index(value) < 0):
            value = (
                parameter.choices[0]
                if parameter.n_levels == 1 or _is_parent(space, parameter.name)
                else None
            )
        if value is not None:
            chosen[parameter.name] = value
    return chosen


def _is_parent(space: SearchSpace, name: str) -> bool:
    return any(name in parameter.when for parameter in space)


def _main_name(model: str, name: str) -> str:
    if model != ALL:
        return next(iter(canonical(model, {name: 0})))
    prefix, _, rest = name.partition(".")
    return f"{prefix}.{_main_name(prefix, rest)}" if prefix in FAMILIES else name


def _main_name_values(model: str, point: Params) -> dict[str, Value]:
    return {_main_name(model, name): value for name, value in point.items()}
