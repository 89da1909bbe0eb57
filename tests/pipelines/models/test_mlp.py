"""Schedules, steps and preprocessing of the MLP, beyond the contract of all families."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import ParameterError
from pipelines.models import TrainingError, settings
from pipelines.models.network.optimizer import dropout
from pipelines.models.network.settings import (
    CHOICES,
    Hyperparameters,
    anneal_factor,
    ema_decay,
    schedule_factor,
)
from pipelines.table.scores.metrics import METRICS, Metric
from serving.features import Matrix
from tests.folds import KINDS, make_fold
from tests.networks import SMALL, family, network_of, rates_of, start

# --- schedules
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "constant", "warmup": 0.0}, {0: 1.0, 50: 1.0, 99: 1.0}),
        ({"schedule": "constant", "warmup": 0.04}, {0: 0.2, 1: 0.4, 3: 0.8, 4: 1.0, 99: 1.0}),
        (
            {"schedule": "cosine", "warmup": 0.0},
            {0: 1.0, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0.0},
        ),
        ({"schedule": "cosine", "warmup": 0.2}, {0: 1 / 21, 20: 1.0, 60: 0.5, 100: 0.0}),
        (
            {"schedule": "step", "warmup": 0.0, "drops": 3, "drop_factor": 0.1},
            {0: 1.0, 24: 1.0, 25: 0.1, 50: 0.01, 75: 0.001, 100: 0.001},
        ),
        ({"schedule": "coslog"}, {0: 0.0, 100: 0.0}),
    ],
)
def test_schedules_at_hand_computed_steps(
    changes: dict[str, Any], expected: dict[int, float]
) -> None:
    chosen = replace(Hyperparameters(), **changes)
    for step, factor in expected.items():
        assert schedule_factor(chosen, step, 100) == pytest.approx(factor, abs=1e-12)


def test_coslog_has_four_cycles() -> None:
    # log2(1 + 15 t) is a whole number at t = 0, 1/15, 3/15, 7/15, 1, and half a number at the peaks
    # between
    chosen = Hyperparameters(schedule="coslog")
    for low in (0, 100, 300, 700, 1500):
        assert schedule_factor(chosen, low, 1500) == pytest.approx(0.0, abs=1e-12)
    for cycle in range(4):
        t = (2 ** (cycle + 0.5) - 1) / 15
        assert schedule_factor(chosen, round(t * 150_000), 150_000) == pytest.approx(1.0, abs=1e-6)


def test_annealing_is_flat_and_then_a_cosine() -> None:
    assert [anneal_factor(step, 100) for step in (0, 50)] == [1.0, 1.0]
    assert anneal_factor(75, 100) == pytest.approx(0.5)
    assert anneal_factor(100, 100) == pytest.approx(0.0)


def test_the_average_of_weights_warms_up() -> None:
    assert ema_decay(0.99, 0) == pytest.approx(0.1)
    assert ema_decay(0.99, 8) == pytest.approx(0.5)
    assert ema_decay(0.99, 10_000) == 0.99


# --- one step
# --------------------------------------------------------------------------------------------------


def test_the_learning_rate_scales_with_the_rows_of_a_step() -> None:
    owner = family()
    for rows, accumulation, expected in ((32, 1, 0.001), (64, 1, 0.002), (32, 4, 0.004)):
        params = {
            "batch_size": rows,
            "accumulation": accumulation,
            "learning_rate": 0.008,
            "schedule": "constant",
        }
        training = start(owner, **params, warmup=0.0)
        training.train(1)
        assert all(rate == pytest.approx(expected * speed) for rate, speed in rates_of(training))


def test_a_batch_is_never_larger_than_the_table() -> None:
    training = start(
        family(n=60), batch_size=512, learning_rate=0.256, schedule="constant", warmup=0.0
    )
    training.train(1)
    assert rates_of(training)[0][0] == pytest.approx(0.04 * rates_of(training)[0][1])


def test_accumulated_batches_are_one_large_one() -> None:
    plain = {
        "optimizer": "sgd",
        "dropout": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "ema": False,
    }
    once = start(family(), batch_size=80, accumulation=1, **plain)
    twice = start(family(), batch_size=40, accumulation=2, **plain)
    once.train(1)
    twice.train(1)
    for a, b in zip(network_of(once).parameters(), network_of(twice).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_a_step() -> None:
    params = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
    }
    for clipping in (True, False):
        training = start(
            family(), sgd_learning_rate=8.0, clipping=clipping, max_norm=0.01, **params
        )
        before = [p.detach().clone() for p in network_of(training).parameters()]
        training._stepper.take(0)
        moved = [
            p.detach() - q for p, q in zip(network_of(training).parameters(), before, strict=True)
        ]
        norm = math.sqrt(sum(float(m.square().sum()) for m in moved))
        assert (norm <= 0.01 * 1.0 + 1e-6) == clipping  # a rate of 8 for 256 rows is 1 for 32


@pytest.mark.parametrize("optimizer", CHOICES["optimizer"])
def test_weight_decay_shrinks_by_rate_times_decay_for_every_optimiser(optimizer: str) -> None:
    params = {
        "optimizer": optimizer,
        "parametrization": "standard",
        "schedule": "constant",
        "warmup": 0.0,
    }
    params |= {"learning_rate": 1e-12, "sgd_learning_rate": 1e-12, "anneal": False}
    training = start(family(), weight_decay=4e12, **params)  # 32 rows: 1e-12 / 8 * 4e12 = 1/2
    network = network_of(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training._stepper.take(0)
    after = network.state_dict()
    torch.testing.assert_close(after["linears.0.weight"], before["linears.0.weight"] / 2)
    torch.testing.assert_close(after["linears.0.bias"], before["linears.0.bias"])


def test_each_optimiser_has_its_own_parameters() -> None:
    owner = family()
    chosen = {
        "adamw": start(owner, optimizer="adamw", beta2=0.9)._stepper.optimizer.param_groups[0][
            "betas"
        ],
        "sgd": start(
            owner, optimizer="sgd", momentum=0.5, nesterov=True
        )._stepper.optimizer.param_groups[0],
        "rmsprop": start(owner, optimizer="rmsprop", smoothing=0.7)._stepper.optimizer.param_groups[
            0
        ]["alpha"],
    }
    assert chosen["adamw"] == (0.9, 0.9)
    assert (chosen["sgd"]["momentum"], chosen["sgd"]["nesterov"]) == (0.5, True)
    assert chosen["rmsprop"] == 0.7
    assert not start(owner, optimizer="sgd", momentum=0.0)._stepper.optimizer.param_groups[0][
        "nesterov"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_smoothed_for_classes_only(kind: str) -> None:
    models = [start(family(kind), label_smoothing=amount) for amount in (0.0, 0.3)]
    for model in models:
        model.train(5)
    rows = make_fold(kind).train
    same = np.array_equal(models[0].predict(rows), models[1].predict(rows))
    assert same == (kind == "regression")


def test_epochs_are_permutations_that_depend_on_the_seed_alone() -> None:
    owner = family(n=240)
    training, again = start(owner), owner.start(SMALL, 3)
    first = torch.cat([training._stepper.rows(i) for i in range(5)])
    assert sorted(first.tolist()) == list(range(160))
    later = torch.cat([training._stepper.rows(i) for i in range(5, 10)])
    assert sorted(later.tolist()) == list(range(160))
    assert first.tolist() != later.tolist()
    assert again._stepper.rows(7).tolist() == later[64:96].tolist()
    assert owner.start(SMALL, 4)._stepper.rows(7).tolist() != later[64:96].tolist()


def test_dropout_keeps_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    drop = dropout(0.25, generator)
    assert drop is not None
    factors = drop(torch.ones(1000, 77))
    assert sorted(set(factors.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.01)
    assert dropout(0.0, generator) is None


def test_global_random_generators_are_not_used() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before, also = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    start(family()).train(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == also  # type: ignore[index]  # noqa: NPY002


# --- a training
# -------------------------------------------------------------------------------------------------


def variants() -> list[dict[str, Any]]:
    """Every choice and both sides of every switch."""
    switches = [f.name for f in fields(Hyperparameters) if f.type in (bool, "bool")]
    choices = [{name: choice} for name, known in CHOICES.items() for choice in known]
    return [
        {"networks": 3},
        *choices,
        *({name: side} for name in switches for side in (True, False)),
    ]


@pytest.mark.parametrize("params", variants(), ids=str)
def test_every_option_trains_and_continues_exactly(params: dict[str, Any], tmp_path: Path) -> None:
    owner = family("multiclass", horizon=12)
    straight = start(owner, **params)
    straight.train(5)
    straight.save(tmp_path / "state")
    resumed = owner.resume({**SMALL, **params}, 3, tmp_path / "state")
    rows = make_fold("multiclass").train
    straight.train(12)
    resumed.train(12)
    assert np.isfinite(straight.predict(rows)).all()
    assert np.array_equal(straight.predict(rows), resumed.predict(rows))
    assert straight.best == resumed.best


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_networks_side_by_side_learn_as_they_would_alone(kind: str, optimizer: str) -> None:
    params = {"optimizer": optimizer, "dropout": 0.0, "numeric_embedding": "none", "ema": False}
    owner = family(kind)
    pair = start(owner, networks=2, **params)
    alone = [start(owner, **params) for _ in range(2)]
    for i, single in enumerate(alone):
        for name, tensor in network_of(single).state_dict().items():
            both = network_of(pair).state_dict()[name]
            tensor.copy_(both[i : i + 1] if name.startswith(("linears", "factor")) else both)
        for parameter in (
            p for n, p in network_of(single).named_parameters() if n.startswith("levels")
        ):
            parameter.requires_grad_(False)
    for parameter in (p for n, p in network_of(pair).named_parameters() if n.startswith("levels")):
        parameter.requires_grad_(False)
    for training in (pair, *alone):
        for step in range(3):
            training._stepper.take(step)
    for name, tensor in network_of(pair).named_parameters():
        if name.startswith(("linears", "factor")):
            singles = torch.cat(
                [dict(network_of(single).named_parameters())[name] for single in alone]
            )
            torch.testing.assert_close(tensor, singles, rtol=2e-4, atol=1e-5)


def test_the_space_holds_every_option() -> None:
    space = settings("mlp").space
    for name, known in CHOICES.items():
        assert set(getattr(space[name], "choices", ())) <= set(known)
    assert set(space.names) <= {f.name for f in fields(Hyperparameters)}


class Falling:
    """A metric whose value the test decides, one evaluation after the other."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, y: object, prediction: object, weight: object = None) -> float:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


