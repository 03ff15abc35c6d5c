"""Every operation of the engine as a case that any backend can run, and how to compare two runs.

A case draws its inputs from a seed, so that two backends see the same numbers, and returns what
it wrote together with the size of the terms that were added up in each entry.
"""

import zlib
from typing import NamedTuple

import numpy as np

from ddnmf_np.backends import noise_ops
from ddnmf_np.backends.noise_ops import Motion, Words
from ddnmf_np.backends.ops import (
    ACTIVATIONS,
    DirectGradient,
    Ops,
    adam_scales,
    optimizer_work,
)

ULPS = 16
"""Rounding that a twin may add, in units of the last place of the entry's terms. A device contracts
``a * b + c`` to one rounding, and its exp, tanh, log1p and expm1 are good to 2 units (CUDA C++
programming guide, mathematical functions), NumPy's to 4 at most; the longest formula, Adam's, has
12 such steps, whose errors do not all point one way."""

SUM = {"float32": 1e-5, "float64": 1e-14}
"""A sum or product in another order, relative to its largest entry. The longest, of 9100 terms, is
added up by NumPy in some 32 lanes: 285 roundings of half a unit in a row would be 1.7e-5 and 3e-14
if all pointed one way; the root of 285 of them is 1e-6 and 2e-15."""

SHAPES = ((1, 1), (1, 7), (5, 1), (13, 17), (70, 130))
"""One entry, one row, one column, primes, and more than one block of threads, with more rows than
its threads load at a time."""

SIZES = (1, 7, 40_000)
"""Of flat parameters; the last is longer than the block that the plain optimizers work in."""


class Written(NamedTuple):
    """An array that an operation wrote, and what its error is measured by.

    That is the size of each entry's terms (see `ULPS`), or for sums the tolerance itself.
    """

    values: np.ndarray
    scale: np.ndarray | float | None


