"""Real studies on small tables, in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import prefork
from tests.stores import empty_database

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A folder with a tracking store of its own."""

    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> "Place":
        """A place with an empty store; copying one is faster than letting MLflow create it."""
        empty_database(folder / "mlflow.db")
        return cls(folder)

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        places = (prefork.shims(str(ROOT)), Path(sys.executable).parent, kept["PATH"])
        return kept | {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "HPO_CACHE_DIR": str(self.folder / "cache"),
            "PATH": os.pathsep.join(map(str, places)),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        with self.start(*command) as process:
            output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def command(self, entry_point: str, **parameters: object) -> tuple[int, str]:
        """`python -m pipelines ENTRY_POINT --name=value …`."""
        _, *arguments = command_line(entry_point, **parameters)
        return self.run(str(prefork.shims(str(ROOT)) / "python"), *arguments)

    def mlflow_run(self, entry_point: str, **parameters: object) -> tuple[int, str]:
        """`mlflow run` of this project."""
        values = [part for name, value in parameters.items() for part in ("-P", f"{name}={value}")]
        mlflow = str(prefork.shims(str(ROOT)) / "mlflow")
        return self.run(
            mlflow, "run", str(ROOT), "-e", entry_point, "--env-manager", "local", *values
        )


def command_line(entry_point: str, **parameters: object) -> list[str]:
    options = [f"--{name}={value}" for name, value in parameters.items()]
    return [sys.executable, "-m", "pipelines", entry_point, *options]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.made_in(tmp_path)


@pytest.fixture(scope="session")
def make_table() -> Callable[[int], pd.DataFrame]:
    def make(rows: int = 400) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                "age": rng.normal(40, 10, rows).round(1),
                "job, title": rng.choice(["clerk", "nurse", "smith"], rows),
                "hours": rng.integers(10, 60, rows),
                "since": pd.Timestamp("2020-01-01")
                + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            }
        )
        signal = (
            (frame["age"] - 40) / 10 + (frame["job, title"] == "nurse") + rng.normal(0, 0.5, rows)
        )
        frame["income"] = np.where(signal > 0.3, "high", "low")
        frame.loc[rng.random(rows) < 0.1, "age"] = np.nan
        return frame

    return make


@pytest.fixture
def table(place: Place, make_table: Callable[[int], pd.DataFrame]) -> Path:
    path = place.folder / "people.csv"
    make_table(400).to_csv(path, index=False)
    return path
