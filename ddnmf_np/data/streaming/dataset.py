"""A data set on disk: all its samples as `Rows`, and some of them in memory to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.datasets import NAMES, Dataset, as_labels, load_labels, square
from ddnmf_np.data.streaming.rows import WINDOW_MIB, Rows
from ddnmf_np.data.streaming.sources import Share, Source, open_source
from ddnmf_np.errors import OptionError, UsageError, printable, shown

SCORED = 10_000
"""Largest number of samples to score and draw, that of MNIST's test images."""


def load_streamed(
    path: str,
    *,
    source: Source | None = None,
    dtype: Any = "float32",
    labels: str | Path | None = None,
    missing: str = "error",
    window_mib: int = WINDOW_MIB,
    scored: int = SCORED,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> tuple[Rows, Dataset]:
    """Open a data set that stays on disk.

    `open_source` opens the path, unless ``source`` is given. ``scored`` is the number of samples to
    read for scoring. A ``test_fraction`` is held out for that, at equal distances; see `Share`.

    The rows are all samples, to train on, except those held out. The data set has at most
    ``scored`` of them at equal distances, with their labels. If some are held out, its test split
    has at most ``scored`` of those. Raises `UsageError` if ``path`` is the name of a data set, and
    `DataError` or `BackendError` as `open_source` and `Rows.read`.
    """
    if path in NAMES:
        raise UsageError(f"stream: {path} fits into memory; leave --stream out")
    source = source or open_source(path)
    y, classes = (None, None) if labels is None else _labels(source, str(labels))
    parts: list[Source] = [source]
    if test_fraction > 0.0 and source.shape[0] > 1:
        parts = [Share(source, test_fraction, seed, held_out=held) for held in (False, True)]
    found = []
    for part in parts:
        rows = Rows(part, dtype, scale=True, missing=missing, window_mib=window_mib)
        index, x = rows.sample(scored if part is parts[-1] else 1)
        places = part.index[index] if isinstance(part, Share) else index
        found.append((rows, x, None if y is None else y[places]))
    rows, x, y_train = found[0]
    x_test, y_test = found[1][1:] if len(found) > 1 else (None, None)
    return rows, Dataset(
        name=printable(Path(path.partition("::")[0]).expanduser().resolve().stem),
        x_train=x,
        x_test=x_test,
        y_train=y_train,
        y_test=y_test,
        image_shape=source.image_shape or (None if source.feature_names else square(x.shape[1])),
        source=printable(f"{source.name} (streamed; {len(found[-1][1])} samples scored)"),
        feature_names=source.feature_names,
        class_names=classes,
        from_bytes=source.dtype == np.uint8,
    )


def _labels(source: Source, labels: str) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Return the labels of all samples, from a column beside them or from a file."""
    n = source.shape[0]
    column = source.column(labels)
    if column is not None:
        return as_labels(column, n, f"{source.name}: column {shown(labels)}")
    if source.feature_names is not None and not Path(labels).expanduser().exists():
        raise OptionError(
            "labels", f"is {shown(labels)}, neither a column of obs in {source.name} nor a file"
        )
    return load_labels(labels, n)
