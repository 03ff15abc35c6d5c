"""Tables 1 to 3 and the claims of section 4.4, as Markdown: a pure function of the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ddnmf_np.errors import DataError
from ddnmf_np.experiments.baselines import (
    CLUSTERERS,
    COMPONENTS,
    NETWORKS,
    TITLES,
    WIDEST_MIXTURE,
    make_config,
)
from ddnmf_np.experiments.networks import MAPPED_MODELS, NOISE_MODELS, TABLE_MODELS
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.starts import within_seed_std
from ddnmf_np.experiments.statistics import Difference, compare, spread

METRICS = ("acc", "nmi", "ari")
TABLES = {"table1": "mnist", "table2": "fashion-mnist"}
DATASET_TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
DEMO_EPOCHS = 300
"""Of the authors' demo; a table of a shorter schedule says so in its title."""
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
"""The row of the paper's tables that k-means on a representation is; a mixture's is the next.

What is not here is no row of the paper's.
"""
BEST = {
    "ddnmf-paper": "DDNMF is the best",
    "ddnmf-demo": "DDNMF is the best",
    "ddnmf-stable": "the preset stable is better still",
}
"""What is said to be the best of tables 1 and 2, and the words for it.

Each is compared with all that are not here, and with those above it of which other words are said.
"""


@dataclass(frozen=True)
class Budget:
    """What runs must have in common to stand in one table.

    Parameters
    ----------
    epochs : int or None
        Of the networks; None where none has been trained.
    samples : int or None
        Training images.
    starts : int
        Of each clustering.
    """

    epochs: int | None
    samples: int | None
    starts: int

    @classmethod
    def of(cls, record: Record) -> Budget:
        """Return that of a clustering."""
        return cls(record["epochs"], record["samples"], record["starts"])

    def covers(self, other: Budget) -> bool:
        """Return whether runs of the other belong here; what is not trained belongs everywhere."""
        return (
            other.starts == self.starts
            and other.epochs in (None, self.epochs)
            and other.samples in (None, self.samples)
        )

    def __str__(self) -> str:
        trained = []
        if self.epochs is not None:
            of = "" if self.epochs >= DEMO_EPOCHS else f" (the authors' demo: {DEMO_EPOCHS})"
            trained.append(f"networks trained for {self.epochs} epochs{of}")
        images = [] if self.samples is None else [f"{self.samples:,} training images"]
        return ", ".join([*trained, *images, f"best of {self.starts} starts by objective"])


@dataclass(frozen=True, order=True)
class Row:
    """What the seeds of one line of a table share."""

    model: str
    noise_rate: float
    images: str
    method: str


Scores = dict[Row, dict[int, Record]]
"""Clusterings by row and seed."""


def of_models(records: Iterable[Record], models: Collection[str]) -> list[Record]:
    """Return the records of some representations; what others there are is no part of a table."""
    return [record for record in records if record["model"] in models]


def budgets(records: Iterable[Record], dataset: str | None = None) -> list[Budget]:
    """Return every budget there are clusterings of, the largest last."""
    found = {
        Budget.of(r)
        for r in records
        if r["kind"] == "clustering" and dataset in (None, r["dataset"])
    }
    widest = [b for b in found if not any(b != other and other.covers(b) for other in found)]
    return sorted(widest, key=lambda b: (b.epochs or 0, b.samples or 0, b.starts))


