"""An exercise: problems, a right answer, and mistakes that we recognise."""

from __future__ import annotations

import inspect
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEEDS = (0, 1, 2)
"""Seeds of the problems that each answer is tried on; their sizes differ."""

_STUDENT = "DDNMF_STUDENT"
"""Variable with the name of the student, which sets the numbers of exercises with a pencil."""


def student(name: str | None = None) -> str:
    """Set or return the student's name; numbers to compute by hand depend on it.

    Parameters
    ----------
    name : str, optional
        The name. While a submission is graded, the name of its folder stays.
    """
    if name is not None and os.environ.get("DDNMF_GRADING") != "1":
        os.environ[_STUDENT] = name
    return os.environ.get(_STUDENT, "")


def student_generator() -> np.random.Generator:
    """Return a random generator whose seed is the student's name."""
    return np.random.default_rng(zlib.crc32(student().strip().lower().encode()))


@dataclass(frozen=True)
class Exercise:
    """A question whose answers `ddnmf_np.teaching.check` can judge.

    If one answer is right, it is a function, and ``problem`` and ``reference`` are given. If many
    are right, ``judge`` is given.

    Parameters
    ----------
    name : str
        Name for ``check``, in lower case with hyphens.
    task : str
        What the answer should be, with shapes, such as "a function that returns dW (out, in)".
    hint : str
        The second hint: nearly the line that is missing.
    blocks : sequence of str
        Names of the returned values. The answer returns a single value, or a tuple or a mapping
        with these keys.
    problem : callable, optional
        ``problem(seed)`` returns the arguments of the answer as a tuple: small float64 arrays
        whose sizes all differ and depend on the seed.
    reference : callable, optional
        The right answer.
    mistakes : mapping of str to callable
        Wrong answers that we recognise, by the sentence that the student reads.
    run : callable
        ``run(answer, *arguments)`` returns the blocks; by default, it calls the answer.
    judge : callable, optional
        ``judge(answer)`` returns ``(passed, text)``.
    tolerance : float
        Largest accepted error, relative to the largest entry of the block.
    nudge : str
        The first hint: where to look, without a formula.
    """

    name: str
    task: str
    hint: str
    blocks: Sequence[str] = ("result",)
    problem: Callable[[int], tuple[Any, ...]] | None = None
    reference: Callable[..., Any] | None = None
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    run: Callable[..., Any] = lambda answer, *arguments: answer(*arguments)
    judge: Callable[[Any], tuple[bool, str]] | None = None
    tolerance: float = 1e-9
    nudge: str = "read the task again, and write the shape of each array beside it."

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the names of the answer's arguments."""
        if self.reference is None:
            return ()
        parameters = inspect.signature(self.reference).parameters.values()
        return tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)


def pencil(
    name: str,
    numbers: Mapping[str, Any],
    wrong: Mapping[str, Sequence[Any]],
    *,
    task: str,
    hint: str,
    nudge: str,
) -> Exercise:
    """Return an exercise with a pencil, whose answer is a function that returns numbers.

    ``numbers`` has the right ones by block; ``wrong`` has wrong ones that we recognise, in the
    same order, by the sentence that the student reads.
    """
    return Exercise(
        name,
        task,
        hint,
        blocks=tuple(numbers),
        problem=lambda seed: (),
        reference=lambda: tuple(numbers.values()),
        mistakes={said: lambda found=tuple(found): found for said, found in wrong.items()},
        nudge=nudge,
    )
