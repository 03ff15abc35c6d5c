"""The command for the first minutes on a GPU still fits the package: nobody runs it in CI."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from ddnmf_np.bench.contestants import CONTESTANTS
from ddnmf_np.train import make_parser

HERE = Path(__file__).parent
SCRIPT = (HERE / "run.sh").read_text("utf-8")


def test_it_can_be_given_as_one_command():
    assert len(SCRIPT) < 2000


def test_its_training_command_is_valid():
    (line,) = re.findall(r"python3 -m ddnmf_np.train (.*)", SCRIPT)
    arguments = make_parser().parse_args(shlex.split(line))
    assert arguments.backend == "cupy"


def test_its_contestants_are_there():
    named = re.findall(r"^B \S+ \d+ (\S+)", SCRIPT, re.MULTILINE)
    assert named
    assert set(named) <= set(CONTESTANTS)


def test_its_files_are_there():
    for name in re.findall(r"tests/[\w/]+\.py", SCRIPT):
        assert (HERE.parents[1] / name).exists(), name


@pytest.mark.parametrize("path", [HERE / "prof.py", HERE.parent / "emulator" / "host_time.py"])
def test_what_its_scripts_import_is_there(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("ddnmf_np"):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
