"""The entry point `report`: what a study found, read back from MLflow."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.agreement import agreements, shown
from hpo.errors import ParameterError
from hpo.trial import Trial

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class StudyReport:
    """A study's leaderboard.

    `rows` are the trials, best first, those without a result last: number, name, run_id, status, budget, origin,
    failure, reports, params, metrics, seconds.
    """

    study: str
    metric: str
    header: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    top: int

    def __str__(self) -> str:
        """The leaderboard, its best configuration, and what was written where."""
        header, best = self.header, next((row for row in self.rows if row["metrics"]), None)
        failed = [row for row in self.rows if row["failure"]]
        lines = [
            f"study {self.study}: {header['algorithm']} over {header['model']}, {header['task']} of "
            f"{header['target']!r}, {len(self.rows)} trials, {len(failed)} failed",
            "",
        ]
        lines += [self._line(row) for row in self.rows[: self.top]]
        if len(self.rows) > self.top:
            lines.append(
                f"… {len(self.rows) - self.top} more in leaderboard.csv, an artifact of the study's run"
            )
        if found := agreements([_trial(row) for row in self.rows]):
            lines += ["", shown(found, header["budget_unit"])]
        if best:
            lines += ["", f"best configuration ({best['name']}, run {best['run_id']}):"]
            lines += [f"  {name}: {value}" for name, value in best["params"].items()]
            lines += ["", f"Next: mlflow run . -e train --env-manager local -P trial={best['run_id']}"]
        return "\n".join(lines)

    def _line(self, row: Mapping[str, Any]) -> str:
        if row["failure"] and not row["metrics"]:
            return f"{row['name']:<16} {row['run_id']}  FAILED  {row['failure'].splitlines()[0]:.100}"
        value = row["metrics"].get(self.metric)
        score = f"{value:.5g}" if value is not None else "unfinished"
        at = f"at {row['budget']:<8g}" if len(self.header["rungs"]) > 1 else ""
        name, seconds = f"{row['name']:<16} {row['run_id']}", f"{row['seconds']:7.1f} s"
        return f"{name}  {self.metric} {score:<10} {at}{seconds}  {row['origin']}"

    def to_csv(self) -> str:
        """All rows as CSV; a text cell that a spreadsheet would take for a formula begins with an apostrophe."""
        params = sorted({name for row in self.rows for name in row["params"]})
        metrics = sorted({name for row in self.rows for name in row["metrics"]})
        plain = ("number", "name", "run_id", "status", "origin", "budget", "seconds", "failure")
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow([_cell(name) for name in (*plain, *metrics, *params)])
        for row in self.rows:
            values = [row[name] for name in plain]
            values += [row["metrics"].get(name) for name in metrics]
            values += [row["params"].get(name) for name in params]
            table.writerow([_cell(value) for value in values])
        return out.getvalue()


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(row["number"], row["params"], row["budget"], reports=row["reports"])


def report(study: str, top: int = 20) -> StudyReport:
    """Show what a study found, and keep the whole leaderboard as an artifact of its run.

    Args:
        study: The run id of the study.
        top: How many trials to show.

    Raises:
        UserError: when there is no such study.
    """
    if top <= 0:
        raise ParameterError(f"top={top} must be greater than 0")
    from pipelines.runs import put_text, study_header
    from pipelines.storage import leaderboard

    header = study_header(study)
    found = StudyReport(study, header["metric"], header, leaderboard(study), top)
    put_text(study, found.to_csv(), "leaderboard.csv")
    return found


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value
