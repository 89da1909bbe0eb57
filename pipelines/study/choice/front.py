"""What a study with several goals or limits logs beside its trials: the front and its course."""

from collections.abc import Callable
from itertools import pairwise

from hpo.goals.leaders import hypervolumes
from hpo.study import Study
from pipelines.store import StudyNotes
from pipelines.store.schema import FRONT, HYPERVOLUME, SCALE


def log_front(study: Study, notes: StudyNotes, say: Callable[[str], None]) -> None:
    """Log which trials no other one dominates, and what share of the goals they reach.

    A warning says if no trial keeps the limits.
    """
    if study.goals.is_single:
        return
    front = {trial.number for trial in study.front}
    before = {int(number) for number in (notes.tag(FRONT) or "").split(",") if number.isdigit()}
    notes.annotate(tags={FRONT: ",".join(map(str, sorted(front)))})
    for number in sorted(front | before):
        notes.annotate(tags={FRONT: str(number in front).lower()}, trial=number)
    _log_course(study, notes)
    if broken := _broken(study):
        say(broken)


def _log_course(study: Study, notes: StudyNotes) -> None:
    """Log the hypervolume where it grows, in the scale that the first session has found."""
    scale, logged = map(int, (notes.tag(SCALE) or "0,0").split(","))
    shares = hypervolumes(study.trials, study.goals, scale or None)
    notes.annotate(tags={SCALE: f"{scale or len(shares)},{len(shares)}"})
    for step, (last, share) in enumerate(pairwise([-1.0, *shares]), 1):
        if step > logged and (share > last or step == len(shares)):
            notes.annotate(metrics={HYPERVOLUME: share}, step=step)


def _broken(study: Study) -> str:
    best = study.best_trial
    report = best.best if best else None
    if best is None or report is None or not study.goals.excess(report):
        return ""
    limits = ", ".join(map(str, study.goals.limits))
    return (
        f"warning: no trial keeps {limits}; trial {best.number} breaks the limits least and wins. "
        "Run more trials, or give wider limits"
    )
