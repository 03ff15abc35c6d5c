"""The trace of a training step: the engine beside the literal equations, as JSON and as a page."""

import json
import re

import numpy as np
import pytest
from explore_cases import make_run
from tolerances import ORACLE64

from ddnmf_np.engine.layers import Dense
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.trace.__main__ import main


@pytest.fixture(scope="module", params=["paper", "demo", "stable", "auto"])
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
    assert (record["lr"] == 0) == (checkpoint.config.optimizer.lr_schedule == "cosine"), (
        "at its end"
    )
    for layer in record["layers"]:
        assert (layer["update W"]["norm"] > 0) == (record["lr"] > 0)
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


def test_page_in_the_browser(visit, run, capsys):
    trace(run, capsys)
    page = visit((run / "trace.html").read_text("utf-8"), scheme="dark")
    for width in (400, 1280):
        page.resize(width, 800)
        assert page.run("document.documentElement.scrollWidth") <= width


def test_run_is_not_changed(run, capsys):
    before = (run / "checkpoint.npz").read_bytes()
    trace(run, capsys)
    assert (run / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "0 run folders given"),
        (["a", "--samples", "0"], 2, "--samples is 0; give 1 or more"),
        (["nowhere"], 2, "run folder nowhere: "),
    ],
)
def test_usage(arguments, code, message, capsys):
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
