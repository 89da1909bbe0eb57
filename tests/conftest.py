"""Settings shared by all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in a temporary folder: by default, artifacts are written below the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # for processes that import from `tests`
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the session's store in this process and its children."""
    import mlflow

    from tests import prefork
    from tests.stores import sqlite_uri

    prefork.pools_of_tests(monkeypatch, str(ROOT))

    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri())
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(mlflow, "get_tracking_uri", sqlite_uri)
    return sqlite_uri()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest file first, so that parallel processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")
