"""Translates configurations between model families.

LightGBM and XGBoost grow the same kind of trees, and on the same table they mostly rank
configurations alike (`docs/benchmarks.md`, warmstart). Histogram gradient boosting of scikit-learn
grows LightGBM's trees; the parameters that it has mean the same. A study of all families gives each
family the trials that used it.
"""

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping

from hpo.space.parameters import Params, Value

ALL = "all"
LIGHTGBM, XGBOOST, HISTOGRAM = "lightgbm", "xgboost", "hist_gradient_boosting"

_SHARED = {  # LightGBM's name: XGBoost's
    "learning_rate": "learning_rate",
    "bagging_fraction": "subsample",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "max_cat_to_onehot": "max_cat_to_onehot",
    "max_bin": "max_bin",
}
_TO_XGBOOST = _SHARED | {"num_leaves": "max_leaves", "feature_fraction": "colsample_bylevel"}
_TO_LIGHTGBM = {theirs: ours for ours, theirs in _SHARED.items()}
_TO_HISTOGRAM = {  # LightGBM's name: scikit-learn's
    "feature_fraction_bynode": "max_features",
    "lambda_l2": "l2_regularization",
    "learning_rate": "learning_rate",
    "min_data_in_leaf": "min_samples_leaf",
    "num_leaves": "max_leaf_nodes",
}
_FROM_HISTOGRAM = {theirs: ours for ours, theirs in _TO_HISTOGRAM.items()}
_COLUMN_SHARES = ("colsample_bytree", "colsample_bylevel", "colsample_bynode")
_DEEP = 10  # a depth that hardly limits trees of a few hundred leaves
# The second derivative of the loss, which is what a row adds to the weight of a leaf: 1 for squared
# errors, and p (1 - p) for log loss, here of a fairly certain prediction.
_SQUARED, _LOGISTIC = 1.0, 0.1

Translation = Callable[[Params, float], Params]


def related(one: str, other: str) -> bool:
    """Whether a configuration of one family can be translated to the other.

    Code of users, named `module:function`, has no families: what matters is whether two spaces
    share parameters. Estimators of users are related if they are of the same classes.
    """
    if is_code(one) or is_code(other):
        return is_code(one) and is_code(other)
    if is_estimator(one) and is_estimator(other):
        return [*_classes(one)] == [*_classes(other)]
    return one == other or is_joint(one) or is_joint(other) or (one, other) in _TRANSLATIONS


def is_joint(model: str) -> bool:
    """Whether a model is several families in one search: `all`, or names with commas."""
    return model == ALL or ("," in model and not is_code(model) and not is_estimator(model))


def is_code(model: str) -> bool:
    """Whether a model is code of a user."""
    return ":" in model and not is_estimator(model)


def is_estimator(model: str) -> bool:
    """Whether a model is an estimator of a user, such as `sklearn.svm.SVC(kernel='poly')`."""
    return re.match(r"[A-Za-z_][\w.]*\(", model) is not None and model.endswith(")")


def short_name(model: str) -> str:
    """The class of an estimator, or the steps of a pipeline; any other model as it is."""
    if not is_estimator(model):
        return model
    try:
        call = ast.parse(model, mode="eval").body
    except (SyntaxError, ValueError):
        return model.partition("(")[0].rpartition(".")[2]
    steps = _steps(call)
    return "+".join(map(_class, steps or [call]))


def _steps(call: ast.AST) -> list[ast.AST]:
    """The steps of a pipeline."""
    keywords = call.keywords if isinstance(call, ast.Call) else []
    steps = next((each.value for each in keywords if each.arg == "steps"), None)
    pairs = steps.elts if isinstance(steps, ast.List) else []
    return [pair.elts[-1] for pair in pairs if isinstance(pair, ast.Tuple) and pair.elts]


def _class(value: ast.AST) -> str:
    """The class of an object without its module; any other value as it is written."""
    shown = ast.unparse(value.func) if isinstance(value, ast.Call) else ast.unparse(value)
    return shown.rpartition(".")[2].strip("'")


def _classes(estimator: str) -> Iterator[str]:
    """The classes of an estimator and of all that it holds, in an order of their own."""
    try:
        found = ast.walk(ast.parse(estimator, mode="eval"))
    except (SyntaxError, ValueError):
        return iter((estimator,))
    return (ast.unparse(node.func) for node in found if isinstance(node, ast.Call))


def translate(params: Params, source: str, target: str, task: str) -> Params | None:
    """Translate a configuration from one family to another.

    Args:
        params: of the family `source`.
        source: family of the configuration.
        target: family to translate to.
        task: that the configuration was tried on: binary, multiclass or regression.

    Returns:
        The configuration with the names of `target`; None if it has no meaning there.
    """
    if source == target:
        return params
    if is_code(source) or is_code(target):
        return params if is_code(source) and is_code(target) else None
    if is_estimator(source) and is_estimator(target):
        return params if related(source, target) else None
    if is_joint(source):
        chosen = str(params.get("model"))
        return translate(_without_prefix(params, f"{chosen}."), chosen, target, task)
    if is_joint(target):
        if target != ALL and source not in target.split(","):
            return None
        return {"model": source, **{f"{source}.{name}": value for name, value in params.items()}}
    translation = _TRANSLATIONS.get((source, target))
    if translation is None:
        return None
    return translation(params, _SQUARED if task == "regression" else _LOGISTIC)


def _without_prefix(params: Params, prefix: str) -> Params:
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }


def _to_xgboost(params: Params, weight: float) -> Params:
    translated = _renamed(params, _TO_XGBOOST)
    depth = _number(params, "max_depth")
    translated["max_depth"] = round(depth) if depth > 0 else _DEEP
    translated["grow_policy"] = "lossguide"  # leaf by leaf, as LightGBM grows
    if "min_data_in_leaf" in params:
        translated["min_child_weight"] = weight * _number(params, "min_data_in_leaf")
    return translated


def _to_lightgbm(params: Params, weight: float) -> Params:
    translated = _renamed(params, _TO_LIGHTGBM)
    leaves = _max_leaves(params)
    if math.isfinite(leaves):
        translated["num_leaves"] = round(leaves)
    shares = [_number(params, name) for name in _COLUMN_SHARES if name in params]
    if shares:
        translated["feature_fraction"] = math.prod(shares)
    if "min_child_weight" in params:
        translated["min_data_in_leaf"] = round(_number(params, "min_child_weight") / weight)
    return translated


def _max_leaves(params: Params) -> float:
    """The number of leaves that an XGBoost tree may have; infinite without a limit."""
    depth = _number(params, "max_depth")
    by_depth = 2.0 ** min(depth, 30.0) if depth > 0 else math.inf
    leaves = _number(params, "max_leaves") if params.get("grow_policy") == "lossguide" else 0.0
    return min(by_depth, leaves if leaves > 0 else math.inf)


def _renamed(params: Params, names: Mapping[str, str]) -> dict[str, Value]:
    return {names[name]: value for name, value in params.items() if name in names}


def _number(params: Params, name: str) -> float:
    """The value of a parameter; 0, which both libraries read as no limit, if it is no number."""
    value = params.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


_TRANSLATIONS: Mapping[tuple[str, str], Translation] = {
    (LIGHTGBM, XGBOOST): _to_xgboost,
    (XGBOOST, LIGHTGBM): _to_lightgbm,
    (LIGHTGBM, HISTOGRAM): lambda params, _: _renamed(params, _TO_HISTOGRAM),
    (HISTOGRAM, LIGHTGBM): lambda params, _: _renamed(params, _FROM_HISTOGRAM),
}
