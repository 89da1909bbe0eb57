import shlex

from hypothesis import given
from hypothesis import strategies as st

from pipelines.files.commands import command


def test_a_command_can_be_pasted() -> None:
    text = command("train", params="params.yaml", seed=3)
    assert text == "mlflow run . -e train --env-manager local -P params=params.yaml -P seed=3"


@given(st.text())
def test_values_reach_the_command_as_they_are(value: str) -> None:
    assert shlex.split(command("promote", name=value))[-1] == f"name={value}"
