"""The two commands that measure streaming run, report their results, and clean up."""

import json

import numpy as np
import pytest

from ddnmf_np.bench import larger_than_memory, shuffling
from ddnmf_np.data.datasets import Dataset, load


@pytest.fixture
def small_mnist(monkeypatch):
    """Let 300 digits, enlarged to 28 x 28, stand for MNIST."""
    digits = load("digits")
    x = np.kron(digits.x_train[:300].reshape(-1, 8, 8), np.ones((4, 4), "float32"))
    x = np.ascontiguousarray(x[:, 2:30, 2:30].reshape(300, 784))
    data = Dataset("mnist", x[:250], x[250:], digits.y_train[:250], None, (28, 28), "here")
    for module in (larger_than_memory, shuffling):
        monkeypatch.setattr(module, "load", lambda name, data_dir: data)


def test_stream_and_memory_do_the_same_number_of_steps(small_mnist, tmp_path, capsys):
    output = tmp_path / "out"
    flags = ["--gigabytes", "0.002", "--in-memory", "0.001", "--widths", "8", "--output"]
    assert larger_than_memory.main([*flags, str(output)]) == 0
    found = json.loads((output / "larger-than-memory.json").read_text())
    assert found["samples"] == 637
    assert found["stream"]["steps"] == found["memory"]["steps"] == 5
    assert found["stream"]["peak_mib"] > found["stream"]["mib_before_training"] > 0
    assert found["mib_above_model"] < 200
    assert [path.name for path in output.iterdir()] == ["larger-than-memory.json"]


def test_the_file_goes_when_a_worker_fails(small_mnist, tmp_path, capfd):
    flags = ["--gigabytes", "0.002", "--in-memory", "0.0001", "--output", str(tmp_path)]
    assert larger_than_memory.main(flags) == 1
    assert "the worker 'memory' ended with code 4" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_shuffling_measures_every_order(small_mnist, tmp_path):
    flags = ["--epochs", "1", "--seeds", "1", "--widths", "8", "--windows", "1", "--output"]
    assert shuffling.main([*flags, str(tmp_path)]) == 0
    runs = json.loads((tmp_path / "shuffling.json").read_text())["runs"]
    assert [(run["arranged"], run["window_mib"]) for run in runs] == [
        ("as it comes", None), ("as it comes", 1), ("sorted by class", None), ("sorted by class", 1)
    ]  # fmt: skip
    # 250 samples fit into one window: the same run.
    assert runs[0]["student"] == runs[1]["student"]


@pytest.mark.parametrize(
    ("command", "flags"),
    [(larger_than_memory, ["--widths", "0"]), (larger_than_memory, ["--gigabytes", "-1"]),
     (shuffling, ["--seeds", "0"]), (shuffling, ["--windows", "1", "x"])],
)  # fmt: skip
def test_a_bad_option_is_refused_before_anything_is_written(command, flags, tmp_path, capsys):
    assert command.main([*flags, "--output", str(tmp_path / "out")]) == 2
    assert f"error: argument {flags[0]}: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
