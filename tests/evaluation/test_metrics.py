from itertools import permutations

import numpy as np
import pytest

from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.metrics import (
    assign_clusters,
    clustering_accuracy,
    encode_labels,
    scores,
)


def brute_force_accuracy(y_true, y_pred):
    """Try every one-to-one map of clusters to classes, padded with classes that do not occur."""
    clusters = sorted(set(y_pred))
    targets = sorted(set(y_true)) + [f"none {k}" for k in range(len(clusters))]
    return max(
        sum(
            true == dict(zip(clusters, chosen, strict=True))[pred]
            for true, pred in zip(y_true, y_pred, strict=True)
        )
        for chosen in permutations(targets, len(clusters))
    ) / len(y_true)


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("n_clusters", [1, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_the_best_matching(n_classes, n_clusters, seed):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(n_classes, size=17).tolist()
    y_pred = rng.integers(n_clusters, size=17).tolist()
    expected = brute_force_accuracy(y_true, y_pred)
    assert clustering_accuracy(y_true, y_pred) == pytest.approx(expected, abs=1e-15)


def test_greedy_matching_would_score_less():
    # Cluster 0 holds most of class 0, but giving it away lets both clusters count.
    y_true = [0] * 5 + [0] * 4 + [1] * 4
    y_pred = [0] * 5 + [1] * 4 + [0] * 4
    assert clustering_accuracy(y_true, y_pred) == 8 / 13


def test_renaming_clusters_changes_no_score():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(5, size=200), rng.integers(7, size=200)
    renamed = np.array(["g", "a", "f", "c", "b", "e", "d"])[y_pred]
    assert scores(y_true, renamed) == pytest.approx(scores(y_true, y_pred), abs=1e-12)


def test_scores_of_a_split_class_by_hand():
    # I = ln 2, H(true) = ln 2, H(pred) = 1.5 ln 2: NMI is 1 / 1.25 by the arithmetic mean
    # (0.816 by the geometric one). ARI = (1 - 1/3) / (3/2 - 1/3).
    found = scores([0, 0, 1, 1], [0, 0, 1, 2])
    assert found == pytest.approx({"acc": 0.75, "nmi": 0.8, "ari": 4 / 7}, abs=1e-12)
    assert all(type(value) is float for value in found.values())


def test_scores_of_agreement_and_of_one_cluster():
    y = [3, 3, 1, 1, 2, 2]
    assert scores(y, [0, 0, 5, 5, 9, 9]) == pytest.approx({"acc": 1, "nmi": 1, "ari": 1})
    one = scores(y, [0] * 6)
    assert one == pytest.approx({"acc": 1 / 3, "nmi": 0, "ari": 0}, abs=1e-12)


def test_matrix_holds_matched_pairs_on_its_diagonal_and_unmatched_clusters_last():
    y_true = ["a"] * 4 + ["b"] * 5
    y_pred = [7] * 3 + [5] + [9] * 4 + [5]
    assigned = assign_clusters(y_true, y_pred)
    assert assigned.classes == ("a", "b")
    assert assigned.clusters == (7, 9, 5)
    np.testing.assert_array_equal(assigned.matrix, [[3, 0, 1], [0, 4, 1]])
    assert assigned.mapping == {7: "a", 9: "b"}
    assert assigned.accuracy == 7 / 9


def test_fewer_clusters_than_classes_leave_classes_last():
    y_true = [0, 0, 1, 1, 1, 2, 2, 2, 2]
    y_pred = [4, 4, 3, 3, 4, 3, 3, 3, 3]
    assigned = assign_clusters(y_true, y_pred)
    assert assigned.classes == (0, 2, 1)
    assert assigned.clusters == (4, 3)
    np.testing.assert_array_equal(assigned.matrix, [[2, 0], [0, 4], [1, 2]])
    assert assigned.accuracy == 6 / 9


def test_labels_of_any_hashable_kind():
    names, codes = encode_labels(np.array([30, 10, 30], dtype=np.uint8))
    assert names == [10, 30]
    assert type(names[0]) is int
    np.testing.assert_array_equal(codes, [1, 0, 1])
    names, codes = encode_labels(["x", 2, (1, 2), 2])  # no order: that of appearance
    assert names == ["x", 2, (1, 2)]
    np.testing.assert_array_equal(codes, [0, 1, 2, 1])
    assert clustering_accuracy([("a", 1), None, None], np.array([True, False, False])) == 1.0


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 1], [0], r"y_true has 2 labels and y_pred has 1; pass"),
        ([], [], r"y_true has shape \(0,\); pass one label per sample"),
        ([0, 1], np.zeros((2, 1)), r"y_pred has shape \(2, 1\); pass one label"),
        ([0.0, float("nan")], [0, 1], r"y_true holds NaN; drop"),
        ([0, 1], [[0], [1]], r"y_pred holds a value that is no label .*; pass integers"),
    ],
)
def test_labels_that_cannot_be_scored(y_true, y_pred, message):
    with pytest.raises(DataError, match=message):
        scores(y_true, y_pred)
