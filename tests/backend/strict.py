"""A stand-in for CuPy that computes with NumPy and refuses what CuPy refuses.

`strict` is a module object with the part of CuPy's interface that this package may use, each
function with CuPy's own signature (a test compares them with an installed CuPy). Its arrays,
`StrictArray`, are deliberately no subclass of ``numpy.ndarray``: NumPy would convert those without
asking. What a device does and a host does not is kept:

- no arithmetic with host arrays, no implicit conversion to one, no ``where=``;
- an index or a reduction gives a 0-dimensional array, not a scalar;
- ``out=`` of a matrix product must be C-contiguous and of one dtype, because CuPy would copy;
- new memory is filled with NaN or nonsense, never with zeros by luck;
- every crossing between host and device is counted, and so is every hidden copy;
- work belongs to a stream. While a stream is recorded nothing is computed, and whatever would
  allocate, wait or read back is an error; what two streams of a recording do to the same memory
  without an event between them is a race, and an error too. A raw kernel is compiled for the
  processor (``cuda_on_host.py``) and gets what its parameters say, bit by bit.
"""

import math
import re
import types
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import cuda_on_host
import numpy as np
from cexpr import evaluate, execute
from numpy.lib.mixins import NDArrayOperatorsMixin

KINDS = "biufc"
"""Kinds of dtype that CuPy stores."""

NOT_IN_CUPY = {"isnat", "matvec", "spacing", "vecdot", "vecmat"}
"""NumPy's ufuncs that CuPy 14 lacks (a test asks an installed CuPy)."""


@dataclass
class Crossings:
    """What was moved behind the back of the arithmetic."""

    to_host: int = 0
    to_device: int = 0
    hidden_copies: int = 0
    waits: int = 0
    allocations: int = 0


_METER = Crossings()


@contextmanager
def crossings():
    """Count what happens inside; the counts are complete when the block is left."""
    before, counted = astuple(_METER), Crossings()
    try:
        yield counted
    finally:
        after = astuple(_METER)
        counted.__init__(*(b - a for a, b in zip(before, after, strict=True)))


# -- streams: who does what, and after what ----------------------------------------------------


class StrictError(RuntimeError):
    """What CUDA refuses, or what it would do and this package must not."""


@dataclass
class Operation:
    """Work that was asked for: what it touches (ranges of addresses), and what comes before it."""

    name: str
    stream: int
    number: int
    clock: dict[int, int]
    reads: list[tuple[int, int]]
    writes: list[tuple[int, int]]
    run: Callable[[], None]

    def follows(self, other):
        return self.clock.get(other.stream, 0) >= other.number

    def conflicts(self, other):
        return any(_touch(self.writes, ranges) for ranges in (other.reads, other.writes)) or _touch(
            self.reads, other.writes
        )


def _touch(some, others):
    return any(a < d and c < b for a, b in some for c, d in others)


class Graph:
    """Recorded work, which can be repeated."""

    launches = 0

    def __init__(self):
        self.operations: list[Operation] = []

    def check(self):
        """Raise if two streams touch the same memory without an event between them."""
        for k, later in enumerate(self.operations):
            for earlier in self.operations[:k]:
                if not later.follows(earlier) and later.conflicts(earlier):
                    raise StrictError(f"race between {earlier.name} and {later.name}")

    def launch(self, stream=None):
        if _CURRENT[-1].graph is not None:
            raise StrictError("a graph is launched while a stream is recorded")
        Graph.launches += 1
        for operation in self.operations:
            operation.run()


