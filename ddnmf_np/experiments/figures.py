"""Figures 2 and 3 of the paper, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddnmf_np.evaluation.figures import (
    CLASS_COLORS,
    DATA_COLOR,
    DPI,
    WIDTH,
    draw_classes,
    save,
)
from ddnmf_np.experiments.baselines import CLUSTERERS, TITLES
from ddnmf_np.experiments.networks import MAP_MODELS, NOISE_MODELS
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.statistics import spread
from ddnmf_np.experiments.tables import (
    DATASET_TITLES,
    METHODS,
    METRICS,
    Budget,
    Scores,
    budgets,
    collect,
    noise_rows,
    of_models,
    values,
)

COLORS = dict(
    zip(
        NOISE_MODELS,
        # Not the colours that the supervisor and the student have in other pictures.
        (DATA_COLOR, *CLASS_COLORS[3:]),
        strict=False,  # there are more colours than networks
    )
)


def draw(name: str, records: Sequence[Record], folder: Path) -> list[str]:
    """Draw a figure as far as there are records for it.

    Parameters
    ----------
    name : {"figure2", "figure3"}
        Which.
    records : sequence of Record
        All there are.
    folder : Path
        Where the PNGs go; it must exist.

    Returns
    -------
    list of str
        Names of the files: a figure 2, and a figure 3 for each clusterer and kind of test images;
        of the largest budget that there are records of.
    """
    drawn: list[str] = []
    if name == "figure2":
        figure = maps(records)
        if figure is not None:
            save(figure, folder / "figure2.png")
            drawn.append("figure2.png")
        return drawn
    for method in CLUSTERERS:
        for images in ("clean", "noisy"):
            figure = noise_curves(records, method, images)
            if figure is not None:
                drawn.append(f"figure3-{method}-{images}.png")
                save(figure, folder / drawn[-1])
    return drawn


def maps(records: Sequence[Record]) -> Figure | None:
    """Return figure 2: t-SNE of the codes, a line for each data set and a column for each network.

    Points have the colour of their class, whose number is written where they are densest. Of
    several seeds or budgets the largest number of epochs and then the first seed is shown.
    """
    found: dict[tuple[str, str], Record] = {}
    for record in sorted(
        (r for r in records if r["kind"] == "embedding"),
        key=lambda r: (-(r["epochs"] or 0), -(r["samples"] or 0), r["seed"]),
    ):
        found.setdefault((record["dataset"], record["model"]), record)
    datasets = [d for d in DATASET_TITLES if any((d, m) in found for m in MAP_MODELS)]
    if not datasets:
        return None
    side = WIDTH / len(MAP_MODELS) * 1.4
    figure = Figure(
        figsize=(side * len(MAP_MODELS), side * len(datasets)), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(datasets), len(MAP_MODELS), squeeze=False)
    for line, dataset in zip(axes, datasets, strict=True):
        for panel, model in zip(line, MAP_MODELS, strict=True):
            panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            one = found.get((dataset, model))
            if one is None:
                panel.set_title(f"{TITLES[model]}: no record", fontsize=8)
                continue
            points = np.array(one["points"])
            labels = np.array(one["labels"] or [0] * len(points))
            draw_classes(panel, points, labels, 3.0)
            panel.set_title(
                f"{TITLES[model]}\n"
                f"{DATASET_TITLES[dataset]}, seed {one['seed']}, {one['epochs']} epochs",
                fontsize=10,
            )
    handles, names = axes[0][0].get_legend_handles_labels()
    for line in axes:
        for panel in line:
            if not handles:
                handles, names = panel.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside right center", title="class", frameon=False, markerscale=4
    )
    return figure


def noise_curves(records: Sequence[Record], method: str, images: str) -> Figure | None:
    """Return figure 3: scores against the rate of the noise, a line of pictures a data set.

    A line is the mean over the seeds, the band around it their range.
    """
    found: dict[str, tuple[Budget, Scores]] = {}
    records = of_models(records, NOISE_MODELS)
    for dataset in DATASET_TITLES:
        for budget in budgets(records, dataset):
            scores = collect(records, dataset, budget)
            rows = [r for r in noise_rows(scores) if (r.method, r.images) == (method, images)]
            if rows:
                found[dataset] = budget, {row: scores[row] for row in rows}
    if not found:
        return None
    figure = Figure(figsize=(WIDTH * 1.3, 2.6 * len(found)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), len(METRICS), squeeze=False, sharex=True)
    for line, (dataset, (budget, scores)) in zip(axes, found.items(), strict=True):
        for panel, metric in zip(line, METRICS, strict=True):
            for model in NOISE_MODELS:
                rows = sorted(row for row in scores if row.model == model)
                if not rows:
                    continue
                rates = [row.noise_rate for row in rows]
                spreads = [spread(list(values(scores[row], metric).values())) for row in rows]
                panel.plot(
                    rates,
                    [s.mean for s in spreads],
                    marker="os^Dv"[NOISE_MODELS.index(model) % 5],
                    markersize=4,
                    color=COLORS[model],
                    label=TITLES[model],
                )
                panel.fill_between(
                    rates,
                    [s.low for s in spreads],
                    [s.high for s in spreads],
                    color=COLORS[model],
                    alpha=0.2,
                    linewidth=0,
                )
            panel.set_title(f"{DATASET_TITLES[dataset]}, {metric.upper()}", fontsize=9)
            panel.set_ylim(0.0, 1.0)
        line[0].set_ylabel(
            f"score, {budget.epochs} epochs of\n{budget.samples:,} training images", fontsize=8
        )
    for panel in axes[-1]:
        panel.set_xlabel(f"rate of the noise in training ({images} test images)", fontsize=8)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
        title=f"codes clustered by {METHODS[method]}; band: range over seeds",
        title_fontsize=9,
    )
    return figure
