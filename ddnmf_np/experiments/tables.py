"""Tables 1 to 3 and the studies, as Markdown made from records."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from ddnmf_np.errors import DataError
from ddnmf_np.experiments.networks import (
    CLUSTERERS,
    COMPONENTS,
    MAPPED_MODELS,
    NETWORKS,
    NOISE_MODELS,
    STUDIES,
    TABLE_MODELS,
    TITLES,
    WIDEST_MIXTURE,
    Study,
    decided_by_data,
    make_config,
)
from ddnmf_np.experiments.records import Record, unpack_labels
from ddnmf_np.system.markdown import markdown

METRICS = ("acc", "nmi", "ari")
TABLES = {"table1": "mnist", "table2": "fashion-mnist"}
DATASET_TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
DEMO_EPOCHS = 300
"""Epochs of the authors' demo; the title of a table names them if the schedule is shorter."""
METHODS = {
    "kmeans": "k-means",
    "gmm-spherical": "GMM, spherical",
    "gmm-full": "GMM, full",
    "gmm-full-tsne": "GMM, full, on a t-SNE map",
    "gmm-full-umap": "GMM, full, on a UMAP map",
}
PAPER_ROWS = {
    "raw": 1, "nmf": 3, "ae2": 5, "ae2-nmf": 7, "ae1": 9, "ddnmf-paper": 11, "ddnmf-demo": 11,
}  # fmt: skip
"""Row of k-means on a representation in the paper's tables; the row of its mixture follows."""
QUANTITIES = {
    "loss_sym": "L_sym", "loss_ap": "L_ap", "loss_nc": "L_nc", "loss_rec": "L_rec",
    "error": "error", "scale": "code scale", "dead": "dead units",
}  # fmt: skip
"""Columns of `codes_of` in the table of a study, with their titles."""
CODE_MODELS = tuple(m for m in TABLE_MODELS if m in NETWORKS and NETWORKS[m].bottleneck)
"""Models of tables 1 and 2 whose codes are the few units of a trained network."""
NOTHING = "-"
"""Cell without a record, or for a network without this quantity."""

# -- notes below the tables ---------------------------------------------------------------

SCORES_NOTE = (
    "A seed's score is the mean over the starts of its clustering, as in the claims. Mean over "
    "seeds, standard deviation, and range (min-max). Over starts: standard deviation between the "
    "starts of a seed, mean over seeds, and range over all starts of all seeds. Likeliest start: "
    "ACC of the start with the best likelihood (k-means: inertia). BIC is of that start; lower is "
    "better, and only the two mixtures on the same codes can be compared. Labels are used for "
    f"scoring only. Mixtures of codes wider than {WIDEST_MIXTURE} are those of their first "
    f"{COMPONENTS} principal components. "
    'The two mixtures are both the paper\'s "GMM", which it does not specify; those on a map '
    "of the codes are not the paper's."
)
NOISE_NOTE = (
    "Mean over seeds ± standard deviation, at each rate of the noise in the training images; "
    "noisy test images have the same. A seed's score is the mean over the starts of its "
    "clustering. AE1 gets the noisy images and is trained to give the clean ones back."
)
CODES_NOTE = (
    "Dead units: those whose standard deviation over the test images is below 0.001, each seed in "
    "its order. Code scale: standard deviation of a unit over the test images, mean over the "
    "units; of it, mean over seeds ± standard deviation (range), and each seed."
)
STABILITY_NOTE = (
    "Stability, for which we need no labels: adjusted Rand index between the likeliest starts of "
    "two seeds, mean over all pairs. Images and their NMF are the same codes for every seed, so "
    "that theirs is that of the clusterer alone."
)
REPETITIONS_NOTE = (
    "Maps and images: mean over networks, maps and starts. The images are those of the test, or "
    "those of training and test together. ACC over maps: standard deviation between maps of the "
    "same codes with other random numbers, mean over the networks; over starts: that between the "
    "starts of the mixture on one map. Consensus (ACC / NMI / ARI): of the likeliest starts of a "
    "network's clusterings we keep the one with the largest mean adjusted Rand index to the "
    "others. This rule was written down before any such run, and sees no label."
)
LABEL_FREE_NOTE = (
    "Nothing in this table has seen a label. Mean over seeds ± standard deviation. Losses: in the "
    "last epoch, without their weights; those summed over features are in other units than those "
    "averaged. Error: mean squared difference of the student's output from clean test images. "
    "Code scale: standard deviation of a unit of H over the test images, mean over the units. "
    "Stability: adjusted Rand index between the likeliest starts of two seeds, mean over all "
    "pairs. Smallest cluster: share of the images in such a start, the least over seeds (GMM, "
    "full)."
)
STUDY_SCORES_NOTE = (
    "Every score in this table has seen the labels. A seed's score is the mean over the starts of "
    "its clustering; the last column has the start with the best likelihood. Mean over seeds, "
    "standard deviation, and range."
)

