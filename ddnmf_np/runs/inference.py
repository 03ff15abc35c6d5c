"""A trained model of a run at work on other samples: codes, output, clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.backends.ops import Ops
from ddnmf_np.data.datasets import NAMES, read_arrays
from ddnmf_np.data.streaming.sources import SlicedSource, Source, is_stream_path, open_source
from ddnmf_np.data.tables import is_table, read_table
from ddnmf_np.errors import CheckpointError, DataError
from ddnmf_np.evaluation.clustering import cluster
from ddnmf_np.runs.checkpoint import Checkpoint

What = Literal["codes", "clusters", "denoised", "imputed"]
"""Results: H, the cluster of each code, the student's output, or the samples with gaps filled."""

BLOCK_BYTES = 2**23
"""About the size of the samples that are in memory at a time."""


class Inference:
    """A trained model, and the intake that checks samples as its run took them.

    The model itself checks nothing. Raises `CheckpointError` if the parameters are not those of the
    architecture, or not finite.
    """

    def __init__(self, checkpoint: Checkpoint, ops: Ops | None = None) -> None:
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.model, self.intake = checkpoint.restore_model(ops, checked=False), checkpoint.intake
        if not self.model.all_finite():
            raise CheckpointError(
                f"{checkpoint.path}: has values that are not finite; train again with a smaller lr"
            )

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the features, if the run's data had some."""
        found: list[str] | None = self.checkpoint.about.get("feature_names")
        return found

    def of(self, what: What, x: Any, where: str = "X", first_row: int = 0) -> NDArray[Any]:
        """Return codes (n, rank), or the other results (n, n_features); raises as `Intake.take`.

        Clusters are not among these results, because they need all samples: see `results`.
        """
        samples = self.intake.take(x, where, first_row)
        work = self.model.encode if what == "codes" else self.model.denoise
        found: NDArray[Any] = self.model.ops.to_host(work(samples))
        if what != "imputed":
            return found
        # What is known keeps its precision, or its unit if 8-bit values were divided.
        known = samples if self.intake.from_bytes else np.asarray(x).reshape(samples.shape)
        return np.where(np.isnan(samples), found, known)


@dataclass(frozen=True, eq=False)
class Input:
    """Raw samples that are read a block at a time, and notes on what their file is."""

    source: Source
    row_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the first row and the rows of each block."""
        n, n_features = self.source.shape
        chunk = min(self.source.chunk_rows, n)
        wanted = max(1, BLOCK_BYTES // (n_features * max(self.source.dtype.itemsize, 4)))
        rows = chunk * max(1, wanted // chunk)
        for start in range(0, n, rows):
            yield start, self.source.rows(start, min(start + rows, n))


def open_input(path: str, inference: Inference) -> Input:
    """Open samples for a trained model: whatever ``--dataset`` of `ddnmf_np.train` takes.

    Of a set with a test split we take the training samples and then the test samples. If the model
    knows the names of its features, they are chosen from a table by name; else its labels and
    columns to leave out are those of the run. Raises `DataError`, `UsageError` or `BackendError` as
    `ddnmf_np.data.datasets.load` and `open_source`; and if the number of features or their names
    are not those of the model.
    """
    data, names = inference.config.data, inference.feature_names
    file = Path(path.partition("::")[0]).expanduser()
    row_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    if path not in NAMES and is_table(file) and file.exists():
        own = names is None  # a table without a header
        table = read_table(
            file,
            labels=data.labels if own else None,
            ignore=(data.ignore or ()) if own else (),
            features=names,
        )
        source: Source = SlicedSource(table.x, str(file))
        row_names, notes = table.rows, table.notes
    elif path not in NAMES and (is_stream_path(path) or _is_by_rows(file)):
        source = open_source(path)
        row_names = source.row_names
    else:
        arrays, where = read_arrays(path, data.data_dir)
        parts = [arrays[key] for key in ("x_train", "x_test") if key in arrays]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        source = SlicedSource(whole, where)
    if source.shape[1] != inference.model.n_features:
        raise DataError(
            f"{source.name}: has {source.shape[1]} features, but the model of the run takes "
            f"{inference.model.n_features}; give samples with the same columns"
        )
    if names is not None and source.feature_names not in (None, tuple(names)):
        raise DataError(
            f"{source.name}: has other features than the run's data, or in another order; give "
            "the same columns in the same order"
        )
    return Input(source, row_names, notes)


def _is_by_rows(file: Path) -> bool:
    """Return whether this is an .npy file that can be read a block of rows at a time."""
    try:
        return file.suffix.lower() == ".npy" and bool(open_source(file).shape)
    except DataError:
        return False  # stored by columns, or damaged: reading it as a whole says so


def results(
    inference: Inference, data: Input, what: What, n_clusters: int | None = None
) -> Iterator[NDArray[Any]]:
    """Yield the results a block at a time, in the order of the rows.

    Clusters are found among the codes of these samples, by the run's method; they come as one
    block. Their number is by default `usual_clusters`. Raises `DataError` as `Intake.take`; and of
    clusters if there are fewer samples than clusters.
    """
    name, found = data.source.name, []
    for start, raw in data.blocks():
        if what == "clusters":
            found.append(inference.of("codes", raw, name, start))
        else:
            yield inference.of(what, raw, name, start)
    if what == "clusters":
        how = inference.config.evaluation
        k = n_clusters or usual_clusters(inference)
        seed = inference.config.training.seed
        codes = np.concatenate(found)
        yield cluster(codes, k, method=how.drawn, n_starts=how.starts, seed=seed).labels[:, None]


def usual_clusters(inference: Inference) -> int:
    """Return the number of clusters of the run."""
    config = inference.config
    return inference.checkpoint.about.get("n_clusters") or config.model.rank
