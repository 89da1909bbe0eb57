"""The result of a validation, as values and as text."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hpo.goals import Goal
from pipelines.files.commands import command
from pipelines.study.summary import short

if TYPE_CHECKING:
    from pipelines.table.scores.estimates import Estimate
    from pipelines.validation.runs import FoldResult


@dataclass(frozen=True)
class ValidationResult:
    """The scores of searches on rows that they have not seen.

    Attributes:
        run_id: of the validation.
        metric: the deciding one.
        wanted: how many outer folds there are.
        folds: the finished ones.
        estimate: the mean of their held-out scores; None if there are none.
        optimism: by how much the winners' scores in the search were better than those on the
            held-out rows, on average; None if there are none.
        stopped: whether the user stopped the validation before its last fold.
        in_memory: whether the table has no URI.
    """

    run_id: str
    metric: str
    wanted: int
    folds: tuple["FoldResult", ...]
    estimate: "Estimate | None"
    optimism: "Estimate | None"
    stopped: bool = False
    in_memory: bool = False

    def __str__(self) -> str:
        """The estimates, each fold, the range of the winners, and the command to resume."""
        lines = ["", *self._estimates(), *map(self._fold, self.folds)]
        ranges = spread([fold.params for fold in self.folds])
        if ranges:
            lines.append(f"Chosen: {ranges}")
        if self.stopped:
            lines += ["", f"Next:\n  resume   {self._resume()}"]
        return "\n".join(lines)

    def metrics(self) -> dict[str, float]:
        """The estimates as MLflow metrics; infinite bounds are left out."""
        values: dict[str, float] = {}
        for name, estimate in ((self.metric, self.estimate), ("optimism", self.optimism)):
            bounds = asdict(estimate) if estimate else {}
            values |= {f"validation_{name}_{key}": value for key, value in bounds.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def summary(self) -> dict[str, Any] | None:
        """The number of finished folds and the range of the winners; None without an estimate."""
        if self.estimate is None:
            return None
        return {"folds": len(self.folds), "chosen": spread([fold.params for fold in self.folds])}

    def _estimates(self) -> list[str]:
        if self.estimate is None or self.optimism is None:
            return [f"Validation {self.run_id}: no outer fold is finished yet"]
        count = f"{len(self.folds)} of {self.wanted} outer folds"
        return [
            f"Validation {self.run_id} of the whole search, {count}: "
            f"{self.metric} {_with_bounds(self.estimate, 5)}",
            "Optimism, by which the searches' own scores were better: "
            f"{_with_bounds(self.optimism, 3)}",
        ]

    def _fold(self, fold: "FoldResult") -> str:
        bounds = f"[{fold.low:.5g}, {fold.high:.5g}]"
        return (
            f"fold {fold.number}/{self.wanted}  searched {fold.inner:<9.5g} "
            f"held out {fold.outer:<9.5g} {bounds:<22} "
            f"study {fold.study}, trial {fold.trial}: {short(fold.params)}"
        )

    def _resume(self) -> str:
        if self.in_memory:
            return f"validate(data=…, resume={self.run_id!r}), with the same table"
        return resume_command(self.run_id)


def estimates(
    folds: Sequence["FoldResult"], goal: Goal, ratio: float
) -> tuple["Estimate | None", "Estimate | None"]:
    """The mean held-out score and the mean optimism, over the folds whose score is defined.

    Args:
        folds: the finished folds.
        goal: the deciding score.
        ratio: n_test / n_train, the mean over the folds.
    """
    from pipelines.table.scores.estimates import mean_of

    scored = [fold for fold in folds if math.isfinite(fold.outer)]
    if not scored:
        return None, None
    optimism = [goal.to_loss(fold.outer) - goal.to_loss(fold.inner) for fold in scored]
    return mean_of([fold.outer for fold in scored], ratio), mean_of(optimism, ratio)


def spread(configurations: Sequence[Mapping[str, Any]]) -> str:
    """The range of each number and the counts of each choice over configurations, on one line."""
    names = dict.fromkeys(name for params in configurations for name in params)
    texts: list[str] = []
    for name in names:
        values = [params[name] for params in configurations if name in params]
        partly = f" (in {len(values)})" if len(values) < len(configurations) else ""
        texts.append(f"{name} {_spread_of(values)}{partly}")
    return "; ".join(texts)


def _spread_of(values: Sequence[Any]) -> str:
    if all(map(_is_number, values)):
        low, high = min(values), max(values)
        return f"{low:.4g} to {high:.4g}" if high > low else f"{low:.4g}"
    return ", ".join(f"{value} {count}×" for value, count in Counter(values).items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with_bounds(found: "Estimate", digits: int) -> str:
    if not math.isfinite(found.low):
        return f"{found.mean:.{digits}g} (one fold has no interval)"
    return f"{found.mean:.{digits}g} [{found.low:.{digits}g}, {found.high:.{digits}g}]"


def resume_command(run_id: str) -> str:
    """The command that resumes a validation."""
    return command("validate", resume=run_id)
