"""The content of the page: samples, presets, and quoted lines of code."""

from __future__ import annotations

import base64
import re
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np import __version__
from ddnmf_np.config import OPTIONS, Config, configure
from ddnmf_np.data.datasets import Dataset, load
from ddnmf_np.errors import DataError, unknown
from ddnmf_np.explore.page import asset, compose, pack_blocks

ENGINE = (
    "random.js",
    "noise.js",
    "layers.js",
    "losses.js",
    "descent.js",
    "nmf.js",
    "model.js",
    "bugs.js",
    "gradcheck.js",
)
"""Scripts that compute, in the order in which they are read and run."""

INTERFACE = (
    "state.js",
    "drawing.js",
    "diagram.js",
    "inspector.js",
    "controls.js",
    "tour.js",
    "playground.js",
)
"""Scripts that draw the page, in the order in which they run."""

PRESETS = ("paper", "demo", "stable")

DEFAULTS: dict[str, Any] = {
    "widths": (32, 16),
    "rank": 10,
    "batch_size": 32,
    "epochs": 100,
    "lr": 0.004,  # these networks are small
    "dtype": "float64",
}
"""Options that the page sets for each preset, by their short names."""

SHOWN = (
    *(name for name, o in OPTIONS.items() if o.part in ("objective", "noise", "optimizer")),
    *("widths", "rank", "activation", "output_activation", "nmf_start", "nmf_spread"),
    *("batch_size", "epochs", "seed"),
)
"""Options that the scripts read."""

SETS = ("digits", "mnist")

_MNIST_SIZE = 1000
_QUOTES = {  # a formula of the page: the file it is derived in, the line of literal.py
    "forward": ("01-layer.md", "equation 1: h(l)"),
    "base": ("03-nmf-module.md", "equation 3: H ="),
    "recovery": ("03-nmf-module.md", "equation 3: X^"),
    "noise": ("02-noise.md", "equation 2: x~"),
    "output": ("09-supervisor-gradient.md", "equation 9: g(L)"),
    "delta": ("09-supervisor-gradient.md", "equation 9: delta(l)"),
    "dW": ("09-supervisor-gradient.md", "equation 9: dW(l)"),
    "db": ("09-supervisor-gradient.md", "equation 9: db(l)"),
    "below": ("09-supervisor-gradient.md", "equation 9: g(l-1)"),
    "direct": ("10-student-gradient.md", "g = self.direct_gradient("),
    "losses": ("07-interpretability-loss.md", "equation 7"),
    "descend": ("08-descent.md", "equation 8: theta"),
}


def samples(name: str, data_dir: str | None = None) -> npt.NDArray[np.float64]:
    """Return the samples that the page trains on, (n, width) in float64, values in [0, 1].

    ``"digits"`` is the training split of scikit-learn's digits, (1437, 64), and ``"mnist"`` the
    first 1000 training images of MNIST, reduced to 14 x 14 pixels, (1000, 196), looked for in
    ``data_dir`` first. Raises `DataError` if there is no such set, or MNIST cannot be found.
    """
    levels, top, _ = _levels(name, data_dir)
    return levels / top


def _levels(name: str, data_dir: str | None) -> tuple[npt.NDArray[np.uint8], int, list[int]]:
    """Return samples as whole numbers, the number that means 1, and their labels."""
    if name not in SETS:
        raise DataError(unknown("data set", name, list(SETS)))
    dataset: Dataset = load(name, data_dir=data_dir, dtype="float64")
    top = 16 if name == "digits" else 255
    levels = np.rint(dataset.x_train * top)
    if name == "mnist":
        fours = levels[:_MNIST_SIZE].reshape(-1, 14, 2, 14, 2)
        levels = np.rint(fours.mean(axis=(2, 4))).reshape(-1, 196)
    y = dataset.y_train
    labels = [] if y is None else y[: len(levels)].tolist()
    return levels.astype(np.uint8), top, labels


def preset(name: str) -> dict[str, Any]:
    """Return the options of a preset as the page takes them, in plain JSON types."""
    values = configured(objective=name).to_dict()
    [values["activation"]] = values["activation"]
    return {key: values[key] for key in SHOWN}


def configured(base: Config | None = None, /, **options: Any) -> Config:
    """Return the configuration of options that the page has: those that are given, and its own."""
    return configure(base, **(options if base else DEFAULTS | options))


def quote(formula: str) -> dict[str, Any]:
    """Return the line of ``engine/literal.py`` that computes a formula, and where it is derived."""
    page, comment = _QUOTES[formula]
    text = resources.files("ddnmf_np.engine").joinpath("literal.py").read_text("utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        if comment in line:
            return {
                "code": re.sub(r"\s*# equation.*", "", line).strip(),
                "line": number,
                "derivation": page,
            }
    raise LookupError(f"literal.py has no line with {comment!r}")


def page(mnist: bool = False, data_dir: str | None = None, book: bool = False) -> str:
    """Make the page as HTML, with MNIST if that is asked for.

    Raises `DataError` if MNIST is not found. ``data_dir`` is where to look for MNIST first. In the
    built book (``book``), quoted lines are links.
    """
    sets, blocks = {}, {}
    for name in SETS if mnist else SETS[:1]:
        levels, top, labels = _levels(name, data_dir)
        blocks[name] = base64.b64encode(levels.tobytes()).decode("ascii")
        side = int(levels.shape[1] ** 0.5)
        sets[name] = {"n": len(levels), "shape": [side, side], "top": top, "labels": labels}
    head = {
        "version": __version__,
        "presets": {name: preset(name) for name in PRESETS},
        "most_rank": 16,
        "options": {name: OPTIONS[name].help for name in SHOWN},
        "quotes": {formula: quote(formula) for formula in _QUOTES},
        "sets": sets,
        "book": book,
    }
    scripts = [asset(name) for name in ("frame.js", "pictures.js", "board.js")]
    scripts += [asset(name, "playground") for name in ENGINE + INTERFACE]
    return compose(
        asset("page.html", "playground"),
        asset("frame.css") + asset("style.css", "playground"),
        "\n".join(scripts),
        head,
        blocks=pack_blocks(blocks),
    )
