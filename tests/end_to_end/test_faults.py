"""A study goes on whatever happens to a trial."""

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.end_to_end.conftest import Place, command_line
from tests.end_to_end.test_resume import SETTINGS, read_until


def descendants(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    children = [int(line) for line in found.stdout.split()]
    return children + [grandchild for child in children for grandchild in descendants(child)]


def test_a_killed_worker_costs_its_trial_only(place: Place, table: Path) -> None:
    settings = SETTINGS | {"model": "mlp", "trials": 4, "max_budget": 300}
    process = place.start(*command_line("tune", data=table, **settings))
    assert process.stdout
    output = read_until(process.stdout, "trial 0/4")
    for worker in descendants(process.pid)[1:]:  # the first is their fork server
        os.kill(worker, signal.SIGKILL)
    output += process.stdout.read()
    assert process.wait(timeout=60) == 0, output
    assert "killed by signal 9" in output
    failed = re.search(r"\((\d) trials, (\d) failed\)", output)
    assert failed, output
    assert int(failed.group(1)) + int(failed.group(2)) == 4


def test_trials_over_their_limit_fail_and_a_hopeless_study_ends(place: Place, table: Path) -> None:
    settings = SETTINGS | {"trials": 100, "trial_timeout": 0.001}
    code, output = place.command("tune", data=table, **settings)
    assert code == 2, output
    assert "ran for longer than its limit of 0.001 s" in output
    assert len(re.findall(r"^trial \d+/100 FAILED", output, re.MULTILINE)) < 20
    assert "resume with study=" in output


def test_at_the_timeout_the_study_ends_with_its_winner(place: Place, table: Path) -> None:
    settings = SETTINGS | {"trials": 10_000, "timeout": 4}
    code, output = place.command("tune", data=table, **settings)
    assert code == 0, output
    assert "Held-out test rows" in output
    assert "resume" in output
