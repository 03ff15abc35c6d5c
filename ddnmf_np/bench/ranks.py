"""How long a step takes: ``mpiexec -n 2 python -m mpi4py -m ddnmf_np.bench.ranks``.

Prints, as JSON, the milliseconds of a step of the paper's network on MNIST for several batch sizes;
without ``mpiexec``, those of one process with two threads.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

# isort: split
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
"""Of the one process."""


def measure(ranks: Communicator, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return median and quartiles of the milliseconds of a step, for each batch size."""
    found: dict[str, Any] = {
        "ranks": ranks.size,
        "by": ranks.name,
        "threads of each": THREADS if ranks.size == 1 else 1,
        "milliseconds of a step (median, quartiles)": {},
    }
    for batch_size, steps in BATCHES.items():
        config = configure(batch_size=batch_size, epochs=1 + EPOCHS)
        rows = max(256, -(-batch_size // ranks.size))
        model = config.make_model(x.shape[1], get_ops("numpy"), rows)
        trainer = make_trainer(config, model, x[: steps * batch_size], ranks)
        trainer.train(1)
        quartiles = statistics.quantiles(np.diff(_times(trainer)) * 1e3, n=4)
        found["milliseconds of a step (median, quartiles)"][batch_size] = [
            round(quartiles[number], 1) for number in (1, 0, 2)
        ]
    return found


def _times(trainer: Trainer) -> list[float]:
    times = [time.perf_counter()]
    trainer.train(trainer.epochs, on_step=lambda _: times.append(time.perf_counter()))
    return times


def main() -> int:
    """Measure, and let rank 0 print it; return the exit code."""
    x = load("mnist").x_train[: max(size * steps for size, steps in BATCHES.items())]

    def work(ranks: Communicator) -> int:
        with threadpool_limits(THREADS if ranks.size == 1 else 1):
            found = measure(ranks, x)
        if ranks.rank == 0:
            print(json.dumps(found), flush=True)
        return 0

    return together(work, connect())


if __name__ == "__main__":
    # Another rank may wait inside MPI, where Python's handler of SIGTERM would never run.
    sys.exit(run_command(main, sigterm=False))
