"""`python -m pipelines tune …`, which is what `MLproject` runs."""

from pipelines.cli import main

main()
