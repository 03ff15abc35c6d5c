"""One block of an answer beside the right one: is it right, by how much is it wrong, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What one block of an answer came to on one problem.

    Parameters
    ----------
    right : bool
        Whether it is right.
    shape : str
        Its shape, in words.
    error : float
        Largest difference relative to the largest entry of the right block; NaN where the two
        cannot be subtracted.
    guess : str
        What seems to have happened; empty if there is no telling.
    kind : str
        The guess without the numbers of this problem: a guess counts if it is of one kind on
        every problem.
    """

    right: bool
    shape: str
    error: float = 0.0
    guess: str = ""
    kind: str = ""


def compare(got: Any, want: Any, sizes: Iterable[int] = (), tolerance: float = 1e-9) -> Verdict:
    """Compare one block with the right one.

    Parameters
    ----------
    got : object
        What the student's answer gave.
    want : ndarray, number or str
        The right block.
    sizes : iterable of int
        Lengths of the problem's axes, to recognise a mean that should be a sum.
    tolerance : float
        Largest accepted difference, relative to the largest entry of ``want``.
    """
    if is_empty(got):
        return Verdict(False, "still empty", np.nan, "", "empty")
    if isinstance(want, str):
        right = isinstance(got, str) and got.strip().lower() == want.lower()
        return Verdict(right, repr(got), 0.0 if right else np.nan)
    block = _as_array(got)
    if block is None:
        guess = f"It is a {type(got).__name__} that is no array of numbers."
        return Verdict(False, type(got).__name__, np.nan, guess, "type")
    want = np.asarray(want)
    shape, target = block.shape, np.asarray(want, np.float64)
    if shape != want.shape:
        guess, kind = _guess_shape(np.asarray(block, np.float64), target, tolerance)
        return Verdict(False, in_words(shape), np.nan, guess, kind)
    values = np.asarray(block, np.float64)
    error = relative_error(values, target)
    if want.dtype.kind == "f" and block.dtype in (np.float32, np.float16):
        near = error <= 1e-2 if block.dtype == np.float16 else error <= 1e-4
        if near:
            guess = (
                f"It was computed in {block.dtype}, though the problem is in float64: "
                "nothing may be converted on the way."
            )
            return Verdict(False, in_words(shape), error, guess, "dtype")
    if error <= tolerance:
        return Verdict(True, in_words(shape), error)
    guess, kind = _guess_values(values, target, sorted(set(sizes)), tolerance)
    return Verdict(False, in_words(shape), error, guess, kind)


def is_empty(value: Any) -> bool:
    """Return whether an answer, or a block of one, has not been filled in."""
    if isinstance(value, type):
        return issubclass(value, NotImplementedError)
    if isinstance(value, NotImplementedError):
        return True
    return value is None or value is Ellipsis or value is NotImplemented


def in_words(shape: tuple[int, ...]) -> str:
    """Return a shape as a student reads it."""
    return "a number" if shape == () else str(shape)


def relative_error(got: Floats, want: Floats) -> float:
    """Return the largest difference over the largest right entry; NaN counts as infinite."""
    if want.size == 0:
        return 0.0
    scale = float(np.max(np.abs(want))) or 1.0
    with np.errstate(all="ignore"):
        error = float(np.max(np.abs(got - want))) / scale
    return error if np.isfinite(error) else float("inf")


def _as_array(value: Any) -> npt.NDArray[Any] | None:
    """Return a block as an array of real numbers, or None."""
    try:
        array = np.asarray(value)
    except Exception:  # lists of unequal length, and whatever an object's __array__ raises
        return None
    return array if array.dtype.kind in "fiub" else None


def _close(got: Floats, want: Floats, tolerance: float) -> bool:
    return got.shape == want.shape and relative_error(got, want) <= tolerance


def _guess_shape(got: Floats, want: Floats, tolerance: float) -> tuple[str, str]:
    """Guess why the shape is another one."""
    expected = f"Expected {'the shape ' if want.shape else ''}{in_words(want.shape)}."
    if got.ndim == 2 and got.T.shape == want.shape:
        if _close(got.T, want, tolerance):
            return f"{expected} It is the transpose of the right block.", "transpose"
        return f"{expected} The shape is that of the transpose.", "transposed shape"
    squeezed = np.squeeze(got).shape == np.squeeze(want).shape
    if squeezed and relative_error(got.reshape(want.shape), want) <= tolerance:
        return (
            f"{expected} The numbers are right; an axis of length 1 is too many or missing.",
            "axis of length 1",
        )
    for axis in range(got.ndim):
        if _close(got.sum(axis), want, tolerance):
            return f"{expected} The sum over axis {axis} is missing.", "missing sum"
        if _close(got.mean(axis), want, tolerance):
            return f"{expected} The mean over axis {axis} is missing.", "missing mean"
    for axis in range(want.ndim):
        if _close(got, want.sum(axis), tolerance):
            return f"{expected} There is a sum over axis {axis} too many.", "sum too many"
    return expected, "shape"


