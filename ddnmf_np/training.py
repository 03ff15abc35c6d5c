"""Algorithm 1: the one training loop, for the command line and the estimator alike.

A *feed* yields the batches of an epoch, from memory or from disk. A *step* does one iteration on a
batch. The *loop* repeats the step and keeps the position in the run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.data.batch import Feed
from ddnmf_np.data.feed import held, largest, make_feed
from ddnmf_np.data.noise import Corruption, Noise, make_motion
from ddnmf_np.data.start import SAMPLES
from ddnmf_np.errors import DataError, DivergedError
from ddnmf_np.system.options import (
    COUNT,
    FRACTION,
    WEIGHT,
    Range,
    check_options,
    documented,
    option,
)

if TYPE_CHECKING:
    from ddnmf_np.model import Model

Record = dict[str, float]
"""One epoch: ``epoch``, every loss, ``seconds`` (including checkpoints saved in the epoch) and
``samples_per_second``."""


@documented
@dataclass(frozen=True)
class Training:
    """Options of Algorithm 1.

    An improvement lowers the unexplained fraction by more than ``tol`` times its value.
    """

    epochs: int = option(30, "passes over the training set", Range(least=0), resumable=True)
    batch_size: int = option(128, "samples a step", COUNT)
    seed: int = option(
        0, "of weights, order of samples, and noise", Range(least=0, most=2**32 - 1)
    )  # scikit-learn takes no larger seeds
    dtype: Literal["float32", "float64"] = option("float32", "precision")
    validation_fraction: float = option(
        0.0,
        "share of the samples that are held out; we keep the weights with the least error on them",
        FRACTION,
    )
    patience: int = option(
        0, "stop after this many validations without an improvement; 0: never", Range(least=0)
    )
    tol: float = option(1e-3, "smallest improvement, as a share of the error", FRACTION)
    checkpoint_every: float = option(
        30.0,
        "save a checkpoint at most once in this many seconds, also in the middle of an epoch; 0: "
        "after every epoch",
        WEIGHT,
        resumable=True,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass
class Position:
    """Position in a run. Order and noise depend on it and on the seed, and on nothing else."""

    epoch: int = 0  # epochs done
    batch: int = 0  # mini-batches done in the current epoch
    seconds: float = 0.0  # time spent in the current epoch


class Step(Protocol):
    """One iteration of algorithm 1, by this process or together with others."""

    def begin(self, trainer: Trainer) -> None:
        """Prepare to continue from the trainer's position."""

    def __call__(self, index: Array, n: int, asked: bool) -> None:
        """Do an iteration on the ``n`` samples that `Batch.choose` chose.

        ``asked`` is `Trainer.stop_requested`.
        """

    def agreed_to_stop(self, asked: bool) -> bool:
        """Return whether to stop before the next iteration."""

    def check(self) -> None:
        """Raise `DivergedError` if replicas of the model no longer agree."""


class Stopping(Protocol):
    """A rule that ends training before its last epoch."""

    stopped: bool  # whether training should end

    def look(self, trainer: Trainer) -> None:
        """Update ``stopped``; the trainer calls this after each epoch."""

    def numbers(self) -> dict[str, Any]:
        """Return the rule's state as plain JSON values."""

    def load_numbers(self, numbers: dict[str, Any]) -> None:
        """Load the state that `numbers` returned."""

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return arrays on the host, and `numbers`, for a checkpoint."""

    def load_state(self, kept: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Load what `state` returned."""

    def finish(self, trainer: Trainer) -> None:
        """Finish training, for example by loading the best weights."""


