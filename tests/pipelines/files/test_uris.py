"""No password reaches a message, a run or a file."""

from pathlib import Path

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hpo.errors import DataError, StudyError
from pipelines.files.uris import is_hidden, safe
from pipelines.store import views
from pipelines.store.parents import describe
from pipelines.store.tracking import first_line
from pipelines.table.reading import load_table
from pipelines.table.source import DataPlan, Source, rebuild_source
from tests.stores import HEADER


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data/a@b.csv?x", "data/a@b.csv?x"),
        ("s3://bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("postgresql://me:p@ss@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql://me:p/s#s?w@rd@host/db", "postgresql://***@host/db"),
        ("http://me:p/ss@host, http://me:p#ss@host", "http://***@host, http://***@host"),
        ("https://me:pw@host/a.csv?sig=secret&x=1", "https://***@host/a.csv?***"),
        (
            "zip://a.csv::https://me:pw@host/a.zip?sig=secret",
            "zip://a.csv::https://***@host/a.zip?***",
        ),
        (
            "403, url='https://host/a.csv?sig=secret' failed",
            "403, url='https://host/a.csv?***' failed",
        ),
    ],
)
def test_what_is_shown_of_a_uri(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert safe(shown) == shown
    assert is_hidden(shown) == ("***" in shown and "'" not in shown)


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    protocol = "refusing"

    def _open(self, path: str, *_: object, **__: object) -> None:
        raise RefusedError(f"403 for url=https://me:pw@host{path}?sig=secret")


class RefusedError(Exception):
    """Neither an `OSError` nor a `ValueError`, like those of aiohttp and botocore."""


def test_whatever_a_file_system_raises_is_told_without_secrets() -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(DataError) as raised:
        load_table("refusing://me:pw@host/a.csv?sig=secret")
    assert "cannot be opened: 403" in str(raised.value)
    assert "pw" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_errors_of_the_store_are_told_without_secrets() -> None:
    assert (
        first_line("API request to http://me:pw@host/api failed\nmore")
        == "API request to http://***@host/api failed"
    )
    assert "pw" not in views.link("https://me:pw@host/", "1", "key")


def plan_of(uri: str | None) -> DataPlan:
    return DataPlan(uri, "d", 10, "y", "binary", "random", 0.2, "holdout")


def test_a_study_keeps_its_uri_without_secrets_and_asks_for_them_again(tmp_path: Path) -> None:
    source = rebuild_source(plan_of("https://host/a.csv"), 0)
    assert source.data == "https://host/a.csv"
    for uri in ("https://***@host/a.csv", "https://host/a.csv?***"):
        with pytest.raises(StudyError, match="pass its full URI as data="):
            rebuild_source(plan_of(uri), 0)
        assert (
            rebuild_source(plan_of(uri), 0, {"data": "https://me:pw@host/a.csv"}).data
            == "https://me:pw@host/a.csv"
        )
    with pytest.raises(StudyError, match="pass it as data="):
        rebuild_source(plan_of(None), 0)
    with pytest.raises(
        StudyError, match=r"table \S+gone.csv no longer exists.* new place as data="
    ):
        rebuild_source(plan_of(str(tmp_path / "gone.csv")), 0)
    assert (
        rebuild_source(plan_of(str(tmp_path / "gone.csv")), 0, {"data": "here.csv"}).data
        == "here.csv"
    )

    path = tmp_path / "a.csv"
    pd.DataFrame({"x": range(40), "z": [1.5, 2.5] * 20, "y": ["a", "b"] * 20}).to_csv(
        path, index=False
    )
    local = Source(path, "y")
    prepared = local.prepare()
    assert local.plan(prepared).uri == str(path)
    remote = Source("https://me:pw@host/a.csv?sig=secret", "y")
    assert remote.plan(prepared).uri == "https://***@host/a.csv?***"
    home = Source("~/a.csv", "y")
    assert home.plan(prepared).uri == str(Path.home() / "a.csv")


def test_a_column_name_is_no_markdown() -> None:
    header = HEADER | {"target": "x`\n\n<img src=http://evil>\n\n# y"}
    assert "target `x' <img src=http://evil> # y`:" in describe(header)
