"""Order of work on a CUDA device: streams for two networks, and a step as one launch.

A stream does its work in the order in which it was asked for; several streams may do theirs at a
time. Launches of a recorded graph cost the host one call together, instead of one each. Nothing
here waits for the device.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

WARM = 2
"""Times that work is done before it is recorded: kernels are compiled and libraries have taken
their memory then, neither of which may happen while a stream is recorded."""

MOST = 8
"""Graphs that a recorder keeps: full batches, a short last one, and some to spare."""


STREAMS = 4
"""A stream for the layers of each network, and one beside each of these."""

ATTEMPTS = 3
"""Recordings that may fail before a recorder gives up: a lack of memory may pass, another fault
will not."""


class Streams:
    """The streams on which a step of two networks is done.

    The layers of a network follow one another on its own stream. What no other layer waits for,
    the gradients of the weights and the descent, is done on a stream beside it. The first network
    takes the current stream.

    Parameters
    ----------
    xp : module
        CuPy.

    Attributes
    ----------
    network : int
        The network that launches now, 0 or 1. What two kernels must not share has one copy for
        each.
    number : int
        The one of the ``STREAMS`` that takes its launches.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        # A stream that blocks would wait for the default stream, and could not be recorded.
        self._second, *self._beside = (
            xp.cuda.Stream(non_blocking=True) for _ in range(STREAMS - 1)
        )
        self._before, self._after, *self._marks = (
            xp.cuda.Event(disable_timing=True) for _ in range(4)
        )
        self._begun: set[int] = set()
        self._apart = False
        self.network = self.number = 0

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Do ``one`` on the current stream and ``two`` on the second, after all work so far.

        Later work of the current stream waits for both, and for what was done beside them. While
        the current stream is recorded, the events make the others part of the same graph.

        Parameters
        ----------
        one, two : callable
            Ask for work of which neither writes what the other reads or writes.
        """
        first = self.xp.cuda.get_current_stream()
        self._before.record(first)
        self._second.wait_event(self._before)
        self._apart = True
        try:
            self.mark()
            one()
            self.network = self.number = 1
            with self._second:
                self.mark()
                two()
        except BaseException:
            # What another stream has begun must not be overtaken. If the error has ended a
            # recording, the joins fail too: they must not hide it.
            with suppress(Exception):
                self._join(first)
            raise
        self._join(first)

    def _join(self, first: Any) -> None:
        """Let the current stream wait for the others, and be alone again."""
        others = [self._second, *(self._beside[network] for network in self._begun)]
        self._begun.clear()
        self.network = self.number = 0
        self._apart = False
        for stream in others:
            self._after.record(stream)
            first.wait_event(self._after)

    def mark(self) -> None:
        """Let what is done `beside` from now on wait for the network's launches so far."""
        if self._apart:
            self._marks[self.network].record(self.xp.cuda.get_current_stream())

    def beside(self, work: Callable[[], object]) -> None:
        """Do work beside the network, after its launches up to the last `mark`.

        Outside of `both` there is nothing beside it, and work is done at once.

        Parameters
        ----------
        work : callable
            Asks for launches that read nothing which the network writes after the mark, and that
            write nothing which it reads or writes after it.
        """
        network = self.network
        if not self._apart:
            work()
            return
        self._beside[network].wait_event(self._marks[network])
        self._begun.add(network)
        self.number = 2 + network
        try:
            with self._beside[network]:
                work()
        finally:
            self.number = network


class Recorder:
    """Repeats work on the same arrays: at first by doing it, then as a graph.

    Parameters
    ----------
    xp : module
        CuPy.

    Notes
    -----
    A graph repeats launches with the addresses and numbers they had. So the work must always ask
    for the same launches, depend on nothing that changes on the host (a step number, say), and
    write and read memory that lives as long as the recorder. Memory must not be allocated by it
    either, since it could be another's at the next time: while work is recorded, an allocation
    is an error. If recording fails, the reason is logged, and the work is done by ordinary
    launches. It is recorded again after more of them, until `ATTEMPTS` recordings have failed.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._stream = xp.cuda.Stream(non_blocking=True)  # the default stream cannot be recorded
        self._times: dict[Any, int] = {}
        self._graphs: dict[Any, Any] = {}
        self._reasons: list[str] = []

    def __call__(self, work: Callable[..., object], *arrays: Any) -> None:
        """Do ``work(*arrays)`` on the current stream.

        Parameters
        ----------
        work : callable
            The same at every call.
        *arrays : ndarray
            What it reads; for each combination of addresses and shapes there is a graph.
        """
        key = tuple((a.data.ptr, a.shape, a.strides, a.dtype.str) for a in arrays)
        graph = self._graphs.get(key)
        if graph is None and self._is_warm(key):
            graph = self._record(work, arrays)
            if graph is not None:
                self._graphs[key] = graph
        if graph is None:
            work(*arrays)
        else:
            graph.launch()

    def _is_warm(self, key: Any) -> bool:
        """Return whether work is to be recorded now, and count it otherwise."""
        if len(self._reasons) == ATTEMPTS or len(self._graphs) == MOST:
            return False
        times = self._times.pop(key, 0)
        if times == WARM:
            return True
        if len(self._times) == MOST:  # arrays that come and go are not worth a graph
            del self._times[next(iter(self._times))]
        self._times[key] = times + 1
        return False

    def _record(self, work: Callable[..., object], arrays: tuple[Any, ...]) -> Any:
        """Return the graph of the launches that work asks for (none is made), or None."""
        stream = self._stream
        try:
            with stream, self.xp.cuda.using_allocator(_refuse), _no_garbage_collection():
                stream.begin_capture()
                try:
                    work(*arrays)
                except BaseException:
                    with suppress(Exception):  # ends the recording; the error above is the cause
                        stream.end_capture()
                    raise
                return stream.end_capture()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if reason not in self._reasons:
                logging.getLogger(__name__).warning(
                    "a step cannot be recorded as a CUDA graph and takes more time: %s", reason
                )
            self._reasons.append(reason)
            return None


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Put off garbage collection.

    A finaliser may free device memory or destroy a stream or a handle of cuBLAS; CUDA refuses that
    while a stream is recorded, and the recording is lost.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse(size: int) -> Any:
    raise RuntimeError(f"{size} bytes of device memory were asked for while a graph was recorded")