def _guess_values(got: Floats, want: Floats, sizes: list[int], tolerance: float) -> tuple[str, str]:
    """Guess why numbers of the right shape are wrong."""
    finite = np.isfinite(got)
    if not finite.all():
        bad = int((~finite).sum())
        return f"{bad} of {got.size} entries are not finite (NaN or infinite).", "not finite"
    if not got.any():
        return "It is zero everywhere.", "zero"
    if found := _guess_factor(got, want, sizes, tolerance):
        return found
    if got.ndim == 2 and got.shape == got.T.shape and _close(got.T, want, tolerance):
        return "It is the transpose of the right block.", "transpose"
    if got.size > 1:
        offset = float(np.mean(got - want))
        if _close(got - offset, want, tolerance):
            return f"It is off by the same amount everywhere: {offset:.4g}.", "offset"
        if _close(np.sort(got, axis=None), np.sort(want, axis=None), tolerance):
            return "These are the right numbers in another order.", "order"
    return _guess_place(got, want, tolerance)


def _guess_factor(
    got: Floats, want: Floats, sizes: list[int], tolerance: float
) -> tuple[str, str] | None:
    """Recognise one factor for all entries: a sign, a mean, a forgotten 2."""
    square = float(np.vdot(want, want))
    if square == 0.0:
        return None
    factor = float(np.vdot(want, got)) / square
    if factor == 0.0 or relative_error(got / factor, want) > max(tolerance, 1e-7):
        return None
    if abs(factor - 1.0) < 1e-6:  # another small difference, and no factor
        return None

    def is_about(value: float) -> bool:
        return abs(factor / value - 1.0) < 1e-6

    if is_about(-1.0):
        return "It has the opposite sign everywhere.", "sign"
    for value, text in ((2.0, "twice"), (0.5, "half of")):
        if is_about(value):
            return f"It is {text} the right block everywhere: a 2 too many or forgotten?", text
        if is_about(-value):
            return f"It is minus {text} the right block everywhere.", f"minus {text}"
    for size in sizes:
        if size > 2 and is_about(1.0 / size):
            return (
                f"It is 1/{size} of the right block everywhere, and {size} is the length of an "
                f"axis: a mean where a sum is asked for, or a division by {size} too many?",
                "mean",
            )
        if size > 2 and is_about(float(size)):
            return (
                f"It is {size} times the right block everywhere, and {size} is the length of an "
                f"axis: a sum where a mean is asked for, or a division by {size} forgotten?",
                "sum",
            )
    return f"It is {factor:.6g} times the right block everywhere.", f"factor {factor:.6g}"


def _guess_place(got: Floats, want: Floats, tolerance: float) -> tuple[str, str]:
    """Say where the wrong entries are, if they are not everywhere."""
    scale = float(np.max(np.abs(want))) or 1.0
    wrong = np.abs(got - want) > tolerance * scale
    count = int(wrong.sum())
    if count == wrong.size:
        return "", ""
    if not want[wrong].any():
        return (
            f"The {count} wrong entries of {wrong.size} are all ones that should be exactly 0: is "
            "a mask, such as the f' of a ReLU, missing?",
            "mask missing",
        )
    if not got[wrong].any():
        return f"{count} of {wrong.size} entries are 0 and should not be.", "mask too many"
    for axis, name in enumerate(("row", "column")[: wrong.ndim] if wrong.ndim == 2 else ()):
        hit = np.flatnonzero(wrong.any(axis=1 - axis))
        if len(hit) == 1:
            return f"Only {name} {hit[0]} is wrong.", f"one {name}"
    place = tuple(int(k) for k in np.argwhere(wrong)[0])
    where = place[0] if len(place) == 1 else place
    return f"{count} of {wrong.size} entries are wrong, the first at {where}.", "some entries"
