"""Costs of communication: ``mpiexec -n 2 python -m mpi4py -m ddnmf_np.bench.bandwidth``.

Prints, as JSON, the input of the model in ``derivations/16-scaling.md``: the time of an all-reduce,
and how fast each rank multiplies matrices and accesses memory while the others do the same.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.ranks import print_result
from ddnmf_np.parallel.communicator import LOSSES, SUPERVISOR, Communicator
from ddnmf_np.system.command import run_command

SIZES = (1, 1_000, 100_000, 1_000_000, 3_300_000)
"""Numbers of float32 in the sums; the last is a network of the paper."""

REPEATS = 15


def measure(ranks: Communicator) -> dict[str, Any]:
    """Return the measurements; all ranks take part, and the slowest counts."""
    seconds = partial(median_seconds, ranks)
    sums = {size: seconds(partial(_sum, ranks, np.zeros(size, np.float32))) for size in SIZES}
    rng = np.random.default_rng(ranks.rank)
    batch, wide = (rng.standard_normal((128, n), np.float32) for n in (500, 2000))
    weights = rng.standard_normal((2000, 500), np.float32)
    product = seconds(lambda: np.matmul(batch, weights.T, out=wide))
    source, target = np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)
    copy = seconds(lambda: np.copyto(target, source))
    return {
        "ranks": ranks.size,
        "by": ranks.name,
        "seconds of a sum, by numbers of float32": sums,
        "GFLOP/s of a rank": 2.0 * 128 * 500 * 2000 / product / 1e9,
        "GB/s of a rank, read and written": 2.0 * source.nbytes / copy / 1e9,
    }


def _sum(ranks: Communicator, array: Array) -> None:
    ranks.start_sum(array, SUPERVISOR).wait()


def median_seconds(ranks: Communicator, work: Callable[[], object]) -> float:
    """Return the slowest rank's median time for work that all ranks begin at the same time."""
    times = []
    for _ in range(REPEATS + 2):
        ranks.start_sum(np.zeros(1), LOSSES).wait()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    medians = np.zeros(ranks.size)
    medians[ranks.rank] = statistics.median(times[2:])  # the first ones allocate memory
    ranks.start_sum(medians, LOSSES).wait()
    return float(medians.max())


if __name__ == "__main__":
    # Another rank may wait inside MPI, where Python's handler of SIGTERM would never run.
    sys.exit(run_command(partial(print_result, measure), sigterm=False))