def table_budgets(records: Iterable[Record], dataset: str) -> list[Budget]:
    """Return the budgets of tables 1 and 2.

    A budget of table 3 alone is left out: at one of its rates DDNMF is a row of tables 1 and 2,
    too, perhaps with fewer training images than that row has there.
    """
    scored = [r for r in records if r["kind"] == "clustering" and r["dataset"] == dataset]
    found = budgets(of_models(scored, TABLE_MODELS), dataset)
    trained: dict[Budget, set[str]] = {budget: set() for budget in found}
    of_noise: set[Budget] = set()
    for record in scored:
        model = record["model"]
        in_table = model in TABLE_MODELS and (
            (record["images"], record["noise_rate"]) == ("clean", table_noise(model))
        )
        for budget in found:
            if record["epochs"] is None or not budget.covers(Budget.of(record)):
                continue
            if in_table:
                trained[budget].add(model)
            elif model in NOISE_MODELS:
                of_noise.add(budget)

    def is_of_noise_alone(budget: Budget) -> bool:
        models = trained[budget]
        return (
            budget in of_noise
            and models <= {*NOISE_MODELS}
            # And there is a table 1 of that length with other images or starts. Nothing is lost:
            # these clusterings of clean images stand in table 3.
            and any(
                trained[b] and not (b in of_noise and trained[b] <= {*NOISE_MODELS})
                for b in found
                if b.epochs == budget.epochs
            )
        )

    return [budget for budget in found if not is_of_noise_alone(budget)]


def collect(records: Iterable[Record], dataset: str, budget: Budget) -> Scores:
    """Return the clusterings of a data set at a budget.

    Raises
    ------
    DataError
        If two records claim the same place: their options differ, and a table cannot tell which
        of the two it is about.
    """
    scores: Scores = {}
    for record in records:
        if record["kind"] != "clustering" or record["dataset"] != dataset:
            continue
        if not budget.covers(Budget.of(record)):
            continue
        row = Row(record["model"], record["noise_rate"], record["images"], record["method"])
        seeds = scores.setdefault(row, {})
        other = seeds.setdefault(record["seed"], record)
        if other is not record:
            raise DataError(
                f"records {other['key']} and {record['key']} are both {record['model']}, "
                f"{record['method']}, seed {record['seed']} on {dataset}, with other options; "
                "remove one of them (its file, or its packed line), or use a folder for each"
            )
    return scores


def table_noise(model: str) -> float:
    """Return the rate of the training noise that a network has in tables 1 and 2."""
    if model not in NETWORKS:
        return 0.0
    config = make_config(model, {})
    return 0.0 if config.noise_kind == "none" else config.noise_rate


def values(seeds: dict[int, Record], metric: str) -> dict[int, float]:
    """Return a score by seed."""
    return {seed: record["result"][metric] for seed, record in sorted(seeds.items())}


def render(name: str, records: Sequence[Record], *, short: bool = False) -> str:
    """Return a table; a section for each budget that there are records of.

    Parameters
    ----------
    name : {"table1", "table2", "table3"}
        Which.
    records : sequence of Record
        All there are; those of other tables are left out.
    short : bool
        Without the values of each seed and the claims.

    Returns
    -------
    str
        Markdown; empty if there is no record for it.
    """
    parts: list[str] = []
    records = of_models(records, TABLE_MODELS if name in TABLES else NOISE_MODELS)
    if name in TABLES:
        for budget in table_budgets(records, TABLES[name]):
            scores = collect(records, TABLES[name], budget)
            parts += _scores_table(name, TABLES[name], scores, budget)[: 3 if short else None]
    else:
        for dataset in DATASET_TITLES:
            for budget in budgets(records, dataset):
                scores = collect(records, dataset, budget)
                parts += _noise_table(dataset, scores, budget)[: 3 if short else None]
    return "\n\n".join(parts) + "\n" if parts else ""


# -- tables 1 and 2 -----------------------------------------------------------------------


def table_rows(scores: Scores) -> list[tuple[str, Row]]:
    """Return the rows of table 1 or 2 that there are scores of, each with the paper's number."""
    found = []
    for model in TABLE_MODELS:
        first = PAPER_ROWS.get(model)
        for method in METHODS:
            row = Row(model, table_noise(model), "clean", method)
            if row in scores:
                number = ""
                if first is not None and method in CLUSTERERS:
                    number = str(first + (method != "kmeans"))
                found.append((number, row))
    return found


