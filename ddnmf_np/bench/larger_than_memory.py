"""Train on more samples than memory holds, against the same steps from memory.

``python -m ddnmf_np.bench.larger_than_memory --gigabytes 20`` writes a file of MNIST's
images with noise on them, over and over; trains one epoch from it, and as many steps on a part of
it that is held in memory; each in a process of its own; and removes the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import NpyFile
from ddnmf_np.errors import DDNMFError, UsageError
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.system.memory import forget_peak, memory_mib, peak_memory_mib
from ddnmf_np.training import Trainer

FILE = "larger-than-memory.npy"
GROUP = 200
"""Steps that are timed together."""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("ddnmf_np.bench.larger_than_memory", __doc__ or "")
    add = parser.add_argument
    add("--gigabytes", type=float, default=20.0, help="of samples on the disk (%(default)s)")
    add("--in-memory", type=float, default=4.0, help="gigabytes held by the peer (%(default)s)")
    add("--steps", type=int, help="fewer steps than an epoch has")
    add("--widths", type=int, nargs="+", default=[64], help="default: 64")
    add("--window", type=int, default=128, help="MiB of samples that are mixed (%(default)s)")
    add("--threads", type=int, default=1, help="default: %(default)s")
    add("--data-dir", help="where to look for MNIST first")
    add("--output", type=Path, default=Path("runs/larger-than-memory"), metavar="FOLDER")
    add("--worker", choices=("stream", "memory"), help=argparse.SUPPRESS)
    return parser


def write(path: Path, n: int, images: Any) -> None:
    """Write ``n`` samples in float32: MNIST's in their order, a tenth of noise added."""
    import numpy as np  # late: after the kernels

    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, images.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, 20_000):
            rows = images[np.arange(start, min(start + 20_000, n)) % len(images)]
            file.write((0.9 * rows + 0.1 * rng.random(rows.shape, np.float32)).data)
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Have the system let go of what it keeps of a file in memory, where it can be told."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in this process; return what it took."""
    path = arguments.output / FILE
    config = configure(widths=tuple(arguments.widths), epochs=1000, threads=arguments.threads)
    rows = Rows(NpyFile(path), "float32", window_mib=arguments.window)
    steps = arguments.steps or -(-len(rows) // config.training.batch_size)
    held = min(len(rows), int(arguments.in_memory * 1e9) // (4 * rows.shape[1]))
    with threadpool_limits(arguments.threads):
        model = config.make_model(rows.shape[1], get_ops("numpy"))
        # One step, so that the optimizer's memory and compiled loops count as the model's.
        config.make_trainer(model, rows.read(0, config.training.batch_size), high=1.0).train(1)
        before = memory_mib()
        forget_peak()  # imports and preparation may have taken more than training does
        started = time.perf_counter()
        trainer = config.make_trainer(
            model, rows if arguments.worker == "stream" else rows.read(0, held)
        )
        prepared = time.perf_counter() - started
        forget(path)
        times: list[float] = [time.perf_counter()]
        done = 0

        def on_step(trainer: Trainer) -> None:
            nonlocal done
            done += 1
            if done % GROUP == 0:
                times.append(time.perf_counter())
            if done % (10 * GROUP) == 0:
                said = {"worker": arguments.worker, "steps": done, "peak_mib": peak_memory_mib()}
                said |= {
                    "seconds": time.perf_counter() - began,
                    "processor_seconds": time.process_time() - busy,
                }
                print(json.dumps(said), file=sys.stderr, flush=True)
            trainer.stop_requested = done == steps

        began, busy = time.perf_counter(), time.process_time()
        trainer.train(1000, on_step=on_step)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    rates = [GROUP * config.training.batch_size / (b - a) for a, b in pairwise(times)]
    return {
        "steps": done,
        "samples": done * config.training.batch_size,
        "seconds": seconds,
        "processor_seconds": busy,
        "samples_per_second": done * config.training.batch_size / seconds,
        "median_samples_per_second": statistics.median(rates) if rates else None,
        "peak_mib": peak_memory_mib(),
        "mib_before_training": before,
        "seconds_before_training": prepared,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_command(lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    arguments = make_parser().parse(argv)
    if arguments.worker:
        print(json.dumps(work(arguments)))
        return 0
    return compare(arguments, list(argv))


def compare(arguments: argparse.Namespace, given: list[str]) -> int:
    """Write the file, run both, write ``larger-than-memory.json`` and remove the file."""
    images = load("mnist", data_dir=arguments.data_dir).x_train
    n = int(arguments.gigabytes * 1e9) // (4 * images.shape[1])
    if n < GROUP:
        raise UsageError(f"gigabytes is {arguments.gigabytes}; give more")
    make_folder(arguments.output)
    path = arguments.output / FILE
    names = ("gigabytes", "in_memory", "steps", "widths", "window", "threads")
    found: dict[str, Any] = {"options": {name: getattr(arguments, name) for name in names}}
    found |= {"samples": n, "bytes": n * 4 * images.shape[1]}
    try:
        started = time.perf_counter()
        write(path, n, images)
        found["write_seconds"] = time.perf_counter() - started
        del images
        for kind in ("memory", "stream"):
            forget(path)
            command = [sys.executable, "-m", "ddnmf_np.bench.larger_than_memory"]
            done = subprocess.run(
                [*command, *given, "--worker", kind], stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                raise DDNMFError(f"the worker {kind!r} ended with {done.returncode}; see above")
            found[kind] = json.loads(done.stdout)
            print(kind, json.dumps(found[kind], indent=1), flush=True)
    finally:
        path.unlink(missing_ok=True)
    stream, memory = found["stream"], found["memory"]
    found["ratio"] = stream["samples_per_second"] / memory["samples_per_second"]
    medians = [run["median_samples_per_second"] for run in (stream, memory)]
    found["ratio_of_medians"] = medians[0] / medians[1] if all(medians) else None
    if stream["mib_before_training"] is not None and stream["peak_mib"] is not None:
        found["mib_above_model"] = stream["peak_mib"] - stream["mib_before_training"]
    found |= surroundings()
    atomic_write_text(
        arguments.output / "larger-than-memory.json", json.dumps(found, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
