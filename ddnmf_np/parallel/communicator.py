"""Communication between the ranks of one training, and the case of one process."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any

from ddnmf_np.backends.ops import Array

SUPERVISOR, STUDENT, LOSSES, STOP = range(4)
"""Channels of `Communicator.start_sum`. Ranks may start sums of different channels in any order."""

N_CHANNELS = 4


class Request:
    """Sum that is under way; in this base class, it is done."""

    def poll(self) -> None:
        """Let the sum make progress, without waiting for it."""

    def wait(self) -> None:
        """Return once the array holds the sum."""


class Communicator(ABC):
    """Ranks (processes) of one training, as one of them sees them.

    All ranks call the same methods in the same order, except for sums of different channels.
    """

    rank: int  # number of this rank, from 0
    size: int  # number of ranks
    local_rank: int  # the same two among the ranks of this machine
    local_size: int
    name: str  # of the library that carries the messages
    from_several_threads: bool  # whether two threads may have a sum under way at the same time

    @abstractmethod
    def start_sum(self, array: Array, channel: int) -> Request:
        """Start an all-reduce in place: the sum over all ranks, bit-identical on each.

        The array is contiguous, of the same shape and dtype on all ranks. Do not use it until the
        request is done. ``channel`` is below `N_CHANNELS`; each channel has one sum at a time.
        """

    @abstractmethod
    def broadcast(self, array: Array) -> None:
        """Overwrite a contiguous array with that of rank 0."""

    @abstractmethod
    def broadcast_object(self, value: Any) -> Any:
        """Return the value of rank 0, which JSON must be able to express."""

    @abstractmethod
    def rest(self) -> None:
        """Sleep until all ranks have called this method."""

    @abstractmethod
    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code; does not return."""

    @abstractmethod
    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Send rows to each rank (all-to-all), and return those sent here, ordered by rank.

        ``rows``, (n, width) on the host, are those for rank 0, then those for rank 1, and so on.
        All ranks have the same dtype and width. ``counts``, (size,) in int64, has the number of
        rows for each rank.
        """

    def share(self, n: int) -> slice:
        """Return this rank's share of the ``n`` rows of a batch; shares differ by at most one."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share_of(self, offset: Array, n: Array) -> Array:
        """Return, for row ``offset`` of a batch of ``n`` rows, the rank whose share contains it."""
        rank: Array = ((offset + 1) * self.size - 1) // n
        return rank


class SerialCommunicator(Communicator):
    """Single process."""

    rank = local_rank = 0
    size = local_size = 1
    name = "one process"
    from_several_threads = True

    def start_sum(self, array: Array, channel: int) -> Request:
        """Return a request that is done, because the array is the sum."""
        return Request()

    def broadcast(self, array: Array) -> None:
        """Do nothing."""

    def broadcast_object(self, value: Any) -> Any:
        """Return the value."""
        return value

    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Return the rows."""
        return rows

    def rest(self) -> None:
        """Do nothing."""

    def abort(self, code: int) -> None:
        """Leave by `SystemExit`."""
        sys.exit(code)
