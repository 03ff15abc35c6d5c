"""Results as JSON, as tables and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnmf_np.bench.contestants import CONTESTANTS
from ddnmf_np.bench.digest import Results, adam_floor, best_peer, product_floor
from ddnmf_np.evaluation.figures import (
    STUDENT_COLOR,
    SUPERVISOR_COLOR,
    WIDTH,
    new_figure,
    own_settings,
    save,
)
from ddnmf_np.system.files import atomic_write_text, make_folder

OURS_COLOR, PEER_COLOR = STUDENT_COLOR, "#9AB8CC"
PRODUCTS_COLOR, ADAM_COLOR = "#000000", SUPERVISOR_COLOR


def write(results: Results, folder: Path) -> str:
    """Write ``bench.json``, ``bench.md`` and ``bench.png``; return the tables."""
    return write_files("bench", folder, results, to_markdown(results), draw(results))


def write_files(stem: str, folder: Path, results: Results, text: str, picture: Figure) -> str:
    """Write one result as JSON, Markdown and PNG; return the Markdown."""
    make_folder(folder)
    atomic_write_text(folder / f"{stem}.json", json.dumps(results, indent=1) + "\n")
    atomic_write_text(folder / f"{stem}.md", text)
    save(picture, folder / f"{stem}.png")
    return text


def to_markdown(results: Results) -> str:
    """Return all tables, each under a line that says what it shows."""
    parts = [conditions(results), overview(results)]
    for name, case in results["cases"].items():
        head = (
            f"**{name}**: {_shape(case)}, {case['parameters'] / 1e6:.3g} M parameters, "
            f"{case['flop_per_step'] / 1e9:.3g} GFLOP a step in matrix products"
        )
        parts += [head, _step_table(case)]
    if "epochs" in results:
        title = "**whole epochs**, with data order and noise (Keras: noise drawn once, beforehand)"
        head = "| | samples/s | s an epoch | each epoch, s |\n|---|---:|---:|---|"
        parts += [title, _epoch_table(results["epochs"], head, _speed)]
    if "late_epochs" in results:
        head = "| | last epoch / second | each epoch, s |\n|---|---:|---|"
        late = _epoch_table(results["late_epochs"], head, _slowdown)
        parts += ["**late epochs** of this engine", late]
    if results["verdicts"]:
        parts += ["**targets**", targets(results["verdicts"])]
    return "\n\n".join(parts) + "\n"


def overview(results: Results) -> str:
    """Return one table for all cases: medians in ms, and samples a second over whole epochs."""
    cases, epochs = results["cases"], results.get("epochs", {}).get("contestants", {})
    heads = [f"{name}, ms" for name in cases] + (["epochs, samples/s"] if epochs else [])
    lines = []
    first: Results = next(iter(cases.values()), {})
    for part in ("contestants", "floors"):
        for name, entry in first.get(part, {}).items():
            found = [case[part][name] for case in cases.values()]
            cells = ["-" if e["gap"] is not None else ms(e["summary"]["median"]) for e in found]
            if epochs and part == "contestants":
                e = epochs.get(name, {"gap": "not asked for"})
                cells.append("-" if e["gap"] is not None else _speed(e["summary"])[0])
            lines.append([entry["label"], *cells])
    return table(row(["", *heads]) + "\n|---" + "|---:" * len(heads) + "|", lines)


def conditions(results: Results) -> str:
    """Return a paragraph on machine, versions and method."""
    plan, found = results["plan"], results["environment"]
    devices = ", ".join(device["name"] for device in found["cuda"]["devices"])
    where = f"on {devices or 'no device'}, " if plan["device"] == "cuda" else ""
    return (
        f"{place_of(results)}\n\n"
        f"Each contestant {where}with {plan['threads']} threads, float32 (matmul precision "
        f"{plan['matmul_precision']}), objective {plan['objective']}. Times of a step are medians "
        f"over {plan['rounds']} rounds, each in a new process, with the quartiles of all "
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


def _step_table(case: Results) -> str:
    peer, floor, adam = best_peer(case), product_floor(case), adam_floor(case)

    def cells(entry: Results) -> list[str]:
        s = entry["summary"]
        times = [
            ms(s["median"]),
            f"{ms(s['q1'])}-{ms(s['q3'])}",
            f"{ms(s['low'])}-{ms(s['high'])}",
        ]
        if entry in case["floors"].values():
            return times
        memory = s["device_memory_mib"] or s["peak_memory_mib"]
        first, again = s["first_step_seconds"], s["cached_first_step_seconds"]
        return [
            *times,
            f"{s['median'] / peer[1]:.2f}" if peer else "",
            f"{s['median'] / floor:.2f}" if floor else "",
            f"{s['import_seconds']:.2g}",
            f"{first:.2g}" + (f" ({again:.2g})" if again < 0.5 * first else ""),
            "" if memory is None else f"{memory:.0f}",
        ]

    lines = rows((case["contestants"] | case["floors"]).values(), cells)
    if adam is not None:
        lines.append(["Adam's bytes at the speed of the copy", ms(adam)])
    head = (
        "| | step, ms | quartiles | rounds | / best peer | / floor | import, s | first step, s "
        "| peak memory, MiB |\n|---" + "|---:" * 8 + "|"
    )
    return table(head, lines)


def _epoch_table(part: Results, head: str, numbers: Callable[[Results], list[str]]) -> str:
    if "gap" in part:
        return f"no result: {part['gap']}"

    def cells(entry: Results) -> list[str]:
        each = " ".join(f"{t:.2f}" for t in entry["rounds"][0]["epoch_seconds"])
        return [*numbers(entry["summary"]), each]

    return table(head, rows(part["contestants"].values(), cells))


def _speed(summary: Results) -> list[str]:
    return [f"{summary['samples_per_second']:.0f}", f"{summary['epoch_seconds']:.2f}"]


def _slowdown(summary: Results) -> list[str]:
    return [f"{summary['last_over_second']:.3f}"]


def targets(found: list[Results]) -> str:
    """Return the ratios that have a target, as a table."""
    lines = [
        [v["what"], f"{v['ratio']:.2f}", f"<= {v['target']:g}", "met" if v["met"] else "not met"]
        for v in found
    ]
    return table("| ratio | | target | |\n|---|---:|---:|---|", lines)


def rows(entries: Iterable[Results], cells: Callable[[Results], list[str]]) -> list[list[str]]:
    """Return a row for each entry: its label, and its cells or the reason of its gap."""
    return [
        [_label(entry), *cells(entry)] if entry["gap"] is None else [entry["label"], _reason(entry)]
        for entry in entries
    ]


def table(head: str, lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table from its first two lines and its rows; a short row is filled up."""
    columns = head.partition("\n")[0].count("|") - 1
    return "\n".join([head, *(row([*cells, *[""] * (columns - len(cells))]) for cells in lines)])


