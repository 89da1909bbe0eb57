"""MLflow's autologging, switched off while an entry point runs.

The driver fits small models of its own: landmarks, baselines, the forest of a report. With
`mlflow.autolog()` in the user's process each would become a run beside the study.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_UTILS = "mlflow.utils.autologging_utils"  # imported if autologging is on
_OFF = "_AUTOLOGGING_GLOBALLY_DISABLED"
_lock = threading.Lock()
_calls: dict[str, int] = {"running": 0}


@contextmanager
def without_autologging() -> Iterator[None]:
    """Switch autologging off; the last call that ends, in any thread, switches it on again."""
    with _lock:
        _calls["running"] += 1
        _switch(off=True)
    try:
        yield
    finally:
        with _lock:
            _calls["running"] -= 1
            if not _calls["running"]:
                _switch(off=False)


def _switch(*, off: bool) -> None:
    """What MLflow's `disable_autologging` does, which is neither nested nor shared by threads."""
    utils = sys.modules.get(_UTILS)
    if utils is not None and hasattr(utils, _OFF):
        setattr(utils, _OFF, off)
