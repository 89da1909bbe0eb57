"""Frozen distributions of `scipy.stats`, as scikit-learn's searches take them, as ranges."""

from typing import Any

from hpo.errors import SpaceError

_KINDS: dict[str, dict[str, Any]] = {
    "loguniform": {"type": "float", "log": True},
    "reciprocal": {"type": "float", "log": True},
    "uniform": {"type": "float"},
    "randint": {"type": "integer"},
}


def is_distribution(entry: object) -> bool:
    """Whether an entry of a space is a frozen distribution of SciPy."""
    return type(entry).__module__.startswith("scipy.stats") and hasattr(entry, "dist")


def range_of(name: str, distribution: Any) -> dict[str, Any]:
    """The definition of a parameter with the support of a distribution.

    Raises:
        SpaceError: for other distributions than `loguniform`, `uniform` and `randint`.
    """
    kind = str(distribution.dist.name)
    if kind not in _KINDS:
        raise SpaceError(
            f"{name}: a distribution of scipy.stats must be loguniform, uniform or randint, but "
            f"got {kind}; write low= and high= instead, with log for a log scale"
        )
    low, high = distribution.support()
    as_type = int if kind == "randint" else float
    return {**_KINDS[kind], "low": as_type(low), "high": as_type(high)}
