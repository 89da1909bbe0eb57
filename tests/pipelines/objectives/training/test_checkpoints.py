"""Legs whose checkpoint is lost, or cannot be written."""

import errno
import os
from collections.abc import Callable

import pytest

from hpo.loop import Job
from pipelines.files.errors import NotWrittenError
from pipelines.files.exchange import Exchange
from pipelines.models.boosting import Boosting
from pipelines.objectives.jobs import Rebuild, Work
from tests.pipelines.objectives.training.workers import SAMPLED, Place, legs, outcome


def lose(shop: Place) -> None:
    shop.checkpoints.delete(7, 9.0)


def cut(shop: Place) -> None:
    file = next((shop.folder / "checkpoints").glob("trial-7-at-9.0*"))
    file.write_bytes(file.read_bytes()[:-100])


def flip(shop: Place) -> None:
    file = next((shop.folder / "checkpoints").glob("trial-7-at-9.0*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def exchange(shop: Place) -> None:
    other = {**SAMPLED[shop.work.model], "learning_rate": 0.2}
    for job in legs(other, 4.0, 9.0):
        shop.worker()(job)


def confuse(shop: Place) -> None:
    """A study of other rungs put its files into the same place."""
    Work(
        shop.work.model, "log_loss", 3, 1, (5.0, 9.0, 20.0), checkpoints=shop.work.checkpoints
    ).write(Exchange(str(shop.folder)))
    for job in legs(SAMPLED[shop.work.model], 5.0, 9.0):
        shop.worker()(job)
    shop.work.write(Exchange(str(shop.folder)))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, "is missing"),
        (cut, "is damaged"),
        (flip, "is damaged"),
        (exchange, "is of another trial"),
        (confuse, "is of another study"),
    ],
)
@pytest.mark.parametrize("model", [*SAMPLED])
def test_a_leg_without_its_checkpoint_is_trained_again_from_the_start(
    place: Callable[..., Place], model: str, harm: Callable[[Place], None], words: str
) -> None:
    params, shop, straight = SAMPLED[model], place(model), place(model)
    expected = straight.worker()(Job(7, params, 0, 20))
    for job in legs(params, 4.0, 9.0):
        shop.worker()(job)
    harm(shop)

    report = shop.worker()(Job(7, params, 9, 20))

    assert report.note.startswith(f"the checkpoint of trial 7 at 9 {words}")
    assert report.note.endswith(": trained again from the start")
    assert outcome(report) == outcome(expected)
    assert report.curve == tuple((b, value) for b, value in expected.curve if b > 9)
    assert shop.exported() == straight.exported()


def test_a_place_that_cannot_be_written_costs_the_trial_nothing(
    place: Callable[..., Place],
) -> None:
    shop = place("lightgbm")
    (shop.folder / "checkpoints").write_text("a file where a folder must be")

    report = shop.worker()(Job(7, SAMPLED["lightgbm"], 0, 9))

    assert report.note.startswith("the checkpoint of trial 7 at 9 cannot be written (")
    assert report.loss == place("lightgbm").worker()(Job(7, SAMPLED["lightgbm"], 0, 9)).loss
    assert shop.exported(budget=9)
    again = shop.worker()(Job(7, SAMPLED["lightgbm"], 9, 20))
    assert "trained again from the start" in again.note


def test_a_full_exchange_costs_the_trial_nothing(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = place("lightgbm")
    worker = shop.worker()
    job = Job(7, SAMPLED["lightgbm"], 0, 9)
    with monkeypatch.context() as full:
        full.setattr(Boosting, "export", _no_space)
        report = worker(job)
        with pytest.raises(NotWrittenError, match="No space left"):
            worker(Rebuild(job))

    assert report.note.startswith("its model was not stored: cannot write ")
    assert "(No space left on device); free space there" in report.note
    assert not shop.exported(budget=9)
    assert worker(Rebuild(job)).loss == report.loss
    assert shop.exported(budget=9)


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_a_place_legs_start_anew_and_nothing_is_said(place: Callable[..., Place]) -> None:
    shop = place("lightgbm", checkpoints=None)
    reports = [shop.worker()(job) for job in legs(SAMPLED["lightgbm"], 9.0, 20.0)]
    assert [report.note for report in reports] == ["", ""]
    assert reports[-1].loss == place("lightgbm").worker()(Job(7, SAMPLED["lightgbm"], 0, 20)).loss
