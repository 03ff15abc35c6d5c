"""The memory of one mini-batch, and the interface of the feeds that fill it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ddnmf_np.backends.ops import Array

if TYPE_CHECKING:
    from ddnmf_np.data.noise import Corruption
    from ddnmf_np.data.scaling import DeviceScaling

Share: TypeAlias = Callable[[int], slice]
"""Returns the rows of a batch of ``n`` samples that this process computes."""


def whole(n: int) -> slice:
    """Return all rows of a batch, the share of a process that trains by itself."""
    return slice(0, n)


class Batch:
    """The arrays of a batch, clean and noisy.

    ``clean`` and ``noisy``, (rows, n_features), are the samples for the supervisor and for the
    student. All arrays keep their addresses, because a CUDA graph of a step reads them there. ``n``
    is the number of rows of the latest batch, ``rows`` that of the largest.

    ``noise``, that of equation 2, is on the backend of the samples. ``missing`` says whether NaN in
    a sample is a missing entry. ``first_index`` is the index of the first sample for the noise; it
    is not 0 if data arrive in parts. ``share`` returns the rows of each batch that are computed
    here. We apply ``scaling`` to the clean rows of each batch.
    """

    def __init__(
        self,
        noise: Corruption,
        rows: int,
        n_features: int,
        dtype: Any,
        *,
        missing: bool,
        first_index: int,
        share: Share,
        scaling: DeviceScaling | None = None,
    ) -> None:
        ops = self.ops = noise.ops
        self.noise, self.first_index, self.share, self.n = noise, first_index, share, 0
        self.scaling = scaling
        self.clean, self.noisy = (ops.empty((rows, n_features), dtype) for _ in range(2))
        self._observed = ops.empty((rows, n_features), bool) if missing else None
        self._index, self._numbers = (ops.empty((rows,), "int64") for _ in range(2))
        self._epoch, self._epoch_there = ops.zeros((1,), "int64"), 0

    def choose(self, index: Array, epoch: int) -> Array:
        """Write the samples of a batch to a place where a CUDA graph reads them.

        ``index``, of int64, has all samples of the batch. Returns the samples that are computed
        here, of shape (n,), always at the same address.
        """
        mine = index[self.share(index.shape[0])]
        self.n = mine.shape[0]
        here = self._index[: self.n]
        self.ops.xp.copyto(here, mine)
        if epoch != self._epoch_there:
            self._epoch_there = epoch
            self._epoch.fill(epoch)
        return here

    def corrupt(self, index: Array) -> tuple[Array, ...]:
        """Scale the clean rows and draw their noise (equation 2); a CUDA graph may record this.

        ``index`` is the result of `choose`. Returns the arguments of `Model.step`: views of the
        clean and the noisy batch and, if entries may be missing, of the mask of observed entries.
        """
        n = index.shape[0]
        clean, noisy = self.clean[:n], self.noisy[:n]
        if self.scaling is not None:
            self.scaling.apply(clean)
        batch: tuple[Array, ...] = (clean, noisy)
        if self._observed is not None:  # before the noise, which is added to what the networks see
            batch = (clean, noisy, self._observed[:n])
            fill = None if self.scaling is None else self.scaling.fill
            self.ops.set_aside_missing(clean, batch[2], fill)
        numbers = index
        if self.first_index:
            numbers = self._numbers[:n]
            self.ops.xp.add(index, self.first_index, out=numbers)
        self.noise.apply(clean, numbers, self._epoch, noisy)
        return batch


class Feed(Protocol):
    """The batches of an epoch, from memory or from disk."""

    x: Any  # samples, (n_samples, n_features)
    batch: Batch  # memory of the current batch

    @property
    def batches(self) -> Sequence[Any]:
        """One entry for each batch of an epoch."""

    def first(self, count: int) -> Array:
        """Return the first samples of the first epoch, at most ``count``, on the backend."""

    def epoch(self, number: int, done: int) -> Generator[Array, None, None]:
        """Yield the index of each batch of an epoch after the first ``done``."""

    def prepare(self, index: Array) -> tuple[Array, ...]:
        """Return the batch that `Batch.choose` chose, as `Batch.corrupt` does."""
