"""The claims of ``claims.toml``, decided by records."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.experiments import parts
from ddnmf_np.experiments.networks import NETWORKS, TITLES
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.tables import DATASET_TITLES, METHODS, table_noise
from ddnmf_np.system.markdown import markdown

Floats = npt.NDArray[np.floating[Any]]

# `ddnmf_np.experiments.__main__` reads the steps from it. A docstring would show its path in the
# book.
FILE = Path(__file__).with_name("claims.toml")

VERDICTS_NOTE = (
    "{so}. A verdict waits until all {least} seeds are in, and corrects for all {tests} tests. "
    '"No" means that one of the rows at least differs the other way. †: its scores were known when '
    "the claim was written down. Of most others "
    "we knew [scores at 4 or 5 epochs](#what-earlier-scores-suggested)."
)
NUMBERS_NOTE = (
    "Rule and rows are in `ddnmf_np/experiments/claims.toml`. A seed's score is {score}, the mean "
    "over the starts of its clustering; of parts, the cosine with the true parts. Difference: mean "
    "over the seeds, with Student's 95 % interval. This interval is that of one comparison; p is "
    "that of a paired t-test, corrected by Holm's method for all {tests} tests. So a claim may be "
    "not told apart although its interval leaves out 0. IQM: interquartile mean of the "
    "differences. P: probability that a run of the first row is better than one of the second. "
    "The margin of `not worse` and `level` is {margin}. A claim of several pairs has its verdict "
    "in its first line."
)
COMMAND = "python -m ddnmf_np.experiments step"
DECIDED = ("yes", "no: level", "no")
OPEN, NOTHING = "not told apart", "not measured"
PARTS = "sets with known parts"
OURS = "ours"
"""The source of a claim that is not the paper's begins with it."""
OTHER = {"mnist": "fashion", "fashion-mnist": "mnist"}
"""Step of the other data set."""


class Line(NamedTuple):
    """A row of a table that a claim names; a method of `parts` is a model."""

    model: str
    epochs: int | None = None
    noise_rate: float = 0.0
    method: str = ""
    images: str = "clean"

    @property
    def title(self) -> str:
        """The codes, and what is special about them."""
        if not self.method:
            return parts.TITLES.get(self.model, "best control")
        epochs = [] if self.epochs is None else [f"{self.epochs} epochs"]
        usual = self.model in NETWORKS and self.noise_rate == table_noise(self.model)
        noise = [f"{self.noise_rate:.0%} noise"] if self.noise_rate and not usual else []
        images = ["noisy images"] if self.images == "noisy" else []
        return ", ".join([TITLES[self.model], *epochs, *noise, METHODS[self.method], *images])


@dataclass(frozen=True)
class Claim:
    """A statement about pairs of rows, tested on each of its data sets."""

    text: str
    source: str  # place in the paper
    datasets: Sequence[str]  # a test for each; a claim about parts has one test of all
    pairs: Sequence[Sequence[str]]  # rows, the better one first; see ``claims.toml``
    steps: Sequence[str]  # of the campaign, which make its records
    kind: str = "better"  # or "not worse", "parts": what it says of the difference
    over: str = "each"  # or "mean": of each pair, or of their mean
    seen: bool = False  # whether its scores were known before
    least_seeds: int | None = None  # for a verdict, if not those of the rule

    @property
    def tests(self) -> list[Sequence[str]]:
        """The data sets of each test."""
        return [self.datasets] if self.kind == "parts" else [[name] for name in self.datasets]


@dataclass(frozen=True)
class Claims:
    """The content of ``claims.toml``."""

    rule: Mapping[str, Any]
    steps: Mapping[str, Sequence[str]]
    claims: Sequence[Claim]

    def line(self, text: str, kind: str) -> Line:
        """Return the row that a text names; raises `UsageError` for a word that it cannot have."""
        model, *words = text.split()
        known = [*parts.TITLES, "controls"] if kind == "parts" else list(TITLES)
        if model not in known:
            raise UsageError(f"{FILE.name}: row {text!r}: {unknown('model', model, known)}")
        if kind == "parts":
            return Line(model)
        line = Line(model, None, table_noise(model), self.rule["method"])
        for word in words:
            if word.isdigit():
                line = line._replace(epochs=int(word))
            elif word.endswith("%") and word[:-1].isdigit():
                line = line._replace(noise_rate=int(word[:-1]) / 100)
            elif word in METHODS:
                line = line._replace(method=word)
            elif word == "noisy":
                line = line._replace(images=word)
            else:
                raise UsageError(f"{FILE.name}: row {text!r}: {word!r} is no epochs, noise, method")
        return line


