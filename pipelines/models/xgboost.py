"""XGBoost, with its quantile-binned data kept warm.

XGBoost draws from one generator per process, so what ran before would show in a model. Each leg
seeds it anew for every round from (seed, start), which makes a leg a function of its inputs.

A leg that goes on starts from the margins at which the earlier trees left the rows, and the trees
of the legs are joined as JSON. XGBoost's own way, a booster that begins with the earlier trees,
predicts all rows anew, which takes a quarter to a third of the time in which those trees grew; the
margins are the same to the last bit.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import Boosting, Grower, full_training, rate_schedule
from pipelines.models.catalog import canonical, learning_rate
from pipelines.models.legs import Watch
from pipelines.table.data import Fold
from pipelines.table.metrics import Metric
from serving.features import Matrix

_WARM_MATRICES = 2
_MAX_BIN = 256
_ROWS = ("train", "valid")
# Where the trees stand in the JSON of a model, and what each is numbered by.
_TREES, _END = b'"trees":[', b']},"name":"gbtree"'
_NONE = np.empty(0, np.float32)
_ID = re.compile(rb'"id":(\d+)')
_OBJECTIVES = {
    "binary": "binary:logistic",
    "multiclass": "multi:softprob",
    "regression": "reg:squarederror",
}


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

    def grow(self, params: Params, seed: int, earlier: Ensemble | None, start: int) -> Grower:
        """A booster on the warm data, which goes on where the trees of `earlier` left off."""
        native = self.native(params, seed)
        rows = (self.train_matrix(int(native["max_bin"])), self._valid)
        margins = {name: _NONE for name in _ROWS} if earlier is None else self.scores(earlier)
        for name, matrix in zip(_ROWS, rows, strict=True):
            matrix.set_base_margin(margins[name])
        booster = xgb.Booster(native, rows)
        rates = (
            None if self.schedule is None else self.schedule.rates(learning_rate(self.name, native))
        )

        def boost(after: int) -> None:
            if rates is not None:
                booster.set_param({"learning_rate": rates(after)})
            booster.update(rows[0], after - 1)

        return Grower(
            Ensemble(booster, rows, b"" if earlier is None else earlier.content),
            boost,
            lambda: start + booster.num_boosted_rounds(),
            lambda: np.array(booster.predict(self._valid)),
        )

    def predict(self, model: Ensemble, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        whole = model.whole
        whole.set_param({"nthread": self.threads})
        return np.asarray(whole.predict(self._matrix(rows), iteration_range=(0, size)))

    def dump(self, model: Ensemble, size: int | None) -> bytes:
        """The model as JSON, or the first `size` rounds as UBJSON."""
        return model.content if size is None else bytes(model.whole[:size].save_raw("ubj"))

    def scores(self, model: Ensemble) -> Mapping[str, FloatArray]:
        """The margins by all trees for the training and the validation rows: `(n,)`, or `(n, k)` for multiclass."""
        return model.margins

    def parse(self, content: bytes, scores: Mapping[str, FloatArray]) -> Ensemble:
        """The model of an undamaged document, and the margins of its rows where it is to be continued."""
        return Ensemble.read(content, scores)

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
                fold.train.dense(np.float32),
                fold.y_train,
                max_bin=max_bin,
                **self._form(fold.train),
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


class Ensemble:
    """The trees of a model: those of earlier legs, and the booster of the last one.

    What it answers is taken from the booster once, after its leg.
    """

    def __init__(
        self,
        booster: xgb.Booster | None,
        rows: tuple[xgb.DMatrix, ...],
        before: bytes = b"",
    ) -> None:
        self._booster = booster
        self._rows = rows
        self._before = before

    @classmethod
    def read(cls, content: bytes, margins: Mapping[str, FloatArray]) -> Ensemble:
        """The model of a document; its margins are needed where it goes on."""
        self = cls(None, (), content)
        self.margins = margins
        return self

    @cached_property
    def content(self) -> bytes:
        """All trees as JSON, or what was read."""
        if self._booster is None:
            return self._before
        own = bytes(self._booster.save_raw("json"))
        return joined(self._before, own) if self._before else own

    @cached_property
    def whole(self) -> xgb.Booster:
        """A booster with all trees."""
        if self._booster is not None and not self._before:
            return self._booster
        return xgb.Booster({"verbosity": 0}, model_file=bytearray(self.content))

    @cached_property
    def margins(self) -> Mapping[str, FloatArray]:
        """What all trees say of the training and the validation rows; the booster remembers it."""
        if self._booster is None:
            raise ValueError("the model was read without margins; it cannot go on")
        values = [
            np.asarray(self._booster.predict(rows, output_margin=True)) for rows in self._rows
        ]
        return dict(zip(_ROWS, values, strict=True))


def joined(first: bytes, then: bytes) -> bytes:
    """The JSON of a model with the trees of two. All but the trees is small and read; they stay text, numbered on."""
    (head, trees), (other, more) = _parts(first), _parts(then)
    mine, its = (document["learner"]["gradient_booster"]["model"] for document in (head, other))
    n, rounds = len(mine["tree_info"]), mine["iteration_indptr"]
    mine["tree_info"] += its["tree_info"]
    mine["iteration_indptr"] = rounds + [rounds[-1] + end for end in its["iteration_indptr"][1:]]
    mine["gbtree_model_param"]["num_trees"] = str(len(mine["tree_info"]))
    more = _ID.sub(lambda found: b'"id":%d' % (int(found[1]) + n), more)
    whole = json.dumps(head, separators=(",", ":")).encode()
    return whole.replace(_TREES, _TREES + trees + b"," + more, 1)


def _parts(content: bytes) -> tuple[Any, bytes]:
    """A model without its trees, and the trees."""
    head, opening, rest = content.partition(_TREES)
    trees, end, tail = rest.partition(_END)
    return json.loads(head + opening + end + tail), trees
