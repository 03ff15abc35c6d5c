"""``python -m ddnmf_np.train``: what it leaves, how it stops and goes on, how it refuses."""

import base64
import contextlib
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import image
from training_cases import assert_same_state, draw, losses_of

import ddnmf_np.runs.run
from ddnmf_np.backends.select import get_ops, why_not_cupy
from ddnmf_np.config import DECIDED_BY, OPTIONS, PRESETS, configure, read_config
from ddnmf_np.data.datasets import load
from ddnmf_np.engine.losses import Objective
from ddnmf_np.parallel.communicator import SerialCommunicator
from ddnmf_np.report.page import write_report
from ddnmf_np.runs import scoring as report
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.folder import FIGURES, RunFolder
from ddnmf_np.train import _main, default_output, main, override
from ddnmf_np.training import Trainer

FLAGS = ["--widths", "11", "7", "--rank", "3", "--batch-size", "10", "--epochs", "3", "--seed", "5"]
EACH_EPOCH = ["--checkpoint-every", "0"]
SCORING = ["--clusterers", "kmeans", "--starts", "2", "--embedding", "pca"]
STEPS = 5  # of an epoch of 45 samples


@pytest.fixture
def data(tmp_path):
    """A file of 45 samples without labels."""
    path = tmp_path / "points.npy"
    np.save(path, draw())
    return path


def train(data, output, *flags):
    said = {"--objective", "--config", "--resume"} & set(flags)
    plain = [] if said else ["--objective", "paper"]  # holds nothing out and scales nothing
    return main(["--dataset", str(data), "--output", str(output), *FLAGS, *SCORING, *plain, *flags])


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def content(folder):
    """Return every file below a folder with its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same_run(folder, other):
    """Fail unless two runs have the same weights, optimizer, position and losses, bit by bit."""
    one, two = (load_checkpoint(path / "checkpoint.npz") for path in (folder, other))
    assert_same_state(one.arrays, two.arrays)
    assert one.meta["position"] == two.meta["position"]
    assert one.meta["t"] == two.meta["t"]
    assert losses_of(metrics(folder)) == losses_of(metrics(other))
    assert metrics(folder) == one.meta["history"]


def one_error(capsys, *texts):
    """Fail unless standard error ends in one line ``error: ...`` with these texts."""
    progress = ("epoch ", "total = ", "  ")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(progress)]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for text in texts:
        assert text in lines[0]


# -- what a run leaves ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A whole run on digits: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    out, err = io.StringIO(), io.StringIO()
    flags = ["--widths", "24", "12", "--rank", "4", "--epochs", "4", "--seed", "3", "--starts", "2"]
    flags += ["--objective", "demo", "--embedding-samples", "60"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--output", str(folder), *flags])
    assert code == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def test_folder_holds_what_the_help_says(digits_run):
    folder = digits_run[0]
    assert sorted(content(folder)) == [
        "checkpoint.npz",
        "config.toml",
        *(
            f"figures/{name}.png"
            for name in ("clusters", "effects", "embedding", "losses", "parts")
        ),
        "figures/reconstructions.png",
        "metrics.jsonl",
        "report.html",
        "summary.json",
    ]


def test_report_is_of_this_run_and_holds_its_pictures(digits_run):
    folder, out, _ = digits_run
    text = (folder / "report.html").read_text("utf-8")
    summary = json.loads((folder / "summary.json").read_text())
    assert f"<strong>{summary['evaluation']['scores']['kmeans']['acc']:.3f}</strong>" in text
    assert summary["finished"] in text
    for path in (folder / "figures").iterdir():
        assert base64.b64encode(path.read_bytes()).decode() in text
    assert str(folder / "report.html") in out


def test_config_file_is_the_run_s_and_complete(digits_run):
    options = read_config(digits_run[0] / "config.toml")
    given = configure(
        widths=(24, 12), rank=4, epochs=4, seed=3, objective="demo", starts=2, embedding_samples=60,
        test_fraction=0.0,  # decided: the set has a test split
    )  # fmt: skip
    assert configure(**options) == given
    unset = OPTIONS.keys() - options.keys()
    assert unset == {"data_dir", "labels", "ignore", "image_shape", "threads", "clusters"}
    assert options["beta_ap"] == 0.01  # the preset's


def test_metrics_have_every_loss_of_every_epoch(digits_run):
    records = metrics(digits_run[0])
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert list(record) == [
            *("epoch", "loss_in", "loss_sym", "loss_ap", "loss_nc", "loss_rec"),
            *("seconds", "samples_per_second"),
        ]
        weighted = record["loss_sym"] + 0.01 * record["loss_ap"]
        weighted += record["loss_nc"] + record["loss_rec"]
        assert record["loss_in"] == pytest.approx(weighted, rel=1e-12)
        assert record["samples_per_second"] == pytest.approx(1437 / record["seconds"])
    # They are those of a Trainer with the same options.
    dataset = load("digits")
    config = configure(widths=(24, 12), rank=4, seed=3, objective="demo")
    trainer = config.make_trainer(
        config.make_model(64, get_ops(fast=config.execution.fast)), dataset.x_train
    )
    trainer.train(4)
    assert losses_of(records) == losses_of(trainer.history)
    checkpoint = load_checkpoint(digits_run[0] / "checkpoint.npz")
    assert_same_state(checkpoint.restore_model().state(), snapshot_of_parameters(trainer.model))


def snapshot_of_parameters(model):
    return {name: block for name, block in model.state().items() if ":" not in name}


def test_summary(digits_run):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    text = (digits_run[0] / "summary.json").read_text()
    summary = json.loads(text, parse_constant=refuse)
    dataset = load("digits")
    assert summary["dataset"]["n_train"] == len(dataset.x_train)
    assert (summary["epochs"], summary["seed"], summary["objective"]) == (4, 3, "demo")
    assert summary["losses"] == metrics(digits_run[0])[-1]
    per_net = [64, 24, 12, 24, 64]
    supervisor = sum(a * b + b for a, b in pairwise(per_net))
    assert summary["parameters"] == 2 * supervisor + 12 * 4 + 4 + 4 * 12
    evaluation = summary["evaluation"]
    assert (evaluation["split"], evaluation["n_samples"]) == ("test", len(dataset.x_test))
    assert evaluation["scores"].keys() == {"kmeans", "gmm-spherical"}
    for entry in evaluation["scores"].values():
        assert len(entry["cluster_sizes"]) == 10
        assert sum(entry["cluster_sizes"]) == len(dataset.x_test)
        for name in ("acc", "nmi", "ari"):
            assert entry["spread"][name]["min"] <= entry[name] <= entry["spread"][name]["max"]
    model = load_checkpoint(digits_run[0] / "checkpoint.npz").restore_model()
    H = model.encode(dataset.x_test)
    code = evaluation["code"]
    np.testing.assert_allclose(code["unit_std"], H.std(axis=0, dtype=np.float64), rtol=1e-12)
    assert code["dead_units"] == int((H.std(axis=0, dtype=np.float64) < 1e-3).sum())
    error = np.mean((model.denoise(dataset.x_test) - dataset.x_test) ** 2, dtype=np.float64)
    assert evaluation["reconstruction_error"]["student_clean"] == pytest.approx(error, rel=1e-6)
    assert summary["backend"].startswith("numpy")
    assert summary["device"]
    assert summary["environment"]["versions"]["numpy"] == np.__version__
    assert summary["environment"]["threads"]
    assert 0.0 < summary["training_seconds"] <= summary["wall_seconds"]
    assert 20.0 < summary["peak_memory_mib"] < 1e6


def test_figures_are_pictures_and_not_blank(digits_run):
    paths = sorted((digits_run[0] / "figures").iterdir())
    assert [path.stem for path in paths] == sorted(FIGURES)
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        pixels = image.imread(path)
        assert min(pixels.shape[:2]) > 100, path
        assert pixels[..., :3].std() > 0.02, path


def test_what_is_printed(digits_run):
    _, out, err = digits_run
    assert "digits: 1437 training samples of 64 features, from scikit-learn" in out
    assert "kmeans" in out
    assert "ACC 0." in out
    assert "variance left unexplained: " in out
    assert "Open " in out
    assert "from noisy samples: " in out
    lines = err.splitlines()[5:]  # no terminal: a legend, a line an epoch, and no bar
    assert len(lines) == 4
    for number, line in enumerate(lines, start=1):
        assert line.startswith(f"epoch {number}/4  total ")
        assert line.endswith(" samples/s")
        for name in ("supervisor", "follow", "factorize", "student"):
            assert f" {name} " in line


# -- data of one's own ------------------------------------------------------------------------


def test_npy_without_labels(tmp_path, data, sketched, capsys):
    assert train(data, tmp_path / "run", "--clusters", "2") == 0
    assert "kmeans" in (out := capsys.readouterr().out)
    assert "cluster sizes [" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    entry = summary["evaluation"]["scores"]["kmeans"]
    assert not {"acc", "nmi", "ari", "spread"} & entry.keys()
    assert len(entry["cluster_sizes"]) == 2
    assert sum(entry["cluster_sizes"]) == 45
    figures = sorted(path.name for path in (tmp_path / "run" / "figures").iterdir())
    assert figures == [
        f"{name}.png" for name in ("effects", "embedding", "losses", "parts", "reconstructions")
    ]


def test_embedding_is_coloured_by_class_or_else_by_cluster(tmp_path, data, sketched, monkeypatch):
    labels = np.arange(45) % 3
    np.save(tmp_path / "labels.npy", labels)
    shown = []
    plot = report.figures.plot_embedding

    def spy(points, colours, title, kind):
        shown.append((np.array(colours), title))
        return plot(points, colours, title, kind)

    monkeypatch.setattr(report.figures, "plot_embedding", spy)
    assert train(data, tmp_path / "with", "--labels", str(tmp_path / "labels.npy")) == 0
    assert train(data, tmp_path / "without", "--clusters", "2") == 0
    np.testing.assert_array_equal(shown[0][0], labels)
    assert shown[0][1].endswith("coloured by class")
    sizes = json.loads((tmp_path / "without" / "summary.json").read_text())
    sizes = sizes["evaluation"]["scores"]["kmeans"]["cluster_sizes"]
    assert sorted(np.bincount(shown[1][0]).tolist()) == sorted(sizes)
    assert shown[1][1].endswith("coloured by cluster")


MOVING = ["--noise-shift", "1", "--noise-rotation", "10", "--lr-schedule", "cosine"]


def rates_of(monkeypatch):
    """Return a list that gets the learning rate and the images' shape of every step to come."""
    found = []
    step = Trainer.step

    def spy(self, index):
        step(self, index)
        motion = self.noise.motion
        found.append((self.model.optimizer.lr, motion and motion.image_shape))

    monkeypatch.setattr(Trainer, "step", spy)
    return found


