"""The space that the option `space` means, read before the table is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.errors import SpaceError, closest
from hpo.space import SearchSpace
from hpo.space.yaml import load_file
from pipelines.models import SearchModel, search_model
from pipelines.study.options import DEFAULT, PAST

AUTO_SPACE = "auto:"


@dataclass(frozen=True)
class SpaceChoice:
    """What is searched.

    Attributes:
        space: None stands for the model's own, which depends on the table.
        narrow: whether past studies may narrow it.
        study: the run id of the study that it was adjusted from; "" for none.
        changes: what was adjusted, in words.
    """

    space: SearchSpace | None = None
    narrow: bool = False
    study: str = ""
    changes: tuple[str, ...] = ()

    def to_header(self) -> dict[str, Any]:
        """What the new study stores of it."""
        if not self.study:
            return {}
        return {"space_from": {"study": self.study, "changes": list(self.changes)}}


def choose_space(space: object, model: str) -> SpaceChoice:
    """Read `default`, `past`, `auto:<run id>`, a YAML file, a space, plain values or an hp graph.

    Raises:
        SpaceError: when it cannot be read, or holds what the model does not know.
        StudyError: when `auto:` names no study.
    """
    if isinstance(space, str) and space in (DEFAULT, PAST):
        return SpaceChoice(narrow=space == PAST)
    if isinstance(space, str) and space.startswith(AUTO_SPACE):
        return _adjusted(space.removeprefix(AUTO_SPACE).strip(), model)
    return SpaceChoice(_checked(_read(space), model))


def space_notes(stored: Mapping[str, Any] | None) -> list[str]:
    """What a study tells about the space that it was given, from its header."""
    if not stored:
        return []
    changes = stored["changes"] or ["nothing to adjust, it is unchanged"]
    return [f"space: that of study {stored['study']}", *(f"space: {change}" for change in changes)]


def _adjusted(study: str, model: str) -> SpaceChoice:
    """The space of a past study with the changes that its diagnosis asks for."""
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
    found, changes = adjusted_space(evidence.space, diagnose(evidence, analyse(evidence)))
    return SpaceChoice(_checked(found, model), study=study, changes=tuple(changes))


def _checked(space: SearchSpace, model: str) -> SearchSpace:
    found = search_model(model)
    found.check_space(_without_switches(found, space))
    return space


def _without_switches(model: SearchModel, space: SearchSpace) -> SearchSpace:
    """The parameters that reach the model.

    A categorical that the model does not know, but that others depend on, only chooses between
    branches of the space.
    """
    parents = {parent for parameter in space for parent in parameter.when}
    switches = {name for name in parents if not model.knows(name)}
    kept = [
        replace(
            p, when={parent: values for parent, values in p.when.items() if parent not in switches}
        )
        for p in space
        if p.name not in switches
    ]
    return SearchSpace(tuple(kept))


def _read(space: object) -> SearchSpace:
    if isinstance(space, SearchSpace):
        return space
    if isinstance(space, str | Path):
        path = Path(space)
        if not path.is_file():
            beside = [p.name for p in path.parent.glob("*.y*ml") if p.is_file()]
            raise SpaceError(
                f"space={str(space)!r} is neither `default`, `past`, `auto:<run id>` nor a file"
                f"{closest(path.name, [*beside, DEFAULT, PAST])}"
            )
        return SearchSpace.from_dict(load_file(path), str(path))
    if isinstance(space, Mapping) and all(isinstance(v, Mapping | list) for v in space.values()):
        return SearchSpace.from_dict(space)
    from hpo.space.hyperopt import from_hyperopt

    return from_hyperopt(space)
