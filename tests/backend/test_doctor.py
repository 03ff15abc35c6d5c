"""The doctor says what is there, what is not, and what mends it."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from fake_cupy import fake_cupy

import ddnmf_np
from ddnmf_np import doctor
from ddnmf_np.backends import cublas
from ddnmf_np.backends import select as backend
from ddnmf_np.backends.select import why_not_cupy
from ddnmf_np.errors import BackendError
from ddnmf_np.runs import environment

ROOT = Path(__file__).parents[2]


def run_doctor(*arguments, first_on_path=None):
    """Run the command as a user does."""
    path = [str(p) for p in (first_on_path, ROOT, os.environ.get("PYTHONPATH")) if p]
    return subprocess.run(
        [sys.executable, "-m", "ddnmf_np.doctor", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_prints_everything(capsys):
    assert doctor.main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    versions = (f"ddnmf-np {ddnmf_np.__version__}", "python 3.", f"numpy {np.__version__}")
    packages = [f"{name} " for name in (*environment.PACKAGES, "cupy")]
    facts = ("platform: ", "processors: ", "memory: ", "blas: ", "CUDA: driver ")
    verdicts = ("backend 'numpy': works", "backend 'cupy': ")
    for start in (*versions, *packages, *facts, *verdicts):
        assert any(line.startswith(start) for line in lines), f"no line {start!r}:\n{out}"
    assert (why_not_cupy() or "backend 'cupy': works") in lines  # cause and remedy, whole


def test_the_command_prints_json(capsys):
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["broken"] == {}
    assert found["versions"]["numpy"] == np.__version__
    assert found["cpus"]["usable"] >= 1
    assert found["memory"]["total_bytes"] > 2**26
    assert any(pool["kind"] == "blas" and pool["threads"] >= 1 for pool in found["threads"])
    assert found["cuda"]["problem"] == why_not_cupy()


def test_a_broken_package_is_named_with_the_remedy(tmp_path):
    (tmp_path / "tqdm.py").write_text("raise ImportError('planted fault')\n")
    done = run_doctor("--json", first_on_path=tmp_path)
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == {"tqdm": "ImportError: planted fault"}
    lines = doctor.report(found)
    assert lines[:2] == [
        "tqdm: BROKEN: ImportError: planted fault",
        "  mend it: pip install --upgrade tqdm",
    ]
    assert any(line.startswith("processors: ") for line in lines)


def test_even_a_broken_numpy_is_reported(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('planted fault')\n")
    done = run_doctor(first_on_path=tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert "numpy: BROKEN: ImportError: planted fault" in done.stdout
    assert "  mend it: pip install --upgrade numpy" in done.stdout


def test_core_packages_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {requirement.split(">")[0] for requirement in project["dependencies"]}
    assert set(doctor.CORE) == names
    assert set(environment.PACKAGES) == names | {"numba", "nvmath-python"}


def test_what_is_not_installed_is_said(monkeypatch):
    def version(package):
        if package == "numba":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(environment, "version", version)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    monkeypatch.setattr("ddnmf_np.backends.select.why_not_numba", lambda: "Numba: why and remedy")
    lines = doctor.report(doctor.examine())
    assert "numba not installed" in lines
    assert "backend 'numpy': works; fast loops: Numba: why and remedy" in lines


def test_a_device_is_described(monkeypatch):
    monkeypatch.setattr(backend, "import_module", lambda name: fake_cupy())
    found = doctor.examine()
    assert found["cuda"]["problem"] is None
    lines = doctor.report(json.loads(json.dumps(found)))
    assert "CUDA: driver 12.9, runtime 12.9" in lines
    assert "device 0: a device, compute capability 9.0, 1.0 GiB" in lines
    assert "backend 'cupy': works" in lines


@pytest.mark.gpu
def test_the_doctor_finds_the_device_and_its_graphs(device):
    found = doctor.examine()
    assert found["cuda"]["problem"] is None
    assert found["cuda"]["no_graphs"] is None
    lines = doctor.report(json.loads(json.dumps(found)))
    assert "backend 'cupy': works" in lines
    assert any(line.startswith(f"device 0: {device.ops.device_name()}, ") for line in lines)


def test_the_doctor_says_what_a_device_lacks_for_graphs(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(backend, "import_module", lambda name: fake_cupy())
    monkeypatch.setattr(cublas, "import_module", absent)
    lines = doctor.report(doctor.examine())
    assert "backend 'cupy': works" in lines
    [line] = [line for line in lines if "CUDA graphs" in line]
    assert "No module named 'nvmath" in line
    assert line.endswith("Remedy: pip install --upgrade nvmath-python")


def test_the_doctor_lets_a_device_compute(monkeypatch):
    def fail(cupy):
        raise BackendError("backend 'cupy': cannot compute, why and remedy")

    monkeypatch.setattr(backend, "import_module", lambda name: fake_cupy())
    monkeypatch.setattr(backend, "_try_arithmetic", fail)
    lines = doctor.report(doctor.examine())
    assert "backend 'cupy': cannot compute, why and remedy" in lines
    assert any(line.startswith("device 0: a device") for line in lines)


def test_the_environment_of_a_run_asks_no_device_to_compute(monkeypatch):
    monkeypatch.setattr(backend, "import_module", lambda name: fake_cupy())
    monkeypatch.setattr(backend, "_try_arithmetic", None)
    found = json.loads(json.dumps(environment.environment()))
    assert found["cuda"]["devices"][0]["name"] == "a device"
    assert found["versions"]["cupy"] == "14.0.0"


def test_memory_where_the_system_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "Path", lambda name: tmp_path / "absent")
    found = environment.environment()["memory"]
    assert found["available_bytes"] is None
    assert found["total_bytes"] is None or found["total_bytes"] > 2**26
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    found = environment.environment()
    assert found["memory"] == {"total_bytes": None, "available_bytes": None}
    assert found["cpus"]["usable"] == os.cpu_count()
    assert "memory: unknown available of unknown" in doctor.report(
        {"broken": {}, "numba": None, **found}
    )
