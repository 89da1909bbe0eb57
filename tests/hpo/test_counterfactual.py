import numpy as np
import pytest

from hpo.arrays import FloatArray
from hpo.counterfactual import OwnModel, normal_scores, without_past
from hpo.samplers.tpe import TPESampler
from hpo.schedulers.full import Full
from hpo.space.parameters import Value
from hpo.storage import MemoryStorage
from hpo.study import FirstPoint, Study, StudySettings
from hpo.trial import Report
from tests.hpo.test_past import SPACE, past_of, source, valley

DEFAULT: dict[str, Value] = {"x": 0.9, "y": 0.5, "idle": 0.5, "kind": "a"}
FIRST = (FirstPoint(DEFAULT, "default"),)


def searched(seed: int, n: int = 20) -> tuple[FloatArray, FloatArray]:
    """Codes and losses of a search without past studies, on a valley with noise."""
    rng = np.random.default_rng(seed)
    study = Study(
        SPACE,
        TPESampler(),
        Full(1.0),
        MemoryStorage(),
        seed=seed,
        max_trials=n,
        settings=StudySettings(first_points=FIRST),
    )
    while (trial := study.ask()) is not None:
        loss = float(valley(SPACE.encode(trial.params)[None])[0] + 0.05 * rng.normal())
        study.tell(trial.number, Report(1.0, loss))
    x = np.array([SPACE.encode(trial.params) for trial in study.trials])
    return x, np.array([trial.loss for trial in study.trials])


def test_a_search_without_a_past_is_ahead_of_about_half_of_its_own_simulations() -> None:
    """Over 16 studies: a share has deviation 0.3, the mean 0.075; 3.5 deviations are allowed."""
    past = past_of(*(source(f"s{i}", valley, i) for i in range(4)))
    ahead = []
    for seed in range(16):
        x, losses = searched(seed)
        found, simulated = without_past(
            past, x, losses, TPESampler(), FIRST, lag=0, seed=seed, repeats=12
        )
        assert simulated.shape == (12, 20)
        assert (np.diff(simulated, axis=1) <= 0).all()
        assert (simulated[:, 0] == found[0]).all()  # the default has the loss that it had
        ahead.append(np.mean(simulated[:, -1] > found[-1]))
    assert np.mean(ahead) == pytest.approx(0.5, abs=0.27)


def test_the_same_seed_gives_the_same_simulations() -> None:
    past = past_of(*(source(f"s{i}", valley, i) for i in range(3)))
    x, losses = searched(3, n=9)
    losses[4] = np.inf  # a trial that failed
    one, two = (
        without_past(past, x, losses, TPESampler(), FIRST, lag=4, seed=5, repeats=3)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one[1], two[1])
    assert np.isfinite(one[1]).all()


def test_scores_are_normal_quantiles_of_the_ranks() -> None:
    scores = normal_scores(np.array([3.0, 1.0, 2.0, np.inf]))
    assert np.argsort(scores).tolist() == [1, 2, 0, 3]
    assert scores.sum() == pytest.approx(0)
    assert normal_scores(np.ones(3)).tolist() == [0.0] * 3


def test_draws_come_near_what_is_known_and_vary_where_nothing_is() -> None:
    points = np.linspace(0, 1, 12)[:, None]
    model = OwnModel.fitted(points, 10 * points[:, 0] ** 2)
    assert model.noise < model.signal
    rng = np.random.default_rng(0)
    near, far = (
        [model.draw(np.array([at]), points[:0], np.empty(0), rng) for _ in range(200)]
        for at in (0.0, 9.0)
    )
    assert np.mean(near) == pytest.approx(model.scores[0], abs=0.4)
    assert np.std(far) > 2 * np.std(near)