def row(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"


def _label(entry: Results) -> str:
    """Return the name of a measured contestant, with its note."""
    name, note = str(entry["label"]), entry["summary"].get("note")  # older results have none
    return f"{name} (note: {note.replace('|', '/')})" if note else name


def _reason(entry: Results) -> str:
    return f"no result: {entry['gap'].replace('|', '/')}"


def _shape(case: Results) -> str:
    return f"{'-'.join(map(str, case['shape']))}, batch {case['batch']}"


def ms(seconds: float) -> str:
    """Return milliseconds with three digits, never in the form 1e+03."""
    return f"{seconds * 1e3:.3g}" if seconds < 0.9995 else f"{seconds * 1e3:.0f}"


@own_settings()
def draw(results: Results) -> Figure:
    """Draw the step times of each case as bars, floors as lines, gaps as words."""
    cases, epochs = results["cases"], results.get("epochs", {}).get("contestants", {})
    panels = [case["contestants"] for case in cases.values()] + ([epochs] if epochs else [])
    n_rows = -(-len(panels) // 2)
    height = 0.9 + n_rows * (0.75 + 0.24 * max(map(len, panels), default=0))
    figure = new_figure(WIDTH, height)
    axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
    for (name, case), ax in zip(cases.items(), axes, strict=False):
        _bars(ax, case["contestants"], lambda summary: summary["median"] * 1e3)
        for floor, color, style, label in (
            (product_floor(case), PRODUCTS_COLOR, "--", "matrix products alone (lower floor)"),
            (adam_floor(case), ADAM_COLOR, ":", "Adam's bytes at the speed of a copy"),
        ):
            if floor is not None:
                ax.axvline(floor * 1e3, color=color, linestyle=style, linewidth=1.4, label=label)
        ax.set_title(f"{name}: {_shape(case)}", fontsize=8)
        ax.set_xlabel("ms a step (median)", fontsize=8)
    if epochs:
        ax = axes[len(cases)]
        _bars(ax, epochs, lambda summary: summary["samples_per_second"])
        ax.set_title(f"whole epochs of {results['plan']['dataset']}, data and noise", fontsize=8)
        ax.set_xlabel("samples a second", fontsize=8)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    handles = {h.get_label(): h for ax in axes for h in ax.get_legend_handles_labels()[0]}
    if handles:
        figure.legend(
            handles=handles.values(), loc="outside upper center", ncols=2, frameon=False, fontsize=8
        )
    return figure


def _bars(ax: Axes, entries: dict[str, Results], value_of: Callable[[Results], float]) -> None:
    """Draw one bar for each contestant, the first at the top."""
    values, words = [], []
    for entry in entries.values():
        value = value_of(entry["summary"]) if entry["gap"] is None else 0.0
        values.append(value)
        if entry["gap"] is not None:
            words.append(shorten(_reason(entry), 42, placeholder="..."))
        else:
            words.append(f"{value:.0f}" if value >= 100.0 else f"{value:.3g}")
    colors = [OURS_COLOR if CONTESTANTS[name].ours else PEER_COLOR for name in entries]
    bars = ax.barh([entry["label"] for entry in entries.values()], values, 0.7, color=colors)
    for text in ax.bar_label(bars, words, padding=2, fontsize=7):
        text.set_bbox({"facecolor": "w", "edgecolor": "none", "pad": 0.3})
    ax.tick_params(labelsize=7)
    ax.set_ylim(len(entries) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.15 * max(values, default=0.0) or 1.0)
    ax.spines[["top", "right"]].set_visible(False)
