"""The races over learning curves: stored results, and the tables made of them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.methods import RACERS, method
from benchmarks.peers.replay import own
from benchmarks.results import Results
from benchmarks.search import decisions, ones
from benchmarks.search.races import (
    Race,
    Setup,
    Track,
    full_training,
    measured,
    regret,
    stored,
    track,
)
from benchmarks.search.replay import report
from benchmarks.tabulated.curves import load_curves
from benchmarks.worker import race as run_race
from hpo.algorithms import parts

NAMES = ("ones4+4", "ones16+16")
METHODS = [method(name, RACERS) for name in ("random", "tpe", "bohb")]


def line(name: str, losses: list[float], every: float) -> dict[str, object]:
    """Incumbents that come `every` full trainings of one worker."""
    unit = full_training(name)
    rows = [[every * unit * (i + 1), loss] for i, loss in enumerate(losses)]
    return {"incumbents": rows, "legs": 10, "spent": 20 * unit, "cpu_seconds": 0.5}


def filled(folder: Path, seeds: int = 4) -> Results[Race]:
    """Races in which bohb is twice as fast as tpe and three times as fast as random."""
    results = stored(folder)
    for chosen, every in zip(METHODS, (6.0, 4.0, 2.0), strict=True):
        for name in NAMES:
            best = load_curves(name).optimum
            for seed in range(seeds):
                losses = [best + 2.0 - 0.1 * i for i in range(4)]
                results.add(Race(chosen.name, name, seed, 1, 25), line(name, losses, every))
    return results


def test_a_full_training_is_that_of_the_median_configuration() -> None:
    assert full_training("ones4+4") == 729.0


def test_the_incumbent_is_the_last_one_before_and_the_first_one_when_there_is_none_yet() -> None:
    found = Track(np.array([2.0, 5.0]), np.array([3.0, 1.0]))
    assert [found.at(n) for n in (1.0, 2.0, 4.9, 5.0, 100.0)] == [3.0, 3.0, 3.0, 1.0, 1.0]


def test_time_counts_all_workers_in_full_trainings() -> None:
    race = Race("random", "ones4+4", 0, 8, 25)
    answer = {"incumbents": [[729.0, -3.0], [1458.0, -4.0]]}
    assert track(race, answer).times.tolist() == [8.0, 16.0]


def test_regret_is_0_at_the_best_and_1_at_the_median_configuration() -> None:
    curves = load_curves("ones4+4")
    losses = np.array([-9.0, -8.0, -6.0, -4.0, 0.0])
    assert regret(curves, losses).tolist() == [0.0, 0.0, 0.5, 1.0, 2.0]


def test_races_are_read_again_and_reported(tmp_path: Path) -> None:
    filled(tmp_path)
    setup = Setup(seeds=4, workers=1, trainings=25)
    data = measured(stored(tmp_path), METHODS, NAMES, setup)
    assert list(data.curves) == list(NAMES)
    text, values = report(data, setup)
    # all get as far, so that being twice and three times as fast is what is left
    assert "| tpe, full trainings (this project) | 1.6 [1.6, 1.6] | 16 | 16 |" in text
    assert "| random, full trainings | 1.0 [1.0, 1.0] | 24 | 24 |" in text
    assert "| **bohb** (this project) | 3.1 [3.1, 3.1] | 8 | 8 |" in text
    assert values["curves"] == list(NAMES)
    assert "| random, full trainings | 50.00 [50.00, 50.00] | 10 | 80 % |" in text


def test_curves_that_lack_a_race_are_left_out(tmp_path: Path) -> None:
    results = filled(tmp_path)
    del results.answers[Race("bohb", "ones4+4", 3, 1, 25)]
    assert list(measured(results, METHODS, NAMES, Setup(4, 1, 25)).curves) == ["ones16+16"]
    assert list(measured(results, METHODS, NAMES, Setup(3, 1, 25)).curves) == list(NAMES)


def test_results_of_other_curves_are_not_used(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "bohb.jsonl"
    path.write_text(path.read_text().replace('"digest": "-8/-4', '"digest": "-8/-5'))
    assert list(measured(stored(tmp_path), METHODS, NAMES, Setup(4, 1, 25)).curves) == ["ones16+16"]


@pytest.mark.parametrize(
    "name", [name for name, racer in RACERS.items() if racer.module == "replay.own"]
)
def test_our_racers_are_algorithms(name: str) -> None:
    settings = RACERS[name].settings
    parts(settings["name"])
    assert name in (settings["name"], f"{settings['name']}-r9")
    assert settings.get("skipped", 0) == name.endswith("-r9")


def test_a_race_on_noisy_curves_is_judged_by_the_expected_loss() -> None:
    answer = run_race(
        own, {"name": "hyperband"}, "ones4+4", seed=0, workers=2, seconds=2000.0, noisy=True
    )
    losses = [loss for _, loss in answer["incumbents"]]
    assert len(losses) > 2
    assert all(-8.0 < loss < 0.0 for loss in losses)
    assert answer["legs"] > 20
    assert 0 < answer["spent"] <= 4000.0


def test_ones_are_shares_that_are_missing_and_a_picture(tmp_path: Path) -> None:
    results = filled(tmp_path)
    for race, answer in [*results.answers.items()]:
        results.answers[Race(race.method, race.curves, race.seed, 1, 100)] = answer
    data = measured(results, METHODS, NAMES, Setup(seeds=4, workers=1, trainings=100))
    assert ones.regrets(data, [100])[0, :, 0, 0] == pytest.approx([1.7 / 8, 1.7 / 32])
    ones.picture(data, tmp_path / "ones.png")
    assert (tmp_path / "ones.png").read_bytes().startswith(b"\x89PNG")
    assert "| 10 R | 25 R | 50 R | 100 R |" in ones.report(data)[0]


@pytest.mark.parametrize("complete", [False, True])
def test_a_study_with_trials_behind_it_decides_once_a_step(complete: bool) -> None:
    made = own.decider(load_curves("ones4+4"), seed=0, trials=60, complete=complete, name="bohb")
    assert made.bytes > 60 * 100
    steps = [made.step() for _ in range(12)]
    assert {frozenset(step) for step in steps} == {frozenset({"wall", "cpu", "new"})}
    assert any(step["new"] == 1.0 for step in steps)


def test_decisions_are_told_by_method_and_number_of_trials() -> None:
    methods = decisions.variants([method("bohb", RACERS), method("hpbandster", RACERS)])
    assert [chosen.settings.get("complete") for chosen in methods] == [False, True, None]
    costs = [
        decisions.Cost(
            np.array([0.002, 0.004, 0.006]) * (i + 1), np.array([1.0, 0.0, 0.0]), 1000 * (i + 1)
        )
        for i in range(3)
    ]
    text = decisions.tables({100: costs}, methods)
    new, promoted = text.split("for a promotion")
    assert "| HpBandSter BOHB | 6 [6, 6] |" in new
    assert "| HpBandSter BOHB | 15 [12, 18] |" in promoted
    assert "| **bohb** (this project), all at five rungs | 20 |" in text
