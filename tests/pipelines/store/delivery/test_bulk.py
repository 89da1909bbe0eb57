"""Rows written in bulk must be the rows that MLflow's client writes."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.store.db import utils as database

from hpo.errors import StudyError
from hpo.space.parameters import Value
from hpo.trial import Failure, Report, Trial
from pipelines.store.delivery import bulk
from pipelines.store.delivery.outbox import Unreachable
from pipelines.store.delivery.writers import ClientRuns
from pipelines.store.records import Record
from pipelines.store.storage import MlflowStorage
from tests import stores
from tests.postgresql import postgresql_uri

TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")
PARAMS: dict[str, Value] = {
    "rate": 0.1 + 0.2,
    "depth": -3,
    "model": "b",
    "flag": False,
    "text": "ü'\"`\\",
    "empty": "",
}


def trials() -> list[Trial]:
    curve = tuple((float(b), b / 100) for b in range(1, 27, 5))
    base = Trial(0, PARAMS, 27, origin="default")
    return [
        base.with_outcome(
            Report(27, -0.9, {"auc": 0.9, "tiny": 5e-324, "f1": math.nan}, 1.5, curve)
        ),
        replace(base, number=1).with_outcome(Failure("boom: ü")),
        replace(base, number=2, parent=0),
        replace(
            base, number=3, reports=(Report(9, -0.7, {"auc": 0.7}), Report(27, -0.6, {"auc": 0.6}))
        ),
    ]


def written(
    monkeypatch: pytest.MonkeyPatch, maker: Any, *, apart: bool, uri: str | None = None
) -> MlflowStorage:
    """The trials, granted and told together or one after the other, at times that do not differ."""
    for module in ("storage", "annotations"):
        monkeypatch.setattr(f"pipelines.store.{module}.now", lambda: 1_700_000_000_000)
    store = stores.study(uri, make_writer=maker)
    for trial in trials():
        granted = replace(trial, reports=(), failure=None)
        store.add(granted)
        for k in range(len(trial.reports)):
            if apart:
                store.flush()
            store.update(replace(trial, reports=trial.reports[: k + 1], failure=None))
        if trial.failure is not None:
            store.update(trial)
    store.notes.add_baseline("linear", {"auc": 0.5})
    store.flush()
    return store


def rows(client: MlflowClient, store: MlflowStorage) -> dict[str, list[Any]]:
    """All rows of a study's nested runs, run ids replaced by run names."""
    engine = client._tracking_client.store.engine
    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        rule = "experiment_id = :e AND run_uuid != :r"
        ids = connection.execute(
            sa.text(f"SELECT run_uuid, name FROM runs WHERE {rule}"),
            {"e": int(store.experiment_id), "r": store.run_id},
        ).all()
        names = {str(row[0]): str(row[1]) for row in ids}
        assert len(names) == 5
        for table in TABLES:
            result = connection.execute(sa.text(f"SELECT * FROM {table}"))
            found[table] = sorted(
                (
                    sorted(tidy(row._mapping, names, store).items())
                    for row in result
                    if row._mapping["run_uuid"] in names
                ),
                key=repr,
            )
    return found


def tidy(row: Any, names: dict[str, str], store: MlflowStorage) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key != "experiment_id"}
    name = names[plain["run_uuid"]]
    if "artifact_uri" in plain:
        assert f"/{store.experiment_id}/{plain['run_uuid']}/" in plain["artifact_uri"]
        plain["artifact_uri"] = plain["artifact_uri"].split("/")[-1]
    if plain.get("value") == store.run_id:
        plain["value"] = "the study"
    return {**plain, "run_uuid": name}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("database", [stores.sqlite_uri, postgresql_uri])
def test_rows_are_those_of_the_client(
    monkeypatch: pytest.MonkeyPatch, apart: bool, database: Callable[[], str]
) -> None:
    client = stores.client(database())
    assert bulk.engine_for(client) is not None
    ours = written(monkeypatch, None, apart=apart, uri=database())
    theirs = written(monkeypatch, stores.calls, apart=apart, uri=database())
    assert rows(client, ours) == rows(client, theirs)
    ours.close()
    theirs.close()


