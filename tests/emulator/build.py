"""Build the emulated device: ``python build.py ROOT``, then ``ROOT/run python -m pytest -m gpu``.

It takes CuPy's wheel as it is installed here, and rebuilds one of its modules: `runtime`, which has
NVIDIA's runtime library linked into it, is compiled again from the source distribution of the same
version, against ``fakecuda.cpp``. The libraries that CuPy and nvmath-python load by name (driver,
NVRTC, cuBLAS) are ``fakecuda.cpp`` under their names. What is there already is kept.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

from compile import FLAGS

HERE = Path(__file__).parent
MORE = os.environ.get("FAKECUDA_CXXFLAGS", "").split()
"""For kernels, the sanitizers' options for example."""

SHIMS = {  # what the wheels of CUDA's headers leave to its compiler
    "crt/host_config.h": "",
    "crt/host_defines.h": "\n".join(
        f"#define {name}"
        for name in (
            "CUDARTAPI", "CUDARTAPI_CDECL", "CUDART_DEVICE", "__host__", "__device__",
            "__global__", "__device_builtin__", "__device_builtin_texture_type__",
            "__device_builtin_surface_type__", "__cudart_builtin__",
            "__builtin_align__(n) __attribute__((aligned(n)))",
            "__align__(n) __attribute__((aligned(n)))",
        )
    ),
    "cuda_runtime.h": "#include <cuda_runtime_api.h>\n#include <driver_functions.h>",
    "cuda_profiler_api.h": "#include <cuda_runtime_api.h>\n"
    'extern "C" cudaError_t cudaProfilerStart();\nextern "C" cudaError_t cudaProfilerStop();',
}  # fmt: skip
OVERLAY = '''"""Gives CuPy the emulated runtime, and sorts without Thrust."""

import importlib.util
import sys

ROOT = {root!r}


class Emulated:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cupy_backends.cuda.api.runtime":
            return importlib.util.spec_from_file_location(name, ROOT + "/runtime.so")
        if name == "cupy.cuda.thrust":
            return importlib.util.spec_from_file_location(name, ROOT + "/site/emulated_thrust.py")
        return None


sys.meta_path.insert(0, Emulated)
'''
RUN = """#!/bin/bash
# Run a command on the emulated device.
export FAKECUDA_ROOT={root} LD_LIBRARY_PATH={root}/lib
export PYTHONPATH={root}/site${{PYTHONPATH:+:$PYTHONPATH}}
export LD_PRELOAD=${{FAKECUDA_PRELOAD:+$FAKECUDA_PRELOAD:}}{root}/lib/libfakecuda.so
export CUPY_CACHE_DIR={root}/kernels CUDA_PATH={root}/cuda CUPY_ACCELERATORS=
exec "$@"
"""


