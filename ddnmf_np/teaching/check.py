"""Is an answer right? If not: which block is wrong, by how much, and what may have happened."""

from __future__ import annotations

import difflib
import inspect
import linecache
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddnmf_np.errors import UsageError
from ddnmf_np.teaching.comparison import Verdict, compare, in_words, is_empty
from ddnmf_np.teaching.exercise import SEEDS, Exercise
from ddnmf_np.teaching.exercises import all_exercises

_WIDTH = 88


@dataclass(frozen=True)
class Result:
    """Whether an answer passed, and everything there is to say about it.

    Parameters
    ----------
    passed : bool
        Whether it did; also the truth value.
    text : str
        What `check` has printed, without its line breaks.
    """

    passed: bool
    text: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Show nothing: at the end of a cell the text is there already."""


def check(name: str, answer: Any) -> Result:
    """Judge an answer to an exercise, print what there is to say, and return it.

    An answer may be anything: a wrong one is reported, and whatever it raises is shown, not raised.

    Parameters
    ----------
    name : str
        Which exercise.
    answer : object
        The student's function, number, array or class.

    Returns
    -------
    Result
        Truth in ``passed``, words in ``text``.

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
    for line in result.text.splitlines():
        print(textwrap.fill(line, _WIDTH, subsequent_indent="    ", break_on_hyphens=False))
    return result


def judge(exercise: Exercise, answer: Any) -> Result:
    """Judge an answer to an exercise; see `check`."""
    if is_empty(answer):
        return _not_yet(exercise, ", the answer is empty", [])
    if exercise.wants_function and not callable(answer):
        came = f"the answer is {_article(answer)}, not a function"
        return _not_yet(exercise, "", [f"{came} of {_signature(exercise)}."])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN and infinity are reported in words
            if exercise.judge is not None:
                passed, text = exercise.judge(answer)
                return (_passed if passed else _not_yet)(exercise, "", [text])
            trials = list(_trials(exercise, answer))
    except _StoppedError as stop:
        return _not_yet(exercise, stop.headline, stop.lines)
    except Exception as error:  # a judge met something in the answer that raised
        return _not_yet(exercise, "", _raised(error, answer))
    if all(verdict.kind == "empty" for trial in trials for verdict in trial.values()):
        return _not_yet(exercise, ", the answer is empty", [])
    lines, wrong = _table(exercise.blocks, trials)
    if not wrong:
        return _passed(exercise, "", lines)
    first = [all(verdict.right for verdict in trial.values()) for trial in trials]
    if first[0] and not all(first):
        lines.append(
            "It is right on the first problem and wrong on another: is a size, or a number of the "
            "first problem, written into it? Does it keep something between calls?"
        )
    return _not_yet(exercise, "", lines)


class _StoppedError(Exception):
    """The answer cannot be compared; the lines say why."""

    def __init__(self, lines: list[str], headline: str = "") -> None:
        super().__init__()
        self.lines, self.headline = lines, headline


def _trials(exercise: Exercise, answer: Any) -> Iterator[dict[str, Verdict]]:
    """Yield the verdicts, by block, of each problem."""
    assert exercise.reference is not None
    assert exercise.problem is not None
    for seed in SEEDS:
        given, mine = exercise.problem(seed), exercise.problem(seed)
        want = _as_blocks(exercise.reference(*deepcopy(mine)), exercise.blocks)
        try:
            returned = exercise.run(answer, *given)
        except Exception as error:
            lines = [] if _is_unwritten(error) else _raised(error, answer, exercise)
            headline = ", the function is empty" if _is_unwritten(error) else ""
            raise _StoppedError(lines, headline) from None
        if is_empty(returned):
            raise _StoppedError([], f", the function returns {returned!r}")
        if changed := _changed(exercise, given, mine):
            raise _StoppedError(
                [
                    f"Your function changes its input {changed}. Whoever calls it still needs "
                    "that: compute into an array of your own."
                ]
            )
        got = _as_blocks(returned, exercise.blocks)
        yield _verdicts(exercise, got, want, mine)


def _verdicts(
    exercise: Exercise, got: Mapping[str, Any], want: Mapping[str, Any], arguments: tuple[Any, ...]
) -> dict[str, Verdict]:
    """Compare all blocks of one problem; known mistakes are looked for before general ones."""
    sizes = {size for array in _arrays(arguments) for size in array.shape}
    found = {}
    for name in exercise.blocks:
        verdict = compare(got[name], want[name], sizes, exercise.tolerance)
        if not verdict.right and verdict.kind != "empty":
            for mistake in exercise.mistakes:
                blocks = _as_blocks(mistake.answer(*deepcopy(arguments)), exercise.blocks)
                differs = not compare(blocks[name], want[name], (), exercise.tolerance).right
                if differs and compare(got[name], blocks[name], (), exercise.tolerance).right:
                    verdict = Verdict(
                        False, verdict.shape, verdict.error, mistake.guess, mistake.guess
                    )
                    break
            else:
                for other in exercise.blocks:
                    if other != name and compare(got[name], want[other], (), 1e-9).right:
                        guess = f"It is what {other} should be."
                        verdict = Verdict(False, verdict.shape, verdict.error, guess, guess)
        found[name] = verdict
    return found


