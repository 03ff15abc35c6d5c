"""Arrays as short text for a page: base64, little-endian on every machine.

``assets/network.js`` reads them.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_TOP = 15
"""Weights are scaled to a largest size in [2^14, 2^15]; the largest float16 is 65504."""

_LEVELS = 2**16 - 1


def pack_weights(block: Floats) -> tuple[str, float]:
    """Pack a block of parameters as float16, with a scale that keeps all of them in range.

    float16 overflows above 65504 and loses bits below 6e-5. We therefore scale the block so that
    its largest entry is just below 2^15. Every entry larger than the largest / 2^29 then keeps all
    11 bits, a relative error of at most 2^-11. The scale is a power of two, so scaling rounds
    nothing.

    ``block`` is finite, and read in C order. We return Base64 of the float16 values, little-endian,
    and the factor that restores the values; it is 1 for a block of zeros.
    """
    exponent = 0
    if peak := float(np.abs(block).max(initial=0.0)):
        exponent = math.frexp(peak)[1] - _TOP  # peak < 2^(exponent + 15)
    # In float64, because 2^-exponent may overflow the block's own type.
    scaled = np.ldexp(block.astype(np.float64), -exponent)
    return _text(scaled.astype("<f2")), math.ldexp(1.0, exponent)


def pack_rows(block: Floats) -> tuple[str, list[float]]:
    """Pack a matrix (k, n) of finite values as 8-bit integers: half the size of float16.

    We return Base64 of the integers -127 to 127, row after row, and the factor that restores each
    row, to half a step: 1/254 of the largest size in the row.
    """
    exact = block.astype(np.float64)
    scales = np.abs(exact).max(axis=1) / 127  # (k,)
    levels = np.rint(exact / np.where(scales > 0.0, scales, 1.0)[:, None])
    return _text(levels.astype(np.int8)), [float(f"{scale:.7g}") for scale in scales]


def pack_columns(values: Floats) -> tuple[str, list[float], list[float]]:
    """Pack a matrix (n, k) as 16-bit levels between the smallest and largest entry of each column.

    We return Base64 of the levels 0 to 65535, little-endian, row after row, and ``low`` and
    ``high`` of each column: an entry is ``low + (high - low) * level / 65535``, to half a level.
    """
    exact = values.astype(np.float64)
    low, high = exact.min(axis=0), exact.max(axis=0)  # (k,)
    span = np.where(high > low, high - low, 1.0)
    levels = np.rint((exact - low) / span * _LEVELS)
    return _text(levels.astype("<u2")), low.tolist(), high.tolist()


def pack_bytes(values: Floats, high: float) -> str:
    """Pack values as one byte each, clipped to [0, high]: Base64, where 255 means ``high``."""
    levels = np.rint(values / high * 255.0).clip(0.0, 255.0)
    return _text(levels.astype(np.uint8))


def packed_size(n_bytes: int) -> int:
    """Return the number of base64 characters for `n_bytes` bytes."""
    return 4 * math.ceil(n_bytes / 3)


def _text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
