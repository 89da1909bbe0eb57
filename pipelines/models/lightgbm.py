"""LightGBM, with its binned data kept warm.

One binned pair (training, validation) per distinct set of the few parameters that shape the bins serves all trials
of a worker; everything else may change from trial to trial and gives exactly the model that a fresh `Dataset` gives.
Continued training leaves an initial score in the `Dataset` it used, which silently changes the next fresh model, so
it has a second pair of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from hpo.parameters import Params, Value
from pipelines.data import Fold
from pipelines.metrics import Metric
from pipelines.models.boosting import Boosting, Grower, Rates, rate_schedule
from pipelines.models.catalog import canonical, learning_rate
from pipelines.models.legs import Watch
from serving.features import Matrix

_WARM_PAIRS = 4

# What the bins depend on; a trial that changes one of these needs bins of its own.
_BINNING = (
    "bin_construct_sample_cnt",
    "enable_bundle",
    "is_enable_sparse",
    "linear_tree",
    "max_bin",
    "min_data_in_bin",
    "use_missing",
    "zero_as_missing",
)
_OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}

Pair: TypeAlias = tuple[lgb.Dataset, lgb.Dataset]


class LightGBM:
    """The family on one fold, with `threads` threads at most; keep one per worker and fold."""

    budget_unit: ClassVar[str] = "rounds"
    name = "lightgbm"
    file = "model.lgb"

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
        self.schedule = rate_schedule(self.name, horizon, fidelity)
        self._pairs: OrderedDict[tuple[object, ...], Pair] = OrderedDict()

    def start(self, params: Params, seed: int) -> Boosting:
        """A model without any round yet."""
        return Boosting(self, params, seed)

    def resume(self, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `Boosting.save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: when it is missing, damaged or of another trial.
        """
        return Boosting.load(self, params, seed, directory)

    def grow(self, params: Params, seed: int, earlier: bytes | None, start: int) -> Grower:
        """A booster on the warm data, with the trees of `earlier` as its first ones."""
        native = self.native(params, seed)
        rates = None if self.schedule is None else self.schedule.rates(learning_rate(self.name, native))
        if rates is not None:
            native["learning_rate"] = rates(start + 1)
        train, valid = self.pair(native, continuing=earlier is not None)
        if earlier is None:
            fresh = lgb.Booster(native, train)
            fresh.add_valid(valid, "valid")
            return _grower(fresh, 0, rates)
        # `train` is the one public way to continue, and it adds a round itself.
        before = self.parse(earlier)
        booster = lgb.train(native, train, 1, [valid], init_model=before, keep_training_booster=True)
        return _grower(booster, 1, rates)

    def predict(self, model: lgb.Booster, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        return np.asarray(model.predict(rows.dense(), num_iteration=size, num_threads=self.threads))

    def dump(self, model: lgb.Booster, size: int | None) -> bytes:
        """The model as text, which keeps every number exactly."""
        return model.model_to_string(num_iteration=size or -1).encode()

    def parse(self, content: bytes) -> lgb.Booster:
        """The model of an undamaged text."""
        return lgb.Booster(model_str=content.decode())

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters as LightGBM gets them for one leg."""
        task = self.watch.fold.task
        chosen = {"bagging_freq": 1, **canonical(self.name, params)}
        return {
            **chosen,
            **self._binning(chosen),
            **({"num_class": task.n_classes} if task.kind == "multiclass" else {}),
            "objective": _OBJECTIVES[task.kind],
            "metric": "none",
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
        }

    def pair(self, native: Mapping[str, Value], *, continuing: bool) -> Pair:
        """The binned training and validation rows for these parameters, built at most once while kept."""
        binning = self._binning(native)
        key = (continuing, *sorted((name, str(value)) for name, value in binning.items()))
        if key not in self._pairs:
            fresh = self.pair(native, continuing=False)[0] if continuing else None
            self._pairs[key] = self._build(binning, fresh)
            while len(self._pairs) > _WARM_PAIRS:
                self._pairs.popitem(last=False)
        self._pairs.move_to_end(key)
        return self._pairs[key]

    def _build(self, binning: dict[str, Value], fresh: lgb.Dataset | None) -> Pair:
        fold = self.watch.fold
        p, q = fold.train.numeric.shape[1], fold.train.categorical.shape[1]
        options: dict[str, Any] = {
            "params": dict(binning),
            "categorical_feature": list(range(p, p + q)),
            # To continue, LightGBM predicts the raw rows: it must know where the earlier trees left off.
            "free_raw_data": fresh is None,
        }
        train = lgb.Dataset(fold.train.dense(), fold.y_train, reference=fresh, **options)
        valid = lgb.Dataset(fold.valid.dense(), fold.y_valid, reference=train, **options)
        return train.construct(), valid.construct()

    def _binning(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """What a `Dataset` is built with; the seed of its row sample must not follow the trial's."""
        return {
            **{name: params[name] for name in _BINNING if name in params},
            "data_random_seed": 1,
            "feature_pre_filter": False,
            "num_threads": self.threads,
            "verbosity": -1,
        }


def _grower(booster: lgb.Booster, ahead: int, rates: Rates | None) -> Grower:
    """A grower whose first `ahead` rounds are there already."""
    done = iter(range(ahead))

    def boost(after: int) -> None:
        if next(done, None) is None:
            if rates is not None:
                booster.reset_parameter({"learning_rate": rates(after)})
            booster.update()

    return Grower(booster, boost, booster.current_iteration, lambda: _current(booster))


def _current(booster: lgb.Booster) -> npt.NDArray[np.floating[Any]]:
    """A copy of the predictions that the booster keeps for the validation rows."""
    held: list[npt.NDArray[np.floating[Any]]] = []

    def hold(prediction: Any, _: lgb.Dataset) -> tuple[str, float, bool]:
        held.append(np.array(prediction))
        return "held", 0.0, False

    booster.eval_valid(hold)
    return held[0]
