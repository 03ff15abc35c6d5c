"""Growth of time and memory of training, against section 3.3 of the paper.

With ``n`` samples, ``depth`` layers of at most ``D`` units, and ``t`` epochs the paper expects
time ``O(t n depth D^2)`` and memory ``O(depth D^2)``. We vary one size at a time. All layers and
the data are equally wide, so that each layer is one D x D product; only the student's NMF module is
thin.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.options import Say, ScalingOptions
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.bench.tables import place_of, table, write_files
from ddnmf_np.config import configure
from ddnmf_np.evaluation.figures import (
    DATA_COLOR,
    STUDENT_COLOR,
    SUPERVISOR_COLOR,
    WIDTH,
    new_figure,
    own_settings,
)
from ddnmf_np.training import Trainer

RANK = 10
Line = tuple[Array, Array]


class Point(NamedTuple):
    """Training run: ``n`` samples, ``D`` units a layer, ``depth`` layers and a batch size."""

    n: int
    D: int
    depth: int
    batch: int


class Claim(NamedTuple):
    """Exponent that the paper expects; ``exact`` is False if it is an upper bound."""

    exponent: float
    exact: bool
    words: str


BASE = {"full": Point(4096, 256, 6, 128), "tiny": Point(48, 16, 2, 8)}
"""Sizes that stay fixed while one varies."""

SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "full": {
        "n": (1024, 2048, 4096, 8192, 16384),
        "D": (64, 128, 256, 512, 1024),
        "depth": (2, 4, 8, 16, 32),
        "batch": (16, 32, 64, 128, 256, 512),
    },
    "tiny": {"n": (16, 32, 64), "D": (8, 16, 32), "depth": (2, 4, 8), "batch": (4, 8, 16)},
}
"""Values of each size."""

CLAIMS = {
    ("seconds", "n"): Claim(1.0, True, "linear"),
    ("seconds", "D"): Claim(2.0, False, "at most quadratic"),
    ("seconds", "depth"): Claim(1.0, True, "linear"),
    ("seconds", "batch"): Claim(0.0, False, "none: an epoch has the same samples"),
    ("bytes", "n"): Claim(0.0, True, "none, but for the data (and their order)"),
    ("bytes", "D"): Claim(2.0, False, "at most quadratic"),
    ("bytes", "depth"): Claim(1.0, True, "linear"),
    ("bytes", "batch"): Claim(1.0, False, "at most linear"),
}
"""Claims of section 3.3 about the seconds of an epoch and about memory without the data.

