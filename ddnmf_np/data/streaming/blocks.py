"""A random order of samples that is read in long runs of consecutive rows.

We cut the samples into blocks. An epoch takes the blocks in random order, a window of several at a
time, and visits the rows of a window in random order. ``derivations/larger-than-memory.md``
compares this with an order in which all samples are mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.order import row_keys

_BLOCK_STREAM = b"blocks  "

Index = NDArray[np.int64]


@dataclass(frozen=True)
class BlockOrder:
    """The order of each epoch, which depends only on (seed, epoch) and sizes.

    ``block_rows`` consecutive samples are read together (the last block may be shorter), and the
    samples of ``window_blocks`` blocks are mixed.
    """

    n: int
    block_rows: int
    window_blocks: int
    seed: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n // self.block_rows)

    def windows(self, epoch: int) -> Iterator[Index]:
        """Yield the block numbers of each window of an epoch, in the order of the data."""
        blocks = np.arange(self.n_blocks, dtype=np.int64)
        keys = row_keys(blocks, self.seed, epoch, stream=_BLOCK_STREAM)
        order = np.argsort(keys, kind="stable")
        for at in range(0, len(order), self.window_blocks):
            yield np.sort(order[at : at + self.window_blocks])

    def extent(self, block: int) -> tuple[int, int]:
        """Return the first row of a block and the one after its last."""
        start = block * self.block_rows
        return start, min(start + self.block_rows, self.n)

    def count(self, blocks: Index) -> int:
        """Return the number of samples of some blocks."""
        short = self.n_blocks * self.block_rows - self.n if self.n_blocks - 1 in blocks else 0
        return len(blocks) * self.block_rows - short

    def mixed(self, blocks: Index, epoch: int) -> tuple[Index, Index]:
        """Return the order of a window's samples, from the ascending numbers of its blocks.

        The results, (m,), have for each sample in turn its row in the window, in which the blocks
        follow each other, and its index in the data. The samples are sorted by the keys of
        `epoch_order`, so a window of all blocks has exactly that order.
        """
        index = np.concatenate([np.arange(*self.extent(int(b)), dtype=np.int64) for b in blocks])
        place = np.argsort(row_keys(index, self.seed, epoch), kind="stable")
        return place, index[place]
