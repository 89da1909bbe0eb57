"""The entry point `space`: show, check and draw from a search space."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.configurations import size
from hpo.errors import ParameterError, closest, counted
from hpo.samplers.settings import Range
from hpo.space import Params, SearchSpace
from hpo.space.tree import shown, tree
from pipelines.entry_points import entry_point
from pipelines.models import FAMILIES, is_model, settings
from pipelines.objectives.checks import check_values
from pipelines.objectives.space import AUTO_SPACE, choose_space, read_space, step_notes
from pipelines.study.options import DEFAULT, PAST, Space, option

MAX_DRAWS = 10_000


@dataclass(frozen=True)
class SpaceOptions:
    """What is shown of a search space. The first may be given by position.

    Args:
        space: A YAML file, the space of a model by its name, or auto:RUN_ID, that of a study,
            adjusted by its diagnosis.
        model: The model whose parameters the space must have; alone, the space shown is its own.
        draws: How many random configurations are shown.
        seed: Of the draws.
    """

    space: Space = option(DEFAULT, checked=False)
    model: str | None = option(None)
    draws: int = option(5, Range(at_least=0, at_most=MAX_DRAWS))
    seed: int = option(0, Range(at_least=0))


@dataclass(frozen=True)
class ShownSpace:
    """A search space as it is searched.

    Attributes:
        space: itself.
        size: how many configurations it has; None if they are not finite, or too many to count.
        draws: random configurations.
        notes: what is worth knowing about it.
    """

    space: SearchSpace
    size: int | None
    draws: tuple[Params, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The parameters, the size, the draws."""
        n = len(self.space)
        parts = [tree(self.space), [f"{counted(n, 'parameter')}, {self._size()}", *self.notes]]
        if self.draws:
            parts.append(["draws:", *(f"  {_line(params)}" for params in self.draws)])
        return "\n\n".join("\n".join(lines) for lines in parts)

    def _size(self) -> str:
        if self.size is None:
            return "not finite"
        most = "at most " if self.space.forbidden else ""
        return f"{most}{counted(self.size, 'configuration')}"


def _line(params: Params) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in params.items())


@entry_point(SpaceOptions, check_values)
def space(options: SpaceOptions) -> ShownSpace:
    """Show a search space as a tree, check it, and draw configurations from it.

    Raises:
        UserError: naming every mistake in the space, with its line in the file.
    """
    check_values(options)
    found = _chosen(options)
    rng = np.random.default_rng(options.seed)
    draws = [found.decode(code) for code in found.codes.sample(rng, options.draws)]
    return ShownSpace(found, size(found), tuple(draws), tuple(step_notes(found)))


def _chosen(options: SpaceOptions) -> SearchSpace:
    given, model = options.space, options.model
    if is_model(given) and not Path(given).is_file():
        given, model = DEFAULT, given
    if isinstance(given, str) and given == PAST:
        raise ParameterError(f"space={PAST} depends on a study's table; dry_run of tune shows it")
    if isinstance(given, str) and given == DEFAULT:
        if model is None:
            raise ParameterError("give space, a YAML file, or model, whose space is shown")
        return settings(model).space
    if model is None and isinstance(given, str) and given.startswith(AUTO_SPACE):
        raise ParameterError(f"space={given} needs the model of that study; give model")
    if isinstance(given, str) and not Path(given).suffix and not Path(given).exists():
        hint = closest(given, FAMILIES)
        if hint and not given.startswith(AUTO_SPACE):
            raise ParameterError(f"space={given!r} is neither a file nor a model{hint}")
    chosen = read_space(given, "") if model is None else choose_space(given, model)
    return chosen.space or SearchSpace(())
