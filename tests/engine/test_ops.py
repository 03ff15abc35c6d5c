"""The arithmetic: every operation by its formula, at its edges, and beside its Numba twin."""

import math
from itertools import product

import numpy as np
import pytest
from engine_cases import DEMO, batch, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tolerances import (
    ACTIVATION_ULPS,
    DERIVATIVE_OF_OUTPUT,
    ORACLE64,
    assert_close,
    assert_same_bits,
)

from ddnmf_np.backends.ops import (
    ACTIVATIONS,
    DirectGradient,
    Ops,
    adam_scales,
    flush_constant,
    optimizer_work,
    sigmoid_bound,
)
from ddnmf_np.engine import literal
from ddnmf_np.training import Trainer

DTYPES = ("float32", "float64")
SHAPES = [(1, 1), (3, 5), (7, 1), (1, 17)]
IMAGES = [(1, 1), (1, 7), (7, 1), (2, 2), (4, 9), (28, 28)]
"""Heights and widths."""
ADAM = {"lr": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-7}


def edges(dtype):
    """Return the numbers at which floating point behaves in its own way, both signs; NaN last."""
    info = np.finfo(dtype)
    positive = [
        0.0,
        float(info.smallest_subnormal),
        float(info.tiny) / 2,
        float(info.tiny),
        1e-20,
        float(info.eps),
        1.0,
        30.0,
        88.0,
        104.0,
        800.0,
        1e30,
        float(info.max) / 2,
        math.inf,
    ]
    if dtype == "float64":
        positive += [1e-300, 1e300]
    return np.array([*positive, *(-x for x in positive), math.nan], dtype)


def applied(ops, kind, z):
    h = z.copy()
    ops.activate(kind, np.atleast_2d(h))
    return h


def f_prime_of(ops, kind, h):
    """Return f' as the backward pass sees it, from h alone."""
    dh, work = np.ones_like(h), np.full_like(h, np.nan)
    ops.delta(kind, *map(np.atleast_2d, (h, dh)), (), np.atleast_2d(work), None)
    return dh


# -- activations ------------------------------------------------------------------------------


def exact(kind, z):
    """Return f(z) in extended precision, written so that nothing overflows."""
    z = z.astype(np.longdouble)
    if kind == "identity":
        return z
    if kind == "relu":
        return np.where(z > 0, z, np.where(np.isnan(z), z, 0))
    if kind == "tanh":
        return np.tanh(z)
    e = np.exp(-np.abs(z))
    if kind == "sigmoid":
        return np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return np.maximum(z, 0) + np.log1p(e)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_is_right_to_the_last_places(ops, kind, dtype):
    z = np.concatenate([np.linspace(-80.0, 80.0, 4001), np.linspace(-2.0, 2.0, 4001)])
    z = z.astype(dtype).reshape(2, 4001)
    h = applied(ops, kind, z)
    assert h.dtype == dtype
    expected = exact(kind, z)
    error = np.abs(h.astype(np.longdouble) - expected)
    units = error / np.spacing(np.abs(expected).astype(dtype))
    assert units.max() <= ACTIVATION_ULPS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_at_the_edges(ops, kind, dtype):
    z = edges(dtype)[:-1]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        h = applied(ops, kind, z)
        expected = exact(kind, z)
    if kind == "sigmoid":  # bounded below by a normal number
        expected = np.maximum(expected, 1 / (1 + np.exp(np.longdouble(sigmoid_bound(dtype)))))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(h[~finite], expected[~finite])
    spacing = np.spacing(np.abs(expected[finite]).astype(dtype))
    error = np.abs(h[finite].astype(np.longdouble) - expected[finite])
    assert (error <= ACTIVATION_ULPS * spacing).all()


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_nan_goes_through(ops, kind):
    with np.errstate(invalid="ignore"):  # NumPy's logaddexp warns of it
        assert np.isnan(applied(ops, kind, np.array([math.nan]))).all()


