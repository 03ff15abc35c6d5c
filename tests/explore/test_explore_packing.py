"""Arrays as text: what is lost, and that nothing overflows."""

import base64
import math

import numpy as np
import pytest

from ddnmf_np.explore.packing import pack_bytes, pack_columns, pack_weights, packed_size

EPS = 2.0**-11
"""Half the distance of two float16 neighbours, relative to them."""


def halves(text):
    return np.frombuffer(base64.b64decode(text), "<f2")


def unpacked(text, scale):
    return halves(text).astype(np.float64) * scale


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e-7, 0.1, 1.0, 7e4, 1e10, 1e38])
def test_weights_of_any_size_keep_eleven_bits(size):
    block = size * np.random.default_rng(0).normal(size=(31, 17))
    text, scale = pack_weights(block)
    assert np.isfinite(halves(text)).all()
    assert np.abs(unpacked(text, scale) / block.ravel() - 1.0).max() <= EPS
    assert math.frexp(scale)[0] == 0.5, "a power of two"


def test_without_a_scale_they_would_not():
    """The test of the test: these sizes are where float16 by itself fails."""
    with np.errstate(over="ignore"):
        assert np.isinf(np.array([7e4]).astype("<f2")).all()
    assert abs(float(np.float16(1e-7)) / 1e-7 - 1.0) > 100 * EPS


@pytest.mark.parametrize("peak", [2.0**-3, np.nextafter(2.0**-3, 0), 65504.0, 65520.0, 1.0])
def test_largest_entry_has_room(peak):
    text, scale = pack_weights(np.array([peak, -peak, 0.0]))
    assert 2**14 <= halves(text)[0] <= 2**15
    assert unpacked(text, scale)[2] == 0.0


def test_small_entries_beside_a_large_one():
    block = np.array([1.0, 2.0**-28 * 1.2345, 2.0**-50])
    text, scale = pack_weights(block)
    assert np.abs(unpacked(text, scale)[:2] / block[:2] - 1.0).max() <= EPS
    assert unpacked(text, scale)[2] == 0.0


def test_float32_and_order():
    block = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    text, scale = pack_weights(block)
    assert unpacked(text, scale).tolist() == list(range(12))


def test_zeros():
    text, scale = pack_weights(np.zeros((2, 3), np.float32))
    assert scale == 1.0
    assert not halves(text).any()


def test_columns():
    values = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 1e-6, 1e6] + [0.0, 5.0, 1.0]
    values[:, 1] = 5.0
    text, low, high = pack_columns(values.astype(np.float64))
    levels = np.frombuffer(base64.b64decode(text), "<u2").reshape(50, 3)
    back = np.array(low) + (np.array(high) - low) * levels / 65535
    half = (np.array(high) - low) / 65535 / 2
    assert (np.abs(back - values) <= half * (1 + 1e-9)).all()
    assert back[:, 1].tolist() == [5.0] * 50


def test_bytes_are_clipped():
    text = pack_bytes(np.array([[-1.0, 0.0, 1.0, 2.0, 3.0]]), 2.0)
    assert list(base64.b64decode(text)) == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("n", range(5))
def test_size(n):
    assert packed_size(n) == len(base64.b64encode(bytes(n)))
