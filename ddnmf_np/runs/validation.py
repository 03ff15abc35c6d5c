"""Held-out rows during training: how much the student leaves unexplained, and when to stop."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

from ddnmf_np.backends.ops import Array
from ddnmf_np.config import DECIDED_BY, Config
from ddnmf_np.errors import CheckpointError
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.model import Model
from ddnmf_np.training import Trainer

LOOKS = 100
"""About how often early stopping looks at the held-out rows in a whole run."""

RARE = 1e-3
"""Share of the variance that features which the model leaves out may hold, all together.

A border pixel that is lit in a few of thousands of images is such a feature, and a model is right
to leave it dark. A feature below this share of the mean is not even counted."""

FLAT = 1e-2
"""Spread of an output, as a share of that of its feature, up to which the output is constant."""

AUTO = "or take objective='auto' (--objective auto), "
"""The remedy of models with another preset."""


class Unexplained:
    """The fraction of variance that a model's reconstruction leaves unexplained (FVU).

    It is the sum of squared errors of the student's output, divided by the sum of squared
    deviations from the mean of the training samples ``x``, of shape (n, n_features) (of `Rows` a
    sample), over the entries that are not missing, in the units that the networks see. The mean has
    1; a perfect reconstruction has 0.
    """

    def __init__(self, model: Model, x: npt.NDArray[Any]) -> None:
        self.model = model
        scaled = self.scaled(x)
        known = ~np.isnan(scaled)
        total = np.sum(scaled, axis=0, where=known, dtype=np.float64)
        self.mean = total / np.maximum(known.sum(axis=0), 1)

    @classmethod
    def with_mean(cls, model: Model, mean: npt.NDArray[np.float64]) -> Unexplained:
        """Return the measure of a model whose training mean, in scaled units, is known."""
        measure = cls.__new__(cls)
        measure.model, measure.mean = model, mean
        return measure

    def scaled(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return samples in the units that the networks see, on the host in float64."""
        x = np.asarray(self.model.ops.to_host(x), np.float64)
        scaling = self.model.scaling
        return x if scaling is None else (x - scaling.low) / scaling.span

    def of(self, x: Any) -> float:
        """Return the fraction for some samples; where they have no variance, 0 or infinity."""
        return self.of_guess(self.scaled(x), self.scaled(self.model.denoise(x)))

    def of_guess(self, scaled: npt.NDArray[Any], guess: npt.NDArray[Any]) -> float:
        """Return the fraction that a guess leaves of scaled samples."""
        errors, deviations = self._sums(scaled, guess)
        error, deviation = float(errors.sum()), float(deviations.sum())
        return error / deviation if deviation else (math.inf if error else 0.0)

    def by_feature(self, x: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of squared errors and of squared deviations of each feature."""
        return self._sums(self.scaled(x), self.scaled(self.model.denoise(x)))

    def _sums(
        self, scaled: npt.NDArray[Any], guess: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        known = ~np.isnan(scaled)
        return (
            np.sum((guess - scaled) ** 2, axis=0, where=known),
            np.sum((self.mean - scaled) ** 2, axis=0, where=known),
        )


class Validation:
    """Early stopping by the unexplained fraction of held-out rows.

    We look at the held-out rows ``x``, of shape (n, n_features), every ``every`` epochs, and stop
    after ``patience`` looks in a row without an improvement; with 0 never. An improvement lowers
    the best fraction by more than ``tol`` times its value.

    ``best`` is the smallest fraction so far, and ``fraction`` that of the last look. ``best_epoch``
    is the epoch of the best weights; None if no look was an improvement. ``stopped`` says whether
    patience has come to its end, and ``finished`` whether the model has its best weights back. Then
    we keep the last ones, from which the run can go on.
    """

    def __init__(
        self, unexplained: Unexplained, x: Array, *, patience: int, tol: float, every: int = 1
    ) -> None:
        self.unexplained, self.x = unexplained, x
        self.patience, self.tol, self.every = patience, tol, every
        self.best = self.fraction = math.inf
        self.best_epoch: int | None = None
        self.waited, self.stopped, self.finished = 0, False, False
        self._kept: dict[str, Array] = {}

    @classmethod
    def of(cls, config: Config, unexplained: Unexplained, x: Array) -> Validation:
        """Return the early stopping that the options ask for; we look about a hundred times."""
        training = config.training
        every = max(1, training.epochs // LOOKS)
        return cls(unexplained, x, patience=training.patience, tol=training.tol, every=every)

    def look(self, trainer: Trainer) -> None:
        """Look at the held-out rows if it is time.

        The last epoch's record gets the fraction as ``fvu``, if the rows have variance.
        """
        epoch = trainer.position.epoch
        if epoch % self.every and epoch < trainer.epochs:
            return
        self.fraction = self.unexplained.of(self.x)
        if math.isfinite(self.fraction):
            trainer.history[-1]["fvu"] = self.fraction
        improved = self.fraction < self.best * (1.0 - self.tol)
        if self.fraction < self.best:
            self.best, self.best_epoch = self.fraction, epoch
            for name, network in trainer.model.nets.items():
                self._kept[name] = network.arena.params.copy()
        self.waited = 0 if improved else self.waited + 1
        self.stopped = 0 < self.patience <= self.waited

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the best weights on the host, and numbers, for a checkpoint.

        At the end of a run, when the model has those, it is the last weights.
        """
        to_host = self.unexplained.model.ops.to_host
        which = "last" if self.finished else "best"
        kept = {f"{which}.{name}": to_host(params) for name, params in self._kept.items()}
        return kept, self.numbers()

    def numbers(self) -> dict[str, Any]:
        """Return the numbers that the rule remembers."""
        names = ("best", "best_epoch", "fraction", "waited", "stopped", "finished")
        return {name: getattr(self, name) for name in names}

    def load_numbers(self, numbers: dict[str, Any]) -> None:
        """Put back what `numbers` returned."""
        for name in self.numbers():
            setattr(self, name, numbers[name])

    def load_state(self, kept: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Put back what `state` returned; blocks must have the size of the model's."""
        model = self.unexplained.model
        if missing := self.numbers().keys() - numbers.keys():
            raise CheckpointError(f"has no {min(missing)}; start a new run")
        for name, network in model.nets.items():
            block = f"{'last' if numbers['finished'] else 'best'}.{name}"
            found = kept.get(block)
            if found is None:
                continue
            if found.shape != network.arena.params.shape:
                raise CheckpointError(f"block {block} is of shape {found.shape}")
            self._kept[name] = model.ops.to_device(found, model.dtype)
        self.load_numbers(numbers)

    def described(self, trainer: Trainer) -> str:
        """Return lines on why training has ended, and whose weights the model has, or ""."""
        lines = []
        if self.stopped:
            lines.append(
                f"stopped early, after {trainer.position.epoch} of {trainer.epochs} epochs: "
                f"{self.patience} looks in a row were no improvement"
            )
        if self.best_epoch is not None:
            lines.append(
                f"kept: the weights of epoch {self.best_epoch}, which leave the least of the "
                "held-out samples unexplained"
            )
        return "\n".join(lines)

    def finish(self, trainer: Trainer) -> None:
        """Put the best weights back, and keep the last ones."""
        if not self.finished:
            self._exchange(trainer)
        self.finished = True

    def reopen(self, trainer: Trainer) -> None:
        """Undo `finish`, so that the run can go on."""
        if self.finished:
            self._exchange(trainer)
        self.finished = False

    def _exchange(self, trainer: Trainer) -> None:
        for name, kept in self._kept.items():
            params = trainer.model.nets[name].arena.params
            self._kept[name] = params.copy()
            params[...] = kept


def flat_outputs(
    guess: npt.NDArray[Any], deviations: npt.NDArray[Any], known: npt.NDArray[Any] | int
) -> int:
    """Count outputs that are as good as constant although their feature is not, and matters.

    ``guess`` has outputs in scaled units, of shape (n, n_features); ``deviations`` the sum of the
    squared deviations of each feature, of shape (n_features,); ``known`` the number of terms of
    these sums, one for all or one for each. Outputs matter above the share `RARE`.
    """
    spread = np.var(guess, axis=0, dtype=np.float64) * known
    flat = (deviations > RARE * deviations.mean()) & (spread <= FLAT**2 * deviations)
    return int(flat.sum()) if deviations[flat].sum() > RARE * deviations.sum() else 0


def findings(unexplained: Unexplained, model: Model, x: Any) -> list[str]:
    """Return the signs that a model has not learned, each with its remedy, or [].

    ``x`` are samples, of shape (n, n_features), best held-out ones.
    """
    found = []
    # A remedy must not be what the run has already.
    by_data = model.objective.preset in DECIDED_BY
    errors, deviations = unexplained.by_feature(x)
    if deviations.sum() > 0.0 and errors.sum() >= deviations.sum():
        remedy = "which scales the data" if not by_data else "or give more samples"
        if by_data and model.scaling is None:
            remedy = "or leave out scale='none' (--scale none)"
        found.append(
            f"the reconstruction leaves {errors.sum() / deviations.sum():.2f} of the variance "
            "unexplained, where the mean of each feature leaves 1.00; train longer (max_iter, "
            f"--epochs), {'' if by_data else AUTO}{remedy}"
        )
    H = model.ops.to_host(model.encode(x))
    dead = int(dead_units(H).sum()) if len(H) > 1 else 0
    if dead:
        remedy = "" if by_data else f", {AUTO}which starts them from the data"
        found.append(
            f"{dead} of {H.shape[1]} codes are the same for all samples; take fewer components "
            f"(n_components, --rank), or another random_state (--seed){remedy}"
        )
    # A non-negative decoder may rightly leave out a feature that no part needs.
    if len(H) > 1 and model.architecture.nonnegative != "decoder":
        known = (~np.isnan(unexplained.scaled(x))).sum(axis=0)
        flat = flat_outputs(unexplained.scaled(model.denoise(x)), deviations, known)
        if flat:
            one_range = model.scaling is None or bool(np.ptp(model.scaling.span) == 0.0)
            remedy = "train longer (max_iter, --epochs)"
            if not by_data:
                remedy = f"take output_activation='sigmoid' with scaled data, {AUTO.rstrip(', ')}"
            elif one_range:
                remedy = "scale the features (scale='features', --scale features)"
            found.append(
                f"{flat} of {len(deviations)} output features are constant although the data are "
                f"not; {remedy}"
            )
    return found


def warn_of(found: list[str]) -> None:
    """Warn once for each finding: a `ConvergenceWarning` with the finding and its remedy."""
    for text in found:
        warnings.warn(f"DDNMF has not learned well: {text}", ConvergenceWarning, stacklevel=4)
