"""Data sets by name or by path, checked before the model sees them.

We look for a named data set in ``data_dir``, in the folder of the environment variable
``DDNMF_DATA``, in the user's cache, in Debian's folder for data packages, and finally on the
network (``DDNMF_DATA_URL`` replaces the mirrors by another base address). The SHA-256 of each
decompressed file must be the known one.
"""

import difflib
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.checks import check_nonnegative
from ddnmf_np.data.idx import read_idx, sha256_of_decompressed
from ddnmf_np.data.order import epoch_order
from ddnmf_np.data.sparse import dense, is_sparse, read_sparse
from ddnmf_np.data.tables import TEXT, is_table, read_column, read_table
from ddnmf_np.errors import DataError, OptionError, UsageError, printable, shown, suggestion
from ddnmf_np.system.archives import ArchiveError, NpzArchive, read_npy
from ddnmf_np.system.files import Source, name_of
from ddnmf_np.system.needed import needed

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
_HELD_OUT = 2**32 - 1  # the epoch whose order decides; no run has so many
_SMALLEST_SIDE = 8  # a table of 9 or 16 columns is not an image
_TIMEOUT_S = 30
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


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
    feature_names, row_names : tuple of str, or None
        Names of the features and of the training samples, where the file has some.
    class_names : tuple of str, or None
        Name of each label, if the labels were text; labels are places in it.
    notes : tuple of str
        What we have recognized in the file, for the user to check.
    from_bytes : bool
        Whether the samples were unsigned 8-bit values, which are divided by 255.
    """

    name: str
    x_train: NDArray[Any]
    x_test: NDArray[Any] | None
    y_train: NDArray[np.int64] | None
    y_test: NDArray[np.int64] | None
    image_shape: tuple[int, int] | None
    source: str
    feature_names: tuple[str, ...] | None = None
    row_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    from_bytes: bool = False

    def named(self, labels: NDArray[np.int64]) -> NDArray[Any]:
        """Return labels as names of their classes; as they are if the classes have no names."""
        return labels if self.class_names is None else np.array(self.class_names)[labels]


_CHOICES = (
    f"choose from {', '.join(NAMES)}, or give the path of a file (.csv, .tsv, .parquet, .npy, "
    ".npz, .h5ad, .h5, .zarr) or a folder of IDX files"
)


def load(
    name_or_path: str | Path,
    *,
    data_dir: str | Path | None = None,
    dtype: str | np.dtype[Any] = "float32",
    labels: str | Path | None = None,
    ignore: Sequence[str] = (),
    missing: str = "error",
    features: Sequence[str] | None = None,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name_or_path : str or Path
        A name: "digits" (from scikit-learn, with a fixed split), "mnist" or "fashion-mnist" (found
        or downloaded). Or a path: a table (see `ddnmf_np.data.tables.read_table`); an .npy file of
        samples; an .npz file with ``x_train`` and optionally ``y_train``, ``x_test``, ``y_test``
        (or ``x`` and ``y``), or one of ``scipy.sparse.save_npz``; or a folder of IDX files with the
        names of MNIST's, at least the training images. Write ``./mnist`` for a folder with the name
        of a set.
    data_dir : str or Path, optional
        First folder to search for a named set; its files may be in a subfolder of that name.
    dtype : {"float32", "float64"}
        Type of the samples. Unsigned 8-bit samples are divided by 255; all others are converted
        as they are.
    labels : str or Path, optional
        Name of a column of a table; or a file with one label for each sample, whole numbers or
        text: an .npy file, or a text file with a label in each line and a header or none.
    ignore : sequence of str
        Names of columns of a table that are left out.
    missing : {"error", "nan"}
        Refuse NaN, or take it for a missing entry.
    features : sequence of str, optional
        Names of the columns of a table to take; by default all that are numbers.

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
    if name_or_path == "":
        raise UsageError(f"the name of the data set is empty; {_CHOICES}")
    # str(Path("./mnist")) is "mnist", but it is a folder.
    named = isinstance(name_or_path, str) and name in NAMES
    if not named:
        name = printable(path.resolve().stem)
        if is_table(path) and path.exists():
            source = printable(str(path.resolve()))
            return _from_table(path, name, source, kind, missing, labels, ignore, features)
    arrays, source = read_arrays(name_or_path, data_dir)
    if ignore:
        raise OptionError("ignore", f"is {shown(list(ignore))}, but {source} has no named columns")
    if labels is not None and (named or "y_train" in arrays or "x_test" in arrays or path.is_dir()):
        raise OptionError(
            "labels", f"is {str(labels)!r}, but {name_or_path} has labels of its own; leave it out"
        )
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
        key: as_labels(arrays[key], n, f"{source}: {key}")[0] if key in arrays else None
        for key, n in sizes.items()
    }
    classes = None
    if labels is not None:
        y["y_train"], classes = load_labels(labels, len(x_train))
    return Dataset(
        name,
        x_train,
        x_test,
        **y,
        image_shape=image_shape,
        source=source,
        class_names=classes,
        from_bytes=arrays["x_train"].dtype == np.uint8,
    )


def read_arrays(
    name_or_path: str | Path, data_dir: str | Path | None = None
) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the arrays of a data set as they are stored, by their `Dataset` names, and the origin.

    Parameters and errors are those of `load`; a table is none of the files.
    """
    if isinstance(name_or_path, str) and name_or_path in NAMES:
        if name_or_path == "digits":
            return _digits(), "scikit-learn"
        return _named(name_or_path, data_dir)
    path = Path(name_or_path).expanduser()
    return _from_path(path), printable(str(path.resolve()))


