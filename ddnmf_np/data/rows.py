"""Samples of a source as the model wants them: converted, checked, a block at a time."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.blocks import BlockOrder, Index
from ddnmf_np.data.datasets import check_nonnegative
from ddnmf_np.data.readahead import read_ahead
from ddnmf_np.data.sources import Source
from ddnmf_np.errors import DataError

Floats = NDArray[np.floating[Any]]

BLOCK_BYTES = 2**20
"""Size of a block: long enough that a disk reads random blocks nearly as fast as all in a row."""

WINDOW_MIB = 128
"""Default size of the samples that are mixed; twice that is in memory, for the read-ahead."""


@dataclass(frozen=True)
class Survey:
    """What one pass over all samples has found.

    Parameters
    ----------
    high : float
        Largest value.
    sha256 : str
        Hash of shape, dtype and values, that of the same samples in memory; where the file's
        chunks decide how large blocks are, also of that size.
    missing : float
        Share of entries that are NaN.
    """

    high: float
    sha256: str
    missing: float


class Rows:
    """Samples that are read, converted and checked a block at a time.

    Parameters
    ----------
    source : Source
        Where they come from.
    dtype : dtype
        Either float32 or float64.
    scale : bool
        Divide unsigned 8-bit values by 255.
    missing : {"error", "nan"}
        Whether NaN is refused, or a missing entry.
    window_mib : int
        Size of the samples that are mixed, in MiB.

    Attributes
    ----------
    block_rows, window_blocks : int
        How rows are read and mixed; see `ddnmf_np.data.blocks.BlockOrder`.
    """

    ndim = 2

    def __init__(
        self,
        source: Source,
        dtype: Any,
        *,
        scale: bool = False,
        missing: str = "error",
        window_mib: int = WINDOW_MIB,
    ) -> None:
        self.source, self.name = source, source.name
        self.shape, self.dtype = source.shape, np.dtype(dtype)
        self._scaled = scale and source.dtype == np.uint8
        self._missing = missing
        row_bytes = self.shape[1] * self.dtype.itemsize
        self._plain_rows = max(1, BLOCK_BYTES // row_bytes)
        chunk = min(source.chunk_rows, self.shape[0])
        # Whole chunks, or each would be read once for every block that has a part of it.
        self.block_rows = chunk * max(1, self._plain_rows // chunk)
        self.window_blocks = max(1, window_mib * 2**20 // (row_bytes * self.block_rows))
        self._checksums: NDArray[np.uint32] | None = None  # of the blocks, once there is a survey

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> Floats:
        """Return the rows ``start:stop``, converted.

        Raises
        ------
        DataError
            If they cannot be read, are not finite (but for missing ones) or are negative; it names
            the row.
        """
        given = self.source.rows(start, stop)
        if self._scaled:
            x = np.divide(given, 255.0, dtype=self.dtype, order="C")
        else:
            with np.errstate(over="ignore"):  # checked below
                x = np.ascontiguousarray(given, self.dtype)
        if self._missing == "error" or not np.isnan(x).all():  # of a part that is no error
            where = f"{self.name}, rows {start} to {stop - 1} as {self.dtype}"
            check_nonnegative(x, where, self._missing, first_row=start)
        return x

    def blocks(self) -> Generator[tuple[int, Floats], None, None]:
        """Yield the first row and the samples of all blocks, in the order of the data."""

        def reading() -> Iterator[tuple[int, Floats]]:
            for start in range(0, self.shape[0], self.block_rows):
                yield start, self._block(start)

        with closing(read_ahead(reading())) as blocks:
            yield from blocks

    def _block(self, start: int) -> Floats:
        """Return the block that begins there, which must be the one that the survey has seen.

        Libraries may give zeros for what is not in a file any more, and no error.
        """
        stop = min(start + self.block_rows, self.shape[0])
        x = self.read(start, stop)
        if self._checksums is not None:
            expected = self._checksums[start // self.block_rows]
            if zlib.crc32(x.data) != expected:
                raise DataError(
                    f"{self.name}: rows {start} to {stop - 1} are not what they were when all were "
                    "checked; start again with data that stay as they are"
                )
        return x

    def apply(self, function: Callable[[Floats], Any], out: Any) -> Any:
        """Write ``function(rows)`` of all samples to the rows of ``out``, and return that."""
        for start, x in self.blocks():
            out[start : start + len(x)] = function(x)
        return out

    @cached_property
    def survey(self) -> Survey:
        """What one pass over all samples finds, which is made once.

        Raises
        ------
        DataError
            As `read`; or if every entry is missing.

        Notes
        -----
        From then on every block that is read is compared with what it was.
        """
        digest = hashlib.sha256(f"{self.shape} {self.dtype.str}".encode())
        high, missing = -math.inf, 0
        checksums = np.empty(-(-self.shape[0] // self.block_rows), np.uint32)
        for start, x in self.blocks():
            digest.update(x.data)
            checksums[start // self.block_rows] = zlib.crc32(x.data)
            high = max(high, float(np.fmax.reduce(x, axis=None)))  # NaN is never more
            if self._missing == "nan":
                missing += int(np.isnan(x).sum())
        if high == -math.inf:
            raise DataError(f"{self.name} is NaN throughout; give at least one entry that is not")
        if self.block_rows != self._plain_rows:
            digest.update(f"blocks of {self.block_rows}".encode())
        self._checksums = checksums
        return Survey(high, digest.hexdigest(), missing / math.prod(self.shape))

    def sample(self, count: int) -> tuple[Index, Floats]:
        """Return at most ``count`` samples at equal distances and their indices.

        Reads each block that has one of them once, as far as it is needed.
        """
        index = np.unique(np.linspace(0, self.shape[0] - 1, count).astype(np.int64))
        x = np.empty((len(index), self.shape[1]), self.dtype)
        block = index // self.block_rows
        for number in np.unique(block):
            inside = block == number
            chosen = index[inside]
            x[inside] = self.read(int(chosen[0]), int(chosen[-1]) + 1)[chosen - chosen[0]]
        return index, x

    def order(self, seed: int) -> BlockOrder:
        """Return the order in which epochs visit the samples."""
        return BlockOrder(self.shape[0], self.block_rows, self.window_blocks, seed)

    def mixed_windows(
        self, seed: int, epoch: int, skip: int = 0
    ) -> Generator[tuple[Floats, Index, Index], None, None]:
        """Yield the windows of an epoch, read ahead in a thread.

        Parameters
        ----------
        seed, epoch : int
            Which order.
        skip : int
            Samples of that order that were seen already.

        Yields
        ------
        x, place, index
            The samples of a window, and what `BlockOrder.mixed` says of them, less those to skip.
            A whole window that is skipped is not read.
        """
        order = self.order(seed)

        def reading() -> Iterator[tuple[Floats, Index, Index]]:
            before = 0
            for blocks in order.windows(epoch):
                count = order.count(blocks)
                if before + count > skip:
                    place, index = order.mixed(blocks, epoch)
                    seen = max(0, skip - before)
                    yield self._window(order, blocks, count), place[seen:], index[seen:]
                before += count

        with closing(read_ahead(reading())) as windows:
            yield from windows

    def _window(self, order: BlockOrder, blocks: Index, count: int) -> Floats:
        window = np.empty((count, self.shape[1]), self.dtype)
        at = 0
        for block in blocks:
            start, stop = order.extent(int(block))
            window[at : at + stop - start] = self._block(start)
            at += stop - start
        return window
