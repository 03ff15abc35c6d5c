"""All exercises, one module for each notebook.

A module lists its exercises in ``EXERCISES``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

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
    return {e.name: e for module in MODULES for e in _listed(module)}


def by_notebook() -> list[list[str]]:
    """Return the names of the exercises, a list for each notebook."""
    return [[exercise.name for exercise in _listed(module)] for module in MODULES]


def _listed(module: str) -> tuple[Exercise, ...]:
    listed: tuple[Exercise, ...] = import_module(f"{__name__}.{module}").EXERCISES
    return listed
