"""The index of the data sets, and tables that are sampled and prepared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import Dataset, find_dataset, read_index
from hpo.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=300), "y": np.where(rng.random(300) < 0.5, "a", "b")}
    )
    frame.to_csv(tmp_path / "coins.csv.gz", index=False)
    (tmp_path / "index.csv").write_text("name,rows,target,task\ncoins,300,y,binary\nothers,9,z,\n")
    return tmp_path


def test_the_index_names_targets_and_files(folder: Path) -> None:
    assert read_index(folder)["coins"] == Dataset(
        "coins", "y", (folder / "coins.csv.gz").resolve(), task="binary", metric=""
    )
    assert list(read_index(folder)) == ["coins", "others"]


def test_an_unknown_table_is_an_error_that_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UserError, match="unknown table 'coin', did you mean 'coins'") as error:
        find_dataset(folder, "coin")
    assert str(error.value).endswith("index.csv lists coins, others")


def test_larger_tables_are_sampled(folder: Path) -> None:
    dataset = find_dataset(folder, "coins")
    fold = dataset.fold(100)
    assert len(fold.train) + len(fold.valid) == 80  # a fifth is held out
    whole = dataset.prepared(task="binary", seed=1)
    assert whole.task.kind == "binary"
    assert len(whole.rows.test) == 60
