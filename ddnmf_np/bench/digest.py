"""From raw answers to the numbers that we show: medians, ratios, targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np

from ddnmf_np.bench.contestants import CONTESTANTS
from ddnmf_np.bench.floors import adam_seconds

Results = dict[str, Any]
"""What `ddnmf_np.bench.measure.compare` returns, or a part of it."""


def digest(results: Results) -> Results:
    """Return the results with a ``summary`` of each contestant and floor, and ``verdicts``."""
    for table in results["cases"].values():
        for entry in (*table["contestants"].values(), *table["floors"].values()):
            if entry["gap"] is None:
                entry["summary"] = _steps(entry["rounds"])
    for part in ("epochs", "late_epochs"):
        for entry in results.get(part, {}).get("contestants", {}).values():
            if entry["gap"] is None:
                entry["summary"] = _epochs(entry["rounds"])
    results["verdicts"] = verdicts(results)
    return results


def summarise(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Summarise the times of several rounds, each of which has at least one time.

    ``median``, ``q1`` and ``q3`` (quartiles) are those of all ``n`` times together. ``low`` and
    ``high`` are the smallest and the largest median of a round.
    """
    times = np.concatenate(rounds)
    medians = [float(np.median(times)) for times in rounds]
    q1, middle, q3 = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
    return {
        "median": middle,
        "q1": q1,
        "q3": q3,
        "low": min(medians),
        "high": max(medians),
        "n": len(times),
    }


def _steps(rounds: list[Results]) -> Results:
    device = _most(rounds, "device_memory_bytes")
    return {
        **summarise([r["step_seconds"] for r in rounds]),
        "import_seconds": median(r["import_seconds"] for r in rounds),
        # The first visit may compile what later visits find in a cache on disk.
        "first_step_seconds": rounds[0]["first_step_seconds"],
        "cached_first_step_seconds": min(r["first_step_seconds"] for r in rounds),
        "peak_memory_mib": _most(rounds, "peak_memory_mib"),
        "device_memory_mib": None if device is None else device / 2**20,
        "note": _note(rounds),
    }


def _most(rounds: list[Results], name: str) -> float | None:
    return max((r[name] for r in rounds if r[name] is not None), default=None)


def _epochs(rounds: list[Results]) -> Results:
    seconds = rounds[0]["epoch_seconds"]
    # The first epoch may compile again, for the short batch at its end.
    settled = median(seconds[1:] or seconds)
    return {
        "epoch_seconds": settled,
        "samples_per_second": rounds[0]["samples"] / settled,
        "last_over_second": seconds[-1] / seconds[min(1, len(seconds) - 1)],
        "note": _note(rounds),
    }


def _note(rounds: list[Results]) -> str | None:
    return next((r["note"] for r in rounds if r["note"]), None)


def medians(table: Results) -> dict[str, float]:
    """Return the median step time of each contestant and floor that was measured."""
    entries = table["contestants"] | table["floors"]
    return {n: e["summary"]["median"] for n, e in entries.items() if e["gap"] is None}


def fastest(table: Results, wanted: Callable[[str], bool]) -> tuple[str, float] | None:
    """Return name and median step time of the fastest wanted contestant or floor, or None."""
    times = [(name, seconds) for name, seconds in medians(table).items() if wanted(name)]
    return min(times, key=itemgetter(1), default=None)


def best_peer(table: Results) -> tuple[str, float] | None:
    """Return name and median step time of the fastest contestant that is not ours."""
    return fastest(table, lambda name: name in CONTESTANTS and not CONTESTANTS[name].ours)


def product_floor(table: Results) -> float | None:
    """Return the lower of the floors of the matrix products, in seconds."""
    found = fastest(table, lambda name: name.startswith("products"))
    return found and found[1]


def adam_floor(table: Results) -> float | None:
    """Return the seconds in which Adam's numbers can be read and written."""
    copy = medians(table).get("copy")
    return None if copy is None else adam_seconds(copy)


def verdicts(results: Results) -> list[Results]:
    """Return the ratios that have a target and were measured."""
    found = _on_a_gpu(results) if results["plan"]["device"] == "cuda" else _on_a_cpu(results)
    for name, entry in results.get("late_epochs", {}).get("contestants", {}).items():
        # With fewer epochs, the last one is not a late one.
        if entry["gap"] is None and (last := len(entry["rounds"][0]["epoch_seconds"])) > 2:
            ratio = entry["summary"]["last_over_second"]
            found.append(_verdict(f"{name}: epoch {last} / epoch 2", ratio, 1.05))
    return found


def _verdict(what: str, ratio: float, target: float) -> Results:
    return {"what": what, "ratio": ratio, "target": target, "met": ratio <= target}


def _on_a_cpu(results: Results) -> list[Results]:
    found = []
    for case, table in results["cases"].items():
        fast, plain = (medians(table).get(name) for name in ("numpy+fast", "numpy"))
        peer, floor = best_peer(table), product_floor(table)
        standard = case == "paper-128"
        if fast and peer:
            what = f"{case}: numpy+fast / best peer ({peer[0]})"
            found.append(_verdict(what, fast / peer[1], 0.85 if standard else 1.0))
        if standard and fast and floor:
            found.append(_verdict(f"{case}: numpy+fast / lower product floor", fast / floor, 1.3))
        if standard and plain and peer:
            what = f"{case}: numpy / best peer ({peer[0]})"
            found.append(_verdict(what, plain / peer[1], 1.3))
    return found


def _on_a_gpu(results: Results) -> list[Results]:
    found = []
    table = results["cases"].get("paper-128")
    if table and (ours := medians(table).get("cupy")):
        compiled = fastest(table, lambda name: name.startswith("torch-"))
        if compiled:
            what = f"paper-128: cupy / best PyTorch, compiled or captured ({compiled[0]})"
            found.append(_verdict(what, ours / compiled[1], 0.9))
        floors = [floor for floor in (product_floor(table), adam_floor(table)) if floor]
        if floors:
            found.append(_verdict("paper-128: cupy / larger floor", ours / max(floors), 1.5))
    entry = results.get("epochs", {}).get("contestants", {}).get("cupy")
    if entry and entry["gap"] is None:
        seconds = 300 * entry["summary"]["epoch_seconds"]
        found.append(_verdict("cupy: 300 epochs / 60 s", seconds / 60.0, 1.0))
    return found
