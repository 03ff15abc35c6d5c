"""The check of an answer: which block is wrong, by how much, and what may have happened.

Help comes in four steps, each when it is asked for: the diagnosis, a nudge, nearly the line, and
the solution.
"""

from __future__ import annotations

import difflib
import inspect
import linecache
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ddnmf_np.errors import UsageError
from ddnmf_np.system.files import atomic_write_text
from ddnmf_np.teaching.cells import (
    SOLUTIONS,
    beside_notebooks,
    join_cells,
    read_cells,
    run_cell,
    source_of,
)
from ddnmf_np.teaching.comparison import Verdict, article, compare, is_empty
from ddnmf_np.teaching.exercise import SEEDS, Exercise
from ddnmf_np.teaching.exercises import all_exercises, by_notebook

_WIDTH = 88

MY_ENGINE = "my_engine.py"
"""File that keeps the learner's right answers."""

_HEAD = """\"\"\"My own engine: a cell for each answer that I kept.\"\"\"

from itertools import permutations

import numpy as np

from ddnmf_np.engine.layers import Dense
"""

_hints_given: dict[str, int] = {}


@dataclass(frozen=True)
class Result:
    """The judgement of an answer.

    Attributes
    ----------
    passed : bool
        Whether the answer is right.
    text : str
        What `check` has printed.
    exercise : Exercise
        The exercise.
    answer : object
        The answer.
    blocks : dict of str to bool
        Which blocks of the answer are right.
    """

    passed: bool
    text: str
    exercise: Exercise
    answer: Any = None
    blocks: Mapping[str, bool] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the blocks that are right; 1 if the answer passed."""
        return 1.0 if self.passed else round(sum(self.blocks.values()) / len(self.blocks), 2)

    def hint(self, level: int | None = None) -> Self:
        """Print the next hint for this exercise: a nudge, nearly the line, the solution.

        Parameters
        ----------
        level : {1, 2, 3}, optional
            Hint to print; by default the one after the last.

        Returns
        -------
        Result
            Itself, so that the lines after the check still work.

        Raises
        ------
        UsageError
            If there is no such level.
        """
        name = self.exercise.name
        level = min(_hints_given.get(name, 0) + 1, 3) if level is None else level
        if level not in (1, 2, 3):
            raise UsageError(f"level is {level!r}; choose 1 (nudge), 2 (line) or 3 (solution)")
        _hints_given[name] = max(level, _hints_given.get(name, 0))
        if level < 3:
            text = self.exercise.nudge if level == 1 else self.exercise.hint
            _say(f"Hint {level} of 3: {text}")
            return self
        path = beside_notebooks(SOLUTIONS)
        if path is None:
            print("The solutions are not part of this edition: ask your lecturer.")
        else:
            print(f"A solution of {name}:\n\n{read_cells(path)[1][name]}")
        return self

    def keep(self, path: str | Path = MY_ENGINE) -> Self:
        """Write a right answer into the learner's own file; print whether that was done.

        The file has a cell for each answer. The cell of an earlier answer is replaced.
        """
        if self.passed:  # else `check` has said what is missing
            self._write(Path(path))
        return self

    def _write(self, path: Path) -> None:
        name = self.exercise.name
        source = source_of(self.answer)
        if source is None:
            print("Not kept: write the answer as a function with a name (def), and try again.")
            return
        head, cells = read_cells(path) if path.is_file() else (_HEAD, {})
        try:
            again = judge(self.exercise, run_cell(head, source, f"{path}, {name}"))
            problem = "" if again.passed else again.text.splitlines()[1]
        except UsageError as error:
            problem = str(error)
        if problem:
            _say(
                f"Not kept: outside of this notebook the answer fails ({problem.strip()}). Put "
                "all that it uses into the function, imports too, and try again."
            )
            return
        cells[name] = source
        order = {other: place for place, other in enumerate(all_exercises())}
        cells = dict(sorted(cells.items(), key=lambda item: order.get(item[0], len(order))))
        atomic_write_text(path, join_cells(head, cells))
        print(f"Kept in {path}: {len(cells.keys() & order.keys())} of {len(order)} answers.")

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Show nothing: `check` has printed the text already."""


def check(name: str, answer: Any) -> Result:
    """Judge an answer to an exercise, print the judgement and return it.

    The answer may be anything. If it raises, the error is reported, not raised.

    Parameters
    ----------
    name : str
        Name of the exercise.
    answer : object
        The student's function or class.

    Returns
    -------
    Result
        Whether the answer passed, and the text.

    Raises
    ------
    UsageError
        If there is no such exercise.

    Examples
    --------
    >>> from ddnmf_np.teaching import check
    >>> result = check("dense-forward", ...)  # doctest: +ELLIPSIS
    dense-forward: not yet, the answer is empty.
    ...
    """
    exercises = all_exercises()
    if name not in exercises:
        near = difflib.get_close_matches(str(name), exercises, n=1, cutoff=0.0)
        raise UsageError(
            f"there is no exercise {name!r}; did you mean {near[0]!r}? Others: "
            f"{', '.join(exercises)}"
        )
    result = judge(exercises[name], answer)
    _say(result.text)
    return result


