"""The outer folds of a validation: each is a study that is searched on the other rows."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hpo.workers.cores import WorkerPlan, plan_threads
from pipelines.objectives.mistakes import every_mistake
from pipelines.objectives.planning import new_plan, worker_plan_of
from pipelines.objectives.space import choose_space
from pipelines.objectives.start import resume_study, run
from pipelines.objectives.table import TableObjective, publish_folds
from pipelines.objectives.training import table_worker
from pipelines.objectives.unchanged import check_unchanged
from pipelines.study.objective import header_of
from pipelines.study.options import TuneOptions, ValidateOptions
from pipelines.study.plan import Plan
from pipelines.study.progress import is_quiet
from pipelines.study.result import StudyResult
from pipelines.study.sources import source_of
from pipelines.study.workshop import workshop
from pipelines.table.source import DATA, DataPlan, Source, rebuild_source
from pipelines.table.splits import Outer
from pipelines.validation.result import ValidationResult, estimates, resume_command

if TYPE_CHECKING:
    from pipelines.table.data import Prepared
    from pipelines.validation.runs import FoldResult


@dataclass(frozen=True)
class Table:
    """A table that is read once for all outer folds.

    Attributes:
        source: where it comes from, without an outer fold.
        frame: its rows.
        folds: how many outer folds there are.
    """

    source: Source
    frame: pd.DataFrame
    folds: int

    @classmethod
    def read(cls, source: Source, folds: int) -> "Table":
        """Read the table of a source."""
        from pipelines.table.reading import read_table

        return cls(source, read_table(source.data), folds)

    def source_of(self, number: int) -> Source:
        """The source of an outer fold; `number` starts at 1."""
        return replace(self.source, outer=str(Outer(number, self.folds)))

    def prepare(self, number: int) -> "Prepared":
        """Divide and encode the rows of an outer fold."""
        return replace(self.source_of(number), data=self.frame).prepare()

    def prepare_all(self) -> list["Prepared"]:
        """Divide and encode the rows of each outer fold.

        Done before anything is trained, so that a mistake in the last fold shows at once.
        """
        numbers = range(1, self.folds + 1)
        return [replace(self.prepare(number), folds=()) for number in numbers]


@dataclass(frozen=True)
class Validation:
    """A validation that can be run.

    Attributes:
        run_id: of the validation.
        plan: what its studies share.
        data: the table and the use of its rows in one of the outer folds.
        table: the table and its outer folds.
        ratio: n_test / n_train, the mean over the outer folds.
        worker_plan: the workers of each search.
    """

    run_id: str
    plan: Plan
    data: DataPlan
    table: Table
    ratio: float
    worker_plan: WorkerPlan


def new_validation(options: ValidateOptions, run_id: str | None) -> Validation:
    """Create a validation; `run_id` is a run of `mlflow run` that becomes it.

    Raises:
        UserError: for options, a table or a space that cannot be used.
    """
    from pipelines.validation.runs import create, unfinished

    with every_mistake(options):
        source = source_of(options, ", unless resume names a validation to resume")
        worker_plan = plan_threads(options.workers)
        space = choose_space(options.space, options.model)
        table = Table.read(source, options.folds)
        parts = table.prepare_all()
        plan = new_plan(options, space, table.source_of(1), parts[0], worker_plan)
    data = table.source_of(1).plan(parts[0])
    for earlier in unfinished(data):
        _say(
            f"note: validation {earlier} of this table was not finished; to resume it: "
            f"{resume_command(earlier)}"
        )
    run_id = create(plan, data, options.folds, run_id)
    return Validation(run_id, plan, data, table, _ratio(parts), worker_plan)


def resumed_validation(run_id: str, options: ValidateOptions, own_run: str | None) -> Validation:
    """Read a validation that was stopped; `own_run` is a run of `mlflow run` that notes it.

    Raises:
        StudyError: when there is no such validation, the options are not those that it began with,
            or its table is gone.
    """
    from pipelines.study.runs import note_resumed
    from pipelines.validation.runs import read_plan

    plan, data = read_plan(run_id)
    way_out = "start a new validation, without resume"
    check_unchanged(f"validation {run_id}", options, plan, data, instead=way_out)
    source = replace(rebuild_source(data, plan.seed, {DATA: options.data}), outer="")
    if own_run is not None:
        note_resumed(own_run, run_id)
    table = Table.read(source, Outer.parse(data.outer).folds)
    ratio = _ratio(table.prepare_all())
    return Validation(run_id, plan, data, table, ratio, worker_plan_of(plan, options.workers))


def run_validation(work: Validation) -> ValidationResult:
    """Search in each outer fold that is not finished, and store the estimates over all folds.

    Raises:
        UserError: when a search fails, or another process drives the validation.
    """
    from pipelines.validation.runs import driving, finish, save_fold, stored

    stopped = False
    with driving(work.run_id):
        known = stored(work.run_id)
        results = dict(known.results)
        for number in range(1, work.table.folds + 1):
            if number in results:
                continue
            _say(f"validation {work.run_id}: outer fold {number}/{work.table.folds}")
            study = _search(work, number, known.studies.get(number))
            if study.interrupted or study.winner is None:
                stopped = True
                break
            results[number] = _fold_result(number, study)
            save_fold(results[number])
        result = _result(work, results, stopped)
        status = "KILLED" if stopped else "FINISHED"
        finish(work.run_id, status, result.metrics(), result.summary())
    return result


def _ratio(parts: "list[Prepared]") -> float:
    """The mean of n_test / n_train over the outer folds."""
    return float(np.mean([len(part.rows.test) / len(part.rows.rest) for part in parts]))


def _search(work: Validation, number: int, study: str | None) -> StudyResult:
    """Run the study of an outer fold, or resume it where it has begun."""
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import study_header

    if study is not None:
        options = TuneOptions(work.table.source.data, study=study, workers=work.worker_plan.workers)
        return resume_study(study, study_header(study), options, None)
    with workshop(table_worker(work.plan.model, work.plan.device), work.worker_plan) as shop:
        prepared = publish_folds(work.table.prepare(number), shop.exchange)
        plan, data = work.plan, work.table.source_of(number).plan(prepared)
        header = header_of(plan, TableObjective(plan, data, prepared))
        storage = MlflowStorage.create(header, parent=work.run_id)
        return run(plan, data, prepared, shop, storage)


def _fold_result(number: int, study: StudyResult) -> "FoldResult":
    from pipelines.validation.runs import FoldResult

    nan = float("nan")
    return FoldResult(
        number=number,
        study=study.run_id,
        trial=study.winner.number if study.winner else -1,
        inner=study.best_score,
        outer=study.test.get(study.metric, nan),
        low=study.interval.low if study.interval else nan,
        high=study.interval.high if study.interval else nan,
        params=dict(study.best_params),
    )


def _result(
    work: Validation, results: Mapping[int, "FoldResult"], stopped: bool
) -> ValidationResult:
    folds = tuple(results[number] for number in sorted(results))
    estimate, optimism = estimates(folds, work.plan.goal, work.ratio)
    return ValidationResult(
        run_id=work.run_id,
        metric=work.plan.metric,
        wanted=work.table.folds,
        folds=folds,
        estimate=estimate,
        optimism=optimism,
        stopped=stopped,
        in_memory=work.data.uri is None,
    )


def _say(text: str) -> None:
    if is_quiet():
        return
    with suppress(OSError):  # stderr may be closed
        print(text, file=sys.stderr, flush=True)
