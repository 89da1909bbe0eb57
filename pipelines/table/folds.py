"""The folds of a search: encoded arrays in memory, and the files in which workers map them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.errors import DataError
from pipelines.table.scores.metrics import Metric
from pipelines.table.splits import Rows
from serving.features import Matrix, TargetEncoder
from serving.values import IntArray

Weights = npt.NDArray[np.float64] | None
SCHEMA = 1
DESCRIPTION = "data.json"
_WITHOUT = ("categorical", "target")  # the files of rows without their numbers


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        kind: binary, multiclass or regression.
        n_classes: 0 for regression.
        loss: of a regression that is trained for another loss than the squared error, as text.
        balance: whether all classes weigh the same in training.
    """

    kind: str
    n_classes: int
    loss: str = ""
    balance: bool = False


@dataclass(frozen=True)
class Fold:
    """One training and validation pair of a search.

    Attributes:
        train: encoded training rows.
        y_train: `(n,)` int64 class codes, or float64 targets standardised over the non-test rows.
        valid: encoded validation rows.
        y_valid: their targets.
        task: what is predicted.
        target: converts targets and predictions to the user's units.
        cardinalities: number of codes of each categorical column; an unknown value is -1.
        monotone: 1, 0 or -1 for each dense column, with which predictions rise, or fall; () for no
            such column.
        index: of the fold, from 0.
        fixed: whether the validation rows are also trained on, so that they must not decide when
            to stop.
        weight_train: `(n,)` weights of the training rows, about 1 on average; None for equal ones.
        weight_valid: the same of the validation rows.
        joined: `(n, p + q)` training rows and then validation rows, where `train.joined` and
            `valid.joined` are parts of one stored array.
    """

    train: Matrix
    y_train: npt.NDArray[Any]
    valid: Matrix
    y_valid: npt.NDArray[Any]
    task: Task
    target: TargetEncoder
    cardinalities: tuple[int, ...] = ()
    index: int = 0
    fixed: bool = False
    weight_train: Weights = None
    weight_valid: Weights = None
    monotone: tuple[int, ...] = ()
    joined: npt.NDArray[np.float64] | None = None

    @property
    def training_weight(self) -> Weights:
        """What models are trained with: the weights of the rows, with equal sums of all classes."""
        if not self.task.balance:
            return self.weight_train
        own = np.ones(len(self.y_train)) if self.weight_train is None else self.weight_train
        sums = np.bincount(self.y_train, own, self.task.n_classes)
        factors = np.divide(
            own.sum() / (sums > 0).sum(), sums, out=np.ones_like(sums), where=sums > 0
        )
        balanced: npt.NDArray[np.float64] = own * factors[self.y_train]
        return balanced

    def score(self, metric: Metric, prediction: npt.NDArray[np.float64]) -> float:
        """Score a prediction of the validation rows, in the user's units.

        Args:
            metric: how to score.
            prediction: `(n, k)` probabilities (k = 2 for binary), or `(n,)` standardised values.
        """
        original = self.target.original
        return metric(original(self.y_valid), original(prediction), self.weight_valid)

    def whole(self, *more: EncodedRows) -> Fold:
        """The fold with the validation rows, and `more`, appended to the training rows."""
        parts = [self.train, self.valid, *(rows.features for rows in more)]
        codes = np.concatenate([part.categorical for part in parts])
        if self.joined is not None and len(self.joined) == len(codes):
            train = Matrix(self.joined[:, : self.train.numeric.shape[1]], codes, self.joined)
        else:
            train = Matrix(np.concatenate([part.numeric for part in parts]), codes)
        y_train = np.concatenate([self.y_train, self.y_valid, *(rows.target for rows in more)])
        weights = [self.weight_train, self.weight_valid, *(rows.weight for rows in more)]
        found = [each for each in weights if each is not None]
        weight = np.concatenate(found) if found else None
        return replace(self, train=train, y_train=y_train, weight_train=weight, fixed=True)


@dataclass(frozen=True)
class EncodedRows:
    """Encoded features of some rows, with their targets `(n,)` and weights `(n,)`, if any."""

    features: Matrix
    target: npt.NDArray[Any]
    weight: Weights = None

    def take(self, rows: IntArray) -> EncodedRows:
        """A copy of the given rows."""
        weight = None if self.weight is None else self.weight[rows]
        return EncodedRows(self.features.take(rows), self.target[rows], weight)

    def save(self, directory: Path, prefix: str = "", *, numeric: bool = True) -> None:
        """Write `.npy` files whose names start with the prefix, with or without the numbers."""
        if self.weight is not None:
            np.save(directory / f"{prefix}weight.npy", self.weight)
        if numeric:
            np.save(directory / f"{prefix}numeric.npy", self.features.numeric)
        np.save(directory / f"{prefix}categorical.npy", self.features.categorical)
        np.save(directory / f"{prefix}target.npy", self.target)

    @classmethod
    def load(
        cls, directory: Path, prefix: str = "", joined: npt.NDArray[np.float64] | None = None
    ) -> EncodedRows:
        """Map the files of `save`: arrays are read-only, and processes share their memory.

        The numbers are those of `joined`, if it is given.
        """
        categorical, target = (_mapped(directory / f"{prefix}{name}.npy") for name in _WITHOUT)
        if joined is None:
            numeric = _mapped(directory / f"{prefix}numeric.npy")
        else:
            numeric = joined[:, : joined.shape[1] - categorical.shape[1]]
        weight = directory / f"{prefix}weight.npy"
        weights = _mapped(weight) if weight.exists() else None
        return cls(Matrix(numeric, categorical, joined), target, weights)


