"""The stand-in for CuPy refuses what CuPy refuses, and counts what CuPy does unasked."""

import ast
import inspect

import numpy as np
import pytest
import strict as module
from strict import StrictArray, crossings, strict

HOST = np.ones(3)


def device(*values, dtype="float64"):
    return strict.asarray(np.array(values, dtype))


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: a + HOST,
        lambda a: HOST + a,
        lambda a: HOST * a,
        lambda a: strict.add(a, HOST),
        lambda a: np.add(a, HOST),
        lambda a: np.add(HOST, HOST, out=a),
        lambda a: strict.add(a, a, out=HOST.copy()),
        lambda a: strict.add(a, np.array(1.0)),
        lambda a: strict.add(a, [1.0, 2.0, 3.0]),
        lambda a: a < HOST,
        lambda a: strict.matmul(a, HOST),
        lambda a: strict.concatenate([a, HOST]),
        lambda a: strict.ascontiguousarray(HOST),
        lambda a: strict.take(HOST, a.astype("int64")),
        lambda a: strict.sum(HOST),
        lambda a: strict.copyto(HOST.copy(), a),
        lambda a: strict.copyto(a, HOST),
        lambda a: a.fill(HOST),
        lambda a: a.__setitem__(slice(None), HOST),
        lambda a: a.__setitem__(slice(None), [1.0, 2.0, 3.0]),
    ],
)
def test_no_arithmetic_with_host_arrays(mix):
    with pytest.raises((TypeError, ValueError)):
        mix(device(1, 2, 3))


@pytest.mark.parametrize(
    "convert",
    [np.asarray, np.array, lambda a: np.empty(3).__setitem__(slice(None), a), np.linalg.norm,
     np.add.reduce, memoryview, lambda a: a.ctypes, hash],
)  # fmt: skip
def test_no_silent_way_to_the_host(convert):
    with pytest.raises((TypeError, AttributeError)):
        convert(device(1, 2, 3))


@pytest.mark.parametrize(
    "read",
    [lambda a: float(a[0]), lambda a: int(a[0]), bool, repr, lambda a: a.item(),
     lambda a: a.tolist(), lambda a: a.get(), strict.asnumpy, lambda a: a[a > 0]],
)  # fmt: skip
def test_every_way_to_the_host_is_counted(read):
    a = device(2.0)
    with crossings() as counted:
        read(a)
    assert (counted.to_host, counted.to_device) == (1, 0)


@pytest.mark.parametrize(
    "send",
    [lambda a: strict.asarray(HOST), lambda a: strict.array(HOST), lambda a: a[np.array([0])],
     lambda a: a[[0]], lambda a: strict.take(a, np.array([0]))],
)  # fmt: skip
def test_every_way_to_the_device_is_counted(send):
    a = device(2.0)
    with crossings() as counted:
        send(a)
    assert (counted.to_host, counted.to_device) == (0, 1)


def test_arithmetic_on_the_device_crosses_nowhere():
    a = device(1, 2, 3)
    with crossings() as counted:
        b = (a * 2.0 - 1 + np.float64(1.0)) ** 2 / a
        strict.exp(b, out=b)
        strict.copyto(a, b)
        strict.copyto(a, 0.0, where=b > 1)
        a[1:] = b[1:]
        a[0] = 7.0
        assert b.sum().shape == a.max().shape == a[0].shape == ()
        assert np.multiply(a, b).shape == (3,)
    assert (counted.to_host, counted.to_device, counted.hidden_copies, counted.waits) == (
        0,
        0,
        0,
        0,
    )
    assert a.get()[0] == 7.0


@pytest.mark.parametrize(
    "call",
    [
        lambda a: strict.add(a, a, where=a > 0),
        lambda a: strict.add(a, a, order="C"),
        lambda a: strict.sum(a, where=a > 0),
        lambda a: strict.sum(a, initial=0.0),
        lambda a: strict.take(a, a.astype("int64"), mode="clip"),
        lambda a: a.astype("float32", casting="unsafe"),
        lambda a: strict.matmul(a, a, casting="unsafe"),
        lambda a: strict.copyto(a, a, where=HOST > 0),
        lambda a: strict.add(a, a, a, out=a),
        lambda a: strict.add(a),
        lambda a: strict.argsort(a, kind="quicksort"),
        lambda a: bool(a),
        lambda a: list(a),
        lambda a: strict.asarray(["text"]),
        lambda a: strict.asarray([object()]),
        lambda a: strict.empty(3, "U3"),
        lambda a: a.astype(object),
    ],
)
def test_arguments_that_cupy_does_not_have(call):
    with pytest.raises((TypeError, ValueError)):
        call(device(0, 1, 2))


