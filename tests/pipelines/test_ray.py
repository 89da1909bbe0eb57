import importlib.util
import sys
from typing import Any

import pytest

from pipelines.ask import open_study

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs Ray Tune: pip install 'mlflow-warmstart[ray]'",
)


def xs(**options: Any) -> list[float]:
    from ray import tune

    from pipelines.ray import WarmstartSearcher

    made = WarmstartSearcher(**{"objective": "tuned square", "seed": 0, **options})
    space = {"ray_x": tune.uniform(-5, 5), "ray_kind": tune.choice(["a", "b"])}
    made.set_search_properties("loss", "min", space)
    found = []
    for number in range(5):
        config = made.suggest(f"t{number}")
        assert isinstance(config, dict)
        value = (config["ray_x"] - 2.5) ** 2 + (config["ray_kind"] == "a")
        made.on_trial_complete(f"t{number}", {"loss": value})
        found.append(config["ray_x"])
    return found


@needs_ray
def test_past_studies_of_the_objective_are_where_a_search_of_ray_begins(store: str) -> None:
    cold = xs(objective=None)
    space = {"ray_x": {"low": -5.0, "high": 5.0}, "ray_kind": ["a", "b"]}
    with open_study(space, name="tuned square", trials=8) as study:
        while (trial := study.ask()) is not None:
            params = trial.params
            study.tell(trial, (float(params["ray_x"]) - 2.5) ** 2 + (params["ray_kind"] == "a"))
    warm = xs()
    assert warm == xs()
    assert warm[0] == cold[0] == 0.0  # the center
    assert abs(warm[1] - 2.5) < 1.5
    assert warm != cold
    assert xs(warm_start="off") == cold


def test_without_ray_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hpo.samplers.ray", None)
    monkeypatch.delitem(sys.modules, "pipelines.ray", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pip install 'mlflow-warmstart.ray.'"):
        import pipelines.ray  # noqa: F401
