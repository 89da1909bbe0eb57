"""A PostgreSQL server for tests, where one is installed."""

import functools

import pytest

from benchmarks.postgresql import obstacle, started
from pipelines.store.tracking import connect


@functools.cache
def postgresql_uri() -> str:
    """A migrated database; skips the test where there is no server."""
    if reason := obstacle():
        pytest.skip(reason)
    uri = started()
    connect(uri)
    return uri
