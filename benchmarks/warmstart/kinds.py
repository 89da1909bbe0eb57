"""What kinds of past studies predict.

Every table is tuned once in each of several ways, by `tune` itself; only in one of them a study
learns from those before it. The model of past studies (`hpo.past`) is fitted to the studies of one
kind on all other tables, and its expectation is compared with the losses of a table's own study of
the first kind. Only the kind of the past differs between the rows.

Studies that exist already are not run again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset, read_index
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import table
from benchmarks.report import machine, write
from benchmarks.warmstart.in_use import tracking_uri, tune
from benchmarks.warmstart.transfer import mean_text, shared
from hpo.arrays import FloatArray
from pipelines.store.knowledge import past_studies
from warmstart.past import PastStudy

TRIALS = 25
REGRESSION_METRIC, CLASS_METRIC = "mae", "accuracy"  # neither is a default
QUICK_TABLES, QUICK_TRIALS, QUICK_KINDS = 6, 6, 2


@dataclass(frozen=True)
class Kind:
    """A kind of past studies.

    Attributes:
        title: its row in the table.
        folder: the name of its tracking store.
        options: of `tune`, beside the default ones.
        other_metric: whether the study has another metric than the default.
    """

    title: str
    folder: str
    options: Mapping[str, object] = field(default_factory=dict)
    other_metric: bool = False

    def options_for(self, dataset: Dataset, trials: int) -> dict[str, object]:
        """The options of a study."""
        metric = {}
        if self.other_metric:
            is_regression = dataset.task == "regression"
            metric = {"metric": REGRESSION_METRIC if is_regression else CLASS_METRIC}
        return {"warm_start": "off", "trials": trials, **metric, **self.options}


KINDS = (
    Kind("the same", "same"),
    Kind("`warm_start=auto`, one after another", "chain", {"warm_start": "auto"}),
    Kind("`algorithm=random`", "random", {"algorithm": "random"}),
    Kind("`algorithm=bohb`", "bohb", {"algorithm": "bohb"}),
    Kind("8 trials", "few", {"trials": 8}),
    Kind("100 rounds", "rounds", {"max_budget": 100}),
    Kind("another metric", "metric", other_metric=True),
    Kind("XGBoost", "xgboost", {"model": "xgboost"}),
)


def studies_of(
    kind: Kind, datasets: Sequence[Dataset], trials: int, folder: Path
) -> list[PastStudy]:
    """The studies of one kind; those that are missing are run."""
    store = folder / kind.folder
    done = store / "done.txt"
    names = set(done.read_text().split()) if done.exists() else set()
    for dataset in datasets:
        if dataset.name not in names:
            seconds = tune(dataset, kind.options_for(dataset, trials), store)
            print(f"{kind.folder}: {dataset.name}, {seconds:.0f} s", flush=True)
            with done.open("a") as file:
                file.write(f"{dataset.name}\n")
    return [*past_studies(tracking_uri(store)).studies]


def report(
    studies: Sequence[PastStudy], kinds: Sequence[tuple[str, Sequence[PastStudy]]]
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values, one row per kind of past."""
    rows, found = [], dict[str, FloatArray]()
    for title, past in kinds:
        found[title] = shared(studies, past)[1]
        less = found[title] - found[kinds[0][0]]
        rows.append([title, str(len(less)), mean_text(found[title]), mean_text(less)])
    head = [
        "kind of the past",
        "tables",
        "correlation of its expectation with the losses",
        f"less that of {kinds[0][0]}",
    ]
    plain = {title: rho.tolist() for title, rho in found.items()}
    return table(head, rows), {"correlations": plain, "machine": machine()}


def main(arguments: Sequence[str]) -> None:
    """Run the studies that are missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks past-kinds", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--tables", nargs="+", default=None, help="their names; all by default")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_KINDS} kinds, {QUICK_TABLES} tables, {QUICK_TRIALS} trials",
    )
    parser.add_argument("--output", type=Path, default=None, help="folder of results and stores")
    options = parser.parse_args(arguments)
    names = options.tables or list(read_index(options.datasets))
    kinds: Sequence[Kind] = KINDS
    if options.quick:
        names, options.trials, kinds = names[:QUICK_TABLES], QUICK_TRIALS, KINDS[:QUICK_KINDS]
    datasets = [find_dataset(options.datasets, name) for name in names]
    folder = options.output or cache_folder() / "results"
    found = [
        (kind.title, studies_of(kind, datasets, options.trials, folder / "past-kinds"))
        for kind in kinds
    ]
    text, values = report(found[0][1], found)
    write(folder, "past-kinds", text, values)
