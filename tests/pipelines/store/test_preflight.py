"""Stores that cannot be used: one line, at once."""

from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from pipelines.store import tracking
from pipelines.store.tracking import connect


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqllite:///x.db", r"scheme 'sqllite' is not known, did you mean 'sqlite'\?; set MLFLOW_"),
        ("http://127.0.0.1:1", r"http://127.0.0.1:1 cannot be used: .*Connection refused; start"),
        ("http://u:a/b#c@127.0.0.1:1", r"http://\*\*\*@127.0.0.1:1 cannot be used"),
        ("sqlite:////proc/none/x.db", r"cannot be used: /proc/none .*; start it, or set MLFLOW_TR"),
        ("sqlite:////proc/x.db", r"cannot be used: unable to open database file; start it"),
        ("nothing+odd://host", r"cannot be used: the scheme 'nothing' is not known; set"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_one_line(
    uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tracking, "_PAUSES", (0.0,))
    with pytest.raises(StudyError, match=said) as caught:
        connect(uri)
    assert "\n" not in str(caught.value)
    assert "a/b#c" not in str(caught.value)


def test_the_library_of_a_database_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "MySQLdb", None)
    with pytest.raises(StudyError, match=r"mysql://\*\*\*@host/db needs the library MySQLdb.*pip"):
        connect("mysql://me:a/b@host/db")


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "user or password"), (403, "may not use it"), (404, "no MLflow at this address")],
)
def test_a_refusal_is_told_with_the_way_out(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = status, b"<html>no</html>"
    asked: list[object] = []

    def refuse(*given: object, **_: object) -> requests.Response:
        asked.append(given)
        return answer

    monkeypatch.setattr(tracking, "http_request", refuse)
    with pytest.raises(StudyError, match=said):
        connect("http://server")
    assert len(asked) == 1


def test_other_errors_keep_their_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("the schema is out of date\nmore")

    monkeypatch.setattr(tracking, "rest_call", refuse)
    monkeypatch.setattr(tracking, "_PAUSES", (0.0, 0.0))
    with pytest.raises(StudyError, match="cannot be used: the schema is out of date; start it"):
        connect("http://server")
