"""Operations of equation 2: replace entries, add Gaussian noise, move images.

A random number is a pure function of a key, a sample and an epoch (Salmon et al., 2011). So a
sample has the same noise in every batch, in any order and in every process. NumPy and CuPy share no
such generator. We therefore write out the ten rounds of Philox-4x32 in ``uint64`` arithmetic, which
both libraries evaluate to the same bits.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Word: TypeAlias = Any  # an Array of uint64, each below 2**32, or such an int

LOW_WORD = 0xFFFFFFFF
# The two multipliers and the two key increments (golden ratio, sqrt(3) - 1) of Philox-4x32.
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

Epoch: TypeAlias = int | Array
"""Number of an epoch. On a device it may be an int64 array of shape (1,), because a recorded step
reads arrays anew each time it is repeated."""


def philox4x32(
    counter: tuple[Word, Word, Word, Word],
    key: tuple[int, int],
    xp: Any = np,
    out: Array | None = None,
) -> Array:
    """Evaluate Philox-4x32-10: four random 32-bit words for each counter.

    ``counter`` has four uint64 arrays or ints, which are broadcast against each other, and ``key``
    two ints; all values are below 2**32. ``xp`` is NumPy or CuPy. ``out``, (6, ...) in uint64, is
    overwritten: four rows of words and two of scratch, each in the shape of the broadcast counter.
    It is allocated by default. The result, (4, ...) in uint64, is a view of it: the four words,
    each uniform on [0, 2**32).

    Notes
    -----
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC'11, doi:10.1145/2063384.2063405.
    """
    if out is None:
        out = xp.empty((6, *xp.broadcast(*(xp.asarray(word) for word in counter)).shape), xp.uint64)
    for row, word in zip(out, counter, strict=False):
        xp.copyto(row, word)
    c0, c1, c2, c3, product0, product1 = out
    k0, k1 = key
    for _ in range(ROUNDS):
        # 32 x 32 -> 64 bits: the high halves meet the other pair, the low halves stay.
        xp.multiply(c0, MULTIPLIERS[0], out=product0)
        xp.multiply(c2, MULTIPLIERS[1], out=product1)
        xp.right_shift(product1, 32, out=c0)
        xp.bitwise_xor(c0, c1, out=c0)
        xp.bitwise_xor(c0, k0, out=c0)
        xp.right_shift(product0, 32, out=c2)
        xp.bitwise_xor(c2, c3, out=c2)
        xp.bitwise_xor(c2, k1, out=c2)
        xp.bitwise_and(product1, LOW_WORD, out=c1)
        xp.bitwise_and(product0, LOW_WORD, out=c3)
        k0 = (k0 + WEYL[0]) & LOW_WORD
        k1 = (k1 + WEYL[1]) & LOW_WORD
    return out[:4]


class Draw(NamedTuple):
    """Choice of the random numbers of a batch.

    ``rows``, (n,) in int64, has the index in the data set of each row; ``key`` are two numbers
    below 2**32; ``epoch`` is a part of the counter.
    """

    rows: Array
    key: tuple[int, int]
    epoch: Epoch


class Motion(NamedTuple):
    """Ranges of the random motion of images, see `ddnmf_np.data.affine.Affine`; in radians."""

    shift: float
    rotation: float
    zoom: float
    shear: float


class Words:
    """Random words of a batch's entries, and the memory in which they are computed.

    Entry (i, j) has word ``j % 4`` of the counter ``(j // 4, rows[i] low, rows[i] high, epoch)``.
    The memory grows to the largest batch so far. Two threads need two objects.
    """

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self._words = xp.empty((6, 0, 0), xp.uint64)

    def of(self, draw: Draw, n_features: int) -> Array:
        """Return words, (6, n, blocks of 4 features) uint64; the last two rows are scratch."""
        xp = self.xp
        n, n_blocks = len(draw.rows), -(-n_features // 4)
        if self._words.shape[1] < n or self._words.shape[2] != n_blocks:
            self._words = xp.empty((6, n, n_blocks), xp.uint64)
            self._drawn = xp.empty((n, 4 * n_blocks), bool)
            self._index = xp.empty((2, n, 1), xp.uint64)
            self._block = xp.arange(n_blocks, dtype=xp.uint64)
        low, high = self._index[:, :n]
        xp.copyto(low, draw.rows[:, None], casting="unsafe")
        xp.right_shift(low, 32, out=high)
        xp.bitwise_and(low, LOW_WORD, out=low)
        words: Array = self._words[:, :n]
        philox4x32((self._block, low, high, draw.epoch), draw.key, xp, out=words)
        return words

    def set_below(self, limit: int, value: float, words: Array, out: Array) -> None:
        """Set the entries of ``out`` whose word is below ``limit`` to ``value``."""
        n, n_features = out.shape
        drawn = self._drawn[:n]
        for k in range(4):
            self.xp.less(words[k], limit, out=drawn[:, k::4])
        self.xp.copyto(out, value, where=drawn[:, :n_features])

    def normal(self, sigma: float, words: Array, out: Array) -> None:
        """Overwrite ``out`` with normal deviates, and ``words`` with intermediate results.

        We use Box and Muller's transform in float64: two deviates from each pair of words.
        """
        xp = self.xp
        # We reuse the memory of the words for the float64 steps, so nothing is allocated.
        radius, angle = words[4].view(xp.float64), words[5].view(xp.float64)
        for k in (0, 2):
            xp.copyto(radius, words[k])
            xp.copyto(angle, words[k + 1])
            xp.add(radius, 0.5, out=radius)  # keeps the logarithm finite
            xp.multiply(radius, 2.0**-32, out=radius)
            xp.log(radius, out=radius)
            xp.multiply(radius, -2.0 * sigma**2, out=radius)
            xp.sqrt(radius, out=radius)
            xp.multiply(angle, 2.0 * math.pi * 2.0**-32, out=angle)
            for row, wave in ((k, xp.cos), (k + 1, xp.sin)):
                noise = words[row].view(xp.float64)
                wave(angle, out=noise)
                xp.multiply(noise, radius, out=noise)
                target = out[:, row::4]
                xp.copyto(target, noise[:, : target.shape[1]], casting="same_kind")


class NoiseOps:
    """Operations of equation 2 on an array module; `ddnmf_np.backends.ops.Ops` adds the others.

    ``x`` are clean rows of shape (n, width), or images of shape (n, height * width). ``draw``
    chooses the random numbers. We overwrite ``out``, which has the shape of ``x``, and use ``work``
    as scratch memory. See ``derivations/02-noise.md``.
    """

    def __init__(self, xp: ModuleType = np) -> None:
        self.xp: Any = xp

    def replace(
        self,
        x: Array,
        draw: Draw,
        limits: tuple[int, int],
        values: tuple[float, float],
        scale: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``scale x``, and replace entries at random (equation 2).

        ``out`` is ``values[0]`` where an entry's random word is below ``limits[0]``, ``values[1]``
        where it is below ``limits[1]``, and ``scale x`` elsewhere. The limits are at most 2**32,
        and the first is not above the second.
        """
        words = work.of(draw, x.shape[1])
        self.xp.multiply(x, scale, out=out)
        # A word below the lower limit is also below the upper one, so the lower limit goes last.
        for limit, value in zip(reversed(limits), reversed(values), strict=True):
            work.set_below(limit, value, words, out)  # equation 2

    def add_gaussian(self, x: Array, draw: Draw, sigma: float, out: Array, work: Words) -> None:
        """Write ``x`` plus normal deviates of standard deviation ``sigma`` (equation 2)."""
        work.normal(sigma, work.of(draw, x.shape[1]), out)
        self.xp.add(out, x, out=out)  # equation 2: x + noise

    def warp(
        self, x: Array, draw: Draw, motion: Motion, shape: tuple[int, int], out: Array
    ) -> None:
        """Write images moved at random (equation 2, geometric noise).

        ``shape`` is height and width. ``out`` must not share memory with ``x``.
        """
        self.interpolate(x, self.maps(draw, motion), shape, out)

    def maps(self, draw: Draw, motion: Motion) -> Array:
        """Return the affine map of each image, from a pixel of the result to its source.

        The result, (n, 6) in float64, has ``a, b, c, d, s, t`` of ``row' = a row + b column + s``,
        ``column' = c row + d column + t``, both measured from the centre of the image. With rows
        counted downwards, a positive angle turns the image clockwise; positive shifts move it up
        and to the left.
        """
        xp = self.xp
        low = draw.rows.astype(xp.uint64)
        counter = (
            xp.arange(2, dtype=xp.uint64)[:, None],
            (low & LOW_WORD)[None],
            (low >> 32)[None],
        )
        words = philox4x32((*counter, draw.epoch), draw.key, xp)
        u = (words.astype(xp.float64) + 0.5) * 2.0**-31 - 1.0  # (4, 2, n), uniform on (-1, 1)
        angle = u[0, 0] * motion.rotation
        size = 1.0 + u[1, 0] * motion.zoom
        shear = u[2, 0] * motion.shear
        cos, sin = xp.cos(angle) / size, xp.sin(angle) / size
        result: Array = xp.empty((draw.rows.shape[0], 6), xp.float64)
        # Rotation times shear: columns move along with rows, then the image turns.
        result[:, 0], result[:, 1] = cos - sin * shear, -sin
        result[:, 2], result[:, 3] = sin + cos * shear, cos
        result[:, 4], result[:, 5] = u[3, 0] * motion.shift, u[0, 1] * motion.shift
        return result

    def interpolate(self, x: Array, maps: Array, shape: tuple[int, int], out: Array) -> None:
        """Write images seen through affine maps (equation 2, geometric noise).

        A pixel of the result gets the value of the image at the mapped place, interpolated
        between the four nearest pixels in float64. Outside the image the value is 0.

        This is the only operation that allocates: up to 15 float64 arrays of the size of the batch
        (12 MB for 128 images of 28 x 28, which take 14 ms). Its twin in Numba allocates nothing
        and takes 1.7 ms.
        """
        xp = self.xp
        (height, width), (n, size) = shape, x.shape
        place = xp.arange(size)
        row = place // width - (height - 1) / 2
        column = place % width - (width - 1) / 2
        a, b, c, d, s, t = (maps[:, k, None] for k in range(6))
        y = a * row + b * column + s + (height - 1) / 2
        z = c * row + d * column + t + (width - 1) / 2
        top, left = xp.floor(y), xp.floor(z)
        down, right = y - top, z - left
        value = xp.zeros((n, size))
        for y1, wy in ((top, 1.0 - down), (top + 1.0, down)):
            for z1, wz in ((left, 1.0 - right), (left + 1.0, right)):
                inside = (y1 >= 0.0) & (y1 < height) & (z1 >= 0.0) & (z1 < width)
                source = xp.where(inside, y1 * width + z1, 0.0).astype(xp.int64)
                part = wy * wz * xp.take_along_axis(x, source, axis=1)
                value += xp.where(inside, part, 0.0)
        out[...] = value
