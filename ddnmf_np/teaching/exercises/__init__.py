"""All exercises, one module for each notebook.

A module lists its exercises in ``EXERCISES``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from ddnmf_np.errors import UsageError
from ddnmf_np.teaching.exercise import Exercise

MODULES = (
    "nb01_nmf",
    "nb02_layer",
    "nb03_gradcheck",
    "nb04_supervisor",
    "nb05_student",
    "nb06_training",
    "nb07_representation",
    "nb08_gpu",
)


@cache
def all_exercises() -> dict[str, Exercise]:
    """Return every exercise by its name, in the order of the notebooks."""
    found: dict[str, Exercise] = {}
    for module in MODULES:
        name = f"{__name__}.{module}"
        for exercise in import_module(name).EXERCISES:
            if exercise.name in found:
                raise UsageError(f"{name}: there is already an exercise {exercise.name!r}")
            found[exercise.name] = exercise
    return found
