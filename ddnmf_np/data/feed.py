"""Batches of samples in memory; and the feed that fits some samples."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.data.batch import Batch, Feed, Share, whole
from ddnmf_np.data.noise import Corruption
from ddnmf_np.data.order import batch_slices, epoch_order
from ddnmf_np.data.streaming.feed import Read, StreamFeed, read_alone
from ddnmf_np.data.streaming.rows import Rows


class MemoryFeed:
    """Batches of samples that are all on the backend, in a new order every epoch.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    batch : Batch
        Memory of a batch.
    batch_size : int
        Samples of a batch, those of all processes included.
    seed : int
        With the epoch, all that the order depends on.
    """

    def __init__(self, x: Array, batch: Batch, batch_size: int, seed: int) -> None:
        self.x, self.batch, self._seed = x, batch, seed
        self.batches = batch_slices(x.shape[0], batch_size)

    def first(self, count: int) -> Array:
        """Return the first samples of the first epoch."""
        return self.x[self._order(0)[:count]]

    def epoch(self, number: int, done: int) -> Generator[Array, None, None]:
        """Yield the index of each batch that is left of an epoch."""
        order = self._order(number)
        for rows in self.batches[done:]:
            yield order[rows]

    def prepare(self, index: Array) -> tuple[Array, ...]:
        """Gather the samples that were chosen, and draw their noise."""
        self.batch.ops.gather(self.x, index, out=self.batch.clean[: index.shape[0]])
        return self.batch.corrupt(index)

    def _order(self, epoch: int) -> Array:
        return epoch_order(self.x.shape[0], self._seed, epoch, xp=self.batch.ops.xp)


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
) -> Feed:
    """Return the feed that fits some samples.

    Parameters
    ----------
    x : ndarray or Rows
        Samples on the backend, or samples that are read a window at a time.
    noise : Corruption
        Noise of equation 2.
    batch_size : int
        Samples of a batch, those of all processes included.
    seed : int
        With the epoch, all that the order depends on.
    dtype : dtype
        Precision of the samples.
    missing : bool
        Whether NaN in a sample is a missing entry.
    first_index : int
        Index of the first sample for the noise.
    rows : int, optional
        Samples of the largest share; the whole batch by default.
    share : callable
        Which rows of each batch are computed here; all by default.
    read : callable
        Who reads the windows of `Rows`; this process by default.
    """
    options: Any = {"missing": missing, "first_index": first_index, "share": share}
    batch = Batch(noise, rows or batch_size, x.shape[1], dtype, **options)
    if isinstance(x, Rows):
        return StreamFeed(x, batch, batch_size, seed, read)
    return MemoryFeed(x, batch, batch_size, seed)


def held(x: Any, ops: Ops, dtype: Any) -> Any:
    """Return samples on the backend; `Rows` stay on the disk."""
    return x if isinstance(x, Rows) else ops.to_device(x, dtype)


def largest(x: Array | Rows, ops: Ops, *, missing: bool) -> float:
    """Return the largest value of some samples; missing entries have none."""
    if isinstance(x, Rows):
        return float(x.survey.high)
    return float(np.nanmax(ops.to_host(x)) if missing else x.max())
