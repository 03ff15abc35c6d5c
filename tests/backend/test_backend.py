"""Every way in which a backend can fail gives its original cause and the command that mends it."""

import builtins
import importlib.metadata
import logging
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from availability import unavailable
from fake_cupy import CUDARuntimeError, fake_cupy, raising

from ddnmf_np.backends import cublas
from ddnmf_np.backends import select as backend
from ddnmf_np.backends.cupy_graph import STREAMS
from ddnmf_np.backends.select import (
    backend_of,
    describe_cuda,
    get_ops,
    load_cupy,
    ops_by_name,
    why_no_graphs,
    why_not_cupy,
    why_not_numba,
)
from ddnmf_np.errors import BackendError, UsageError

ROOT = Path(__file__).parents[2]
CUDA12, CUDA13 = "pip install 'cupy-cuda12x[ctk]'", "pip install 'cupy-cuda13x[ctk]'"


@pytest.fixture
def cupy_is(monkeypatch):
    """Make ``import cupy`` give a module, or raise an error; and say which one is installed."""

    def install(module, installed="cupy-cuda12x"):
        failing = isinstance(module, Exception)
        monkeypatch.setattr(
            backend, "import_module", raising(module) if failing else lambda name: module
        )
        names = [installed] if installed else []
        monkeypatch.setattr(
            importlib.metadata, "distributions",
            lambda: [SimpleNamespace(metadata={"Name": n}) for n in ("numpy", *names)],
        )  # fmt: skip

    return install


class Wrong:
    """A matrix that multiplies wrongly."""

    def __add__(self, other):
        return self

    __matmul__ = __add__

    def sum(self):
        return 15.0


