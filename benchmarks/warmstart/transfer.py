"""How much studies of different tables share.

For each study, the model of past studies (`hpo.past`) is fitted to all others. Its expectation is
compared with the study's own losses, and the fitted variances are averaged. The studies come from
tracking stores, such as those of `warmstart-in-use` (`--stores`), and from the tabulated surfaces
of `warmstart`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import interval_text, table
from benchmarks.report import machine, write
from benchmarks.statistics import interval
from benchmarks.warmstart.pasts import left_by, tables
from hpo.arrays import FloatArray
from pipelines.models.catalog import settings
from pipelines.store.knowledge import past_studies
from warmstart.past import PastStudy
from warmstart.transfer import learned, neighbours

SURFACES = "surfaces"
PARTS = ("all tables", "similar tables", "the table's own", "noise")


def shared(
    studies: Sequence[PastStudy], past: Sequence[PastStudy] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Shares `(n, 4)` of the variance of scores, and rank correlations `(n,)`, of each study.

    The columns of the shares are `PARTS`. The correlations are those of the losses that past
    studies of other tables predict with the true ones. By default, the studies are each other's
    past.
    """
    shares, correlations = [], []
    for study in studies:
        if study.features is None:
            continue
        found = neighbours(
            [other for other in past or studies if other.digest != study.digest],
            study.features,
            model=study.model,
            space=study.space,
            metric=study.metric,
            task=study.task,
            digest=study.digest,
        )
        default = settings(study.model, kind=study.task).first_points[0]
        model = learned(found, study.model, study.space, default)
        shares.append(model.variances / model.variances.sum())
        correlations.append(spearmanr(model.expected(study.x), study.losses)[0])
    return np.array(shares), np.array(correlations)


def mean_text(correlations: FloatArray) -> str:
    """The mean of correlations `(n,)` with its interval."""
    mean = float(np.nanmean(correlations))
    return interval_text(mean, *interval(correlations, np.nanmean), 2)


def report(named: Sequence[tuple[str, Sequence[PastStudy]]]) -> tuple[str, dict[str, object]]:
    """Markdown and plain values, one row per set of studies."""
    rows, values = [], dict[str, object]()
    for name, studies in named:
        shares, rho = shared(studies)
        mean = shares.mean(axis=0)
        parts = (f"{100 * share:.0f} %" for share in mean)
        rows.append([name, str(len(rho)), *parts, mean_text(rho)])
        values[name] = {"shares": mean.tolist(), "correlations": rho.tolist()}
    head = [
        "studies of",
        "number",
        *PARTS,
        "correlation of the others' expectation with the losses",
    ]
    return table(head, rows), {"sets": values, "machine": machine()}


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfer", description=__doc__)
    parser.add_argument("--stores", nargs="*", default=[], help="tracking URIs")
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--trials", type=int, default=30, help="of the studies of the surfaces")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    surfaces = [
        left_by(known, 1_000 + i, cost=options.trials)
        for i, known in enumerate(tables(options.model))
    ]
    named: list[tuple[str, Sequence[PastStudy]]] = [(SURFACES, surfaces)]
    for store in options.stores:
        named.append((Path(store).parent.name, past_studies(store).studies))
    text, values = report(named)
    write(options.output or cache_folder() / "results", "transfer", text, values)
