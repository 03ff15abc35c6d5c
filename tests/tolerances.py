"""Every tolerance of the tests, once, with its reason; and the one way of comparing with them.

An error is measured against the largest entry of the block it is in: where terms cancel, a small
entry carries the rounding of the large ones, so a tolerance for each entry by itself would have to
be loose enough to hide bugs in all the others. No comparison has an absolute escape.
"""

import numpy as np

ORACLE64 = 1e-13
"""Batched engine against literal columns, float64. They add the same numbers in another order: 8
layers of at most 13 terms, some 100 roundings of 1.1e-16 each, or 1e-14 if all pointed one way
(4e-15 is what they come to). The smallest planted error, a forgotten term, is above 1e-4."""

ORACLE32 = 5e-6
"""The same in float32: 100 roundings of 6e-8 each (5e-7 is what they come to). Weights and inputs
are rounded to float32 before both sides see them, so nothing else differs."""

DIFFERENCE64 = 1e-7
"""One partial derivative by a central difference of step 1e-5: the loss, about 10, is rounded to
1e-15, which over 2e-5 is 1e-10; the next term of the series is of the order of the step squared,
1e-10. Gradient blocks are of the order of 0.01 to 10."""

GRADCHECK64 = 1e-6
"""Largest relative error that the paper's own shapes may show in the gradient check. It takes
steps down to 1e-7 there (thousands of ReLUs); the loss, about 100, is then good to 1e-14 / 1e-7."""

GOLDEN64 = 1e-12
"""Ten steps beside another implementation, float64. Rounding differs from the first step on, and
each step passes it on; Adam's quotient magnifies it where a gradient is small beside its own terms.
1e-14 is what it comes to here; a BLAS that adds in another order may be worse by some factor."""

GOLDEN32 = 2e-4
"""Ten steps in float32 beside the float64 record: the same, from 6e-8 instead of 1.1e-16, would be
5e-6. The length of a block's path is the worst case: a difference of weights of order 0.3, known to
3e-8 each, over a path that after one step is 1e-3 (2e-5 is what it comes to)."""

ACTIVATION_ULPS = 6
"""Units in the last place: NumPy vouches for 4 in its exp and tanh, and the sigmoid adds one half
for each of its sum and its quotient; softplus is a logarithm of an exponential, about the same."""

DERIVATIVE_OF_OUTPUT = 1e-8
"""f' from h beside a central difference of f, step 1e-5, float64: rounding 1e-16 / 1e-5 and a
truncation of 1e-10 / 6 times a third derivative of at most 2. Relative to f' of order 1."""

WARM_STEP_BYTES = 64 * 1024
"""A warm training step may hold small Python objects (views, tuples, the loss table) and the
fixed buffers of NumPy's casts, but not one activation: the smallest that matters in these tests,
200 x 100 float32, has 80,000 bytes."""


def assert_close(actual, expected, tolerance, what=""):
    """Fail unless shapes agree and no entry is off by more than the tolerance times the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} != {expected.shape}"
    assert np.isfinite(expected).all(), f"{what}: the expected values are not finite"
    error = relative_error(actual, expected)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:g}"


def relative_error(actual, expected):
    """Return the largest difference over the largest expected entry (NaN if there is one)."""
    difference = np.max(np.abs(actual.astype(np.float64) - expected))
    return float(difference if difference == 0.0 else difference / np.max(np.abs(expected)))


def assert_same_bits(actual, expected, what=""):
    """Fail unless dtype, shape and every bit agree."""
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype} != {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} != {expected.shape}"
    same = actual.tobytes() == expected.tobytes()
    assert same, f"{what}: {np.count_nonzero(actual != expected)} entries differ"
