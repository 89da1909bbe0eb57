"""What a watcher sees, and when it ends."""

import io
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hpo.errors import ParameterError
from hpo.trial import Report, Trial
from pipelines.cli import main
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.studies import Follower, Seen
from pipelines.study.watching.loop import watch_study
from pipelines.study.watching.screen import Screen, drawn
from pipelines.study.watching.shown import Snapshot, rate
from pipelines.study.watching.snapshot import Facts, snapshot
from pipelines.study.watching.target import Target
from pipelines.watch import watch
from tests import stores

HEADER: dict[str, Any] = {
    "model": "lightgbm",
    "algorithm": "bohb",
    "metric": "auc",
    "direction": "maximize",
    "rungs": [1.0, 3.0],
}
NOW = 1_000_000.0


def seen(number: int, budget: float, *aucs: float, failure: str = "") -> Seen:
    reports = tuple(
        Report(reached, -auc, {"auc": auc}, 2.0)
        for reached, auc in zip([1.0, 3.0], aucs, strict=False)
    )
    trial = Trial(number, {"rate": 0.125}, budget, reports=reports, failure=failure or None)
    status = "RUNNING" if not trial.finished else "FINISHED" if reports else "FAILED"
    ended = NOW - 100 + 10 * number if reports or failure else None
    return Seen(trial, status, ended)


TRIALS = [
    seen(0, 3.0, 0.7, 0.9),
    seen(1, 1.0, 0.6),
    seen(2, 1.0, failure="ValueError: no\nmore"),
    seen(3, 3.0, 0.8),
    seen(4, 1.0),
]
TARGET = Target(NOW - 100, trials=10, budgets=20.0, workers=2)


def facts(status: str = "RUNNING", trials: list[Seen] = TRIALS, failure: str = "") -> Facts:
    tags = {"hpo.session": TARGET.to_tag(), **({"hpo.failure": failure} if failure else {})}
    return Facts("a study", HEADER, status, tags, {each.trial.number: each for each in trials})


def test_the_snapshot_of_a_race() -> None:
    shown = snapshot(facts(), NOW)
    assert (shown.trials, shown.total, shown.running, shown.failed) == (5, 10, 2, 1)
    assert shown.share == pytest.approx((3 + 1 + 1 + 1 + 0) / 20)
    assert shown.left == pytest.approx(100 * 14 / 6)
    assert shown.per_second == pytest.approx(3 / 100)
    assert shown.best == "best auc 0.9 (trial 0)"
    assert shown.configuration == {"rate": "0.125"}
    rungs = [(rung.budget, rung.reached, rung.running, rung.best) for rung in shown.rungs]
    assert rungs == [(1.0, 3, 1, 0.8), (3.0, 1, 1, 0.9)]
    assert [line.number for line in shown.last] == [4, 3, 2, 1, 0]
    assert [line.state for line in shown.last[:3]] == [
        "running to 1",
        "running to 3",
        "failed: ValueError: no",
    ]
    assert shown.reasons == [("ValueError: no", 1)]
    assert str(shown).startswith("5/10 trials, 2 running, 1 failed, 1.8 trials/min, ETA 3:53; best")


def test_the_snapshot_of_a_study_that_has_ended_or_not_begun() -> None:
    ended = snapshot(facts("FAILED", failure="disk is full\nreally"), NOW + 3600)
    assert ended.state == "failed: disk is full"
    assert (ended.running, ended.total, ended.left) == (0, None, math.inf)
    assert ended.per_second == pytest.approx(3 / 30)  # until its last trial, not until now
    assert [line.state for line in ended.last[:2]] == ["stopped to 1", "stopped to 3"]
    empty = snapshot(facts(trials=[]), NOW)
    assert str(empty) == "0/10 trials; no result yet"
    assert "no process runs it" in empty.state
    other = snapshot(Facts("old", {**HEADER, "trials": 3}, "RUNNING", {}, {}), NOW)
    assert (other.total, other.share, other.left) == (3, None, math.inf)