def tally(path: str | Path = MY_ENGINE) -> None:
    """Check all answers that were kept, and print how many are right, notebook by notebook.

    Parameters
    ----------
    path : path_like
        The learner's own file.

    Raises
    ------
    UsageError
        If a cell of the file cannot be run.
    """
    right = {
        name
        for name, answer in load_answers(path).items()
        if judge(all_exercises()[name], answer).passed
    }
    for number, names in enumerate(by_notebook(), start=1):
        marks = "  ".join(
            f"[{'x' if name in right else '-'}]\N{NO-BREAK SPACE}{name}" for name in names
        )
        _say(f"{number}. {marks}")
    print(f"{len(right)} of {len(all_exercises())} answers are right and kept in {path}.")


def load_answers(path: str | Path) -> dict[str, Any]:
    """Return the answers in a learner's file by exercise; none if there is no file."""
    if not Path(path).is_file():
        return {}
    head, cells = read_cells(Path(path))
    return {
        name: run_cell(head, code, f"{path}, {name}")
        for name, code in cells.items()
        if name in all_exercises()
    }


def _say(text: str) -> None:
    for line in text.splitlines():
        print(textwrap.fill(line, _WIDTH, subsequent_indent="    ", break_on_hyphens=False))


def judge(exercise: Exercise, answer: Any) -> Result:
    """Judge an answer to an exercise; see `check`."""
    passed, text, blocks = _judge(exercise, answer)
    return Result(passed, text, exercise, answer, blocks)


_Judged = tuple[bool, str, dict[str, bool]]


def _judge(exercise: Exercise, answer: Any) -> _Judged:
    if is_empty(answer):
        return _not_yet(exercise, ", the answer is empty")
    if exercise.problem is not None and not callable(answer):
        wanted = f"a function of {_signature(exercise)}"
        return _not_yet(exercise, "", [f"The answer is {article(answer)}, not {wanted}."])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # we report NaN and infinity in words
            if exercise.judge is not None:
                passed, text = exercise.judge(answer)
                return _passed(exercise, [text]) if passed else _not_yet(exercise, "", [text])
            trials = list(_trials(exercise, answer))
    except _StoppedError as stop:
        headline, *lines = stop.args
        return _not_yet(exercise, headline, lines)
    except Exception as error:  # a judge met something in the answer that raised
        return _not_yet(exercise, "", _raised(error, answer))
    if all(verdict.kind == "empty" for trial in trials for verdict in trial.values()):
        return _not_yet(exercise, ", the answer is empty")
    lines = _table(exercise.blocks, trials)
    blocks = {name: all(trial[name].right for trial in trials) for name in exercise.blocks}
    if any(blocks.values()) and not all(blocks.values()):
        lines.append(f"Right so far: {', '.join(name for name in blocks if blocks[name])}.")
    right = [all(verdict.right for verdict in trial.values()) for trial in trials]
    if all(right):
        return _passed(exercise, lines)
    if right[0]:
        lines.append(
            "Your answer is right on the first problem and wrong on another. Does it contain a "
            "size or a number of the first problem? Does it keep something between calls?"
        )
    return _not_yet(exercise, "", lines, blocks)


class _StoppedError(Exception):
    """An answer that cannot be compared: the headline and the lines that say why."""


def _trials(exercise: Exercise, answer: Any) -> Iterator[dict[str, Verdict]]:
    """Yield the verdicts on all blocks, problem by problem."""
    assert exercise.problem is not None
    for seed in SEEDS:
        given, mine = exercise.problem(seed), exercise.problem(seed)
        try:
            returned = exercise.run(answer, *given)
        except NotImplementedError:
            raise _StoppedError(", the function is empty") from None
        except Exception as error:
            raise _StoppedError("", *_raised(error, answer)) from None
        if is_empty(returned):
            raise _StoppedError(", the function returns nothing")
        if changed := changed_input(exercise, given, mine):
            raise _StoppedError(
                "",
                f"Your function changes its input {changed}, but the caller still needs it. "
                "Compute into a new array.",
            )
        yield _verdicts(exercise, _as_blocks(returned, exercise.blocks), mine)


