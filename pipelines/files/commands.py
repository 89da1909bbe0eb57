"""Commands of this project, as texts."""

import shlex


def command(entry_point: str, **parameters: object) -> str:
    """The command that runs an entry point; it can be pasted into a shell."""
    values = " ".join(f"-P {name}={shlex.quote(str(value))}" for name, value in parameters.items())
    return f"mlflow run . -e {entry_point} --env-manager local {values}"
