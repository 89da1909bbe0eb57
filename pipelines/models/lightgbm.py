"""LightGBM, which reuses its binned data for all trials of a worker.

The bins depend on a few parameters only. Trials that agree on these share one pair of binned
datasets (training, validation), and get exactly the model that a new `Dataset` would give.

A continued leg starts from the scores that the earlier trees gave the rows. LightGBM's own
`init_model` recomputes them from the raw rows, which takes about as long as growing those trees.
The booster has exactly these numbers, so they are stored, and the trees of the legs are joined as
text. A `Dataset` remembers its initial scores and would silently change the next new model, so
continued legs have a second pair of datasets.

Where a worker may use several threads, a few rounds are timed with all of them and with one. On a
small table, or where other processes use the cores, threads that wait for each other take longer
than one alone. The trees do not depend on the number.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from statistics import median
from typing import Any, TypeAlias

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from hpo.arrays import FloatArray
from hpo.space.parameters import Params, Value
from pipelines.models.boosting import BoostingFamily, Grower, Rates
from pipelines.models.catalog import CUDA
from pipelines.table.scores.losses import Loss
from serving.features import Matrix

_CACHED_PAIRS = 4
_TIMED = 5  # rounds with each number of threads
_HISTOGRAM_BYTES = 16  # of one bin
_MIN_POOL = 128  # megabytes

# The parameters that the bins depend on.
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


class LightGBM(BoostingFamily):
    """LightGBM on one fold."""

    name = "lightgbm"
    file = "model.lgb"
    _chosen: int | None = None  # the number of threads, once it is measured

    def _fastest(self, native: Params) -> int:
        """The number of threads with which a round takes less time: all, or one."""
        if self._chosen is None:
            rows = self.pair(native, continuing=False)[0]
            self._chosen = quickest({n: _round_of(native, rows, n) for n in (1, self.threads)})
        return self._chosen

    @cached_property
    def _pairs(self) -> OrderedDict[tuple[object, ...], Pair]:
        return OrderedDict()

    def grow(
        self, params: Params, seed: int, earlier: Forest | None, rounds: tuple[int, int]
    ) -> Grower:
        """A booster on the binned data, which continues the trees of `earlier`."""
        native = self.native(params, seed)
        rates = self.rates(native)
        if rates is not None:
            native["learning_rate"] = rates(rounds[0] + 1)
        pair = self.pair(native, continuing=earlier is not None)
        if self.threads > 1:
            native = {**native, "num_threads": self._fastest(native)}
        if earlier is not None:
            for name, rows in zip(_ROWS, pair, strict=True):
                rows.set_init_score(self.scores(earlier)[name])
        booster = lgb.Booster(native, pair[0])
        booster.add_valid(pair[1], "valid")
        threads = self.threads if self.threads > 1 else None
        return _grower(Forest(booster, earlier, pair[1], threads=threads), rates)

    def predict(self, model: Forest, rows: Matrix, size: int) -> npt.NDArray[np.floating[Any]]:
        """Probabilities or standardised values by the first `size` rounds."""
        return np.asarray(
            model.whole.predict(rows.readable, num_iteration=size, num_threads=self.threads)
        )

    def dump(self, model: Forest, size: int | None) -> bytes:
        """LightGBM's text, which stores every number exactly."""
        if size is None:
            return model.text.encode()
        return str(model.whole.model_to_string(num_iteration=size or -1)).encode()

    def scores(self, model: Forest) -> Mapping[str, FloatArray]:
        """The sums of all trees for the training and the validation rows, `(n,)` or `(n, k)`."""
        if model.scores is None:
            model.scores = model.sums()
        return model.scores

    def parse(self, content: bytes, params: Params, scores: Mapping[str, FloatArray]) -> Forest:
        """The model of an undamaged text; `scores` are needed to continue it."""
        return Forest(lgb.Booster(model_str=content.decode()), scores=scores)

    def native(self, params: Params, seed: int) -> dict[str, Value]:
        """The parameters that LightGBM gets for one leg."""
        chosen = {"bagging_freq": 1, **self.description.canonical(params)}
        return {
            **chosen,
            **self._binning(chosen),
            **self.n_classes,
            **self._objective(),
            **self._monotone,
            **self._histograms(chosen),
            "metric": "none",
            "seed": seed,
            "deterministic": True,
            **({} if self.device == CUDA else {"force_col_wise": True}),
        }

    @staticmethod
    def has_cuda() -> bool:
        """Whether this build of LightGBM can train on a GPU: the wheels on PyPI cannot."""
        rows = lgb.Dataset(np.arange(40.0)[:, None], np.arange(40.0), params={"verbosity": -1})
        try:
            lgb.train({"device_type": CUDA, "verbosity": -1}, rows, num_boost_round=1)
        except lgb.basic.LightGBMError:
            return False
        return True

    @property
    def _monotone(self) -> dict[str, Any]:
        signs = self.watch.fold.monotone
        return {"monotone_constraints": list(signs)} if signs else {}

    def _histograms(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """A bound of the memory for histograms, if those of all leaves would take more.

        Without it LightGBM keeps one for each leaf of a tree, which takes many times the memory of
        a table of many columns. Others are then computed again, which takes 10 to 20 % more time.
        """
        if self.device == CUDA:
            return {}
        rows, columns = self.watch.fold.train.shape
        bins = min(int(params.get("max_bin", 255)) + 1, rows)
        wanted = int(params.get("num_leaves", 31)) * columns * bins * _HISTOGRAM_BYTES / 1e6
        pool = max(_MIN_POOL, rows * columns * 8 / 1e6)
        return {"histogram_pool_size": pool} if wanted > pool else {}

    def _objective(self) -> dict[str, Value]:
        task = self.watch.fold.task
        if not task.loss:
            return {"objective": _OBJECTIVES[task.kind]}
        loss = Loss.parse(task.loss)
        level = {"quantile": "alpha", "tweedie": "tweedie_variance_power"}.get(loss.kind)
        return {"objective": loss.kind, **({level: loss.level} if level else {})}

    def pair(self, native: Mapping[str, Value], *, continuing: bool) -> Pair:
        """The binned training and validation rows for these parameters, from a small cache."""
        binning = self._binning(native)
        key = (continuing, *sorted((name, str(value)) for name, value in binning.items()))
        if key not in self._pairs:
            fresh = self.pair(native, continuing=False)[0] if continuing else None
            self._pairs[key] = self._build(binning, fresh)
            while len(self._pairs) > _CACHED_PAIRS:
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
        train = lgb.Dataset(
            fold.train.readable,
            fold.y_train,
            weight=fold.training_weight,
            reference=fresh,
            **options,
        )
        valid = lgb.Dataset(fold.valid.readable, fold.y_valid, reference=train, **options)
        return train.construct(), valid.construct()

    def _binning(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters of a `Dataset`; its row sample does not follow the seed of the trial."""
        return {
            **{name: params[name] for name in _BINNING if name in params},
            "data_random_seed": 1,
            "feature_pre_filter": False,
            "num_threads": self.threads,
            "device_type": self.device,
            "verbosity": -1,
        }


class Forest:
    """The trees of a model: those of earlier legs, and the booster of the last leg.

    Its properties are read from the booster once, after the leg.
    """

    def __init__(
        self,
        booster: lgb.Booster,
        earlier: Forest | None = None,
        valid: lgb.Dataset | None = None,
        *,
        scores: Mapping[str, FloatArray] | None = None,
        threads: int | None = None,
    ) -> None:
        self.booster = booster
        self._threads = threads
        self._before = "" if earlier is None else earlier.text
        self._size_before = 0 if earlier is None else earlier.size()
        self.scores: Mapping[str, FloatArray] | None = scores
        self._start = None if earlier is None or earlier.scores is None else earlier.scores["valid"]
        self._valid = valid

    def size(self) -> int:
        """The rounds of all legs."""
        return self._size_before + int(self.booster.current_iteration())

    @cached_property
    def text(self) -> str:
        """LightGBM's text of all trees; it names the threads of the study, not those in use."""
        if self._threads is not None:
            self.booster.reset_parameter({"num_threads": self._threads})
        own = self.booster.model_to_string(num_iteration=-1)
        return joined(self._before, own) if self._before else own

    @cached_property
    def whole(self) -> lgb.Booster:
        """A booster with all trees."""
        return lgb.Booster(model_str=self.text)

    def sums(self) -> Mapping[str, FloatArray]:
        """The sums of all trees for the training and the validation rows; call it only once."""
        if self._valid is None:
            raise ValueError("the model was read without its scores; it cannot be continued")
        # Only without its objective does the booster give the sums themselves; the text needs the
        # objective and is therefore taken first.
        _ = self.text
        self.booster.reset_parameter({"objective": "none"})
        if self._start is not None:  # another trial may have used the dataset since
            self._valid.set_init_score(self._start)
        # The booster caches the predictions for its validation set, made with the objective. Added
        # again, the set is summed anew, by the bins and the trees of this leg only.
        self.booster.add_valid(self._valid, "again")
        return {
            "train": _current(self.booster.eval_train),
            "valid": _current(self.booster.eval_valid),
        }


def quickest(rounds: Mapping[int, Callable[[], object]]) -> int:
    """The number of threads whose rounds take the least time, in the median.

    They are grown in turns, because what else uses the cores changes.
    """
    seconds: dict[int, list[float]] = {number: [] for number in rounds}
    for _ in range(_TIMED):
        for number, grow in rounds.items():
            began = time.perf_counter()
            grow()
            seconds[number].append(time.perf_counter() - began)
    return min(seconds, key=lambda number: median(seconds[number]))


def _round_of(native: Params, rows: lgb.Dataset, threads: int) -> Callable[[], object]:
    """What grows a round of a model that is thrown away, with so many threads."""
    return lgb.Booster({**native, "num_threads": threads}, rows).update


def joined(first: str, then: str) -> str:
    """The text of a model with the trees of both, renumbered.

    The text has a line with the length of each tree's text in bytes.
    """
    head, trees, tail = _parts(first)
    blocks = [f"Tree={i}\n{tree}" for i, tree in enumerate([*trees, *_parts(then)[1]])]
    sizes = "tree_sizes=" + " ".join(str(len(block.encode())) for block in blocks)
    lines = [sizes if line.startswith("tree_sizes=") else line for line in head.split("\n")]
    return "\n".join(lines) + "".join(blocks) + _END + tail


def _parts(text: str) -> tuple[str, list[str], str]:
    """The text before the trees, the trees without their numbers, and the text after them."""
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
    """A copy of the booster's predictions for the last set of rows that `evaluate` scores."""
    found: list[FloatArray] = []

    def metric(prediction: Any, _: lgb.Dataset) -> tuple[str, float, bool]:
        found.append(np.array(prediction, dtype=np.float64))
        return "predictions", 0.0, False

    evaluate(metric)
    return found[-1]
