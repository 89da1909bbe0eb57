"""The data sets that benchmarks train on.

They lie in one folder: a file `<name>.csv.gz` for each table, and `index.csv` with the columns
`name` and `target` (some benchmarks also need `task` and `metric`).
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import UserError, closest
from pipelines.table.data import Fold, Prepared
from pipelines.table.reading import load_table
from pipelines.table.source import AUTO, Source

WHOLE = 1_000_000  # rows; no table has more


@dataclass(frozen=True)
class Dataset:
    """One line of `index.csv`; `task` and `metric` are empty where the index has no such column."""

    name: str
    target: str
    path: Path
    task: str = ""
    metric: str = ""

    def prepared(self, rows: int = WHOLE, *, task: str | None = None, seed: int = 0) -> Prepared:
        """The table ready for a study; larger tables are sampled down to `rows` rows.

        Args:
            rows: the maximum number of rows, drawn with seed 0.
            task: `regression`, `binary` or `multiclass`; inferred if None.
            seed: of the split into training, validation and test rows.
        """
        frame = load_table(str(self.path))
        frame = frame.sample(min(rows, len(frame)), random_state=0).reset_index(drop=True)
        return Source(frame, self.target, task or AUTO, seed=seed).prepare()

    def fold(self, rows: int = WHOLE) -> Fold:
        """Training and validation rows of the table, sampled down to `rows` rows."""
        return self.prepared(rows).folds[0]


def read_index(folder: Path) -> dict[str, Dataset]:
    """All data sets of a folder, by name."""
    with (folder / "index.csv").open(newline="") as file:
        return {
            row["name"]: Dataset(
                name=row["name"],
                target=row["target"],
                path=(folder / f"{row['name']}.csv.gz").resolve(),
                task=row.get("task", ""),
                metric=row.get("metric", ""),
            )
            for row in csv.DictReader(file)
        }


def find_dataset(folder: Path, name: str) -> Dataset:
    """One data set of a folder.

    Raises:
        UserError: for an unknown name; the message lists the known ones.
    """
    known = read_index(folder)
    if name not in known:
        raise UserError(
            f"unknown table {name!r}{closest(name, known)}; "
            f"{folder / 'index.csv'} lists {', '.join(known)}"
        )
    return known[name]


def add_datasets_option(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--datasets`, the folder of the data sets."""
    parser.add_argument(
        "--datasets", type=Path, required=required, help="folder with index.csv and <name>.csv.gz"
    )
