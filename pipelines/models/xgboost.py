"""XGBoost, which reuses its quantile-binned data for all trials of a worker.

XGBoost draws from one generator per process, so earlier trainings would change a model. Each leg
reseeds it for every round from (seed, start), which makes a leg a function of its inputs.

A continued leg starts from the margins that the earlier trees gave the rows, and the trees of the
legs are joined as JSON. A booster that starts with the earlier trees, XGBoost's own way, predicts
all rows again, which takes a quarter to a third of the time of growing those trees. The margins are
the same to the last bit.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import BoostingFamily, Grower
from pipelines.table.scores.losses import Loss
from serving.features import Matrix

_CACHED_MATRICES = 2
_MAX_BIN = 256
_ROWS = ("train", "valid")
# The marks around the trees in the JSON of a model, and the number of each tree.
_TREES, _END = b'"trees":[', b']},"name":"gbtree"'
_NO_MARGIN = np.empty(0, np.float32)
_ID = re.compile(rb'"id":(\d+)')
_OBJECTIVES = {
    "binary": "binary:logistic",
    "multiclass": "multi:softprob",
    "regression": "reg:squarederror",
}
_LOSSES = {
    "quantile": "reg:quantileerror",
    "poisson": "count:poisson",
    "tweedie": "reg:tweedie",
    "gamma": "reg:gamma",
    "huber": "reg:pseudohubererror",
}


class XGBoost(BoostingFamily):
    """XGBoost on one fold."""

    name = "xgboost"
    file = "model.ubj"

    @cached_property
    def _trains(self) -> OrderedDict[int, xgb.QuantileDMatrix]:
        return OrderedDict()

    @cached_property
    def _valid(self) -> xgb.DMatrix:
        fold = self.watch.fold
        matrix = self._matrix(fold.valid)
        matrix.set_label(fold.y_valid)  # the quantile loss counts the labels of every matrix
        return matrix

    def grow(
        self, params: Params, seed: int, earlier: Ensemble | None, rounds: tuple[int, int]
    ) -> Grower:
        """A booster on the binned data, which continues the trees of `earlier`."""
        native = self.native(params, seed)
        rows = (self.train_matrix(int(native["max_bin"])), self._valid)
        margins = dict.fromkeys(_ROWS, _NO_MARGIN) if earlier is None else self.scores(earlier)
        for name, matrix in zip(_ROWS, rows, strict=True):
            matrix.set_base_margin(margins[name])
        booster = xgb.Booster(native, rows)
        rates = self.rates(native)

        def boost(after: int) -> None:
            if rates is not None:
                booster.set_param({"learning_rate": rates(after)})
            booster.update(rows[0], after - 1)

        return Grower(
            Ensemble(booster, rows, b"" if earlier is None else earlier.content),
            boost,
            lambda: rounds[0] + booster.num_boosted_rounds(),
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
        """The margins by all trees of the training and the validation rows, `(n,)` or `(n, k)`."""
        return model.margins

    def parse(self, content: bytes, params: Params, scores: Mapping[str, FloatArray]) -> Ensemble:
        """The model of an undamaged document; `scores` are its margins, needed to continue it."""
        return Ensemble.read(content, scores)

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters that XGBoost gets for one leg."""
        return {
            "max_bin": _MAX_BIN,
            **self.description.canonical(params),
            **self.n_classes,
            **self._objective(),
            **self._monotone,
            "tree_method": "hist",
            "device": self.device,
            "seed": seed,
            "seed_per_iteration": True,
            "nthread": self.threads,
            "disable_default_eval_metric": True,
            "verbosity": 0,
        }

    @staticmethod
    def has_cuda() -> bool:
        """Whether this build of XGBoost can train on a GPU."""
        return bool(xgb.build_info().get("USE_CUDA", False))

    @property
    def _monotone(self) -> dict[str, Value]:
        signs = self.watch.fold.monotone
        return {"monotone_constraints": f"({','.join(map(str, signs))})"} if signs else {}

    def _objective(self) -> dict[str, Value]:
        task = self.watch.fold.task
        if not task.loss:
            return {"objective": _OBJECTIVES[task.kind]}
        loss = Loss.parse(task.loss)
        level = {"quantile": "quantile_alpha", "tweedie": "tweedie_variance_power"}.get(loss.kind)
        return {"objective": _LOSSES[loss.kind], **({level: loss.level} if level else {})}

    def train_matrix(self, max_bin: int) -> xgb.QuantileDMatrix:
        """The binned training rows, from a small cache."""
        if max_bin not in self._trains:
            fold = self.watch.fold
            self._trains[max_bin] = xgb.QuantileDMatrix(
                fold.train.dense(np.float32),
                fold.y_train,
                weight=fold.training_weight,
                max_bin=max_bin,
                **self._form(fold.train),
            )
            while len(self._trains) > _CACHED_MATRICES:
                self._trains.popitem(last=False)
        self._trains.move_to_end(max_bin)
        return self._trains[max_bin]

    def _matrix(self, rows: Matrix) -> xgb.DMatrix:
        return xgb.DMatrix(rows.dense(np.float32), **self._form(rows))

    def _form(self, rows: Matrix) -> dict[str, Any]:
        types = ["q"] * rows.numeric.shape[1] + ["c"] * rows.categorical.shape[1]
        return {"feature_types": types, "enable_categorical": True, "nthread": self.threads}


class Ensemble:
    """The trees of a model: those of earlier legs, and the booster of the last leg.

    Its properties are read from the booster once, after the leg.
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
        """The model of a document; `margins` are needed to continue it."""
        self = cls(None, (), content)
        self.margins = margins
        return self

    @cached_property
    def content(self) -> bytes:
        """All trees as JSON, or the document that was read."""
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
        """The sums of all trees for the training and the validation rows; the booster has them."""
        if self._booster is None:
            raise ValueError("the model was read without margins; it cannot be continued")
        return {
            name: np.asarray(self._booster.predict(rows, output_margin=True))
            for name, rows in zip(_ROWS, self._rows, strict=True)
        }


def joined(first: bytes, then: bytes) -> bytes:
    """The JSON of a model with the trees of both, renumbered.

    The trees stay text, because parsing them is slow; the rest is small.
    """
    head, trees = _parts(first)
    other, more = _parts(then)
    model = head["learner"]["gradient_booster"]["model"]
    added = other["learner"]["gradient_booster"]["model"]
    n, rounds = len(model["tree_info"]), model["iteration_indptr"]
    model["tree_info"] += added["tree_info"]
    model["iteration_indptr"] = rounds + [rounds[-1] + end for end in added["iteration_indptr"][1:]]
    model["gbtree_model_param"]["num_trees"] = str(len(model["tree_info"]))
    renumbered = _ID.sub(lambda found: b'"id":%d' % (int(found[1]) + n), more)
    whole = json.dumps(head, separators=(",", ":")).encode()
    return whole.replace(_TREES, _TREES + trees + b"," + renumbered, 1)


def _parts(content: bytes) -> tuple[Any, bytes]:
    """The parsed JSON of a model without its trees, and the text of the trees."""
    head, opening, rest = content.partition(_TREES)
    trees, end, tail = rest.partition(_END)
    return json.loads(head + opening + end + tail), trees
