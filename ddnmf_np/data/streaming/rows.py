"""Samples of a source as the model wants them: converted, checked, a block at a time."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.datasets import check_nonnegative
from ddnmf_np.data.streaming.blocks import BlockOrder, Index
from ddnmf_np.data.streaming.readahead import read_ahead
from ddnmf_np.data.streaming.sources import Source
from ddnmf_np.errors import DataError

Floats = NDArray[np.floating[Any]]

Checksums = NDArray[np.uint32]

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
        See `fingerprint`: that of the same samples in memory, unless the file's chunks decide how
        large blocks are.
    missing : float
        Share of entries that are NaN.
    """

    high: float
    sha256: str
    missing: float


class Window(NamedTuple):
    """Samples that are mixed, or what one of several readers has of them.

    Attributes
    ----------
    x : ndarray of shape (m_here, n_features)
        Rows ``bounds[reader]`` to ``bounds[reader + 1]`` of the window.
    place, numbers : ndarray of shape (m,), int64
        Row in the window and index in the data of all its samples, less those to skip, in the
        order of `BlockOrder.mixed`.
    bounds : ndarray of shape (readers + 1,), int64
        Where each reader's rows begin, and where the last one's end.
    """

    x: Floats
    place: Index
    numbers: Index
    bounds: Index


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
        How rows are read and mixed; see `ddnmf_np.data.streaming.blocks.BlockOrder`.
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
        chunk = min(source.chunk_rows, self.shape[0])
        # Whole chunks, or each would be read once for every block that has a part of it.
        self.block_rows = chunk * max(1, _plain_rows(self.shape, self.dtype) // chunk)
        self.window_blocks = max(1, window_mib * 2**20 // (row_bytes * self.block_rows))
        self._checksums: Checksums | None = None  # of the blocks, once there is a survey

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

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.shape[0] // self.block_rows)

    def blocks(
        self, first: int = 0, last: int | None = None
    ) -> Generator[tuple[int, Floats], None, None]:
        """Yield the first row and the samples of blocks ``first:last``, in the data's order."""

        def reading() -> Iterator[tuple[int, Floats]]:
            for number in range(first, self.n_blocks if last is None else last):
                yield number * self.block_rows, self._block(number * self.block_rows)

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
                    "checked; start again with data that stay as they are, on every machine"
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
        return self.conclude(*self.look(0, self.n_blocks))

    def look(self, first: int, last: int) -> tuple[float, int, Checksums]:
        """Return what is to be known of blocks ``first:last``; raises as `read`.

        Returns
        -------
        high : float
            Largest value; ``-inf`` where there is none.
        missing : int
            Entries that are NaN.
        checksums : ndarray of shape (last - first,), uint32
            The CRC-32 of each.
        """
        high, missing, checksums = -math.inf, 0, np.empty(last - first, np.uint32)
        for number, (_, x) in enumerate(self.blocks(first, last)):
            checksums[number] = zlib.crc32(x.data)
            high = max(high, float(np.fmax.reduce(x, axis=None)))  # NaN is never more
            if self._missing == "nan":
                missing += int(np.isnan(x).sum())
        return high, missing, checksums

    def conclude(self, high: float, missing: int, checksums: Checksums) -> Survey:
        """Return the survey, from what `look` has found in all blocks, and keep it."""
        if high == -math.inf:
            raise DataError(f"{self.name} is NaN throughout; give at least one entry that is not")
        self._checksums = checksums
        digest = _hash(self.shape, self.dtype, self.block_rows, checksums)
        self.survey = Survey(high, digest, missing / math.prod(self.shape))
        return self.survey

    def is_as_surveyed(self, number: int) -> bool:
        """Return whether a block has what the survey has seen; raises as `read`."""
        checksums = self._checksums
        start = number * self.block_rows
        x = self.read(start, min(start + self.block_rows, self.shape[0]))
        return checksums is not None and zlib.crc32(x.data) == checksums[number]

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

    def first(self, seed: int, count: int) -> Floats:
        """Return the first samples that the first epoch visits, at most ``count``.

        A block at a time: no window is in memory.
        """
        order, pieces = self.order(seed), []
        for blocks in order.windows(0):
            numbers = order.mixed(blocks, 0)[1][:count]
            x = np.empty((len(numbers), self.shape[1]), self.dtype)
            block = numbers // self.block_rows
            for number in np.unique(block):
                inside, start = block == number, int(number) * self.block_rows
                x[inside] = self._block(start)[numbers[inside] - start]
            pieces.append(x)
            count -= len(x)
            if count == 0:
                break
        return np.concatenate(pieces)

    def mixed_windows(
        self, seed: int, epoch: int, skip: int = 0, *, reader: int = 0, readers: int = 1
    ) -> Generator[Window, None, None]:
        """Yield the windows of an epoch, read ahead in a thread.

        Parameters
        ----------
        seed, epoch : int
            Which order.
        skip : int
            Samples of that order that were seen already.
        reader, readers : int
            Which of so many this is: each reads its own part of the blocks of a window.

        Yields
        ------
        Window
            A whole window that is skipped is not read.
        """
        order = self.order(seed)

        def reading() -> Iterator[Window]:
            before = 0
            for blocks in order.windows(epoch):
                count = order.count(blocks)
                if before + count > skip:
                    place, index = order.mixed(blocks, epoch)
                    seen = max(0, skip - before)
                    cuts = [len(blocks) * number // readers for number in range(readers + 1)]
                    bounds = np.array([order.count(blocks[:cut]) for cut in cuts], np.int64)
                    x = self._read(order, blocks[cuts[reader] : cuts[reader + 1]])
                    yield Window(x, place[seen:], index[seen:], bounds)
                before += count

        with closing(read_ahead(reading())) as windows:
            yield from windows

    def _read(self, order: BlockOrder, blocks: Index) -> Floats:
        x = np.empty((order.count(blocks), self.shape[1]), self.dtype)
        at = 0
        for block in blocks:
            start, stop = order.extent(int(block))
            x[at : at + stop - start] = self._block(start)
            at += stop - start
        return x


def fingerprint(x: NDArray[Any] | Rows) -> str:
    """Return by what samples are known again: 64 hexadecimal digits.

    The SHA-256 of shape, dtype and the CRC-32 of each block of about 1 MiB. So several processes
    can find it that have a part of the samples each, and samples that are streamed have that of the
    same samples in memory. Against mistakes; whoever wants to can make others with the same.
    """
    if isinstance(x, Rows):
        return x.survey.sha256
    size = _plain_rows(x.shape, x.dtype)
    blocks = (np.ascontiguousarray(x[at : at + size]) for at in range(0, x.shape[0], size))
    checksums = np.array([zlib.crc32(block.data) for block in blocks], np.uint32)
    return _hash(x.shape, x.dtype, size, checksums)


def _plain_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the rows of a block, where a file does not say otherwise."""
    return max(1, BLOCK_BYTES // (shape[1] * dtype.itemsize))


def _hash(
    shape: tuple[int, ...], dtype: np.dtype[Any], block_rows: int, checksums: Checksums
) -> str:
    digest = hashlib.sha256(f"{shape} {dtype.str} {block_rows}".encode())
    digest.update(checksums.astype("<u4").data)
    return digest.hexdigest()