# -- records as frames --------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """Epochs and training images (None: not trained) and starts of the runs of one table."""

    epochs: int | None
    samples: int | None
    starts: int

    def covers(self, other: Budget) -> bool:
        """Return whether the other's runs fit into this table; untrained ones fit everywhere."""
        return (
            other.starts == self.starts
            and other.epochs in (None, self.epochs)
            and other.samples in (None, self.samples)
        )

    def __str__(self) -> str:
        trained = []
        if self.epochs is not None:
            demo = "" if self.epochs >= DEMO_EPOCHS else f" (the authors' demo: {DEMO_EPOCHS})"
            trained.append(f"networks trained for {self.epochs} epochs{demo}")
        images = [] if self.samples is None else [f"{self.samples:,} training images"]
        return ", ".join([*trained, *images, f"{self.starts} starts of each clustering"])


class Row(NamedTuple):
    """Properties that the seeds of one line of a table share."""

    model: str
    noise_rate: float
    images: str
    method: str

    @property
    def title(self) -> str:
        """The codes and the clusterer."""
        return f"{TITLES[self.model]}, {METHODS[self.method]}"

    @property
    def noise_title(self) -> str:
        """The codes, the rate of the noise, the test images and the clusterer, for table 3."""
        codes = f"{TITLES[self.model]}, {self.noise_rate:.0%}, {self.images}"
        return f"{codes}, {METHODS[self.method]}"


Scores = Mapping[Row, pd.DataFrame]
"""Clusterings by row; the index of each frame is the seed."""

PLAIN = ("key", "dataset", *Row._fields, "seed", "n_test")
_COLUMNS = (
    *(*PLAIN, "text", "budget", "codes", "assignment", "bic", "degenerate", "smallest"),
    *("folder", "likeliest", "low", "high"),
    *(f"{metric}_{of}" for metric in METRICS for of in ("mean", "std")),
)


def frame_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return one line per clustering, with the columns that the tables need.

    The score of a clustering is the mean over its starts (``acc_mean`` and so on). ``likeliest`` is
    the ACC of the start with the best likelihood, which ``bic`` and ``assignment`` belong to, too.
    """
    lines = []
    for r in records:
        if r["kind"] != "clustering" or r.get("again") or r["images"] == "all":
            continue  # for the last two see `repetitions`
        result, starts = r["result"], r["result"]["spread"]
        line = {name: r[name] for name in PLAIN} | {"likeliest": result["acc"]}
        line |= {f"{m}_{of}": starts[m][of] for m in METRICS for of in ("mean", "std")}
        line |= {"low": starts["acc"]["min"], "high": starts["acc"]["max"], "bic": result["bic"]}
        line["degenerate"] = bool(result["degenerate"])
        line["text"] = " / ".join(f"{starts[metric]['mean']:.3f}" for metric in METRICS)
        line["text"] += " *" if result["degenerate"] else ""
        line["smallest"] = min(result["cluster_sizes"]) / r["n_test"]
        line["budget"] = Budget(r["epochs"], r["samples"], r["starts"])
        line["folder"] = r.get("folder", "")  # of several folders that are read at once
        line["codes"], line["assignment"] = r["identity"].get("codes"), r.get("assignment")
        lines.append(line)
    return pd.DataFrame(lines, columns=list(_COLUMNS)).astype({"bic": float, "budget": object})


def codes_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return one line for the codes of each network, with the columns that the tables need.

    The scale is the standard deviation of a unit over the test images, averaged over the units.
    """
    place = ["key", "dataset", "model", "noise_rate", "seed", "epochs", "samples"]
    lines = []
    for r in records:
        if r["kind"] == "codes":
            stds, errors = r["code"]["unit_std"], r["reconstruction_error"]
            line = {name: r[name] or 0 for name in place} | r["losses"]
            line |= {"dead": r["code"]["dead_units"], "units": len(stds), "scale": np.mean(stds)}
            # DDNMF has errors of student and supervisor, an auto-encoder only one.
            line["error"] = errors.get("student_clean", errors.get("clean"))
            lines.append(line)
    return pd.DataFrame(lines, columns=[*place, *QUANTITIES, "units"])


