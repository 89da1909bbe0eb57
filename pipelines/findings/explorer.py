"""A page on which all trials of a study are looked through: brushes on every axis, and a table.

Plotly draws the parallel coordinates and their brushes; its script is inside the page, which works
offline. All trials are in the page as columns of 32-bit numbers, so 100,000 trials of 15 columns
take 8 MB.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from markupsafe import Markup

from hpo.errors import ParameterError
from hpo.space.parameters import Categorical
from pipelines.findings.evidence import Evidence, best_and_others
from pipelines.findings.page import template
from pipelines.findings.scales import short

DRAWN = 4_000  # lines, the best half and an even choice of the others
_NEEDED = "explore=true needs plotly: pip install 'mlflow-warmstart[explore]'"


@dataclass(frozen=True)
class Column:
    """One value of every trial.

    Attributes:
        name: of the column, different from all others.
        data: base64 of 32-bit floats, little-endian; nan where a trial has no value.
        is_log: whether its axis is logarithmic.
        labels: what whole numbers stand for; empty for numbers.
    """

    name: str
    data: str
    is_log: bool = False
    labels: Sequence[str] = ()


def check_explorer() -> None:
    """Check that the page can be made.

    Raises:
        ParameterError: when plotly is not installed.
    """
    if find_spec("plotly") is None:
        raise ParameterError(_NEEDED)


def explorer_page(evidence: Evidence) -> str:
    """The page, with the trials in the order of their rank."""
    from plotly.offline import get_plotlyjs

    n = len(evidence.rows)
    columns = list(_columns(evidence))
    data = {
        "n": n,
        "color": columns[1].name,
        "reversed": not evidence.scope.goal.greater_is_better,
        "drawn": best_and_others(n, DRAWN).tolist(),
        "columns": [asdict(column) for column in columns],
    }
    return template("explorer.html").render(
        title=f"All trials of study {short(evidence.name, 60)}",
        n=n,
        drawn=min(n, DRAWN),
        metric=evidence.scope.goal.name,
        data=data,
        plotly=Markup(get_plotlyjs()),  # noqa: S704
    )


def _columns(evidence: Evidence) -> Iterator[Column]:
    rows, space = evidence.rows, evidence.scope.space
    names = _Names()
    yield _numbers(names.new("trial"), [row["number"] for row in rows])
    for name in evidence.scope.goals.names:
        yield _numbers(names.new(name), [row["metrics"].get(name) for row in rows])
    if len(evidence.scope.rungs) > 1:
        yield _numbers(names.new("budget"), [row["budget"] or None for row in rows], is_log=True)
    yield _numbers(names.new("seconds"), [row["seconds"] for row in rows])
    yield _choices(names.new("from"), [short(row["origin"], 40) for row in rows])
    for name in space.names:
        values = [row["params"].get(name) for row in rows]
        parameter, unique = space[name], names.new(name)
        if isinstance(parameter, Categorical):
            yield _choices(unique, values, parameter.choices)
        else:
            yield _numbers(unique, values, is_log=parameter.log)


class _Names:
    """Short names, each different from those before it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, name: str) -> str:
        """A name that is not taken yet, made of this one."""
        plain = found = short(name, 40)
        number = 1
        while found in self._taken:
            number += 1
            found = f"{plain} ({number})"
        self._taken.add(found)
        return found


def _numbers(name: str, values: Sequence[Any], is_log: bool = False) -> Column:
    array = np.array([np.nan if value is None else value for value in values], dtype="<f4")
    return Column(name, base64.b64encode(array.tobytes()).decode("ascii"), is_log)


def _choices(name: str, values: Sequence[Any], choices: Sequence[Any] = ()) -> Column:
    known = {choice: code for code, choice in enumerate(choices or dict.fromkeys(values))}
    labels = [short(choice, 40) for choice in known]
    codes = _numbers(name, [known.get(value) for value in values])
    return Column(name, codes.data, labels=labels)
