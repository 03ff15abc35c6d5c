"""The noise of equation 2, drawn from a counter-based generator.

A counter-based generator is a pure function of a key and a counter (Salmon et al., 2011). We put
the sample's index into the counter, so that its noise is the same in every batch, order and
process, and a checkpoint needs no generator state.
"""

from ddnmf_np.backends.ops import Array, Epoch, Ops
from ddnmf_np.backends.philox import Words
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.order import read_epoch, stream_key
from ddnmf_np.errors import UsageError

NOISE_KINDS = ("masking", "gaussian", "salt-and-pepper", "none")

_NOISE_STREAM = b"noise   "


class Noise:
    """Corrupted copies of clean samples, ``x_noisy = x + noise`` (equation 2).

    The noise of an entry depends only on (seed, sample index, feature index), and on the epoch if
    `redraw`. Masking and salt-and-pepper are bit-identical with NumPy and CuPy; gaussian noise
    agrees up to rounding.

    Parameters
    ----------
    kind : {"masking", "gaussian", "salt-and-pepper", "none"}
        Masking sets an entry to 0 with probability `rate`; salt-and-pepper sets it to 0 or to
        `high` with probability ``rate / 2`` each; gaussian adds N(0, (rate * high)**2) and does
        not clip, as in equation 2, so a noisy entry may be negative.
    rate : float
        In [0, 1).
    seed : int
        In [0, 2**64).
    redraw : bool
        Draw anew in every epoch. By default the noise is drawn once, as in Algorithm 1.
    rescale : bool
        Masking only: divide the kept entries by ``1 - rate``, which preserves the mean.
    high : float
        Largest clean value: the value of salt, and the unit of the gaussian's rate.
    motion : Affine, optional
        Geometric noise of images, applied before the noise of `kind`.
    ops : Ops, optional
        Backend of the arrays; NumPy by default.

    Raises
    ------
    UsageError
        If `kind`, `rate` or `seed` cannot be used.

    Notes
    -----
    The object owns scratch memory, which grows to the largest batch, so use it in one thread only.
    A gaussian draw of 32 random bits ends at 6.8 standard deviations; a probability is exact to
    2**-33.
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
        motion: Affine | None = None,
        ops: Ops | None = None,
    ) -> None:
        if kind not in NOISE_KINDS:
            raise UsageError(
                f"noise kind {kind!r} is unknown; choose from {', '.join(NOISE_KINDS)}"
            )
        if not 0.0 <= rate < 1.0:
            raise UsageError(f"noise rate {rate} is out of range; give a number in [0, 1)")
        self.kind, self.seed, self.redraw, self.rescale = kind, seed, redraw, rescale
        # Python floats: a float32 array times a numpy.float64 would be float64.
        self.rate, self.high = float(rate), float(high)
        self.motion, self.ops = motion, ops or Ops()
        self._rooms: list[Array] = []
        self._key = stream_key(seed, _NOISE_STREAM)
        self._words = Words(self.ops.xp)

    def apply(self, x: Array, index: Array, epoch: Epoch, out: Array) -> None:
        """Write the noisy copy of a batch (equation 2, ``derivations/02-noise.md``).

        Parameters
        ----------
        x : (n, D) float array
            Clean rows; only read.
        index : (n,) int array
            Index in the data set of each row, 0 or more.
        epoch : int, or int array of shape (1,)
            In [0, 2**32); without effect unless `redraw`. A CUDA graph reads an array again in
            every step.
        out : (n, D) float array of the dtype of `x`
            Overwritten; must not share memory with `x`.

        Raises
        ------
        UsageError
            If the shapes or dtypes do not fit each other, or the epoch is out of range.
        """
        if out.shape != x.shape or out.dtype != x.dtype or index.shape != x.shape[:1]:
            raise UsageError(
                f"Noise.apply: x {x.shape} {x.dtype}, index {index.shape}, "
                f"out {out.shape} {out.dtype}; expected (n, D), (n,), (n, D), one dtype"
            )
        epoch = read_epoch(epoch, self.ops)
        if self.motion is not None:
            moved = self._room(x)
            self.motion.apply(x, index, epoch, moved)
            x = moved
        draw = (self._key, epoch if self.redraw else 0)
        limit = round(self.rate * 2**32)
        match self.kind:
            case "none":
                self.ops.xp.copyto(out, x)
            case "gaussian":
                self.ops.add_gaussian(x, index, *draw, self.rate * self.high, out, self._words)
            case "masking":
                scale = 1.0 / (1.0 - self.rate) if self.rescale else 1.0
                limits = (limit, limit)
                self.ops.replace(x, index, *draw, limits, (0.0, 0.0), scale, out, self._words)
            case "salt-and-pepper":
                limits = (round(self.rate / 2 * 2**32), limit)
                self.ops.replace(x, index, *draw, limits, (0.0, self.high), 1.0, out, self._words)

    def _room(self, x: Array) -> Array:
        """Return memory for the moved copy of a batch, the same for every batch of its size."""
        for room in self._rooms:
            if room.dtype == x.dtype and len(room) >= len(x):
                return room[: len(x)]
        # We keep smaller ones, because a CUDA graph may still write there.
        self._rooms.append(self.ops.empty(x.shape, x.dtype))
        return self._rooms[-1]
