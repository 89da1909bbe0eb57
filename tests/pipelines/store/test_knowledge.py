"""Past studies as later ones read them, from a real database and from a real server."""

import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.errors import StudyError
from hpo.space import SearchSpace
from hpo.trial import Trial
from pipelines.store import knowledge, schema, tracking
from pipelines.store.knowledge import Knowledge, Why, past_studies
from pipelines.store.storage import MlflowStorage
from pipelines.store.summaries import summary_of
from pipelines.store.tracking import children
from tests import stores
from tests.pipelines.store.test_summaries import COMPLETE, trials


@pytest.fixture
def experiment() -> str:
    return f"past-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stores.sqlite_uri()  # which sets the variable for the session
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def begun(
    experiment: str, told: list[Trial], uri: str | None = None, **changes: Any
) -> MlflowStorage:
    """A study with these trials that is still running."""
    storage = MlflowStorage.create(
        {**COMPLETE, **changes},
        experiment=experiment,
        connection=stores.connection(uri),
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


def test_whatever_is_wrong_with_one_study_leaves_out_that_study(experiment: str) -> None:
    good = [ended(experiment) for _ in range(2)]
    plain = ended(experiment, meta_features=None)
    client = good[0].client
    torn, lost = ended(experiment, model="mlp"), ended(experiment)
    client.delete_tag(torn.run_id, f"{schema.SUMMARY}.0")
    newer = ended(experiment)
    ended(experiment, metric="churn_gain")
    mark = json.loads(client.get_run(newer.run_id).data.tags[schema.SUMMARY])
    client.set_tag(newer.run_id, schema.SUMMARY, json.dumps(mark | {"version": 2}))
    client.set_tag(unsummed(lost).run_id, schema.SCHEMA, "2")
    deleted, headless = ended(experiment), unsummed(ended(experiment))
    client.delete_run(deleted.run_id)
    (
        Path(client.get_run(headless.run_id).info.artifact_uri.removeprefix("file://"))
        / "study.json"
    ).unlink()
    failed = begun(experiment, [replace(trial, reports=(), failure="no") for trial in trials(3)])
    failed.close("FAILED", "none of 3 trials succeeded")
    single = ended(experiment, 1)
    emptied = unsummed(ended(experiment))
    for run in children(client, emptied.experiment_id, emptied.run_id):
        client.delete_run(run.info.run_id)
    killed = begun(experiment, trials(6))
    stores.abandon(killed)
    running = begun(experiment, trials(5))

    found = known(experiment)

    newest_first = [killed, torn, plain, *reversed(good)]
    assert [past.run_id for past in found.studies] == [storage.run_id for storage in newest_first]
    assert texts(found) == [told(storage) for storage in newest_first]
    assert [past.features is None for past in found.studies] == [False, False, True, False, False]
    assert found.notes == (
        "1 past study left out: still running",
        "3 past studies left out: fewer than two results",
        "2 past studies left out: written by a newer release; update this one to learn from them",
        "1 past study left out: by a metric that this release does not know",
        "1 past study left out: incomplete or damaged in MLflow",
        "2 past studies without a summary: read from the trials",
    )
    assert known(experiment, exclude=killed.run_id).studies[0].run_id == torn.run_id
    running.close()
    assert single.run_id not in {past.run_id for past in known(experiment).studies}
    assert known(experiment).studies[0].run_id == running.run_id


def test_a_summary_outlives_its_trials(experiment: str) -> None:
    storage = ended(experiment)
    for run in children(storage.client, storage.experiment_id, storage.run_id):
        storage.client.delete_run(run.info.run_id)
    assert texts(known(experiment)) == [told(storage)]


def test_what_was_read_from_trials_is_kept_on_this_machine(
    experiment: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = unsummed(ended(experiment))
    few = unsummed(ended(experiment, 1))
    before = known(experiment)
    assert texts(before) == [told(storage)]
    kept = cache / "knowledge"
    assert sorted(path.stem for path in kept.iterdir()) == sorted([storage.run_id, few.run_id])

    with monkeypatch.context() as patch:
        patch.setattr(knowledge, "children", None)  # no trial is looked at any more
        again = known(experiment)
    assert texts(again) == texts(before)
    assert again.notes == before.notes

    (kept / f"{storage.run_id}.json").write_text('{"of": ')
    (kept / f"{few.run_id}.json").unlink()
    assert texts(known(experiment)) == texts(before)

    resumed = stores.reopen(storage.run_id)
    for trial in trials(7)[5:]:
        resumed.add(replace(trial, reports=()))
        resumed.update(trial)
    resumed.close()
    assert len(known(experiment).studies[0]) == 7
    assert len(known(unsummed(resumed).run_id).studies[0]) == 7, (
        "what was kept is of the session before"
    )


def test_only_the_newest_are_read_from_their_trials(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storages = [unsummed(ended(experiment)) for _ in range(3)]
    monkeypatch.setattr(knowledge, "MAX_READ", 1)
    for _ in range(2):  # what is kept from the time before changes nothing
        found = known(experiment)
        assert [past.run_id for past in found.studies] == [storages[-1].run_id]
        assert found.notes[0].startswith(
            "2 past studies left out: without a summary, of which only the newest"
        )


def test_only_so_many_trials_are_read(
    experiment: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storages = [unsummed(ended(experiment, n)) for n in (4, 5, 6)]
    monkeypatch.setattr(knowledge, "MAX_TRIALS", 7)
    for _ in range(2):  # what is kept from the time before changes nothing
        found = known(experiment)
        assert [len(past) for past in found.studies] == [6, 5]
        assert found.omitted == {storages[0].run_id: Why.OLDER}
    shutil.rmtree(cache / "knowledge")
    monkeypatch.setattr(knowledge, "MAX_TRIALS", 3)
    assert [(past.run_id, len(past)) for past in known(experiment).studies] == [
        (storages[-1].run_id, 3)
    ]


def test_a_cache_that_cannot_be_written_costs_time_only(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = unsummed(ended(experiment))
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    found = known(experiment)
    assert texts(found) == [told(storage)]
    assert found.notes[1].startswith("trials that were read now will be read again next time: ")
    assert "cannot be written (Not a directory); set HPO_CACHE_DIR" in found.notes[1]
    with pytest.raises(StudyError, match="set HPO_CACHE_DIR"):
        tracking.connect(stores.sqlite_uri())


def test_pages_are_followed_to_their_end(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storages = [ended(experiment) for _ in range(5)]
    monkeypatch.setattr(tracking, "PAGE", 2)
    assert {past.run_id for past in known(experiment).studies} == {
        storage.run_id for storage in storages
    }


def test_sources_are_experiments_and_studies(experiment: str) -> None:
    first, second = ended(experiment), ended(experiment)
    other = ended(f"other-{experiment}")
    ids = {
        past.run_id for past in known(experiment, other.run_id, other.run_id, first.run_id).studies
    }
    assert ids == {first.run_id, second.run_id, other.run_id}
    assert [past.run_id for past in known(first.run_id).studies] == [first.run_id]
    everything = {past.run_id for past in past_studies(stores.sqlite_uri()).studies}
    assert everything >= ids


def test_what_each_source_stands_for_and_why_it_is_silent(experiment: str) -> None:
    good, few = ended(experiment), ended(experiment, 1)
    empty = f"empty-{experiment}"
    good.client.create_experiment(empty)
    found = known(experiment, empty, few.run_id)
    assert set(found.named[experiment]) == {good.run_id, few.run_id}
    assert (found.named[empty], found.named[few.run_id]) == ((), (few.run_id,))
    assert found.omitted == {few.run_id: Why.TOO_FEW}


def test_it_is_known_which_rows_a_study_held_out(experiment: str) -> None:
    drawn, later = (
        ended(experiment, split="random", test_share=0.2, seed=4),
        ended(experiment, split="time:day", test_share=0.3, seed=5),
    )
    unknown = ended(experiment)
    assert known(experiment).held_out == {
        drawn.run_id: "split=random, test_share=0.2, seed=4",
        later.run_id: "split=time:day, test_share=0.3",
        unknown.run_id: "not known which",
    }


def test_a_deleted_experiment_is_said_to_be_deleted(experiment: str) -> None:
    storage = ended(experiment)
    storage.client.delete_experiment(storage.experiment_id)
    with pytest.raises(
        StudyError, match=f"experiment '{experiment}' was deleted; restore it in MLflow"
    ):
        known(experiment)


def test_sources_that_do_not_exist_are_told_all_at_once(experiment: str) -> None:
    storage = ended(experiment)
    trial = storage.trial_run_id(0)
    nowhere = uuid.uuid4().hex
    with pytest.raises(StudyError) as caught:
        known(experiment, experiment[:-1], "it's", trial, nowhere)
    words = str(caught.value)
    assert words.startswith("4 mistakes")
    assert f"{experiment[:-1]!r} is neither an experiment of" in words
    assert f"did you mean {experiment!r}?" in words
    assert f"run {trial} is a trial of study {storage.run_id}; give that id" in words
    assert f"there is no run {nowhere!r}" in words


def test_a_server_says_the_same(experiment: str) -> None:
    uri = stores.http_uri()
    storage, bare = ended(experiment, uri=uri), unsummed(ended(experiment, uri=uri))
    found = known(experiment, uri=uri)
    assert texts(found) == [told(bare), told(storage)]
    assert texts(known(experiment, uri=uri)) == texts(found)
    assert storage.run_id in {past.run_id for past in past_studies(uri).studies}
    with pytest.raises(StudyError, match="is neither an experiment of"):
        known("nothing-like-it", uri=uri)


def test_a_store_that_cannot_be_read_is_one_error() -> None:
    with pytest.raises(StudyError, match="cannot be used"):
        past_studies("http://127.0.0.1:9")


def test_own_studies_are_those_that_this_user_began(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", f"ann o'{experiment}")
    mine = ended(experiment)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", f"ben-{experiment}")
    assert past_studies(stores.sqlite_uri(), sources=["own"]).studies == ()
    theirs = ended(experiment)
    known = past_studies(stores.sqlite_uri(), sources=["own"])
    assert [study.run_id for study in known.studies] == [theirs.run_id]
    assert known.named == {"own": (theirs.run_id,)}
    known = past_studies(stores.sqlite_uri(), sources=["own", mine.run_id])
    assert {study.run_id for study in known.studies} == {mine.run_id, theirs.run_id}