def lines_of(frame: pd.DataFrame, dataset: str, models: Collection[str]) -> pd.DataFrame:
    """Return the lines of some models on a data set."""
    return frame[(frame["dataset"] == dataset) & frame["model"].isin([*models])]


def budgets(frame: pd.DataFrame) -> list[Budget]:
    """Return the budgets of the clusterings, the largest last."""
    found = set(frame["budget"])
    widest = [b for b in found if not any(b != other and other.covers(b) for other in found)]
    return sorted(widest, key=lambda b: (b.epochs or 0, b.samples or 0, b.starts))


def at_budget(frame: pd.DataFrame, budget: Budget) -> pd.DataFrame:
    """Return the clusterings that belong to a budget."""
    return frame.loc[[budget.covers(other) for other in frame["budget"]]]


def collect(frame: pd.DataFrame, budget: Budget) -> Scores:
    """Return the clusterings of one data set at a budget.

    Raises `DataError` if two records claim the same place: a table cannot show both.
    """
    frame = at_budget(frame, budget)
    place = [*Row._fields, "seed"]
    twins = frame[frame.duplicated(place, keep=False)].sort_values(place, kind="stable")
    if len(twins):
        one = twins.iloc[0]
        raise DataError(
            f"records {one['key']} and {twins['key'].iloc[1]} are both {one['model']}, "
            f"{one['method']}, seed {one['seed']} on {one['dataset']}, with other options; remove "
            "one of the two lines, or use a folder for each"
        )
    groups = frame.groupby(list(Row._fields))
    return {Row(*place): group.set_index("seed").sort_index() for place, group in groups}


@cache
def table_noise(model: str) -> float:
    """Return the rate of the training noise that a network has in tables 1 and 2."""
    if model not in NETWORKS:
        return 0.0
    config = make_config(model, {})
    return 0.0 if config.noise.kind == "none" or decided_by_data(model) else config.noise.rate


def table_row(model: str, method: str) -> Row:
    """Return a row of table 1 or 2, or of a study."""
    return Row(model, table_noise(model), "clean", method)


def table_budgets(frame: pd.DataFrame, dataset: str) -> list[Budget]:
    """Return the budgets of tables 1 and 2.

    Table 3 leaves rows of tables 1 and 2 too: DDNMF at one of its rates. We leave out a budget
    with no other rows, if another budget of the same length has them.
    """
    frame = lines_of(frame, dataset, TABLE_MODELS)
    found = budgets(frame)
    rates = {model: table_noise(model) for model in TABLE_MODELS}
    of_table = (frame["images"] == "clean") & (frame["noise_rate"] == frame["model"].map(rates))
    trained = [budget.epochs is not None for budget in frame["budget"]]
    with_rows, of_noise_alone = set(), set()
    for budget in found:
        runs = at_budget(frame.loc[trained], budget)
        rows = runs[of_table[runs.index]]
        noise = runs[~of_table[runs.index] & runs["model"].isin(NOISE_MODELS)]
        if len(rows):
            with_rows.add(budget)
        if len(noise) and rows["model"].isin(NOISE_MODELS).all():
            of_noise_alone.add(budget)
    lengths = {budget.epochs for budget in with_rows - of_noise_alone}
    return [b for b in found if b not in of_noise_alone or b.epochs not in lengths]