def falling(*values: float) -> Metric:
    return replace(METRICS["log_loss"], function=Falling(*values))


def test_training_stops_when_patience_has_run_out() -> None:
    owner = family(
        horizon=60, metric=falling(0.9, 0.8, 0.85)
    )  # an evaluation every 3 steps: see _stride
    training = start(owner, patience=0.1)
    training.train(30)
    assert (training.best, training.steps) == (2 * training._stride(), 2 * training._stride() + 6)
    assert training.stopped
    assert training.reached == 30
    assert training.train(60) == ()
    assert training.reached == 60


def test_small_gains_do_not_renew_patience_but_are_stored() -> None:
    owner = family(horizon=60, metric=falling(0.9, 0.899, 0.898, 0.897, 0.896))
    training = start(owner, patience=0.1, min_delta=0.01)
    training.train(60)
    assert training.steps == training._stride() + 6
    assert training.best == training.steps


def test_of_equal_evaluations_the_last_is_stored_but_patience_is_not_renewed() -> None:
    training = start(family(horizon=60, metric=falling(0.9, 0.8, 0.8, 0.8)), patience=0.1)
    training.train(60)
    assert training.steps == training.best == 2 * training._stride() + 6


def test_small_tables_end_by_epochs() -> None:
    training = start(family(horizon=1000), max_epochs=3, patience=1.0)
    training.train(1000)
    assert training.horizon == training.steps == 15
    assert (training.stopped, training.reached) == (True, 1000)


