"""The whole comparison: who is asked for what, when, and whether the answers agree."""

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
from ddnmf_np.bench.problem import CASES, Case
from ddnmf_np.bench.reference import (
    BenchmarkError,
    check_agreement,
    check_training,
    make_problem,
    reference_losses,
)
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.bench.tables import Say
from ddnmf_np.bench.worker import Request
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError

TIMEOUT_SECONDS = 1800
"""A contestant that takes longer is a gap; compilation with all tuning can take minutes."""

WAITING = "not measured yet"
"""The gap of a contestant that has not been visited."""

Run = Callable[[Request], dict[str, Any]]
"""Answers a request; `in_own_process` but in tests."""

Save = Callable[[dict[str, Any]], object]
"""Takes the results so far, after each visit."""


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
        Threads of each contestant; on a GPU its compiler may use all processors.
    objective : {"paper", "demo"}
        Which losses.
    matmul_precision : {"highest", "high"}
        See `ddnmf_np.bench.peer.Settings`.
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


@dataclass(frozen=True)
class _Context:
    """A comparison under way: the plan, where problems lie, and who is told what."""

    plan: Plan
    folder: Path
    run: Run
    say: Say
    save: Callable[[], object]


def compare(
    plan: Plan, run: Run | None = None, say: Say = print, save: Save | None = None
) -> dict[str, Any]:
    """Measure everything that is asked for.

    Parameters
    ----------
    plan : Plan
        What to measure.
    run : callable, optional
        Who answers a request; a process of its own for each by default.
    say : callable
        Takes lines that tell how far it is.
    save : callable, optional
        Takes the results so far after each visit, so that whoever is stopped keeps them.

    Returns
    -------
    dict
        Plain JSON types: ``plan``, what `surroundings` returns, ``cases`` by name and, if asked
        for, ``epochs`` and ``late_epochs``. Each contestant has either ``rounds`` (the worker's
        answers) or ``gap``, the reason why it has none: it failed, or it computes other losses
        than plain NumPy. The others are measured all the same.
    """
    # A folder of this machine is nobody's business, and says nothing elsewhere.
    shown = {name: value for name, value in asdict(plan).items() if name != "data_dir"}
    results: dict[str, Any] = {"plan": shown, **surroundings(), "cases": {}}
    with tempfile.TemporaryDirectory(prefix="ddnmf-bench-") as folder:
        context = _Context(
            plan,
            Path(folder),
            run or in_own_process,
            say,
            (lambda: save(results)) if save else (lambda: None),
        )
        _compare_steps(context, results)
        if plan.epochs:
            _compare_epochs(context, results)
        if plan.late_epochs:
            _late_epochs(context, results)
    return results


def failures(results: dict[str, Any]) -> list[str]:
    """Return who failed or differed, and in what; to be not installed is no failure."""
    tables = results["cases"] | {k: results.get(k, {}) for k in ("epochs", "late_epochs")}
    return [
        f"{name} ({where})"
        for where, table in tables.items()
        for part in ("contestants", "floors")
        for name, entry in table.get(part, {}).items()
        if entry["gap"] is not None and not entry["gap"].startswith(NOT_INSTALLED)
    ]