@pytest.mark.parametrize("shape", [[], ["--image-shape", "8", "8"], ["--image-shape", "4", "16"]])
def test_digits_in_motion(tmp_path, unscored, monkeypatch, shape):
    """Without a word about it their shape is the data set's."""
    found = rates_of(monkeypatch)
    flags = ["--batch-size", "128", *MOVING, *shape]
    assert train("digits", tmp_path / "run", *flags) == 0
    config = read_back(tmp_path / "run")
    assert (config.noise.shift, config.noise.rotation, config.noise.zoom) == (1.0, 10.0, 0.0)
    assert (config.optimizer.lr_schedule, config.noise.redraw) == ("cosine", False)
    given = tuple(map(int, shape[1:]))
    assert config.data.image_shape == (given or None)
    steps = 3 * 12  # 1437 samples
    assert [lr for lr, _ in found] == pytest.approx(
        [1e-3 * (1 + np.cos(np.pi * k / steps)) / 2 for k in range(steps)], rel=1e-12
    )
    assert {shape for _, shape in found} == {given or (8, 8)}


@pytest.mark.parametrize("objective", PRESETS)
def test_every_preset_trains_on_digits(tmp_path, unscored, objective):
    flags = ["--batch-size", "128", "--objective", objective]
    assert train("digits", tmp_path / "run", *flags) == 0
    found = read_back(tmp_path / "run")
    assert found.objective.preset == objective
    if objective not in DECIDED_BY:  # whose noise the data decide
        assert found.noise == configure(objective=objective).noise


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--image-shape", "7", "7"], "image_shape is (7, 7), but a sample of digits has 64 "
         "features; give a height and a width with that product, or leave it out"),
        (["--image-shape", "64"], "image_shape is (64,); expected height and width"),
        (["--image-shape", "8", "8", "1"], "image_shape is (8, 8, 1); expected height and width"),
        (["--image-shape", "0", "8"], "image_shape is [0, 8]; expected whole numbers from 1 to"),
        (["--image-shape", "8x8"], "argument --image-shape: invalid int value: '8x8'"),
        (["--noise-shift", "-1"], "noise_shift is -1.0; expected a finite number >= 0"),
        (["--noise-zoom", "1"], "noise_zoom is 1.0; expected a number in [0, 1)"),
        (["--lr-schedule", "cosin"], "argument --lr-schedule: invalid choice: 'cosin'"),
    ],
)  # fmt: skip
def test_motion_that_cannot_be_is_refused_before_anything_is_written(tmp_path, capsys, flags, text):
    assert train("digits", tmp_path / "run", *MOVING, *flags) == 2
    one_error(capsys, text)
    assert not (tmp_path / "run").exists()


