"""Real images for the notebooks, without a download."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.datasets import NAMES, Dataset, load, on_disk
from ddnmf_np.errors import UsageError
from ddnmf_np.system.archives import NpzArchive
from ddnmf_np.teaching.cells import beside_notebooks

SHIPPED = Path("data") / "mnist-6000.npz"
"""The images of MNIST that lie beside the notebooks: 5,000 for training and 1,000 for testing."""


class Images(NamedTuple):
    """Images as rows.

    Attributes
    ----------
    x : ndarray of shape (n, D), float32
        Pixels in [0, 1].
    labels : ndarray of shape (n,), int64
        Class of each image; for looking at results, never for training.
    shape : tuple of two ints
        Height and width; their product is D.
    """

    x: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    shape: tuple[int, int]


def images(
    n: int | None = None, name: str = "mnist", split: Literal["train", "test"] = "train"
) -> Images:
    """Return the first images of a data set that is on this computer.

    For MNIST we take the 6,000 images that lie beside the notebooks, so that every reader sees
    the same pictures. If they are missing or too few, we look for the whole sets in the folder
    ``DDNMF_DATA``, in the user's cache and in Debian's folder for data packages. We never download
    them. If they are missing too, you get scikit-learn's 8 x 8 digits, and a printed sentence says
    so.

    Parameters
    ----------
    n : int, optional
        Number of images; all if not given, or if there are fewer.
    name : {"mnist", "fashion-mnist", "digits"}
        Data set.
    split : {"train", "test"}
        Part of the data set.

    Returns
    -------
    Images
        ``x, labels, shape``; new arrays, which you may change.

    Raises
    ------
    UsageError
        If an argument is not allowed.
    DataError
        If the files are there but are not those of the data set.
    """
    if name not in NAMES:
        raise UsageError(f"name is {name!r}; choose one of {', '.join(NAMES)}")
    if split not in ("train", "test"):
        raise UsageError(f"split is {split!r}; choose 'train' or 'test'")
    if n is not None and n < 1:
        raise UsageError(f"n is {n}; expected at least 1")
    shipped = _shipped(split) if name == "mnist" and n is not None else None
    if shipped is not None and n is not None and n <= len(shipped.x):
        return Images(shipped.x[:n], shipped.labels[:n], shipped.shape)
    found = name if name == "digits" or on_disk(name) else "digits"
    if found != name:
        print(
            f"{name} is not on this computer: these are scikit-learn's 8 x 8 digits instead. "
            f"(To download it once: from ddnmf_np.data.datasets import load; load({name!r}))"
        )
    data = _load(found)
    x, y = (data.x_train, data.y_train) if split == "train" else (data.x_test, data.y_test)
    # The named sets have labels and both splits, and their samples are images.
    assert x is not None
    assert y is not None
    assert data.image_shape is not None
    return Images(x[:n].copy(), y[:n].copy(), data.image_shape)


def _shipped(split: str) -> Images | None:
    """Return the images that lie beside the notebooks."""
    path = beside_notebooks(SHIPPED)
    if path is None:
        return None
    with NpzArchive(path) as archive:
        x = archive.read(f"x_{split}").astype(np.float32) / np.float32(255)
        return Images(x, archive.read(f"y_{split}").astype(np.int64), (28, 28))


@lru_cache(maxsize=1)
def _load(name: str) -> Dataset:
    return load(name)
