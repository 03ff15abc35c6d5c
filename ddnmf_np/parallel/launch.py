"""Finding the ranks that were started together, and ending all of them if one fails."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ddnmf_np.backends.ops import Ops
from ddnmf_np.backends.select import find_cupy, load_nccl
from ddnmf_np.config import Config
from ddnmf_np.errors import BackendError
from ddnmf_np.model import Model
from ddnmf_np.parallel.communicator import Communicator, SerialCommunicator
from ddnmf_np.parallel.feed import make_shared_feed
from ddnmf_np.parallel.mpi import MpiCommunicator, load_mpi, started_by_mpi
from ddnmf_np.parallel.nccl import NcclCommunicator, check_devices, take_device
from ddnmf_np.parallel.step import SharedStep
from ddnmf_np.system import command as shell
from ddnmf_np.training import Trainer

PATIENCE = 1.0
"""Seconds that the other ranks wait before they report an error. If all ranks have the same error,
such as a wrong option, rank 0 reports it first and ends all, so it is reported once."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that set the number of threads of BLAS."""


def connect() -> Communicator:
    """Return the communicator of the processes that were started together.

    Raises `BackendError` if there are several and mpi4py cannot be used.
    """
    if not started_by_mpi():
        return SerialCommunicator()
    communicator = MpiCommunicator(load_mpi())
    return communicator if communicator.size > 1 else SerialCommunicator()


def together(command: Callable[[Communicator], int], communicator: Communicator) -> int:
    """Run a command on all ranks and return its exit code; a failure ends all ranks with its code.

    The command takes the communicator, reports errors on standard error, and returns an exit code.
    An exception is a failure too.
    """
    if communicator.size == 1:
        return command(communicator)
    try:
        code = command(communicator)
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            raise
        complain(communicator, traceback.format_exc().rstrip())
        communicator.abort(1)
        raise
    if code:
        communicator.abort(code)
    return code


def get_ops_together(config: Config, communicator: Communicator) -> tuple[Ops, Communicator]:
    """Return the operations that a configuration asks for, and the communicator for gradients.

    Several ranks on GPUs take one GPU each, and NCCL connects them. Raises `BackendError` if the
    backend cannot run, or a machine has fewer GPUs than ranks.
    """
    several = communicator.size > 1
    backend = config.execution.backend
    if several and backend != "numpy":
        with suppress(BackendError):  # get_ops raises it if CuPy is needed
            take_device(find_cupy(), communicator.local_rank)
    ops = config.execution.get_ops()
    if several and (there := communicator.broadcast_object(ops.name)) != ops.name:
        raise BackendError(
            f"backend {backend} is {ops.name} on rank {communicator.rank} and {there} on "
            "rank 0; choose one that all machines have with --backend and --fast"
        )
    if several and not ops.on_host:
        check_devices(ops.xp, communicator.local_size)
        communicator = NcclCommunicator(ops.xp, load_nccl(), communicator)
    return ops, communicator


def make_trainer(
    config: Config, model: Model, x: Any, ranks: Communicator, **options: Any
) -> Trainer:
    """Return the trainer of this rank, which works on its share of every batch.

    All ranks start from the state of rank 0's model, and have the same samples. With one process,
    the trainer is the ordinary one. ``options`` are those of `Trainer`.
    """
    if ranks.size > 1:
        options |= {"feed": partial(make_shared_feed, ranks), "step": partial(SharedStep, ranks)}
    return config.make_trainer(model, x, **options)


def complain(communicator: Communicator, text: str) -> None:
    """Print an error on standard error, with the number of the rank."""
    if communicator.size > 1:
        if communicator.rank:
            time.sleep(PATIENCE)
        text = f"rank {communicator.rank} of {communicator.size}: {text}"
    shell.complain(text)


def threads_of_rank(threads: int | None, communicator: Communicator) -> int | None:
    """Return the threads of a process: with several ranks one, unless the user has set them."""
    told = threads is not None or any(os.environ.get(name) for name in THREADS)
    return threads if told or communicator.size == 1 else 1
