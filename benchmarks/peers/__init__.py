"""One file per peer, each run in an environment of its own (`benchmarks.environments`).

The samplers here offer `minimise(problem, seed, trials, first, ...)`, the losses of a whole search
in order, and `stepper(space, history, seed, ...)`, a function that does one ask and one tell after
the trials of `history` and returns the wall and CPU seconds of both.
"""
