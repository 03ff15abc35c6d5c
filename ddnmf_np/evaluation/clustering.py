"""Clustering of the learned codes by k-means and Gaussian mixtures (section 4.4 of the paper).

Both methods end in a local optimum, so we start each several times and keep the start with the
best *objective*. To choose by ACC would use the labels that the score is about.
"""

import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation.interpret import check_codes, dead_units
from ddnmf_np.evaluation.maps import embed, import_umap, unfold
from ddnmf_np.evaluation.metrics import Labels, encode_labels, scores
from ddnmf_np.evaluation.options import Method

KMEANS_OPTIONS: dict[str, Any] = {"init": "k-means++", "max_iter": 300, "tol": 1e-4}

# reg_covar is added to every variance, so that the likelihood of a cluster of equal codes stays
# finite. It is the square of 1e-3, the spread below which `dead_units` calls a unit dead.
MIXTURE_OPTIONS: dict[str, Any] = {
    "init_params": "kmeans",
    "max_iter": 100,
    "tol": 1e-3,
    "reg_covar": 1e-6,
}


@dataclass(frozen=True, eq=False)
class ClusteringResult:
    """All starts of one clustering method.

    Attributes
    ----------
    method : str
        As passed to `cluster`.
    labels : ndarray of shape (n,), dtype int32
        Clusters of the best start, 0 .. n_clusters - 1.
    best : int
        Index of the start with the best objective (the first of several).
    objectives : ndarray of shape (n_starts,), dtype float64
        k-means: inertia, the sum of squared distances to the centres (lower is better).
        Mixtures: log-likelihood of all samples, in nats (higher is better).
    all_labels : ndarray of shape (n_starts, n), dtype int32
        Clusters of every start, for the spread of a score.
    converged : ndarray of shape (n_starts,), dtype bool
        False for a start that reached the limit of iterations.
    random_states : tuple of int, of length n_starts
        Seed of each scikit-learn fit.
    bic : float or None
        Bayesian information criterion of the best mixture (lower is better); None for k-means.
        On a map it describes the map's points and cannot be compared with other methods.
    cluster_sizes : tuple of int, of length n_clusters
        Samples per cluster of the best start, empty clusters included.
    degenerate : str or None
        The reason if the clusters of the best start mean little.
    seconds : float
        Time for all starts together.
    model : KMeans or GaussianMixture
        The best start, which can ``predict`` the clusters of other codes.
    """

    method: Method
    labels: npt.NDArray[np.int32]
    best: int
    objectives: npt.NDArray[np.float64]
    all_labels: npt.NDArray[np.int32]
    converged: npt.NDArray[np.bool_]
    random_states: tuple[int, ...]
    bic: float | None
    cluster_sizes: tuple[int, ...]
    degenerate: str | None
    seconds: float
    model: Any


def cluster(
    H: npt.ArrayLike,
    n_clusters: int,
    *,
    method: Method,
    n_starts: int = 10,
    seed: int = 0,
) -> ClusteringResult:
    """Cluster codes, and keep the start with the best objective.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        One code per row. Mixtures compute in float64, k-means in the type of `H`.
    n_clusters : int
        At least 1 and at most n.
    method : str
        "kmeans", or a Gaussian mixture that is named after its covariances: "gmm-spherical",
        "gmm-diag", "gmm-tied", "gmm-full". Two fit the mixture to a map of the codes, because a
        map also separates groups that are connected but not round: "gmm-full-tsne" in the plane
        by t-SNE (`embed`), "gmm-full-umap" in `n_clusters` dimensions by UMAP (`unfold`).
    n_starts : int
        Number of fits, at least 1, each with one initialisation (k-means++; a mixture starts
        from its own k-means).
    seed : int
        Not negative. With the same seed, more starts begin with the same ones.

    Returns
    -------
    ClusteringResult
        Labels of the best start; objective and labels of all.

    Raises
    ------
    UsageError
        If an argument is out of range, or umap-learn is needed and not installed.
    DataError
        As `check_codes`; or if there are fewer samples than clusters, or a covariance cannot be
        factorized.

    Notes
    -----
    Codes that are all alike, or take fewer than `n_clusters` values, are no error: the fit leaves
    clusters empty, or splits rounding noise, and ``degenerate`` says so. We silence scikit-learn's
    `ConvergenceWarning`, because the result has both of its reasons: ``converged``, and fewer
    clusters found than asked for.

    A mixture on a map: McConville, Santos-Rodriguez, Piechocki and Craddock (2021), "N2D: (Not
    Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR.
    They use UMAP.
    """
    codes = check_codes(H)
    n = len(codes)
    if method not in get_args(Method):
        raise UsageError(f"method is {method!r}; choose one of {', '.join(get_args(Method))}")
    for name, value, least in (
        ("n_clusters", n_clusters, 1),
        ("n_starts", n_starts, 1),
        ("seed", seed, 0),
    ):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise UsageError(f"{name} is {value!r}; pass a whole number, at least {least}")
    if n < n_clusters:
        raise DataError(
            f"H has {n} samples, fewer than n_clusters = {n_clusters}; "
            "pass more samples or ask for fewer clusters"
        )
    # Not seed + start: neighbouring seeds would share all starts but one, and the spread over
    # seeds would be too small. The words of a SeedSequence are unrelated.
    random_states = tuple(
        int(word) for word in np.random.SeedSequence(seed).generate_state(n_starts)
    )
    fit = _fit_kmeans if method == "kmeans" else _fit_mixture
    began = time.perf_counter()
    places = codes
    if method == "gmm-full-tsne":
        places = embed(codes, "tsne", n, seed)[1]
    elif method == "gmm-full-umap":
        places = unfold(codes, n_clusters, seed)
    # One thread: a mixture multiplies many small matrices, and several threads take longer to
    # divide them than to compute (10,000 codes of 64 units, gmm-full, two busy cores: 139 s
    # against 9 s). Also, the sums do not depend on the number of cores then.
    # Codes are NumPy's, and the mixture's start by k-means knows no other arrays.
    plain = config_context(array_api_dispatch=False)
    with warnings.catch_warnings(), threadpool_limits(1), plain:
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [fit(places, n_clusters, method, state) for state in random_states]
    objectives = np.array([fitted.objective for fitted in fits])
    best = int(np.argmin(objectives) if method == "kmeans" else np.argmax(objectives))
    sizes = tuple(np.bincount(fits[best].labels, minlength=n_clusters).tolist())
    return ClusteringResult(
        method=method,
        labels=fits[best].labels,
        best=best,
        objectives=objectives,
        all_labels=np.stack([fitted.labels for fitted in fits]),
        converged=np.array([fitted.converged for fitted in fits]),
        random_states=random_states,
        bic=fits[best].bic,
        cluster_sizes=sizes,
        degenerate=_degenerate(codes, sizes),
        seconds=time.perf_counter() - began,
        model=fits[best].model,
    )


