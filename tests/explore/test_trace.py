"""The trace of a training step: the engine beside the literal equations, as JSON and as a page."""

import json
import re

import numpy as np
import pytest
from explore_cases import draw, make_run
from tolerances import ORACLE64

from ddnmf_np.backends.ops import Ops
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.engine.layers import Dense
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.inputs import read_data
from ddnmf_np.runs.preparation import prepare
from ddnmf_np.trace import record as recording
from ddnmf_np.trace.__main__ import main
from ddnmf_np.train import main as train


@pytest.fixture(scope="module", params=["paper", "demo", "stable", "auto", "parts"])
def run(request, tmp_path_factory):
    """A run of each preset after two epochs; auto and stable also start from data and scale."""
    return make_run(tmp_path_factory.mktemp(request.param), objective=request.param)


def trace(run, capsys, *arguments):
    """Return the record of a run, and what the command printed."""
    assert main([str(run), *arguments]) == 0
    return json.loads((run / "trace.json").read_text("utf-8")), capsys.readouterr().out


@pytest.mark.equation(9)
@pytest.mark.equation(10)
def test_engine_and_literal_equations_agree(run, capsys):
    record, out = trace(run, capsys, "--samples", "5")
    assert record["worst"]["difference"] <= ORACLE64
    assert out.startswith("largest difference from engine/literal.py: ")
    assert record["samples"] == 5
    checkpoint = load_checkpoint(run / "checkpoint.npz")
    assert record["step"] == checkpoint.meta["t"] + 1
    assert [layer["net"] for layer in record["layers"]] == ["supervisor"] * 4 + ["student"] * 6
    descent = checkpoint.config.optimizer
    steps = checkpoint.config.training.epochs * -(-90 // checkpoint.config.training.batch_size)
    assert record["lr"] == descent.rate((steps - 1) / steps) > 0, "that of the last step"
    (note,) = record["notes"]
    assert note.startswith("The run is finished, so we add a step after its 2 epochs")
    assert f"({record['lr']:.3g})" in note
    for layer in record["layers"]:
        assert layer["update W"]["norm"] > 0
        assert layer["update W"]["difference"] <= ORACLE64
    code = record["layers"][5]["g"]["parts"]
    assert {"from above", "ap", "nc"} == code.keys()


def test_a_wrong_line_of_the_engine_is_found_in_its_layer(run, capsys, monkeypatch):
    correct = Dense.backward

    def reversed_rows(self, g=None, direct=()):
        dx = correct(self, g, direct)
        if self.label == "_rec":
            self.dW[...] = self.dW[::-1].copy()
        return dx

    monkeypatch.setattr(Dense, "backward", reversed_rows)
    record, _ = trace(run, capsys)
    assert record["worst"]["where"] == "dW of student layer 4"
    wrong = [
        (layer["net"], layer["layer"], key)
        for layer in record["layers"]
        for key, entry in layer.items()
        if isinstance(entry, dict) and entry.get("difference", 0) > ORACLE64
    ]
    assert wrong == [("student", 4, "dW")]


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
def test_a_wrong_step_of_the_descent_is_found(optimizer, tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path, objective="paper", optimizer=optimizer)
    record, _ = trace(run, capsys)
    assert record["worst"]["difference"] <= ORACLE64
    rule = {"gd": "descend"}.get(optimizer, optimizer)
    right = getattr(Ops, rule)

    def too_far(self, p, *more):
        before = p.copy()
        right(self, p, *more)
        p += 0.5 * (p - before)

    monkeypatch.setattr(Ops, rule, too_far)
    record, _ = trace(run, capsys)
    assert record["worst"]["where"].startswith("update ")
    assert record["worst"]["difference"] > 1e-6


def test_page_is_the_record(run, capsys):
    record, _ = trace(run, capsys)
    text = (run / "trace.html").read_text("utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text
    rows = re.findall(r'<tr><th class="(\w+)">\w+ (\d+)<br>', text)
    assert [(net, int(number)) for net, number in rows] == [
        (layer["net"], layer["layer"]) for layer in record["layers"]
    ]
    for value in (record["losses"]["loss_in"]["value"], record["layers"][7]["dW"]["norm"]):
        assert f"<td>{value:.3g}</td>" in text


@pytest.mark.extra
def test_page_in_the_browser(visit, run, capsys):
    trace(run, capsys)
    page = visit((run / "trace.html").read_text("utf-8"), scheme="dark")
    assert (
        page.run("document.querySelectorAll('main .wide[tabindex=\"0\"][aria-label]').length") == 1
    )
    assert page.run("[...document.querySelectorAll('th')].every(e => e.textContent.trim())")
    for width in (400, 1280):
        page.resize(width, 800)
        assert page.run("document.documentElement.scrollWidth") <= width


def test_updates_are_those_of_a_step_of_training(run, capsys):
    record, _ = trace(run, capsys, "--samples", "16")
    checkpoint = load_checkpoint(run / "checkpoint.npz")
    data = load(checkpoint.config.data.dataset).x_train
    trainer, _ = recording.of_run(checkpoint, data, None)
    model, epoch = trainer.model, trainer.position.epoch
    before = {name: block.copy() for name, block in model.state().items()}
    index = next(iter(trainer.feed.epoch(epoch, 0)))
    model.optimizer.lr = record["lr"]
    model.step(*trainer.feed.prepare(trainer.feed.batch.choose(index, epoch)))
    after = model.state()
    for layer in record["layers"]:
        dense = model.nets[layer["net"]].layers[layer["layer"] - 1]
        for block in dense.shapes():
            name = f"{layer['net']}.{block}"
            expected = np.linalg.norm(after[name] - before[name])
            assert layer[f"update {block[0]}"]["norm"] == pytest.approx(expected, rel=1e-9)


@pytest.fixture
def table(tmp_path):
    """A table with a column of labels, which are text."""
    x, kinds = draw(n=100, width=9)
    rows = [",".join([*map(str, row), f"kind {kind}"]) for row, kind in zip(x, kinds, strict=True)]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([",".join([*(f"x{k}" for k in range(9)), "kind"]), *rows]), "utf-8")
    return path


def train_small(table, *arguments):
    """Train on a table with its labels from the command line, and return the run's folder."""
    output = table.parent / "run"
    flags = ["--widths", "11", "7", "--rank", "3", "--batch-size", "10", "--embedding", "pca"]
    flags += ["--clusterers", "kmeans", "--starts", "2", "--labels", "kind", *arguments]
    assert train(["--dataset", str(table), "--output", str(output), *flags]) == 0
    return output


@pytest.mark.usefixtures("sketched_module")
@pytest.mark.parametrize("share", ["0", "0.2"])
def test_run_with_held_out_rows_and_a_column_of_labels(table, share, capsys):
    run = train_small(table, "--test-fraction", share, "--objective", "paper", "--epochs", "1")
    record, _ = trace(run, capsys)
    assert record["worst"]["difference"] <= ORACLE64
    table.write_text(table.read_text("utf-8").replace("kind 1", "kind 0"), "utf-8")
    trace(run, capsys)  # other labels: a step has none
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([lines[0], *lines[:0:-1]]), "utf-8")
    assert main([str(run)]) == 4
    assert "is not what the run was trained on" in capsys.readouterr().err


