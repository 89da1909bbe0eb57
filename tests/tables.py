"""Tables that are ready for a study."""

from typing import Any

import numpy as np
import pandas as pd

from pipelines.table.data import Prepared
from pipelines.table.source import Place, Source


def prepare(data: Place, target: str, **options: Any) -> Prepared:
    """Prepare a table; `options` are further attributes of `Source`."""
    return Source(data, target, **options).prepare()


def regression(rows: int = 120) -> pd.DataFrame:
    """A number that depends on another one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": 10 + 3 * x + rng.normal(size=rows)})
