"""Scores against the number of epochs: a table and a figure for tables 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddnmf_np.evaluation.figures import CLASS_COLORS, DATA_COLOR, WIDTH, draw_band, new_figure
from ddnmf_np.experiments.networks import (
    CLUSTERERS,
    TABLE_MODELS,
    TITLES,
    decided_by_data,
    make_config,
)
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.tables import (
    DATASET_TITLES,
    METHODS,
    frame_of,
    lines_of,
    mean_of,
    table_noise,
)
from ddnmf_np.system.markdown import markdown

SCORES = ("acc", "nmi")
NO_LENGTH = {"raw": (DATA_COLOR, "images"), "nmf": (CLASS_COLORS[4], "NMF of images")}
"""Codes that no network makes: colour and name in the figure."""

# Auto-encoders have cool colours, DDNMF has warm ones and black; markers are for a printer.
LOOKS = {
    "ae2": (CLASS_COLORS[1], "s"),
    "ae2-nmf": (CLASS_COLORS[2], "D"),
    "ae1": (CLASS_COLORS[3], "^"),
    "ae-linear": (CLASS_COLORS[0], "v"),
    "ddnmf-paper": (CLASS_COLORS[5], "o"),
    "ddnmf-demo": (CLASS_COLORS[6], "P"),
    "ddnmf-stable": (CLASS_COLORS[7], "X"),
    "ddnmf-auto": (CLASS_COLORS[9], "*"),
}
"""Colour and marker of each network in the figure."""

ABOUT = (
    "Accuracy (ACC) and normalized mutual information (NMI) of the clusters of codes against the\n"
    "length of training. Mean over seeds; the band or bar is one standard deviation. A line joins\n"
    "lengths of the same trainings. Points without a line come from other trainings.\n"
    "Images and NMF of images have no length: dotted lines."
)
NOTE = (
    "Mean over seeds ± standard deviation (number of seeds). A seed's score is the mean over the "
    "starts of its clustering. Labels are used for scoring only. Images and NMF of images have no "
    "length, because no network is trained for them. The last column names the folders "
    "of the records. If it names one, a network with a constant learning rate has its whole line "
    "from one training for each seed, because a longer run on one machine begins with the bits of "
    "the shorter. If it names several, the points come from different trainings, perhaps on "
    "processors that round differently. The lines of `curves` are made by "
    "`python -m ddnmf_np.experiments step NAME`."
)


def curves_of(records: Sequence[Record]) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield data set, number of training images, and one line per network, clusterer and length.

    We show the largest number of training images and of starts that the records of a data set
    have, and leave out lines of other noise than that of tables 1 and 2. Images and their NMF have
    NaN epochs. See also `_one_folder`.
    """
    frame = frame_of(records)
    frame = frame[frame["images"] == "clean"]
    for name in ("epochs", "samples", "starts"):
        values = [getattr(budget, name) for budget in frame["budget"]]
        frame = frame.assign(**{name: np.array(values, float)})  # NaN for None
    for dataset in DATASET_TITLES:
        lines = lines_of(frame, dataset, TABLE_MODELS)
        lines = lines[lines["noise_rate"] == lines["model"].map(table_noise).astype(float)]
        samples = lines["samples"].max()
        lines = lines[lines["samples"].isin([samples]) | lines["samples"].isna()]
        lines = lines[lines["starts"] == lines["starts"].max()]
        lines = _one_folder(lines)
        lines = lines.drop_duplicates(["model", "method", "epochs", "seed"])
        if lines["epochs"].nunique() > 1:
            yield dataset, int(samples), lines


def _one_folder(lines: pd.DataFrame) -> pd.DataFrame:
    """Keep one folder for each network and clusterer, because its points then fit together.

    It has as many seeds as any other and several lengths, of these the most, then the longest. If
    there is none, each length has a folder with that many seeds; lengths without one wait for more.
    """
    kept = []
    for _, own in lines.groupby(["model", "method"], sort=False):
        folders = own.groupby("folder").agg(
            seeds=("seed", "nunique"), lengths=("epochs", "nunique"), longest=("epochs", "max")
        )
        whole = folders[(folders["seeds"] == folders["seeds"].max()) & (folders["lengths"] > 1)]
        if len(whole):
            best = whole.sort_values(["lengths", "longest"], kind="stable").index[-1]
            kept.append(own[own["folder"] == best])
            continue
        for _, of_length in own.groupby("epochs", sort=False, dropna=False):
            seeds = of_length.groupby("folder", sort=False)["seed"].nunique()
            if seeds.max() == folders["seeds"].max():
                kept.append(of_length[of_length["folder"] == seeds.idxmax()])
    return pd.concat(kept) if kept else lines


