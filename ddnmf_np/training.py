"""Algorithm 1: the one training loop, for the command line and the estimator alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.config import rate
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.order import batch_slices, epoch_order
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.engine.nmf import SAMPLES
from ddnmf_np.errors import DataError, DivergedError, UsageError
from ddnmf_np.model import Model
from ddnmf_np.parallel.communicator import Communicator, SerialCommunicator
from ddnmf_np.parallel.feed import read_together
from ddnmf_np.parallel.step import SharedStep, check_replicas, share_state

Record = dict[str, float]
"""One epoch: ``epoch``, every loss, ``seconds``, ``samples_per_second``."""


@dataclass
class Position:
    """Where a run is. With the seed, all that order and noise depend on.

    Attributes
    ----------
    epoch : int
        Epochs done.
    batch : int
        Mini-batches done in the current epoch.
    seconds : float
        Time spent in the current epoch.
    """

    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains a model on data that it holds on the model's backend, or reads as it goes.

    Parameters
    ----------
    model : Model
        Trained in place.
    x : array_like of shape (n, n_features)
        Clean samples, at least as many as a batch. Kept without a copy where dtype and backend
        allow. NaN is a missing entry where the configuration has ``missing="nan"``. Or `Rows`,
        which are read a window at a time.
    first_index : int
        Index of the first sample, for the noise; not 0 when data arrive in parts.
    high : float, optional
        The data's largest value, the unit of the noise; looked up if not given.
    batch_size : int, optional
        Instead of the configured one; at most the model's ``rows``.
    image_shape : tuple of two ints, optional
        Height and width of the images that the samples are, where the configuration does not say.
    communicator : Communicator, optional
        The processes that train together, each on its share of every batch; by default this one
        alone. All must be given the same model and data; rank 0's state is what they start from.

    Attributes
    ----------
    position : Position
        Where the run is; a checkpoint holds it.
    history : list of Record
        One record for each epoch done.
    stop_requested : bool
        Set it (from a signal handler or a callback) to stop after the current step.

    Raises
    ------
    DataError
        If there are fewer samples than a batch, or of another width than the model's; when
        training begins, if another rank has another number of them.
    UsageError
        If the noise moves images, and what their height and width are is not known.
    """

    def __init__(
        self,
        model: Model,
        x: Any,
        *,
        first_index: int = 0,
        high: float | None = None,
        batch_size: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        config = model.config
        if x.ndim != 2 or x.shape[1] != model.n_features:
            raise DataError(f"x has shape {x.shape}; this model takes (n, {model.n_features})")
        batch_size = batch_size or config.batch_size
        if x.shape[0] < batch_size:
            raise DataError(
                f"x has {x.shape[0]} samples, fewer than batch_size = {batch_size}; "
                "give more samples or a smaller batch_size"
            )
        self.model, self.config, self.ops = model, config, model.ops
        self.streamed = isinstance(x, Rows)
        self.x: Any = x if self.streamed else self.ops.to_device(x, model.dtype)
        self.first_index = first_index
        self.recipe = config.make_recipe()
        self.noise = Noise(
            config.noise_kind,
            config.noise_rate,
            seed=config.seed,
            redraw=self.recipe.noise_redraw,
            rescale=config.noise_rescale,
            high=self._largest() if high is None else high,
            motion=self._motion(config.image_shape or image_shape),
            ops=self.ops,
        )
        # A list of them would grow with the data.
        steps: Sequence[Any] = range(0, x.shape[0], batch_size)
        self.batches = steps if self.streamed else batch_slices(x.shape[0], batch_size)
        self.communicator = communicator or SerialCommunicator()
        self._shared = SharedStep(model, self.communicator) if self.communicator.size > 1 else None
        self.batch_size = batch_size
        shape = (-(-batch_size // self.communicator.size), model.n_features)
        self._clean, self._noisy = (self.ops.empty(shape, model.dtype) for _ in range(2))
        self._observed = self.ops.empty(shape, bool) if config.missing == "nan" else None
        # Where a step that is recorded finds its samples, their numbers and the epoch.
        self._index, self._numbers = (self.ops.empty(shape[:1], "int64") for _ in range(2))
        self._epoch, self._epoch_there = self.ops.zeros((1,), "int64"), 0
        self._rows = 0  # of the last batch
        self._repeat = self.ops.recorder()
        self.position = Position()
        self.history: list[Record] = []
        self.stop_requested = False

    def _largest(self) -> float:
        """Return the data's largest value; missing ones have none."""
        if self.streamed:
            return float(self.x.survey.high)
        if self.config.missing == "nan":
            return float(np.nanmax(self.ops.to_host(self.x)))
        return float(self.x.max())

    def _motion(self, image_shape: tuple[int, ...] | None) -> Affine | None:
        """Return the geometric noise, if the recipe has any."""
        ranges, n_features = self.recipe.motion, self.model.n_features
        if not ranges:
            return None
        if image_shape is None or math.prod(image_shape) != n_features:
            known = "unknown" if image_shape is None else f"{image_shape}"
            none = ", ".join(f"noise_{name}=0" for name in ranges)
            raise UsageError(
                f"image_shape is {known} and a sample has {n_features} features, but "
                f"{', '.join(f'noise_{name}' for name, value in ranges.items() if value)} moves "
                f"images; give image_shape=(height, width), or {none} for data that are none"
            )
        height, width = image_shape
        seed, redraw = self.config.seed, self.recipe.noise_redraw
        return Affine((height, width), **ranges, seed=seed, redraw=redraw, ops=self.ops)

    def train(
        self,
        epochs: int,
        *,
        on_step: Callable[[Trainer], None] | None = None,
        on_epoch: Callable[[Trainer], None] | None = None,
    ) -> bool:
        """Train until ``epochs`` epochs are done, or until `stop_requested`.

        Parameters
        ----------
        epochs : int
            Number of epochs in all, those done before included.
        on_step, on_epoch : callable, optional
            Called with the trainer after each step, and after each epoch once its record is in
            `history`.

        Returns
        -------
        bool
            Whether the epochs are done; if not, the run stopped between two steps.

        Raises
        ------
        DivergedError
            If a loss or a parameter is not finite; names the epoch, the loss terms and the
            lowest layer that is affected.

        Notes
        -----
        The two networks have a thread each where that is faster (`ddnmf_np.backends.threads`).
        Compilation is done before the first epoch and not counted in its time.

        Once an epoch the losses, and whether the parameters are finite, cross from the device
        to the host; nothing else does. On the host the losses are looked at after each step.
        """
        with self.model.lanes:
            return self._train(epochs, on_step, on_epoch)

    def _train(
        self,
        epochs: int,
        on_step: Callable[[Trainer], None] | None,
        on_epoch: Callable[[Trainer], None] | None,
    ) -> bool:
        position, loss = self.position, self.model.loss
        self.ops.warm_up(self.model.dtype)
        if (position.epoch, position.batch) == (0, 0) and self.communicator.rank == 0:
            self._start()  # the others get the parameters
        if self._shared is not None:
            self._begin_together()
        while position.epoch < epochs:
            if position.batch == 0:
                loss.reset()
                position.seconds = 0.0
            start = time.perf_counter() - position.seconds
            with closing(self._order()) as batches:
                for index in batches:
                    if self._agreed_to_stop():
                        if self._shared is not None:
                            check_replicas(self.model, self.communicator)
                        return False
                    self.step(index)
                    position.batch += 1
                    if self.ops.on_host and not np.isfinite(loss.sums).all():
                        self.check_finite()
                    position.seconds = time.perf_counter() - start
                    if on_step is not None:
                        on_step(self)
            values = loss.values(self.x.shape[0])  # waits for the device
            seconds = time.perf_counter() - start
            self.check_finite(values)
            if self._shared is not None:
                check_replicas(self.model, self.communicator)
            position.epoch, position.batch, position.seconds = position.epoch + 1, 0, 0.0
            self.history.append(
                {
                    "epoch": position.epoch,
                    **values,
                    "seconds": seconds,
                    "samples_per_second": self.x.shape[0] / seconds,
                }
            )
            if on_epoch is not None:
                on_epoch(self)
        return True

    def _start(self) -> None:
        """Let the model look at the first samples that it will see, if its recipe says so."""
        if not self.streamed:
            some = epoch_order(self.x.shape[0], self.config.seed, 0, xp=self.ops.xp)[:SAMPLES]
            self.model.start(self.x[some])
        elif self.recipe.nmf_start != "glorot":
            some = self.x.first(self.config.seed, SAMPLES)
            self.model.start(self.ops.to_device(some, self.model.dtype))

    def _order(self) -> Generator[Array, None, None]:
        """Yield the index of each batch that is left of the epoch.

        Samples that are streamed are in ``_clean`` by then.
        """
        if self.streamed:
            yield from self._streamed_batches()
            return
        epoch, first = self.position.epoch, self.position.batch
        order = epoch_order(self.x.shape[0], self.config.seed, epoch, xp=self.ops.xp)
        for rows in self.batches[first:]:
            yield order[rows]

    def _streamed_batches(self) -> Generator[Array, None, None]:
        """Do the same with windows; a batch may have samples of the next one."""
        size, ops = self.batch_size, self.ops
        index, filled, rows = ops.empty((size,), "int64"), 0, 0
        done = self.position.batch * size
        windows = read_together(
            self.x, self.communicator, size, self.config.seed, self.position.epoch, done
        )
        with closing(windows):
            for window, window_place, window_numbers, before in windows:
                x, place, numbers = (
                    ops.to_device(array) for array in (window, window_place, window_numbers)
                )
                at = 0
                while at < len(window_numbers):
                    take = min(size - filled, len(window_numbers) - at)
                    mine = slice(before[at], before[at + take])
                    more = mine.stop - mine.start
                    ops.gather(x, place[mine], out=self._clean[rows : rows + more])
                    index[filled : filled + take] = numbers[at : at + take]
                    at, filled, rows = at + take, filled + take, rows + more
                    if filled == size:
                        yield index
                        filled = rows = 0
                del window, x  # before the next is waited for
        if filled:
            yield index[:filled]

    def _begin_together(self) -> None:
        """Put every rank where rank 0 is, which alone may have read a checkpoint."""
        position, here = self.position, list(self.x.shape)
        state = [here, position.epoch, position.batch, self.history]
        there, *state = self.communicator.broadcast_object(state)
        if there != here:  # other batches: ranks would wait for each other for ever
            raise DataError(
                f"x has shape {tuple(here)} on rank {self.communicator.rank} and {tuple(there)} "
                "on rank 0; give all ranks the same samples"
            )
        position.epoch, position.batch, self.history = state
        share_state(self.model, self.communicator)
        if self._shared is not None:
            self._shared.begin()

    def _agreed_to_stop(self) -> bool:
        """Return whether to stop now; several ranks do if one was asked before the last step."""
        return self.stop_requested if self._shared is None else self._shared.stop

    @property
    def progress(self) -> float:
        """Share of the configured run that is done; a schedule goes by it."""
        done = self.position.epoch * len(self.batches) + self.position.batch
        return done / max(1, self.config.epochs * len(self.batches))

    def step(self, index: Array) -> None:
        """Do one step on the samples of that index (one iteration of algorithm 1).

        Samples that are streamed must be the ones that `train` has just read.
        """
        mine = self.communicator.share(index.shape[0])
        whole, n = index.shape[0], mine.stop - mine.start
        here, self._rows = self._index[:n], n
        self.ops.xp.copyto(here, index[mine])
        if self.position.epoch != self._epoch_there:
            self._epoch_there = self.position.epoch
            self._epoch.fill(self.position.epoch)
        optimizer = self.model.optimizer
        optimizer.lr = self.config.lr * rate(self.recipe.lr_schedule, self.progress)
        with np.errstate(all="ignore"):  # train() itself looks for what is not finite
            if self._shared is None:
                optimizer.begin()
                self._repeat(self._iterate, here)
            else:
                self._prepare(here)
                self._shared(*self._batch(n), whole, self.stop_requested, *self._mask(n))

    def _iterate(self, index: Array) -> None:
        """Do what is the same at every step, and may be recorded."""
        self._prepare(index)
        n = index.shape[0]
        self.model.iterate(*self._batch(n), *self._mask(n))

    def _batch(self, n: int) -> tuple[Array, Array]:
        """Return the clean and the noisy batch."""
        return self._clean[:n], self._noisy[:n]

    def _mask(self, n: int) -> tuple[Array, ...]:
        """Return which entries are observed, where some are missing."""
        return () if self._observed is None else (self._observed[:n],)

    def _prepare(self, index: Array) -> None:
        """Make the batch of some samples."""
        n = index.shape[0]
        clean, noisy = self._batch(n)
        if not self.streamed:
            self.ops.gather(self.x, index, out=clean)
        for observed in self._mask(n):  # before the noise, which is of what the networks see
            self.ops.set_aside_missing(clean, observed)
        numbers = index
        if self.first_index:
            numbers = self._numbers[:n]
            self.ops.xp.add(index, self.first_index, out=numbers)
        self.noise.apply(clean, numbers, self._epoch, noisy)

    def check_finite(self, losses: dict[str, float] | None = None) -> None:
        """Raise `DivergedError` if a loss or a parameter is not finite.

        The losses are those of the current epoch so far, read from the device if not given.
        Asked for after each step where that is free, so that it names the batch and the layer in
        which it began; on a device after each epoch, when it may have spread.
        """
        position = self.position
        losses = losses or self.model.loss.values(self.x.shape[0])
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad or not self.model.all_finite():
            where = self.model.first_nonfinite(*self._batch(self._rows))
            terms = f"{', '.join(bad)} not finite" if bad else "the losses are still finite"
            raise DivergedError(
                f"training diverged in epoch {position.epoch + 1}, step {position.batch}: {terms}; "
                f"first value that is not finite: {where or 'none left in the last batch'}. Start "
                f"again with a smaller lr (now {self.config.lr:g}), reduction='mean', or data "
                "scaled to [0, 1]."
            )
