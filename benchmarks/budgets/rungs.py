"""How well low budgets rank configurations, compared with full trainings.

A rung that is a fraction of a training can be made in several ways (`benchmarks.budgets.ways`).
Each is judged by Spearman's correlation of its losses with those at the full budget, by the share
of the final best quarter that its best third keeps, and by its CPU seconds as a share of the full
ones.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.budgets.judging import (
    COST,
    Result,
    end_ratios,
    finals,
    halving,
    halving_regrets,
    judged,
    nan_last,
)
from benchmarks.budgets.ways import DIVISORS, FULL, LARGE_DIVISORS, measure, measure_large
from benchmarks.datasets import add_datasets_option
from benchmarks.environments import cache
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import interval
from benchmarks.tabulated.curves import CURVES_FOLDER
from benchmarks.tabulated.efforts import LARGE_TABLES, RACES
from hpo.arrays import FloatArray

_BOOSTED = (
    "german_credit",
    "phone_churn",
    "spambase",
    "hmda_mortgage",
    "cmc_contraceptive",
    "vehicle",
    "abalone",
    "kin8nm",
    "ames_housing",
    "garment_productivity",
)
TABLES = {
    "lightgbm": _BOOSTED,
    "xgboost": _BOOSTED,
    "mlp": ("spambase", "cmc_contraceptive", "abalone", "kin8nm"),
}
CONFIGURATIONS = {"lightgbm": 24, "xgboost": 24, "mlp": 12}
LARGE_CONFIGURATIONS = 16
COSTS = (4.0, 8.0, 16.0)  # of the longer races, in full trainings


def shipped(model: str) -> list[dict[str, Any]]:
    """The uniform configurations of a model's tabulated learning curves, as results of one way."""
    out = []
    for path in sorted(CURVES_FOLDER.glob(f"{model}-*.npz")):
        with np.load(path) as arrays:
            n = RACES.uniform[model]
            found = {name: arrays[name][:n].tolist() for name in ("losses", "seconds")}
        out.append({"table": path.stem, "ways": {"rounds": found}})
    return out


def longer_races(models: Iterable[str]) -> str:
    """Successive halving at higher costs, on tabulated learning curves of more configurations."""
    rows = []
    for model in models:
        results = shipped(model)
        if not results:
            continue
        regrets = np.array([halving_regrets("rounds", result, COSTS) for result in results])
        for i, cost in enumerate(COSTS):
            title = f"{model}, {len(results)} tables, {cost:g} trainings"
            rows.append([title, *_means(regrets[:, i])])
    starts = [f"from R/{divisor}" for divisor in DIVISORS]
    return table(["halving, rounds", *starts, "from R"], rows)


