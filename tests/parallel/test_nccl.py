"""The order of calls to NCCL, with a stand-in for CuPy: nothing here has more than one GPU."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from parallel_cases import in_ranks

from ddnmf_np.backends import select as backend
from ddnmf_np.backends.select import Execution, load_nccl, why_not_cupy
from ddnmf_np.config import configure
from ddnmf_np.errors import BackendError
from ddnmf_np.parallel.communicator import SerialCommunicator
from ddnmf_np.parallel.launch import get_ops_together
from ddnmf_np.parallel.nccl import NcclCommunicator

IDENT = bytes([3, 255, 0]) + bytes(125)
"""An id of NCCL as CuPy returns it: 128 bytes."""


class DeviceArray:
    """Stand-in for a device array, which NumPy's functions do not accept."""

    __module__ = "cupy"

    def __init__(self, values):
        self.values = np.asarray(values)
        self.dtype, self.size = self.values.dtype, self.values.size
        self.data = type("Memory", (), {"ptr": id(self)})

    def __setitem__(self, key, other):
        self.values[key] = other.values


class FakeCupy:
    """Log of the calls to streams and NCCL, in order."""

    def __init__(self, devices=2):
        self.log = log = []
        names = iter("abcdefgh")

        class Event:
            def __init__(self, disable_timing):
                assert disable_timing
                self.name = next(names)

            def record(self, stream):
                log.append(f"{stream.name}: record {self.name}")

        class Stream:
            name, ptr = "side", 77

            def __init__(self, non_blocking=True):
                assert non_blocking

            def wait_event(self, event):
                log.append(f"{self.name}: wait {event.name}")

        current = Stream()
        current.name = "current"

        class Communicator:
            def __init__(self, ndev: int, commId: bytes, rank: int):
                if type(commId) is not bytes:
                    raise TypeError(f"expected bytes, got {type(commId).__name__}")
                if len(commId) != len(IDENT):
                    raise ValueError(f"commId length {len(commId)} != {len(IDENT)}.")
                log.append(f"connect {rank} of {ndev} by {commId[:3]}")

            def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
                assert sendbuf == recvbuf
                log.append(f"sum of {count} {datatype} on {stream}: {op}")

        class Nccl:
            NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = "float", "double", "plus"
            NcclCommunicator = Communicator
            get_version = staticmethod(lambda: 22000)
            get_unique_id = staticmethod(lambda: IDENT)

        class Runtime:
            getDeviceCount = staticmethod(lambda: devices)

        class Device:
            def __init__(self, number):
                self.number = number

            def use(self):
                log.append(f"device {self.number}")

        class Cuda:
            nccl, runtime = Nccl, Runtime
            get_current_stream = staticmethod(lambda: current)

        Cuda.Event, Cuda.Stream, Cuda.Device = Event, Stream, Device
        self.cuda = Cuda

    @staticmethod
    def asnumpy(array):
        return array.values.copy()

    @staticmethod
    def asarray(values):
        return DeviceArray(values)


def test_sum_comes_after_the_gradient_and_before_the_update():
    def work(host):
        xp = FakeCupy()
        ranks = NcclCommunicator(xp, xp.cuda.nccl, host)
        request = ranks.start_sum(DeviceArray(np.ones(5, np.float32)), 0)
        request.poll()
        request.wait()
        return xp.log

    for rank, log in enumerate(in_ranks(2, work)):
        assert log == [
            f"connect {rank} of 2 by {IDENT[:3]}",  # the same id
            "current: record a",
            "side: wait a",
            "sum of 5 float on 77: plus",
            "side: record b",
            "current: wait b",
        ]


def test_what_is_on_the_host_goes_the_hosts_way():
    def work(host):
        ranks = NcclCommunicator(FakeCupy(), FakeCupy().cuda.nccl, host)
        array, on_device = np.full(3, 1.0 + host.rank), DeviceArray(np.full(2, float(host.rank)))
        ranks.start_sum(array, 2).wait()
        ranks.broadcast(on_device)
        return array.tolist(), on_device.values.tolist(), ranks.broadcast_object(host.rank)

    assert in_ranks(2, work) == [([3.0] * 3, [0.0, 0.0], 0)] * 2


