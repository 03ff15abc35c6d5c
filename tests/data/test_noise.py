"""Noise (equation 2): its distribution, and its inputs."""

import tracemalloc

import numpy as np
import pytest
from noise_cases import ALARM, MASK, scalar_philox
from scipy import stats

from ddnmf_np.backends.noise_ops import Draw, Words, philox4x32
from ddnmf_np.data import affine, order
from ddnmf_np.data import noise as noise_module
from ddnmf_np.data.noise import NOISE_KINDS, Corruption, Noise
from ddnmf_np.data.order import stream_key
from ddnmf_np.errors import UsageError

STREAMS = (noise_module._NOISE_STREAM, affine._STREAM, order._ORDER_STREAM)


@pytest.fixture(autouse=True)
def arithmetic(ops, monkeypatch):
    """Let every test here run with each form of the operations."""
    monkeypatch.setattr(noise_module, "Ops", lambda: ops)


def noisy(x, kind, rate=0.3, *, index=None, epoch=0, seed=1, high=1.0, **options):
    """Return the noisy copy, written over a buffer full of NaN."""
    index = np.arange(len(x)) if index is None else index
    out = np.full_like(x, np.nan)
    Corruption(Noise(kind, rate, **options), seed=seed, high=high).apply(x, index, epoch, out)
    return out


def clean(n=60, n_features=13, dtype=np.float32):
    """Return entries in [0.1, 0.9], none of them 0 or 1."""
    return np.random.default_rng(0).uniform(0.1, 0.9, (n, n_features)).astype(dtype)


def test_masking_sets_entries_to_what_is_seen_where_one_is_missing(ops):
    x, fill = clean(), np.linspace(2.0, 3.0, 13, dtype=np.float32)
    masked = noisy(x, "masking", rescale=False) == 0.0
    out, moved = np.empty_like(x), Corruption(Noise("masking", 0.3), seed=1, fill=fill, ops=ops)
    moved.apply(x, np.arange(len(x)), 0, out)
    np.testing.assert_array_equal(out, np.where(masked, fill, x))  # and the others are as they were


# --- the generator -----------------------------------------------------------------------------

# From the file of known answers that Random123 ships.
KNOWN = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([MASK] * 4, [MASK] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    arrays = tuple(np.full(3, word, np.uint64) for word in counter)
    words = philox4x32(arrays, tuple(key))
    assert words.shape == (4, 3)
    for k, expected in enumerate(answer.split()):
        assert [f"{word:08x}" for word in words[k]] == [expected] * 3
    assert scalar_philox(counter, key) == tuple(int(word, 16) for word in answer.split())


def test_counters_broadcast_and_scratch_is_used():
    rng = np.random.default_rng(1)
    first = rng.integers(2**32, size=5, dtype=np.uint64)
    second = rng.integers(2**32, size=(3, 1), dtype=np.uint64)
    out = np.full((6, 3, 5), MASK, np.uint64)

    words = philox4x32((first, second, 7, MASK), (8, 9), out=out)

    assert np.shares_memory(words, out)
    np.testing.assert_array_equal(words, philox4x32((first, second, 7, MASK), (8, 9)))
    for i, j in np.ndindex(3, 5):
        counter = (int(first[j]), int(second[i, 0]), 7, MASK)
        assert tuple(words[:, i, j].tolist()) == scalar_philox(counter, (8, 9))


def test_streams_of_one_seed_are_apart():
    keys = {stream_key(seed, stream) for seed in (0, 1, 2**32, 2**64 - 1) for stream in STREAMS}
    assert len(keys) == 4 * len(STREAMS)
    assert all(0 <= half <= MASK for key in keys for half in key)


# --- distribution ------------------------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("redraw", [False, True])
def test_masking_entry_by_entry(redraw):
    """Every entry against the scalar generator: the layout of counter and words is pinned."""
    x = clean(4, 11, np.float64)
    index = np.array([0, 59_999, 2**32 + 5, 3])
    seed, rate, epoch = 2**63 + 12345, 0.4, 6
    out = noisy(x, "masking", rate, index=index, epoch=epoch, seed=seed, redraw=redraw)

    key = seed ^ int.from_bytes(b"noise   ", "big")
    for i, j in np.ndindex(*x.shape):
        sample = int(index[i])
        counter = (j // 4, sample & MASK, sample >> 32, epoch if redraw else 0)
        word = scalar_philox(counter, (key & MASK, key >> 32))[j % 4]
        masked = word < round(rate * 2**32)
        assert out[i, j] == (0 if masked else x[i, j] * (1 / (1 - rate)))


@pytest.mark.equation(2)
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_masking_rate_and_mean(rate):
    x = np.ones((3000, 50))
    out = noisy(x, "masking", rate)
    sigma = np.sqrt(rate * (1 - rate) / x.size)
    assert abs((out == 0).mean() - rate) <= 5 * sigma
    assert abs(out.mean() - 1) <= 5 * sigma / (1 - rate)  # rescaling keeps the mean
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-15)
    kept = noisy(x, "masking", rate, rescale=False)
    assert set(np.unique(kept)) <= {0.0, 1.0}
    np.testing.assert_array_equal(kept == 0, out == 0)


@pytest.mark.equation(2)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.6])
def test_salt_and_pepper_halves(rate):
    x = np.full((3000, 50), 0.5)
    out = noisy(x, "salt-and-pepper", rate, high=2.0)
    sigma = np.sqrt(rate / 2 * (1 - rate / 2) / x.size)
    assert abs((out == 0).mean() - rate / 2) <= 5 * sigma
    assert abs((out == 2).mean() - rate / 2) <= 5 * sigma
    assert set(np.unique(out)) <= {0.0, 0.5, 2.0}