def _from_table(
    path: Path,
    name: str,
    source: str,
    dtype: np.dtype[Any],
    missing: str,
    labels: str | Path | None,
    ignore: Sequence[str],
    features: Sequence[str] | None,
) -> Dataset:
    column = None if labels is None else str(labels)
    table = read_table(path, labels=column, ignore=ignore, features=features)
    x, image_shape = _samples(table.x, source, dtype, missing, table.features)
    if len({re.sub("[0-9]+", "#", feature) for feature in table.features or ()}) > 1:
        image_shape = None  # the features of images have no names, or numbered ones
    y, classes = None, None
    if table.labels is not None:
        y, classes = as_labels(table.labels, len(x), f"{source}: column {column!r}")
    elif column is not None:
        if not Path(column).expanduser().exists():
            near = suggestion(column, table.features or ()) or "check its name"
            raise OptionError(
                "labels", f"is {shown(column)}, neither a column of {source} nor a file; {near}"
            )
        y, classes = load_labels(column, len(x))
    return Dataset(
        name,
        x,
        None,
        y,
        None,
        image_shape,
        source,
        feature_names=table.features,
        row_names=table.rows,
        class_names=classes,
        notes=table.notes,
    )


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Move some training samples to the test split, which only scores see.

    The data set has no test split yet. ``fraction`` is in [0, 1); at least one sample stays. The
    same seed moves the same samples.
    """
    n = len(dataset.x_train)
    count = min(round(fraction * n), n - 1)
    if count < 1:
        return dataset
    order = epoch_order(n, seed, _HELD_OUT)
    train, test = np.sort(order[count:]), np.sort(order[:count])
    y, names = dataset.y_train, dataset.row_names
    return replace(
        dataset,
        x_train=dataset.x_train[train],
        x_test=dataset.x_train[test],
        y_train=None if y is None else y[train],
        y_test=None if y is None else y[test],
        row_names=None if names is None else tuple(names[k] for k in train.tolist()),
    )


def _samples(
    x: NDArray[Any],
    where: str,
    dtype: np.dtype[Any],
    missing: str,
    columns: Sequence[str] | None = None,
) -> tuple[NDArray[Any], tuple[int, int] | None]:
    """Return checked, flat, scaled samples and the shape of their images."""
    image_shape = square(x.shape[1]) if x.ndim == 2 else None
    if x.ndim == 3:
        image_shape = (x.shape[1], x.shape[2])
        x = x.reshape(len(x), x.shape[1] * x.shape[2])
    check_nonnegative(x, where, missing, columns=columns)
    if x.dtype == np.uint8:
        x = np.divide(x, 255.0, dtype=dtype, order="C")
    else:
        with np.errstate(over="ignore"):  # checked below
            x = x.astype(dtype, order="C", copy=False)
        check_nonnegative(x, f"{where} as {dtype}", missing, columns=columns)
    return x, image_shape


def square(n_features: int) -> tuple[int, int] | None:
    """Return the shape of the image that we take a flat sample for, or None."""
    side = math.isqrt(n_features)
    return (side, side) if side >= _SMALLEST_SIDE and side * side == n_features else None


def load_labels(path: str | Path, n: int) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Return the labels of ``n`` samples from a file and, if they are text, the classes' names.

    The file is an .npy file, or a text file with a label in each line and a header or none. Raises
    `DataError` if it cannot be read, or has not one label for each sample.
    """
    file = Path(path).expanduser()
    where = f"labels {printable(str(path))}"
    if file.suffix.lower() == ".npy":
        with archive_errors(where):
            found = read_npy(file, text=True)
        return as_labels(found, n, where)
    if file.suffix.lower() not in TEXT:
        raise DataError(
            f"{where}: is neither an .npy file nor text ({', '.join(TEXT)}); convert it, or name a "
            "column of the data set"
        )
    found = read_column(file)
    return as_labels(found[1:] if len(found) == n + 1 else found, n, where)


