"""A short run of the command line, what it must leave behind, and programs that break it."""

import contextlib
import json
import os
import sys

import numpy as np
from forked import Forked

from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError
from ddnmf_np.runs.checkpoint import load_checkpoint

TIMES = ("seconds", "samples_per_second")
EPOCHS = 12
FLAGS = [
    "--widths", "32", "16", "--rank", "5", "--batch-size", "50", "--epochs", str(EPOCHS),
    "--seed", "3", "--clusterers", "kmeans", "--starts", "1", "--embedding", "pca",
    "--embedding-samples", "100", "--threads", "1", "--checkpoint-every", "0",
    "--objective", "paper", "--fast", "off",  # Numba takes longer to load than this to train
]  # fmt: skip


def write_images(path):
    """Write 400 real images: MNIST's where they are, else scikit-learn's digits."""
    with contextlib.suppress(DataError):
        np.save(path, load("mnist", data_dir=os.environ.get("DDNMF_DATA", ".")).x_train[:400])
        return
    np.save(path, load("digits").x_train[:400])


def program(code):
    """Return the program of a run; ``code`` is executed before it.

    Every picture is empty, because painting takes longer than training.
    """
    return f"""
import sys
from matplotlib.figure import Figure
from ddnmf_np.train import main
_paint = Figure.savefig
Figure.savefig = lambda self, stream, **how: _paint(Figure((1, 1)), stream, format="png")
{code}
sys.exit(main(sys.argv[1:]))
"""


def words(output, *flags):
    """Return the command line of a run, without the interpreter."""
    return [*FLAGS, *map(str, flags), "--output", str(output)]


def command(output, *flags):
    """Return the command of a run that starts an interpreter."""
    return [sys.executable, "-c", program(""), *words(output, *flags)]


class Run(Forked):
    """A process of the command line; see `Forked`.

    A run of many epochs is given no standard error.
    """

    def __init__(self, output, *flags, code="", err=True):
        super().__init__(program(code), words(output, *flags), err)


def finish(output, *flags, code=""):
    """Run to the end; return exit code and what it said on standard error."""
    process = Run(output, *flags, code=code)
    err = process.end()
    return process.returncode, err


def how_to_go_on(output):
    """Return the flag of a user after a crash: resume, or start where nothing was begun."""
    return "--resume" if (output / "checkpoint.npz").exists() else "--overwrite"


def go_on(output, data, *flags):
    """Do what a user does after a crash."""
    code, err = finish(output, how_to_go_on(output), "--dataset", data, *flags)
    assert code == 0, err


def result(output):
    """Return everything of a run that does not depend on time."""
    checkpoint = load_checkpoint(output / "checkpoint.npz")
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    losses = [{k: v for k, v in record.items() if k not in TIMES} for record in records]
    summary = json.loads((output / "summary.json").read_text())["evaluation"]
    for score in summary["scores"].values():
        score.pop("seconds", None)
    position = {k: v for k, v in checkpoint.meta["position"].items() if k != "seconds"}
    return checkpoint.arrays, losses, summary, position


def assert_same_result(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name, block in expected[0].items():
        assert found[0][name].tobytes() == block.tobytes(), name
    for part, wanted in zip(found[1:], expected[1:], strict=True):
        assert part == wanted


def leftovers(output):
    """Return the hidden files of a run's folder."""
    return sorted(path.name for path in output.rglob(".*"))