def tables_of(model: str, results: Sequence[Result]) -> str:
    """The Markdown tables of one model: means over tables, with bootstrap intervals over tables."""
    again = [[float(spearmanr(*map(nan_last, finals(result)))[0])] for result in results]
    alone = [[halving("rounds", result, len(DIVISORS), round(COST))[0]] for result in results]
    intro = (
        f"**{model}**, R = {FULL[model]}, {len(results)} tables. "
        f"Two seeds at R: ρ {_means(np.array(again))[0]}. "
        f"The best of {COST:g} full trainings: regret {_means(np.array(alone))[0]}."
    )
    parts = [intro, _rank_table(results), _halving_table(results), _end_table(results)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _rank_table(results: Sequence[Result]) -> str:
    judgements = [judged(result) for result in results]
    rungs = [f"R/{divisor}" for divisor in DIVISORS]
    rows = []
    for way in judgements[0]:
        of = [judgement[way] for judgement in judgements]
        seconds = np.mean([judgement.seconds for judgement in of], axis=0)
        rows.append(
            [
                way,
                *_means([judgement.correlation for judgement in of]),
                *_means([judgement.kept for judgement in of]),
                ", ".join(f"{share:.0%}" for share in seconds),
            ]
        )
    ranks, kept = [f"ρ at {rung}" for rung in rungs], [f"kept at {rung}" for rung in rungs]
    return table(["fidelity", *ranks, *kept, "CPU of R"], rows)


def _halving_table(results: Sequence[Result]) -> str:
    header = [f"halving at the cost of {COST:g} trainings"]
    header += [f"from R/{divisor}" for divisor in DIVISORS]
    rows = []
    for way in results[0]["ways"]:
        rows.append([way, *_means([halving_regrets(way, result)[0, :-1] for result in results])])
    return table(header, rows)


def _end_table(results: Sequence[Result]) -> str:
    header = ["final loss over that of plain training", "best configuration", "median"]
    rows = [[way, *_means(ratios, 3)] for way, ratios in end_ratios(results).items()]
    return table(header, rows)


def large_table(results: Sequence[Result]) -> str:
    """The Markdown table of whole tables: a row for each model, table and way; no intervals."""
    rungs = [f"R/{divisor}" for divisor in LARGE_DIVISORS]
    header = ["model", "table", "training rows", "fidelity", *(f"ρ at {rung}" for rung in rungs)]
    rows = [
        [
            *(result["model"], result["table"], f"{result['rows']:,}", way),
            *(f"{value:.2f}" for value in judgement.correlation),
            ", ".join(f"{value:.2f}" for value in judgement.kept),
            ", ".join(f"{value:.0%}" for value in judgement.seconds),
        ]
        for result in results
        for way, judgement in judged(result, len(LARGE_DIVISORS)).items()
    ]
    return table([*header, "kept", "CPU of R"], rows)


def _means(
    values: Sequence[FloatArray | Sequence[float]] | FloatArray, decimals: int = 2
) -> list[str]:
    """Means of each column with intervals over tables, of values `(tables, columns)`."""
    return [
        interval_text(float(np.mean(column)), *interval(column, np.mean), decimals)
        for column in np.array(values).T
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rungs", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--models", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--tables", nargs="+", default=None, help="instead of the models' tables")
    parser.add_argument(
        "--large", action="store_true", help="whole tables instead; boosting, rounds and rows only"
    )
    parser.add_argument("--configurations", type=int, default=None)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    folder = options.output / "rungs"
    folder.mkdir(parents=True, exist_ok=True)
    if options.large:
        _large(options, folder)
        return
    jobs = [(model, name) for model in options.models for name in options.tables or TABLES[model]]
    _measure_missing(jobs, options, folder)
    found = {
        model: [json.loads(_path(folder, *job).read_text()) for job in jobs if job[0] == model]
        for model in options.models
    }
    texts = [tables_of(model, results) for model, results in found.items()]
    text = "\n".join([*texts, longer_races(found)])
    figures = {model: [_figures(result) for result in results] for model, results in found.items()}
    write(options.output, "rungs", text, {"machine": machine(), "figures": figures})


def _measure_missing(
    jobs: Sequence[tuple[str, str]], options: argparse.Namespace, folder: Path
) -> None:
    """Measure the jobs (model, table) that have no file yet."""
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = {}
        for model, name in jobs:
            if not _path(folder, model, name).exists():
                n = options.configurations or CONFIGURATIONS[model]
                waiting[model, name] = pool.submit(measure, model, name, options.datasets, n)
        for job, future in waiting.items():
            _path(folder, *job).write_text(json.dumps(future.result()))
            print(*job, flush=True)


def _large(options: argparse.Namespace, folder: Path) -> None:
    n = options.configurations or LARGE_CONFIGURATIONS
    results = []
    for name in options.tables or LARGE_TABLES:
        for model in (model for model in options.models if model != "mlp"):
            path = folder / f"large-{model}-{name}.json"
            if not path.exists():
                path.write_text(json.dumps(measure_large(model, name, options.datasets, n)))
                print(model, name, flush=True)
            results.append(json.loads(path.read_text()))
    write(options.output, "rungs-large", large_table(results), {"machine": machine()})


def _path(folder: Path, model: str, name: str) -> Path:
    return folder / f"{model}-{name}.json"


def _figures(result: Result) -> Mapping[str, Any]:
    found = {
        way: {
            "correlation": judgement.correlation.tolist(),
            "kept": judgement.kept.tolist(),
            "seconds": judgement.seconds.tolist(),
        }
        for way, judgement in judged(result).items()
    }
    return {"table": result["table"], "ways": found}
