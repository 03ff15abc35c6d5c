"""Figures 2 and 3 of the paper, and units of methods side by side, from the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ddnmf_np.evaluation.figures import (
    CLASS_COLORS,
    DATA_COLOR,
    WIDTH,
    draw_band,
    draw_classes,
    new_figure,
    own_settings,
    save,
)
from ddnmf_np.experiments.networks import MAP_MODELS, NOISE_MODELS, TITLES
from ddnmf_np.experiments.parts import FACES, NAMES
from ddnmf_np.experiments.parts import TITLES as METHODS_OF_PARTS
from ddnmf_np.experiments.records import Name, Record, Store
from ddnmf_np.experiments.tables import (
    DATASET_TITLES,
    METHODS,
    METRICS,
    Budget,
    budgets,
    collect,
    frame_of,
    lines_of,
    noise_rows,
)

NOISE_METHOD = "gmm-full"
"""Clusterer of figure 3, that of the claims."""

# There are more colours than networks. Other figures use the first three for the two networks.
COLORS = dict(zip(NOISE_MODELS, (DATA_COLOR, *CLASS_COLORS[3:]), strict=False))


@own_settings()
def draw(name: str, records: Sequence[Record], folder: Path) -> list[str]:
    """Draw a figure as far as it has records, and return the names of its files.

    ``"figure2"`` is one PNG; ``"figure3"`` is one for each kind of test images, of the largest
    budget in the records. The folder must exist.
    """
    if name == "figure2":
        drawn = {"figure2.png": maps(records)}
    else:
        drawn = {
            f"figure3-{NOISE_METHOD}-{images}.png": noise_curves(records, images)
            for images in ("clean", "noisy")
        }
    files = {file: figure for file, figure in drawn.items() if figure is not None}
    for file, figure in files.items():
        save(figure, folder / file)
    return list(files)


def maps(records: Sequence[Record]) -> Figure | None:
    """Return figure 2: t-SNE of the codes, with a row per data set and a column per network.

    Points have the colour of their class, and its number is where they are densest. Of several
    budgets or seeds we show the one with the most epochs, then the first seed.
    """
    found: dict[tuple[str, str], Record] = {}
    embeddings = [record for record in records if record["kind"] == "embedding"]
    embeddings.sort(key=lambda r: (-(r["epochs"] or 0), -(r["samples"] or 0), r["seed"]))
    for record in embeddings:
        found.setdefault((record["dataset"], record["model"]), record)
    datasets = [d for d in DATASET_TITLES if any((d, m) in found for m in MAP_MODELS)]
    if not datasets:
        return None
    side, columns = WIDTH / len(MAP_MODELS) * 1.4, len(MAP_MODELS)
    figure = new_figure(side * columns, side * len(datasets))
    axes = figure.subplots(len(datasets), columns, squeeze=False)
    legend: tuple[list[Any], list[Any]] = [], []
    for line, dataset in zip(axes, datasets, strict=True):
        for panel, model in zip(line, MAP_MODELS, strict=True):
            panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            one = found.get((dataset, model))
            if one is None:
                panel.set_title(f"{TITLES[model]}: no record", fontsize=8)
                continue
            points = np.array(one["points"])
            draw_classes(panel, points, np.array(one["labels"] or [0] * len(points)), 3.0)
            about = f"{DATASET_TITLES[dataset]}, seed {one['seed']}, {one['epochs']} epochs"
            panel.set_title(f"{TITLES[model]}\n{about}", fontsize=10)
            legend = legend if legend[0] else panel.get_legend_handles_labels()
    figure.legend(*legend, loc="outside right center", title="class", frameon=False, markerscale=4)
    return figure


def noise_curves(records: Sequence[Record], images: str) -> Figure | None:
    """Return figure 3: scores against the rate of the noise, with a row per data set.

    A line is the mean over the seeds; the band around it is their range. A seed's score is the mean
    over the starts of `NOISE_METHOD`.
    """
    found: dict[str, tuple[Budget, pd.DataFrame]] = {}
    frame = frame_of(records)
    for dataset in DATASET_TITLES:
        of_data = lines_of(frame, dataset, NOISE_MODELS)
        for budget in budgets(of_data):
            scores = collect(of_data, budget)
            rows = [r for r in noise_rows(scores) if (r.method, r.images) == (NOISE_METHOD, images)]
            if rows:
                found[dataset] = budget, pd.concat([scores[row] for row in rows])
    if not found:
        return None
    figure = new_figure(WIDTH * 1.3, 2.6 * len(found))
    axes = figure.subplots(len(found), len(METRICS), squeeze=False, sharex=True)
    for line, (dataset, (budget, runs)) in zip(axes, found.items(), strict=True):
        for panel, metric in zip(line, METRICS, strict=True):
            for model, marker in zip(NOISE_MODELS, "os^", strict=True):
                each = runs[runs["model"] == model].groupby("noise_rate")[f"{metric}_mean"]
                if len(each):
                    mean, low, high = each.mean(), each.min(), each.max()
                    style: Any = {"color": COLORS[model], "marker": marker, "markersize": 4}
                    draw_band(panel, mean.index, mean, low, high, label=TITLES[model], **style)
            panel.set_title(f"{DATASET_TITLES[dataset]}, {metric.upper()}", fontsize=9)
            panel.set_ylim(0.0, 1.0)
        about = f"score, {budget.epochs} epochs of\n{budget.samples:,} training images"
        line[0].set_ylabel(about, fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel(f"rate of the noise in training ({images} test images)", fontsize=8)
    handles, names = axes[0][0].get_legend_handles_labels()
    what = f"codes clustered by {METHODS[NOISE_METHOD]}, mean over starts"
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
        title=f"{what}; band: range over seeds",
        title_fontsize=9,
    )
    return figure


COMPARED, OF_IMAGES, SHOWN = ("nmf", "demo", "auto", "parts"), ("mnist", "fashion-mnist", FACES), 8


@own_settings()
def units(store: Store, records: Sequence[Record]) -> Figure | None:
    """Return the strongest decoded units of some methods on images, or None without their arrays.

    It has a row for each method, and a column for each data set. Each unit has its own scale.
    """
    found: dict[tuple[str, str], Any] = {}
    for r in records:
        if r["kind"] == "parts" and r["seed"] == 0 and r["dataset"] in OF_IMAGES:
            name = Name("parts", f"{r['dataset']}-{r['method']}-0", r["identity"])
            if r["method"] in COMPARED and (arrays := store.read_arrays(name, "parts")):
                found[r["method"], r["dataset"]] = arrays["parts"]
    if len(found) < len(COMPARED) * len(OF_IMAGES):
        return None
    figure = new_figure(WIDTH, 4.6)
    panels = figure.subplots(len(COMPARED), len(OF_IMAGES), squeeze=False)
    for (method, dataset), parts in found.items():
        line, column = COMPARED.index(method), OF_IMAGES.index(dataset)
        strongest = np.argsort(-np.linalg.norm(parts, axis=1), kind="stable")[:SHOWN]
        side, gap = math.isqrt(parts.shape[1]), ((0, 0), (1, 1), (1, 1))
        peaks = np.abs(parts[strongest]).max(axis=1, keepdims=True)
        tiles = parts[strongest] / np.where(peaks > 0.0, peaks, 1.0)
        tiles = np.pad(tiles.reshape(-1, side, side), gap, constant_values=np.nan)
        rows = [np.hstack(list(half)) for half in (tiles[: SHOWN // 2], tiles[SHOWN // 2 :])]
        panel = panels[line, column]
        panel.imshow(np.vstack(rows), cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        if column == 0:
            panel.set_ylabel(METHODS_OF_PARTS[method].replace(", ", ",\n"), fontsize=9)
        if line == 0:
            panel.set_title(NAMES[dataset].partition(":")[0], fontsize=9)
    return figure
