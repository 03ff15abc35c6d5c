"""Results as JSON, as tables and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddnmf_np.bench.contestants import CONTESTANTS
from ddnmf_np.bench.digest import Results, adam_floor, best_peer, product_floor
from ddnmf_np.evaluation.figures import DATA_COLOR, STUDENT_COLOR, SUPERVISOR_COLOR, WIDTH, save
from ddnmf_np.system.files import atomic_write_text, make_folder

Say = Callable[[str], None]
"""Takes lines that tell how far a measurement is."""

OURS_COLOR, PEER_COLOR = STUDENT_COLOR, "#9AB8CC"
PRODUCTS_COLOR, ADAM_COLOR = "#000000", SUPERVISOR_COLOR


def write(results: Results, folder: Path) -> str:
    """Write ``bench.json``, ``bench.md`` and ``bench.png``; return the tables.

    Parameters
    ----------
    results : dict
        What `ddnmf_np.bench.digest.digest` returns.
    folder : Path
        Made if it does not exist.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    text = to_markdown(results)
    make_folder(folder)
    atomic_write_text(folder / "bench.json", json.dumps(results, indent=1) + "\n")
    atomic_write_text(folder / "bench.md", text)
    save(draw(results), folder / "bench.png")
    return text


def to_markdown(results: Results) -> str:
    """Return all tables, each under a line that says what it shows."""
    parts = [conditions(results), overview(results)]
    for name, table in results["cases"].items():
        shape = "-".join(map(str, table["shape"]))
        head = (
            f"**{name}**: {shape}, batch {table['batch']}, {table['parameters'] / 1e6:.3g} M "
            f"parameters, {table['flop_per_step'] / 1e9:.3g} GFLOP a step in matrix products"
        )
        parts += [head, _step_table(table)]
    if "epochs" in results:
        parts += [
            "**whole epochs**, with data order and noise (Keras: noise drawn once, beforehand)",
            _epoch_table(results["epochs"]),
        ]
    if "late_epochs" in results:
        parts += ["**late epochs** of this engine", _late_table(results["late_epochs"])]
    if results["verdicts"]:
        parts += ["**targets**", targets(results["verdicts"])]
    return "\n\n".join(parts) + "\n"


def overview(results: Results) -> str:
    """Return one table for all cases: medians in ms, and samples a second over whole epochs."""
    cases, epochs = results["cases"], results.get("epochs", {}).get("contestants", {})
    heads = [f"{name}, ms" for name in cases] + (["epochs, samples/s"] if epochs else [])
    lines = [row(["", *heads]), "|---" + "|---:" * len(heads) + "|"]
    tables = list(cases.values())
    for part in ("contestants", "floors"):
        for name, entry in tables[0][part].items() if tables else ():
            found = [table[part][name] for table in tables]
            cells = ["-" if e["gap"] is not None else ms(e["summary"]["median"]) for e in found]
            if epochs and part == "contestants":
                e = epochs.get(name, {"gap": "not asked for"})
                rate = "-" if e["gap"] is not None else f"{e['summary']['samples_per_second']:.0f}"
                cells.append(rate)
            elif epochs:
                cells.append("")
            lines.append(row([entry["label"], *cells]))
    return "\n".join(lines)


def conditions(results: Results) -> str:
    """Return where and how the measurements were made."""
    plan, found = results["plan"], results["environment"]
    devices = ", ".join(device["name"] for device in found["cuda"]["devices"])
    where = f"on {devices or 'no device'}, " if plan["device"] == "cuda" else ""
    return (
        f"{place_of(results)}\n\n"
        f"Each contestant {where}with {plan['threads']} threads, float32 (matmul precision "
        f"{plan['matmul_precision']}), objective {plan['objective']}. Times of a step are medians "
        f"over {plan['rounds']} rounds, each in a process of its own, with the quartiles of all "
        "blocks of steps and the range of the rounds' medians."
    )


