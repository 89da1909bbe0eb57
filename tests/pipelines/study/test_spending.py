import pytest

from hpo.errors import ParameterError
from hpo.trial import Report, Trial
from pipelines.study.spending import UNLIMITED, Allowance, mistakes


@pytest.mark.parametrize(
    ("budget", "price", "seconds"),
    [
        ("90s", None, 90),
        ("1.5 min", None, 90),
        ("4h", None, 14_400),
        ("4h cpu", None, 14_400),
        ("2d", None, 172_800),
        ("20 EUR", 0.5, 144_000),
        ("$3", 6.0, None),
        ("3$", 6.0, 1_800),
    ],
)
def test_time_and_money(budget: str, price: float | None, seconds: float | None) -> None:
    if seconds is None:
        assert "must be CPU time" in mistakes(budget, price)["budget"]
    else:
        assert Allowance.of(budget, price).seconds == seconds
        assert mistakes(budget, price) == {}


@pytest.mark.parametrize(
    ("budget", "price", "words"),
    [
        ("20 EUR", None, "budget=20 EUR needs the price of an hour of one core: give price"),
        ("4h", 2.0, "price is for a budget in money, not for budget=4h"),
        ("0h", None, "budget=0h must be above 0"),
        ("4 weeks", None, "budget='4 weeks' must be CPU time such as '4h'"),
    ],
)
def test_mistakes(budget: str, price: float | None, words: str) -> None:
    assert mistakes(budget, price)["budget"].startswith(words)
    with pytest.raises(ParameterError):
        Allowance.of(budget, price)


def test_threads_cost_seconds_each() -> None:
    trials = [Trial(n, {}, 1.0).with_outcome(Report(1.0, 0.5, seconds=30.0)) for n in range(2)]
    allowed = Allowance.of("3 min", None)
    assert allowed.left(trials, threads=1) == 120
    assert allowed.left(trials, threads=2) == 60
    assert allowed.left(trials, threads=4) == 0
    assert UNLIMITED.left(trials, threads=4) > 1e9
    assert Allowance.of("1.5 min", None).twice == "3 min"
