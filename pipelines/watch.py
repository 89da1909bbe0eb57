"""The entry point `watch`: a study that runs, as it stands in MLflow, on the terminal."""

import time
from collections.abc import Iterator

from hpo.errors import ParameterError, raise_all
from pipelines.store.autologging import without_autologging
from pipelines.study.watching.shown import Watched


@without_autologging()
def watch(study: str | None = None, every: float = 5.0) -> Watched:
    """Show a study until it ends: progress, rate, best so far, rungs, last trials and failures.

    It reads MLflow alone, so it runs on any machine that reaches the store, and writes nothing.
    Ctrl-C ends the watching; the study goes on.

    Args:
        study: The run id of a study; on the command line also without its name.
        every: Seconds between two readings, at least 1. A reading makes three requests, one a
            second at most.

    Raises:
        UserError: when there is no such study.
    """
    raise_all(ParameterError, _mistakes(study, every))
    from pipelines.store.studies import Follower
    from pipelines.study.watching.loop import watch_study
    from pipelines.study.watching.screen import Screen

    return watch_study(Follower(str(study)), Screen(), every, time.sleep)


def _mistakes(study: str | None, every: float) -> Iterator[str]:
    if study is None:
        yield "give the run id of a study, such as `mlflow-warmstart watch STUDY_ID`"
    if not 1 <= every < float("inf"):
        yield f"every={every:g} must be a number of seconds, 1 or more"
