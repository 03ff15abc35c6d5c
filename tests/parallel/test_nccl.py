"""The order of calls to NCCL, with a stand-in for CuPy: nothing here has more than one GPU."""

import numpy as np
import pytest
from parallel_cases import in_ranks

from ddnmf_np.errors import BackendError
from ddnmf_np.parallel.nccl import NcclCommunicator, take_device


class DeviceArray:
    """An array of a device: NumPy's functions do not take it for one of theirs."""

    __module__ = "cupy"

    def __init__(self, values):
        self.values = np.asarray(values)
        self.dtype, self.size = self.values.dtype, self.values.size
        self.data = type("Memory", (), {"ptr": id(self)})

    def __setitem__(self, key, other):
        self.values[key] = other.values


class FakeCupy:
    """Writes down, in order, what streams and NCCL are asked for."""

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
            def __init__(self, size, ident, rank):
                log.append(f"connect {rank} of {size} by {ident}")

            def allReduce(self, send, receive, count, kind, operation, stream):
                assert send == receive
                log.append(f"sum of {count} {kind} on {stream}: {operation}")

        class Nccl:
            NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = "float", "double", "plus"
            NcclCommunicator = Communicator
            get_version = staticmethod(lambda: 22000)
            get_unique_id = staticmethod(lambda: (3, -1, 4))

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
            f"connect {rank} of 2 by (3, -1, 4)",  # the same id
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


def test_each_rank_takes_its_own_gpu():
    xp = FakeCupy()
    take_device(xp, 1, 2)
    assert xp.log == ["device 1"]
    with pytest.raises(BackendError, match=r"3 ranks on this machine, but it has 2 CUDA device"):
        take_device(xp, 0, 3)