@cache
def load(path: Path = FILE) -> Claims:
    """Return the claims, their rule and the steps of the campaign."""
    found = tomllib.loads(path.read_text("utf-8"))
    return Claims(found["rule"], found["steps"], [Claim(**claim) for claim in found["claim"]])


# -- statistics ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two rows compared over the seeds that both have."""

    title: str
    n: int  # seeds
    mean: float  # of the differences
    iqm: float  # interquartile mean of the differences
    interval: tuple[float, float]  # Student's 95 % interval of the mean
    improvement: float  # probability that a run of the first row is better than one of the second
    above: bool  # whether the mean is above the value that it is tested against
    p: float  # of the two-sided paired t-test


def compare(title: str, one: Floats, other: Floats, against: float = 0.0) -> Pair:
    """Compare scores of the same seeds, at least two; test their mean difference against a value.

    Notes
    -----
    Agarwal and others (2021), "Deep reinforcement learning at the edge of the statistical
    precipice": interquartile mean and probability of improvement.
    """
    differences = one - other
    mean = float(differences.mean())
    if np.ptp(differences) == 0.0:  # no spread, for which SciPy has no interval
        interval, p = (mean, mean), float(mean == against)
    else:
        found = stats.ttest_1samp(differences, against)
        low, high = found.confidence_interval(0.95)
        interval, p = (float(low), float(high)), float(found.pvalue)
    wins = stats.mannwhitneyu(one, other).statistic / (len(one) * len(other))
    iqm = float(stats.trim_mean(differences, 0.25))
    return Pair(title, len(one), mean, iqm, interval, float(wins), mean > against, p)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979)."""
    order = np.argsort(values, kind="stable")
    steps = np.asarray(values)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]


# -- deciding -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """A claim on one data set; without the records of two seeds it has no pairs."""

    claim: Claim
    datasets: Sequence[str]
    pairs: Sequence[Pair]
    folders: Sequence[str] = ()  # of the records
    too_few: str = ""  # seeds, as text; the verdict waits for more

    @property
    def p(self) -> float:
        """P-value of the claim or of its contrary, whichever is smaller; 1 with too few seeds."""
        return 1.0 if self.too_few else min((1.0, *self._sides))

    @property
    def _sides(self) -> tuple[float, float]:
        """P-value of the claim, and of the contrary."""
        if not self.pairs:
            return 1.0, 1.0
        so = max(pair.p if pair.above else 1.0 for pair in self.pairs)
        contrary = [pair.p for pair in self.pairs if not pair.above]
        return so, len(self.pairs) * min(contrary, default=1.0)

    def verdict(self, p: float, rule: Mapping[str, Any]) -> str:
        """Return the verdict for the corrected p."""
        if self.too_few or not self.pairs:
            return self.too_few or NOTHING
        so, contrary = self._sides
        if p < rule["alpha"]:
            return "yes" if so <= contrary else "no"
        inside = [abs(end) <= rule["margin"] for pair in self.pairs for end in pair.interval]
        return "no: level" if all(inside) and self.claim.kind != "not worse" else OPEN


class Scores(NamedTuple):
    """Scores of a row by seed, and the folder of their records."""

    of: Mapping[int, float]
    folder: str = ""


def decide(records: Iterable[Record], claims: Claims | None = None) -> list[Test]:
    """Test every claim on each of its data sets, with the records that are there."""
    claims = claims or load()
    found, known = [], scores_of(records, claims.rule)
    for claim in claims.claims:
        lines = [[claims.line(text, claim.kind) for text in pair] for pair in claim.pairs]
        for datasets in claim.tests:
            titles, rows = [], []
            for name, (one, other) in product(datasets, lines):
                where = f", {name}" if len(datasets) > 1 else ""
                titles.append(f"{one.title} - {other.title}{where}")
                rows.append([known.get((name, line), Scores({})) for line in (one, other)])
            found.append(_test(claim, datasets, titles, rows, claims.rule))
    return found


def scores_of(records: Iterable[Record], rule: Mapping[str, Any]) -> dict[tuple[str, Line], Scores]:
    """Return the scores of each row on each data set, at the rule's number of images.

    All seeds of a row come from one folder: the one with the most, of several the first by name.
    """
    found: dict[tuple[str, Line], dict[str, dict[int, float]]] = {}
    for r in sorted(records, key=lambda r: r.get("starts", 0)):  # the most starts count
        if r.get("again"):  # a map of other random numbers; the campaign's rule is of the first
            continue
        folder = r.get("folder", "")
        if r["kind"] == "clustering" and r["samples"] in (None, rule["samples"]):
            line = Line(r["model"], r["epochs"], r["noise_rate"], r["method"], r["images"])
            score = r["result"]["spread"][rule["score"]]["mean"]
            found.setdefault((r["dataset"], line), {}).setdefault(folder, {})[r["seed"]] = score
        elif r["kind"] == "parts" and "cosine_decoded" in r["found"]:
            score = max(r["found"]["cosine_decoded"], r["found"]["cosine_effects"])
            line = Line("controls" if r["method"] in parts.CONTROLS else r["method"])
            seeds = found.setdefault((r["dataset"], line), {}).setdefault(folder, {})
            seeds[r["seed"]] = max(seeds.get(r["seed"], score), score)
    rows = {}
    for row, folders in found.items():
        folder = max(sorted(folders), key=lambda name: len(folders[name]))
        rows[row] = Scores(folders[folder], folder)
    return rows


def _test(
    claim: Claim,
    datasets: Sequence[str],
    titles: Sequence[str],
    rows: Sequence[Sequence[Scores]],
    rule: Mapping[str, Any],
) -> Test:
    """Compare pairs of rows over the seeds that all of them have."""
    every = [row for pair in rows for row in pair]
    seeds = sorted(set.intersection(*(set(row.of) for row in every)))
    if len(seeds) < 2:
        return Test(claim, datasets, ())
    scores = np.array([[[row.of[seed] for seed in seeds] for row in pair] for pair in rows])
    if claim.over == "mean":
        scores, titles = scores.mean(axis=0)[None], [f"mean over {len(rows)} representations"]
    against = -rule["margin"] if claim.kind == "not worse" else 0.0
    pairs = [compare(t, pair[0], pair[1], against) for t, pair in zip(titles, scores, strict=True)]
    least = claim.least_seeds or rule["least_seeds"]
    too_few = f"{len(seeds)} of {least} seeds" if len(seeds) < least else ""
    return Test(claim, datasets, pairs, sorted({row.folder for row in every}), too_few)


# -- text ---------------------------------------------------------------------------------


def render(records: Sequence[Record]) -> str:
    """Return the verdicts on all claims, and the numbers behind them, as Markdown."""
    claims = load()
    rule = claims.rule
    tests, verdicts, corrected = _judge(records, claims)
    cells: dict[str, dict[str, str]] = {}
    lines: list[list[str]] = []
    for test, verdict, p in zip(tests, verdicts, corrected, strict=True):
        claim, data = test.claim, test.datasets[0]
        text = claim.text + (" †" if claim.seen else "")
        of_claim = cells.setdefault(text, {"claim": text, "source": claim.source})
        column = PARTS if claim.kind == "parts" else DATASET_TITLES[data]
        of_claim[column] = verdict
        if verdict in (*DECIDED, OPEN):
            lines += _numbers(test, p, column)
        elif verdict == NOTHING:
            missing = [step for step in claim.steps if step != OTHER.get(data)]
            of_claim[column] = f"{verdict} (step {', '.join(missing)})"
    columns = ["claim", "source", *DATASET_TITLES.values(), PARTS]
    table = markdown(columns, [[row.get(name, "") for name in columns] for row in cells.values()])
    counts = {v: verdicts.count(v) for v in (*DECIDED, OPEN)}
    counts["wait for records"] = len(tests) - sum(counts.values())
    so = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    note = VERDICTS_NOTE.format(
        so=f"Of {len(tests)} tests: {so}", least=rule["least_seeds"], tests=len(tests)
    )
    header = ["claim", "data", "compared", "difference", "p", "seeds", "IQM", "P", "records"]
    more = NUMBERS_NOTE.format(score=rule["score"].upper(), tests=len(tests), margin=rule["margin"])
    return "\n\n".join([table, note, markdown(header, lines), more]) + "\n"


def _judge(records: Sequence[Record], claims: Claims) -> tuple[list[Test], list[str], list[float]]:
    """Return all tests, their verdicts, and their corrected p-values."""
    tests = decide(records, claims)
    corrected = holm([test.p for test in tests])
    found = [test.verdict(p, claims.rule) for test, p in zip(tests, corrected, strict=True)]
    return tests, found, corrected


def _numbers(test: Test, p: float, data: str) -> Iterator[list[str]]:
    """Yield a line for each pair of a test; only the first has the claim and its p."""
    shown = "< 0.001" if p < 0.001 else f"{p:.3f}"
    head = [test.claim.text, data, shown, ", ".join(test.folders)]
    for pair in test.pairs:
        text, on, of_test, where = head
        low, high = pair.interval
        yield [
            *(text, on, pair.title, f"{pair.mean:+.3f} [{low:+.3f}, {high:+.3f}]", of_test),
            *(str(pair.n), f"{pair.iqm:+.3f}", f"{pair.improvement:.2f}", where),
        ]
        head = [""] * 4


def render_steps(records: Sequence[Record]) -> str:
    """Return the steps of the campaign, their commands, and what they decide, as Markdown."""
    claims = load()
    tests, verdicts, _ = _judge(records, claims)
    lines = []
    for name, commands in claims.steps.items():
        own = [v for t, v in zip(tests, verdicts, strict=True)
               if name in t.claim.steps and OTHER.get(t.datasets[0]) != name]  # fmt: skip
        done = sum(verdict in (*DECIDED, OPEN) for verdict in own)
        text = "<br>".join(f"`{command}`" for command in commands)
        lines.append([f"`{COMMAND} {name}`", text, f"{done} of {len(own)}" if own else "-"])
    return markdown(["command", "does", "tests measured"], lines) + "\n"


def render_verdicts(records: Sequence[Record]) -> str:
    """Return the paper's decided claims, a line for each verdict, and a count of the open tests.

    A claim without the name of a data set has the verdict on all data sets on which it is tested.
    """
    claims = load()
    found: dict[str, dict[str, list[Test]]] = {verdict: {} for verdict in DECIDED}
    counts = {OPEN: 0, NOTHING: 0}
    for test, verdict, _ in zip(*_judge(records, claims), strict=True):
        if test.claim.source.startswith(OURS):
            continue
        if verdict in found:
            found[verdict].setdefault(test.claim.text, []).append(test)
        else:  # also one with fewer seeds than the rule asks for
            counts[OPEN if verdict == OPEN else NOTHING] += 1
    rows = []
    for verdict, texts in found.items():
        lines = []
        for text, tests in texts.items():
            claim = tests[0].claim
            titles = ", ".join(DATASET_TITLES[t.datasets[0]] for t in tests if len(t.datasets) == 1)
            where = "" if len(tests) == len(claim.tests) else f" ({titles})"
            lines.append(text + where + (" †" if claim.seen else ""))
        if lines:
            rows.append([verdict, "<br>".join(lines)])
    open_ = ", ".join(f"{count} {name}" for name, count in counts.items())
    rows.append(["open", f"tests: {open_} (†: scores were seen before)"])
    return markdown(["verdict", "claims of the paper"], rows) + "\n"
