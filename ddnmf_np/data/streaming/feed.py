"""Batches of samples that are read from disk, a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import NamedTuple, TypeAlias

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.data.batch import Batch
from ddnmf_np.data.streaming.blocks import Index
from ddnmf_np.data.streaming.rows import Floats, Rows


class Part(NamedTuple):
    """What one process has of a window.

    Attributes
    ----------
    x : ndarray of shape (m_mine, n_features)
        Rows of which its samples are.
    place : ndarray of shape (n_mine,), int64
        For each of its samples in the order of the epoch, the row in ``x``.
    numbers : ndarray of shape (m,), int64
        Of every sample of the window in that order, the index in the data.
    before : ndarray of shape (m + 1,), int64
        How many of its samples come before each one.
    """

    x: Floats
    place: Index
    numbers: Index
    before: Index


Read: TypeAlias = Callable[[Rows, int, int, int, int], Generator[Part, None, None]]
"""Yields this process's part of each window: ``read(rows, batch_size, seed, epoch, skip)``."""


def read_alone(
    rows: Rows, batch_size: int, seed: int, epoch: int, skip: int
) -> Generator[Part, None, None]:
    """Yield all samples of each window, without a copy.

    Parameters
    ----------
    rows : Rows
        The samples.
    batch_size : int
        Not needed: all samples of every batch are this process's.
    seed, epoch, skip : int
        As `Rows.mixed_windows`.
    """
    with closing(rows.mixed_windows(seed, epoch, skip)) as windows:
        for window in windows:
            part = Part(window.x, window.place, window.numbers, np.arange(len(window.numbers) + 1))
            del window
            yield part
            del part  # before the next is waited for


class StreamFeed:
    """Batches of samples that are read a window at a time.

    Parameters
    ----------
    x : Rows
        The samples.
    batch : Batch
        Memory of a batch; `epoch` writes its clean rows.
    batch_size : int
        Samples of a batch, those of all processes included.
    seed : int
        With the epoch, all that the order depends on.
    read : callable
        How this process gets its part of the windows.
    """

    def __init__(
        self, x: Rows, batch: Batch, batch_size: int, seed: int, read: Read = read_alone
    ) -> None:
        self.x, self.batch, self._size, self._seed, self._read = x, batch, batch_size, seed, read
        self.batches = range(0, len(x), batch_size)  # a list would grow with the data

    def first(self, count: int) -> Array:
        """Return the first samples of the first epoch."""
        return self.batch.ops.to_device(self.x.first(self._seed, count), self.batch.clean.dtype)

    def epoch(self, number: int, done: int) -> Generator[Array, None, None]:
        """Yield the index of each batch that is left of an epoch; its clean rows are there by then.

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
                del window, x  # before the next is waited for
        if filled:
            yield index[:filled]

    def prepare(self, index: Array) -> tuple[Array, ...]:
        """Draw the noise of the clean rows that `epoch` has written."""
        return self.batch.corrupt(index)