def test_the_shape_given_is_that_of_the_pictures(tmp_path, data, sketched, capsys, monkeypatch):
    """Also where nothing moves, and in place of what the data set says."""
    shapes = []
    for name in ("plot_parts", "plot_reconstructions"):
        plot = getattr(report.figures, name)

        def spy(*args, plot=plot, **kwargs):
            bound = inspect.signature(plot).bind(*args, **kwargs)
            shapes.append(bound.arguments["image_shape"])
            return plot(*args, **kwargs)

        monkeypatch.setattr(report.figures, name, spy)
    flags = ["--batch-size", "128", "--epochs", "1"]
    assert train("digits", tmp_path / "as it is", *flags) == 0
    assert train("digits", tmp_path / "wide", *flags, "--image-shape", "4", "16") == 0
    assert shapes == [(8, 8)] * 3 + [(4, 16)] * 3
    assert train(data, tmp_path / "flat", "--image-shape", "1", "13") == 0
    assert shapes[6:] == [(1, 13)] * 3
    capsys.readouterr()
    assert train(data, tmp_path / "wrong", "--image-shape", "3", "4") == 2
    one_error(capsys, "image_shape is (3, 4), but a sample of points has 13 features")
    assert not (tmp_path / "wrong").exists()


def test_motion_of_samples_that_are_no_images(tmp_path, data, sketched, capsys):
    assert train(data, tmp_path / "run", *MOVING) == 2
    one_error(capsys, "image_shape is unknown and a sample has 13 features", "or noise_shift=0")
    assert not (tmp_path / "run").exists()
    options = [*MOVING, "--noise-shift", "0", "--noise-rotation", "0", "--epochs", "1"]
    assert train(data, tmp_path / "run", *options) == 0


def test_npz_with_both_splits(tmp_path, sketched):
    path = tmp_path / "images.npz"
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 5)).astype(np.uint8)
    y = np.arange(60) % 3
    np.savez(path, x_train=x[:45], y_train=y[:45], x_test=x[45:], y_test=y[45:])
    assert train(path, tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["dataset"] | {"source": ""} == {
        "name": "images",
        "source": "",
        "n_train": 45,
        "n_features": 20,
        "missing": 0.0,
    }
    evaluation = summary["evaluation"]
    assert (evaluation["split"], evaluation["n_samples"]) == ("test", 15)
    assert len(evaluation["scores"]["kmeans"]["cluster_sizes"]) == 3
    assert 1 / 3 <= evaluation["scores"]["kmeans"]["acc"] <= 1
    assert (tmp_path / "run" / "figures" / "clusters.png").exists()


def test_no_epochs_scores_the_untrained_model(tmp_path, data, sketched):
    assert train(data, tmp_path / "run", "--epochs", "0") == 0
    assert metrics(tmp_path / "run") == []
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["epochs"], summary["losses"]) == (0, {})
    model = read_back(tmp_path / "run").make_model(13)
    np.testing.assert_allclose(
        summary["evaluation"]["code"]["std"], model.encode(draw()).std(dtype=np.float64), rtol=1e-12
    )
    assert (tmp_path / "run" / "figures" / "losses.png").exists()


def test_untrained_run_can_be_trained_later(tmp_path, data, unscored):
    assert train(data, tmp_path / "run", "--epochs", "0") == 0
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "3"]) == 0
    assert train(data, tmp_path / "whole") == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def read_back(folder):
    return configure(**read_config(folder / "config.toml"))


# -- options ----------------------------------------------------------------------------------


def test_flags_win_over_the_file(tmp_path, data, unscored):
    file = tmp_path / "options.toml"
    file.write_text("[model]\nrank = 4\n[optimizer]\nlr = 0.5\n[training]\nepochs = 1\n")
    code = train(data, tmp_path / "run", "--config", str(file), "--epochs", "2", "--rank", "3")
    assert code == 0
    config = read_back(tmp_path / "run")
    assert (config.model.rank, config.optimizer.lr, config.training.epochs) == (3, 0.5, 2)
    assert len(metrics(tmp_path / "run")) == 2


def test_a_run_s_own_file_repeats_it(tmp_path, data, unscored):
    assert train(data, tmp_path / "one", "--objective", "demo", "--noise-redraw") == 0
    file = str(tmp_path / "one" / "config.toml")
    assert main(["--config", file, "--output", str(tmp_path / "two")]) == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_another_objective_takes_its_whole_preset(tmp_path, data, unscored):
    """A run's own file has every value of its preset: they must not outlive the preset's name."""
    assert train(data, tmp_path / "one", "--objective", "paper", "--lr", "0.01") == 0
    again = ["--config", str(tmp_path / "one" / "config.toml"), "--output", str(tmp_path / "two")]
    assert main([*again, "--objective", "demo", "--beta-ap", "0.5"]) == 0
    config = read_back(tmp_path / "two")
    assert config.objective == Objective("demo", beta_ap=0.5)
    assert config.optimizer.lr == 0.01


def test_a_value_chosen_by_hand_survives_another_objective(tmp_path, data, unscored):
    file = tmp_path / "options.toml"
    file.write_text("beta_ap = 0.5\n")
    assert train(data, tmp_path / "run", "--config", str(file), "--objective", "demo") == 0
    assert read_back(tmp_path / "run").objective == Objective("demo", beta_ap=0.5)


