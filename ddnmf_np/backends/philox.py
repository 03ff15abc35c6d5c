"""Random numbers as a pure function of a key and a counter (Salmon et al., 2011).

NumPy and CuPy share no such generator. We therefore write out the ten rounds of Philox-4x32 in
``uint64`` arithmetic, which both libraries evaluate to the same bits.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
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
    """Evaluate Philox-4x32-10: four random 32-bit words for each counter.

    Parameters
    ----------
    counter : tuple of four uint64 arrays or ints
        Values below 2**32; broadcast against each other.
    key : tuple of two ints
        Values below 2**32.
    xp : module
        NumPy or CuPy.
    out : (6, ...) uint64 array, optional
        Overwritten: four rows of words and two of scratch, each in the shape of the broadcast
        counter. Allocated by default.

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
