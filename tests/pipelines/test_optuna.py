import sys
from typing import Any

import optuna
import pytest

from hpo.errors import ParameterError, StudyError
from pipelines.ask import open_study
from pipelines.optuna import WarmstartSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)


# names of parameters that no other study of the shared store has
def objective(trial: optuna.Trial) -> float:
    x, kind = (
        trial.suggest_float("optuna_x", -5, 5),
        trial.suggest_categorical("optuna_kind", ["a", "b"]),
    )
    return (x - 2.5) ** 2 + (kind == "a")


def xs(sampler: WarmstartSampler, n: int = 5) -> list[float]:
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=n)
    return [trial.params["optuna_x"] for trial in study.trials]


def past(name: str) -> None:
    space = {"optuna_x": {"low": -5.0, "high": 5.0}, "optuna_kind": ["a", "b"]}
    with open_study(space, name=name, trials=8) as study:
        while (trial := study.ask()) is not None:
            params = trial.params
            study.tell(
                trial, (float(params["optuna_x"]) - 2.5) ** 2 + (params["optuna_kind"] == "a")
            )


def test_past_studies_of_the_objective_are_where_an_optuna_study_begins(store: str) -> None:
    assert xs(WarmstartSampler("square", seed=0)) == xs(WarmstartSampler(seed=0))
    past("square")
    warm, again = (xs(WarmstartSampler("square", seed=0)) for _ in range(2))
    assert warm == again
    assert warm[0] == 0.0  # the center
    assert abs(warm[1] - 2.5) < 1.5
    cold = xs(WarmstartSampler(seed=0))
    assert warm != cold
    assert xs(WarmstartSampler("square", seed=0, warm_start="off")) == cold
    other = xs(WarmstartSampler("module:other", seed=0))
    assert other != cold  # it shares parameters
    assert other[1] != warm[1]  # but its best ones are tried for the same objective only


def test_a_past_that_does_not_exist_is_an_error_before_the_study_starts(store: str) -> None:
    with pytest.raises(StudyError, match="warm_start=nowhere: .*nowhere"):
        WarmstartSampler("square", warm_start="nowhere")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": 3}, "objective=3 must be a name of what is evaluated"),
        ({"objective": 0}, "objective=0 must be a name of what is evaluated"),
        ({"seed": "x"}, "seed='x' must be a whole number of 0 or more"),
        ({"seed": 0.5}, "seed=0.5 must be a whole number of 0 or more"),
        ({"metric": 3}, "metric=3 must be text; write -err to minimise"),
        ({"warm_start": 3}, "warm_start=3 must be text"),
    ],
)
def test_values_of_a_wrong_type_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        WarmstartSampler(**given)


def test_without_optuna_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hpo.samplers.optuna", None)
    monkeypatch.delitem(sys.modules, "pipelines.optuna")
    with pytest.raises(ModuleNotFoundError, match="pip install 'mlflow-warmstart.optuna.'"):
        import pipelines.optuna  # noqa: F401
