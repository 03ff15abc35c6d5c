"""A campaign: what the tables need and the records do not have yet, run to its end.

The unit of work is one representation (a trained network, say) with all clusterings and maps that
are asked of it. What has a record is not done again, so a campaign that was killed goes on where it
was, and one that asks for more seeds does the further seeds only.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.backends.threads import usable_processors
from ddnmf_np.errors import DDNMFError, UsageError, unknown
from ddnmf_np.evaluation.clustering import Method, check_methods, score_clustering
from ddnmf_np.evaluation.embedding import embed
from ddnmf_np.evaluation.interpret import code_statistics
from ddnmf_np.experiments import baselines
from ddnmf_np.experiments.baselines import (
    NETWORKS,
    DataInfo,
    Floats,
    Representation,
    Source,
    make_config,
)
from ddnmf_np.experiments.networks import (
    MAP_MODELS,
    MAPPED_MODELS,
    NOISE_MODELS,
    TABLE_MODELS,
)
from ddnmf_np.experiments.records import RecordError, Store, pack_labels, versions
from ddnmf_np.experiments.studies import STUDIES
from ddnmf_np.runs.environment import environment
from ddnmf_np.system.files import locked

RESULTS = ("table1", "table2", "table3", "figure2", "figure3")
"""The paper's tables and figures."""

EVERYTHING = (*RESULTS, *STUDIES)
"""What can be asked for."""

DATASETS = {"table1": ("mnist",), "table2": ("fashion-mnist",)}
"""Data sets of a result; both, where it is not here."""

OF_UMAP = ("umap-learn", "pynndescent", "numba")
"""What else the numbers on a map by UMAP depend on."""

MAP_SECONDS = {"tsne": 70.0, "umap": 15.0}
"""What a map of 10,000 codes takes, roughly."""

NOISE_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

NOISE_SAMPLES = 6_000
NOISE_STARTS = 3
"""Training images and starts of table 3, unless it is told; of the others all images and ten.

It has 48 of the 60 networks of a seed (both data sets, eight rates, three networks), each of them
clustered on clean and on noisy images.
"""

LIMITS = {
    "epochs": (0, 1_000_000),
    "starts": (1, 10_000),
    "jobs": (1, 1024),
    "samples": (1, 1_000_000_000),
    "noise_samples": (1, 1_000_000_000),
    "noise_starts": (1, 10_000),
    "threads": (1, 1024),
}
"""Least and most of what is a whole number; beyond, it is a slip of the keyboard."""

MOST_SEEDS = 10_000

BEAT = 30.0
"""Seconds between two signs of life of a network that trains."""

Need = tuple[str, Method]
"""Clean or noisy images, and a clusterer."""

