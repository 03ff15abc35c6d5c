"""Real images for the notebooks, without a download."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.datasets import DEBIAN_FOLDER, FILES, NAMES, Dataset, cache_folder, load
from ddnmf_np.errors import UsageError


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

    We look for MNIST and Fashion-MNIST in the folder ``DDNMF_DATA``, in the user's cache and in
    Debian's folder for data packages, and never download them. If they are missing, you get
    scikit-learn's 8 x 8 digits, and a printed sentence says so.

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
    found = name if name == "digits" or _on_disk(name) else "digits"
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


@lru_cache(maxsize=1)
def _load(name: str) -> Dataset:
    return load(name)


def _on_disk(name: str) -> bool:
    """Return whether `load` finds the data set without a download."""
    root = os.environ.get("DDNMF_DATA")
    folders = [Path(root).expanduser() / name, Path(root).expanduser()] if root else []
    folders += [cache_folder(name), DEBIAN_FOLDER / name]
    return any(
        all(
            any(os.path.isfile(folder / f"{file}{end}") for end in ("", ".gz"))
            for file in FILES.values()
        )
        for folder in folders
    )
