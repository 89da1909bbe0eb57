"""`pbt` beside `bohb` at equal epochs, on a torch network whose values may change meanwhile."""

import argparse
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset
from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.report import machine, write
from hpo.algorithms import algorithm
from hpo.rungs import Budgets
from hpo.space import Categorical, Float, Params, SearchSpace
from hpo.space.center import center
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report, Trial

TABLES = ("phone_churn", "german_credit", "segment")
ROWS, TRAIN, VALIDATE = 2_000, 0.6, 0.2  # of a table, at most; shares of them
EPOCHS, INTERVAL, FULL_TRAININGS, WIDTH = 27, 3, 8, 128
DIVERGED = 50.0  # the loss of a network that is no number
SPACE = SearchSpace(
    (
        Float("lr", 1e-4, 1e-1, log=True),
        Float("weight_decay", 1e-6, 1e-1, log=True),
        Float("dropout", 0.0, 0.6),
        Categorical("batch", (64, 128, 256)),
    )
)
RUNGS = {
    "pbt": tuple(float(budget) for budget in range(INTERVAL, EPOCHS + 1, INTERVAL)),
    "bohb": Budgets(1, EPOCHS, 3.0).rungs,
}

Rows = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Network:
    """Trains one network for each trial, from the checkpoint of an earlier leg.

    Attributes:
        train: features `(n, d)` and classes `(n,)`.
        valid: the rows that score a leg.
        test: the held-out rows.
        seed: of the weights and of the order of rows.
        checkpoints: the states by trial and epochs.
    """

    train: Rows
    valid: Rows
    test: Rows
    seed: int
    checkpoints: dict[tuple[int, float], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "Network":
        """The rows of a table, drawn and divided at random."""
        frame = pd.read_csv(dataset.path).dropna(subset=[dataset.target])
        y = pd.factorize(frame.pop(dataset.target), sort=True)[0]
        x = pd.get_dummies(frame, dtype=float)
        x = x.loc[:, x.nunique() > 1]
        x = x.fillna(x.median())
        scaled = ((x - x.mean()) / x.std()).clip(-5, 5).to_numpy(np.float32)
        order = np.random.default_rng(seed).permutation(len(y))[:ROWS]
        ends = [int(TRAIN * len(order)), int((TRAIN + VALIDATE) * len(order))]
        parts = [
            (torch.from_numpy(scaled[i]), torch.from_numpy(y[i])) for i in np.split(order, ends)
        ]
        return cls(parts[0], parts[1], parts[2], seed)

    def leg(self, trial: Trial, start: float) -> tuple[float, float]:
        """Train a trial up to its budget; the log loss of validation and of held-out rows."""
        torch.manual_seed(1_000 * self.seed + trial.number)
        network, optimizer = self._new(trial.params)
        if start > 0:
            source = trial.number if trial.reports or trial.parent is None else trial.parent
            weights, state = self.checkpoints[source, start]
            network.load_state_dict(weights)
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:
                group |= _rates(trial.params)
        self._train(network, optimizer, int(trial.budget - start), int(trial.params["batch"]))
        states = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
        self.checkpoints[trial.number, trial.budget] = states
        return self._loss(network, self.valid), self._loss(network, self.test)

    def _new(self, params: Params) -> tuple[torch.nn.Sequential, torch.optim.Optimizer]:
        classes = int(max(y.max() for _, y in (self.train, self.valid, self.test))) + 1
        layers: list[torch.nn.Module] = []
        for inputs in (self.train[0].shape[1], WIDTH):
            dropout = torch.nn.Dropout(float(params["dropout"]))
            layers += [torch.nn.Linear(inputs, WIDTH), torch.nn.ReLU(), dropout]
        network = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, classes))
        rate, decay = _rates(params).values()
        return network, torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)

    def _train(
        self,
        network: torch.nn.Sequential,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        batch: int,
    ) -> None:
        x, y = self.train
        network.train()
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(y)), batch):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(x[rows]), y[rows])
                torch.autograd.backward(loss)
                optimizer.step()

    @staticmethod
    def _loss(network: torch.nn.Sequential, rows: Rows) -> float:
        network.eval()
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(network(rows[0]), rows[1]))
        return loss if math.isfinite(loss) else DIVERGED


def _rates(params: Params) -> dict[str, float]:
    return {"lr": float(params["lr"]), "weight_decay": float(params["weight_decay"])}


def search(name: str, network: Network, seed: int) -> dict[str, float]:
    """The best trial of a search of so many epochs: its losses, and the epochs of the search."""
    sampler, scheduler = algorithm(name, RUNGS[name], 3.0)
    first = (FirstPoint(center(SPACE), "center"),)
    study = Study(
        SPACE,
        sampler,
        scheduler,
        MemoryStorage(),
        seed=seed,
        settings=StudySettings(first_points=first),
    )
    spent, best = 0.0, (math.inf, math.inf)
    while spent < FULL_TRAININGS * EPOCHS and (trial := study.ask()) is not None:
        start = study.start_of(trial)
        losses = network.leg(trial, start)
        spent += trial.budget - start
        study.tell(trial.number, Report(trial.budget, losses[0]))
        best = min(best, losses)
    return {"epochs": spent, "validation": best[0], "held_out": best[1]}


def main(arguments: Sequence[str]) -> None:
    """Run the searches and print the losses of their best trials."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks population", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=cache() / "results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [
        {"table": name, "seed": seed, "algorithm": each}
        | search(each, Network.of(find_dataset(options.datasets, name), seed), seed)
        for name in options.tables
        for seed in range(options.seeds)
        for each in RUNGS
    ]
    write(options.output, "population", shown(rows), {"machine": machine(), "rows": rows})


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The losses of the best trials, and who is ahead on the held-out rows."""
    names = list(RUNGS)
    lines = [*_lines(rows, names)]
    return table(["table", "seed", *(f"{n}: held-out (epochs)" for n in names), "ahead"], lines)


def _lines(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[list[str]]:
    for name, seed in dict.fromkeys((row["table"], row["seed"]) for row in rows):
        here = [row for row in rows if (row["table"], row["seed"]) == (name, seed)]
        found = {row["algorithm"]: row for row in here}
        losses = [found[n]["held_out"] for n in names]
        cells = [f"{found[n]['held_out']:.3f} ({found[n]['epochs']:.0f})" for n in names]
        yield [name, str(seed), *cells, names[int(np.argmin(losses))]]
