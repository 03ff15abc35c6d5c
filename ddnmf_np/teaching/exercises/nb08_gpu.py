"""Exercises of notebook 8: from CPU to GPU."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import DirectGradient, Ops
from ddnmf_np.teaching.exercise import Exercise, Floats, pencil

_PRODUCTS = ((128, 500, 2000, 4), (32, 784, 500, 4), (512, 64, 10, 8))
"""(n, fan_in, fan_out, itemsize) of each problem."""

_MACHINES = (
    (2.6e8, 5.3e6, 9e10, 1.1e10),
    (8.6e7, 1.85e8, 1.5e13, 9e11),
    (5e9, 1e8, 7e13, 3e12),
)
"""(flop, moved, peak, bandwidth) of each problem."""


def _product(n: int, fan_in: int, fan_out: int, itemsize: int) -> tuple[float, float, float]:
    flop = 2.0 * n * fan_in * fan_out
    moved = float(itemsize) * (n * fan_in + fan_out * fan_in + n * fan_out)
    return flop, moved, flop / moved


def _half_the_flop(*sizes: int) -> tuple[float, float, float]:
    flop, moved, intensity = _product(*sizes)
    return flop / 2, moved, intensity / 2


def _roofline(
    flop: float, moved: float, peak: float, bandwidth: float, *, decide: Any = max
) -> tuple[float, str]:
    computing, moving = flop / peak, moved / bandwidth
    return decide([computing, moving]), "compute" if computing > moving else "memory"


def _delta_problem(seed: int) -> tuple[Floats, Floats, Floats, float, Floats, Floats]:
    """Return arrays so large that `_run_in_place` can tell them from Python's small objects."""
    n, width = ((11, 20_000), (9, 25_000), (10, 30_000))[seed]
    rng = np.random.default_rng([seed, 17])
    h = np.maximum(rng.normal(size=(n, width)), 0.0)
    dh, ref = rng.normal(size=(2, n, width))
    # The values in work and db do not matter: the answer overwrites them.
    return h, dh, ref, (0.3, 0.7, 1.9)[seed], np.ones((n, width)), np.ones(width)


def _run_in_place(answer: Callable[..., object], *arguments: Any) -> tuple[Floats, Floats, int]:
    """Run the answer on copies of what it overwrites; count the arrays that it makes."""
    h, dh, ref, c, work, db = arguments
    new_dh, new_work, new_db = dh.copy(), work.copy(), db.copy()
    tracemalloc.start()  # NumPy reports the memory of its arrays to it
    try:
        answer(h, new_dh, ref, c, new_work, new_db)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if np.array_equal(new_dh, dh) and np.array_equal(new_db, db):
        raise NotImplementedError
    return new_dh, new_db, 0 if most < db.nbytes / 2 else math.ceil(most / dh.nbytes)


def _delta(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    Ops().delta("relu", h, dh, [DirectGradient(ref, c)], work, db)


def _added_to_db(h: Any, dh: Any, ref: Any, c: float, work: Any, db: Any) -> None:
    _delta(h, dh, ref, c, work, None)
    np.sum(dh, axis=0, out=work[0])
    np.add(db, work[0], out=db)


class DeviceArray(np.ndarray[Any, Any]):
    """An array that computes as NumPy's and counts how often the host reads it."""

    crossings = 0

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        options = {name: _on_host(value) for name, value in options.items()}
        return self._wrap(function(*_on_host(inputs), **options))

    def __getitem__(self, place: Any) -> Any:
        """Return a part or an entry as an array that is still on the device."""
        return self._wrap(super().__getitem__(place))

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, (np.ndarray, np.generic)):
            return np.asarray(result).view(type(self))
        return result


def _on_host(value: Any) -> Any:
    """Return arguments with every array as a plain NumPy array."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_on_host, value))
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def _counted(name: str) -> Callable[..., Any]:
    """Return an array's method of this name that counts a crossing before it reads."""

    def read(self: DeviceArray, *arguments: Any) -> Any:
        type(self).crossings += 1
        return getattr(self.view(np.ndarray), name)(*arguments)

    return read


for _name in ("float", "int", "bool", "iter", "format", "str", "repr"):
    setattr(DeviceArray, f"__{_name}__", _counted(f"__{_name}__"))
for _name in ("item", "tolist"):
    setattr(DeviceArray, _name, _counted(_name))


def _total_problem(seed: int) -> tuple[list[Floats], list[Floats]]:
    batches, n, width = ((5, 7, 4), (3, 6, 8), (9, 2, 5))[seed]
    rng = np.random.default_rng([seed, 18])
    return list(rng.normal(size=(batches, n, width))), list(rng.normal(size=(batches, n, width)))


def _run_on_device(
    answer: Callable[..., Any], outputs: list[Floats], targets: list[Floats]
) -> tuple[Any, int]:
    class Counting(DeviceArray):
        """The arrays of this run, which share a counter."""

    returned = answer(*([array.view(Counting) for array in side] for side in (outputs, targets)))
    if returned is None or returned is Ellipsis:
        raise NotImplementedError
    return returned, Counting.crossings