def test_curves_are_short() -> None:
    curve = start(family(horizon=300), patience=1.0).train(300)
    assert 10 < len(curve) <= 50
    assert curve[-1][0] == 300


def test_diverged_training_is_an_error() -> None:
    training = start(family("regression"), optimizer="sgd", sgd_learning_rate=1e20, momentum=0.0)
    with pytest.raises(TrainingError, match="diverged within .* lower the learning rate"):
        training.train(60)


def test_the_stored_validation_predictions_are_those_of_the_best_network() -> None:
    owner = family("binary")
    training = start(owner)
    training.train(60)
    fold = owner.fold
    copied = Matrix(fold.valid.numeric.copy(), fold.valid.categorical.copy())
    np.testing.assert_allclose(
        training.predict(fold.valid), training.predict(copied), rtol=0, atol=1e-6
    )


def test_regressions_stay_within_the_targets_seen() -> None:
    owner = family("regression")
    training = start(owner, learning_rate=0.1)
    training.train(20)
    far = Matrix(owner.fold.valid.numeric * 1e6, owner.fold.valid.categorical)
    y = owner.fold.y_train.astype(np.float32)
    assert training.predict(far).max() <= y.max()
    assert training.predict(far).min() >= y.min()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rat": 0.1}, "no parameter 'learning_rat', did you mean 'learning_rate'"),
        (
            {"optimizer": "adam"},
            "optimizer='adam' must be one of adamw, sgd, rmsprop, did you mean 'adamw'",
        ),
        ({"dropout": 1.5}, r"dropout=1.5 must lie in \[0.0, 0.99\]"),
        ({"layers": 0, "width": 0}, "2 mistakes"),
        ({"batch_size": 99.5}, "batch_size=99.5 must be a whole number"),
        ({"learning_rate": "high"}, "learning_rate='high' must lie in"),
    ],
)
def test_invalid_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        family().start(params, 0)


def test_training_starts_from_outputs_of_unit_size() -> None:
    training = start(family(n=600), layers=3, width=64, networks=2, parametrization="ntk")
    network, data = network_of(training), training._stepper.data
    with torch.no_grad():
        x = network.inputs(data.dense, data.lookup)
        for linear in network.linears:
            out = linear(x)
            np.testing.assert_allclose(out.std(dim=1), 1.0, rtol=0.05)
            x = network.activation(out)
