"""Does a method find parts? ``python -m ddnmf_np.experiments parts``.

Each run fits one method to one data set with one seed, and leaves a record. Where the parts are
known we compare with them; everywhere we measure sparsity, signs, additivity and stability. We
mark a method that is nearer to the parts than every control, with every seed.
"""

from __future__ import annotations

import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn import decomposition
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ddnmf_np.config import OPTIONS, configure
from ddnmf_np.data.parts import best_factorization
from ddnmf_np.errors import DataError, DDNMFError
from ddnmf_np.evaluation.interpret import decode_parts, hoyer_sparsity, unit_effects
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.experiments.known_parts import KNOWN, Known
from ddnmf_np.experiments.networks import make_network
from ddnmf_np.experiments.records import Name, Record, Store, versions
from ddnmf_np.model import Model
from ddnmf_np.runs.preparation import Prepared, prepare
from ddnmf_np.runs.validation import Unexplained, Validation
from ddnmf_np.system.markdown import markdown

if TYPE_CHECKING:
    from ddnmf_np.experiments.settings import Source

Floats = npt.NDArray[np.floating[Any]]

FOUND = 0.8
"""Cosine from which a part counts as found."""

IMAGES, RANK = 3000, 16
"""Images drawn from a data set without known parts, and components for them."""

STREAM = 19
"""Stream of the seed that draws the data; the search for the preset used another."""

STEPS, BATCH = 1600, 64
"""Length of every network's training, and its batch."""

_DEEP = {"widths": (128, 64), "batch_size": BATCH, "scale": "all"}
_WIDE = {**_DEEP, "widths": (500, 500, 2000)}
_PARTS = {"objective": "parts", "batch_size": BATCH, "scale": "all"}
_AE = {"widths": (128, 64), "batch_size": BATCH, "objective": "demo", "noise_kind": "none"}
_FREE = {**_PARTS, "nmf_start": "pca", "start": "data"}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("DDNMF, preset paper", {**_DEEP, "objective": "paper"}),
    "demo": ("DDNMF, preset demo", {**_DEEP, "objective": "demo"}),
    "stable": ("DDNMF, preset stable", {**_DEEP, "objective": "stable"}),
    "auto": ("DDNMF, preset auto", {**_DEEP, "objective": "auto"}),
    "auto-recovery": (
        "auto, nonnegative recovery",
        {**_DEEP, "objective": "auto", "nonnegative": "recovery"},
    ),
    "paper-wide": ("paper, the paper's widths", {**_WIDE, "objective": "paper"}),
    "demo-wide": ("demo, the paper's widths", {**_WIDE, "objective": "demo"}),
    "paper-long": ("paper, ten times as long", {**_DEEP, "objective": "paper"}),
    "demo-long": ("demo, ten times as long", {**_DEEP, "objective": "demo"}),
    "parts-drawn": ("parts, drawn start", _FREE),
    "parts": ("DDNMF, preset parts", _PARTS),
    "parts-tanh": ("parts, output tanh", {**_PARTS, "output_activation": "tanh"}),
    "parts-deep": ("parts, one more layer", {**_PARTS, "widths": (128, 64)}),
    "parts-deep-tanh": (
        "parts, one more layer, all tanh",
        {**_PARTS, "widths": (128, 64), "activation": "tanh", "output_activation": "tanh"},
    ),
    "ae-linear": ("auto-encoder, linear code", {**_AE, "base_activation": "identity"}),
    "ae-relu": ("auto-encoder, ReLU code", {**_AE, "base_activation": "relu"}),
    "ae-sigmoid": ("auto-encoder, sigmoid code", _AE),
}
"""Networks with their titles and options. We train all for `STEPS` steps, but `LONGER`."""

LONGER = {"paper-long": 10, "demo-long": 10}
"""Multiples of `STEPS`."""

