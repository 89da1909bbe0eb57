"""Texts of runs on their way to the store of artifacts."""

from typing import Any, cast

import pytest
from mlflow import MlflowClient

from pipelines.store.delivery.texts import Texts
from pipelines.store.records import Record


class Client:
    """Keeps texts, or refuses all of them."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.texts: dict[tuple[str, str], str] = {}

    def log_text(self, run_id: str, text: str, name: str) -> None:
        if self.refuses:
            raise PermissionError("read-only file system")
        self.texts[run_id, name] = text


def test_texts_follow_their_runs() -> None:
    client, run_ids = Client(), {"trial-0": "a"}
    texts = Texts(cast(MlflowClient, client), run_ids)
    texts.add(
        [Record("trial-0", texts={"log.txt": "x"}), Record("trial-1", texts={"log.txt": "y"})]
    )
    assert not client.texts, "their runs come first"
    run_ids["trial-1"] = "b"
    texts.write()
    texts.write()
    assert client.texts == {("a", "log.txt"): "x", ("b", "log.txt"): "y"}


def test_a_store_that_refuses_texts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    client: Any = Client(refuses=True)
    texts = Texts(client, {"trial-0": "a"})
    for _ in range(3):
        texts.add([Record("trial-0", texts={"log.txt": "x"})])
        texts.write()
    (message,) = caplog.messages
    assert "what trials print is not stored (PermissionError: read-only file system)" in message


def test_records_with_texts_survive_the_journal() -> None:
    first = Record("trial-0", texts={"log-1.txt": "a"})
    both = first.then(Record("trial-0", texts={"log-3.txt": "ü\n"}))
    assert Record.from_json(both.to_json()).texts == {"log-1.txt": "a", "log-3.txt": "ü\n"}