def test_naming_the_file_s_own_objective_changes_nothing(tmp_path, data, unscored):
    file = tmp_path / "options.toml"
    file.write_text("alpha_sym = 0.25\n")
    assert train(data, tmp_path / "run", "--config", str(file), "--objective", "paper") == 0
    assert read_back(tmp_path / "run").objective.alpha_sym == 0.25


@pytest.mark.parametrize("other", PRESETS)
@pytest.mark.parametrize("objective", PRESETS)
def test_presets_give_way_to_one_another(objective, other):
    """What a file has of its own preset does not outlive it; what was chosen by hand does."""
    file = configure(objective=objective, momentum=0.5).to_dict()
    config = configure(**override(file, {"objective": other, "starts": 2}))
    assert config.to_dict() == configure(objective=other, momentum=0.5, starts=2).to_dict()
    for name, value in (("noise_redraw", True), ("noise_shear", 0.25), ("lr_schedule", "cosine")):
        if file[name] == value:
            continue
        config = configure(**override(file | {name: value}, {"objective": other}))
        expected = configure(objective=other, momentum=0.5, **{name: value})
        assert config.to_dict() == expected.to_dict()
        by_flag = configure(**override(file, {"objective": other, name: value}))
        assert by_flag.to_dict() == config.to_dict()


def test_output_is_named_after_the_data(tmp_path, data, unscored, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--dataset", "points.npy", *FLAGS]) == 0
    assert (tmp_path / "runs" / "points" / "checkpoint.npz").exists()


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        (["--ranks", "3"], ["argument '--ranks' is unknown; did you mean '--rank'?"]),
        (["--ranks=3"], ["argument '--ranks' is unknown; did you mean '--rank'?"]),
        (["--noise_rate", "0.1"], ["argument '--noise_rate'", "did you mean '--noise-rate'?"]),
        (["--zzz"], ["argument '--zzz' is unknown; see --help"]),
        (["mnist"], ["argument 'mnist' is unknown; see --help"]),
        (["--rank", "abc"], ["argument --rank: invalid int value: 'abc'", "see --help"]),
        (["--rank", "2.5"], ["argument --rank: invalid int value: '2.5'"]),
        (["--rank"], ["argument --rank: expected one argument"]),
        (["--widths"], ["argument --widths: expected at least one argument"]),
        (["--optimizer", "adm"], ["argument --optimizer: invalid choice: 'adm'", "adam"]),
        (["--noise-rescale=no"], ["argument --noise-rescale/--no-noise-rescale: ignored"]),
        (["--rank", "0"], ["rank is 0; expected a whole number from 1 to 16777216"]),
        (["--widths", "5", "-5"], ["widths is [5, -5]; expected whole numbers from 1 to 16777216"]),
        (["--lr", "nan"], ["lr is nan; expected a finite number > 0"]),
        (["--lr", "-0.001"], ["lr is -0.001; expected a finite number > 0"]),
        (["--noise-rate", "1"], ["noise_rate is 1.0; expected a number in [0, 1)"]),
        (["--activation", "relu", "tanh", "relu"], ["activation names 3 functions for 2"]),
        (["--threads", "99999999999"], ["threads is 99999999999; expected", "from 1 to 1024"]),
        (["--dataset", "mnst"], ["data set 'mnst' is unknown; did you mean 'mnist'?"]),
        (
            ["--labels", "y.npy", "--dataset", "digits"],
            ["labels is 'y.npy', but digits has labels of"],
        ),
        (["--dataset", ""], ["dataset is empty; give a name or a path"]),
        (["--labels", ""], ["labels is empty; give a name or a path"]),
        (["--resume", "--overwrite"], ["--resume and --overwrite exclude each other"]),
        (["--widths", "16777216", "16777216"], ["not enough memory", "smaller widths"]),
        (["--widths", "1000000000000000000"], ["widths is [1000", "from 1 to 16777216"]),
        (["--rank", "1000000000000000000"], ["rank is 1000", "from 1 to 16777216"]),
        (["--config", "missing.toml"], ["config missing.toml: cannot be read: No such file"]),
        (["--config", "."], ["config .: cannot be read: Is a directory"]),
    ],
)
def test_usage_errors(tmp_path, data, capsys, monkeypatch, flags, texts):
    monkeypatch.chdir(tmp_path)
    assert train(data, tmp_path / "run", *flags) == 2
    one_error(capsys, *texts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("ranks = 3", "option 'ranks' is unknown; did you mean 'rank'?"),
        ("[optimser]\nlr = 1", "table 'optimser' is unknown; did you mean 'optimizer'?"),
        ("rank 3", "is not valid TOML: Expected '=' after a key in a key/value pair (at line 1"),
        ("lr = '0.1'", "lr is '0.1'; expected a number"),
        ("widths = [3.5]", "widths is 3.5; expected a whole number"),
    ],
)
def test_errors_in_the_options_file(tmp_path, data, capsys, content, text):
    file = tmp_path / "options.toml"
    file.write_text(content)
    flags = ["--dataset", str(data), "--output", str(tmp_path / "run"), "--config", str(file)]
    assert main(flags) == 2
    one_error(capsys, text)


def test_resume_needs_output(capsys):
    assert main(["--resume"]) == 2
    one_error(capsys, "--resume needs --output, the folder of the run to continue")


# -- output folders that are taken ------------------------------------------------------------


def test_folder_with_a_run_is_refused(tmp_path, data, unscored, capsys):
    assert train(data, tmp_path / "run") == 0
    before = content(tmp_path / "run")
    capsys.readouterr()
    assert train(data, tmp_path / "run", "--seed", "9") == 2
    one_error(capsys, "already holds a run", "--resume", "--overwrite")
    assert content(tmp_path / "run") == before


def test_overwrite_leaves_nothing_of_the_old_run(tmp_path, data, unscored):
    run = tmp_path / "run"
    assert train(data, run, "--epochs", "4") == 0
    (run / "figures" / "parts.png").write_bytes(b"old")
    (run / "figures" / "photo.png").write_bytes(b"mine")
    (run / "notes.txt").write_text("mine")
    assert train(data, run, "--seed", "9", "--overwrite") == 0
    assert len(metrics(run)) == 3
    assert read_back(run)["seed"] == 9
    assert not (run / "figures" / "parts.png").exists()
    assert (run / "figures" / "photo.png").read_bytes() == b"mine"
    assert (run / "notes.txt").read_text() == "mine"
    assert train(data, tmp_path / "new", "--seed", "9") == 0
    assert_same_run(run, tmp_path / "new")


