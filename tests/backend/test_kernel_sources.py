"""Every kernel compiles for every generation of devices, as CuPy would compile it. No GPU needed.

The options are CuPy's, and the compiler is NVRTC. Only loading and running the result takes a GPU.
"""

import io
import re
from functools import cache

import pytest
from availability import unavailable

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.backends.ops_cupy import COLUMNS, KERNELS, ROWS, SOURCE

pytestmark = pytest.mark.cupy

ARCHITECTURES = ("70", "75", "80", "90", "100", "120")
"""V100, T4, A100, H100, B200 and RTX 5090; a device in between runs what was compiled for the one
before."""

PASSED_OVER = re.compile(r"Architectures prior|^ptxas info|bytes stack frame|^\s*\0?$")
"""Lines of the compiler's log that warn of nothing; those of ptxas are asked for."""


class Compiler:
    """CuPy's way from a kernel to machine code, up to where a device is needed."""

    def __init__(self, cupy):
        from cupy._core import core
        from cupy.cuda import compiler

        self.cupy, self.compiler = cupy, compiler
        known = sorted(cupy.cuda.nvrtc.getSupportedArchs())
        self.architectures = [str(number) for number in known]
        self.options = (
            *core.assemble_cupy_compiler_options(()),
            "-ftz=true",
            "--device-as-default-execution-space",
        )

    def compile(self, source, architecture, method="cubin", options=()):
        """Return machine code for one generation of devices (or PTX, readable)."""
        program = self.compiler._NVRTCProgram(source, "kernel.cu", method=method)
        prefix, log = {"cubin": "sm", "ptx": "compute"}[method], io.StringIO()
        options = (*self.options, *options, f"-arch={prefix}_{architecture}")
        binary = program.compile(options, log)[0]
        self.log = log.getvalue()
        # NVRTC 12 says that CUDA 13 will drop sm_70, which is about no kernel.
        lines = [line for line in self.log.splitlines() if not PASSED_OVER.search(line)]
        assert not lines, "the compiler warns"
        return binary


@pytest.fixture(scope="module")
def nvrtc(cupy):
    """The compiler, or a skip that says which package brings it."""
    try:
        cupy.cuda.nvrtc.getVersion()
        return Compiler(cupy)
    except (ImportError, RuntimeError, OSError) as error:
        unavailable(
            "DDNMF_REQUIRE_CUPY",
            f"NVRTC cannot be used: {error}. Remedy: pip install nvidia-cuda-nvrtc-cu12 "
            "nvidia-cuda-runtime-cu12 (for cupy-cuda12x)",
        )


@pytest.fixture
def architecture(nvrtc, request):
    if request.param not in nvrtc.architectures:
        version = ".".join(map(str, nvrtc.cupy.cuda.nvrtc.getVersion()))
        remedy = "; such devices need cupy-cuda12x" if request.param == "70" else ""
        pytest.skip(f"NVRTC {version} has no sm_{request.param}{remedy}")
    return request.param


@pytest.mark.parametrize("architecture", ARCHITECTURES, indirect=True)
@pytest.mark.parametrize("real", ["float", "double"])
def test_kernels_compile(nvrtc, real, architecture):
    binary = nvrtc.compile(SOURCE, architecture, options=(f"-DREAL={real}", "--ptxas-options=-v"))
    assert binary[:4] == b"\x7fELF"
    for name in KERNELS:
        assert f".text.ddnmf_{name}\0".encode() in binary  # C linkage: the name that is looked up
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", nvrtc.log)
    assert len(spills) >= len(KERNELS)
    assert set(spills) == {("0", "0")}


def test_python_and_cuda_agree_on_their_numbers():
    """They are written twice, so that an editor and nvcc can read ``kernels.cu`` by itself."""
    assert f"COLUMNS = {COLUMNS}, ROWS = {ROWS}," in SOURCE
    assert f"enum {{ {', '.join(ACTIVATIONS).upper()} }};" in SOURCE


@pytest.mark.parametrize("architecture", ["80"], indirect=True)
def test_the_file_compiles_without_our_options(nvrtc, architecture):
    assert nvrtc.compile(SOURCE, architecture)[:4] == b"\x7fELF"


def test_a_row_of_a_block_is_a_warp():
    assert COLUMNS == 32, "warp_sums adds up a warp"
    assert COLUMNS * ROWS <= 1024


