"""One file a peer, each run in an environment of its own (`benchmarks.environments`).

Every file offers `minimise(problem, seed, trials, first, ...)`, the losses of a whole search in
order, and `stepper(space, history, seed, ...)`, a function that does one ask and one tell on top of
`history` and gives the wall and CPU seconds of both.
"""
