"""The dry run of a study, of a table or of the user's code."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hpo.workers.cores import WorkerPlan
from pipelines.models import FamilyOptions, family
from pipelines.objectives.code.objective import CodeObjective
from pipelines.objectives.code.planning import workers_again
from pipelines.objectives.code.start import NewCodeStudy, ResumedCodeStudy, is_code
from pipelines.objectives.ending.final import TRIVIAL
from pipelines.objectives.planning import worker_plan_of
from pipelines.objectives.scoring.scores import Trained, mean_scores
from pipelines.objectives.start import NewStudy, ResumedStudy
from pipelines.objectives.table import TableObjective
from pipelines.store.studies import leaderboard
from pipelines.study.dry_run import DryRun, check_store, previewed
from pipelines.study.dry_run import dry_run as resumed_dry_run
from pipelines.study.objective import Objective
from pipelines.study.options import PROCESSES, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.runs import recalled, study_header
from pipelines.study.warm_start import Beginning
from pipelines.table.scores.named import metric_named, metric_text

if TYPE_CHECKING:
    from pipelines.table.data import Prepared


def dry_run(options: TuneOptions) -> DryRun:
    """What `tune` with checked options would do.

    Raises:
        UserError: for whatever would stop the study before its first trial.
    """
    unread = check_store(options)
    if options.study is not None:
        return _resumed(options.study, options)
    if options.objective is not None:
        code = NewCodeStudy.of(options, writing=False)
        objective = CodeObjective(code.plan, code.code)
        return previewed(code.plan, objective, _code_lines(code.plan, code.code.takes), unread)
    new = NewStudy.of(options, writing=False)
    prepared, plan = new.read()
    lines = _table_lines(plan, prepared)
    table = TableObjective(plan, new.source.plan(prepared), prepared)
    return previewed(plan, table, lines, unread, narrow=new.chosen.narrow)


def _resumed(study: str, options: TuneOptions) -> DryRun:
    """What resuming a study would do."""
    header = study_header(study)
    if is_code(header):
        found = ResumedCodeStudy.of(study, header, options)
        workers = workers_again(found.plan, options.workers)
        lines, rows = _code_lines(found.plan, found.code.takes), 0
        return _rest(study, found.plan, CodeObjective(found.plan, found.code), lines, rows, workers)
    resumed = ResumedStudy.of(study, header, options, writing=False)
    prepared = resumed.source.prepare()
    data, plan = resumed.data(prepared), resumed.plan
    workers = WorkerPlan(options.workers or plan.workers, plan.threads)
    if options.executor == PROCESSES:
        workers = worker_plan_of(plan, options.workers)
    table = TableObjective(plan, data, prepared)
    return _rest(study, plan, table, _table_lines(plan, prepared), data.rows, workers)


def _rest(
    study: str,
    plan: Plan,
    objective: Objective,
    lines: tuple[str, ...],
    rows: int,
    workers: WorkerPlan,
) -> DryRun:
    """What is left of a study."""
    plan = replace(plan, workers=workers.workers, threads=workers.threads)
    known = Beginning(plan, *recalled(study, plan))
    past = list(known.warm.lines()) if known.warm else ["none are used (warm_start=off)"]
    done = sum(bool(row["reports"] or row["failure"]) for row in leaderboard(study))
    return resumed_dry_run(known, objective.identity, lines, past, done=done, rows=rows, own=study)


def _code_lines(plan: Plan, takes: frozenset[str]) -> tuple[str, ...]:
    """What is known of the user's code before it is called."""
    beside = f", with {' and '.join(sorted(takes))}" if takes else ""
    return (f"{plan.model}{beside}", _goals(plan))


def _goals(plan: Plan) -> str:
    """The deciding scores, and which way."""
    wanted = ", ".join(f"{goal.name} to {goal.direction}" for goal in plan.goals.goals)
    limits = ", ".join(map(str, plan.goals.limits))
    weights = ", ".join(f"{name}:{weight:g}" for name, weight in plan.goals.weights.items())
    parts = {"limits": limits, "prefer": weights}
    return ", ".join([wanted, *(f"{name} {text}" for name, text in parts.items() if text)])


def _table_lines(plan: Plan, prepared: "Prepared") -> tuple[str, ...]:
    """The table, and the score that a constant prediction has on the validation rows."""
    metric = metric_named(metric_text(plan.score))
    trained = []
    for fold in prepared.folds:
        model = family(TRIVIAL)(fold, FamilyOptions(metric, 1)).start({}, plan.seed)
        model.train(1)
        trained.append(Trained(fold, model, ()))
    score = mean_scores(trained, metric)[metric.name]
    return (
        *prepared.notes,
        _goals(plan),
        f"{metric.name} of a constant prediction: {score:.5g} on the validation rows",
    )
