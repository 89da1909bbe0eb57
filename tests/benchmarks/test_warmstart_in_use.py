import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.warmstart import seconds
from benchmarks.warmstart.duels import Duel, Outcome, pairs_of, report
from benchmarks.warmstart.in_use import main, read
from hpo.errors import UserError
from tests import prefork

ROOT = Path(__file__).parents[2]


def outcome(
    start: str,
    losses: Sequence[float],
    *,
    past: int = 7,
    held_out: float = 0.5,
    seconds: float = 1.0,
) -> Outcome:
    return Outcome("t", past, start, past, tuple(losses), (seconds,) * len(losses), held_out, 9.0)


def duels(found: Sequence[Outcome], trials: int) -> dict[str, Duel]:
    groups = report(found, trials)[1]["groups"]
    assert isinstance(groups, dict)
    return {title: Duel(**values) for title, values in groups.items()}


COLD = (5.0, 4.0, 3.0, 2.0, 1.0)  # the median, 3, is regret 1, the least of both regret 0


def test_regret_is_of_both_studies_of_a_table() -> None:
    found = [
        outcome("off", COLD),
        outcome("auto", (4.0, 2.0, 2.0, 2.0, 0.0), held_out=0.4, seconds=2.0),
    ]
    (duel,) = duels(found, 5).values()
    assert duel.regret[3] == pytest.approx((1.0, 2 / 3))
    assert duel.regret[5] == pytest.approx((1 / 3, 0.0))
    assert duel.ratio[3] == pytest.approx((2 / 3,) * 3)
    assert (duel.studies, duel.worse, duel.held_out) == (1, 0.0, 1.0)
    assert duel.seconds == pytest.approx(2.0)
    # half as many trials as without a past
    assert duel.over_seconds[-1] == pytest.approx((1 / 3, 2 / 3))


def test_a_failed_trial_and_a_search_far_behind_are_cut() -> None:
    found = [outcome("off", COLD), outcome("auto", (np.inf, 90.0, 90.0, 3.0, 3.0), held_out=0.6)]
    (duel,) = duels(found, 5).values()
    assert duel.regret[3] == pytest.approx((1.0, 2.0))
    assert (duel.worse, duel.held_out) == (1.0, 0.0)


def test_studies_are_reported_by_the_number_of_those_before_them() -> None:
    found = [
        outcome(start, COLD, past=past) for past in (0, 3, 5, 12, 30) for start in ("off", "auto")
    ]
    found.append(outcome("off", COLD, past=31))  # the other one is still to come
    assert {title: duel.studies for title, duel in duels(found, 5).items()} == {
        "0 to 4": 2,
        "5 to 9": 1,
        "10 to 19": 1,
        "20 and more": 1,
        "5 and more": 3,
    }
    assert "| 0 to 4 | `off` | 1.000 |" in report(found, 5)[0]


def test_tables_that_come_again_are_reported_by_themselves() -> None:
    first = [outcome(start, COLD) for start in ("off", "auto")]
    second = [replace(found, again=True) for found in first]
    assert {title: duel.studies for title, duel in duels([*first, *second], 5).items()} == {
        "5 to 9": 1,
        "this table among them": 1,
    }


@pytest.mark.slow
def test_the_command_itself_is_chained_and_continues_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(prefork.shims(str(ROOT)) / "python"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=x[:, 0] + rng.normal(size=120))
    frame.to_csv(tmp_path / "one.csv.gz", index=False)
    (tmp_path / "index.csv").write_text("name,target\none,y\n")
    command = ["--datasets", str(tmp_path), "--output", str(tmp_path / "out"), "--quick"]
    main(command)
    path = tmp_path / "out" / "warmstart-in-use" / "lightgbm-tpe-6.jsonl"
    first = read(path)
    assert [(o.past, o.start) for o in first] == [(0, "off"), (0, "auto")]
    assert all(len(o.losses) == 6 and np.isfinite(o.held_out) for o in first)
    assert first[0].losses == first[1].losses  # nothing to learn from yet
    assert "| 0 to 4 | 1 |" in capsys.readouterr().out
    main([*command, "--again"])
    after = read(path)
    assert after[:2] == first
    assert [(o.past, o.start, o.again) for o in after[2:]] == [(1, "off", True), (1, "auto", True)]
    assert after[2].losses[0] == after[3].losses[0]  # the default
    assert after[2].losses != after[3].losses
    assert "| this table among them | 1 |" in capsys.readouterr().out


def test_an_unknown_table_and_a_failing_command_are_reported(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("name,target\nthere,y\n")
    options = ["--datasets", str(tmp_path), "--output", str(tmp_path / "out"), "--quick"]
    with pytest.raises(UserError, match="unknown table 'their', did you mean 'there'"):
        main([*options, "--tables", "their"])
    with pytest.raises(UserError, match=r"there, .*'warm_start': 'off'.*there.csv.gz"):
        main(options)


def test_searches_that_count_seconds_are_compared_at_the_same_seconds() -> None:
    plain = replace(outcome("tpe:cost=0", (4.0, 3.0, 2.0, 1.0)), seconds=(1.0, 1.0, 1.0, 1.0))
    timed = replace(outcome("tpe", (4.0, 1.0)), seconds=(1.0, 1.0), held_out=0.6)
    other = replace(outcome("tpe", (4.0, 1.0)), table="without a pair")
    text, values = seconds.report(pairs_of([timed, plain, other], ("tpe:cost=0", "tpe")))
    assert values["pairs"] == 1
    assert values["trials"] == 0.5
    assert values["held_out"] == 0.0
    assert "| `tpe` | 2.000 | 2.000 | 0.000 | 0.000 |" in text
