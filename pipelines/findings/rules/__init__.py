"""All rules of a diagnosis, in the order of the report.

A rule is a function of a finished study that yields its findings, and none if all is well.
"""

from collections.abc import Callable, Iterator

from pipelines.findings.analysis import Analysis
from pipelines.findings.case import Case
from pipelines.findings.diagnosis import PROBLEM, Diagnosis
from pipelines.findings.evidence import Evidence
from pipelines.findings.rules import score, search, space

Rule = Callable[[Case], Iterator[Diagnosis]]

RULES: tuple[Rule, ...] = (
    space.best_at_bound,
    score.worse_on_test,
    search.default_not_beaten,
    search.many_failed,
    search.rung_undecided,
    score.odd_fold,
    score.lost_class,
    score.within_noise,
    space.unimportant,
    search.too_few_trials,
    search.plateau,
)


# What these say rests on one order of the trials, and on one winner.
_OF_ONE_GOAL = frozenset(
    {score.worse_on_test, search.default_not_beaten, score.within_noise, search.plateau}
)


def diagnose(evidence: Evidence, analysis: Analysis | None) -> tuple[Diagnosis, ...]:
    """All findings, problems first."""
    if evidence.winner is None:
        return tuple(search.failures(evidence))
    case = Case(evidence, evidence.winner, analysis)
    rules = [rule for rule in RULES if evidence.scope.goals.is_single or rule not in _OF_ONE_GOAL]
    findings = [finding for rule in rules for finding in rule(case)]
    return tuple(sorted(findings, key=lambda finding: finding.severity != PROBLEM))