@pytest.mark.equation(2)
def test_gaussian_is_normal():
    x = np.random.default_rng(0).random((2000, 50))
    z = (noisy(x, "gaussian", 0.2, high=3.0) - x) / 0.6
    n = z.size
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert stats.kstest(z.ravel(), "norm").pvalue > ALARM


@pytest.mark.equation(2)
def test_gaussian_is_not_clipped():
    out = noisy(np.zeros((100, 8)), "gaussian", 0.5)
    assert 0.4 < (out < 0).mean() < 0.6


@pytest.mark.equation(2)
@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt-and-pepper"])
def test_entries_are_uncorrelated(kind):
    x = np.full((4000, 16), 0.5)
    flat = {
        "features": noisy(x, kind).T,
        "samples": noisy(x[:16].repeat(250, axis=1), kind),
        "epochs": np.stack([noisy(x, kind, epoch=e, redraw=True).ravel() for e in range(4)]),
        "seeds": np.stack([noisy(x, kind, seed=s).ravel() for s in (0, 1, 2**32, 2**63)]),
    }
    for axis, rows in flat.items():
        correlation = np.corrcoef(rows) - np.eye(len(rows))
        assert np.abs(correlation).max() < 5.5 / np.sqrt(rows.shape[1]), axis


@pytest.mark.equation(2)
def test_none_is_a_copy():
    x = clean()
    np.testing.assert_array_equal(noisy(x, "none", 0.9), x)


# --- inputs ------------------------------------------------------------------------------------


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 3, 4, 13])
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_batches_and_order_do_not_matter(kind, n_features, dtype):
    x = clean(60, n_features, dtype)
    whole = noisy(x, kind)
    assert whole.dtype == dtype

    noise = Corruption(Noise(kind, 0.3), seed=1)
    order = np.random.default_rng(5).permutation(60)
    out = np.full_like(x, np.nan)
    for start, stop in ((0, 7), (7, 8), (8, 40), (40, 60)):  # the scratch grows, shrinks, grows
        rows = order[start:stop]
        result = np.full((len(rows), n_features), np.nan, dtype)
        noise.apply(x[rows], rows, 0, result)
        out[rows] = result
    np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt-and-pepper"])
def test_rows_are_told_apart_by_their_index(kind):
    x = np.full((4, 40), 0.5)
    out = noisy(x, kind, index=np.array([3, 8, 3, 2**32 + 3]))
    np.testing.assert_array_equal(out[0], out[2])
    assert (out[0] != out[1]).any()
    assert (out[0] != out[3]).any()


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.intp])
def test_dtype_of_the_index_does_not_matter(dtype):
    x = clean()
    index = np.arange(60)[::-1]
    expected = noisy(x, "masking", index=index)
    np.testing.assert_array_equal(noisy(x, "masking", index=index.astype(dtype)), expected)


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt-and-pepper"])
def test_noise_is_drawn_once_unless_redrawn(kind):
    x = clean()
    once = noisy(x, kind)
    np.testing.assert_array_equal(noisy(x, kind, epoch=9), once)
    redrawn = [noisy(x, kind, epoch=epoch, redraw=True) for epoch in (0, 1, 9, 9)]
    np.testing.assert_array_equal(redrawn[0], once)
    assert (redrawn[1] != once).any()
    assert (redrawn[2] != redrawn[1]).any()
    np.testing.assert_array_equal(redrawn[3], redrawn[2])


