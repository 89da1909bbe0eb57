"""Workers that train in this process."""

from collections.abc import Mapping
from pathlib import Path

from hpo.loop import Job
from hpo.space import Params
from hpo.trial import Report
from pipelines.files.checkpoints import Checkpoints
from pipelines.files.exchange import Exchange
from pipelines.objectives.jobs import FOLDS, Work, models_of, trial_label
from pipelines.objectives.training import Training
from pipelines.table.data import Prepared


def members(folder: Path, label: str) -> Path:
    """The models with a label in an exchange at a folder."""
    return folder / models_of(label)


RUNGS = (4.0, 9.0, 20.0)
SAMPLED: Mapping[str, Params] = {
    "lightgbm": {
        "bagging_fraction": 0.6,
        "feature_fraction": 0.6,
        "num_leaves": 7,
        "min_data_in_leaf": 3,
    },
    "xgboost": {"subsample": 0.6, "colsample_bynode": 0.6, "max_depth": 4},
    "mlp": {"width": 16, "layers": 2, "dropout": 0.3, "batch_size": 32},
}


class Place:
    """The folder of a session, in which any number of workers are born."""

    def __init__(self, folder: Path, prepared: Prepared, work: Work) -> None:
        self.folder, self.work = folder, work
        folder.mkdir(parents=True, exist_ok=True)
        Exchange(str(folder)).put(FOLDS, prepared.save)
        work.write(Exchange(str(folder)))

    def worker(self) -> Training:
        return Training(Exchange(str(self.folder)))

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(str(self.work.checkpoints))

    def exported(self, number: int = 7, budget: float = 20) -> dict[str, bytes]:
        models = members(self.folder, trial_label(number, budget))
        return {
            str(p.relative_to(models)): p.read_bytes() for p in models.rglob("*") if p.is_file()
        }


def legs(params: Params, *stops: float) -> list[Job]:
    return [Job(7, params, start, to) for start, to in zip((0.0, *stops), stops, strict=False)]


def outcome(report: Report) -> tuple[float, Mapping[str, float]]:
    return report.loss, report.metrics
