"""The figures of pages 01 to 10 are what their script draws, and show the pages' numbers."""

import re
import runpy
from pathlib import Path

import pytest

DERIVATIONS = Path(__file__).parents[2] / "derivations"
FIGURES = runpy.run_path(str(DERIVATIONS / "_static" / "make_figures.py"))["FIGURES"]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")


def page_of(number):
    [path] = DERIVATIONS.glob(f"{number:02d}-*.md")
    return path.read_text("utf-8")


def example_of(number):
    return page_of(number).partition("## One example with numbers\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", FIGURES)
def test_a_committed_figure_is_what_the_script_draws(name):
    """If this fails: ``python derivations/_static/make_figures.py``."""
    drawn = FIGURES[name]().svg()
    assert (DERIVATIONS / "_static" / f"{name}.svg").read_text("utf-8") == drawn
    assert "prefers-color-scheme: dark" in drawn


@pytest.mark.parametrize("number", range(1, 11))
def test_an_equation_has_a_figure_and_an_example_that_runs(number):
    assert re.search(r"!\[[^\]]{20,}\]\(_static/[\w-]+\.svg\)", page_of(number))
    assert ">>> " in example_of(number)


@pytest.mark.parametrize("name", FIGURES)
def test_the_numbers_of_a_figure_are_those_of_the_example(name):
    text = example_of(int(name[2:4])).replace("\N{MINUS SIGN}", "-")
    said = {float(number) for number in NUMBER.findall(text)}
    labels = re.findall(r"<text[^>]*>(.*?)</text>", FIGURES[name]().svg())
    words = " ".join(re.sub(r"<[^>]*>", " ", label) for label in labels)
    shown = {float(number) for number in NUMBER.findall(words.replace("\N{MINUS SIGN}", "-"))}
    assert len(shown) >= 3
    assert shown <= said, f"{name} shows {sorted(shown - said)}, and its page does not"
