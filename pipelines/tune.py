"""The entry point `tune`: search the hyperparameters of a model for one table, or of any code."""

import os
from dataclasses import replace

from hpo.errors import StudyError
from hpo.workers.cores import plan_threads
from pipelines.entry_points import entry_point
from pipelines.files.checkpoints import Checkpoints
from pipelines.objectives.checks import check
from pipelines.objectives.estimator import with_estimator
from pipelines.objectives.planning import new_plan, source_of
from pipelines.objectives.space import choose_space
from pipelines.objectives.start import resume_study, start_study
from pipelines.objectives.table import publish_folds
from pipelines.objectives.training import table_worker
from pipelines.study.options import TuneOptions
from pipelines.study.result import StudyResult
from pipelines.study.workshop import workshop
from pipelines.table.source import absolute


@entry_point(TuneOptions)
def tune(options: TuneOptions) -> StudyResult:
    """Search the hyperparameters of a model for a table, or of your own code.

    Each trial is logged as a nested run.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    options = with_estimator(options)
    check(options)
    if options.study is not None:
        return _resume(options.study, options, run_id)
    if options.objective is not None:
        from pipelines.objectives.code.start import start_code_study

        return start_code_study(options, run_id)
    return _start(options, run_id)


def _resume(study: str, options: TuneOptions, run_id: str | None) -> StudyResult:
    """Resume a study of whatever kind."""
    from pipelines.objectives.code.start import is_code, resume_code_study
    from pipelines.study.runs import study_header

    header = study_header(study)
    if is_code(header):
        return resume_code_study(study, header, options, run_id)
    if options.objective is not None:
        raise StudyError(f"study {study} is one of a table; leave objective out to resume it")
    return resume_study(study, header, options, run_id)


def _start(options: TuneOptions, run_id: str | None) -> StudyResult:
    """Start the study of a table."""
    from pipelines.store.tracking import connect

    connect()  # what cannot be reached is told before a table is read
    source = source_of(options, ", unless study names a study to resume")
    worker_plan = plan_threads(options.workers)
    place = None if options.checkpoints is None else absolute(options.checkpoints)
    if place is not None:
        Checkpoints(place).check()
    chosen = choose_space(options.space, options.model)
    with workshop(table_worker(options.model, options.device), worker_plan) as shop:
        prepared = publish_folds(source.prepare(), shop.exchange)
        plan = replace(
            new_plan(options, chosen, source, prepared, worker_plan),
            checkpoints=place,
            register=options.register,
            warm_start=options.warm_start,
        )
        return start_study(plan, chosen, source.plan(prepared), prepared, shop, run_id)
