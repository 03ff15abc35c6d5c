"""The whole comparison: we ask every contestant in turn and check its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddnmf_np.bench.contestants import CONTESTANTS, FLOORS, NOT_INSTALLED
from ddnmf_np.bench.options import Plan, Say, recorded
from ddnmf_np.bench.problem import CASES, Case
from ddnmf_np.bench.reference import (
    BenchmarkError,
    check_agreement,
    check_training,
    make_problem,
    reference_losses,
)
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.bench.worker import Request
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError

TIMEOUT_SECONDS = 1800
"""A contestant that takes longer is a gap; compilation with all tuning can take minutes."""

WAITING = "not measured yet"
"""Gap of a contestant that has not been visited."""

Results = dict[str, Any]
Run = Callable[[Request], Results]
"""Answers a request; `in_own_process` except in tests."""

Save = Callable[[Results], object]
"""Takes the results so far, after each visit."""


def compare(
    plan: Plan, run: Run | None = None, say: Say = print, save: Save = lambda results: None
) -> Results:
    """Measure everything that a plan asks for.

    The plan names a device, not ``auto``. ``run`` answers each request, by default in a new
    process. ``save`` takes the results so far after each visit, so that an interrupted run keeps
    them.

    We return plain JSON types: ``plan``, what `surroundings` returns, ``cases`` by name and, if
    asked for, ``epochs`` and ``late_epochs``. Each contestant has ``rounds`` (the worker's answers)
    or ``gap``, the reason why it has no result: it failed, or its losses differ from those of plain
    NumPy. The others are measured all the same.
    """
    results: Results = {"plan": recorded(plan), **surroundings(), "cases": {}}
    with tempfile.TemporaryDirectory(prefix="ddnmf-bench-") as folder:
        comparison = _Comparison(plan, Path(folder), run or in_own_process, say, save, results)
        comparison.steps()
        if plan.epochs:
            comparison.epochs()
        if plan.late_epochs:
            comparison.late_epochs()
    return results


def failures(results: Results) -> list[str]:
    """Return the contestants that failed or differed; one that is not installed has not failed."""
    tables = results["cases"] | {k: results.get(k, {}) for k in ("epochs", "late_epochs")}
    return [
        f"{name} ({where})"
        for where, table in tables.items()
        for part in ("contestants", "floors")
        for name, entry in table.get(part, {}).items()
        if entry["gap"] is not None and not entry["gap"].startswith(NOT_INSTALLED)
    ]


@dataclass
class _Comparison:
    """A comparison under way; the arguments are those of `compare`."""

    plan: Plan
    folder: Path
    run: Run
    say: Say
    save: Save
    results: Results

    def steps(self) -> None:
        """Measure the steps of all contestants and floors in all cases."""
        rounds, device = self.plan.rounds, self.plan.device
        floors = [name for name, floor in FLOORS.items() if device in floor.devices]
        names = [*self.plan.contestants, *floors]
        tables = [_Table(self.plan, self.folder, case, names) for case in self.plan.cases]
        self.results["cases"] = {table.name: table.content for table in tables}
        for number in range(rounds):
            # Each round starts with another one, so that none always comes after the same.
            turn = number * max(1, len(names) // rounds) % len(names)
            for table in tables:
                for name in names[turn:] + names[:turn]:
                    where = f"{table.name}, round {number + 1} of {rounds}"
                    self._visit(table, name, where)

    def epochs(self) -> None:
        """Measure whole epochs of all contestants on real data."""
        if table := self._epoch_table("epochs", self.plan.contestants):
            for name in self.plan.contestants:
                self._visit(table, name, table.name, self.plan.epochs)

    def late_epochs(self) -> None:
        """Measure late epochs of the fastest engine: no value may slow the arithmetic down."""
        ours = [n for n in self.plan.contestants if CONTESTANTS[n].ours]
        if table := self._epoch_table("late_epochs", ()):
            # The fastest comes last in the list of all; if it cannot run, we take the one before.
            for name in sorted(ours, key=list(CONTESTANTS).index, reverse=True):
                self._visit(table, name, table.name, self.plan.late_epochs)
                if table.row(name)["gap"] is None:
                    break

    def _epoch_table(self, part: str, names: Sequence[str]) -> _Table | None:
        try:
            x = load(self.plan.dataset, data_dir=self.plan.data_dir).x_train
        except DataError as error:
            self.say(f"{part}: {error}")
            self.results[part] = {"gap": str(error)}
            return None
        name = f"{part.replace('_', ' ')} of {self.plan.dataset}"
        case = CASES["paper-128"]._replace(name=name, n_features=x.shape[1])
        table = _Table(self.plan, self.folder, case, names, x)
        self.results[part] = table.content
        return table

    def _why_not(self, reply: Results, expected: list[dict[str, float]]) -> str | None:
        """Return why an answer is no result, or None if it is one."""
        try:
            if "losses" in reply:
                check_agreement(reply["losses"], expected, self.plan.matmul_precision)
            if "trained_losses" in reply:
                check_training(reply["trained_losses"], expected[0])
        except BenchmarkError as error:
            return str(error)
        gap: str | None = reply.get("gap")
        return gap

    def _visit(self, table: _Table, name: str, where: str, epochs: int = 0) -> None:
        """Ask a contestant once more, unless it could not answer before."""
        row = table.row(name)
        if row["gap"] not in (None, WAITING):
            return
        start = time.perf_counter()
        reply = self.run(Request(name, str(table.path), asdict(self.plan), epochs))
        row["gap"] = self._why_not(reply, table.content["losses"])
        if row["gap"] is None:
            row["rounds"].append(reply)
            times = sorted(reply["epoch_seconds" if epochs else "step_seconds"])
            middle = times[len(times) // 2]
            text = f"{middle:.2f} s an epoch" if epochs else f"{middle * 1e3:.3f} ms a step"
            text += f" ({time.perf_counter() - start:.0f} s)"
        else:
            text = f"no result: {row['gap']}"
        self.say(f"{where}, {name}: {text}")
        self.save(self.results)


class _Table:
    """The answers for one problem; ``content`` is up to date after each visit."""

    def __init__(
        self, plan: Plan, folder: Path, case: Case, names: Sequence[str], x: Any = None
    ) -> None:
        problem = make_problem(case, configure(objective=plan.objective), x)
        self.name, self.path = case.name, folder / f"{case.name.replace(' ', '-')}.npz"
        problem.save(self.path)
        self.content: Results = {
            "shape": [case.n_features, *case.widths, case.rank],
            "batch": case.batch,
            "parameters": problem.n_parameters(),
            "flop_per_step": problem.flop(),
            "losses": reference_losses(problem),
            "contestants": {},
            "floors": {},
        }
        for name in names:
            self.row(name)

    def row(self, name: str) -> Results:
        """Return the row of a contestant or a floor; make it if there is none yet."""
        part, known = ("contestants", CONTESTANTS) if name in CONTESTANTS else ("floors", FLOORS)
        new = {"label": known[name].label, "gap": WAITING, "rounds": []}
        row: Results = self.content[part].setdefault(name, new)
        return row


def in_own_process(request: Request) -> Results:
    """Return a worker's answer; a worker that ends without an answer is a gap."""
    command = [sys.executable, "-m", "ddnmf_np.bench.worker", json.dumps(request._asdict())]
    try:
        done = subprocess.run(
            command,
            env=environment(request.plan),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"gap": f"no answer within {TIMEOUT_SECONDS} s"}
    lines = done.stdout.splitlines()
    try:
        reply: Results = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"gap": f"the process ended with code {done.returncode}: {last[:200]}"}
    return reply


def environment(plan: dict[str, Any]) -> dict[str, str]:
    """Return a worker's environment: frameworks read these variables while they are loaded."""
    threads = str(plan["threads"])
    variables = os.environ | {
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        # The worker must find this very package, also in a checkout that is not installed.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        ),
    }
    if plan["device"] == "cpu":
        variables["JAX_PLATFORMS"] = "cpu"
    return variables | {
        # Otherwise JAX takes three quarters of the device's memory at once, needed or not.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