@dataclass(frozen=True)
class Encoding:
    """What all folds of a study have in common."""

    task: Task
    target: TargetEncoder
    cardinalities: tuple[int, ...]
    monotone: tuple[int, ...] = ()

    def fold(self, index: int, train: EncodedRows, valid: EncodedRows) -> Fold:
        """A fold of these rows."""
        return Fold(
            train=train.features,
            y_train=train.target,
            valid=valid.features,
            y_valid=valid.target,
            task=self.task,
            target=self.target,
            cardinalities=self.cardinalities,
            index=index,
            weight_train=train.weight,
            weight_valid=valid.weight,
            monotone=self.monotone,
        )

    def save(self, directory: Path, n_folds: int) -> None:
        """Write the description that `load_folds` and `load_part` read."""
        description = {
            "schema": SCHEMA,
            "folds": n_folds,
            "task": asdict(self.task),
            "target": self.target.to_dict(),
            "cardinalities": list(self.cardinalities),
            "monotone": list(self.monotone),
        }
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> tuple[Encoding, int]:
        """Read the encoding and the number of folds."""
        description = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        if description["schema"] != SCHEMA:
            raise DataError(
                f"{directory} has schema {description['schema']!r}, this version reads {SCHEMA}"
            )
        encoding = cls(
            Task(**description["task"]),
            TargetEncoder.from_dict(description["target"]),
            tuple(description["cardinalities"]),
            tuple(description["monotone"]),
        )
        return encoding, description["folds"]


def save_folds(directory: Path, encoding: Encoding, folds: tuple[Fold, ...]) -> None:
    """Write the arrays of each fold for `load_folds`."""
    directory.mkdir(parents=True, exist_ok=True)
    for fold in folds:
        train = EncodedRows(fold.train, fold.y_train, fold.weight_train)
        valid = EncodedRows(fold.valid, fold.y_valid, fold.weight_valid)
        joined = fold.train.can_be_joined and fold.valid.can_be_joined
        train.save(directory, f"fold-{fold.index}-train-", numeric=not joined)
        valid.save(directory, f"fold-{fold.index}-valid-", numeric=not joined)
        if joined:
            _save_joined(_joined_file(directory, fold.index), fold)
    encoding.save(directory, len(folds))


def load_folds(directory: Path) -> tuple[Fold, ...]:
    """Read all folds that `save_folds` wrote, as read-only mapped arrays.

    Raises:
        DataError: for files of another schema.
    """
    encoding, n_folds = Encoding.load(directory)
    return tuple(_load_fold(directory, encoding, index) for index in range(n_folds))


def _load_fold(directory: Path, encoding: Encoding, index: int) -> Fold:
    train, valid = (f"fold-{index}-{part}-" for part in ("train", "valid"))
    file = _joined_file(directory, index)
    if not file.exists():
        rows = EncodedRows.load(directory, train), EncodedRows.load(directory, valid)
        return encoding.fold(index, *rows)
    joined, n_train = _mapped(file), len(_mapped(directory / f"{train}target.npy"))
    fold = encoding.fold(
        index,
        EncodedRows.load(directory, train, joined[:n_train]),
        EncodedRows.load(directory, valid, joined[n_train:]),
    )
    return replace(fold, joined=joined)


def _save_joined(path: Path, fold: Fold) -> None:
    """Write the training rows and the validation rows as one array.

    LightGBM reads it where it is mapped, also for a model of all these rows, so that no worker
    needs a copy.
    """
    n_train, n_columns = fold.train.shape
    shape = n_train + len(fold.valid), n_columns
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
    fold.train.write(out[:n_train])
    fold.valid.write(out[n_train:])


def _joined_file(directory: Path, index: int) -> Path:
    return directory / f"fold-{index}-joined.npy"


def _mapped(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def save_parts(directory: Path, encoding: Encoding, table: EncodedRows, rows: Rows) -> None:
    """Write the encoded table once, and the row numbers of each fold, for `load_part`."""
    directory.mkdir(parents=True, exist_ok=True)
    table.save(directory)
    for index, (train, valid) in enumerate(rows.folds):
        np.save(directory / f"part-{index}-train.npy", train)
        np.save(directory / f"part-{index}-valid.npy", valid)
    encoding.save(directory, len(rows.folds))


def load_part(directory: Path, index: int) -> Fold:
    """Read one fold of what `save_parts` wrote; its rows are a copy in memory.

    Raises:
        DataError: for files of another schema.
    """
    encoding, _ = Encoding.load(directory)
    table = EncodedRows.load(directory)
    train = np.load(directory / f"part-{index}-train.npy")
    valid = np.load(directory / f"part-{index}-valid.npy")
    return encoding.fold(index, table.take(train), table.take(valid))