def test_several_goals_are_all_shown() -> None:
    goals = {"goals": {"auc": "maximize", "size": "minimize"}}
    trial = Trial(0, {}, 1.0, reports=(Report(1.0, -0.9, {"auc": 0.9, "size": 3.0}, 1.0),))
    one = Facts("s", {**HEADER, **goals}, "RUNNING", {}, {0: Seen(trial, "FINISHED", NOW)})
    assert snapshot(one, NOW).best == "best auc 0.9, size 3 (trial 0)"


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(3.21, "3.2 trials/s"), (0.25, "15 trials/min"), (0.002, "7.2 trials/h")],
)
def test_rates_have_readable_units(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@given(
    st.builds(
        Target,
        st.floats(0, 1e10),
        st.none() | st.integers(1, 10**6),
        st.none() | st.floats(0, 1e9),
        st.none() | st.floats(1e-3, 1e9),
        st.floats(0, 1),
        st.integers(1, 1000),
    )
)
def test_a_target_reads_back(target: Target) -> None:
    assert Target.from_tag(target.to_tag()) == target
    assert 0 <= target.done(5.0) <= 1
    assert target.seconds_left(target.done(5.0), target.began + 60.0) >= 0


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[1]", "nonsense", '{"began": NaN}', '{"began": 1, "other": 2}']
)
def test_no_target_is_none(text: str | None) -> None:
    assert Target.from_tag(text) is None


def test_a_picture_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(drawn(snapshot(facts(), NOW), "MLflow does not answer"))
    text = console.export_text()
    assert "30 %\n5/10 trials, 2 running, 1 failed" in text
    assert re.search(r"^3 +1 +1 +0.9 *$", text, re.MULTILINE)
    assert re.search(r"^4 +running to 1 +– +– +sampler", text, re.MULTILINE)
    assert "1 failed: ValueError: no" in text
    assert "MLflow does not answer" in text


def test_elsewhere_a_line_when_something_changed() -> None:
    stream = io.StringIO()
    with Screen(stream) as screen:
        for trials in (TRIALS[:1], TRIALS[:1], TRIALS):
            screen.show(snapshot(facts(trials=trials), NOW))
    assert [line.partition(" ")[0] for line in stream.getvalue().splitlines()] == ["1/10", "5/10"]


def watched(
    monkeypatch: pytest.MonkeyPatch, follower: Follower, *steps: Callable[[], object]
) -> tuple[Any, list[Snapshot]]:
    """Watch; between two readings the next step happens."""
    left = iter(steps)
    shown: list[Snapshot] = []
    screen = Screen(io.StringIO())
    monkeypatch.setattr(screen, "show", lambda each, note="": shown.append(each))
    return watch_study(follower, screen, 1.0, lambda _: next(left)()), shown


def test_it_ends_with_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stores.study()
    trial = Trial(0, {"rate": 0.5}, 1)
    follower = Follower(storage.run_id, tracking_uri=stores.sqlite_uri(), pause=0.0)

    def begin() -> None:
        storage.add(trial)
        storage.flush()

    def end() -> None:
        storage.update(trial.with_outcome(Report(1, -0.5, {"auc": 0.5})))
        storage.close()

    result, shown = watched(monkeypatch, follower, begin, end)
    assert [each.running for each in shown] == [0, 0, 1, 0]
    assert str(result).startswith(
        f"study {storage.run_id}: finished\n1 trials\nbest auc 0.5 (trial 0)\n  rate: 0.5\n"
    )
    assert "report" in str(result)
    assert not result.stopped


def test_it_outlives_an_outage_and_ends_with_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stores.study()
    follower = Follower(storage.run_id, tracking_uri=stores.sqlite_uri(), pause=0.0)
    refresh = follower.refresh

    def away() -> None:
        raise Unreachable("no route")

    def stop() -> None:
        raise KeyboardInterrupt

    result, shown = watched(
        monkeypatch,
        follower,
        lambda: monkeypatch.setattr(follower, "refresh", away),
        lambda: monkeypatch.setattr(follower, "refresh", refresh),
        stop,
    )
    assert len(shown) == 4
    assert result.stopped
    assert "still run by process" in str(result)
    storage.close()


def test_a_dead_driver_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stores.study()
    storage.add(Trial(0, {"rate": 0.5}, 1))
    storage.flush()
    stores.abandon(storage)
    now = iter(range(0, 1000, 15))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    follower = Follower(storage.run_id, tracking_uri=stores.sqlite_uri(), pause=0.0)
    result, shown = watched(monkeypatch, follower, *[lambda: None] * 5)
    assert result.lost
    assert len(shown) < 6
    assert str(result).endswith(f"Resume it: mlflow-warmstart tune --study={storage.run_id}")


def test_on_the_command_line(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    storage = stores.study()
    storage.close()
    main(["watch", storage.run_id])
    assert f"study {storage.run_id}: finished" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["watch", "--every=0.5"])
    told = capsys.readouterr().err
    assert "give the run id of a study" in told
    assert "every=0.5 must be a number of seconds, 1 or more" in told
    with pytest.raises(ParameterError, match="every=inf"):
        watch("s", every=math.inf)
    with pytest.raises(ParameterError, match="every=nan"):
        watch("s", every=math.nan)
