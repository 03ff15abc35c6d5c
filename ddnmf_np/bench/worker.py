"""One process, one measurement: ``python -m ddnmf_np.bench.worker REQUEST``.

The request is a JSON object (`Request`), the answer another one on the last line of standard
output. A contestant that cannot run is an answer too: ``{"gap": why}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddnmf_np.bench.contestants import CHECKED_STEPS, CONTESTANTS, FLOORS, NOT_INSTALLED
from ddnmf_np.system.memory import peak_memory_mib

if TYPE_CHECKING:  # what is imported before the clock starts would be nobody's
    from ddnmf_np.bench.peer import Peer, Timed

BLOCK_SECONDS = 0.05
"""Steps are timed in blocks of about this length; each ends with a wait for the device."""

OPTIONAL = {"numba", "cupy", "torch", "jax", "jaxlib", "keras", "tensorflow"}
"""What need not be installed."""


@dataclass(frozen=True)
class Request:
    """What to measure.

    Parameters
    ----------
    contestant : str
        Name of a contestant or a floor.
    problem : str
        File of the `Problem`.
    settings : dict
        `Settings` without the mode.
    warm_up, least_steps : int
        Steps before any is timed, and the fewest that are.
    seconds : float
        How long to time steps.
    epochs : int
        If not 0: time this many epochs instead of steps.
    dataset, data_dir : str
        What to train on, as `ddnmf_np.data.datasets.load` takes them.
    """

    contestant: str
    problem: str
    settings: dict[str, Any] = field(default_factory=dict)
    warm_up: int = 10
    least_steps: int = 20
    seconds: float = 3.0
    epochs: int = 0
    dataset: str = "mnist"
    data_dir: str | None = None


def answer(request: Request) -> dict[str, Any]:
    """Return the measurement, or ``{"gap": why}`` if the contestant cannot run here."""
    try:
        return measure(request)
    except Exception as error:  # whatever a framework may raise
        return {"gap": describe(error)}


def measure(request: Request) -> dict[str, Any]:
    """Import, build and time a contestant.

    Returns
    -------
    dict
        ``import_seconds``, ``build_seconds`` (networks and batches), ``first_step_seconds`` (with
        compilation), ``losses`` of the first steps, ``block_steps`` and ``step_seconds`` (of each
        block), ``peak_memory_mib``, ``import_memory_mib`` (before anything is built),
        ``device_memory_bytes``, ``device``, ``note`` (what the reader must know, or None); with
        epochs, ``epoch_seconds`` and ``samples`` in place of the steps, and ``trained_losses`` of
        the first batch after them.
    """
    contestant = (CONTESTANTS | FLOORS)[request.contestant]
    if request.settings["device"] == "cpu":  # on a GPU only compilers use many threads
        pin(request.settings["threads"])
    start = time.perf_counter()
    kind = getattr(import_module(f"ddnmf_np.bench.{contestant.module}"), contestant.kind)
    kind.load(contestant.mode)
    result: dict[str, Any] = {"import_seconds": time.perf_counter() - start}
    result["import_memory_mib"] = peak_memory_mib()
    from ddnmf_np.bench.peer import Peer, Settings
    from ddnmf_np.bench.problem import Problem

    problem = Problem.load(Path(request.problem))
    settings = Settings(**request.settings, mode=contestant.mode)
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
            result |= time_epochs(timed, request)
            timed.reset()
            timed.step(0)
            result["trained_losses"] = timed.losses()
        else:
            result |= time_steps(timed, request)
        result["peak_memory_mib"] = peak_memory_mib()
        result["device_memory_bytes"] = timed.device_memory_bytes()
        result["device"] = timed.device_name()
        result["note"] = timed.note()
    finally:
        timed.close()
    return result


def first_losses(peer: Peer) -> list[dict[str, float]]:
    """Return the losses of the first steps, of which the first has been done."""
    losses = [peer.losses()]
    for batch in range(1, CHECKED_STEPS + 1):
        peer.reset()
        peer.step(batch)
        losses.append(peer.losses())
    peer.reset()
    return losses


def time_steps(timed: Timed, request: Request) -> dict[str, Any]:
    """Return the seconds of a step, block by block."""
    from ddnmf_np.bench.problem import BATCHES

    number = 0

    def block(steps: int) -> float:
        nonlocal number
        start = time.perf_counter()
        for number in range(number, number + steps):  # noqa: B020
            timed.step(number % BATCHES)
        timed.synchronize()
        number += 1
        return time.perf_counter() - start

    warm_up = max(1, request.warm_up)
    block(warm_up)
    # The second half of the warm-up tells how long a step takes once it is warm.
    steps = max(1, round(BLOCK_SECONDS / (block(warm_up) / warm_up)))
    seconds: list[float] = []
    while sum(seconds) < request.seconds or len(seconds) * steps < request.least_steps:
        seconds.append(block(steps))
    return {"block_steps": steps, "step_seconds": [s / steps for s in seconds]}


def time_epochs(peer: Peer, request: Request) -> dict[str, Any]:
    """Return the seconds of each epoch on real data, order and noise included."""
    from ddnmf_np.data.datasets import load

    x = load(request.dataset, data_dir=request.data_dir).x_train
    peer.start_epochs(x)
    seconds = []
    for _ in range(request.epochs):
        start = time.perf_counter()
        peer.epoch()
        seconds.append(time.perf_counter() - start)
    return {"samples": len(x), "epoch_seconds": seconds}


def pin(threads: int) -> None:
    """Keep this process on as many processors as it has threads, where the system can.

    JAX has no other way to be told; for the rest it makes the same of the same number.
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
