"""Campaigns: run everything that the results need and that has no record yet.

The unit of work is one representation (a trained network, for example) with all clusterings and
maps of it that the results need. A campaign does not repeat a run that has a record. So a campaign
that was killed continues where it stopped, and more seeds add to the fewer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.errors import DDNMFError
from ddnmf_np.evaluation.clustering import check_methods, score_clustering
from ddnmf_np.evaluation.interpret import code_statistics
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.experiments import baselines
from ddnmf_np.experiments.baselines import Codes, Curve, DataInfo, Floats, Representation
from ddnmf_np.experiments.networks import (
    CLUSTERERS,
    MAP_MODELS,
    MAPPED_MODELS,
    NETWORKS,
    NOISE_MODELS,
    WIDEST_MIXTURE,
    make_config,
)
from ddnmf_np.experiments.records import Name, Store, pack_labels, versions
from ddnmf_np.experiments.settings import DATASETS, MAPPED, Need, Settings
from ddnmf_np.runs.environment import environment
from ddnmf_np.system.command import tell

OF_UMAP = ("umap-learn", "pynndescent", "numba")
"""Further packages that the numbers on a map by UMAP depend on."""

MAP_SECONDS = {"tsne": 70.0, "umap": 15.0}
"""Rough time of a map of 10,000 codes."""

MAP_SAMPLES = 2000
"""Test images on a map of figure 2."""


# -- what to do ---------------------------------------------------------------------------


@dataclass
class Unit:
    """A representation with its clusterings, each of so many starts, and its map."""

    spec: Representation
    starts: int
    needs: set[Need] = field(default_factory=set)
    map_samples: int = 0  # points of the map; 0 for no map
    shorter: tuple[Representation, ...] = ()  # their codes are made on the way of the training
    trains: bool = True  # False if another unit makes the codes

    @property
    def key(self) -> str:
        """A text that no other unit has."""
        # Raw images are the same codes for every seed, but each seed has its own clusterings.
        return f"{self.spec.label}-{self.spec.name.key}-{self.starts}"

    def clustering(self, need: Need) -> Name:
        """Return the name of the record of a clustering."""
        return self.spec.clustering(need.images, need.method, self.starts, need.again)

    @property
    def work(self) -> float:
        """Rough seconds of one thread; they order the units and estimate the time left."""
        # Measured with 10,000 test images. A start of a clustering takes longer on wide codes.
        spec, n_train = self.spec, self.spec.data.n_train
        if not self.trains:
            seconds = 0.0
        elif spec.config is not None:
            networks = 2 if NETWORKS[spec.model].kind == "ddnmf" else 1
            seconds = 2.2e-4 * spec.config.training.epochs * n_train * networks
        else:
            seconds = {"raw": 0.0, "nmf": 2.3e-4, "ae2-nmf": 6e-4}[spec.model] * n_train
        start = 0.4 if spec.width > WIDEST_MIXTURE else 0.04
        seconds += start * len(self.needs) * self.starts * spec.data.n_test / 10_000
        seconds += 15.0 if self.map_samples else 0.0
        of_map = {MAPPED[name].method: MAP_SECONDS[name] for name in MAPPED}
        return seconds + 0.5 + sum(of_map.get(need.method, 0.0) for need in self.needs)


@dataclass
class Outcome:
    """End of a unit: the seconds that it took, and the error if it failed."""

    unit: Unit
    seconds: float = 0.0
    error: str | None = None


def plan(settings: Settings, infos: Mapping[str, DataInfo]) -> list[Unit]:
    """Return all units that the results need on these data sets, each representation once."""
    units: dict[str, Unit] = {}

    def add(
        info: DataInfo, model: str, seed: int, starts: int, needs: Iterable[Need], **options: Any
    ) -> Unit:
        one = Unit(represent(settings, info, model, seed, **options), starts)
        one = units.setdefault(one.key, one)
        one.needs |= set(needs)
        return one

    clean, noisy = (
        [Need(images, method) for method in CLUSTERERS] for images in ("clean", "noisy")
    )
    for result in settings.results:
        for info in (infos[s.name] for s in settings.sources_of(result) if s.name in infos):
            if result == "figure2":
                for model in MAP_MODELS:
                    found = add(info, model, settings.seeds[0], settings.starts, [])
                    found.map_samples = MAP_SAMPLES
                continue
            for seed in settings.seeds:
                if result in ("table3", "figure3"):
                    few = replace(info, n_train=min(info.n_train, settings.noise_samples))
                    for rate in settings.noise_rates:
                        for model in NOISE_MODELS:
                            needs, starts = clean + noisy, settings.noise_starts
                            add(few, model, seed, starts, needs, noise_rate=rate)
                    continue
                for model in settings.models_of(result):
                    has_maps = result in DATASETS and model in MAPPED_MODELS
                    maps = [
                        MAPPED[name]._replace(again=again)
                        for name in settings.maps
                        for again in range(settings.map_seeds)
                        if has_maps
                    ]
                    if has_maps and "all" in settings.images:
                        maps += [need._replace(images="all") for need in clean + maps]
                    for epochs in settings.lengths_of(result, model):
                        add(info, model, seed, settings.starts, clean + maps, epochs=epochs)
    # One data set after the other, because a process keeps one in memory. The longest runs first,
    # because short runs at the end leave no process idle.
    order = [source.name for source in settings.sources]
    return sorted(units.values(), key=lambda u: (order.index(u.spec.data.source.name), -u.work))


def represent(
    settings: Settings, info: DataInfo, model: str, seed: int, **options: Any
) -> Representation:
    """Return a representation with the options of the campaign."""
    parent = represent(settings, info, "ae2", seed, **options) if model == "ae2-nmf" else None
    config = None
    if model in NETWORKS:
        config = make_config(model, {**settings.network_options(seed), **options})
        if config.undecided:  # the key has the options that are run
            config = config.decide(baselines.facts_of(info))
    return Representation(info, model, seed, config, parent)


def missing(unit: Unit, store: Store) -> Unit | None:
    """Return the part of a unit that has no record yet, or None if the unit is complete."""
    spec = unit.spec
    needs = {n for n in unit.needs if store.find(unit.clustering(n)) is None}
    has_map = not unit.map_samples or store.find(spec.embedding(unit.map_samples)) is not None
    if not needs and has_map:
        return None
    return replace(unit, needs=needs, map_samples=0 if has_map else unit.map_samples)


def join(units: Iterable[Unit], store: Store) -> None:
    """Let the longest run of a network make the codes of the shorter runs on its way."""
    curves: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.spec.curve is not None and store.find(unit.spec.name) is None:
            curves.setdefault(unit.spec.curve, []).append(unit)
    for runs in curves.values():
        longest = max(runs, key=lambda unit: unit.spec.epochs)
        shorter = [unit for unit in runs if unit.spec.epochs < longest.spec.epochs]
        longest.shorter = tuple({unit.spec.epochs: unit.spec for unit in shorter}.values())
        for unit in shorter:
            unit.trains = False


def groups(units: Iterable[Unit]) -> list[list[Unit]]:
    """Return the units in groups: groups may run at the same time, the units of one in their order.

    A group has all units whose codes come from one training. The training is first, then the
    shorter runs whose codes it makes on its way, then the NMF of codes. So what needs the training
    is complete soon after it, and not only at the end of the campaign.
    """
    found: dict[str, list[Unit]] = {}
    for unit in units:
        trained = unit.spec.parent or unit.spec
        found.setdefault(trained.curve or trained.name.key, []).append(unit)
    for group in found.values():
        group.sort(key=lambda unit: (unit.spec.parent is not None, not unit.trains))
    return list(found.values())


# -- doing it -----------------------------------------------------------------------------


def run(settings: Settings, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Run a campaign, and return a line for each failure; a failure does not stop the others.

    `say` is called with each line of the progress report. Raises `DDNMFError` if nothing can run at
    all: an option is wrong, the backend is missing, we cannot write to the folder, or another
    campaign writes there.
    """
    for seed in settings.seeds:
        make_config("ddnmf-paper", settings.network_options(seed))  # raises for a wrong option
    get_ops(settings.backend)
    check_methods(MAPPED[name].method for name in settings.maps)
    store = Store(folder)
    with store.alone(say):
        return _run(settings, store, say)


