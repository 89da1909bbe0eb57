"""The network with its tuned default against pytabkit's RealMLP-TD.

Both get the same encoded rows and splits, and one thread. Each trains on 64 % of the rows, selects
its best epoch on another 16 % by the same metric, and is scored on the last 20 %. They alternate in
processes of their own, so that a busy machine slows both down alike. CPU seconds are those of
training and preprocessing.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset
from benchmarks.environments import Process, cache, started
from benchmarks.markdown import interval_text, number, table
from benchmarks.methods import Method
from benchmarks.report import machine, write
from benchmarks.statistics import interval, mean_rank, mean_rank_intervals
from hpo.arrays import FloatArray
from pipelines.table.data import Prepared
from pipelines.table.scores.metrics import METRICS
from serving.features import Matrix

OWN = Method(
    "mlp", "**mlp**, tuned default (this project)", "product.mlp_own", settings={"point": 1}
)
PEER = Method("realmlp", "RealMLP-TD (pytabkit)", "product.mlp_realmlp", "pytabkit")
METHODS = (OWN, PEER)
# Tables of every task, size and share of categorical columns. The defaults were chosen on the first
# group.
CHOSEN_ON = (
    *("german_credit", "spambase", "sick_thyroid", "segment", "hpc_jobs", "cmc_contraceptive"),
    *("california_housing", "wine_white", "bike_hour", "ames_housing", "adult_income"),
)
UNSEEN = (
    *("phone_churn", "credit_approval", "bank_marketing", "vehicle", "letter", "splice_dna"),
    *("hypothyroid", "kin8nm", "abalone", "space_ga", "hotel_rates"),
)
ROWS = 8_000


def arrays_of(prepared: Prepared, path: Path) -> None:
    """Write the encoded training, validation and test rows that both sides get."""
    fold = prepared.folds[0]
    parts: dict[str, Matrix] = {
        "train": fold.train,
        "valid": fold.valid,
        "test": prepared.features.transform(prepared.test_frame),
    }
    encoded: dict[str, Any] = {f"{part}_numeric": rows.numeric for part, rows in parts.items()}
    encoded |= {f"{part}_categorical": rows.categorical for part, rows in parts.items()}
    encoded |= {
        "kind": prepared.task.kind,
        "n_classes": prepared.task.n_classes,
        "cardinalities": np.array(fold.cardinalities, dtype=np.int64),
        "mean": prepared.target.mean,
        "scale": prepared.target.scale,
        "train_y": fold.y_train,
        "valid_y": fold.y_valid,
    }
    np.savez(path, **encoded)


def race(
    dataset: Dataset, seed: int, rows: int, processes: Mapping[str, Process], folder: Path
) -> dict[str, Any]:
    """Train both sides on one split of one table.

    The result has the score on the test rows, the error and the CPU seconds of each side.
    """
    prepared = dataset.prepared(rows, task=dataset.task, seed=seed)
    path = folder / f"{dataset.name}-{seed}.npz"
    arrays_of(prepared, path)
    metric = dataset.metric
    result: dict[str, Any] = {"table": dataset.name, "seed": seed, "metric": metric}
    for method in METHODS if seed % 2 == 0 else METHODS[::-1]:
        answer = processes[method.name].call(call="run", arrays=str(path), metric=metric, seed=seed)
        score = METRICS[metric](prepared.y_test, np.load(answer["prediction"]))
        result[method.name] = {
            "score": score,
            "error": 1 - score,
            "cpu_seconds": answer["cpu_seconds"],
        }
    return result


def errors(results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], FloatArray]:
    """The tables, and errors `(methods, tables, seeds)` of the seeds that every table has."""
    names = tuple(dict.fromkeys(str(result["table"]) for result in results))
    by_race = {(result["table"], result["seed"]): result for result in results}
    every = sorted({result["seed"] for result in results})
    seeds = [seed for seed in every if all((name, seed) in by_race for name in names)]
    found = np.zeros((len(METHODS), len(names), len(seeds)))
    for i, j, k in np.ndindex(found.shape):
        found[i, j, k] = by_race[names[j], seeds[k]][METHODS[i].name]["error"]
    return names, found


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mean ranks over all races, errors and CPU seconds by table."""
    names, cells = errors(results)
    ranks, bounds = mean_rank(cells), mean_rank_intervals(cells)
    own, peer = (_cpu_seconds(results, method) for method in METHODS)
    rows = []
    for method, rank, (low, high), seconds in zip(METHODS, ranks, bounds, (own, peer), strict=True):
        mean = interval_text(rank, low, high, 2)
        rows.append([method.title, mean, number(float(seconds.sum()))])
    smallest = 1e-4  # so that a table without errors has a ratio
    own_errors, peer_errors = np.log(np.maximum(cells, smallest))
    relative = (own_errors - peer_errors).mean(axis=1)  # (tables,)
    lines = [
        f"{len(names)} tables, {cells.shape[2]} splits of each; "
        "errors are 1 - ROC AUC, 1 - accuracy, 1 - R²\n",
        table(["", "mean rank", "CPU seconds, sum"], rows),
        f"Error against RealMLP's, geometric mean over tables: {np.exp(relative.mean()):.3f} "
        f"{_bounds(np.exp(np.array(interval(relative, np.mean))))}; "
        f"CPU seconds against RealMLP's: sums {own.sum() / peer.sum():.2f}, "
        f"median {np.median(own / peer):.2f} {_bounds(np.array(interval(own / peer)))}\n",
        table(
            ["table", *(method.title for method in METHODS), "races won", "CPU ratio"],
            [_row(name, cells[:, j], results) for j, name in enumerate(names)],
        ),
    ]
    return "\n".join(lines)


