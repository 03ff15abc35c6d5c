"""Comparison of one block of an answer with the right one: how wrong it is, and perhaps why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.teaching.exercise import Floats


@dataclass(frozen=True)
class Verdict:
    """The verdict on one block of an answer to one problem.

    A guess is shown only if its kind is the same on every problem.
    """

    right: bool
    text: str = "right"  # what is wrong with it
    guess: str = ""  # what may have gone wrong; empty if we cannot tell
    kind: str = ""  # the guess without the numbers of this problem


def compare(got: Any, want: Any, sizes: Iterable[int] = (), tolerance: float = 1e-9) -> Verdict:
    """Compare one block with the right one.

    ``sizes`` are the lengths of the problem's axes; they reveal a mean that should be a sum.
    ``tolerance`` is the largest accepted difference, relative to the largest entry of ``want``.
    """
    if is_empty(got):
        return Verdict(False, "still empty", kind="empty")
    if isinstance(want, str):
        right = isinstance(got, str) and got.strip().lower() == want.lower()
        return Verdict(True) if right else Verdict(False, f"wrong; it is {got!r}.")
    block, want = _as_array(got), np.asarray(want)
    if block is None:
        kind = f"an array of {got.dtype}" if isinstance(got, np.ndarray) else article(got)
        return Verdict(False, f"wrong; {kind} is not an array of real numbers.")
    values, target = block.astype(np.float64), want.astype(np.float64)
    if block.shape != want.shape:
        text = f"wrong shape {block.shape}; it should be {want.shape or 'a number'}."
        if block.shape == ():
            text = f"wrong; it is a number and should have shape {want.shape}."
        return Verdict(False, text, *_guess_shape(values, target, tolerance))
    error = relative_error(values, target)
    if want.dtype.kind == "f" and block.dtype == np.float32 and error <= 1e-4:
        guess = "You computed in float32, but the problem is in float64: do not convert it."
        return Verdict(False, _size_of(error), guess, "dtype")
    if error <= tolerance:
        return Verdict(True)
    if want.shape == () and want.dtype.kind == "i":  # a count
        return Verdict(False, f"it is {values:g}; it should be {want}.")
    return Verdict(
        False, _size_of(error), *_guess_values(values, target, sorted(set(sizes)), tolerance)
    )


def is_empty(value: Any) -> bool:
    """Return whether an answer, or a block of one, has not been filled in."""
    if isinstance(value, type):
        return issubclass(value, NotImplementedError)
    unfilled = value is None or value is Ellipsis or value is NotImplemented
    return unfilled or isinstance(value, NotImplementedError)


def article(value: Any) -> str:
    """Return the kind of an object with its article, such as "a list"."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def relative_error(got: Floats, want: Floats) -> float:
    """Return the largest difference over the largest right entry; NaN counts as infinite."""
    if want.size == 0:
        return 0.0
    scale = float(np.max(np.abs(want))) or 1.0
    with np.errstate(all="ignore"):
        error = float(np.max(np.abs(got - want))) / scale
    return error if np.isfinite(error) else float("inf")


def _size_of(error: float) -> str:
    size = "infinite" if np.isinf(error) else f"{error:.2g}"
    return f"wrong (relative error {size})."


def _as_array(value: Any) -> npt.NDArray[Any] | None:
    """Return a block as an array of real numbers, or None."""
    try:
        array = np.asarray(value)
    except Exception:  # lists of unequal length, and whatever an object's __array__ raises
        return None
    return array if array.dtype.kind in "fiub" else None


def _close(got: Floats, want: Floats, tolerance: float) -> bool:
    return got.shape == want.shape and relative_error(got, want) <= tolerance


def _all(got: Floats) -> str:
    return "Every entry" if got.ndim else "The number"


def _guess_shape(got: Floats, want: Floats, tolerance: float) -> tuple[str, str]:
    """Guess why the shape differs; return the guess and its kind."""
    if got.ndim == 2 and got.T.shape == want.shape:
        if _close(got.T, want, tolerance):
            return "You have the transpose.", "transpose"
        return "That is the shape of the transpose.", "transposed shape"
    squeezed = np.squeeze(got).shape == np.squeeze(want).shape
    if squeezed and relative_error(got.reshape(want.shape), want) <= tolerance:
        return "The numbers are right, but an axis of length 1 is extra or missing.", "length 1"
    for axis in range(got.ndim):
        if _close(got.sum(axis), want, tolerance):
            return f"The sum over axis {axis} is missing.", "missing sum"
        if _close(got.mean(axis), want, tolerance):
            return f"The mean over axis {axis} is missing.", "missing mean"
    for axis in range(want.ndim):
        if _close(got, want.sum(axis), tolerance):
            return f"You summed over axis {axis}, which should stay.", "sum too many"
    return "", ""


