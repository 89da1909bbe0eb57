"""Which numbers the libraries take: with any other a training ends with an error, so that none can have happened.

Wider than `pipelines.models.limits`, within which a search makes sense: a run with a penalty of 1e5
did happen. A test holds the table against LightGBM and XGBoost.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hpo.space.parameters import Categorical, Parameter

_INT32 = 2**31 - 1
# What float32 holds, in which trees and networks count.
_LARGEST, _SMALLEST = 3.4e38, 1.2e-38


@dataclass(frozen=True)
class Bounds:
    """The numbers from `low` to `high`, without `low` itself where it is `above`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = field(default=False, kw_only=True)

    def hold(self, number: float) -> bool:
        """Whether a finite number is one of them."""
        return self.low <= number <= self.high and not (self.above and number == self.low)

    def __str__(self) -> str:
        """What must be true of a number."""
        if math.isinf(self.high):
            return f"must be {'above' if self.above else 'at least'} {self.low:g}"
        return f"must lie in {'(' if self.above else '['}{self.low:.10g}, {self.high:.10g}]"


_SHARE, _SHARE_OR_NONE = Bounds(0, 1, above=True), Bounds(0, 1)
_POSITIVE, _NOT_NEGATIVE = Bounds(0, above=True), Bounds(0)
_COUNT, _COUNT_OR_NONE, _WHOLE = Bounds(1, _INT32), Bounds(0, _INT32), Bounds(-_INT32, _INT32)
_BINS = Bounds(2, _INT32)


def _each(*groups: tuple[Bounds, str]) -> Iterator[tuple[str, Bounds]]:
    return ((name, bounds) for bounds, names in groups for name in names.split())


BOUNDS: Mapping[str, Mapping[str, Bounds]] = {
    "lightgbm": dict(
        _each(
            (_SHARE, "bagging_fraction feature_fraction feature_fraction_bynode"),
            (_SHARE, "neg_bagging_fraction pos_bagging_fraction"),
            (_SHARE_OR_NONE, "other_rate top_rate"),
            (_POSITIVE, "learning_rate scale_pos_weight sigmoid"),
            (
                _NOT_NEGATIVE,
                "cat_l2 cat_smooth cegb_penalty_split cegb_tradeoff lambda_l1 lambda_l2",
            ),
            (_NOT_NEGATIVE, "linear_lambda min_gain_to_split min_sum_hessian_in_leaf path_smooth"),
            (
                _COUNT,
                "max_cat_threshold max_cat_to_onehot min_data_in_bin min_data_per_group num_iterations",
            ),
            (_COUNT_OR_NONE, "min_data_in_leaf"),
            (_WHOLE, "bagging_freq max_depth"),  # from 0 down: no bagging, no limit
            (_BINS, "max_bin"),
            (Bounds(2, 131_072), "num_leaves"),
        )
    ),
    "xgboost": dict(
        _each(
            (_SHARE_OR_NONE, "colsample_bylevel colsample_bynode colsample_bytree subsample"),
            (_NOT_NEGATIVE, "learning_rate max_delta_step min_child_weight min_split_loss"),
            (_NOT_NEGATIVE, "reg_alpha reg_lambda scale_pos_weight"),
            (_COUNT, "max_cat_threshold max_cat_to_onehot n_estimators num_parallel_tree"),
            (_COUNT_OR_NONE, "max_depth max_leaves"),  # 0: no limit
            (_BINS, "max_bin"),
        )
    ),
    "mlp": dict(
        _each(
            (_SHARE_OR_NONE, "dropout label_smoothing momentum warmup"),
            (_SHARE_OR_NONE, "beta2 ema_decay smoothing"),
            (_POSITIVE, "drop_factor learning_rate max_norm sgd_learning_rate sigma"),
            (_NOT_NEGATIVE, "min_delta weight_decay"),
            (_COUNT, "accumulation batch_size bins layers max_epochs networks patience width"),
            (_COUNT_OR_NONE, "drops"),
        )
    ),
}
"""By family and the main name of a parameter, for those that are numbers."""


def refusal(model: str, name: str, number: float) -> str | None:
    """Why `model` cannot have been trained with a finite number; None where nothing says so."""
    bounds = BOUNDS[model].get(name, Bounds())
    if not bounds.hold(number):
        return f"is nothing that {model} takes: {name} {bounds}"
    if number and not _SMALLEST <= abs(number) <= _LARGEST:
        return "is beyond what float32 holds, in which models count"
    return None


def possible_range(model: str, parameter: Parameter) -> bool:
    """Whether a range that was searched ends where the values do that `model` takes, or before."""
    if isinstance(parameter, Categorical):
        return True
    bounds = BOUNDS[model].get(parameter.name, Bounds(-_LARGEST, _LARGEST))
    return max(bounds.low, -_LARGEST) <= parameter.low and parameter.high <= min(
        bounds.high, _LARGEST
    )