SLOW = ("paper-wide", "demo-wide", *LONGER)
"""Networks that we train only where the parts are known.

The paper's claim is about the objectives of `paper` and `demo`, so only these are wide or train
longer. A wide network takes about twenty times as long as a narrow one.
"""

UNTRAINED = "untrained"
CONTROLS = {
    "samples": "control: random samples",
    "kmeans": "control: k-means centroids",
    "rotated": "control: rotated principal axes",
    UNTRAINED: "control: untrained network",
}
CLASSICAL = {
    "nmf": "NMF",
    "nmf-sparse": "NMF, L1 penalty",
    "nmf-best": "NMF, best of 8 annealed starts",
    "dictionary": "dictionary, non-negative",
    "pca": "PCA",
    "ica": "ICA",
}
TITLES = {**CLASSICAL, **{name: title for name, (title, _) in NETWORKS.items()}, **CONTROLS}
"""Every method by its name in records, with its name in tables."""

_DRAWN = {"init": "random", "max_iter": 600}
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "nmf": ("NMF", _DRAWN),
    "nmf-sparse": ("NMF", {**_DRAWN, "alpha_W": 0.2, "l1_ratio": 1.0}),
    "dictionary": (
        "MiniBatchDictionaryLearning",
        {
            "positive_dict": True,
            "positive_code": True,
            "fit_algorithm": "cd",
            "transform_algorithm": "lasso_cd",
            "transform_alpha": 0.05,
            "alpha": 0.05,
        },
    ),
    "pca": ("PCA", {}),
    "ica": ("FastICA", {"whiten": "unit-variance", "max_iter": 500}),
}
"""Classes of `sklearn.decomposition` with their options; ``alpha_W`` is for all features."""

FACES = "faces"
NAMES = {
    "swimmer": "Swimmer: 16 limbs, 256 images of 32 x 32",
    "bars": "Bars that add up: 16 bars, 1,000 images of 8 x 8",
    "occluded": "Bars that hide each other: 16 wide bars, 1,000 images of 9 x 9",
    "spectra": "Noisy sums of 8 spectra: 600 samples, 128 channels",
    "absorbed": "Light absorbed by 8 substances, curved: 600 samples, 128 channels",
    FACES: "Faces: 100 images of 25 x 25",
    "mnist": f"MNIST: {IMAGES:,} images",
    "fashion-mnist": f"Fashion-MNIST: {IMAGES:,} images",
}


# -- methods ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted method."""

    rank: int  # number of units
    encode: Callable[[Floats], Floats]  # codes of samples
    decode: Callable[[Floats], Floats]  # data of codes
    iterations: int | None = None  # where scikit-learn counts them


def _linear(parts: Floats, mean: Floats | float = 0.0, encode: Any = None) -> Fitted:
    """Return a linear model; by default codes are least squares."""
    inverse = np.linalg.pinv(parts)
    return Fitted(
        len(parts), encode or (lambda x: (x - mean) @ inverse), lambda H: H @ parts + mean
    )


def fit(method: str, x: Floats, rank: int, seed: int) -> Fitted:
    """Fit a method to samples, without looking at true parts."""
    rng = np.random.default_rng([seed, STREAM, rank])
    if method == "samples":
        return _linear(x[rng.choice(len(x), rank, replace=False)])
    if method == "kmeans":
        return _linear(KMeans(rank, random_state=seed, n_init=1).fit(x).cluster_centers_)
    if method == "rotated":
        axes = decomposition.PCA(rank, random_state=seed).fit(x)
        turn = np.linalg.qr(rng.standard_normal((rank, rank)))[0]
        return _linear(turn @ axes.components_, axes.mean_)
    if method in NETWORKS or method == UNTRAINED:
        return _network(method, x, rank, seed)
    if method == "ica":  # it needs components that vary
        rank = min(rank, int(np.linalg.matrix_rank(x - x.mean(axis=0))))
    if method == "nmf-best":
        parts = best_factorization(x.astype(np.float64), rank, seed)[1]
        held = {"H": parts, "update_H": False, "max_iter": 600, "n_components": rank}
        transform = decomposition.non_negative_factorization
        return _linear(parts, encode=lambda new: transform(new, **held)[0])
    name, options = ESTIMATORS[method]
    if "alpha_W" in options:  # scikit-learn multiplies by the number of features
        options = {**options, "alpha_W": options["alpha_W"] / x.shape[1]}
    made = getattr(decomposition, name)(n_components=rank, random_state=seed, **options).fit(x)
    if method == "ica":
        fitted = _linear(made.mixing_.T, made.mean_, made.transform)
    else:
        fitted = _linear(made.components_, getattr(made, "mean_", 0.0), made.transform)
    return replace(fitted, iterations=getattr(made, "n_iter_", None))


