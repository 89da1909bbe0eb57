"""Our BOHB and HpBandSter's on counting ones, the toy problem of the BOHB paper.

See Falkner et al. 2018, section 5.1. Regret is (d - expected number of ones) / d of the incumbent,
over the total budget in units of R, the largest budget of one configuration. The incumbent is the
configuration with the lowest loss at the largest budget so far.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.environments import ROOT
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.methods import RACERS, Method, method
from benchmarks.report import duel_table, machine, rank_table, write
from benchmarks.results import work_off
from benchmarks.search.races import AT, BATCH, Measured, Setup, call, measured, stored
from benchmarks.search.replay import cost_table
from benchmarks.statistics import interval
from benchmarks.tabulated.curves import load_curves, synthetic_curves
from hpo.arrays import FloatArray

DEFAULT = ("random", "hyperband", "bohb", "hpbandster")
IMAGE = ROOT / "docs" / "images" / "counting-ones.png"


def regrets(data: Measured, at: Sequence[float]) -> FloatArray:
    """Shares `(n_methods, n_curves, n_seeds, n_at)` of the ones that are missing."""
    optima = np.array([load_curves(name).optimum for name in data.curves])[:, None, None]
    return np.asarray((data.losses(at) - optima) / -optima)


def report(data: Measured) -> tuple[str, dict[str, object]]:
    """Markdown and plain values."""
    titles, found = [chosen.title for chosen in data.methods], regrets(data, AT)
    parts = []
    for j, name in enumerate(data.curves):
        rows = [
            [title, *(_median(values) for values in found[i, j].T)]
            for i, title in enumerate(titles)
        ]
        parts += [f"\n{name}: median regret [95 % interval] after a total budget of\n"]
        parts += [table(["method", *(f"{n} R" for n in AT)], rows)]
    parts += ["\nMean rank · mean regret\n", rank_table(titles, found, AT)]
    names = [chosen.name for chosen in data.methods]
    if "bohb" in names and len(names) > 1:
        mine = names.index("bohb")
        parts += [
            f"\nRaces in which {titles[mine]} is ahead, ties half\n",
            duel_table(titles, found, AT, mine),
        ]
    parts += ["\n", cost_table(titles, data)]
    values: dict[str, object] = {
        "methods": names,
        "curves": list(data.curves),
        "at": AT,
        "regret": found.tolist(),
    }
    return "\n".join(parts), values


def picture(data: Measured, path: Path) -> None:
    """Draw the median regret and its quartiles over the total budget, on logarithmic axes."""
    at = np.geomspace(1.0, AT[-1], 60)
    found = regrets(data, at.tolist())
    figure = Figure(figsize=(4.6 * len(data.curves), 3.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(data.curves)))
    for j, (name, axes) in enumerate(zip(data.curves, panels, strict=True)):
        for i, chosen in enumerate(data.methods):
            low, middle, high = np.quantile(found[i, j], [0.25, 0.5, 0.75], axis=0)
            axes.plot(at, middle, label=_plain(chosen))
            axes.fill_between(at, low, high, alpha=0.15)
        axes.set(title=name, xlabel="total budget / R", xscale="log", yscale="log")
        axes.grid(visible=True, which="both", alpha=0.2)
    figure.axes[0].set_ylabel("regret: share of ones missing")
    figure.axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str]) -> None:
    """Run the races that are missing, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ones", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(DEFAULT), help=f"of {', '.join(RACERS)}"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="three seeds")
    parser.add_argument(
        "--image", type=Path, default=None, help=f"instead of {IMAGE.relative_to(ROOT)}"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    seeds = 3 if options.quick else options.seeds
    folder = options.output or cache_folder() / "results"
    methods = [method(text, RACERS) for text in options.methods]
    results = stored(folder / "replay")
    setup = Setup(seeds, workers=1, trainings=AT[-1])
    jobs = [
        setup.race(chosen, name, seed)
        for seed in range(seeds)
        for name in synthetic_curves()
        for chosen in methods
    ]
    work_off(jobs, methods, results, options.processes, call, BATCH)
    data = measured(results, methods, synthetic_curves(), setup)
    picture(data, options.image or (folder / "counting-ones.png" if options.quick else IMAGE))
    text, values = report(data)
    write(folder, "ones", f"{seeds} seeds, one worker.\n{text}", values | {"machine": machine()})


def _median(values: FloatArray) -> str:
    return interval_text(float(np.median(values)), *interval(values), 3)


def _plain(chosen: Method) -> str:
    return chosen.title.replace("**", "")
