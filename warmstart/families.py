"""What a configuration of one model family says to another.

LightGBM and XGBoost grow the same kind of trees, and on the same table they mostly rank
configurations alike (`docs/benchmarks.md`, warmstart). A study of all families speaks to each of
them with that one's trials.
"""

import math
from collections.abc import Callable, Mapping

from hpo.space.parameters import Params

ALL = "all"
LIGHTGBM, XGBOOST = "lightgbm", "xgboost"

_SAME = {  # LightGBM's name: XGBoost's
    "learning_rate": "learning_rate",
    "bagging_fraction": "subsample",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "max_cat_to_onehot": "max_cat_to_onehot",
    "max_bin": "max_bin",
}
_COLUMNS = ("colsample_bytree", "colsample_bylevel", "colsample_bynode")
_DEEP = 10  # levels that hardly bind trees of a few hundred leaves
# What a row adds to the weight of a leaf, the second derivative of its loss: 1 for squared errors,
# and for log loss p (1 - p), here of a prediction that is fairly sure.
_SQUARED, _LOGISTIC = 1.0, 0.1

Translation = Callable[[Params, float], Params]


def related(one: str, other: str) -> bool:
    """Whether studies of two families say anything to each other."""
    return one == other or ALL in (one, other) or (one, other) in _BETWEEN


def in_terms_of(model: str, params: Params, family: str, task: str) -> Params | None:
    """A configuration of `family`, tried on such a task, by the names of `model`; None if it means nothing there."""
    if family == model:
        return params
    if model == ALL:
        return {"model": family, **{f"{family}.{name}": value for name, value in params.items()}}
    if family == ALL:
        chosen = str(params.get("model"))
        own = {
            name.removeprefix(f"{chosen}."): value
            for name, value in params.items()
            if name.startswith(f"{chosen}.")
        }
        return in_terms_of(model, own, chosen, task)
    if (family, model) not in _BETWEEN:
        return None
    return _BETWEEN[family, model](params, _SQUARED if task == "regression" else _LOGISTIC)


def _to_xgboost(params: Params, weight: float) -> Params:
    found = {theirs: params[ours] for ours, theirs in _SAME.items() if ours in params}
    found |= {"grow_policy": "lossguide", "max_depth": _DEEP}  # leaf by leaf, as LightGBM grows
    if (depth := _number(params, "max_depth")) > 0:
        found["max_depth"] = round(depth)
    if "num_leaves" in params:
        found["max_leaves"] = params["num_leaves"]
    if "feature_fraction" in params:
        found["colsample_bylevel"] = params["feature_fraction"]
    if "min_data_in_leaf" in params:
        found["min_child_weight"] = weight * _number(params, "min_data_in_leaf")
    return found


def _to_lightgbm(params: Params, weight: float) -> Params:
    found = {ours: params[theirs] for ours, theirs in _SAME.items() if theirs in params}
    leaves = []
    if params.get("grow_policy") == "lossguide" and (most := _number(params, "max_leaves")) > 0:
        leaves.append(most)
    if (depth := _number(params, "max_depth")) > 0:
        leaves.append(2.0 ** min(depth, 30.0))
    if leaves:
        found["num_leaves"] = round(min(leaves))
    if shares := [_number(params, name) for name in _COLUMNS if name in params]:
        found["feature_fraction"] = math.prod(shares)
    if "min_child_weight" in params:
        found["min_data_in_leaf"] = round(_number(params, "min_child_weight") / weight)
    return found


def _number(params: Params, name: str) -> float:
    """A parameter's value; 0, which means no limit to both libraries, where it is missing or no number."""
    value = params.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


_BETWEEN: Mapping[tuple[str, str], Translation] = {
    (LIGHTGBM, XGBOOST): _to_xgboost,
    (XGBOOST, LIGHTGBM): _to_lightgbm,
}
