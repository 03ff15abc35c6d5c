"""The noise of equation 2, drawn from a counter-based generator.

A counter-based generator is a pure function of a key and a counter (Salmon et al., 2011). We put
the sample's index into the counter, so that its noise is the same in every batch, order and
process, and a checkpoint needs no generator state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ddnmf_np.backends.noise_ops import Draw, Epoch, Words
from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.order import read_epoch, stream_key
from ddnmf_np.errors import UsageError
from ddnmf_np.system.options import FRACTION, WEIGHT, Range, check_options, documented, option

NoiseKind = Literal["masking", "gaussian", "salt-and-pepper", "none"]
NOISE_KINDS = get_args(NoiseKind)

_NOISE_STREAM = b"noise   "


@documented
@dataclass(frozen=True)
class Noise:
    """Options of the noise of equation 2, which corrupts what the student sees.

    Masking sets an entry to 0 with probability ``rate``; salt-and-pepper sets it to 0 or to the
    data's largest value, with probability ``rate / 2`` each. Gaussian noise does not clip, as
    equation 2 says, so a noisy entry may be negative. An image is moved (shift, rotation, zoom and
    shear) before the noise of its ``kind`` applies.
    """

    kind: NoiseKind = option("masking", "noise of the student's input")
    rate: float = option(
        0.1,
        "share of entries changed; for gaussian the standard deviation in units of the data's "
        "largest value; in [0, 1)",
        FRACTION,
    )
    rescale: bool = option(True, "divide the entries that masking keeps by 1 - rate")
    redraw: bool = option(
        False, "draw the noise anew each epoch (stable), or once, as algorithm 1 (paper and demo)"
    )
    shift: float = option(
        0.0, "images only: largest shift along each axis, in pixels, of what the student sees",
        WEIGHT,
    )  # fmt: skip
    rotation: float = option(
        0.0, "images only: largest rotation, in degrees", Range(least=0, below=180)
    )
    zoom: float = option(0.0, "images only: largest change of size, as a share of it", FRACTION)
    shear: float = option(0.0, "images only: largest shear, in columns for each row", WEIGHT)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def motion(self) -> dict[str, float]:
        """The ranges of the random motion of images, by name; empty if nothing moves."""
        ranges = {name: getattr(self, name) for name in ("shift", "rotation", "zoom", "shear")}
        return ranges if any(ranges.values()) else {}


def make_motion(
    noise: Noise, image_shape: Sequence[int] | None, n_features: int, *, seed: int, ops: Ops
) -> Affine | None:
    """Return the random motion of the images, or None if nothing moves.

    Raises `UsageError` if something moves, and the samples are not images of that shape.
    """
    if not noise.motion:
        return None
    if image_shape is None or math.prod(image_shape) != n_features:
        known = "unknown" if image_shape is None else f"{tuple(image_shape)}"
        moves = ", ".join(f"noise_{name}" for name, value in noise.motion.items() if value)
        none = ", ".join(f"noise_{name}=0" for name in noise.motion)
        raise UsageError(
            f"image_shape is {known} and a sample has {n_features} features, but {moves} moves "
            f"images; give image_shape=(height, width), or {none} for data that are not images"
        )
    height, width = image_shape
    return Affine((height, width), **noise.motion, seed=seed, redraw=noise.redraw, ops=ops)


class Corruption:
    """Corrupted copies of clean samples, ``x_noisy = x + noise`` (equation 2).

    The noise of an entry depends only on (seed, sample index, feature index), and on the epoch if
    it is redrawn. Masking and salt-and-pepper are bit-identical with NumPy and CuPy; gaussian noise
    agrees up to rounding.

    ``seed`` is in [0, 2**64). ``high`` is the largest clean value: the value of salt, and the unit
    of the gaussian's rate. ``motion``, geometric noise of images, is applied first. ``fill``, (D,)
    on the backend, is the value of each feature that the networks see where an entry is missing.
    Masking then sets entries to it instead of to 0, and does not rescale the others, because the
    mean stays the same. ``ops`` is NumPy by default. Raises `UsageError` if the seed cannot be
    used.

    Notes
    -----
    The object owns scratch memory, which grows to the largest batch, so use it in one thread only.
    A gaussian draw of 32 random bits ends at 6.8 standard deviations; a probability is exact to
    2**-33.
    """

    def __init__(
        self,
        noise: Noise,
        *,
        seed: int,
        high: float = 1.0,
        motion: Affine | None = None,
        fill: Array | None = None,
        ops: Ops | None = None,
    ) -> None:
        self.noise, self.seed, self.fill = noise, seed, fill
        # A Python float: a float32 array times a numpy.float64 would be float64.
        self.high = float(high)
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
            In [0, 2**32); without effect unless the noise is redrawn. A CUDA graph reads an array
            again in every step.
        out : (n, D) float array of the dtype of `x`
            Overwritten; must not share memory with `x`.

        Raises
        ------
        UsageError
            If the shapes or dtypes do not fit each other, or the epoch is out of range.
        """
        if out.shape != x.shape or out.dtype != x.dtype or index.shape != x.shape[:1]:
            raise UsageError(
                f"Corruption.apply: x {x.shape} {x.dtype}, index {index.shape}, "
                f"out {out.shape} {out.dtype}; expected (n, D), (n,), (n, D), one dtype"
            )
        epoch = read_epoch(epoch, self.ops)
        if self.motion is not None:
            moved = self._room(x.shape, x.dtype)
            self.motion.apply(x, index, epoch, moved)
            x = moved
        draw = Draw(index, self._key, epoch if self.noise.redraw else 0)
        rate, limit = self.noise.rate, round(self.noise.rate * 2**32)
        match self.noise.kind:
            case "none":
                self.ops.xp.copyto(out, x)
            case "gaussian":
                self.ops.add_gaussian(x, draw, rate * self.high, out, self._words)
            case "masking" if self.fill is not None:
                nan = (math.nan, math.nan)  # masked entries are missing ones
                self.ops.replace(x, draw, (limit, limit), nan, 1.0, out, self._words)
                self.ops.set_aside_missing(out, self._room(x.shape, "bool"), self.fill)
            case "masking":
                scale = 1.0 / (1.0 - rate) if self.noise.rescale else 1.0
                self.ops.replace(x, draw, (limit, limit), (0.0, 0.0), scale, out, self._words)
            case "salt-and-pepper":
                limits = (round(rate / 2 * 2**32), limit)
                self.ops.replace(x, draw, limits, (0.0, self.high), 1.0, out, self._words)

    def _room(self, shape: tuple[int, int], dtype: Any) -> Array:
        """Return scratch memory for a batch, the same for every batch of its size."""
        for room in self._rooms:
            if room.dtype == dtype and len(room) >= shape[0]:
                return room[: shape[0]]
        # We keep smaller ones, because a CUDA graph may still write there.
        self._rooms.append(self.ops.empty(shape, dtype))
        return self._rooms[-1]