class Stream:
    """A queue of work. Outside of a recording, work is done at once."""

    _pointers = iter(range(7, 10**9))

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else next(self._pointers)
        self.non_blocking = non_blocking
        self.graph: Graph | None = None
        self.origin = False
        self.clock: dict[int, int] = {}

    def __enter__(self):
        _CURRENT.append(self)
        return self

    def __exit__(self, *args):
        assert _CURRENT.pop() is self

    def synchronize(self):
        _no_recording("a wait")
        _METER.waits += 1

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        if event.graph is not None:
            if self.ptr == 0:
                raise StrictError("the default stream waits for what is being recorded")
            if self.graph not in (None, event.graph):
                raise StrictError("two recordings meet")
            self.graph = event.graph
            _RECORDING.setdefault(id(event.graph), []).append(self)
        elif self.graph is not None:
            raise StrictError("a recorded stream waits for what is not part of the recording")
        for stream, number in event.clock.items():
            self.clock[stream] = max(self.clock.get(stream, 0), number)

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise StrictError("cannot capture on the default (legacy) stream")
        if not self.non_blocking or self.graph is not None:
            raise StrictError("begin_capture on a stream that blocks or is recorded already")
        self.graph, self.origin = Graph(), True
        _RECORDING[id(self.graph)] = [self]

    def end_capture(self):
        if self.graph is None or not self.origin:
            raise StrictError("end_capture without begin_capture")
        graph, streams = self.graph, _RECORDING.pop(id(self.graph))
        for stream in streams:
            stream.graph, stream.origin = None, False
        for stream in streams:
            if any(self.clock.get(s, 0) < n for s, n in stream.clock.items()):
                raise StrictError("capturing stream has unjoined work")
        graph.check()
        return graph

    def is_capturing(self):
        return self.graph is not None


class Event:
    """A point in a stream's work."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.clock: dict[int, int] = {}
        self.graph: Graph | None = None

    def record(self, stream=None):
        stream = stream or _CURRENT[-1]
        self.clock, self.graph = dict(stream.clock), stream.graph

    def synchronize(self):
        _no_recording("a wait")
        _METER.waits += 1


Stream.null = Stream(null=True)
_CURRENT: list[Stream] = [Stream.null]
_RECORDING: dict[int, list[Stream]] = {}
_ALLOCATOR: list[Any] = []


def submit(name, reads, writes, run):
    """Do work on the current stream, or record it."""
    stream = _CURRENT[-1]
    if _RECORDING and stream.graph is None:
        raise StrictError(f"{name} on a stream that is not part of the recording")
    number = stream.clock[stream.ptr] = stream.clock.get(stream.ptr, 0) + 1
    operation = Operation(name, stream.ptr, number, dict(stream.clock), reads, writes, run)
    if stream.graph is None:
        run()
    else:
        stream.graph.operations.append(operation)


def _no_recording(what):
    if _RECORDING:
        raise StrictError(f"{what} while a stream is recorded")


def allocate(size):
    """Ask for device memory."""
    if _ALLOCATOR:
        _ALLOCATOR[-1](size)
    _no_recording("an allocation")
    _METER.allocations += 1


@contextmanager
def using_allocator(allocator=None):
    """Let a function allocate, as CuPy's of that name."""
    _ALLOCATOR.append(allocator)
    try:
        yield
    finally:
        _ALLOCATOR.pop()


def _new(host):
    """Return new memory on the device."""
    allocate(host.nbytes)
    key = id(host)
    _MEMORY[key] = weakref.ref(host, lambda _: _MEMORY.pop(key, None))
    return StrictArray(host)


_MEMORY: dict[int, Any] = {}


def is_memory(first, last):
    """Return whether a range of addresses lies in one array's memory."""
    spans = (extent(host) for ref in list(_MEMORY.values()) if (host := ref()) is not None)
    return any(a <= first and last <= b for a, b in spans)


def extent(host):
    """Return the range of addresses that a host array covers."""
    first = last = host.ctypes.data
    for n, stride in zip(host.shape, host.strides, strict=True):
        first += min(0, (n - 1) * stride)
        last += max(0, (n - 1) * stride)
    return (first, last + host.itemsize)


def _extent(*arrays):
    return [extent(a._host) for a in arrays if isinstance(a, StrictArray) and a.size]


# -- the array ---------------------------------------------------------------------------------