def _run(settings: Settings, store: Store, say: Callable[[str], None]) -> list[str]:
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
    join(units, store)
    left = [rest for unit in units if (rest := missing(unit, store)) is not None]
    say(
        f"{len(units)} representations, {len(units) - len(left)} of them complete; "
        f"{settings.jobs} at a time, records in {store.path}"
    )
    began, done, total, ended = time.monotonic(), 0.0, sum(unit.work for unit in left), 0
    for outcome in execute(left, store.folder, settings.jobs):
        label, state, ended = outcome.unit.spec.label, "done", ended + 1
        if outcome.error is None:
            done += outcome.unit.work
        else:  # it ended early, so its time tells nothing about the others
            total -= outcome.unit.work
            failures.append(f"{label}: {outcome.error}")
            state = f"failed: {outcome.error}"
        state += time_left(time.monotonic() - began, done, total)
        say(f"[{ended}/{len(left)}]  {label}  {outcome.seconds:.0f} s  {state}")
    return failures


def execute(units: Iterable[Unit], folder: Path, jobs: int) -> Iterator[Outcome]:
    """Run the groups of the units, ``jobs`` groups at a time, and yield the outcome of each unit.

    With several processes the outcomes of a group come when the group ends.
    """
    left = groups(units)
    if jobs == 1 or len(left) < 2:
        yield from (run_unit(unit, folder) for group in left for unit in group)
        return
    work, waiting = delayed(_run_in_worker), {unit.key: unit for group in left for unit in group}
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    try:
        for outcomes in pool(work(group, folder, os.getpid()) for group in left):
            for outcome in outcomes:
                del waiting[outcome.unit.key]
                yield outcome
    except BrokenProcessPool as error:
        # A process that dies (mostly because memory runs out) takes the pool with it, and joblib
        # does not name its unit. To find the unit we run one at a time, each in a new process.
        tell(f"a process died ({_short(error)}); going on, one at a time", sys.stderr)
        for unit in waiting.values():
            try:
                yield from Parallel(n_jobs=2)([work([unit], folder, os.getpid())])[0]
            except BrokenProcessPool as again:
                yield Outcome(unit, error=f"its process died: {_short(again)}")