def check_methods(methods: Iterable[str]) -> None:
    """Raise `UsageError` if a method needs a package that is not installed."""
    if "gmm-full-umap" in methods:
        import_umap()


class _Fit(NamedTuple):
    labels: npt.NDArray[np.int32]
    objective: float
    converged: bool
    bic: float | None
    model: Any


def _fit_kmeans(codes: npt.NDArray[Any], n_clusters: int, method: Method, state: int) -> _Fit:
    model = KMeans(n_clusters, n_init=1, **KMEANS_OPTIONS, random_state=state)
    labels = model.fit_predict(codes).astype(np.int32)
    # scikit-learn does not say whether it converged; a start that ends at the limit may have.
    converged = model.n_iter_ < KMEANS_OPTIONS["max_iter"]
    return _Fit(labels, float(model.inertia_), converged, None, model)


def _fit_mixture(codes: npt.NDArray[Any], n_clusters: int, method: Method, state: int) -> _Fit:
    codes = codes.astype(np.float64, copy=False)
    model = mixture(n_clusters, method, state)
    try:
        labels = model.fit_predict(codes).astype(np.int32)
    except ValueError as error:  # a Cholesky factorization that failed
        raise DataError(
            f"{method} cannot be fitted to H of shape {codes.shape}: {error} "
            "Scale the columns to [0, 1], or use gmm-spherical"
        ) from error
    log_likelihood = float(model.score(codes)) * len(codes)  # score() is a mean
    return _Fit(labels, log_likelihood, bool(model.converged_), float(model.bic(codes)), model)


def mixture(n_clusters: int, method: str = "gmm-spherical", state: int = 0) -> GaussianMixture:
    """Return a Gaussian mixture that is not fitted; its covariances are named in ``method``."""
    return GaussianMixture(
        n_clusters,
        covariance_type=method.split("-")[1],
        **MIXTURE_OPTIONS,
        random_state=state,
    )


def _degenerate(codes: npt.NDArray[Any], sizes: tuple[int, ...]) -> str | None:
    if dead_units(codes).all():
        spread = codes.std(axis=0, dtype=np.float64).max()
        return (
            f"collapsed codes: no unit has a standard deviation above {spread:.1e}, "
            "so these clusters tell samples apart by next to nothing"
        )
    used = np.count_nonzero(sizes)
    if used < len(sizes):
        return f"{used} of {len(sizes)} clusters are used; the others are empty"
    return None


def score_clustering(result: ClusteringResult, y: Labels | None) -> dict[str, Any]:
    """Score clusters against the classes.

    Parameters
    ----------
    result : ClusteringResult
        From `cluster`.
    y : sequence of hashable, ndarray of shape (n,), or None
        Class of each sample, used for the scores only; None leaves the scores out.

    Returns
    -------
    dict
        In plain JSON types: ``"objective"`` and ``"bic"`` of the best start; ``"objectives"`` of
        all; ``"converged"``, the number of starts that did; ``"n_starts"``; ``"cluster_sizes"``;
        ``"degenerate"``; ``"seconds"`` for all starts together. With `y` also ``"acc"``,
        ``"nmi"``, ``"ari"`` of the best start, and ``"spread"``: for each of the three the
        ``"mean"``, ``"std"`` (divisor n_starts), ``"min"`` and ``"max"`` over all starts. Report
        both, because the best start by itself hides the spread.

    Raises
    ------
    DataError
        As `encode_labels`, or if `y` has another length than the result.
    """
    entry: dict[str, Any] = {
        "objective": float(result.objectives[result.best]),
        "objectives": result.objectives.tolist(),
        "bic": result.bic,
        "converged": int(result.converged.sum()),
        "n_starts": len(result.objectives),
        "cluster_sizes": list(result.cluster_sizes),
        "degenerate": result.degenerate,
        "seconds": result.seconds,
    }
    if y is not None:
        if len(encode_labels(y, "y")[1]) != len(result.labels):
            raise DataError(
                f"y has {len(y)} labels for {len(result.labels)} clustered samples; pass one each"
            )
        every = [scores(y, labels) for labels in result.all_labels]
        entry |= every[result.best]
        entry["spread"] = {name: _spread([start[name] for start in every]) for name in every[0]}
    return entry


def _spread(values: list[float]) -> dict[str, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return {"mean": mean, "std": math.sqrt(variance), "min": min(values), "max": max(values)}