NO_DRIVER = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
FAILURES = {
    "not installed": (
        ModuleNotFoundError("No module named 'cupy'", name="cupy"),
        None,
        ["cannot be imported", "No module named 'cupy'", CUDA12],
    ),
    "broken install": (
        ImportError("\n=====\nFailed to import CuPy.\nundefined symbol: foo\n====="),
        "cupy-cuda12x",
        ["undefined symbol: foo", f"pip uninstall -y cupy-cuda12x && {CUDA12}"],
    ),
    "a dependency of CuPy is missing": (
        ModuleNotFoundError("No module named 'cuda'", name="cuda"),
        "cupy-cuda13x",
        ["No module named 'cuda'", f"pip uninstall -y cupy-cuda13x && {CUDA13}"],
    ),
    "a folder named cupy": (
        SimpleNamespace(),
        None,
        ["is not CuPy", "rename what hides CuPy", CUDA12],
    ),
    "broken driver library": (
        ImportError("libcuda.so.1: cannot open shared object file: No such file or directory"),
        "cupy-cuda12x",
        ["libcuda.so.1: cannot open shared object file", "install NVIDIA's driver", "nvidia-smi"],
    ),
    "CUDA's own library is missing": (
        ImportError("libcudart.so.12: cannot open shared object file: No such file or directory"),
        "cupy-cuda12x",
        ["libcudart.so.12", f"pip uninstall -y cupy-cuda12x && {CUDA12}"],
    ),
    "no driver": (
        fake_cupy(count=NO_DRIVER, driver=0),
        "cupy-cuda12x",
        ["finds no CUDA device", "cudaErrorInsufficientDriver", "install NVIDIA's driver",
         "docker run --gpus all"],
    ),
    "driver for CUDA 12 under a CuPy for CUDA 13": (
        fake_cupy(count=NO_DRIVER, driver=12040, runtime=13000),
        "cupy-cuda13x",
        ["cudaErrorInsufficientDriver", f"pip uninstall -y cupy-cuda13x && {CUDA12}",
         "the driver is for CUDA 12.4"],
    ),
    "driver too old for any": (
        fake_cupy(count=NO_DRIVER, driver=11040),
        "cupy-cuda12x",
        ["cudaErrorInsufficientDriver", "update NVIDIA's driver", "11.4", "12.9"],
    ),
    "no device": (
        fake_cupy(count=CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")),
        "cupy-cuda12x",
        ["finds no CUDA device", "cudaErrorNoDevice", "nvidia-smi", "CUDA_VISIBLE_DEVICES"],
    ),
    "device count 0": (
        fake_cupy(count=0),
        "cupy-cuda12x",
        ["the device count is 0", "nvidia-smi", "CUDA_VISIBLE_DEVICES"],
    ),
    "driver version cannot be read": (
        fake_cupy(count=0, driver=CUDARuntimeError("broken")),
        "cupy-cuda12x",
        ["the device count is 0", "install NVIDIA's driver"],
    ),
    "NVRTC is missing": (
        fake_cupy(ones=raising(RuntimeError("Failure finding \"libnvrtc.so.12\": No such file"))),
        "cupy-cuda12x",
        ["cannot compute", "libnvrtc.so.12", CUDA12],
    ),
    "cuBLAS is missing": (
        fake_cupy(ones=raising(ImportError("libcublas.so.13: cannot open shared object file"))),
        "cupy-cuda13x",
        ["cannot compute", "libcublas.so.13", CUDA13],
    ),
    "headers are missing": (
        fake_cupy(ones=raising(RuntimeError("Failed to find CUDA headers."))),
        "cupy-cuda12x",
        ["Failed to find CUDA headers", CUDA12, "headers"],
    ),
    "a V100 under CUDA 13": (
        fake_cupy(ones=raising(Exception("nvrtc: error: invalid value for --gpu-architecture"))),
        "cupy-cuda13x",
        ["--gpu-architecture", f"pip uninstall -y cupy-cuda13x && {CUDA12}"],
    ),
    "a device too new for CUDA 12": (
        fake_cupy(ones=raising(CUDARuntimeError("cudaErrorNoKernelImage: no kernel image"))),
        "cupy-cuda12x",
        ["no kernel image", f"pip uninstall -y cupy-cuda12x && {CUDA13}"],
    ),
    "memory is full": (
        fake_cupy(ones=raising(MemoryError("Out of memory allocating 512 bytes"))),
        "cupy-cuda12x",
        ["Out of memory allocating 512 bytes", "nvidia-smi", "CUDA_VISIBLE_DEVICES"],
    ),
    "wrong result": (
        fake_cupy(ones=lambda *args: Wrong()),
        "cupy-cuda12x",
        ["cannot compute", "came out as 15.0", "nvidia-smi -q -d ECC"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_failure_names_cause_and_remedy(cupy_is, name, caplog):
    module, installed, words = FAILURES[name]
    cupy_is(module, installed)
    with pytest.raises(BackendError) as caught:
        get_ops("cupy")
    text = str(caught.value)
    for word in ("backend 'cupy'", "Remedy: ", "or choose the backend 'numpy'", *words):
        assert word in text, f"{word!r} is not in: {text}"
    assert "\n" not in text
    if "count is 0" not in text and "came out as" not in text:
        assert isinstance(caught.value.__cause__, Exception)
    assert why_not_cupy() == text
    # "auto" goes on with NumPy, and leaves the reason in the log.
    with caplog.at_level(logging.INFO, logger="ddnmf_np"):
        assert get_ops("auto", fast="off").name == "numpy"
    assert text in caplog.text


@pytest.mark.parametrize("name", FAILURES)
def test_description_never_raises(cupy_is, name):
    module, installed, _ = FAILURES[name]
    cupy_is(module, installed)
    found = describe_cuda()
    assert set(found) == {"cupy", "driver", "runtime", "devices", "problem"}
    works_so_far = getattr(module, "ones", np.ones) is not np.ones
    assert (found["problem"] is None) == works_so_far
    assert len(found["devices"]) == works_so_far


def test_a_device_that_cannot_be_asked_is_a_problem(cupy_is):
    module = fake_cupy()
    module.cuda.runtime.getDeviceProperties = raising(CUDARuntimeError("cudaErrorUnknown"))
    cupy_is(module)
    assert describe_cuda()["problem"] == "CUDARuntimeError: cudaErrorUnknown"


@pytest.mark.gpu
def test_a_cupy_that_works_is_used(device):
    assert load_cupy() is device.ops.xp
    assert why_not_cupy() is None
    assert why_no_graphs() is None
    for ops in (get_ops("cupy"), get_ops("auto"), ops_by_name("cupy")):
        assert ops.name == "cupy"
        assert ops.xp is device.ops.xp
    (found, *_) = describe_cuda()["devices"]
    assert found["name"] == device.ops.device_name()
    assert found["memory_bytes"] >= 2**30


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "major", "compute"),
    [("highest", 9, "COMPUTE_32F"), ("high", 9, "COMPUTE_32F_FAST_TF32"),
     ("high", 8, "COMPUTE_32F_FAST_TF32"), ("high", 7, "COMPUTE_32F")],
)  # fmt: skip
def test_precision_of_products(device, monkeypatch, precision, major, compute):
    """TF32 where it is asked for and the card has it: from compute capability 8.0 on."""
    runtime = device.ops.xp.cuda.runtime
    properties = runtime.getDeviceProperties(0) | {"major": major}
    monkeypatch.setattr(runtime, "getDeviceProperties", lambda number: properties)
    for ops in (get_ops("cupy", matmul_precision=precision),
                ops_by_name("cupy", matmul_precision=precision)):  # fmt: skip
        assert len(ops._products) == STREAMS
        for products in ops._products:
            kind = products._blas.ComputeType
            assert products._types["float32"][1] == kind[compute]
            assert products._types["float64"][1] == kind.COMPUTE_64F


def test_precision_means_nothing_on_numpy():
    a = np.random.default_rng(0).normal(size=(5, 5)).astype("float32")
    out = np.empty_like(a)
    get_ops("numpy", fast="off", matmul_precision="high").matmul(a, a, out)
    np.testing.assert_array_equal(out, a @ a)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'nvmath'"), RuntimeError("libcublas.so.12 is not found"),
     AttributeError("module has no attribute 'gemm_ex'")],
)  # fmt: skip
def test_without_the_bindings_cupy_multiplies_and_the_log_says_so_once(
    device, monkeypatch, caplog, error
):
    monkeypatch.setattr(cublas, "import_module", raising(error))
    backend._warn_once.cache_clear()
    for _ in range(2):
        ops = get_ops("cupy")
        a, out = ops.xp.ones((2, 2), "float32"), ops.xp.empty((2, 2), "float32")
        ops.matmul(a, a, out)
        assert (out.get() == 2.0).all()
    (record,) = caplog.records
    for word in (str(error), "not recorded as CUDA graphs", "pip install --upgrade nvmath-python"):
        assert word in record.getMessage()
    assert str(error) in why_no_graphs()


