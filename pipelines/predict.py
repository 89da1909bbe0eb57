"""Entry point `predict`: adds the predictions of a model to a table."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpo.errors import DataError, ParameterError, UserError, counted
from pipelines.store.autologging import without_autologging

_VERSION = re.compile(r"(?P<name>[^/:@]+)(?:@(?P<alias>[^/:@]+)|/(?P<version>\d+))")
_WRITERS: Mapping[str, Callable[[pd.DataFrame, str], object]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".csv.gz": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.reset_index(drop=True).to_feather(path),
}


@dataclass(frozen=True)
class Predictions:
    """What `predict` wrote.

    Attributes:
        output: The file.
        rows: How many there are.
        columns: Those that were added.
        seconds: Spent on predicting, without reading and writing.
    """

    output: str
    rows: int
    columns: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        """Where they are."""
        rate = self.rows / max(self.seconds, 1e-9)
        return (
            f"{counted(self.rows, 'row')} predicted in {self.seconds:.2g} s "
            f"({rate:,.0f} a second): columns {', '.join(self.columns)} in {self.output}"
        )


@without_autologging()
def predict(model: str, data: str | Path | pd.DataFrame, output: str | Path) -> Predictions:
    """Add the predictions of a model to a table.

    The output has the columns of the table, then `prediction`, and for classes their probabilities.

    Args:
        model: NAME@ALIAS or NAME/VERSION of a registered model, or any URI of a logged model.
        data: The table: CSV (compressed too), Parquet or Feather, as a path or a URI.
        output: The file to write: .csv, .csv.gz, .parquet or .feather.

    Raises:
        UserError: If the model is not one of this project, the table lacks a column of it, or the
            output cannot be written.
    """
    from pipelines.registry.versions import read_predictor
    from pipelines.store.tracking import connect
    from pipelines.table.reading import read_table, with_text_names

    path = str(output)
    write = _writer(path)
    connect(reading=True)
    frame = with_text_names(read_table(data))
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        predictor, _ = read_predictor(_uri(model), model, Path(folder))
        began = time.monotonic()
        try:
            found = predictor.predict(frame)
        except ValueError as error:
            raise DataError(f"{model} cannot predict this table: {error}") from error
        seconds = time.monotonic() - began
    taken = [name for name in found.columns if name in frame.columns]
    if taken:
        raise ParameterError(
            f"the table has a column {taken[0]!r} already; rename it, since predictions get this "
            "name"
        )
    try:
        tables = [frame.reset_index(drop=True), found.reset_index(drop=True)]
        write(pd.concat(tables, axis=1), path)
    except OSError as error:
        raise UserError(f"output={path!r} cannot be written: {error.strerror or error}") from error
    return Predictions(path, len(frame), tuple(map(str, found.columns)), seconds)


def _uri(model: str) -> str:
    """The URI of a registered model that is named in short, or the URI itself."""
    return f"models:/{model}" if _VERSION.fullmatch(model) else model


def _writer(path: str) -> Callable[[pd.DataFrame, str], object]:
    """How a file of this name is written.

    Raises:
        ParameterError: For another ending.
    """
    for ending, write in _WRITERS.items():
        if path.lower().endswith(ending):
            return write
    raise ParameterError(f"output={path!r} must end in {', '.join(_WRITERS)}")
