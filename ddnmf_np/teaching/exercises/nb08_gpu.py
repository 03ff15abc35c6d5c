"""Exercises of notebook 8: from CPU to GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import DirectGradient, Ops
from ddnmf_np.teaching.exercise import Exercise, Mistake

Floats = npt.NDArray[np.float64]


# -- arithmetic by hand ------------------------------------------------------------------------


def _product_problem(seed: int) -> tuple[int, int, int, int]:
    return ((128, 500, 2000, 4), (32, 784, 500, 4), (512, 64, 10, 8))[seed]


def _product(n: int, fan_in: int, fan_out: int, itemsize: int) -> tuple[float, float, float]:
    flop = 2.0 * n * fan_in * fan_out
    moved = float(itemsize) * (n * fan_in + fan_out * fan_in + n * fan_out)
    return flop, moved, flop / moved


def _half_the_flop(n: int, fan_in: int, fan_out: int, itemsize: int) -> tuple[float, float, float]:
    flop, moved, intensity = _product(n, fan_in, fan_out, itemsize)
    return flop / 2, moved, intensity / 2


def _in_numbers(n: int, fan_in: int, fan_out: int, itemsize: int) -> tuple[float, float, float]:
    flop, moved, intensity = _product(n, fan_in, fan_out, itemsize)
    return flop, moved / itemsize, intensity * itemsize


def _roofline_problem(seed: int) -> tuple[float, float, float, float]:
    return ((2.6e8, 5.3e6, 9e10, 1.1e10), (8.6e7, 1.85e8, 1.5e13, 9e11), (5e9, 1e8, 7e13, 3e12))[
        seed
    ]


def _roofline(flop: float, moved: float, peak: float, bandwidth: float) -> tuple[float, str]:
    computing, moving = flop / peak, moved / bandwidth
    return max(computing, moving), "compute" if computing > moving else "memory"


# -- arrays that report what would cost on a device --------------------------------------------


@dataclass
class Meter:
    """What a piece of code has done.

    Parameters
    ----------
    new_arrays : int
        Arrays that were made: because no ``out`` was given, or by hand (such an array does not
        report to the meter, and is counted each time it is used).
    crossings : int
        Values that were read by the host.
    """

    new_arrays: int = 0
    crossings: int = 0


class Metered(np.ndarray[Any, Any]):
    """An array that computes as NumPy's and counts what is dear on a device."""

    meter: Meter

    @classmethod
    def wrap(cls, array: npt.ArrayLike, meter: Meter) -> Metered:
        """Return a view of an array that reports to a meter."""
        view = np.asarray(array).view(cls)
        view.meter = meter
        return view

    def __array_finalize__(self, source: Any) -> None:
        self.meter = getattr(source, "meter", None) or Meter()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out")
        self.meter.new_arrays += _made_by_hand((inputs, out))
        if out is None:
            self.meter.new_arrays += 1
        else:
            options["out"] = _plain(out)
        result = getattr(ufunc, method)(*_plain(inputs), **options)
        return out[0] if out is not None else self.wrap(result, self.meter)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        self.meter.new_arrays += _made_by_hand((inputs, options))
        plain_inputs, plain_options = _plain(inputs), _plain(options)
        result = function(*plain_inputs, **plain_options)
        given = zip(
            (*inputs, *options.values()), (*plain_inputs, *plain_options.values()), strict=True
        )
        for value, plain in given:
            if result is plain:  # an out, by name or by place, or None of an option
                return value
        if result is None:  # np.copyto and its like
            return None
        self.meter.new_arrays += 1
        return self.wrap(result, self.meter)

    def __getitem__(self, place: Any) -> Metered:
        """Return a part, an entry too, as an array that is still on the device."""
        return self.wrap(super().__getitem__(place), self.meter)

    def _read(self) -> npt.NDArray[Any]:
        self.meter.crossings += 1
        return self.view(np.ndarray)

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def __format__(self, spec: str) -> str:
        return format(self._read(), spec)

    def __str__(self) -> str:
        return str(self._read())

    def __repr__(self) -> str:
        return repr(self._read())

    def copy(self, *order: Any) -> Any:
        """Return a new array with the same entries."""
        self.meter.new_arrays += 1
        return super().copy(*order)

    def astype(self, *arguments: Any, **options: Any) -> Any:
        """Return a new array of another dtype."""
        self.meter.new_arrays += 1
        return super().astype(*arguments, **options)

    def item(self, *place: Any) -> Any:
        """Return an entry as a number of Python."""
        return self._read().item(*place)

    def tolist(self) -> Any:
        """Return all entries as numbers of Python."""
        return self._read().tolist()