def test_runs_are_found_as_the_clients_are(monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.client()
    both = [
        written(monkeypatch, None, apart=False),
        written(monkeypatch, stores.calls, apart=False),
    ]
    rules = [
        "metrics.auc > 0.65",
        "params.rate = '0.30000000000000004'",
        "params.flag = 'False' and metrics.auc > 0",
        "tags.`hpo.trial.number` = '1'",
        "attributes.status = 'FAILED'",
        "attributes.run_name LIKE 'lightgbm-%'",
        "tags.`mlflow.user` != 'nobody'",
    ]
    for rule in rules:
        for order in (
            ["metrics.auc DESC", "attributes.run_name DESC"],
            ["params.depth ASC", "attributes.run_name DESC"],
            [],
        ):
            answers = [
                [
                    run.info.run_name
                    for run in client.search_runs([store.experiment_id], rule, order_by=order)
                ]
                for store in both
            ]
            assert answers[0]
            assert sorted(answers[0]) == sorted(answers[1])
            if order:
                assert answers[0] == answers[1]
    for store in both:
        store.close()


def test_artifacts_and_later_calls_work_on_such_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.client()
    store = written(monkeypatch, None, apart=False)
    run_id = store.trial_run_id(0)
    client.log_text(run_id, "hello", "a/b.txt")
    assert [file.path for file in client.list_artifacts(run_id, "a")] == ["a/b.txt"]
    client.log_metric(run_id, "auc", 0.95, step=30)
    client.set_tag(run_id, "note", "x")
    run = client.get_run(run_id)
    assert (run.data.metrics["auc"], run.data.tags["note"]) == (0.95, "x")
    client.delete_run(run_id)
    client.restore_run(run_id)
    store.close()


def test_the_revision_of_the_pinned_mlflow_is_a_tested_one() -> None:
    head: Any = database._get_latest_schema_revision
    assert head() in bulk.TESTED_REVISIONS
    assert bulk.engine_for(stores.client()) is not None


def test_other_stores_get_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "TESTED_REVISIONS", frozenset({"another"}))
    assert bulk.engine_for(stores.client()) is None
    store = stores.study()
    assert isinstance(store._run._nested._write, type(stores.calls(stores.client(), "0", "r", {})))
    store.close()

    class Derived(type(stores.client()._tracking_client.store)):  # type: ignore[misc]
        pass

    monkeypatch.undo()
    odd = stores.client()._tracking_client.store
    monkeypatch.setattr(odd, "__class__", Derived)
    assert bulk.engine_for(stores.client()) is None


def test_a_closed_study_leaves_statistics() -> None:
    store = stores.study()
    store.add(trials()[2])
    store.close()
    with stores.client()._tracking_client.store.engine.connect() as connection:
        tables = {row[0] for row in connection.execute(sa.text("SELECT tbl FROM sqlite_stat1"))}
    assert {"runs", "latest_metrics", "tags"} <= tables


def test_statements_for_postgresql_compile() -> None:
    from sqlalchemy.dialects import postgresql

    statements = []

    class Connection:
        def execute(self, statement: Any, rows: Any) -> None:
            statements.append(str(statement.compile(dialect=postgresql.dialect())))  # type: ignore[no-untyped-call]

    writer = object.__new__(bulk.BulkWriter)
    writer._insert = bulk._INSERT["postgresql"]
    record = Record("k", tags={"a": "b"}, params={"p": "1"}, metrics=(("m", 1.0, 1, 1),))
    writer._write_rows(Connection(), [record], {"k": "r"})  # type: ignore[arg-type]
    assert len(statements) == 4
    assert all("ON CONFLICT" in statement for statement in statements)


@pytest.mark.parametrize(
    ("words", "kind"),
    [("database is locked", Unreachable), ("database or disk is full", StudyError)],
)
def test_errors_that_heal_and_errors_that_do_not(words: str, kind: type[Exception]) -> None:
    import sqlite3

    client = stores.client()
    store = stores.study()
    engine = bulk.engine_for(client)
    assert engine is not None
    writer = bulk.BulkWriter(engine, store.experiment_id, store.run_id, {"study": store.run_id})

    def refuse(connection: Any) -> None:
        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError(words))

    writer.before_commit = refuse  # type: ignore[method-assign]
    with pytest.raises(kind, match=words):
        writer([Record("study", tags={"x": "y"})])
    assert "x" not in client.get_run(store.run_id).data.tags
    store.close()


def test_client_runs_keep_a_resumed_run_open() -> None:
    client = stores.client()
    store = stores.study()
    runs = ClientRuns(client)
    runs.set_status(store.run_id, "RUNNING", None)
    assert client.get_run(store.run_id).info.status == "RUNNING"
    store.close()