def prepared_for(method: str, x: Floats, rank: int, seed: int) -> Prepared:
    """Return samples and decided options of a network; the control is the preset auto."""
    _, options = NETWORKS.get(method, NETWORKS["auto"])
    epochs = max(1, round(LONGER.get(method, 1) * STEPS * BATCH / len(x)))
    config = configure(**options, rank=rank, seed=seed, epochs=epochs)
    return prepare(x.astype(np.float32), config)


def _network(method: str, x: Floats, rank: int, seed: int) -> Fitted:
    """Train a network as the command line does; the control is one as it was drawn."""
    prepared = prepared_for(method, x, rank, seed)
    config, epochs = prepared.config, prepared.config.training.epochs
    if method.startswith("ae-"):
        network = cast(Autoencoder, make_network("ae1", config, x.shape[1]))
        config.make_trainer(cast(Model, network), prepared.x).train(epochs)
        code = network.code_layer
        return Fitted(
            rank,
            lambda a: np.array(network.encode(np.asarray(a, np.float32))),
            lambda H: np.array(network.stack.apply(np.asarray(H, np.float32), start=code)),
        )
    model = config.make_model(x.shape[1], scaling=prepared.scaling)
    if method != UNTRAINED:
        trainer = config.make_trainer(model, prepared.x)
        if prepared.held_out is not None:
            unexplained = Unexplained(model, prepared.some)
            trainer.stopping = Validation.of(config, unexplained, prepared.held_out)
        trainer.train(epochs)

    def on_host(use: Callable[[Any], Any]) -> Callable[[Floats], Floats]:
        return lambda a: np.array(model.ops.to_host(use(np.asarray(a, np.float32))))

    return Fitted(rank, on_host(model.encode), on_host(model.decode))


# -- measures -----------------------------------------------------------------------------


def cosines(parts: Floats, true: Floats) -> Floats:
    """Return the cosine of each true part with its own part; the sign does not count."""
    unit = [p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12) for p in (true, parts)]
    return _matched(np.abs(unit[0] @ unit[1].T))


def _matched(similarity: Floats) -> Floats:
    """Return the similarity of each row to its own column, best in sum; 0 for a row without one."""
    missing = max(0, similarity.shape[0] - similarity.shape[1])
    similarity = np.pad(similarity, ((0, 0), (0, missing)))
    rows, columns = linear_sum_assignment(-similarity)
    found: Floats = similarity[rows, columns]
    return found


