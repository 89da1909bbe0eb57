"""A place for workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.objectives.jobs import Work
from pipelines.table.data import Prepared
from tests.pipelines.objectives.training.workers import RUNGS, Place
from tests.tables import prepare


@pytest.fixture(scope="package")
def prepared() -> Prepared:
    rng = np.random.default_rng(1)
    x, colour = rng.normal(size=(160, 3)), rng.choice(["red", "green", "blue"], 160)
    y = np.where(x[:, 0] + (colour == "red") + 0.5 * rng.normal(size=160) > 0.3, "yes", "no")
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "colour": colour, "y": y})
    return prepare(frame, "y", validation="cv:2")


@pytest.fixture
def place(tmp_path: Path, prepared: Prepared) -> Callable[..., Place]:
    def make(model: str, **changes: Any) -> Place:
        folder = tmp_path / f"session-{len(list(tmp_path.iterdir()))}"
        values = {"rungs": RUNGS, "checkpoints": str(folder / "checkpoints"), **changes}
        return Place(folder, prepared, Work(model, "log_loss", seed=3, threads=1, **values))

    return make
