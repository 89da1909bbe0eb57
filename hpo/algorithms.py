"""The registry of algorithms: each is a sampler combined with a scheduler.

Settings of the sampler follow the name: `tpe:gamma=0.2`, `gp+asha:acquisition=ucb,kappa=2.5`; those
of `pbt`, too: `pbt:population=8,quantile=0.25`.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from hpo.errors import ParameterError, closest
from hpo.past import Past
from hpo.rungs import Bracket, hyperband, successive_halving
from hpo.samplers import Sampler, settings
from hpo.samplers.auto import choice
from hpo.samplers.learned import LearnedSampler
from hpo.samplers.tpe import TPESampler
from hpo.schedulers import Scheduler
from hpo.schedulers.asynchronous import Asynchronous
from hpo.schedulers.full import Full
from hpo.schedulers.population import PopulationBased
from hpo.schedulers.synchronous import Synchronous
from hpo.space import SearchSpace

# name -> module and class; imported on use, because hyperopt alone takes half a second
SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "random": "hpo.samplers.random:RandomSampler",
        "grid": "hpo.samplers.grid:GridSampler",
        "tpe": "hpo.samplers.tpe:TPESampler",
        "hyperopt": "hpo.samplers.hyperopt:HyperoptSampler",
        "kde": "hpo.samplers.kde:KDESampler",
        "gp": "hpo.samplers.gp:GPSampler",
        "nsga2": "hpo.samplers.nsga2:NSGA2Sampler",
        "evolution": "hpo.samplers.evolution:EvolutionSampler",
        "de": "hpo.samplers.de:DESampler",
        "cmaes": "hpo.samplers.cmaes:CMAESSampler",
        "llm": "hpo.samplers.llm:LLMSampler",
    }
)

_Race = tuple[
    Callable[[tuple[float, ...], float, tuple[Bracket, ...]], Scheduler],
    Callable[[int, float], tuple[Bracket, ...]],
]

# name -> kind of race, and its brackets
RACES: Mapping[str, _Race] = MappingProxyType(
    {
        "successive_halving": (Synchronous, successive_halving),
        "hyperband": (Synchronous, hyperband),
        "asha": (Asynchronous, successive_halving),
        "async_hyperband": (Asynchronous, hyperband),
    }
)
FULL, PBT = "full", "pbt"
SCHEDULERS = (FULL, *RACES, PBT)
AUTO = "auto"  # the algorithm that `hpo.samplers.auto` chooses

# name -> sampler and scheduler; all other combinations are written sampler+scheduler
ALGORITHMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **{name: (name, FULL) for name in SAMPLERS if name != "kde"},
        **{name: ("random", name) for name in RACES if name != "async_hyperband"},
        "bohb": ("kde", "async_hyperband"),
        PBT: ("random", PBT),
    }
)


def sampler_of(name: str) -> Sampler:
    """The sampler of an algorithm, or the one of that name, with the settings that follow it.

    Raises:
        ParameterError: when there is no such algorithm, or a setting is unknown or not allowed.
    """
    of, colon, text = name.partition(":")
    if of in ALGORITHMS and ALGORITHMS[of][1] == PBT or of.endswith(f"+{PBT}"):
        _population_settings(name)
        colon = ""
    if of == AUTO:
        raise ParameterError(f"algorithm {name!r}: auto chooses a sampler; name one, such as gp")
    sampler_name = of if of in SAMPLERS else parts(of)[0]
    before, _, last = text.rpartition("+")
    if last in SCHEDULERS:
        raise ParameterError(f"algorithm {name!r}: settings come last: {of}+{last}:{before}")
    module, _, attribute = SAMPLERS[sampler_name].partition(":")
    kind = getattr(import_module(module), attribute)
    try:
        sampler: Sampler = kind(**(settings.parsed(kind, text, sampler_name) if colon else {}))
    except ParameterError as error:
        shown = re.sub(r"//[^/@]*@|\?.*", "…", name)  # no password of a URL
        raise ParameterError(f"algorithm {shown!r}: {error}") from error
    return sampler


def _population_settings(name: str) -> dict[str, Any]:
    """The settings of population-based training that follow the name of an algorithm.

    Raises:
        ParameterError: when one is unknown or not allowed.
    """
    _, colon, text = name.partition(":")
    try:
        found = settings.parsed(PopulationBased, text, PBT) if colon else {}
        PopulationBased(**found)
    except ParameterError as error:
        raise ParameterError(f"algorithm {name!r}: {error}") from error
    return found


def canonical(name: str) -> str:
    """The name with its settings in a fixed order, without those that are the defaults.

    Raises:
        ParameterError: when there is no such algorithm, or a setting is unknown or not allowed.
    """
    if name == AUTO:
        return name
    of_sampler = sampler_of(name)
    is_pbt = parts(name)[1] == PBT
    owner = PopulationBased(**_population_settings(name)) if is_pbt else of_sampler
    text = settings.written(owner)
    return f"{name.partition(':')[0]}:{text}" if text else name.partition(":")[0]


def resolved(name: str, space: SearchSpace, trials: int) -> str:
    """The canonical name; `auto` becomes the algorithm for so many trials over the space.

    Raises:
        ParameterError: when there is no such algorithm, or a setting is unknown or not allowed.
    """
    return choice(space, trials) if name == AUTO else canonical(name)


def is_same(name: str, began: str) -> bool:
    """Whether a name given again means an algorithm that a study began with.

    `auto` does: the study has chosen.

    Raises:
        ParameterError: when there is no such algorithm, or a setting is unknown or not allowed.
    """
    return name == AUTO or canonical(name) == began


def scheduler_of(name: str, rungs: Sequence[float], eta: float = 3.0) -> Scheduler:
    """The scheduler over `rungs`; `name` is one of `SCHEDULERS`, `pbt` with its settings."""
    if name == FULL:
        return Full(rungs[-1])
    if name.partition(":")[0] == PBT:
        return PopulationBased(rungs=tuple(rungs), **_population_settings(name))
    race, brackets = RACES[name]
    return race(tuple(rungs), eta, brackets(len(rungs), eta))


def algorithm(
    name: str,
    rungs: Sequence[float],
    eta: float = 3.0,
    past: Past | None = None,
    *,
    in_limited_time: bool = False,
    raced: str | None = None,
) -> tuple[Sampler, Scheduler]:
    """The sampler and the scheduler of an algorithm.

    Args:
        name: a key of `ALGORITHMS`, or `sampler+scheduler`; with settings of the sampler after a
            colon.
        rungs: the budgets at which trials may stop, ascending (`hpo.rungs.Budgets`); the last is a
            full training.
        eta: the factor between rungs.
        past: past studies, used by samplers that build models.
        in_limited_time: whether the time of the study ends it. Only then, and without a race, the
            seconds of trainings count (`TPESampler.cost`); proposals then depend on measured times.
        raced: a choice whose options race (`TPESampler.raced`).

    Raises:
        ParameterError: when there is no such algorithm, or a setting is unknown or not allowed.
    """
    sampler = sampler_of(name)
    if isinstance(sampler, TPESampler):
        sampler = replace(sampler, raced=raced)
        if not in_limited_time or len(rungs) > 1:
            sampler = replace(sampler, cost=0.0)
        elif past is not None:
            sampler = replace(sampler, durations=past.durations)
    if past is not None and sampler.min_results(past.space):
        sampler = LearnedSampler(past, sampler)
    return sampler, scheduler_of(scheduler_name(name), rungs, eta)


def scheduler_name(name: str) -> str:
    """The name of an algorithm's scheduler, with its settings, as `scheduler_of` takes it.

    Raises:
        ParameterError: when there is no algorithm of this name.
    """
    scheduler, (_, colon, text) = parts(name)[1], name.partition(":")
    return f"{scheduler}{colon}{text}" if scheduler == PBT else scheduler


def is_population(name: str) -> bool:
    """Whether an algorithm copies checkpoints of trials to others (`hpo.schedulers.population`)."""
    return parts(name)[1] == PBT


def parts(name: str) -> tuple[str, str]:
    """The names of an algorithm's sampler and scheduler.

    Raises:
        ParameterError: when there is no algorithm of this name.
    """
    name = name.partition(":")[0]
    if name == AUTO:
        return AUTO, FULL  # whatever it chooses
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    sampler, plus, scheduler = name.partition("+")
    if not plus:
        raise ParameterError(_unknown(name))
    _check_part(name, "sampler", sampler, SAMPLERS)
    _check_part(name, "scheduler", scheduler, SCHEDULERS)
    return sampler, scheduler


def grants_budgets(name: str) -> bool:
    """Whether an algorithm trains some trials with less than the full budget."""
    return parts(name)[1] != FULL


def _check_part(name: str, role: str, part: str, known: Collection[str]) -> None:
    if part not in known:
        raise ParameterError(
            f"algorithm {name!r}: unknown {role} {part!r}{closest(part, known)}; "
            f"{role}s: {', '.join(known)}"
        )


def _unknown(name: str) -> str:
    """The message for a name that is neither an algorithm nor a combination."""
    if name in SAMPLERS:
        return (
            f"{name!r} is a sampler; an algorithm also has a scheduler: "
            f"write {name}+full, {name}+asha or {name}+hyperband"
        )
    if name in RACES:
        return (
            f"{name!r} is a scheduler; an algorithm also has a sampler: "
            f"write random+{name} or tpe+{name}"
        )
    return (
        f"unknown algorithm {name!r}{closest(name, (AUTO, *ALGORITHMS))}; "
        f"algorithms: {', '.join((AUTO, *ALGORITHMS))}, or sampler+scheduler, such as tpe+asha"
    )
