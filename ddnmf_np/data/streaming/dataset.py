"""A data set on disk: all its samples as `Rows`, and some of them in memory to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ddnmf_np.data.datasets import NAMES, Dataset, load_labels, square
from ddnmf_np.data.streaming.rows import WINDOW_MIB, Rows
from ddnmf_np.data.streaming.sources import open_source
from ddnmf_np.errors import UsageError, printable

SCORED = 10_000
"""Largest number of samples to score and draw, that of MNIST's test images."""


def load_streamed(
    path: str,
    *,
    dtype: Any = "float32",
    labels: str | Path | None = None,
    missing: str = "error",
    window_mib: int = WINDOW_MIB,
    scored: int = SCORED,
) -> tuple[Rows, Dataset]:
    """Open a data set that stays on disk.

    Parameters
    ----------
    path : str
        As for `ddnmf_np.data.streaming.sources.open_source`.
    dtype, labels, missing, window_mib : optional
        As for `ddnmf_np.data.datasets.load` and `Rows`.
    scored : int
        Number of samples to read for scoring.

    Returns
    -------
    Rows, Dataset
        All samples, to train on; and at most ``scored`` of them at equal distances, with their
        labels.

    Raises
    ------
    UsageError
        If ``path`` is the name of a data set.
    DataError, BackendError
        As `open_source` and `Rows.read`.
    """
    if path in NAMES:
        raise UsageError(f"stream: {path} fits into memory; leave --stream out")
    source = open_source(path)
    rows = Rows(source, dtype, scale=True, missing=missing, window_mib=window_mib)
    y = None if labels is None else load_labels(labels, len(rows))
    index, x = rows.sample(scored)
    return rows, Dataset(
        name=printable(Path(path.partition("::")[0]).expanduser().resolve().stem),
        x_train=x,
        x_test=None,
        y_train=None if y is None else y[index],
        y_test=None,
        image_shape=source.image_shape or square(rows.shape[1]),
        source=printable(f"{source.name} (streamed; {len(x)} samples scored)"),
        from_bytes=source.dtype == np.uint8,
    )
