"""Batches of which each rank has its share; samples that are streamed are read by one rank each.

The order of the samples is that of one process. Of each window a rank reads its part of the blocks
and sends the rows on to those whose share of a batch they are in; ``derivations/16-scaling.md`` has
what that costs.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.data.batch import Feed
from ddnmf_np.data.feed import Part, make_feed
from ddnmf_np.data.noise import Corruption
from ddnmf_np.data.streaming.rows import Rows, Window
from ddnmf_np.errors import DataError
from ddnmf_np.parallel.communicator import LOSSES, Communicator


def make_shared_feed(
    ranks: Communicator, x: Array | Rows, noise: Corruption, *, batch_size: int, **options: Any
) -> Feed:
    """Return the feed of this rank's share of every batch.

    Parameters
    ----------
    ranks : Communicator
        Who shares.
    x : ndarray or Rows
        The same samples on all ranks.
    noise : Corruption
        Noise of equation 2.
    batch_size : int
        Samples of a batch, those of all ranks included.
    **options
        As for `ddnmf_np.data.feed.make_feed`.
    """
    return make_feed(
        x,
        noise,
        batch_size=batch_size,
        rows=-(-batch_size // ranks.size),
        share=ranks.share,
        read=partial(read_together, ranks),
        **options,
    )


def read_together(
    ranks: Communicator, rows: Rows, batch_size: int, seed: int, epoch: int, skip: int
) -> Generator[Part, None, None]:
    """Yield this rank's part of the windows of an epoch.

    Parameters
    ----------
    ranks : Communicator
        Who reads.
    rows : Rows
        The same samples on all ranks.
    batch_size : int
        Of all ranks; the shares of a batch are those of `Communicator.share`.
    seed, epoch, skip : int
        As `Rows.mixed_windows`; ``skip`` is a multiple of ``batch_size``.

    Yields
    ------
    Part
        Of each window the samples in this rank's share of their batch.
    """
    windows = rows.mixed_windows(seed, epoch, skip, reader=ranks.rank, readers=ranks.size)
    with closing(windows):
        for window in windows:
            numbers, m = window.numbers, len(window.numbers)
            batch, offset = np.divmod(np.arange(skip, skip + m), batch_size)
            of_batch = np.minimum(batch_size, len(rows) - batch * batch_size)
            share = ranks.share_of(offset, of_batch)
            sent, counts, place = deal(window, share, ranks)
            del window  # what is sent is all that is needed of it
            x = ranks.exchange_rows(sent, counts)
            del sent
            before = np.concatenate([[0], np.cumsum(share == ranks.rank)])
            part = Part(x, place, numbers, before)
            del x
            skip += m
            yield part
            del part  # before the next is waited for


def deal(window: Window, share: Array, ranks: Communicator) -> tuple[Array, Array, Array]:
    """Return what to send of a window, and where what comes belongs.

    Parameters
    ----------
    window : Window
        With the rows that this rank has read.
    share : ndarray of shape (m,), int64
        Of each sample in turn, the rank in whose share it is.
    ranks : Communicator
        Among whom to deal.

    Returns
    -------
    rows, counts
        For `Communicator.exchange_rows`.
    place : ndarray of shape (n_mine,), int64
        For each of this rank's samples in the order of the epoch, the row in what it receives.
    """
    reader = np.searchsorted(window.bounds, window.place, side="right") - 1
    read_here = reader == ranks.rank
    place = window.place - window.bounds[ranks.rank]
    parts = [place[read_here & (share == rank)] for rank in range(ranks.size)]
    rows = window.x[np.concatenate(parts)]
    counts = np.array([len(part) for part in parts], np.int64)
    # They come by reader, each reader's in the order of the epoch.
    as_received = np.argsort(reader[share == ranks.rank], kind="stable")
    where = np.empty_like(as_received)
    where[as_received] = np.arange(len(where))
    return rows, counts, where


def survey_together(rows: Rows, ranks: Communicator) -> None:
    """Make the survey of some samples, each rank of its part of the blocks.

    Raises
    ------
    DataError
        As `Rows.survey`; or if the samples of this rank are not those of the others. Each looks at
        a block of the next one's; the rest shows when it is read.
    """
    here: list[Any] = [list(rows.shape), rows.block_rows]
    there = ranks.broadcast_object(here)
    if here != there:
        raise _other(
            rows,
            ranks,
            f"it has the shape {rows.shape} in blocks of {rows.block_rows} rows, on rank 0 "
            f"{tuple(there[0])} in blocks of {there[1]}",
        )
    cuts = [rows.n_blocks * rank // ranks.size for rank in range(ranks.size + 1)]
    mine = slice(cuts[ranks.rank], cuts[ranks.rank + 1])
    found = np.zeros((ranks.size, 2))
    checksums = np.zeros(rows.n_blocks, np.int64)
    high, missing, checksums[mine] = rows.look(mine.start, mine.stop)
    found[ranks.rank] = max(0.0, high), missing
    for array in (found, checksums):
        ranks.start_sum(array, LOSSES).wait()
    none_there = int(found[:, 1].sum()) == rows.shape[0] * rows.shape[1]
    highest = -np.inf if none_there else float(found[:, 0].max())
    rows.conclude(highest, int(found[:, 1].sum()), checksums.astype(np.uint32))
    number = cuts[(ranks.rank + 1) % ranks.size] % rows.n_blocks
    if not rows.is_as_surveyed(number):
        raise _other(rows, ranks, f"its block {number} differs")


def _other(rows: Rows, ranks: Communicator, how: str) -> DataError:
    return DataError(
        f"dataset {rows.name}: on rank {ranks.rank} it is not what the others have ({how}); give "
        "every machine the same file"
    )