class Draw:
    """Draws device arrays, the same numbers for every backend."""

    def __init__(self, ops, dtype, special, name):
        self.ops, self.dtype, self.special = ops, np.dtype(dtype), special
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def __call__(self, shape, low=-3.0, high=3.0, special=True):
        """Return numbers in [low, high], and the special ones that lie in it."""
        host = self.rng.uniform(low, high, shape).astype(self.dtype)
        if self.special and special:
            info = np.finfo(self.dtype)
            large = float(info.max) ** 0.25
            values = np.array([0.0, -0.0, 1.0, -1.0, large, -large, np.inf, -np.inf, np.nan])
            values = values[~((values < low) | (values > high))] if low >= 0 else values
            flat = host.reshape(-1)
            at = self.rng.permutation(flat.size)[: max(1, flat.size // 2)]
            flat[at] = self.rng.choice(values, at.size)
        return self.ops.to_device(host)


def _activate(kind, bias):
    def case(ops, draw, shape):
        z, b = draw(shape, -100.0, 100.0), draw(shape[1:]) if bias else None
        scale = _size(ops, z) + (_size(ops, b) if bias else 0.0)
        ops.activate(kind, z, b)
        return {"z": (z, scale)}

    return case


H = {"identity": (-3.0, 3.0), "relu": (0.0, 3.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0),
     "softplus": (0.0, 50.0)}  # fmt: skip
"""What an activation's output can be."""


def _delta(kind, direct):
    """A layer's delta without its sums, entry by entry."""

    def case(ops, draw, shape):
        h, dh = draw(shape, *H[kind]), draw(shape)
        scale = _size(ops, dh)
        given = []
        for c in direct:
            given.append(DirectGradient(draw(shape), c))
            scale = scale + abs(c) * (_size(ops, h) + _size(ops, given[-1].ref))
        if kind == "tanh":  # the others have |f'| <= 1 here
            scale = scale * (1.0 + _size(ops, h) ** 2)
        ops.delta(kind, h, dh, given, ops.empty(shape, draw.dtype), None)
        return {"dh": (dh, scale)}

    return case


def _delta_sums(kind, direct, bias):
    """The sums of a layer's delta: the bias gradient, and the distances of its direct."""

    def case(ops, draw, shape):
        sums = ops.zeros((4,), "float64")
        written = {}
        for _ in range(2):  # it adds to the distances and overwrites the gradient
            h, dh = draw(shape, *H[kind]), draw(shape)
            db = ops.empty(shape[1:], draw.dtype) if bias else None
            given = [
                DirectGradient(
                    draw(shape), c, sums[k : k + 1] if k != 1 or len(direct) == 2 else None
                )
                for k, c in enumerate(direct)
            ]
            ops.delta(kind, h, dh, given, ops.empty(shape, draw.dtype), db)
            if bias:
                written = {"db": (db, SUM[draw.dtype.name])}
        if direct:
            written["sums"] = (sums, SUM[draw.dtype.name])
        return written

    return case


def _dactivate(kind, low, high):
    def case(ops, draw, shape):
        h, dh = draw(shape, low, high), draw(shape)
        scale = _size(ops, dh)
        ops.dactivate(kind, h, dh, ops.empty(shape, draw.dtype))
        return {"dh": (dh, scale)}

    return case


def _add_direct(ops, draw, shape):
    h, ref, dh = draw(shape), draw(shape), draw(shape)
    scale = _size(ops, dh) + 0.375 * (_size(ops, h) + _size(ops, ref))
    ops.add_direct(h, ref, 0.375, dh, ops.empty(shape, draw.dtype))
    return {"dh": (dh, scale)}


def _project(ops, draw, shape):
    p = draw(shape)
    scale = _size(ops, p)
    ops.project_nonnegative(p)
    return {"p": (p, scale)}


def _descend(ops, draw, size):
    p, g = draw((size,)), draw((size,))
    scale = _size(ops, p) + 0.0625 * _size(ops, g)
    ops.descend(p, g, _scales(ops, draw, 0.0625)[:1], optimizer_work(ops, size, draw.dtype))
    return {"p": (p, scale)}


def _momentum(ops, draw, size):
    p, g, v = (draw((size,)) for _ in range(3))
    scale_v = 0.75 * _size(ops, v) + _size(ops, g)
    scale_p = _size(ops, p) + 0.0625 * scale_v
    lr = _scales(ops, draw, 0.0625)[:1]
    ops.momentum(p, g, v, lr, 0.75, optimizer_work(ops, size, draw.dtype))
    return {"p": (p, scale_p), "v": (v, scale_v)}


def _adam(ops, draw, size):
    p, g, m = (draw((size,)) for _ in range(3))
    v = draw((size,), 0.0, 9.0)
    scale_m = 0.75 * _size(ops, m) + 0.25 * _size(ops, g)
    scale_p = _size(ops, p)
    rate, eps_t = adam_scales(3, 0.0625, 0.75, 0.875, 1e-7)
    scales = _scales(ops, draw, rate, eps_t)
    ops.adam(p, g, m, v, scales, 0.75, 0.875, optimizer_work(ops, size, draw.dtype))
    scale_p = scale_p + rate * scale_m / (np.sqrt(_size(ops, v)) + eps_t)
    return {"p": (p, scale_p), "m": (m, scale_m), "v": (v, np.zeros(size))}


def _scales(ops, draw, rate, other=0.0):
    scales = ops.empty((2,), draw.dtype)
    ops.write(scales, rate, other)
    return scales


def _size(ops, array):
    """Return the absolute values, in float64 on the host."""
    return np.abs(ops.to_host(array).astype("float64"))


def _matmul(ops, draw, shape):
    n, k = shape
    m = 11
    out = ops.empty((n, m), draw.dtype)
    ops.matmul(draw((n, k)), draw((m, k)).T, out=out)  # the layer's forward product
    dw = ops.empty((n, k), draw.dtype)
    ops.matmul(draw((m, n)).T, draw((m, k)), out=dw)  # and its dW
    return {"out": (out, SUM[draw.dtype.name]), "dw": (dw, SUM[draw.dtype.name])}


def _sum_rows(ops, draw, shape):
    out = ops.empty(shape[1:], draw.dtype)
    ops.sum_rows(draw(shape), out=out)
    return {"out": (out, SUM[draw.dtype.name])}


def _squared_distance(ops, draw, shape):
    sums = ops.zeros((3,), "float64")
    for _ in range(2):  # it adds
        a, b = draw(shape), draw(shape)
        ops.squared_distance(a, b, ops.empty(shape, draw.dtype), out=sums[1:2])
    return {"sums": (sums, SUM[draw.dtype.name])}


def _gather(ops, draw, shape):
    x = draw(shape)
    index = draw.rng.integers(0, shape[0], 2 * shape[0])
    out = ops.empty((2 * shape[0], shape[1]), draw.dtype)
    ops.gather(x, ops.to_device(index), out)
    return {"out": (out, None)}


NORMAL = {"float32": 2e-7, "float64": 1e-14}
"""Log, root and cosine in float64 on both sides, a few units of 1e-16, relative to the largest
entry; then rounded to the data's precision, where the two may fall to neighbours (1.2e-7)."""


def _batch(ops, draw, shape):
    """Return rows, their indices in a data set, and memory for their noisy copy."""
    index = draw.rng.integers(0, 2**40, shape[0])  # the upper half of the counter is used
    return draw(shape, 0.0, 1.0), ops.to_device(index), ops.empty(shape, draw.dtype)


KEY = (0xDEADBEEF, 0xFFFFFFF1)


def _replace(ops, draw, shape):
    x, index, out = _batch(ops, draw, shape)
    limits = (2**31 + 1, 3 * 2**30)
    words = noise_ops.Draw(index, KEY, 2**32 - 1)
    ops.replace(x, words, limits, (-5.0, 0.1), 1.1, out, Words(ops.xp))
    return {"out": (out, None)}


def _replace_all(ops, draw, shape):
    x, index, out = _batch(ops, draw, shape)
    words = noise_ops.Draw(index, KEY, 0)
    ops.replace(x, words, (0, 2**32), (-5.0, 0.1), 1.1, out, Words(ops.xp))
    return {"out": (out, None)}


def _add_gaussian(ops, draw, shape):
    x, index, out = _batch(ops, draw, shape)
    ops.add_gaussian(x, noise_ops.Draw(index, KEY, 7), 0.3, out, Words(ops.xp))
    return {"out": (out, NORMAL[draw.dtype.name])}


WARP = {"float32": 1e-6, "float64": 1e-12}
"""Places of up to 130 pixels, good to a few units of 1e-16 times that, where a device rounds once
for NumPy's twice; between pixels a value changes by no more than the largest. That is 1e-13, and in
float32 the result is rounded to 6e-8."""


def _warp(ops, draw, shape):
    """Images of as many shapes as the size allows, each moved by less than a pixel at its centre.

    So the centre of an image is never all zero.
    """
    written, size = {}, shape[1]
    for height in [k for k in (1, 2, 5, 13, size) if size % k == 0]:
        index = ops.to_device(draw.rng.integers(0, 2**40, shape[0]))
        images, out = draw(shape, 0.5, 1.0, special=False), ops.empty(shape, draw.dtype)
        motion, image = Motion(0.9, 0.5, 0.3, 0.4), (height, size // height)
        ops.warp(images, noise_ops.Draw(index, KEY, 2**32 - 1), motion, image, out)
        written[f"{height} rows"] = (out, WARP[draw.dtype.name])
    return written


ELEMENTWISE = {
    **{f"activate {kind}": _activate(kind, False) for kind in ACTIVATIONS},
    **{f"activate {kind} with bias": _activate(kind, True) for kind in ACTIVATIONS},
    **{f"delta {kind}": _delta(kind, (0.375,)) for kind in ACTIVATIONS},
    "delta without direct gradients": _delta("sigmoid", ()),
    "delta with two direct gradients": _delta("relu", (0.375, -0.75)),
    "delta with three direct gradients": _delta("tanh", (0.375, -0.75, 0.5)),
    "dactivate identity": _dactivate("identity", -3.0, 3.0),
    "dactivate relu": _dactivate("relu", 0.0, 3.0),
    "dactivate sigmoid": _dactivate("sigmoid", 0.0, 1.0),
    "dactivate tanh": _dactivate("tanh", -1.0, 1.0),
    "dactivate softplus": _dactivate("softplus", 0.0, 50.0),
    "add_direct": _add_direct,
    "project_nonnegative": _project,
    "descend": _descend,
    "momentum": _momentum,
    "adam": _adam,
}
"""Compared entry by entry, special values included."""

SUMS = {
    "matmul": _matmul,
    "sum_rows": _sum_rows,
    "squared_distance": _squared_distance,
    "delta: bias": _delta_sums("sigmoid", (), True),
    "delta: a distance": _delta_sums("softplus", (0.375,), False),
    "delta: bias and distances": _delta_sums("tanh", (0.375, -0.75), True),
    "delta: three distances": _delta_sums("identity", (0.375, -0.75, 0.5), True),
    "add_gaussian": _add_gaussian,
    "warp": _warp,
}
"""Compared against the largest entry: the order of their terms is the backend's own."""

COPIES = {"gather": _gather, "replace": _replace, "replace all": _replace_all}
"""The same bits."""

CASES = ELEMENTWISE | SUMS | COPIES


def domain(name):
    """Return the shapes (or sizes) that a case takes."""
    return SIZES if name in ("descend", "momentum", "adam") else SHAPES


def run(name, ops, dtype, size, special=False):
    """Run a case, and return what it wrote by name."""
    draw = Draw(ops, dtype, special, f"{name} {size}")
    with np.errstate(all="ignore"):
        written = CASES[name](ops, draw, size)
    return {key: Written(ops.to_host(values), scale) for key, (values, scale) in written.items()}


def compare(name, actual, expected):
    """Fail unless two runs of a case agree as far as rounding lets them."""
    assert actual.keys() == expected.keys()
    for key in expected:
        where = f"{name}: {key}"
        a, e = actual[key].values, expected[key].values
        assert a.dtype == e.dtype, f"{where}: dtype {a.dtype} != {e.dtype}"
        assert a.shape == e.shape, f"{where}: shape {a.shape} != {e.shape}"
        if name in COPIES:
            assert a.tobytes() == e.tobytes(), f"{where}: other bits"
        elif name in SUMS:
            assert e.any(), f"{where}: all is zero: nothing is compared"
            error = np.abs(a - e).max() / np.abs(e).max()
            assert error <= expected[key].scale, f"{where}: relative error {error:.1e}"
        else:
            _compare_entries(where, a, e, expected[key].scale)


def _compare_entries(where, a, e, scale):
    np.testing.assert_array_equal(np.isnan(a), np.isnan(e), err_msg=f"{where}: NaN")
    infinite = np.isinf(e)
    np.testing.assert_array_equal(a[infinite], e[infinite], err_msg=f"{where}: infinity")
    finite = np.isfinite(e)
    info = np.finfo(e.dtype)
    a, e, scale = (x[finite].astype("float64") for x in (a, e, scale))
    scale[~np.isfinite(scale)] = 0.0
    # CuPy compiles with -ftz=true: what is denormal here is zero there.
    allowed = ULPS * float(info.eps) * (np.abs(e) + scale) + 4.0 * float(info.tiny)
    wrong = ~(np.abs(a - e) <= allowed)
    assert not wrong.any(), f"{where}: {a[wrong][0]!r} != {e[wrong][0]!r} in {wrong.sum()} entries"


def check(name, ops, dtype):
    """Fail unless a backend's case agrees with the plain one for every shape."""
    for size in domain(name):
        for special in (False, True) if name in ELEMENTWISE else (False,):
            expected = run(name, Ops(), dtype, size, special)
            compare(name, run(name, ops, dtype, size, special), expected)
