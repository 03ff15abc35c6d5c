"""The content of a page, gathered from a checkpoint and its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ddnmf_np.config import Config
from ddnmf_np.data.datasets import NAMES, Dataset
from ddnmf_np.data.streaming.rows import fingerprint
from ddnmf_np.engine.layers import Dense
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation.clustering import cluster, score_clustering
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.evaluation.metrics import assign_clusters
from ddnmf_np.explore.packing import (
    pack_bytes,
    pack_columns,
    pack_rows,
    pack_weights,
    packed_size,
)
from ddnmf_np.model import Model
from ddnmf_np.report.results import check_holds_run
from ddnmf_np.runs.checkpoint import Checkpoint, load_checkpoint
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.inference import Inference
from ddnmf_np.runs.inputs import read_data, with_held_out
from ddnmf_np.runs.scoring import NAMES_OF_MAPS, held_out, n_clusters, named_effects

MOST_SAMPLES = 2000
"""Largest number of samples on the map; ``embedding_samples`` of the run may lower it."""

MOST_PIXELS = 2_000_000
"""Largest number of pixels in a page: 2000 images of 28 x 28 fit, but fewer of larger images."""

FEWEST_SAMPLES = 60
"""Number of samples that a page has even if they exceed `MOST_PIXELS`."""

STRIP = 60
"""Number of samples in the strip above the map."""

LARGEST = 64_000_000
"""Largest size of the weights in characters, for the browser's sake; some 24 million weights."""

LONGEST_SIDE = 64
"""Largest side of an image that one can draw in a page, in pixels."""

_SMALLEST_SIDE = 8  # as in `ddnmf_np.data.datasets`: a table of 9 or 16 columns is not an image
_NICER_NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "digits": "Digits"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Content:
    """The content of a page: title (not escaped), head in plain JSON types, packed arrays."""

    title: str
    head: dict[str, Any]
    blocks: dict[str, str]


def open_run(path: str | Path) -> Checkpoint:
    """Return the checkpoint of a run folder.

    Raises `UsageError` if there is no such folder, or it contains no run, and `CheckpointError` if
    the run has no checkpoint yet, or one that is corrupt or of another version.
    """
    folder = RunFolder(path)
    check_holds_run(folder)
    return load_checkpoint(folder.checkpoint)


def gather(checkpoint: Checkpoint, data_dir: str | None, say: Say) -> Content:
    """Gather the content of a run's page, without samples if the run's data are not found.

    ``data_dir`` is where to look for the data first; by default, where the run found them. Raises
    `CheckpointError` if blocks belong to another architecture, or contain NaN or infinity, and
    `DataError` if the decoder is too large for a page.
    """
    config = checkpoint.config
    model = Inference(checkpoint).model
    blocks: dict[str, str] = {}
    notes: list[str] = []
    layers = _decoder(model, blocks)
    done, batch = checkpoint.meta["position"]["epoch"], checkpoint.meta["position"]["batch"]
    epochs = config.training.epochs
    stopped = (checkpoint.meta.get("validation") or {}).get("stopped", False)
    if (done, batch) < (epochs, 0) and not stopped:
        part = f" and {batch} steps" if batch else ""
        notes.append(
            f"This run is not finished: the page shows the model after {done} of {epochs} "
            f"epochs{part}."
        )
    dataset = _data(checkpoint, data_dir, notes, say)
    title = dataset.name if dataset else Path(config.data.dataset).stem
    high = checkpoint.meta.get("high")
    high = float(high) if isinstance(high, float) and 0.0 < high < math.inf else 1.0
    if model.scaling is not None and not model.scaling.is_identity:
        high = 1.0  # the page shows what the networks see
    about = checkpoint.about
    samples, H = _samples(model, config, dataset, high, blocks, notes, say) or (None, None)
    shape = _image_shape(model.n_features, config, dataset)
    head: dict[str, Any] = {
        "title": _NICER_NAMES.get(title, title),
        "facts": {
            "objective": config.objective.preset,
            "epochs": done,
            "widths": model.student.widths,
            "depth": model.depth,
        },
        "notes": notes,
        "base": {
            "activation": config.model.base_activation,
            "bias": config.objective.base_bias,
        },
        "layers": layers,
        "encoder": _encoder(model, shape, blocks),
        "units": _units(config, H),
        "tops": None if H is None else named_effects(model, H, about.get("feature_names")),
        "features": model.n_features,
        "image_shape": shape,
        "high": high,
        "samples": samples,
    }
    return Content(head["title"], head, blocks)


