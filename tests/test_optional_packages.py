"""The package without what few need: all of it imports, and one's own data can be trained on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]

NOT_NEEDED = [
    "platformdirs", "pooch", "numba", "cupy", "cupy_backends", "nvmath", "cuda", "mpi4py", "umap",
    "dask", "distributed", "pandas", "h5py", "zarr", "torch", "jax", "tensorflow", "keras",
    "IPython", "jupytext", "nbclient", "nbformat", "hypothesis", "pytest", "sympy",
]  # fmt: skip
"""What extras bring, what other packages bring, and what only a download needs."""

MADE_FOR_ONE = {
    "ddnmf_np.backends.ops_numba",
    *(
        f"ddnmf_np.experiments.{name}"
        for name in ("tables", "figures", "curves", "claims", "parts", "published")
    ),
    *(f"ddnmf_np.bench.{name}_peer" for name in ("torch", "jax", "keras")),
}
"""Modules that are imported only where their package is."""

HIDE = """
import importlib, json, sys

class Hiding:
    # A finder that does not find some packages; asked for anything else, it is the one it hides.
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *arguments):
        if name.partition(".")[0] not in hidden:
            return self.finder.find_spec(name, *arguments)

    def __getattr__(self, name):
        return getattr(self.finder, name)

hidden, argument = map(json.loads, sys.argv[1:])
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""

CODE = """
paths, flags = argument
wrong = {}
for module in paths:
    try:
        importlib.import_module(module)
    except Exception as error:
        wrong[module] = f"{type(error).__name__}: {error}"
assert (wrong, sys.modules.keys() & hidden) == ({}, set())
from ddnmf_np.train import main
sys.exit(main(flags))
"""


def modules():
    paths = (path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("ddnmf_np/**/*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(names - MADE_FOR_ONE)


def test_every_module_imports_and_ones_own_file_is_trained_on(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((30, 6), np.float32))
    flags = ["--dataset", str(tmp_path / "x.npy"), "--output", str(tmp_path / "run")]
    flags += ["--widths", "4", "--rank", "2", "--batch-size", "10", "--epochs", "1"]
    flags += ["--clusterers", "kmeans", "--starts", "1", "--embedding", "pca"]
    words = [json.dumps(NOT_NEEDED), json.dumps([modules(), flags])]
    command = [sys.executable, "-c", HIDE + CODE, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/summary.json").exists()
