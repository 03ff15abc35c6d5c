"""Compiles the CUDA C++ of a raw kernel for the processor, and runs it block by block.

The source is the very one that NVRTC compiles. Threads of a block are coroutines that are switched
at ``__syncthreads()``, so shared memory and barriers mean what they mean on a device; blocks run
one after the other, in an order that the caller may turn round. A thread that leaves early, or one
that waits where another does not, is found.
"""

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")

PRELUDE = r"""
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <ucontext.h>
#define __global__
#define __device__ static
#define __shared__ static
#define __launch_bounds__(most)
using std::exp; using std::expm1; using std::fabs; using std::log; using std::log1p;
using std::sqrt; using std::tanh; using std::sin; using std::cos;
struct Dim { unsigned int x, y, z; };
static Dim threadIdx, blockIdx, blockDim, gridDim;
static inline void __threadfence() {}
static inline unsigned int atomicAdd(unsigned int* p, unsigned int v) {
    unsigned int old = *p; *p += v; return old;
}
namespace host {
enum { MOST = 1024, STACK = 1 << 15 };
static ucontext_t contexts[MOST], scheduler_context;
static jmp_buf states[MOST], scheduler;
static bool started[MOST], finished[MOST];
static char* stacks = 0;
static int current;
static std::function<void()>* body;
static void thread() {
    (*body)();
    finished[current] = true;
    _longjmp(scheduler, 1);
}
static int run(const unsigned int* grid, const unsigned int* block, int backwards, int barriers,
               std::function<void()> kernel) {
    gridDim = {grid[0], grid[1], 1}; blockDim = {block[0], block[1], 1};
    body = &kernel;
    int n = block[0] * block[1];
    long long blocks = (long long)grid[0] * grid[1];
    if (!stacks) stacks = (char*)malloc((size_t)MOST * STACK);
    for (long long b = 0; b < blocks; ++b) {
        long long at = backwards ? blocks - 1 - b : b;
        blockIdx = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0]), 0};
        if (!barriers) {
            for (int t = 0; t < n; ++t) {
                threadIdx = {t % block[0], t / block[0], 0};
                kernel();
            }
            continue;
        }
        for (int t = 0; t < n; ++t) started[t] = finished[t] = false;
        for (volatile bool alive = true; alive;) {
            volatile int waiting = 0, done = 0;
            for (volatile int t = 0; t < n; ++t) {
                if (finished[t]) { done = done + 1; continue; }
                current = t;
                threadIdx = {t % block[0], t / block[0], 0};
                if (_setjmp(scheduler) == 0) {
                    if (started[t]) _longjmp(states[t], 1);
                    started[t] = true;
                    getcontext(&contexts[t]);
                    contexts[t].uc_stack.ss_sp = stacks + (size_t)t * STACK;
                    contexts[t].uc_stack.ss_size = STACK;
                    contexts[t].uc_link = 0;
                    makecontext(&contexts[t], thread, 0);
                    setcontext(&contexts[t]);
                }
                if (finished[t]) done = done + 1; else waiting = waiting + 1;
            }
            if (waiting && done) return 1;  // some wait for others that are gone
            alive = waiting > 0;
        }
    }
    return 0;
}
}
static void __syncthreads() {
    if (_setjmp(host::states[host::current]) == 0) _longjmp(host::scheduler, 1);
}
"""

KERNEL = re.compile(
    r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)\s*\{(.*?)\n\}',
    re.DOTALL,
)

CTYPES = {
    "int": ctypes.c_int32, "Int": ctypes.c_int64, "unsigned int": ctypes.c_uint32,
    "unsigned long long": ctypes.c_uint64, "float": ctypes.c_float, "double": ctypes.c_double,
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: what may be given for it."""

    name: str
    dtype: np.dtype
    pointer: bool
    const: bool


def parameters(source, real):
    """Return the parameters of each kernel of a source, by the kernel's name."""
    found = {}
    for name, text, _ in KERNEL.findall(source):
        found[name] = []
        for part in text.split(","):
            match = re.fullmatch(r"(const )?([A-Za-z ]+?)\s*(\*?) (\w+)", " ".join(part.split()))
            const, ctype, star, parameter = match.groups()
            dtype = np.dtype(CTYPES[real if ctype == "T" else ctype])
            found[name].append(Parameter(parameter, dtype, bool(star), bool(const)))
    return found


class HostModule:
    """The kernels of one source, for one ``REAL``, as functions of this process."""

    def __init__(self, source, real):
        self.parameters = parameters(source, real)
        wrappers = []
        for name, text, body in KERNEL.findall(source):
            names = ", ".join(p.name for p in self.parameters[name])
            barriers = int("__syncthreads" in body or "block_sum" in body)
            wrappers.append(
                f'extern "C" int host_{name}(const unsigned int* grid_, const unsigned int* block_,'
                f" int backwards_, {text}) {{ return host::run(grid_, block_, backwards_,"
                f" {barriers}, [=]() {{ {name}({names}); }}); }}\n"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.cpp"
            path.write_text(PRELUDE + source + "".join(wrappers), "utf-8")
            # -ffp-contract=off: each operation is rounded, as NumPy's are
            command = [COMPILER, "-std=c++17", "-O1", "-ffp-contract=off", "-U_FORTIFY_SOURCE",
                       f"-DREAL={real}", "-shared", "-fPIC", "-w", str(path),
                       "-o", str(path.with_suffix(".so"))]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            self.library = ctypes.CDLL(str(path.with_suffix(".so")))

    def launch(self, name, grid, block, arguments, backwards=False):
        """Run a kernel; arguments are NumPy scalars, and addresses for pointers."""
        function = getattr(self.library, f"host_{name}")
        pair = ctypes.c_uint32 * 2
        given = [
            ctypes.c_void_p(int(value)) if p.pointer
            else np.ctypeslib.as_ctypes_type(p.dtype)(value.item())
            for p, value in zip(self.parameters[name], arguments, strict=True)
        ]  # fmt: skip
        if function(pair(*(*grid, 1)[:2]), pair(*(*block, 1)[:2]), int(backwards), *given):
            raise RuntimeError(f"{name}: threads of a block wait for others that have left")


@functools.cache
def compiled(source, real):
    """Return a source's kernels, compiled once in this process."""
    return HostModule(source, real)
