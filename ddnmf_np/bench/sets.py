"""Data sets that ship inside packages, for ``python -m ddnmf_np.bench data``."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.datasets import load

Samples = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]
"""Samples as rows, and their classes if there are some."""

PIXELS = 8
"""Height and width of a patch."""


class Set(NamedTuple):
    """A data set: its loader, the ranks that we measure, and the package that it may lack."""

    load: Callable[[str | None], Samples]
    ranks: tuple[int, ...]
    needs: str = ""


def _table(name: str, folder: str | None) -> Samples:
    from sklearn import datasets  # late: it takes a second

    if name == "linnerud":
        both = datasets.load_linnerud()
        return np.hstack([both.data, both.target]).astype(float), None
    if name == "diabetes":  # in their own units; what it has for a target are no classes
        return datasets.load_diabetes(scaled=False).data, None
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return x.astype(float), y


def _faces(folder: str | None) -> Samples:
    from skimage import data

    x = data.lfw_subset()
    return x.reshape(len(x), -1).astype(np.float32), np.arange(len(x)) // 100  # faces, then none


def _river(name: str, folder: str | None) -> Samples:
    from river import datasets

    rows = [(list(x.values()), y) for x, y in getattr(datasets, name)()]
    y = np.array([y for _, y in rows]) if isinstance(rows[0][1], str) else None
    x = np.array([x for x, _ in rows], float)
    return x - x.min(axis=0), y  # some features are differences


def _textures(folder: str | None) -> Samples:
    from skimage import data

    names = ("brick", "grass", "gravel")
    x = [_patches(getattr(data, name)(), 1000, seed) for seed, name in enumerate(names)]
    return np.vstack(x), np.repeat(np.arange(3), 1000)


def _photograph(name: str, folder: str | None) -> Samples:
    from sklearn.datasets import load_sample_image

    return _patches(load_sample_image(f"{name}.jpg").mean(axis=-1), 3000, 0), None


def _patches(image: npt.NDArray[Any], count: int, seed: int) -> npt.NDArray[Any]:
    """Return patches of an image at random places, shape (count, PIXELS**2)."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, size - PIXELS, count) for size in image.shape)
    places = zip(rows, columns, strict=True)
    found = [image[i : i + PIXELS, j : j + PIXELS].ravel() for i, j in places]
    return np.array(found, np.float32)


def _words(texts: Callable[[], list[str]], folder: str | None) -> Samples:
    """Return counts of the 200 most frequent words in each text."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(stop_words="english", max_features=200).fit_transform(texts())
    return counts.toarray().astype(np.float32), None


def _docstrings() -> list[str]:
    """Return the docstrings of scikit-learn's public modules with more than 300 characters."""
    import sklearn

    files = sorted(Path(sklearn.__file__).parent.glob("*/*.py"))
    trees = [ast.parse(file.read_text("utf-8")) for file in files if file.parent.name != "tests"]
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [
        ast.get_docstring(n) or "" for tree in trees for n in ast.walk(tree) if isinstance(n, kinds)
    ]
    return [text for text in found if len(text) > 300]


def _manual() -> list[str]:
    """Return Python's manual of topics in pieces of 400 to 1,500 characters."""
    from pydoc_data.topics import topics

    pieces = [text[at : at + 1500] for text in topics.values() for at in range(0, len(text), 1500)]
    return [piece for piece in pieces if len(piece) > 400]


def _images(name: str, folder: str | None) -> Samples:
    data = load(name, data_dir=folder)
    return data.x_train, data.y_train


SETS = {
    "iris": Set(partial(_table, "iris"), (2,)),
    "wine": Set(partial(_table, "wine"), (5,)),
    "breast_cancer": Set(partial(_table, "breast_cancer"), (5, 10)),
    "diabetes": Set(partial(_table, "diabetes"), (5,)),
    "linnerud": Set(partial(_table, "linnerud"), (3,)),
    "digits": Set(partial(_table, "digits"), (10, 20)),
    "faces": Set(_faces, (10,), "skimage"),
    "textures": Set(_textures, (10,), "skimage"),
    "china": Set(partial(_photograph, "china"), (10,)),
    "flower": Set(partial(_photograph, "flower"), (10,)),
    "docstrings": Set(partial(_words, _docstrings), (10,)),
    "manual": Set(partial(_words, _manual), (10,)),
    "segments": Set(partial(_river, "ImageSegments"), (5,), "river"),
    "yeast": Set(partial(_river, "Yeast"), (10,), "river"),
    "fashion-mnist": Set(partial(_images, "fashion-mnist"), (10,)),
    "mnist": Set(partial(_images, "mnist"), (10, 20)),
}
"""By name; what takes longest comes last."""
