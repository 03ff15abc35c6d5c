"""The paper cites what its list has, and the versions that we support are those that we say."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PAPER = (ROOT / "paper.md").read_text("utf-8")

SUPPORT = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \| ([\d-]+) \|$", CONTRIBUTING, re.M)
[LOOKED] = re.findall(r"the day of the last look, ([\d-]+)\.", CONTRIBUTING)
MONTHS = {"Python": 36}
"""How long SPEC 0 asks for a version; 24 months for a package."""


def lower_bounds():
    """Return the lower bound of Python and of each requirement, by name."""
    project = PYPROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = re.findall(
        r"^([\w-]+)(?:\[.*\])?>=([\d.]+)", "\n".join([*project["dependencies"], *extras]), re.M
    )
    return {**dict(found), "Python": project["requires-python"].removeprefix(">=")}


@pytest.mark.parametrize(("name", "oldest", "before", "released"), SUPPORT)
def test_the_oldest_version_is_that_of_the_project_and_of_spec_0(name, oldest, before, released):
    assert lower_bounds()[name] == oldest
    assert tuple(map(int, before.split("."))) < tuple(map(int, oldest.split(".")))
    year, month, day = map(int, released.split("-"))
    months = year * 12 + month - 1 + MONTHS.get(name, 24)
    assert (months // 12, months % 12 + 1, day) <= tuple(map(int, LOOKED.split("-")))
    date.fromisoformat(LOOKED)


def test_every_package_that_spec_0_names_has_its_row():
    core = {"numpy", "scipy", "matplotlib", "pandas", "scikit-learn"}
    assert {name for name, *_ in SUPPORT} == core | {"Python"}


def test_tools_look_at_the_code_as_the_oldest_python_does():
    oldest = lower_bounds()["Python"]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    line = "Programming Language :: Python :: 3."
    named = [name for name in PYPROJECT["project"]["classifiers"] if name.startswith(line)]
    assert named[0].endswith(f":: {oldest}")


def test_the_paper_cites_what_its_list_has():
    entries = re.findall(r"^@\w+\{(\w+),$", (ROOT / "paper.bib").read_text("utf-8"), re.M)
    assert len(entries) == len(set(entries))
    assert {*re.findall(r"@(\w+)", PAPER.partition("\n---\n")[2])} == {*entries}


def test_the_paper_has_the_sections_and_the_length_that_its_journal_asks_for():
    sections = re.findall(r"^# (.*)$", PAPER, re.M)
    asked = ["Summary", "Statement of need", "State of the field", "Software design", "References"]
    assert [name for name in sections if name in asked] == asked
    assert 750 <= len(PAPER.partition("\n---\n")[2].split()) <= 1750
