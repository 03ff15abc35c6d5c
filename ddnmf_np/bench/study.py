"""Studies of our choices: values that the paper leaves open, and the rules of the preset "auto".

The pages ``derivations/search.md`` and ``derivations/defaults.md`` say what we measure and why. No
label chooses anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ddnmf_np.bench.options import DataOptions, Say
from ddnmf_np.bench.sets import SETS
from ddnmf_np.bench.splits import Key, Record, Split, carry_out, fitted
from ddnmf_np.config import Config, configure
from ddnmf_np.data.defaults import Facts, choose
from ddnmf_np.estimator import DDNMF
from ddnmf_np.system.markdown import markdown

Options = Mapping[str, Any]

LEVELS: dict[str, dict[str, Options]] = {
    "gamma / beta": {"1": {}, "0.1": {"gamma_nc": 0.1}, "0.01": {"gamma_nc": 0.01}},
    "first weights": {"drawn": {}, "from the data": {"start": "data", "nmf_start": "pca"}},
    "learning rate": {"constant": {}, "cosine": {"lr_schedule": "cosine"}},
    "noise": {"once": {}, "anew": {"noise_redraw": True}, "none": {"noise_kind": "none"}},
}
"""Values that we try where the paper leaves a value open; the first is that of the preset."""

OPEN = {
    ", ".join(names): {k: v for part, n in zip(LEVELS.values(), names, strict=True)
                       for k, v in part[n].items()}
    for names in product(*LEVELS.values())
}  # fmt: skip
"""Candidates by name: each combination of `LEVELS`."""

CHOOSE = ("breast_cancer", "diabetes", "china")
CONFIRM = ("wine", "digits", "textures", "manual")
"""Sets that choose a candidate, and sets that confirm it."""

STEPS, BATCH = 1000, 32
"""Length of a search's run."""

RULES: dict[str, Options] = {
    "auto": {},
    "no scaling": {"scale": "none"},
    "one scale for all features": {"scale": "all"},
    "widths 64, 32": {"widths": (64, 32)},
    "ReLU inside": {"activation": "relu"},
    "ReLU output": {"output_activation": "relu"},
    "drawn first weights": {"start": "glorot"},
    "drawn NMF module": {"nmf_start": "glorot"},
    "alpha and student weight 1": {"alpha_sym": 1.0, "student_reconstruction": 1.0},
    "no reconstruction loss of the student": {"student_reconstruction": 0.0},
    "beta and gamma 1": {"beta_ap": 1.0, "gamma_nc": 1.0},
    "beta and gamma 0": {"beta_ap": 0.0, "gamma_nc": 0.0},
    "no noise": {"noise_kind": "none"},
    "noise drawn once": {"noise_redraw": False},
    "masking 10 %": {"noise_kind": "masking", "noise_rate": 0.1},
    "batch 128": {"batch_size": 128},
    "learning rate 0.001": {"lr": 0.001},
    "constant learning rate": {"lr_schedule": "constant"},
    "30 epochs": {"epochs": 30},
    "last weights, no rows held out": {"validation_fraction": 0.0},
}
"""The preset "auto" with one rule off at a time."""

RULED = ("wine", "diabetes", "breast_cancer", "digits", "manual")
"""Sets on which we switch rules off."""


class Variant(DDNMF):
    """The estimator with options that it does not have as parameters, by their short names."""

    def __init__(self, rank: int, seed: int, objective: str, options: Options) -> None:
        super().__init__(rank, objective=objective, random_state=seed)
        self.options = options

    def _configure(self, X: Any, *, one_pass: bool = False) -> Config:
        return configure(super()._configure(X, one_pass=one_pass), **self.options)


def measure(options: DataOptions, folder: Path, say: Say) -> list[Record]:
    """Measure what a study lacks in the folder, and return its records of the asked length."""

    def records_of(sets: Iterable[str], variants: Iterable[str]) -> list[Record]:
        do = _without_rule if options.study == "rules" else _candidate
        records = carry_out(_keys(sets, variants, options), do, options, folder, say)
        return [record for record in records if record["epochs"] == options.epochs]

    if options.study == "rules":
        return records_of(RULED, RULES)
    records = records_of(CHOOSE, OPEN)
    if found := chosen(records):
        records = records_of(CONFIRM, dict.fromkeys((next(iter(OPEN)), found)))
    return records


def _keys(names: Iterable[str], variants: Iterable[str], options: DataOptions) -> Iterable[Key]:
    """Return the measurements, one seed after the other, so that a part is of use."""
    for seed, name, variant in product(options.seeds, names, variants):
        if name in options.sets:
            rank = (options.ranks or SETS[name].ranks)[0]
            yield (name, rank, seed, 0.0, variant, options.epochs)


