"""CatBoost, continued with `init_model`.

CatBoost trains many rounds with one call and reports only metrics of its own meanwhile. A leg
therefore grows many rounds with one call and scores them afterwards, tree by tree; the rounds after
the one at which training stops are dropped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catboost import CatBoost as Model
from catboost import Pool
from scipy.special import expit, softmax

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import BoostingFamily, Grower
from pipelines.models.legs import grown_ahead, leg_seed
from pipelines.table.data import Task
from pipelines.table.scores.losses import Loss
from serving.catboost import features
from serving.features import Matrix

_LOSSES = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}
_HUBER_DELTA = 1.0  # of the standardised target


class CatBoost(BoostingFamily):
    """CatBoost on one fold."""

    name = "catboost"
    file = "model.cbm"

    @cached_property
    def train(self) -> Pool:
        """The training rows."""
        fold = self.watch.fold
        return Pool(features(fold.train), fold.y_train, weight=fold.training_weight)

    @cached_property
    def valid(self) -> Pool:
        """The validation rows."""
        return Pool(features(self.watch.fold.valid))

    def grow(
        self, params: Params, seed: int, earlier: Any | None, rounds: tuple[int, int]
    ) -> Grower:
        """A model that continues the trees of `earlier`."""
        leg = _Leg(self, self.native(params), seed, earlier, rounds)
        return Grower(leg, leg.boost, lambda: leg.after, leg.predict)

    def predict(self, model: Any, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        raw = _model(model).predict(
            Pool(features(rows)),
            prediction_type="RawFormulaVal",
            ntree_end=size,
            thread_count=self.threads,
        )
        return linked(np.asarray(raw), self.watch.fold.task)

    @property
    def serving_facts(self) -> dict[str, Any]:
        """Whether the model predicts logarithms."""
        return {"logarithmic": is_logarithmic(self.watch.fold.task)}

    def dump(self, model: Any, size: int | None) -> bytes:
        """CatBoost's binary format."""
        whole = _model(model)
        if size is not None and size < whole.tree_count_:
            whole = whole.copy()
            whole.shrink(ntree_end=size)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file
            whole.save_model(str(path), format="cbm")
            return path.read_bytes()

    def scores(self, model: Any) -> Mapping[str, FloatArray]:
        """None: the next leg predicts the rows again."""
        return {}

    def parse(self, content: bytes, params: Params, scores: Mapping[str, FloatArray]) -> Any:
        """The model of an undamaged file."""
        # Not `blob=`: such a model keeps pointers into the bytes, also after they are freed.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file
            path.write_bytes(content)
            return Model().load_model(str(path))

    def native(self, params: Params) -> dict[str, Value]:
        """The parameters that CatBoost gets."""
        task, signs = self.watch.fold.task, self.watch.fold.monotone
        return {
            **({"monotone_constraints": f"({','.join(map(str, signs))})"} if signs else {}),
            **self.description.canonical(params),
            **({"classes_count": task.n_classes} if task.kind == "multiclass" else {}),
            "loss_function": _loss_function(task),
            "boosting_type": "Plain",
            "boost_from_average": False,
            "allow_writing_files": False,
            "logging_level": "Silent",
            "thread_count": self.threads,
        }


class _Leg:
    """Grows the trees of one leg ahead of the round that is scored; it holds the model."""

    def __init__(
        self,
        family: CatBoost,
        native: dict[str, Value],
        seed: int,
        earlier: Any | None,
        rounds: tuple[int, int],
    ) -> None:
        self._family = family
        self._native = native
        self._seed = seed
        self._to = rounds[1]
        self._grown = self.after = rounds[0]
        self._before: FloatArray = np.zeros(())  # the sums of the trees before this call
        self._staged: Iterator[FloatArray] = iter(())
        self.model = None if earlier is None else _model(earlier)
        if self.model is not None:
            self._before = self._sums(self.model)
        self._current = self._before

    def boost(self, after: int) -> None:
        """Add a round."""
        if after > self._grown:
            self._fit(grown_ahead(self._grown, self._to))
        self._current = self._before + np.asarray(next(self._staged))
        self.after = after

    def predict(self) -> FloatArray:
        """Probabilities, of the second class alone if the task is binary, or values."""
        return linked(self._current, self._family.watch.fold.task)

    def _fit(self, to: int) -> None:
        start, family = self._grown, self._family
        native = {
            **self._native,
            "iterations": to - start,
            "random_seed": leg_seed(self._seed, start),
        }
        rate = family.mean_rate(self._native, (start, to))
        if rate is not None:
            native["learning_rate"] = rate
        self._before = self._current
        self.model = Model(native).fit(family.train, init_model=self.model)
        self._staged = self.model.staged_predict(
            family.valid,
            prediction_type="RawFormulaVal",
            ntree_start=start,
            ntree_end=to,
            thread_count=family.threads,
        )
        self._grown = to

    def _sums(self, model: Any) -> FloatArray:
        raw = model.predict(
            self._family.valid,
            prediction_type="RawFormulaVal",
            thread_count=self._family.threads,
        )
        return np.asarray(raw, dtype=np.float64)


def linked(raw: FloatArray, task: Task) -> FloatArray:
    """Probabilities, of the second class alone if the task is binary, or values."""
    if task.kind == "regression":
        return np.exp(raw) if is_logarithmic(task) else raw
    return np.asarray(expit(raw) if task.kind == "binary" else softmax(raw, axis=1))


def is_logarithmic(task: Task) -> bool:
    """Whether models predict the logarithms of values."""
    return bool(task.loss) and Loss.parse(task.loss).is_logarithmic


def _loss_function(task: Task) -> str:
    if not task.loss:
        return _LOSSES[task.kind]
    loss = Loss.parse(task.loss)
    names = {
        "quantile": f"Quantile:alpha={loss.level}",
        "tweedie": f"Tweedie:variance_power={loss.level}",
        "huber": f"Huber:delta={_HUBER_DELTA}",
    }
    return names.get(loss.kind, loss.kind.capitalize())


def _model(found: Any) -> Any:
    """The model of a leg, or a model that was read."""
    return found.model if isinstance(found, _Leg) else found
