"""What going on saves: a race whose promoted trials go on, against one that trains every rung from nothing.

Random configurations are trained to the rungs leg by leg through saved files, as in a study, and
anew to each rung. A race with eta = 3 has 27 trials at the first of four rungs for each one at the
last, and pays accordingly.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import cache
from benchmarks.report import machine, table, write
from benchmarks.tabulated.make_surfaces import load_fold
from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models.catalog import family, settings
from pipelines.table.metrics import METRICS

RUNGS = (37, 111, 333, 1000)
TRIALS = np.array([27.0, 9.0, 3.0, 1.0])
TABLE = "adult_income"
WHOLE = 1_000_000
SEED = 0


def continued(trainer: Any, params: Params, folder: Path) -> FloatArray:
    """CPU seconds `(rungs, 3)` of the legs: to read the model of the last one, to train, and to write it."""
    seconds = np.zeros((len(RUNGS), 3))
    for leg, rung in enumerate(RUNGS):
        clock = [time.process_time()]
        trial = trainer.resume(params, SEED, folder) if leg else trainer.start(params, SEED)
        clock.append(time.process_time())
        trial.train(rung)
        clock.append(time.process_time())
        if rung < RUNGS[-1]:
            trial.save(folder)
        clock.append(time.process_time())
        seconds[leg] = np.diff(clock)
    return seconds


def anew(trainer: Any, params: Params) -> FloatArray:
    """CPU seconds `(rungs,)` of one training to each rung."""
    seconds = np.zeros(len(RUNGS))
    for i, rung in enumerate(RUNGS):
        start = time.process_time()
        trainer.start(params, SEED).train(rung)
        seconds[i] = time.process_time() - start
    return seconds


def shares(legs: FloatArray, whole: FloatArray) -> FloatArray:
    """What a race saves, what it would save if going on were free, and the shares of reading and of writing.

    The first two are shares of the race from nothing, the others of the race that goes on.
    """
    paid, full = TRIALS @ legs.sum(axis=1), TRIALS @ whole
    ideal = TRIALS @ np.diff(whole, prepend=0.0).clip(min=0.0)
    return np.array([1 - paid / full, 1 - ideal / full, *(TRIALS @ legs[:, [0, 2]] / paid)])


def main(arguments: Sequence[str]) -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks continuing", description=__doc__)
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder with index.csv and <name>.csv.gz"
    )
    parser.add_argument("--configurations", type=int, default=9)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    fold, rows = load_fold(options.datasets, TABLE, WHOLE), []
    for model in ("lightgbm", "xgboost"):
        space = settings(model, kind=fold.task.kind, has_categorical=True).space
        trainer = family(model)(fold, METRICS["roc_auc"], 1, horizon=RUNGS[-1])
        drawn = [
            space.sample(np.random.default_rng([SEED, i])) for i in range(options.configurations)
        ]
        trainer.start(drawn[0], SEED).train(1)
        with tempfile.TemporaryDirectory() as folder:
            continued(
                trainer, drawn[0], Path(folder) / "warm"
            )  # both pairs of binned rows are made once
            found = [
                shares(continued(trainer, params, Path(folder) / str(i)), anew(trainer, params))
                for i, params in enumerate(drawn)
            ]
        middle, low, high = np.median(found, axis=0), np.min(found, axis=0), np.max(found, axis=0)
        spread = (
            f"{100 * m:.0f} % ({100 * a:.0f} to {100 * b:.0f})"
            for m, a, b in zip(middle, low, high, strict=True)
        )
        rows.append([model, *spread])
    text = table(["model", "saved", "if going on were free", "reading", "writing"], rows)
    write(options.output, "continuing", text, {"machine": machine(), "rows": rows})
