"""The algorithms by name: each is a sampler with a scheduler."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from hpo.errors import ParameterError, closest
from hpo.samplers import Sampler
from hpo.schedulers import Scheduler
from hpo.schedulers.full import Full

# name -> module and class of the sampler, imported when asked for: hyperopt alone takes half a second
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "random": "hpo.samplers.random:RandomSampler",
        "grid": "hpo.samplers.grid:GridSampler",
        "tpe": "hpo.samplers.tpe:TPESampler",
        "hyperopt": "hpo.samplers.hyperopt:HyperoptSampler",
    }
)


def algorithm(name: str, budget: float) -> tuple[Sampler, Scheduler]:
    """The sampler and the scheduler of an algorithm, with trials of at most `budget`.

    Raises:
        ParameterError: when there is no algorithm of this name.
    """
    if name not in ALGORITHMS:
        raise ParameterError(unknown_algorithm(name))
    module, _, sampler = ALGORITHMS[name].partition(":")
    made: Sampler = getattr(import_module(module), sampler)()
    return made, Full(budget)


def unknown_algorithm(name: str) -> str:
    """What to say of a name that is no algorithm."""
    return f"unknown algorithm {name!r}{closest(name, ALGORITHMS)}; algorithms: {', '.join(ALGORITHMS)}"
