import signal
import subprocess
import sys

import pytest

pytest.importorskip("submitit", reason="needs submitit: pip install 'mlflow-warmstart[slurm]'")

from hpo.workers import slurm


def test_jobs_do_not_see_the_ctrl_c_of_the_terminal() -> None:
    look = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with slurm._shielded():
        said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert said.stdout == "True\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