@pytest.mark.parametrize("kind", ["masking", "salt-and-pepper"])
def test_float32_and_float64_draw_the_same_entries(kind):
    x = clean(dtype=np.float64)
    changed = noisy(x, kind, rescale=False) != x
    x = x.astype(np.float32)
    np.testing.assert_array_equal(noisy(x, kind, rescale=False) != x, changed)


def test_width_may_change_between_calls():
    noise = Corruption(Noise("masking", 0.3), seed=1)
    for n_features in (13, 5, 7, 40):
        x = clean(n_features=n_features)
        out = np.full_like(x, np.nan)
        noise.apply(x, np.arange(60), 0, out)
        np.testing.assert_array_equal(out, noisy(x, "masking"))


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_inputs_are_left_alone(kind):
    x, index = clean(), np.arange(60)
    x.flags.writeable = index.flags.writeable = False
    noisy(x, kind, index=index)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_strided_output(kind):
    x = clean()
    wide = np.full((120, 13), np.nan, np.float32)
    Corruption(Noise(kind, 0.3), seed=1).apply(x, np.arange(60), 0, wide[::2])
    np.testing.assert_array_equal(wide[::2], noisy(x, kind))
    assert np.isnan(wide[1::2]).all()


# --- memory and errors -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_warm_call_allocates_nothing_of_the_batch_size(kind):
    x, index = clean(128, 784), np.arange(128)
    out = np.empty_like(x)
    noise = Corruption(Noise(kind, 0.1, redraw=True), seed=1)
    noise.apply(x, index, 0, out)
    tracemalloc.start()
    try:
        noise.apply(x, index, 1, out)
        noise.apply(x[:100], index[:100], 2, out[:100])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024  # one lane of words is 200 KB


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rate_out_of_range_is_refused(rate):
    with pytest.raises(UsageError, match=rf"rate is {rate}; expected a number in \[0, 1\)"):
        Corruption(Noise("masking", rate), seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match=rf"seed={seed} is out of range"):
        Corruption(Noise("masking", 0.1), seed=seed)
    Corruption(Noise("masking", 0.1), seed=np.uint64(2**64 - 1))


def test_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="kind is 'pink'; choose one of masking, gaussian, salt"):
        Corruption(Noise("pink", 0.1), seed=0)


def test_arrays_that_do_not_belong_together_are_refused():
    x, index = clean(), np.arange(60)
    noise = Corruption(Noise("masking", 0.1), seed=0)
    for bad_index, bad_out in (
        (index[:59], np.empty_like(x)),
        (index, np.empty((60, 12), np.float32)),
        (index, np.empty((60, 13), np.float64)),
    ):
        with pytest.raises(UsageError, match=r"x \(60, 13\) float32.* expected \(n, D\)"):
            noise.apply(x, bad_index, 0, bad_out)


@pytest.mark.equation(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 1), (13, 17)])
def test_replaced_entries_are_those_of_the_scalar_generator(ops, shape, dtype):
    """Every form of the operation, entry by entry; NaN, zero and huge numbers are only data."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape).astype(dtype)
    special = [0.0, -0.0, np.nan, np.inf, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    x.flat[: len(special)] = special[: x.size]
    index = rng.integers(0, 2**40, shape[0])
    key, epoch, limits, values, scale = (12, MASK), 5, (2**30, 2**31), (-7.0, 9.0), 1.25
    draw = Draw(index, key, epoch)
    out = np.full(shape, 3.0, dtype)
    with np.errstate(over="ignore"):
        ops.replace(x, draw, limits, values, scale, out, Words())
        expected = x * dtype(scale)
    for i, j in np.ndindex(shape):
        row = int(index[i])
        word = scalar_philox((j // 4, row & MASK, row >> 32, epoch), key)[j % 4]
        if word < limits[1]:
            expected[i, j] = values[0] if word < limits[0] else values[1]
    assert out.tobytes() == expected.tobytes()
