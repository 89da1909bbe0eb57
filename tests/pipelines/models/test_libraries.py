from importlib import metadata

import pytest

from hpo.errors import UserError
from pipelines.models import ALL, BASELINES, FAMILIES, libraries, search_model
from pipelines.models.catalog import JOINT
from pipelines.models.libraries import (
    Library,
    check_installed,
    installed_versions,
    requirement,
)
from pipelines.registry.logged import pip_requirements


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The installed distributions by name; a test changes them."""
    found = {"lightgbm": "4.6.0", "torch": "2.13.0+cpu", "xgboost-cpu": "3.1.0"}

    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, "version", version)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_names_its_libraries_once(name: str) -> None:
    found = libraries([name, name])
    assert found == libraries([name])
    assert all(library.installed() for library in found)


def test_the_libraries_of_a_joint_search_are_those_of_its_families() -> None:
    found = libraries(search_model(ALL).families)
    assert [library.name for library in found] == ["lightgbm", "xgboost", "torch"]
    assert libraries(BASELINES) == ()


def test_another_distribution_of_a_library_is_found(installed: dict[str, str]) -> None:
    (xgboost,) = libraries(["xgboost"])
    assert xgboost.installed() == ("xgboost-cpu", "3.1.0")
    assert installed_versions([xgboost]) == {"xgboost": "3.1.0"}
    assert requirement(xgboost) == "xgboost-cpu==3.1.0"
    installed["xgboost"] = "3.2.0"
    assert requirement(xgboost) == "xgboost==3.2.0"


def test_a_requirement_has_no_local_label(installed: dict[str, str]) -> None:
    assert requirement(Library(("torch",))) == "torch==2.13.0"
    assert installed_versions([Library(("torch",))]) == {"torch": "2.13.0+cpu"}


def test_a_missing_library_has_no_version_and_no_requirement(installed: dict[str, str]) -> None:
    del installed["xgboost-cpu"]
    assert set(installed_versions(libraries(JOINT))) == {"lightgbm", "torch"}
    with pytest.raises(
        UserError,
        match="not installed.*pip install xgboost` or `pip install xgboost-cpu`",
    ):
        requirement(libraries(["xgboost"])[0])


def test_only_the_libraries_that_a_study_needs_must_be_installed(installed: dict[str, str]) -> None:
    check_installed(libraries(JOINT))
    del installed["xgboost-cpu"]
    check_installed(libraries(["lightgbm", "mlp"]))
    for model in ("xgboost", ALL):
        with pytest.raises(UserError, match="pip install xgboost` or `pip install xgboost-cpu"):
            check_installed(libraries(search_model(model).families))


def test_a_logged_model_requires_the_distribution_that_is_installed(
    installed: dict[str, str],
) -> None:
    installed |= {"mlflow": "3.17.2", "numpy": "2.4.6", "pandas": "3.1.1"}
    assert pip_requirements(("xgboost", "ridge"))[3:] == ["xgboost-cpu==3.1.0"]
