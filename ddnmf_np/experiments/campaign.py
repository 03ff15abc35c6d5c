"""A campaign: run what the results need and the records do not have yet.

The unit of work is one representation (a trained network, say) with all clusterings and maps that
are asked of it. A campaign does not repeat what has a record, so one that was killed goes on where
it was, and one that asks for more seeds does the further seeds only.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.errors import DDNMFError
from ddnmf_np.evaluation.clustering import check_methods, score_clustering
from ddnmf_np.evaluation.interpret import code_statistics
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.experiments import baselines
from ddnmf_np.experiments.baselines import (
    DataInfo,
    Floats,
    Representation,
    make_config,
)
from ddnmf_np.experiments.networks import MAP_MODELS, MAPPED_MODELS, NETWORKS
from ddnmf_np.experiments.records import RecordError, Store, pack_labels, versions
from ddnmf_np.experiments.settings import DATASETS, MAPPED, Need, Settings
from ddnmf_np.runs.environment import environment
from ddnmf_np.system.files import locked

OF_UMAP = ("umap-learn", "pynndescent", "numba")
"""Packages that the numbers on a map by UMAP depend on too."""

MAP_SECONDS = {"tsne": 70.0, "umap": 15.0}
"""Rough time of a map of 10,000 codes."""

BEAT = 30.0
"""Seconds between two signs of life of a network that trains."""


# -- what there is to do ------------------------------------------------------------------


@dataclass
class Unit:
    """A representation and all that is asked of it.

    Parameters
    ----------
    spec : Representation
        The codes.
    starts : int
        Starts of each clustering.
    needs : set of Need
        The clusterings.
    map_samples : int
        Points of its map; 0 if none is asked for.
    """

    spec: Representation
    starts: int
    needs: set[Need] = field(default_factory=set)
    map_samples: int = 0

    @property
    def key(self) -> str:
        """A text that no other unit has."""
        # Raw images are the same codes for every seed, and their clusterings are not.
        return f"{self.spec.label}-{self.spec.name.key}-{self.starts}"

    @property
    def work(self) -> float:
        """Roughly the seconds that one thread needs."""
        # Measured at 10,000 test images: three clusterings of ten starts take 4 s on codes of 10
        # units, and 35 s on images or the codes of AE2.
        start = 1.2 if self.spec.width > baselines.WIDEST_MIXTURE else 0.13
        clusterings = start * len(self.needs) * self.starts * self.spec.data.n_test / 10_000
        maps = 15.0 if self.map_samples else 0.0
        maps += sum(s for name, s in MAP_SECONDS.items() if MAPPED[name] in self.needs)
        return self.spec.work + clusterings + maps + 0.5


@dataclass
class Outcome:
    """How a unit ended: after how many seconds, with which error, if any.

    The trace says where an error arose that is none of this package's own.
    """

    unit: Unit
    seconds: float = 0.0
    error: str | None = None
    trace: str | None = None


def plan(settings: Settings, infos: Mapping[str, DataInfo]) -> list[Unit]:
    """Return everything that the results need, each representation once.

    Parameters
    ----------
    settings : Settings
        The campaign.
    infos : mapping of str to DataInfo
        The data sets that were found, by name.
    """
    units: dict[str, Unit] = {}

    def add(
        info: DataInfo, model: str, seed: int, starts: int, needs: Iterable[Need], **options: Any
    ) -> Unit:
        one = Unit(represent(settings, info, model, seed, **options), starts)
        one = units.setdefault(one.key, one)
        one.needs |= set(needs)
        return one

    clean, noisy = (
        [(images, method) for method in baselines.CLUSTERERS] for images in ("clean", "noisy")
    )
    for result in settings.results:
        for info in (infos[s.name] for s in settings.sources_of(result) if s.name in infos):
            if result == "figure2":
                for model in MAP_MODELS:
                    found = add(info, model, settings.seeds[0], settings.starts, [])
                    found.map_samples = settings.map_samples
            elif result in ("table3", "figure3"):
                few = replace(info, n_train=min(info.n_train, settings.noise_samples))
                for seed in settings.seeds:
                    for rate in settings.noise_rates:
                        for model in settings.noise_networks:
                            needs, starts = clean + noisy, settings.noise_starts
                            add(few, model, seed, starts, needs, noise_rate=rate)
            else:
                for seed in settings.seeds:
                    for model in settings.models_of(result):
                        has_maps = result in DATASETS and model in MAPPED_MODELS
                        maps = [MAPPED[name] for name in settings.maps if has_maps]
                        add(info, model, seed, settings.starts, clean + maps)
    # Data sets one after the other, since a process keeps one in memory; the longest runs first,
    # so that the last ones to end are short.
    order = [source.name for source in settings.sources]
    return sorted(units.values(), key=lambda u: (order.index(u.spec.data.source.name), -u.work))


def represent(
    settings: Settings, info: DataInfo, model: str, seed: int, **options: Any
) -> Representation:
    """Return a representation of a table or a study with the campaign's options."""
    parent = represent(settings, info, "ae2", seed) if model == "ae2-nmf" else None
    config = None
    if model in NETWORKS:
        config = make_config(model, {**settings.network_options(seed), **options})
    return Representation(info, model, seed, config, parent)


