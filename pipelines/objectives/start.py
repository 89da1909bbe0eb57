"""Starting and resuming the study of a table."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpo.errors import Mistakes
from hpo.past import Past
from hpo.workers.cores import WorkerPlan, available_cores, plan_threads
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.memory import release_memory
from pipelines.objectives.deciding.checks import check_decisions
from pipelines.objectives.ending.conclusion import TableConclusion
from pipelines.objectives.mistakes import every_mistake
from pipelines.objectives.planning import lag_of, new_plan, worker_plan_of
from pipelines.objectives.scoring.goals import preferring
from pipelines.objectives.space import SpaceChoice, choose_space, space_notes, step_notes
from pipelines.objectives.table import TableObjective, publish_folds
from pipelines.objectives.training import table_worker
from pipelines.objectives.unchanged import check_unchanged
from pipelines.study.objective import check_same, header_of
from pipelines.study.options import PROCESSES, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.report import save_report
from pipelines.study.result import StudyResult
from pipelines.study.session import Setup, run_study
from pipelines.study.sources import source_of, tables_of
from pipelines.study.workshop import Workshop, workshop
from pipelines.study.workshop.clusters import Cluster, cluster_of
from pipelines.table.reading import Ahead
from pipelines.table.source import DATA, DataPlan, Source, absolute, rebuild_source

if TYPE_CHECKING:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import WarmStart
    from pipelines.table.data import Prepared


@dataclass(frozen=True)
class NewStudy:
    """A study before its table is read.

    Attributes:
        options: of `tune`.
        source: its table.
        worker_plan: its workers.
        chosen: its space.
    """

    options: TuneOptions
    source: Source
    worker_plan: WorkerPlan
    chosen: SpaceChoice

    @classmethod
    def of(
        cls, options: TuneOptions, cluster: Cluster | None = None, *, writing: bool = True
    ) -> "NewStudy":
        """Check the options that need no table.

        Args:
            options: of `tune`.
            cluster: that runs the study; None for this machine.
            writing: whether to check by a tiny file that checkpoints can be stored.

        Raises:
            UserError: with what is wrong.
        """
        mistakes = Mistakes()
        with mistakes:
            source = source_of(options, ", unless study names a study to resume")
        with mistakes:
            place = None if options.checkpoints is None else absolute(options.checkpoints)
            if place is not None:
                Checkpoints(place).check(writing=writing)
            if cluster is not None:
                worker_plan = cluster.worker_plan(options.workers)
                cluster.check(place)
            elif options.executor == PROCESSES:
                worker_plan = plan_threads(options.workers)
            else:  # a dry run does not connect to a cluster
                worker_plan = WorkerPlan(options.workers or available_cores(), 1)
        with every_mistake(options):
            with mistakes:
                chosen = choose_space(options.space, options.model)
            mistakes.raise_all()
        return cls(options, source, worker_plan, chosen)

    def read(self, ahead: Ahead | None = None) -> "tuple[Prepared, Plan]":
        """The table, which a thread may read `ahead`, and the plan.

        Raises:
            UserError: naming every mistake in the table, and in the options that depend on it.
        """
        with every_mistake(self.options):
            prepared = self.source.prepare(ahead)
            plan = new_plan(self.options, self.chosen, self.source, prepared, self.worker_plan)
        return prepared, plan


def start_study(
    new: NewStudy, shop: Workshop, run_id: str | None, ahead: Ahead | None = None
) -> StudyResult:
    """Read the table and past studies, create the study in MLflow, and run it.

    The run `run_id` of `mlflow run` becomes the study; None creates a run.

    Raises:
        UserError: for a table that cannot be searched on, and options that do not go with it.
        StudyError: when a named past study does not exist, or no trial succeeded.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import begin

    prepared, plan = new.read(ahead)
    prepared = publish_folds(prepared, shop.exchange)
    data = new.source.plan(prepared)
    header = header_of(plan, TableObjective(plan, data, prepared))
    begun = begin(plan, header, exclude=run_id, narrow=new.chosen.narrow)
    release_memory()
    stored = header | begun.plan.to_header() | new.chosen.to_header()
    storage = MlflowStorage.create(stored, run_id=run_id, artifacts=begun.artifacts)
    return run(begun.plan, data, prepared, shop, storage, begun.warm, begun.past)