@pytest.mark.parametrize("name", ["errstate", "memmap", "nonsense", "spacing", "block", "str_"])
def test_names_that_are_not_in_the_module(name):
    with pytest.raises(AttributeError):
        getattr(strict, name)


def test_outputs_must_fit():
    a, b = strict.ones((4, 3)), strict.ones((3, 5))
    good, wide = strict.empty((4, 5)), strict.empty((4, 6))
    strict.matmul(a, b, out=good)
    for out in (wide, wide[:, :5], strict.empty((5, 4)).T, strict.empty((4, 5), "float32")):
        with pytest.raises((TypeError, ValueError)):
            strict.matmul(a, b, out=out)
    square = strict.ones((3, 3))
    with pytest.raises(ValueError, match="overlaps"):
        strict.matmul(square, square, out=square)
    with pytest.raises(ValueError, match="expected"):
        strict.sum(a, axis=0, out=strict.empty(4))
    with pytest.raises(TypeError, match="dtype"):
        strict.take(a, device(0, dtype="int64"), axis=0, out=strict.empty((1, 3), "float32"))
    with pytest.raises(ValueError, match="expected"):
        strict.take(a, device(0, dtype="int64"), axis=0, out=strict.empty((2, 3)))
    with pytest.raises(IndexError):
        strict.take(a, device(4, dtype="int64"), axis=0)
    with pytest.raises(TypeError):
        strict.add(a, a, out=strict.empty((4, 3), "int64"))
    with pytest.raises(ValueError, match="broadcast"):
        strict.add(a, a, out=strict.empty((1, 3)))
    strict.greater(a, 0.0, out=strict.empty((4, 3), "float32"))  # bool to float: same kind


def test_an_input_that_overlaps_the_output_is_copied_and_counted():
    a = device(1, 2, 3, 4)
    with crossings() as counted:
        strict.add(a, 1.0, out=a)
        strict.add(a[:2], a[2:], out=a[:2].view())
    assert counted.hidden_copies == 1


def test_new_memory_is_poisoned():
    assert np.isnan(strict.empty(3).get()).all()
    assert (strict.empty(3, "int64").get() != 0).all()


def test_types_stay_small():
    a = strict.ones(3, "float32")
    assert (a * 0.5).dtype == "float32"
    assert (a * np.float32(0.5)).dtype == "float32"
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert (a * np.float64(0.5)).dtype == "float64"  # so hyper-parameters are Python's floats


def kernel(formula, inputs="T x, T c", outputs="T y"):
    return strict.ElementwiseKernel(inputs, outputs, formula, "k")


def test_kernels_compute_their_formula():
    y = strict.ones((2, 3), "float32")
    x = strict.full((2, 3), 2.0, "float32")
    assert kernel("y += c * x")(x, 0.25, y) is y
    np.testing.assert_array_equal(y.get(), np.full((2, 3), 1.5, "float32"))
    assert kernel("y = c * x")(x, np.float64(0.25)).dtype == "float32"


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: kernel("y = x")(x, 1.0, y.astype("float64")),
        lambda x, y: kernel("y = x", "T x, float64 c")(x, x, y),
        lambda x, y: kernel("y = x")(x, 1.0, y[:2]),
        lambda x, y: kernel("y = x")(x.get(), 1.0, y),
        lambda x, y: kernel("y = x")(x, np.array(1.0), y),
        lambda x, y: kernel("y = x")(x, 1.0, 2.0),
        lambda x, y: kernel("y = x")(1.0, 1.0),
        lambda x, y: kernel("y = x")(x, y, 1.0, x),
        lambda x, y: kernel("y = x")(y[:3], 1.0, y[1:]),
        lambda x, y: kernel("y = x", "T i, T c"),
        lambda x, y: kernel("y = x", "T"),
        lambda x, y: strict.ElementwiseKernel("T x", "T y", "y = x", "no name"),
    ],
)
def test_kernels_refuse_what_cupy_refuses(call):
    with pytest.raises((TypeError, ValueError)):
        call(strict.ones(4, "float32"), strict.ones(4, "float32"))


