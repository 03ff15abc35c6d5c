"""Agreement of a clustering with known classes: ACC, NMI and ARI (section 4.3 of the paper).

The published text lost its three formulas, so each score here has the standard form, from the
source that its docstring cites.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from ddnmf_np.errors import DataError

Labels = Sequence[Hashable] | npt.NDArray[Any]


def encode_labels(labels: Labels, name: str = "labels") -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Turn labels into numbers, one for each distinct value.

    Parameters
    ----------
    labels : sequence of hashable, or ndarray of shape (n,)
        Labels of any kind, n >= 1: integers, strings, tuples.
    name : str
        Name for error messages.

    Returns
    -------
    names : list
        The distinct labels, sorted; in order of appearance if they cannot be sorted.
    codes : ndarray of shape (n,), dtype intp
        ``names[codes[i]] == labels[i]``.

    Raises
    ------
    DataError
        If there are no labels, more than one dimension, a NaN, or a label that cannot be hashed.
    """
    shape = np.shape(labels) if isinstance(labels, np.ndarray) else (len(labels),)
    if len(shape) != 1 or shape[0] == 0:
        raise DataError(f"{name} has shape {shape}; pass one label per sample, at least one")
    # tolist() turns NumPy scalars into Python ones, which print plainly and go into JSON.
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    try:
        names: list[Any] = list(dict.fromkeys(values))
    except TypeError as error:
        raise DataError(
            f"{name} holds a value that is no label ({error}); pass integers or strings"
        ) from error
    if any(value != value for value in names):
        raise DataError(f"{name} holds NaN; drop the samples whose label is missing")
    try:
        names.sort()
    except TypeError:  # labels of mixed types have no order, and need none
        names = list(dict.fromkeys(values))
    position = {value: code for code, value in enumerate(names)}
    return names, np.array([position[value] for value in values], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class ClusterAssignment:
    """A one-to-one match of clusters and classes for which the most samples agree.

    Attributes
    ----------
    matrix : ndarray of shape (n_classes, n_clusters), dtype int64
        Samples of each class (row) in each cluster (column); ``matrix[k, k]`` is a matched pair.
    classes : tuple of length n_classes
        Class of each row: sorted, but classes without a cluster come last.
    clusters : tuple of length n_clusters
        Cluster of each column, in the order of their classes; unmatched clusters come last.
    """

    matrix: npt.NDArray[np.int64]
    classes: tuple[Any, ...]
    clusters: tuple[Any, ...]

    @property
    def mapping(self) -> dict[Any, Any]:
        """Class of each matched cluster."""
        return dict(zip(self.clusters, self.classes, strict=False))

    @property
    def accuracy(self) -> float:
        """Share of the samples whose cluster is matched to their class, in [0, 1]."""
        return float(np.trace(self.matrix) / self.matrix.sum())


def assign_clusters(y_true: Labels, y_pred: Labels) -> ClusterAssignment:
    """Match clusters to classes by the Kuhn-Munkres (Hungarian) algorithm.

    Parameters
    ----------
    y_true, y_pred : sequence of hashable, or ndarray of shape (n,)
        Class and cluster of each sample. With unequal numbers of classes and clusters,
        ``min(n_classes, n_clusters)`` pairs are made.

    Returns
    -------
    ClusterAssignment
        The contingency matrix, permuted so that its diagonal holds the matched pairs.

    Raises
    ------
    DataError
        As `encode_labels`, or if the lengths differ.

    Notes
    -----
    Kuhn (1955), "The Hungarian method for the assignment problem", Naval Research Logistics
    Quarterly 2(1-2):83-97; Munkres (1957).
    """
    classes, true_codes = encode_labels(y_true, "y_true")
    clusters, pred_codes = encode_labels(y_pred, "y_pred")
    if len(true_codes) != len(pred_codes):
        raise DataError(
            f"y_true has {len(true_codes)} labels and y_pred has {len(pred_codes)}; "
            "pass the class and the cluster of the same samples"
        )
    counts = contingency_matrix(true_codes, pred_codes).astype(np.int64)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    # Rows come back sorted, so matched classes keep their order.
    rows = [*rows, *np.setdiff1d(np.arange(len(classes)), rows)]
    columns = [*columns, *np.setdiff1d(np.arange(len(clusters)), columns)]
    return ClusterAssignment(
        matrix=counts[np.ix_(rows, columns)],
        classes=tuple(classes[row] for row in rows),
        clusters=tuple(clusters[column] for column in columns),
    )


def clustering_accuracy(y_true: Labels, y_pred: Labels) -> float:
    """Return ACC, the share of samples that agree under the best one-to-one matching, in (0, 1].

    Samples of a cluster without a class count as wrong. Arguments and errors as
    `assign_clusters`. Section 4.3 of the paper (Kuhn-Munkres); the same quantity as eq. (10) of
    Xie, Girshick and Farhadi (2016), "Unsupervised deep embedding for clustering analysis".
    """
    return assign_clusters(y_true, y_pred).accuracy


def scores(y_true: Labels, y_pred: Labels) -> dict[str, float]:
    """Return ACC, NMI and ARI of one clustering.

    Parameters
    ----------
    y_true, y_pred : sequence of hashable, or ndarray of shape (n,)
        Class and cluster of each sample.

    Returns
    -------
    dict
        ``"acc"`` in (0, 1], ``"nmi"`` in [0, 1], ``"ari"`` in [-0.5, 1]; 1 is full agreement.

    Raises
    ------
    DataError
        As `assign_clusters`.

    Notes
    -----
    NMI is the mutual information divided by the *arithmetic mean* of the two entropies, the
    default of scikit-learn. We do not know the paper's normaliser, because its formula was lost;
    other papers divide by the geometric mean or the maximum, which gives other values.
    ARI is that of Hubert and Arabie (1985), "Comparing partitions", Journal of Classification
    2:193-218; chance gives 0.
    """
    acc = clustering_accuracy(y_true, y_pred)
    true_codes, pred_codes = encode_labels(y_true)[1], encode_labels(y_pred)[1]
    return {
        "acc": acc,
        "nmi": float(normalized_mutual_info_score(true_codes, pred_codes)),
        "ari": float(adjusted_rand_score(true_codes, pred_codes)),
    }
