"""CPU time that a race saves when promoted trials continue instead of training from scratch.

Random configurations are trained to the rungs leg by leg through saved files, as in a study, and
from scratch to each rung. In a race with eta = 3, 27 trials reach the first of four rungs for one
that reaches the last; costs are weighted accordingly.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import add_datasets_option, find_dataset
from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.report import machine, write
from hpo.arrays import FloatArray
from hpo.space.parameters import Params
from pipelines.models import FamilyOptions
from pipelines.models.catalog import family, settings
from pipelines.table.scores.metrics import METRICS

RUNGS = (37, 111, 333, 1000)
TRIALS = np.array([27.0, 9.0, 3.0, 1.0])
TABLE = "adult_income"
SEED = 0


def continued(trainer: Any, params: Params, folder: Path) -> FloatArray:
    """CPU seconds `(rungs, 3)` to read the model of the last leg, to train, and to write."""
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


def from_scratch(trainer: Any, params: Params) -> FloatArray:
    """CPU seconds `(rungs,)` of a training from scratch to each rung."""
    seconds = np.zeros(len(RUNGS))
    for i, rung in enumerate(RUNGS):
        start = time.process_time()
        trainer.start(params, SEED).train(rung)
        seconds[i] = time.process_time() - start
    return seconds


def shares(legs: FloatArray, whole: FloatArray) -> FloatArray:
    """The share of CPU time that a race saves, and three related shares.

    These are: what it would save if reading and writing were free, the share of reading, and that
    of writing. The first two are relative to the race from scratch, the others to the one that
    continues. `legs` are CPU seconds from `continued`, `whole` those from `from_scratch`.
    """
    paid, full = TRIALS @ legs.sum(axis=1), TRIALS @ whole
    ideal = TRIALS @ np.diff(whole, prepend=0.0).clip(min=0.0)
    return np.array([1 - paid / full, 1 - ideal / full, *(TRIALS @ legs[:, [0, 2]] / paid)])


def main(arguments: Sequence[str]) -> None:
    """Train the configurations and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks continuing", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--configurations", type=int, default=9)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    fold, rows = find_dataset(options.datasets, TABLE).fold(), []
    for model in ("lightgbm", "xgboost"):
        space = settings(model, kind=fold.task.kind, has_categorical=True).space
        trainer = family(model)(fold, FamilyOptions(METRICS["roc_auc"], 1, horizon=RUNGS[-1]))
        drawn = [
            space.sample(np.random.default_rng([SEED, i])) for i in range(options.configurations)
        ]
        trainer.start(drawn[0], SEED).train(1)
        with tempfile.TemporaryDirectory() as folder:
            # the rows are binned once for each way of training, which no leg should pay for
            continued(trainer, drawn[0], Path(folder) / "warm")
            found = []
            for i, params in enumerate(drawn):
                legs = continued(trainer, params, Path(folder) / str(i))
                found.append(shares(legs, from_scratch(trainer, params)))
        middle, low, high = np.median(found, axis=0), np.min(found, axis=0), np.max(found, axis=0)
        spread = (
            f"{100 * m:.0f} % ({100 * a:.0f} to {100 * b:.0f})"
            for m, a, b in zip(middle, low, high, strict=True)
        )
        rows.append([model, *spread])
    text = table(["model", "saved", "if going on were free", "reading", "writing"], rows)
    write(options.output, "continuing", text, {"machine": machine(), "rows": rows})
