"""Commands of this project, as texts."""

import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project, where its sources are


def command(entry_point: str, **parameters: object) -> str:
    """The command that runs an entry point; it can be pasted into a shell of this folder.

    In the folder of this project it is that of MLflow. In any other folder, which may have another
    project or none, it is the console command.
    """
    values = {name: shlex.quote(str(value)) for name, value in parameters.items()}
    if Path.cwd() == ROOT and (ROOT / "MLproject").is_file():
        given = "".join(f" -P {name}={value}" for name, value in values.items())
        return f"mlflow run . -e {entry_point} --env-manager local{given}"
    options = "".join(f" --{name.replace('_', '-')}={value}" for name, value in values.items())
    return f"mlflow-warmstart {entry_point}{options}"
