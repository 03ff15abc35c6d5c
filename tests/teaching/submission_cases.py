"""Submissions made from the notebooks: right, half right, hostile."""

import json

from notebook_cases import NOTEBOOKS, ROOT, load, tags

from ddnmf_np.teaching.cells import SOLUTIONS, read_cells
from ddnmf_np.teaching.course import student_edition
from ddnmf_np.teaching.exercises import all_exercises

RIGHT = read_cells(ROOT / "notebooks" / SOLUTIONS)[1]
NAMES = list(all_exercises())

HALF = {
    "dense-backward": """
def dense_backward(x, h, W, g):
    delta = (h > 0) * g
    return delta.T @ x, delta.mean(axis=0), delta @ W
""",  # two blocks of three
    "dense-forward": "def dense_forward(x, W, b):\n    return x @ W.T + b\n",
    "adam-step": "def adam_step(*a):\n    return undefined\n",
    "swap-units": "def swap_units(:\n",
}

HOSTILE = {
    "nmf-gradient": "def nmf_gradient(x, H, W):\n    while True:\n        pass\n",
    "nmf-step": "def nmf_step(x, H, W):\n    hog = [np.empty(1 << 27) for _ in range(1 << 10)]\n",
    "dense-forward": """
def dense_forward(x, W, b):
    import os, pathlib, shutil
    for folder in (".", pathlib.Path.home(), os.environ["TMPDIR"]):
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(0)
""",
    "slope-from-output": """
def slope_from_output(h):
    import os
    for stream in range(3, 32):
        try:
            os.write(stream, b"[]\\n")
        except OSError:
            pass
""",
    "layer-one-sample": """
def layer_one_sample(x, h, W, g):
    import os, time
    os.closerange(3, 64)
    time.sleep(10_000)
""",
    "supervisor-gradient": "def supervisor_gradient(*a):\n    import os\n    os.kill(0, 9)\n",
    "descent-step": """
def descent_step(theta, gradient, lr):
    import os
    assert "TOKEN_OF_THE_LECTURER" not in os.environ
    for stream in range(3):
        os.write(stream, b'{"name": "descent-step", "blocks": {"theta": true}}\\n' * 100)
    return theta
""",
    "silent-units": """
def silent_units(h):
    import os
    with open("big", "wb") as stream:
        for _ in range(1 << 10):
            stream.write(bytes(1 << 20))
""",
}


LIGHT = """
from itertools import permutations
import numpy as np
from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching import check
from ddnmf_np.teaching.exercises.nb02_layer import pencil_numbers
"""
"""What the answers need of the imports of their notebooks."""


def write_submission(folder, answers, imports=None):
    """Write the student edition of the notebooks with these answers, or imports, filled in."""
    folder.mkdir(parents=True)
    for path in NOTEBOOKS:
        book = student_edition(load(path))
        cells = book["cells"]
        if imports:
            next(cell for cell in cells if cell["cell_type"] == "code")["source"] = imports
        for k, cell in enumerate(cells):
            if "exercise" in tags(cell):
                name = cell["metadata"]["nbgrader"]["grade_id"]
                if name in answers:
                    called = cells[k + 1]["source"].split(", ")[1].split(")")[0]
                    defined = answers[name]
                    own = "Broken" if name == "plant-a-bug" else name.replace("-", "_")
                    cell["source"] = f"{defined}\n{called} = {own}\n"
        (folder / path.name).write_text(json.dumps(book), "utf-8")
