"""Pictures of a run, each a function from arrays to a matplotlib ``Figure``.

We make figures without pyplot, so that no display is needed, and any thread may draw; only
`ddnmf_np.plots`, which draws for a person, sets `MAKER`. A picture looks the same whatever the
user's matplotlibrc says, see `own_settings`. Each function draws on ``ax`` if it is given, and
raises `DataError` if its arrays do not fit each other. A network and a loss term have the same
colour in every picture. All colours can be told apart with the common colour vision deficiencies.
"""

import io
import math
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogFormatter, MaxNLocator

from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.interpret import Floats, check_codes
from ddnmf_np.evaluation.metrics import ClusterAssignment, Labels, encode_labels
from ddnmf_np.system.files import atomic_write

DPI = 120
WIDTH = 7.2  # inches: 864 pixels, the width of a page of documentation
_TITLE_HEIGHT = 0.2  # inches of each line of a title
_LABEL_HEIGHT = 0.22  # inches between tiles, room for a line of text
_MOST_NAMES = 12  # of classes, written into a scatter plot
_MOST_FEATURES = 40  # that a heat map names

# Okabe and Ito (2008), "Color universal design".
SUPERVISOR_COLOR = "#0072B2"
STUDENT_COLOR = "#D55E00"
DATA_COLOR = "#4D4D4D"
_NETWORK_COLORS = {"student": STUDENT_COLOR, "supervisor": SUPERVISOR_COLOR}
# Colour (that of a network, if the term trains only this one), marker (for a printer without
# colours) and meaning.
_LOSSES = {
    "loss_in": ("#000000", "o", "weighted sum"),
    "loss_sym": (SUPERVISOR_COLOR, "s", "supervisor's output"),
    "loss_ap": ("#009E73", "D", "apposition"),
    "loss_nc": ("#CC79A7", "^", "non-negative code"),
    "loss_rec": (STUDENT_COLOR, "v", "student's output"),
}
LOSS_COLORS = {name: color for name, (color, _, _) in _LOSSES.items()}
# Paul Tol's "muted" scheme (SRON technical note 09-002, issue 3.2), and black as the tenth.
CLASS_COLORS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
_MARKERS = "o^sDvP"  # an eleventh class has the first colour again, with the next marker


_DRAWING = RLock()


def _plain_figure(**options: Any) -> Figure:
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


MAKER: ContextVar[Callable[..., Figure]] = ContextVar("MAKER", default=_plain_figure)
"""Makes the figures; by default without pyplot."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which arranges its own contents."""
    return _plain_figure(figsize=(width, height), dpi=DPI, layout="constrained")


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw by matplotlib's default settings, one thread at a time, because they are global.

    The user's settings are back afterwards. Some of them, such as ``text.usetex``, need programs
    that may be absent.
    """
    with _DRAWING, style.context("default"):
        yield


def _figure(
    title: str, height: float, width: float = WIDTH, *, beside: float = 0.0
) -> tuple[Figure, str]:
    """Return a figure, `height` inches high without its title, and the title in lines.

    ``beside`` is the width in inches that something beside the picture takes from the title.
    """
    at_11_points = int(10 * (width - beside))
    lines = textwrap.wrap(title, at_11_points, break_on_hyphens=False)
    size = (width, height + _TITLE_HEIGHT * len(lines))
    figure = MAKER.get()(figsize=size, dpi=DPI, layout="constrained")
    # The name of a file may be in a title, and its dollars must not begin a formula.
    return figure, "\n".join(lines).replace("$", r"\$")


def _axes(
    title: str, *size: float, beside: float = 0.0, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Return a figure of one picture, and its axes with the title; arguments as `_figure`."""
    if ax is not None:
        ax.set_title(title.replace("$", r"\$"), fontsize=11)
        found: Any = ax.figure
        return found, ax
    figure, title = _figure(title, *size, beside=beside)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    return figure, axes