def rank_of(size, rank):
    host = SerialCommunicator()
    host.rank = host.local_rank = rank
    host.size = host.local_size = size
    return host


@pytest.fixture
def xp(monkeypatch):
    """Two GPUs without any memory to allocate."""
    xp = FakeCupy()

    def ones(*shape_and_dtype):
        xp.log.append("allocate")
        raise MemoryError("out of memory")

    xp.__version__, xp.ElementwiseKernel, xp.ones = "14.2.0", None, ones
    monkeypatch.setattr(backend, "import_module", lambda name: xp)
    return xp


@pytest.mark.parametrize("name", ["cupy", "auto"])
def test_a_rank_takes_its_gpu_before_it_puts_anything_on_one(xp, name):
    """Otherwise every rank would have a context on the first GPU too."""
    if name == "cupy":
        with pytest.raises(BackendError, match="out of memory"):
            get_ops_together(configure(backend=name), rank_of(2, 1))
    else:
        ops, _ = get_ops_together(configure(backend=name), rank_of(2, 1))
        assert ops.on_host
    assert xp.log == ["device 1", "allocate"]


def test_one_process_and_ranks_on_the_host_take_no_gpu(xp):
    with pytest.raises(BackendError):
        get_ops_together(configure(backend="cupy"), SerialCommunicator())
    get_ops_together(configure(backend="numpy"), rank_of(2, 1))
    assert xp.log == ["allocate"]


@pytest.mark.parametrize("rank", [0, 2])
def test_more_ranks_than_gpus_are_refused(xp, rank, monkeypatch):
    on_gpu = SimpleNamespace(name="cupy", on_host=False, xp=xp)
    monkeypatch.setattr(Execution, "get_ops", lambda self: on_gpu)
    with pytest.raises(BackendError, match=r"3 ranks on this machine, but it has 2 CUDA device"):
        get_ops_together(configure(backend="cupy"), rank_of(3, rank))


# -- the stand-in against CuPy's own binding, which needs NCCL's library but no device -------------


@pytest.fixture
def nccl():
    try:
        return load_nccl()
    except (ImportError, BackendError) as error:
        pytest.skip(f"CuPy's binding of NCCL cannot be loaded: {error}")


def parameters(function, typed=False):
    """Return the parameters of a method of the stand-in, as Cython would write them."""
    _, *found = inspect.signature(function).parameters.values()
    return ", ".join(f"{p.annotation.__name__} {p.name}" if typed else p.name for p in found)


@pytest.mark.cupy
def test_the_stand_in_is_like_the_real_binding(nccl):
    real, fake = nccl.NcclCommunicator, FakeCupy().cuda.nccl.NcclCommunicator
    first = real.__doc__.splitlines()[0]  # Cython puts the signature there
    assert first.startswith(f"NcclCommunicator({parameters(fake.__init__, typed=True)}, ")
    first = real.allReduce.__doc__.splitlines()[0]
    names = [parameter.split()[-1] for parameter in first.partition("(")[2].rstrip(")").split(", ")]
    assert names == ["self", *parameters(fake.allReduce).split(", ")]
    ident = nccl.get_unique_id()
    assert (type(ident), len(ident)) == (bytes, len(IDENT))


@pytest.mark.cupy
def test_the_real_binding_takes_the_id_that_it_is_given(nccl):
    if why_not_cupy() is None:
        assert NcclCommunicator(FakeCupy(), nccl, SerialCommunicator()).size == 1
        return
    with pytest.raises(nccl.NcclError, match="CUDA"):  # no device; the arguments were in order
        NcclCommunicator(FakeCupy(), nccl, SerialCommunicator())
