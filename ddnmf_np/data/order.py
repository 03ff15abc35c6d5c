"""The order of the samples in an epoch, its mini-batches, and the keys of random numbers.

The order depends only on (seed, epoch) and sizes. So a run that stopped in the middle of an epoch
continues from three integers, and the processes of a distributed run need no message to agree.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ddnmf_np.backends.noise_ops import LOW_WORD, Array, Epoch, philox4x32
from ddnmf_np.errors import UsageError

if TYPE_CHECKING:
    from ddnmf_np.backends.ops import Ops

_ORDER_STREAM = b"shuffle "


def epoch_order(n: int, seed: int, epoch: int, *, xp: Any = np) -> Array:
    """Return the order in which one epoch visits the samples.

    The result, (n,) in int64, is a permutation of ``0..n-1``. With NumPy and CuPy as ``xp`` it is
    the same. Raises `UsageError` if the seed is not in [0, 2**64), or the epoch not in [0, 2**32).

    Notes
    -----
    We draw a 64-bit random key for each sample from its index and sort the keys. Two equal keys
    are very unlikely (n**2 / 2**65), and the stable sort orders even those.
    """
    keys = row_keys(xp.arange(n, dtype=xp.int64), seed, epoch, xp=xp)
    order: Array = xp.argsort(keys, kind="stable")
    return order


def row_keys(
    index: Array, seed: int, epoch: int, *, stream: bytes = _ORDER_STREAM, xp: Any = np
) -> Array:
    """Return the keys, (n,) uint64, that `epoch_order` sorts, for samples of ``index``, (n,) int64.

    Other arguments and errors are those of `epoch_order`, and ``stream`` that of `stream_key`.
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


def stream_key(seed: int, stream: bytes) -> tuple[int, int]:
    """Return the Philox key for one use of the seed: its low and its high 32 bits.

    ``stream`` is the name of the use, eight bytes. It is mixed into the key, because two uses of
    one seed (noise and batch order, for example) need unrelated numbers. Raises `UsageError` if the
    seed is not in [0, 2**64).
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed={seed} is out of range; give an integer in [0, 2**64)")
    key = operator.index(seed) ^ int.from_bytes(stream, "big")
    return key & LOW_WORD, key >> 32


def check_epoch(epoch: int) -> None:
    """Raise `UsageError` unless an epoch fits its word of the counter."""
    if not 0 <= epoch < 2**32:
        raise UsageError(f"epoch={epoch} is out of range; give an integer in [0, 2**32)")


def read_epoch(epoch: Epoch, ops: Ops) -> Epoch:
    """Return an epoch as a checked number; leave an array on a device there, to avoid waiting."""
    if isinstance(epoch, (int, np.integer)):
        number = int(epoch)
    elif ops.on_host:
        number = int(epoch[0])
    else:
        return epoch
    check_epoch(number)
    return number


def batch_slices(n: int, batch_size: int) -> list[slice]:
    """Cut ``0..n-1`` into consecutive slices of ``batch_size``; the last one may be shorter.

    Raises `UsageError` if ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size} is too small; give 1 or more")
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