def _plain(value: Any) -> Any:
    """Return arguments with every array as a plain one of NumPy."""
    if isinstance(value, Metered):
        return value.view(np.ndarray)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _made_by_hand(value: Any) -> int:
    """Return how many arrays in arguments are none of those that were given."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        return sum(map(_made_by_hand, value))
    return isinstance(value, np.ndarray) and not isinstance(value, Metered) and value.ndim > 0


# -- fused, in place ---------------------------------------------------------------------------

Delta = Callable[[Any, Any, Any, float, Any, Any], object]


def _delta_problem(seed: int) -> tuple[Floats, Floats, Floats, float, Floats, Floats]:
    n, width = ((7, 5), (4, 11), (9, 6))[seed]
    rng = np.random.default_rng([seed, 17])
    h = np.maximum(rng.normal(size=(n, width)), 0.0)
    dh, ref = rng.normal(size=(2, n, width))
    # What is in work and db is of no account: it is overwritten.
    return h, dh, ref, (0.3, 0.7, 1.9)[seed], rng.normal(size=(n, width)), rng.normal(size=width)


def _do_delta(
    answer: Delta, h: Floats, dh: Floats, ref: Floats, c: float, work: Floats, db: Floats
) -> tuple[Floats, Floats, int]:
    meter = Meter()
    # h and ref themselves: whoever writes to them is told.
    read = [Metered.wrap(array, meter) for array in (h, ref)]
    new_dh, new_work, new_db = (array.copy() for array in (dh, work, db))
    written = [Metered.wrap(array, meter) for array in (new_dh, new_work, new_db)]
    answer(read[0], written[0], read[1], c, *written[1:])
    if np.array_equal(new_dh, dh) and np.array_equal(new_db, db):
        raise NotImplementedError
    return new_dh, new_db, meter.new_arrays


def _engine_delta(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    Ops().delta("relu", h, dh, [DirectGradient(ref, c)], work, db)


def _delta(
    h: Floats, dh: Floats, ref: Floats, c: float, work: Floats, db: Floats
) -> tuple[Floats, Floats, int]:
    return _do_delta(_engine_delta, h, dh, ref, c, work, db)


def _no_slope(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    Ops().delta("identity", h, dh, [DirectGradient(ref, c)], work, db)


def _no_direct(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    Ops().delta("relu", h, dh, (), work, db)


def _accumulated(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    old = db.copy()
    _engine_delta(h, dh, ref, c, work, db)
    db += old


# -- what crosses ------------------------------------------------------------------------------

Total = Callable[[list[Any], list[Any]], Any]


def _total_problem(seed: int) -> tuple[list[Floats], list[Floats]]:
    batches, n, width = ((5, 7, 4), (3, 6, 8), (9, 2, 5))[seed]
    rng = np.random.default_rng([seed, 18])
    return list(rng.normal(size=(batches, n, width))), list(rng.normal(size=(batches, n, width)))


def _do_total(answer: Total, outputs: list[Floats], targets: list[Floats]) -> tuple[Any, int]:
    meter = Meter()
    sides = ([Metered.wrap(array, meter) for array in side] for side in (outputs, targets))
    returned = answer(*sides)
    if returned is None or returned is Ellipsis:
        raise NotImplementedError
    return _plain(returned), meter.crossings


def _engine_total(outputs: list[Any], targets: list[Any]) -> float:
    ops, total = Ops(), Metered.wrap(np.zeros(1), outputs[0].meter)
    for output, target in zip(outputs, targets, strict=True):
        ops.squared_distance(output, target, np.empty(output.shape), total)
    return float(total[0])


def _total(outputs: list[Floats], targets: list[Floats]) -> tuple[Any, int]:
    return _do_total(_engine_total, outputs, targets)


EXERCISES = (
    Exercise(
        name="layer-intensity",
        task=(
            "a function that returns, for the product x @ W.T of a layer, its floating-point "
            "operations, the bytes of its two factors and its result, and operations per byte."
        ),
        hint=(
            "each of the n * fan_out results takes fan_in multiplications and as many additions; "
            "the three matrices are (n, fan_in), (fan_out, fan_in), (n, fan_out)."
        ),
        blocks=("flop", "bytes", "intensity"),
        problem=_product_problem,
        reference=_product,
        mistakes=(
            Mistake("Count multiplications and additions.", _half_the_flop),
            Mistake("Those are numbers; a number has itemsize bytes.", _in_numbers),
        ),
    ),
    Exercise(
        name="roofline-time",
        task=(
            "a function that returns the least seconds that a piece of work can take, and what "
            "sets them: 'compute' or 'memory'. peak is in operations a second, bandwidth in bytes "
            "a second; computing and moving go on at the same time."
        ),
        hint="flop / peak against moved / bandwidth; the longer of the two decides.",
        blocks=("seconds", "bound"),
        problem=_roofline_problem,
        reference=_roofline,
        mistakes=(
            Mistake(
                "Computing and moving overlap: take the longer, not the sum.",
                lambda flop, moved, peak, bandwidth: (
                    flop / peak + moved / bandwidth,
                    _roofline(flop, moved, peak, bandwidth)[1],
                ),
            ),
            Mistake(
                "That is the shorter of the two times; the longer one decides.",
                lambda flop, moved, peak, bandwidth: (
                    min(flop / peak, moved / bandwidth),
                    _roofline(flop, moved, peak, bandwidth)[1],
                ),
            ),
        ),
    ),
    Exercise(
        name="delta-in-place",
        task=(
            "a function that overwrites dh with delta = f' (dh + c (h - ref)) of a ReLU layer and "
            "db with the sum of delta's rows, and makes no array: every step has an out=."
        ),
        hint=(
            "np.subtract(h, ref, out=work), np.multiply(work, c, out=work), np.add(dh, work, "
            "out=dh), np.greater(h, 0.0, out=work), np.multiply(dh, work, out=dh), "
            "np.sum(dh, axis=0, out=db): look at Ops.add_direct, dactivate and sum_rows."
        ),
        blocks=("dh", "db", "new arrays"),
        problem=_delta_problem,
        reference=_delta,
        run=_do_delta,
        mistakes=(
            Mistake("The slope f' of the ReLU is missing.", lambda *a: _do_delta(_no_slope, *a)),
            Mistake(
                "The direct gradient c (h - ref) is missing.", lambda *a: _do_delta(_no_direct, *a)
            ),
            Mistake(
                "db is added to; what was in it is to be overwritten.",
                lambda *a: _do_delta(_accumulated, *a),
            ),
        ),
    ),
    Exercise(
        name="one-crossing",
        task=(
            "a function that returns the sum of (output - target)^2 over all batches as a Python "
            "float. outputs and targets are lists of arrays on a device: float(), item(), bool() "
            "or printing one waits for the device. One such crossing is allowed."
        ),
        hint=(
            "add up on the device, total = total + ((a - b) ** 2).sum(), and take float(total) "
            "once, after the loop."
        ),
        blocks=("loss", "crossings"),
        problem=_total_problem,
        reference=_total,
        run=_do_total,
        mistakes=(
            Mistake(
                "The host reads a value in every batch, and waits each time.",
                lambda outputs, targets: (_total(outputs, targets)[0], len(outputs)),
            ),
            Mistake(
                "Nothing is read at the end: what is returned is still on the device.",
                lambda outputs, targets: (_total(outputs, targets)[0], 0),
            ),
        ),
    ),
)