@pytest.mark.parametrize("flags", [[], ["--overwrite"]], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    "name", ["thesis.tex", "config.toml", "figures/photo.png", "checkpoint.npz"]
)
def test_folder_with_other_files_is_left_alone(tmp_path, data, capsys, name, flags):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    (run / name).write_text("[tool.mine]\nyears_of = 'work'\n")
    before = content(run)
    assert train(data, run, *flags) == 2
    one_error(capsys, "holds other files", "no run", "choose an empty or new folder")
    assert content(run) == before


def test_empty_folder_is_taken(tmp_path, data, unscored):
    (tmp_path / "run").mkdir()
    assert train(data, tmp_path / "run") == 0


def test_folder_behind_a_link(tmp_path, data, unscored):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    assert train(data, tmp_path / "run") == 0
    assert train(data, tmp_path / "run", "--overwrite") == 0
    assert (tmp_path / "run").is_symlink()
    assert len(metrics(tmp_path / "disk")) == 3


@pytest.mark.parametrize("below", ["", "run", "deep/er/run"])
def test_folder_that_cannot_be_made(tmp_path, data, capsys, below):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert train(data, file / below) == 4
    one_error(capsys, f"output {file / below}: cannot be written", "choose a folder that can")
    assert file.read_text() == "in the way"


# -- data and backends that cannot be used ----------------------------------------------------


def bad_values(value):
    x = draw()
    x[7, 4] = value
    return x


@pytest.mark.parametrize(
    ("name", "write", "texts"),
    [
        ("x.npy", None, ["x.npy", "No such file"]),
        ("x.npz", None, ["x.npz", "No such file"]),
        ("folder", lambda p: p.mkdir(), ["has no file train-images-idx3-ubyte"]),
        ("x.xls", lambda p: p.write_text("1,2"), ["is of no known kind", "convert it"]),
        ("x.npy", lambda p: np.save(p, bad_values(-1)), ["Negative values", "row 7, column 4"]),
        ("x.npy", lambda p: np.save(p, bad_values(np.nan)), ["not finite", "row 7, column 4"]),
        ("x.npy", lambda p: np.save(p, bad_values(np.inf)), ["not finite", "row 7, column 4"]),
        ("x.npy", lambda p: np.save(p, draw(9)), ["x has 9 samples, fewer than batch_size = 10"]),
        ("x.npy", lambda p: np.save(p, draw(45)[0]), ["shape (13,)"]),
        ("x.npz", lambda p: np.savez(p, samples=draw()), ["samples", "expected x_train"]),
        (
            "x.npz",
            lambda p: np.savez(p, x_train=draw(), x_test=draw(2)),
            ["the test split has 2 samples, fewer than 3 clusters", "--clusters"],
        ),
    ],
)
def test_data_errors(tmp_path, capsys, name, write, texts):
    path = tmp_path / name
    if write is not None:
        write(path)
    assert train(path, tmp_path / "run") == 4
    one_error(capsys, *texts)
    assert not (tmp_path / "run").exists()


def test_truncated_data(tmp_path, capsys):
    path = tmp_path / "x.npz"
    np.savez(path, x_train=draw())
    path.write_bytes(path.read_bytes()[:-50])
    assert train(path, tmp_path / "run") == 4
    one_error(capsys, "x.npz: cannot be read")


def test_fewer_samples_than_clusters(tmp_path, data, capsys):
    assert train(data, tmp_path / "run", "--clusters", "46") == 4
    one_error(capsys, "the train split has 45 samples, fewer than 46 clusters", "--clusters")


@pytest.mark.skipif(why_not_cupy() is None, reason="CuPy works here")
def test_missing_backend(tmp_path, data, capsys):
    assert train(data, tmp_path / "run", "--backend", "cupy") == 3
    one_error(capsys, "backend 'cupy'", "Remedy")
    assert not (tmp_path / "run").exists()


# -- runs that fail on the way ----------------------------------------------------------------


def at_step(monkeypatch, number, act):
    """Call ``act(trainer)`` after so many steps of this process."""
    done = 0
    step = Trainer.step

    def counted(self, index):
        nonlocal done
        step(self, index)
        done += 1
        if done == number:
            act(self)

    monkeypatch.setattr(Trainer, "step", counted)


def test_diverged_run_keeps_the_last_good_checkpoint(tmp_path, data, unscored, capsys, monkeypatch):
    assert train(data, tmp_path / "whole") == 0
    capsys.readouterr()

    def spoil(trainer):
        trainer.model.student.arena.param("W2")[0, 0] = np.nan

    with monkeypatch.context() as patch:
        at_step(patch, 2 * STEPS + 3, spoil)
        assert train(data, tmp_path / "run", *EACH_EPOCH) == 5
    one_error(capsys, "training diverged in epoch 3", "smaller lr")
    assert len(metrics(tmp_path / "run")) == 2
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert checkpoint.meta["position"]["epoch"] == 2
    assert all(np.isfinite(block).all() for block in checkpoint.arrays.values())
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_signal_after_divergence_keeps_the_last_good_checkpoint(
    tmp_path, data, unscored, capsys, monkeypatch
):
    def spoil_and_stop(trainer):
        trainer.model.student.arena.param("W2")[0, 0] = np.nan
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, spoil_and_stop)
        assert train(data, tmp_path / "run", *EACH_EPOCH) == 5
    one_error(capsys, "diverged in epoch 2, step 2", "holds the last good state")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert checkpoint.meta["position"]["epoch"] == 1
    assert all(np.isfinite(block).all() for block in checkpoint.arrays.values())


def test_resuming_removes_the_results_of_the_shorter_run(tmp_path, data, unscored, monkeypatch):
    assert train(data, tmp_path / "run", "--epochs", "1") == 0
    assert (tmp_path / "run" / "summary.json").exists()
    (tmp_path / "run" / "figures" / "parts.png").write_bytes(b"old")
    (tmp_path / "run" / "figures" / "photo.png").write_bytes(b"mine")
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda trainer: signal.raise_signal(signal.SIGINT))
        assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "3"]) == 130
    assert not (tmp_path / "run" / "summary.json").exists()
    assert [path.name for path in (tmp_path / "run" / "figures").iterdir()] == ["photo.png"]