@own_settings()
def save(fig: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all, to a folder that exists.

    Raises `OutputError` if the file cannot be written; a file that was there before is untouched.
    """
    with atomic_write(path) as stream:
        fig.savefig(stream, format="png", dpi=DPI)


@own_settings()
def png(fig: Figure) -> bytes:
    """Return the content of the file that `save` would write."""
    stream = io.BytesIO()
    fig.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


class _PlainLogFormatter(LogFormatter):
    """Labels for the ticks that matplotlib would label, but never as 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


@own_settings()
def plot_losses(
    history: Sequence[Mapping[str, float]], title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw each loss term against the epoch, on a logarithmic axis.

    ``history`` has a mapping for each epoch, with ``"epoch"`` (counted from 1 if absent) and any
    terms of `LOSS_COLORS`; an epoch without a term leaves a gap in its line. We leave out terms
    that are never positive (for example with weight zero).
    """
    epochs = [entry.get("epoch", place) for place, entry in enumerate(history, start=1)]
    terms = {
        name: np.array([entry.get(name, math.nan) for entry in history], dtype=np.float64)
        for name in _LOSSES
    }
    terms = {name: v for name, v in terms.items() if np.any(np.isfinite(v) & (v > 0))}
    figure, axes = _axes(title, 4.2, ax=ax)
    for name, values in terms.items():
        color, marker, meaning = _LOSSES[name]
        [line] = axes.plot(
            epochs, values, color=color, marker=marker, markersize=4.5, linewidth=1.6
        )
        line.set(gid=name, label=f"{name}: {meaning}")
        # One epoch makes no visible line, so it needs a marker; hundreds of them would hide it.
        line.set_markevery(math.ceil(len(epochs) / 20))
        if name == "loss_in":  # it lies on its largest term; dashed, it lets that term show
            line.set(linestyle="--", zorder=3)
    axes.set(xlabel="epoch", ylabel="loss per sample (log scale)")
    axes.spines[["top", "right"]].set_visible(False)
    if not terms:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no loss yet", transform=axes.transAxes, ha="center")
        return figure
    axes.set_yscale("log", nonpositive="mask")
    # Plain numbers, on the minor ticks too if the losses span less than two decades.
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    axes.grid(which="major", color="0.9")
    if ax is None:
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    else:
        axes.legend(frameon=False, fontsize=9)
    return figure


@own_settings()
def plot_reconstructions(
    clean: npt.ArrayLike,
    noisy: npt.ArrayLike | None,
    student: npt.ArrayLike,
    supervisor: npt.ArrayLike | None,
    image_shape: Sequence[int] | None,
    n: int = 10,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw the first ``n`` samples in four rows: clean, noisy, and the output of each network.

    Each array has shape (k, D); None leaves out a row. NaN in ``clean`` is a missing entry and
    stays blank. All images have the same grey scale, which spans the clean values and clips the
    others. Without ``image_shape`` the features are drawn as steps, all with the same axis.
    """
    missing = np.isnan(np.asarray(clean, dtype=np.float64))
    given = {"clean": np.where(missing, 0.0, clean), "noisy": noisy}
    given |= {"student": student, "supervisor": supervisor}
    rows = {name: check_codes(a, name) for name, a in given.items() if a is not None}
    shapes = {name: values.shape for name, values in rows.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"shapes differ: {shapes}; pass the same samples in each")
    if n < 1:
        raise DataError(f"n is {n}; show at least one sample")
    shown = np.stack([values[:n] for values in rows.values()])  # (rows, n, D)
    known = shown[0][~missing[:n]]
    shown[0][missing[:n]] = np.nan
    if image_shape is None:
        return _draw_steps(shown, list(rows), title, ax)
    height, width = _image_size(shown, image_shape)
    columns = shown.shape[1]
    # A few samples get somewhat larger tiles than ten do, not giant ones.
    tile = min(1.3, (WIDTH - 1.1) / columns)  # inches
    across = max(columns * tile + 1.1, WIDTH / 2)
    figure, axes = _axes(title, len(rows) * tile * height / width + 0.5, across, ax=ax)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scale = Normalize(low, high if high > low else low + 1)
    axes.imshow(_mosaic(shown, image_shape, (1, 1)), cmap=_with_blank("gray"), norm=scale)
    axes.set_yticks((height - 1) / 2 + (height + 1) * np.arange(len(rows)), list(rows))
    for text in axes.get_yticklabels():
        text.set_color(_NETWORK_COLORS.get(text.get_text(), "black"))
    centres = (width - 1) / 2 + (width + 1) * np.arange(columns)
    axes.set_xticks(centres, map(str, range(columns)))
    axes.set_xlabel("sample")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _draw_steps(shown: Floats, names: Sequence[str], title: str, ax: Axes | None) -> Figure:
    """Draw samples (rows, n, D) that are not images, one panel for each."""
    if ax is None:
        figure, title = _figure(title, 4.2)
        grid = figure.subplots(*shown.shape[:2], sharex=True, sharey=True, squeeze=False)
    else:
        figure, _ = _axes(title, ax=ax)
        ax.set_axis_off()
        grid = _panels(ax, *shown.shape[:2])
    for name, values, line in zip(names, shown, grid, strict=True):
        for axes, value in zip(line, values, strict=True):
            edges = np.arange(len(value) + 1) - 0.5
            color = _NETWORK_COLORS.get(name, DATA_COLOR)
            # Without antialiasing, many narrow steps keep their colour.
            axes.stairs(value, edges, fill=True, color=color, linewidth=0, antialiased=False)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(name, color=_NETWORK_COLORS.get(name, "black"))
    for column, axes in enumerate(grid[0]):
        axes.set_title(str(column), fontsize=9)
    if ax is not None:
        return figure
    figure.suptitle(f"{title}\nsample" if title else "sample", fontsize=10)
    figure.supxlabel("feature", fontsize=10)
    figure.supylabel("value", fontsize=10)
    return figure


def _panels(ax: Axes, lines: int, columns: int) -> npt.NDArray[np.object_]:
    """Return axes in a grid that fills other axes, all with the same limits."""
    wide, high = 1.0 / columns, 1.0 / lines
    grid = np.empty((lines, columns), object)
    for line, column in np.ndindex(grid.shape):
        place = (column * wide, 1.0 - (line + 1) * high, 0.85 * wide, 0.8 * high)
        axes = grid[line, column] = ax.inset_axes(place)
        if line or column:
            axes.sharex(grid[0, 0])
            axes.sharey(grid[0, 0])
        axes.tick_params(labelbottom=line == lines - 1, labelleft=column == 0)
    return grid


@own_settings()
def plot_parts(
    parts: npt.ArrayLike,
    image_shape: Sequence[int] | None,
    *,
    dead: npt.ArrayLike | None = None,
    title: str = "",
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the decoded base units (`decode_parts`), or the effect of each (`unit_effects`).

    ``parts`` has shape (rank, D); those that are ``dead`` are marked. Without ``image_shape`` we
    draw a heat map of one row per unit, with at most `_MOST_FEATURES` names below it. All units
    have the same scale, so that weak ones look weak. Values of both signs have a diverging scale
    with white at zero.
    """
    shown = check_codes(parts, "parts")
    marked = np.zeros(len(shown), dtype=bool) if dead is None else np.asarray(dead, dtype=bool)
    if marked.shape != (len(shown),):
        raise DataError(
            f"dead has shape {marked.shape}; expected ({len(shown)},): one flag per part"
        )
    low, high = float(shown.min()), float(shown.max())
    signed = low < 0
    peak = max(-low, high) or 1.0
    scale = Normalize(-peak if signed else 0.0, peak)
    if image_shape is None:
        # High enough for the words beside the scale of colours, and for names below.
        named = feature_names is not None and len(feature_names) <= _MOST_FEATURES
        height = max(2.3, 1.0 + 0.16 * len(shown)) + (1.6 if named else 0.0)
        figure, axes = _axes(title, height, ax=ax)
        image = axes.imshow(shown, aspect="auto", cmap="RdBu_r" if signed else "cividis")
        image.set_norm(scale)
        names = [f"unit {k}{' (dead)' if gone else ''}" for k, gone in enumerate(marked)]
        axes.set_yticks(range(len(shown)), names, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("feature")
        if feature_names is not None and named:
            names = [str(name).replace("$", r"\$") for name in feature_names]
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    else:
        figure, axes, image = _draw_tiles(shown, image_shape, marked, title, ax)
        image.set(cmap=_with_blank("RdBu_r" if signed else "gray"), norm=scale)
    what = "change of the output" if signed else "output"
    aspect = 20.0 if ax is not None else 8 * figure.get_figheight()
    figure.colorbar(image, ax=axes, label=what, fraction=0.05, aspect=aspect)
    return figure


def _draw_tiles(
    shown: Floats,
    image_shape: Sequence[int],
    marked: npt.NDArray[np.bool_],
    title: str,
    ax: Axes | None,
) -> tuple[Figure, Axes, AxesImage]:
    """Draw parts (rank, D) as labelled images, and cross out those that are marked."""
    rank = len(shown)
    columns = min(rank, 5 if rank <= 10 else 8)
    lines = math.ceil(rank / columns)
    filled = np.full((lines * columns, shown.shape[1]), np.nan)
    filled[:rank] = shown
    tall, wide = _image_size(shown, image_shape)
    across = max(1, round(0.12 * wide))
    pixel = min(1.2, (WIDTH - 1.2) / columns) / (wide + across)  # inches
    down = math.ceil(_LABEL_HEIGHT / pixel)
    tiles = _mosaic(filled.reshape(lines, columns, -1), image_shape, (down, across))
    whole = max(columns * (wide + across) * pixel + 1.2, WIDTH / 2)
    height = max(2.1, lines * (tall + down) * pixel + 0.1)
    figure, axes = _axes(title, height, whole, beside=1.0, ax=ax)  # beside the scale
    image = axes.imshow(tiles)
    for k, gone in enumerate(marked):
        line, column = divmod(k, columns)
        left, top = column * (wide + across) - 0.5, line * (tall + down) - 0.5
        right, bottom = left + wide, top + tall
        text = axes.text((left + right) / 2, top - 0.15 * down, f"unit {k}", fontsize=8)
        text.set(ha="center", va="bottom")
        frame = Rectangle((left, top), wide, tall, fill=False, edgecolor="0.6", clip_on=False)
        axes.add_patch(frame)
        if gone:
            text.set(text=f"unit {k} dead", color="0.45")
            x, y = [left, right, np.nan, left, right], [top, bottom, np.nan, bottom, top]
            axes.plot(x, y, color="0.6", linewidth=0.8)
    axes.set_ylim(tiles.shape[0] - 0.5, -down - 0.5)  # room for the labels of the first line
    axes.set_axis_off()
    return figure, axes, image


@own_settings()
def plot_cluster_matrix(
    assignment: ClusterAssignment, title: str, ax: Axes | None = None
) -> Figure:
    """Draw the number of samples of each class in each cluster; matched pairs are framed.

    The colour is the share of the class, the number the count of samples. More than 20 clusters
    leave no room for numbers.
    """
    counts = assignment.matrix
    n_classes, n_clusters = counts.shape
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(0.6, (WIDTH - 1.6) / n_clusters)
    across = max(1.6 + cell * n_clusters, WIDTH / 2)
    height = max(0.22, min(cell, 0.42)) * n_classes + 1.3
    figure, axes = _axes(title, height, across, beside=1.0, ax=ax)  # beside the scale
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    small = 9 if n_clusters <= 12 else 7
    if n_clusters <= 20:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if share[row, column] > 0.55 else "black" if count else "0.6"
            text = axes.text(column, row, str(count), color=color, fontsize=small)
            text.set(ha="center", va="center")
    for k in range(min(counts.shape)):
        frame = Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2)
        axes.add_patch(frame)
    crowded = n_clusters > 20 or max(len(str(name)) for name in assignment.clusters) > 3
    turn = 90 if crowded else 0
    axes.set_xticks(range(n_clusters), assignment.clusters, fontsize=small, rotation=turn)
    axes.set_yticks(range(n_classes), assignment.classes, fontsize=9)
    axes.set(xlabel="cluster (framed: matched to the class)", ylabel="class")
    figure.colorbar(image, ax=axes, label="share of the class")
    return figure


@own_settings()
def plot_embedding(
    points2d: npt.ArrayLike,
    labels: Labels | None = None,
    title: str = "",
    kind: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw points in the plane, (k, 2), coloured by label as `draw_classes` does.

    ``kind`` is the heading of the list of labels. The axes have no ticks, since an embedding has
    no unit.
    """
    points = check_codes(points2d, "points2d")
    if points.shape[1] != 2:
        raise DataError(f"points2d has shape {points.shape}; expected (k, 2), as embed returns")
    figure, axes = _axes(title, 5.4, beside=1.0, ax=ax)  # beside the names
    size = float(np.clip(3e4 / len(points), 6, 40))
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, color=DATA_COLOR, alpha=0.7, linewidths=0)
    else:
        columns = math.ceil(draw_classes(axes, points, labels, size) / 22)
        larger = max(1.0, (40 / size) ** 0.5)
        legend = {"title": kind or None, "ncols": columns, "markerscale": larger}
        if ax is None:
            figure.legend(loc="outside right center", frameon=False, **legend)
        else:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, **legend)
    axes.set(xlabel="dimension 1 (no unit)", ylabel="dimension 2 (no unit)")
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    return figure


def draw_classes(axes: Axes, points: Floats, labels: Labels, size: float) -> int:
    """Scatter points (k, 2) in the colours of their labels; return the number of labels.

    Each label is an entry for a legend. Up to 12 labels are also written where their points are
    densest, so that colour is not the only clue. ``size`` is in square points.
    """
    names, codes = encode_labels(labels)
    if len(codes) != len(points):
        raise DataError(
            f"labels has {len(codes)} entries for {len(points)} points; pass one per point"
        )
    for code, name in enumerate(names):
        cloud = points[codes == code]
        color = CLASS_COLORS[code % len(CLASS_COLORS)]
        marker = _MARKERS[code // len(CLASS_COLORS) % len(_MARKERS)]
        x, y = cloud.T
        dots = axes.scatter(x, y, s=size, color=color, marker=marker, label=str(name))
        dots.set(alpha=0.8, linewidths=0)
        if len(names) <= _MOST_NAMES:
            text = axes.text(*_densest(cloud), str(name), fontsize=9, fontweight="bold")
            text.set(ha="center", va="center")
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    return len(names)


def draw_band(axes: Axes, x: Any, middle: Any, low: Any, high: Any, **style: Any) -> Line2D:
    """Draw a line, and the band from ``low`` to ``high`` in its colour; return the line."""
    [line] = axes.plot(x, middle, **style)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    return line


def _densest(cloud: Floats) -> tuple[float, float]:
    """Return the point whose nearest third of the cloud is nearest."""
    # Not the median, which for a class in two pieces lies between them, on another class. We take
    # at most 300 points, because all pairs of distances would fill the memory.
    some = cloud[:: math.ceil(len(cloud) / 300)]
    apart = np.linalg.norm(some[:, None] - some, axis=2)
    x, y = some[np.sort(apart, axis=1)[:, len(some) // 3].argmin()]
    return float(x), float(y)


def _image_size(values: Floats, image_shape: Sequence[int]) -> tuple[int, int]:
    shape = tuple(image_shape)
    if len(shape) != 2 or math.prod(shape) != values.shape[-1]:
        raise DataError(
            f"image_shape is {shape} for {values.shape[-1]} features; pass (height, width) with "
            "that product, or None for data that are not images"
        )
    return shape[0], shape[1]


def _mosaic(
    values: Floats, image_shape: Sequence[int], gaps: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Join images (lines, columns, D) into one, with gaps of (down, across) blank pixels."""
    height, width = _image_size(values, image_shape)
    lines, columns = values.shape[:2]
    down, across = height + gaps[0], width + gaps[1]
    canvas = np.full((lines, down, columns, across), np.nan)
    tiles = values.reshape(lines, columns, height, width)
    canvas[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3)
    return canvas.reshape(lines * down, columns * across)[: -gaps[0], : -gaps[1]]


def _with_blank(name: str) -> Colormap:
    """Return the colour map with white for NaN, the blank of `_mosaic`."""
    return colormaps[name].with_extremes(bad="white")
