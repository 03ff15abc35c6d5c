"""Order of work on a CUDA device: streams for two networks, and a step as one launch.

A stream works in the order of its launches; several streams may work at the same time. A recorded
graph costs the host one call for all its launches. Nothing here waits for the device.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

STREAMS = 4
"""For each of the two networks, one stream for its layers and one for its weights."""

WARM = 2
"""Times that we do work before we record it. Then kernels are compiled and libraries have allocated
their memory; neither may happen while a stream is recorded."""

MOST = 8
"""Graphs that a recorder keeps: full batches, a short last one, and some to spare."""

ATTEMPTS = 3
"""Failed recordings after which a recorder gives up. A lack of memory may pass; most other faults
do not."""


class Streams:
    """Streams on which a step of two networks runs.

    Each network runs its layers one after the other on one stream. A second stream computes the
    gradients of the weights and the descent, because no other layer waits for these. The layers of
    the first network run on the current stream. Memory that two kernels must not share exists once
    for each ``network`` (0 or 1) that launches; ``number`` is that of the stream that gets its
    launches.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        # A blocking stream would wait for the default stream, so it could not be recorded.
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
        """Do ``one`` on the current stream and ``two`` on the second one, after all work so far.

        Neither may write what the other reads or writes. Later work of the current stream waits for
        all streams. If the current stream is being recorded, these waits make the other streams
        part of the same graph.
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
            # Later work must not overtake what another stream has begun. If the error has ended a
            # recording, joining the streams fails too and must not hide the error.
            with suppress(Exception):
                self._join(first)
            raise
        self._join(first)

    def _join(self, first: Any) -> None:
        """Let the current stream wait for the others, and use it alone again."""
        others = [self._second, *(self._beside[network] for network in self._begun)]
        self._begun.clear()
        self.network = self.number = 0
        self._apart = False
        for stream in others:
            self._after.record(stream)
            first.wait_event(self._after)

    def mark(self) -> None:
        """Let later work of `beside` wait for the network's launches so far."""
        if self._apart:
            self._marks[self.network].record(self.xp.cuda.get_current_stream())

    def beside(self, work: Callable[[], object]) -> None:
        """Do work on the network's second stream, after its launches up to the last `mark`.

        The work must not read what the network writes after the mark, nor write what the network
        reads or writes after it. Outside `both` we do the work at once, on the current stream.
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
    """Repeats work on the same arrays: first by doing it, then as a recorded graph.

    A graph repeats its launches with the same addresses and numbers. So the work must always launch
    the same kernels, and must not depend on anything that changes on the host, such as a step
    number. Its memory must live as long as the recorder. It must not allocate, because the same
    memory could belong to something else the next time. If a recording fails, we log the reason and
    launch the work without a graph. We try again later, up to `ATTEMPTS` times.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._stream = xp.cuda.Stream(non_blocking=True)  # the default stream cannot be recorded
        self._times: dict[Any, int] = {}
        self._graphs: dict[Any, Any] = {}
        self._reasons: list[str] = []

    def __call__(self, work: Callable[..., object], *arrays: Any) -> None:
        """Do ``work(*arrays)`` on the current stream, with the same ``work`` in every call.

        Each combination of addresses and shapes of the arrays has its own graph.
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
        """Return whether to record now; otherwise count one more call."""
        if len(self._reasons) == ATTEMPTS or len(self._graphs) == MOST:
            return False
        times = self._times.pop(key, 0)
        if times == WARM:
            return True
        if len(self._times) == MOST:  # arrays that are used only once need no graph
            del self._times[next(iter(self._times))]
        self._times[key] = times + 1
        return False

    def _record(self, work: Callable[..., object], arrays: tuple[Any, ...]) -> Any:
        """Return the graph of the launches of ``work``, or None if it cannot be recorded."""
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
    """Postpone garbage collection: a finaliser that frees device memory would end the recording."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse(size: int) -> Any:
    raise RuntimeError(f"{size} bytes of device memory were asked for while a graph was recorded")
