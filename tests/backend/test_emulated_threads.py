"""Threads of a kernel on the emulated device wait for one another as they do on a real one."""

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

SOURCE = r"""
extern "C" __global__ void sums(int rounds, int step, const double* x, double* out) {
    int t = threadIdx.y * blockDim.x + threadIdx.x;
    double value = x[t];
    __syncthreads();
    for (int k = 0; k < rounds; ++k) value += __shfl_down_sync(0xFFFFFFFFu, value, step);
    out[t] = value;
}
extern "C" __global__ void one_warp(const double* x, double* out) {
    __syncthreads();
    if (threadIdx.y > 0) return;
    out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, x[threadIdx.x], 1);
}
extern "C" __global__ void half_a_warp(const double* x, double* out) {
    __syncthreads();
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, x[threadIdx.x], 1);
}
extern "C" __global__ void a_warp_that_left(const double* x, double* out) {
    if (threadIdx.y > 0) return;
    __syncthreads();
}
extern "C" __global__ void two_places(const double* x, double* out) {
    if (threadIdx.y > 0) __syncthreads();
    else out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, x[threadIdx.x], 1);
    if (threadIdx.y > 0) out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, x[threadIdx.x], 1);
}
"""

ROWS = 3


@pytest.fixture
def arrays():
    return np.random.default_rng(0).normal(size=(ROWS, 32)), np.zeros((ROWS, 32))


@pytest.fixture
def launch(emulated, device):
    """Return a function that runs a kernel of the source and reads back what it wrote."""
    xp = device.ops.xp

    def run(name, *arguments, block=(32, ROWS)):
        there = [xp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        xp.RawKernel(SOURCE, name)((2,), block, tuple(there))
        arguments[-1][...] = there[-1].get()
        return emulated.complaints()

    return run


@pytest.mark.parametrize("step", [1, 7, 16, 31])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_shuffle_reads_what_another_thread_of_the_warp_had(launch, arrays, rounds, step):
    x, out = arrays
    assert launch("sums", np.int32(rounds), np.int32(step), x, out) == []
    expected = x.copy()
    for _ in range(rounds):  # where no thread is so far ahead, each reads its own value
        expected += np.concatenate([expected[:, step:], expected[:, 32 - step :]], axis=1)
    np.testing.assert_array_equal(out, expected)


def test_a_warp_shuffles_after_the_others_have_left(launch, arrays):
    x, out = arrays
    assert launch("one_warp", x, out) == []
    np.testing.assert_array_equal(out[0, :-1], x[0, 1:])


@pytest.mark.parametrize("name", ["half_a_warp", "a_warp_that_left", "two_places"])
def test_a_thread_that_waits_for_ever_is_found(launch, arrays, name):
    assert launch(name, *arrays) == [f"{name}: threads wait for others that do not come"]
    assert launch("one_warp", *arrays) == []  # the next launch is none the worse for it


def test_a_warp_that_is_not_whole_cannot_shuffle(launch, arrays):
    assert launch("one_warp", *arrays, block=(16, 1)) != []
