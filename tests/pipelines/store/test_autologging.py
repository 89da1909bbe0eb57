"""Autologging is off while an entry point runs, and on again when the last one has ended."""

import sys
from types import SimpleNamespace

import pytest

from pipelines.entry_points import NAMES, entry_point, load
from pipelines.store.autologging import without_autologging
from pipelines.study.options import TuneOptions

OFF = "_AUTOLOGGING_GLOBALLY_DISABLED"


@pytest.fixture
def mlflow_utils(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What MLflow's functions look at."""
    utils = SimpleNamespace(**{OFF: False})
    monkeypatch.setitem(sys.modules, "mlflow.utils.autologging_utils", utils)
    return utils


def test_mlflow_still_has_the_switch() -> None:
    import mlflow.utils.autologging_utils as utils

    assert getattr(utils, OFF) is False


def test_it_is_off_inside_and_nested_calls_do_not_switch_it_on(
    mlflow_utils: SimpleNamespace,
) -> None:
    with without_autologging():
        with without_autologging():
            assert getattr(mlflow_utils, OFF)
        assert getattr(mlflow_utils, OFF)
    assert not getattr(mlflow_utils, OFF)


def test_it_is_on_again_after_an_error(mlflow_utils: SimpleNamespace) -> None:
    @entry_point(TuneOptions)
    def failing(options: TuneOptions) -> None:
        """Fail."""
        assert getattr(mlflow_utils, OFF)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        failing()
    assert not getattr(mlflow_utils, OFF)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rollback"])
def test_every_entry_point_that_fits_models_is_covered(name: str) -> None:
    assert hasattr(load(name), "__wrapped__")
