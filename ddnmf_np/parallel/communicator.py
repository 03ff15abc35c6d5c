"""What the processes of one training tell each other, and the case of one process."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any, Protocol

from ddnmf_np.backends.ops import Array

SUPERVISOR, STUDENT, LOSSES, STOP = range(4)
"""Channels: sums of different channels do not wait for each other, whoever starts which first."""

N_CHANNELS = 4


class Request(Protocol):
    """A sum on its way."""

    def poll(self) -> None:
        """Let it come on while there is something else to do; does not wait."""

    def wait(self) -> None:
        """Return once the array holds the sum."""


class Done:
    """A request that is done."""

    def poll(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""


class Communicator(ABC):
    """The processes of one training, called ranks, as one of them sees them.

    All ranks call the same methods in the same order; only different channels go as they like.

    Attributes
    ----------
    rank, size : int
        Which one this is, from 0, and how many there are.
    local_rank, local_size : int
        The same among those on this machine.
    name : str
        Who carries the messages, for people.
    from_several_threads : bool
        Whether two threads may have a sum on its way at a time.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    name: str
    from_several_threads: bool

    @abstractmethod
    def start_sum(self, array: Array, channel: int) -> Request:
        """Begin to replace an array by its sum over all ranks, the same bits on each.

        Parameters
        ----------
        array : ndarray
            Contiguous, of the same shape and dtype on all ranks; nobody's until the request is
            done.
        channel : int
            Below `N_CHANNELS`; one sum at a time in each.
        """

    @abstractmethod
    def broadcast(self, array: Array) -> None:
        """Overwrite a contiguous array with that of rank 0."""

    @abstractmethod
    def broadcast_object(self, value: Any) -> Any:
        """Return what rank 0 gives: anything that JSON can say."""

    @abstractmethod
    def rest(self) -> None:
        """Return once all ranks have called it; sleeps meanwhile, and takes no processor."""

    @abstractmethod
    def abort(self, code: int) -> None:
        """End all ranks at once, with that exit code; does not return."""

    @abstractmethod
    def exchange_rows(self, rows: Array, counts: Array) -> Array:
        """Send rows to each rank, and return those that all have sent here, by rank.

        Parameters
        ----------
        rows : ndarray of shape (n, width)
            First those for rank 0, and so on; on the host, of one dtype and width everywhere.
        counts : ndarray of shape (size,), int64
            How many for each.
        """

    def share(self, n: int) -> slice:
        """Return which of ``n`` rows of a batch are this rank's: shares differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share_of(self, offset: Array, n: Array) -> Array:
        """Return the rank in whose share a row is: the inverse of `share`.

        Parameters
        ----------
        offset, n : ndarray of int64
            Of each row, its place in its batch and the rows of that batch.
        """
        rank: Array = ((offset + 1) * self.size - 1) // n
        return rank


class SerialCommunicator(Communicator):
    """One process, which has nobody to tell anything."""

    rank = local_rank = 0
    size = local_size = 1
    name = "one process"
    from_several_threads = True

    def start_sum(self, array: Array, channel: int) -> Request:
        """Return a request that is done: the sum is the array."""
        return Done()

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
