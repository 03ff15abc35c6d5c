"""Every notebook executes from top to bottom; how long it takes is printed (pytest -s)."""

import sys

import pytest
from notebook_cases import NAMES, NOTEBOOKS, require_notebooks

from ddnmf_np.teaching import refresh
from ddnmf_np.teaching.images import _on_disk


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
@pytest.mark.parametrize("data", ["as found", "digits"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_runs(path, data, seconds_in_all, monkeypatch, capsys, tmp_path):
    require_notebooks()
    if data == "digits":
        if not _on_disk("mnist"):
            pytest.skip("MNIST is not here: the digits are what was found")
        monkeypatch.delenv("DDNMF_DATA", raising=False)
        if _on_disk("mnist"):
            pytest.skip("MNIST is in the cache too, and is found there")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    notebook = refresh.read(path.with_suffix(".py"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # nobody's own startup files
    seconds = refresh.execute(notebook, path.parent)  # raises if a cell does
    seconds_in_all.append(seconds)
    with capsys.disabled():
        print(f"\n{path.stem}, data {data}: {seconds:.1f} s", file=sys.stderr)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]
