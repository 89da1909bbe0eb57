"""Our search in Ray Tune, without a cluster: what Ray calls, and its spaces."""

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray Tune: pip install 'mlflow-warmstart[ray]'")

from ray import tune
from ray.tune.search import Searcher

from hpo.errors import ParameterError, SpaceError, UserError
from hpo.samplers.ray import StudySearcher
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Integer
from hpo.space.ray import TuneSpace

SPACE = {
    "rate": tune.loguniform(1e-4, 1.0),
    "net": {"layers": tune.randint(1, 5), "act": tune.choice(["relu", None, ("a", 1)])},
    "drop": tune.quniform(0.1, 0.9, 0.1),
    "units": tune.qlograndint(8, 512, 8),
    "batch": tune.qrandint(10, 65, 5),
    "seed": 7,
}


def loss(config: dict[str, Any]) -> float:
    net = config["net"]
    away = abs(math.log10(config["rate"]) + 2) + (net["act"] is not None) + net["layers"] / 10
    return float(away + abs(config["drop"] - 0.4) + config["units"] / 512 + config["batch"] / 100)


def searcher(**options: Any) -> StudySearcher:
    made = StudySearcher(**{"seed": 0, **options})
    made.set_search_properties("loss", "min", copy.deepcopy(SPACE))
    return made


def run(made: StudySearcher, first: int, last: int) -> list[dict[str, Any]]:
    configs = []
    for number in range(first, last):
        config = made.suggest(f"t{number}")
        assert isinstance(config, dict)
        made.on_trial_complete(f"t{number}", {"loss": loss(config), "training_iteration": 1})
        configs.append(config)
    return configs


def test_domains_are_parameters() -> None:
    found = TuneSpace.of(SPACE)
    assert {parameter.name: parameter for parameter in found.space} == {
        "rate": Float("rate", 1e-4, 1.0, log=True),
        "net/layers": Integer("net/layers", 1, 4),
        "net/act": Categorical("net/act", ("relu", "None", "('a', 1)")),
        "drop": Float("drop", 0.1, 0.9, step=0.1),
        "units": Integer("units", 8, 512, log=True),
        "batch": Integer("batch", 10, 65, step=5),
    }


def test_configurations_are_inside_the_domains_and_have_their_own_objects() -> None:
    configs = run(searcher(), 0, 30)
    for config in configs:
        net = config["net"]
        assert 1e-4 <= config["rate"] <= 1
        assert net["layers"] in (1, 2, 3, 4)
        assert net["act"] in ("relu", None, ("a", 1))
        assert config["units"] % 8 == 0
        assert 8 <= config["units"] <= 512
        assert config["batch"] % 5 == 0
        assert 0.0999 <= config["drop"] <= 0.9001
        assert "seed" not in config  # a constant, which Ray adds
    assert configs[0]["rate"] == pytest.approx(0.01)  # the center comes first
    assert min(map(loss, configs[10:])) < min(map(loss, configs[:5]))


def test_the_seed_decides_and_a_restored_search_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path,
) -> None:
    whole = run(searcher(), 0, 14)
    assert run(searcher(), 0, 14) == whole
    assert run(searcher(seed=1), 0, 14)[1:] != whole[1:]
    half = searcher()
    assert run(half, 0, 7) == whole[:7]
    half.save(str(tmp_path / "state"))
    later = searcher(seed=5)  # the stored seed counts
    later.restore(str(tmp_path / "state"))
    assert run(later, 7, 14) == whole[7:]
    assert run(pickle.loads(pickle.dumps(half)), 7, 14) == whole[7:]


def test_running_trials_are_pending_and_a_trial_keeps_its_configuration() -> None:
    made = searcher()
    run(made, 0, 8)
    together = [made.suggest(f"p{i}") for i in range(4)]
    assert all(one != other for i, one in enumerate(together) for other in together[:i])
    assert made.suggest("p0") == together[0]