def measure(fitted: Fitted, known: Known, train: Floats, test: slice) -> dict[str, float]:
    """Return every measure of a fitted method on samples that it has not seen."""
    x, H = known.x[test], fitted.encode(known.x[test])
    zero = fitted.decode(np.zeros((1, fitted.rank)))
    parts = decode_parts(fitted.decode, fitted.rank, np.float64) - zero
    effects = unit_effects(fitted.decode, H)
    guess = fitted.decode(H)
    moved, total = guess - zero, np.abs(parts).sum()
    found = {
        "fvu": float(((guess - x) ** 2).sum() / ((x - train.mean(axis=0)) ** 2).sum()),
        "sparse_parts": float(hoyer_sparsity(parts).mean()),
        "sparse_H": float(hoyer_sparsity(H).mean()),
        "negative": float(-parts.clip(max=0.0).sum() / max(total, 1e-12)),
        "additivity": 1.0 - min(1.0, _ratio((moved - H @ parts) ** 2, moved**2)),
    }
    if known.parts is not None and known.activations is not None:
        true = known.activations[test]
        for name, rows in (("decoded", parts), ("effects", effects)):
            close = cosines(rows, known.parts)
            found |= {f"cosine_{name}": float(close.mean())}
            found |= {f"found_{name}": float((close >= FOUND).mean())}
        both = (_standard(a) for a in (true, H))
        found["swap"] = _swap(fitted, parts, known.parts, H, true)
        found["correlation"] = float(_matched(np.abs(next(both).T @ next(both)) / len(x)).mean())
    if known.y is not None:
        before = fitted.encode(train), known.y[: len(train)]
        for count in (None, 5, 1):
            found[f"probe_{count or 'all'}"] = _probe(*before, H, known.y[test], count)
    return found


def _swap(fitted: Fitted, parts: Floats, true: Floats, H: Floats, amounts: Floats) -> float:
    """Measure whether one unit moves its true part, and nothing else.

    We give each sample one unit of the next sample, and return the mean cosine of the change of the
    output with the change of the part that the unit is nearest to, over the samples in which that
    part changes.
    """
    near = np.abs(true @ parts.T) / np.maximum(np.linalg.norm(parts, axis=1), 1e-12)
    before, cosine = fitted.decode(H), []
    for part, unit in zip(*linear_sum_assignment(-near), strict=True):
        swapped = H.copy()
        swapped[:, unit] = np.roll(H[:, unit], -1)
        change = np.roll(amounts[:, part], -1) - amounts[:, part]
        if not change.any():
            continue
        moved = np.asarray(fitted.decode(swapped) - before, np.float64)[change != 0.0]
        change = np.sign(change[change != 0.0])
        length = np.linalg.norm(moved, axis=1) * np.linalg.norm(true[part])
        cosine.append(float(np.mean(change * (moved @ true[part]) / np.maximum(length, 1e-12))))
    return float(np.sum(cosine) / len(true))  # a part without a unit counts as 0


def _probe(
    H: Floats, y: npt.NDArray[Any], H_test: Floats, y_test: npt.NDArray[Any], count: int | None
) -> float:
    """Return the accuracy of a logistic regression that sees some labels of each class, or all."""
    rows = np.concatenate([np.flatnonzero(y == label)[:count] for label in np.unique(y)])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(probe.fit(H[rows], y[rows]).score(H_test, y_test))


def _ratio(part: Floats, whole: Floats) -> float:
    return float(part.sum() / max(whole.sum(), 1e-12))


def _standard(a: Floats) -> Floats:
    centred = np.asarray(a, np.float64) - a.mean(axis=0)
    found: Floats = centred / np.maximum(centred.std(axis=0), 1e-12)
    return found


# -- campaign -----------------------------------------------------------------------------


def samples_of(dataset: str | Source, seed: int) -> Known:
    """Return the samples of a data set for a seed: known parts by name, or of some images."""
    rng = np.random.default_rng([seed, STREAM])
    if dataset == FACES:
        try:
            from skimage.data import lfw_subset
        except ModuleNotFoundError as error:
            raise DataError("needs scikit-image: pip install scikit-image") from error
        x, y = lfw_subset()[:100], None  # the other 100 are none
    elif isinstance(dataset, str):
        return KNOWN[dataset](rng)
    else:
        data = dataset.load()
        x, y = np.asarray(data.x_train), data.y_train
    rows = np.sort(rng.choice(len(x), min(IMAGES, len(x)), replace=False))
    images = x[rows].reshape(len(rows), -1).astype(np.float64)
    return Known(images / images.max(), None, None, RANK, None if y is None else y[rows])


