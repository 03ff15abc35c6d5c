"""File names with markup, formulas or terminal commands, from the data to the pages."""

import json
import os
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from ddnmf_np.explore.__main__ import main as explore
from ddnmf_np.report.__main__ import main as report
from ddnmf_np.train import main as train

pytestmark = pytest.mark.usefixtures("sketched_module")

OPTIONS = [
    *("--widths", "8", "4", "--rank", "3", "--epochs", "1", "--batch-size", "16", "--threads", "1"),
    *("--clusterers", "kmeans", "--starts", "2", "--embedding", "pca", "--output"),
]

NAMES = {
    "script": "<script>alert(1)<",
    "attribute": "\" onload='alert(1)' x=\"",
    "comment": "<!--<script>",
    "entity": "&lt;b&gt;",
    "formula": r"a$\x_{$b",
    "substitution": "$title ${script}",
    "template": "{{ 7 * 7 }}{% endif %}{# -",
    "escape": "a\x1b]0;owned\x07\nb",
}


class Elements(HTMLParser):
    """The elements that a browser would create, and their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, sorted(name for name, _ in attrs)))


def run_of(folder, name):
    """Train on a file of that name; return the run's folder."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    with open(folder / f"{name}.npz", "wb") as stream:
        np.savez(stream, x=rng.random((40, 64), np.float32), y=np.arange(40) % 3)
    run = folder / "run"
    assert train(["--dataset", str(folder / f"{name}.npz"), *OPTIONS, str(run)]) == 0
    assert explore([str(run)]) == 0
    assert report([str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("plain"), "plain")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_adds_no_element_to_a_page(tmp_path, plain, capfd, name):
    """The pages of two runs that differ only in the data's name have the same elements."""
    capfd.readouterr()
    run = run_of(tmp_path / "data", name)
    said = "".join(capfd.readouterr())
    assert "\x1b" not in said
    assert "\x07" not in said
    for page in ("report.html", "explorer.html"):
        here, there = ((folder / page).read_text("utf-8") for folder in (run, plain))
        assert Elements(here).found == Elements(there).found
        policy = re.search(r'Content-Security-Policy" content="(.*?)"', here)[1]
        assert policy == re.search(r'Content-Security-Policy" content="(.*?)"', there)[1]
        assert "'unsafe-inline'" not in policy
    content = re.search(r'id="content">(.*?)</script>', here, re.DOTALL)[1]
    assert "<" not in content  # not even the beginning of a comment
    assert {p.name for p in (run / "figures").iterdir()} == {
        p.name for p in (plain / "figures").iterdir()
    }


def test_end_of_a_script_in_the_name_of_a_run_s_data(tmp_path, plain):
    """No file can be called that, but a summary can say so."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.toml", "metrics.jsonl", "checkpoint.npz"):
        (run / name).write_bytes((plain / name).read_bytes())
    about = json.loads((plain / "summary.json").read_text("utf-8"))
    names = "</title></script><script>alert(1)</script>\ud800"
    about["dataset"]["name"] = about["device"] = names
    about["environment"]["versions"] = {names: names}
    (run / "summary.json").write_text(json.dumps(about), "utf-8")
    assert report([str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert "&lt;/title&gt;&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "script" not in {tag for tag, _ in Elements(page).found}


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_name_that_is_no_text(tmp_path, capsys):
    path = os.fsencode(tmp_path) + b"/bad\xff.npy"
    with open(path, "wb") as stream:
        np.save(stream, np.ones((40, 64)))
    command = ["--dataset", os.fsdecode(path), *OPTIONS, str(tmp_path / "run")]
    assert train(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: dataset is ")
    assert error.endswith("bad\\udcff.npy', which is no text in UTF-8; rename the file or folder\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [16, 20, 23])
def test_picture_that_is_a_beginning_and_an_end_alone(tmp_path, plain, length):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    for name in ("config.toml", "metrics.jsonl", "checkpoint.npz"):
        (run / name).write_bytes((plain / name).read_bytes())
    good = (plain / "figures" / "parts.png").read_bytes()
    (run / "figures" / "parts.png").write_bytes(good[: length - 8] + good[-8:])
    assert report([str(run)]) == 0
    assert "figures/parts.png is not a PNG file" in (run / "report.html").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_name_of_a_stream_is_no_command_of_a_terminal(tmp_path, capfd):
    path = tmp_path / "e\x1b[31mRED.npy"
    np.save(path, np.random.default_rng(0).random((40, 64), np.float32))
    command = ["--dataset", str(path), "--stream", *OPTIONS, str(tmp_path / "run")]
    assert train(command) == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert train([*command, "--overwrite"]) == 4
    said = "".join(capfd.readouterr())
    assert "\x1b" not in said
    assert "e\N{REPLACEMENT CHARACTER}[31mRED" in said
