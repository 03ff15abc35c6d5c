"""One measurement in one process: ``python -m ddnmf_np.bench.worker REQUEST``.

The request is a `Request` as JSON. The answer is JSON on the last line of standard output;
``{"gap": reason}`` if the contestant cannot run.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddnmf_np.bench.contestants import CHECKED_STEPS, CONTESTANTS, FLOORS, NOT_INSTALLED
from ddnmf_np.system.memory import peak_memory_mib

if TYPE_CHECKING:  # a contestant's import time must include what it imports
    from ddnmf_np.bench.peer import Peer, Timed

BLOCK_SECONDS = 0.05
"""Steps are timed in blocks of about this length; each ends with a wait for the device."""

OPTIONAL = {"numba", "cupy", "torch", "jax", "jaxlib", "keras", "tensorflow"}
"""Packages that need not be installed."""


class Request(NamedTuple):
    """A measurement: a contestant or floor, the file of a `Problem`, the options of a `Plan`.

    If ``epochs`` is not 0, the worker times so many epochs instead of steps.
    """

    contestant: str
    problem: str
    plan: dict[str, Any]
    epochs: int = 0


def answer(request: Request) -> dict[str, Any]:
    """Return the measurement, or ``{"gap": reason}`` if the contestant cannot run here."""
    try:
        return measure(request)
    except Exception as error:  # whatever a framework may raise
        return {"gap": describe(error)}


def measure(request: Request) -> dict[str, Any]:
    """Import, build and time a contestant.

    We return ``import_seconds``, ``build_seconds`` (networks and batches), ``first_step_seconds``
    (with compilation), ``losses`` of the first steps, ``block_steps`` and ``step_seconds`` (of each
    block), ``peak_memory_mib``, ``import_memory_mib`` (before anything is built),
    ``device_memory_bytes``, ``device``, ``note`` (a warning for the reader, or None). With epochs,
    ``epoch_seconds`` and ``samples`` replace the steps, and ``trained_losses`` are those of the
    first batch after the epochs.
    """
    contestant, plan = (CONTESTANTS | FLOORS)[request.contestant], request.plan
    if plan["device"] == "cpu":  # on a GPU only compilers use many threads
        pin(plan["threads"])
    start = time.perf_counter()
    kind = getattr(import_module(f"ddnmf_np.bench.{contestant.module}"), contestant.kind)
    kind.load(contestant.mode)
    result: dict[str, Any] = {"import_seconds": time.perf_counter() - start}
    result["import_memory_mib"] = peak_memory_mib()
    from ddnmf_np.bench.peer import Peer, Settings
    from ddnmf_np.bench.problem import Problem

    problem = Problem.load(Path(request.problem))
    settings = Settings(
        plan["threads"], plan["device"], plan["matmul_precision"], mode=contestant.mode
    )
    start = time.perf_counter()
    timed: Timed = kind(problem, settings)
    result["build_seconds"] = time.perf_counter() - start
    try:
        start = time.perf_counter()
        if isinstance(timed, Peer):
            timed.reset()
        timed.step(0)
        timed.synchronize()
        result["first_step_seconds"] = time.perf_counter() - start
        if isinstance(timed, Peer):
            result["losses"] = first_losses(timed)
        if request.epochs and isinstance(timed, Peer):
            result |= time_epochs(timed, request.epochs, plan)
            timed.reset()
            timed.step(0)
            result["trained_losses"] = timed.losses()
        else:
            result |= time_steps(timed, plan)
        result["peak_memory_mib"] = peak_memory_mib()
        result["device"], result["device_memory_bytes"] = timed.device()
        result["note"] = timed.note()
    finally:
        timed.close()
    return result


def first_losses(peer: Peer) -> list[dict[str, float]]:
    """Return the losses of the first steps; the peer has just done the first one."""
    losses = [peer.losses()]
    for batch in range(1, CHECKED_STEPS + 1):
        peer.reset()
        peer.step(batch)
        losses.append(peer.losses())
    peer.reset()
    return losses


def time_steps(timed: Timed, plan: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of a step in each block of steps."""
    from ddnmf_np.bench.problem import BATCHES

    batches = itertools.cycle(range(BATCHES))

    def block(steps: int) -> float:
        start = time.perf_counter()
        for batch in itertools.islice(batches, steps):
            timed.step(batch)
        timed.synchronize()
        return time.perf_counter() - start

    warm_up = max(1, plan["warm_up"])
    block(warm_up)
    # A second block of the same length shows how long a warm step takes.
    steps = max(1, round(BLOCK_SECONDS / (block(warm_up) / warm_up)))
    seconds: list[float] = []
    while sum(seconds) < plan["seconds"] or len(seconds) * steps < plan["least_steps"]:
        seconds.append(block(steps))
    return {"block_steps": steps, "step_seconds": [s / steps for s in seconds]}


def time_epochs(peer: Peer, epochs: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of each epoch on real data, with data order and noise."""
    from ddnmf_np.data.datasets import load

    x = load(plan["dataset"], data_dir=plan["data_dir"]).x_train
    peer.start_epochs(x)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        peer.epoch()
        seconds.append(time.perf_counter() - start)
    return {"samples": len(x), "epoch_seconds": seconds}


def pin(threads: int) -> None:
    """Keep this process on as many processors as it has threads, where the system can.

    JAX takes its number of threads from nothing else. We pin the others too, so that all have the
    same processors.
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def describe(error: BaseException) -> str:
    """Return why a contestant cannot run, in one line of reasonable length."""
    cause: BaseException | None = error
    while cause is not None:  # an error of this package has the missing module as its cause
        if isinstance(cause, ModuleNotFoundError):
            name = (cause.name or "").partition(".")[0]
            if name in OPTIONAL:
                return f"{NOT_INSTALLED}: {name}"
        cause = cause.__cause__
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:297] + "..."


def main(argv: Sequence[str]) -> None:
    """Answer the request."""
    reply = answer(Request(**json.loads(argv[0])))
    print("\n" + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