MAPPED: dict[str, Need] = {
    "tsne": ("clean", "gmm-full-tsne"),
    "umap": ("clean", "gmm-full-umap"),
}
"""What is asked of `MAPPED_MODELS` beside the clusterers of all rows, by the map asked for."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked of a campaign.

    Parameters
    ----------
    results : tuple of str
        Of `EVERYTHING`.
    seeds : tuple of int
        Each row of a table is computed once for each.
    epochs : int
        Of every network.
    starts : int
        Of every clustering but those of table 3 and figure 3.
    samples : int or None
        Training images; all of them by default.
    networks : tuple of str
        Representations of tables 1 and 2, of `TABLE_MODELS`.
    noise_rates : tuple of float
        Of table 3 and figure 3.
    noise_networks : tuple of str
        Networks of table 3 and figure 3, of `NOISE_MODELS`.
    noise_samples, noise_starts : int
        Training images, at most `samples`, and starts of table 3 and figure 3.
    maps : tuple of str
        Maps, of `MAPPED`, on which `MAPPED_MODELS` of tables 1 and 2 are clustered too.
    variants : tuple of str or None
        Of the studies asked for, each by the name that it has there; all by default.
    map_samples : int
        Test images on a map of figure 2.
    backend, threads, jobs : str, int or None, int
        Who computes, with how many threads, and how many runs at a time.
    sources : tuple of Source
        The data sets.
    options : mapping
        Options of all networks, over their own.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    results: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epochs: int = 30
    starts: int = 10
    samples: int | None = None
    networks: tuple[str, ...] = TABLE_MODELS
    noise_rates: tuple[float, ...] = NOISE_RATES
    noise_networks: tuple[str, ...] = NOISE_MODELS
    noise_samples: int = NOISE_SAMPLES
    noise_starts: int = NOISE_STARTS
    maps: tuple[str, ...] = ()
    variants: tuple[str, ...] | None = None
    map_samples: int = 2000
    backend: str = "numpy"
    threads: int | None = None
    jobs: int = 1
    sources: tuple[Source, ...] = (
        Source("mnist", "mnist"),
        Source("fashion-mnist", "fashion-mnist"),
    )
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for result in self.results:
            if result not in EVERYTHING:
                names = [*EVERYTHING, "all", "report"]
                raise UsageError(unknown("table, figure or study", result, names))
        if not self.seeds:
            raise UsageError("seeds: there are none; give at least 1 (5 for a result to show)")
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds is {self.seeds}; give each seed once")
        if len(self.seeds) > MOST_SEEDS:
            raise UsageError(f"seeds: there are {len(self.seeds)}; give at most {MOST_SEEDS}")
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(
                    f"{name} is {value}; expected a whole number from {least} to {most:,}"
                )
        if not self.noise_rates or not all(0.0 < rate < 1.0 for rate in self.noise_rates):
            raise UsageError(f"noise_rates is {self.noise_rates}; expected numbers in (0, 1)")
        if self.results and not any(map(self.sources_of, self.results)):
            left_out = [f"{result} ({DATASETS[result][0]})" for result in self.results]
            chosen = ", ".join(source.name for source in self.sources)
            raise UsageError(
                f"datasets is {chosen}, which {', '.join(left_out)} is not about; name the "
                "data set of the table too, or another table"
            )
        studies = [result for result in self.results if result in STUDIES]
        variants = [name for study in studies for name in STUDIES[study].names]
        if self.variants is not None and not studies:
            raise UsageError(
                f"variants is {self.variants}, and no study is asked for; name one of "
                f"{', '.join(STUDIES)}, or leave the variants out"
            )
        for what, asked, known in (
            ("network", self.networks, TABLE_MODELS),
            ("network", self.noise_networks, NOISE_MODELS),
            ("variant", self.variants or (), variants),
            ("map", self.maps, tuple(MAPPED)),
        ):
            for name in asked:
                if name not in known:
                    raise UsageError(unknown(what, name, list(known)))
        if self.maps and not any(result in DATASETS for result in self.results):
            raise UsageError(
                f"maps is {', '.join(self.maps)}, and {' and '.join(DATASETS)} are not asked for, "
                "whose networks alone are clustered on maps; name one of them, or leave maps out"
            )
        for seed in self.seeds:  # says what is wrong with the others
            make_config("ddnmf-paper", self.network_options(seed))

    def network_options(self, seed: int) -> dict[str, Any]:
        """Return the options that all networks of a seed share."""
        threads = self.threads
        if threads is None and self.jobs > 1:
            threads = max(1, usable_processors() // self.jobs)
        return {
            **self.options,
            "seed": seed,
            "epochs": self.epochs,
            "backend": self.backend,
            "threads": threads,
        }

    def sources_of(self, result: str) -> list[Source]:
        """Return the data sets of a table or figure."""
        names = DATASETS.get(result)
        return [s for s in self.sources if names is None or s.name in names]

    def models_of(self, result: str) -> Sequence[str]:
        """Return what stands in table 1 or 2, or in a study."""
        if result not in STUDIES:
            return self.networks
        names = STUDIES[result].names
        return [full for name, full in names.items() if name in (self.variants or names)]


@dataclass
class Unit:
    """A representation and all that is asked of it.

    Parameters
    ----------
    spec : Representation
        The codes.
    starts : int
        Of each clustering.
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
        """What no other unit has."""
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
    """How a unit ended.

    Parameters
    ----------
    label : str
        Of its representation.
    work : float
        How long it was thought to take, see `Unit.work`.
    seconds : float
        How long it took.
    error : str or None
        Why it failed, if it did.
    trace : str or None
        Where, if the error is none of this package's own.
    """

    label: str
    work: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    trace: str | None = None


