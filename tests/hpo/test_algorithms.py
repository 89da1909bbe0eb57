"""The names of algorithms and the settings written in them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import algorithms
from hpo.errors import ParameterError
from hpo.samplers.auto import RULES
from hpo.samplers.grid import GridSampler
from hpo.samplers.kde import KDESampler
from hpo.samplers.settings import names
from hpo.samplers.tpe import TPESampler
from hpo.space import Float, SearchSpace


def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text("utf-8")


def test_settings_follow_the_name_of_any_algorithm() -> None:
    assert algorithms.sampler_of("tpe:gamma=0.2, n_startup=8") == TPESampler(8, gamma=0.2)
    assert algorithms.sampler_of("tpe+asha:gamma=0.2") == TPESampler(gamma=0.2)
    assert algorithms.sampler_of("bohb:rho=0.25,widening=3") == KDESampler(widening=3.0, rho=0.25)
    assert algorithms.sampler_of("grid:resolution=3") == GridSampler(3)
    assert algorithms.parts("bohb:rho=0.25") == ("kde", "async_hyperband")


def test_the_canonical_name_is_the_same_for_the_same_settings() -> None:
    same = ("tpe:n_startup=8,gamma=0.2", "tpe: gamma = 0.20 , n_startup = 8")
    assert {algorithms.canonical(name) for name in same} == {"tpe:n_startup=8,gamma=0.2"}
    assert algorithms.canonical("tpe:gamma=0.15") == "tpe"
    assert algorithms.canonical("bohb") == "bohb"


def test_seconds_count_only_where_time_ends_a_search_of_full_trainings() -> None:
    def cost(name: str, rungs: tuple[float, ...], *, limited: bool) -> float:
        sampler, _ = algorithms.algorithm(name, rungs, in_limited_time=limited)
        assert isinstance(sampler, TPESampler)
        return sampler.cost

    assert cost("tpe", (9.0,), limited=True) == 0.5
    assert cost("tpe:cost=0.25", (9.0,), limited=True) == 0.25
    assert cost("tpe:cost=0", (9.0,), limited=True) == 0
    assert cost("tpe", (9.0,), limited=False) == 0
    assert cost("tpe+asha", (3.0, 9.0), limited=True) == 0


@given(
    gamma=st.floats(0, 1, exclude_min=True, exclude_max=True),
    n=st.integers(1, 10**6),
    weight=st.floats(1e-300, 1e300),
)
def test_settings_are_read_as_they_are_written(gamma: float, n: int, weight: float) -> None:
    sampler = TPESampler(n, gamma=gamma, prior_weight=weight)
    name = algorithms.canonical(f"tpe:prior_weight={weight!r},n_startup={n},gamma={gamma!r}")

    assert algorithms.sampler_of(name) == sampler
    assert algorithms.canonical(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpe:gama=0.2", "tpe has no setting 'gama', did you mean 'gamma'?; settings: n_startup"),
        ("random:gamma=0.2", "random has no settings, but got gamma"),
        ("asha:gamma=0.2", "random has no settings"),
        ("asha:eta=2", "eta is an option of its own and no setting of the sampler: write eta=2"),
        ("tpe:gamma=1", "gamma=1.0 must lie between 0 and 1"),
        ("tpe:gamma=nan", "gamma=nan must lie between 0 and 1"),
        ("tpe:gamma=low", "gamma='low' must be a number"),
        ("tpe:widening=nan", "widening=nan must be greater than 0"),
        ("tpe:widening=inf", "widening=inf must be finite"),
        ("tpe:n_startup=2.5", "n_startup='2.5' must be a whole number"),
        ("tpe:n_startup=0", "n_startup=0 must be 1 or greater"),
        ("tpe:gamma=0.2,gamma=0.3", "gamma is given twice"),
        ("tpe:gamma", "'gamma' must be written as setting=value"),
        ("tpe:", "'' must be written as setting=value"),
        ("tpe:gamma=0.2+asha", "settings come last: tpe+asha:gamma=0.2"),
        ("tpee:gamma=0.2", "unknown algorithm 'tpee', did you mean 'tpe'?"),
    ],
)
def test_a_wrong_setting_is_an_error_with_the_way_out(name: str, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        algorithms.canonical(name)


def test_auto_chooses_by_the_trials_and_is_what_it_chose() -> None:
    space = SearchSpace((Float("x", 0.0, 1.0),))
    chosen = [algorithms.resolved("auto", space, n) for n in (1, 14, 15, 50, 1000, 1001)]
    assert chosen == ["tpe", "tpe", "gp", "gp", "gp", "tpe"]
    assert algorithms.resolved("random", space, 50) == "random"
    assert algorithms.resolved("gp:n_startup=8,xi=0.5", space, 5) == "gp:xi=0.5"
    assert algorithms.is_same("auto", "gp")
    assert not algorithms.is_same("tpe", "gp")
    assert not algorithms.grants_budgets("auto")
    with pytest.raises(ParameterError, match="auto chooses a sampler; name one, such as gp"):
        algorithms.canonical("auto:kappa=2")


def test_the_docs_have_the_rules_of_auto() -> None:
    rows = [f"| {rule.when} | `{rule.algorithm}` |" for rule in RULES]
    assert "\n".join(rows) in re.sub(r"(\| `\w+` \|).*", r"\1", page())


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ParameterError, match=r"(?s)2 mistakes.*gama.*n_startup=0"):
        algorithms.canonical("tpe:gama=1,n_startup=0")


@pytest.mark.parametrize("name", algorithms.SAMPLERS)
def test_every_setting_can_be_written(name: str) -> None:
    sampler = algorithms.sampler_of(name)
    values = {each: getattr(sampler, each) for each in names(type(sampler))}
    pairs = ",".join(f"{each}={value}" for each, value in values.items() if value != "")
    if pairs:
        assert algorithms.sampler_of(f"{name}:{pairs}") == sampler


def test_the_docs_list_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*`\w+=.*|–) \|$", page(), re.MULTILINE))
    for name in algorithms.SAMPLERS:
        sampler = algorithms.sampler_of(name)
        own = vars(sampler) if name != "kde" else {"n_candidates": 64, "rho": 0.05}
        listed = [f"`{each}={own[each]}`" for each in names(type(sampler)) if each in own]
        assert re.findall(r"`\w+=[^`]*`", rows[name]) == listed, name