# -- rendering ----------------------------------------------------------------------------


def render(name: str, records: Sequence[Record], *, short: bool = False) -> str:
    """Return table 1, 2 or 3, or that of a study, as Markdown; empty without records.

    It has a section for each data set and budget in the records. ``short`` leaves out the values of
    each seed, the codes and the stability.
    """
    frame = frame_of(records)
    parts: list[str] = []
    if name in TABLES:
        found = table_budgets(frame, TABLES[name])
        rows = lines_of(frame, TABLES[name], TABLE_MODELS)
        for budget in found:
            parts += _scores_table(name, collect(rows, budget), budget)[: 3 if short else None]
        if parts and not short:
            shown = {(budget.epochs, budget.samples) for budget in found}
            codes = codes_of(r for r in records if (r["epochs"], r["samples"]) in shown)
            parts += [CODES_NOTE, code_table(codes, TABLES[name])]
            parts += [STABILITY_NOTE, stability_table(frame, TABLES[name])]
        if table := repetitions(records, TABLES[name]):
            parts += [table, REPETITIONS_NOTE]
    else:
        models = STUDIES[name].variants if name in STUDIES else NOISE_MODELS
        for dataset in DATASET_TITLES:
            rows = lines_of(frame, dataset, models)
            for budget in budgets(rows):
                scores = collect(rows, budget)
                if name in STUDIES:
                    section = _study(STUDIES[name], budget, scores, codes_of(records))
                    parts += section[: 5 if short else None]
                else:
                    parts += _noise_table(scores, budget)[: 3 if short else None]
    return "\n\n".join(parts) + "\n" if parts else ""


# -- tables 1 and 2 -----------------------------------------------------------------------


def table_rows(scores: Scores) -> dict[Row, str]:
    """Return the rows of table 1 or 2 that have scores, with the numbers of the paper's rows."""
    found = {}
    for model in TABLE_MODELS:
        for method in METHODS:
            if (row := table_row(model, method)) in scores:
                of_paper = model in PAPER_ROWS and method in CLUSTERERS
                found[row] = str(PAPER_ROWS[model] + (method != "kmeans")) if of_paper else ""
    return found


def _scores_table(name: str, scores: Scores, budget: Budget) -> list[str]:
    rows = table_rows(scores)
    if not rows:
        return []
    header = ["row", "codes", "clustered by", "seeds", *map(str.upper, METRICS)]
    header += ["ACC over starts", "ACC, likeliest start", "BIC / 1000"]
    lines, over_starts = [], []
    for row, number in rows.items():
        seeds, names = scores[row], [TITLES[row.model], METHODS[row.method]]
        bic = seeds["bic"].dropna()
        deviation = [f"{seeds[f'{metric}_std'].mean():.3f}" for metric in METRICS]
        over_starts.append([*names, *deviation])
        line = [number, *names, str(len(seeds)), *_scores(seeds)]
        line += [f"± {deviation[0]} ({seeds['low'].min():.3f}-{seeds['high'].max():.3f})"]
        line.append(mean_of(seeds["likeliest"]))
        lines.append([*line, f"{bic.mean() / 1000:.1f}" if len(bic) else ""])
    return [
        _title(f"Table {name.removeprefix('table')}: ", scores[next(iter(rows))], budget),
        markdown(header, lines),
        SCORES_NOTE,
        _preferred(scores, rows),
        "Each seed (ACC / NMI / ARI):",
        _per_seed({row.title: scores[row] for row in rows}),
        "Standard deviation over the starts of one clustering, mean over seeds:",
        markdown(["codes", "clustered by", *map(str.upper, METRICS)], over_starts),
    ]


def _title(what: str, seeds: pd.DataFrame, budget: Budget, more: str = "") -> str:
    dataset, n_test = seeds["dataset"].iloc[0], seeds["n_test"].iloc[0]
    return f"### {what}{DATASET_TITLES[dataset]}{more}, {n_test:,} test images; {budget}"


