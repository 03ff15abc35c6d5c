"""Communication through MPI, by mpi4py."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.errors import BackendError
from ddnmf_np.parallel.communicator import N_CHANNELS, Communicator, Request

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
"""Variables in which launchers give the number of processes."""

NAP = 0.01
"""Seconds between two tests of whether the other ranks have arrived."""

GRACE = 0.3
"""Seconds before a rank ends all: a launcher may lose what it has not yet read of its messages."""

_yield_processor: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0.0))


def started_by_mpi() -> bool:
    """Return whether an MPI launcher started several processes, or ``-m mpi4py`` runs this one."""
    several = any(os.environ.get(name, "1") not in ("", "0", "1") for name in SIZES)
    return several or "mpi4py" in sys.modules


def load_mpi() -> Any:
    """Return ``mpi4py.MPI``, which starts MPI.

    Raises `BackendError`, with the cause and the remedy, if it cannot be imported.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI library
        raise BackendError(
            "this process was started by an MPI launcher, but mpi4py cannot be used: "
            f"{type(error).__name__}: {error}. Remedy: pip install 'ddnmf-np[mpi]', and start "
            "with the mpiexec that comes with it."
        ) from error
    return MPI


class MpiCommunicator(Communicator):
    """Ranks of an MPI communicator; by default all processes of the launcher.

    A sum makes progress only while one of MPI's functions runs. Call `Request.poll` now and then
    during other work.
    """

    def __init__(self, MPI: Any, world: Any = None) -> None:
        world = MPI.COMM_WORLD if world is None else world
        self._mpi, self._world = MPI, world.Dup()
        self._channels = [world.Dup() for _ in range(N_CHANNELS)]
        self.rank, self.size = world.Get_rank(), world.Get_size()
        self.name = " ".join(MPI.Get_library_version().replace("\0", "").split()[:3])
        self.from_several_threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        here = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        here.Free()

    def start_sum(self, array: Array, channel: int) -> Request:
        """Start a sum in place (``MPI_Iallreduce``)."""
        return _MpiRequest(self._channels[channel].Iallreduce(self._mpi.IN_PLACE, array))

    def broadcast(self, array: Array) -> None:
        """Overwrite a contiguous array with that of rank 0 (``MPI_Ibcast``)."""
        _MpiRequest(self._world.Ibcast(array)).wait()

    def broadcast_object(self, value: Any) -> Any:
        """Return the value of rank 0, sent as JSON (nothing is pickled)."""
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        size = np.array([text.size], np.int64)
        self.broadcast(size)
        received = np.empty(int(size[0]), np.uint8)
        if self.rank == 0:
            received[...] = text
        self.broadcast(received)
        return json.loads(received.tobytes())

    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Send rows to each rank (``MPI_Ialltoallv``)."""
        theirs = np.empty_like(counts)
        _MpiRequest(self._world.Ialltoall(counts, theirs)).wait()
        received = np.empty((theirs.sum(), rows.shape[1]), rows.dtype)
        # MPI's counts have 32 bits, so we count rows instead of bytes.
        row = self._mpi.BYTE.Create_contiguous(rows.shape[1] * rows.itemsize).Commit()
        try:
            request = self._world.Ialltoallv(
                [rows, (counts, np.cumsum(counts) - counts), row],
                [received, (theirs, np.cumsum(theirs) - theirs), row],
            )
            _MpiRequest(request).wait()
        finally:
            row.Free()
        return received

    def rest(self) -> None:
        """Sleep until all ranks have called this method (``MPI_Ibarrier``)."""
        request = self._world.Ibarrier()
        while not request.Test():
            time.sleep(NAP)

    def abort(self, code: int) -> None:
        """End all ranks (``MPI_Abort``)."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, or a full disk: the others must end all the same
                stream.flush()
        time.sleep(GRACE)
        self._mpi.COMM_WORLD.Abort(code)


class _MpiRequest(Request):
    def __init__(self, request: Any) -> None:
        self._request = request

    def poll(self) -> None:
        self._request.Test()

    def wait(self) -> None:
        # MPI's own wait keeps the processor busy, which another rank may need.
        while not self._request.Test():
            _yield_processor()
