"""Time of a step by several ranks: ``mpiexec -n 2 python -m mpi4py -m ddnmf_np.bench.ranks``.

Prints, as JSON, the milliseconds of a step of the paper's network on MNIST for several batch sizes;
without ``mpiexec``, those of one process with two threads.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.parallel.communicator import Communicator
from ddnmf_np.parallel.launch import connect, make_trainer, together
from ddnmf_np.system.command import run_command
from ddnmf_np.training import Trainer

BATCHES = {128: 60, 256: 40, 512: 20}
"""Batch sizes, and steps in each of the epochs that are measured after a first one."""

EPOCHS = 3

THREADS = 2
"""Threads of the one process."""


def measure(x: np.ndarray[Any, Any], ranks: Communicator) -> dict[str, Any]:
    """Return median and quartiles of the milliseconds of a step, for each batch size."""
    steps_of: dict[int, list[float]] = {}
    for batch_size, steps in BATCHES.items():
        config = configure(batch_size=batch_size, epochs=1 + EPOCHS)
        rows = max(256, -(-batch_size // ranks.size))
        model = config.make_model(x.shape[1], get_ops("numpy"), rows)
        trainer = make_trainer(config, model, x[: steps * batch_size], ranks)
        trainer.train(1)
        low, middle, high = statistics.quantiles(np.diff(_times(trainer)) * 1e3, n=4)
        steps_of[batch_size] = [round(value, 1) for value in (middle, low, high)]
    return {
        "ranks": ranks.size,
        "by": ranks.name,
        "threads of each": THREADS if ranks.size == 1 else 1,
        "milliseconds of a step (median, quartiles)": steps_of,
    }


def _times(trainer: Trainer) -> list[float]:
    times = [time.perf_counter()]
    trainer.train(trainer.epochs, on_step=lambda _: times.append(time.perf_counter()))
    return times


def print_result(measure: Callable[[Communicator], object], threads: int = 1) -> int:
    """Measure in all ranks and print the result of rank 0 as JSON; return the exit code.

    A single process has ``threads`` threads, each of several ranks has one.
    """

    def work(ranks: Communicator) -> int:
        with threadpool_limits(threads if ranks.size == 1 else 1):
            found = measure(ranks)
        if ranks.rank == 0:
            print(json.dumps(found, indent=2), flush=True)
        return 0

    return together(work, connect())


def main() -> int:
    """Run the command and return its exit code."""
    x = load("mnist").x_train[: max(size * steps for size, steps in BATCHES.items())]
    return print_result(partial(measure, x), THREADS)


if __name__ == "__main__":
    # Another rank may wait inside MPI, where Python's handler of SIGTERM would never run.
    sys.exit(run_command(main, sigterm=False))
