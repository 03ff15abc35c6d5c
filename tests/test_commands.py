"""The front door and the shell that all commands share."""

import io
import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import ddnmf_np
from ddnmf_np.__main__ import COMMANDS, main
from ddnmf_np.bench import scaling
from ddnmf_np.bench.__main__ import make_scaling_parser
from ddnmf_np.errors import (
    INTERRUPTED,
    BackendError,
    DataError,
    DDNMFError,
    DivergedError,
    OutputError,
    UsageError,
)
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.train import main as train

ROOT = Path(__file__).parents[1]


def python(*arguments, **options):
    """Run the interpreter on this source tree."""
    options = {"env": on_this_tree(), "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run([sys.executable, *arguments], **options)


def on_this_tree(**variables):
    """Return the environment of an interpreter that imports this source tree."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path} | variables
    environment.pop("PYTHONUNBUFFERED", None)  # buffered, as users have it
    return environment


# -- front door ------------------------------------------------------------------------------------


def test_front_door_lists_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for name, (_, what) in COMMANDS.items():
        assert f"  {name:13}{what}\n" in out
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out == out


def test_every_command_is_a_module_that_runs_by_itself():
    for name, (module, _) in COMMANDS.items():
        assert callable(import_module(module).main), name
        source = Path(import_module(module).__file__).read_text("utf-8")
        assert 'if __name__ == "__main__":\n    sys.exit(main())' in source, name


def test_no_command_is_left_out():
    """A folder with a ``__main__`` of its own is a command."""
    folders = {path.parent.name for path in ROOT.glob("ddnmf_np/*/__main__.py")}
    assert folders <= COMMANDS.keys()


def test_front_door_runs_the_command_that_is_named(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["broken"] == {}
    assert main(["report", "a", "b"]) == 2
    assert capsys.readouterr().err == "error: 2 run folders given; expected one; see --help\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trian"], "command 'trian' is unknown; did you mean 'train'?"),
        (["zzz"], "command 'zzz' is unknown; choose one of train, rank, transform, report"),
        ([""], "command '' is unknown; choose one of train, rank, transform, report"),
        (["\x1b[2J"], "command '\\x1b[2J' is unknown"),
        (["--verison"], "argument '--verison' is unknown; did you mean '--version'?"),
        (["-q", "train"], "argument '-q' is unknown"),
    ],
)
def test_front_door_refuses_what_it_does_not_know(capsys, arguments, text):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {text}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_version(name, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"] if name is None else [name, "--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"ddnmf-np {ddnmf_np.__version__}\n"


def test_installed_script_is_the_front_door():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["ddnmf"].partition(":")
    assert getattr(import_module(module), function) is main


def test_front_door_as_a_process():
    done = python("-m", "ddnmf_np", "train", "--ranks", "3", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: argument '--ranks' is unknown; did you mean '--rank'?\n"


# -- nothing is imported for a usage error or --help -----------------------------------------------

QUICK = """
import sys
from importlib import import_module
main = import_module(sys.argv[1]).main
codes = []
for argument in ("--help", "--version", "--zzz"):
    try:
        codes.append(main([*sys.argv[2:], argument]))
    except SystemExit as end:
        codes.append(end.code)
assert codes == [0, 0, 2], codes
late = "sklearn scipy matplotlib joblib h5py filelock importlib.metadata"
slow = set(late.split()) & sys.modules.keys()
assert not slow, slow
"""


@pytest.mark.parametrize(
    "command",
    [
        ["ddnmf_np.__main__"],
        ["ddnmf_np.__main__", "train"],
        ["ddnmf_np.train"],
        ["ddnmf_np.report.__main__"],
        ["ddnmf_np.rank.__main__"],
        ["ddnmf_np.transform.__main__"],
        ["ddnmf_np.teaching.__main__"],
        ["ddnmf_np.explore.__main__"],
        ["ddnmf_np.playground.__main__"],
        ["ddnmf_np.trace.__main__"],
        ["ddnmf_np.bench.__main__"],
        ["ddnmf_np.bench.__main__", "scaling"],
        ["ddnmf_np.bench.__main__", "data"],
        ["ddnmf_np.doctor"],
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_no_slow_package(command):
    done = python("-c", QUICK, *command, stdout=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


def test_sizes_of_the_scaling_command_are_those_there_are():
    """Its parser names them itself, since the module that has them draws pictures."""
    [sizes] = [a for a in make_scaling_parser()._actions if a.dest == "sizes"]
    assert sizes.choices == tuple(scaling.SIZES)


# -- progress --------------------------------------------------------------------------------------

TRAIN = """
import sys
import numpy as np
from ddnmf_np.runs import scoring
from ddnmf_np.train import main
scores = {"split": "train", "n_samples": 45, "scores": {},
    "code": {"std": 0.1, "dead_units": 0, "unit_std": [0.1]},
    "unexplained": {"ddnmf": 0.5, "mean": 1.0, "findings": []}}
scoring.evaluate = lambda *_: None
scoring.summarise = lambda *_: scores
scoring.draw_figures = lambda *_: []
np.save("x.npy", np.random.default_rng(0).random((45, 13)))
flags = "--widths 11 7 --rank 3 --batch-size 10 --epochs 3 --fast off".split()
sys.exit(main(["--dataset", "x.npy", "--output", "run", *flags]))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device without room")
@pytest.mark.parametrize("how", [">/dev/full 2>&-", ">&- 2>&-", "2>/dev/full"])
def test_a_log_that_cannot_be_written_costs_no_run(tmp_path, how):
    """Standard output and standard error, each closed and each without room; both closed."""
    shell = f'"$0" -c "$1" {how}'
    with (tmp_path / "out").open("w") as out:
        command = ["sh", "-c", shell, sys.executable, TRAIN]
        done = subprocess.run(command, cwd=tmp_path, env=on_this_tree(), stdout=out, stderr=out)
    assert done.returncode == 0
    assert "Traceback" not in (tmp_path / "out").read_text()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 3
    assert (tmp_path / "run" / "report.html").exists()


def test_a_reader_of_the_log_that_leaves_costs_no_run(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = python("-c", TRAIN, stdout=writer, cwd=tmp_path)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("name", ["module://matplotlib_inline.backend_inline", "Qt7Agg"])
def test_a_drawing_backend_that_is_absent_is_not_needed(name):
    script = """
import sys
sys.modules["matplotlib_inline"] = None
from ddnmf_np.system.command import run_command
run_command(lambda: 0)
from io import BytesIO
from matplotlib.figure import Figure
Figure((1, 1)).savefig(BytesIO())
"""
    done = python("-c", script, env=on_this_tree(MPLBACKEND=name))
    assert (done.returncode, done.stderr) == (0, "")


def test_paths_that_the_output_s_encoding_has_not(tmp_path, monkeypatch, unscored):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((45, 13)))
    output = tmp_path / "r\u2603\u03c1"
    flags = ["--widths", "11", "7", "--rank", "3", "--batch-size", "10", "--epochs", "1"]
    said = []
    for _ in range(2):
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
            monkeypatch.setattr(sys, name, stream)
        code = train(["--dataset", str(tmp_path / "x.npy"), "--output", str(output), *flags])
        said.append((code, sys.stdout.buffer.getvalue() + sys.stderr.buffer.getvalue()))
    assert [code for code, _ in said] == [0, 2]
    assert b"r\\u2603\\u03c1/report.html" in said[0][1]
    assert b"r\\u2603\\u03c1: already holds a run" in said[1][1]
    assert (output / "report.html").exists()


# -- parser ----------------------------------------------------------------------------------------


@pytest.fixture
def parser():
    made = Parser("ddnmf_np.thing", "Do it.")
    made.add_argument("file")
    made.add_argument("--number", type=int)
    made.add_argument("--hidden", help="==SUPPRESS==")
    return made


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: file; see --help"),
        (["f", "--nubmer", "3"], "argument '--nubmer' is unknown; did you mean '--number'?"),
        (["f", "--nubmer=3"], "argument '--nubmer' is unknown; did you mean '--number'?"),
        (["f", "--num", "3"], "argument '--num' is unknown; did you mean '--number'?"),
        (["f", "--hiden", "3"], "argument '--hiden' is unknown; see --help"),
        (["f", "g"], "argument 'g' is unknown; see --help"),
        (["f", "--number", "x"], "argument --number: invalid int value: 'x'; see --help"),
    ],
)
def test_parser_raises_and_ends_no_process(parser, arguments, text):
    with pytest.raises(UsageError) as caught:
        parser.parse(arguments)
    assert str(caught.value) == text


