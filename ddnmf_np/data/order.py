"""The order of the samples in an epoch, and its cut into mini-batches.

Both are functions of (seed, epoch) and sizes alone: a run that stopped in the middle of an
epoch goes on from three integers, and every process of a distributed run finds the same order
without a message.
"""

from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.backends.philox import LOW_WORD, philox4x32
from ddnmf_np.data.keys import check_epoch, stream_key
from ddnmf_np.errors import UsageError

_ORDER_STREAM = b"shuffle "


def epoch_order(n: int, seed: int, epoch: int, *, xp: Any = np) -> Array:
    """Return the order in which one epoch visits the samples.

    Parameters
    ----------
    n : int
        Number of samples.
    seed : int
        In [0, 2**64).
    epoch : int
        In [0, 2**32).
    xp : module
        NumPy or CuPy; both give the same order.

    Returns
    -------
    (n,) int64 array
        A permutation of ``0..n-1``, a new array.

    Raises
    ------
    UsageError
        If the seed or the epoch is out of range.

    Notes
    -----
    Each sample gets a 64-bit random key from its own index, and the keys are sorted. Two equal
    keys are as good as impossible (n**2 / 2**65), and a stable sort settles even those.
    """
    order: Array = xp.argsort(
        row_keys(xp.arange(n, dtype=xp.int64), seed, epoch, xp=xp), kind="stable"
    )
    return order


def row_keys(
    index: Array, seed: int, epoch: int, *, stream: bytes = _ORDER_STREAM, xp: Any = np
) -> Array:
    """Return the random keys whose order is that of the samples in an epoch.

    Parameters
    ----------
    index : (n,) int64 array
        Indices of samples.
    seed : int
        In [0, 2**64).
    epoch : int
        In [0, 2**32).
    stream : bytes
        Which use of the seed; see `ddnmf_np.data.keys.stream_key`.
    xp : module
        NumPy or CuPy.

    Returns
    -------
    (n,) uint64 array
        A key of each, a new array.

    Raises
    ------
    UsageError
        If the seed or the epoch is out of range.
    """
    check_epoch(epoch)
    counter = (
        xp.bitwise_and(index, LOW_WORD).astype(xp.uint64),
        xp.right_shift(index, 32).astype(xp.uint64),
        0,
        epoch,
    )
    low, high, _, _ = philox4x32(counter, stream_key(seed, stream), xp)
    xp.left_shift(high, 32, out=high)
    xp.bitwise_or(high, low, out=high)
    keys: Array = high
    return keys


def batch_slices(n: int, batch_size: int) -> list[slice]:
    """Cut ``0..n-1`` into consecutive mini-batches; the last one may be short.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        1 or more; larger than `n` gives one batch of all samples.

    Returns
    -------
    list of slice
        Slices of an epoch's order, with explicit start and stop.

    Raises
    ------
    UsageError
        If `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size} is too small; give 1 or more")
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
