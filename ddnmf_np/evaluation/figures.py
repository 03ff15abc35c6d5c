"""Pictures of a run, each a function from arrays to a matplotlib ``Figure``.

Figures are made without pyplot: nothing global is touched, no display is needed, and they may
be made in any thread. `save` writes them. A network and a loss term have the same colour
in every picture; all colours can be told apart with the common colour vision deficiencies.
"""

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
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
_LABEL_HEIGHT = 0.22  # inches between tiles that leave room for a line of text
_MOST_NAMES = 12  # of classes, written into a scatter plot

# Okabe and Ito (2008), "Color universal design".
SUPERVISOR_COLOR = "#0072B2"
STUDENT_COLOR = "#D55E00"
DATA_COLOR = "#4D4D4D"
# A term that trains one network alone, as a reconstruction, has the colour of that network.
LOSS_COLORS = {
    "loss_in": "#000000",
    "loss_sym": SUPERVISOR_COLOR,
    "loss_ap": "#009E73",
    "loss_nc": "#CC79A7",
    "loss_rec": STUDENT_COLOR,
}
_LOSS_MARKERS = dict(zip(LOSS_COLORS, "osD^v", strict=True))  # for a printer without colours
_LOSS_LABELS = {
    "loss_in": "loss_in: weighted sum",
    "loss_sym": "loss_sym: supervisor's output",
    "loss_ap": "loss_ap: apposition",
    "loss_nc": "loss_nc: non-negative code",
    "loss_rec": "loss_rec: student's output",
}
# Paul Tol's "muted" scheme (SRON technical note 09-002, issue 3.2), and black for a tenth.
CLASS_COLORS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
_MARKERS = "o^sDvP"  # an eleventh class has the first colour again, with the next marker


def _figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _wrapped(title: str, width: float) -> tuple[str, float]:
    """Return a title in lines that a figure of that width has room for, and their height."""
    at_11_points = int(10 * width)
    lines = textwrap.wrap(title, at_11_points, break_on_hyphens=False)
    # A title has the name of a file in it: no dollar may begin a formula.
    return "\n".join(lines).replace("$", r"\$"), _TITLE_HEIGHT * len(lines)


