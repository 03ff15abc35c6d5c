"""The figure of the model: true to the widths, the same as the committed files, fit for a page."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ddnmf_np.engine.losses import appositive
from ddnmf_np.errors import OptionError, UsageError
from ddnmf_np.evaluation.figures import LOSS_COLORS, STUDENT_COLOR, SUPERVISOR_COLOR
from ddnmf_np.model import Architecture
from ddnmf_np.teaching.diagram import LOSSES, STYLE, draw, main

STATIC = Path(__file__).parents[2] / "derivations" / "_static"
COMMITTED = {"model": (), "model-apposition": ("ap",), "model-student": ("ap", "nc")}
"""Files of the book by the losses that they show."""


def shapes(svg, tag, kind):
    """Return the shapes of one kind: an element for each."""
    root = ElementTree.fromstring(svg)
    found = root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    return [element for element in found if kind in element.get("class", "").split()]


def bars(svg, network):
    """Return the place and the height of each layer of a network."""
    return [(float(b.get("x")), float(b.get("height"))) for b in shapes(svg, "rect", network)]


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_figures_are_what_the_script_draws(name):
    """If this fails: ``python -m ddnmf_np.teaching.diagram derivations/_static/model.svg``."""
    drawn = draw(784, Architecture(), COMMITTED[name])
    assert (STATIC / f"{name}.svg").read_text("utf-8") == drawn


@pytest.mark.parametrize("widths", [(500, 500, 2000), (30,), (256, 128), (70, 60, 50, 40)])
def test_widths_and_pairs_are_true(widths):
    svg, depth = draw(64, Architecture(widths=widths, rank=10)), 2 * len(widths)
    above, below = bars(svg, "supervisor"), bars(svg, "student")
    assert len(above) == depth + 1
    assert len(below) == depth + 3
    for layer in range(1, depth + 1):
        assert above[layer] == below[appositive(layer, depth)]
    assert len(shapes(svg, "path", "ap")) == depth
    for (_, height), width in zip(below, [64, *widths, 10, *widths[::-1], 64], strict=True):
        assert (height / 150) ** 2 == pytest.approx(width / max(64, *widths), abs=0.02)
    assert len({place for place, _ in below}) == depth + 3


def test_only_the_losses_that_were_asked_for_are_bright():
    assert len(shapes(draw(64, Architecture()), "g", "dim")) == 0
    for name in LOSSES:
        faint = shapes(draw(64, Architecture(), [name]), "g", "dim")
        assert len(faint) == 2
        assert not [path for group in faint for path in group if name in path.get("class").split()]


def test_colours_are_those_of_all_figures():
    found = dict(re.findall(r"^\.(\w+) \{ (?:fill|stroke): (#\w+); \}", STYLE, re.MULTILINE))
    assert found["supervisor"] == SUPERVISOR_COLOR.lower()
    assert found["student"] == STUDENT_COLOR.lower()
    assert {found[name] for name in LOSSES} == {LOSS_COLORS[f"loss_{n}"].lower() for n in LOSSES}


def test_it_needs_nothing_from_elsewhere_and_says_what_it_shows():
    svg = draw(784, Architecture())
    assert not re.search(r"url\(|href|@import|<script|<image", svg)
    assert "784, 500, 500, 2000, 10, 2000, 500, 500, 784 units; the 10 are H" in svg
    assert "prefers-color-scheme: dark" in svg


def test_command(tmp_path, capsys):
    file = tmp_path / "new" / "small.svg"
    assert main([str(file), "--features", "64", "--widths", "9", "--rank", "3", "--lit", "nc"]) == 0
    assert file.read_text("utf-8") == draw(64, Architecture(widths=(9,), rank=3), ["nc"])
    assert main([str(file), "--features", "0"]) == 2
    assert "features is 0; give 1 or more" in capsys.readouterr().err
    assert main([str(file), "--rank", "0"]) == 2
    with pytest.raises(UsageError, match="'app' is unknown; did you mean 'ap'"):
        draw(64, Architecture(), ["app"])
    with pytest.raises(OptionError):
        Architecture(widths=(0,))
