"""The option `space`, read before the table."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import SpaceError, closest
from hpo.space import SearchSpace
from hpo.space.distributions import is_distribution, range_of
from hpo.space.parameters import Categorical, Parameter, plain
from hpo.space.yaml import lines, load, parse, read_text
from pipelines.models import SearchModel, search_model
from pipelines.objectives.model import plain_space
from pipelines.study.options import DEFAULT, PAST
from warmstart.families import is_estimator

AUTO_SPACE = "auto:"


class _Another:
    """A space that is not shown in a message, since it is long."""

    def __repr__(self) -> str:
        return "another one"


ANOTHER = _Another()
# Of plain spaces, right or wrong.
_ENTRIES = (Mapping, list, tuple, range, np.ndarray, bool, int, float, str)


@dataclass(frozen=True)
class SpaceChoice:
    """The space of a new study.

    Attributes:
        space: None for that of the model, which depends on the table.
        narrow: whether past studies may narrow it.
        study: the run id of the study whose space was adjusted; "" for none.
        changes: the adjustments, one sentence each.
    """

    space: SearchSpace | None = None
    narrow: bool = False
    study: str = ""
    changes: tuple[str, ...] = ()

    def to_header(self) -> dict[str, Any]:
        """The entries in the header of the study."""
        if not self.study:
            return {}
        return {"space_from": {"study": self.study, "changes": list(self.changes)}}


def choose_space(space: object, model: str) -> SpaceChoice:
    """Read `default`, `past`, `auto:<run id>`, a YAML file, a space, plain values or an hp graph.

    Raises:
        SpaceError: when it cannot be read, or has a parameter that the model does not have.
        StudyError: when the run id of `auto:` is not that of a study.
    """
    if isinstance(space, str) and space in (DEFAULT, PAST):
        if is_estimator(model):
            raise SpaceError(
                f"space={space!r}: an estimator has no space of its own; give a YAML file, or from "
                'Python a mapping such as {"C": {"low": 0.01, "high": 100, "log": True}}'
            )
        return SpaceChoice(narrow=space == PAST)
    chosen = read_space(space, model)
    return replace(chosen, space=_checked(chosen.space or SearchSpace(()), model))


def read_space(space: object, model: str) -> SpaceChoice:
    """Read `auto:<run id>`, a YAML file, a space, plain values or an hp graph.

    Args:
        space: to read.
        model: of the study; `auto:` needs one of the same.

    Raises:
        SpaceError: when it cannot be read.
        StudyError: when the run id of `auto:` is not that of a study.
    """
    if isinstance(space, str) and space.startswith(AUTO_SPACE):
        return _adjusted(space.removeprefix(AUTO_SPACE).strip(), model)
    return SpaceChoice(_read(space, as_is=not is_estimator(model)))


def space_notes(stored: Mapping[str, Any] | None) -> list[str]:
    """Lines to show about an adjusted space, from the header of the study."""
    if not stored:
        return []
    changes = stored["changes"] or ["nothing to adjust, it is unchanged"]
    return [f"space: that of study {stored['study']}", *(f"space: {change}" for change in changes)]


def step_notes(space: SearchSpace) -> list[str]:
    """A warning for each range whose steps do not reach its upper bound."""
    notes = []
    for parameter in space:
        if isinstance(parameter, Categorical) or parameter.n_levels is None or parameter.log:
            continue
        last = parameter.from_unit(1.0)
        if abs(float(parameter.high) - float(last)) > 1e-6 * float(parameter.step or 1):
            notes.append(
                f"warning: space: {parameter.name} never takes high={parameter.high}, because the "
                f"steps of {parameter.step} from low={parameter.low} end at {last:g}"
            )
    return notes


def _adjusted(study: str, model: str) -> SpaceChoice:
    """The space of a past study, adjusted by its diagnosis."""
    from pipelines.findings.analysis import analyse
    from pipelines.findings.diagnosis import adjusted_space
    from pipelines.findings.rules import diagnose
    from pipelines.study.runs import read_evidence

    evidence = read_evidence(study)
    other = evidence.header["model"]
    if other != model:
        raise SpaceError(
            f"space={AUTO_SPACE}{study} is of model={other}, but this study is of model={model}; "
            f"take model={other}"
        )
    found, changes = adjusted_space(evidence.scope.space, diagnose(evidence, analyse(evidence)))
    return SpaceChoice(found, study=study, changes=tuple(changes))


def _checked(space: SearchSpace, model: str) -> SearchSpace:
    """The space itself, if the model has its parameters."""
    found = search_model(model)
    found.check_space(_without_switches(found, space))
    return space


def _without_switches(model: SearchModel, space: SearchSpace) -> SearchSpace:
    """The parameters that are passed to the model.

    A parent that the model does not know only chooses between branches of the space.
    """
    parents = {parent for parameter in space for parent in parameter.when}
    switches = {name for name in parents if not model.knows(name)}
    passed = [_without_parents(p, switches) for p in space if p.name not in switches]
    return SearchSpace(tuple(passed))


def _without_parents(parameter: Parameter, parents: Collection[str]) -> Parameter:
    """The parameter without its conditions on these parents."""
    when = {parent: values for parent, values in parameter.when.items() if parent not in parents}
    return replace(parameter, when=when)


def _read(space: object, as_is: bool) -> SearchSpace:
    """A space; unless `as_is`, choices may be anything that can be written down."""
    if isinstance(space, SearchSpace):
        return space
    if isinstance(space, str | Path):
        text, source = _text(Path(space)), str(space)
        return parse(_written(load(text, source), as_is), source, lambda: lines(text))
    if isinstance(space, Mapping):
        ranges = {n: range_of(n, v) for n, v in space.items() if is_distribution(v)}
        space = {**space, **ranges}
        if all(isinstance(plain(value), _ENTRIES) for value in space.values()):
            return SearchSpace.from_dict(_written(space, as_is))
    from hpo.space.hyperopt import from_hyperopt

    return from_hyperopt(space)


def _written(entries: Any, as_is: bool) -> Any:
    return entries if as_is else plain_space(entries)


def _text(path: Path) -> str:
    if not path.is_file():
        similar = [other.name for other in path.parent.glob("*.y*ml") if other.is_file()]
        raise SpaceError(
            f"space={str(path)!r} is neither `default`, `past`, `auto:<run id>` nor a file"
            f"{closest(path.name, [*similar, DEFAULT, PAST])}"
        )
    return read_text(path)
