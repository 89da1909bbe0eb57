"""What a session says before its first trial."""

from collections.abc import Iterator, Sequence

from hpo.configurations import n_searched
from hpo.errors import counted
from pipelines.models import PERCENT_OF_ROWS
from pipelines.study.objective import Objective
from pipelines.study.plan import Plan
from pipelines.study.search import Search
from warmstart.families import short_name

NOT_REACHED = (
    "the nodes of the cluster do not see this machine's disk, so promoted trials are trained from "
    "the start; for less give checkpoints= a place that all reach, such as s3://BUCKET/FOLDER"
)


def introduction(
    plan: Plan,
    objective: Objective,
    search: Search,
    *,
    study: str,
    notes: Sequence[str],
    cluster: str,
    keeps_checkpoints: bool,
) -> Iterator[str]:
    """The lines: what was noticed in the input, what is searched, and what is left to do.

    Args:
        plan: of the study.
        objective: what is evaluated.
        search: with the trials of earlier sessions.
        study: its run id.
        notes: what it learns from past studies.
        cluster: that runs its workers; empty for this machine.
        keeps_checkpoints: whether the workers reach the place of the checkpoints.
    """
    yield from objective.notes
    if plan.races and not keeps_checkpoints:
        yield NOT_REACHED
    done = search.n_finished
    there = f"; {counted(done, 'trial')} done before" if done else ""
    where = f" on {cluster}" if cluster else ""
    yield (
        f"study {study}: {_searched(plan)}, {objective.describe()}, {plan.goals}, "
        f"{plan.worker_plan}{where}{_rungs(plan)}{there}"
    )
    yield from notes
    few = search.study.proposals.total
    if plan.trains_one:
        return
    if few is not None and (plan.extent.trials is None or few < plan.extent.trials):
        instead = "" if plan.extent.trials is None else f", not {plan.extent.trials}"
        yield (
            f"the space has {counted(few, 'different configuration')}, so no more trials are run"
            f"{instead}"
        )
    elif search.study.complete:
        yield (
            f"no trial is left to run: trials={plan.extent.trials}; for more give trials greater "
            f"than {done}"
        )


def _searched(plan: Plan) -> str:
    name = short_name(plan.model)
    if plan.trains_one:
        return f"one configuration of {name}"
    return f"{plan.algorithm} over {counted(n_searched(plan.space), 'parameter')} of {name}"


def _rungs(plan: Plan) -> str:
    if len(plan.rungs) == 1:
        return ""
    is_told = plan.budget_unit in (plan.fidelity, PERCENT_OF_ROWS)
    how = "" if is_told else f" ({plan.fidelity})"
    return f"; rungs {', '.join(f'{step:g}' for step in plan.rungs)} {plan.budget_unit}{how}"
