"""Scores against the number of epochs: a table and a figure for tables 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ddnmf_np.evaluation.figures import CLASS_COLORS, WIDTH, draw_band, new_figure
from ddnmf_np.experiments.networks import CLUSTERERS, TABLE_MODELS, TITLES
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
NOTE = (
    "Mean over seeds ± standard deviation (number of seeds). A seed's score is the mean over the "
    "starts of its clustering. Labels are used for scoring only. The last column names the folders "
    "of the records. If it names one, a network with a constant learning rate has its whole line "
    "from one training for each seed, because a longer run on one machine begins with the bits of "
    "the shorter. If it names several, the points come from different trainings, perhaps on "
    "processors that round differently. The lines of `curves` are made by "
    "`python -m ddnmf_np.experiments step NAME`."
)


def curves_of(records: Sequence[Record]) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield data set, number of training images, and one line per network, clusterer and length.

    We show the largest number of training images and of starts that the records of a data set
    have, and leave out lines of other noise than that of tables 1 and 2. See also `_one_folder`.
    """
    frame = frame_of(records)
    frame = frame[frame["images"] == "clean"]
    for name in ("epochs", "samples", "starts"):
        frame = frame.assign(**{name: [getattr(b, name) for b in frame["budget"]]})
    for dataset in DATASET_TITLES:
        lines = lines_of(frame, dataset, TABLE_MODELS)
        lines = lines[lines["epochs"].notna()]  # images and their NMF have no length
        lines = lines[lines["noise_rate"] == lines["model"].map(table_noise).astype(float)]
        lines = lines[lines["samples"] == lines["samples"].max()]
        lines = lines[lines["starts"] == lines["starts"].max()]
        lines = _one_folder(lines)
        lines = lines.drop_duplicates(["model", "method", "epochs", "seed"])
        if lines["epochs"].nunique() > 1:
            yield dataset, int(lines["samples"].iloc[0]), lines


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
        for _, of_length in own.groupby("epochs", sort=False):
            seeds = of_length.groupby("folder", sort=False)["seed"].nunique()
            if seeds.max() == folders["seeds"].max():
                kept.append(of_length[of_length["folder"] == seeds.idxmax()])
    return pd.concat(kept) if kept else lines


def render(records: Sequence[Record]) -> str:
    """Return the tables as Markdown; empty without records of two lengths."""
    parts = []
    for dataset, samples, lines in curves_of(records):
        parts.append(f"### Curves: {DATASET_TITLES[dataset]}, {samples:,} training images")
        lengths = sorted({int(length) for length in lines["epochs"]})
        for score in SCORES:
            rows = []
            for model, method, own in _rows(lines):
                cells = [_cell(own[own["epochs"] == length], score) for length in lengths]
                folders = ", ".join(name for name in sorted(set(own["folder"])) if name)
                rows.append([TITLES[model], METHODS[method], *cells, folders])
            header = ["codes", f"{score.upper()} of", *(f"{length} epochs" for length in lengths)]
            header.append("records")
            parts.append(markdown(header, rows))
        parts.append(NOTE)
    return "\n\n".join(parts) + "\n" if parts else ""


def draw(records: Sequence[Record]) -> Figure | None:
    """Return the figure: a row for each data set and score, a column for each clusterer.

    A line is the mean over seeds; the band around it is one standard deviation.
    """
    found = list(curves_of(records))
    if not found:
        return None
    count = len(found) * len(SCORES)
    figure = new_figure(WIDTH * 1.3, 2.4 * count)
    axes = figure.subplots(count, len(CLUSTERERS), squeeze=False, sharex=True)
    colors = dict(zip(TABLE_MODELS, CLASS_COLORS, strict=False))
    shown: Mapping[str, Any] = {}
    panels = iter(axes)
    for dataset, _, lines in found:
        for score in SCORES:
            row = next(panels)
            row[0].set_ylabel(f"{DATASET_TITLES[dataset]}\n{score.upper()}", fontsize=9)
            for panel, method in zip(row, CLUSTERERS, strict=True):
                panel.set_title(METHODS[method], fontsize=9)
                for model, _, own in _rows(lines[lines["method"] == method]):
                    each = own.groupby("epochs")[f"{score}_mean"]
                    mean, band = each.mean(), each.std().fillna(0.0)
                    style: Any = {"color": colors[model], "marker": "o", "markersize": 3}
                    line = draw_band(panel, mean.index, mean, mean - band, mean + band, **style)
                    shown = {**shown, TITLES[model]: line}
    for panel in axes[-1]:
        panel.set_xlabel("epochs", fontsize=9)
    figure.legend(
        list(shown.values()), list(shown), loc="outside upper center", ncols=3, frameon=False
    )
    return figure


def _rows(lines: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield network, clusterer and lines, in the order of tables 1 and 2."""
    for model in TABLE_MODELS:
        for method in METHODS:
            own = lines[(lines["model"] == model) & (lines["method"] == method)]
            if len(own):
                yield model, method, own


def _cell(seeds: pd.DataFrame, score: str) -> str:
    return f"{mean_of(seeds[f'{score}_mean'])} ({len(seeds)})" if len(seeds) else "-"