def test_diverged_in_the_first_epoch(tmp_path, data, unscored, capsys):
    assert train(data, tmp_path / "run", "--lr", "1e30") == 5
    one_error(capsys, "diverged in epoch 1, step ", "loss_in, loss_", "holds the last good state")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert_same_state(
        snapshot_of_parameters(checkpoint.restore_model()),
        snapshot_of_parameters(checkpoint.config.make_model(13)),
    )
    assert metrics(tmp_path / "run") == []


def test_killed_in_the_first_epoch(tmp_path, data, unscored, monkeypatch):
    """The checkpoint from before the first step has all that --resume needs."""
    assert train(data, tmp_path / "whole") == 0

    def die(trainer):
        raise SystemExit(-9)

    with monkeypatch.context() as patch:
        at_step(patch, 2, die)
        with pytest.raises(SystemExit):
            train(data, tmp_path / "run")
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_killed_between_metrics_and_checkpoint(tmp_path, data, unscored, monkeypatch):
    assert train(data, tmp_path / "whole") == 0
    save = ddnmf_np.runs.run.save_checkpoint

    def die_in_epoch_2(path, config, trainer, data_sha256):
        if trainer.position.epoch == 2:
            raise SystemExit(-9)
        save(path, config, trainer, data_sha256)

    with monkeypatch.context() as patch:
        patch.setattr(ddnmf_np.runs.run, "save_checkpoint", die_in_epoch_2)
        with pytest.raises(SystemExit):
            train(data, tmp_path / "run", *EACH_EPOCH)
    assert len(metrics(tmp_path / "run")) == 2  # ahead of the checkpoint
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


# -- checkpoints by time ----------------------------------------------------------------------


@pytest.fixture
def saved_at(monkeypatch):
    """Let a step take one second; return epoch and step of each checkpoint."""
    found, now = [], [0.0]
    step, save = Trainer.step, ddnmf_np.runs.run.save_checkpoint

    def step_for_a_second(trainer, index):
        step(trainer, index)
        now[0] += 1.0

    def noting(path, config, trainer, data_sha256):
        save(path, config, trainer, data_sha256)
        found.append((trainer.position.epoch, trainer.position.batch))

    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(Trainer, "step", step_for_a_second)
    monkeypatch.setattr(ddnmf_np.runs.run, "save_checkpoint", noting)
    monkeypatch.setattr(ddnmf_np.runs.run, "time", clock)
    return found


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("0", [(1, 0), (2, 0), (3, 0)]),
        ("3", [(0, 3), (1, 1), (1, 4), (2, 2), (3, 0)]),
        ("4.5", [(1, 0), (2, 0), (3, 0)]),  # due at the last step: saved with the epoch's record
        ("7", [(1, 2), (2, 4), (3, 0)]),
        ("30", [(3, 0)]),
    ],
)
def test_checkpoints_come_at_most_so_often_and_at_the_end(
    tmp_path, data, unscored, saved_at, every, expected
):
    assert train(data, tmp_path / "run", "--checkpoint-every", every) == 0
    assert saved_at == [(0, 0), *expected]


@pytest.mark.parametrize(("every", "position"), [("7", (1, 2)), ("3", (2, 2)), ("30", (0, 0))])
def test_killed_after_a_checkpoint_of_any_age(
    tmp_path, data, unscored, saved_at, monkeypatch, every, position
):
    """Metrics may be ahead of it by epochs; the run ends at the same bits."""
    assert train(data, tmp_path / "whole") == 0

    def die(trainer):
        raise SystemExit(-9)

    with monkeypatch.context() as patch:
        at_step(patch, 2 * STEPS + 3, die)
        with pytest.raises(SystemExit):
            train(data, tmp_path / "run", "--checkpoint-every", every)
    assert saved_at[-1] == position
    assert len(metrics(tmp_path / "run")) == 2
    write_report(RunFolder(tmp_path / "run"))
    assert "not finished: 2 of 3 epochs" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_what_has_diverged_in_the_middle_of_an_epoch_is_not_saved(
    tmp_path, data, unscored, saved_at, monkeypatch, capsys
):
    def spoil(trainer):
        trainer.model.student.arena.param("W2")[0, 0] = np.nan

    at_step(monkeypatch, STEPS + 2, spoil)
    assert train(data, tmp_path / "run", "--checkpoint-every", "1") == 5
    one_error(capsys, "diverged in epoch 2, step 2", "holds the last good state")
    assert saved_at[-1] == (1, 1)
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert all(np.isfinite(block).all() for block in checkpoint.arrays.values())


def test_disk_that_fills_up(tmp_path, data, unscored, capsys, monkeypatch):
    assert train(data, tmp_path / "whole") == 0
    capsys.readouterr()

    def fill(trainer):
        def no_room(*args):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", no_room)

    with monkeypatch.context() as patch:
        at_step(patch, 2 * STEPS, fill)
        assert train(data, tmp_path / "run", *EACH_EPOCH) == 4
    one_error(capsys, "checkpoint.npz: cannot be written: No space left on device; make room")
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert sorted(content(tmp_path / "run")) == sorted(content(tmp_path / "whole"))


# -- interrupted and resumed ------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "steps"),
    [*product([signal.SIGINT, signal.SIGTERM], [1, 4, 5, 12]), (getattr(signal, "SIGHUP", 0), 4)],
)
def test_signal_saves_and_resume_goes_on(
    tmp_path, data, unscored, capsys, monkeypatch, number, steps
):
    assert train(data, tmp_path / "whole") == 0
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_step(patch, steps, lambda trainer: signal.raise_signal(number))
        assert train(data, tmp_path / "run") == 130
    assert signal.getsignal(number) is handler
    epochs, batches = divmod(steps, STEPS)
    out = capsys.readouterr().out
    assert f"stopped after {epochs} epochs and {batches} steps; everything is saved" in out
    assert f"--resume --output {tmp_path / 'run'}" in out
    position = load_checkpoint(tmp_path / "run" / "checkpoint.npz").meta["position"]
    assert (position["epoch"], position["batch"]) == (epochs, batches)
    assert not (tmp_path / "run" / "summary.json").exists()
    report_file = tmp_path / "run" / "report.html"
    assert f"not finished: {epochs} of 3 epochs" in report_file.read_text("utf-8")
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert (tmp_path / "run" / "summary.json").exists()
    assert "not finished" not in report_file.read_text("utf-8")


