"""The model object that is scored, logged and served: raw table in, predictions out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.decision import UNDECIDED, Decision
from serving.features import FeatureEncoder, Matrix, TargetEncoder
from serving.members import Member, load_member
from serving.values import FloatArray

SCHEMA = 1
DESCRIPTION = "predictor.json"
ROWS_AT_ONCE = 100_000
MAX_OFF = 1e-3  # by which the probabilities of a row may differ from 1 in all


@dataclass(frozen=True)
class Share:
    """The part of a member in an ensemble.

    Attributes:
        weight: of its prediction in the mean.
        trial: the number of the trial that trained it.
    """

    weight: float
    trial: int


@dataclass(frozen=True)
class Predictor:
    """Preprocessing, and the trained models whose predictions are averaged.

    Attributes:
        features: encodes the columns of the raw table.
        target: turns predictions into labels or original units.
        members: the models: one for each fold, or those of the trials of an ensemble.
        shares: of the members in an ensemble; empty where all count the same.
        decision: how a classifier's probabilities are calibrated and made to labels.
    """

    features: FeatureEncoder
    target: TargetEncoder
    members: tuple[Member, ...]
    shares: tuple[Share, ...] = ()
    decision: Decision = UNDECIDED

    def predict_raw(self, frame: pd.DataFrame) -> FloatArray:
        """`(n, k)` probabilities (k = 2 for binary), or `(n,)` values in original units.

        Raises:
            ValueError: as `FeatureEncoder.transform`.
        """
        starts = range(0, max(len(frame), 1), ROWS_AT_ONCE)  # bounds the memory
        blocks = (frame.iloc[start : start + ROWS_AT_ONCE] for start in starts)
        return np.concatenate([*map(self._predict_block, blocks)])

    def _predict_block(self, frame: pd.DataFrame) -> FloatArray:
        rows = self.features.transform(frame)
        if not len(rows):  # not every model library takes an empty table
            return np.empty((0, len(self.target.classes)) if self.target.classes else 0)
        return self.predict_encoded(rows)

    def predict_encoded(self, rows: Matrix) -> FloatArray:
        """The prediction of `predict_raw`, for rows that `features` has encoded."""
        predictions = [member.predict(rows) for member in self.members]
        weights = [share.weight for share in self.shares] or None
        mean = np.average(predictions, axis=0, weights=weights)
        if self.target.classes:
            _check_sums(mean)
            mean = self.decision.probabilities(mean)
        return np.asarray(self.target.original(mean), dtype=np.float64)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns `prediction` (label or value) and, for each class, `probability_<label>`."""
        return self.table(self.predict_raw(frame), frame.index)

    def table(self, raw: FloatArray, index: pd.Index | None = None) -> pd.DataFrame:
        """Turn a result of `predict_raw` into the columns of `predict`."""
        if self.target.kind == "regression":
            return pd.DataFrame({"prediction": raw}, index=index)
        columns: dict[str, npt.NDArray[Any]] = {
            "prediction": self.target.labels(self.decision.decided(raw))
        }
        for j, label in enumerate(self.target.classes):
            columns[f"probability_{label}"] = raw[:, j]
        return pd.DataFrame(columns, index=index)

    def save(self, directory: Path, members: Sequence[Path], shares: Sequence[Share] = ()) -> None:
        """Write the predictor.

        Args:
            directory: to write to.
            members: the folders that `Trainable.export` made, in order.
            shares: of the members in an ensemble.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for i, member in enumerate(members):
            shutil.copytree(member, directory / f"member-{i}")
        description = {
            "schema": SCHEMA,
            "features": self.features.to_dict(),
            "target": self.target.to_dict(),
            "members": len(members),
            **({"shares": [asdict(share) for share in shares]} if shares else {}),
            **({"decision": self.decision.to_dict()} if self.decision != UNDECIDED else {}),
        }
        text = json.dumps(description, indent=1, allow_nan=False)
        (directory / DESCRIPTION).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Predictor:
        """The inverse of `save`.

        Raises:
            ValueError: if it is incomplete, damaged or of another schema.
        """
        path = directory / DESCRIPTION
        if not path.is_file():
            raise ValueError(f"{directory} is not a predictor: it has no {DESCRIPTION}")
        description = json.loads(path.read_text(encoding="utf-8"))
        if description.get("schema") != SCHEMA:
            raise ValueError(
                f"{path} has schema {description.get('schema')!r}, this version reads {SCHEMA}; "
                "load it with the version that wrote it"
            )
        shares = tuple(Share(**share) for share in description.get("shares", ()))
        _check_shares(path, shares, description["members"])
        folders = (directory / f"member-{i}" for i in range(description["members"]))
        return cls(
            features=FeatureEncoder.from_dict(description["features"]),
            target=TargetEncoder.from_dict(description["target"]),
            members=tuple(map(load_member, folders)),
            shares=shares,
            decision=Decision.from_dict(description.get("decision", {})),
        )


def _check_shares(path: Path, shares: Sequence[Share], n_members: int) -> None:
    """Raise `ValueError` for shares that are not those of as many members."""
    weights = np.array([share.weight for share in shares], dtype=np.float64)
    if shares and not (
        len(shares) == n_members and (weights > 0).all() and np.isfinite(weights).all()
    ):
        raise ValueError(
            f"{path} must give each of the {n_members} members a weight above 0, but has "
            f"{weights.tolist()}; download the model again"
        )


def _check_sums(probabilities: FloatArray) -> None:
    """Raise `ValueError` for probabilities of a row that do not sum to 1."""
    off = np.abs(probabilities.sum(axis=1) - 1.0)
    if (off > MAX_OFF).any():
        row = int(np.nanargmax(off))
        raise ValueError(
            f"the model's probabilities must sum to 1 in each row, but in row {row} they sum to "
            f"{probabilities[row].sum():g}; the model is damaged, train it again"
        )