def main(root: Path) -> None:
    """Build what is missing under ``root``."""
    package, major = installed()
    sources = sorted(path for path in HERE.iterdir() if path.suffix in (".cpp", ".hpp", ".py"))
    text = b"".join(path.read_bytes() for path in sources)
    state = hashlib.sha256(text + f"{version(package)} {sys.version} {MORE}".encode()).hexdigest()
    stamp = root / "built"
    if stamp.exists() and stamp.read_text("utf-8") == state:
        return
    shutil.rmtree(root / "kernels", ignore_errors=True)
    for name in ("lib", "kernels", "site", "cuda/include", "include/cupy"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, content in SHIMS.items():
        path = root / "shims" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#pragma once\n{content}\n", "utf-8")
    cupy = Path(find_spec("cupy").submodule_search_locations[0])
    headers = cuda_headers()
    libraries(root, runtime(root, package, headers), cupy, headers, major)
    kernels(root, cupy)
    (root / "site" / "sitecustomize.py").write_text(OVERLAY.format(root=str(root)), "utf-8")
    shutil.copy(HERE / "emulated_thrust.py", root / "site")
    (root / "run").write_text(RUN.format(root=root), "utf-8")
    (root / "run").chmod(0o755)
    stamp.write_text(state, "utf-8")


def installed() -> tuple[str, str]:
    """Return the name of CuPy's wheel here, and the major version of its CUDA."""
    for found in distributions():
        match = re.fullmatch(r"cupy-cuda(\d+)x", str(found.metadata["Name"]).lower())
        if match:
            return match[0], match[1]
    raise SystemExit("no wheel of CuPy here; install cupy-cuda12x or cupy-cuda13x")


def cuda_headers() -> str:
    """Return the folder of the runtime's headers, which come in a wheel of NVIDIA's."""
    from cuda.pathfinder import find_nvidia_header_directory

    folder = find_nvidia_header_directory("cudart")
    if folder is None:
        raise SystemExit("no headers of CUDA's runtime here; install nvidia-cuda-runtime-cu12")
    return str(folder)


def runtime(root: Path, package: str, headers: str) -> Path:
    """Compile CuPy's module of the runtime from its source distribution, but do not link it."""
    release = f"cupy-{version(package)}"
    source, code = root / release, root / "runtime.cpp"
    if not source.is_dir():
        fetch = ["download", "--no-deps", "--no-binary", "cupy", release.replace("-", "==")]
        pip(*fetch, "-d", str(root), CUPY_INSTALL_USE_STUB="1")
        with tarfile.open(root / f"{release}.tar.gz") as archive:
            archive.extractall(root / "unpacked", filter="data")
        (root / "unpacked" / release).rename(source)  # whole, or not there
    if not (root / "tools" / "Cython").is_dir():
        pip("install", "--target", str(root / "tools"), "Cython>=3.2,<3.3,!=3.2.6")
    cuda_h = Path(headers, "cuda.h").read_text("utf-8")
    cuda_version = re.search(r"#define CUDA_VERSION (\d+)", cuda_h)[1]
    translated = subprocess.run(
        [sys.executable, "-m", "cython", "-3", "--cplus",
         "--module-name", "cupy_backends.cuda.api.runtime", "-X", "binding=False",
         "-X", "c_api_binop_methods=True", "-X", "warn.deprecated.IF=False",
         "-E", f"CUPY_CUDA_VERSION={cuda_version},CUPY_HIP_VERSION=0,CUPY_USE_CUDA_PYTHON=False",
         "-o", code, "cupy_backends/cuda/api/runtime.pyx"],
        cwd=source, env=os.environ | {"PYTHONPATH": str(root / "tools")},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if translated.returncode:  # its many warnings are of no interest otherwise
        raise SystemExit(translated.stderr)
    compiler("-O1", "-c", f"-I{sysconfig.get_paths()['include']}", f"-I{root}/shims",
             f"-I{headers}", f"-I{source}/cupy_backends/cuda/api", code,
             "-o", root / "runtime.o")  # fmt: skip
    return root / "runtime.o"


def libraries(root: Path, module: Path, cupy: Path, headers: str, major: str) -> None:
    """Compile the libraries that are loaded by name, and link the module to one of them."""
    (cublas,) = (cupy.parent / "cupy_backends/cuda/libs").glob("cublas.*.so")
    undefined = "".join(
        subprocess.run(["nm", *options, path], capture_output=True, text=True, check=True).stdout
        for *options, path in (("-u", module), ("-D", "-u", cublas))
    )
    # A module must find every function when it is loaded; those that matter are emulated.
    stubs = "".join(
        f'extern "C" __attribute__((weak)) int {name}() {{ return 801; }}\n'
        for name in sorted(set(re.findall(r" U (cu(?:da|blas)\w+)", undefined)))
    )
    (root / "stubs.cpp").write_text(stubs, "utf-8")
    properties = "cudaGetDeviceProperties" + ("_v2" if major == "12" else "")
    library = root / "lib/libfakecuda.so"
    library.unlink(missing_ok=True)  # not overwritten: a program may be running on the old one
    compiler("-O3", "-shared", f"-I{root}/shims", f"-I{headers}", f"-DFAKE_PROPERTIES={properties}",
             HERE / "fakecuda.cpp", root / "stubs.cpp", "-o", library, "-ldl")  # fmt: skip
    for name in ("cuda.so.1", *(f"{lib}.so.{major}" for lib in ("nvrtc", "cublas", "cublasLt"))):
        link = root / "lib" / f"lib{name}"
        link.unlink(missing_ok=True)
        link.symlink_to(library.name)
    compiler("-shared", module, library, f"-Wl,-rpath,{root}/lib", "-o", root / "runtime.so")


def kernels(root: Path, cupy: Path) -> None:
    """Prepare what compiles kernels while a program runs."""
    for name in ("carray.cuh", "math_constants.h"):
        shutil.copy(cupy / "_core/include/cupy" / name, root / "include/cupy")
    for name in ("include/cupy/complex", "include/cupy/atomics"):
        (root / f"{name}.cuh").write_text("", "utf-8")
    (root / "cuda/include/cuda_runtime.h").write_text("", "utf-8")
    for name in ("compile.py", "device.hpp"):
        shutil.copy(HERE / name, root)
    (root / "flags").write_text(" ".join(MORE), "utf-8")
    header = ["g++", *FLAGS, *MORE, "-x", "c++-header"]
    subprocess.run([*header, root / "device.hpp", "-o", root / "device.hpp.gch"], check=True)


def compiler(*arguments: object) -> None:
    """Run the C++ compiler."""
    subprocess.run(["g++", "-std=c++17", "-fPIC", "-w", *map(str, arguments)], check=True)


def pip(*arguments: str, **environment: str) -> None:
    """Run pip."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, env=os.environ | environment, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.split("\n")[0])
    if " " in str(Path(sys.argv[1]).resolve()):
        raise SystemExit(f"{sys.argv[1]}: LD_PRELOAD takes no spaces; choose another folder")
    main(Path(sys.argv[1]).resolve())
