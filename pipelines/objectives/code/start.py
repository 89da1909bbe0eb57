"""Starting and resuming the study of the user's code."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import StudyError
from hpo.past import Past
from hpo.workers.cores import WorkerPlan
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.commands import command
from pipelines.objectives.code import Code
from pipelines.objectives.code.asked import ASKED
from pipelines.objectives.code.checks import check_unchanged
from pipelines.objectives.code.conclusion import CodeConclusion
from pipelines.objectives.code.evaluation import code_worker
from pipelines.objectives.code.kinds import code_of, must_be_given
from pipelines.objectives.code.objective import FOLDER, OBJECTIVE, CodeObjective
from pipelines.objectives.code.places import InRuns
from pipelines.objectives.code.planning import new_plan, space_of, workers_again, workers_of
from pipelines.objectives.planning import lag_of
from pipelines.objectives.scoring.goals import preferring
from pipelines.objectives.space import SpaceChoice, space_notes, step_notes
from pipelines.study.objective import check_same, header_of
from pipelines.study.options import TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.report import save_report
from pipelines.study.result import StudyResult
from pipelines.study.session import Setup, run_study
from pipelines.study.workshop import Workshop, workshop
from pipelines.study.workshop.clusters import Cluster, cluster_of


def is_code(header: Mapping[str, Any]) -> bool:
    """Whether a study with this header is one of the user's code."""
    return OBJECTIVE in header


@dataclass(frozen=True)
class NewCodeStudy:
    """A study of the user's code before it is created.

    Attributes:
        code: that is evaluated.
        chosen: its space.
        worker_plan: its workers.
        plan: of the study.
    """

    code: Code
    chosen: SpaceChoice
    worker_plan: WorkerPlan
    plan: Plan

    @classmethod
    def of(
        cls, options: TuneOptions, cluster: Cluster | None = None, *, writing: bool = True
    ) -> "NewCodeStudy":
        """Check the options and the code.

        Args:
            options: of `tune`.
            cluster: that runs the study; None for this machine.
            writing: whether to check by a tiny file that checkpoints can be stored.

        Raises:
            UserError: with what is wrong and the way out.
        """
        code = code_of(options.objective)
        chosen = space_of(options, code)
        workers = workers_of if cluster is None else cluster.worker_plan
        worker_plan = workers(options.workers)
        plan = new_plan(options, code, chosen, worker_plan)
        code.check(frozenset(plan.space.names))
        if plan.checkpoints is not None:
            Checkpoints(plan.checkpoints).check(writing=writing)
        if cluster is not None:
            cluster.check(plan.checkpoints)
        return cls(code, chosen, worker_plan, plan)


def start_code_study(options: TuneOptions, run_id: str | None) -> StudyResult:
    """Start the study of `tune(objective=…)`.

    Raises:
        UserError: with what is wrong and the way out, before anything is evaluated.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.store.tracking import connect
    from pipelines.study.warm_start import begin

    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_of(options, options.device))
        new = NewCodeStudy.of(options, cluster)
        connect()
        shop = stack.enter_context(workshop(code_worker(), new.worker_plan, cluster))
        header = header_of(new.plan, CodeObjective(new.plan, new.code))
        begun = begin(new.plan, header, exclude=run_id)
        stored = header | begun.plan.to_header() | new.chosen.to_header()
        storage = MlflowStorage.create(stored, run_id=run_id, artifacts=begun.artifacts)
        notes = [f"warm start: {line}" for line in begun.warm.lines()] if begun.warm else []
        return _run(begun.plan, new.code, shop, storage, begun.past, notes, began=None)


@dataclass(frozen=True)
class ResumedCodeStudy:
    """A study of the user's code that is taken up again.

    Attributes:
        study: its run id.
        code: that is evaluated.
        plan: with what this session changes.
    """

    study: str
    code: Code
    plan: Plan

    @classmethod
    def of(cls, study: str, header: Mapping[str, Any], options: TuneOptions) -> "ResumedCodeStudy":
        """Check that the code and the options are those that the study began with.

        Raises:
            UserError: when the code is missing, or is not that of the study.
        """
        if str(header["model"]).startswith(ASKED):
            raise StudyError(
                f"study {study} was made by open_study, and its evaluations are in your own loop; "
                f"open it with open_study(study={study!r})"
            )
        plan = Plan.from_header(header)
        code = code_of(
            options.objective or _stored(study, header), str(header.get(FOLDER) or "") or None
        )
        check_unchanged(f"study {study}", options, plan, code)
        plan = plan.resumed(options, preferring(plan.goals, options.prefer))
        check_same(CodeObjective(plan, code), header)
        code.check(frozenset(plan.space.names))
        return cls(study, code, plan)


def resume_code_study(
    study: str, header: Mapping[str, Any], options: TuneOptions, run_id: str | None
) -> StudyResult:
    """Resume a study of the user's code, which is given again if it cannot be imported.

    Raises:
        UserError: when the code is missing, or is not that of the study.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import note_resumed, recalled

    resumed = ResumedCodeStudy.of(study, header, options)
    plan = resumed.plan
    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_of(options, plan.device))
        worker_plan = workers_again(plan, options.workers)
        if cluster is not None:
            worker_plan = cluster.worker_plan(options.workers, plan.threads)
            cluster.check(plan.checkpoints)
            plan = replace(plan, lag=lag_of(plan.algorithm, worker_plan))
        shop = stack.enter_context(workshop(code_worker(), worker_plan, cluster))
        _, past = recalled(study, plan)
        storage = MlflowStorage.open(study)
        if run_id is not None:
            note_resumed(run_id, study)
        return _run(plan, resumed.code, shop, storage, past, [], began=header)


def _run(
    plan: Plan,
    code: Code,
    shop: Workshop,
    storage: Any,
    past: Past | None,
    notes: list[str],
    began: Mapping[str, Any] | None,
) -> StudyResult:
    objective = CodeObjective(plan, code, began)
    lines = [*step_notes(plan.space), *space_notes(storage.header.get("space_from")), *notes]
    pool = InRuns(shop.pool, storage, shop.exchange, races=plan.races, needs_runs=code.needs_run)
    places = replace(shop, pool=pool)
    conclusion = CodeConclusion(plan.register)
    return run_study(Setup(plan, objective, conclusion, places, storage, past, lines, save_report))


def _stored(study: str, header: Mapping[str, Any]) -> str:
    """How the code of a study is imported again."""
    text = str(header[OBJECTIVE])
    if not text:
        raise StudyError(
            f"study {study} evaluates {header['model']}, which no other process can import; give "
            f"it again from Python: tune(objective=…, study={study!r})"
        )
    if must_be_given(text):
        raise StudyError(
            f"study {study} runs {text!r}. Whoever may write to the tracking server may have "
            "changed that, so it only runs if you give it again: "
            f"{command('tune', study=study, objective=text)}"
        )
    return text
