"""Arrays as a user gives them: masked, of other libraries, in containers, to be written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import Any

import numpy as np

from ddnmf_np.backends.select import backend_of, load_cupy
from ddnmf_np.data.checks import check_nonnegative, refuse_undivided
from ddnmf_np.errors import DataError, OutputError, UsageError, shown

_ON_HOST = (1, 3)  # DLPack's numbers of the CPU, and of its memory that a GPU can reach
_ON_GPU = (2, 13)


def is_foreign(X: Any) -> bool:
    """Return whether an array is neither NumPy's nor CuPy's, and can be shared by DLPack."""
    return (
        hasattr(X, "__dlpack__")
        and not isinstance(X, (np.ndarray, np.generic))
        and backend_of(X) == "numpy"
    )


def taken(X: Any, name: str = "X") -> Any:
    """Return an array of another library as NumPy's or CuPy's, and anything else as it is.

    Others are, for example, a tensor of PyTorch, or an array of JAX or `array_api_strict`. The
    result may share the memory of ``X``; only read it. Raises `DataError` if the library refuses to
    share the array; ``name`` is its name for the message.
    """
    if not is_foreign(X):
        return X
    try:
        device = int(X.__dlpack_device__()[0])
        if device in _ON_GPU:
            return load_cupy().from_dlpack(X)
        if device not in _ON_HOST:
            raise BufferError(f"it is on a device of DLPack's kind {device}")
        return np.from_dlpack(X)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} is a {_kind(X)} that cannot be shared ({error}); give it as a NumPy array "
            f"(for PyTorch {name}.detach().cpu())"
        ) from error


def returned(result: Any, given: Any) -> Any:
    """Return a result in the library of the array that asked for it."""
    if not is_foreign(given):
        return result
    if hasattr(given, "__array_namespace__"):
        library = given.__array_namespace__()
    else:  # PyTorch
        library = import_module(type(given).__module__.partition(".")[0])
    return library.from_dlpack(result)


def is_eight_bit(X: Any) -> bool:
    """Return whether samples are unsigned 8-bit numbers, as the grey values of images are."""
    if hasattr(X, "dtype"):
        return str(X.dtype) == "uint8"
    kinds = list(getattr(X, "dtypes", ()))  # of a data frame; polars and pandas say UInt8, too
    return bool(kinds) and all(str(kind).lower() == "uint8" for kind in kinds)


@dataclass(frozen=True)
class Intake:
    """The intake of a trained model: raw samples, checked, in its precision and its units.

    ``from_bytes`` says whether the training samples were unsigned 8-bit values, which were divided
    by 255. Samples of this type are then divided, too, and others must be so already.
    """

    n_features: int
    dtype: str  # the model's precision
    missing: str  # "error": NaN is refused; "nan": it is a missing entry
    from_bytes: bool = False
    feature_names: tuple[str, ...] | None = None  # for error messages

    def take(self, x: Any, where: str = "X", first_row: int = 0) -> Any:
        """Return raw samples, (n, n_features) or (n, height, width), as the model takes them.

        The result, (n, n_features), has the model's precision, and is where ``x`` is. ``where`` and
        the number of the first row are for the messages. Raises `DataError` if the samples are not
        real, have another number of features, or values that training would have refused.
        """
        eight_bit = is_eight_bit(x)
        x = without_mask(x, self.missing, where)
        x = x if backend_of(x) == "cupy" else np.asarray(x)
        if x.ndim == 3:
            x = x.reshape(len(x), -1)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise DataError(
                f"{where} has shape {x.shape}, but the model takes samples of {self.n_features} "
                "features"
            )
        names = self.feature_names
        if self.missing == "error" or x.dtype.kind != "f" or not (x != x).all():
            check_nonnegative(x, where, self.missing, first_row, names)
        if self.from_bytes:
            if eight_bit:
                return x.astype(self.dtype) / 255.0
            refuse_undivided(x, where)
        with np.errstate(over="ignore"):  # checked below
            found = x.astype(self.dtype, order="C", copy=False)
        if not bool((abs(found) < float("inf"))[found == found].all()):
            check_nonnegative(found, f"{where} as {self.dtype}", self.missing, first_row, names)
        return found


def without_mask(X: Any, missing: str, where: str = "X") -> Any:
    """Return samples in which masked entries are NaN, if that is a missing entry.

    ``where`` is their name for the message. Raises `DataError` if entries are masked, and none may
    be missing.
    """
    if not isinstance(X, np.ma.MaskedArray):
        return X
    if not np.ma.is_masked(X):
        return X.data
    if missing != "nan":
        raise DataError(
            f"{where} has {int(np.ma.getmaskarray(X).sum())} masked entries of {X.size}; take them "
            "for missing entries with missing='nan', or replace them, as X.filled(0.0) does"
        )
    dtype = X.dtype if X.dtype.kind == "f" else np.float64
    return np.ma.filled(X.astype(dtype), np.nan)


def refuse_containers(X: Any) -> None:
    """Refuse what holds arrays but is none, and h5py's objects of a file that is closed.

    Raises `UsageError` for a file or group of arrays, and `DataError` for a closed file.
    """
    _refuse_closed(X, "X")
    if hasattr(X, "tocsr"):  # some of SciPy's sparse matrices are mappings
        return
    if isinstance(X, Mapping) or (hasattr(X, "arrays") and hasattr(X, "members")):  # Zarr's group
        names = ", ".join(shown(name, 40) for name in islice(X, 5)) or "nothing"
        raise UsageError(
            f"X is a {_kind(X)}, which holds arrays by name ({names}) and is none; give "
            "one of them, as FILE['NAME'], or ddnmf_np.data.streaming.sources.stream('PATH::NAME')"
        )


def _kind(X: Any) -> str:
    return type(X).__name__


def _refuse_closed(array: Any, name: str) -> None:
    """Refuse what h5py has closed, of which not even the shape can be asked any more."""
    if type(array).__module__.partition(".")[0] == "h5py" and not array:
        raise DataError(
            f"{name} is a {_kind(array)} of an HDF5 file that is closed; open the file "
            "again, and keep it open until this is done"
        )


def check_out(out: Any, shape: tuple[int, int]) -> None:
    """Refuse what codes cannot be written to: between 0 and 1, integers would all be 0.

    Raises `DataError` if it is no array of that shape and of floating-point numbers.
    """
    _refuse_closed(out, "out")
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise DataError(
            f"out is a {_kind(out)}; expected an array of shape {shape} and dtype float32 "
            f"or float64, such as numpy.empty({shape})"
        )
    if tuple(out.shape) != shape:
        raise DataError(f"out has shape {tuple(out.shape)}; expected {shape}")
    if getattr(out.dtype, "kind", None) != "f":
        raise DataError(
            f"out has dtype {out.dtype}, which cannot hold codes between 0 and 1; expected "
            "float32 or float64"
        )


class Written:
    """An array whose errors, when it is written to, are this package's."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def __setitem__(self, rows: slice, values: Any) -> None:
        try:
            self._out[rows] = values
        except MemoryError:
            raise
        except Exception as error:  # of any library: read-only, a full disk, a file closed since
            raise OutputError(
                f"out: cannot be written ({error}); give an array that is open for writing"
            ) from error