class StrictArray(NDArrayOperatorsMixin):
    """An array on a device that is not there."""

    __slots__ = ("_host",)
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, host):
        self._host = host

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: StrictArray(self._host.T))
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data))

    # -- to the host, always on request and always counted

    def get(self, stream=None, order="C", out=None, blocking=True):
        _no_recording("a copy to the host")
        _METER.to_host += 1
        if out is not None:
            out[...] = self._host
            return out
        return np.array(self._host, order=order)

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        if self.size != 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return bool(self.get())

    def __repr__(self):
        return f"strict {self.get()!r}"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or not hasattr(strict, ufunc.__name__):
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return getattr(strict, ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        if func.__name__ not in FUNCTIONS:
            return NotImplemented
        return FUNCTIONS[func.__name__](*args, **kwargs)

    # -- container

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if self.ndim < 2:
            # CuPy allows it for one dimension: a launch, and mostly a read, for each element.
            raise TypeError(f"iteration over the elements of a {self.ndim}-d device array")
        return (self[k] for k in range(self.shape[0]))

    def __getitem__(self, key):
        key, advanced = _key(key)
        if advanced:
            return _new(np.array(self._host[key]))
        # With an Ellipsis even a single element comes as a view, as on a device.
        return StrictArray(self._host[key if Ellipsis in key else (*key, Ellipsis)])

    def __setitem__(self, key, value):
        key, _ = _key(key)
        host = value._host if isinstance(value, StrictArray) else _fill_value(value, self.dtype)

        def assign():
            self._host[key] = host.astype(self.dtype)

        submit("setitem", _extent(value), _extent(self), assign)

    # -- methods, with CuPy's signatures

    def fill(self, value):
        host = _fill_value(value, self.dtype)
        submit("fill", _extent(value), _extent(self), lambda: self._host.fill(host[()]))

    def reshape(self, *shape, order="C", copy=None):
        return StrictArray(self._host.reshape(*shape, order=order))

    def transpose(self, *axes):
        return StrictArray(self._host.transpose(*axes))

    def ravel(self, order="C"):
        return StrictArray(self._host.ravel(order))

    def view(self, dtype=None, type=None):
        return StrictArray(self._host.view(dtype) if dtype is not None else self._host.view())

    def copy(self, order="C"):
        return _new(self._host.copy(order))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        dtype = _dtype(dtype)
        if dtype == self.dtype and not copy:
            return self
        with np.errstate(all="ignore"):
            return _new(self._host.astype(dtype, order))

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return sum_(self, axis, dtype, out, keepdims)

    def max(self, axis=None, out=None, keepdims=False):
        return _reduce(np.max, self, axis, out, keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return _reduce(np.min, self, axis, out, keepdims)

    def all(self, axis=None, out=None, keepdims=False):
        return _reduce(np.all, self, axis, out, keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return _reduce(np.any, self, axis, out, keepdims)

    def argsort(self, axis=-1, kind=None):
        if kind not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        return _new(self._host.argsort(axis=axis, kind="stable"))

    def take(self, indices, axis=None, out=None):
        return take(self, indices, axis, out)


# `backend_of` tells CuPy's arrays by the module of their type, and must take these for such.
StrictArray.__module__ = "cupy.strict"


def _key(key):
    """Return an index as a tuple for NumPy, and whether it makes a copy."""
    advanced = False
    parts = []
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, StrictArray):
            advanced = True
            _METER.to_host += part.dtype.kind == "b"  # the result's shape must be known
            part = part._host
        elif isinstance(part, (list, np.ndarray)):
            advanced = True
            _METER.to_device += 1
        parts.append(part)
    return tuple(parts), advanced


def _fill_value(value, dtype):
    if isinstance(value, StrictArray):
        if value.ndim:
            raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
        return value._host
    value = np.asarray(value, dtype)
    if value.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    return value


def _dtype(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind not in KINDS:
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def _operand(value):
    """Return an operand for NumPy if CuPy would take it."""
    if isinstance(value, StrictArray):
        return value._host
    if type(value) in (bool, int, float, complex):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _array(value, argument="a"):
    if not isinstance(value, StrictArray):
        raise TypeError(f"Argument {argument!r} has incorrect type (got {type(value).__name__})")
    return value._host


def _output(out, shape, what):
    host = _array(out, "out")
    if host.shape != tuple(shape):
        raise ValueError(f"{what}: out has shape {host.shape}; expected {tuple(shape)}")
    return host


def _overlap(a, b):
    """Whether two arrays share memory, the same array object apart."""
    return a is not b and np.may_share_memory(a._host, b._host)


def _reduce(function, a, axis, out, keepdims, **kwargs):
    def reduce():
        with np.errstate(all="ignore"):
            return np.asarray(function(_array(a), axis=axis, keepdims=keepdims, **kwargs))

    if out is None:
        return _new(reduce())
    host = _output(out, reduce().shape, function.__name__)

    def assign():
        host[...] = reduce().astype(out.dtype)

    submit(function.__name__, _extent(a), _extent(out), assign)
    return out


# -- ufuncs ------------------------------------------------------------------------------------


class StrictUfunc:
    """A ufunc of NumPy with the arguments that CuPy's have."""

    def __init__(self, ufunc):
        self.ufunc = ufunc

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        ufunc = self.ufunc
        if not ufunc.nin <= len(args) <= ufunc.nargs:
            raise TypeError(f"Wrong number of arguments for {ufunc.__name__!r}")
        inputs, outputs = args[: ufunc.nin], args[ufunc.nin :]
        if out is not None:
            if outputs:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            outputs = out if isinstance(out, tuple) else (out,)
        host = [_operand(value) for value in inputs]
        kwargs = {"casting": casting} | ({} if dtype is None else {"dtype": _dtype(dtype)})
        if outputs:
            kwargs["out"] = tuple(_array(o, "out") for o in outputs)
            for value in inputs:
                if isinstance(value, StrictArray):
                    _METER.hidden_copies += any(_overlap(value, o) for o in outputs)
        if outputs:

            def compute():
                with np.errstate(all="ignore"):
                    ufunc(*host, **kwargs)

            submit(ufunc.__name__, _extent(*inputs), _extent(*outputs), compute)
            return outputs[0] if len(outputs) == 1 else outputs
        with np.errstate(all="ignore"):
            result = ufunc(*host, **kwargs)
        if ufunc.nout > 1:
            return tuple(_new(np.asarray(part)) for part in result)
        return _new(np.asarray(result))


# -- functions, with CuPy's signatures -----------------------------------------------------------


def empty(shape, dtype=float, order="C"):
    array = np.empty(shape, _dtype(dtype), order)
    array.fill(np.nan if array.dtype.kind in "fc" else array.dtype.type(1))
    if array.dtype.kind in "iu":
        array.fill(np.iinfo(array.dtype).max // 3)
    return _new(array)


def zeros(shape, dtype=float, order="C"):
    return _new(np.zeros(shape, _dtype(dtype), order))


def ones(shape, dtype=float, order="C"):
    return _new(np.ones(shape, _dtype(dtype), order))


def full(shape, fill_value, dtype=None, order="C"):
    dtype = np.asarray(_operand(fill_value)).dtype if dtype is None else _dtype(dtype)
    return _new(np.full(shape, _fill_value(fill_value, dtype), dtype, order))


def arange(start, stop=None, step=1, dtype=None):
    bounds = (0, start) if stop is None else (start, stop)
    return _new(np.arange(*bounds, step, dtype=None if dtype is None else _dtype(dtype)))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    if not isinstance(a, StrictArray):
        host = np.array(a, None if dtype is None else _dtype(dtype), order=order or "K")
        _dtype(host.dtype)
        _METER.to_device += host.ndim > 0  # CuPy writes a scalar by a launch, not by a copy
        return _new(host)
    dtype = a.dtype if dtype is None else _dtype(dtype)
    host = np.asarray(a._host, dtype, order or "K")
    if copy:
        return _new(host.copy(order or "K"))
    return a if host is a._host else _new(host)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if subok or ndmin:
        raise NotImplementedError
    return asarray(obj, dtype, order, copy=copy)


def ascontiguousarray(a, dtype=None):
    _array(a)
    return asarray(a, dtype, "C")


def get_default_memory_pool():
    """The benchmark asks it how much memory was taken; the stand-in does not keep count."""
    return types.SimpleNamespace(total_bytes=lambda: 0)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, StrictArray):
        return a.get(stream, order, out, blocking)
    return np.asarray(a, order=order)


def copyto(dst, src, casting="same_kind", where=None):
    target = _array(dst, "dst")
    if isinstance(src, np.ndarray) and src.size != 1:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    value = src.item() if isinstance(src, np.ndarray) else _operand(src)
    if where is not None and (not isinstance(where, StrictArray) or where.dtype != bool):
        raise TypeError("where must be a device array of bool")

    def copy():
        with np.errstate(all="ignore"):
            np.copyto(target, value, casting, True if where is None else where._host)

    submit("copyto", _extent(src, where), _extent(dst), copy)


def take(a, indices, axis=None, out=None):
    host = _array(a)
    if isinstance(indices, StrictArray):
        indices = indices._host
    elif not np.isscalar(indices):
        _METER.to_device += 1
        indices = np.asarray(indices, int)
    # CuPy wraps an index that is out of range; that would hide a fault, so here it raises.
    result = np.take(host, indices, axis)
    if out is None:
        return _new(np.asarray(result))
    if out.dtype != a.dtype:
        raise TypeError("Output dtype mismatch")
    target = _output(out, result.shape, "take")

    def copy():
        target[...] = np.take(host, indices, axis)

    submit("take", _extent(a), _extent(out), copy)
    return out


def take_along_axis(a, indices, axis):
    return _new(np.take_along_axis(_array(a), _array(indices, "indices"), axis))


def where(condition, x=None, y=None):
    return _new(np.where(_array(condition, "condition"), _operand(x), _operand(y)))


def matmul(
    *args, axes=None, axis=None, keepdims=False, casting="same_kind", dtype=None, signature=None,
    order="K", out=None
):  # fmt: skip
    if (axes, axis, keepdims, casting, dtype, signature, order) != (
        None, None, False, "same_kind", None, None, "K"
    ):  # fmt: skip
        raise TypeError("matmul: use no argument but out")
    _no_recording("calling cuBLAS API, which is currently unsupported during stream capture,")
    a, b = args
    a_host, b_host = _array(a, "x1"), _array(b, "x2")
    if out is None:
        return _new(np.asarray(np.matmul(a_host, b_host)))
    if out.dtype != a.dtype or out.dtype != b.dtype:
        raise TypeError(f"matmul: dtypes {a.dtype}, {b.dtype}, {out.dtype}; CuPy would copy")
    if not out.flags.c_contiguous:
        raise ValueError("matmul: out is not C-contiguous; CuPy would compute elsewhere and copy")
    if _overlap(a, out) or _overlap(b, out) or a is out or b is out:
        raise ValueError("matmul: out overlaps an operand; CuPy would compute elsewhere and copy")
    np.matmul(a_host, b_host, out=_output(out, (*a.shape[:-1], *b.shape[-1:]), "matmul"))
    return out


def sum_(a, axis=None, dtype=None, out=None, keepdims=False):
    return _reduce(np.sum, a, axis, out, keepdims, dtype=dtype)


def vdot(a, b):
    return _new(np.asarray(np.vdot(_array(a), _array(b, "b"))))


def argsort(a, axis=-1, kind=None):
    _array(a)
    return a.argsort(axis, kind)


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    result = np.concatenate([_array(part) for part in tup], axis, dtype=dtype, casting=casting)
    if out is None:
        return _new(result)
    _no_recording("concatenate")
    _output(out, result.shape, "concatenate")[...] = result
    return out


class broadcast:
    """The shape of what is broadcast together; CuPy's has no iterator."""

    def __init__(self, *arrays):
        self.shape = np.broadcast_shapes(*(_array(a).shape for a in arrays))
        self.nd, self.size = len(self.shape), math.prod(self.shape)


# -- kernels -----------------------------------------------------------------------------------


def _parameters(text):
    """Return (type, name) of each parameter in CuPy's notation."""
    parameters = [tuple(part.split()) for part in text.split(",")] if text.strip() else []
    for parameter in parameters:
        if len(parameter) != 2:
            raise ValueError(f"Syntax error: {' '.join(parameter)}")
        if parameter[1] == "i":
            raise ValueError("Can not use 'i' as a parameter name")
    return parameters


class _Kernel:
    """What both kinds of kernel share: parameters, types, broadcasting."""

    called: ClassVar[set] = set()
    """Names of the kernels that have run."""

    def __init__(self, in_params, out_params, name):
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f'Invalid kernel name: "{name}"')
        self.inputs, self.outputs = _parameters(in_params), _parameters(out_params)
        self.name = name

    def _prepare(self, args):
        n_in, n_all = len(self.inputs), len(self.inputs) + len(self.outputs)
        if len(args) not in (n_in, n_all):
            raise TypeError(f"{self.name}: {len(args)} arguments; expected {n_in} or {n_all}")
        for value in args:
            _operand(value)
        types = {}
        for (ctype, name), value in [
            *zip(self.outputs, args[n_in:], strict=False),
            *zip(self.inputs, args[:n_in], strict=True),
        ]:
            if not isinstance(value, StrictArray):
                if (ctype, name) in self.outputs:
                    raise TypeError("Output arguments type must be cupy.ndarray")
                continue
            expected = types.setdefault(ctype, value.dtype) if len(ctype) == 1 else np.dtype(ctype)
            if value.dtype != expected:
                raise TypeError(f"Type is mismatched. {name} {value.dtype} {expected}")
        return types, args[:n_in], args[n_in:]

    def _cast_inputs(self, inputs, types, shape):
        """Return the inputs by name: arrays broadcast, scalars cast to their parameter's type."""
        named = {}
        for (ctype, name), value in zip(self.inputs, inputs, strict=True):
            if isinstance(value, StrictArray):
                named[name] = np.broadcast_to(value._host, shape)
            else:
                named[name] = np.asarray(value, _resolve(ctype, types))[()]
        return named


def _resolve(ctype, types):
    return types[ctype] if len(ctype) == 1 else np.dtype(ctype)


class ElementwiseKernel(_Kernel):
    """Runs the formula with NumPy."""

    def __init__(
        self, in_params, out_params, operation, name="kernel", reduce_dims=True, preamble="",
        no_return=False, return_tuple=False
    ):  # fmt: skip
        super().__init__(in_params, out_params, name)
        self.operation = operation

    def __call__(self, *args):
        types, inputs, outputs = self._prepare(args)
        arrays = [value for value in args if isinstance(value, StrictArray)]
        if not arrays:
            raise ValueError("Loop size is undecided.")
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        outputs = outputs or [_new(np.empty(shape, _resolve(c, types)))
                              for c, _ in self.outputs]  # fmt: skip
        for out in outputs:
            _output(out, shape, self.name)
            for value in [*inputs, *outputs]:
                if isinstance(value, StrictArray) and _overlap(value, out):
                    raise ValueError(f"{self.name}: an argument overlaps an output: a race")
        named_outputs = {
            name: out._host for (_, name), out in zip(self.outputs, outputs, strict=True)
        }
        named_inputs = self._cast_inputs(inputs, types, shape)
        submit(
            self.name, _extent(*inputs, *outputs), _extent(*outputs),
            lambda: execute(self.operation, named_inputs, named_outputs, types),
        )  # fmt: skip
        self.called.add(self.name)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class ReductionKernel(_Kernel):
    """Runs map, reduction (as a tree, like a block of threads) and final map with NumPy."""

    def __init__(
        self, in_params, out_params, map_expr, reduce_expr, post_map_expr, identity,
        name="reduce_kernel", reduce_type=None, reduce_dims=True, preamble="", options=()
    ):  # fmt: skip
        super().__init__(in_params, out_params, name)
        self.map_expr, self.reduce_expr, self.post = map_expr, reduce_expr, post_map_expr
        self.identity, self.reduce_type = identity, reduce_type or self.outputs[0][0]

    def __call__(self, *args, out=None, axis=None, keepdims=False, stream=None):
        _no_recording("a reduction, which may take memory,")
        types, inputs, outputs = self._prepare(args if out is None else (*args, out))
        shape = np.broadcast_shapes(*(a.shape for a in inputs if isinstance(a, StrictArray)))
        reduce_type = _resolve(self.reduce_type, types)
        mapped = evaluate(self.map_expr, self._cast_inputs(inputs, types, shape), types)
        total = np.broadcast_to(mapped, shape).astype(reduce_type)
        axes = range(len(shape)) if axis is None else np.atleast_1d(axis) % len(shape)
        kept = [n for k, n in enumerate(shape) if k not in axes]
        total = np.moveaxis(total, list(axes), range(len(axes))).reshape(-1, *kept)
        identity = reduce_type.type(evaluate(self.identity, {}))
        while len(total) != 1:
            if len(total) % 2:
                total = np.concatenate([total, np.full((1, *kept), identity)])
            half = len(total) // 2
            total = evaluate(self.reduce_expr, {"a": total[:half], "b": total[half:]}, types)
        if keepdims:
            kept = [1 if k in axes else n for k, n in enumerate(shape)]
        outputs = outputs or [_new(np.empty(kept, _resolve(c, types)))
                              for c, _ in self.outputs]  # fmt: skip
        named = {
            name: _output(out, kept, self.name)
            for (_, name), out in zip(self.outputs, outputs, strict=True)
        }
        execute(self.post, {"a": total.reshape(kept)}, named, types)
        self.called.add(self.name)
        return outputs[0]


class RawKernel:
    """Runs a kernel's own source; compiled at the first launch, as CuPy does."""

    backwards: ClassVar[bool] = False
    """Whether the blocks of a grid run in the reverse order; no result may depend on it."""

    def __init__(self, code, name, options=(), backend="nvrtc", **kwargs):
        if not isinstance(options, tuple) or kwargs:
            raise TypeError("RawKernel: options is a tuple; use no other argument")
        self.code, self.name = code, name
        (self.real,) = (option.removeprefix("-DREAL=") for option in options)

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert isinstance(grid, tuple) and isinstance(block, tuple)  # noqa: PT018
        if not (1 <= math.prod(block) <= 1024 and grid[0] >= 1 and 1 <= (*grid, 1)[1] <= 65535):
            raise StrictError(f"{self.name}: no launch of grid {grid} and block {block}")
        module = cuda_on_host.compiled(self.code, self.real)
        parameters = module.parameters[self.name]
        if len(args) != len(parameters):
            raise StrictError(f"{self.name}: {len(args)} arguments for {len(parameters)}")
        given, arrays = [], []
        for parameter, value in zip(parameters, args, strict=True):
            what = f"{self.name}: {parameter.name}"
            if isinstance(value, StrictArray):
                if not parameter.pointer or value.dtype != parameter.dtype:
                    raise StrictError(f"{what} is {parameter}, not an array of {value.dtype}")
                if not value.flags.c_contiguous:
                    raise StrictError(f"{what} is not C-contiguous")
                arrays.append((parameter, value))
                given.append(np.uint64(value.data.ptr))
            elif not isinstance(value, np.generic) or value.dtype != (
                np.dtype("uint64") if parameter.pointer else parameter.dtype
            ):
                raise StrictError(f"{what} is {parameter}, not {value!r}")
            elif parameter.pointer and value != 0:
                raise StrictError(f"{what} is a number")
            else:
                given.append(value)
        backwards = self.backwards
        submit(
            self.name, _extent(*(a for _, a in arrays)),
            _extent(*(a for p, a in arrays if not p.const)),
            lambda: module.launch(self.name, grid, block, given, backwards),
        )  # fmt: skip
        _Kernel.called.add(self.name)


# -- the module --------------------------------------------------------------------------------

FUNCTIONS = {
    "empty": empty,
    "zeros": zeros,
    "ones": ones,
    "full": full,
    "arange": arange,
    "asarray": asarray,
    "array": array,
    "ascontiguousarray": ascontiguousarray,
    "asnumpy": asnumpy,
    "get_default_memory_pool": get_default_memory_pool,
    "copyto": copyto,
    "take": take,
    "take_along_axis": take_along_axis,
    "where": where,
    "matmul": matmul,
    "sum": sum_,
    "vdot": vdot,
    "argsort": argsort,
    "concatenate": concatenate,
}
"""Every function that this package may use, by its name in CuPy."""


class _Runtime:
    """One device that is not there."""

    def getDeviceCount(self):
        return 1

    def driverGetVersion(self):
        return 12090

    runtimeGetVersion = driverGetVersion

    def getDeviceProperties(self, number):
        return {"name": b"strict", "major": 9, "minor": 0, "totalGlobalMem": 2**30}

    def deviceSynchronize(self):
        _no_recording("a wait")


class _StrictCupy(types.ModuleType):
    """The module object; a name it does not have is a name not to be used."""

    __version__ = "14.0 (strict)"
    ndarray = StrictArray
    broadcast = broadcast
    ElementwiseKernel = ElementwiseKernel
    ReductionKernel = ReductionKernel
    RawKernel = RawKernel
    cuda = types.SimpleNamespace(
        runtime=_Runtime(),
        Device=lambda: types.SimpleNamespace(id=0),
        Stream=Stream,
        Event=Event,
        get_current_stream=lambda device_id=-1: _CURRENT[-1],
        using_allocator=using_allocator,
    )

    def __getattr__(self, name):
        if name in FUNCTIONS:
            return FUNCTIONS[name]
        found = getattr(np, name, None)
        if isinstance(found, np.ufunc) and name not in NOT_IN_CUPY:
            return StrictUfunc(found)
        if isinstance(found, type) and issubclass(found, (np.number, np.bool_)):
            return found
        raise AttributeError(
            f"strict has no {name!r}: if CuPy has it, add it to FUNCTIONS with CuPy's signature"
        )


strict = _StrictCupy("cupy")
