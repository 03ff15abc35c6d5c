"""The how-to page's sweep on a local Dask cluster has the results of one process."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None,
        reason="Dask is not installed (the extra 'cluster')",
    ),
]

PAGE = Path(__file__).parents[2] / "derivations" / "how-to" / "several-processes.md"


def test_sweep_of_the_page(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    script = tmp_path / "sweep.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    page = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), page)
    alone = page["sweep"](ranks=(4, 8), seeds=(0, 1))
    expected = [f"rank {rank}, seed {seed}: {value:.6f}" for (rank, seed), value in alone.items()]
    assert done.stdout.splitlines() == expected
    assert len(set(alone.values())) == 4
