"""The algorithms by name: each is a sampler with a scheduler."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from hpo.errors import ParameterError, closest
from hpo.past import Past
from hpo.rungs import Bracket, hyperband, successive_halving
from hpo.samplers import Sampler
from hpo.samplers.learned import LearnedSampler
from hpo.schedulers import Scheduler
from hpo.schedulers.asynchronous import Asynchronous
from hpo.schedulers.full import Full
from hpo.schedulers.synchronous import Synchronous

# name -> module and class, imported when asked for: hyperopt alone takes half a second
SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "random": "hpo.samplers.random:RandomSampler",
        "grid": "hpo.samplers.grid:GridSampler",
        "tpe": "hpo.samplers.tpe:TPESampler",
        "hyperopt": "hpo.samplers.hyperopt:HyperoptSampler",
        "kde": "hpo.samplers.kde:KDESampler",
    }
)

_Race = tuple[
    Callable[[tuple[float, ...], float, tuple[Bracket, ...]], Scheduler],
    Callable[[int, float], tuple[Bracket, ...]],
]

# name -> how a race goes, and its brackets
RACES: Mapping[str, _Race] = MappingProxyType(
    {
        "successive_halving": (Synchronous, successive_halving),
        "hyperband": (Synchronous, hyperband),
        "asha": (Asynchronous, successive_halving),
        "async_hyperband": (Asynchronous, hyperband),
    }
)
FULL = "full"

# what has a name of its own; every other pair is written sampler+scheduler
ALGORITHMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **{name: (name, FULL) for name in SAMPLERS if name != "kde"},
        **{name: ("random", name) for name in RACES if name != "async_hyperband"},
        "bohb": ("kde", "async_hyperband"),
    }
)


def algorithm(
    name: str, rungs: Sequence[float], eta: float = 3.0, past: Past | None = None
) -> tuple[Sampler, Scheduler]:
    """The sampler and the scheduler of an algorithm.

    Args:
        name: a row of `ALGORITHMS`, or `sampler+scheduler`.
        rungs: the budgets at which trials may stop, ascending (`hpo.rungs.Budgets`); the last is a
            full training.
        eta: the factor between them.
        past: what past studies know, for samplers that build models.

    Raises:
        ParameterError: when there is none of this name.
    """
    sampler, scheduler = parts(name)
    module, _, attribute = SAMPLERS[sampler].partition(":")
    made: Sampler = getattr(import_module(module), attribute)()
    if past is not None and made.least(past.space):
        made = LearnedSampler(past, made)
    if scheduler == FULL:
        return made, Full(rungs[-1])
    race, brackets = RACES[scheduler]
    return made, race(tuple(rungs), eta, brackets(len(rungs), eta))


def parts(name: str) -> tuple[str, str]:
    """The names of an algorithm's sampler and scheduler.

    Raises:
        ParameterError: when there is no algorithm of this name.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    sampler, plus, scheduler = name.partition("+")
    if not plus:
        raise ParameterError(_half(name))
    for part, known, what in (
        (sampler, SAMPLERS, "sampler"),
        (scheduler, {FULL: "", **RACES}, "scheduler"),
    ):
        if part not in known:
            raise ParameterError(
                f"algorithm {name!r}: unknown {what} {part!r}{closest(part, known)}; {what}s: {', '.join(known)}"
            )
    return sampler, scheduler


def _half(name: str) -> str:
    """What is wrong with a name that is no algorithm's and no pair."""
    if name in SAMPLERS:
        return (
            f"{name!r} is a sampler, and an algorithm has a scheduler, too: write {name}+full, {name}+asha or "
            f"{name}+hyperband"
        )
    if name in RACES:
        return f"{name!r} is a scheduler, and an algorithm has a sampler, too: write random+{name} or tpe+{name}"
    return (
        f"unknown algorithm {name!r}{closest(name, ALGORITHMS)}; algorithms: {', '.join(ALGORITHMS)}, or "
        "sampler+scheduler, such as tpe+asha"
    )


def grants_budgets(name: str) -> bool:
    """Whether an algorithm gives trials less than the full budget."""
    return parts(name)[1] != FULL