@pytest.mark.parametrize(("axis", "keepdims"), [(None, False), (0, False), (1, False), (1, True)])
def test_reductions_are_those_of_numpy(axis, keepdims):
    total = strict.ReductionKernel(
        "T a, T b", "float64 y", "(double)a * (double)b", "a + b", "y = a", "0"
    )
    a = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    expected = np.sum(a.astype("float64") * 2.0, axis=axis, keepdims=keepdims)
    got = total(strict.asarray(a), 2.0, axis=axis, keepdims=keepdims)
    assert got.dtype == "float64"
    np.testing.assert_allclose(got.get(), expected, rtol=1e-14)
    with pytest.raises(ValueError, match="expected"):
        total(strict.asarray(a), 2.0, axis=axis, out=strict.empty((9,)))


# -- the stand-in beside the real CuPy, which needs no device for this -------------------------


@pytest.mark.cupy
@pytest.mark.parametrize("name", sorted(module.FUNCTIONS))
def test_functions_have_cupys_signature(cupy, name):
    theirs = inspect.signature(getattr(cupy, name)).parameters.values()
    ours = inspect.signature(module.FUNCTIONS[name]).parameters.values()
    assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs]


METHODS = [n for n, f in vars(StrictArray).items() if inspect.isfunction(f) and n[0] != "_"]


@pytest.mark.cupy
@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_have_cupys_signature(cupy, name):
    method = getattr(cupy.ndarray, name)
    text = (method.__doc__ or "").splitlines()[0].partition(".")[2].partition(" -> ")[0]
    arguments = ast.parse(f"def {text}: pass").body[0].args if text else None
    if arguments is None:
        theirs = list(inspect.signature(method).parameters)
    else:
        star = [arguments.vararg] if arguments.vararg else []
        theirs = [a.arg for a in [*arguments.args, *star, *arguments.kwonlyargs]]
    assert list(inspect.signature(vars(StrictArray)[name]).parameters) == theirs


@pytest.mark.cupy
def test_cupy_has_everything_that_the_stand_in_has(cupy):
    for name, value in vars(StrictArray).items():
        assert name[0] == "_" or hasattr(cupy.ndarray, name), f"ndarray.{name} for {value}"
    ufuncs = {n for n in dir(np) if isinstance(getattr(np, n), np.ufunc)}
    assert {n for n in ufuncs if not hasattr(cupy, n)} <= module.NOT_IN_CUPY
    for name in ("broadcast", "ElementwiseKernel", "ReductionKernel", "ndarray", "__version__"):
        assert hasattr(cupy, name), name
    for name in ("runtime.getDeviceCount", "runtime.driverGetVersion", "Device",
                 "runtime.runtimeGetVersion", "runtime.getDeviceProperties",
                 "get_current_stream"):  # fmt: skip
        found = cupy.cuda
        for part in name.split("."):
            found = getattr(found, part)


@pytest.mark.cupy
def test_cupy_refuses_it_too(cupy):
    """What of the refusals the real CuPy shows before it needs a device."""
    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(4096, 1000, None, 0), 0)
    a = cupy.ndarray((3,), "float64", memory)
    for refused in (
        lambda: np.asarray(a),
        lambda: cupy.ascontiguousarray(HOST),
        lambda: cupy.copyto(a, HOST),
        lambda: a.__setitem__(slice(None), HOST),
        lambda: cupy.take(a, a, mode="clip"),
        lambda: cupy.sum(a, where=a),
        lambda: cupy.argsort(a, kind="quicksort"),
        lambda: a.astype("float32", casting="unsafe"),
        lambda: hash(a),
    ):
        with pytest.raises((TypeError, ValueError)):
            refused()
    assert a[0].shape == ()
    assert [part.shape for part in a.reshape(3, 1)] == [(1,)] * 3
