"""The methods that are compared, with their modules, environments and settings."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hpo.errors import UserError, closest


@dataclass(frozen=True)
class Method:
    """A search method.

    Attributes:
        name: the name on the command line.
        title: the name in tables.
        module: the module in `benchmarks.peers` that runs it.
        environment: the Python environment; None for this project's own.
        settings: keyword arguments for the functions of the module.
        slow: whether a race takes so much CPU time that it gets fewer seeds.
    """

    name: str
    title: str
    module: str
    environment: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    slow: bool = False


_ALL = (
    Method("random", "random", "own", settings={"name": "random"}),
    Method("tpe", "**tpe** (this project)", "own", settings={"name": "tpe"}),
    Method("gp", "**gp** (this project)", "own", settings={"name": "gp"}),
    Method("evolution", "evolution (this project)", "own", settings={"name": "evolution"}),
    Method("de", "de (this project)", "own", settings={"name": "de"}),
    Method("cmaes", "cmaes (this project)", "own", settings={"name": "cmaes"}),
    Method("hyperopt", "hyperopt TPE", "hyperopt_tpe"),
    Method("optuna", "Optuna TPE, default", "optuna_tpe", "optuna"),
    Method(
        "optuna-group",
        "Optuna TPE, multivariate + group",
        "optuna_tpe",
        "optuna",
        {"multivariate": True},
    ),
    Method("optuna-gp", "Optuna GPSampler", "optuna_tpe", "optuna-gp", {"gp": True}, slow=True),
    Method(
        "blendsearch", "FLAML BlendSearch", "flaml_searchers", "flaml", {"searcher": "blendsearch"}
    ),
    Method("cfo", "FLAML CFO", "flaml_searchers", "flaml", {"searcher": "cfo"}),
)
METHODS = {method.name: method for method in _ALL}

_OWN = {
    "random": "random, full trainings",
    "tpe": "tpe, full trainings (this project)",
    "successive_halving": "successive halving (this project)",
    "hyperband": "Hyperband (this project)",
    "asha": "ASHA (this project)",
    "bohb": "**bohb** (this project)",
    "tpe+asha": "tpe+asha (this project)",
    "kde+hyperband": "kde+hyperband (this project)",
}
_RACERS = (
    *(Method(name, title, "replay.own", settings={"name": name}) for name, title in _OWN.items()),
    Method(
        "bohb-r9",
        "**bohb** from R/9 (this project)",
        "replay.own",
        settings={"name": "bohb", "skipped": 1},
    ),
    Method("hyperopt", "hyperopt TPE, full trainings", "replay.hyperopt"),
    Method("optuna", "Optuna TPE, full trainings", "replay.optuna", "optuna"),
    Method(
        "optuna-hyperband",
        "Optuna TPE + Hyperband pruner",
        "replay.optuna",
        "optuna",
        {"prunes": True},
    ),
    Method("hpbandster", "HpBandSter BOHB", "replay.hpbandster", "hpbandster", slow=True),
    Method("syne-asha", "Syne Tune ASHA", "replay.syne_tune", "syne-tune", {"scheduler": "asha"}),
    Method(
        "syne-bohb",
        "Syne Tune BOHB",
        "replay.syne_tune",
        "syne-tune",
        {"scheduler": "bohb"},
        slow=True,
    ),
    Method("dehb", "DEHB", "replay.dehb", "dehb"),
    Method("smac", "SMAC3 multi-fidelity", "replay.smac", "smac", slow=True),
    Method("blendsearch", "FLAML BlendSearch, resource", "replay.flaml", "flaml"),
)
# searches over learning curves (`benchmarks.search.replay`)
RACERS = {method.name: method for method in _RACERS}

_CLOCKED = (
    Method(
        "bohb", "**bohb** (this project)", "product.wallclock_own", settings={"algorithm": "bohb"}
    ),
    Method("tpe", "**tpe** (this project)", "product.wallclock_own", settings={"algorithm": "tpe"}),
    Method("flaml", "FLAML AutoML, lgbm", "product.wallclock_flaml", "flaml-automl"),
)
# real trainings on a real clock (`benchmarks.product.wallclock`)
CLOCKED = {method.name: method for method in _CLOCKED}

_WARMED = (
    Method("optuna", "Optuna TPE", "warmstart.optuna", "optuna"),
    Method(
        "optuna-nearest",
        "Optuna TPE, the nearest's best enqueued",
        "warmstart.optuna",
        "optuna",
        {"nearest": 1},
    ),
    Method("syne-box", "Syne Tune, BORE in the bounding box", "warmstart.syne_tune", "syne-tune"),
    Method("flaml-zero-shot", "FLAML, zero-shot default", "warmstart.flaml", "flaml-automl"),
)
# searches whose losses are computed here (`benchmarks.warmstart.searches`)
WARMED = {method.name: method for method in _WARMED}


_SEVERAL = (
    Method("random", "random", "own", settings={"name": "random"}),
    Method("tpe", "**tpe** (this project)", "own", settings={"name": "tpe"}),
    Method("nsga2", "**nsga2** (this project)", "own", settings={"name": "nsga2"}),
    Method("optuna", "Optuna TPE", "optuna_tpe", "optuna"),
    Method("optuna-nsga2", "Optuna NSGA-II", "optuna_tpe", "optuna", {"evolves": True}),
)
# searches for several goals (`benchmarks.search.goals`)
SEVERAL = {method.name: method for method in _SEVERAL}


def method(text: str, table: Mapping[str, Method] = METHODS) -> Method:
    """A method written as `name` or, with other settings, as `name:key=value,key=value`.

    Raises:
        UserError: for an unknown name.
    """
    name, _, settings = text.partition(":")
    if name not in table:
        raise UserError(f"unknown method {name!r}{closest(name, table)}; known: {', '.join(table)}")
    changes = dict(pair.split("=", 1) for pair in settings.split(",") if pair)
    known = table[name]
    return replace(
        known,
        name=text,
        title=known.title + (f" ({settings})" if settings else ""),
        settings=known.settings | {key: ast.literal_eval(value) for key, value in changes.items()},
    )
