"""A spot audit: cells of committed tables, drawn at random, from the records by another route.

The route is JSON and the module `statistics`; the package supplies names only. Set ``DDNMF_AUDIT``
to another number to draw other cells; ``.ci/run`` takes one of the day.
"""

import json
import os
import random
import re
import statistics
from functools import cache
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from ddnmf_np.experiments import parts
from ddnmf_np.experiments.networks import TITLES
from ddnmf_np.experiments.records import Store, versions
from ddnmf_np.experiments.tables import METHODS, table_noise

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results"
SCORES = ("acc", "nmi", "ari")
T = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 9: 2.262157}
"""Student's 97.5 % quantile by degrees of freedom, from a table."""

MODELS = {title: name for name, title in TITLES.items()}
CLUSTERERS = {title: name for name, title in METHODS.items()}
FOLDERS = {"experiments": 5, "epochs20": 20, "epochs70": 70}
"""Folders of tables 1 and 2, with the epochs of their networks."""


@cache
def records(folder):
    text = (RESULTS / folder / "records.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def draw(every, count):
    return random.Random(os.environ.get("DDNMF_AUDIT", "0")).sample(every, count)


def rows(text, width):
    """Return the cells of the lines of tables that have so many columns, without headings."""
    lines = [re.split(r" ?\| ?", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if len(cells) == width and set("".join(cells)) - set("-")][1:]


def seeds_of(folder, dataset, title, score):
    """Return the scores of a row by seed, each the mean over the starts of a clustering.

    The title is that of the codes and the clusterer; a row of a claim adds what is unusual.
    """
    noisy, epochs, noise = (
        re.search(f", {words}", title)
        for words in ("noisy images", "([0-9]+) epochs", "([0-9]+)% noise")
    )
    title = re.sub(", (noisy images|[0-9]+ epochs|[0-9]+% noise)", "", title)
    ending = next(method for method in CLUSTERERS if title.endswith(f", {method}"))
    model = MODELS[title.removesuffix(f", {ending}")]
    row = {"kind": "clustering", "dataset": dataset, "model": model, "method": CLUSTERERS[ending]}
    row |= {"images": "noisy" if noisy else "clean"}
    row |= {"noise_rate": int(noise[1]) / 100 if noise else table_noise(model)}
    row |= {"epochs": int(epochs[1])} if epochs else {}
    found = {}
    for r in records(folder):
        if all(r.get(key) == value for key, value in row.items()) and not r.get("again"):
            found[r["seed"]] = r["result"]["spread"][score]["mean"]
    return found


def interval(differences):
    half = T[len(differences) - 1] * statistics.stdev(differences) / len(differences) ** 0.5
    mean = statistics.fmean(differences)
    return [mean, mean - half, mean + half]


def numbers(cell):
    """Return the signed numbers of a cell."""
    return [float(n) for n in re.findall(r"[-+]\d\.\d+", cell)]


@pytest.fixture(scope="module")
def tables():
    """Data set, folder and text of each table 1 and 2."""
    found = []
    for folder in FOLDERS:
        for number, dataset in ((1, "mnist"), (2, "fashion-mnist")):
            path = RESULTS / folder / "tables" / f"table{number}.md"
            if path.exists():
                found.append((dataset, folder, path.read_text("utf-8")))
    return found


def test_scores_of_drawn_rows(tables):
    every = [(d, f, cells) for d, f, text in tables for cells in rows(text, 10) if cells[3] == "5"]
    assert len(every) > 60
    for dataset, folder, (_, codes, method, _, *cells) in draw(every, 12):
        for score, cell in zip(SCORES, cells, strict=False):
            values = list(seeds_of(folder, dataset, f"{codes}, {method}", score).values())
            assert len(values) == 5
            mean, spread = statistics.fmean(values), statistics.stdev(values)
            text = f"{mean:.3f} ± {spread:.3f} ({min(values):.3f}-{max(values):.3f})"
            assert cell == text, (folder, codes, method, score)


def test_drawn_parts():
    text = (RESULTS / "parts" / "tables" / "parts.md").read_text("utf-8")
    titles = {title: name for name, title in parts.TITLES.items()}
    checked = 0
    for dataset in parts.KNOWN:
        section = text.split(f"### {parts.NAMES[dataset]}\n")[1].split("\n### ")[0]
        header, _, *lines = [re.split(r" ?\| ?", li)[1:-1] for li in section.splitlines() if li]
        columns = {title: name for name, title in parts.COLUMNS.items()}
        for cells in draw(lines, 3):
            mine = [r for r in records("parts") if r["kind"] == "parts" and r["dataset"] == dataset]
            mine = [r["found"] for r in mine if r["method"] == titles[cells[0]]]
            assert len(mine) == int(cells[1])
            for title, cell in list(zip(header, cells, strict=True))[2:]:
                if title in columns and cell != "-":
                    values = [f[columns[title]] for f in mine if f[columns[title]] is not None]
                    middle = statistics.median if "median" in title else statistics.fmean
                    assert float(cell) == pytest.approx(middle(values), abs=5.1e-4)
                    checked += 1
    assert checked > 60


def best_cosines(dataset, names):
    """Return the largest cosine with the true parts by seed, of several methods."""
    found = {}
    for r in records("parts"):
        if r["kind"] == "parts" and r["dataset"] == dataset and r["method"] in names:
            best = max(r["found"]["cosine_decoded"], r["found"]["cosine_effects"])
            found[r["seed"]] = max(best, found.get(r["seed"], 0.0))
    return found


def test_every_measured_claim_of_the_page():
    """Of the folders in the last column, each row has its seeds from the one with the most."""
    text = (ROOT / "derivations" / "claims.md").read_text("utf-8")
    titles = {title: name for name, title in parts.TITLES.items()}
    pairs, claim = {}, ""
    for cells in rows(text.split("<!-- /experiments -->")[0], 9):
        claim = cells[0] or claim  # a line leaves out what stands in the line before it
        if cells[1]:
            data, where = cells[1], cells[8]
        first, _, second = cells[2].partition(" - ")
        if not second:  # the head, or a mean over several pairs
            continue
        if second.startswith("best control, "):
            dataset = second.removeprefix("best control, ")
            one = best_cosines(dataset, [titles[first]])
            other = best_cosines(dataset, parts.CONTROLS)
        else:
            dataset = {"MNIST": "mnist", "Fashion-MNIST": "fashion-mnist"}[data]
            one, other = (
                max((seeds_of(f, dataset, title, "acc") for f in where.split(", ")),
                    key=len)
                for title in (first, second)
            )  # fmt: skip
        pairs.setdefault((claim, data), []).append((cells, one, other))
    assert sum(map(len, pairs.values())) >= 15
    for rows_of_claim in pairs.values():
        seeds = set.intersection(*({*one} & {*other} for _, one, other in rows_of_claim))
        for cells, one, other in rows_of_claim:
            assert int(cells[5]) == len(seeds), cells[2]
            expected = interval([one[s] - other[s] for s in seeds])
            assert numbers(cells[3]) == pytest.approx(expected, abs=5.1e-4), cells[2]


FAST = ("pca", "samples", "rotated", "kmeans", "nmf", "nmf-best", "untrained")
SLOW = ("auto",)
"""A network, which trains for some seconds."""

KERNEL = "SkylakeX"
"""Kernel of OpenBLAS with which the records of parts were made; on it they come back bit for bit,
with one thread or two, with Numba or without."""

BAND = {"rel": 0.01, "abs": 0.05}
"""Tolerance for other kernels, which round differently.

With those of Haswell the records that we draw from differ by at most .025, because `samples` has
close calls in the assignment of parts, and PCA turns axes of almost equal variance. The network
differs by 7e-6 only. We allow twice the largest difference. The error of an untrained network is up
to 67, so it has a relative tolerance.
"""


@pytest.mark.parametrize("methods", [FAST, SLOW], ids=["fast", "network"])
def test_a_drawn_record_of_parts_is_run_again(tmp_path, methods):
    """Its numbers hold for the versions of the packages with which it was made."""
    every = [r for r in records("parts") if r["kind"] == "parts" and r["method"] in methods]
    every = [r for r in every if r["dataset"] in ("bars", "occluded", "spectra")]
    here = {n: versions()[n] for n in ("numpy", "scipy", "scikit-learn")}
    same = every[0]["versions"].items() >= here.items()
    if not same:
        every = [r for r in every if r["method"] == "samples"]  # depends on NumPy only
        if not every:
            pytest.skip("other versions of the packages")
    [record] = draw(every, 1)
    name, method, seed = (record[k] for k in ("dataset", "method", "seed"))
    print(f"run again: {record['name']}")
    store = Store(tmp_path)
    store.create()
    parts.one(store, name, method, seed, parts.samples_of(name, seed))
    [again] = store.load()[0]
    assert again["key"] == record["key"]
    known = {k: v for k, v in record["found"].items() if k != "stability"}
    kernels = {found.get("architecture") for found in threadpool_info()} - {None}
    band = {"rel": 1e-6, "abs": 1e-9} if same and kernels == {KERNEL} else BAND
    assert {k: again["found"][k] for k in known} == pytest.approx(known, **band)
