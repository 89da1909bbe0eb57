"""The arithmetic of brackets, compared with the tables of the papers."""

import pytest

from hpo.errors import ParameterError
from hpo.rungs import Bracket, Budgets, costs, hyperband, reaching, successive_halving

# Li et al. (2018), table 1: (n_i, r_i) for R = 81 and eta = 3, s = 4, 3, 2, 1, 0.
PAPER = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]


def test_the_brackets_of_the_hyperband_paper() -> None:
    rungs = Budgets(1, 81, 3).rungs
    found = [
        list(zip(bracket.sizes, rungs[bracket.first :], strict=True))
        for bracket in hyperband(len(rungs), 3)
    ]
    assert found == PAPER


def test_successive_halving_is_the_bracket_with_one_survivor() -> None:
    assert successive_halving(5, 3) == (Bracket(0, (81, 27, 9, 3, 1)),)
    assert successive_halving(4, 2.5) == (Bracket(0, (16, 6, 2, 1)),)


@pytest.mark.parametrize(
    ("low", "high", "eta", "rungs"),
    [
        (1, 243, 3, (1, 3, 9, 27, 81, 243)),
        (9, 243, 3, (9, 27, 81, 243)),
        (10, 243, 3, (27, 81, 243)),
        (20, 1000, 3, (37, 111, 333, 1000)),
        (100, 100, 3, (100,)),
        (1, 1000, 10, (1, 10, 100, 1000)),
    ],
)
def test_rungs_go_down_from_the_largest_budget(
    low: int, high: int, eta: float, rungs: tuple[int, ...]
) -> None:
    assert Budgets(low, high, eta).rungs == rungs


def test_all_that_is_wrong_with_budgets_is_said_at_once() -> None:
    with pytest.raises(
        ParameterError,
        match=r"(?s)eta=1 must be 2 or more.*min_budget=9 must not exceed max_budget=3",
    ):
        Budgets(9, 3, 1)


def test_what_a_configuration_costs_when_promoted_ones_go_on() -> None:
    # 9 x 1/9 + 3 x 2/9 + 1 x 6/9 of a full training, over 9 configurations
    assert sum(costs((1, 3, 9), (Bracket(0, (9, 3, 1)),))) == pytest.approx((1 + 6 / 9 + 6 / 9) / 9)
    assert costs((9.0,), (Bracket(0, (1,)),)) == (1.0,)
    both = (Bracket(0, (9, 3, 1)), Bracket(1, (3, 1)))
    assert reaching(3, both) == pytest.approx((9 / 12, 6 / 12, 2 / 12))
    spent = (9 * 1, 3 * 2 + 3 * 3, 1 * 6 + 1 * 6)  # of the first bracket, and of the second
    assert costs((1, 3, 9), both) == pytest.approx([each / 9 / 12 for each in spent])
