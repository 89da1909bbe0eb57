"""The entry point `validate`: how good is the search itself? Nested cross-validation with whole studies inside."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.errors import ParameterError
from hpo.workers.cores import WorkerPlan, plan_threads
from pipelines.entry_points import entry_point
from pipelines.objectives.planning import check, header, new_plan, source_of, worker_plan_of
from pipelines.objectives.space import choose_space
from pipelines.objectives.start import run
from pipelines.objectives.training import table_worker
from pipelines.study.options import ValidateOptions
from pipelines.study.plan import Plan
from pipelines.study.result import StudyResult
from pipelines.study.summary import command, short
from pipelines.study.workshop import workshop
from pipelines.table.metrics import METRICS
from pipelines.table.source import Source, rebuild_source
from pipelines.table.splits import Outer
from pipelines.tune import tune

if TYPE_CHECKING:
    from pipelines.study.validations import FoldResult
    from pipelines.table.data import Prepared
    from pipelines.table.estimates import Estimate

HOLDOUT = 0.2  # of the rows of an outer fold's search, where it validates on a holdout
_WITH_RESUME = ("resume", "data", "workers")


@dataclass(frozen=True)
class ValidationResult:
    """What a search is worth on rows that it has not seen.

    `folds` are the finished outer folds, `estimate` the mean of their held-out scores, and
    `optimism` by how much the winners' own scores in the search were better than that; both None
    before there are any. `wanted` is how many folds there will be. `stopped` means that the user
    asked for the end before that.
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
        """The estimate, each fold, what was chosen, and how to go on."""
        lines = ["", *self._estimates()]
        for fold in self.folds:
            bounds = f"[{fold.low:.5g}, {fold.high:.5g}]"
            lines.append(
                f"fold {fold.number}/{self.wanted}  searched {fold.inner:<9.5g} held out {fold.outer:<9.5g} "
                f"{bounds:<22} study {fold.study}, trial {fold.trial}: {short(fold.params)}"
            )
        lines += [
            f"Chosen: {text}" for text in [spread([fold.params for fold in self.folds])] if text
        ]
        if self.stopped:
            lines += ["", f"Next:\n  resume   {self._again()}"]
        return "\n".join(lines)

    def _estimates(self) -> list[str]:
        if self.estimate is None or self.optimism is None:
            return [f"Validation {self.run_id}: no outer fold is finished yet"]
        found, more = self.estimate, self.optimism
        return [
            f"Validation {self.run_id} of the whole search, {len(self.folds)} of {self.wanted} outer folds: "
            f"{self.metric} {_within(found, 5)}",
            f"Optimism, by which the searches' own scores were better: {_within(more, 3)}",
        ]

    def _again(self) -> str:
        if self.in_memory:
            return f"validate(data=…, resume={self.run_id!r}), with the same table"
        return _resume_command(self.run_id)