def test_maximising_is_minimising_the_negative() -> None:
    made = StudySearcher(copy.deepcopy(SPACE), "score", "max", seed=0)
    for number, config in enumerate(run(searcher(), 0, 12)):
        assert made.suggest(f"t{number}") == config
        made.on_trial_complete(f"t{number}", {"score": -loss(config)})


def test_failed_trials_and_those_without_a_finite_metric_are_the_worst() -> None:
    endings: list[dict[str, Any]] = [
        {"error": True},
        {"result": None},
        {"result": {"other": 1.0}},
        {"result": {"loss": math.nan}},
        {"result": {"loss": "high"}},
    ]
    made = searcher()
    for number, ending in enumerate(endings):
        made.suggest(f"f{number}")
        made.on_trial_complete(f"f{number}", **ending)
    made.on_trial_complete("unknown", {"loss": -1.0})
    run(made, 0, 3)
    failed = [trial.loss for name, trial in made._asked.items() if name.startswith("f")]
    assert failed == [math.inf] * len(endings)


def test_a_small_space_ends() -> None:
    made = StudySearcher({"x": tune.choice([1, 2]), "y": tune.randint(0, 2)}, "loss", "min", seed=0)
    for number in range(4):
        assert made.suggest(f"t{number}") != Searcher.FINISHED
        made.on_trial_complete(f"t{number}", {"loss": float(number)})
    assert made.suggest("more") == Searcher.FINISHED


def test_given_points_come_first() -> None:
    points = [{"rate": 0.5, "net": {"act": None}}, {"batch": 20}]
    configs = run(searcher(points_to_evaluate=points), 0, 3)
    assert configs[0]["rate"] == 0.5
    assert configs[0]["net"]["act"] is None
    assert configs[1]["batch"] == 20
    with pytest.raises(SpaceError, match=r"rate=5 must lie in \[0.0001, 1.0\]"):
        searcher(points_to_evaluate=[{"rate": 5}])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"x": tune.grid_search([1, 2])}, "x: grid_search is Ray's own search; write tune.choice"),
        ({"x": tune.randn()}, "x: a Float by Normal is not searched; write tune.uniform"),
        ({"a": {"x": tune.sample_from(lambda _: 1)}}, "a/x: a Function by .* is not searched"),
        ({"x": tune.uniform(2, 1)}, "low < high"),
        ({"x": tune.grid_search([1]), "y": tune.randn()}, "(?s)2 mistakes.*x: .*y: "),
    ],
)
def test_what_is_not_searched_is_an_error_before_the_first_trial(
    space: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        StudySearcher(space, "loss", "min")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "minimize"}, "mode='minimize' must be min or max"),
        ({"mode": ["min", "max"]}, "mode=.* must be text; one value is optimised"),
        ({"seed": -1}, "seed=-1 must be a whole number of 0 or more"),
        ({"seed": "x"}, "seed='x' must be a whole number of 0 or more"),
        ({"seed": True}, "seed=True must be a whole number of 0 or more"),
        ({"space": 7}, "space=7 must be a dict of Ray's domains"),
        ({"sampler": TPESampler}, "sampler=.* must be a sampler of hpo.samplers"),
        ({"points_to_evaluate": 3}, "points_to_evaluate=3 must be a list of configurations"),
        ({"points_to_evaluate": "ab"}, "points_to_evaluate='ab' must be a list"),
        ({"points_to_evaluate": [0.1]}, "points_to_evaluate=.* must be a list"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        StudySearcher(**given)


def test_a_search_without_a_space_or_a_metric_is_refused() -> None:
    with pytest.raises(ParameterError, match="nothing to search: give the Tuner a param_space"):
        StudySearcher(metric="loss", mode="min").suggest("t")
    with pytest.raises(ParameterError, match="metric=None, mode='min': both are needed"):
        StudySearcher(copy.deepcopy(SPACE), mode="min").suggest("t")
    with pytest.raises(ParameterError, match="one value is optimised; give one metric"):
        StudySearcher().set_search_properties(["a", "b"], ["min", "min"], SPACE)  # type: ignore[arg-type]
    assert not StudySearcher(copy.deepcopy(SPACE)).set_search_properties("loss", "min", SPACE)
