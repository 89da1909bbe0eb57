"""From when a timeout counts."""

import subprocess
import sys
import time

import pytest

from pipelines.files import clock


def test_a_call_counts_from_itself_and_a_command_from_its_process() -> None:
    before = time.monotonic()
    with clock.session():
        time.sleep(0.01)
        assert before <= clock.session_began() < time.monotonic() - 0.005
    with clock.command(), clock.session():
        began = clock.session_began()
    assert began < before
    assert time.monotonic() - began == pytest.approx(clock.process_age(), abs=0.5)
    assert clock.session_began() >= before  # outside of a session, now


def test_the_age_of_a_process_counts_what_it_did_before() -> None:
    code = "import time; time.sleep(0.3); from pipelines.files import clock; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(clock.process_age())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0.29 < float(done.stdout) < 60
