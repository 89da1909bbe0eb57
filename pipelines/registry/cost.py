"""How fast a model answers, and how large its files are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpo.arrays import FloatArray
from pipelines.registry.gate import LATENCIES, Check, Limits
from pipelines.table.scores.costs import MEGABYTE

if TYPE_CHECKING:
    import pandas as pd

    from serving.predictor import Predictor

WARM_UP_REQUESTS = 3
MAX_REQUESTS, MAX_BATCHES, MIN_REQUESTS = 200, 30, 10
MAX_SECONDS = 5.0  # of requests, once there were `MIN_REQUESTS`
BATCH_ROWS = 1_000


def latency_checks(predictor: Predictor, frame: pd.DataFrame, limits: Limits) -> Iterator[Check]:
    """A check for each percentile in `LATENCIES`, measured with the rows of `frame`."""
    single = [frame.iloc[[i]] for i in range(min(len(frame), MAX_REQUESTS))]
    batch = frame.iloc[np.resize(np.arange(len(frame)), BATCH_ROWS)].reset_index(drop=True)
    single_times = milliseconds(predictor.predict, single, MAX_REQUESTS)
    batch_times = milliseconds(predictor.predict, [batch], MAX_BATCHES)
    values = [*np.percentile(single_times, [50, 99]), *np.percentile(batch_times, [50, 99])]
    for name, value in zip(LATENCIES, values, strict=True):
        limit = limits.latency.get(name)
        rows = f"{BATCH_ROWS:,} rows" if name.endswith(str(BATCH_ROWS)) else "1 row"
        yield _limited(f"latency {name}", f"{value:.3g} ms for {rows}", float(value), limit, "ms")


def size_check(size: int, limits: Limits) -> Check:
    """The check of a model's files, whose `size` is in bytes."""
    megabytes = size / MEGABYTE
    return _limited("size", f"{megabytes:.3g} MB", megabytes, limits.size, "MB")


def _limited(name: str, found: str, value: float, limit: float | None, unit: str) -> Check:
    if limit is None:
        return Check(name, found, "")
    return Check(name, found, f"<= {limit:g} {unit}", value <= limit)


def milliseconds(
    predict: Callable[[pd.DataFrame], object], requests: Sequence[pd.DataFrame], most: int
) -> FloatArray:
    """The duration of each request, (n,).

    The requests are made in turn and repeatedly: `most` in all, or those of `MAX_SECONDS`.
    """
    for request in requests[:WARM_UP_REQUESTS]:
        predict(request)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < most:
        started = time.perf_counter()
        predict(requests[len(times) % len(requests)])
        ended = time.perf_counter()
        times.append(1e3 * (ended - started))
        if ended - began > MAX_SECONDS and len(times) >= MIN_REQUESTS:
            break
    return np.array(times)