@cache
def all_ptx(nvrtc, source, real, architecture):
    return nvrtc.compile(source, architecture, "ptx", (f"-DREAL={real}",)).decode()


def ptx_of(nvrtc, name, source=SOURCE, real="float", architecture="80"):
    """Return the readable machine code of one kernel."""
    text = all_ptx(nvrtc, source, real, architecture)
    body = text[text.index(f".entry ddnmf_{name}") :]
    return body[: body.index("\n}")]


@pytest.fixture(params=["float", "double"])
def delta(nvrtc, request):
    oldest = next(a for a in ARCHITECTURES if a in nvrtc.architectures)
    return ptx_of(nvrtc, "delta", real=request.param, architecture=oldest)


def test_shared_memory_fits(delta):
    """48 KiB of shared memory is what every device gives a block."""
    shared = [int(n) for n in re.findall(r"\.shared \.align \d+ \.b8 \S+\[(\d+)\]", delta)]
    assert 0 < sum(shared) <= 48 * 1024
    assert f".maxntid {ROWS * COLUMNS}" in delta


def test_a_block_waits_twice(delta):
    """For the sums of its warps, and to learn whether it is the last one; all else is shuffles."""
    assert len(re.findall(r"\bbar(?:rier)?(?:\.\w+)*\.sync\b", delta)) == 2
    assert "bar.warp" not in delta
    assert delta.count("shfl.sync.down") > 0


def test_four_rows_are_loaded_before_one_is_stored(delta):
    """The loads are issued together, and the launch waits for memory once instead of four times."""
    accesses = re.findall(r"\b(ld|st)\.global\b", delta)
    arrays, ahead = 4, int(re.search(r"AHEAD = (\d+)", SOURCE)[1])  # h, dh and two references
    assert accesses.index("st") >= arrays * ahead
    first = accesses.index("st")
    assert accesses[first:].count("ld") == 2, "the totals, once all is done"


@pytest.mark.parametrize(("real", "most"), [("float", 64), ("double", 80)])
def test_a_processor_has_registers_for_the_blocks_of_a_delta(nvrtc, real, most):
    """There are 65,536 of them: two blocks of float fit, and one of double."""
    nvrtc.compile(SOURCE, "90", options=(f"-DREAL={real}", "--ptxas-options=-v"))
    found = nvrtc.log[nvrtc.log.index("Function properties for ddnmf_delta") :]
    assert 0 < int(re.search(r"Used (\d+) registers", found)[1]) <= most


def faulty(right, wrong):
    assert SOURCE.count(right) == 1
    return SOURCE.replace(right, wrong)


@pytest.mark.parametrize("wrong", ["g[k] * lr[0])", "sine(g[k])", "c * lr[0]", "(g[k] = p[k])"])
def test_a_fault_in_a_formula_does_not_compile(nvrtc, wrong):
    with pytest.raises(nvrtc.compiler.CompileException):
        nvrtc.compile(faulty("g[k] * lr[0]", wrong), "80")


def test_a_warning_of_the_compiler_is_a_failure(nvrtc):
    with pytest.raises(AssertionError, match="unused"):
        nvrtc.compile(faulty("T gk = g[k];", "int unused; T gk = g[k];"), "80")


@pytest.mark.parametrize(("name", "moments"), [("momentum", 1), ("adam", 2)])
def test_the_compiler_keeps_what_flushes_denormals(nvrtc, name, moments):
    """``(v + big) - big`` is not optimised away: each moment has its subtraction."""
    plain = re.sub(r" \+ (big\w*)\) - \1;", ");", SOURCE)
    found = [ptx_of(nvrtc, name, s, "double").count("sub.f64") for s in (SOURCE, plain)]
    assert found[0] - found[1] == moments


@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize(("name", "loads"), [("descend", 3), ("momentum", 4), ("adam", 6)])
def test_a_descent_rule_loads_each_value_once_before_it_stores(nvrtc, name, loads, real):
    """A load after a store would wait for it, because the compiler cannot tell them apart.

    The numbers of the step are loaded as well: one, for Adam two.
    """
    accesses = re.findall(r"\b(ld|st)\.global\b", ptx_of(nvrtc, name, real=real))
    stores = {"descend": 1, "momentum": 2, "adam": 3}[name]
    assert accesses == ["ld"] * loads + ["st"] * stores