@pytest.mark.parametrize("dtype", DTYPES)
class TestSigmoid:
    def test_never_overflows_and_stays_a_normal_number_above_zero(self, ops, dtype):
        tiny = np.finfo(dtype).tiny
        z = np.concatenate([edges(dtype)[:-1], np.linspace(-1e4, 1e4, 20001).astype(dtype)])
        with np.errstate(all="raise", under="ignore"):
            h = applied(ops, "sigmoid", z)
        assert h.min() >= tiny
        assert h.max() == 1.0

    def test_values_known_exactly(self, ops, dtype):
        z = np.array([0.0, -0.0, math.inf], dtype)
        np.testing.assert_array_equal(applied(ops, "sigmoid", z), [0.5, 0.5, 1.0])

    def test_rises(self, ops, dtype):
        z = np.linspace(-120.0, 120.0, 50001).astype(dtype)
        assert (np.diff(applied(ops, "sigmoid", z)) >= 0.0).all()

    def test_bound(self, ops, dtype):
        bound, info = sigmoid_bound(dtype), np.finfo(dtype)
        assert type(bound) is float
        assert math.log(float(info.max)) - 3.0 < bound < math.log(float(info.max))
        assert 1.0 / (1.0 + math.exp(bound)) > info.tiny


@pytest.mark.parametrize("dtype", DTYPES)
class TestRelu:
    def test_slope_at_and_beside_the_kink(self, ops, dtype):
        h = np.array([0.0, -0.0, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max], dtype)
        np.testing.assert_array_equal(f_prime_of(ops, "relu", h), [0.0, 0.0, 1.0, 1.0])

    def test_nan_is_not_hidden(self, ops, dtype):
        """Neither forward nor backward, not even behind a dead unit: divergence must show."""
        assert np.isnan(applied(ops, "relu", np.array([math.nan], dtype))).all()
        dh = np.full(3, math.nan, dtype)
        h = np.array([[0.0, 1.0, math.nan]], dtype)
        ops.delta("relu", h, dh[None], (), np.empty_like(h), None)
        assert np.isnan(dh).all()


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_slope_beside_finite_differences(ops, kind):
    z = np.linspace(-9.0, 9.0, 1801)
    z = z[np.abs(z) > 1e-3]  # not at the kink of ReLU
    step = 1e-5
    slopes = (applied(ops, kind, z + step) - applied(ops, kind, z - step)) / (2 * step)
    assert_close(f_prime_of(ops, kind, applied(ops, kind, z)), slopes, DERIVATIVE_OF_OUTPUT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["softplus", "sigmoid"])
