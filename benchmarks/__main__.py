"""`python -m benchmarks <name> [options]`; `--help` after a name lists its options."""

import sys
from importlib import import_module

from hpo.errors import UserError, closest

# Each benchmark by name: its module in this package, and its description.
NAMES = {
    "suggest": ("search.suggest", "milliseconds per suggestion at 10 to 10,000 observations"),
    "quality": ("search.quality", "regret and mean rank against the peers"),
    "stopping": ("search.stopping", "how early stop rules end searches, and what that costs"),
    "validation": ("search.validation", "families and ways to validate at the same seconds"),
    "families": ("search.families", "searches over several families that race"),
    "population": ("search.population", "`pbt` beside `bohb` at equal epochs"),
    "goals": ("search.goals", "the hypervolume of searches with several goals"),
    "replay": (
        "search.replay",
        "multi-fidelity search against the peers, on learning curves in simulated time",
    ),
    "ones": ("search.ones", "counting ones: our BOHB next to HpBandSter's"),
    "priors": ("search.beliefs", "what a good and a wrong prior of the user are worth"),
    "decisions": (
        "search.decisions",
        "milliseconds and bytes a decision with 100 to 10,000 trials",
    ),
    "overhead": ("product.overhead", "cost of a whole study with an objective that does nothing"),
    "knowledge": ("product.knowledge", "seconds to read what 1,000 past studies know"),
    "utilisation": ("product.utilisation", "share of the workers' time spent in training"),
    "large": ("product.large", "seconds until the first trial of large tables, and peak memory"),
    "wallclock": ("product.wallclock", "validation loss over real seconds: bohb, tpe and FLAML"),
    "mlp": ("product.mlp", "the network against pytabkit's RealMLP"),
    "tables-race": ("race.race", "`tune` against AutoGluon, FLAML, scripts and libraries"),
    "tables": ("tabulated.make_surfaces", "make the tabulated surfaces from real trainings"),
    "curves": ("tabulated.make_curves", "make the tabulated learning curves from real trainings"),
    "rungs": ("budgets.rungs", "which low budget ranks configurations as the full one does"),
    "faults": (
        "product.faults.table",
        "which studies survive kills, outages, refusals and full disks",
    ),
    "gate": ("product.gate", "how often a challenger that is just as good is promoted"),
    "continuing": (
        "budgets.continuing",
        "CPU that continued legs save against training every rung from nothing",
    ),
    "warmstart": (
        "warmstart.compare",
        "searches that learn from past studies against ones that do not",
    ),
    "warmstart-in-use": (
        "warmstart.in_use",
        "the same through `tune` itself, one study after another on one server",
    ),
    "seconds": (
        "warmstart.seconds",
        "searches in limited time that count the seconds of trainings, against ones that do not",
    ),
    "transfer": ("warmstart.transfer", "how much studies of different tables share"),
    "past-kinds": ("warmstart.kinds", "what past studies of other kinds predict"),
    "tuned-defaults": (
        "warmstart.defaults",
        "the configuration that is best on many tables together, and what it is worth on others",
    ),
    "cluster": ("cluster", "how much of a Ray cluster a search uses"),
    "load": ("product.load", "1,000 simulated workers, and many studies at once, on each store"),
    "house": ("house", "figures of the code itself: lengths, density, coupling"),
    "environments": (
        "environments",
        "make the peers' environments (otherwise made when first needed)",
    ),
}


def main(arguments: list[str]) -> int:
    """Run one benchmark; returns 2 for an unknown name or invalid input."""
    if not arguments or arguments[0] in ("-h", "--help"):
        for name, (_, about) in NAMES.items():
            print(f"python -m benchmarks {name:<16} {about}")
        return 0 if arguments else 2
    name = arguments[0]
    try:
        if name not in NAMES:
            raise UserError(
                f"unknown benchmark {name!r}{closest(name, NAMES)}; known: {', '.join(NAMES)}"
            )
        import_module(f"benchmarks.{NAMES[name][0]}").main(arguments[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
