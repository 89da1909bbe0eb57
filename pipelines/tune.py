"""The entry point `tune`: search the hyperparameters of a model for one table, or of any code."""

import os
from typing import cast

from hpo.errors import StudyError
from pipelines.entry_points import entry_point
from pipelines.files import clock
from pipelines.objectives.mistakes import check_all
from pipelines.objectives.model import with_model
from pipelines.objectives.start import NewStudy, resume_study, start_study
from pipelines.objectives.training import table_worker
from pipelines.study.options import TuneOptions
from pipelines.study.progress import shown
from pipelines.study.result import StudyResult
from pipelines.study.workshop import workshop
from pipelines.study.workshop.clusters import cluster_of
from pipelines.table.reading import Ahead


@entry_point(TuneOptions, check_all)
def tune(options: TuneOptions) -> StudyResult:
    """Search the hyperparameters of a model for a table, or of your own code.

    Each trial is logged as a nested run. With `dry_run`, the result is a
    `pipelines.study.dry_run.DryRun`.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    with clock.session(), shown(quiet=options.quiet, verbose=options.verbose):
        options = with_model(options)
        check_all(options)
        if options.dry_run:
            from pipelines.objectives.dry_run import dry_run

            return cast("StudyResult", dry_run(options))  # of another type in this one case
        return _run(options, run_id)


def _run(options: TuneOptions, run_id: str | None) -> StudyResult:
    """Start or resume a study of whatever kind."""
    if options.study is not None:
        return _resume(options.study, options, run_id)
    if options.objective is not None:
        from pipelines.objectives.code.start import start_code_study

        return start_code_study(options, run_id)
    with Ahead(options.data) as ahead:  # while MLflow is imported
        return _start(options, run_id, ahead)


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


def _start(options: TuneOptions, run_id: str | None, ahead: Ahead) -> StudyResult:
    """Start the study of a table."""
    from pipelines.store.tracking import connect

    connect()  # what cannot be reached is told before a table is read, unless it is large
    with cluster_of(options, options.device) as cluster:
        new = NewStudy.of(options, cluster)
        worker = table_worker(options.model, options.device, elsewhere=cluster is not None)
        with workshop(worker, new.worker_plan, cluster) as shop:
            return start_study(new, shop, run_id, ahead)
