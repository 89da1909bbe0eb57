"""Stop rules on whole searches: how early they end, and what the trials that are left out had won.

Losses are normalised: 0 is the optimum and 1 the median loss of the space. A search of full length
is made once, and each rule is asked after each trial whether it would have ended there.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.peers.own import minimise
from benchmarks.report import machine, write
from benchmarks.search.problems import names, problem
from hpo.arrays import FloatArray
from hpo.goals.forecast import HORIZON, MIN_RESULTS, expected_gain, gains_little

GAINS = (0.01, 0.003, 0.001)
PATIENCE = (10, 20, 40)
LOST = ("gain of the next 20", "lost in all")
Rule = Callable[[FloatArray], bool]


def _is_below(losses: FloatArray, least: float) -> bool:
    gain = expected_gain(losses)
    return gain is not None and gain < least


def _has_stalled(losses: FloatArray, patience: int) -> bool:
    return len(losses) - 1 - int(np.argmin(losses)) >= patience


RULES: Mapping[str, Rule] = {
    **{f"min_gain={gain:g}": partial(gains_little, least=gain) for gain in GAINS},
    **{f"first forecast below {gain:g}": partial(_is_below, least=gain) for gain in GAINS},
    **{f"patience={n}": partial(_has_stalled, patience=n) for n in PATIENCE},
}


def searches(on: Sequence[str], seeds: int, trials: int, sampler: str) -> dict[str, FloatArray]:
    """Normalised losses of searches, by problem and seed."""
    found = {}
    for name in on:
        chosen = problem(name)
        for seed in range(seeds):
            losses = np.array(minimise(chosen, seed, trials, False, name=sampler))
            scale = chosen.scale - chosen.optimum
            found[f"{name}/{seed}"] = (losses - chosen.optimum) / scale
    return found


def stop_of(rule: Rule, losses: FloatArray) -> int:
    """After how many trials a rule ends a search; all of them if it never does."""
    return next((n for n in range(1, len(losses)) if rule(losses[:n])), len(losses))


def calibration(found: Mapping[str, FloatArray]) -> list[list[str]]:
    """Forecasts beside the gains that followed, by the length of the search."""
    rows = []
    length = min(map(len, found.values()))
    for n in range(MIN_RESULTS, length - HORIZON + 1, HORIZON):
        pairs = np.array(
            [
                (expected_gain(losses[:n]) or 0.0, losses[:n].min() - losses[: n + HORIZON].min())
                for losses in found.values()
            ]
        )
        forecast, gain = pairs.mean(0)
        above = float(np.mean(pairs[:, 1] > pairs[:, 0]))
        rows.append([f"{n}", f"{forecast:.4f}", f"{gain:.4f}", f"{above:.0%}"])
    return rows


def outcomes(found: Mapping[str, FloatArray]) -> list[list[str]]:
    """For each rule, when it ends and what it costs."""
    rows = []
    for name, rule in RULES.items():
        ends = {key: stop_of(rule, losses) for key, losses in found.items()}
        at = {key: losses[: ends[key]].min() for key, losses in found.items()}
        early = [key for key, losses in found.items() if ends[key] + HORIZON <= len(losses)]
        soon = np.array([at[key] - found[key][: ends[key] + HORIZON].min() for key in early])
        least = float(name.rpartition(" ")[2].rpartition("=")[2])
        is_gain = not name.startswith("patience")
        rows.append(
            [
                f"`{name}`",
                f"{np.mean(list(ends.values())):.0f}",
                f"{len(early)}",
                f"{np.mean(soon >= least):.0%}" if is_gain and early else "",
                f"{soon.mean():.4f}" if early else "",
                f"{np.mean([at[key] - losses.min() for key, losses in found.items()]):.4f}",
            ]
        )
    return rows


def main(arguments: Sequence[str]) -> None:
    """Search, ask the rules, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks stopping", description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(names()), choices=names())
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    found = searches(options.problems, options.seeds, options.trials, options.sampler)
    calibrated, rows = calibration(found), outcomes(found)
    text = (
        f"{len(found)} searches of {options.trials} trials, {options.sampler}\n\n"
        + table(["after trials", "forecast", "gain of the next 20", "gain above it"], calibrated)
        + "\n\n"
        + table(
            [
                "rule",
                "trials",
                "ended early",
                "gain above it",
                "gain of the next 20",
                "lost in all",
            ],
            rows,
        )
    )
    values = {"calibration": calibrated, "rules": rows, "machine": machine()}
    write(options.output or cache() / "results", "stopping", text, values)
