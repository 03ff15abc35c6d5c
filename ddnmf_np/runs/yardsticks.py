"""Yardsticks of a reconstruction: the mean, PCA and NMF of the same rank, and the noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

if TYPE_CHECKING:
    from ddnmf_np.runs.validation import Unexplained
    from ddnmf_np.training import Trainer

MOST_SAMPLES = 5000
"""Largest number of samples that PCA and NMF see, which then take a few seconds."""

MOST_BYTES = 2**26
"""Largest size of these samples."""

NAMES = {"mean": "the mean", "pca": "PCA", "nmf": "NMF"}
"""What a person calls them."""


def few(x: Any) -> Any:
    """Return a copy of at most so many samples, evenly spaced, because files are often sorted."""
    row_bytes = x.shape[1] * x.dtype.itemsize
    count = min(len(x), MOST_SAMPLES, max(1, MOST_BYTES // row_bytes))
    return x[np.linspace(0, len(x) - 1, count).astype(int)]


def yardsticks(
    measure: Unexplained, train: npt.NDArray[Any], test: npt.NDArray[Any]
) -> dict[str, float]:
    """Return the fractions of variance that linear models leave unexplained, by name.

    The measure of a trained model supplies the rank, the scaling and the mean. We fit the linear
    models to ``train``, and ``test`` counts; both are of shape (n, n_features). The names are
    ``mean`` (1.0), ``pca`` and ``nmf``, without the last two if entries are missing, or if the
    training samples are all equal. Fractions that are not finite are left out.
    """
    from sklearn.decomposition import NMF, PCA  # late: many fits never ask

    found = {"mean": 1.0}
    train, test = measure.scaled(few(train)), measure.scaled(test)
    whole = not (np.isnan(train).any() or np.isnan(test).any())
    if not whole or (train == train[0]).all() or not np.maximum(train, 0.0).any():
        return found
    rank = min(measure.model.architecture.rank, *train.shape)
    pca = PCA(rank, random_state=0).fit(train)
    found["pca"] = measure.of_guess(test, pca.inverse_transform(pca.transform(test)))
    nmf = NMF(rank, init="nndsvda", max_iter=200, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        nmf.fit(np.maximum(train, 0.0))
        guess = nmf.inverse_transform(nmf.transform(np.maximum(test, 0.0)))
    found["nmf"] = measure.of_guess(test, guess)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def described(fvu: float, found: Mapping[str, Any]) -> str:
    """Return a line with the fraction of the model beside those of `yardsticks`."""
    others = (f"{NAMES[name]} {found[name]:.3f}" for name in NAMES if found.get(name) is not None)
    return f"variance left unexplained: {fvu:.3f} ({', '.join(others)})"


def noisy_copy(trainer: Trainer, x: Any) -> Any:
    """Return samples with the run's noise, on the model's backend.

    Their indices follow those of the training set, so this noise was not seen in training.
    """
    ops, noise = trainer.ops, trainer.noise
    model = trainer.model
    clean = model.seen(ops.to_device(x, model.dtype))
    out = ops.empty(clean.shape, clean.dtype)
    index = ops.xp.arange(len(clean)) + trainer.x.shape[0]
    for at in range(0, len(clean), 256):  # in pieces: the noise keeps scratch for the largest
        rows = slice(at, at + 256)
        noise.apply(clean[rows], index[rows], 0, out[rows])
    if model.scaler is not None:
        model.scaler.undo(out)
    return out


def noise_fractions(trainer: Trainer, measure: Unexplained, x: Any) -> tuple[float, float]:
    """Return the fractions that the student leaves of noisy samples, and that the noise adds.

    ``x`` are clean samples, (n, n_features); at most as many as `few` returns count.
    """
    ops, x = trainer.ops, few(trainer.ops.to_host(x))
    noisy = noisy_copy(trainer, x)
    guesses = ops.to_host(trainer.model.denoise(noisy)), ops.to_host(noisy)
    student, noise = (measure.of_guess(measure.scaled(x), measure.scaled(g)) for g in guesses)
    return student, noise


def described_noise(student: float, noise: float) -> list[str]:
    """Return lines that compare what the student makes of noisy samples with the noise."""
    lines = [f"from noisy samples:        {student:.3f} (the noise itself {noise:.3f})"]
    if noise <= student < 1.0:  # one that leaves more has not learned: see `findings`
        lines.append(
            "this noise is less than what the student leaves; to train a denoiser give it more "
            "(--noise-rate 0.3, noise=Noise('gaussian', 0.3))"
        )
    return lines


class Yardsticks:
    """The result of `yardsticks`, computed when first asked for; ``known`` has it from then on.

    Until then it holds samples, as many as `few` returns of each; a pickle has none. The test
    samples may be on the model's device. ``more`` are fractions that are known already, by name.
    """

    def __init__(
        self, measure: Unexplained, train: Any, test: Any, more: Mapping[str, float]
    ) -> None:
        to_host = measure.model.ops.to_host
        self._given: Any = measure, few(to_host(train)), few(to_host(test))
        self._more = dict(more)
        self.known: dict[str, float] | None = None
        self._lock = Lock()

    @classmethod
    def of_known(cls, known: Any) -> Yardsticks | None:
        """Return one whose fractions a file has, or None if it has none."""
        if known is None:
            return None
        made = cls.__new__(cls)
        made.__setstate__(({str(name): float(value) for name, value in known.items()},))
        return made

    @property
    def found(self) -> dict[str, float] | None:
        """The fractions by name, or None if they are not known and the samples are gone."""
        with self._lock:
            if self.known is None and self._given is not None:
                self.known = yardsticks(*self._given) | self._more
                self._given = None
        return self.known

    def __getstate__(self) -> tuple[dict[str, float] | None]:
        """Return the fractions for a pickle, if they are known."""
        return (self.known,)

    def __setstate__(self, state: tuple[dict[str, float] | None]) -> None:
        """Take what a pickle has kept."""
        (self.known,), self._given, self._lock = state, None, Lock()