def test_slope_is_right_to_the_last_places(ops, kind, dtype):
    """Also for the small outputs of a unit that is nearly off, where ``1 - exp(-h)`` would be 0."""
    h = np.logspace(-30, 0, 400).astype(dtype)
    wide = h.astype(np.longdouble)
    expected = -np.expm1(-wide) if kind == "softplus" else wide * (1 - wide)
    error = np.abs(f_prime_of(ops, kind, h).astype(np.longdouble) - expected)
    assert (error <= ACTIVATION_ULPS * np.spacing(expected.astype(dtype))).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_delta_is_the_diagonal_matrix_times_the_signal(ops, kind, shape):
    rng = np.random.default_rng(3)
    z, g = rng.normal(size=shape), rng.normal(size=shape)
    h, dh, work = applied(ops, kind, z), g.copy(), np.full(shape, np.nan)
    before = h.copy()
    ops.delta(kind, h, dh, (), work, None)
    assert_same_bits(h, before, "h is read only")
    layer = literal.Layer(np.eye(shape[1]), None, kind)  # its pre-activation is its input
    expected = [layer.slope(zi) @ gi for zi, gi in zip(z, g, strict=True)]
    assert_close(dh, expected, ORACLE64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_slope_at_the_edges(ops, kind, dtype):
    """Finite wherever h is, in the range of f' wherever f reaches, and nothing raises."""
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        h = applied(ops, kind, edges(dtype)[:-1])
    h = h[np.isfinite(h)]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        slope = f_prime_of(ops, kind, h)
    assert np.isfinite(slope).all()
    assert slope.min() >= 0.0
    assert slope.max() <= (0.25 if kind == "sigmoid" else 1.0)


@pytest.mark.parametrize("kind", ["selu", "", "ReLU", None])
def test_unknown_activation(ops, kind):
    z = np.zeros((1, 1))
    with pytest.raises(ValueError, match=r"activation .* is unknown; choose one of"):
        ops.activate(kind, z)
    with pytest.raises(ValueError, match=r"activation .* is unknown; choose one of"):
        ops.delta(kind, z, z, (), z, None)


# -- the other operations ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
class TestSums:
    """On whole numbers, where every sum is exact."""

    def whole(self, shape, dtype, seed=0):
        return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)

    def test_matmul(self, ops, shape, dtype):
        a, b = self.whole(shape, dtype), self.whole((4, shape[1]), dtype, 1)
        out = np.full((shape[0], 4), np.nan, dtype)
        ops.matmul(a, b.T, out=out)
        expected = [[sum(p * q for p, q in zip(r, s, strict=True)) for s in b] for r in a]
        np.testing.assert_array_equal(out, expected)

    def test_bias(self, ops, shape, dtype):
        z, b = self.whole(shape, dtype), self.whole(shape[1:], dtype, 1)
        expected = [[zij + bj for zij, bj in zip(zi, b, strict=True)] for zi in z]
        ops.activate("identity", z, b)
        np.testing.assert_array_equal(z, expected)

    def test_sum_rows(self, ops, shape, dtype):
        delta, out = self.whole(shape, dtype), np.full(shape[1], np.nan, dtype)
        ops.sum_rows(delta, out=out)
        np.testing.assert_array_equal(out, [sum(column) for column in delta.T])

    def test_squared_distance(self, ops, shape, dtype):
        a, b = self.whole(shape, dtype), self.whole(shape, dtype, 1)
        kept = a.copy(), b.copy()
        out = np.array([1000.0])
        ops.squared_distance(a, b, np.full(shape, np.nan, dtype), out=out)
        assert out[0] == 1000.0 + sum((p - q) ** 2 for p, q in zip(a.flat, b.flat, strict=True))
        assert_same_bits(a, kept[0])
        assert_same_bits(b, kept[1])

    def test_direct_gradient(self, ops, shape, dtype):
        h, ref, dh = (self.whole(shape, dtype, seed) for seed in range(3))
        kept, expected = (h.copy(), ref.copy()), dh + 0.25 * (h - ref)
        ops.add_direct(h, ref, 0.25, dh, np.full(shape, np.nan, dtype))
        np.testing.assert_array_equal(dh, expected)
        assert_same_bits(h, kept[0])
        assert_same_bits(ref, kept[1])

    def test_gather(self, ops, shape, dtype):
        x = self.whole((9, shape[1]), dtype)
        index = np.array([8, 0, 8, 3])
        out = np.full((4, shape[1]), np.nan, dtype)
        ops.gather(x, index, out=out)
        np.testing.assert_array_equal(out, [x[8], x[0], x[8], x[3]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_project_nonnegative(ops, dtype):
    p = edges(dtype)
    expected = np.array([x if x > 0 or math.isnan(x) else 0.0 for x in p.tolist()], dtype)
    ops.project_nonnegative(p)
    np.testing.assert_array_equal(p, expected)


class TestMemory:
    def test_to_device_copies_only_if_needed(self, ops):
        a = np.arange(12.0).reshape(3, 4)
        assert ops.to_device(a) is a
        assert ops.to_device(a, "float64") is a
        turned = ops.to_device(a.T, "float32")
        assert turned.flags.c_contiguous
        assert turned.dtype == "float32"
        np.testing.assert_array_equal(turned, a.T)
        np.testing.assert_array_equal(ops.to_device([[1, 2]], "float32"), [[1.0, 2.0]])

    def test_to_host_zeros_empty(self, ops):
        a = ops.zeros((3, 2), "float32")
        assert ops.to_host(a) is a
        assert a.dtype == ops.empty((3, 2), "float32").dtype == "float32"
        assert a.shape == ops.empty((3, 2), "float32").shape == (3, 2)
        assert not a.any()
        ops.synchronize()
        assert ops.device_name() == "CPU"


# -- descent ----------------------------------------------------------------------------------


def run_rule(ops, rule, arrays, work, t=3):
    """Do one descent in place on copies of (p, g, s1, s2); return them."""
    p, g, s1, s2 = (a.copy() for a in arrays)
    with np.errstate(all="ignore"):  # overflow and NaN are inputs here
        if rule == "gd":
            ops.descend(p, g, 1e-2, work)
        elif rule == "momentum":
            ops.momentum(p, g, s1, 1e-2, 0.9, work)
        else:
            rate, b1, b2, eps = ADAM.values()
            ops.adam(p, g, s1, s2, adam_scales(t, rate, b1, b2, eps), b1, b2, work)
    return p, g, s1, s2


def draw(size, dtype, seed=0):
    rng = np.random.default_rng(seed)
    p, g, s1, s2 = (rng.normal(size=size).astype(dtype) for _ in range(4))
    return p, g, s1, np.abs(s2)


RULES = ("gd", "momentum", "adam")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
class TestBlocks:
    @pytest.mark.parametrize("size", [1, 6, 7, 8, 100])
    def test_the_size_of_the_block_does_not_matter(self, rule, dtype, size):
        arrays = draw(size, dtype)
        whole = run_rule(Ops(), rule, arrays, np.full(size, np.nan, dtype))
        for block in (1, 7, size + 1, 1000):
            pieces = run_rule(Ops(), rule, arrays, np.full(block, np.nan, dtype))
            for a, b in zip(pieces, whole, strict=True):
                assert_same_bits(a, b, f"block {block}")

    @pytest.mark.parametrize("size", [131071, 131072, 131073, 400009])
    def test_around_the_built_in_block(self, ops, rule, dtype, size):
        arrays = draw(size, dtype)
        work = optimizer_work(ops, size, dtype)
        assert work.dtype == dtype
        actual = run_rule(ops, rule, arrays, work)
        whole = run_rule(Ops(), rule, arrays, np.empty(size, dtype))
        for a, b in zip(actual, whole, strict=True):
            assert_same_bits(a, b)


@pytest.fixture(scope="module")
def twin():
    pytest.importorskip("numba", reason="Numba is not installed (the extra 'fast')")
    from ddnmf_np.backends.ops_numba import NumbaOps

    return NumbaOps()


@pytest.mark.equation(8)
class TestTwin:
    """Numba's loops are the same operations in the same order: every bit agrees."""

    def check(self, twin, rule, arrays, t):
        work = np.empty(max(arrays[0].size, 1), arrays[0].dtype)
        expected = run_rule(Ops(), rule, arrays, work, t)
        actual = run_rule(twin, rule, arrays, work, t)
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            numbers = ~np.isnan(b)  # the payload of a NaN is nobody's business
            assert_same_bits(a[numbers], b[numbers], rule)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 31, 1000, 65537])
    def test_sizes(self, twin, rule, dtype, size):
        for t in (1, 2, 1000, 10**7):
            self.check(twin, rule, draw(size, dtype, seed=t), t)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("rule", RULES)
    def test_edges(self, twin, rule, dtype):
        """Every pair of edge values as gradient and memory."""
        g, s1 = (a.ravel() for a in np.meshgrid(edges(dtype), edges(dtype)))
        for s2 in (s1, np.abs(s1)):
            self.check(twin, rule, (np.ones_like(g), g.copy(), s1.copy(), s2.copy()), 2)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("rule", RULES)
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(data=st.data(), size=st.integers(1, 40), t=st.integers(1, 10**6))
    def test_any_numbers(self, twin, rule, dtype, data, size, t):
        numbers = hnp.arrays(dtype, size, elements=hnp.from_dtype(np.dtype(dtype)))
        self.check(twin, rule, tuple(data.draw(numbers) for _ in range(4)), t)