def _table(blocks: Any, trials: list[dict[str, Verdict]]) -> tuple[list[str], bool]:
    """Return a line for each block over all problems, and whether one is wrong."""
    lines, any_wrong = [], False
    width = max(map(len, blocks))
    for name in blocks:
        wrong = [trial[name] for trial in trials if not trial[name].right]
        if not wrong:
            lines.append(f"  {name:{width}}  right")
            continue
        any_wrong = True
        first = wrong[0]
        error = f"relative error {_number(first.error)}"
        what = f"it is {first.shape}" if np.isnan(first.error) else error
        sure = len({verdict.kind for verdict in wrong}) == 1
        guess = f" {first.guess}" if first.guess and sure else ""
        lines.append(f"  {name:{width}}  wrong, {what}.{guess}")
    return lines, any_wrong


def _as_blocks(value: Any, names: Any) -> dict[str, Any]:
    """Return what an answer returned, by the names of the blocks."""
    if isinstance(value, Mapping):
        if missing := [name for name in names if name not in value]:
            there = ", ".join(map(str, value)) or "none"
            raise _StoppedError([f"Missing: {', '.join(missing)}. The keys returned are: {there}."])
        return {name: value[name] for name in names}
    if len(names) == 1:
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        return {names[0]: value}
    if not isinstance(value, (tuple, list)):
        raise _StoppedError(
            [f"It returned {_article(value)}; expected {len(names)} things: {', '.join(names)}."]
        )
    if len(value) != len(names):
        raise _StoppedError(
            [f"It returned {len(value)} things; expected {len(names)}: {', '.join(names)}."]
        )
    return dict(zip(names, value, strict=True))


def _arrays(value: Any) -> Iterator[Any]:
    """Yield all arrays inside arguments."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _arrays(item)
    elif isinstance(value, Mapping):
        yield from _arrays(list(value.values()))


def _changed(exercise: Exercise, given: tuple[Any, ...], mine: tuple[Any, ...]) -> str:
    """Return the name of an argument that the answer has written to, or nothing."""
    for name, before, after in zip(exercise.arguments, mine, given, strict=True):
        old, new = list(_arrays(before)), list(_arrays(after))
        if len(old) != len(new) or not all(
            np.array_equal(*pair, equal_nan=True) for pair in zip(old, new, strict=True)
        ):
            return name
    return ""


def _is_unwritten(error: Exception) -> bool:
    return isinstance(error, NotImplementedError)


def _raised(error: Exception, answer: Any, exercise: Exercise | None = None) -> list[str]:
    """Say what was raised, and in which line of the student's own code."""
    lines = [f"It raised {type(error).__name__}: {error}"]
    frames = traceback.extract_tb(error.__traceback__)
    own = _own_files(answer)
    for frame in reversed(frames):
        if frame.filename in own and frame.lineno is not None:
            code = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
            lines.append(f"  in line {frame.lineno}: {code}" if code else "")
            break
    else:
        if exercise is not None and isinstance(error, TypeError):
            lines.append(f"  It is called with {_signature(exercise)}.")
    return [line for line in lines if line]


def _own_files(answer: Any) -> set[str]:
    """Return the files (or notebook cells) that a function or the methods of a class are in."""
    functions = [answer, *vars(answer).values()] if isinstance(answer, type) else [answer]
    return {item.__code__.co_filename for item in functions if inspect.isfunction(item)}


def _shapes(exercise: Exercise) -> str:
    assert exercise.problem is not None
    described = []
    for name, value in zip(exercise.arguments, exercise.problem(SEEDS[0]), strict=True):
        if isinstance(value, np.ndarray):
            described.append(f"{name} {in_words(value.shape)}")
        elif isinstance(value, (tuple, list)) and value and isinstance(value[0], np.ndarray):
            described.append(f"{name} [{', '.join(str(item.shape) for item in value)}]")
        elif isinstance(value, float):
            described.append(f"{name} = {value:.4g}")
        elif isinstance(value, (int, str)):
            described.append(f"{name} = {value!r}")
    return ", ".join(described)


def _signature(exercise: Exercise) -> str:
    return f"({', '.join(exercise.arguments)})"


def _article(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _number(error: float) -> str:
    return "infinite" if np.isinf(error) else f"{error:.2g}"


def _passed(exercise: Exercise, headline: str, lines: list[str]) -> Result:
    return Result(True, "\n".join([f"{exercise.name}: passed{headline}.", *filter(None, lines)]))


def _not_yet(exercise: Exercise, headline: str, lines: list[str]) -> Result:
    """Say what is wrong, what is asked for, and, once something has been tried, where to look."""
    asked = [f"Asked for: {exercise.task}"]
    if exercise.wants_function:
        asked.append(f"It is called with {_signature(exercise)}; first with {_shapes(exercise)}.")
    if any(lines):
        asked.append(f"Hint: {exercise.hint}")
    first = f"{exercise.name}: not yet{headline}."
    return Result(False, "\n".join([first, *filter(None, lines), *asked]))
