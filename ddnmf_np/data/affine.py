"""Small random motions of images, the geometric kind of the noise of equation 2."""

from __future__ import annotations

import math

from ddnmf_np.backends.noise_ops import Draw, Epoch, Motion
from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.data.order import stream_key

_STREAM = b"affine  "


class Affine:
    """Random shifts, rotations, zooms and shears of images about their centre.

    The motion of an image depends only on (seed, sample index), and on the epoch if `redraw`. See
    ``derivations/02-noise.md``.

    The rows of the data are images of ``image_shape``, height and width. ``shift`` is the largest
    shift along each axis, in pixels; ``rotation`` is the largest angle in either direction, in
    degrees, below 180. ``zoom`` is the largest relative change of size, below 1; ``shear`` is the
    largest number of columns that a row moves for each row of distance from the centre. ``seed`` is
    in [0, 2**64); any other raises `UsageError`. ``ops`` is NumPy by default.
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
        self.image_shape = image_shape
        self.motion = Motion(shift, math.radians(rotation), zoom, shear)
        self.redraw = redraw
        self.ops = ops or Ops()
        self._key = stream_key(seed, _STREAM)

    def apply(self, x: Array, index: Array, epoch: Epoch, out: Array) -> None:
        """Write the moved copy of a batch of images (equation 2).

        ``x`` and ``out`` have shape (n, height * width), one image per row; ``out`` is overwritten
        and must not share memory with ``x``. `ddnmf_np.data.noise.Corruption.apply` has checked
        the arguments.
        """
        draw = Draw(index, self._key, epoch if self.redraw else 0)
        self.ops.warp(x, draw, self.motion, self.image_shape, out)