def test_second_ctrl_c_ends_at_once(tmp_path, data, unscored, capsys, monkeypatch):
    def twice(trainer):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert train(data, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 3, twice)
        assert train(data, tmp_path / "run", *EACH_EPOCH) == 130
    assert "interrupted; the last checkpoint" in capsys.readouterr().err
    position = load_checkpoint(tmp_path / "run" / "checkpoint.npz").meta["position"]
    assert (position["epoch"], position["batch"]) == (1, 0)
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("module", "name"),
    [(ddnmf_np.runs.run, "read_data"), (report, "evaluate"), (report, "draw_figures")],
    ids=["loading", "clustering", "drawing"],
)
def test_ctrl_c_outside_of_training(tmp_path, data, unscored, capsys, monkeypatch, module, name):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    assert train(data, tmp_path / "whole") == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        assert train(data, tmp_path / "run") == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("interrupted; ")
    assert (f"--resume --output {tmp_path / 'run'}" in said) == (name != "read_data")
    if name == "read_data":
        assert not (tmp_path / "run").exists()
        return
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_signal_after_the_last_step_is_not_lost(tmp_path, data, unscored, capsys, monkeypatch):
    """It comes while the last epoch is saved, when no step is left to stop before."""
    assert train(data, tmp_path / "whole") == 0
    save = ddnmf_np.runs.run.save_checkpoint

    def save_and_stop(path, config, trainer, data_sha256):
        save(path, config, trainer, data_sha256)
        if trainer.position.epoch == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ddnmf_np.runs.run, "save_checkpoint", save_and_stop)
        assert train(data, tmp_path / "run") == 130
    assert "stopped after 3 epochs and 0 steps" in capsys.readouterr().out
    assert not (tmp_path / "run" / "summary.json").exists()
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_motion_and_schedule_go_on_after_a_signal(tmp_path, data, unscored, monkeypatch):
    flags = [*MOVING, "--noise-redraw", "--image-shape", "1", "13"]
    assert train(data, tmp_path / "whole", *flags) == 0
    for steps in (1, 4, 5, 12):
        with monkeypatch.context() as patch:
            at_step(patch, steps, lambda trainer: signal.raise_signal(signal.SIGINT))
            assert train(data, tmp_path / f"{steps}", *flags) == 130
        assert main(["--resume", "--output", str(tmp_path / f"{steps}")]) == 0
        assert_same_run(tmp_path / f"{steps}", tmp_path / "whole")


def test_a_schedule_takes_no_more_epochs(tmp_path, data, unscored, capsys):
    """It would have begun otherwise; the same epochs are no change."""
    assert train(data, tmp_path / "run", "--lr-schedule", "cosine") == 0
    before = content(tmp_path / "run")
    capsys.readouterr()
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "5"]) == 4
    one_error(capsys, "the run has epochs = 3, not 5", "leave the option out")
    assert content(tmp_path / "run") == before
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "3"]) == 0
    assert content(tmp_path / "run")["checkpoint.npz"] == before["checkpoint.npz"]


@pytest.mark.parametrize("every", ["0", "1e-9", "30"])
def test_more_epochs_for_a_finished_run(tmp_path, data, unscored, every):
    flags = ["--checkpoint-every", every]
    assert train(data, tmp_path / "whole", *flags, "--epochs", "5") == 0
    assert train(data, tmp_path / "run", *flags) == 0
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "5"]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert read_back(tmp_path / "run") == read_back(tmp_path / "whole")


def test_resuming_a_finished_run_scores_it_again(tmp_path, data, sketched):
    assert train(data, tmp_path / "run", "--clusters", "2") == 0
    summary = tmp_path / "run" / "summary.json"
    before, checkpoint = (
        json.loads(summary.read_text()),
        content(tmp_path / "run")["checkpoint.npz"],
    )
    summary.unlink()
    for path in (tmp_path / "run" / "figures").iterdir():
        path.unlink()
    (tmp_path / "run" / "figures").rmdir()
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    after = json.loads(summary.read_text())
    for scores in (before, after):
        scores["evaluation"]["scores"]["kmeans"].pop("seconds")
    for key in ("evaluation", "losses", "epochs", "training_seconds"):
        assert after[key] == before[key]
    assert content(tmp_path / "run")["checkpoint.npz"] == checkpoint
    assert len(list((tmp_path / "run" / "figures").iterdir())) == 5


def test_scoring_may_change_on_resume(tmp_path, data, unscored):
    assert train(data, tmp_path / "run") == 0
    flags = ["--starts", "1", "--embedding", "tsne", "--clusterers", "gmm-full"]
    assert main(["--resume", "--output", str(tmp_path / "run"), *flags]) == 0
    config = read_back(tmp_path / "run")
    assert (
        config.evaluation.starts,
        config.evaluation.embedding,
        config.evaluation.clusterers,
    ) == (1, "tsne", ("gmm-full",))


@pytest.mark.parametrize(
    ("flags", "code", "texts"),
    [
        (["--lr", "0.5"], 4, ["the run has lr = 0.001, not 0.5", "leave the option out"]),
        (["--widths", "5"], 4, ["the run has widths = (11, 7), not (5,)"]),
        (["--objective", "demo"], 4, ["the run has objective = 'paper', not 'demo'"]),
        (["--seed", "6"], 4, ["the run has seed = 5, not 6"]),
        (["--noise-redraw"], 4, ["the run has noise_redraw = False, not True"]),
        (["--image-shape", "1", "13"], 4, ["the run has image_shape = None, not (1, 13)"]),
        (["--lr-schedule", "cosine"], 4, ["the run has lr_schedule = 'constant', not 'cosine'"]),
        (["--epochs", "2"], 2, ["epochs is 2, but the run has done 3 epochs", "more epochs"]),
    ],
)
def test_changes_that_resume_refuses(tmp_path, data, unscored, capsys, flags, code, texts):
    assert train(data, tmp_path / "run") == 0
    before = content(tmp_path / "run")
    capsys.readouterr()
    assert main(["--resume", "--output", str(tmp_path / "run"), *flags]) == code
    one_error(capsys, *texts)
    assert content(tmp_path / "run") == before