@pytest.mark.equation(1)
@pytest.mark.equation(3)
@pytest.mark.equation(4)
@pytest.mark.equation(5)
@pytest.mark.equation(6)
@pytest.mark.equation(9)
@pytest.mark.equation(10)
class TestLayerTwin:
    """What Numba does between the products: every bit agrees, but for the order of a loss's sum."""

    def check_delta(self, twin, kind, h, dh, refs, bias=True):
        found = []
        for ops in (Ops(), twin):
            g, work = dh.copy(), np.full_like(h, np.nan)
            db = np.full(h.shape[1], np.nan, h.dtype) if bias else None
            sums = np.full(len(refs), 3.0)
            direct = [
                # of three, one is not measured
                DirectGradient(
                    ref, 0.1 + 0.2 * k, sums[k : k + 1] if k != 1 or len(refs) < 3 else None
                )
                for k, ref in enumerate(refs)
            ]
            with np.errstate(all="ignore"):
                ops.delta(kind, h, g, direct, work, db)
            found.append((g, sums, np.zeros(0) if db is None else db))
        (g, sums, db), (g2, sums2, db2) = found
        for a, b in ((g2, g), (db2, db)):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            assert_same_bits(a[~np.isnan(b)], b[~np.isnan(b)], kind)
        np.testing.assert_allclose(sums2, sums, rtol={"f": 1e-5, "d": 1e-13}[h.dtype.char])

    @pytest.mark.parametrize("shape", [*SHAPES, (5, 16), (300, 1), (300, 2), (128, 500)])
    @pytest.mark.parametrize("kind", ACTIVATIONS)
    def test_delta(self, twin, kind, shape):
        for dtype, n_taps, bias in product(DTYPES, range(4), (True, False)):
            rng = np.random.default_rng(4)
            h = applied(Ops(), kind, rng.normal(size=shape).astype(dtype))
            dh, *refs = (rng.normal(size=shape).astype(dtype) for _ in range(1 + n_taps))
            self.check_delta(twin, kind, h, dh, refs, bias)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("kind", ACTIVATIONS)
    def test_edges(self, twin, kind, dtype):
        """Every pair of edge values as output and signal, and as output and reference."""
        h, dh = np.meshgrid(edges(dtype), edges(dtype))
        self.check_delta(twin, kind, h.copy(), dh.copy(), [])
        small = np.abs(h) < 1e15  # the square of a larger one is infinite in one order of sums
        h, ref = np.where(small, h, 2.0).astype(dtype), np.where(small, dh, 1.0).astype(dtype)
        ref[np.abs(ref) > 1e15] = 0.5
        ref[np.isnan(ref)] = 0.25
        self.check_delta(twin, kind, h, np.zeros_like(h), [ref, h])

    def test_a_reference_that_is_not_finite_shows_in_the_loss(self, twin):
        for bad in (np.nan, np.inf):
            ref, total = np.zeros((3, 40), "float32"), np.zeros(1)
            ref[1, 7] = bad
            h = np.ones_like(ref)
            twin.delta("relu", h, h.copy(), [DirectGradient(ref, 1.0, total)], h.copy(), None)
            assert not np.isfinite(total[0])

    @pytest.mark.parametrize("rows", [1, 3, 9])
    def test_a_reference_of_another_shape_is_no_way_out_of_the_array(self, twin, rows):
        h = np.ones((5, 7), "float32")
        outcomes = []
        for ops in (Ops(), twin):
            dh, one = np.zeros_like(h), DirectGradient(np.zeros((rows, 7), "float32"), 1.0)
            try:
                ops.delta("relu", h, dh, [one], h.copy(), None)
            except ValueError:
                outcomes.append("refused")
            else:
                outcomes.append(dh.tolist())
        assert outcomes[0] == outcomes[1]

    @pytest.mark.parametrize("other", ["float16", "float64", "int32"])
    def test_a_reference_of_another_dtype(self, twin, other):
        rng = np.random.default_rng(5)
        h, dh = (rng.integers(-3, 4, (5, 7)).astype("float32") for _ in range(2))
        self.check_delta(twin, "relu", h, dh, [rng.integers(0, 2, (5, 7)).astype(other)])

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("kind", ACTIVATIONS)
    def test_activate(self, twin, kind, dtype, bias):
        rng = np.random.default_rng(6)
        grid = np.meshgrid(edges(dtype), edges(dtype))
        draws = [rng.normal(size=(shape)).astype(dtype) for shape in SHAPES]
        for z, b in [(grid[0], grid[1][:, 0]), *((z, rng.normal(size=z.shape[1])) for z in draws)]:
            z, b = z.copy(), b.astype(dtype) if bias else None
            z2 = z.copy()
            with np.errstate(all="ignore"):
                Ops().activate(kind, z, b)
                twin.activate(kind, z2, b)
            np.testing.assert_array_equal(z2, z)

    def check_interpolation(self, twin, x, maps, shape):
        found = []
        for ops in (Ops(), twin):
            out = np.full_like(x, 3.0)
            with np.errstate(all="ignore"):  # overflow and NaN are inputs here
                ops.interpolate(x, maps, shape, out)
            found.append(out)
        expected, actual = found
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        numbers = ~np.isnan(expected)
        assert_same_bits(actual[numbers], expected[numbers], f"{shape}")
        return expected

    @pytest.mark.parametrize("shape", IMAGES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_interpolation(self, twin, dtype, shape):
        rng, size = np.random.default_rng(7), shape[0] * shape[1]
        x = rng.uniform(size=(50, size)).astype(dtype)
        maps = rng.normal(size=(50, 6)) * [1.0, 0.5, 0.5, 1.0, 2.0, 2.0]
        maps[:20] = np.rint(maps[:20] * 2.0) / 2.0  # pixels and the middle between two, exactly
        if size > 1:
            assert 0 < np.count_nonzero(self.check_interpolation(twin, x, maps, shape)) < x.size
        else:
            self.check_interpolation(twin, x, maps, shape)

    @pytest.mark.parametrize("shape", IMAGES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_interpolation_at_the_edges(self, twin, dtype, shape):
        """Edge values as pixels, and as each number of the map: no place is out of the memory."""
        rng, size = np.random.default_rng(8), shape[0] * shape[1]
        numbers = edges("float64")
        maps = rng.normal(size=(6 * numbers.size, 6)) * [1.0, 0.5, 0.5, 1.0, 2.0, 2.0]
        for k in range(6):
            maps[k * numbers.size : (k + 1) * numbers.size, k] = numbers
        ordinary = rng.uniform(size=(len(maps), size)).astype(dtype)
        self.check_interpolation(twin, ordinary, maps, shape)
        extreme = rng.choice(edges(dtype), (len(maps), size)).astype(dtype)
        self.check_interpolation(twin, extreme, maps, shape)
        still = np.tile([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], (len(maps), 1))
        self.check_interpolation(twin, extreme, still, shape)
        self.check_interpolation(twin, ordinary, rng.choice(numbers, maps.shape), shape)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(data=st.data(), height=st.integers(1, 6), width=st.integers(1, 6))
    def test_interpolation_of_any_numbers(self, twin, data, height, width):
        pixels = hnp.arrays("float64", (3, height * width), elements=hnp.from_dtype(np.dtype("f8")))
        maps = hnp.arrays("float64", (3, 6), elements=st.floats(-3, 3) | st.floats())
        self.check_interpolation(twin, data.draw(pixels), data.draw(maps), (height, width))

    def test_warm_up_compiles_everything(self, twin):
        from ddnmf_np.backends import ops_numba

        for dtype in DTYPES:
            twin.warm_up(dtype)
        inner = {ops_numba._philox, ops_numba._square}  # compiled into those that call them
        loops = {v for v in vars(ops_numba).values() if hasattr(v, "signatures")} - inner
        known = {loop: len(loop.signatures) for loop in loops}
        assert len(known) == 6
        assert all(known.values())
        for dtype in DTYPES:
            for optimizer in ("adam", "momentum"):
                model = small_model(twin, dtype=dtype, optimizer=optimizer, **DEMO)
                Trainer(model, batch(12, dtype=dtype)[0], batch_size=5).train(1)
            moving = small_model(twin, dtype=dtype, image_shape=(1, 13), noise_shift=1.0)
            Trainer(moving, batch(12, dtype=dtype)[0], batch_size=5).train(1)
        assert {loop: len(loop.signatures) for loop in loops} == known


@pytest.mark.parametrize("b1", [0.0, 0.9])
@pytest.mark.parametrize("b2", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**8])
def test_adam_scales_are_the_bias_corrections(t, b1, b2):
    rate, eps_t = adam_scales(t, 0.01, b1, b2, 1e-7)
    assert type(rate) is type(eps_t) is float
    rng = np.random.default_rng(t)
    m, v = rng.normal(size=50), rng.uniform(size=50)
    textbook = 0.01 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-7)
    assert_close(rate * m / (np.sqrt(v) + eps_t), textbook, ORACLE64)