# -- errors to exit codes --------------------------------------------------------------------------


def fail(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DDNMFError("odd"), 1, "error: odd"),
        (UsageError("rank is 0"), 2, "error: rank is 0"),
        (BackendError("no device"), 3, "error: no device"),
        (DataError("x.npy: empty"), 4, "error: x.npy: empty"),
        (OutputError("no room"), 4, "error: no room"),
        (DivergedError("not finite"), 5, "error: not finite"),
        (MemoryError("8 TiB"), 2, "error: not enough memory: 8 TiB; close other programs"),
        (OSError(28, "No space"), 4, "error: [Errno 28] No space; make room or check the path"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (DataError("\x1b[2J\tx"), 4, "error: \ufffd[2J\tx"),
    ],
)
def test_each_error_is_one_line_and_its_exit_code(capsys, error, code, line):
    assert run_command(fail(error)) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_what_is_no_error_of_ours_is_not_hidden():
    """A mistake in the code shows its traceback."""
    with pytest.raises(ZeroDivisionError):
        run_command(fail(ZeroDivisionError()))


@pytest.mark.parametrize("arguments", [["doctor", "--help"], []])
def test_reader_of_standard_output_that_has_left(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = python("-m", "ddnmf_np", *arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (OutputError.exit_code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device without room")
def test_standard_output_without_room():
    with open("/dev/full", "w") as full:
        done = python("-m", "ddnmf_np", stdout=full)
    assert done.returncode == OutputError.exit_code
    assert done.stderr.startswith("error: [Errno 28]")
    assert len(done.stderr.splitlines()) == 1
