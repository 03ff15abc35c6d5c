"""Checks of samples, in memory or a block at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ddnmf_np.errors import DataError, printable

_MOST = 2.0
"""Largest value of samples that were divided by 255, and may have noise since."""


def check_nonnegative(
    x: Any,
    name: str,
    missing: str = "error",
    first_row: int = 0,
    columns: Sequence[str] | None = None,
    number: Callable[[int], int] = int,
) -> None:
    """Refuse samples that a non-negative model cannot represent.

    ``x``, an array of NumPy or CuPy, is only read. If it passes, no memory of its size is
    allocated, except for a mask if entries may be missing. With ``missing`` "error" we refuse NaN,
    with "nan" we take it for a missing entry. The other arguments are for error messages:
    ``first_row`` is the number of the first row, if ``x`` is a part of the samples; ``columns`` are
    the names of the columns; ``number`` returns the number of a row, if ``x`` has not all rows of a
    file.

    Raises `DataError` if ``x`` is not a real (n, D) array with n, D >= 1, has only missing entries,
    or holds values that are not finite or below 0. The message has their number, the place of the
    first, and the remedy.
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
        "impute or drop them, or take NaN for missing entries with missing='nan' (--missing nan); "
        "if values overflow, scale them or use float64"
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
    called = "" if columns is None else f" ({printable(repr(columns[column]))})"
    raise DataError(
        f"{what} in data {name}: {int(bad.sum())} of {x.size}, the first "
        f"{float(x[row, column])} at row {number(first_row + row)}, column {column}{called}; "
        f"{remedy}"
    )


def refuse_undivided(X: Any, name: str) -> None:
    """Raise `DataError` for values too large for a sample that was divided by 255.

    The run divided its unsigned 8-bit samples, and did not see grey values of another type
    undivided.
    """
    if bool((X > _MOST).any()):
        raise DataError(
            f"{name} has values above 1, but the run was trained on unsigned 8-bit samples divided "
            "by 255; give them as uint8, or divide them by 255"
        )
