from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient

from pipelines.registry import champions, cost
from pipelines.table.scores import bootstrap
from tests import stores
from tests.pipelines.promotion.models import NAMES, Store, make_store


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        uri = stores.sqlite_uri()
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(mlflow, "get_tracking_uri", stores.sqlite_uri)
        patch.setattr(bootstrap, "MAX_DRAWS", 1_000)
        patch.setattr(cost, "MAX_REQUESTS", 3)
        patch.setattr(cost, "MAX_BATCHES", 2)
        patch.setattr(champions, "SETTLE", 0.0)
        yield make_store(folder, MlflowClient(uri))


@pytest.fixture
def name(store: Store) -> str:
    return next(NAMES)
