"""Fits of many ranks and seeds with hidden entries; each finished fit has a record."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array

from ddnmf_np.data.checks import check_nonnegative
from ddnmf_np.data.given import without_mask
from ddnmf_np.errors import DataError, DivergedError, OptionError, UsageError
from ddnmf_np.estimator import DDNMF
from ddnmf_np.experiments.records import Name, Store, versions
from ddnmf_np.rank.choice import RankChoice
from ddnmf_np.rank.options import FEWEST, Search

STEPS = 3_000
"""Steps of the default fit."""

WIDTH = 128
"""Width of its hidden layer, which grows with the largest rank."""

BATCH = 64
"""Samples of its step."""

COMPARED = 1_000
"""Largest number of rows whose codes are matched across seeds."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Task:
    """A fit of one rank with one seed, which also decides the hidden entries.

    NaN in ``x`` is a missing entry. ``number`` is that of the seed among the seeds, and ``seed``
    the first of them. ``estimator`` has all other options.
    """

    x: Floats
    rank: int
    number: int
    seed: int
    hidden: float
    estimator: DDNMF


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit's findings: the unexplained share of the hidden entries, and some codes."""

    rank: int
    number: int
    error: float
    codes: Floats
    seconds: float


def choose_rank(
    X: Any,
    ranks: Sequence[int] = (2, 4, 8, 16, 32),
    *,
    seeds: int = 5,
    hidden: float = 0.2,
    estimator: DDNMF | None = None,
    samples: int = 2_000,
    random_state: int = 0,
    jobs: int = 1,
    output: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> RankChoice:
    """Choose the rank by how well entries are predicted that training has not seen.

    For each seed we hide a part of the entries, fit each rank to the others, and measure the error
    of the hidden ones. The answer is the smallest rank that is as good as the best one; see
    ``derivations/how-to/choose-the-rank.md``. No label is used.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Non-negative samples; float32 or float64, others become float64.
    ranks : sequence of int
        Two ranks or more.
    seeds : int
        Number of seeds, two or more. Each has its own hidden entries and its own start.
    hidden : float
        Share of the known entries that each seed hides, from 0.05 to 0.5.
    estimator : DDNMF, optional
        Options of the fits; its ``n_components``, ``missing`` and ``random_state`` are replaced.
        With ``missing="nan"``, NaN in ``X`` is a missing entry. By default we take a smaller
        network and a shorter training than `DDNMF` itself, because there are many fits.
    samples : int
        If there are more samples we draw so many at random.
    random_state : int
        Of the samples, the hidden entries and the fits.
    jobs : int
        Fits at a time, each in a process.
    output : path_like, optional
        Folder in which each finished fit leaves a record. The same call continues from these.
    say : callable, optional
        Called with each line of progress.

    Returns
    -------
    RankChoice
        The table, the answer and the picture.

    Raises
    ------
    UsageError
        If an argument cannot be used, another process writes to ``output``, or one of the
        processes of ``jobs`` died.
    DataError
        If the samples are negative, not finite, fewer than 20, or of less than two features.
    DivergedError
        If training produces a value that is not finite.
    OutputError
        If ``output`` cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from ddnmf_np import DDNMF
    >>> from ddnmf_np.rank import choose_rank
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((100, 2)) @ rng.gamma(0.5, size=(2, 30))  # sums of two parts
    >>> X = (X / X.max() + 0.02 * rng.random(X.shape)).astype("float32")
    >>> small = DDNMF(widths=(32,), max_iter=200, lr=0.05, batch_size=32)
    >>> choose_rank(X, ranks=(1, 2, 4), seeds=2, estimator=small).rank
    2
    """
    try:
        search = Search(tuple(ranks), seeds, hidden, samples, random_state, jobs)
    except OptionError as error:
        raise error.renamed("random_state" if error.name == "seed" else error.name) from error
    x = _checked(X, "error" if estimator is None else estimator.missing)
    if len(x) > search.samples:
        drawn = np.random.default_rng(search.seed).choice(len(x), search.samples, replace=False)
        x = x[np.sort(drawn)]
    if search.ranks[-1] > len(x):
        raise OptionError(
            "ranks", f"has {search.ranks[-1]}, but there are {len(x)} samples; give smaller ranks"
        )
    estimator = quick(len(x), search) if estimator is None else estimator
    tasks = [
        Task(x, rank, number, search.seed, search.hidden, estimator)
        for number in range(search.seeds)
        for rank in search.ranks
    ]
    store = None if output is None else Store(output)
    say = say or (lambda text: None)
    with nullcontext() if store is None else store.alone(say):
        fits = _fits(tasks, search.jobs, store, say)
    every = range(search.seeds)
    errors = [[fits[rank, number].error for rank in search.ranks] for number in every]
    agreements = [
        agreement([fits[rank, number].codes for number in every]) for rank in search.ranks
    ]
    return RankChoice(search.ranks, np.array(errors), np.array(agreements).T)


def quick(n: int, search: Search) -> DDNMF:
    """Return the estimator that `choose_rank` takes by default, for so many samples."""
    n = min(n, search.samples)
    batch_size = min(BATCH, n // 2)
    return DDNMF(
        # The same for all ranks, because the width decides too how much a network can learn.
        widths=(max(WIDTH, 2 * max(search.ranks)),),
        lr=0.03 * (batch_size / BATCH) ** 0.5,
        batch_size=batch_size,
        max_iter=max(1, round(STEPS * batch_size / n)),
    )


def hide(x: Floats, number: int, seed: int, hidden: float) -> npt.NDArray[np.bool_]:
    """Return which known entries a seed hides: shape (n, n_features), dtype bool.

    Notes
    -----
    Entries scattered over the matrix are held out as Wold does (1978, "Cross-validatory estimation
    of the number of components in factor and principal components models", Technometrics
    20:397-405). Successive seeds hide disjoint sets until every entry was hidden once, so that
    their errors depend less on the draw.
    """
    sets = max(1, int(1.0 / hidden + 1e-9))
    draw = np.random.default_rng([seed, number // sets]).random(x.shape)
    position = number % sets
    chosen: npt.NDArray[np.bool_] = (draw >= position * hidden) & (draw < (position + 1) * hidden)
    return chosen & ~np.isnan(x)


def fit(task: Task) -> Fit:
    """Fit one rank to what is not hidden, and measure the error of what is."""
    began = time.perf_counter()
    mask = hide(task.x, task.number, task.seed, task.hidden)
    seen = np.where(mask, np.nan, task.x).astype(task.x.dtype)
    model = clone(task.estimator).set_params(
        n_components=task.rank, missing="nan", random_state=task.seed + task.number, verbose=False
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rank that is bad has its error
            model.fit(seen)
    except DivergedError as error:
        raise DivergedError(f"rank {task.rank}, seed {task.number}: {error}") from error
    unexplained = model.unexplained_
    truth = unexplained.scaled(np.where(mask, task.x, np.nan))
    left = unexplained.of_guess(truth, unexplained.scaled(model.denoise(seen)))
    some = np.linspace(0, len(seen) - 1, min(COMPARED, len(seen))).astype(int)
    codes = model.transform(seen[some]).astype(np.float32)
    return Fit(task.rank, task.number, left, codes, time.perf_counter() - began)


def agreement(codes: Sequence[Floats]) -> npt.NDArray[np.float64]:
    """Return the agreement of each seed's codes with those of the others, (n_seeds,), from 0 to 1.

    ``codes`` are those of the same samples, (n, rank), by two seeds or more. We return the mean
    absolute correlation of matched units, over the other seeds. The units of two seeds are matched
    so that the sum of absolute correlations is largest (Hungarian method; Kuhn, 1955). A unit that
    is the same for all samples agrees with none.
    """
    units = []
    for one in codes:
        centred = one - one.mean(axis=0, dtype=np.float64)
        norm = np.linalg.norm(centred, axis=0)
        # Rounding lets a constant unit vary by some ulps.
        alive = norm > 1e-6 * np.sqrt(len(one))
        units.append(np.divide(centred, norm, out=np.zeros_like(centred), where=alive))
    pairs = np.zeros((len(units), len(units)))
    for i, one in enumerate(units):
        for j, other in enumerate(units[:i]):
            similar = np.abs(one.T @ other)  # (rank, rank)
            pairs[i, j] = pairs[j, i] = similar[linear_sum_assignment(-similar)].mean()
    found: npt.NDArray[np.float64] = pairs.sum(axis=1) / (len(units) - 1)
    return found


def _fits(
    tasks: Sequence[Task], jobs: int, store: Store | None, say: Callable[[str], None]
) -> dict[tuple[int, int], Fit]:
    """Return the fits by rank and number of the seed; those with a record are not repeated."""
    names: dict[tuple[int, int], Name] = {}
    found: dict[tuple[int, int], Fit] = {}
    if store is not None:
        common = _identity(tasks[0])
        for task in tasks:
            name = names[task.rank, task.number] = _name(task, common)
            stored = _stored(task, name, store)
            if stored is not None:
                found[task.rank, task.number] = stored
    left = [task for task in tasks if (task.rank, task.number) not in found]
    say(f"{len(tasks)} fits, {len(found)} of them done before; {jobs} at a time")
    began = time.monotonic()
    for done, one in enumerate(_run(left, jobs), 1):
        found[one.rank, one.number] = one
        if store is not None:
            _keep(one, names[one.rank, one.number], store)
        seconds = round((time.monotonic() - began) / done * (len(left) - done))
        rest = f"; about {timedelta(seconds=seconds)} left" if seconds else ""
        say(
            f"[{done}/{len(left)}]  rank {one.rank}  seed {one.number}  "
            f"error {one.error:.3f}  {one.seconds:.0f} s{rest}"
        )
    return found


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[Fit]:
    """Yield each fit as soon as it ends."""
    if jobs == 1:
        yield from map(fit, tasks)
        return
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(delayed(fit)(task) for task in tasks)
    except BrokenProcessPool as error:
        raise UsageError(
            f"jobs is {jobs}, and one of the processes died, mostly because memory runs out; take "
            "fewer jobs or samples. Fits with a record are kept"
        ) from error


def _identity(task: Task) -> dict[str, Any]:
    """Return the inputs on which all fits of a search depend."""
    own = ("n_components", "missing", "random_state", "verbose")
    options = {k: v for k, v in task.estimator.get_params().items() if k not in own}
    return {
        "data": hashlib.sha256(task.x.data).hexdigest(),
        "shape": [*task.x.shape, task.x.dtype.name],
        "options": json.loads(json.dumps(options, default=repr)),
        "versions": versions(),
    }


def _name(task: Task, common: Mapping[str, Any]) -> Name:
    own = {"rank": task.rank, "number": task.number, "seed": task.seed, "hidden": task.hidden}
    return Name("rank", f"rank{task.rank}-seed{task.number}", {**common, **own})


def _stored(task: Task, name: Name, store: Store) -> Fit | None:
    """Return the fit that a record and its arrays hold, or None."""
    record, arrays = store.find(name), store.read_arrays(name, "arrays")
    if record is None or arrays is None:
        return None
    codes = arrays.get("codes")
    error, seconds = record.get("error"), record.get("seconds")
    if codes is None or codes.shape[1:] != (task.rank,) or not isinstance(seconds, float):
        return None
    return Fit(task.rank, task.number, np.inf if error is None else error, codes, seconds)


def _keep(one: Fit, name: Name, store: Store) -> None:
    """Write the record of a fit."""
    arrays = store.write_arrays(name, "", {"codes": one.codes})
    error = one.error if np.isfinite(one.error) else None  # JSON has no infinity
    store.write(name, {"error": error, "seconds": one.seconds, "arrays": arrays})


def _checked(X: Any, missing: str) -> Floats:
    """Return samples in which NaN is a missing entry, or raise `DataError`."""
    X = without_mask(X, missing)
    x: Floats = check_array(X, dtype=[np.float64, np.float32], order="C", ensure_all_finite=False)
    check_nonnegative(x, "X", missing)
    if len(x) < FEWEST or x.shape[1] < 2:
        raise DataError(
            f"X has {len(x)} samples of {x.shape[1]} features; hidden entries tell a rank from "
            f"{FEWEST} samples of 2 features on"
        )
    return x