def render(records: Sequence[Record]) -> str:
    """Return the tables as Markdown; empty without records of two lengths."""
    parts = []
    for dataset, samples, lines in curves_of(records):
        parts.append(f"### Curves: {DATASET_TITLES[dataset]}, {samples:,} training images")
        lengths = lines["epochs"].drop_duplicates().sort_values(na_position="first")
        columns = ["no network" if np.isnan(e) else f"{e:.0f} epochs" for e in lengths]
        for score in SCORES:
            rows = []
            for model, method, own in _rows(lines):
                # NaN is in a list with NaN.
                cells = [_cell(own[own["epochs"].isin([length])], score) for length in lengths]
                folders = ", ".join(name for name in sorted(set(own["folder"])) if name)
                rows.append([TITLES[model], METHODS[method], *cells, folders])
            header = ["codes", f"{score.upper()} of", *columns, "records"]
            parts.append(markdown(header, rows))
        parts.append(NOTE)
    return "\n\n".join(parts) + "\n" if parts else ""


def draw(records: Sequence[Record]) -> Figure | None:
    """Return the figure: a row for each data set and score, a column for each clusterer.

    The points of one length stand side by side, in the order of the legend.
    """
    found = list(curves_of(records))
    if not found:
        return None
    count = len(found) * len(SCORES)
    figure = new_figure(WIDTH * 1.3, 2.4 * count)
    axes = figure.subplots(count, len(CLUSTERERS), squeeze=False, sharex="row", sharey="row")
    panels = iter(axes)
    for dataset, _, lines in found:
        lengths = sorted(set(lines["epochs"].dropna()))
        span = lengths[-1] / max(lengths[0], 1.0)
        for score in SCORES:
            row = next(panels)
            row[0].set_ylabel(f"{DATASET_TITLES[dataset]}\n{score.upper()}", fontsize=9)
            for panel, method in zip(row, CLUSTERERS, strict=True):
                panel.set_title(METHODS[method], fontsize=9)
                panel.set_xscale("symlog", linthresh=1.0)  # lengths grow by factors
                panel.set_xticks(lengths, [f"{length:.0f}" for length in lengths])
                panel.minorticks_off()
                panel.tick_params(labelsize=8)
                panel.set_xlabel("epochs", fontsize=9)
                for model, _, own in _rows(lines[lines["method"] == method]):
                    _draw_codes(panel, model, own, f"{score}_mean", span)
    shown = {model for _, _, lines in found for model in lines["model"]}
    handles = [
        Line2D([], [], color=color, linestyle=":", label=name)
        for model, (color, name) in NO_LENGTH.items()
        if model in shown
    ]
    handles += [
        Line2D([], [], color=color, marker=marker, markersize=5, label=TITLES[model])
        for model, (color, marker) in LOOKS.items()
        if model in shown
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=9,
        title=ABOUT,
        title_fontsize=9,
    )
    return figure


def _draw_codes(panel: Axes, model: str, own: pd.DataFrame, score: str, span: float) -> None:
    """Draw the scores of the codes of a model.

    ``span`` is the longest training in units of the shortest.
    """
    if model in NO_LENGTH:
        panel.axhline(own[score].mean(), color=NO_LENGTH[model][0], linestyle=":")
        return
    color, marker = LOOKS[model]
    aside = span ** (0.012 * (list(LOOKS).index(model) - (len(LOOKS) - 1) / 2))
    style: Any = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.2}
    for _, points in own.groupby(["folder"] if has_curve(model) else ["folder", "epochs"]):
        each = points.groupby("epochs")[score]
        mean, band = each.mean(), each.std().fillna(0.0)
        if len(mean) > 1:
            draw_band(panel, mean.index * aside, mean, mean - band, mean + band, **style)
        else:
            panel.errorbar(mean.index * aside, mean, band, **style)


@cache
def has_curve(model: str) -> bool:
    """Return whether one training gives the codes of a network at several lengths."""
    model = "ae2" if model == "ae2-nmf" else model
    if decided_by_data(model):
        return False
    return make_config(model, {}).optimizer.lr_schedule == "constant"


def _rows(lines: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield network, clusterer and lines, in the order of tables 1 and 2."""
    for model in TABLE_MODELS:
        for method in METHODS:
            own = lines[(lines["model"] == model) & (lines["method"] == method)]
            if len(own):
                yield model, method, own


def _cell(seeds: pd.DataFrame, score: str) -> str:
    return f"{mean_of(seeds[f'{score}_mean'])} ({len(seeds)})" if len(seeds) else "-"