def _compare_steps(context: _Context, results: dict[str, Any]) -> None:
    plan = context.plan
    floors = [name for name, floor in FLOORS.items() if plan.device in floor.devices]
    names = [*plan.contestants, *floors]
    tables = [_Table(context, case, names) for case in plan.cases]
    results["cases"] = {table.problem.case.name: table.content for table in tables}
    for number in range(plan.rounds):
        # Each round starts with another one, so that no one always comes after the same.
        turn = number * max(1, len(names) // plan.rounds) % len(names)
        for table in tables:
            for name in names[turn:] + names[:turn]:
                table.visit(name, f"round {number + 1} of {plan.rounds}")


def _compare_epochs(context: _Context, results: dict[str, Any]) -> None:
    plan = context.plan
    try:
        table = _epoch_table(context, "epochs", plan.contestants)
    except DataError as error:
        context.say(f"epochs: {error}")
        results["epochs"] = {"gap": str(error)}
        return
    results["epochs"] = table.content
    for name in plan.contestants:
        table.visit(name, "epochs", epochs=plan.epochs)


def _late_epochs(context: _Context, results: dict[str, Any]) -> None:
    """Measure what late epochs of the fastest engine take: no value may slow the arithmetic."""
    plan = context.plan
    try:
        table = _epoch_table(context, "late epochs", ())
    except DataError as error:
        results["late_epochs"] = {"gap": str(error)}
        return
    results["late_epochs"] = table.content
    # The fastest comes last in the list of all; where it cannot run, the one before it is asked.
    for name in reversed(CONTESTANTS):
        if CONTESTANTS[name].ours and name in plan.contestants:
            table.visit(name, "late epochs", epochs=plan.late_epochs)
            if table.entries[name]["gap"] is None:
                break


def _epoch_table(context: _Context, what: str, names: Sequence[str]) -> _Table:
    plan = context.plan
    x = load(plan.dataset, data_dir=plan.data_dir).x_train
    case = CASES["paper-128"]._replace(name=f"{what} of {plan.dataset}", n_features=x.shape[1])
    return _Table(context, case, names, x)


class _Table:
    """The answers for one case.

    Attributes
    ----------
    content : dict
        Everything as plain JSON types, up to date after each visit.
    entries : dict
        Its contestants and floors by name.
    """

    def __init__(self, context: _Context, case: Case, names: Sequence[str], x: Any = None) -> None:
        self.context = context
        self.problem = make_problem(case, configure(objective=context.plan.objective), x)
        self.path = context.folder / f"{case.name.replace(' ', '-')}.npz"
        self.problem.save(self.path)
        self.entries: dict[str, dict[str, Any]] = {}
        self.content: dict[str, Any] = {
            "shape": [case.n_features, *case.widths, case.rank],
            "batch": case.batch,
            "parameters": self.problem.n_parameters(),
            "flop_per_step": self.problem.flop(),
            "losses": reference_losses(self.problem),
            "contestants": {},
            "floors": {},
        }
        for name in names:
            self._enter(name)

    def _enter(self, name: str) -> None:
        part, known = ("contestants", CONTESTANTS) if name in CONTESTANTS else ("floors", FLOORS)
        entry = {"label": known[name].label, "gap": WAITING, "rounds": []}
        self.entries[name] = self.content[part][name] = entry

    def visit(self, name: str, when: str, epochs: int = 0) -> None:
        """Ask a contestant once more, unless it could not answer before."""
        if name not in self.entries:
            self._enter(name)
        entry, context = self.entries[name], self.context
        if entry["gap"] not in (None, WAITING):
            return
        start = time.perf_counter()
        reply = context.run(self._request(name, epochs))
        entry["gap"] = self._why_not(reply)
        where = f"{self.problem.case.name}, {when}, {name}"
        if entry["gap"] is None:
            entry["rounds"].append(reply)
            times = sorted(reply["epoch_seconds" if epochs else "step_seconds"])
            shown = times[len(times) // 2]
            text = f"{shown:.2f} s an epoch" if epochs else f"{shown * 1e3:.3f} ms a step"
            context.say(f"{where}: {text} ({time.perf_counter() - start:.0f} s)")
        else:
            context.say(f"{where}: no result: {entry['gap']}")
        context.save()

    def _request(self, name: str, epochs: int) -> Request:
        plan = self.context.plan
        return Request(
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

    def _why_not(self, reply: dict[str, Any]) -> str | None:
        """Return why an answer is no result, or None if it is one."""
        expected = self.content["losses"]
        try:
            if "losses" in reply:
                check_agreement(reply["losses"], expected, self.context.plan.matmul_precision)
            if "trained_losses" in reply:
                check_training(reply["trained_losses"], expected[0])
        except BenchmarkError as error:
            return str(error)
        gap: str | None = reply.get("gap")
        return gap


def in_own_process(request: Request) -> dict[str, Any]:
    """Return a worker's answer; a worker that ends without one is a gap."""
    command = [sys.executable, "-m", "ddnmf_np.bench.worker", json.dumps(asdict(request))]
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