def _candidate(split: Split, key: Key) -> Record:
    """Train a candidate of the search: the paper's objective at the widths of "auto"."""
    _, rank, seed, _, variant, epochs = key
    n = len(split.train)
    facts = Facts.of(split.train, n=n, images=False, missing=False, scale=split.scale)
    length = {"batch_size": min(n, BATCH), "epochs": epochs or math.ceil(STEPS * BATCH / n)}
    shape = {"scale": facts.scale, "widths": choose(facts, rank)["widths"]}
    return fitted(
        Variant(rank, seed, "paper", {**length, **shape, **OPEN[variant]}), _single(split)
    )


def _without_rule(split: Split, key: Key) -> Record:
    _, rank, seed, _, variant, epochs = key
    more = {} if epochs is None else {"epochs": epochs}
    return fitted(Variant(rank, seed, "auto", {**more, **RULES[variant]}), _single(split))


def _single(split: Split) -> Split:
    """Return the split in single precision, which takes half of the time."""
    split.train, split.test = split.train.astype(np.float32), split.test.astype(np.float32)
    return split


def criterion(records: Iterable[Record]) -> dict[str, float]:
    """Return the criterion of each candidate that all sets and seeds have: the mean log FVU."""
    found: dict[str, dict[tuple[str, int], float]] = {}
    for record in records:
        if record["set"] in CHOOSE and record["method"] in OPEN:
            runs = found.setdefault(record["method"], {})
            runs[record["set"], record["seed"]] = math.log(record["fvu"])
    most = max(map(len, found.values()), default=0)
    return {m: sum(runs.values()) / most for m, runs in found.items() if len(runs) == most}


def chosen(records: Iterable[Record]) -> str | None:
    """Return the candidate with the least criterion; None while some have no record."""
    values = criterion(records)
    return min(values, key=lambda name: values[name]) if len(values) == len(OPEN) else None


def to_markdown(records: list[Record], study: str) -> str:
    """Return the tables of a study."""
    tables = rules_table(records) if study == "rules" else open_tables(records)
    return "\n\n".join(markdown(header, lines) for header, *lines in tables) + "\n"


def rules_table(records: list[Record]) -> list[list[list[str]]]:
    """Return the FVU without each rule, divided by that of "auto"; a number for each seed."""
    fvu = {(r["method"], r["set"], r["seed"]): r["fvu"] for r in records}
    names = [name for name in RULED if any(key[1] == name for key in fvu)]
    table = [["rule off", *names, "mean"]]
    for rule in list(RULES)[1:]:
        ratios = {
            (name, seed): value / fvu["auto", name, seed]
            for (one, name, seed), value in sorted(fvu.items())
            if one == rule and ("auto", name, seed) in fvu
        }
        if not ratios:
            continue
        runs = {name: [v for (one, _), v in ratios.items() if one == name] for name in names}
        cells = [", ".join(f"{ratio:.2f}" for ratio in runs[name]) or "-" for name in names]
        means = [np.log(found).mean() for found in runs.values() if found]
        table.append([rule, *cells, f"{np.exp(np.mean(means)):.2f}"])
    return [table]


def open_tables(records: list[Record]) -> list[list[list[str]]]:
    """Return tables of the levels, of all candidates in order, and of the confirmation."""
    values = criterion(records)
    levels = [["open value", "level", "geometric mean of FVU"]]
    for place, (what, part) in enumerate(LEVELS.items()):
        for level in part:
            mean = [v for name, v in values.items() if name.split(", ")[place] == level]
            levels.append([what, level, f"{math.exp(sum(mean) / len(mean)):.3f}" if mean else "-"])
    order = [["place", *LEVELS, *(name for name in CHOOSE), "geometric mean", "dead outputs"]]
    for place, name in enumerate(sorted(values, key=lambda name: values[name]), 1):
        runs = [r for r in records if r["method"] == name]
        cells = [_fvu(runs, one) for one in CHOOSE]
        dead = [r["dead_outputs"] / r["n_features"] for r in runs if r["set"] in CHOOSE]
        share = f"{np.mean(dead):.0%}"
        order.append(
            [str(place), *name.split(", "), *cells, f"{math.exp(values[name]):.3f}", share]
        )
    best = chosen(records)
    if best is None:
        return [levels, order]
    paper = next(iter(OPEN))
    confirmed = [["set", "values of the preset paper", f"chosen ({best})"]]
    for one in CONFIRM:
        cells = [_fvu([r for r in records if r["method"] == name], one) for name in (paper, best)]
        confirmed.append([one, *cells])
    return [levels, order, confirmed]


def _fvu(records: Iterable[Record], name: str) -> str:
    """Return the FVU of the records of a set, by seed."""
    runs = sorted((r for r in records if r["set"] == name), key=lambda r: r["seed"])
    return ", ".join(f"{r['fvu']:.3f}" for r in runs) or "-"
