"""Geometric noise (equation 2): the source of each pixel, and the inputs of a motion."""

import itertools
import math

import numpy as np
import pytest
from noise_cases import ALARM, MASK, scalar_philox
from scipy import ndimage, stats
from tolerances import ORACLE64, assert_close, assert_same_bits

from ddnmf_np.backends.ops import Ops
from ddnmf_np.data import affine as affine_module
from ddnmf_np.data import noise as noise_module
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.noise import NOISE_KINDS, Corruption, Noise
from ddnmf_np.errors import UsageError

DTYPES = ("float32", "float64")
SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 8), (9, 4), (28, 28)]
RANGES = {"shift": 1.5, "rotation": 25.0, "zoom": 0.3, "shear": 0.4}


@pytest.fixture(autouse=True)
def arithmetic(ops, monkeypatch):
    """Let every test here run with each form of the operations."""
    for module in (affine_module, noise_module):
        monkeypatch.setattr(module, "Ops", lambda: ops)


def images(n, shape, dtype="float64", seed=0):
    """Return n random images above 0, a row each."""
    x = np.random.default_rng(seed).uniform(0.1, 1.0, (n, math.prod(shape)))
    return x.astype(dtype)


def warped(ops, image, a=1.0, b=0.0, c=0.0, d=1.0, s=0.0, t=0.0):
    """Return one image (height, width) through one map, written over NaN."""
    out = np.full((1, image.size), np.nan, image.dtype)
    ops.interpolate(image.reshape(1, -1), np.array([[a, b, c, d, s, t]]), image.shape, out)
    return out.reshape(image.shape)


