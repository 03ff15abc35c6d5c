"""Clusterings as text in a record, and how well those of different seeds agree."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from ddnmf_np.errors import DataError

Labels = npt.NDArray[np.integer[Any]]


def pack_labels(labels: Labels) -> str:
    """Return clusters as text: base64 of zlib of one byte a sample, two above 256 clusters.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Numbers of clusters, 0 to 65,535.

    Raises
    ------
    ValueError
        If a number is out of that range.
    """
    if labels.min() < 0 or labels.max() > 0xFFFF:
        raise ValueError(f"clusters {labels.min()} to {labels.max()}; expected 0 to 65535")
    packed = labels.astype("u1" if labels.max() < 256 else "<u2")
    return base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii")


def unpack_labels(text: str, n: int) -> Labels:
    """Return the clusters of ``n`` samples, see `pack_labels`; raises `DataError` if it cannot.

    Returns
    -------
    ndarray of shape (n,), dtype uint8 or uint16
        Read only.
    """
    unpacker = zlib.decompressobj()
    try:
        # One byte more than can be right: a few bytes may say that they stand for gigabytes.
        packed = unpacker.decompress(base64.b64decode(text, validate=True), 2 * n + 1)
    except (ValueError, OverflowError, MemoryError, zlib.error) as error:
        raise DataError(f"an assignment of clusters cannot be read: {error}") from error
    if not unpacker.eof or len(packed) not in (n, 2 * n):
        raise DataError(f"an assignment of clusters is cut off, or not of {n} samples")
    return np.frombuffer(packed, "u1" if len(packed) == n else "<u2")


def stability(assignments: Sequence[Labels]) -> float | None:
    """Return the mean adjusted Rand index over all pairs of clusterings; None below two.

    Parameters
    ----------
    assignments : sequence of ndarray of shape (n,)
        Clusters of the same samples, of a seed each.
    """
    pairs = [float(adjusted_rand_score(a, b)) for a, b in combinations(assignments, 2)]
    return math.fsum(pairs) / len(pairs) if pairs else None
