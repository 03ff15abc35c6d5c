"""The batches of an epoch: from memory, or read from disk a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.data.batch import Batch, Feed, Share, whole
from ddnmf_np.data.order import batch_slices, epoch_order
from ddnmf_np.data.streaming.blocks import Index
from ddnmf_np.data.streaming.rows import Floats, Rows

if TYPE_CHECKING:
    from ddnmf_np.data.noise import Corruption
    from ddnmf_np.data.scaling import DeviceScaling


class MemoryFeed:
    """Batches of samples that are all on the backend, in a new order every epoch.

    ``batch_size`` counts the samples of a batch over all processes.
    """

    def __init__(self, x: Array, batch: Batch, batch_size: int, seed: int) -> None:
        self.x, self.batch, self._seed = x, batch, seed
        self.batches = batch_slices(x.shape[0], batch_size)

    def first(self, count: int) -> Array:
        """Return the first samples of the first epoch."""
        return self.x[self._order(0)[:count]]

    def epoch(self, number: int, done: int) -> Generator[Array, None, None]:
        """Yield the index of each batch of an epoch after the first ``done``."""
        order = self._order(number)
        for rows in self.batches[done:]:
            yield order[rows]

    def prepare(self, index: Array) -> tuple[Array, ...]:
        """Gather the chosen samples, and draw their noise."""
        self.batch.ops.gather(self.x, index, out=self.batch.clean[: index.shape[0]])
        return self.batch.corrupt(index)

    def _order(self, epoch: int) -> Array:
        return epoch_order(self.x.shape[0], self._seed, epoch, xp=self.batch.ops.xp)


class Part(NamedTuple):
    """The part of a window that one process computes."""

    x: Floats  # (m_mine, n_features): rows that contain its samples
    place: Index  # (n_mine,): row in ``x`` of each of its samples, in the order of the epoch
    numbers: Index  # (m,): index in the data of every sample of the window, in that order
    before: Index  # (m + 1,): how many of its samples come before each sample of the window


Read: TypeAlias = Callable[[Rows, int, int, int, int], Generator[Part, None, None]]
"""Yields this process's part of each window: ``read(rows, batch_size, seed, epoch, skip)``."""


def read_alone(
    rows: Rows, batch_size: int, seed: int, epoch: int, skip: int
) -> Generator[Part, None, None]:
    """Yield all samples of each window, without a copy; arguments as `Rows.mixed_windows`."""
    with closing(rows.mixed_windows(seed, epoch, skip)) as windows:
        for window in windows:
            part = Part(window.x, window.place, window.numbers, np.arange(len(window.numbers) + 1))
            del window
            yield part
            del part  # free its memory before we wait for the next


class StreamFeed:
    """Batches of samples that are read a window at a time.

    Parameters as `MemoryFeed`, with `Rows` for ``x``. ``read`` yields this process's part of the
    windows, and `epoch` writes the clean rows of ``batch``.
    """

    def __init__(self, x: Rows, batch: Batch, batch_size: int, seed: int, read: Read) -> None:
        self.x, self.batch, self._size, self._seed, self._read = x, batch, batch_size, seed, read
        self.batches = range(0, len(x), batch_size)  # a list would grow with the data

    def first(self, count: int) -> Array:
        """Return the first samples of the first epoch."""
        return self.batch.ops.to_device(self.x.first(self._seed, count), self.batch.clean.dtype)

    def epoch(self, number: int, done: int) -> Generator[Array, None, None]:
        """Write the clean rows of each batch after the first ``done``, and yield its index.

        A batch may have samples of two windows.
        """
        size, ops, clean = self._size, self.batch.ops, self.batch.clean
        index, filled, rows = ops.empty((size,), "int64"), 0, 0
        with closing(self._read(self.x, size, self._seed, number, done * size)) as windows:
            for window, window_place, window_numbers, before in windows:
                x, place, numbers = (
                    ops.to_device(array) for array in (window, window_place, window_numbers)
                )
                at = 0
                while at < len(window_numbers):
                    take = min(size - filled, len(window_numbers) - at)
                    mine = slice(before[at], before[at + take])
                    more = mine.stop - mine.start
                    ops.gather(x, place[mine], out=clean[rows : rows + more])
                    index[filled : filled + take] = numbers[at : at + take]
                    at, filled, rows = at + take, filled + take, rows + more
                    if filled == size:
                        yield index
                        filled = rows = 0
                del window, x  # free their memory before we wait for the next
        if filled:
            yield index[:filled]

    def prepare(self, index: Array) -> tuple[Array, ...]:
        """Draw the noise of the clean rows that `epoch` has written."""
        return self.batch.corrupt(index)


def make_feed(
    x: Array | Rows,
    noise: Corruption,
    *,
    batch_size: int,
    seed: int,
    dtype: Any,
    missing: bool = False,
    first_index: int = 0,
    rows: int | None = None,
    share: Share = whole,
    read: Read = read_alone,
    scaling: DeviceScaling | None = None,
) -> Feed:
    """Return a `MemoryFeed` of samples on the backend, or a `StreamFeed` of `Rows`.

    ``rows`` is the size of the largest share; by default that of the whole batch. The other
    parameters are those of the feeds and of `Batch`.
    """
    options: Any = {"missing": missing, "first_index": first_index, "share": share}
    batch = Batch(noise, rows or batch_size, x.shape[1], dtype, scaling=scaling, **options)
    if isinstance(x, Rows):
        return StreamFeed(x, batch, batch_size, seed, read)
    return MemoryFeed(x, batch, batch_size, seed)


def held(x: Any, ops: Ops, dtype: Any) -> Any:
    """Move samples to the backend; `Rows` stay on disk."""
    return x if isinstance(x, Rows) else ops.to_device(x, dtype)


def largest(x: Array | Rows, ops: Ops, *, missing: bool) -> float:
    """Return the largest value of some samples, without missing entries."""
    if isinstance(x, Rows):
        return float(x.survey.high)
    return float(np.nanmax(ops.to_host(x)) if missing else x.max())
