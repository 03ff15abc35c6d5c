"""What a trained model is worth: scores and pictures of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.datasets import Dataset
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation import plots
from ddnmf_np.evaluation.clustering import cluster, score_clustering
from ddnmf_np.evaluation.embedding import embed
from ddnmf_np.evaluation.interpret import (
    code_statistics,
    dead_units,
    decode_parts,
    hoyer_sparsity,
)
from ddnmf_np.evaluation.metrics import assign_clusters
from ddnmf_np.training import Record, Trainer

Floats = npt.NDArray[np.floating[Any]]

NAMES_OF_MAPS = {"tsne": "t-SNE", "pca": "principal components"}


def held_out(dataset: Dataset) -> tuple[str, Floats, npt.NDArray[np.int64] | None]:
    """Return the name, samples and labels of what is scored: the test split where there is one."""
    if dataset.x_test is not None:
        return "test", dataset.x_test, dataset.y_test
    return "train", dataset.x_train, dataset.y_train


def n_clusters(dataset: Dataset, asked: int | None, rank: int) -> int:
    """Return how many clusters to look for: as asked, else the number of classes, else the rank.

    Raises
    ------
    DataError
        If there are fewer samples to cluster than clusters.
    """
    split, x, y = held_out(dataset)
    count = asked or (rank if y is None else len(np.unique(y)))
    if len(x) < count:
        raise DataError(
            f"the {split} split has {len(x)} samples, fewer than {count} clusters; give more "
            "samples, or fewer clusters with --clusters"
        )
    return count


def evaluate(trainer: Trainer, dataset: Dataset) -> dict[str, Any]:
    """Score the codes of the held-out samples; labels are seen here and nowhere else.

    Parameters
    ----------
    trainer : Trainer
        After training.
    dataset : Dataset
        What it was trained on.

    Returns
    -------
    dict
        In plain JSON types: ``split`` and ``n_samples``; ``clusters``; ``scores`` by clusterer
        (see `score_clustering`); ``code`` (see `code_statistics`); ``parts_sparsity`` (Hoyer,
        mean over the base units); ``reconstruction_error``, the mean squared error per entry
        against the clean samples of the student on clean and on noisy samples and of the
        supervisor.
    """
    model, config = trainer.model, trainer.config
    split, x, y = held_out(dataset)
    host = trainer.ops.to_host
    H = host(model.encode(x))
    clusters = n_clusters(dataset, config.clusters, config.rank)
    outputs = {
        "student_clean": model.denoise(x),
        "student_noisy": model.denoise(noisy_copy(trainer, x)),
        "supervisor": model.supervise(x),
    }
    return {
        "split": split,
        "n_samples": len(x),
        "clusters": clusters,
        "scores": score_clustering(
            H,
            y,
            clusters,
            config.clusterers,  # type: ignore[arg-type]
            config.starts,
            config.seed,
        ),
        "code": code_statistics(H),
        "parts_sparsity": float(hoyer_sparsity(parts(trainer)).mean()),
        "reconstruction_error": {
            name: float(np.mean((host(out) - x) ** 2, dtype=np.float64))
            for name, out in outputs.items()
        },
    }


def draw_figures(trainer: Trainer, dataset: Dataset, folder: Path) -> list[str]:
    """Draw the pictures of a run, and return the names of the files.

    ``losses.png``, ``reconstructions.png``, ``parts.png``, ``embedding.png`` and, with labels,
    ``clusters.png`` (the mixture, else the first clusterer, after assignment to the classes).
    """
    model, config, host = trainer.model, trainer.config, trainer.ops.to_host
    split, x, y = held_out(dataset)
    H = host(model.encode(x))
    some = x[:10]
    noisy = noisy_copy(trainer, some)
    figures = {
        "losses.png": draw_losses(trainer.history),
        "reconstructions.png": plots.plot_reconstructions(
            some,
            host(noisy),
            host(model.denoise(noisy)),
            host(model.supervise(some)),
            dataset.image_shape,
        ),
        "parts.png": plots.plot_parts(parts(trainer), dataset.image_shape, dead=dead_units(H)),
    }
    clusters = n_clusters(dataset, config.clusters, config.rank)
    method: Any = next((c for c in config.clusterers if c != "kmeans"), config.clusterers[0])
    found = cluster(H, clusters, method=method, n_starts=config.starts, seed=config.seed).labels
    if y is not None:
        figures["clusters.png"] = plots.plot_cluster_matrix(
            assign_clusters(y, found), f"{dataset.name}, {split} split: {method} on H"
        )
    rows, points = embed(
        H,
        config.embedding,  # type: ignore[arg-type]
        config.embedding_samples,
        config.seed,
    )
    kind, labels = ("cluster", found) if y is None else ("class", y)
    name_of_map = NAMES_OF_MAPS[config.embedding]
    figures["embedding.png"] = plots.plot_embedding(
        points,
        labels[rows],
        f"{dataset.name}, {split} split: {name_of_map} of H, coloured by {kind}",
    )
    for name, figure in figures.items():
        plots.save(figure, folder / name)
    return sorted(figures)


def draw_losses(history: Sequence[Record]) -> Any:
    """Return the picture of the losses; an untrained model has an empty one."""
    return plots.plot_losses(history or [{"epoch": 0}])


def parts(trainer: Trainer) -> Floats:
    """Return the decoded base units, shape (rank, D), on the host."""
    decoded: Floats = decode_parts(
        lambda H: trainer.ops.to_host(trainer.model.decode(H)),
        trainer.config.rank,
        trainer.config.dtype,
    )
    return decoded


def noisy_copy(trainer: Trainer, x: Any) -> Any:
    """Return held-out samples with the run's noise, on the model's backend.

    Their indices follow those of the training set, so the noise is not one seen in training.
    """
    ops, noise = trainer.ops, trainer.noise
    clean = ops.to_device(x, trainer.model.dtype)
    out = ops.empty(clean.shape, clean.dtype)
    index = ops.xp.arange(len(clean)) + trainer.x.shape[0]
    for at in range(0, len(clean), 256):  # in pieces: the noise keeps scratch for the largest
        rows = slice(at, at + 256)
        noise.apply(clean[rows], index[rows], 0, out[rows])
    return out