def _preferred(scores: Scores, rows: Iterable[Row]) -> str:
    """Return a sentence about the mixture that BIC prefers for each representation."""
    said = []
    for model in dict.fromkeys(row.model for row in rows):
        mixtures = [table_row(model, method) for method in ("gmm-full", "gmm-spherical")]
        if all(row in scores for row in mixtures):
            full, spherical = (scores[row]["bic"] for row in mixtures)
            if len(less := (full - spherical).dropna()):
                said.append(f"{TITLES[model]} {(less < 0).sum()} of {len(less)}")
    return f"BIC prefers full covariances to spherical ones: {'; '.join(said)}." if said else ""


def _per_seed(rows: Mapping[str, pd.DataFrame]) -> str:
    """Return a table with every score of every seed."""
    cells = pd.DataFrame({title: seeds["text"] for title, seeds in rows.items()}).sort_index()
    header = ["", *(f"seed {seed}" for seed in cells.index)]
    text = markdown(header, cells.T.fillna(NOTHING).itertuples(name=None))
    if any(seeds["degenerate"].any() for seeds in rows.values()):
        text += "\n\n\\* collapsed codes or empty clusters: the record says which."
    return text


def code_table(codes: pd.DataFrame, dataset: str) -> str:
    """Return dead units and code scale of each network, see `CODES_NOTE`; empty without records."""
    place = ["model", "epochs", "samples"]
    codes = lines_of(codes, dataset, CODE_MODELS)
    codes = codes[codes["noise_rate"] == codes["model"].map(table_noise)]
    codes = codes.drop_duplicates([*place, "seed"], keep="last").sort_values("seed")
    codes = codes.assign(model=pd.Categorical(codes["model"], list(CODE_MODELS)))
    lines = []
    for (model, epochs, samples), seeds in codes.groupby(place, observed=True):
        cells = [TITLES[model], str(epochs), f"{samples:,}", str(len(seeds))]
        cells += [", ".join(map(str, seeds["dead"])), str(seeds["units"].iloc[0])]
        cells += [summary(seeds["scale"]), ", ".join(f"{scale:.3f}" for scale in seeds["scale"])]
        lines.append(cells)
    header = ["codes", "epochs", "training images", "seeds", "dead units", "of", "code scale"]
    return markdown([*header, "code scale, each seed"], lines) if lines else ""


def stability(assignments: Sequence[npt.ArrayLike]) -> float | None:
    """Return the mean adjusted Rand index over all pairs of clusterings, or None without pairs."""
    pairs = [float(adjusted_rand_score(a, b)) for a, b in combinations(assignments, 2)]
    return math.fsum(pairs) / len(pairs) if pairs else None


def stability_of(seeds: pd.DataFrame | None) -> str:
    """Return the stability of a row's clusterings as text; a hyphen below two seeds."""
    if seeds is None:
        return NOTHING
    packed = seeds[["assignment", "n_test"]].dropna().itertuples(index=False)
    found = stability([unpack_labels(*one) for one in packed])
    return NOTHING if found is None else f"{found:z.3f}"


def stability_table(frame: pd.DataFrame, dataset: str) -> str:
    """Return the stability of each row of table 1 or 2, see `STABILITY_NOTE`.

    The table has a line for each representation and budget, and a column for each clusterer in the
    records; the text is empty without records.
    """
    of_data = lines_of(frame, dataset, TABLE_MODELS)
    methods = [method for method in METHODS if method in set(of_data["method"])]
    lines = []
    for budget in table_budgets(frame, dataset):
        scores = collect(of_data, budget)
        rows = table_rows(scores)
        for model in dict.fromkeys(row.model for row in rows):
            found = {row.method: scores[row] for row in rows if row.model == model}
            own = list(dict.fromkeys(b for seeds in found.values() for b in seeds["budget"]))
            trained = dict.fromkeys(NOTHING if b.epochs is None else str(b.epochs) for b in own)
            on = dict.fromkeys(NOTHING if b.samples is None else f"{b.samples:,}" for b in own)
            cells = [stability_of(found.get(method)) for method in methods]
            lines.append([TITLES[model], ", ".join(trained), ", ".join(on), *cells])
    header = ["codes", "epochs", "training images", *(METHODS[method] for method in methods)]
    return markdown(header, lines) if lines else ""


