"""XGBoost, with its quantile-binned data kept warm.

XGBoost draws from one generator per process, so what ran before would show in a model. Each leg seeds it anew for
every round from (seed, start), which makes a leg a function of its inputs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from hpo.parameters import Params, Value
from pipelines.data import Fold
from pipelines.metrics import Metric
from pipelines.models.boosting import Boosting, Grower, full_training, rate_schedule
from pipelines.models.catalog import canonical, learning_rate
from pipelines.models.legs import FloatArray, Watch
from serving.features import Matrix

_WARM_MATRICES = 2
_MAX_BIN = 256
_OBJECTIVES = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}


class XGBoost:
    """The family on one fold, with `threads` threads at most; keep one per worker and fold."""

    budget_unit: ClassVar[str] = "rounds"
    name = "xgboost"
    file = "model.ubj"

    def __init__(
        self,
        fold: Fold,
        metric: Metric,
        threads: int,
        *,
        horizon: int | None = None,
        fidelity: str = "rounds",
    ) -> None:
        self.watch = Watch(fold, metric)
        self.threads = threads
        self.horizon = full_training(self.name, horizon)
        self.schedule = rate_schedule(self.horizon, fidelity)
        self._trains: OrderedDict[int, xgb.QuantileDMatrix] = OrderedDict()
        self._valid = self._matrix(fold.valid)

    def start(self, params: Params, seed: int) -> Boosting:
        """A model without any round yet."""
        return Boosting(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `Boosting.save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: when it is missing, damaged or of another trial.
        """
        return Boosting.load(self, params, seed, directory)

    def grow(self, params: Params, seed: int, earlier: xgb.Booster | None, start: int) -> Grower:
        """A booster on the warm data, with the trees of `earlier` as its first ones."""
        native = self.native(params, seed)
        train = self.train_matrix(int(native["max_bin"]))
        trees = None if earlier is None else bytearray(self.dump(earlier, None))
        booster = xgb.Booster(native, [train, self._valid], trees)
        rates = None if self.schedule is None else self.schedule.rates(learning_rate(self.name, native))

        def boost(after: int) -> None:
            if rates is not None:
                booster.set_param({"learning_rate": rates(after)})
            booster.update(train, after - 1)

        return Grower(
            booster,
            boost,
            booster.num_boosted_rounds,
            lambda: np.array(booster.predict(self._valid)),
        )

    def predict(self, model: xgb.Booster, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        return np.asarray(model.predict(self._matrix(rows), iteration_range=(0, size)))

    def dump(self, model: xgb.Booster, size: int | None) -> bytes:
        """The model as UBJSON."""
        return bytes((model if size is None else model[:size]).save_raw("ubj"))

    def scores(self, model: xgb.Booster) -> Mapping[str, FloatArray]:
        """Nothing: XGBoost predicts the training rows anew when it goes on."""
        return {}

    def parse(self, content: bytes, scores: Mapping[str, FloatArray]) -> xgb.Booster:
        """The model of an undamaged UBJSON document."""
        return xgb.Booster({"nthread": self.threads, "verbosity": 0}, model_file=bytearray(content))

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters as XGBoost gets them for one leg."""
        task = self.watch.fold.task
        return {
            "max_bin": _MAX_BIN,
            **canonical(self.name, params),
            **({"num_class": task.n_classes} if task.kind == "multiclass" else {}),
            "objective": _OBJECTIVES[task.kind],
            "tree_method": "hist",
            "seed": seed,
            "seed_per_iteration": True,
            "nthread": self.threads,
            "disable_default_eval_metric": True,
            "verbosity": 0,
        }

    def train_matrix(self, max_bin: int) -> xgb.QuantileDMatrix:
        """The binned training rows, built at most once while kept."""
        if max_bin not in self._trains:
            fold = self.watch.fold
            self._trains[max_bin] = xgb.QuantileDMatrix(
                fold.train.dense(np.float32), fold.y_train, max_bin=max_bin, **self._form(fold.train)
            )
            while len(self._trains) > _WARM_MATRICES:
                self._trains.popitem(last=False)
        self._trains.move_to_end(max_bin)
        return self._trains[max_bin]

    def _matrix(self, rows: Matrix) -> xgb.DMatrix:
        return xgb.DMatrix(rows.dense(np.float32), **self._form(rows))

    def _form(self, rows: Matrix) -> dict[str, Any]:
        types = ["q"] * rows.numeric.shape[1] + ["c"] * rows.categorical.shape[1]
        return {"feature_types": types, "enable_categorical": True, "nthread": self.threads}
