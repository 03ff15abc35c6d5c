"""Maps by t-SNE, principal components and UMAP, with and without umap-learn."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation.clustering import cluster
from ddnmf_np.evaluation.maps import UMAP_OPTIONS, embed, unfold
from ddnmf_np.evaluation.metrics import clustering_accuracy
from ddnmf_np.experiments.__main__ import main as experiments
from ddnmf_np.train import main as train

# -- in the plane, by t-SNE or principal components ----------------------------------------------


def separated(n_each=30, rank=6):
    rng = np.random.default_rng(0)
    return np.concatenate([k + 0.05 * rng.random((n_each, rank)) for k in range(3)])


def test_components_are_the_projection_on_the_first_two_axes():
    H = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 0.5, 0.1]
    indices, points = embed(H, "pca")
    np.testing.assert_array_equal(indices, np.arange(40))
    values, vectors = np.linalg.eigh(np.cov(H.T))
    expected = (H - H.mean(axis=0)) @ vectors[:, [4, 3]]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[[4, 3]], rtol=1e-10)
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1e-9)])
def test_neighbours_stay_together(shift, scale):
    _, points = embed(shift + scale * separated())
    assert points.shape == (90, 2)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_array_equal(apart.argmin(axis=1) // 30, np.arange(90) // 30)


def test_result_repeats_and_does_not_depend_on_scale():
    H = separated(n_each=8)
    _, points = embed(H, seed=3)
    np.testing.assert_array_equal(embed(H, seed=3)[1], points)
    np.testing.assert_array_equal(embed(H * 2.0**-20, seed=3)[1], points)


def test_sample_is_drawn_without_repeats_in_order():
    H = np.arange(500.0)[:, None] * [1.0, 0.5]
    indices, points = embed(H, "pca", max_samples=50, seed=1)
    assert len(set(indices.tolist())) == 50 == len(points)
    assert (np.diff(indices) > 0).all()
    assert np.corrcoef(points[:, 0], indices)[0, 1] ** 2 == pytest.approx(1)
    np.testing.assert_array_equal(embed(H, "pca", max_samples=50, seed=1)[0], indices)
    assert (embed(H, "pca", max_samples=50, seed=2)[0] != indices).any()


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 30])
@pytest.mark.parametrize("rank", [1, 4])
def test_few_samples_and_single_units_are_placed(method, n, rank):
    indices, points = embed(np.random.default_rng(0).random((n, rank)), method)
    assert len(indices) == n
    assert points.shape == (n, 2)
    assert points.dtype == np.float64
    assert np.isfinite(points).all()
    assert n == 1 or np.ptp(points[:, 0]) > 0


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_constant_codes_are_placed_at_the_origin(method, value):
    _, points = embed(np.full((40, 3), value), method)
    np.testing.assert_array_equal(points, np.zeros((40, 2)))


def test_what_cannot_be_embedded():
    H = np.ones((3, 2))
    with pytest.raises(UsageError, match="method is 'umap'; choose tsne or pca"):
        embed(H, "umap")
    with pytest.raises(UsageError, match="max_samples is 0 and seed is 0; pass"):
        embed(H, max_samples=0)
    with pytest.raises(UsageError, match="max_samples is 3000 and seed is -1; pass"):
        embed(H, seed=-1)
    with pytest.raises(DataError, match="not finite"):
        embed(H * np.nan)


# -- UMAP ---------------------------------------------------------------------------------------


@pytest.fixture
def umap(monkeypatch):
    """Replace umap-learn by a class that keeps its input and returns random places."""
    calls = []

    class UMAP:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, x):
            calls.append((self.options, x))
            draw = np.random.default_rng(self.options["random_state"])
            return draw.random((len(x), self.options["n_components"]), dtype=np.float32)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    return calls


def test_settings_are_those_of_n2d(umap):
    H = np.random.default_rng(0).random((50, 4)).astype(np.float32)
    places = unfold(H, 7, seed=3)
    [(options, x)] = umap
    expected = {
        "n_neighbors": 20, "min_dist": 0.0, "metric": "euclidean",
        "n_components": 7, "random_state": 3, "n_jobs": 1,
    }  # fmt: skip
    assert expected.items() <= options.items()
    assert options.keys() - expected.keys() == UMAP_OPTIONS.keys() - expected.keys()
    np.testing.assert_allclose(x, H - H.mean(axis=0, dtype=np.float64), atol=1e-7)
    assert (places.shape, places.dtype) == ((50, 7), np.float64)


def test_few_samples_have_fewer_neighbours_and_very_few_have_no_map(umap):
    H = np.random.default_rng(0).random((14, 3))
    unfold(H, 5)
    assert umap.pop()[0]["n_neighbors"] == 13
    np.testing.assert_array_equal(unfold(H[:9], 5), H[:9])
    np.testing.assert_array_equal(unfold(H, 12), H)
    assert umap == []


def test_what_does_not_vary_is_one_place(umap):
    np.testing.assert_array_equal(unfold(np.full((60, 4), 0.3), 5), np.zeros((60, 5)))
    assert umap == []


def test_little_that_varies_survives_float32(umap):
    H = 0.5 + 1e-9 * np.random.default_rng(0).random((50, 4))
    unfold(H, 2)
    assert np.unique(umap[0][1].astype(np.float32)[:, 0]).size == 50


def test_the_mixture_is_fitted_to_the_places(umap):
    H = np.random.default_rng(0).random((60, 4))
    result = cluster(H, 5, method="gmm-full-umap", n_starts=3, seed=2)
    places = unfold(H, 5, seed=2)
    expected = cluster(places, 5, method="gmm-full", n_starts=3, seed=2)
    np.testing.assert_array_equal(result.all_labels, expected.all_labels)
    assert result.bic == expected.bic


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e25, 1e200])
def test_scale_is_no_part_of_a_map(umap, scale):
    H = np.random.default_rng(0).random((50, 4))
    unfold(scale * H, 2)
    x = umap[0][1]
    assert 0.1 < np.abs(x).max() <= 1.0
    centred = H - H.mean(axis=0)
    np.testing.assert_allclose(x / np.abs(x).max(), centred / np.abs(centred).max(), atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"n_components": 0}, *({"n_components": 2, "seed": s} for s in (-1, 2**32))]
)
def test_numbers_that_cannot_be_used_are_named(umap, options):
    with pytest.raises(UsageError, match="pass at least one dimension and a seed"):
        unfold(np.ones((50, 2)), **options)


@pytest.mark.parametrize("module", [None, SimpleNamespace()], ids=["none", "another umap"])
def test_without_it_the_remedy_is_named_before_any_work(monkeypatch, tmp_path, capsys, module):
    monkeypatch.setitem(sys.modules, "umap", module)
    with pytest.raises(UsageError, match=r"pip install 'ddnmf-np\[umap\]'"):
        cluster(np.random.default_rng(0).random((60, 4)), 5, method="gmm-full-umap")
    output = ["--output", str(tmp_path / "run")]
    assert train(["--clusterers", "kmeans", "gmm-full-umap", *output]) == 2
    assert experiments(["table1", "--maps", "umap", *output]) == 2
    assert capsys.readouterr().err.count("pip install 'ddnmf-np[umap]'") == 2
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="cannot be imported"):
        unfold(np.ones((50, 2)), 2)


@pytest.mark.extra
def test_real_maps_find_groups_that_are_connected_and_not_round():
    """Digits, in sixteen principal components."""
    if "DDNMF_REQUIRE_UMAP" not in os.environ:
        pytest.importorskip("umap")
    images, y = load_digits(return_X_y=True)
    H, y = PCA(16, random_state=0).fit_transform(images[:500]), y[:500]
    on_codes = cluster(H, 10, method="gmm-full", n_starts=5)
    results = [cluster(H, 10, method="gmm-full-umap", n_starts=5, seed=seed) for seed in range(3)]
    # The mean over seeds: of four maps drawn here, two put a digit into two groups.
    accuracy = np.mean([clustering_accuracy(y, result.labels) for result in results])
    gain = accuracy - clustering_accuracy(y, on_codes.labels)
    assert gain > 0.05
    np.testing.assert_array_equal(unfold(H, 10, seed=3), unfold(H, 10, seed=3))
    assert not np.array_equal(unfold(H, 10, seed=3), unfold(H, 10, seed=4))
