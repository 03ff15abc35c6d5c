"""Reconstruction, codes and imputation on sets that ship inside packages, against scikit-learn.

Every method gets the same training rows (80 %) and the same scaling, which is that of the preset
"auto". We measure on the other rows, in scaled units. Labels are used for scoring only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from sklearn.decomposition import NMF, PCA, MiniBatchNMF
from sklearn.impute import KNNImputer

from ddnmf_np.bench.options import DataOptions, Say
from ddnmf_np.bench.sets import SETS
from ddnmf_np.bench.splits import Key, Record, Split, carry_out, fitted
from ddnmf_np.estimator import DDNMF
from ddnmf_np.system.markdown import markdown

TABLE = "data.md"
NAMES = {"ddnmf": "DDNMF", "pca": "PCA", "nmf": "NMF", "minibatch-nmf": "MiniBatchNMF"}
METHODS = tuple(NAMES)
FILLERS = ("ddnmf", "knn")
SCORES = {"linear probe,": "probe", "k-means,": "kmeans"}


def reconstruct(split: Split, method: str, rank: int, seed: int, **options: Any) -> Record:
    """Fit a method, and return what it is worth on the test rows."""
    if method == "ddnmf":
        return fitted(DDNMF(rank, random_state=seed, **options), split)
    model = {
        "pca": lambda: PCA(rank, random_state=seed),
        "nmf": lambda: NMF(rank, init="nndsvda", max_iter=500, random_state=seed),
        "minibatch-nmf": lambda: MiniBatchNMF(rank, init="nndsvda", random_state=seed),
    }[method]()
    return fitted(model, split, ours=False)


def impute(split: Split, method: str, rank: int, seed: int, **options: Any) -> Record:
    """Fill the hidden entries in, and return the error there."""
    began = time.perf_counter(), time.process_time()
    if method == "ddnmf":
        model = DDNMF(rank, random_state=seed, missing="nan", **options).fit(split.train)
        guess = split.scaled(model.impute(split.test))
    else:
        neighbours = KNNImputer(keep_empty_features=True).fit(split.scaled(split.train))
        guess = neighbours.transform(split.scaled(split.test))
    times = {"seconds": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
    return {"fvu": split.unexplained(guess), **times}


def measure(options: DataOptions, folder: Path, say: Say) -> list[Record]:
    """Measure what the folder has no record of; return all records, of which each is saved."""
    methods = FILLERS if options.hide else METHODS
    rest = options.seeds, options.hide or (0.0,), methods, (options.epochs,)
    keys = [k for n in options.sets for k in product((n,), options.ranks or SETS[n].ranks, *rest)]
    more = {} if options.epochs is None else {"max_iter": options.epochs}

    def do(split: Split, key: Key) -> Record:
        _, rank, seed, hidden, method, _ = key
        work: Callable[..., Record] = impute if hidden else reconstruct
        return work(split, method, rank, seed, **(more if method == "ddnmf" else {}))

    return carry_out(keys, do, options, folder, say)


def to_markdown(records: list[Record]) -> str:
    """Return the tables of some records: reconstruction, use of the codes, and imputation."""
    rows: dict[tuple[Any, ...], dict[str, list[Record]]] = {}
    order = list(SETS)
    records = [record for record in records if record["method"] in (*METHODS, *FILLERS)]
    for record in sorted(records, key=lambda r: (order.index(r["set"]), r["rank"], r["hidden"])):
        row = rows.setdefault((record["set"], record["rank"], record["hidden"]), {})
        row.setdefault(record["method"], []).append(record)
    worth, use, filled = [], [], []
    for (name, rank, hidden), row in rows.items():
        first = f"{name} ({rank})"
        if hidden:
            filled.append([first, f"{hidden:.0%}", *(shown(row, m, "fvu") for m in FILLERS)])
            continue
        ours, nmf = ({r["seed"]: r["fvu"] for r in row.get(m, [])} for m in ("ddnmf", "nmf"))
        ratios = ", ".join(f"{ours[seed] / nmf[seed]:.2f}" for seed in ours if seed in nmf)
        cells = [str(next(iter(row.values()))[0]["n_train"])]
        cells += [*(shown(row, method, "fvu") for method in METHODS), ratios or "-"]
        worth.append([first, *cells, *(shown(row, m, "cpu", 1) for m in ("ddnmf", "nmf"))])
        cells = [shown(row, m, field) for field in SCORES.values() for m in METHODS[:3]]
        if set(cells) != {"-"}:
            use.append([first, *cells])
    codes = [f"{what} {NAMES[m]}" for what in SCORES for m in METHODS[:3]]
    tables = (
        (["rows", *NAMES.values(), "DDNMF / NMF", "DDNMF, s", "NMF, s"], worth),
        (codes, use),
        (["hidden", "DDNMF", "KNN"], filled),
    )
    texts = [markdown(["set (rank)", *header], lines) for header, lines in tables if lines]
    return "\n\n".join(texts) + "\n"


def shown(row: dict[str, list[Record]], method: str, field: str, digits: int = 3) -> str:
    """Return a field of each record of a method, by seed."""
    found = sorted(row.get(method, []), key=lambda record: record["seed"])
    return ", ".join(f"{r[field]:.{digits}f}" for r in found if r.get(field) is not None) or "-"
