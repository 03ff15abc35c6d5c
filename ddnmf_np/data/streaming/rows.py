"""Samples of a source, converted and checked a block at a time."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.checks import check_nonnegative, refuse_undivided
from ddnmf_np.data.streaming.blocks import BlockOrder, Index
from ddnmf_np.data.streaming.readahead import read_ahead
from ddnmf_np.errors import DataError

if TYPE_CHECKING:
    from ddnmf_np.data.streaming.sources import Source

Floats = NDArray[np.floating[Any]]

Checksums = NDArray[np.uint32]

BLOCK_BYTES = 2**20
"""Size of a block: a disk reads random blocks of it nearly as fast as consecutive ones."""

WINDOW_MIB = 128
"""Default size of the samples that are mixed. Prefetching needs twice that memory."""


@dataclass(frozen=True)
class Survey:
    """Results of one pass over all samples: the largest value, `fingerprint`, and the share of NaN.

    The hash is that of the same samples in memory, unless chunks of the file change the size of the
    blocks.
    """

    high: float
    sha256: str
    missing: float


class Window(NamedTuple):
    """Samples that are mixed, or the part of them that one of several readers has.

    ``x``, (m_here, n_features), has rows ``bounds[reader]`` to ``bounds[reader + 1]`` of the
    window. ``place`` and ``numbers``, (m,), have the row in the window and the index in the data of
    all its samples that are not skipped, in the order of `BlockOrder.mixed`. ``bounds``,
    (readers + 1,), has the first row of each reader, and the end of the last one's.
    """

    x: Floats
    place: Index
    numbers: Index
    bounds: Index


class Rows:
    """Samples that are read, converted and checked a block at a time.

    ``dtype`` is float32 or float64. With ``scale`` we divide unsigned 8-bit values by 255; with
    ``divided`` we refuse other values that were not divided by 255, see
    `ddnmf_np.data.checks.refuse_undivided`. With ``missing`` "error" we refuse NaN, with "nan" we
    take it for a missing entry. ``window_mib`` is the size of the samples that are mixed, in MiB.
    ``block_rows`` and ``window_blocks`` are the sizes of blocks and windows, see
    `ddnmf_np.data.streaming.blocks.BlockOrder`.
    """

    ndim = 2

    def __init__(
        self,
        source: Source,
        dtype: Any,
        *,
        scale: bool = False,
        divided: bool = False,
        missing: str = "error",
        window_mib: int = WINDOW_MIB,
    ) -> None:
        self.source, self.name = source, source.name
        self.shape, self.dtype = source.shape, np.dtype(dtype)
        self._scaled = scale and source.dtype == np.uint8
        self._divided = divided and not self._scaled
        self._missing = missing
        row_bytes = self.shape[1] * self.dtype.itemsize
        chunk = min(source.chunk_rows, self.shape[0])
        # Whole chunks, or we would read a chunk again for every block that has a part of it.
        self.block_rows = chunk * max(1, _plain_rows(self.shape, self.dtype) // chunk)
        self.window_blocks = max(1, window_mib * 2**20 // (row_bytes * self.block_rows))
        self._checksums: Checksums | None = None  # of the blocks, after a survey

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> Floats:
        """Return the rows ``start:stop``, converted.

        Raises `DataError` if they cannot be read, or are negative or not finite (except for missing
        entries); the message has the row.
        """
        given = self.source.rows(start, stop)
        if self._scaled:
            x = np.divide(given, 255.0, dtype=self.dtype, order="C")
        else:
            with np.errstate(over="ignore"):  # checked below
                x = np.ascontiguousarray(given, self.dtype)
        if self._missing == "error" or not np.isnan(x).all():  # some rows may be missing entirely
            number = self.source.number
            where = f"{self.name}, rows {number(start)} to {number(stop - 1)} as {self.dtype}"
            names = self.source.feature_names
            check_nonnegative(x, where, self._missing, start, names, number)
            if self._divided:
                refuse_undivided(x, where)
        return x

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.block_rows)

    def blocks(
        self, first: int = 0, last: int | None = None
    ) -> Generator[tuple[int, Floats], None, None]:
        """Yield the first row and the samples of blocks ``first:last``, in the data's order."""
        numbers = range(first, self.n_blocks if last is None else last)
        reading = ((number * self.block_rows, self._block(number)) for number in numbers)
        with closing(read_ahead(reading)) as blocks:
            yield from blocks

    def _block(self, number: int) -> Floats:
        """Return a block, or raise `DataError` if it has changed since the survey.

        We check this, because libraries may return zeros for data that have gone, and no error.
        """
        x, same = self._compare(number)
        if not same:
            start, name = number * self.block_rows, self.source.number
            raise DataError(
                f"{self.name}: rows {name(start)} to {name(start + len(x) - 1)} are not what they "
                "were when all were checked; start again with the same data, unchanged, on every "
                "machine"
            )
        return x

    def _compare(self, number: int) -> tuple[Floats, bool]:
        start = number * self.block_rows
        x = self.read(start, min(start + self.block_rows, self.shape[0]))
        checksums = self._checksums
        return x, checksums is None or zlib.crc32(x.data) == checksums[number]

    def is_as_surveyed(self, number: int) -> bool:
        """Return whether a block is the same as in the survey; raises as `read`."""
        return self._compare(number)[1]

    def apply(self, function: Callable[[Floats], Any], out: Any) -> Any:
        """Write ``function(rows)`` of all samples to the rows of ``out``, and return ``out``."""
        for start, x in self.blocks():
            out[start : start + len(x)] = function(x)
        return out

    @cached_property
    def survey(self) -> Survey:
        """Look at all samples, in one pass that happens once; raises as `read` and `conclude`.

        Afterwards every block is compared with its checksum when it is read.
        """
        return self.conclude(*self.look(0, self.n_blocks))

    def look(self, first: int, last: int) -> tuple[float, int, Checksums]:
        """Survey blocks ``first:last``; raises as `read`.

        Returns the largest value (``-inf`` if all entries are missing), the number of missing
        entries, and the CRC-32 of each block.
        """
        high, missing, checksums = -math.inf, 0, np.empty(last - first, np.uint32)
        for number, (_, x) in enumerate(self.blocks(first, last)):
            checksums[number] = zlib.crc32(x.data)
            high = max(high, float(np.fmax.reduce(x, axis=None)))  # max() ignores a NaN here
            if self._missing == "nan":
                missing += int(np.isnan(x).sum())
        return high, missing, checksums

    def conclude(self, high: float, missing: int, checksums: Checksums) -> Survey:
        """Keep and return the survey, from the results of `look` for all blocks.

        Raises `DataError` if every entry is missing.
        """
        if high == -math.inf:
            raise DataError(f"{self.name} is NaN throughout; give at least one entry that is not")
        self._checksums = checksums
        digest = _hash(self.shape, self.dtype, self.block_rows, checksums)
        self.survey = Survey(high, digest, missing / math.prod(self.shape))
        return self.survey

    def sample(self, count: int) -> tuple[Index, Floats]:
        """Return the indices of at most ``count`` samples at equal distances, and the samples."""
        index = np.unique(np.linspace(0, self.shape[0] - 1, count).astype(np.int64))
        return index, self._take(index)

    def _take(self, index: Index) -> Floats:
        """Return some samples; read each block that has one once, as far as necessary."""
        x = np.empty((len(index), self.shape[1]), self.dtype)
        block = index // self.block_rows
        for number in np.unique(block):
            inside = block == number
            first, last = int(index[inside].min()), int(index[inside].max())
            x[inside] = self.read(first, last + 1)[index[inside] - first]
        return x

    def order(self, seed: int) -> BlockOrder:
        """Return the order in which epochs visit the samples."""
        return BlockOrder(self.shape[0], self.block_rows, self.window_blocks, seed)

    def first(self, seed: int, count: int) -> Floats:
        """Return the first samples of the first epoch, at most ``count``, without a window."""
        order, chosen = self.order(seed), np.empty(0, np.int64)
        for blocks in order.windows(0):
            chosen = np.concatenate([chosen, order.mixed(blocks, 0)[1]])[:count]
            if len(chosen) == count:
                break
        return self._take(chosen)

    def mixed_windows(
        self, seed: int, epoch: int, skip: int = 0, *, reader: int = 0, readers: int = 1
    ) -> Generator[Window, None, None]:
        """Yield the windows of an epoch (see `BlockOrder`), prefetched in a thread.

        The first ``skip`` samples are left out, and a whole window of them is not read. Of
        ``readers`` processes, this one is number ``reader``: each reads a part of the blocks.
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
                    x = np.empty((bounds[reader + 1] - bounds[reader], self.shape[1]), self.dtype)
                    for at, block in enumerate(blocks[cuts[reader] : cuts[reader + 1]]):
                        # Only the last block may be shorter, and no block follows it.
                        here = slice(at * self.block_rows, (at + 1) * self.block_rows)
                        x[here] = self._block(int(block))
                    yield Window(x, place[seen:], index[seen:], bounds)
                before += count

        with closing(read_ahead(reading())) as windows:
            yield from windows


def fingerprint(x: NDArray[Any] | Rows) -> str:
    """Return 64 hexadecimal digits by which we recognize samples.

    They are the SHA-256 of shape, dtype and the CRC-32 of each block of about 1 MiB. So several
    processes can compute it from a part of the samples each, and it is the same for samples in
    memory and on disk. It finds mistakes, not forgeries.
    """
    if isinstance(x, Rows):
        return x.survey.sha256
    size = _plain_rows(x.shape, x.dtype)
    blocks = (np.ascontiguousarray(x[at : at + size]) for at in range(0, x.shape[0], size))
    checksums = np.array([zlib.crc32(block.data) for block in blocks], np.uint32)
    return _hash(x.shape, x.dtype, size, checksums)


def _plain_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the rows of a block if the file has no chunks."""
    return max(1, BLOCK_BYTES // (shape[1] * dtype.itemsize))


def _hash(
    shape: tuple[int, ...], dtype: np.dtype[Any], block_rows: int, checksums: Checksums
) -> str:
    digest = hashlib.sha256(f"{shape} {dtype.str} {block_rows}".encode())
    digest.update(checksums.astype("<u4").data)
    return digest.hexdigest()
