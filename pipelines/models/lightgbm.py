"""LightGBM, with its binned data kept warm.

One binned pair (training, validation) per distinct set of the few parameters that shape the bins serves all trials
of a worker; everything else may change from trial to trial and gives exactly the model that a fresh `Dataset` gives.
Continued training leaves an initial score in the `Dataset` it used, which silently changes the next fresh model, so
it has a second pair of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np

from hpo.parameters import Params, Value
from pipelines.data import Fold
from pipelines.metrics import Metric
from pipelines.models.catalog import canonical
from pipelines.models.legs import (
    MIN_DELTA,
    Curve,
    FloatArray,
    Look,
    Stopping,
    array_bytes,
    array_from_bytes,
    both_classes,
    checked_predictions,
    leg_seed,
    read_files,
    refuse_other,
    rows_patience,
    run_leg,
    write_files,
)
from serving.features import Matrix
from serving.members import MANIFEST
from serving.members import SCHEMA as MEMBER_SCHEMA

_SCHEMA = 1
_MODEL = "model.lgb"
_VALID = "valid.npy"
_STATE = "state.json"
_WARM_PAIRS = 3

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

# The user's metric where LightGBM computes the very same number; otherwise a proper loss decides when to stop.
_NATIVE: Mapping[tuple[str, str], str] = {
    ("binary", "roc_auc"): "auc",
    ("binary", "log_loss"): "binary_logloss",
    ("binary", "accuracy"): "binary_error",
    ("binary", "average_precision"): "average_precision",
    ("multiclass", "log_loss"): "multi_logloss",
    ("multiclass", "accuracy"): "multi_error",
    ("regression", "rmse"): "rmse",
    ("regression", "mae"): "l1",
}
_PROPER = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "rmse"}


_GREATER_IS_BETTER = ("auc", "average_precision")
_ERRORS = ("binary_error", "multi_error")


class LightGBM:
    """The family on one fold, with `threads` threads at most; keep one per worker and fold."""

    budget_unit: ClassVar[str] = "rounds"

    def __init__(self, fold: Fold, metric: Metric, threads: int) -> None:
        self.fold = fold
        self.metric = metric
        self.threads = threads
        self._pairs: OrderedDict[tuple[Any, ...], tuple[lgb.Dataset, lgb.Dataset]] = OrderedDict()

    def start(self, params: Params, seed: int) -> Boosting:
        """A model without any round yet."""
        return Boosting(self, params, seed, Stopping(rows_patience(len(self.fold.train)), MIN_DELTA))

    def resume(self, params: Params, seed: int, directory: Path) -> Boosting:
        """The model that `Boosting.save` wrote for these parameters and this seed.

        Raises:
            CheckpointError: when it is missing, damaged or of another trial.
        """
        facts, files = read_files(directory, _STATE)
        refuse_other(facts, self.identity(params, seed), directory)
        model = Boosting(self, params, seed, Stopping.from_dict(facts["stopping"]))
        model.restore(facts, files)
        return model

    def identity(self, params: Params, seed: int) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        shape = [len(self.fold.train), *self.columns, self.fold.index]
        return {"schema": _SCHEMA, "family": "lightgbm", "params": dict(params), "seed": seed, "data": shape}

    @property
    def columns(self) -> tuple[int, int]:
        """The number of numeric and of categorical columns."""
        return self.fold.train.numeric.shape[1], self.fold.train.categorical.shape[1]

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters as LightGBM gets them for one leg."""
        task = self.fold.task
        chosen = {"bagging_freq": 1, **canonical("lightgbm", params)}
        if task.kind == "multiclass":
            chosen["num_class"] = task.n_classes
        return {
            **chosen,
            **self._binning(chosen),
            "objective": _OBJECTIVES[task.kind],
            "metric": self.early_metric,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
        }

    @property
    def early_metric(self) -> str:
        """The metric that decides when to stop."""
        kind = self.fold.task.kind
        return _NATIVE.get((kind, self.metric.name), _PROPER[kind])

    def shown(self, native: float, prediction: FloatArray) -> float:
        """The user's metric on the validation rows, from LightGBM's own value where that is the same."""
        if (self.fold.task.kind, self.metric.name) not in _NATIVE:
            return self.fold.score(self.metric, prediction)
        if self.early_metric in _ERRORS:
            return 1.0 - native
        return native * self.fold.target.scale if self.fold.task.kind == "regression" else native

    def pair(self, params: Mapping[str, Value], *, continuing: bool) -> tuple[lgb.Dataset, lgb.Dataset]:
        """The binned training and validation rows for these native parameters, built at most once."""
        binning = self._binning(params)
        key = (continuing, *sorted((name, str(value)) for name, value in binning.items()))
        if key not in self._pairs:
            first = self.pair(params, continuing=False)[0] if continuing else None
            self._pairs[key] = self._build(binning, first)
            while len(self._pairs) > _WARM_PAIRS:
                self._pairs.popitem(last=False)
        self._pairs.move_to_end(key)
        return self._pairs[key]

    def _build(self, binning: dict[str, Value], first: lgb.Dataset | None) -> tuple[lgb.Dataset, lgb.Dataset]:
        fold, (p, q) = self.fold, self.columns
        # Continuing needs the raw rows again: LightGBM predicts them to know where the earlier trees left off.
        options: dict[str, Any] = {"params": dict(binning), "free_raw_data": first is None}
        options["categorical_feature"] = list(range(p, p + q))
        train = lgb.Dataset(fold.train.dense(), fold.y_train, reference=first, **options)
        valid = lgb.Dataset(fold.valid.dense(), fold.y_valid, reference=train, **options)
        return train.construct(), valid.construct()

    def _binning(self, params: Mapping[str, Value]) -> dict[str, Value]:
        given = {name: params[name] for name in _BINNING if name in params}
        return {
            **given,
            "data_random_seed": 1,
            "feature_pre_filter": False,
            "num_threads": self.threads,
            "verbosity": -1,
        }