def name_of(dataset: str, method: str, seed: int, known: Known) -> Name:
    """Return the name of the record of a run; its key has the options as they are run."""
    identity: dict[str, Any] = {"data": dataset, "method": method, "seed": seed, "stream": STREAM}
    if dataset not in KNOWN:
        identity |= {"images": IMAGES, "rank": RANK}
    if method in ESTIMATORS:
        identity["options"] = ESTIMATORS[method][1]
    if method in NETWORKS or method == UNTRAINED:
        config = prepared_for(method, known.training, known.rank, seed).config
        kept = (name for name, option in OPTIONS.items() if not option.resumable)
        identity["options"] = {name: config[name] for name in (*kept, "epochs")}
    return Name("parts", f"{dataset}-{method}-{seed}", json.loads(json.dumps(identity)))


def run(
    images: Sequence[Source],
    seeds: Sequence[int],
    folder: Path,
    say: Callable[[str], None],
    *,
    names: Sequence[str] = (*KNOWN, FACES),
    methods: Sequence[str] = tuple(TITLES),
) -> list[str]:
    """Do every run that has no record yet, and return a line for each failure.

    ``images`` are data sets whose parts nobody knows, ``names`` those whose parts are known. With
    each seed we draw the samples, and the starts of the methods.
    """
    store, failures = Store(folder), []
    with store.alone(say):
        datasets: list[str | Source] = [*names, *images]
        for dataset, seed in itertools.product(datasets, seeds):
            name = dataset if isinstance(dataset, str) else dataset.name
            try:
                known = samples_of(dataset, seed)
            except (DDNMFError, OSError) as error:
                failures.append(f"data set {name}: {error}")
                say(f"failed: {failures[-1]}")
                continue
            for method in (m for m in methods if name in KNOWN or m not in SLOW):
                try:
                    if store.find(name_of(name, method, seed, known)) is None:
                        say(one(store, name, method, seed, known))
                except (DDNMFError, ArithmeticError, ValueError) as error:
                    failures.append(f"{name} {method} seed {seed}: {error}")
                    say(f"failed: {failures[-1]}")
    return list(dict.fromkeys(failures))


def one(store: Store, dataset: str, method: str, seed: int, known: Known) -> str:
    """Do a run, write its record, and return a line about it."""
    store.check_room()
    began, train = time.perf_counter(), known.training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the record has the iterations
        fitted = fit(method, train, known.rank, seed)
        found = measure(fitted, known, train, slice(len(train), None))
    zero = fitted.decode(np.zeros((1, fitted.rank)))
    parts = decode_parts(fitted.decode, fitted.rank, np.float64) - zero
    name, seconds = name_of(dataset, method, seed, known), round(time.perf_counter() - began, 1)
    file = store.write_arrays(name, "", {"parts": parts.astype(np.float32)})
    said = {"dataset": dataset, "method": method, "seed": seed, "seconds": seconds}
    said |= {} if fitted.iterations is None else {"iterations": int(fitted.iterations)}
    stable = {"stability": _stability(store, name, dataset, method, seed, parts)}
    store.write(name, {**said, "found": found | stable, "parts": file, "versions": versions()})
    share = f"found {found['found_decoded']:.2f}  " if "found_decoded" in found else ""
    return f"{dataset} {method} seed {seed}: {share}fvu {found['fvu']:.4f}  {seconds:.0f} s"


def _stability(
    store: Store, name: Name, dataset: str, method: str, seed: int, parts: Floats
) -> float | None:
    """Return the mean matched cosine with the parts of the smaller seeds that are stored."""
    smaller = (
        Name("parts", f"{dataset}-{method}-{r['seed']}", r["identity"])
        for r in store.load()[0]
        if [r.get(key) for key in ("kind", "dataset", "method")] == ["parts", dataset, method]
        if r["seed"] < seed
    )
    others = (store.read_arrays(name, "parts") for name in smaller)
    close = [float(cosines(parts, found["parts"]).mean()) for found in others if found is not None]
    return float(np.mean(close)) if close else None


