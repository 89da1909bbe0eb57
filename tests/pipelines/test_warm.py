"""What a study says of what the past was worth to it."""

import numpy as np
import pytest

from hpo.parameters import Float
from hpo.past import Past, Source
from hpo.samplers.learned import UNTIL
from hpo.space import SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings.evidence import WARM_ORIGIN
from pipelines.warm import gain, worth

SPACE = SearchSpace((Float("a", 0.0, 1.0),))


def trial(number: int, loss: float, origin: str = "sampler", a: float = 0.5) -> Trial:
    return Trial(number, {"a": a}, 1.0, origin, (Report(1.0, loss),))


def failed(number: int, origin: str = "sampler") -> Trial:
    return Trial(number, {"a": 0.5}, 1.0, origin, failure="lost")


def test_gain_counts_the_trials_that_the_best_point_from_the_past_beats() -> None:
    past = f"{WARM_ORIGIN}: adult"
    trials = [
        *(trial(0, 0.5, "default"), trial(1, 0.9, past), trial(2, 0.3, past), failed(3, past)),
        *(trial(4, 0.4), trial(5, 0.2), trial(6, 0.3), failed(7)),
    ]
    assert gain(trials) == pytest.approx({"share": 3 / 4, "trials": 5 / 2})


@pytest.mark.parametrize(
    "trials",
    [[], [trial(0, 0.5, "default")], [trial(0, 0.5, WARM_ORIGIN)], [failed(0, WARM_ORIGIN), trial(1, 0.5)]],
)
def test_there_is_no_gain_to_tell_without_both_kinds(trials: list[Trial]) -> None:
    assert gain(trials) == {}


def test_the_past_is_weighed_as_long_as_it_is_asked() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    right, wrong = Source("right", x, x[:, 0], 0.5), Source("wrong", x, -x[:, 0], 0.5)
    drawn = np.random.default_rng(0).random(UNTIL + 30)
    rows = worth(Past(SPACE, (right, wrong)), [trial(n, float(a), a=float(a)) for n, a in enumerate(drawn)])
    assert [row["trials"] for row in rows] == list(range(1, UNTIL + 1))
    assert rows[0]["weights"] == {"right": 0.5, "wrong": 0.5}
    assert rows[-1]["weights"]["right"] > 0.99
    assert rows[-1]["trust"] > 0.9
    assert worth(Past(SPACE, (right,)), [failed(0)])[0]["trust"] == 1.0