def save(fig: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all.

    Parameters
    ----------
    fig : Figure
        Left as it is.
    path : path_like
        File to write or replace; its folder must exist.

    Raises
    ------
    OutputError
        The file cannot be written; one that was there before is untouched.
    """
    with atomic_write(path) as stream:
        fig.savefig(stream, format="png", dpi=DPI)


def png(fig: Figure) -> bytes:
    """Return what `save` would write."""
    stream = io.BytesIO()
    fig.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


class _PlainLogFormatter(LogFormatter):
    """Labels the ticks that matplotlib would label, but never as 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def plot_losses(history: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Draw each loss term against the epoch.

    Parameters
    ----------
    history : sequence of mappings
        One per epoch: ``"epoch"`` (otherwise its place, from 1) and any of ``"loss_in"``,
        ``"loss_sym"``, ``"loss_ap"``, ``"loss_nc"``, ``"loss_rec"``. Other keys are ignored. An
        epoch without a term leaves a gap in its line.
    title : str
        Above the picture.

    Returns
    -------
    Figure
        Logarithmic losses. A term that is never positive, such as one with weight zero, has no
        place on such an axis and is left out; with nothing left, as before the first epoch, the
        figure says so.
    """
    epochs = [entry.get("epoch", place) for place, entry in enumerate(history, start=1)]
    terms = {
        name: np.array([entry.get(name, math.nan) for entry in history], dtype=np.float64)
        for name in LOSS_COLORS
    }
    terms = {name: v for name, v in terms.items() if np.any(np.isfinite(v) & (v > 0))}
    title, above = _wrapped(title, WIDTH)
    figure = _figure(4.2 + above)
    axes = figure.add_subplot()
    for name, values in terms.items():
        axes.plot(
            epochs,
            values,
            gid=name,
            label=_LOSS_LABELS[name],
            color=LOSS_COLORS[name],
            # The sum lies on its largest term: dashed, it lets that one show.
            linestyle="--" if name == "loss_in" else "-",
            marker=_LOSS_MARKERS[name],
            # A line through one epoch is nothing to see; markers on hundreds are clutter.
            markevery=math.ceil(len(epochs) / 20),
            markersize=4.5,
            linewidth=1.6,
            zorder=3 if name == "loss_in" else 2,
        )
    axes.set(xlabel="epoch", ylabel="loss per sample (log scale)")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if not terms:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no loss yet", transform=axes.transAxes, ha="center")
        return figure
    axes.set_yscale("log", nonpositive="mask")
    # Plain numbers, on the minor ticks too where the losses span less than two decades.
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    axes.grid(which="major", color="0.9")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_reconstructions(
    clean: npt.ArrayLike,
    noisy: npt.ArrayLike,
    student: npt.ArrayLike,
    supervisor: npt.ArrayLike,
    image_shape: Sequence[int] | None,
    n: int = 10,
    title: str = "",
) -> Figure:
    """Show samples in four rows: clean, noisy, and what each network makes of them.

    Parameters
    ----------
    clean, noisy, student, supervisor : array_like of shape (k, D)
        The same samples in each, as rows. NaN in ``clean`` is a missing entry, and left blank.
    image_shape : sequence of int, or None
        (height, width); None for data that are no images, whose features are drawn as steps.
    n : int
        Samples shown: the first `n`, or all if there are fewer.
    title : str
        Above the picture.

    Returns
    -------
    Figure
        One scale of grey (or height) for all; it spans the values of the clean samples, and
        what lies outside is clipped, or drawn (steps).

    Raises
    ------
    DataError
        Arrays of different shapes, or of another size than `image_shape`; `n` below 1.
    """
    missing = np.isnan(np.asarray(clean, dtype=np.float64))
    rows = {
        "clean": check_codes(np.where(missing, 0.0, clean), "clean"),
        "noisy": check_codes(noisy, "noisy"),
        "student": check_codes(student, "student"),
        "supervisor": check_codes(supervisor, "supervisor"),
    }
    shapes = {name: values.shape for name, values in rows.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"shapes differ: {shapes}; pass the same samples in each")
    if n < 1:
        raise DataError(f"n is {n}; show at least one sample")
    colors = {"student": STUDENT_COLOR, "supervisor": SUPERVISOR_COLOR}
    shown = np.stack([values[:n] for values in rows.values()])  # (4, n, D)
    known = shown[0][~missing[:n]]
    shown[0][missing[:n]] = np.nan
    columns = shown.shape[1]
    if image_shape is None:
        title, above = _wrapped(title, WIDTH)
        figure = _figure(4.2 + above)
        grid = figure.subplots(4, columns, sharex=True, sharey=True, squeeze=False)
        for name, values, line in zip(rows, shown, grid, strict=True):
            for axes, value in zip(line, values, strict=True):
                edges = np.arange(len(value) + 1) - 0.5
                color = colors.get(name, DATA_COLOR)
                # Without antialiasing, many narrow steps keep their colour.
                axes.stairs(value, edges, fill=True, color=color, linewidth=0, antialiased=False)
                axes.tick_params(labelsize=7)
                axes.spines[["top", "right"]].set_visible(False)
            line[0].set_ylabel(name, color=colors.get(name, "black"))
        for column, axes in enumerate(grid[0]):
            axes.set_title(str(column), fontsize=9)
        figure.suptitle(f"{title}\nsample" if title else "sample", fontsize=10)
        figure.supxlabel("feature", fontsize=10)
        figure.supylabel("value", fontsize=10)
        return figure
    height, width = _image_size(shown, image_shape)
    tiles = _mosaic(shown, image_shape, (1, 1))
    # A few samples get tiles somewhat larger than ten do, not giant ones.
    tile = min(1.3, (WIDTH - 1.1) / columns)  # inches
    across = max(columns * tile + 1.1, WIDTH / 2)
    title, above = _wrapped(title, across)
    figure = _figure(height=4 * tile * height / width + 0.5 + above, width=across)
    axes = figure.add_subplot()
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    axes.imshow(tiles, cmap=_with_blank("gray"), vmin=low, vmax=high if high > low else low + 1)
    axes.set_yticks((height - 1) / 2 + (height + 1) * np.arange(4), list(rows))
    for text in axes.get_yticklabels():
        text.set_color(colors.get(text.get_text(), "black"))
    axes.set_xticks(
        (width - 1) / 2 + (width + 1) * np.arange(columns),
        [str(column) for column in range(columns)],
    )
    axes.set_xlabel("sample")
    axes.set_title(title, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def plot_parts(
    parts: npt.ArrayLike,
    image_shape: Sequence[int] | None,
    *,
    dead: npt.ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Show the decoded base units, or the effect of each.

    Parameters
    ----------
    parts : array_like of shape (rank, D)
        From `decode_parts` or `unit_effects`.
    image_shape : sequence of int, or None
        (height, width) of an image; None for other data, which are shown as a heat map with
        one row per unit.
    dead : array_like of shape (rank,), dtype bool, optional
        Units to mark, from `dead_units`.
    title : str
        Above the picture.

    Returns
    -------
    Figure
        One scale for all units, so that weak ones look weak. Values of both signs are shown on
        a diverging scale with white at zero.

    Raises
    ------
    DataError
        Shapes that do not fit each other.
    """
    shown = check_codes(parts, "parts")
    rank = len(shown)
    marked = np.zeros(rank, dtype=bool) if dead is None else np.asarray(dead, dtype=bool)
    if marked.shape != (rank,):
        raise DataError(f"dead has shape {marked.shape}; expected ({rank},): one flag per part")
    low, high = float(shown.min()), float(shown.max())
    signed = low < 0
    peak = max(-low, high) or 1.0
    scale = Normalize(-peak if signed else 0.0, peak)
    what = "change of the output" if signed else "output"
    if image_shape is None:
        title, above = _wrapped(title, WIDTH)
        # High enough for the words beside the scale of colours.
        figure = _figure(max(2.3, 1.0 + 0.16 * rank) + above)
        axes = figure.add_subplot()
        image = axes.imshow(
            shown, aspect="auto", cmap="RdBu_r" if signed else "cividis", norm=scale
        )
        names = [f"unit {k}{' (dead)' if gone else ''}" for k, gone in enumerate(marked)]
        axes.set_yticks(range(rank), names, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("feature")
        axes.set_title(title, fontsize=11)
        figure.colorbar(
            image, ax=axes, label=what, fraction=0.05, aspect=8 * figure.get_figheight()
        )
        return figure
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
    title, above = _wrapped(title, whole - 1.0)  # beside the scale
    figure = _figure(max(2.1, lines * (tall + down) * pixel + 0.1) + above, whole)
    axes = figure.add_subplot()
    image = axes.imshow(tiles, cmap=_with_blank("RdBu_r" if signed else "gray"), norm=scale)
    for k, gone in enumerate(marked):
        line, column = divmod(k, columns)
        left, top = column * (wide + across) - 0.5, line * (tall + down) - 0.5
        axes.text(
            left + wide / 2,
            top - 0.15 * down,
            f"unit {k}{' dead' if gone else ''}",
            ha="center",
            va="bottom",
            fontsize=8,
            color="0.45" if gone else "black",
        )
        axes.add_patch(
            Rectangle((left, top), wide, tall, fill=False, edgecolor="0.6", clip_on=False)
        )
        if gone:
            axes.plot(
                [left, left + wide, np.nan, left, left + wide],
                [top, top + tall, np.nan, top + tall, top],
                color="0.6",
                linewidth=0.8,
            )
    axes.set_ylim(tiles.shape[0] - 0.5, -down - 0.5)  # room for the labels of the first line
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label=what, fraction=0.05, aspect=8 * figure.get_figheight())
    return figure


def plot_cluster_matrix(assignment: ClusterAssignment, title: str) -> Figure:
    """Show how many samples of each class lie in each cluster.

    Parameters
    ----------
    assignment : ClusterAssignment
        From `assign_clusters`; its diagonal, the matched pairs, is framed.
    title : str
        Above the picture.

    Returns
    -------
    Figure
        Colour is the share of the class, the number the count of samples; more than 20 clusters
        leave no room for numbers.
    """
    counts = assignment.matrix
    n_classes, n_clusters = counts.shape
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(0.6, (WIDTH - 1.6) / n_clusters)
    across = max(1.6 + cell * n_clusters, WIDTH / 2)
    title, above = _wrapped(title, across - 1.0)  # beside the scale
    figure = _figure(max(0.22, min(cell, 0.42)) * n_classes + 1.3 + above, across)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    small = 9 if n_clusters <= 12 else 7
    if n_clusters <= 20:
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontsize=small,
                color="white" if share[row, column] > 0.55 else "black" if count else "0.6",
            )
    for k in range(min(counts.shape)):
        axes.add_patch(
            Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2)
        )
    crowded = n_clusters > 20 or max(len(str(name)) for name in assignment.clusters) > 3
    axes.set_xticks(
        range(n_clusters),
        assignment.clusters,
        fontsize=small,
        rotation=90 if crowded else 0,
    )
    axes.set_yticks(range(n_classes), assignment.classes, fontsize=9)
    axes.set(xlabel="cluster (framed: matched to the class)", ylabel="class")
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the class")
    return figure


