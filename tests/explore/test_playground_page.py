"""The playground before any browser sees it, and the command that writes it."""

import base64
import re

import numpy as np
import pytest
from explore_cases import head_of

from ddnmf_np.data.datasets import load
from ddnmf_np.playground import content
from ddnmf_np.playground.__main__ import main


@pytest.fixture(scope="module")
def text():
    return content.page()


def test_command_writes_a_page(text, tmp_path, capsys):
    path = tmp_path / "new" / "page.html"
    assert main([str(path)]) == 0
    assert path.read_text("utf-8") == text
    assert capsys.readouterr().out == f"{path} ({len(text) / 1e6:.1f} MB): open it in a browser\n"
    assert len(text) < 3e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["page.txt"], "output page.txt: expected the name of a file that ends in .html"),
        (["a.html", "b.html"], "argument 'b.html' is unknown"),
        (["--mnits"], "did you mean '--mnist'"),
        (["--data-dir", "x"], "give --mnist, too"),
    ],
)
def test_usage(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "page.html")]) == 4
    assert capsys.readouterr().err.startswith("error: ")


def test_page_asks_for_nothing(text):
    assert "http:" not in text
    assert "https:" not in text
    assert not re.findall(r"\ssrc=", text)
    assert re.findall(r'\shref="(.*?)"', text) == ["data:,"]
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none';")


def test_page_has_the_digits_as_they_are(text):
    block = base64.b64decode(re.search('id="block-digits">(.*?)<', text)[1])
    levels = np.frombuffer(block, np.uint8).reshape(-1, 64)
    dataset = load("digits", dtype="float64")
    assert np.array_equal(levels / 16, dataset.x_train)
    assert np.array_equal(content.samples("digits"), dataset.x_train)
    [head] = head_of(text)["sets"].values()
    assert head["labels"] == dataset.y_train.tolist()
    assert head["shape"] == [8, 8]


def test_page_with_mnist(monkeypatch):
    """Drawn, in the place of MNIST: the mean of four pixels, rounded to a byte."""
    x = np.random.default_rng(0).integers(0, 256, (1200, 784)).astype(np.uint8)
    digits, labels = load("digits"), np.arange(1200) % 10

    class Found:
        x_train, y_train = x / 255.0, labels

    monkeypatch.setattr(content, "load", lambda name, **_: Found if name == "mnist" else digits)
    small = content.samples("mnist")
    assert small.shape == (1000, 196)
    four = x[7].reshape(28, 28)[2:4, 6:8].mean()
    assert small[7, 14 + 3] == np.rint(four) / 255
    text = content.page(mnist=True)
    assert list(head_of(text)["sets"]) == ["digits", "mnist"]
    assert len(text) < 3e6


def test_options_of_the_page_are_those_of_the_presets(text):
    head = head_of(text)
    assert list(head["presets"]) == ["paper", "demo", "stable"]
    for name, options in head["presets"].items():
        config = content.configured(objective=name)
        assert options.pop("activation") == "relu"
        for key, value in options.items():
            assert value == (list(config[key]) if key == "widths" else config[key])
