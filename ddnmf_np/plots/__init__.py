"""Pictures of a fitted estimator, for scripts and notebooks.

They are the pictures of a run's report, drawn by `ddnmf_np.evaluation.figures`. Each function takes
an estimator, or arrays, and returns matplotlib's ``Axes``. Without ``ax`` it makes a figure with
pyplot, which a notebook or ``matplotlib.pyplot.show()`` displays; save it by
``.figure.savefig("parts.png")``.

>>> from ddnmf_np import DDNMF
>>> from ddnmf_np.plots import plot_parts
>>> from sklearn.datasets import load_digits
>>> model = DDNMF(5, max_iter=2, random_state=0).fit(load_digits().data)
>>> axes = plot_parts(model, title="parts of digits")
>>> axes.get_title()
'parts of digits'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnmf_np.backends.select import backend_of
from ddnmf_np.data.datasets import square
from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation import figures
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.evaluation.metrics import Labels, assign_clusters
from ddnmf_np.evaluation.options import EmbeddingMethod

__all__ = ["plot_clusters", "plot_embedding", "plot_losses", "plot_parts", "plot_reconstructions"]

Shape = Sequence[int] | Literal["auto"] | None
"""Height and width of an image; "auto" for the estimator's, or a square; None for other data."""


def plot_parts(
    estimator: Any,
    X: Any = None,
    *,
    image_shape: Shape = "auto",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw each base unit, decoded to data space.

    Features that an estimator scales each by its own are drawn in shares of their range.

    Parameters
    ----------
    estimator : DDNMF, or array_like of shape (n_components, n_features)
        A fitted estimator, or its ``components_``.
    X : array_like of shape (n_samples, n_features), optional
        Samples for which units that are constant are marked as dead; of an estimator only.
    image_shape : tuple of two ints, "auto" or None, default="auto"
        Height and width of images; None draws a heat map. With "auto" it is that of the estimator,
        else a square if the features have no names and are a square of at least 64.
    title : str, default=""
        Title.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    DataError
        If ``image_shape`` does not fit the features.
    """
    parts = _comparable(estimator, _host(getattr(estimator, "components_", estimator)))
    dead = None if X is None else dead_units(_host(_fitted(estimator).transform(X)))
    names = getattr(estimator, "feature_names_in_", None)
    shape = _shape(image_shape, estimator, parts.shape[-1])
    return _drawn(
        lambda: figures.plot_parts(
            parts, shape, dead=dead, title=title, feature_names=names, ax=ax
        ),
        ax,
    )


def plot_losses(estimator: Any, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each loss against the epoch.

    Parameters
    ----------
    estimator : DDNMF, or sequence of dict
        A fitted estimator, or its ``loss_history_``.
    title : str, default=""
        Title.
    ax : Axes, optional
        Where to draw.
    """
    history = getattr(estimator, "loss_history_", estimator)
    return _drawn(lambda: figures.plot_losses(history, title, ax), ax)


def plot_reconstructions(
    estimator: Any,
    X: Any,
    X_noisy: Any = None,
    *,
    n: int = 10,
    image_shape: Shape = "auto",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw samples, and below each what the networks make of it.

    Features that an estimator scales each by its own are drawn in shares of their range. We return
    the axes with the picture, or with its first panel.

    Parameters
    ----------
    estimator : DDNMF, or array_like of shape (n_samples, n_features)
        A fitted estimator, or what its `denoise` returned.
    X : array_like of shape (n_samples, n_features)
        Samples; the first ones are drawn.
    X_noisy : array_like of shape (n_samples, n_features), optional
        The same samples with noise, for the student; by default it sees ``X``.
    n : int, default=10
        Number of samples to draw.
    image_shape : tuple of two ints, "auto" or None, default="auto"
        As for `plot_parts`; None draws steps.
    title : str, default=""
        Title.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    DataError
        If the shapes do not fit each other.
    """
    X, seen = X[:n], None if X_noisy is None else X_noisy[:n]
    student, supervisor = estimator, None
    if hasattr(estimator, "model_"):
        student = estimator.denoise(X if seen is None else seen)
        if not estimator._student_only:
            supervisor = estimator.model_.supervise(estimator._samples(X, reset=False))
    rows: list[Any] = [
        None if row is None else _comparable(estimator, _host(row))[:n]
        for row in (X, seen, student, supervisor)
    ]
    shape = _shape(image_shape, estimator, _host(X).shape[-1])
    clean, noisy, student, supervisor = rows
    return _drawn(
        lambda: figures.plot_reconstructions(
            clean, noisy, student, supervisor, shape, n, title, ax
        ),
        ax,
    )


def plot_embedding(
    estimator: Any,
    X: Any = None,
    labels: Labels | None = None,
    *,
    method: EmbeddingMethod = "tsne",
    max_samples: int = 2000,
    random_state: int = 0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the codes as points in the plane, coloured by label.

    Parameters
    ----------
    estimator : DDNMF, or array_like of shape (n_samples, n_components)
        A fitted estimator, or codes.
    X : array_like of shape (n_samples, n_features), optional
        Samples, for an estimator.
    labels : sequence of length n_samples, optional
        Classes or clusters; of an estimator by default what `predict` returns, if it
        knows clusters.
    method : {"tsne", "pca"}, default="tsne"
        As for `ddnmf_np.evaluation.maps.embed`.
    max_samples : int, default=2000
        Of more samples so many are drawn at random.
    random_state : int, default=0
        Seed of the draw and of t-SNE.
    title : str, default=""
        Title.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    UsageError
        If an estimator comes without samples, or an argument cannot be used.
    DataError
        If ``labels`` have another length.
    """
    kind, H = "", estimator
    if hasattr(estimator, "transform"):
        if X is None:
            raise UsageError("X is missing; give the samples whose codes are to be drawn")
        H = estimator.transform(X)
        if labels is None and estimator._clusters is not None:
            kind, labels = "cluster", _host(estimator.predict(X))
    rows, points = embed(_host(H), method, max_samples, random_state)
    some = None if labels is None else np.asarray(labels)
    if some is not None and len(some) == len(H):
        some = some[rows]
    return _drawn(lambda: figures.plot_embedding(points, some, title, kind, ax), ax)


def plot_clusters(
    estimator: Any,
    X: Any = None,
    y: Labels | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how many samples of each class are in each cluster.

    Parameters
    ----------
    estimator : DDNMF, or sequence of length n_samples
        A fitted estimator, or clusters.
    X : array_like of shape (n_samples, n_features), optional
        Samples, for an estimator; by default those of the last fit.
    y : sequence of length n_samples
        The class of each sample.
    title : str, default=""
        Title.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    UsageError
        If there are no classes.
    DataError
        If classes and clusters have different lengths.
    """
    if y is None:
        raise UsageError("y is missing; give the class of each sample, or use plot_embedding")
    found = estimator
    if hasattr(estimator, "predict"):
        found = estimator.labels_ if X is None else estimator.predict(X)
    assignment = assign_clusters(y, _host(found))
    return _drawn(lambda: figures.plot_cluster_matrix(assignment, title, ax), ax)


def _drawn(draw: Callable[[], Figure], ax: Axes | None) -> Axes:
    """Draw, by pyplot if there are no axes yet, and return the axes."""
    if ax is not None:
        draw()
        return ax
    token = figures.MAKER.set(import_module("matplotlib.pyplot").figure)
    try:
        return draw().axes[0]
    finally:
        figures.MAKER.reset(token)


def _fitted(estimator: Any) -> Any:
    if not hasattr(estimator, "transform"):
        raise UsageError("X goes with an estimator, and this is an array; leave X out")
    return estimator


def _host(array: Any) -> npt.NDArray[Any]:
    """Return an array of any library on the host."""
    found: npt.NDArray[Any] = array.get() if backend_of(array) == "cupy" else np.asarray(array)
    return found


def _comparable(estimator: Any, data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return data in shares of each feature's range, if the estimator scales them so."""
    model = getattr(estimator, "model_", None)
    if model is None or model.scaling is None or estimator.config_.data.scale != "features":
        return data
    scaled: npt.NDArray[Any] = (data - model.scaling.low) / model.scaling.span
    return scaled


def _shape(image_shape: Shape, estimator: Any, n_features: int) -> Sequence[int] | None:
    if not isinstance(image_shape, str):
        return image_shape
    if image_shape != "auto":
        raise UsageError(f"image_shape is {image_shape!r}; give (height, width), 'auto' or None")
    known: Sequence[int] | None = getattr(estimator, "image_shape", None)
    named = hasattr(estimator, "feature_names_in_")
    return known if known is not None or named else square(n_features)
