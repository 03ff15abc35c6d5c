"""Communication between ranks with one GPU each: NCCL adds up gradients, MPI does the rest.

``derivations/gpu.md`` says what has run where.
"""

from __future__ import annotations

from typing import Any

from ddnmf_np.backends.ops import Array
from ddnmf_np.backends.select import backend_of
from ddnmf_np.errors import BackendError
from ddnmf_np.parallel.communicator import Communicator, Request


def take_device(xp: Any, local_rank: int) -> None:
    """Make the GPU of this rank the current device of CuPy (``xp``).

    Call it before anything is allocated, because the first allocation creates a context of some
    hundred MB on the current device. A rank without a GPU takes none, see `check_devices`.
    """
    if local_rank < xp.cuda.runtime.getDeviceCount():
        xp.cuda.Device(local_rank).use()


def check_devices(xp: Any, local_size: int) -> None:
    """Raise `BackendError` if this machine has fewer GPUs than ranks."""
    devices = xp.cuda.runtime.getDeviceCount()
    if devices < local_size:
        raise BackendError(
            f"{local_size} ranks on this machine, but it has {devices} CUDA device(s), and NCCL "
            f"needs one for each; start {devices} rank(s) here, or choose --backend numpy"
        )


class NcclCommunicator(Communicator):
    """GPUs that NCCL connects; the current device is this rank's.

    ``host`` has the same ranks, for arrays on the host. It also sends rank 0's NCCL id to all. Sums
    run on a separate stream, after the work that is on the current stream so far. NCCL needs the
    same order of sums on all ranks, whatever the channel, so two threads must not both start sums.
    """

    from_several_threads = False

    def __init__(self, xp: Any, nccl: Any, host: Communicator) -> None:
        self._xp, self._nccl, self._host = xp, nccl, host
        self.rank, self.size = host.rank, host.size
        self.local_rank, self.local_size = host.local_rank, host.local_size
        self.name = f"NCCL {nccl.get_version()}, {host.name}"
        # The id is bytes (since CuPy 14), which JSON cannot express, but it can a list of numbers.
        ident = host.broadcast_object(list(nccl.get_unique_id()) if self.rank == 0 else None)
        self._comm = nccl.NcclCommunicator(self.size, bytes(ident), self.rank)
        self._stream = xp.cuda.Stream(non_blocking=True)
        self._types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

    def start_sum(self, array: Array, channel: int) -> Request:
        """Start a sum in place: ``ncclAllReduce`` on the device, MPI for arrays on the host."""
        if backend_of(array) == "numpy":
            return self._host.start_sum(array, channel)
        ready, done = (self._xp.cuda.Event(disable_timing=True) for _ in range(2))
        ready.record(self._xp.cuda.get_current_stream())
        self._stream.wait_event(ready)
        device: Any = array
        address, kind = device.data.ptr, self._types[array.dtype.name]
        self._comm.allReduce(
            address, address, array.size, kind, self._nccl.NCCL_SUM, self._stream.ptr
        )
        done.record(self._stream)
        return _NcclRequest(self._xp, done)

    def broadcast(self, array: Array) -> None:
        """Overwrite an array with that of rank 0, by way of the host (once in a run)."""
        if backend_of(array) == "numpy":
            self._host.broadcast(array)
            return
        copy = self._xp.asnumpy(array)
        self._host.broadcast(copy)
        array[...] = self._xp.asarray(copy)

    def broadcast_object(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self._host.broadcast_object(value)

    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Send rows to each rank; they are on the host."""
        return self._host.exchange_rows(rows, counts)

    def rest(self) -> None:
        """Sleep until all ranks have called this method."""
        self._host.rest()

    def abort(self, code: int) -> None:
        """End all ranks."""
        self._host.abort(code)


class _NcclRequest(Request):
    def __init__(self, xp: Any, done: Any) -> None:
        self._xp, self._done = xp, done

    def wait(self) -> None:
        """Make later work on the current stream wait for the sum; the host does not wait."""
        self._xp.cuda.get_current_stream().wait_event(self._done)
