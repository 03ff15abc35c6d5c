import json

import numpy as np
import pytest

from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.interpret import (
    check_codes,
    code_statistics,
    dead_units,
    decode_parts,
    hoyer_sparsity,
    top_features,
    unit_effects,
)

RANK, WIDTH = 3, 7


class Decoder:
    """A ReLU of an affine map, which answers in a buffer that its next call overwrites."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.W = rng.normal(size=(RANK, WIDTH))
        self.b = rng.normal(size=WIDTH)
        self.buffer = np.empty((64, WIDTH))
        self.codes = None

    def __call__(self, H):
        self.codes = H
        out = self.buffer[: len(H)]
        out[:] = np.maximum(H @ self.W + self.b, 0)
        return out


def test_part_is_the_decoded_unit_vector():
    decode = Decoder()
    parts = decode_parts(decode, RANK, np.float32)
    assert decode.codes.dtype == np.float32
    np.testing.assert_allclose(parts, np.maximum(decode.W + decode.b, 0), rtol=1e-12)
    decode.buffer[:] = np.nan
    assert np.isfinite(parts).all()


def test_effect_is_the_difference_between_the_quantiles_of_one_unit():
    decode = Decoder()
    H = np.random.default_rng(0).random((101, RANK))
    effects = unit_effects(decode, H)
    median = np.median(H, axis=0)
    for k in range(RANK):
        high, low = median.copy(), median.copy()
        high[k], low[k] = np.quantile(H[:, k], 0.95), np.quantile(H[:, k], 0.05)
        expected = decode(high[None])[0].copy() - decode(low[None])[0]
        np.testing.assert_allclose(effects[k], expected, atol=1e-12)
        assert np.abs(expected).max() > 0.1


def test_effect_of_a_constant_unit_is_zero_and_keeps_the_type():
    decode = Decoder()
    H = np.random.default_rng(0).random((50, RANK)).astype(np.float32)
    H[:, 1] = 0.7
    effects = unit_effects(decode, H)
    assert decode.codes.dtype == np.float32
    assert not effects[1].any()
    assert effects[0].any()
    assert effects[2].any()


@pytest.mark.parametrize("answer", [np.zeros(RANK), np.zeros((RANK + 1, WIDTH))])
def test_decoder_that_does_not_give_a_row_per_code(answer):
    with pytest.raises(DataError, match=r"decode gave shape .* expected \(3, D\)"):
        decode_parts(lambda H: answer, RANK)


def test_rank_zero():
    with pytest.raises(DataError, match="rank is 0; a model has at least one"):
        decode_parts(Decoder(), 0)


def test_dead_unit_is_constant_whatever_the_constant():
    H = np.random.default_rng(0).random((200, 5)).astype(np.float32)
    H[:, 0] = 0.0
    H[:, 2] = 0.5
    H[:, 4] = 1.0 - 1e-5 * H[:, 4]
    np.testing.assert_array_equal(dead_units(H), [True, False, True, False, True])
    np.testing.assert_array_equal(dead_units(H, tol=1e-9), [True, False, True, False, False])
    np.testing.assert_array_equal(dead_units(H, tol=1.0), [True] * 5)


def test_hoyer_sparsity_of_known_rows():
    rows = np.array([[0, 0, 5, 0], [2, 2, 2, 2], [0, 0, 0, 0], [3, 4, 0, 0], [-3, 4, 0, 0]])
    np.testing.assert_allclose(hoyer_sparsity(rows), [1, 0, 0, 0.6, 0.6], atol=1e-15)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_hoyer_sparsity_knows_no_scale(scale):
    row = scale * np.random.default_rng(0).random((1, 31))
    expected = (np.sqrt(31) - row.sum() / scale / np.linalg.norm(row / scale)) / (np.sqrt(31) - 1)
    np.testing.assert_allclose(hoyer_sparsity(row), [expected], rtol=1e-12)


def test_hoyer_sparsity_needs_two_entries():
    with pytest.raises(DataError, match="parts has 1 column; sparsity needs at least two"):
        hoyer_sparsity(np.ones((3, 1)))


def test_code_statistics_by_hand():
    H = np.array([[0.0, 0.5, 0.25], [1.0, 0.5, 0.75]], dtype=np.float32)
    found = code_statistics(H)
    assert json.loads(json.dumps(found)) == found
    assert found.pop("unit_std") == [0.5, 0.0, 0.25]
    assert found == pytest.approx(
        {
            "mean": 0.5,
            "std": np.std(H, dtype=np.float64),
            "min": 0.0,
            "max": 1.0,
            "dead_units": 1,
            "saturated": 2 / 6,
        }
    )


def test_codes_pass_without_a_copy_and_integers_become_floats():
    H = np.ones((3, 2), dtype=np.float32)
    assert check_codes(H) is H
    assert check_codes([[1, 0], [0, 1]]).dtype == np.float64


@pytest.mark.parametrize(
    ("H", "message"),
    [
        (np.zeros(4), r"H has shape \(4,\); pass a matrix"),
        (np.zeros((0, 4)), r"H has shape \(0, 4\); pass a matrix"),
        ([[0.0, np.inf], [np.nan, 1.0]], r"H holds 2 values that are not finite; check that"),
    ],
)
def test_codes_that_cannot_be_used(H, message):
    with pytest.raises(DataError, match=message):
        code_statistics(H)


def test_top_features_are_the_largest_changes_by_name():
    change = np.array([[0.1, -0.5, 0.0, 0.3], [0.0, 0.0, 0.0, 0.0], [0.2, 0.2, -0.2, 0.1]])
    names = ["a", "b", "c", "d"]
    assert top_features(change, names, 2) == [
        [("b", -0.5), ("d", 0.3)],
        [],
        [("a", 0.2), ("b", 0.2)],  # of equals the first
    ]
    assert [name for name, _ in top_features(change, names)[0]] == ["b", "d", "a"]
    with pytest.raises(DataError, match="3 names for 4 features"):
        top_features(change, names[:3])