def repetitions(records: Iterable[Record], dataset: str) -> str:
    """Return a table of maps with several seeds and of all images, see `REPETITIONS_NOTE`.

    It has a line for each network, length, kind of images and clusterer of which one clustering was
    repeated or has all images; the text is empty without any.
    """
    place = ["model", "epochs", "images", "method", "samples", "noise_rate"]
    runs = pd.DataFrame(
        {name: r.get(name) for name in (*place, "seed", "n_test", "assignment")}
        | {metric: r["result"]["spread"][metric]["mean"] for metric in METRICS}
        | {f"likeliest_{metric}": r["result"][metric] for metric in METRICS}
        | {"again": r.get("again", 0), "starts": r["result"]["spread"]["acc"]["std"]}
        for r in records
        if (r["kind"], r["dataset"]) == ("clustering", dataset) and r["model"] in MAPPED_MODELS
    )
    if runs.empty:
        return ""
    runs = runs.drop_duplicates([*place, "seed", "again"], keep="last")
    lines = []
    for (model, epochs, images, method, *_), every in runs.sort_values("again").groupby(place):
        seeds = every.groupby("seed")
        maps = seeds.size().max()
        if images == "noisy" or (images == "clean" and maps == 1):
            continue
        chosen = pd.DataFrame([own.iloc[medoid(own.to_dict("records"))] for _, own in seeds])
        cells = [TITLES[model], str(epochs), f"{every['n_test'].iloc[0]:,}", METHODS[method]]
        cells += [str(len(seeds)), str(maps)]
        cells += [f"{seeds[metric].mean().mean():.3f}" for metric in METRICS]
        spread = f"{seeds['acc'].std().mean():.3f}" if maps > 1 else NOTHING
        cells += [spread, f"{every['starts'].mean():.3f}"]
        consensus = chosen[[f"likeliest_{metric}" for metric in METRICS]].mean()
        cells.append(" / ".join(f"{score:.3f}" for score in consensus))
        lines.append(cells)
    header = ["codes", "epochs", "images", "clustered by", "networks", "maps"]
    header += [*map(str.upper, METRICS), "ACC over maps", "ACC over starts", "consensus"]
    return markdown(header, lines) if lines else ""


def medoid(runs: Sequence[Record]) -> int:
    """Return the index of the clustering that agrees best with the others (mean ARI), or 0."""
    labels = [unpack_labels(r["assignment"], r["n_test"]) for r in runs]
    agreement = [
        sum(adjusted_rand_score(one, other) for other in labels if other is not one)
        for one in labels
    ]
    return int(np.argmax(agreement))


# -- table 3 ------------------------------------------------------------------------------


def noise_rows(scores: Scores) -> list[Row]:
    """Return the rows of table 3 that have scores."""
    if not any(row.images == "noisy" for row in scores):
        return []  # a run of table 1 has clean images only
    methods = list(METHODS)
    return sorted(
        (row for row in scores if row.model in NOISE_MODELS and row.noise_rate > 0.0),
        key=lambda row: (
            *(row.images, methods.index(row.method)),
            *(row.noise_rate, NOISE_MODELS.index(row.model)),
        ),
    )


def _noise_table(scores: Scores, budget: Budget) -> list[str]:
    rows = noise_rows(scores)
    if not rows:
        return []
    rates = sorted({row.noise_rate for row in rows})
    acc, *others = (_by_rate(scores, rows, rates, metric) for metric in METRICS)
    header = ["test images", "clustered by", "noise", "network", "seeds", *map(str.upper, METRICS)]
    ranges = []
    for row in rows:
        cells = [row.images, METHODS[row.method], f"{row.noise_rate:.0%}", TITLES[row.model]]
        cells += [str(len(scores[row])), *_scores(scores[row])]
        ranges.append(cells)
    return [
        _title("Table 3: ", scores[rows[0]], budget, ", noise in the training images"),
        acc,
        NOISE_NOTE,
        *others,
        "With ranges (min-max):",
        markdown(header, ranges),
        "Each seed (ACC / NMI / ARI):",
        _per_seed({row.noise_title: scores[row] for row in rows}),
    ]


