"""Every notebook executes from top to bottom; how long it takes is printed (pytest -s)."""

import sys

import pytest
from notebook_cases import NAMES, NOTEBOOKS, require_notebooks

from ddnmf_np.teaching import refresh


@pytest.fixture(scope="module")
def seconds_in_all(request):
    """The seconds of each notebook; their sum is printed at the end."""
    seconds = []
    yield seconds
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{len(seconds)} notebooks: {sum(seconds):.0f} s in all", file=sys.stderr)


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore")  # the messages between kernel and client are not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_runs(path, seconds_in_all, monkeypatch, capsys, tmp_path):
    """On the images beside it: what else is on this computer does not matter."""
    require_notebooks()
    monkeypatch.delenv("DDNMF_DATA", raising=False)
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    notebook = refresh.read(path.with_suffix(".py"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # nobody's own startup files
    seconds = refresh.execute(notebook, path.parent)  # raises if a cell does
    seconds_in_all.append(seconds)
    with capsys.disabled():
        print(f"\n{path.stem}: {seconds:.1f} s", file=sys.stderr)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]