def _cpu_seconds(results: Sequence[Mapping[str, Any]], method: Method) -> FloatArray:
    return np.array([result[method.name]["cpu_seconds"] for result in results])


def _bounds(found: FloatArray) -> str:
    return f"[{found[0]:.3f}, {found[1]:.3f}]"


def _row(name: str, cells: FloatArray, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cells of one table from errors `(methods, seeds)`."""
    own, peer = cells
    races = [result for result in results if result["table"] == name]
    ratios = _cpu_seconds(races, OWN) / _cpu_seconds(races, PEER)
    won = float((own < peer).sum() + 0.5 * (own == peer).sum())
    mean = [f"{errors.mean():.4f}" for errors in cells]
    return [name, *mean, f"{won:g} of {len(own)}", f"{np.median(ratios):.2f}"]


def main(arguments: Sequence[str]) -> None:
    """Run the races that are missing (with `--fresh` all of them) and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mlp", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=[*CHOSEN_ON, *UNSEEN])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="the maximum; larger tables are sampled"
    )
    parser.add_argument("--fresh", action="store_true", help="run all races again")
    parser.add_argument("--quick", action="store_true", help="three small tables, once")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tables, options.seeds = ["vehicle", "german_credit", "space_ga"], 1
    output = options.output or cache() / "results"
    kept = output / f"mlp-{options.rows}.jsonl"
    if options.fresh:
        kept.unlink(missing_ok=True)
    results = _all(options.datasets, options.tables, range(options.seeds), options.rows, kept)
    write(output, "mlp", summary(results), {"races": results, "machine": machine()})


def _all(
    datasets: Path, names: Sequence[str], seeds: Sequence[int], rows: int, kept: Path
) -> list[dict[str, Any]]:
    kept.parent.mkdir(parents=True, exist_ok=True)
    before = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(r["table"], r["seed"]): r for r in before}
    with (
        tempfile.TemporaryDirectory() as folder,
        started(OWN) as own,
        started(PEER) as peer,
        kept.open("a") as log,
    ):
        processes = {OWN.name: own, PEER.name: peer}
        for seed in seeds:
            for name in names:
                if (name, seed) not in done:
                    done[name, seed] = race(
                        find_dataset(datasets, name), seed, rows, processes, Path(folder)
                    )
                    print(json.dumps(done[name, seed]), file=log, flush=True)
    return [done[name, seed] for seed in seeds for name in names]
