"""Data sets by name or by path, checked before the model sees them.

We look for a named data set in ``data_dir``, in the folder of the environment variable
``DDNMF_DATA``, in the user's cache, in Debian's folder for data packages, and finally on the
network (``DDNMF_DATA_URL`` replaces the mirrors by another base address). The SHA-256 of each
decompressed file must be the known one.
"""

import difflib
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.idx import read_idx, sha256_of_decompressed
from ddnmf_np.data.order import epoch_order
from ddnmf_np.errors import DataError, UsageError, printable, shown
from ddnmf_np.system.archives import ArchiveError, NpzArchive, read_npy
from ddnmf_np.system.files import Source, name_of

# The standard names of the four files, each with or without ".gz".
FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
# Of the decompressed files, because copies of one file are compressed in many ways.
SHA256 = {
    "mnist": {
        "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "x_train": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "y_train": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "x_test": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "y_test": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}
NAMES = ("digits", *SHA256)
DEBIAN_FOLDER = Path("/usr/share/datasets")

_DIGITS_TRAIN = 1437  # of 1797, four fifths
_SMALLEST_SIDE = 8  # a table of 9 or 16 columns is not an image
_TIMEOUT_S = 30


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Parameters
    ----------
    name : str
        Name of the set, or of its file or folder.
    x_train, x_test : (n, D), (n_test, D) float array
        Samples: finite, 0 or more, C-contiguous. ``x_test`` may be None.
    y_train, y_test : (n,), (n_test,) int64 array or None
        Labels, for evaluation only.
    image_shape : tuple of two ints or None
        Height and width if a sample is an image; their product is D. We take a flat sample with a
        square number of features, at least 64, for an image.
    source : str
        Origin of the data.
    from_bytes : bool
        Whether the samples were unsigned 8-bit values, which we have divided by 255.
    """

    name: str
    x_train: NDArray[Any]
    x_test: NDArray[Any] | None
    y_train: NDArray[np.int64] | None
    y_test: NDArray[np.int64] | None
    image_shape: tuple[int, int] | None
    source: str
    from_bytes: bool = False


_CHOICES = (
    f"choose from {', '.join(NAMES)}, or give the path of an .npy file, an .npz file or a folder "
    "of IDX files"
)


def load(
    name_or_path: str | Path,
    *,
    data_dir: str | Path | None = None,
    dtype: str | np.dtype[Any] = "float32",
    labels: str | Path | None = None,
    missing: str = "error",
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name_or_path : str or Path
        A name: "digits" (from scikit-learn, with a fixed split), "mnist" or "fashion-mnist" (found
        or downloaded). Or a path: an .npy file of samples; an .npz file with ``x_train`` and
        optionally ``y_train``, ``x_test``, ``y_test`` (or ``x`` and ``y``); or a folder of IDX
        files with the names of MNIST's, at least the training images. Write ``./mnist`` for a
        folder with the name of a set.
    data_dir : str or Path, optional
        First folder to search for a named set; its files may be in a subfolder of that name.
    dtype : {"float32", "float64"}
        Type of the samples. Unsigned 8-bit samples are divided by 255; all others are converted
        as they are.
    labels : str or Path, optional
        An .npy file with one integer for each sample of an .npy file.
    missing : {"error", "nan"}
        Refuse NaN, or take it for a missing entry.

    Returns
    -------
    Dataset
        Samples as rows; images are flattened in C order.

    Raises
    ------
    UsageError
        If the name is unknown, or an argument cannot be used.
    DataError
        If the data cannot be found or read, are negative or not finite, or a file of a named set
        has other content.
    """
    if dtype not in ("float32", "float64"):
        raise UsageError(f"dtype={dtype!r} cannot be used; choose 'float32' or 'float64'")
    name, kind = str(name_or_path), np.dtype(dtype)
    path = Path(name).expanduser()
    if labels is not None and path.suffix.lower() != ".npy":
        raise UsageError(f"labels={str(labels)!r} goes with an .npy file only, not with {name!r}")
    if name_or_path == "":
        raise UsageError(f"the name of the data set is empty; {_CHOICES}")
    named = isinstance(name_or_path, str)  # str(Path("./mnist")) is "mnist", but it is a folder
    if named and name == "digits":
        arrays, source = _digits(), "scikit-learn"
    elif named and name in SHA256:
        arrays, source = _named(name, data_dir)
    else:
        arrays, source = _from_path(path), printable(str(path.resolve()))
        name = printable(path.resolve().stem)

    x_train, image_shape = _samples(arrays["x_train"], f"{source}: x_train", kind, missing)
    x_test = None
    if "x_test" in arrays:
        x_test, _ = _samples(arrays["x_test"], f"{source}: x_test", kind, missing)
        if x_test.shape[1] != x_train.shape[1]:
            raise DataError(
                f"{source}: x_test has {x_test.shape[1]} features and x_train has "
                f"{x_train.shape[1]}; give both the same columns"
            )
    sizes = {"y_train": len(x_train), "y_test": 0 if x_test is None else len(x_test)}
    y: dict[str, Any] = {
        key: _labels(arrays[key], n, f"{source}: {key}") if key in arrays else None
        for key, n in sizes.items()
    }
    if labels is not None:
        y["y_train"] = load_labels(labels, len(x_train))
    return Dataset(
        name,
        x_train,
        x_test,
        **y,
        image_shape=image_shape,
        source=source,
        from_bytes=arrays["x_train"].dtype == np.uint8,
    )


def check_nonnegative(x: Any, name: str, missing: str = "error", first_row: int = 0) -> None:
    """Refuse samples that a non-negative model cannot represent.

    Parameters
    ----------
    x : array of NumPy or CuPy
        Only read. If it passes, no memory of its size is allocated, except for a mask if entries
        may be missing.
    name : str
        Name for error messages.
    missing : {"error", "nan"}
        Refuse NaN, or take it for a missing entry.
    first_row : int
        Number of the first row for error messages, if `x` is a part of the samples.

    Raises
    ------
    DataError
        If `x` is not a real (n, D) array with n, D >= 1, has only missing entries, or holds values
        that are not finite or below 0. The message has their number, the place of the first, and
        the remedy.
    """
    if x.dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {x.dtype}; convert it to real numbers")
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(
            f"{name} has shape {x.shape}; expected (n, D), one row for each sample, "
            "with at least one row and one column"
        )
    low, high = float(x.min()), float(x.max())
    if low >= 0.0 and high < math.inf:  # both false if there is a NaN
        return
    bad, what = ~((x > -math.inf) & (x < math.inf)), "Values that are not finite (NaN or infinite)"
    remedy = (
        "impute or drop them, or take NaN for missing entries with missing='nan'; if values "
        "overflow, scale them or use float64"
    )
    if missing == "nan":
        absent = ~(x <= math.inf)  # of any array module
        if absent.all():
            raise DataError(f"{name} is NaN throughout; give at least one entry that is not")
        bad, what, remedy = bad & ~absent, "Infinite values", "scale them or use float64"
    if not bad.any():
        bad, what = x < 0, "Negative values"  # scikit-learn's checks look for these words
        if not bad.any():
            return
        remedy = "shift the data, clip them at 0, or scale them with MinMaxScaler"
    row, column = divmod(int(bad.argmax()), x.shape[1])
    raise DataError(
        f"{what} in data {name}: {int(bad.sum())} of {x.size}, the first "
        f"{float(x[row, column])} at row {first_row + row}, column {column}; {remedy}"
    )


def _samples(
    x: NDArray[Any], where: str, dtype: np.dtype[Any], missing: str
) -> tuple[NDArray[Any], tuple[int, int] | None]:
    """Return checked, flat, scaled samples and the shape of their images."""
    image_shape = square(x.shape[1]) if x.ndim == 2 else None
    if x.ndim == 3:
        image_shape = (x.shape[1], x.shape[2])
        x = x.reshape(len(x), x.shape[1] * x.shape[2])
    check_nonnegative(x, where, missing)
    if x.dtype == np.uint8:
        x = np.divide(x, 255.0, dtype=dtype, order="C")
    else:
        with np.errstate(over="ignore"):  # checked below
            x = x.astype(dtype, order="C", copy=False)
        check_nonnegative(x, f"{where} as {dtype}", missing)
    return x, image_shape


def square(n_features: int) -> tuple[int, int] | None:
    """Return the shape of the image that we take a flat sample for, or None."""
    side = math.isqrt(n_features)
    return (side, side) if side >= _SMALLEST_SIDE and side * side == n_features else None


def load_labels(path: str | Path, n: int) -> NDArray[np.int64]:
    """Return the labels of ``n`` samples from an .npy file, or raise `DataError`."""
    return _labels(_read_npy(Path(path).expanduser()), n, f"labels {printable(str(path))}")


def _labels(y: NDArray[Any], n: int, where: str) -> NDArray[np.int64]:
    if y.dtype.kind not in "bui" or y.shape != (n,):
        raise DataError(
            f"{where} has shape {y.shape} and dtype {y.dtype}; expected ({n},), one integer "
            "for each sample"
        )
    return y.astype(np.int64)


def _digits() -> dict[str, NDArray[Any]]:
    from sklearn.datasets import load_digits  # late: it takes a second

    x, y = load_digits(return_X_y=True)
    order = epoch_order(len(x), 0, 0)  # unlike NumPy's permutation, the same in every version
    train, test = order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:]
    x = x / 16.0
    return {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}


def _from_path(path: Path) -> dict[str, NDArray[Any]]:
    """Read the user's own files."""
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() == ".npy":
        return {"x_train": _read_npy(path)}
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.exists():
        raise DataError(f"{path}: is neither .npy nor .npz nor a folder of IDX files; convert it")
    if path.name != str(path):
        raise DataError(f"{path}: there is no such file or folder; check the path")
    near = difflib.get_close_matches(path.name.lower(), NAMES, n=1)
    raise UsageError(
        f"data set {path.name!r} is unknown{f'; did you mean {near[0]!r}?' if near else '.'} "
        f"{_CHOICES[0].upper()}{_CHOICES[1:]}"
    )


def _read_folder(folder: Path) -> dict[str, NDArray[Any]]:
    paths = _idx_files(folder)
    if "x_train" not in paths:
        raise DataError(
            f"{folder}: has no file {FILES['x_train']} (or .gz); a folder of IDX files must have "
            f"it, and may have {', '.join(list(FILES.values())[1:])}"
        )
    return {key: read_idx(path) for key, path in paths.items()}


def _idx_files(folder: Path) -> dict[str, Path]:
    """Return those of the four files that a folder has; a plain file goes before its .gz copy."""
    candidates = [(key, folder / f"{FILES[key]}{end}") for end in (".gz", "") for key in FILES]
    # os.path.isfile is False, not an error, in a folder that we may not read.
    return {key: path for key, path in candidates if os.path.isfile(path)}


def _read_npy(source: Source) -> NDArray[Any]:
    with archive_errors(name_of(source)):
        return read_npy(source)


def read_npz(source: Source) -> dict[str, NDArray[Any]]:
    """Return the samples and labels of an .npz file, or of its content, by their `Dataset` names.

    Raises `DataError` if the file cannot be read or has no samples.
    """
    path = name_of(source)
    names = {**{key: key for key in FILES}, "x": "x_train", "y": "y_train"}
    with archive_errors(path), NpzArchive(source) as archive:
        found = archive.keys
        wanted = [key for key in found if key.lower() in names]
        arrays = {names[key.lower()]: archive.read(key) for key in wanted}
    if len(arrays) < len(wanted):
        raise DataError(
            f"{path}: has {', '.join(wanted)}, of which two name the same; keep one of them"
        )
    if "x_train" not in arrays:
        raise DataError(
            f"{path}: has the keys {', '.join(map(shown, found[:20])) or '(none)'}; expected "
            "x_train (and optionally y_train, x_test, y_test), or x and y; rename them"
        )
    return arrays


@contextmanager
def archive_errors(path: str) -> Iterator[None]:
    """Add the name of the file and the remedy to an error of reading it."""
    try:
        yield
    except (ArchiveError, OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(
            f"{printable(path)}: cannot be read ({error}); check the path, and write it with "
            "numpy.save or numpy.savez as plain numbers, not objects"
        ) from error


def _named(name: str, data_dir: str | Path | None) -> tuple[dict[str, NDArray[Any]], str]:
    """Find, verify and read a named set; return it with its source."""
    given = [Path(data_dir).expanduser() / name, Path(data_dir).expanduser()] if data_dir else []
    tried: list[str] = []
    for folder in _folders(name, given):
        paths = _idx_files(folder)
        if len(paths) == len(FILES):
            break
        lacking = ", ".join(FILES[key] for key in FILES if key not in paths)
        tried.append(
            f"{folder}: has no {lacking}" if os.path.isdir(folder) else f"{folder}: no such folder"
        )
    else:
        folder = cache_folder(name)
        paths = _download(name, folder, tried)
    source = str(folder)
    if given and folder not in given:
        source += f" (not found in {data_dir})"
    return {key: _read_verified(name, key, paths[key]) for key in FILES}, source


def _folders(name: str, given: list[Path]) -> Iterator[Path]:
    """Yield the folders that may have a named set; the cache only if those before it do not."""
    yield from given
    if root := os.environ.get("DDNMF_DATA"):
        yield Path(root).expanduser() / name
        yield Path(root).expanduser()
    yield cache_folder(name)
    yield DEBIAN_FOLDER / name


def cache_folder(name: str) -> Path:
    """Return the folder of a named set in the user's cache; raises as `_import_late`."""
    return Path(_import_late("platformdirs").user_cache_dir("ddnmf_np")) / name


def _import_late(package: str) -> Any:
    """Import a package that only named data sets need, so that all else works without it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise DataError(
            f"mnist and fashion-mnist need the package {package}, which cannot be imported "
            f"({error}); pip install {package}, or name the folder that has the set's files with "
            "--data-dir (data_dir) or the environment variable DDNMF_DATA"
        ) from error


def _read_verified(name: str, key: str, path: Path) -> NDArray[Any]:
    found, expected = sha256_of_decompressed(path), SHA256[name][key]
    if found != expected:
        raise DataError(
            f"{path}: is not {name}'s file: its content has the SHA-256 {found}, expected "
            f"{expected}; delete or replace it, or choose another folder with data_dir "
            f"(--data-dir); to load your own data give their folder in place of {name!r}"
        )
    return read_idx(path)


def _download(name: str, folder: Path, tried: list[str]) -> dict[str, Path]:
    """Fetch the files that `folder` lacks; each appears there whole and verified, or not at all."""
    base = os.environ.get("DDNMF_DATA_URL")
    mirrors = (f"{base.rstrip('/')}/{name}/",) if base else MIRRORS[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as temporary:
            there = _idx_files(folder)
            for key in [key for key in FILES if key not in there]:
                file = f"{FILES[key]}.gz"
                partial = Path(temporary, file)
                sha256 = SHA256[name][key]
                if not any(_fetch(mirror + file, partial, sha256, tried) for mirror in mirrors):
                    break
                os.replace(partial, folder / file)
            else:
                return _idx_files(folder)
    except OSError as error:
        tried.append(f"{folder}: cannot be written ({error})")
    debian = ", or install Debian's package dataset-fashion-mnist"
    raise DataError(
        f"{name} was not found. Tried, in this order:\n  "
        + "\n  ".join(tried)
        + f"\nPut {', '.join(FILES.values())} (each as it is or as .gz) into one folder, and name "
        "that folder with --data-dir (data_dir) or the environment variable DDNMF_DATA"
        + (debian if name == "fashion-mnist" else "")
    )


def _fetch(url: str, path: Path, sha256: str, tried: list[str]) -> bool:
    """Download and verify one file; add the reason to `tried` if that fails."""
    get = _import_late("pooch").HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_S)
    try:
        get(url, str(path), None)
        found = sha256_of_decompressed(path)
    except (OSError, DataError) as error:
        tried.append(f"{url}: {error}")
        return False
    if found != sha256:
        tried.append(f"{url}: its content has the SHA-256 {found}, expected {sha256}")
    return found == sha256
