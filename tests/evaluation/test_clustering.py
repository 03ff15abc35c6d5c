import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation import clustering
from ddnmf_np.evaluation.clustering import KMEANS_OPTIONS, cluster, score_clustering
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.evaluation.metrics import clustering_accuracy, scores

METHODS = ["kmeans", "gmm-spherical", "gmm-diag", "gmm-tied", "gmm-full"]


def blobs(n_each=20, dtype=np.float64):
    """Four tight blobs in the corners of a rectangle a little wider than high."""
    corners = np.array([[0.1, 0.1], [0.1, 0.8], [0.9, 0.1], [0.9, 0.8]])
    noise = np.random.default_rng(0).normal(scale=0.01, size=(4 * n_each, 2))
    return (corners.repeat(n_each, axis=0) + noise).astype(dtype), np.arange(4).repeat(n_each)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separated_blobs_are_found(method, dtype):
    H, y = blobs(dtype=dtype)
    before = H.copy()
    result = cluster(H, 4, method=method, n_starts=5)
    assert clustering_accuracy(y, result.labels) == 1.0
    assert result.cluster_sizes == (20, 20, 20, 20)
    assert result.degenerate is None
    assert result.converged.all()
    assert (result.bic is None) == (method == "kmeans")
    np.testing.assert_array_equal(result.labels, result.all_labels[result.best])
    np.testing.assert_array_equal(H, before)


@pytest.mark.parametrize("method", ["kmeans", "gmm-spherical"])
def test_kept_start_has_the_best_objective_not_the_best_accuracy(method):
    # Two clusters for four blobs: left against right is the better objective, and top against
    # bottom a local optimum. The classes are top and bottom.
    H, corner = blobs()
    y = corner % 2
    result = cluster(H, 2, method=method, n_starts=10)
    accuracy = [clustering_accuracy(y, labels) for labels in result.all_labels]
    assert max(accuracy) == 1.0, "no start found the classes: the case does not test anything"
    assert accuracy[result.best] == 0.5
    better = np.min if method == "kmeans" else np.max
    assert result.objectives[result.best] == better(result.objectives)


@pytest.mark.parametrize("method", METHODS)
def test_objectives_are_inertia_and_log_likelihood(method):
    H, _ = blobs()
    result = cluster(H, 3, method=method, n_starts=3, seed=4)
    state = result.random_states[result.best]
    if method == "kmeans":
        model = KMeans(3, n_init=1, random_state=state).fit(H)
        centres = np.array([H[result.labels == k].mean(axis=0) for k in range(3)])
        expected = np.square(H - centres[result.labels]).sum()
    else:
        model = GaussianMixture(3, covariance_type=method[4:], random_state=state).fit(H)
        expected = model.score_samples(H).sum()
        assert result.bic == pytest.approx(model.bic(H), rel=1e-12)
    assert result.objectives[result.best] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(result.labels, model.predict(H))


def test_a_map_finds_groups_that_are_connected_and_not_round(monkeypatch):
    """Digits, in sixteen principal components."""
    images, y = load_digits(return_X_y=True)
    H, y = PCA(16, random_state=0).fit_transform(images[:700]), y[:700]
    on_codes = cluster(H, 10, method="gmm-full", n_starts=3)
    maps = []

    def noting(codes, *options):
        maps.append((options, embed(codes, *options)))
        return maps[-1][1]

    monkeypatch.setattr(clustering, "embed", noting)
    result = cluster(H, 10, method="gmm-full-tsne", n_starts=3, seed=3)
    gain = clustering_accuracy(y, result.labels) - clustering_accuracy(y, on_codes.labels)
    assert gain > 0.05
    [(options, (_, places))] = maps
    assert options == ("tsne", len(H), 3)
    np.testing.assert_array_equal(
        result.all_labels, cluster(places, 10, method="gmm-full", n_starts=3, seed=3).all_labels
    )


@pytest.mark.parametrize("method", ["gmm-full-tsne", *METHODS])
def test_codes_that_are_all_alike_are_one_group(method):
    result = cluster(np.full((60, 4), 0.3), 5, method=method, n_starts=2)
    assert "collapsed codes" in result.degenerate
    assert np.isfinite(result.objectives).all()


@pytest.mark.parametrize("method", ["kmeans", "gmm-full"])
def test_seed_fixes_the_starts_and_more_starts_repeat_the_fewer(method):
    H = np.random.default_rng(1).random((120, 3))
    first = cluster(H, 5, method=method, n_starts=4, seed=7)
    again = cluster(H, 5, method=method, n_starts=4, seed=7)
    more = cluster(H, 5, method=method, n_starts=6, seed=7)
    other = cluster(H, 5, method=method, n_starts=4, seed=8)
    np.testing.assert_array_equal(first.all_labels, again.all_labels)
    np.testing.assert_array_equal(first.objectives, again.objectives)
    np.testing.assert_array_equal(first.all_labels, more.all_labels[:4])
    assert not set(first.random_states) & set(other.random_states)
    assert len({labels.tobytes() for labels in first.all_labels}) > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "H",
    [
        np.full((60, 4), 0.3, dtype=np.float32),
        0.5 + 1e-6 * np.random.default_rng(0).standard_normal((60, 4)),
    ],
    ids=["equal", "spread of 1e-6"],
)
def test_collapsed_codes_give_a_result_that_says_so(H, method):
    result = cluster(H, 5, method=method, n_starts=2)
    assert sum(result.cluster_sizes) == 60
    assert len(result.cluster_sizes) == 5
    assert np.isfinite(result.objectives).all()
    assert "collapsed codes" in result.degenerate