# -- tables -------------------------------------------------------------------------------

NOTE = (
    f"Found: share of the true parts with a unit of their own at a cosine of at least {FOUND}, by "
    "decoded units and by effects. Decoded unit: the output with this unit at 1 and all others at "
    "0, less the output with all at 0. Cosine: mean over the true parts, by decoded units. "
    "Correlation: of H with the true amounts. FVU: unexplained variance of samples that the method "
    "has not seen. Sparse: Hoyer's measure, of a decoded unit and of the codes of a sample. "
    "Negative: share of the decoded units. Additive: share of the output that the sum of the "
    "decoded units explains. Stability: cosine of the units of two seeds. Swap: cosine of the "
    "output's change with the true part, when one unit is taken from another sample. Probe: "
    "accuracy of a logistic regression on the codes, with all labels, five or one of each class. "
    "FVU is the median over the seeds, because a few fits of NMF get stuck; all others are means. "
    "Above controls (*): whether the cosine, by the better of the two readings, is above that of "
    "every control with every seed."
)
COLUMNS = {
    "found_decoded": "found",
    "found_effects": "by effects",
    "cosine_decoded": "cosine",
    "correlation": "correlation",
    "fvu": "FVU (median)",
    "sparse_parts": "sparse units",
    "sparse_H": "sparse H",
    "negative": "negative",
    "additivity": "additive",
    "stability": "stability",
    "swap": "swap",
    "probe_all": "probe",
    "probe_5": "5 labels",
    "probe_1": "1 label",
}

TARGETS = {
    "swimmer": "at least 0.9 of NMF's",
    "bars": "at least 0.9 of NMF's",
    "spectra": "at least 0.9 of NMF's",
    "occluded": "more than NMF",
    "absorbed": "more than NMF",
}
"""Share of the true parts that we had asked of the preset ``parts``."""

RUN = ("dataset", "method", "seed", "iterations")
"""Entries of a record beside its measures; only methods of scikit-learn have iterations."""


