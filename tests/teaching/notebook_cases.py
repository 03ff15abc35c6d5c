"""The notebooks, read as plain JSON; and what is needed to run them."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def load(path):
    return json.loads(path.read_text("utf-8"))


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def code_cells(path, tag=None):
    cells = [cell for cell in load(path)["cells"] if cell["cell_type"] == "code"]
    return [cell for cell in cells if tag is None or tag in tags(cell)]


def asked(cell):
    """Return the names of the exercises that a cell's answers are checked for."""
    return re.findall(r"\bcheck\(\s*[\"']([\w-]+)[\"']", source(cell))


def require_notebooks():
    """Skip where the extra is not installed, or fail if DDNMF_REQUIRE_NOTEBOOKS=1."""
    missing = [
        name
        for name in ("jupytext", "nbclient", "ipykernel")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        reason = f"{', '.join(missing)} not installed: pip install 'ddnmf-np[notebooks]'"
        if os.environ.get("DDNMF_REQUIRE_NOTEBOOKS") == "1":
            pytest.fail(f"DDNMF_REQUIRE_NOTEBOOKS=1, but: {reason}", pytrace=False)
        pytest.skip(reason)