@entry_point(ValidateOptions)
def validate(options: ValidateOptions) -> ValidationResult:
    """Validate a whole search by nested cross-validation: one search in each outer fold.

    The winner of each search is scored on the rows that its outer fold holds out.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    from pipelines.study.validations import begin, unfinished

    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if options.resume is not None:
        return _resume(options.resume, options, run_id)
    check(options)
    source = source_of(options, HOLDOUT, ", unless resume names a validation to resume")
    worker_plan = plan_threads(options.workers)
    chosen = choose_space(options.space, options.model)
    table = _read(source)
    first, ratio = _checked(source, table, options.folds)
    outer = replace(source, outer=str(Outer(1, options.folds)))
    plan = new_plan(options, chosen, outer, first, worker_plan)
    for before in unfinished(plan):
        _say(
            f"note: validation {before} of this table was not finished; to resume it: "
            f"{_resume_command(before)}"
        )
    run_id = begin(plan, options.folds, run_id)
    return _run(_Nested(run_id, plan, source, table, options.folds, ratio, worker_plan))


def spread(chosen: Sequence[Mapping[str, Any]]) -> str:
    """The range of each number and the counts of each choice over several configurations, in a line."""
    texts = []
    for name in dict.fromkeys(name for params in chosen for name in params):
        values = [params[name] for params in chosen if name in params]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            low, high = min(values), max(values)
            text = f"{name} {low:.4g}" + (f" to {high:.4g}" if high > low else "")
        else:
            counts = {value: values.count(value) for value in values}
            text = f"{name} {', '.join(f'{value} {count}×' for value, count in counts.items())}"
        texts.append(text + (f" (in {len(values)})" if len(values) < len(chosen) else ""))
    return "; ".join(texts)


def _within(found: "Estimate", digits: int) -> str:
    if not np.isfinite(found.low):
        return f"{found.mean:.{digits}g} (one fold has no interval)"
    return f"{found.mean:.{digits}g} [{found.low:.{digits}g}, {found.high:.{digits}g}]"


def _resume_command(run_id: str) -> str:
    return command("validate", resume=run_id)


@dataclass(frozen=True)
class _Nested:
    """A validation at work: its run, the plan that its studies share, and the table, read once.

    `ratio` is n_test / n_train, the mean over the `folds` outer folds.
    """

    run_id: str
    plan: Plan
    source: Source
    table: pd.DataFrame
    folds: int
    ratio: float
    worker_plan: WorkerPlan


def _read(source: Source) -> pd.DataFrame:
    from pipelines.table.reading import load_table

    return source.data if isinstance(source.data, pd.DataFrame) else load_table(str(source.data))


def _checked(source: Source, table: pd.DataFrame, folds: int) -> tuple["Prepared", float]:
    """The first outer fold, made ready, and the mean of n_test / n_train over all.

    Each is divided and encoded before anything is trained, so that the last one's mistakes do not
    cost a night.
    """
    parts = [_part(source, table, Outer(number, folds)) for number in range(1, folds + 1)]
    return parts[0], float(np.mean([len(part.rows.test) / len(part.rows.rest) for part in parts]))


def _part(source: Source, table: pd.DataFrame, outer: Outer) -> "Prepared":
    return replace(source, data=table, outer=str(outer)).prepare()


def _resume(run_id: str, options: ValidateOptions, own_run: str | None) -> ValidationResult:
    from pipelines.study.runs import note_resumed
    from pipelines.study.validations import begun, plan_of

    if others := [name for name in options.given() if name not in _WITH_RESUME]:
        raise ParameterError(
            f"a validation goes on as it began; leave out {', '.join(others)}, or start a new one without resume"
        )
    plan = plan_of(run_id, begun(run_id))
    source = replace(rebuild_source(plan.data, plan.seed, options.data), outer="")
    if own_run is not None:
        note_resumed(own_run, run_id)
    table, folds = _read(source), Outer.parse(plan.data.outer).folds
    _, ratio = _checked(source, table, folds)
    worker_plan = worker_plan_of(plan, options.workers)
    return _run(_Nested(run_id, plan, source, table, folds, ratio, worker_plan))


def _run(work: _Nested) -> ValidationResult:
    """Search in each outer fold that is not finished, and say what all of them come to."""
    from pipelines.study.validations import begun, end, keep_fold, working_on

    stopped = False
    with working_on(work.run_id):
        known = begun(work.run_id)
        for number in range(1, work.folds + 1):
            if number in known.results or stopped:
                continue
            _say(f"validation {work.run_id}: outer fold {number}/{work.folds}")
            if study := known.studies.get(number):
                result = tune(work.source.data, study=study, workers=work.worker_plan.workers)
            else:
                result = _search(work, Outer(number, work.folds))
            stopped = result.interrupted or result.winner is None
            if not stopped:
                keep_fold(_fold(number, result))
        found = _result(work, begun(work.run_id).results, stopped)
        metrics, summary = _logged(found)
        end(work.run_id, "KILLED" if stopped else "FINISHED", metrics, summary)
    return found


def _search(work: _Nested, outer: Outer) -> StudyResult:
    from pipelines.store.storage import MlflowStorage

    with workshop(table_worker(work.plan.model), work.worker_plan) as shop:
        prepared = _part(work.source, work.table, outer)
        plan = replace(work.plan, data=replace(work.source, outer=str(outer)).plan(prepared))
        storage = MlflowStorage.create(header(plan, prepared), parent=work.run_id)
        return run(plan, prepared, shop, storage)


def _fold(number: int, result: StudyResult) -> "FoldResult":
    from pipelines.study.validations import FoldResult

    nothing = float("nan")
    low, high = (
        (result.interval.low, result.interval.high) if result.interval else (nothing, nothing)
    )
    return FoldResult(
        number=number,
        study=result.run_id,
        trial=result.winner.number if result.winner else -1,
        inner=result.best_score,
        outer=result.test.get(result.metric, nothing),
        low=low,
        high=high,
        params=dict(result.best_params),
    )


def _result(work: _Nested, results: Mapping[int, "FoldResult"], stopped: bool) -> ValidationResult:
    """The estimates over the folds whose held-out rows define the metric."""
    from pipelines.table.estimates import mean_of

    metric = work.plan.metric
    folds = tuple(results[number] for number in sorted(results))
    scored = [fold for fold in folds if np.isfinite(fold.outer)]
    sign = METRICS[metric].to_loss(1.0)
    estimate = mean_of([fold.outer for fold in scored], work.ratio) if scored else None
    gains = [sign * (fold.outer - fold.inner) for fold in scored]
    optimism = mean_of(gains, work.ratio) if scored else None
    in_memory = work.plan.data.uri is None
    return ValidationResult(
        work.run_id, metric, work.folds, folds, estimate, optimism, stopped, in_memory
    )


def _logged(found: ValidationResult) -> tuple[dict[str, float], dict[str, Any] | None]:
    """What goes on the validation's run: metrics, and what was chosen."""
    if found.estimate is None or found.optimism is None:
        return {}, None
    values = {
        **{
            f"validation_{found.metric}_{name}": value
            for name, value in found.estimate.__dict__.items()
        },
        **{f"validation_optimism_{name}": value for name, value in found.optimism.__dict__.items()},
    }
    summary = {"folds": len(found.folds), "chosen": spread([fold.params for fold in found.folds])}
    return {name: value for name, value in values.items() if np.isfinite(value)}, summary


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        print(text, file=sys.stderr, flush=True)
