"""Student's interval against a published example, and how often it covers the mean."""

import numpy as np
import pytest

from ddnmf_np.rank.choice import t_interval


def test_t_interval_of_known_data():
    """Student's own data (1908): hours of sleep gained by ten patients, drug 2 less drug 1."""
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    low, high = t_interval(gained)
    assert low == pytest.approx(0.7001142, abs=1e-6)  # R: t.test(extra ~ group, paired = TRUE)
    assert high == pytest.approx(2.4598858, abs=1e-6)


def test_t_interval_of_equal_values_is_their_mean():
    assert t_interval([0.5] * 5) == (0.5, 0.5)


def test_t_interval_of_five_values_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.3, 1.0, (4000, 5))
    covered = np.mean([low <= 0.3 <= high for low, high in map(t_interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
