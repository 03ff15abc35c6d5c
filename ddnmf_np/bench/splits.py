"""Measurements on held-out rows of sets that ship inside packages, and their records."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ddnmf_np.bench.options import DataOptions, Say
from ddnmf_np.bench.sets import SETS, Samples
from ddnmf_np.data.defaults import Facts
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.clustering import cluster
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.evaluation.metrics import clustering_accuracy
from ddnmf_np.runs.environment import commit
from ddnmf_np.runs.validation import flat_outputs
from ddnmf_np.system import json_text
from ddnmf_np.system.files import atomic_write_text

Floats = npt.NDArray[np.floating[Any]]
Record = dict[str, Any]
RECORDS = "measurements.jsonl"
TEST = 0.2
KEY = ("set", "rank", "seed", "hidden", "method", "epochs")
Key = tuple[Any, ...]


class Split:
    """Training and test rows of a set, and the units in which we measure.

    ``seed`` is that of the split and of what is hidden; ``hidden`` is the share of the entries that
    no method sees.
    """

    def __init__(
        self, x: Floats, y: npt.NDArray[Any] | None, seed: int, hidden: float = 0.0
    ) -> None:
        order = np.random.default_rng(seed).permutation(len(x))
        test, train = np.split(order, [round(TEST * len(x))])
        self.truth = x[test]
        rng = np.random.default_rng([seed, 1])
        self.train, self.test = (
            np.where(rng.random(rows.shape) < hidden, np.nan, rows) if hidden else rows
            for rows in (x[train], x[test])
        )
        self.y_train = None if y is None else y[train]
        self.y_test = None if y is None else y[test]
        facts = Facts.of(self.train, n=len(train), images=False, missing=hidden > 0.0)
        self.scale, self.scaling = facts.scale, Scaling.learn(self.train, facts.scale)
        self.mean = np.nanmean(self.scaled(self.train), axis=0)

    def scaled(self, x: Floats) -> Floats:
        """Return samples in the common units."""
        return (x.astype(np.float64) - self.scaling.low) / self.scaling.span

    def unexplained(self, scaled: Floats) -> float:
        """Return the FVU of a guess of the test rows, or of their hidden entries if there are."""
        truth, hidden = self.scaled(self.truth), np.isnan(self.test)
        counts = hidden if hidden.any() else ~hidden
        errors = ((scaled - truth) ** 2)[counts].sum()
        return float(errors / ((self.mean - truth) ** 2)[counts].sum())


def fitted(model: Any, split: Split, *, ours: bool = True) -> Record:
    """Fit a model, `DDNMF` or not, and return what it is worth on the test rows."""
    train, test = split.train, split.test
    if not ours:  # the others want numbers of at least 0 in one unit
        train, test = (np.maximum(split.scaled(x), 0.0) for x in (train, test))
    began = time.perf_counter(), time.process_time()
    model.fit(train)
    times = {"seconds": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
    H = model.transform(test)
    guess = model.inverse_transform(H)
    guess = split.scaled(guess) if ours else guess
    deviations = ((split.mean - split.scaled(split.truth)) ** 2).sum(axis=0)
    found = {
        "fvu": split.unexplained(guess),
        "dead_codes": int(dead_units(H).sum()) if ours else None,
        "dead_outputs": flat_outputs(guess, deviations, len(test)) if ours else None,
        **times,
    }
    return found | judge(model.transform(train), H, split)


def judge(H_train: Floats, H: Floats, split: Split) -> Record:
    """Return accuracies on the test rows: a linear probe of the codes, and k-means of them."""
    if split.y_train is None or split.y_test is None:
        return {"probe": None, "kmeans": None}
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(H_train, split.y_train)
    groups = cluster(H, len(np.unique(split.y_train)), method="kmeans").labels
    return {
        "probe": float(probe.score(H, split.y_test)),
        "kmeans": clustering_accuracy(split.y_test.tolist(), groups.tolist()),
    }


def read(path: Path) -> list[Record]:
    """Return the records of a file; raises `DataError` if one is damaged."""
    try:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        records = [json_text.parse(line) for line in lines]
        for record in records:
            _ = key_of(record), SETS[record["set"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); move it elsewhere") from error
    return records


def key_of(record: Record) -> Key:
    """Return the entries that name a measurement."""
    return tuple(record[name] for name in KEY)


def carry_out(
    keys: Iterable[Key],
    do: Callable[[Split, Key], Record],
    options: DataOptions,
    folder: Path,
    say: Say,
) -> list[Record]:
    """Measure by ``do`` what a folder has no record of; save each record, and return all."""
    records = read(folder / RECORDS)
    done = {key_of(record) for record in records}
    absent: set[str] = set()
    for key in keys:
        name, rank, seed, hidden, method, _ = key
        needs = SETS[name].needs
        if key in done or name in absent:
            continue
        if needs and find_spec(needs) is None:
            say(f"{name}: left out, {needs} is not installed; the extra 'bench' brings it")
            absent.add(name)
            continue
        x, y = _samples(name, options.data_dir)
        split = Split(x, y, seed, hidden)
        with threadpool_limits(options.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the record says it
            found = do(split, key)
        found |= {"n_train": len(split.train), "n_features": x.shape[1], "scale": split.scale}
        found |= {"threads": options.threads, "commit": commit()}
        records.append(dict(zip(KEY, key, strict=True)) | found)
        text = "".join(json.dumps(record) + "\n" for record in records)
        atomic_write_text(folder / RECORDS, text)
        took = f"FVU {found['fvu']:.3f}, {found['cpu']:.1f} s"
        say(f"{name} ({rank}), seed {seed}, {method}: {took}")
    return records


@lru_cache(maxsize=1)
def _samples(name: str, data_dir: str | None) -> Samples:
    return SETS[name].load(data_dir)
