import numpy as np
import pytest

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation.embedding import embed


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