def _total(outputs: Any, targets: Any) -> Any:
    """Return the sum of all squared differences, still on the device."""
    return sum(((a - b) ** 2).sum() for a, b in zip(outputs, targets, strict=True))


EXERCISES = (
    Exercise(
        name="layer-intensity",
        nudge=(
            "one entry of the result is a sum of fan_in products. How many operations is "
            "that, and how many entries are there?"
        ),
        task=(
            "a function that returns, for the product x @ W.T of a layer, its floating-point "
            "operations, the bytes of its two factors and its result, and operations per byte."
        ),
        hint=(
            "each of the n * fan_out results takes fan_in multiplications and as many additions; "
            "the three matrices are (n, fan_in), (fan_out, fan_in), (n, fan_out)."
        ),
        blocks=("flop", "bytes", "intensity"),
        problem=lambda seed: _PRODUCTS[seed],
        reference=_product,
        mistakes={
            "You counted half of them; count multiplications and additions.": _half_the_flop,
            "You counted numbers; each has itemsize bytes.": lambda n, fan_in, fan_out, itemsize: (
                _product(n, fan_in, fan_out, 1)
            ),
        },
    ),
    Exercise(
        name="roofline-time",
        nudge="computing and moving data happen at the same time. When is the work done?",
        task=(
            "a function that returns the least seconds that a piece of work can take, and what "
            "limits it: 'compute' or 'memory'. peak is in operations per second, bandwidth in "
            "bytes per second; computing and moving data overlap."
        ),
        hint="compare flop / peak with moved / bandwidth; the longer of the two decides.",
        blocks=("seconds", "bound"),
        problem=lambda seed: _MACHINES[seed],
        reference=_roofline,
        mistakes={
            "Computing and moving overlap: take the longer time, not the sum.": (
                lambda *a: _roofline(*a, decide=sum)
            ),
            "That is the shorter of the two times; take the longer one.": (
                lambda *a: _roofline(*a, decide=min)
            ),
        },
    ),
    Exercise(
        name="delta-in-place",
        nudge=(
            "write the formula with ordinary operators first; then give each operation an out=."
        ),
        task=(
            "a function that overwrites dh with delta = f' (dh + c (h - ref)) of a ReLU layer and "
            "db with the sum of delta's rows. It makes no new array: every step has an out=."
        ),
        hint=(
            "np.subtract(h, ref, out=work), np.multiply(work, c, out=work), np.add(dh, work, "
            "out=dh), np.greater(h, 0.0, out=work), np.multiply(dh, work, out=dh), "
            "np.sum(dh, axis=0, out=db): look at Ops.add_direct, dactivate and sum_rows."
        ),
        blocks=("dh", "db", "new arrays"),
        problem=_delta_problem,
        reference=_delta,
        run=_run_in_place,
        mistakes={
            "The slope f' of the ReLU is missing.": lambda h, dh, ref, c, work, db: Ops().delta(
                "identity", h, dh, [DirectGradient(ref, c)], work, db
            ),
            "The direct gradient c (h - ref) is missing.": lambda h, dh, ref, c, work, db: _delta(
                h, dh, ref, 0.0, work, db
            ),
            "You added to db; overwrite it.": _added_to_db,
        },
    ),
    Exercise(
        name="one-crossing",
        nudge=(
            "which of your operations turns a device array into a number of Python, and how "
            "often does it run?"
        ),
        task=(
            "a function that returns the sum of (output - target)^2 over all batches as a Python "
            "float. outputs and targets are lists of arrays on a device: float(), item(), bool() "
            "or printing one waits for the device. Only one such crossing is allowed."
        ),
        hint=(
            "add up on the device, total = total + ((a - b) ** 2).sum(), and take float(total) "
            "once, after the loop."
        ),
        blocks=("loss", "crossings"),
        problem=_total_problem,
        reference=lambda outputs, targets: float(_total(outputs, targets)),
        run=_run_on_device,
        mistakes={
            "The host reads a value in every batch, and waits each time.": (
                lambda outputs, targets: sum(
                    float(_total([a], [b])) for a, b in zip(outputs, targets, strict=True)
                )
            ),
            "You read nothing at the end: the returned value is still on the device.": _total,
        },
    ),
    pencil(
        "pencil-descent",
        {"bytes": 12, "flop": 2},
        {
            "You forgot that the parameter is read and written.": (8, 2),
            "float32 takes 4 bytes, not 8.": (24, 2),
        },
        task=(
            "a function without arguments that returns the bytes moved and the operations for each "
            "parameter of float32."
        ),
        nudge="write the line of the step. Which numbers come from memory, and which go there?",
        hint="p = p - lr * g reads p and g and writes p; it multiplies and subtracts.",
    ),
)
