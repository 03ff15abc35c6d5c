"""Training on more samples than memory holds, against the same steps from memory.

``python -m ddnmf_np.bench.larger_than_memory --gigabytes 20`` writes a file of MNIST's images,
repeated with new noise. It trains one epoch from the file, and as many steps on a part of it that
is in memory, each in a new process. At the end it removes the file.
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
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.options import make_parser, option, parse, recorded
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import NpyFile
from ddnmf_np.errors import DDNMFError, UsageError
from ddnmf_np.system.command import run_command, say
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.system.memory import forget_peak, memory_mib, peak_memory_mib
from ddnmf_np.training import Trainer

FILE = "larger-than-memory.npy"
GROUP = 200
"""Steps that are timed together."""


@dataclass(frozen=True)
class Options:
    """Options of the command."""

    gigabytes: float = option(20.0, "gigabytes of samples on the disk", least=0)
    in_memory: float = option(4.0, "gigabytes of samples in memory, for comparison", least=0)
    steps: int = option(0, "fewer steps than an epoch has (default: an epoch)", least=0)
    widths: tuple[int, ...] = option((64,), "units of each encoder layer")
    window: int = option(128, "MiB of samples that are mixed")
    threads: int = option(1, "threads of BLAS and of the engine")
    data_dir: str | None = option(None, "where to look for MNIST first", metavar="FOLDER")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(argv: list[str]) -> int:
    module = "ddnmf_np.bench.larger_than_memory"
    parser = make_parser(Options, "runs/larger-than-memory", module, __doc__ or "")
    parser.add_argument("--worker", choices=("stream", "memory"), help=argparse.SUPPRESS)
    given, folder = parse(parser, argv)
    worker = given.pop("worker")
    options = Options(**given)
    if worker:
        print(json.dumps(work(options, folder / FILE, worker)))
    else:
        compare(options, folder, argv)
    return 0


def compare(options: Options, folder: Path, argv: list[str]) -> None:
    """Write the file, run both workers, write ``larger-than-memory.json``, remove the file."""
    images = load("mnist", data_dir=options.data_dir).x_train
    n = int(options.gigabytes * 1e9) // (4 * images.shape[1])
    if n < GROUP:
        raise UsageError(f"gigabytes is {options.gigabytes}; give more")
    make_folder(folder)
    path = folder / FILE
    found: dict[str, Any] = {"options": recorded(options)}
    found |= {"samples": n, "bytes": n * 4 * images.shape[1]}
    try:
        started = time.perf_counter()
        write(path, n, images)
        found["write_seconds"] = time.perf_counter() - started
        del images
        for kind in ("memory", "stream"):
            forget(path)
            command = [sys.executable, "-m", "ddnmf_np.bench.larger_than_memory", *argv]
            done = subprocess.run([*command, "--worker", kind], stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise DDNMFError(
                    f"the worker {kind!r} ended with code {done.returncode}; see the message above"
                )
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
    text = json.dumps(found | surroundings(), indent=1) + "\n"
    atomic_write_text(folder / "larger-than-memory.json", text)


def write(path: Path, n: int, images: Any) -> None:
    """Write ``n`` samples in float32: 0.9 times MNIST's images in their order, plus noise."""
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
    """Drop a file from the page cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work(arguments: Options, path: Path, worker: str) -> dict[str, Any]:
    """Train in this process, from the file or from memory; return times and memory."""
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
        trainer = config.make_trainer(model, rows if worker == "stream" else rows.read(0, held))
        prepared = time.perf_counter() - started
        forget(path)
        times, busy = [time.perf_counter()], time.process_time()

        def on_step(trainer: Trainer) -> None:
            times.append(time.perf_counter())
            done = len(times) - 1
            if done % (10 * GROUP) == 0:
                spent, peak = times[-1] - times[0], peak_memory_mib()
                say(f"{worker}: {done} of {steps} steps, {spent:.0f} s, peak memory {peak} MiB")
            trainer.stop_requested = done == steps

        trainer.train(1000, on_step=on_step)
        seconds, busy = time.perf_counter() - times[0], time.process_time() - busy
    done = len(times) - 1
    rates = [GROUP * config.training.batch_size / (b - a) for a, b in pairwise(times[::GROUP])]
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


if __name__ == "__main__":
    sys.exit(main())
