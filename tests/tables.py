"""Tables that are ready for a study."""

from typing import Any

from pipelines.table.data import Prepared
from pipelines.table.source import Place, Source


def prepare(data: Place, target: str, **options: Any) -> Prepared:
    """Prepare a table; `options` are further attributes of `Source`."""
    return Source(data, target, **options).prepare()