def as_labels(
    y: NDArray[Any], n: int, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Return labels as whole numbers and, if they are text, the classes' names.

    ``y``, (n,), has whole numbers of any type, or texts; texts that are all whole numbers are taken
    for those. Raises `DataError` if there is not one whole number, or one text that is not empty,
    for each sample; ``where`` is their name for the message.
    """
    if y.dtype.kind not in "buifSU" or y.shape != (n,):
        raise DataError(
            f"{where} has shape {y.shape} and dtype {y.dtype}; expected ({n},), one whole number "
            "or text for each sample"
        )
    if y.dtype.kind in "SU":
        try:
            texts = [str(text).strip() for text in y.astype(str).tolist()]
        except ValueError as error:  # bytes that are no text
            raise DataError(f"{where}: cannot be read as text ({error}); save it again") from error
        if "" in texts:
            raise DataError(f"{where}: the label of row {texts.index('')} is missing; fill it in")
        if not all(map(_WHOLE.fullmatch, texts)):
            names, places = np.unique(np.array(texts), return_inverse=True)
            return places.astype(np.int64), tuple(names.tolist())
        y = np.array([int(text.partition(".")[0]) for text in texts])
    with np.errstate(invalid="ignore"):  # NaN and what is too large differ from any result
        whole = y.astype(np.int64)
    if (differ := whole != y).any():
        row = int(differ.argmax())
        raise DataError(
            f"{where}: the label of row {row} is {y[row]}; expected a whole number or text"
        )
    return whole, None


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
        with archive_errors(str(path)):
            return {"x_train": read_npy(path)}
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.exists():
        raise DataError(
            f"{path}: is of no known kind (.csv, .tsv, .txt, .parquet, .npy, .npz, .h5ad, .h5, "
            ".zarr, or a folder of IDX files); convert it"
        )
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


def read_npz(source: Source) -> dict[str, NDArray[Any]]:
    """Return the samples and labels of an .npz file, or of its content, by their `Dataset` names.

    Raises `DataError` if the file cannot be read or has no samples.
    """
    path = name_of(source)
    names = {**{key: key for key in FILES}, "x": "x_train", "y": "y_train"}
    with archive_errors(path), NpzArchive(source) as archive:
        if is_sparse(archive):
            return {"x_train": dense(read_sparse(archive, path), path)}
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
            "x_train (and optionally y_train, x_test, y_test), or x and y, or those of "
            "scipy.sparse.save_npz; rename them"
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


def on_disk(name: str) -> bool:
    """Return whether `load` finds a named set without a download."""
    return any(len(_idx_files(folder)) == len(FILES) for folder in _folders(name, []))


def cache_folder(name: str) -> Path:
    """Return the folder of a named set in the user's cache; raises `DataError`."""
    return Path(_import_late("platformdirs").user_cache_dir("ddnmf_np")) / name


def _import_late(package: str) -> Any:
    """Import a package that only named data sets need, so that all else works without it."""
    remedy = (
        f"pip install {package}, or name the folder that has the set's files with --data-dir "
        "(data_dir) or the environment variable DDNMF_DATA"
    )
    return needed(package, "the search for mnist or fashion-mnist", remedy, DataError)


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
    bar = sys.stderr is not None and sys.stderr.isatty()  # None: closed before Python began
    get = _import_late("pooch").HTTPDownloader(progressbar=bar, timeout=_TIMEOUT_S)
    try:
        get(url, str(path), None)
        found = sha256_of_decompressed(path)
    except (OSError, DataError) as error:
        tried.append(f"{url}: {error}")
        return False
    if found != sha256:
        tried.append(f"{url}: its content has the SHA-256 {found}, expected {sha256}")
    return found == sha256
