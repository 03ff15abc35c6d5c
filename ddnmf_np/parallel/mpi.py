"""Ranks that MPI connects, through mpi4py."""

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
from ddnmf_np.parallel import memory
from ddnmf_np.parallel.communicator import N_CHANNELS, Communicator, Pair, Request

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
"""Variables by which launchers say how many processes they have started."""

NAP = 0.01
"""Seconds between two looks at whether the others have come, where nobody is in a hurry."""

_make_room: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0.0))


def started_by_mpi() -> bool:
    """Return whether this process is one of several of an MPI launcher, or run by ``-m mpi4py``."""
    several = any(os.environ.get(name, "1") not in ("", "0", "1") for name in SIZES)
    return several or "mpi4py" in sys.modules


def load_mpi() -> Any:
    """Return ``mpi4py.MPI``, which starts MPI.

    Raises
    ------
    BackendError
        If it cannot be had; with the cause and the remedy.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where it finds no MPI library
        raise BackendError(
            "this process was started by an MPI launcher, but mpi4py cannot be used: "
            f"{type(error).__name__}: {error}. Remedy: pip install 'ddnmf-np[mpi]', and start "
            "with the mpiexec that comes with it."
        ) from error
    return MPI


class MpiCommunicator(Communicator):
    """The processes of an MPI communicator.

    Parameters
    ----------
    MPI : module
        ``mpi4py.MPI``.
    world : mpi4py communicator, optional
        Whose processes; those of the launcher by default.
    pairs : bool
        Whether ranks may divide the networks in pairs. They do where every machine has an even
        number of them, which can map memory of each other.

    Notes
    -----
    MPI goes on with a sum while one of its functions is called; whoever has other work meanwhile
    should `poll` now and then.
    """

    def __init__(self, MPI: Any, world: Any = None, *, pairs: bool = True) -> None:
        world = MPI.COMM_WORLD if world is None else world
        self._mpi, self._world = MPI, world.Dup()
        self._channels = [world.Dup() for _ in range(N_CHANNELS)]
        self.rank, self.size = world.Get_rank(), world.Get_size()
        self.name = " ".join(MPI.Get_library_version().replace("\0", "").split()[:3])
        self.from_several_threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        here = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        if pairs:
            self.pair = _pair_up(MPI, self._world, here)
        here.Free()

    def start_sum(self, array: Array, channel: int) -> Request:
        """Begin a sum in place (``MPI_Iallreduce``)."""
        return _MpiRequest(self._channels[channel].Iallreduce(self._mpi.IN_PLACE, array))

    def broadcast(self, array: Array) -> None:
        """Overwrite a contiguous array with that of rank 0 (``MPI_Ibcast``)."""
        _MpiRequest(self._world.Ibcast(array)).wait()

    def broadcast_object(self, value: Any) -> Any:
        """Return what rank 0 gives, sent as JSON: nothing is pickled."""
        return _broadcast_object(self._world, value)

    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Send rows to each rank (``MPI_Ialltoallv``)."""
        theirs = np.empty_like(counts)
        _MpiRequest(self._world.Ialltoall(counts, theirs)).wait()
        received = np.empty((theirs.sum(), rows.shape[1]), rows.dtype)
        # Counts have 32 bits: of rows, not of bytes.
        row = self._mpi.BYTE.Create_contiguous(rows.shape[1] * rows.itemsize).Commit()
        try:
            request = self._world.Ialltoallv(
                [rows, (counts, _before(counts)), row], [received, (theirs, _before(theirs)), row]
            )
            _MpiRequest(request).wait()
        finally:
            row.Free()
        return received

    def rest(self) -> None:
        """Return once all ranks have called it (``MPI_Ibarrier``, asked for now and then)."""
        request = self._world.Ibarrier()
        while not request.Test():
            time.sleep(NAP)

    def abort(self, code: int) -> None:
        """End all ranks (``MPI_Abort``)."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, or on a full disk: the others must end all the same
                stream.flush()
        self._mpi.COMM_WORLD.Abort(code)


class MpiPair(Pair):
    """Two ranks that MPI connects, with memory in common.

    Parameters
    ----------
    MPI : module
        ``mpi4py.MPI``.
    world, both, same_network : mpi4py communicator
        All ranks; the two, of which the first has the supervisor; one rank of each pair.
    """

    def __init__(self, MPI: Any, world: Any, both: Any, same_network: Any) -> None:
        self._in_place, self._both, self._same_network = MPI.IN_PLACE, both, same_network
        self.lane, self.count = both.Get_rank(), same_network.Get_size()
        numbers = np.empty(world.Get_size(), np.int64)
        world.Allgather(np.array([same_network.Get_rank()], np.int64), numbers)
        self.numbers = tuple(numbers.tolist())

    def meet(self) -> None:
        """Return once both have called it (``MPI_Ibarrier``)."""
        _MpiRequest(self._both.Ibarrier()).wait()

    def place(self, array: Array) -> Array:
        """Return an array that both have, see `ddnmf_np.parallel.memory`."""
        try:
            descriptor, name = memory.create(array.nbytes) if self.lane == 0 else (-1, "")
            placed = memory.map_as(_broadcast_object(self._both, name), array.shape, array.dtype)
        except OSError as error:
            raise BackendError(
                f"{array.nbytes} bytes that two ranks have in common cannot be had ({error}); "
                "allow more memory and open files, or start an odd number of ranks, which share "
                "none"
            ) from error
        if self.lane == 0:
            placed[...] = array
        self.meet()  # both have it; the file may lose its name
        if self.lane == 0:
            os.close(descriptor)
        return placed

    def start_sum(self, array: Array) -> Request:
        """Begin a sum in place (``MPI_Iallreduce``)."""
        return _MpiRequest(self._same_network.Iallreduce(self._in_place, array))


def _pair_up(MPI: Any, world: Any, here: Any) -> MpiPair | None:
    """Return this rank's pair; None, for all ranks, unless each has somebody to divide work with.

    Neighbours on a machine are a pair. ``here`` has the ranks of this machine, as some MPI see it:
    containers may have a machine in common and no memory.
    """
    together = here.Get_size() % 2 == 0 and memory.available()
    if not _all(MPI, world, together):
        return None
    both = here.Split(here.Get_rank() // 2, here.Get_rank())
    # Of two lanes, the same place in the order: that of the pair's first rank.
    first = _broadcast_object(both, world.Get_rank())
    pair = MpiPair(MPI, world, both, world.Split(both.Get_rank(), first))
    return pair if _all(MPI, world, _have_memory_in_common(both)) else None


def _all(MPI: Any, world: Any, here: bool) -> bool:
    """Return whether something is so for all ranks."""
    everywhere = np.array([here], np.int64)
    world.Allreduce(MPI.IN_PLACE, everywhere, MPI.MIN)
    return bool(everywhere[0])


def _have_memory_in_common(both: Any) -> bool:
    """Return whether the second of two can map memory of the first: it looks for a number there."""
    token, descriptor, name = time.time_ns(), -1, ""
    if both.Get_rank() == 0:
        with suppress(OSError):
            descriptor, name = memory.create(8)
            memory.map_as(name, (1,), np.int64)[0] = token
    token, name = _broadcast_object(both, [token, name])
    found = False
    with suppress(OSError, ValueError):
        found = int(memory.map_as(name, (1,), np.int64)[0]) == token
    both.Barrier()
    if descriptor >= 0:
        os.close(descriptor)
    return found


def _before(counts: Array) -> Array:
    """Return how many come before each."""
    before: Array = np.cumsum(counts) - counts
    return before


def _broadcast_object(world: Any, value: Any) -> Any:
    """Return what the first rank gives, sent as JSON."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = np.array([text.size], np.int64)
    _MpiRequest(world.Ibcast(size)).wait()
    received = np.empty(int(size[0]), np.uint8)
    if world.Get_rank() == 0:
        received[...] = text
    _MpiRequest(world.Ibcast(received)).wait()
    return json.loads(received.tobytes())


class _MpiRequest:
    def __init__(self, request: Any) -> None:
        self._request = request

    def poll(self) -> None:
        self._request.Test()

    def wait(self) -> None:
        # MPI's own wait keeps the processor, which another rank or process may need.
        while not self._request.Test():
            _make_room()
