"""The order of an epoch: a uniform permutation that depends only on (seed, epoch)."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from ddnmf_np.data.order import batch_slices, epoch_order
from ddnmf_np.errors import UsageError

ALARM = 1e-6  # a correct generator fails a test once in a million seeds; the seeds are fixed


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000])
def test_order_is_a_permutation(n):
    order = epoch_order(n, seed=5, epoch=3)
    assert order.shape == (n,)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_order(100, seed=5, epoch=3)
    np.random.default_rng(0).random(10)  # no hidden state
    np.testing.assert_array_equal(epoch_order(100, seed=5, epoch=3), first)
    others = [(5, 4), (6, 3), (5 + 2**32, 3), (3, 5), (2**64 - 1, 2**32 - 1)]
    orders = [first, *(epoch_order(100, seed, epoch) for seed, epoch in others)]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_order_is_the_same_in_every_release():
    # Checkpoints hold (seed, epoch, batch) in place of the order itself.
    assert epoch_order(10, seed=2021, epoch=7).tolist() == [2, 4, 3, 7, 5, 0, 8, 1, 6, 9]


def test_every_sample_is_equally_often_in_every_place():
    n, n_epochs = 8, 4000
    counts = np.zeros((n, n))
    for epoch in range(n_epochs):
        counts[np.arange(n), epoch_order(n, seed=11, epoch=epoch)] += 1
    expected = n_epochs / n
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.ppf(ALARM, (n - 1) ** 2) < chi2 < stats.chi2.isf(ALARM, (n - 1) ** 2)


@pytest.mark.parametrize("vary", ["seed", "epoch"])
def test_every_permutation_is_equally_frequent(vary):
    fixed = {"seed": 1, "epoch": 1}
    counts = Counter(tuple(epoch_order(4, **(fixed | {vary: k}))) for k in range(4800))
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > ALARM


def test_successive_orders_are_unrelated():
    n = 2000
    before, after = (epoch_order(n, seed=1, epoch=epoch) for epoch in (0, 1))
    assert abs(stats.spearmanr(before, after).statistic) < 5 / np.sqrt(n)
    assert abs(stats.spearmanr(before, np.arange(n)).statistic) < 5 / np.sqrt(n)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match=rf"seed={seed} is out of range"):
        epoch_order(3, seed, 0)


@pytest.mark.parametrize(("n", "size"), [(10, 5), (10, 4), (10, 10), (10, 99), (1, 1), (0, 3)])
def test_batches_cut_everything_once(n, size):
    slices = batch_slices(n, size)
    pieces = [np.arange(n)[piece] for piece in slices]
    np.testing.assert_array_equal(np.concatenate([*pieces, []]), np.arange(n))
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)
    assert [piece.stop - piece.start for piece in slices] == [len(piece) for piece in pieces]


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_is_at_least_one(size):
    with pytest.raises(UsageError, match=rf"batch_size={size} is too small"):
        batch_slices(10, size)