@pytest.mark.parametrize("dtype", DTYPES)
class TestDenormals:
    """A dead unit's gradient is zero for ever, and its moments decay into the denormals."""

    def is_denormal(self, a):
        return (a != 0.0) & (np.abs(a) < np.finfo(a.dtype).tiny)

    def test_flush_rounds_them_away_and_leaves_the_rest(self, ops, dtype):
        info, big = np.finfo(dtype), np.dtype(dtype).type(flush_constant(dtype))
        small = info.smallest_subnormal * 2.0 ** np.arange(info.nmant + 4)
        values = np.concatenate([small, -small, 0.75 * small]).astype(dtype)
        flushed = (values + big) - big
        assert not self.is_denormal(flushed).any()
        assert (flushed == 0.0).any()
        large = np.array([big / info.eps, 1e-10, 1.0, -1.0, 1e30], dtype)
        assert_same_bits((large + big) - big, large)

    @pytest.mark.parametrize("rule", ["momentum", "adam"])
    def test_moments_of_a_dead_unit(self, ops, rule, dtype):
        """They end at zero or at a normal number which is all that rounding can hold up.

        ``b k`` units round to ``k`` units again once ``(1 - b) k <= 1/2``, with a unit of 2^42
        tiny numbers: so 5 units at most for b = 0.9.
        """
        rng = np.random.default_rng(1)
        p, s1, s2 = (rng.normal(size=33).astype(dtype) for _ in range(3))
        g, s2, work = np.zeros_like(p), np.abs(s2), np.empty_like(p)
        steps = 1000 if dtype == "float32" else 7500
        for t in range(1, steps):
            if rule == "momentum":
                ops.momentum(p, g, s1, 1e-2, 0.9, work)
            else:
                ops.adam(p, g, s1, s2, adam_scales(t, 1e-3, 0.9, 0.9, 1e-7), 0.9, 0.9, work)
            if t % 10 == 0 or t > steps - 20:
                assert not self.is_denormal(s1).any(), f"step {t}"
                assert not self.is_denormal(s2).any() or rule == "momentum", f"step {t}"
        bound = 5 * 2.0**42 * np.finfo(dtype).tiny
        assert np.abs(s1).max() <= bound
        assert rule == "momentum" or np.abs(s2).max() <= bound

    def test_what_a_dead_unit_subtracts(self, ops, dtype):
        p, g, work = np.ones(33, dtype), np.zeros(33, dtype), np.empty(33, dtype)
        v = np.full(33, 1e-20 if dtype == "float32" else 1e-290, dtype)
        for _ in range(500):
            ops.momentum(p, g, v, 1e-3, 0.9, work)
        assert v.all()  # rounding holds it up: the product is not trivially normal
        assert not self.is_denormal(v * np.dtype(dtype).type(1e-3)).any()
