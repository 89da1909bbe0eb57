"""Findings about a study: each says what is wrong or could be better, how it is known, what to do.

The rules that find them are in `pipelines.findings.rules`. Some findings change the search space;
`adjusted_space` applies the changes, and `space=auto:<run id>` starts from the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hpo.space import SearchSpace
from hpo.space.narrowing import with_parameters
from hpo.space.parameters import Parameter

PROBLEM, HINT = "problem", "hint"


@dataclass(frozen=True)
class Change:
    """A parameter as it should be searched, and why, in a few words."""

    parameter: Parameter
    words: str


@dataclass(frozen=True)
class Diagnosis:
    """One finding.

    Attributes:
        kind: Which rule found it.
        severity: `PROBLEM` or `HINT`.
        title: What is wrong or could be better.
        evidence: How it is known.
        advice: What to do.
        changes: What that means for the search space.
    """

    kind: str
    severity: str
    title: str
    evidence: str
    advice: str
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        """One paragraph for a terminal."""
        mark = "!" if self.severity == PROBLEM else "·"
        return f"{mark} {self.title}: {self.evidence} → {self.advice}"


def diagnosis_lines(findings: Sequence[Diagnosis]) -> list[str]:
    """Findings for a terminal, one a line."""
    if not findings:
        return ["Diagnosis: no findings"]
    return ["Diagnosis:", *(f"  {finding}" for finding in findings)]


def adjusted_space(
    space: SearchSpace, findings: Sequence[Diagnosis]
) -> tuple[SearchSpace, tuple[str, ...]]:
    """The space with the changes of all findings, and these changes in words."""
    changes = {change.parameter.name: change for found in findings for change in found.changes}
    parameters = {parameter.name: parameter for parameter in space}
    parameters |= {name: change.parameter for name, change in changes.items()}
    words = tuple(change.words for change in changes.values())
    return with_parameters(space, tuple(parameters.values())), words
