"""The numbers that the model libraries accept.

With a number outside its bounds a training ends with an error, so a run that logged a score cannot
have used it. The bounds are wider than `pipelines.models.limits`, which holds the ranges that are
worth searching: a run with a penalty of 1e5 is possible. A test compares this table with LightGBM,
XGBoost and scikit-learn.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hpo.space.parameters import Categorical, Parameter

_INT32 = 2**31 - 1
# Trees and networks compute in float32.
_FLOAT32_MAX, _FLOAT32_MIN = 3.4e38, 1.2e-38


@dataclass(frozen=True)
class Bounds:
    """The numbers in [`low`, `high`], or in (`low`, `high`] with `open_low`."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = field(default=False, kw_only=True)

    def contain(self, number: float, tolerance: float = 0.0) -> bool:
        """Whether `number` lies within the bounds, or outside by at most `tolerance`."""
        if self.open_low and number == self.low:
            return False
        return self.low - tolerance <= number <= self.high + tolerance

    def __str__(self) -> str:
        """The rule, to follow the name of a parameter in a message."""
        if math.isinf(self.high):
            return f"must be {'above' if self.open_low else 'at least'} {self.low:g}"
        if math.isinf(self.low):
            return f"must be at most {self.high:g}"
        return f"must lie in {'(' if self.open_low else '['}{self.low:.10g}, {self.high:.10g}]"


_UNBOUNDED = Bounds()
_FRACTION = Bounds(0, 1, open_low=True)
_FRACTION_OR_ZERO = Bounds(0, 1)
_POSITIVE = Bounds(0, open_low=True)
_NOT_NEGATIVE = Bounds(0)
_COUNT = Bounds(1, _INT32)
_COUNT_OR_ZERO = Bounds(0, _INT32)
_WHOLE = Bounds(-_INT32, _INT32)
_BINS = Bounds(2, _INT32)

_FOREST = {
    "ccp_alpha": _NOT_NEGATIVE,
    "max_depth": _COUNT,
    "max_leaf_nodes": Bounds(2, _INT32),
    "max_samples": _POSITIVE,
    "min_impurity_decrease": _NOT_NEGATIVE,
    "min_samples_leaf": _COUNT,
    "min_samples_split": Bounds(2, _INT32),
    "min_weight_fraction_leaf": Bounds(0, 0.5),
    "n_estimators": _COUNT,
}