def plan(settings: Settings, infos: Mapping[str, DataInfo]) -> list[Unit]:
    """Return everything that the results need, each representation once.

    Parameters
    ----------
    settings : Settings
        What is asked for.
    infos : mapping of str to DataInfo
        The data sets that can be had, by name.
    """
    units: dict[str, Unit] = {}

    def unit(info: DataInfo, model: str, seed: int, starts: int, **options: Any) -> Unit:
        one = Unit(represent(settings, info, model, seed, **options), starts)
        return units.setdefault(one.key, one)

    for result in settings.results:
        for source in settings.sources_of(result):
            info = infos.get(source.name)
            if info is None:
                continue
            noise_info = replace(info, n_train=min(info.n_train, settings.noise_samples))
            if result == "figure2":
                for model in MAP_MODELS:
                    found = unit(info, model, settings.seeds[0], settings.starts)
                    found.map_samples = settings.map_samples
                continue
            for seed in settings.seeds:
                if result in ("table3", "figure3"):
                    for rate in settings.noise_rates:
                        for model in settings.noise_networks:
                            found = unit(
                                noise_info, model, seed, settings.noise_starts, noise_rate=rate
                            )
                            found.needs |= pairs(["clean", "noisy"])
                else:
                    for model in settings.models_of(result):
                        found = unit(info, model, seed, settings.starts)
                        found.needs |= pairs(["clean"])
                        if result in DATASETS and model in MAPPED_MODELS:
                            found.needs |= {MAPPED[name] for name in settings.maps}
    # Data sets one after the other, since a process keeps one in memory; the longest runs first,
    # so that the last ones to end are short.
    order = [source.name for source in settings.sources]
    return sorted(units.values(), key=lambda u: (order.index(u.spec.data.source.name), -u.work))


def pairs(images: Iterable[str]) -> set[Need]:
    """Return every clusterer of the tables on each of these images."""
    return {(kind, method) for kind in images for method in baselines.CLUSTERERS}


def represent(
    settings: Settings, info: DataInfo, model: str, seed: int, **options: Any
) -> Representation:
    """Return a representation of a table or a study with the campaign's options."""
    parent = None
    if model == "ae2-nmf":
        parent = represent(settings, info, "ae2", seed)
    config = None
    if model in NETWORKS:
        config = make_config(model, {**settings.network_options(seed), **options})
    return Representation(info, model, seed, config, parent)


def missing(unit: Unit, store: Store) -> Unit | None:
    """Return what of a unit has no record yet, or None if nothing is missing."""
    spec = unit.spec
    left = Unit(
        spec,
        unit.starts,
        {need for need in unit.needs if store.find(spec.clustering(*need, unit.starts)) is None},
    )
    if unit.map_samples and store.find(spec.embedding(unit.map_samples)) is None:
        left.map_samples = unit.map_samples
    return left if left.needs or left.map_samples else None


