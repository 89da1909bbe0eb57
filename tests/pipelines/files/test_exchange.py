"""Folders that driver and workers hand each other, on this machine and remotely."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipelines.files.exchange import Exchange


@pytest.fixture(params=["local", "remote"])
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exchange]:
    """At a local folder, and in a file system that is not this machine's."""
    if request.param == "local":
        yield Exchange(str(tmp_path))
        return
    uri = f"memory://{tmp_path.name}"
    yield Exchange(uri)
    fsspec.filesystem("memory").rm(uri, recursive=True)


def hello(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "text.txt").write_text("hello")


def test_what_is_put_is_got(exchange: Exchange) -> None:
    assert not exchange.has("models/a")
    exchange.put("models/a", hello)
    assert exchange.has("models/a")
    assert (exchange.get("models/a") / "part" / "text.txt").read_text() == "hello"


def test_a_name_holds_what_was_put_last(exchange: Exchange) -> None:
    exchange.put("a", hello)
    exchange.put("a", lambda folder: (folder / "new.txt").write_text("new"))
    assert [path.name for path in exchange.get("a").iterdir()] == ["new.txt"]


def test_what_is_removed_is_gone(exchange: Exchange) -> None:
    exchange.put("a", hello)
    exchange.put("b", hello)
    exchange.get("a")
    exchange.remove("a")
    exchange.remove("never there")
    assert not exchange.has("a")
    assert exchange.has("b")
    with pytest.raises(FileNotFoundError):
        exchange.get("a")


def test_a_writer_that_fails_leaves_nothing(exchange: Exchange) -> None:
    def fail(folder: Path) -> None:
        hello(folder)
        raise ValueError("of the test")

    exchange.put("other", hello)
    with pytest.raises(ValueError, match="of the test"):
        exchange.put("a", fail)
    assert not exchange.has("a")


def test_exchanges_do_not_share_their_copies(tmp_path: Path) -> None:
    one, two = Exchange(f"memory://{tmp_path.name}/one"), Exchange(f"memory://{tmp_path.name}/two")
    one.put("a", hello)
    two.put("a", lambda folder: (folder / "other.txt").write_text("other"))
    assert (one.get("a") / "part").is_dir()
    assert [path.name for path in two.get("a").iterdir()] == ["other.txt"]
    two.put("a", hello)
    assert (two.get("a") / "part").is_dir()