@pytest.mark.usefixtures("sketched_module")
def test_notes_of_best_weights_and_of_a_run_that_stopped_early(table, capsys):
    run = train_small(table, "--epochs", "50", "--tol", "0.9", "--patience", "2", "--lr", "0.1")
    checkpoint = load_checkpoint(run / "checkpoint.npz")
    done = checkpoint.meta["position"]["epoch"]
    assert checkpoint.meta["validation"]["stopped"]
    assert done < 50
    record, _ = trace(run, capsys)
    early, best = record["notes"]
    assert early.startswith(f"The run is finished: it stopped early after {done} of 50 epochs")
    assert record["lr"] == checkpoint.config.optimizer.rate(done / 50) > 0
    assert best.endswith("the averages of the optimizer (m, v) are from its last step.")
    assert f"{early} {best}</p>" in (run / "trace.html").read_text("utf-8")


@pytest.mark.parametrize("objective", ["paper", "auto"])
def test_first_step_of_a_new_model(objective, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--objective", objective, "--rank", "4", "--seed", "7", "--samples", "3"]
    assert main(["digits", *options]) == 0
    record = json.loads((tmp_path / "trace.json").read_text("utf-8"))
    assert record["worst"]["difference"] <= ORACLE64
    assert (record["step"], record["samples"], record["objective"]) == (1, 3, objective)
    assert record["notes"] == ["This is the first step of a new model (seed 7)."]
    options = {"dataset": "digits", "objective": objective, "rank": 4, "seed": 7}
    x, dataset, config = read_data(configure(**options))
    prepared = prepare(x.astype(float), configure(config, dtype="float64"), dataset.image_shape)
    model = prepared.config.make_model(64, scaling=prepared.scaling)
    trainer = prepared.config.make_trainer(model, prepared.x, image_shape=dataset.image_shape)
    trainer.start()
    before = {name: block.copy() for name, block in model.state().items()}
    batch = next(iter(trainer.feed.epoch(0, 0)))[:3]
    model.optimizer.lr = record["lr"]
    model.step(*trainer.feed.prepare(trainer.feed.batch.choose(batch, 0)))
    after = model.state()
    moved = sum(np.sum((after[name] - before[name]) ** 2) for name in before if ":" not in name)
    told = (
        entry["norm"] ** 2
        for layer in record["layers"]
        for key, entry in layer.items()
        if key.startswith("update")
    )
    assert sum(told) == pytest.approx(moved, rel=1e-9)
    assert "first step of a new model" in (tmp_path / "trace.html").read_text("utf-8")


@pytest.mark.usefixtures("sketched_module")
def test_step_on_a_file(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(table)]) == 4
    assert "column" in capsys.readouterr().err
    assert main([str(table), "--labels", "kind", "--output", "one/step.html"]) == 0
    record = json.loads((tmp_path / "one" / "step.json").read_text("utf-8"))
    assert record["worst"]["difference"] <= ORACLE64
    assert not (tmp_path / "trace.html").exists()


