"""One seed, several uses: the keys of the counter-based generator, and what may be counted."""

import operator

import numpy as np

from ddnmf_np.backends.noise_ops import Epoch
from ddnmf_np.backends.ops import Ops
from ddnmf_np.backends.philox import LOW_WORD
from ddnmf_np.errors import UsageError


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


def read_epoch(epoch: Epoch, ops: Ops) -> Epoch:
    """Return an epoch as a checked number; an array on a device stays one, to wait for nothing."""
    if isinstance(epoch, (int, np.integer)):
        number = int(epoch)
    elif ops.on_host:
        number = int(epoch[0])
    else:
        return epoch
    check_epoch(number)
    return number
