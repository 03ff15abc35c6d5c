"""Small random motions of images, a geometric kind of the noise of equation 2."""

from __future__ import annotations

import math

from ddnmf_np.data.streams import check_epoch, stream_key
from ddnmf_np.engine.ops import Array, Ops
from ddnmf_np.engine.philox import LOW_WORD, philox4x32
from ddnmf_np.errors import UsageError

_STREAM = b"affine  "

LIMITS = {"shift": math.inf, "rotation": 180.0, "zoom": 1.0, "shear": math.inf}
"""Each range is at least 0 and below its limit; at a zoom of 1 an image would become a point."""


class Affine:
    """Images moved at random: shifted, rotated, scaled and sheared about their centre.

    The motion of an image is a function of (seed, sample index) alone, and of the epoch as well if
    `redraw`. See ``derivations/02-noise.md``.

    Parameters
    ----------
    image_shape : tuple of two ints
        Height and width of the images that rows of data are.
    shift : float
        Largest shift along each axis, in pixels.
    rotation : float
        Largest angle in either direction, in degrees, below 180.
    zoom : float
        Largest change of size, as a share of it, below 1.
    shear : float
        Largest shear: columns by which a row moves for each row that it is off the centre.
    seed : int
        In [0, 2**64).
    redraw : bool
        Draw anew in every epoch.
    ops : Ops, optional
        Who does the arithmetic; plain NumPy if not given.

    Raises
    ------
    UsageError
        If the shape, a range or the seed cannot be used.
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        *,
        shift: float = 0.0,
        rotation: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        seed: int,
        redraw: bool = False,
        ops: Ops | None = None,
    ) -> None:
        self.ranges = {"shift": shift, "rotation": rotation, "zoom": zoom, "shear": shear}
        for name, value in self.ranges.items():
            check_range(f"noise_{name}", value, LIMITS[name])
        if len(image_shape) != 2 or min(image_shape) < 1:
            raise UsageError(f"image_shape is {image_shape}; expected height and width")
        self.image_shape = image_shape
        self.redraw = redraw
        self.ops = ops or Ops()
        self._key = stream_key(seed, _STREAM)

    def apply(self, x: Array, index: Array, epoch: int, out: Array) -> None:
        """Write the moved copy of a batch of images (equation 2).

        Parameters
        ----------
        x : (n, height * width) float array
            Images, one a row; only read.
        index : (n,) int array
            Index in the data set of each row, 0 or more.
        epoch : int
            In [0, 2**32); without effect unless `redraw`.
        out : (n, height * width) float array of the dtype of `x`
            Overwritten; must not share memory with `x`.

        Raises
        ------
        UsageError
            If the rows are no images of that shape, the other arrays do not belong to them, or the
            epoch is out of range.
        """
        (height, width), n = self.image_shape, len(index)
        if not (x.shape == out.shape == (n, height * width) and x.dtype == out.dtype):
            raise UsageError(
                f"Affine.apply: x {x.shape} {x.dtype}, index {index.shape}, out {out.shape} "
                f"{out.dtype}; expected images of {height} x {width}, a row each, in one dtype"
            )
        check_epoch(epoch)
        self.ops.warp(x, self.matrices(index, epoch), self.image_shape, out)

    def matrices(self, index: Array, epoch: int) -> Array:
        """Return for each image the map from a pixel of the result to where its value comes from.

        Parameters
        ----------
        index : (n,) int array
            Index in the data set of each row.
        epoch : int
            As for `apply`.

        Returns
        -------
        (n, 6) float64 array
            ``a, b, c, d, s, t`` of ``row' = a row + b column + s``, ``column' = c row + d column +
            t``, both measured from the centre of the image. With rows counted downwards, a positive
            angle turns the image clockwise; positive shifts move it up and to the left.
        """
        xp = self.ops.xp
        low = index.astype(xp.uint64)
        counter = (
            xp.arange(2, dtype=xp.uint64)[:, None],
            (low & LOW_WORD)[None],
            (low >> 32)[None],
            epoch if self.redraw else 0,
        )
        words = philox4x32(counter, self._key, xp)  # (4, 2, n)
        u = (words.astype(xp.float64) + 0.5) * 2.0**-31 - 1.0  # uniform on (-1, 1)
        angle = u[0, 0] * math.radians(self.ranges["rotation"])
        size = 1.0 + u[1, 0] * self.ranges["zoom"]
        shear = u[2, 0] * self.ranges["shear"]
        cos, sin = xp.cos(angle) / size, xp.sin(angle) / size
        result: Array = xp.empty((index.shape[0], 6), xp.float64)
        # Rotation times shear: columns move along with rows, then the image turns.
        result[:, 0], result[:, 1] = cos - sin * shear, -sin
        result[:, 2], result[:, 3] = sin + cos * shear, cos
        result[:, 4], result[:, 5] = u[3, 0] * self.ranges["shift"], u[0, 1] * self.ranges["shift"]
        return result


def check_range(name: str, value: float, limit: float) -> None:
    """Raise `UsageError` unless a range of the motion is a number in [0, limit)."""
    if not 0.0 <= value < limit:
        expected = "finite number >= 0" if limit == math.inf else f"number in [0, {limit:g})"
        raise UsageError(f"{name} is {value}; expected a {expected}")
