"""Ask and tell: a study in MLflow whose trials your own loop evaluates."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from hpo.algorithms import grants_budgets
from hpo.errors import ParameterError, StudyError, raise_all
from hpo.space import SearchSpace
from hpo.workers.cores import WorkerPlan
from pipelines.entry_points import entry_point
from pipelines.objectives.checks import check
from pipelines.objectives.code.asked import ASKED, AskedCode, OpenStudy
from pipelines.objectives.code.objective import CodeObjective
from pipelines.objectives.code.planning import new_plan, space_of
from pipelines.objectives.scoring.goals import preferring
from pipelines.store.storage import MlflowStorage
from pipelines.study.objective import header_of
from pipelines.study.options import AUTO, DEFAULT, TuneOptions
from pipelines.study.plan import Plan
from pipelines.study.runs import recalled, study_header
from pipelines.study.warm_start import begin

_MANY = 1_000_000  # trials


@dataclass(frozen=True)
class AskOptions:
    """The options of `open_study`. The space may be given by position, all others by name.

    Args:
        space: what is searched: a mapping, a YAML file, a space or an hp graph.
        study: the run id of the study to open; everything else is then as it began.
        name: of what is evaluated; studies of the same name learn from each other.
        metric: a bare number is minimised; -name minimises a metric, +name maximises it. Several
            with commas between them are goals of one search.
        limits: what trials should keep, such as seconds<5.
        prefer: weights of several goals, by which the best trial is chosen from the front; they may
            be given again with `study`.
        algorithm: as in `tune`.
        trials: how many at most; None for no limit.
        min_budget: the smallest budget of an algorithm that grants budgets.
        max_budget: the budget of a full evaluation.
        eta: the factor between budgets.
        seed: of the search.
        warm_start: as in `tune`.
    """

    space: str | Path | SearchSpace | Mapping[str, Any] = DEFAULT
    _: KW_ONLY
    study: str | None = None
    name: str = "objective"
    metric: str = AUTO
    limits: str | None = None
    prefer: str | None = None
    algorithm: str = "tpe"
    trials: int | None = None
    min_budget: int | None = None
    max_budget: int | None = None
    eta: float = 3.0
    seed: int = 0
    warm_start: str = AUTO

    def of_tune(self) -> TuneOptions:
        """The same as options of `tune`.

        Raises:
            ParameterError: for a name or a study that is no text.
        """
        for given in ("name", "study"):
            value = getattr(self, given)
            if value is not None and not isinstance(value, str):
                raise ParameterError(f"{given}={value!r:.80} must be text")
        same = {n: value for n, value in vars(self).items() if n not in ("name", "study")}
        trials = _MANY if self.trials is None else self.trials
        return TuneOptions(objective=f"{ASKED}{self.name}", **{**same, "trials": trials})


@entry_point(AskOptions)
def open_study(asked: AskOptions) -> OpenStudy:
    """Create a study to ask and tell, or open one again.

    Raises:
        UserError: with what is wrong and the way out.
    """
    options = asked.of_tune()
    if asked.study is not None:
        _check_alone(options)
        return _opened(asked.study, asked.prefer)
    check(options)
    if grants_budgets(asked.algorithm) and asked.max_budget is None:
        raise ParameterError(
            f"algorithm={asked.algorithm} grants budgets, so max_budget is needed: the budget of a "
            "full evaluation"
        )
    code = AskedCode(asked.name, asked.max_budget is not None)
    plan = new_plan(options, code, space_of(options, code), WorkerPlan(1, 1))
    header = header_of(plan, CodeObjective(plan, code))
    begun = begin(plan, header)
    storage = MlflowStorage.create(header | begun.plan.to_header(), artifacts=begun.artifacts)
    return OpenStudy(begun.plan, storage, begun.past)


def _check_alone(options: TuneOptions) -> None:
    """Check that nothing is given beside `study`, whose options are those that it began with."""
    given = [n for n in options.given() if n not in ("objective", "trials", "prefer")]
    raise_all(ParameterError, (f"{n} is as the study began; leave {n} out" for n in given))


def _opened(study: str, prefer: str | None) -> OpenStudy:
    header = study_header(study)
    if not str(header.get("model", "")).startswith(ASKED):
        raise StudyError(
            f"study {study} was not made by open_study; resume it with tune(study={study!r})"
        )
    plan = Plan.from_header(header)
    plan = replace(plan, goals=preferring(plan.goals, prefer))
    _, past = recalled(study, plan)
    return OpenStudy(plan, MlflowStorage.open(study), past)
