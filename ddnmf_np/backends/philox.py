"""Random numbers as a pure function of a key and a counter (Salmon et al., 2011).

NumPy and CuPy have no such generator in common, so the ten rounds of Philox-4x32 are written out
here, in ``uint64`` arithmetic that both libraries evaluate to the same bits.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray
Word: TypeAlias = Any  # an Array of uint64, each below 2**32, or such an int

LOW_WORD = 0xFFFFFFFF
# The two multipliers and the two key increments (golden ratio, sqrt(3) - 1) of Philox-4x32.
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox4x32(
    counter: tuple[Word, Word, Word, Word],
    key: tuple[int, int],
    xp: Any = np,
    out: Array | None = None,
) -> Array:
    """Evaluate Philox-4x32-10, four random 32-bit words per counter.

    Parameters
    ----------
    counter : tuple of four uint64 arrays or ints
        Values below 2**32; broadcast against each other.
    key : tuple of two ints
        Values below 2**32.
    xp : module
        NumPy or CuPy.
    out : (6, ...) uint64 array, optional
        Overwritten: the words in the first four lanes, scratch in the last two. Its trailing
        shape is that of the broadcast counter. Allocated if not given.

    Returns
    -------
    (4, ...) uint64 array
        The four words, each uniform on [0, 2**32); a view of `out`.

    Notes
    -----
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC'11, doi:10.1145/2063384.2063405.
    """
    if out is None:
        out = xp.empty((6, *xp.broadcast(*(xp.asarray(word) for word in counter)).shape), xp.uint64)
    for lane, word in zip(out, counter, strict=False):
        xp.copyto(lane, word)
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


class Words:
    """The random words of a batch's entries, and the memory in which they are made.

    Entry (i, j) has word ``j % 4`` of the counter ``(j // 4, index[i] low, index[i] high, epoch)``,
    so it depends on its sample, its feature and the epoch alone. The memory grows to the largest
    batch met; one object serves one thread.

    Parameters
    ----------
    xp : module
        NumPy or CuPy.
    """

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp
        self._lanes = xp.empty((6, 0, 0), xp.uint64)

    def draw(self, index: Array, n_features: int, key: tuple[int, int], epoch: Word) -> Array:
        """Return the words, (6, n, blocks of 4 features) uint64; the last two lanes are scratch."""
        xp = self.xp
        n, n_blocks = len(index), -(-n_features // 4)
        if self._lanes.shape[1] < n or self._lanes.shape[2] != n_blocks:
            self._lanes = xp.empty((6, n, n_blocks), xp.uint64)
            self._drawn = xp.empty((n, 4 * n_blocks), bool)
            self._index = xp.empty((2, n, 1), xp.uint64)
            self._block = xp.arange(n_blocks, dtype=xp.uint64)
        low, high = self._index[:, :n]
        xp.copyto(low, index[:, None], casting="unsafe")
        xp.right_shift(low, 32, out=high)
        xp.bitwise_and(low, LOW_WORD, out=low)
        lanes = self._lanes[:, :n]
        philox4x32((self._block, low, high, epoch), key, xp, out=lanes)
        return lanes

    def set_below(self, limit: int, value: float, words: Array, out: Array) -> None:
        """Set to ``value`` the entries of ``out`` whose word is below ``limit``."""
        n, n_features = out.shape
        drawn = self._drawn[:n]
        for k in range(4):
            self.xp.less(words[k], limit, out=drawn[:, k::4])
        self.xp.copyto(out, value, where=drawn[:, :n_features])

    def normal(self, sigma: float, words: Array, out: Array) -> None:
        """Overwrite ``out`` with normal deviates; ``words`` are used up.

        Box and Muller's transform, two deviates from each pair of words, in float64.
        """
        xp = self.xp
        # The spent lanes hold the float64 steps, so that nothing is allocated.
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
            for lane, wave in ((k, xp.cos), (k + 1, xp.sin)):
                noise = words[lane].view(xp.float64)
                wave(angle, out=noise)
                xp.multiply(noise, radius, out=noise)
                target = out[:, lane::4]
                xp.copyto(target, noise[:, : target.shape[1]], casting="same_kind")
