"""Numbers with known answers."""

import numpy as np
import pytest
from scipy import stats

from ddnmf_np.bench.digest import summarise
from ddnmf_np.bench.scaling import fit_power


def test_medians_and_quartiles():
    found = summarise([[1.0, 2.0, 3.0], [4.0, 5.0]])
    assert found == {"median": 3.0, "q1": 2.0, "q3": 4.0, "low": 2.0, "high": 4.5, "n": 5}


def test_an_exact_power_law():
    x = [10.0, 20.0, 40.0, 80.0]
    power = fit_power(x, [3.0 * v**1.5 for v in x])
    assert power.exponent == pytest.approx(1.5)
    assert power.factor == pytest.approx(3.0)
    assert power.high - power.low == pytest.approx(0.0, abs=1e-6)


def test_interval_is_that_of_the_textbook():
    # log2 y = 0, 1, 1, 2 at log2 x = 0..3: slope 0.6, residuals -0.1, 0.3, -0.3, 0.1
    power = fit_power([1, 2, 4, 8], [1, 2, 2, 4])
    assert power.exponent == pytest.approx(0.6)
    margin = stats.t.ppf(0.975, 2) * np.sqrt((0.2 / 2) / 5)
    assert (power.low, power.high) == pytest.approx((0.6 - margin, 0.6 + margin))


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x = 2.0 ** np.arange(6)
    fits = [fit_power(x, x * np.exp(rng.normal(0.0, 0.1, 6))) for _ in range(400)]
    inside = np.mean([fit.low <= 1.0 <= fit.high for fit in fits])
    assert 0.92 <= inside <= 0.98  # 0.95, 2.7 standard errors