def plot_embedding(
    points2d: npt.ArrayLike, labels: Labels | None = None, title: str = "", kind: str = ""
) -> Figure:
    """Scatter points in the plane, coloured by label.

    Parameters
    ----------
    points2d : array_like of shape (k, 2)
        From `embed`.
    labels : sequence of hashable, or ndarray of shape (k,), optional
        Class or cluster of each point. Up to 12 names are also written where their points are
        densest, so that colour is not the only clue.
    title : str
        Above the picture.
    kind : str
        What the labels are, above their list.

    Returns
    -------
    Figure
        Axes without ticks, since an embedding has no unit.

    Raises
    ------
    DataError
        Points that are not (k, 2), or labels of another length.
    """
    points = check_codes(points2d, "points2d")
    if points.shape[1] != 2:
        raise DataError(f"points2d has shape {points.shape}; expected (k, 2), as embed returns")
    title, above = _wrapped(title, WIDTH - 1.0)  # beside the names
    figure = _figure(5.4 + above)
    axes = figure.add_subplot()
    size = float(np.clip(3e4 / len(points), 6, 40))
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, color=DATA_COLOR, alpha=0.7, linewidths=0)
    else:
        n_labels = draw_classes(axes, points, labels, size)
        figure.legend(
            loc="outside right center",
            title=kind or None,
            frameon=False,
            ncols=math.ceil(n_labels / 22),
            markerscale=max(1.0, (40 / size) ** 0.5),
        )
    axes.set(xlabel="dimension 1 (no unit)", ylabel="dimension 2 (no unit)")
    axes.set_title(title, fontsize=11)
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    return figure


