"""Picture of a search for the rank: error and agreement over the ranks, and the answer."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ddnmf_np.evaluation.figures import (
    STUDENT_COLOR,
    SUPERVISOR_COLOR,
    WIDTH,
    draw_band,
    new_figure,
    own_settings,
)

PANELS = (
    ("error", "unexplained variance\nof hidden entries", STUDENT_COLOR, "o"),
    ("agreement", "agreement of codes\nbetween seeds", SUPERVISOR_COLOR, "s"),
)
"""Column of the table, label, colour and marker of each panel."""


@own_settings()
def draw(
    ranks: Sequence[int],
    table: Sequence[Mapping[str, float]],
    answer: tuple[int | None, int | None, int | None],
    title: str,
) -> Figure:
    """Draw error and agreement over the ranks, with their 95 % intervals.

    The table is that of `RankChoice`. A vertical line marks the answer and a grey band its range,
    where there are.
    """
    figure = new_figure(WIDTH, 5.4)
    panels = figure.subplots(2, 1, sharex=True)
    rank, first, last = answer
    place = np.log2(ranks)
    for axes, (name, label, color, marker) in zip(panels, PANELS, strict=True):
        low, middle, high = (
            [row[f"{name}{end}"] for row in table] for end in ("_low", "", "_high")
        )
        draw_band(axes, place, middle, low, high, color=color, marker=marker, markersize=5)
        if first is not None and last is not None:
            axes.axvspan(*np.log2([first, last]), color="0.9", zorder=0)
        if rank is not None:
            axes.axvline(np.log2(rank), color="black", linestyle="--", linewidth=1)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].set_ylim(0.0, 1.05)
    panels[1].set_xticks(place, map(str, ranks))
    panels[1].set_xlabel("rank (log scale; band: 95 % interval of the mean over seeds)")
    # A file's name may be in the title, and its dollars must not begin a formula.
    figure.suptitle("\n".join(textwrap.wrap(title, 75)).replace("$", r"\$"), fontsize=11)
    return figure
