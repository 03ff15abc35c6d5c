"""Feed of each rank's share of every batch.

The order of the samples is that of one process. If samples are streamed, each rank reads a part of
the blocks of each window, and sends every row to the rank whose share contains it.
``derivations/16-scaling.md`` has the cost.
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

    ``batch_size`` counts the samples over all ranks, ``x`` are the same samples on all ranks;
    ``options`` are those of `ddnmf_np.data.feed.make_feed`.
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
    """Yield, for each window of an epoch, the samples in this rank's share of their batch.

    ``seed``, ``epoch`` and ``skip`` are those of `Rows.mixed_windows`; ``skip`` is a multiple of
    ``batch_size``, the number of samples of a batch over all ranks.
    """
    windows = rows.mixed_windows(seed, epoch, skip, reader=ranks.rank, readers=ranks.size)
    with closing(windows):
        for window in windows:
            numbers, m = window.numbers, len(window.numbers)
            batch, offset = np.divmod(np.arange(skip, skip + m), batch_size)
            of_batch = np.minimum(batch_size, len(rows) - batch * batch_size)
            share = ranks.share_of(offset, of_batch)
            sent, counts, place = deal(window, share, ranks)
            del window  # frees memory: we need only what is sent
            x = ranks.exchange_rows(sent, counts)
            del sent
            before = np.concatenate([[0], np.cumsum(share == ranks.rank)])
            part = Part(x, place, numbers, before)
            del x
            skip += m
            yield part
            del part  # frees memory before we wait for the next window


def deal(window: Window, share: Array, ranks: Communicator) -> tuple[Array, Array, Array]:
    """Return the rows to send of a window, and the order of the rows to receive.

    ``share``, (m,) in int64, has for each sample in the order of the epoch the rank whose share
    contains it. The first two results are the arguments of `Communicator.exchange_rows`. The third,
    (n_mine,) in int64, has for each of this rank's samples in the order of the epoch its row among
    those received.
    """
    reader = np.searchsorted(window.bounds, window.place, side="right") - 1
    read_here = reader == ranks.rank
    place = window.place - window.bounds[ranks.rank]
    parts = [place[read_here & (share == rank)] for rank in range(ranks.size)]
    rows = window.x[np.concatenate(parts)]
    counts = np.array([len(part) for part in parts], np.int64)
    # Rows arrive ordered by reader, and those of one reader in the order of the epoch.
    as_received = np.argsort(reader[share == ranks.rank], kind="stable")
    where = np.empty_like(as_received)
    where[as_received] = np.arange(len(where))
    return rows, counts, where


def survey_together(rows: Rows, ranks: Communicator) -> None:
    """Survey samples, each rank a part of the blocks.

    Each rank also compares one block of the next rank's part with its own file. Differences in
    other blocks are found when they are read. Raises `DataError` as `Rows.survey`, or if this rank
    has other samples than the other ranks.
    """
    here: list[Any] = [list(rows.shape), rows.block_rows]
    there = ranks.broadcast_object(here)
    if here != there:
        raise _other(
            rows,
            ranks,
            f"shape {rows.shape} in blocks of {rows.block_rows} rows; on rank 0 "
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
        raise _other(rows, ranks, f"block {number} differs")


def _other(rows: Rows, ranks: Communicator, how: str) -> DataError:
    return DataError(
        f"dataset {rows.name}: rank {ranks.rank} has other data than the other ranks ({how}); give "
        "every machine the same file"
    )