def draw_classes(axes: Axes, points: Floats, labels: Labels, size: float) -> int:
    """Scatter points in the colours of their labels, and write up to 12 labels where they are.

    Parameters
    ----------
    axes : Axes
        Drawn upon; each label is an entry for a legend.
    points : ndarray of shape (k, 2)
        Where.
    labels : sequence of hashable, or ndarray of shape (k,)
        Of each point.
    size : float
        Of a point, in square points.

    Returns
    -------
    int
        How many labels there are.

    Raises
    ------
    DataError
        Labels of another length.
    """
    names, codes = encode_labels(labels)
    if len(codes) != len(points):
        raise DataError(
            f"labels has {len(codes)} entries for {len(points)} points; pass one per point"
        )
    for code, name in enumerate(names):
        cloud = points[codes == code]
        axes.scatter(
            cloud[:, 0],
            cloud[:, 1],
            s=size,
            color=CLASS_COLORS[code % len(CLASS_COLORS)],
            marker=_MARKERS[code // len(CLASS_COLORS) % len(_MARKERS)],
            alpha=0.8,
            linewidths=0,
            label=str(name),
        )
        if len(names) <= _MOST_NAMES:
            axes.text(
                *_densest(cloud),
                str(name),
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
    return len(names)


def _densest(cloud: Floats) -> tuple[float, float]:
    """Return the point whose closest third of the cloud is the closest."""
    # The median of a class in two pieces lies between them, on another class. Some points
    # are enough, and their distances do not fill the memory.
    some = cloud[:: math.ceil(len(cloud) / 300)]
    apart = np.linalg.norm(some[:, None] - some, axis=2)
    x, y = some[np.sort(apart, axis=1)[:, len(some) // 3].argmin()]
    return float(x), float(y)


def _image_size(values: Floats, image_shape: Sequence[int]) -> tuple[int, int]:
    shape = tuple(image_shape)
    if len(shape) != 2 or math.prod(shape) != values.shape[-1]:
        raise DataError(
            f"image_shape is {shape} for {values.shape[-1]} features; pass (height, width) with "
            "that product, or None for data that are no images"
        )
    return shape[0], shape[1]


def _mosaic(
    values: Floats, image_shape: Sequence[int], gaps: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Lay images (lines, columns, D) out in one, with so many blank pixels (down, across)."""
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
