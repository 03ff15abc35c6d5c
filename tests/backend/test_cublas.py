"""Products by NVIDIA's bindings: what the library is told is the product that was asked for."""

import gc
import inspect

import numpy as np
import pytest
import strict as stand_in
from fake_cublas import ComputeType, FakeCublas, importer, to_tf32
from strict import StrictError, strict

from ddnmf_np.engine import cublas, graph_cupy
from ddnmf_np.engine.cublas import Cublas, Gemm, describe

SHAPES = [(1, 1, 1), (1, 5, 7), (5, 1, 7), (5, 7, 1), (1, 1, 7), (1, 7, 1), (7, 1, 1), (13, 17, 11)]


def device(shape, dtype, rng, rows=0):
    """Return whole numbers on the device; with ``rows``, the first of a longer buffer."""
    host = rng.integers(-9, 9, (shape[0] + rows, shape[1])).astype(dtype)
    return strict.asarray(host)[: shape[0]]


@pytest.mark.parametrize("rows", [0, 3], ids=["whole", "first rows of a buffer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k", "m"), SHAPES)
def test_the_three_products_of_a_layer(n, k, m, dtype, rows):
    rng, blas = np.random.default_rng(0), Cublas(strict)
    x, h = device((n, k), dtype, rng, rows), device((n, m), dtype, rng, rows)
    w = device((m, k), dtype, rng)
    for a, b in ((x, w.T), (h, w), (h.T, x), (w.T, h.T)):
        buffer = strict.full((a.shape[0] + rows, b.shape[1]), 77.0, dtype)
        out = buffer[: a.shape[0]]
        blas.matmul(a, b, out)
        np.testing.assert_array_equal(out.get(), a.get() @ b.get())
        assert (buffer.get()[a.shape[0] :] == 77.0).all()


def test_rows_with_room_between_them():
    """A part of the columns: the distance of the rows is not their length."""
    rng, blas = np.random.default_rng(0), Cublas(strict)
    a, b = device((5, 9), "float32", rng)[:, 2:6], device((7, 11), "float32", rng)[:, 1:5]
    out = strict.full((5, 8), 77.0, "float32")
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


@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        ("op_a", lambda g: g._replace(op_a=1 - g.op_a)),
        ("factors", lambda g: Gemm(g.op_a, g.op_b, g.n, g.m, g.k, g.ld_a, g.ld_b, g.ld_out)),
        ("ld_out", lambda g: g._replace(ld_out=g.ld_out + 1)),
    ],
)
def test_a_planted_fault_is_found_by_the_trial(monkeypatch, wrong, by):
    monkeypatch.setattr(cublas, "describe", lambda *arrays: by(describe(*arrays)))
    with pytest.raises((AssertionError, RuntimeError, ValueError, IndexError)):
        Cublas(strict)


def test_tf32_is_for_float32_alone(fake_cublas):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape) for shape in ((3, 5), (7, 5)))
    for tf32 in (False, True):
        for dtype in ("float32", "float64"):
            blas = Cublas(strict, tf32=tf32)
            a, b = strict.asarray(x, dtype), strict.asarray(w, dtype)
            out = strict.empty((3, 7), dtype)
            blas.matmul(a, b.T, out)
            rounds = tf32 and dtype == "float32"
            factors = (to_tf32(a.get()), to_tf32(b.get())) if rounds else (a.get(), b.get())
            np.testing.assert_allclose(out.get(), factors[0] @ factors[1].T, rtol=1e-6)
            expected = {("float32", True): ComputeType.COMPUTE_32F_FAST_TF32,
                        ("float32", False): ComputeType.COMPUTE_32F}  # fmt: skip
            assert fake_cublas.computed[-1] == expected.get((dtype, tf32), ComputeType.COMPUTE_64F)


def test_each_stream_has_the_workspace_of_its_handle(fake_cublas):
    """A new stream takes the workspace away: without it, a recording would allocate."""
    blas = Cublas(strict)
    a, out = strict.ones((3, 3), "float32"), strict.empty((3, 3), "float32")
    stream = stand_in.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        blas.matmul(a, a, out)
        graph = stream.end_capture()
    [state] = fake_cublas.handles.values()
    assert state.stream == stream.ptr
    assert state.workspace[1] - state.workspace[0] == cublas.WORKSPACE
    assert np.isnan(out.get()).all()  # recorded, not done
    graph.launch()
    assert (out.get() == 3.0).all()
    blas.matmul(a, a, out)
    assert state.stream == 0
    assert state.workspace is not None


def test_a_forgotten_workspace_is_found(fake_cublas, monkeypatch):
    monkeypatch.setattr(FakeCublas, "set_workspace", lambda *args: None)
    blas = Cublas(strict)
    a, out = strict.ones((3, 3), "float32"), strict.empty((3, 3), "float32")
    stream = stand_in.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(StrictError, match="allocation"):
            blas.matmul(a, a, out)
        stream.end_capture()


def test_a_handle_goes_with_its_owner(fake_cublas):
    blas = Cublas(strict)
    assert len(fake_cublas.handles) == 1
    del blas
    gc.collect()
    assert fake_cublas.handles == {}


@pytest.mark.cupy
def test_the_bindings_are_as_the_fake_has_them():
    """Names, arguments and numbers, of the real package where it is installed."""
    real = pytest.importorskip("nvmath.bindings.cublas", reason="nvmath-python is not installed")
    nvmath = pytest.importorskip("nvmath")
    for name in ("create", "destroy", "set_stream", "set_workspace", "gemm_ex"):
        text = getattr(real, name).__doc__.splitlines()[0].partition("(")[2].partition(")")[0]
        theirs = [part.split()[-1] for part in text.split(",") if part]
        ours = list(inspect.signature(getattr(FakeCublas, name)).parameters)[1:]
        assert len(ours) == len(theirs), name
        if name == "gemm_ex":
            assert ours == theirs
    for kind in ComputeType:
        assert real.ComputeType[kind.name] == kind
    assert real.GemmAlgo.DEFAULT == FakeCublas.GemmAlgo.DEFAULT
    assert (real.Operation.N, real.Operation.T) == (0, 1)
    types = importer(None)("nvmath").CudaDataType
    assert all(nvmath.CudaDataType[kind.name] == kind for kind in types)


@pytest.mark.cupy
def test_arrays_of_cupy_are_described_alike(cupy):
    """Views and their strides need no device, and no memory."""

    def real(shape):
        memory = cupy.cuda.UnownedMemory(4096, 10**6, None, 0)
        return cupy.ndarray(shape, "float32", cupy.cuda.MemoryPointer(memory, 0))

    with cupy.cuda.using_allocator(graph_cupy._refuse):
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
