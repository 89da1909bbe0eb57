"""The number of rounds of logged trainings, which a study sets itself."""

import math
from collections.abc import Iterable, Sequence

from pipelines.adoption.mapping import Meaning, look_up
from pipelines.adoption.runs import ForeignRun
from pipelines.adoption.values import LoggedParameter, parse

_ROUNDS = {
    "lightgbm": "num_iterations",
    "xgboost": "n_estimators",
    "catboost": "iterations",
    "hist_gradient_boosting": "max_iter",
    "random_forest": "n_estimators",
    "extra_trees": "n_estimators",
}


def rounds_parameters(model: str, names: Iterable[str]) -> list[LoggedParameter]:
    """The parameters among `names` that hold a number of rounds."""
    if model not in _ROUNDS:
        return []
    meaning = Meaning(_ROUNDS[model])
    return [
        LoggedParameter(name, model, meaning)
        for name in names
        if look_up(model, name, "reserved") == meaning.name
    ]


def logged_rounds(run: ForeignRun, parameters: Iterable[LoggedParameter]) -> set[float]:
    """The numbers of rounds that were logged for a run; none if they are not numbers.

    Raises:
        ValueError: If no training can have such a number of rounds.
    """
    found: set[float] = set()
    for parameter in parameters:
        text = run.params.get(parameter.logged, "")
        value = parse(text)
        if not isinstance(value, bool | str) and not math.isnan(value):  # nan: not set
            parameter.check_number(text, value)
            found.add(value)
    return found


def rounds_notes(model: str, rounds: set[float]) -> Sequence[str]:
    """A note if the runs had different numbers of rounds: every run counts as a full training."""
    if len(rounds) < 2:
        return ()
    return (
        f"{_ROUNDS[model]} differs between the runs, from {min(rounds):g} to {max(rounds):g}: each "
        "counts as a full training, with its own score",
    )