def run(
    plan: Plan,
    data: DataPlan,
    prepared: "Prepared",
    shop: Workshop,
    storage: "MlflowStorage",
    warm: "WarmStart | None" = None,
    past: Past | None = None,
) -> StudyResult:
    """Run a study of a table, with the past studies that it learns from and their model.

    Raises:
        StudyError: when no trial succeeded.
    """
    notes = [*step_notes(plan.space), *space_notes(storage.header.get("space_from"))]
    notes += [f"warm start: {line}" for line in warm.lines()] if warm else []
    objective = TableObjective(plan, data, prepared)
    conclusion = TableConclusion(plan, data, prepared)
    return run_study(Setup(plan, objective, conclusion, shop, storage, past, notes, save_report))


@dataclass(frozen=True)
class ResumedStudy:
    """A study that is taken up again, before its table is read.

    Attributes:
        study: its run id.
        header: with which it began.
        plan: with what this session changes.
        source: its table.
    """

    study: str
    header: Mapping[str, Any]
    plan: Plan
    source: Source

    @classmethod
    def of(
        cls, study: str, header: Mapping[str, Any], options: TuneOptions, *, writing: bool = True
    ) -> "ResumedStudy":
        """Check that the options are those that the study began with.

        Args:
            study: its run id.
            header: of the study.
            options: of `tune`.
            writing: whether to check by a tiny file that checkpoints can be stored.

        Raises:
            StudyError: when they are not.
        """
        plan, began = Plan.from_header(header), DataPlan.from_header(header)
        check_unchanged(f"study {study}", options, plan, began, instead="start a new study")
        source = rebuild_source(began, plan.seed, {DATA: options.data, **tables_of(options)})
        plan = plan.resumed(options, preferring(plan.goals, options.prefer))
        check_decisions(plan.calibrate, plan.threshold, began.task)
        if plan.checkpoints is not None:
            Checkpoints(plan.checkpoints).check(writing=writing)
        return cls(study, header, plan, source)

    def data(self, prepared: "Prepared") -> DataPlan:
        """The use of the table, which must be that of the study.

        Raises:
            StudyError: when it is not.
        """
        found = self.source.plan(prepared)
        check_same(TableObjective(self.plan, found, prepared), self.header)
        return found


def resume_study(
    study: str, header: Mapping[str, Any], options: TuneOptions, run_id: str | None
) -> StudyResult:
    """Resume a study with this header; `run_id` is a run of `mlflow run`, on which it is noted.

    Raises:
        StudyError: when the options are not those that it began with.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import note_resumed, recalled

    resumed = ResumedStudy.of(study, header, options)
    plan = resumed.plan
    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_of(options, plan.device))
        if cluster is None:
            worker_plan = worker_plan_of(plan, options.workers)
        else:
            worker_plan = cluster.worker_plan(options.workers, plan.threads)
            cluster.check(plan.checkpoints)
            plan = replace(plan, lag=lag_of(plan.algorithm, worker_plan))
        worker = table_worker(plan.model, plan.device, elsewhere=cluster is not None)
        shop = stack.enter_context(workshop(worker, worker_plan, cluster))
        prepared = publish_folds(resumed.source.prepare(), shop.exchange)
        data = resumed.data(prepared)
        warm, past = recalled(study, plan)
        storage = MlflowStorage.open(study)
        if run_id is not None:
            note_resumed(run_id, study)
        return run(plan, data, prepared, shop, storage, warm, past)