def _run_in_worker(group: Sequence[Unit], folder: Path, parent: int) -> list[Outcome]:
    _end_with(parent)
    return [run_unit(unit, folder) for unit in group]


@cache
def _end_with(parent: int) -> None:
    """End this worker process soon after its parent ends.

    A killed campaign cannot end its workers, and joblib's workers finish their task first. They
    would work for hours, beside the next campaign in the same folder.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    # On Windows a process keeps the number of a parent that has ended.
    if os.getppid() == parent and sys.platform != "win32":
        threading.Thread(target=watch, daemon=True).start()


def run_unit(unit: Unit, folder: Path) -> Outcome:
    """Do the part of a unit that has no record; only interrupts are raised."""
    began, config = time.perf_counter(), unit.spec.trained
    outcome = Outcome(unit)
    try:
        with threadpool_limits(None if config is None else config.execution.threads):
            work_off(unit, Store(folder))
    except DDNMFError as error:
        outcome.error = str(error)
    except Exception as error:
        outcome.error = _short(error)
        traceback.print_exc()  # errors of this package explain themselves, others do not
    outcome.seconds = time.perf_counter() - began
    return outcome


def work_off(unit: Unit, store: Store) -> None:
    """Compute the clusterings and the map of a unit, and its codes if they are not stored."""
    spec = unit.spec
    # Another variant or row of a table may have the same options: then we copy its records.
    for name in [spec.name, *map(unit.clustering, unit.needs)]:
        if store.find(name) is None:
            store.adopt(name, spec.common)
    left = missing(unit, store)
    if left is None:
        return
    data = spec.data.source.load()
    y, codes = data.y_test, get_codes(spec, store, unit.shorter, {n.images for n in left.needs})
    for need in sorted(left.needs):
        H, method, seed = codes[need.images], need.method, spec.seed_of(need.again)
        found = baselines.cluster_codes(H, spec.data.n_classes, method, unit.starts, seed)
        truth = y
        if need.images == "all":
            truth = None if data.y_train is None or y is None else np.append(data.y_train, y)
        content = {
            **spec.common,
            "images": need.images,
            "method": method,
            "starts": unit.starts,
            "result": score_clustering(found, truth),
            "versions": versions(*(OF_UMAP if method == MAPPED["umap"].method else ())),
            **({"again": need.again} if need.again else {}),
            **({"n_test": len(H)} if need.images == "all" else {}),
        }
        # Stability needs the assignment. Those of noisy images would be most of the file.
        if need.images != "noisy":
            content["assignment"] = pack_labels(found.labels)
        store.write(unit.clustering(need), content)
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


def get_codes(
    spec: Representation,
    store: Store,
    shorter: Sequence[Representation] = (),
    images: Collection[str] = ("clean",),
) -> dict[str, Floats]:
    """Return the codes, stored ones if they have the images."""
    if spec.model == "raw":
        return baselines.compute(spec).arrays
    found = store.read_arrays(spec.name, "arrays")
    if found is None or not found.keys() >= set(images):
        found = make_codes(spec, store, shorter).arrays
    return found


def make_codes(spec: Representation, store: Store, shorter: Sequence[Representation] = ()) -> Codes:
    """Compute codes, and write their arrays and their record; the same for shorter runs."""
    store.check_room()
    began, weights, curve = time.perf_counter(), None, None
    if spec.parent is not None:
        found = store.read_arrays(spec.parent.name, "weights")
        weights = found["params"] if found else make_codes(spec.parent, store).weights

    def keep(run: Representation, made: Codes) -> None:
        _write_codes(run, store, made, time.perf_counter() - began)

    if spec.config is not None:
        # A longer run finds the state of a shorter one, because the key has no number of epochs.
        start = f"{spec.label}-{spec.curve or spec.name.key}"
        finished = store.codes / f"{start}-trained.npz" if spec.curve else None
        curve = Curve(shorter, keep, store.codes / f"{start}-training.npz", finished)
    made = baselines.compute(spec, weights=weights, curve=curve)
    _write_codes(spec, store, made, time.perf_counter() - began)
    if curve is not None and baselines.position_of(curve.unfinished)[0] < spec.epochs:
        curve.unfinished.unlink(missing_ok=True)  # not the state of a longer run
    return made


def _write_codes(spec: Representation, store: Store, made: Codes, seconds: float) -> None:
    content = {
        **spec.common,
        "backend": None,
        "device": None,
        "weights": None,
        **made.content,
        "code": code_statistics(made.arrays["clean"]),
        "arrays": store.write_arrays(spec.name, "", made.arrays),
        "environment": environment(),
    }
    if made.weights is not None:
        content["weights"] = store.write_arrays(spec.name, "-weights", {"params": made.weights})
    store.write(spec.name, content | {"seconds": seconds})


def time_left(elapsed: float, done: float, total: float) -> str:
    """Return the time left, in proportion to the work that is done, as text."""
    seconds = round(elapsed * (total - done) / done) if done else 0
    return f"; about {timedelta(seconds=seconds)} left" if seconds else ""


def _short(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
