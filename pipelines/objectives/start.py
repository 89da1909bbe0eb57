"""Starting and resuming the study of a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import StudyError, raise_all
from hpo.past import Past
from pipelines.files.checkpoints import Checkpoints
from pipelines.models import settings
from pipelines.objectives.planning import budget_of, header, rungs, worker_plan_of
from pipelines.objectives.space import SpaceChoice, choose_space, space_notes
from pipelines.objectives.table import TableObjective, publish_folds
from pipelines.objectives.training import table_worker
from pipelines.study.options import OFF, PAST, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.report import save_report
from pipelines.study.result import StudyResult
from pipelines.study.session import Setup, run_study
from pipelines.study.workshop import Workshop, workshop
from pipelines.table.overrides import as_options, parse_overrides
from pipelines.table.source import absolute, described, rebuild_source

if TYPE_CHECKING:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import WarmStart
    from pipelines.table.data import Prepared

# The options that a study keeps (`later` in `pipelines.study.options` marks the others).
OF_PLAN = ("model", "algorithm", "metric", "seed", "trial_timeout", "warm_start", "fidelity")
OF_DATA = ("target", "task", "split", "test_share", "validation")
OF_COLUMNS = ("types", "drop")
OF_BUDGETS = ("min_budget", "max_budget", "eta")


def start_study(
    plan: Plan, chosen: SpaceChoice, prepared: "Prepared", shop: Workshop, run_id: str | None
) -> StudyResult:
    """Read past studies, create the study in MLflow, and run it.

    The run `run_id` of `mlflow run` becomes the study; None creates a run.

    Raises:
        StudyError: when a named past study does not exist, or no trial succeeded.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.warm_start import ARTIFACT, look_back, narrowed_by, started_with
    from warmstart.metafeatures import MetaFeatures

    features = described(prepared)
    known, artifacts = None, {}
    if plan.warm_start != OFF:
        warm = look_back(plan, MetaFeatures.from_dict(features), exclude=run_id)
        if chosen.narrow:
            plan, warm = narrowed_by(plan, warm)
        known = warm, warm.past(plan)
        plan = started_with(plan, *known)
        artifacts = {ARTIFACT: warm.to_json()}
    stored = header(plan, features) | chosen.to_header()
    storage = MlflowStorage.create(stored, run_id=run_id, artifacts=artifacts)
    return run(plan, prepared, shop, storage, known)


def run(
    plan: Plan,
    prepared: "Prepared",
    shop: Workshop,
    storage: "MlflowStorage",
    known: "tuple[WarmStart, Past | None] | None" = None,
) -> StudyResult:
    """Run a study of a table; `known` is the warm start and the model of past studies.

    Raises:
        StudyError: when no trial succeeded.
    """
    notes = space_notes(storage.header.get("space_from"))
    warm, past = known or (None, None)
    notes += [f"warm start: {line}" for line in warm.lines()] if warm else []
    objective = TableObjective(plan, prepared)
    return run_study(Setup(plan, objective, shop, storage, past, notes, save_report))


def resume_study(study: str, options: TuneOptions, run_id: str | None) -> StudyResult:
    """Resume a study; `run_id` is a run of `mlflow run`, on which it is noted.

    Raises:
        StudyError: when there is no such study, or the options are not those that it began with.
    """
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.runs import note_resumed, read_text, study_header
    from pipelines.study.warm_start import ARTIFACT, WarmStart

    plan, given = Plan.from_header(study_header(study)), options.fixed()
    _refuse_changes(study, plan, given)
    source = rebuild_source(plan.data, plan.seed, options.data)
    plan = plan.resumed(
        trials=options.trials,
        timeout=options.timeout,
        register=options.register,
        confirm=options.confirm,
        refit=options.given().get("refit"),
        checkpoints=absolute(options.checkpoints) if options.checkpoints else None,
    )
    if plan.checkpoints is not None:
        Checkpoints(plan.checkpoints).check()
    with workshop(table_worker(plan.model), worker_plan_of(plan, options.workers)) as shop:
        prepared = publish_folds(source.prepare(), shop.exchange)
        plan.check_same_data(source.plan(prepared))
        known = None
        if plan.warm_start != OFF:
            warm = WarmStart.from_json(read_text(study, ARTIFACT))
            known = warm, warm.past(plan)
        storage = MlflowStorage.open(study)
        if run_id is not None:
            note_resumed(run_id, study)
        return run(plan, prepared, shop, storage, known)


def _refuse_changes(study: str, plan: Plan, given: Mapping[str, Any]) -> None:
    """Check that the options are those that a study began with.

    Raises:
        StudyError: naming each that differs.
    """
    began = _began_with(plan, given)
    raise_all(
        StudyError,
        (
            f"study {study} began with {name}={began[name]!r}, but got {value!r}; "
            f"leave {name} out, or start a new study"
            for name, value in given.items()
            if began[name] != value
        ),
    )


def _began_with(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a study began with, among those that are given now.

    A given value that means the same as that of the study is returned as it is.
    """
    began = {name: getattr(plan, name) for name in OF_PLAN}
    began |= {name: getattr(plan.data, name) for name in OF_DATA}
    began |= _budgets(plan, {name: given[name] for name in OF_BUDGETS if name in given})
    # Trials whose checkpoints are not at the new place are trained from the beginning.
    began["checkpoints"] = given.get("checkpoints") if plan.races else None
    began |= {name: _as_began(plan, name, given[name]) for name in OF_COLUMNS if name in given}
    if "space" in given:
        began["space"] = given["space"] if _same_space(plan, given["space"]) else "another one"
    return began


def _as_began(plan: Plan, name: str, value: Any) -> Any:
    """The value of `types` or `drop` that a study began with; the given one if it is the same."""
    began = as_options(plan.data.overrides).get(name)
    same = as_options(parse_overrides(**{name: value})).get(name) == began
    return value if same else began


def _same_space(plan: Plan, space: object) -> bool:
    if isinstance(space, str) and space == PAST:
        return True  # the study has stored the space that the past studies gave
    chosen = choose_space(space, plan.model).space
    return (chosen or settings(plan.model, kind=plan.data.task).space) == plan.space


def _budgets(plan: Plan, given: dict[str, Any]) -> dict[str, Any]:
    """The budget options of a study; those given if they make the same rungs."""
    if not given:
        return {}
    began: dict[str, Any] = {
        "min_budget": int(plan.rungs[0]),
        "max_budget": int(plan.rungs[-1]),
        "eta": plan.eta,
    }
    wanted = began | given
    own = budget_of(settings(plan.model, kind=plan.data.task).budget, plan.algorithm, plan.fidelity)
    steps = rungs(plan.algorithm, own, wanted["min_budget"], wanted["max_budget"], wanted["eta"])
    return given if steps == plan.rungs else began