def _guess_values(got: Floats, want: Floats, sizes: list[int], tolerance: float) -> tuple[str, str]:
    """Guess why numbers of the right shape are wrong; return the guess and its kind."""
    bad = int(np.count_nonzero(~np.isfinite(got)))
    if bad:
        return f"{bad} of {got.size} entries are NaN or infinite.", "not finite"
    if not got.any():
        return f"{_all(got)} is 0.", "zero"
    if found := _guess_factor(got, want, sizes, tolerance):
        return found
    if got.ndim == 2 and _close(got.T, want, tolerance):
        return "You have the transpose.", "transpose"
    if got.size > 1:
        offset = float(np.mean(got - want))
        if _close(got - offset, want, tolerance):
            return f"Every entry is off by the same amount: {offset:.4g}.", "offset"
        if _close(np.sort(got, axis=None), np.sort(want, axis=None), tolerance):
            return "The numbers are right, but in another order.", "order"
    return _guess_place(got, want, tolerance)


def _guess_factor(
    got: Floats, want: Floats, sizes: list[int], tolerance: float
) -> tuple[str, str] | None:
    """Recognise a factor that all entries share, such as a sign, a mean or a forgotten 2."""
    square = float(np.vdot(want, want))
    factor = float(np.vdot(want, got)) / (square or 1.0)
    if factor == 0.0 or relative_error(got / factor, want) > max(tolerance, 1e-7):
        return None
    if abs(factor - 1.0) < 1e-6:  # the error is small, but it is not a factor
        return None
    whole = _all(got)
    known = [
        (-1.0, f"{whole} has the wrong sign.", "sign"),
        (2.0, f"{whole} is twice the right one: is there a 2 too many?", "twice"),
        (0.5, f"{whole} is half the right one: did you forget a 2?", "half"),
        (-2.0, f"{whole} is minus twice the right one.", "minus twice"),
        (-0.5, f"{whole} is minus half the right one.", "minus half"),
    ]
    for size in sizes:
        if size > 2:
            axis = f"the right one, and {size} is the length of an axis: did you"
            mean = f"take a mean instead of a sum, or divide by {size} once too often?"
            total = f"take a sum instead of a mean, or forget to divide by {size}?"
            known.append((1.0 / size, f"{whole} is 1/{size} of {axis} {mean}", "mean"))
            known.append((float(size), f"{whole} is {size} times {axis} {total}", "sum"))
    for value, guess, kind in known:
        if abs(factor / value - 1.0) < 1e-6:
            return guess, kind
    guess = f"{whole} is {factor:.6g} times the right one."
    return guess, guess


def _guess_place(got: Floats, want: Floats, tolerance: float) -> tuple[str, str]:
    """Say where the wrong entries are, unless they are everywhere."""
    scale = float(np.max(np.abs(want))) or 1.0
    wrong = np.abs(got - want) > tolerance * scale
    count = int(wrong.sum())
    if count == wrong.size:
        return "", ""
    if not want[wrong].any():
        return (
            f"{count} of {wrong.size} entries are wrong, and all of them should be 0: is a mask "
            "missing, such as the f' of a ReLU?",
            "mask missing",
        )
    if not got[wrong].any():
        return f"{count} of {wrong.size} entries are 0 but should not be.", "mask too many"
    for axis, name in enumerate(("row", "column") if wrong.ndim == 2 else ()):
        hit = np.flatnonzero(wrong.any(axis=1 - axis))
        if len(hit) == 1:
            return f"Only {name} {hit[0]} is wrong.", f"one {name}"
    place = tuple(int(k) for k in np.argwhere(wrong)[0])
    where = place[0] if len(place) == 1 else place
    return f"{count} of {wrong.size} entries are wrong, the first at {where}.", "some entries"
