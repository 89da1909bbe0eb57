"""The ensemble that is served: without the members that make it too slow or too large."""

from pipelines.objectives.ending.final import Final
from pipelines.objectives.ending.winner import join
from pipelines.objectives.ensemble.limits import ROWS, cost, within
from pipelines.objectives.jobs import Portion
from pipelines.study.choice.ensemble import Ensemble
from pipelines.study.ending import Ending
from pipelines.table.data import Prepared


def without_excess(
    ensemble: Ensemble, prepared: Prepared, final: Final, ending: Ending
) -> Ensemble:
    """The ensemble without the members that exceed the limits; its models are trained."""
    rows = prepared.features.transform(prepared.frame.iloc[prepared.rows.rest[:ROWS]])
    labels = {n: final.labels(ending.trials[n])[0] for n in ensemble.weights}
    costs = {
        n: cost(join(prepared, ending, (Portion(label),)), rows) for n, label in labels.items()
    }
    left = within(list(ensemble.weights), costs)
    if len(left) == len(costs):
        return ensemble
    left = left or {ensemble.leader}
    ending.say(
        f"the ensemble keeps {len(left)} of its {len(costs)} trials: all would take "
        f"{1e3 * sum(each.seconds for each in costs.values()):.3g} ms for {ROWS:,} rows, and "
        f"{sum(each.size for each in costs.values()) / 1e6:.3g} MB"
    )
    return ensemble.only(left)