def frame_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return a line for each run, with its measures."""
    mine = (r for r in records if r["kind"] == "parts")
    return pd.DataFrame(
        [{k: r.get(k) for k in RUN} | r["found"] for r in mine],
        columns=[*RUN, *COLUMNS, "cosine_effects"],
    )


def beats_controls(runs: pd.DataFrame, method: str) -> bool | None:
    """Return whether a method beats every control with every seed of a data set.

    None where no run or no control of one of its seeds is there, or no part is known.
    """
    best = runs[["cosine_decoded", "cosine_effects"]].max(axis=1)
    control = runs["method"].isin(CONTROLS)
    of_method, of_controls = runs["method"] == method, best[control].groupby(runs["seed"]).max()
    margins = best[of_method].set_axis(runs["seed"][of_method]) - of_controls
    margins = margins.reindex(runs["seed"][of_method])
    return None if margins.empty or margins.isna().any() else bool((margins > 0.0).all())


def render(records: Iterable[Record]) -> str:
    """Return the tables of parts as Markdown: an overview, and one for each data set."""
    frame = frame_of(records)
    if frame.empty:
        return ""
    of_data = dict(iter(frame.groupby("dataset")))
    known = [name for name in KNOWN if name in of_data]
    lines = [
        [title, *(_share(of_data[dataset], method) for dataset in known)]
        for method, title in TITLES.items()
        if method in set(frame["method"])
    ]
    titles = [NAMES[name].partition(":")[0] for name in known]
    head = "Share of the true parts that are found: by decoded units / by effects"
    sections = [
        *_targets(of_data),
        "### Who finds parts",
        head,
        markdown(["method", *titles], lines),
        NOTE,
    ]
    sections += [_stopped(frame)] if frame["iterations"].notna().any() else []
    for dataset, title in NAMES.items():
        if dataset in of_data:
            sections += [f"### {title}", _table(of_data[dataset], known=dataset in KNOWN)]
    return "\n\n".join(sections) + "\n"


def _targets(of_data: dict[str, pd.DataFrame]) -> list[str]:
    """Return a heading and a table of what we had asked of the preset ``parts``, if it was run."""
    lines = []
    for dataset, asked in TARGETS.items():
        runs = of_data.get(dataset, pd.DataFrame(columns=["method"])).set_index("method")
        if {"parts", "nmf"} <= set(runs.index):
            mine, nmf = (runs.loc[[method]].set_index("seed") for method in ("parts", "nmf"))
            share, of_nmf = (rows["found_decoded"].mean() for rows in (mine, nmf))
            met = share > of_nmf if asked.startswith("more") else share >= 0.9 * of_nmf
            fvu, by_nmf = (rows["fvu"].median() for rows in (mine, nmf))
            level = int((mine["fvu"] <= nmf["fvu"].reindex(mine.index)).sum())
            title, shares = NAMES[dataset].partition(":")[0], (_rounded(share), _rounded(of_nmf))
            medians, seeds = (_rounded(fvu, 3), _rounded(by_nmf, 3)), f"{level} of {len(mine)}"
            answers = ["yes" if yes else "no" for yes in (met, fvu <= by_nmf)]
            lines.append([title, asked, " / ".join(shares), answers[0]])
            lines[-1] += [" / ".join(medians), seeds, answers[1]]
    heads = ["data set", "parts: asked", "found by `parts` / NMF", "met?"]
    heads += ["FVU (median) of `parts` / NMF", "seeds with an FVU no larger", "no larger?"]
    title = "### What we had asked of the preset `parts`, and what came of it"
    return [title, markdown(heads, lines)] if lines else []


def _rounded(value: float, digits: int = 2) -> str:
    """Return a number with halves rounded up, so that text and tables agree."""
    return f"{value + 1e-9:.{digits}f}"


def _share(runs: pd.DataFrame, method: str) -> str:
    """Return the share of the true parts that a method finds, and whether it beats the controls."""
    mine = runs[runs["method"] == method]
    found = " / ".join(_rounded(mine[f"found_{by}"].mean()) for by in ("decoded", "effects"))
    star = " *" if beats_controls(runs, method) else ""
    return f"{found}{star}" if len(mine) else "-"


def _stopped(frame: pd.DataFrame) -> str:
    """Return sentences on the fits that scikit-learn stopped at its limit of iterations."""
    counts = []
    for method, (name, options) in ESTIMATORS.items():
        mine = frame[(frame["method"] == method) & frame["iterations"].notna()]
        if len(mine):
            limit = getattr(decomposition, name)(**options).max_iter
            stopped = mine[mine["iterations"] >= limit]["dataset"].value_counts()
            sets = (f"{NAMES[d].partition(':')[0]} {stopped[d]}" for d in NAMES if d in stopped)
            where = f" ({', '.join(sets)})" if len(stopped) else ""
            counts.append(f"{TITLES[method]} {stopped.sum()} of {len(mine)}{where}")
    return f"Fits that scikit-learn stopped at its limit of iterations: {'. '.join(counts)}."


def _table(runs: pd.DataFrame, *, known: bool) -> str:
    """Return the measures of every method on a data set: the median FVU, means of the others."""
    columns = {k: v for k, v in COLUMNS.items() if runs[k].notna().any()}
    lines = []
    for method, title in TITLES.items():
        mine = runs[runs["method"] == method]
        if len(mine):
            values = mine[list(columns)].astype(float)
            shown = [values[k].median() if k == "fvu" else values[k].mean() for k in columns]
            numbers = [_rounded(v, 3) if pd.notna(v) else "-" for v in shown]
            verdict = {True: "yes", False: "no", None: "-"}[beats_controls(runs, method)]
            lines.append([title, str(len(mine)), *numbers, *([verdict] if known else [])])
    return markdown(
        ["method", "seeds", *columns.values(), *(["above controls"] if known else [])], lines
    )