@pytest.mark.parametrize("method", METHODS)
def test_fewer_values_than_clusters_leave_clusters_empty(method):
    H = np.repeat([[0.1, 0.9], [0.8, 0.2]], 30, axis=0)
    result = cluster(H, 4, method=method, n_starts=2)
    assert sorted(result.cluster_sizes) == [0, 0, 30, 30]
    assert result.degenerate == "2 of 4 clusters are used; the others are empty"


def test_start_that_hits_its_limit_is_reported(monkeypatch):
    monkeypatch.setitem(KMEANS_OPTIONS, "max_iter", 2)
    H = np.random.default_rng(3).random((300, 2))
    assert not cluster(H, 8, method="kmeans", n_starts=3).converged.any()


def test_as_many_clusters_as_samples():
    H = np.random.default_rng(0).random((4, 2))
    assert cluster(H, 4, method="kmeans", n_starts=1).cluster_sizes == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "dbscan"}, UsageError, r"method is 'dbscan'; choose one of kmeans, gmm-sph"),
        ({"n_clusters": 0}, UsageError, r"n_clusters is 0; pass a whole number, at least 1"),
        ({"n_starts": 0}, UsageError, r"n_starts is 0; pass a whole number, at least 1"),
        ({"n_clusters": 2.5}, UsageError, r"n_clusters is 2\.5; pass a whole number"),
        ({"H": np.array([["a"]] * 8)}, DataError, r"H has dtype <U1; pass numbers"),
        ({"seed": -1}, UsageError, r"seed is -1; pass a whole number, at least 0"),
        ({"n_clusters": 9}, DataError, r"H has 8 samples, fewer than n_clusters = 9; pass more"),
        ({"H": np.full((8, 2), np.nan)}, DataError, r"H holds 16 values that are not finite"),
        ({"H": np.zeros(8)}, DataError, r"H has shape \(8,\); pass a matrix \(n, rank\)"),
        (
            {"H": 1e12 * np.outer(np.arange(8.0), np.ones(3)), "method": "gmm-full"},
            DataError,
            r"gmm-full cannot be fitted to H of shape \(8, 3\).*[Ss]cale the columns",
        ),
    ],
)
def test_what_cannot_be_clustered(change, error, message):
    arguments = {"H": np.random.default_rng(0).random((8, 2)), "n_clusters": 2} | change
    arguments = {"method": "kmeans"} | arguments
    with pytest.raises(error, match=message):
        cluster(**arguments)


def test_report_holds_the_kept_start_and_the_spread():
    H, corner = blobs()
    y = np.array(["bottom", "top"])[corner % 2]
    methods = ("kmeans", "gmm-spherical")
    report = {
        method: score_clustering(cluster(H, 2, method=method, n_starts=10, seed=12), y)
        for method in methods
    }
    assert json.loads(json.dumps(report)) == report
    for method, entry in report.items():
        result = cluster(H, 2, method=method, n_starts=10, seed=12)
        every = [scores(y, labels) for labels in result.all_labels]
        assert every[0] != every[result.best], "the first start is as good: choose another seed"
        for name in ("acc", "nmi", "ari"):
            values = [start[name] for start in every]
            assert entry[name] == values[result.best]
            assert entry["spread"][name] == pytest.approx(
                {
                    "mean": np.mean(values),
                    "std": np.std(values),
                    "min": min(values),
                    "max": max(values),
                }
            )
        assert entry["spread"]["acc"]["max"] == 1.0 > entry["acc"]
        assert entry["objectives"] == result.objectives.tolist()
        assert entry["objective"] == result.objectives[result.best]
        assert entry["bic"] == result.bic
        assert entry["converged"] == entry["n_starts"] == 10
        assert entry["cluster_sizes"] == [40, 40]
        assert entry["seconds"] > 0


def test_report_without_classes_has_no_scores():
    entry = score_clustering(cluster(blobs()[0], 4, method="gmm-diag", n_starts=2), None)
    assert entry["cluster_sizes"] == [20, 20, 20, 20]
    assert not {"acc", "nmi", "ari", "spread"} & set(entry)


def test_report_refuses_labels_of_other_samples():
    with pytest.raises(DataError, match=r"y has 3 labels for 80 clustered samples; pass one"):
        score_clustering(cluster(blobs()[0], 2, method="kmeans"), [0, 1, 2])