def turned(ops, image, degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return warped(ops, image, cos, -sin, sin, cos)


def spot(shape, row, column):
    """Return an image that is 1 at a place measured from its centre, and 0 elsewhere."""
    image = np.zeros(shape)
    image[row + shape[0] // 2, column + shape[1] // 2] = 1.0
    return image


def moved(x, shape, *, index=None, epoch=0, seed=3, **options):
    """Return images moved at random, written over NaN."""
    index = np.arange(len(x)) if index is None else index
    out = np.full_like(x, np.nan)
    Affine(shape, **({**RANGES, "seed": seed} | options)).apply(x, index, epoch, out)
    return out


class Watched(Ops):
    """The plain operations, which keep the maps that they draw."""

    def interpolate(self, x, maps, shape, out):
        self.drawn = maps


def maps_of(index, epoch=0, *, seed=5, **options):
    """Return the maps that images of a data set are moved by, a row each."""
    ops, x = Watched(), np.zeros((len(index), 40))
    Affine((8, 5), **options, seed=seed, ops=ops).apply(x, index, epoch, np.zeros_like(x))
    return ops.drawn


# -- one image through one map ------------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_whole_shift_is_a_slice_and_zeros(ops, shape, dtype):
    image = images(1, shape, dtype).reshape(shape)
    for s, t in itertools.product((0, 1, -1, 3, -6, 30), (0, 1, -2, 7, -30)):
        expected = np.zeros_like(image)
        for row, column in np.ndindex(shape):
            if 0 <= row + s < shape[0] and 0 <= column + t < shape[1]:
                expected[row, column] = image[row + s, column + t]
        assert_same_bits(warped(ops, image, s=s, t=t), expected, f"shift {s}, {t}")


@pytest.mark.equation(2)
def test_positive_shifts_move_up_and_to_the_left(ops):
    np.testing.assert_array_equal(
        warped(ops, spot((5, 7), 1, 2), s=2.0, t=3.0), spot((5, 7), -1, -1)
    )


@pytest.mark.equation(2)
@pytest.mark.parametrize("n", [1, 2, 5, 8, 28])
def test_a_quarter_turn_is_rot90_clockwise(ops, n):
    image = images(1, (n, n)).reshape(n, n)
    for quarters in (-3, -2, -1, 0, 1, 2, 3):
        expected = np.rot90(image, -quarters)  # rot90 itself turns against the clock
        assert_close(turned(ops, image, 90.0 * quarters), expected, ORACLE64)


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", DTYPES)
def test_half_a_pixel_is_the_mean_of_neighbours(ops, dtype):
    image = np.random.default_rng(1).integers(0, 16, (5, 8)).astype(dtype)  # exact means
    framed = np.pad(image, 1)  # outside is 0
    for s, t in itertools.product((-0.5, 0.0, 0.5), repeat=2):
        rows, columns = {math.floor(s), math.ceil(s)}, {math.floor(t), math.ceil(t)}
        neighbours = [framed[1 + i : 6 + i, 1 + j : 9 + j] for i in rows for j in columns]
        assert_same_bits(warped(ops, image, s=s, t=t), np.mean(neighbours, axis=0, dtype=dtype))


@pytest.mark.equation(2)
@pytest.mark.parametrize(
    ("size", "before", "after"), [(2.0, (1, -2), (2, -4)), (0.5, (2, 4), (1, 2))]
)
def test_zoom_moves_a_pixel_from_the_centre(ops, size, before, after):
    result = warped(ops, spot((11, 11), *before), a=1 / size, d=1 / size)
    row, column = (place + 5 for place in after)
    assert result[row, column] == 1.0
    assert result.sum() == (4.0 if size == 2.0 else 1.0)  # a pixel is now four, or every fourth


@pytest.mark.equation(2)
def test_shear_moves_rows_along_themselves(ops):
    for row, column, shear in itertools.product((-2, 0, 2), (-1, 0, 1), (-1.0, 0.5, 1.0)):
        result = warped(ops, spot((9, 13), row, column), c=shear)
        np.testing.assert_array_equal(result, spot((9, 13), row, column - int(shear * row)))


@pytest.mark.equation(2)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_comes_from_outside_is_zero(ops, shape):
    image = np.ones(shape)
    far = max(shape)
    for s, t in ((far, 0.0), (-far, 0.0), (0.0, far), (0.0, -far), (1e9, -1e9), (-1e300, 1e15)):
        assert not warped(ops, image, s=s, t=t).any()
    zero = warped(ops, image, a=1e6, d=1e6)
    inside = {k for k, side in enumerate(shape) if side % 2 == 0}  # no pixel is in the centre
    assert zero.sum() == (0.0 if inside else 1.0)


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_result_is_a_convex_combination(shape, dtype):
    """No weight is negative, and they add up to at most 1: no pixel leaves [0, largest]."""
    x = images(200, shape, dtype)
    out = moved(x, shape, shift=2.0, rotation=179.0, zoom=0.9, shear=2.0)
    assert out.min() >= 0.0
    rounding = 1.0 + 4.0 * np.finfo(dtype).eps
    assert (out.max(axis=1) <= x.max(axis=1) * rounding).all()
    if shape == (28, 28):  # where no neighbour is outside the weights add up to 1
        flat = moved(np.ones_like(x), shape)
        centre = flat.reshape(-1, 28, 28)[:, 9:19, 9:19]
        np.testing.assert_allclose(centre, 1.0, rtol=4.0 * np.finfo(dtype).eps)


@pytest.mark.equation(2)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_map_beside_scipy(ops, shape):
    rng, n = np.random.default_rng(4), 60
    x, out = images(n, shape), np.full((n, math.prod(shape)), np.nan)
    maps = rng.normal(0.0, 1.0, (n, 6)) * [1, 1, 1, 1, 3, 3]
    ops.interpolate(x, maps, shape, out)
    centre = (np.array(shape) - 1) / 2
    for image, (a, b, c, d, s, t), found in zip(x, maps, out, strict=True):
        turn = np.array([[a, b], [c, d]])
        offset = centre + np.array([s, t]) - turn @ centre
        expected = ndimage.affine_transform(
            image.reshape(shape), turn, offset, order=1, mode="grid-constant", prefilter=False
        )
        error = np.abs(found - expected.ravel()).max()
        assert error <= ORACLE64 * image.max()  # a result may be zero, so not relative to it


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_motion_is_a_copy(shape, dtype):
    x = images(9, shape, dtype)
    assert_same_bits(moved(x, shape, **dict.fromkeys(RANGES, 0.0)), x)


# -- the maps that are drawn --------------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("redraw", [False, True])
def test_map_by_map(redraw):
    """Every map against the scalar generator: the layout of counter and words is pinned."""
    index = np.array([0, 59_999, 2**32 + 5, 3])
    seed, epoch = 2**63 + 12345, 6
    maps = maps_of(index, epoch, **RANGES, seed=seed, redraw=redraw)

    key = seed ^ int.from_bytes(b"affine  ", "big")
    for sample, found in zip(index.tolist(), maps, strict=True):
        words = []
        for block in (0, 1):
            counter = (block, sample & MASK, sample >> 32, epoch if redraw else 0)
            words += scalar_philox(counter, (key & MASK, key >> 32))
        u = [(word + 0.5) / 2**31 - 1.0 for word in words]
        angle, size = math.radians(25.0 * u[0]), 1.0 + 0.3 * u[1]
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        expected = turn @ [[1.0, 0.0], [0.4 * u[2], 1.0]] / size
        assert_close(found[:4], expected.ravel(), ORACLE64)
        assert found[4:].tolist() == [1.5 * u[3], 1.5 * u[4]]


def drawn(n=20_000, **ranges):
    """Return the draws for n images: angle (degrees), size, shear, and the two shifts."""
    a, b, c, d, s, t = maps_of(np.arange(n), **ranges).T
    angle, size = np.arctan2(-b, d), 1.0 / np.hypot(b, d)
    shear = (c * size - np.sin(angle)) / np.cos(angle)
    np.testing.assert_allclose(a * size, np.cos(angle) - np.sin(angle) * shear, atol=1e-14)
    return {"rotation": np.degrees(angle), "zoom": size - 1.0, "shear": shear, "s": s, "t": t}


@pytest.mark.equation(2)
@pytest.mark.parametrize("name", RANGES)
def test_each_motion_alone_fills_its_range(name):
    limit = RANGES[name]
    found = drawn(**{name: limit})
    alone = {"s", "t"} if name == "shift" else {name}
    for other in found.keys() - alone:
        assert np.abs(found[other]).max() < 1e-14
    for values in (found[key] for key in alone):
        assert np.abs(values).max() < limit
        assert values.max() > 0.999 * limit
        assert values.min() < -0.999 * limit
        assert abs(values.mean()) < 5 * limit / math.sqrt(3 * values.size)
        assert stats.kstest(values, "uniform", (-limit, 2 * limit)).pvalue > ALARM


@pytest.mark.equation(2)
def test_a_range_of_its_own_for_each_motion():
    for name, limit in RANGES.items():
        maps = maps_of(np.arange(300), **{name: limit})
        changed = (maps != [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).any(axis=0).tolist()
        expected = {
            "shift": [False] * 4 + [True] * 2,
            "rotation": [True] * 4 + [False] * 2,
            "zoom": [True, False, False, True, False, False],
            "shear": [False, False, True, False, False, False],
        }
        assert changed == expected[name], name


@pytest.mark.equation(2)
def test_motions_are_uncorrelated():
    all_five = np.stack(list(drawn(**RANGES).values()))
    correlation = np.corrcoef(all_five) - np.eye(5)
    assert np.abs(correlation).max() < 5.5 / math.sqrt(all_five.shape[1])
    bound = [RANGES["rotation"], RANGES["zoom"], RANGES["shear"], RANGES["shift"], RANGES["shift"]]
    assert (np.abs(all_five).max(axis=1) < bound).all()
    assert (np.abs(all_five).max(axis=1) > 0.999 * np.array(bound)).all()


# -- inputs -------------------------------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_and_order_do_not_matter(shape, dtype):
    x = images(60, shape, dtype)
    whole = moved(x, shape)
    assert whole.dtype == dtype
    order, out = np.random.default_rng(5).permutation(60), np.full_like(x, np.nan)
    for start, stop in ((0, 7), (7, 8), (8, 40), (40, 60)):
        rows = order[start:stop]
        out[rows] = moved(x[rows], shape, index=rows)
    assert_same_bits(out, whole)


@pytest.mark.equation(2)
def test_images_are_told_apart_by_their_index():
    x = np.repeat(images(1, (8, 8)), 6, axis=0)
    out = moved(x, (8, 8), index=np.array([3, 8, 3, 2**32 + 3, 2**40 + 3, 2**32 + 8]))
    assert_same_bits(out[0], out[2])
    assert len({row.tobytes() for row in out}) == 5


def test_seeds_are_told_apart():
    x = images(4, (8, 8))
    results = {moved(x, (8, 8), seed=seed).tobytes() for seed in (0, 1, 2**32, 2**63, 2**64 - 1)}
    assert len(results) == 5
    assert_same_bits(moved(x, (8, 8), seed=np.uint64(7)), moved(x, (8, 8), seed=7))


def test_motion_is_drawn_once_unless_redrawn():
    x = images(20, (8, 8))
    once = moved(x, (8, 8))
    assert_same_bits(moved(x, (8, 8), epoch=9), once)
    redrawn = [moved(x, (8, 8), epoch=epoch, redraw=True) for epoch in (0, 1, 9, 9, 2**32 - 1)]
    assert_same_bits(redrawn[0], once)
    assert_same_bits(redrawn[3], redrawn[2])
    for one, other in itertools.combinations((redrawn[0], redrawn[1], redrawn[2], redrawn[4]), 2):
        assert (one != other).any(axis=1).all()


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.intp])
def test_dtype_of_the_index_does_not_matter(dtype):
    x, index = images(20, (8, 8)), np.arange(20)[::-1]
    assert_same_bits(
        moved(x, (8, 8), index=index.astype(dtype)), moved(x, (8, 8), index=index.copy())
    )


def test_precision_makes_no_other_map():
    x = images(20, (8, 8), "float32")
    expected = moved(x.astype("float64"), (8, 8)).astype("float32")  # all is computed in float64
    assert_same_bits(moved(x, (8, 8)), expected)


def test_inputs_are_left_alone():
    x, index = images(20, (8, 8)), np.arange(20)
    kept = x.copy(), index.copy()
    x.flags.writeable = index.flags.writeable = False
    moved(x, (8, 8), index=index)
    assert_same_bits(x, kept[0])
    assert_same_bits(index, kept[1])


def test_strided_output():
    x = images(20, (4, 5))
    wide = np.full((40, 20), np.nan)
    Affine((4, 5), **RANGES, seed=3).apply(x, np.arange(20), 0, wide[::2])
    assert_same_bits(wide[::2].copy(), moved(x, (4, 5)))
    assert np.isnan(wide[1::2]).all()


# -- with the other kinds of noise --------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_is_drawn_on_what_was_moved(kind, redraw, dtype):
    x, index = images(50, (4, 5), dtype), np.random.default_rng(1).permutation(50)
    options = {"seed": 3, "redraw": redraw}
    motion = Affine((4, 5), **RANGES, **options)
    plain = Corruption(Noise(kind, 0.3, redraw=redraw), seed=3, high=2.0)
    both = Corruption(Noise(kind, 0.3, redraw=redraw), seed=3, high=2.0, motion=motion)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):  # the scratch grows, shrinks, grows
        between, expected, found = (np.full_like(x[rows], np.nan) for _ in range(3))
        motion.apply(x[rows], index[rows], 4, between)
        plain.apply(between, index[rows], 4, expected)
        both.apply(x[rows], index[rows], 4, found)
        assert_same_bits(found, expected)
        assert (kind == "none") == (found.tobytes() == between.tobytes())


def test_one_noise_serves_both_precisions():
    noise = Corruption(Noise("none", 0.0), seed=3, motion=Affine((4, 5), **RANGES, seed=3))
    for dtype in ("float64", "float32", "float64"):
        x = images(10, (4, 5), dtype)
        out = np.full_like(x, np.nan)
        noise.apply(x, np.arange(10), 0, out)
        assert_same_bits(out, moved(x, (4, 5)))


@pytest.mark.parametrize(
    ("name", "largest"), [("shift", 1e6), ("rotation", 179.9), ("zoom", 0.9999), ("shear", 1e6)]
)
def test_the_largest_motions_stay_finite(name, largest):
    assert np.isfinite(maps_of(np.arange(2000), **{name: largest})).all()


# -- what it refuses ----------------------------------------------------------------------------


def test_a_seed_out_of_range_is_refused():
    for seed in (-1, 2**64):
        with pytest.raises(UsageError, match=rf"seed={seed} is out of range"):
            Affine((8, 8), seed=seed)
