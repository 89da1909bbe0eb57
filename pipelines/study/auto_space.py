"""`space=auto:<run id>`: the space of a past study, mended by what its diagnosis asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import SpaceError
from hpo.space import SearchSpace
from pipelines.models import settings
from pipelines.study.plan import read_space

AUTO_SPACE = "auto:"


@dataclass(frozen=True)
class Mended:
    """A space, the study that it was made from, and what was changed, in words."""

    space: SearchSpace
    study: str
    changes: tuple[str, ...]

    def to_header(self) -> dict[str, Any]:
        """What the new study keeps of it."""
        return {"study": self.study, "changes": list(self.changes)}


def mended_from(space: object, model: str) -> Mended | None:
    """The mended space that the parameter `space` means; None when it means something else.

    Raises:
        StudyError: when there is no such study.
        SpaceError: when it is of another model.
    """
    if not (isinstance(space, str) and space.startswith(AUTO_SPACE)):
        return None
    from pipelines.findings.analysis import analyse
    from pipelines.findings.diagnosis import diagnose, mended
    from pipelines.study.runs import read_evidence

    study = space.removeprefix(AUTO_SPACE).strip()
    evidence = read_evidence(study)
    if (other := evidence.header["model"]) != model:
        raise SpaceError(
            f"space={space} is of model={other}, but this study is of model={model}; take model={other}"
        )
    found, changes = mended(evidence.space, diagnose(evidence, analyse(evidence)))
    return Mended(read_space(found, settings(model)), study, changes)


def said(kept: Mapping[str, Any] | None) -> list[str]:
    """What a study tells of the space that it was given, from its header."""
    if not kept:
        return []
    changes = kept["changes"] or ["nothing to mend, it is as it was"]
    return [f"space: that of study {kept['study']}", *(f"space: {change}" for change in changes)]