def _decoder(model: Model, blocks: dict[str, str]) -> list[dict[str, Any]]:
    """Pack the student's layers above H; return their descriptions for JavaScript."""
    layers = model.student.layers[model.depth // 2 + 1 :]
    weights = sum(layer.W.size for layer in layers)
    if packed_size(2 * weights) > LARGEST:
        raise DataError(
            f"the decoder has {weights:,} weights, {packed_size(2 * weights) / 1e6:.0f} MB of "
            f"text, but a page can hold {LARGEST / 1e6:.0f} MB; train a narrower network (--widths)"
        )
    return [_described(layer, blocks, pack_weights) for layer in layers]


def _encoder(model: Model, shape: Sequence[int] | None, blocks: dict[str, str]) -> dict[str, Any]:
    """Pack the student's layers up to H, for drawings; or say why the page has none."""
    layers = model.student.layers[: model.depth // 2 + 1]
    if shape is None:
        return {"layers": None, "reason": "the samples are not images"}
    if max(shape) > LONGEST_SIDE:
        return {"layers": None, "reason": f"the images have more than {LONGEST_SIDE} pixels a side"}
    if packed_size(sum(layer.W.size for layer in layers)) > LARGEST:
        return {"layers": None, "reason": "the encoder is too large for a page"}
    return {"layers": [_described(layer, blocks, pack_rows) for layer in layers], "reason": None}


def _described(
    layer: Dense, blocks: dict[str, str], pack: Callable[[Any], tuple[str, Any]]
) -> dict[str, Any]:
    """Pack a layer, its W by `pack`; return its description for JavaScript."""
    entry: dict[str, Any] = {
        "inputs": layer.fan_in,
        "outputs": layer.fan_out,
        "activation": layer.activation,
    }
    for kind, block in (("W", layer.W), ("b", layer.b)):
        if block is not None:
            name = f"{kind}{layer.label}"
            blocks[name], scale = (pack if kind == "W" else pack_weights)(block)
            entry[kind] = {"block": name, "scale": scale}
    return entry


def _data(
    checkpoint: Checkpoint, data_dir: str | None, notes: list[str], say: Say
) -> Dataset | None:
    """Return the data of the run, or None with a note that says why.

    Error messages go to the terminal, not into the page, because they may name private folders.
    """
    config = checkpoint.config
    without = "This page shows only parts and sliders, no samples: "
    try:
        x, dataset = load_forgivingly(config, data_dir, notes, say)
    except (DataError, UsageError) as error:
        notes.append(f"{without}the data of the run were not found when this page was made.")
        say(f"warning: no samples in the page: {error}")
        return None
    found = with_held_out(fingerprint(x), dataset, config)
    expected = checkpoint.meta["data_sha256"]
    if found != expected:
        notes.append(
            f"{without}the data set found under this name when this page was made was not the "
            "one that the model was trained on."
        )
        say(
            f"warning: no samples in the page: {dataset.source} is not what the run was trained "
            f"on (SHA-256 {expected[:12]}..., now {found[:12]}...); give the folder of the run's "
            "data with --data-dir"
        )
        return None
    return dataset


def load_forgivingly(
    config: Config, data_dir: str | None, notes: list[str], say: Say
) -> tuple[Any, Dataset]:
    """Return the data as `load_data`; if only the labels cannot be read, go on without them."""
    try:
        return load_data(config, data_dir, config.data.labels)
    except (DataError, UsageError) as error:
        if config.data.labels is None:
            raise
        found = load_data(config, data_dir, None)
        notes.append("The labels were not found when this page was made.")
        say(f"warning: no labels in the page: {error}")
        return found


def load_data(config: Config, data_dir: str | None, labels: str | None) -> tuple[Any, Dataset]:
    """Return the training samples of a run, and its data.

    We look in ``data_dir`` first. Raises `DataError` or `UsageError` if they cannot be read.
    """

    def place(path: str) -> str:
        """Return the file of the same name in `data_dir`, if there is one."""
        moved = Path(data_dir, Path(path).name) if data_dir else Path(path)
        return str(moved) if moved.exists() else path

    data = config.data
    moved = replace(
        data,
        dataset=data.dataset if data.dataset in NAMES else place(data.dataset),
        data_dir=data_dir or data.data_dir,
        labels=labels and place(labels),
        test_fraction=data.test_fraction or 0.0,
    )
    x, dataset, _ = read_data(replace(config, data=moved))
    return x, dataset


def _samples(
    model: Model,
    config: Config,
    dataset: Dataset | None,
    high: float,
    blocks: dict[str, str],
    notes: list[str],
    say: Say,
) -> tuple[dict[str, Any], npt.NDArray[Any]] | None:
    """Pack samples, their codes and their places on the map; return their description and H."""
    if dataset is None:
        return None
    split, x, y = held_out(dataset)
    with threadpool_limits(config.execution.threads):
        say(f"encoding {len(x)} samples of the {split} split")
        H = model.encode(x)
        grouping = _clusters(H, config, dataset, notes, say)
        most = min(
            MOST_SAMPLES,
            config.evaluation.embedding_samples,
            max(FEWEST_SAMPLES, MOST_PIXELS // x.shape[1]),
        )
        method = config.evaluation.embedding
        say(f"map of {min(most, len(x))} samples ({NAMES_OF_MAPS[method]})")
        rows, points = embed(H, method, most, config.training.seed)
    if not points.any():
        notes.append("All samples have the same code, so the map is a single point.")
    blocks["H"], low, top = pack_columns(H[rows])
    blocks["points"], left, right = pack_columns(_in_unit_square(points))
    blocks["pixels"] = pack_bytes(model.seen(x[rows]), high)
    classes = [] if y is None else np.unique(y).tolist()
    strip = np.linspace(0, len(rows) - 1, min(STRIP, len(rows))).astype(int)
    described = {
        "split": split,
        "total": len(x),
        "index": rows.tolist(),
        "strip": strip.tolist(),
        "H": {"low": low, "high": top},
        "points": {"low": left, "high": right},
        # `embed` always uses principal components for so few samples.
        "map": NAMES_OF_MAPS["pca" if len(rows) < 10 else method],
        "classes": [str(dataset.named(name)) for name in classes],
        "labels": None if y is None else np.searchsorted(classes, y[rows]).tolist(),
        "clusters": None if grouping is None else grouping.labels[rows].tolist(),
        "clustering": None if grouping is None else grouping.about,
    }
    return described, H


def _in_unit_square(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Move points to the middle of [0, 1]^2, with the same scale for both axes."""
    low, high = points.min(axis=0), points.max(axis=0)  # (2,)
    inner: npt.NDArray[Any] = (points - (low + high) / 2) / (max(high - low) or 1.0) + 0.5
    return inner.clip(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class _Grouping:
    labels: npt.NDArray[np.int32]
    about: dict[str, Any]


def _clusters(
    H: npt.NDArray[Any], config: Config, dataset: Dataset, notes: list[str], say: Say
) -> _Grouping | None:
    """Cluster the codes as in the run's pictures, or note that it failed."""
    y = held_out(dataset)[2]
    how = config.evaluation
    method = how.drawn
    try:
        k = n_clusters(dataset, how.clusters, config.model.rank)
        say(f"looking for {k} clusters ({method}, {how.starts} starts)")
        result = cluster(H, k, method=method, n_starts=how.starts, seed=config.training.seed)
    except DataError as error:
        say(f"warning: no clusters in the page: {error}")
        notes.append("The codes could not be clustered, so the map shows no clusters.")
        return None
    if result.degenerate:
        notes.append(f"The clusters mean little: {result.degenerate}.")
    scores = score_clustering(result, y)
    about = {
        "method": method,
        "sizes": list(result.cluster_sizes),
        "colors": list(range(k)),
        "scores": {name: scores[name] for name in ("acc", "nmi", "ari") if name in scores},
    }
    if y is not None:
        about["colors"] = _matched_colors(y, result.labels, k)
    return _Grouping(result.labels, about)


def _matched_colors(y: npt.NDArray[Any], labels: npt.NDArray[Any], k: int) -> list[int]:
    """Give each cluster the colour of its class, or the next free colour if it has none."""
    classes = np.unique(y).tolist()
    mapping = assign_clusters(y, labels).mapping
    found = {int(c): classes.index(name) for c, name in mapping.items()}
    free = iter(range(len(classes), len(classes) + k))
    return [found[c] if c in found else next(free) for c in range(k)]


def _units(config: Config, H: npt.NDArray[Any] | None) -> dict[str, Any]:
    """Return the range of the base units' sliders, and the units' quantiles over the samples."""
    activation = config.model.base_activation
    bounded = activation in ("sigmoid", "tanh")
    low, high = -1.0 if activation == "tanh" else 0.0, 1.0
    if H is None:
        return {"low": low, "high": high, "quantiles": None, "dead": None}
    quantiles = np.quantile(H.astype(np.float64), [0.05, 0.5, 0.95], axis=0)  # (3, rank)
    return {
        # The slider must reach 1, because the gallery shows each unit at 1.
        "low": low if bounded else min(low, float(H.min())),
        "high": high if bounded else max(high, float(H.max())),
        "quantiles": quantiles.tolist(),
        "dead": dead_units(H).tolist(),
    }


def _image_shape(n_features: int, config: Config, dataset: Dataset | None) -> Sequence[int] | None:
    """Return height and width of a sample, or None if it is not an image."""
    side = math.isqrt(n_features)
    squares = (side, side) if side >= _SMALLEST_SIDE and side * side == n_features else None
    shape = config.data.image_shape or (dataset.image_shape if dataset else squares)
    return shape if shape is not None and math.prod(shape) == n_features else None