def _scores_table(name: str, dataset: str, scores: Scores, budget: Budget) -> list[str]:
    rows = table_rows(scores)
    if not rows:
        return []
    n_test = next(iter(scores[rows[0][1]].values()))["n_test"]
    title = (
        f"### Table {name.removeprefix('table')}: {DATASET_TITLES[dataset]}, {n_test:,} test "
        f"images; {budget}"
    )
    header = ["row", "codes", "clustered by", "seeds", *map(str.upper, METRICS)]
    header += ["ACC over starts", "BIC / 1000"]
    lines = []
    for number, row in rows:
        seeds = scores[row]
        cells = [number, TITLES[row.model], METHODS[row.method], str(len(seeds))]
        cells += [summary(list(values(seeds, metric).values())) for metric in METRICS]
        starts = [record["result"]["spread"]["acc"] for record in seeds.values()]
        low, high = min(s["min"] for s in starts), max(s["max"] for s in starts)
        cells.append(f"± {within_seed_std(seeds.values())['acc']:.3f} ({low:.3f}-{high:.3f})")
        bic = [r["result"]["bic"] for r in seeds.values() if r["result"]["bic"] is not None]
        cells.append(f"{spread(bic).mean / 1000:.1f}" if bic else "")
        lines.append(cells)
    note = (
        "Mean over seeds, standard deviation, and range (min-max). Of the starts of a clustering, "
        "the one with the best likelihood (k-means: inertia) is kept; labels choose nothing. "
        "Over starts: standard deviation between the starts of a seed, mean over seeds, and range "
        "over all starts of all seeds. "
        "BIC: lower is better, and only the two mixtures on the same codes can be compared. "
        f"Mixtures of codes wider than {WIDEST_MIXTURE} are those of their first {COMPONENTS} "
        "principal components. "
        'The two mixtures are both the paper\'s "GMM", which it does not specify; those on a map '
        "of the codes are not the paper's."
    )
    return [
        title,
        markdown(header, lines),
        note,
        _preferred(scores, rows),
        "Each seed (ACC / NMI / ARI):",
        per_seed([(f"{TITLES[r.model]}, {METHODS[r.method]}", scores[r]) for _, r in rows]),
        "Standard deviation over the starts of one clustering, mean over seeds:",
        _over_starts(scores, rows),
        _claims(scores),
    ]


def _over_starts(scores: Scores, rows: list[tuple[str, Row]]) -> str:
    """Return how far the starts of a clustering are apart, which seeds do not add to."""
    lines = []
    for _, row in rows:
        found = within_seed_std(scores[row].values())
        cells = [TITLES[row.model], METHODS[row.method]]
        lines.append([*cells, *(f"{found[metric]:.3f}" for metric in METRICS)])
    return markdown(["codes", "clustered by", *map(str.upper, METRICS)], lines)


def _preferred(scores: Scores, rows: list[tuple[str, Row]]) -> str:
    """Say which mixture BIC prefers for each representation."""
    said = []
    for model in dict.fromkeys(row.model for _, row in rows):
        full, spherical = (
            scores.get(Row(model, table_noise(model), "clean", method), {})
            for method in ("gmm-full", "gmm-spherical")
        )
        both = full.keys() & spherical.keys()
        if both:
            wins = sum(full[s]["result"]["bic"] < spherical[s]["result"]["bic"] for s in both)
            said.append(f"{TITLES[model]} {wins} of {len(both)}")
    return f"BIC prefers full covariances to spherical ones: {'; '.join(said)}." if said else ""


def per_seed(rows: Sequence[tuple[str, dict[int, Record]]]) -> str:
    """Return every score of every seed."""
    seeds = sorted({seed for _, found in rows for seed in found})
    lines = []
    for title, found in rows:
        cells = [title]
        for seed in seeds:
            if seed not in found:
                cells.append("-")
                continue
            result = found[seed]["result"]
            mark = " *" if result["degenerate"] else ""
            cells.append(" / ".join(f"{result[metric]:.3f}" for metric in METRICS) + mark)
        lines.append(cells)
    text = markdown(["", *(f"seed {seed}" for seed in seeds)], lines)
    if any(record["result"]["degenerate"] for _, found in rows for record in found.values()):
        text += "\n\n\\* collapsed codes or empty clusters: the record says which."
    return text


