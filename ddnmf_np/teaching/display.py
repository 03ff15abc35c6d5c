"""Small labelled pictures, and sources of the package, for notebooks."""

from __future__ import annotations

import ast
import base64
import inspect
import io
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ddnmf_np
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.figures import WIDTH, own_settings

DPI = 100
"""Resolution of pictures in notebooks: 720 pixels across, the width of a cell."""

COLORS = ("#E69F00", "#56B4E9", "#F0E442")
"""Colours of Okabe and Ito for lines that are neither a network nor a loss."""


def show(figure: Figure, alt: str) -> None:
    """Show a figure in the notebook as PNG.

    The figure is from `new_figure`, or from a function of `ddnmf_np.evaluation.figures`. ``alt``
    describes the picture for readers who cannot see it.
    """
    stream = io.BytesIO()
    with own_settings():
        figure.savefig(stream, format="png", dpi=DPI)
    small = io.BytesIO()  # 256 colours are enough here, and a third of the bytes
    PIL.Image.open(stream).convert("RGB").quantize(256).save(small, "png", optimize=True)
    png = base64.b64encode(small.getvalue()).decode("ascii")
    import_module("IPython.display").display(
        {"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True
    )


@own_settings()
def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of the given size in inches that arranges its own contents."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def show_source(thing: Any) -> None:
    """Show the source of a function or class of this package, without its docstring."""
    import_module("IPython.display").display_markdown(source_text(thing), raw=True)


def source_text(thing: Any) -> str:
    """Return the source of a function or class as Markdown, headed by its name and file."""
    home = Path(ddnmf_np.__file__).parents[1]
    place = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(home).as_posix()
    code = _without_docstring(textwrap.dedent(inspect.getsource(thing)).rstrip("\n"))
    return f"`{thing.__qualname__}` in `{place}`:\n\n```python\n{code}\n```"


def _without_docstring(code: str) -> str:
    """Return the source of one function or class without its docstring."""
    node = ast.parse(code).body[0]
    assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
    if ast.get_docstring(node) is None:
        return code
    first = node.body[0]
    lines = code.splitlines()
    del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def image_rows(
    rows: dict[str, npt.ArrayLike],
    shape: tuple[int, int],
    *,
    signed: bool = False,
    titles: Sequence[str] = (),
) -> Figure:
    """Draw rows of images on one scale for each row; return a figure for `show`.

    ``rows`` are images of shape (k, D) by their name in the figure, with the same k for every row.
    ``shape`` is the height and width of an image; ``titles`` are those of the columns. If
    ``signed``, red is above 0, blue below and white 0. Otherwise black is 0 (or less) and white the
    largest value of the row.
    """
    arrays = {name: np.asarray(values) for name, values in rows.items()}
    counts = {len(values) for values in arrays.values()}
    if len(counts) != 1:
        raise DataError(f"rows have {sorted(counts)} images; give each row the same number")
    (columns,) = counts
    tile = (WIDTH - 1.2) / columns
    figure = new_figure(len(arrays) * tile * shape[0] / shape[1] + (0.35 if titles else 0.1))
    grid = figure.subplots(len(arrays), columns, squeeze=False)
    for (name, values), line in zip(arrays.items(), grid, strict=True):
        peak = float(np.max(np.abs(values) if signed else values)) or 1.0
        low, cmap = (-peak, "RdBu_r") if signed else (0.0, "gray")
        for axes, value in zip(line, values, strict=True):
            axes.imshow(value.reshape(shape), cmap=cmap, vmin=low, vmax=peak)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("0.7")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=9)
    return figure


def matrices(
    panels: dict[str, npt.ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    signed: bool = False,
    columns: int = 4,
) -> Figure:
    """Draw matrices, each with its own colour bar; return a figure for `show`.

    ``panels`` are matrices by title, ``columns`` of them side by side. ``xlabel`` is the meaning of
    a matrix's columns and ``ylabel`` that of its rows. If ``signed``, red is above 0, blue below
    and white 0. Otherwise dark is low and bright is high.
    """
    lines = -(-len(panels) // columns)
    figure = new_figure(2.3 * lines + 0.2)
    grid = figure.subplots(lines, min(columns, len(panels)), squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for (title, panel), axes in zip(panels.items(), grid, strict=False):
        values = np.atleast_2d(np.asarray(panel, np.float64))
        peak = float(np.max(np.abs(values))) or 1.0
        scale: dict[str, Any] = (
            {"cmap": "RdBu_r", "vmin": -peak, "vmax": peak} if signed else {"cmap": "cividis"}
        )
        image = axes.imshow(values, aspect="auto", interpolation="nearest", **scale)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        if values.shape[1] == 1:
            axes.set_xticks([])
        figure.colorbar(image, ax=axes).ax.tick_params(labelsize=7)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    return figure