def test_run_is_not_changed(run, capsys):
    before = (run / "checkpoint.npz").read_bytes()
    trace(run, capsys)
    assert (run / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "0 runs or data sets given"),
        (["a", "--samples", "0"], 2, "--samples is 0; give 1 or more"),
        (["nowhere"], 2, "nowhere: there is no such run folder, file or data set"),
        (["digits", "--objective", "papr"], 2, "invalid choice: 'papr'"),
        (["digits", "--rank", "0"], 2, "rank is 0"),
        ([".", "--seed", "1"], 2, "--seed: . is a run, which has its own options"),
        (["."], 2, "run folder .: contains no run"),
        (["wrong.csv"], 4, "wrong.csv"),
        (["x.zarr"], 2, "x.zarr: cannot be read into memory, as a trace needs it; give a file of"),
        (["x.zarr", "--seed", "1"], 2, "x.zarr: cannot be read into memory"),
        (["x.zarr::a"], 2, "x.zarr::a: cannot be read into memory"),
        (["passwd"], 2, "give a file of another kind (.csv, .tsv, .txt, .parquet, .npy, .npz), a"),
    ],
)
def test_usage(arguments, code, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.csv").write_text("")
    (tmp_path / "passwd").write_text("")
    (tmp_path / "x.zarr").mkdir()
    assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_other_data_and_missing_entries_are_refused(tmp_path, capsys):
    run = make_run(tmp_path / "other", objective="paper")
    data = next((tmp_path / "other" / "data").iterdir())
    with np.load(data) as found:
        np.savez(data, x=found["x"][::-1])
    assert main([str(run)]) == 4
    assert "is not what the run was trained on" in capsys.readouterr().err
    run = make_run(tmp_path / "missing", objective="paper", missing="nan")
    assert main([str(run)]) == 2
    assert "missing entries" in capsys.readouterr().err
    assert not (run / "trace.json").exists()
