"""The noise of equation 2, drawn from a counter-based generator.

A counter-based generator is a pure function of a key and a counter (Salmon et al., 2011).
With the sample's index in the counter, the noise of a sample does not depend on the batch,
the order or the process in which it is met, and no generator state needs saving.
"""

from ddnmf_np.backends.noise_ops import Draw, Epoch, Words
from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.keys import read_epoch, stream_key
from ddnmf_np.errors import UsageError

NOISE_KINDS = ("masking", "gaussian", "salt-and-pepper", "none")

_NOISE_STREAM = b"noise   "


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
    motion : Affine, optional
        Geometric noise of images: they are moved first, and what `kind` says is done to the moved.
    ops : Ops, optional
        Who does the arithmetic, where the arrays are; plain NumPy if not given.

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
        motion: Affine | None = None,
        ops: Ops | None = None,
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
        self.motion = motion
        self._rooms: list[Array] = []
        self.ops = ops or Ops()
        self._key = stream_key(seed, _NOISE_STREAM)
        self._words = Words(self.ops.xp)

    def apply(self, x: Array, index: Array, epoch: Epoch, out: Array) -> None:
        """Write the noisy copy of a batch (equation 2).

        See ``derivations/02-noise.md``.

        Parameters
        ----------
        x : (n, D) float array
            Clean rows; only read.
        index : (n,) int array
            Index in the data set of each row, 0 or more.
        epoch : int, or int array of shape (1,)
            In [0, 2**32); without effect unless `redraw`. Recorded work reads an array anew at
            every step.
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
        epoch = read_epoch(epoch, self.ops)
        if self.motion is not None:
            moved = self._room(x)
            self.motion.apply(x, index, epoch, moved)
            x = moved
        draw = Draw(index, self._key, epoch if self.redraw else 0)
        limit = round(self.rate * 2**32)
        match self.kind:
            case "none":
                self.ops.xp.copyto(out, x)
            case "gaussian":
                self.ops.add_gaussian(x, draw, self.rate * self.high, out, self._words)
            case "masking":
                scale = 1.0 / (1.0 - self.rate) if self.rescale else 1.0
                self.ops.replace(x, draw, (limit, limit), (0.0, 0.0), scale, out, self._words)
            case "salt-and-pepper":
                limits = (round(self.rate / 2 * 2**32), limit)
                self.ops.replace(x, draw, limits, (0.0, self.high), 1.0, out, self._words)

    def _room(self, x: Array) -> Array:
        """Return memory for the moved copy of a batch, the same for each of its size."""
        for room in self._rooms:
            if room.dtype == x.dtype and len(room) >= len(x):
                return room[: len(x)]
        # A smaller one is kept: a recorded step may still write there.
        self._rooms.append(self.ops.empty(x.shape, x.dtype))
        return self._rooms[-1]