@pytest.mark.gpu
def test_products_that_are_wrong_are_not_used(device, monkeypatch, caplog):
    monkeypatch.setattr(cublas.Cublas, "matmul", lambda self, a, b, out: out.fill(0.0))
    backend._warn_once.cache_clear()
    assert get_ops("cupy")._products is None
    assert "multiplied wrongly" in caplog.text


@pytest.mark.cupy
def test_the_real_cupy_says_why_not(cupy):
    """Here, without a GPU; where there is one, it must work."""
    why = why_not_cupy()
    if why is None:
        assert get_ops("cupy").name == "cupy"
        return
    assert cupy.__version__ in why
    assert "Remedy: " in why
    with pytest.raises(BackendError):
        get_ops("cupy")
    assert get_ops("auto").name.startswith("numpy")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"backend": "gpu"}, "numpy, cupy, auto"),
        ({"fast": "yes"}, "auto, on, off"),
        ({"matmul_precision": "low"}, "highest, high"),
    ],
)
def test_unknown_names(options, word):
    with pytest.raises(UsageError, match=word):
        get_ops(**options)


def test_numpy_needs_nothing(cupy_is, monkeypatch):
    cupy_is(AssertionError("NumPy must not look for CuPy"))
    assert get_ops("numpy", fast="off").name == "numpy"
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    assert get_ops().name == "numpy"


def test_numba_is_used_where_it_is():
    pytest.importorskip("numba", reason="Numba is not installed (the extra 'fast')")
    assert get_ops(fast="on").name == get_ops().name == "numpy+numba"
    assert get_ops(fast="off").name == "numpy"
    assert why_not_numba() is None
    assert ops_by_name("numpy+numba").name == "numpy+numba"
    assert ops_by_name("numpy").name == "numpy"


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'numba'", name="numba"),
     ImportError("Numba needs NumPy 2.3 or less"), OSError("libllvm is gone")],
)  # fmt: skip
def test_numba_that_is_missing_or_broken(monkeypatch, caplog, error):
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "numba":
            raise error
        return imported(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "ddnmf_np.backends.ops_numba", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BackendError, match="pip install --upgrade numba;") as caught:
        get_ops(fast="on")
    assert str(error) in str(caught.value)
    assert str(error) in why_not_numba()
    # "auto" goes on without it; we warn once where it is there and broken.
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    assert get_ops(fast="auto").name == "numpy"
    monkeypatch.setattr(backend, "find_spec", lambda name: "there")
    assert not caplog.records
    backend._warn_once.cache_clear()
    for _ in range(2):
        assert get_ops(fast="auto").name == "numpy"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("fast 'auto' is plain NumPy here, which is slower: Numba")
    assert str(error) in record.getMessage()


def test_backend_of_an_array():
    assert backend_of(np.zeros(3)) == "numpy"
    assert backend_of([1.0]) == "numpy"
    made_by_cupy = type("ndarray", (), {"__module__": "cupy"})
    assert backend_of(made_by_cupy()) == "cupy"


def test_installed_distributions_are_read():
    names = backend._installed()
    assert all(name.startswith("cupy") for name in names)
    try:
        from importlib.metadata import version

        version("cupy-cuda12x")
        assert "cupy-cuda12x" in names
    except PackageNotFoundError:
        assert "cupy-cuda12x" not in names


@pytest.mark.parametrize("variable", ["DDNMF_REQUIRE_GPU", "DDNMF_REQUIRE_CUPY"])
def test_what_is_not_there_is_skipped_with_its_reason_or_fails(monkeypatch, variable):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(pytest.skip.Exception, match="the reason"):
        unavailable(variable, "the reason")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{variable}=1, but: the reason"):
        unavailable(variable, "the reason")


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_the_remedy_installs_what_the_extra_does(extra):
    """By name, and not as an extra of a package that may have been installed from source."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    requirement = pyproject["project"]["optional-dependencies"][extra][0]
    command = {"cuda12": CUDA12, "cuda13": CUDA13}[extra]
    assert requirement.partition(">")[0] in command
