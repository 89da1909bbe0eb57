import os
import signal
import threading

import pytest

from hpo.loop import Stop, StopLevel
from pipelines.study.session import signals as module
from pipelines.study.session.signals import interrupts, message


def test_each_signal_asks_for_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ONE_EVENT", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with interrupts() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.level == 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.level == 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "finishing the trials" in capsys.readouterr().err


def test_stopping_now_ends_a_call_that_does_not_look_at_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ONE_EVENT", 0.0)
    with interrupts() as stop:
        stop.in_call = True
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.level == 2


def test_the_two_signals_of_one_ctrl_c_count_once() -> None:
    with interrupts() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.level == 1


@pytest.mark.parametrize(("already", "level"), [(signal.SIG_DFL, 1), (signal.SIG_IGN, 0)])
def test_a_closed_terminal_asks_unless_it_is_to_be_ignored(
    already: signal.Handlers, level: int
) -> None:
    before = signal.signal(signal.SIGHUP, already)
    try:
        with interrupts() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.level == level
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), list[Stop]()

    def study() -> None:
        with interrupts() as stop:
            seen.append(stop)
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=study)
    thread.start()
    thread.join()
    assert seen == [Stop()]


def test_each_signal_says_what_it_does_and_what_stops_at_once() -> None:
    soon, now = StopLevel.FINISH_RUNNING, StopLevel.NOW
    assert message(soon, signal.SIGINT).endswith("press Ctrl-C again to stop now")
    assert message(soon, signal.SIGTERM).startswith("SIGTERM: finishing the trials that run; send")
    assert message(now, signal.SIGTERM).startswith("SIGTERM: stopping now")