def run(settings: Settings, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Run a campaign to its end.

    Parameters
    ----------
    settings : Settings
        What is asked for.
    folder : Path
        Where the records are and go.
    say : callable
        Called with each line of what a person is told.

    Returns
    -------
    list of str
        A line for each failure; a failure does not stop the rest.

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
            if outcome.error is not None:
                failures.append(f"{outcome.label}: {outcome.error}")
            state = "done" if outcome.error is None else f"failed: {outcome.error}"
            say(f"{clock.count}  {outcome.label}  {outcome.seconds:.0f} s  {state}{clock.rest}")
    return failures


def stages(units: Iterable[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Return the units in two parts, of which the second waits until the first is done.

    It holds those that continue from another one, and those whose codes another one makes too.
    """
    first: list[Unit] = []
    second: list[Unit] = []
    keys: set[str] = set()
    for unit in units:
        key = unit.spec.name.key
        waits = unit.spec.parent is not None or key in keys
        (second if waits else first).append(unit)
        keys.add(key)
    return first, second


def execute(units: Sequence[Unit], folder: Path, jobs: int) -> Iterator[Outcome]:
    """Run units, so many at a time, and yield each one's outcome when it ends."""
    if jobs == 1 or len(units) < 2:
        for unit in units:
            yield run_unit(unit, folder)
        return
    waiting = {unit.key: unit for unit in units}
    try:
        for key, outcome in _pool(list(waiting.items()), folder, jobs):
            del waiting[key]
            yield outcome
    except Exception as error:
        # A process that died (for want of memory, mostly) takes the pool with it and does not say
        # whose it was. One at a time, each in a process of its own, shows it.
        if not waiting:
            raise
        print(f"a process died ({_short(error)}); going on, one at a time", file=sys.stderr)
        for key, unit in waiting.items():
            try:
                yield next(iter(_pool([(key, unit)], folder, 2)))[1]
            except Exception as again:
                error_text = f"its process died: {_short(again)}"
                yield Outcome(unit.spec.label, unit.work, error=error_text)


def _pool(
    units: Sequence[tuple[str, Unit]], folder: Path, jobs: int
) -> Iterator[tuple[str, Outcome]]:
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    results: Iterator[tuple[str, Outcome]] = parallel(
        delayed(_keyed)(key, unit, folder, os.getpid()) for key, unit in units
    )
    return results


def _keyed(key: str, unit: Unit, folder: Path, parent: int) -> tuple[str, Outcome]:
    _end_with(parent)
    return key, run_unit(unit, folder)


@cache
def _end_with(parent: int) -> None:
    """End this process, which is a worker, once its parent is gone.

    A campaign that is killed cannot end its workers; they would go on for hours, beside the next
    campaign in the same folder.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    # On Windows the number stays that of the parent that is gone.
    if os.getppid() == parent and sys.platform != "win32":
        threading.Thread(target=watch, daemon=True).start()


def run_unit(unit: Unit, folder: Path) -> Outcome:
    """Do what of a unit has no record, and say how it ended; raises nothing but an interrupt."""
    began = time.perf_counter()
    outcome = Outcome(unit.spec.label, unit.work)
    config = unit.spec.trained
    try:
        with threadpool_limits(None if config is None else config.threads):
            work_off(unit, Store(folder))
    except DDNMFError as error:
        outcome.error = str(error)
    except Exception as error:
        outcome.error, outcome.trace = _short(error), traceback.format_exc()
    outcome.seconds = time.perf_counter() - began
    return outcome


def adopt(unit: Unit, store: Store) -> None:
    """Take over what of a unit there is under another name: a variant may be a row of a table."""
    names = [unit.spec.name, *(unit.spec.clustering(*need, unit.starts) for need in unit.needs)]
    for name in names:
        if store.find(name) is None:
            store.adopt(name, unit.spec.common)


def work_off(unit: Unit, store: Store) -> None:
    """Compute the clusterings and the map of a unit, and its codes as far as they are not there."""
    adopt(unit, store)
    left = missing(unit, store)
    if left is None:
        return
    spec, data = unit.spec, unit.spec.data.source.load()
    codes = get_codes(spec, store)
    y = data.y_test
    for images, method in sorted(left.needs):
        name = spec.clustering(images, method, unit.starts)
        found = baselines.cluster_codes(
            codes[images], spec.data.n_classes, method, unit.starts, spec.seed
        )
        store.write(
            name,
            {
                **spec.common,
                "images": images,
                "method": method,
                "starts": unit.starts,
                "result": score_clustering(found, y),
                # What stability is about; of every clustering it would be most of all records.
                **({"assignment": pack_labels(found.labels)} if images == "clean" else {}),
                "versions": versions(*(OF_UMAP if method == MAPPED["umap"][1] else ())),
            },
        )
    if left.map_samples:
        name = spec.embedding(left.map_samples)
        rows, points = embed(codes["clean"], "tsne", left.map_samples, seed=0)
        store.write(
            name,
            {
                **spec.common,
                "images": "clean",
                "points": np.round(points, 2).tolist(),
                "labels": None if y is None else y[rows].tolist(),
                "versions": versions(),
            },
        )


def get_codes(spec: Representation, store: Store) -> dict[str, Floats]:
    """Return codes of the clean and, if there are any, the noisy test images.

    We compute them if they are not stored or cannot be read.
    """
    if spec.model == "raw":
        return {"clean": baselines.compute(spec).H}
    return stored(spec, store, "arrays") or make_codes(spec, store)[0]


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
    weights = None
    if spec.parent is not None:
        weights = get_weights(spec.parent, store)
    made = baselines.compute(spec, weights=weights, tick=Beat(spec.label))
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


def get_weights(spec: Representation, store: Store) -> Floats:
    """Return the stored weights of a network; train it first if they are not there."""
    found = stored(spec, store, "weights")
    return cast(Floats, make_codes(spec, store)[1]) if found is None else found["params"]


class Beat:
    """Sign of life of a run on standard error, once in a while.

    Parameters
    ----------
    label : str
        What is running.
    """

    def __init__(self, label: str) -> None:
        self.label, self.last = label, time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line, unless the last one is not old."""
        now = time.monotonic()
        if now - self.last >= BEAT:
            self.last = now
            print(f"  {self.label}: {text}", file=sys.stderr, flush=True)


class Clock:
    """How far a campaign is, and how long it will take.

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
            self.done += outcome.work
        else:  # it has not taken the time that it would have
            self.total -= outcome.work

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