def test_checkpoint_of_another_run_on_resume(tmp_path, data, unscored, capsys):
    for seed in ("5", "6"):
        assert train(data, tmp_path / seed, "--seed", seed) == 0
    (tmp_path / "6" / "checkpoint.npz").replace(tmp_path / "5" / "checkpoint.npz")
    before = content(tmp_path / "5")
    capsys.readouterr()
    assert main(["--resume", "--output", str(tmp_path / "5")]) == 4
    one_error(capsys, "checkpoint.npz: has seed = 6, but", "config.toml has 5: one of the two is")
    assert content(tmp_path / "5") == before


def test_other_data_on_resume(tmp_path, data, unscored, capsys):
    assert train(data, tmp_path / "run") == 0
    before = content(tmp_path / "run")
    np.save(data, draw(seed=1))
    capsys.readouterr()
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 4
    one_error(capsys, "the run was trained on other data", "give those data")
    assert content(tmp_path / "run") == before


def test_resume_where_there_is_no_run(tmp_path, capsys):
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 2
    one_error(capsys, "there is no run to resume", "leave --resume out to start one")
    assert not (tmp_path / "run").exists()


def test_resume_with_a_damaged_checkpoint(tmp_path, data, unscored, capsys):
    assert train(data, tmp_path / "run") == 0
    path = tmp_path / "run" / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 4
    one_error(capsys, "checkpoint.npz: is corrupt", "restore it from a copy or train again")


# -- as a process -----------------------------------------------------------------------------


SLEEP = """
import sys, time
from ddnmf_np.train import main
from ddnmf_np.runs import scoring as report
def sleep(*arguments, **options):
    print("asleep", flush=True)
    time.sleep(60)
report.evaluate = sleep
sys.exit(main())
"""


def command(*flags, code=None):
    environment = os.environ | {
        "PYTHONPATH": str(Path(ddnmf_np.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error",
    }
    # Deprecations of other packages at import are not ours to fail on.
    environment["PYTHONWARNINGS"] += ",ignore::DeprecationWarning,ignore::ImportWarning"
    return subprocess.Popen(
        [sys.executable, *(["-c", code] if code else ["-m", "ddnmf_np.train"]), *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_hangup_that_nohup_has_ignored_stops_nothing(tmp_path, data, unscored, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        at_step(monkeypatch, 4, lambda trainer: signal.raise_signal(signal.SIGHUP))
        assert train(data, tmp_path / "run") == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_ctrl_c_of_a_process(tmp_path, unscored):
    """`tests/faults` sends both signals to forked processes, again and again."""
    np.save(tmp_path / "x.npy", draw(150))
    flags = ["--dataset", tmp_path / "x.npy", *FLAGS, "--epochs", "50", "--objective", "paper"]
    flags += ["--fast", "off"]
    process = command(*flags, "--output", tmp_path / "run")
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "everything is saved" in out
    position = load_checkpoint(tmp_path / "run" / "checkpoint.npz").meta["position"]
    assert 3 <= position["epoch"] < 50
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert main([*map(str, flags), "--output", str(tmp_path / "whole")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_sigterm_after_training(tmp_path, data, unscored):
    """As batch systems end jobs: in order, with the exit code of Ctrl-C and a word how to go on."""
    output = tmp_path / "run"
    flags = ["--dataset", data, *FLAGS, *SCORING, "--fast", "off", "--output", output]
    process = command(*flags, code=SLEEP)
    for line in process.stdout:
        if line == "asleep\n":
            process.terminate()
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    said = err.splitlines()[-1]
    assert said.startswith("interrupted; ")
    assert f"--resume --output {output}" in said
    assert "Traceback" not in err
    assert not list(output.rglob(".*"))  # no lock
    assert load_checkpoint(output / "checkpoint.npz").meta["position"]["epoch"] == 3
    assert main(["--resume", "--output", str(output)]) == 0
    assert (output / "summary.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_handlers_are_put_back(tmp_path, data, unscored):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert train(data, tmp_path / "run") == 0
    assert train(data, tmp_path / "run") == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_runs_in_a_thread_that_may_set_no_handlers(tmp_path, data, unscored):
    codes = []
    thread = Thread(target=lambda: codes.append(train(data, tmp_path / "run")))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("mnist", "mnist"),
        ("data/x.npy", "x"),
        ("x.h5", "x"),
        ("a/x.h5::a", "x-a"),
        ("x.h5::b", "x-b"),
        ("x.zarr::/group/b.c/", "x-group-b.c"),
    ],
)
def test_each_array_has_its_folder(dataset, folder):
    assert default_output(dataset) == Path("runs") / folder


def test_errors_hold_no_commands_to_the_terminal(tmp_path, capsys):
    assert train(tmp_path / "\x1b[2Jé\r\x9b1m.npy", tmp_path / "run") == 4
    one_error(capsys, "/\ufffd[2Jé\ufffd\ufffd1m.npy")


class Rank(SerialCommunicator):
    size = 2

    def __init__(self, rank):
        self.rank = rank


def test_help_is_printed_by_rank_0_alone(capsys):
    for rank in (0, 1):
        with pytest.raises(SystemExit) as end:
            _main(["--help"], Rank(rank))
        assert end.value.code == 0
        assert ("--clusterers" in capsys.readouterr().out) == (rank == 0)


def test_missing_entries_from_the_file_to_the_report(tmp_path, data, sketched, capsys):
    x = np.load(data)
    x[np.random.default_rng(1).uniform(size=x.shape) < 0.3] = np.nan
    np.save(data, x)
    output = tmp_path / "run"
    flags = ["--dataset", str(data), *FLAGS, *SCORING, "--output", str(output)]
    flags += ["--objective", "paper"]
    assert main(flags) == 4
    assert "missing='nan'" in capsys.readouterr().err
    assert main([*flags, "--missing", "nan", "--image-shape", "1", str(x.shape[1])]) == 0
    summary = json.loads((output / "summary.json").read_text("utf-8"))
    assert summary["dataset"]["missing"] == pytest.approx(np.isnan(x).mean())
    assert all(
        np.isfinite(value) for value in summary["evaluation"]["reconstruction_error"].values()
    )
    assert main(["--resume", "--output", str(output), "--epochs", "4"]) == 0
