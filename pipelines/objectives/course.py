"""What a budget of a study means for the family that a trial trains."""

from dataclasses import dataclass

from hpo.loop import Job
from hpo.space import Params
from pipelines.models import search_model, settings, single_family
from pipelines.models.families import scaled
from pipelines.objectives.jobs import Work

CONTINUED = ("rounds", "scheduled")  # the fidelities whose legs continue the leg before


@dataclass(frozen=True)
class Course:
    """How a model is trained.

    Attributes:
        name: of the family.
        params: of the model, under the family's main names; where they change, the last ones.
        stops: where training pauses, ascending, in rounds or steps of the family.
        horizon: at which a full training ends.
        share: of the training rows.
        before: the values of earlier parts of the training, each with the stop at which it ends.
    """

    name: str
    params: Params
    stops: tuple[int, ...]
    horizon: int
    share: float = 1.0
    before: tuple[tuple[int, Params], ...] = ()

    def params_to(self, stop: float) -> Params:
        """The values with which a model is trained on its way to a stop."""
        return next((params for end, params in self.before if stop <= end), self.params)


def course_of(work: Work, job: Job) -> Course:
    """How the trial of a job is trained up to the job's budget.

    Where a leg continues an earlier one, training stops at every rung on its way. So the model is
    the same whether it was taken there leg by leg, at once, or, when a checkpoint is lost, once
    more from the start.
    """
    model = search_model(work.model)
    name, params = model.resolve(job.params)
    chosen = single_family(name)
    horizon = model.rounds(name, work.rungs[-1])
    match work.fidelity:
        case "rounds" | "scheduled":
            passed = [rung for rung in work.rungs if rung < job.to]
            stops = tuple(model.rounds(name, budget) for budget in (*passed, job.to))
            before = [
                (model.rounds(name, phase.to), chosen.canonical(model.resolve(phase.params)[1]))
                for phase in job.before or work.before
            ]
            return Course(name, chosen.canonical(params), stops, horizon, before=tuple(before))
        case "scaled":
            to = model.rounds(name, job.to)
            end = to if chosen.rate is None else horizon
            return Course(name, scaled(chosen, params, to / horizon), (to,), end)
        case "rows":
            full = settings(name).budget.max
            return Course(name, chosen.canonical(params), (full,), full, share=job.to / 100)
        case unknown:
            raise ValueError(
                f"unknown fidelity {unknown!r}; it is one of rounds, scheduled, scaled and rows"
            )


def budget_per_round(work: Work, course: Course) -> float:
    """How much of the study's budget one round or step of a course is."""
    return search_model(work.model).budget_per_round(work.rungs[-1], course.horizon)