def _by_rate(scores: Scores, rows: list[Row], rates: list[float], metric: str) -> str:
    """Return one score of every network, with a column for each rate."""
    lines = []
    for first in dict.fromkeys(row._replace(noise_rate=rates[0]) for row in rows):
        at = [scores.get(first._replace(noise_rate=rate)) for rate in rates]
        counts = [len(seeds) for seeds in at if seeds is not None]
        cells = [first.images, METHODS[first.method], TITLES[first.model]]
        cells.append("-".join(dict.fromkeys((str(min(counts)), str(max(counts))))))
        cells += [NOTHING if seeds is None else mean_of(seeds[f"{metric}_mean"]) for seeds in at]
        lines.append(cells)
    header = ["test images", "clustered by", f"{metric.upper()} of", "seeds"]
    return markdown([*header, *(f"{rate:.0%}" for rate in rates)], lines)


# -- studies ------------------------------------------------------------------------------


def _study(study: Study, budget: Budget, scores: Scores, codes: pd.DataFrame) -> list[str]:
    label_free, scored, each = [], [], {}
    for model, network in study.variants.items():
        full, spherical = (
            scores.get(table_row(model, method)) for method in ("gmm-full", "gmm-spherical")
        )
        # Codes have no starts: the codes of this budget are those that its clusterings name.
        keys: dict[int, str] = {}
        for seeds in (spherical, full):
            keys |= {} if seeds is None else dict(seeds["codes"])
        if not keys:
            continue
        own = codes[(codes["model"] == model) & codes["key"].isin(list(keys.values()))]
        cells = [network.title, str(len(keys)), *(_number(own[name]) for name in QUANTITIES)]
        cells += [stability_of(full), stability_of(spherical)]
        cells.append(NOTHING if full is None else f"{full['smallest'].min():.1%}")
        label_free.append(cells)
        cells = [NOTHING] * len(METRICS) if full is None else _scores(full)
        cells.append(NOTHING if spherical is None else summary(spherical["acc_mean"]))
        cells.append(NOTHING if full is None else mean_of(full["likeliest"]))
        scored.append([network.title, *cells])
        if full is not None:
            each[network.title] = full
    header = ["variant", "seeds", *QUANTITIES.values(), "stability (GMM, full)"]
    header += ["stability (GMM, spherical)", "smallest cluster"]
    columns = [f"{metric.upper()} ({METHODS['gmm-full']})" for metric in METRICS]
    columns += [f"ACC ({METHODS['gmm-spherical']})", "ACC, likeliest start (GMM, full)"]
    return [
        _title(f"{study.title}: ", next(iter(scores.values())), budget),
        markdown(header, label_free),
        LABEL_FREE_NOTE,
        markdown(["variant", *columns], scored),
        STUDY_SCORES_NOTE,
        f"Each seed ({METHODS['gmm-full']}; ACC / NMI / ARI):",
        _per_seed(each),
    ]


# -- text ---------------------------------------------------------------------------------


def _number(found: pd.Series) -> str:
    found = found.dropna().astype(float)
    if found.empty:
        return NOTHING
    return f"{found.mean():.3g}" + (f" ± {found.std():.1g}" if len(found) > 1 else "")


def _scores(seeds: pd.DataFrame) -> list[str]:
    """Return a cell for each score of a row."""
    return [summary(seeds[f"{metric}_mean"]) for metric in METRICS]


def summary(found: pd.Series) -> str:
    """Return mean ± standard deviation (range) of scores."""
    return mean_of(found) + (f" ({found.min():.3f}-{found.max():.3f})" if len(found) > 1 else "")


def mean_of(found: pd.Series) -> str:
    """Return mean ± standard deviation of scores."""
    return f"{found.mean():.3f}" + (f" ± {found.std():.3f}" if len(found) > 1 else "")
