"""Products by NVIDIA's bindings: what the library is told is the product that was asked for."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from ddnmf_np.backends import cublas, cupy_graph
from ddnmf_np.backends.cublas import Cublas, Gemm, describe

SHAPES = [(1, 1, 1), (1, 5, 7), (5, 1, 7), (5, 7, 1), (1, 1, 7), (1, 7, 1), (7, 1, 1), (13, 17, 11)]


def there(xp, shape, dtype, rng, rows=0):
    """Return whole numbers on the device; with ``rows``, the first of a longer buffer."""
    host = rng.integers(-9, 9, (shape[0] + rows, shape[1])).astype(dtype)
    return xp.asarray(host)[: shape[0]]


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [0, 3], ids=["whole", "first rows of a buffer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k", "m"), SHAPES)
def test_the_three_products_of_a_layer(device, n, k, m, dtype, rows):
    xp = device.ops.xp
    rng, blas = np.random.default_rng(0), Cublas(xp)
    x, h = there(xp, (n, k), dtype, rng, rows), there(xp, (n, m), dtype, rng, rows)
    w = there(xp, (m, k), dtype, rng)
    for a, b in ((x, w.T), (h, w), (h.T, x), (w.T, h.T)):
        buffer = xp.full((a.shape[0] + rows, b.shape[1]), 77.0, dtype)
        out = buffer[: a.shape[0]]
        blas.matmul(a, b, out)
        np.testing.assert_array_equal(out.get(), a.get() @ b.get())
        assert (buffer.get()[a.shape[0] :] == 77.0).all()


@pytest.mark.gpu
def test_rows_with_room_between_them(device):
    """A part of the columns: the distance of the rows is not their length."""
    xp = device.ops.xp
    rng, blas = np.random.default_rng(0), Cublas(xp)
    a, b = there(xp, (5, 9), "float32", rng)[:, 2:6], there(xp, (7, 11), "float32", rng)[:, 1:5]
    out = xp.full((5, 8), 77.0, "float32")
    blas.matmul(a, b.T, out[:, :7])
    np.testing.assert_array_equal(out.get()[:, :7], a.get() @ b.get().T)
    assert (out.get()[:, 7] == 77.0).all()


def test_a_product_is_described_by_columns():
    x, w = np.zeros((3, 5)), np.zeros((7, 5))
    assert describe(x, w.T, np.zeros((3, 7))) == Gemm(1, 0, 7, 3, 5, 5, 5, 7)
    assert describe(np.zeros((3, 7)), w, x) == Gemm(0, 0, 5, 3, 7, 5, 7, 5)
    assert describe(np.zeros((3, 7)).T, x, w) == Gemm(0, 1, 5, 7, 3, 5, 7, 5)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (np.zeros((3, 5)), np.zeros((4, 7)), np.zeros((3, 7))),
        (np.zeros((3, 5)), np.zeros((5, 7)), np.zeros((7, 3))),
        (np.zeros((3, 5)), np.zeros((5, 7), "float32"), np.zeros((3, 7))),
        (np.zeros((3, 5)), np.zeros((5, 7)), np.zeros((7, 3)).T),
        (np.zeros((3, 10))[:, ::2], np.zeros((5, 7)), np.zeros((3, 7))),
        (np.zeros((6, 10))[::2, ::2], np.zeros((5, 7)), np.zeros((3, 7))),
        (np.zeros((3, 5)), np.zeros((5, 7)), np.zeros((3, 14))[:, ::2]),
        (np.zeros((3, 0)), np.zeros((0, 7)), np.zeros((3, 7))),
        (np.zeros(5), np.zeros((5, 7)), np.zeros((1, 7))),
    ],
)
def test_what_is_no_such_product_is_refused(a, b, out):
    with pytest.raises(ValueError, match="product"):
        describe(a, b, out)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        ("op_a", lambda g: g._replace(op_a=1 - g.op_a)),
        ("factors", lambda g: Gemm(g.op_a, g.op_b, g.n, g.m, g.k, g.ld_a, g.ld_b, g.ld_out)),
        ("ld_out", lambda g: g._replace(ld_out=g.ld_out + 1)),
    ],
)
def test_a_planted_fault_is_found_by_the_trial(device, monkeypatch, wrong, by):
    monkeypatch.setattr(cublas, "describe", lambda *arrays: by(describe(*arrays)))
    with pytest.raises(Exception, match=r"multiplied wrongly|INVALID_VALUE"):
        Cublas(device.ops.xp)


def to_tf32(x):
    """Round to 10 bits of mantissa, as tensor cores do with their factors."""
    bits = np.ascontiguousarray(x, "float32").view("uint32")
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view("float32")


@pytest.mark.gpu
def test_tf32_is_for_float32_alone(emulated, device):
    rng, xp = np.random.default_rng(0), device.ops.xp
    x, w = (rng.normal(size=shape) for shape in ((3, 5), (7, 5)))
    for tf32 in (False, True):
        for dtype, accuracy in (("float32", 1e-6), ("float64", 1e-14)):
            blas, factors = Cublas(xp, tf32=tf32), (x.astype(dtype), w.astype(dtype))
            out = xp.empty((3, 7), dtype)
            blas.matmul(xp.asarray(factors[0]), xp.asarray(factors[1]).T, out)
            if tf32 and dtype == "float32":
                factors = tuple(map(to_tf32, factors))
            np.testing.assert_allclose(out.get(), factors[0] @ factors[1].T, accuracy, accuracy)


@pytest.mark.gpu
def test_each_stream_has_the_workspace_of_its_handle(device):
    """A new stream takes the workspace away: without it, a recording would allocate."""
    xp = device.ops.xp
    blas = Cublas(xp)
    a, out = xp.ones((3, 3), "float32"), xp.full((3, 3), xp.nan, "float32")
    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.get_current_stream().synchronize()
    with stream:
        stream.begin_capture()
        blas.matmul(a, a, out)
        graph = stream.end_capture()
    assert np.isnan(out.get()).all()  # recorded, not done
    graph.launch()
    assert (out.get() == 3.0).all()
    out.fill(0.0)
    blas.matmul(a, a, out)
    assert (out.get() == 3.0).all()


@pytest.mark.gpu
def test_a_forgotten_workspace_is_found(emulated, device, monkeypatch):
    xp = device.ops.xp
    blas = Cublas(xp)
    without = {name: getattr(blas._blas, name) for name in ("set_stream", "gemm_ex")}
    blas._blas = SimpleNamespace(set_workspace=lambda *args: None, **without)
    a, out = xp.ones((3, 3), "float32"), xp.empty((3, 3), "float32")
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        blas.matmul(a, a, out)
        stream.end_capture()
    assert "a product without a workspace while a stream is captured" in emulated.complaints()


@pytest.mark.gpu
def test_a_handle_goes_with_its_owner(emulated, device):
    blas = Cublas(device.ops.xp)
    with emulated.counting() as counted:
        del blas
        gc.collect()
    assert counted["cublas_destroy"] == 1


@pytest.mark.cupy
def test_arrays_of_cupy_are_described_alike(cupy):
    """Views and their strides need no device, and no memory."""

    def real(shape):
        memory = cupy.cuda.UnownedMemory(4096, 10**6, None, 0)
        return cupy.ndarray(shape, "float32", cupy.cuda.MemoryPointer(memory, 0))

    with cupy.cuda.using_allocator(cupy_graph._refuse):
        for n, k, m in SHAPES:
            for rows in (0, 3):
                cases = []
                for make in (real, lambda shape: np.zeros(shape, "float32")):
                    x, h, w = make((n + rows, k))[:n], make((n + rows, m))[:n], make((m, k))
                    cases.append([describe(x, w.T, h), describe(h, w, x), describe(h.T, x, w)])
                assert cases[0] == cases[1]
            a = real((n, k))
            assert cupy.ascontiguousarray(a) is a
            assert cupy.ascontiguousarray(a, "float32") is a
            assert a.data.ptr == 4096
            assert a[:1].flags.c_contiguous
