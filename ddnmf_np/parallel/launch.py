"""Who was started with whom; and one that fails ends all."""

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
"""Seconds that the others leave to rank 0 to say what is wrong: an error that all have, such as a
wrong option, is said once."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that say how many threads BLAS may have."""


def connect() -> Communicator:
    """Return the processes that were started with this one.

    Raises
    ------
    BackendError
        If there are some, and mpi4py cannot be used.
    """
    if not started_by_mpi():
        return SerialCommunicator()
    communicator = MpiCommunicator(load_mpi())
    return communicator if communicator.size > 1 else SerialCommunicator()


def together(command: Callable[[Communicator], int], communicator: Communicator) -> int:
    """Return the exit code of a command; if it is that of a failure, all ranks end with it.

    Parameters
    ----------
    command : callable
        Takes the communicator, says on standard error what goes wrong, and returns an exit code.
        Any exception that it lets through is a failure too.
    communicator : Communicator
        Who else does it.
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
    """Return the operations that a configuration asks for, and who adds up their gradients.

    With several ranks on GPUs each takes one of its own, and NCCL connects them.

    Raises
    ------
    BackendError
        If the backend cannot run, or a machine has fewer GPUs than ranks.
    """
    several = communicator.size > 1
    backend = config.execution.backend
    if several and backend != "numpy":
        with suppress(BackendError):  # whether that is one, get_ops says
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
    """Return the trainer of this rank, which does its share of every batch.

    Parameters
    ----------
    config : Config
        Options of the run.
    model : Model
        Of this rank; rank 0's state is what all start from.
    x : array_like of shape (n, n_features) or Rows
        The same samples on all ranks.
    ranks : Communicator
        Who trains together; of one process the trainer is the ordinary one.
    **options
        As for `Trainer`.
    """
    if ranks.size > 1:
        options |= {"feed": partial(make_shared_feed, ranks), "step": partial(SharedStep, ranks)}
    return config.make_trainer(model, x, **options)


def complain(communicator: Communicator, text: str) -> None:
    """Say on standard error what is wrong, and which rank says so."""
    if communicator.size > 1:
        if communicator.rank:
            time.sleep(PATIENCE)
        text = f"rank {communicator.rank} of {communicator.size}: {text}"
    shell.complain(text)


def threads_of_rank(threads: int | None, communicator: Communicator) -> int | None:
    """Return how many threads a process takes: one of several takes one, unless told otherwise."""
    told = threads is not None or any(os.environ.get(name) for name in THREADS)
    return threads if told or communicator.size == 1 else 1
