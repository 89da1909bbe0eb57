"""LightGBM, with its binned data kept warm.

One binned pair (training, validation) per distinct set of the few parameters that shape the bins
serves all trials of a worker; everything else may change from trial to trial and gives exactly the
model that a fresh `Dataset` gives.

A leg that goes on starts from the scores at which the earlier trees left the rows. LightGBM's own
`init_model` predicts them anew from the raw rows, which takes about as long as growing those trees.
The booster holds the very numbers, so they are kept, and the trees of the legs are joined as text.
A `Dataset` remembers such scores and would change the next fresh model silently, so continued legs
have a second pair of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import Boosting, Grower, Rates, full_training, rate_schedule
from pipelines.models.catalog import canonical, learning_rate
from pipelines.models.legs import Watch
from pipelines.table.data import Fold
from pipelines.table.metrics import Metric
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

_ROWS = ("train", "valid")
_END = "end of trees"

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
        self.horizon = full_training(self.name, horizon)
        self.schedule = rate_schedule(self.horizon, fidelity)
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

    def grow(self, params: Params, seed: int, earlier: Forest | None, start: int) -> Grower:
        """A booster on the warm data, which goes on where the trees of `earlier` left off."""
        native = self.native(params, seed)
        rates = (
            None if self.schedule is None else self.schedule.rates(learning_rate(self.name, native))
        )
        if rates is not None:
            native["learning_rate"] = rates(start + 1)
        pair = self.pair(native, continuing=earlier is not None)
        if earlier is not None:
            for name, rows in zip(_ROWS, pair, strict=True):
                rows.set_init_score(self.scores(earlier)[name])
        booster = lgb.Booster(native, pair[0])
        booster.add_valid(pair[1], "valid")
        return _grower(Forest(booster, earlier, pair[1]), rates)

    def predict(self, model: Forest, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        return np.asarray(
            model.whole.predict(rows.dense(), num_iteration=size, num_threads=self.threads)
        )

    def dump(self, model: Forest, size: int | None) -> bytes:
        """The model as text, which keeps every number exactly."""
        return (
            model.text if size is None else model.whole.model_to_string(num_iteration=size or -1)
        ).encode()

    def scores(self, model: Forest) -> Mapping[str, FloatArray]:
        """The sums of all trees for the training and the validation rows: `(n,)`, or `(n, k)` for multiclass."""
        if model.kept is None:
            model.kept = model.sums()
        return model.kept

    def parse(self, content: bytes, scores: Mapping[str, FloatArray]) -> Forest:
        """The model of an undamaged text, and the scores of its rows where it is to be continued."""
        return Forest(lgb.Booster(model_str=content.decode()), kept=scores)

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


class Forest:
    """The trees of a model: those of earlier legs, and the booster of the last one.

    What it answers is taken from the booster once, after its leg.
    """

    def __init__(
        self,
        booster: lgb.Booster,
        earlier: Forest | None = None,
        valid: lgb.Dataset | None = None,
        *,
        kept: Mapping[str, FloatArray] | None = None,
    ) -> None:
        self.booster = booster
        self._before = "" if earlier is None else earlier.text
        self._size_before = 0 if earlier is None else earlier.size()
        self.kept: Mapping[str, FloatArray] | None = kept
        self._start = None if earlier is None or earlier.kept is None else earlier.kept["valid"]
        self._valid = valid

    def size(self) -> int:
        """The rounds of all legs."""
        return self._size_before + int(self.booster.current_iteration())

    @cached_property
    def text(self) -> str:
        """All trees."""
        own = self.booster.model_to_string(num_iteration=-1)
        return joined(self._before, own) if self._before else own

    @cached_property
    def whole(self) -> lgb.Booster:
        """A booster with all trees."""
        return lgb.Booster(model_str=self.text)

    def sums(self) -> Mapping[str, FloatArray]:
        """The sums of all trees for the training and the validation rows; to be asked once."""
        if self._valid is None:
            raise ValueError("the model was read without its sums; it cannot go on")
        _ = (
            self.text
        )  # the booster forgets its objective now, without which it gives the sums themselves
        self.booster.reset_parameter({"objective": "none"})
        if self._start is not None:  # another trial may have gone on since
            self._valid.set_init_score(self._start)
        # Of the validation rows it remembers what it said with the objective. As another set they
        # are summed anew, by the bins and the trees of this leg only.
        self.booster.add_valid(self._valid, "again")
        return {
            "train": _current(self.booster.eval_train),
            "valid": _current(self.booster.eval_valid),
        }


def joined(first: str, then: str) -> str:
    """The text of a model with the trees of two; it has a line with the length of each tree's text in bytes."""
    head, trees, _ = _parts(first)
    blocks = [f"Tree={i}\n{tree}" for i, tree in enumerate([*trees, *_parts(then)[1]])]
    sizes = "tree_sizes=" + " ".join(str(len(block.encode())) for block in blocks)
    lines = [sizes if line.startswith("tree_sizes=") else line for line in head.split("\n")]
    return "\n".join(lines) + "".join(blocks) + _END + _parts(first)[2]


def _parts(text: str) -> tuple[str, list[str], str]:
    """What stands before the trees, the trees without their numbers, and what follows them."""
    body, _, tail = text.partition(_END)
    head, *trees = body.split("Tree=")
    return head, [tree.partition("\n")[2] for tree in trees], tail


def _grower(forest: Forest, rates: Rates | None) -> Grower:
    booster = forest.booster

    def boost(after: int) -> None:
        if rates is not None:
            booster.reset_parameter({"learning_rate": rates(after)})
        booster.update()

    return Grower(forest, boost, forest.size, lambda: _current(booster.eval_valid))


def _current(evaluate: Callable[[Any], Any]) -> FloatArray:
    """A copy of the predictions that a booster keeps for the last set of rows that `evaluate` scores."""
    held: list[FloatArray] = []

    def hold(prediction: Any, _: lgb.Dataset) -> tuple[str, float, bool]:
        held.append(np.array(prediction, dtype=np.float64))
        return "held", 0.0, False

    evaluate(hold)
    return held[-1]
