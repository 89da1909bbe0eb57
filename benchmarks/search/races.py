"""Races: searches over simulated workers on learning curves, and their stored results.

Time is counted in full trainings: worker seconds, idle workers included, over the seconds of the
median configuration at the largest budget.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, Process, requirements_digest
from benchmarks.methods import RACERS, Method, method
from benchmarks.results import MethodJob, Results
from benchmarks.statistics import first_times
from benchmarks.tabulated.curves import Curves, load_curves, synthetic_curves, tabulated_curves
from hpo.arrays import FloatArray

AT = (10, 25, 50, 100)
BATCH = 10
SCALE_SEED = 20_250_101


@dataclass(frozen=True)
class Race(MethodJob):
    """One search over simulated workers that ends after `trainings` full trainings."""

    curves: str
    seed: int
    workers: int
    trainings: int


@cache
def full_training(name: str) -> float:
    """Seconds of the median configuration at the largest budget, over 1001 random ones."""
    curves = load_curves(name)
    units = curves.space.codes.sample(np.random.default_rng(SCALE_SEED), 1001)
    return float(np.median([curves.seconds(curves.space.decode(row))[-1] for row in units]))


def stored(folder: Path) -> Results[Race]:
    """The races in a folder whose curves and methods have not changed since."""
    return Results(folder, Race, digest)


def digest(race: Race) -> str | None:
    """Changes with the curves and the code or version of the method; None for unknown curves."""
    if race.curves not in (*synthetic_curves(), *tabulated_curves()):
        return None
    return f"{_curves_digest(race.curves)}/{_code(race.method)}"


def call(process: Process, race: Race) -> dict[str, Any]:
    """Run a race in a process of its method."""
    return process.call(
        call="race",
        curves=race.curves,
        seed=race.seed,
        workers=race.workers,
        seconds=race.trainings * full_training(race.curves) / race.workers,
        noisy=race.curves in synthetic_curves(),
    )


@dataclass(frozen=True)
class Track:
    """The incumbents of a race: falling losses `(n,)` and since when, in full trainings `(n,)`."""

    times: FloatArray
    losses: FloatArray

    def at(self, trainings: float) -> float:
        """The incumbent's loss at a time; before the first incumbent, its loss."""
        seen = int(np.searchsorted(self.times, trainings, side="right"))
        return float(self.losses[max(seen - 1, 0)])


def track(race: Race, answer: Mapping[str, Any]) -> Track:
    """The incumbents of a race from the answer of its process."""
    rows = np.array(answer["incumbents"], dtype=float).reshape(-1, 2)
    if not len(rows):
        return Track(np.array([np.inf]), np.array([np.inf]))
    return Track(rows[:, 0] * race.workers / full_training(race.curves), rows[:, 1])


def regret(curves: Curves, losses: FloatArray) -> FloatArray:
    """0 at the lowest known loss of the curves, 1 at that of the median configuration."""
    above = np.maximum(losses - curves.optimum, 0.0)
    return np.asarray(above / (curves.scale - curves.optimum))


@dataclass(frozen=True)
class Measured:
    """The races of all methods on the same curves and seeds.

    `tracks` are by method, curves and seed. `cpu` are CPU seconds, `legs` numbers of legs, and
    `busy` shares of the workers' time, each `(n_methods, n_curves, n_seeds)`.
    """

    methods: Sequence[Method]
    curves: Sequence[str]
    tracks: Sequence[Sequence[Sequence[Track]]]
    cpu: FloatArray
    legs: FloatArray
    busy: FloatArray

    def losses(self, at: Sequence[float]) -> FloatArray:
        """Losses of the incumbents `(n_methods, n_curves, n_seeds, n_at)`."""
        return self._by_race(lambda race, _: [race.at(n) for n in at])

    def regrets(self, at: Sequence[float]) -> FloatArray:
        """Normalised regrets `(n_methods, n_curves, n_seeds, n_at)`."""
        losses = self.losses(at)
        by_curves = [regret(load_curves(name), losses[:, j]) for j, name in enumerate(self.curves)]
        return np.stack(by_curves, axis=1)

    def times_to(self, reference: int) -> FloatArray:
        """Full trainings `(n_methods, n_curves, n_seeds)` to reach the target of a method."""
        targets = [self.target(reference, j) for j in range(len(self.curves))]
        return self._by_race(lambda race, j: first_times(race.times, race.losses, targets[j]))

    def target(self, reference: int, curves: int) -> float:
        """The median over seeds of the final loss of a method on one of the curves."""
        return float(np.median([race.losses[-1] for race in self.tracks[reference][curves]]))

    def _by_race(self, value: Callable[[Track, int], float | list[float]]) -> FloatArray:
        """Values `(n_methods, n_curves, n_seeds, …)` of each race and the number of its curves."""
        return np.array(
            [
                [[value(race, j) for race in seeds] for j, seeds in enumerate(of_method)]
                for of_method in self.tracks
            ]
        )


@dataclass(frozen=True)
class Setup:
    """The races to compare: the number of seeds and workers, and the length in full trainings."""

    seeds: int
    workers: int
    trainings: int

    def race(self, chosen: Method, curves: str, seed: int) -> Race:
        """The race of one method."""
        return Race(chosen.name, curves, seed, self.workers, self.trainings)


def measured(
    results: Results[Race], methods: Sequence[Method], curves: Sequence[str], setup: Setup
) -> Measured:
    """The races on those curves for which every method has every seed."""
    used = [name for name in curves if _complete(results, methods, name, setup)]
    shape = (len(methods), len(used), setup.seeds)
    cpu, legs, spent = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    tracks: list[list[list[Track]]] = [[[] for _ in used] for _ in methods]
    for i, j, seed in np.ndindex(shape):
        race = setup.race(methods[i], used[j], seed)
        answer = results.answers[race]
        tracks[i][j].append(track(race, answer))
        cpu[i, j, seed], legs[i, j, seed] = answer["cpu_seconds"], answer["legs"]
        spent[i, j, seed] = answer["spent"]
    horizons = np.array([setup.trainings * full_training(name) for name in used])[:, None]
    return Measured(methods, used, tracks, cpu, legs, busy=spent / horizons)


def _complete(results: Results[Race], methods: Sequence[Method], curves: str, setup: Setup) -> bool:
    """Whether every method has every seed on the curves."""
    return all(
        setup.race(chosen, curves, seed) in results.answers
        for chosen in methods
        for seed in range(setup.seeds)
    )


@cache
def _curves_digest(name: str) -> str:
    curves = load_curves(name)
    losses, seconds = curves.losses(curves.default), curves.seconds(curves.default)
    return f"{curves.optimum:.6g}/{curves.scale:.6g}/{losses.sum():.6g}/{seconds.sum():.6g}"


@cache
def _code(name: str) -> str:
    chosen = method(name, RACERS)
    if chosen.environment:
        return requirements_digest(chosen.environment)
    if chosen.module != "replay.own":
        return f"hyperopt {version('hyperopt')}"
    code = hashlib.sha256()
    for pattern in ("*.py", "samplers/*.py", "schedulers/*.py", "space/*.py"):
        for path in sorted((ROOT / "hpo").glob(pattern)):
            code.update(path.read_bytes() if path.stem not in _UNUSED else b"")
    return code.hexdigest()[:12]


# files of `hpo` that no race depends on
_UNUSED = ("errors", "grid", "hyperopt", "yaml")