BOUNDS: Mapping[str, Mapping[str, Bounds]] = {
    "lightgbm": {
        "bagging_fraction": _FRACTION,
        "bagging_freq": _WHOLE,  # 0 or less: no bagging
        "cat_l2": _NOT_NEGATIVE,
        "cat_smooth": _NOT_NEGATIVE,
        "cegb_penalty_split": _NOT_NEGATIVE,
        "cegb_tradeoff": _NOT_NEGATIVE,
        "feature_fraction": _FRACTION,
        "feature_fraction_bynode": _FRACTION,
        "lambda_l1": _NOT_NEGATIVE,
        "lambda_l2": _NOT_NEGATIVE,
        "learning_rate": _POSITIVE,
        "linear_lambda": _NOT_NEGATIVE,
        "max_bin": _BINS,
        "max_cat_threshold": _COUNT,
        "max_cat_to_onehot": _COUNT,
        "max_depth": _WHOLE,  # 0 or less: no limit
        "min_data_in_bin": _COUNT,
        "min_data_in_leaf": _COUNT_OR_ZERO,
        "min_data_per_group": _COUNT,
        "min_gain_to_split": _NOT_NEGATIVE,
        "min_sum_hessian_in_leaf": _NOT_NEGATIVE,
        "neg_bagging_fraction": _FRACTION,
        "num_iterations": _COUNT,
        "num_leaves": Bounds(2, 131_072),
        "other_rate": _FRACTION_OR_ZERO,
        "path_smooth": _NOT_NEGATIVE,
        "pos_bagging_fraction": _FRACTION,
        "scale_pos_weight": _POSITIVE,
        "sigmoid": _POSITIVE,
        "top_rate": _FRACTION_OR_ZERO,
    },
    "xgboost": {
        "colsample_bylevel": _FRACTION_OR_ZERO,
        "colsample_bynode": _FRACTION_OR_ZERO,
        "colsample_bytree": _FRACTION_OR_ZERO,
        "learning_rate": _NOT_NEGATIVE,
        "max_bin": _BINS,
        "max_cat_threshold": _COUNT,
        "max_cat_to_onehot": _COUNT,
        "max_delta_step": _NOT_NEGATIVE,
        "max_depth": _COUNT_OR_ZERO,  # 0: no limit
        "max_leaves": _COUNT_OR_ZERO,  # 0: no limit
        "min_child_weight": _NOT_NEGATIVE,
        "min_split_loss": _NOT_NEGATIVE,
        "n_estimators": _COUNT,
        "num_parallel_tree": _COUNT,
        "reg_alpha": _NOT_NEGATIVE,
        "reg_lambda": _NOT_NEGATIVE,
        "scale_pos_weight": _NOT_NEGATIVE,
        "subsample": _FRACTION_OR_ZERO,
    },
    "catboost": {
        "border_count": Bounds(1, 65_535),
        "colsample_bylevel": _FRACTION,
        "depth": Bounds(1, 16),
        "iterations": _COUNT,
        "l2_leaf_reg": _NOT_NEGATIVE,
        "leaf_estimation_iterations": _COUNT,
        "learning_rate": _POSITIVE,
        "max_leaves": Bounds(2, _INT32),
        "min_data_in_leaf": _COUNT,
        "model_size_reg": _NOT_NEGATIVE,
        "one_hot_max_size": _COUNT_OR_ZERO,
        "random_strength": _NOT_NEGATIVE,
        "subsample": _FRACTION,
    },
    "hist_gradient_boosting": {
        "l2_regularization": _NOT_NEGATIVE,
        "learning_rate": _POSITIVE,
        "max_depth": _COUNT,
        "max_features": _FRACTION,
        "max_iter": _COUNT,
        "max_leaf_nodes": Bounds(2, _INT32),
        "min_samples_leaf": _COUNT,
    },
    "random_forest": _FOREST,
    "extra_trees": _FOREST,
    "knn": {"n_neighbors": _COUNT, "p": Bounds(1)},
    "svm": {"C": _POSITIVE, "degree": _COUNT_OR_ZERO, "epsilon": _NOT_NEGATIVE, "gamma": _POSITIVE},
    "linear": {"C": _POSITIVE, "l1_ratio": _FRACTION_OR_ZERO},
    "mlp": {
        "accumulation": _COUNT,
        "batch_size": _COUNT,
        "beta2": _FRACTION_OR_ZERO,
        "bins": _COUNT,
        "drop_factor": _POSITIVE,
        "dropout": _FRACTION_OR_ZERO,
        "drops": _COUNT_OR_ZERO,
        "ema_decay": _FRACTION_OR_ZERO,
        "label_smoothing": _FRACTION_OR_ZERO,
        "layers": _COUNT,
        "learning_rate": _POSITIVE,
        "max_epochs": _COUNT,
        "max_norm": _POSITIVE,
        "min_delta": _NOT_NEGATIVE,
        "momentum": _FRACTION_OR_ZERO,
        "networks": _COUNT,
        "patience": _COUNT,
        "sgd_learning_rate": _POSITIVE,
        "sigma": _POSITIVE,
        "smoothing": _FRACTION_OR_ZERO,
        "warmup": _FRACTION_OR_ZERO,
        "weight_decay": _NOT_NEGATIVE,
        "width": _COUNT,
    },
}
"""Bounds of the numeric parameters, by model family and main name."""


def why_impossible(model: str, name: str, number: float) -> str | None:
    """Why no training of `model` can have used a finite number; None if one can."""
    bounds = BOUNDS[model].get(name, _UNBOUNDED)
    if not bounds.contain(number):
        return f"is not accepted by {model}: {name} {bounds}"
    if number and not _FLOAT32_MIN <= abs(number) <= _FLOAT32_MAX:
        return "is outside the range of float32, in which models compute"
    return None


def is_possible_range(model: str, parameter: Parameter) -> bool:
    """Whether the range of a searched parameter lies within the bounds of `model`."""
    if isinstance(parameter, Categorical):
        return True
    bounds = BOUNDS[model].get(parameter.name, _UNBOUNDED)
    low, high = max(bounds.low, -_FLOAT32_MAX), min(bounds.high, _FLOAT32_MAX)
    return low <= parameter.low and parameter.high <= high
