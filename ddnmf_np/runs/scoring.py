"""Scores and pictures of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.config import Config
from ddnmf_np.data.datasets import Dataset
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation import figures
from ddnmf_np.evaluation.clustering import (
    ClusteringResult,
    cluster,
    score_clustering,
)
from ddnmf_np.evaluation.interpret import (
    code_statistics,
    dead_units,
    decode_parts,
    hoyer_sparsity,
    top_features,
    unit_effects,
)
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.evaluation.metrics import assign_clusters
from ddnmf_np.model import Model
from ddnmf_np.runs.validation import Unexplained, findings
from ddnmf_np.runs.yardsticks import noisy_copy, yardsticks
from ddnmf_np.training import Trainer

Floats = npt.NDArray[np.floating[Any]]

NAMES_OF_MAPS = {"tsne": "t-SNE", "pca": "principal components"}


def held_out(dataset: Dataset) -> tuple[str, Floats, npt.NDArray[np.int64] | None]:
    """Return the name, samples and labels of what is scored: the test split where there is one."""
    if dataset.x_test is not None:
        return "test", dataset.x_test, dataset.y_test
    return "train", dataset.x_train, dataset.y_train


def n_clusters(dataset: Dataset, asked: int | None, rank: int) -> int:
    """Return the number of clusters: as asked, else the number of classes, else the rank.

    Raises `DataError` if there are fewer samples to cluster than clusters.
    """
    split, x, y = held_out(dataset)
    count = asked or (rank if y is None else len(np.unique(y)))
    if len(x) < 2:
        raise DataError(f"the {split} split has one sample; give at least two to cluster")
    if len(x) < count:
        raise DataError(
            f"the {split} split has {len(x)} samples, fewer than {count} clusters; give more "
            "samples, or fewer clusters with --clusters"
        )
    return count


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A trained model on the held-out samples; labels are seen here and nowhere else.

    ``x`` has shape (n, D), the codes ``H`` (n, rank), the decoded base units ``parts`` (rank, D);
    ``clusterings`` are by method.
    """

    split: str
    x: Floats
    y: npt.NDArray[np.int64] | None
    H: Floats
    parts: Floats
    clusterings: dict[str, ClusteringResult]
    feature_names: tuple[str, ...] | None = None


def evaluate(trainer: Trainer, config: Config, dataset: Dataset) -> Evaluation:
    """Encode and cluster the held-out samples of a data set."""
    model, host, how = trainer.model, trainer.ops.to_host, config.evaluation
    split, x, y = held_out(dataset)
    H = host(model.encode(x))
    rank = config.model.rank
    k = n_clusters(dataset, how.clusters, rank)
    return Evaluation(
        split,
        x,
        y,
        H,
        decode_parts(lambda codes: host(model.decode(codes)), rank, model.dtype.name),
        {
            method: cluster(H, k, method=method, n_starts=how.starts, seed=config.training.seed)
            for method in how.clusterers
        },
        dataset.feature_names,
    )


def summarise(
    trainer: Trainer, evaluation: Evaluation, some: Floats, known: dict[str, float]
) -> dict[str, Any]:
    """Return scores and measures in plain JSON types.

    ``some`` are training samples; ``known`` is the result of `yardsticks` for these data, or empty.
    The result has ``split`` and ``n_samples``; ``scores`` by clusterer (see `score_clustering`);
    ``code`` (see `code_statistics`); ``unexplained`` (see that function); ``top_features``, see
    `named_effects`, None if the features have no names; ``parts_sparsity`` (Hoyer, mean over the
    base units); ``reconstruction_error``, the mean squared error per entry against the clean
    samples of the student on clean and on noisy samples and of the supervisor, over the entries
    that are not missing.
    """
    model, host, x = trainer.model, trainer.ops.to_host, evaluation.x
    noisy = noisy_copy(trainer, x)
    outputs = {
        "student_clean": model.denoise(x),
        "student_noisy": model.denoise(noisy),
        "supervisor": model.supervise(x),
    }
    return {
        "split": evaluation.split,
        "n_samples": len(x),
        "scores": {
            method: score_clustering(result, evaluation.y)
            for method, result in evaluation.clusterings.items()
        },
        "code": code_statistics(evaluation.H),
        "parts_sparsity": _mean_sparsity(evaluation.parts),
        "unexplained": unexplained(
            trainer, evaluation, some, noisy, outputs["student_noisy"], known
        ),
        "top_features": named_effects(trainer.model, evaluation.H, evaluation.feature_names),
        "reconstruction_error": {
            name: _mean_square(host(out) - x) for name, out in outputs.items()
        },
    }