@dataclass(frozen=True)
class Claim:
    """A statement of section 4.4: the first is better than the second.

    Parameters
    ----------
    text : str
        In a few words.
    better, worse : Row
        The two.
    """

    text: str
    better: Row
    worse: Row


def claims() -> Iterator[Claim]:
    """Yield the claims that section 4.4 makes of tables 1 and 2, and those of this project."""

    def row(model: str, method: str) -> Row:
        return Row(model, table_noise(model), "clean", method)

    for method in CLUSTERERS:
        yield Claim("AE2 codes beat images", row("ae2", method), row("raw", method))
        yield Claim("... with NMF on both", row("ae2-nmf", method), row("nmf", method))
    for method in CLUSTERERS:
        yield Claim("NMF lowers the scores of images", row("raw", method), row("nmf", method))
        yield Claim("... and those of AE2", row("ae2", method), row("ae2-nmf", method))
    for model in TABLE_MODELS:
        for method in CLUSTERERS[1:]:
            yield Claim("GMM beats k-means", row(model, method), row(model, "kmeans"))
    for model in MAPPED_MODELS:
        for mapped in (m for m in METHODS if m not in CLUSTERERS):
            yield Claim("a map helps", row(model, mapped), row(model, "gmm-full"))
    best = [model for model in TABLE_MODELS if model in BEST]
    for number, model in enumerate(best):
        others = [other for other in TABLE_MODELS if other not in BEST]
        others += [other for other in best[:number] if BEST[other] != BEST[model]]
        for other in others:
            for clusterer in METHODS:
                yield Claim(BEST[model], row(model, clusterer), row(other, clusterer))


def _claims(scores: Scores) -> str:
    return _claims_table(claims(), scores, lambda row: TITLES[row.model])


def _claims_table(asked: Iterable[Claim], scores: Scores, describe: Callable[[Row], str]) -> str:
    header = ["claim", "first", "second", "pairs", *map(str.upper, METRICS), "so?"]
    lines = []
    for claim in asked:
        if claim.better not in scores or claim.worse not in scores:
            continue
        one, other = scores[claim.better], scores[claim.worse]
        found = [compare(values(one, m), values(other, m)) for m in METRICS]
        known = [d for d in found if d is not None]
        if len(known) < len(METRICS):
            continue
        verdicts = {d.verdict for d in known}
        lines.append(
            [
                claim.text,
                f"{describe(claim.better)}, {METHODS[claim.better.method]}",
                f"{describe(claim.worse)}, {METHODS[claim.worse.method]}",
                str(known[0].n),
                *(_difference(d) for d in known),
                verdicts.pop() if len(verdicts) == 1 else "open",
            ]
        )
    so = Counter(line[-1] for line in lines)
    return (
        "Is the one better than the other? Mean difference over the seeds, its 95 % interval by "
        "Student's t (which decides: yes or no where it leaves out 0 for all three scores), the "
        "bootstrap's in braces (with few seeds too short), and p of Wilcoxon's signed-rank test "
        "(with five seeds it cannot be below 0.0625). Nothing is corrected for the number of "
        f"comparisons, {len(lines)} with {len(METRICS)} scores each: {so['yes']} yes, {so['no']} "
        f"no, {so['open']} open.\n\n" + markdown(header, lines)
    )


# -- table 3 ------------------------------------------------------------------------------


def noise_rows(scores: Scores) -> list[Row]:
    """Return the rows of table 3 that there are scores of."""
    return sorted(
        (
            row
            for row in scores
            if row.model in NOISE_MODELS
            and row.noise_rate > 0.0
            # The clean images of a run of table 1 alone make no table 3.
            and any(other.images == "noisy" for other in scores)
        ),
        key=lambda row: (
            row.images,
            list(METHODS).index(row.method),
            row.noise_rate,
            NOISE_MODELS.index(row.model),
        ),
    )


