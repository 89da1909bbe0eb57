"""Hypothesis strategies for the domain types."""

from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from hpo.errors import SpaceError
from hpo.space import Categorical, Float, Forbidden, Integer, Parameter, SearchSpace, Value

_NAMES = st.text(
    st.characters(codec="ascii", categories=("Ll", "Lu", "Nd"), include_characters="_.-"),
    min_size=1,
    max_size=8,
).filter(lambda name: name != "." and not name.startswith(".."))  # which MLflow would refuse
_CHOICES: st.SearchStrategy[Value] = st.one_of(
    st.booleans(), st.integers(-5, 5), st.sampled_from([0.5, 2.25]), st.text(max_size=4)
)


@st.composite
def parameters(draw: st.DrawFn, name: str, parents: list[Parameter]) -> Parameter:
    """A parameter, possibly conditional on one or two of the categorical `parents`."""
    when: dict[str, tuple[Value, ...]] = {}
    for parent in (
        draw(st.lists(st.sampled_from(parents), max_size=2, unique_by=lambda p: p.name))
        if parents
        else []
    ):
        if isinstance(parent, Categorical):
            values = st.lists(
                st.sampled_from(parent.choices), min_size=1, max_size=2, unique_by=repr
            )
            when[parent.name] = tuple(draw(values))
    kind = draw(st.sampled_from(["float", "integer", "categorical"]))
    if kind == "categorical":
        choices = draw(
            st.lists(_CHOICES, min_size=1, max_size=4, unique_by=lambda v: (isinstance(v, bool), v))
        )
        return Categorical(name, tuple(choices), when)
    log = draw(st.booleans())
    if kind == "integer":
        low = draw(st.integers(1 if log else -20, 50))
        step = 1 if log else draw(st.integers(1, 3))
        return Integer(name, low, low + step * draw(st.integers(1, 200)), log, step, when)
    bottom = draw(st.floats(1e-6, 10) if log else st.floats(-100, 100))
    top = bottom * draw(st.floats(1.5, 1e4)) if log else bottom + draw(st.floats(0.01, 1e3))
    step_size = None if log else draw(st.none() | st.just((top - bottom) / draw(st.integers(1, 9))))
    return Float(name, bottom, top, log, step_size, when)


@st.composite
def spaces(draw: st.DrawFn, max_size: int = 7) -> SearchSpace:
    """A space of 1 to `max_size` parameters with nested conditions, declared in any order."""
    names = draw(st.lists(_NAMES, min_size=1, max_size=max_size, unique=True))
    made: list[Parameter] = []
    for name in names:
        made.append(draw(parameters(name, [p for p in made if isinstance(p, Categorical)])))
    return SearchSpace(tuple(draw(st.permutations(made))))


@st.composite
def constrained_spaces(draw: st.DrawFn, max_size: int = 5) -> SearchSpace:
    """A space with one or two forbidden combinations, which some configuration has."""
    import numpy as np

    space, made = draw(spaces(max_size)), []
    for _ in range(draw(st.integers(1, 2))):
        params = space.sample(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
        names = draw(st.lists(st.sampled_from(sorted(params)), min_size=1, max_size=2, unique=True))
        made.append(Forbidden({name: (_part(draw, space[name], params[name]),) for name in names}))
    try:
        return SearchSpace(space.parameters, tuple(made))
    except SpaceError:  # nothing is left
        reject()


def _part(draw: st.DrawFn, parameter: Parameter, value: Value) -> Value:
    """A value, or for a range a comparison that the value meets."""
    if isinstance(parameter, Categorical):
        return value
    if parameter.n_levels is not None and draw(st.booleans()):
        return value
    return draw(st.sampled_from([f"<={value!r}", f">={value!r}"]))


def params_of(space: SearchSpace) -> st.SearchStrategy[dict[str, Any]]:
    """Configurations of `space`."""
    import numpy as np

    return st.integers(0, 2**32 - 1).map(lambda seed: space.sample(np.random.default_rng(seed)))
