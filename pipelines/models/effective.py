"""What a family makes of its parameters: different values may give the same training.

Each rule takes all parameters of a family, under main names, and returns those that have an effect.
"""

from collections.abc import Callable, Mapping

from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value

NO_LIMIT = ("max_depth", "max_leaves")  # 0 or less stands for no limit

Rule = Callable[[SearchSpace, Params], dict[str, Value]]


def number(params: Params, name: str) -> float:
    """A parameter as a number."""
    return float(params[name])


def _lightgbm(_: SearchSpace, params: Params) -> dict[str, Value]:
    """LightGBM caps `num_leaves` by the depth, and skips what is switched off."""
    found = dict(params)
    dropped: set[str] = set()
    if number(found, "max_depth") > 0:
        found["num_leaves"] = min(found["num_leaves"], 2 ** int(found["max_depth"]), key=float)
    shares = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
    whole = all(number(found, share) >= 1 for share in shares)
    if whole or number(found, "bagging_freq") <= 0:
        dropped |= {"bagging_freq", *shares}
    if not found["linear_tree"]:
        dropped.add("linear_lambda")
    if found["data_sample_strategy"] != "goss":
        dropped |= {"top_rate", "other_rate"}
    if not found["use_quantized_grad"]:
        dropped |= {"num_grad_quant_bins", "quant_train_renew_leaf", "stochastic_rounding"}
    return {name: value for name, value in found.items() if name not in dropped}


def _mlp(space: SearchSpace, params: Params) -> dict[str, Value]:
    """The network reads a parameter only where the conditions of its own space hold."""
    active = space.active(params)
    return {n: value for n, value in params.items() if n in active or n not in space}


RULES: Mapping[str, Rule] = {"lightgbm": _lightgbm, "mlp": _mlp}


def effective(family: str, space: SearchSpace, params: Params) -> dict[str, Value]:
    """The parameters of a family that have an effect; `params` are all of them.

    Args:
        family: Its name.
        space: Its own space.
        params: Under main names.
    """
    found = RULES[family](space, params) if family in RULES else dict(params)
    return {n: -1 if n in NO_LIMIT and _none(v) else v for n, v in found.items()}


def _none(limit: Value) -> bool:
    """Whether a limit stands for none; scikit-learn has a text for that instead of a number."""
    return isinstance(limit, int | float) and limit <= 0