def place_of(results: Results) -> str:
    """Return machine, versions, date and commit in a sentence."""
    found = results["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items() if v is not None)
    commit = results["commit"]
    return (
        f"{results['cpu']}, {found['cpus']['usable']} processors, {found['platform']}; {versions}; "
        f"{results['created'][:10]}, commit {commit[:12] if commit else 'unknown'}"
        f"{' with changes' if commit and commit.endswith('+') else ''}."
    )


def _step_table(table: Results) -> str:
    peer, floor, adam = best_peer(table), product_floor(table), adam_floor(table)
    head = (
        "| | step, ms | quartiles | rounds | / best peer | / floor | import, s | first step, s "
        "| peak memory, MiB |"
    )
    lines = [head, "|---" + "|---:" * 8 + "|"]
    for entry in (*table["contestants"].values(), *table["floors"].values()):
        if entry["gap"] is not None:
            lines.append(f"| {entry['label']} | {cell(entry['gap'])} |" + " |" * 7)
            continue
        s = entry["summary"]
        memory = s["device_memory_mib"] or s["peak_memory_mib"]
        is_floor = entry in table["floors"].values()
        first, again = s["first_step_seconds"], s["cached_first_step_seconds"]
        cells = [
            label(entry),
            ms(s["median"]),
            f"{ms(s['q1'])}-{ms(s['q3'])}",
            f"{ms(s['low'])}-{ms(s['high'])}",
            f"{s['median'] / peer[1]:.2f}" if peer and not is_floor else "",
            f"{s['median'] / floor:.2f}" if floor and not is_floor else "",
            "" if is_floor else f"{s['import_seconds']:.2g}",
            "" if is_floor else f"{first:.2g}" + (f" ({again:.2g})" if again < 0.5 * first else ""),
            "" if is_floor or memory is None else f"{memory:.0f}",
        ]
        lines.append(row(cells))
    if adam is not None:
        lines.append(row(["Adam's bytes at the speed of the copy", ms(adam), *[""] * 7]))
    return "\n".join(lines)


def _epoch_table(epochs: Results) -> str:
    if "gap" in epochs:
        return f"no result: {epochs['gap']}"
    lines = ["| | samples/s | s an epoch | each epoch, s |", "|---|---:|---:|---|"]
    for entry in epochs["contestants"].values():
        if entry["gap"] is not None:
            lines.append(f"| {entry['label']} | {cell(entry['gap'])} | | |")
            continue
        s, seconds = entry["summary"], entry["rounds"][0]["epoch_seconds"]
        each = " ".join(f"{t:.2f}" for t in seconds)
        lines.append(
            row(
                [
                    label(entry),
                    f"{s['samples_per_second']:.0f}",
                    f"{s['epoch_seconds']:.2f}",
                    each,
                ]
            )
        )
    return "\n".join(lines)


def _late_table(late: Results) -> str:
    if "gap" in late:
        return f"no result: {late['gap']}"
    lines = ["| | last epoch / second | each epoch, s |", "|---|---:|---|"]
    for entry in late["contestants"].values():
        if entry["gap"] is not None:
            lines.append(f"| {entry['label']} | {cell(entry['gap'])} | |")
            continue
        each = " ".join(f"{t:.2f}" for t in entry["rounds"][0]["epoch_seconds"])
        lines.append(row([entry["label"], f"{entry['summary']['last_over_second']:.3f}", each]))
    return "\n".join(lines)


def targets(found: list[dict[str, Any]]) -> str:
    """Return the ratios that have a target, as a table."""
    lines = ["| ratio | | target | |", "|---|---:|---:|---|"]
    for v in found:
        met = "met" if v["met"] else "not met"
        lines.append(row([v["what"], f"{v['ratio']:.2f}", f"<= {v['target']:g}", met]))
    return "\n".join(lines)


def row(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"


def label(entry: Results) -> str:
    """Return the name of a measured contestant, with its note."""
    name, note = str(entry["label"]), entry["summary"].get("note")  # older results have none
    return f"{name} (note: {note.replace('|', '/')})" if note else name


def cell(text: str) -> str:
    """Return a reason as it fits a cell."""
    return f"no result: {text.replace('|', '/')}"


def ms(seconds: float) -> str:
    """Return milliseconds with three digits, and never as 1e+03."""
    return f"{seconds * 1e3:.3g}" if seconds < 0.9995 else f"{seconds * 1e3:.0f}"


def draw(results: Results) -> Figure:
    """Draw the step times of each case as bars, floors as lines, gaps as words."""
    panels = [(name, table) for name, table in results["cases"].items()]
    bars = max((len(table["contestants"]) for _, table in panels), default=0)
    epochs = results.get("epochs", {}).get("contestants", {})
    rows = -(-(len(panels) + bool(epochs)) // 2)
    height = 0.9 + rows * (0.75 + 0.24 * max(bars, len(epochs)))
    figure = Figure(figsize=(WIDTH, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for (name, table), ax in zip(panels, axes, strict=False):
        times = {
            key: None if entry["gap"] is not None else entry["summary"]["median"] * 1e3
            for key, entry in table["contestants"].items()
        }
        _bars(ax, table["contestants"], times)
        for floor, color, style, label in (
            (product_floor(table), PRODUCTS_COLOR, "--", "matrix products alone (lower floor)"),
            (adam_floor(table), ADAM_COLOR, ":", "Adam's bytes at the speed of a copy"),
        ):
            if floor is not None:
                ax.axvline(floor * 1e3, color=color, linestyle=style, linewidth=1.4, label=label)
        shape = "-".join(map(str, table["shape"]))
        ax.set_title(f"{name}: {shape}, batch {table['batch']}", fontsize=8)
        ax.set_xlabel("ms a step (median)", fontsize=8)
    if epochs:
        ax = axes[len(panels)]
        rates = {
            key: None if entry["gap"] is not None else entry["summary"]["samples_per_second"]
            for key, entry in epochs.items()
        }
        _bars(ax, epochs, rates)
        ax.set_title(f"whole epochs of {results['plan']['dataset']}, data and noise", fontsize=8)
        ax.set_xlabel("samples a second", fontsize=8)
    for ax in axes[len(panels) + bool(epochs) :]:
        ax.set_axis_off()
    handles = {h.get_label(): h for ax in axes for h in ax.get_legend_handles_labels()[0]}
    if handles:
        figure.legend(
            handles=handles.values(), loc="outside upper center", ncols=2, frameon=False, fontsize=8
        )
    return figure


def _bars(ax: Axes, entries: dict[str, Any], values: dict[str, float | None]) -> None:
    """Draw one bar for each contestant, the first at the top."""
    top = max((v for v in values.values() if v is not None), default=1.0)
    for place, (name, value) in enumerate(values.items()):
        ours = CONTESTANTS[name].ours
        if value is None:
            why = cell(entries[name]["gap"])
            text = why if len(why) <= 42 else why[:39] + "..."
            ax.text(
                0.02 * top,
                place,
                text,
                va="center",
                fontsize=7,
                color=DATA_COLOR,
                bbox={"facecolor": "w", "edgecolor": "none", "pad": 0.3},
            )
            continue
        shown = f"{value:.0f}" if value >= 100.0 else f"{value:.3g}"
        ax.barh(place, value, color=OURS_COLOR if ours else PEER_COLOR, height=0.7)
        ax.text(value + 0.01 * top, place, shown, va="center", fontsize=7)
    labels = [entries[name]["label"] for name in values]
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.15 * top)
    ax.spines[["top", "right"]].set_visible(False)
