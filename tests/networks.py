"""Small networks in training."""

from typing import Any

from pipelines.models import FamilyOptions
from pipelines.models.mlp import MLP, Training
from pipelines.table.scores.metrics import Metric, default_metric
from serving.network import Network
from tests.folds import make_fold

SMALL: dict[str, Any] = {"layers": 1, "width": 16, "batch_size": 32}


def family(
    kind: str = "binary", horizon: int = 60, n: int = 240, metric: Metric | None = None
) -> MLP:
    return MLP(
        make_fold(kind, n), FamilyOptions(metric or default_metric(kind), 1, horizon=horizon)
    )


def start(owner: MLP, **params: Any) -> Training:
    return owner.start({**SMALL, **params}, 3)


def network_of(training: Training) -> Network:
    return training._stepper.network


def rates_of(training: Training) -> list[tuple[float, float]]:
    """(learning rate, its factor) of each group after the last step."""
    return [(group["lr"], group["speed"]) for group in training._stepper.optimizer.param_groups]
