"""The interpreter of kernel formulas means what C means."""

import numpy as np
import pytest
from cexpr import CError, evaluate, execute

T = {"T": np.float32}
X = np.array([-2.0, 0.0, 3.0], np.float32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("-x * x", [-4.0, 0.0, -9.0]),
        ("(T)1 - x", [3.0, 1.0, -2.0]),
        ("x > (T)0 ? x : (T)0", [0.0, 0.0, 3.0]),
        ("x < 0 ? -1 : x > 0 ? 1 : 0", [-1, 0, 1]),
        ("x >= 0 && x <= 1", [False, True, False]),
        ("!(x == 0) || x != 0", [True, False, True]),
        ("min(-x, (T)1)", [1.0, 0.0, -3.0]),
        ("-expm1(-x)", -np.expm1(-X)),
        ("sqrt(fabs(x)) / (T)2", np.sqrt(np.abs(X)) / 2),
    ],
)
def test_expressions(text, expected):
    np.testing.assert_array_equal(evaluate(text, {"x": X}, T), expected)


def test_min_drops_a_nan_as_in_c():
    x = np.array([np.nan], np.float32)
    assert evaluate("min(x, (T)7)", {"x": x}, T) == 7.0
    assert np.isnan(evaluate("x > (T)7 ? (T)7 : x", {"x": x}, T))


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("x * (T)2", "float32"),
        ("x * 2", "float32"),
        ("x * 2.0", "float64"),
        ("x * 2.0f", "float32"),
        ("(double)x", "float64"),
        ("x > 0 ? x : 0.0", "float64"),
    ],
)
def test_types_are_those_of_c(text, dtype):
    assert evaluate(text, {"x": X}, T).dtype == dtype


@pytest.mark.parametrize(
    "text",
    ["x +", "x x", "(x", "y", "foo(x)", "exp(x, x)", "x ? 1", "x @ x", "1 / 2", "(unknown)x"],
)
def test_what_a_compiler_would_refuse(text):
    with pytest.raises(CError):
        evaluate(text, {"x": X}, T)


def test_statements_run_in_order_and_cast_to_their_target():
    p, v = np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)
    execute("const T twice = g * 2.0; v += twice; p -= v * lr;",
            {"g": np.ones(2, np.float32), "lr": np.float32(0.5)}, {"p": p, "v": v}, T)  # fmt: skip
    np.testing.assert_array_equal(v, [5.0, 6.0])
    np.testing.assert_array_equal(p, [-1.5, -1.0])
    assert p.dtype == v.dtype == np.float32


@pytest.mark.parametrize("text", ["g = p", "q = p", "p", "p == g"])
def test_only_outputs_are_assigned_to(text):
    with pytest.raises(CError):
        execute(text, {"g": X}, {"p": X.copy()}, T)
