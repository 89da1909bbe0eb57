"""CMA-ES over mixed spaces, by the library cmaes.

Hansen & Ostermeier (2001), "Completely derandomized self-adaptation in evolution strategies",
Evolutionary Computation 9; Hamano, Saito, Nomura & Shirakawa (2022), "CMA-ES with margin", GECCO
(integers); Hamano, Nomura, Saito, Uchida & Shirakawa (2025), "CatCMA with margin", GECCO (choices).

The distribution is a function of the generations: the results in order of their trials, so many at
a time. It is rebuilt for each suggestion. Dimensions that are inactive in a result are drawn from
the distribution of the moment. Ranges with many levels are continuous for the optimiser.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from cmaes import CatCMAwM
from numpy.typing import NDArray

from hpo.arrays import FloatArray
from hpo.history import History
from hpo.samplers.settings import Range, Settings, setting
from hpo.samplers.tpe import start_up
from hpo.space import SearchSpace, Value

LEVELS = 50  # ranges with more are continuous
_REBUILT = 0  # seed of what is drawn for inactive dimensions


@dataclass(frozen=True)
class CMAESSampler(Settings):
    """Proposes a draw from a normal distribution, and from one of each parameter's choices.

    Attributes:
        population: results of a generation; the first are spread out.
        step: initial standard deviation, in edges of the unit cube.
    """

    population: int = setting(8, Range(at_least=4))
    step: float = setting(0.2, Range(above=0, at_most=1))

    def min_results(self, space: SearchSpace) -> int:
        """A whole generation."""
        return self.population

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Value]:
        """The next configuration."""
        space = history.space
        dimensions = _Dimensions(space)
        if len(history) < self.population or not dimensions.any:
            return start_up(history, rng)
        optimizer = dimensions.optimizer(self.population, self.step)
        for end in range(self.population, len(history) + 1, self.population):
            rows = slice(end - self.population, end)
            drawn = [dimensions.solution(codes, optimizer) for codes in history.x[rows]]
            ranks = np.argsort(np.argsort(history.losses[rows], kind="stable"), kind="stable")
            optimizer.tell(list(zip(drawn, ranks.astype(float), strict=True)))
        optimizer.reseed_rng(int(rng.integers(2**32)))
        return space.decode(dimensions.codes(optimizer.ask(), rng))


class _Dimensions:
    """The columns of a space by what they are for the optimiser."""

    def __init__(self, space: SearchSpace) -> None:
        levels = np.array([parameter.n_levels or np.inf for parameter in space])
        is_range = np.isin(np.arange(len(space)), space.layout.ranges)
        self._space = space
        self._n_choices = levels
        self.choices = np.flatnonzero(~is_range & (levels > 1))
        self.stepped = np.flatnonzero(is_range & (levels > 1) & (levels <= LEVELS))
        self.continuous = np.flatnonzero(is_range & (levels > LEVELS))

    @property
    def any(self) -> bool:
        """Whether anything can change."""
        return len(self.choices) + len(self._ranges) > 0

    def optimizer(self, population: int, step: float) -> CatCMAwM:
        """The optimiser before the first generation."""
        n = len(self._ranges)
        return CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self.continuous) or None,
            z_space=[self._levels(int(column)) for column in self.stepped] or None,
            c_space=self._n_choices[self.choices].astype(int).tolist() or None,
            population_size=population,
            mean=np.full(n, 0.5) if n else None,
            sigma=1.0,
            cov=np.eye(n) * step**2 if n else None,
            seed=_REBUILT,
        )

    def solution(self, codes: FloatArray, optimizer: CatCMAwM) -> CatCMAwM.Solution:
        """A result's codes `(d,)` as a solution; inactive dimensions are drawn."""
        x = z = c = raw = None
        drawn = optimizer.ask() if np.isnan(codes).any() else CatCMAwM.Solution()
        if len(self._ranges):
            raw = codes[self._ranges]
            raw = raw if drawn._v_raw is None else np.where(np.isnan(raw), drawn._v_raw, raw)
            x, z = raw[: len(self.continuous)], raw[len(self.continuous) :]
        if len(self.choices):
            n = self._n_choices[self.choices]
            active = codes[self.choices]
            cells = np.minimum(np.floor(active * n), n - 1)
            c = cells[:, None] == self._positions
            c = c if drawn.c is None else np.where(np.isnan(active)[:, None], drawn.c, c)
        return CatCMAwM.Solution(x, z, c, raw)

    def codes(self, drawn: CatCMAwM.Solution, rng: np.random.Generator) -> FloatArray:
        """The codes `(d,)` of a solution."""
        codes = rng.random(len(self._space))  # of constants, which have one value
        if drawn.x is not None:
            codes[self.continuous] = drawn.x
        if drawn.z is not None:
            codes[self.stepped] = drawn.z
        if drawn.c is not None:
            n = self._n_choices[self.choices]
            codes[self.choices] = (drawn.c.argmax(axis=1) + 0.5) / n
        return codes

    @cached_property
    def _ranges(self) -> NDArray[np.intp]:
        return np.concatenate([self.continuous, self.stepped])

    @cached_property
    def _positions(self) -> FloatArray:
        return np.arange(self._n_choices[self.choices].max())

    def _levels(self, column: int) -> list[float]:
        """The codes of the levels of a range."""
        parameter = self._space.parameters[column]
        fine = np.linspace(0.0, 1.0, 4097)
        codes: list[float] = np.unique(parameter.snap(fine)).tolist()
        return codes