def _verdicts(
    exercise: Exercise, got: Mapping[str, Any], arguments: tuple[Any, ...]
) -> dict[str, Verdict]:
    """Compare all blocks of one problem; known mistakes explain more than general guesses."""

    def blocks_of(answer: Any) -> dict[str, Any]:
        return _as_blocks(exercise.run(answer, *deepcopy(arguments)), exercise.blocks)

    sizes = {size for array in _arrays(arguments) for size in array.shape}
    want = blocks_of(exercise.reference)
    found = {
        name: compare(got[name], want[name], sizes, exercise.tolerance) for name in exercise.blocks
    }
    wrong = [name for name, verdict in found.items() if not verdict.right]
    known = {guess: blocks_of(answer) for guess, answer in exercise.mistakes.items() if wrong}
    for name in wrong:
        likely = [(guess, blocks[name]) for guess, blocks in known.items()]
        likely += [(f"It is what {other} should be.", want[other]) for other in got]
        for guess, block in likely:
            if compare(got[name], block, (), exercise.tolerance).right:
                found[name] = replace(found[name], guess=guess, kind=guess)
                break
    return found


def _table(blocks: Sequence[str], trials: list[dict[str, Verdict]]) -> list[str]:
    """Return a line for each block, over all problems."""
    lines = []
    width = max(map(len, blocks)) + 1
    for name in blocks:
        wrong = [trial[name] for trial in trials if not trial[name].right]
        first = wrong[0] if wrong else Verdict(True)
        agreed = len({verdict.kind for verdict in wrong}) == 1
        text = f"{first.text} {first.guess}" if first.guess and agreed else first.text
        lines.append(f"  {name + ':':{width}} {text}")
    return lines


def _as_blocks(value: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return an answer's result, by the names of the blocks."""
    if isinstance(value, Mapping):
        if missing := [name for name in names if name not in value]:
            there = ", ".join(map(str, value)) or "none"
            line = f"Your function returned the keys {there}; missing: {', '.join(missing)}."
            raise _StoppedError("", line)
        return {name: value[name] for name in names}
    if len(names) == 1:
        single = isinstance(value, tuple) and len(value) == 1
        return {names[0]: value[0] if single else value}
    several = isinstance(value, (tuple, list))
    if not several or len(value) != len(names):
        came = f"{len(value)} values" if several else article(value)
        due = f"{len(names)} values: {', '.join(names)}"
        raise _StoppedError("", f"Your function returned {came}; it should return {due}.")
    return dict(zip(names, value, strict=True))


def _arrays(value: Any) -> Iterator[Any]:
    """Yield all arrays inside arguments."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _arrays(item)


def changed_input(exercise: Exercise, given: tuple[Any, ...], mine: tuple[Any, ...]) -> str:
    """Return the name of an argument that the answer has changed, or an empty string."""
    for name, before, after in zip(exercise.arguments, mine, given, strict=True):
        old, new = list(_arrays(before)), list(_arrays(after))
        if len(old) != len(new) or not all(map(np.array_equal, old, new)):
            return name
    return ""


def _raised(error: Exception, answer: Any) -> list[str]:
    """Say what was raised, and in which line of the student's code."""
    lines = [f"It raised {type(error).__name__}: {error}"]
    functions = [answer, *vars(answer).values()] if isinstance(answer, type) else [answer]
    files = {item.__code__.co_filename for item in functions if inspect.isfunction(item)}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if frames:
        number = frames[-1].lineno or 0
        code = (frames[-1].line or linecache.getline(frames[-1].filename, number)).strip()
        lines += [f"  in line {number}: {code}"] if code else []
    return lines


def _shapes(exercise: Exercise) -> str:
    """Describe the arguments of the first problem."""
    assert exercise.problem is not None
    described = []
    for name, value in zip(exercise.arguments, exercise.problem(SEEDS[0]), strict=True):
        if isinstance(value, np.ndarray):
            described.append(f"{name} {value.shape}")
        elif isinstance(value, list):
            described.append(f"{name} [{', '.join(str(item.shape) for item in value)}]")
        elif isinstance(value, (int, float)):
            described.append(f"{name} = {value:.4g}")
    return ", ".join(described)


def _signature(exercise: Exercise) -> str:
    return f"({', '.join(exercise.arguments)})"


def _passed(exercise: Exercise, lines: Sequence[str]) -> _Judged:
    text = "\n".join([f"{exercise.name}: passed.", *lines])
    return True, text, dict.fromkeys(exercise.blocks, True)


def _not_yet(
    exercise: Exercise,
    headline: str,
    lines: Sequence[str] = (),
    blocks: dict[str, bool] | None = None,
) -> _Judged:
    """Say what is wrong, what is asked for and, once the student has tried, how to get a hint."""
    asked = [f"Asked for: {exercise.task}"]
    if exercise.arguments:
        asked.append(f"We call it with {_signature(exercise)}, first with {_shapes(exercise)}.")
    if lines:
        asked.append("Stuck? Add .hint() to the check, once for each further hint.")
    text = "\n".join([f"{exercise.name}: not yet{headline}.", *lines, *asked])
    return False, text, blocks or dict.fromkeys(exercise.blocks, False)
