"""Intervals and paired differences against published or hand-computed values."""

import itertools

import numpy as np
import pytest

from ddnmf_np.experiments.statistics import bootstrap_interval, compare, t_interval


def test_bootstrap_of_few_values_is_the_distribution_of_all_resamples():
    values = [0.1, -0.2, 0.4, 0.05]
    means = sorted(np.mean(sample) for sample in itertools.product(values, repeat=4))
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(bootstrap_interval(values), expected, rtol=1e-12)


def test_bootstrap_of_many_values_is_near_the_normal_interval_and_the_same_each_time():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_interval(values) == (low, high)


def test_t_interval_of_known_data():
    """Student's own data (1908): hours of sleep gained by ten patients, drug 2 less drug 1."""
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    low, high = t_interval(gained)
    assert low == pytest.approx(0.7001142, abs=1e-6)  # R: t.test(extra ~ group, paired = TRUE)
    assert high == pytest.approx(2.4598858, abs=1e-6)


def test_the_interval_that_decides_covers_the_mean_as_often_as_it_says():
    """With five seeds Student's interval does, the bootstrap's does not."""
    draws = np.random.default_rng(0).normal(0.3, 1.0, (4000, 5))
    covered = np.mean([low <= 0.3 <= high for low, high in map(t_interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
    resampled = [bootstrap_interval(row) for row in draws[:1000]]
    assert np.mean([low <= 0.3 <= high for low, high in resampled]) < 0.90


def test_the_verdict_is_that_of_students_interval():
    """Only the bootstrap's interval of these five differences is above 0."""
    found = compare(dict(enumerate([0.01, 0.02, 0.16, 0.01, 0.2])), dict.fromkeys(range(5), 0.0))
    assert found.resampled[0] > 0.0 > found.interval[0]
    assert found.verdict == "open"


def test_wilcoxon_of_known_data():
    """Five differences of one sign: 2 of the 32 assignments of signs are as extreme, p = 1/16."""
    one = dict(enumerate([0.8, 0.82, 0.79, 0.9, 0.85]))
    other = dict(enumerate([0.7, 0.69, 0.71, 0.72, 0.74]))
    found = compare(one, other)
    assert found.p == pytest.approx(0.0625)
    assert (found.n, found.verdict) == (5, "yes")
    assert compare(other, one).verdict == "no"
    # Signed ranks +1 +2 +3 -4: 7 of the 16 assignments of signs have a T- of at most 4.
    signs = compare(dict(enumerate([1.0, 2.0, 3.0, -4.0])), dict.fromkeys(range(4), 0.0))
    assert signs.p == pytest.approx(2 * 7 / 16)
    assert signs.verdict == "open"


def test_seeds_are_paired_and_those_without_a_partner_left_out():
    found = compare({0: 0.5, 1: 0.6, 2: 0.9, 7: 0.1}, {2: 0.8, 1: 0.4, 0: 0.2, 9: 0.9})
    assert found.n == 3
    assert found.mean == pytest.approx((0.3 + 0.2 + 0.1) / 3)
    assert compare({0: 1.0}, {1: 1.0}) is None


def test_too_few_pairs_say_nothing():
    found = compare({0: 0.9, 1: 0.9}, {0: 0.1, 1: 0.1})
    assert (found.interval, found.resampled, found.p, found.verdict) == (None, None, None, "open")


def test_no_difference_at_all():
    same = dict.fromkeys(range(5), 0.5)
    found = compare(same, same)
    assert (found.mean, found.interval, found.p, found.verdict) == (0, (0, 0), 1.0, "open")
