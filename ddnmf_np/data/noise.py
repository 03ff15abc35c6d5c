"""The noise of equation 2, drawn from a counter-based generator.

A counter-based generator is a pure function of a key and a counter (Salmon et al., 2011).
With the sample's index in the counter, the noise of a sample does not depend on the batch,
the order or the process in which it is met, and no generator state needs saving. NumPy and
CuPy have no such generator in common, so the ten rounds of Philox-4x32 are written out here,
in ``uint64`` arithmetic that both libraries evaluate to the same bits.
"""

import math
import operator
from typing import Any

import numpy as np

from ddnmf_np.errors import UsageError

Array = Any  # numpy.ndarray or cupy.ndarray
Word = Any  # an Array of uint64, each below 2**32, or such an int

NOISE_KINDS = ("masking", "gaussian", "salt-and-pepper", "none")

LOW_WORD = 0xFFFFFFFF
# The two multipliers and the two key increments (golden ratio, sqrt(3) - 1) of Philox-4x32.
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

_NOISE_STREAM = b"noise   "


def stream_key(seed: int, stream: bytes) -> tuple[int, int]:
    """Return the Philox key of one use of the seed.

    Parameters
    ----------
    seed : int
        In [0, 2**64).
    stream : bytes
        Eight bytes that name the use, mixed into the key so that two uses of one seed
        (noise and batch order, say) are keyed apart.

    Returns
    -------
    tuple of int
        The low and the high 32 bits of the key.

    Raises
    ------
    UsageError
        If the seed is out of range.
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed={seed} is out of range; give an integer in [0, 2**64)")
    key = operator.index(seed) ^ int.from_bytes(stream, "big")
    return key & LOW_WORD, key >> 32


def check_epoch(epoch: int) -> None:
    """Raise `UsageError` unless an epoch fits its word of the counter."""
    if not 0 <= epoch < 2**32:
        raise UsageError(f"epoch={epoch} is out of range; give an integer in [0, 2**32)")


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
    for _ in range(_ROUNDS):
        # 32 x 32 -> 64 bits: the high halves meet the other pair, the low halves stay.
        xp.multiply(c0, _MULTIPLIERS[0], out=product0)
        xp.multiply(c2, _MULTIPLIERS[1], out=product1)
        xp.right_shift(product1, 32, out=c0)
        xp.bitwise_xor(c0, c1, out=c0)
        xp.bitwise_xor(c0, k0, out=c0)
        xp.right_shift(product0, 32, out=c2)
        xp.bitwise_xor(c2, c3, out=c2)
        xp.bitwise_xor(c2, k1, out=c2)
        xp.bitwise_and(product1, LOW_WORD, out=c1)
        xp.bitwise_and(product0, LOW_WORD, out=c3)
        k0 = (k0 + _WEYL[0]) & LOW_WORD
        k1 = (k1 + _WEYL[1]) & LOW_WORD
    return out[:4]


class Noise:
    """Corrupted copies of clean samples, ``x_noisy = x + noise`` (equation 2).

    The noise of an entry is a function of (seed, sample index, feature index) alone, and of
    the epoch as well if `redraw`. Masking and salt-and-pepper give the same bits with NumPy
    and CuPy; gaussian noise agrees to rounding.

    Parameters
    ----------
    kind : {"masking", "gaussian", "salt-and-pepper", "none"}
        Masking sets an entry to 0 with probability `rate`; salt-and-pepper sets it to 0 or to
        `high` with probability ``rate / 2`` each; gaussian adds N(0, (rate * high)**2) and,
        as equation 2 says, does not clip, so a noisy entry may be negative.
    rate : float
        In [0, 1).
    seed : int
        In [0, 2**64).
    redraw : bool
        Draw anew in every epoch. By default the noise is drawn once, as in Algorithm 1.
    rescale : bool
        Masking only: divide the entries that are kept by ``1 - rate``, which keeps the mean.
    high : float
        Largest clean value: what salt is, and the unit of the gaussian's rate.
    xp : module
        NumPy or CuPy, whichever holds the arrays.

    Raises
    ------
    UsageError
        If `kind`, `rate` or `seed` cannot be used.

    Notes
    -----
    The scratch memory belongs to the object and grows to the largest batch met, so one object
    serves one thread. A gaussian draw stops at 6.8 standard deviations, where 32 random bits
    end; a probability is met to within 2**-33.
    """

    def __init__(
        self,
        kind: str,
        rate: float,
        *,
        seed: int,
        redraw: bool = False,
        rescale: bool = True,
        high: float = 1.0,
        xp: Any = np,
    ) -> None:
        if kind not in NOISE_KINDS:
            raise UsageError(
                f"noise kind {kind!r} is unknown; choose from {', '.join(NOISE_KINDS)}"
            )
        if not 0.0 <= rate < 1.0:
            raise UsageError(f"noise rate {rate} is out of range; give a number in [0, 1)")
        self.kind = kind
        # Python floats: a float32 array times a numpy.float64 would be float64.
        self.rate = float(rate)
        self.seed = seed
        self.redraw = redraw
        self.rescale = rescale
        self.high = float(high)
        self.xp = xp
        self._key = stream_key(seed, _NOISE_STREAM)
        self._words = xp.empty((6, 0, 0), xp.uint64)

    def apply(self, x: Array, index: Array, epoch: int, out: Array) -> None:
        """Write the noisy copy of a batch (equation 2).

        See ``derivations/02-noise.md``.

        Parameters
        ----------
        x : (n, D) float array
            Clean rows; only read.
        index : (n,) int array
            Index in the data set of each row, 0 or more.
        epoch : int
            In [0, 2**32); without effect unless `redraw`.
        out : (n, D) float array of the dtype of `x`
            Overwritten; must not share memory with `x`.

        Raises
        ------
        UsageError
            If the shapes or dtypes do not belong together, or the epoch is out of range.
        """
        if out.shape != x.shape or out.dtype != x.dtype or index.shape != x.shape[:1]:
            raise UsageError(
                f"Noise.apply: x {x.shape} {x.dtype}, index {index.shape}, "
                f"out {out.shape} {out.dtype}; expected (n, D), (n,), (n, D), one dtype"
            )
        check_epoch(epoch)
        if self.kind == "none":
            self.xp.copyto(out, x)
            return
        self._draw(index, epoch, x.shape[1])
        if self.kind == "gaussian":
            self._add_gaussian(x, out)
        elif self.kind == "masking":
            self.xp.multiply(x, 1.0 / (1.0 - self.rate) if self.rescale else 1.0, out=out)
            self._set_where_drawn(self.rate, 0.0, out)
        else:
            self.xp.copyto(out, x)
            # The half that is pepper lies inside the whole that was made salt.
            self._set_where_drawn(self.rate, self.high, out)
            self._set_where_drawn(self.rate / 2, 0.0, out)

    def _draw(self, index: Array, epoch: int, n_features: int) -> None:
        """Fill the words: lane k of block b belongs to feature 4 * b + k."""
        n, n_blocks = len(index), -(-n_features // 4)
        if self._words.shape[1] < n or self._words.shape[2] != n_blocks:
            self._words = self.xp.empty((6, n, n_blocks), self.xp.uint64)
            self._drawn = self.xp.empty((n, 4 * n_blocks), bool)
            self._index = self.xp.empty((2, n, 1), self.xp.uint64)
            self._block = self.xp.arange(n_blocks, dtype=self.xp.uint64)
        low, high = self._index[:, :n]
        self.xp.copyto(low, index[:, None], casting="unsafe")
        self.xp.right_shift(low, 32, out=high)
        self.xp.bitwise_and(low, LOW_WORD, out=low)
        counter = (self._block, low, high, epoch if self.redraw else 0)
        philox4x32(counter, self._key, self.xp, out=self._words[:, :n])

    def _set_where_drawn(self, rate: float, value: float, out: Array) -> None:
        """Set to `value` the entries whose word lies in the lowest `rate` of its range."""
        n, n_features = out.shape
        drawn = self._drawn[:n]
        threshold = round(rate * 2**32)
        for k in range(4):
            self.xp.less(self._words[k, :n], threshold, out=drawn[:, k::4])
        self.xp.copyto(out, value, where=drawn[:, :n_features])

    def _add_gaussian(self, x: Array, out: Array) -> None:
        """Add normal deviates by Box and Muller's transform, two from each pair of words."""
        words = self._words[:, : len(x)]
        # The spent lanes hold the float64 steps, so that nothing is allocated.
        radius, angle = words[4].view(self.xp.float64), words[5].view(self.xp.float64)
        for k in (0, 2):
            self.xp.copyto(radius, words[k])
            self.xp.copyto(angle, words[k + 1])
            self.xp.add(radius, 0.5, out=radius)  # keeps the logarithm finite
            self.xp.multiply(radius, 2.0**-32, out=radius)
            self.xp.log(radius, out=radius)
            self.xp.multiply(radius, -2.0 * (self.rate * self.high) ** 2, out=radius)
            self.xp.sqrt(radius, out=radius)
            self.xp.multiply(angle, 2.0 * math.pi * 2.0**-32, out=angle)
            for lane, wave in ((k, self.xp.cos), (k + 1, self.xp.sin)):
                noise = words[lane].view(self.xp.float64)
                wave(angle, out=noise)
                self.xp.multiply(noise, radius, out=noise)
                target = out[:, lane::4]
                self.xp.copyto(target, noise[:, : target.shape[1]], casting="same_kind")
        self.xp.add(out, x, out=out)