def named_effects(
    model: Model, H: Floats, names: Sequence[str] | None
) -> list[list[tuple[str, float]]] | None:
    """Return the features on which each unit acts most, as shares of the features' ranges.

    The model's scaling has the ranges; without one they are all 1. The result is that of
    `top_features` for `unit_effects`, or None without names.
    """
    if names is None:
        return None
    change = unit_effects(lambda codes: model.ops.to_host(model.decode(codes)), H)
    span = 1.0 if model.scaling is None else model.scaling.span
    return top_features(change / span, names)


def unexplained(
    trainer: Trainer,
    evaluation: Evaluation,
    some: Floats,
    noisy: Any,
    cleaned: Any,
    known: dict[str, float],
) -> dict[str, Any]:
    """Return the variance that the student leaves unexplained, beside what others leave.

    ``noisy`` are the scored samples with noise, and ``cleaned`` the student's output for them. The
    result has ``ddnmf``; ``ddnmf_noisy``, from noisy samples; ``noise``, that of the noisy samples
    as they are; those of `yardsticks`; and ``findings``, what shows that the model has not learned.
    """
    model, x = trainer.model, evaluation.x
    measure = Unexplained(model, some)
    test = measure.scaled(x)
    found: dict[str, Any] = {
        "ddnmf": measure.of(x),
        "ddnmf_noisy": measure.of_guess(test, measure.scaled(cleaned)),
        "noise": measure.of_guess(test, measure.scaled(noisy)),
    }
    found = {key: value if math.isfinite(value) else None for key, value in found.items()}
    found |= known or yardsticks(measure, some, x)
    found["findings"] = findings(measure, model, x)
    return found


def _mean_square(difference: Floats) -> float:
    """Return the mean square of the entries that are not NaN."""
    missing = np.isnan(difference)
    known = difference[~missing] if missing.any() else difference
    return float(np.mean(known**2, dtype=np.float64))


def _mean_sparsity(parts: Floats) -> float | None:
    """Return the mean sparsity of the parts; a part of one feature has none."""
    return float(hoyer_sparsity(parts).mean()) if parts.shape[1] > 1 else None


def draw_figures(
    trainer: Trainer, config: Config, dataset: Dataset, evaluation: Evaluation, folder: Path
) -> list[str]:
    """Draw the pictures of a run, and return the names of the files.

    ``losses.png``, ``reconstructions.png``, ``parts.png`` (each base unit decoded),
    ``effects.png`` (what each does around the median code), ``embedding.png`` and, with labels,
    ``clusters.png`` (the mixture, else the first clusterer, after assignment to the classes).
    """
    model, host, how = trainer.model, trainer.ops.to_host, config.evaluation
    y, H = evaluation.y, evaluation.H
    y = None if y is None else dataset.named(y)
    some = evaluation.x[:10]
    noisy = noisy_copy(trainer, some)
    split = f"{dataset.name}, {evaluation.split} split"
    drawn = {
        "losses.png": figures.plot_losses(
            trainer.history, f"{dataset.name}, objective {config.objective.preset}: losses"
        ),
        "reconstructions.png": figures.plot_reconstructions(
            some,
            host(noisy),
            host(model.denoise(noisy)),
            host(model.supervise(some)),
            dataset.image_shape,
            title=f"{split}: what the networks see and make of it",
        ),
        "parts.png": figures.plot_parts(
            evaluation.parts,
            dataset.image_shape,
            dead=dead_units(H),
            title=f"{dataset.name}: each base unit decoded alone",
        ),
        "effects.png": figures.plot_parts(
            unit_effects(lambda codes: host(model.decode(codes)), H),
            dataset.image_shape,
            dead=dead_units(H),
            title=f"{split}: effect of each unit, 5th to 95th percentile",
        ),
    }
    found = evaluation.clusterings[how.drawn].labels
    if y is not None:
        drawn["clusters.png"] = figures.plot_cluster_matrix(
            assign_clusters(y, found), f"{split}: {how.drawn} on H"
        )
    rows, points = embed(H, how.embedding, how.embedding_samples, config.training.seed)
    kind, labels = ("cluster", found) if y is None else ("class", y)
    drawn["embedding.png"] = figures.plot_embedding(
        points,
        labels[rows],
        f"{split}: {NAMES_OF_MAPS[how.embedding]} of H, coloured by {kind}",
        kind,
    )
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return sorted(drawn)
