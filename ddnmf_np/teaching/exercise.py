"""What an exercise is: problems, a reference, and the mistakes one usually makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ddnmf_np.errors import UsageError

SEEDS = (0, 1, 2)
"""Problems that an answer is tried on; their sizes differ."""


def call(answer: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``answer(*arguments)``."""
    return answer(*arguments)


@dataclass(frozen=True)
class Mistake:
    """A way to be wrong that the checker knows.

    Parameters
    ----------
    guess : str
        A sentence that tells the student what seems to have happened.
    answer : callable
        The wrong computation, with the arguments and the blocks of the reference.
    """

    guess: str
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """A question whose answers `ddnmf_np.teaching.check` can judge.

    Two kinds: with ``problem`` and ``reference`` the answer is a function (or what ``run`` can
    use, such as a class); with ``judge`` there is no one right answer.

    Parameters
    ----------
    name : str
        What ``check`` is called with; lower case and hyphens.
    task : str
        What to give, with shapes, such as "a function that returns dW (out, in)"; a sentence whose
        beginning is "Asked for:".
    hint : str
        Where to look, shown beside a wrong answer.
    blocks : sequence of str
        Names of what the reference returns: one for a single value, several for a tuple or for
        a mapping with these keys.
    problem : callable, optional
        From a seed to the arguments of the reference, a tuple; float64, small, with sizes that are
        all different and depend on the seed.
    reference : callable, optional
        The right answer. It calls the engine where the engine has it.
    mistakes : sequence of Mistake
        Wrong answers to recognise.
    run : callable
        ``run(answer, *arguments)`` returns the blocks; by default it calls the answer.
    judge : callable, optional
        ``judge(answer)`` returns ``(passed, text)``.
    tolerance : float
        Largest accepted error relative to the largest entry of the block.
    """

    name: str
    task: str
    hint: str
    blocks: Sequence[str] = ("result",)
    problem: Callable[[int], tuple[Any, ...]] | None = None
    reference: Callable[..., Any] | None = None
    mistakes: Sequence[Mistake] = ()
    run: Callable[..., Any] = call
    judge: Callable[[Any], tuple[bool, str]] | None = None
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        if not (self.reference is None) == (self.problem is None) != (self.judge is None):
            raise UsageError(
                f"exercise {self.name!r}: give either a problem and a reference, or a judge"
            )
        if isinstance(self.blocks, str) or not self.blocks:
            raise UsageError(f"exercise {self.name!r}: blocks is {self.blocks!r}; give a list")

    @property
    def wants_function(self) -> bool:
        """Whether the answer is to be called."""
        return self.problem is not None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the names of what the answer is called with."""
        if self.reference is None:
            return ()
        return tuple(inspect.signature(self.reference).parameters)
