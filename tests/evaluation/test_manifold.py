"""UMAP gets what it should, and is asked for only where it is installed."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation.clustering import cluster
from ddnmf_np.evaluation.manifold import UMAP_OPTIONS, unfold
from ddnmf_np.evaluation.metrics import clustering_accuracy
from ddnmf_np.experiments.__main__ import main as experiments
from ddnmf_np.train import main as train


@pytest.fixture
def umap(monkeypatch):
    """Stands for umap-learn: keeps what it was given, and returns something else of that size."""
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
