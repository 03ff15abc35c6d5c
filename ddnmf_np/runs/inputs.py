"""The data of a run: read as its options say, with rows held out for scores."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ddnmf_np.config import Config, configure
from ddnmf_np.data.datasets import NAMES, Dataset, hold_out, load
from ddnmf_np.data.streaming.dataset import SCORED, load_streamed
from ddnmf_np.data.streaming.rows import fingerprint
from ddnmf_np.data.streaming.sources import is_stream_path, open_source
from ddnmf_np.errors import OptionError

SHARE, MOST, FEWEST = 0.2, SCORED, 20
"""Share of a file's rows that we hold out by default, and their largest and smallest number."""


def read_data(config: Config, *, scored: int = SCORED) -> tuple[Any, Dataset, Config]:
    """Read the data of a run; of what is streamed at most ``scored`` samples for scoring.

    The result is the samples to train on, an array of shape (n, n_features) or `Rows`; the samples
    that are scored, and the names that the file has; and the options, in which ``test_fraction`` is
    decided. Raises `DataError`, `UsageError` or `BackendError` as `ddnmf_np.data.datasets.load` and
    `load_streamed`.
    """
    data = config.data
    options: dict[str, Any] = {
        "dtype": config.training.dtype,
        "labels": data.labels,
        "missing": data.missing,
    }
    if data.stream or (data.dataset not in NAMES and is_stream_path(data.dataset)):
        source = None if data.dataset in NAMES else open_source(data.dataset)
        if data.ignore:
            raise OptionError("ignore", f"is {data.ignore}, but {data.dataset} is streamed")
        if source is not None:
            config = _decided(config, source.shape[0], 0)
        rows, dataset = load_streamed(
            data.dataset,
            source=source,
            window_mib=data.stream_window,
            scored=scored,
            test_fraction=config.data.test_fraction or 0.0,
            seed=config.training.seed,
            **options,
        )
        return rows, dataset, config
    dataset = load(data.dataset, data_dir=data.data_dir, ignore=data.ignore or (), **options)
    if dataset.x_test is not None:
        if data.test_fraction:
            raise OptionError(
                "test_fraction",
                f"is {data.test_fraction:g}, but {dataset.name} has a test split; leave it out",
            )
        return dataset.x_train, dataset, configure(config, test_fraction=0.0)
    classes = 0 if dataset.y_train is None else len(np.unique(dataset.y_train))
    config = _decided(config, len(dataset.x_train), classes)
    dataset = hold_out(dataset, config.data.test_fraction or 0.0, config.training.seed)
    return dataset.x_train, dataset, config


def with_held_out(sha256: str, dataset: Dataset, config: Config) -> str:
    """Return the fingerprint of a file's rows, from that of the training rows.

    A run that goes on must find the held-out rows as they were, too, or its scores would be of
    others.
    """
    if not config.data.test_fraction or dataset.x_test is None:
        return sha256
    return hashlib.sha256(f"{sha256} {fingerprint(dataset.x_test)}".encode()).hexdigest()


def _decided(config: Config, n: int, classes: int) -> Config:
    """Return the options with a decided share of ``n`` rows to hold out."""
    if config.data.test_fraction is not None:
        return config
    clusters = config.evaluation.clusters or max(config.model.rank, classes)
    count = min(round(SHARE * n), MOST)
    batch = 1 if "batch_size" in config.undecided else config.training.batch_size
    fits = count >= max(FEWEST, 2 * clusters) and n - count >= batch
    share = SHARE if count < MOST else MOST / n
    return configure(config, test_fraction=share if fits else 0.0)