class RecordedStep:
    """The preparation of a batch and the model's plain step, as one function.

    A device records the function as a CUDA graph and repeats it. So everything that changes from
    step to step (samples, epoch, learning rate) is in arrays that keep their address.
    """

    def __init__(self, model: Model, feed: Feed) -> None:
        self.model, self.feed = model, feed
        self.repeat = model.ops.recorder()

    def begin(self, trainer: Trainer) -> None:
        """Set first weights from the data at the beginning of a run."""
        trainer.start()

    def __call__(self, index: Array, n: int, asked: bool) -> None:
        """Do an iteration."""
        self.model.optimizer.begin()
        self.repeat(self.work, index)

    def work(self, index: Array) -> None:
        """Do the part of a step that never changes, so that a device can record it."""
        self.model.iterate(*self.feed.prepare(index))

    def agreed_to_stop(self, asked: bool) -> bool:
        """Return ``asked``, because one process needs nobody's agreement."""
        return asked

    def check(self) -> None:
        """Do nothing, because there is no other replica."""


class Trainer:
    """Training of a model on samples in memory or on disk (algorithm 1).

    Parameters
    ----------
    model : Model
        Trained in place.
    x : array_like of shape (n, n_features)
        Clean samples, at least one batch. We copy them only if dtype or backend require it. NaN
        is a missing entry if the model has ``missing``. `Rows` are read a window at a time.
    noise : Noise, optional
        Options of the noise; 10 % masking by default.
    epochs : int, optional
        Length of the whole run. A learning-rate schedule that is not constant needs it.
    first_index : int
        Index of the first sample, on which the noise depends; not 0 if data arrive in parts.
    high : float, optional
        The data's largest value, the unit of the noise; by default we compute it.
    batch_size : int, optional
        Samples of a mini-batch, at most the model's ``rows``; by default the model's own.
    image_shape : tuple of two ints, optional
        Height and width, if samples are images.
    feed : callable
        Makes the feed; `ddnmf_np.data.feed.make_feed` by default.
    step : callable
        Makes the step from model and feed.

    Attributes
    ----------
    position : Position
        Position in the run; a checkpoint stores it.
    epochs_before : int
        Epochs of earlier training, which the learning-rate schedule does not span; 0 at first.
    mean : ndarray of shape (n_features,) or None
        Mean of the samples as the networks see them, for a checkpoint to keep; None at first.
    history : list of Record
        One record for each epoch done.
    stopping : Stopping or None
        Rule that may end training early; None at first.
    stop_requested : bool
        Set it (from a signal handler or a callback) to stop after the current step.
    about : dict
        What a checkpoint keeps of the data, in plain JSON types; nothing at first.

    Raises
    ------
    DataError
        If there are fewer samples than a batch, or of another width than the model's.
    UsageError
        If the noise moves images and ``image_shape`` is not known.
    """

    def __init__(
        self,
        model: Model,
        x: Any,
        noise: Noise | None = None,
        *,
        epochs: int = 0,
        first_index: int = 0,
        high: float | None = None,
        batch_size: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        feed: Callable[..., Feed] = make_feed,
        step: Callable[[Model, Feed], Step] = RecordedStep,
    ) -> None:
        if x.ndim != 2 or x.shape[1] != model.n_features:
            raise DataError(f"x has shape {x.shape}; this model takes (n, {model.n_features})")
        batch_size = batch_size or model.batch_size
        if x.shape[0] < batch_size:
            raise DataError(
                f"x has {x.shape[0]} samples, fewer than batch_size = {batch_size}; "
                "give more samples or a smaller batch_size"
            )
        self.model, self.ops, self.epochs = model, model.ops, epochs
        self.x = held(x, self.ops, model.dtype)
        noise = noise or Noise()
        self.noise = Corruption(
            noise,
            seed=model.seed,
            high=self._largest() if high is None else high,
            motion=make_motion(noise, image_shape, model.n_features, seed=model.seed, ops=self.ops),
            fill=None if model.scaler is None else model.scaler.fill,
            ops=self.ops,
        )
        self.feed = feed(
            self.x,
            self.noise,
            batch_size=batch_size,
            seed=model.seed,
            dtype=model.dtype,
            missing=model.missing,
            first_index=first_index,
            scaling=model.scaler,
        )
        self.batches = self.feed.batches
        self._step = step(model, self.feed)
        self.position = Position()
        self.epochs_before = 0
        self.mean: Array | None = None
        self.history: list[Record] = []
        self.stopping: Stopping | None = None
        self.stop_requested = False
        self.about: dict[str, Any] = {}

    def _largest(self) -> float:
        """Return the largest value that the networks see."""
        if self.model.scaling is not None and not self.model.scaling.is_identity:
            return 1.0
        return largest(self.x, self.ops, missing=self.model.missing)

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
            True if training is complete, False if it was stopped between two steps.

        Raises
        ------
        DivergedError
            If a loss or a parameter is not finite. It names the epoch, the loss terms and the
            lowest layer with such a value.

        Notes
        -----
        Each network gets a thread where that is faster (`ddnmf_np.backends.threads`). We compile
        before the first epoch, so its time does not include compilation.

        On a device we read the losses once an epoch, and check the parameters then. On the host
        we check the losses after each step.
        """
        with self.model.network_threads:
            self.ops.warm_up(self.model.dtype)
            self._step.begin(self)
            stopping = self.stopping
            while self.position.epoch < epochs and not (stopping and stopping.stopped):
                if not self._finish_epoch(on_step):
                    return False
                if stopping is not None:
                    stopping.look(self)
                if on_epoch is not None:
                    on_epoch(self)
        if stopping is not None:
            stopping.finish(self)
        return True

    def _finish_epoch(self, on_step: Callable[[Trainer], None] | None) -> bool:
        """Do the rest of an epoch and record it; return False if the run stops before its end."""
        position, loss = self.position, self.model.loss
        if position.batch == 0:
            loss.reset()
            position.seconds = 0.0
        start = time.perf_counter() - position.seconds
        with closing(self.feed.epoch(position.epoch, position.batch)) as batches:
            for index in batches:
                if self._step.agreed_to_stop(self.stop_requested):
                    self._step.check()
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
        self._step.check()
        position.epoch, position.batch, position.seconds = position.epoch + 1, 0, 0.0
        speed = {"seconds": seconds, "samples_per_second": self.x.shape[0] / seconds}
        self.history.append({"epoch": position.epoch, **values, **speed})
        return True

    def step(self, index: Array) -> None:
        """Do one step on the samples with these indices (one iteration of algorithm 1).

        If samples are streamed, the feed must have just read them.
        """
        self.model.optimizer.lr = self.model.descent.rate(self.progress)
        here = self.feed.batch.choose(index, self.position.epoch)
        with np.errstate(all="ignore"):  # train() itself looks for what is not finite
            self._step(here, index.shape[0], self.stop_requested)

    def start(self) -> None:
        """Set first weights from the first samples, at the beginning of a run."""
        begins = (self.position.epoch, self.position.batch) == (0, 0)
        if begins and self.model.starts_from_data:
            self.model.start(self.feed.first(SAMPLES))

    @property
    def progress(self) -> float:
        """Completed share of the whole run; the learning-rate schedule depends on it."""
        epoch, epochs = (n - self.epochs_before for n in (self.position.epoch, self.epochs))
        done = epoch * len(self.batches) + self.position.batch
        return done / max(1, epochs * len(self.batches))

    def check_finite(self, losses: dict[str, float] | None = None) -> None:
        """Raise `DivergedError` if a loss or a parameter is not finite.

        ``losses`` are those of the current epoch so far; by default we read them. On the host the
        loop calls this after the first bad step, so the error names the batch and layer where the
        trouble began. On a device it runs once an epoch, when the values may have spread.
        """
        position, batch = self.position, self.feed.batch
        losses = losses or self.model.loss.values(self.x.shape[0])
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad or not self.model.all_finite():
            where = self.model.first_nonfinite(batch.clean[: batch.n], batch.noisy[: batch.n])
            terms = f"{', '.join(bad)} not finite" if bad else "the losses are still finite"
            raise DivergedError(
                f"training diverged in epoch {position.epoch + 1}, step {position.batch}: {terms}; "
                f"first value that is not finite: {where or 'none left in the last batch'}. "
                f"Start again with a smaller lr (now {self.model.descent.lr:g}), "
                "reduction='mean', or data scaled to [0, 1]."
            )