def missing(unit: Unit, store: Store) -> Unit | None:
    """Return the part of a unit that has no record yet, or None if nothing is missing."""
    spec = unit.spec
    needs = {n for n in unit.needs if store.find(spec.clustering(*n, unit.starts)) is None}
    has_map = not unit.map_samples or store.find(spec.embedding(unit.map_samples)) is not None
    if not needs and has_map:
        return None
    return replace(unit, needs=needs, map_samples=0 if has_map else unit.map_samples)


def stages(units: Iterable[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Return the units in two parts, of which the second waits until the first is done.

    It holds those that continue from another one, and those whose codes another one makes too.
    """
    first: list[Unit] = []
    second: list[Unit] = []
    keys: set[str] = set()
    for unit in units:
        key = unit.spec.name.key
        (second if unit.spec.parent is not None or key in keys else first).append(unit)
        keys.add(key)
    return first, second


# -- running it ---------------------------------------------------------------------------


def run(settings: Settings, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Run a campaign to its end, and return a line for each failure.

    A failure does not stop the rest. `say` is called with each line of what a person is told.

    Raises
    ------
    DDNMFError
        If nothing can be run at all: the backend is missing, the folder cannot be written, or
        another campaign writes there.
    """
    get_ops(settings.backend)
    check_methods(MAPPED[name][1] for name in settings.maps)
    store = Store(folder)
    store.create()
    with locked(store.folder):
        return _run(settings, store, say)


def _run(settings: Settings, store: Store, say: Callable[[str], None]) -> list[str]:
    for note in store.tidy():
        say(f"note: {note}")
    for result in settings.results:
        if not settings.sources_of(result):
            say(f"skipped: {result}, since {DATASETS[result][0]} is not among the data sets")
    failures: list[str] = []
    infos: dict[str, DataInfo] = {}
    for source in dict.fromkeys(s for r in settings.results for s in settings.sources_of(r)):
        try:
            infos[source.name] = baselines.inspect(source, settings.samples)
        except (DDNMFError, OSError) as error:
            failures.append(f"data set {source.name}: {error}")
            say(f"failed: {failures[-1]}")
    units = plan(settings, infos)
    left = [rest for unit in units if (rest := missing(unit, store)) is not None]
    say(
        f"{len(units)} representations, {len(units) - len(left)} of them complete; "
        f"{settings.jobs} at a time, records in {store.path}"
    )
    clock = Clock(left, settings.jobs)
    for stage in stages(left):
        for outcome in execute(stage, store.folder, settings.jobs):
            clock.tick(outcome)
            if outcome.trace:
                print(outcome.trace, file=sys.stderr, flush=True)
            label, state = outcome.unit.spec.label, "done"
            if outcome.error is not None:
                failures.append(f"{label}: {outcome.error}")
                state = f"failed: {outcome.error}"
            say(f"{clock.count}  {label}  {outcome.seconds:.0f} s  {state}{clock.rest}")
    return failures


def execute(units: Sequence[Unit], folder: Path, jobs: int) -> Iterator[Outcome]:
    """Run units, so many at a time, and yield each one's outcome when it ends."""
    if jobs == 1 or len(units) < 2:
        yield from (run_unit(unit, folder) for unit in units)
        return
    work, waiting = delayed(_run_in_worker), {unit.key: unit for unit in units}
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    try:
        for outcome in pool(work(unit, folder, os.getpid()) for unit in units):
            del waiting[outcome.unit.key]
            yield outcome
    except BrokenProcessPool as error:
        # A process that died (mostly for want of memory) takes the pool with it, and joblib does
        # not say whose it was. We find out by running one at a time, each in its own process.
        print(f"a process died ({_short(error)}); going on, one at a time", file=sys.stderr)
        for unit in waiting.values():
            try:
                yield from Parallel(n_jobs=2)([work(unit, folder, os.getpid())])
            except BrokenProcessPool as again:
                yield Outcome(unit, error=f"its process died: {_short(again)}")


def _run_in_worker(unit: Unit, folder: Path, parent: int) -> Outcome:
    _end_with(parent)
    return run_unit(unit, folder)


@cache
def _end_with(parent: int) -> None:
    """End this process, which is a worker, once its parent is gone.

    A campaign that is killed cannot end its workers, and joblib's end only after their task: they
    would go on for hours, beside the next campaign in the same folder.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    # On Windows the number stays that of the parent that is gone.
    if os.getppid() == parent and sys.platform != "win32":
        threading.Thread(target=watch, daemon=True).start()


def run_unit(unit: Unit, folder: Path) -> Outcome:
    """Do the part of a unit that has no record, and return how it ended; raise only interrupts."""
    began, config = time.perf_counter(), unit.spec.trained
    outcome = Outcome(unit)
    try:
        with threadpool_limits(None if config is None else config.execution.threads):
            work_off(unit, Store(folder))
    except DDNMFError as error:
        outcome.error = str(error)
    except Exception as error:
        outcome.error, outcome.trace = _short(error), traceback.format_exc()
    outcome.seconds = time.perf_counter() - began
    return outcome


def work_off(unit: Unit, store: Store) -> None:
    """Compute the clusterings and the map of a unit, and its codes if they are not there."""
    spec = unit.spec
    # Another variant or a row of a table may have the same options: its records are taken over.
    for name in [spec.name, *(spec.clustering(*need, unit.starts) for need in unit.needs)]:
        if store.find(name) is None:
            store.adopt(name, spec.common)
    left = missing(unit, store)
    if left is None:
        return
    y, codes = spec.data.source.load().y_test, get_codes(spec, store)
    for images, method in sorted(left.needs):
        found = baselines.cluster_codes(
            codes[images], spec.data.n_classes, method, unit.starts, spec.seed
        )
        content = {
            **spec.common,
            "images": images,
            "method": method,
            "starts": unit.starts,
            "result": score_clustering(found, y),
            "versions": versions(*(OF_UMAP if method == MAPPED["umap"][1] else ())),
        }
        # Stability needs it. For noisy images too, it would be most of all records.
        if images == "clean":
            content["assignment"] = pack_labels(found.labels)
        store.write(spec.clustering(images, method, unit.starts), content)
    if left.map_samples:
        rows, points = embed(codes["clean"], "tsne", left.map_samples, seed=0)
        content = {
            **spec.common,
            "images": "clean",
            "points": np.round(points, 2).tolist(),
            "labels": None if y is None else y[rows].tolist(),
            "versions": versions(),
        }
        store.write(spec.embedding(left.map_samples), content)


def get_codes(spec: Representation, store: Store) -> dict[str, Floats]:
    """Return codes of the clean and, if there are any, the noisy test images.

    We compute them if they are not stored or cannot be read.
    """
    if spec.model == "raw":
        return {"clean": baselines.compute(spec).H}
    return stored(spec, store, "arrays") or make_codes(spec, store)[0]


def get_weights(spec: Representation, store: Store) -> Floats:
    """Return the stored weights of a network; train it first if they are not there."""
    found = stored(spec, store, "weights")
    return cast(Floats, make_codes(spec, store)[1]) if found is None else found["params"]


def stored(spec: Representation, store: Store, entry: str) -> dict[str, Floats] | None:
    """Return the arrays that an entry of the record of codes names, if they can be read."""
    try:
        return store.read_arrays(store.find(spec.name), entry)
    except RecordError as error:
        print(f"note: {error}. It is computed again now", file=sys.stderr, flush=True)
        return None


def make_codes(spec: Representation, store: Store) -> tuple[dict[str, Floats], Floats | None]:
    """Compute codes and write their record; return them, and weights that others continue from."""
    store.check_room(spec.n_values)
    began = time.perf_counter()
    weights = None if spec.parent is None else get_weights(spec.parent, store)
    made = baselines.compute(spec, weights=weights, tick=beat(spec.label))
    arrays = {"clean": made.H} | ({} if made.H_noisy is None else {"noisy": made.H_noisy})
    content = {
        **spec.common,
        "backend": None,
        "device": None,
        "weights": None,
        **made.content,
        "code": code_statistics(made.H),
        "arrays": store.write_arrays(spec.name, "", arrays),
        "environment": environment(),
    }
    if spec.keeps_weights:
        content["weights"] = store.write_arrays(spec.name, "-weights", {"params": made.weights})
    store.write(spec.name, content | {"seconds": time.perf_counter() - began})
    return arrays, made.weights


# -- what a person is told ----------------------------------------------------------------


def beat(label: str) -> Callable[[str], None]:
    """Return a function that prints a line on standard error, at most one every `BEAT` seconds."""
    last = time.monotonic()

    def tick(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT:
            last = time.monotonic()
            print(f"  {label}: {text}", file=sys.stderr, flush=True)

    return tick


class Clock:
    """Progress of a campaign, and the time that is left.

    Parameters
    ----------
    units : sequence of Unit
        All that is to be done; the share of the time that each takes is known roughly.
    jobs : int
        How many run at a time.
    """

    def __init__(self, units: Sequence[Unit], jobs: int) -> None:
        self.total, self.units, self.jobs = sum(unit.work for unit in units), len(units), jobs
        self.finished, self.done, self.spent = 0, 0.0, 0.0

    def tick(self, outcome: Outcome) -> None:
        """Take note of a unit that has ended."""
        self.finished += 1
        if outcome.error is None:
            self.spent += outcome.seconds
            self.done += outcome.unit.work
        else:  # it has not taken the time that it would have
            self.total -= outcome.unit.work

    @property
    def count(self) -> str:
        """How many units have ended, and of how many."""
        return f"[{self.finished}/{self.units}]"

    @property
    def rest(self) -> str:
        """The time that is left, in words; empty at the end and before anything is known."""
        if self.finished == self.units or self.done == 0.0:
            return ""
        seconds = (self.total - self.done) * self.spent / self.done / self.jobs
        return f"; about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: ``40 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _short(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
