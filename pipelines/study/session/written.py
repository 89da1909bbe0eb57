"""The end of a session: everything is written, and the report is made."""

import logging
import time
from collections.abc import Callable

from hpo.errors import StudyError, TakenError
from hpo.loop import Stop, StopLevel
from pipelines.findings.scales import duration
from pipelines.store import StudyStore
from pipelines.study.report import SavedReport
from pipelines.study.workshop import POLL

logger = logging.getLogger(__name__)

# Seconds that a finished study waits for MLflow, before and after a message.
BRIEFLY, PATIENCE = 20.0, 600.0


class NoAnswerError(StudyError):
    """MLflow has not answered for a long time."""


def wait_until_written(store: StudyStore, stop: Stop, say: Callable[[str], None]) -> bool:
    """Wait until the store has every trial, which the winner's model refers to.

    Returns:
        False when the user wants to stop now.

    Raises:
        NoAnswerError: when MLflow does not answer for a long time.
    """
    began, noted = time.monotonic(), False
    while not store.flush(POLL):
        if stop.level == StopLevel.NOW:
            return False
        waited = time.monotonic() - began
        if waited > BRIEFLY and not noted:
            say(
                f"waiting for MLflow, {store.waiting} runs are not written yet; giving up after "
                f"{duration(PATIENCE)}"
            )
            noted = True
        if waited > BRIEFLY + PATIENCE:
            raise NoAnswerError(
                f"MLflow has not answered for {duration(waited)}; the results wait on this "
                "machine, and nothing is lost: when it is back, `tune` with "
                f"study={store.run_id} logs them and the winner"
            )
    return True


def saved_report(
    make: Callable[[str], SavedReport], store: StudyStore, say: Callable[[str], None]
) -> SavedReport | None:
    """Make the report of a study that is written; None where that fails.

    Everything that matters is logged before, so no error here may end the study.
    """
    again = f"`report` with study={store.run_id} makes it"
    say("making the report")
    try:
        store.flush(BRIEFLY)
        store.verify()
        return make(store.run_id)
    except TakenError:
        raise
    except KeyboardInterrupt:
        say(f"the report was left out; {again}")
    except Exception as error:  # figures are drawn by a library, of names that anybody chose
        logger.debug("no report", exc_info=True)
        say(f"warning: there is no report ({type(error).__name__}: {str(error):.200}); {again}")
    return None