class Boosting:
    """One trial's boosted trees."""

    def __init__(self, family: LightGBM, params: Params, seed: int, stopping: Stopping) -> None:
        self._family = family
        self._params = dict(params)
        self._seed = seed
        self._stopping = stopping
        self._booster: lgb.Booster | None = None
        self._rounds = 0
        self._valid_prediction: FloatArray | None = None
        self.reached = 0
        self.stopped = False

    @property
    def best_round(self) -> int:
        """The round after which the validation loss was lowest."""
        return self._stopping.best_round

    def train(self, to: int) -> Curve:
        """Train until round `to`, or until patience has run out; the curve of this leg in the user's metric.

        Raises:
            TrainingError: when the model diverges.
        """
        if to <= self.reached:
            return ()
        if self.stopped:
            self.reached = to
            return ()
        booster, boost = self._begin()
        leg = run_leg(self._rounds, to, self._stopping, boost, lambda: self._look(booster))
        self._booster = booster
        self._rounds, self._stopping, self.stopped = leg.rounds, leg.stopping, leg.over
        self._valid_prediction = (
            self._valid_prediction if leg.best_prediction is None else leg.best_prediction
        )
        self.reached = to
        return leg.curve

    def predict(self, rows: Matrix) -> FloatArray:
        """`(n, k)` probabilities or `(n,)` standardised values at the best round; kept for the validation rows."""
        if rows is self._family.fold.valid and self._valid_prediction is not None:
            return self._valid_prediction
        raw = self._trained().predict(
            rows.dense(), num_iteration=self.best_round, num_threads=self._family.threads
        )
        return self._shaped(raw)

    def save(self, directory: Path) -> None:
        """Write the trees, the stopping state and the validation predictions, all or nothing."""
        keep = self.best_round if self.stopped else -1
        files = {_MODEL: self._trained().model_to_string(num_iteration=keep).encode()}
        if self._valid_prediction is not None:
            files[_VALID] = array_bytes(self._valid_prediction)
        facts = {
            **self._family.identity(self._params, self._seed),
            "reached": self.reached,
            "rounds": self._rounds,
            "stopped": self.stopped,
            "stopping": self._stopping.to_dict(),
        }
        write_files(directory, files, _STATE, facts)

    def restore(self, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Take over the verified content of a checkpoint."""
        self._booster = lgb.Booster(model_str=files[_MODEL].decode(), params={"verbosity": -1})
        self._valid_prediction = array_from_bytes(files[_VALID])
        self._rounds, self.reached, self.stopped = facts["rounds"], facts["reached"], facts["stopped"]

    def export(self, directory: Path) -> None:
        """Write the trees up to the best round, as `serving.members` reads them."""
        text = self._trained().model_to_string(num_iteration=self.best_round)
        facts = {
            "schema": MEMBER_SCHEMA,
            "family": "lightgbm",
            "kind": self._family.fold.task.kind,
            "model": _MODEL,
            "iterations": 0,
            "best_round": self.best_round,
        }
        write_files(directory, {_MODEL: text.encode()}, MANIFEST, facts)

    def _trained(self) -> lgb.Booster:
        if self._booster is None:
            raise ValueError("the model has no round yet; call train first")
        return self._booster

    def _begin(self) -> tuple[lgb.Booster, Callable[[int], bool]]:
        """A booster for the leg that starts here, and what adds a round to it."""
        family = self._family
        native = family.native(self._params, leg_seed(self._seed, self._rounds))
        train, valid = family.pair(native, continuing=self._booster is not None)
        if self._booster is None:
            fresh = lgb.Booster(native, train)
            fresh.add_valid(valid, "valid")
            return fresh, lambda _: bool(fresh.update())
        # The trees go through their written form, so that a leg in memory and one from a file are the same leg.
        earlier = lgb.Booster(model_str=self._booster.model_to_string(), params={"verbosity": -1})
        first = self._rounds + 1
        booster = lgb.train(
            native, train, 1, valid_sets=[valid], init_model=earlier, keep_training_booster=True
        )
        return booster, lambda after: after > first and bool(booster.update())

    def _look(self, booster: lgb.Booster) -> Look:
        held: list[FloatArray] = []

        def hold(prediction: Any, _: lgb.Dataset) -> tuple[str, float, bool]:
            held.append(np.array(prediction, dtype=np.float64))
            return "held", 0.0, False

        family = self._family
        results = booster.eval_valid(hold)
        native = next(float(result[2]) for result in results if result[1] != "held")
        prediction = self._shaped(held[0])
        loss = -native if family.early_metric in _GREATER_IS_BETTER else native
        return Look(loss, lambda: family.shown(native, prediction), prediction)

    def _shaped(self, raw: Any) -> FloatArray:
        values = checked_predictions(raw)
        return both_classes(values) if self._family.fold.task.kind == "binary" else values