def _noise_table(dataset: str, scores: Scores, budget: Budget) -> list[str]:
    rows = noise_rows(scores)
    if not rows:
        return []
    n_test = next(iter(scores[rows[0]].values()))["n_test"]
    title = (
        f"### Table 3: {DATASET_TITLES[dataset]}, noise in the training images, {n_test:,} test "
        f"images; {budget}"
    )

    def describe(row: Row) -> str:
        return f"{TITLES[row.model]}, {row.noise_rate:.0%}, {row.images}"

    asked = [
        Claim("DDNMF beats AE1", row, replace(row, model="ae1-denoising"))
        for row in rows
        if NETWORKS[row.model].kind == "ddnmf"
    ]
    rates = sorted({row.noise_rate for row in rows})
    asked += [
        Claim("noise lowers the scores", row, replace(row, noise_rate=rates[-1]))
        for row in rows
        if row.noise_rate == rates[0] < rates[-1]
    ]
    acc, *others = (_by_rate(scores, rows, metric) for metric in METRICS)
    return [
        title,
        acc,
        "Mean over seeds ± standard deviation, at each rate of the noise in the training images; "
        "noisy test images have the same. AE1 gets the noisy images and is trained to give the "
        "clean ones back.",
        *others,
        "With ranges (min-max):",
        _with_ranges(scores, rows),
        "Each seed (ACC / NMI / ARI):",
        per_seed([(f"{describe(row)}, {METHODS[row.method]}", scores[row]) for row in rows]),
        _claims_table(asked, scores, describe),
    ]


def _by_rate(scores: Scores, rows: list[Row], metric: str) -> str:
    """Return one score of every network, with a column for each rate."""
    rates = sorted({row.noise_rate for row in rows})
    header = ["test images", "clustered by", f"{metric.upper()} of", "seeds"]
    lines = []
    for first in dict.fromkeys(replace(row, noise_rate=rates[0]) for row in rows):
        at = [scores.get(replace(first, noise_rate=rate)) for rate in rates]
        counts = sorted({len(seeds) for seeds in at if seeds})
        cells = [first.images, METHODS[first.method], TITLES[first.model]]
        cells.append("-".join(str(n) for n in dict.fromkeys((counts[0], counts[-1]))))
        cells += [_mean(list(values(seeds, metric).values())) if seeds else "-" for seeds in at]
        lines.append(cells)
    return markdown([*header, *(f"{rate:.0%}" for rate in rates)], lines)


def _with_ranges(scores: Scores, rows: list[Row]) -> str:
    header = ["test images", "clustered by", "noise", "network", "seeds", *map(str.upper, METRICS)]
    lines = []
    for row in rows:
        seeds = scores[row]
        cells = [row.images, METHODS[row.method], f"{row.noise_rate:.0%}", TITLES[row.model]]
        cells.append(str(len(seeds)))
        cells += [summary(list(values(seeds, metric).values())) for metric in METRICS]
        lines.append(cells)
    return markdown(header, lines)


# -- text ---------------------------------------------------------------------------------


def summary(found: Sequence[float]) -> str:
    """Return mean ± standard deviation (range) of scores."""
    s = spread(found)
    return _mean(found) + ("" if s.std is None else f" ({s.low:.3f}-{s.high:.3f})")


def _mean(found: Sequence[float]) -> str:
    s = spread(found)
    return f"{s.mean:.3f}" + ("" if s.std is None else f" ± {s.std:.3f}")


def _difference(d: Difference) -> str:
    if d.low is None or d.high is None or d.resampled is None or d.p is None:
        return f"{d.mean:+.3f}"
    low, high = d.resampled
    return f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}] {{{low:+.3f}, {high:+.3f}}} p {d.p:.3f}"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines)
    )
