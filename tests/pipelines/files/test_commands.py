import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files.commands import ROOT, command


def test_a_command_can_be_pasted() -> None:
    text = command("train", params="params.yaml", test_share=0.3)
    assert text == "mlflow-warmstart train --params=params.yaml --test-share=0.3"


def test_in_the_folder_of_this_project_it_is_that_of_mlflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    text = command("train", params="params.yaml", test_share=0.3)
    assert (
        text == "mlflow run . -e train --env-manager local -P params=params.yaml -P test_share=0.3"
    )


@given(st.text())
def test_values_reach_the_command_as_they_are(value: str) -> None:
    assert shlex.split(command("promote", name=value))[-1] == f"--name={value}"
