"""Past studies as later ones read them, from a real database and from a real server."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines import schema
from pipelines.knowledge import Knowledge, past_studies
from pipelines.storage import MlflowStorage
from pipelines.summaries import summary_of
from tests import stores
from tests.pipelines.test_summaries import COMPLETE, trials


@pytest.fixture
def experiment() -> str:
    return f"past-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stores.sqlite_uri()  # which sets the variable for the session
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def begun(experiment: str, told: list[Trial], uri: str | None = None, **changes: Any) -> MlflowStorage:
    """A study with these trials that is still running."""
    storage = MlflowStorage.create(
        {**COMPLETE, **changes},
        experiment=experiment,
        tracking_uri=uri or stores.sqlite_uri(),
        pace=stores.HASTE,
    )
    for trial in told:
        storage.add(replace(trial, reports=()))
        storage.update(trial)
    storage.flush(30)
    return storage


def ended(experiment: str, n: int = 5, uri: str | None = None, **changes: Any) -> MlflowStorage:
    storage = begun(experiment, trials(n), uri, **changes)
    storage.close()
    return storage


def unsummed(storage: MlflowStorage) -> MlflowStorage:
    """As an older release left it."""
    client = storage.client
    for name in client.get_run(storage.run_id).data.tags:
        if name.startswith(schema.SUMMARY):
            client.delete_tag(storage.run_id, name)
    return storage


def known(*sources: str, uri: str | None = None, **options: Any) -> Knowledge:
    return past_studies(uri or stores.sqlite_uri(), sources=sources, **options)


def texts(found: Knowledge) -> list[str]:
    return [past.to_text() for past in found.studies]


def told(storage: MlflowStorage) -> str:
    past = summary_of(storage.header, storage.run_id, storage.load())
    assert past is not None
    return past.to_text()


@pytest.mark.parametrize("store", stores.STORES)
def test_a_study_that_ends_leaves_what_was_told(store: str, experiment: str) -> None:
    uri, make_writer = stores.STORES[store]()
    storage = stores.study(uri, make_writer, **COMPLETE)
    for trial in trials(5):
        storage.add(replace(trial, reports=()))
        storage.update(trial)
    storage.add(Trial(5, trials(6)[5].params, 81.0))
    storage.update(replace(storage.load()[5], failure="out of memory"))
    storage.close("KILLED", "interrupted")
    found = known(storage.run_id, uri=uri)
    assert texts(found) == [told(storage)]
    assert found.notes == ()
    expected = {round(trial.loss, 6) for trial in trials(5)}
    assert set(found.studies[0].losses) == expected
    best = SearchSpace.from_dict(COMPLETE["space"]).encode(trials(5)[4].params)
    np.testing.assert_allclose(found.studies[0].x[0], best, atol=1e-5)


def test_a_resumed_study_leaves_a_newer_summary(experiment: str) -> None:
    before = ended(experiment)
    storage = stores.reopen(before.run_id)
    assert known(experiment).notes == ("1 past study left out: still running",)
    for trial in trials(9)[5:]:
        storage.add(replace(trial, reports=()))
        storage.update(trial)
    storage.close()
    assert texts(known(experiment)) == [told(storage)]
    assert len(known(experiment).studies[0]) == 9