The section does not mention the batch size; these claims follow from its model.
"""


def measure(options: ScalingOptions, say: Say = print) -> dict[str, Any]:
    """Measure all points and fit all exponents.

    We return plain JSON types: ``options``, what `surroundings` returns, ``points`` (each with
    ``seconds`` an epoch of every round, and ``bytes``), and ``fits``.
    """
    ops = get_ops(options.backend, fast=options.fast)
    base, sizes = BASE[options.sizes], SIZES[options.sizes]
    points = sorted({base._replace(**{s: v}) for s, values in sizes.items() for v in values})
    seconds: dict[Point, list[float]] = {point: [] for point in points}
    rng = np.random.default_rng(0)
    with threadpool_limits(options.threads):
        used = {point: memory(point, options, ops) for point in points}
        for number in range(options.rounds):
            # The order changes every round, so that a drift of the machine is not a slope.
            for place in rng.permutation(len(points)):
                point = points[place]
                seconds[point].append(epoch_seconds(point, options, ops))
            say(f"scaling: round {number + 1} of {options.rounds} done")
    found = [
        {**p._asdict(), "seconds": seconds[p], "bytes": used[p], "data_bytes": 4 * p.n * p.D}
        for p in points
    ]
    return {
        "options": asdict(options),
        **surroundings(),
        "backend": ops.name,
        "device": ops.device_name(),
        "points": found,
        "fits": fits(found, options.sizes),
    }


def make_trainer(point: Point, options: ScalingOptions, ops: Ops) -> Trainer:
    """Return a point's training run on random data."""
    config = configure(
        widths=(point.D,) * (point.depth // 2),
        rank=RANK,
        batch_size=point.batch,
        threads=options.threads,
        backend=options.backend,
        reduction="mean",
    )
    x = np.random.default_rng(0).uniform(size=(point.n, point.D)).astype("float32")
    return config.make_trainer(config.make_model(point.D, ops, point.batch), x, high=1.0)


def epoch_seconds(point: Point, options: ScalingOptions, ops: Ops) -> float:
    """Return the mean seconds of whole epochs that take at least ``options.seconds``.

    They include data order, gathering of the batches, and noise.
    """
    trainer = make_trainer(point, options, ops)
    with trainer.model.network_threads:
        trainer.train(1)  # compiles, and touches all memory
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < options.seconds or done == 0:
            trainer.train(trainer.position.epoch + 1)  # reads the losses, so it waits
            done += 1
    return spent / done


def memory(point: Point, options: ScalingOptions, ops: Ops) -> int:
    """Return the most bytes that an epoch needs, without data and the backend's workspaces."""
    trainer = make_trainer(point, options, ops)
    trainer.train(1)
    del trainer
    if not ops.on_host:
        pool = ops.xp.get_default_memory_pool()
        gc.collect()
        pool.free_all_blocks()
        # The backend's own memory, mostly cuBLAS's workspaces, is the same for every point.
        held = pool.total_bytes()
        trainer = make_trainer(point, options, ops)
        trainer.train(1)
        return int(pool.total_bytes() - held - trainer.x.nbytes)
    tracemalloc.start()
    try:
        trainer = make_trainer(point, options, ops)
        # Temporary arrays of the initialization are no part of training.
        tracemalloc.reset_peak()
        trainer.train(1)
        return int(tracemalloc.get_traced_memory()[1] - trainer.x.nbytes)
    finally:
        tracemalloc.stop()


def fits(points: list[dict[str, Any]], sizes: str) -> list[dict[str, Any]]:
    """Return the exponent of each quantity in each size, with the paper's claim."""
    found = []
    for (quantity, size), claim in CLAIMS.items():
        x, y = line_of(points, sizes, quantity, size)
        found.append(
            {
                "quantity": quantity,
                "size": size,
                **fit_power(x, y)._asdict(),
                # Between the two largest sizes overhead matters least.
                "last": float(np.log(y[-1] / y[-2]) / np.log(x[-1] / x[-2])),
                "claim": claim._asdict(),
            }
        )
    return found


class Power(NamedTuple):
    """``y = factor * x**exponent``, with the 95 % confidence interval of the exponent."""

    exponent: float
    low: float
    high: float
    factor: float


def fit_power(x: ArrayLike, y: ArrayLike) -> Power:
    """Fit a power law to at least three positive points by least squares on the logarithms.

    The interval is that of Student's t with ``len(x) - 2`` degrees of freedom. It covers scatter
    about the line; it does not tell whether the points follow a line.
    """
    fit = stats.linregress(np.log(x), np.log(y))
    margin = float(stats.t.ppf(0.975, np.size(x) - 2) * fit.stderr)
    exponent = float(fit.slope)
    return Power(exponent, exponent - margin, exponent + margin, float(np.exp(fit.intercept)))


def line_of(points: list[dict[str, Any]], sizes: str, quantity: str, size: str) -> Line:
    """Return the values of one size, and the quantity at the points where only this size varies."""
    of_point = {Point(p["n"], p["D"], p["depth"], p["batch"]): p[quantity] for p in points}
    values = SIZES[sizes][size]
    found = [of_point[BASE[sizes]._replace(**{size: value})] for value in values]
    if quantity == "seconds":  # the fastest round counts
        found = [min(rounds) for rounds in found]
    return np.array(values, float), np.array(found, float)


def write(results: dict[str, Any], folder: Path) -> str:
    """Write ``scaling.json``, ``scaling.md`` and ``scaling.png``; return the table."""
    return write_files("scaling", folder, results, to_markdown(results), draw(results))


def to_markdown(results: dict[str, Any]) -> str:
    """Return the exponents as a table, with what was measured."""
    options = results["options"]
    base, sizes = BASE[options["sizes"]], SIZES[options["sizes"]]
    words = (
        f"Engine {results['backend']} on {results['device']}, {options['threads']} threads, "
        f"float32; the fastest of {options['rounds']} visits in changing order. While one size "
        f"varies the others are n = {base.n}, D = {base.D}, depth = {base.depth}, batch = "
        f"{base.batch}. Both networks train: 2 depth layers of D x D units, and the NMF module "
        f"of rank {RANK}."
    )
    head = (
        "| | grows with | exponent | 95 % interval | between the two largest | section 3.3 |\n"
        "|---|---|---:|---:|---:|---|"
    )
    names = {"seconds": "time of an epoch", "bytes": "memory without the data"}
    lines = [
        [
            names[fit["quantity"]],
            f"{fit['size']}, {sizes[fit['size']][0]} to {sizes[fit['size']][-1]}",
            f"{fit['exponent']:.3f}",
            f"{fit['low']:.3f} to {fit['high']:.3f}",
            f"{fit['last']:.3f}",
            fit["claim"]["words"],
        ]
        for fit in results["fits"]
    ]
    return f"{place_of(results)}\n\n{words}\n\n{table(head, lines)}\n"


@own_settings()
def draw(results: dict[str, Any]) -> Figure:
    """Draw time and memory against each size, with the fitted lines."""
    sizes = results["options"]["sizes"]
    figure = new_figure(WIDTH, 4.6)
    axes = figure.subplots(2, len(SIZES[sizes]), sharey="row", squeeze=False)
    rows = {
        "seconds": (0, "seconds an epoch", STUDENT_COLOR, 1.0),
        "bytes": (1, "MiB without the data", SUPERVISOR_COLOR, 2.0**-20),
    }
    for fit in results["fits"]:
        row, label, color, unit = rows[fit["quantity"]]
        column = list(SIZES[sizes]).index(fit["size"])
        ax = axes[row, column]
        x, y = line_of(results["points"], sizes, fit["quantity"], fit["size"])
        ax.loglog(x, y * unit, "o", color=color, markersize=4)
        ax.loglog(x, fit["factor"] * x ** fit["exponent"] * unit, color=DATA_COLOR, linewidth=1)
        ax.set_title(f"exponent {fit['exponent']:.2f}", fontsize=8)
        ticks = x[:: max(1, len(x) // 3)]
        ax.set_xticks([], minor=True)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(which="major", color="0.92")
        if row == 1:
            ax.set_xlabel(fit["size"], fontsize=8)
        if column == 0:
            ax.set_ylabel(label, fontsize=8)
    return figure
