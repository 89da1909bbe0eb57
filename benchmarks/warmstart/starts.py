"""The ways to start a search that `python -m benchmarks warmstart` compares."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.warmstart.pasts import TRIALS


@dataclass(frozen=True)
class Method:
    """A way to start a search.

    Attributes:
        past: the number of past studies; None for a cold search.
        defaults: how many of the two defaults are the first points.
        even: all past studies are equally similar.
        shuffled: past studies get the similarities of other ones.
        inverted: the share of past studies whose losses are negated.
        algorithm: the search algorithm.
        oracle_past: use the five past studies whose models rank this table best. No method can know
            them, so this bounds the gain from better similarities.
        oracle_points: take the two configurations of the past that are best on this table as first
            points. This bounds the gain from better first points.
        peer: a name in `benchmarks.methods.WARMED`. The peer gets the same defaults and the same
            past studies.
        others: model families whose studies also belong to the past.
        same: a model family whose study of this very table also belongs to the past.
        by: the algorithm of the past studies.
        cost: of each past study, in full trainings.
    """

    past: int | None = 40
    defaults: int = 2
    even: bool = False
    shuffled: bool = False
    inverted: float = 0.0
    algorithm: str = "tpe"
    oracle_past: bool = False
    oracle_points: bool = False
    peer: str | None = None
    others: tuple[str, ...] = ()
    same: str | None = None
    by: str = "tpe"
    cost: float = TRIALS


METHODS: Mapping[str, Method] = {
    "cold": Method(past=None),
    "cold, no defaults": Method(past=None, defaults=0),
    "random": Method(past=None, algorithm="random"),
    "warm": Method(),
    "even weights": Method(even=True),
    "shuffled weights": Method(shuffled=True),
    "2 past studies": Method(past=2),
    "5 past studies": Method(past=5),
    "10 past studies": Method(past=10),
    "20 past studies": Method(past=20),
    "cold gp": Method(past=None, algorithm="gp"),
    "warm gp": Method(algorithm="gp"),
    "cold bohb": Method(past=None, algorithm="bohb"),
    "warm bohb": Method(algorithm="bohb"),
    "warm bohb, 2 past studies": Method(algorithm="bohb", past=2),
    "warm bohb, 5 past studies": Method(algorithm="bohb", past=5),
    "warm bohb, 10 past studies": Method(algorithm="bohb", past=10),
    "warm bohb, all inverted": Method(algorithm="bohb", inverted=1.0),
    "LightGBM's past, too": Method(others=("lightgbm",)),
    "LightGBM's past only, of this table": Method(past=0, same="lightgbm"),
    "LightGBM's past, too, and of this table": Method(others=("lightgbm",), same="lightgbm"),
    "XGBoost's past, too": Method(others=("xgboost",)),
    "short past": Method(cost=10),
    "short past by bohb": Method(by="bohb", cost=10),
    "past by bohb": Method(by="bohb"),
    "half inverted": Method(inverted=0.5),
    "all inverted": Method(inverted=1.0),
    "oracle past": Method(oracle_past=True),
    "oracle first points": Method(oracle_points=True),
    "optuna": Method(past=None, peer="optuna"),
    "optuna, nearest's best": Method(peer="optuna-nearest"),
    "syne tune, bounding box": Method(peer="syne-box"),
    "flaml, zero-shot": Method(past=None, peer="flaml-zero-shot"),
}
