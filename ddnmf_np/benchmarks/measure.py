"""The whole comparison: who is asked for what, when, and whether the answers agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddnmf_np.benchmarks.contestants import CONTESTANTS, FLOORS
from ddnmf_np.benchmarks.problem import CASES, Case
from ddnmf_np.benchmarks.reference import (
    check_agreement,
    check_training,
    make_problem,
    reference_losses,
)
from ddnmf_np.benchmarks.report import Say
from ddnmf_np.benchmarks.surroundings import surroundings
from ddnmf_np.benchmarks.worker import Request
from ddnmf_np.config import Config
from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError

TIMEOUT_SECONDS = 1800
"""A contestant that takes longer is a gap; compilation with all tuning can take minutes."""

Run = Callable[[Request], dict[str, Any]]
"""Answers a request; `in_own_process` but in tests."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Parameters
    ----------
    cases : tuple of Case
        Networks and batch sizes.
    contestants : tuple of str
        Names, in the order of the table.
    device : {"cpu", "cuda"}
        Where.
    threads : int
        Threads of each contestant.
    objective : {"paper", "demo"}
        Which losses.
    matmul_precision : {"highest", "high"}
        See `ddnmf_np.benchmarks.peer.Settings`.
    rounds : int
        Visits to each contestant.
    seconds : float
        How long steps are timed in each visit.
    warm_up, least_steps : int
        Steps before that, and the fewest steps timed.
    epochs : int
        Whole epochs on real data, 0 for none.
    late_epochs : int
        Epochs of the engine alone, for the time of late ones; 0 for none.
    dataset, data_dir : str
        Data of the epochs.
    """

    cases: tuple[Case, ...] = tuple(CASES.values())
    contestants: tuple[str, ...] = ("numpy",)
    device: str = "cpu"
    threads: int = 1
    objective: str = "paper"
    matmul_precision: str = "highest"
    rounds: int = 3
    seconds: float = 3.0
    warm_up: int = 10
    least_steps: int = 20
    epochs: int = 0
    late_epochs: int = 0
    dataset: str = "mnist"
    data_dir: str | None = None


def compare(plan: Plan, run: Run | None = None, say: Say = print) -> dict[str, Any]:
    """Measure everything that is asked for.

    Parameters
    ----------
    plan : Plan
        What to measure.
    run : callable, optional
        Who answers a request; a process of its own for each by default.
    say : callable
        Takes lines that tell how far it is.

    Returns
    -------
    dict
        Plain JSON types: ``plan``, what `surroundings` returns, ``cases`` by name and, if asked
        for, ``epochs`` and ``late_epochs``. Each contestant has either ``rounds`` (the worker's
        answers) or ``gap``, the reason why it has none.

    Raises
    ------
    BenchmarkError
        If a contestant computes other losses than plain NumPy; then there are no results.
    """
    run = run or in_own_process
    # A folder of this machine is nobody's business, and says nothing elsewhere.
    shown = {name: value for name, value in asdict(plan).items() if name != "data_dir"}
    results: dict[str, Any] = {"plan": shown, **surroundings()}
    with tempfile.TemporaryDirectory(prefix="ddnmf-bench-") as folder:
        results["cases"] = _compare_steps(plan, Path(folder), run, say)
        if plan.epochs:
            results["epochs"] = _compare_epochs(plan, Path(folder), run, say)
        if plan.late_epochs:
            results["late_epochs"] = _late_epochs(plan, Path(folder), run, say)
    return results


def _compare_steps(plan: Plan, folder: Path, run: Run, say: Say) -> dict[str, Any]:
    tables = {case.name: _Table(plan, case, folder, run, say) for case in plan.cases}
    floors = [name for name, floor in FLOORS.items() if plan.device in floor.devices]
    names = [*plan.contestants, *floors]
    for number in range(plan.rounds):
        # Each round starts with another one, so that no one always comes after the same.
        turn = number * max(1, len(names) // plan.rounds) % len(names)
        for table in tables.values():
            for name in names[turn:] + names[:turn]:
                table.visit(name, f"round {number + 1} of {plan.rounds}")
    return {name: table.content() for name, table in tables.items()}


def _compare_epochs(plan: Plan, folder: Path, run: Run, say: Say) -> dict[str, Any]:
    try:
        x = load(plan.dataset, data_dir=plan.data_dir).x_train
    except DataError as error:
        say(f"epochs: {error}")
        return {"gap": str(error)}
    case = CASES["paper-128"]._replace(name=f"epochs of {plan.dataset}", n_features=x.shape[1])
    table = _Table(plan, case, folder, run, say, x)
    for name in plan.contestants:
        table.visit(name, "epochs", epochs=plan.epochs)
    return table.content()


def _late_epochs(plan: Plan, folder: Path, run: Run, say: Say) -> dict[str, Any]:
    """Return what late epochs of the fastest engine take: no value may slow the arithmetic."""
    try:
        x = load(plan.dataset, data_dir=plan.data_dir).x_train
    except DataError as error:
        return {"gap": str(error)}
    case = CASES["paper-128"]._replace(name=f"late epochs of {plan.dataset}", n_features=x.shape[1])
    table = _Table(plan, case, folder, run, say, x)
    # The fastest comes last in the list of all; where it cannot run, the one before it is asked.
    for name in reversed(CONTESTANTS):
        if CONTESTANTS[name].ours and name in plan.contestants:
            table.visit(name, "late epochs", epochs=plan.late_epochs)
            if table.entries[name]["gap"] is None:
                break
    return table.content()


class _Table:
    """The answers for one case."""

    def __init__(
        self, plan: Plan, case: Case, folder: Path, run: Run, say: Say, x: Any = None
    ) -> None:
        self.plan, self.run, self.say = plan, run, say
        self.problem = make_problem(case, Config(objective=plan.objective), x)
        self.path = folder / f"{case.name.replace(' ', '-')}.npz"
        self.problem.save(self.path)
        self.expected = reference_losses(self.problem)
        self.entries: dict[str, dict[str, Any]] = {}

    def visit(self, name: str, when: str, epochs: int = 0) -> None:
        """Ask a contestant once more, unless it could not answer before."""
        contestant = (CONTESTANTS | FLOORS)[name]
        entry = self.entries.setdefault(
            name, {"label": contestant.label, "gap": None, "rounds": []}
        )
        if entry["gap"] is not None:
            return
        plan = self.plan
        start = time.perf_counter()
        reply = self.run(
            Request(
                name,
                str(self.path),
                {
                    "threads": plan.threads,
                    "device": plan.device,
                    "matmul_precision": plan.matmul_precision,
                },
                plan.warm_up,
                plan.least_steps,
                plan.seconds,
                epochs,
                plan.dataset,
                plan.data_dir,
            )
        )
        where = f"{self.problem.case.name}, {when}, {name}"
        if "gap" in reply:
            entry["gap"] = reply["gap"]
            self.say(f"{where}: no result: {reply['gap']}")
            return
        if "losses" in reply:
            check_agreement(
                f"{contestant.label} ({name})",
                reply["losses"],
                self.expected,
                plan.matmul_precision,
            )
        if "trained_losses" in reply:
            check_training(
                f"{contestant.label} ({name})", reply["trained_losses"], self.expected[0]
            )
        entry["rounds"].append(reply)
        times = sorted(reply["epoch_seconds" if epochs else "step_seconds"])
        shown = times[len(times) // 2]
        self.say(
            f"{where}: {f'{shown:.2f} s an epoch' if epochs else f'{shown * 1e3:.3f} ms a step'}"
            f" ({time.perf_counter() - start:.0f} s)"
        )

    def content(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        problem = self.problem
        case = problem.case
        return {
            "shape": [case.n_features, *case.widths, case.rank],
            "batch": case.batch,
            "parameters": problem.n_parameters(),
            "flop_per_step": problem.flop(),
            "losses": self.expected,
            "contestants": {k: v for k, v in self.entries.items() if k in CONTESTANTS},
            "floors": {k: v for k, v in self.entries.items() if k in FLOORS},
        }


def in_own_process(request: Request) -> dict[str, Any]:
    """Return a worker's answer; a worker that ends without one is a gap."""
    command = [sys.executable, "-m", "ddnmf_np.benchmarks.worker", json.dumps(asdict(request))]
    try:
        done = subprocess.run(
            command,
            env=environment(request.settings),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"gap": f"no answer within {TIMEOUT_SECONDS} s"}
    lines = done.stdout.splitlines()
    try:
        reply: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"gap": f"the process ended with code {done.returncode}: {last[:200]}"}
    return reply


def environment(settings: dict[str, Any]) -> dict[str, str]:
    """Return the environment of a worker: what must be set before a framework is loaded."""
    threads = str(settings["threads"])
    variables = os.environ | {
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        # The worker must find this very package, also from a checkout that is not installed.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        ),
    }
    if settings["device"] == "cpu":
        variables["JAX_PLATFORMS"] = "cpu"
    # Or JAX takes three quarters of the device's memory at once, needed or not.
    variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return variables | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
