"""The checker: right answers pass; wrong ones are reported block by block, and never raised."""

import re
from importlib import import_module

import numpy as np
import pytest

from ddnmf_np.errors import UsageError
from ddnmf_np.teaching import check
from ddnmf_np.teaching.check import judge
from ddnmf_np.teaching.exercise import SEEDS, Exercise
from ddnmf_np.teaching.exercises import all_exercises

MODULE = import_module("ddnmf_np.teaching.check")  # the package's `check` is the function


def right(x, h, W, g):
    delta = (h > 0) * g
    return delta.T @ x, delta.sum(axis=0), delta @ W


def lines(result):
    """Return what is said of each block."""
    return dict(re.findall(r"^  (\w+): +(right|still empty|wrong.*)$", result.text, re.MULTILINE))


def test_a_right_answer_passes_and_says_so_of_each_block(capsys):
    result = check("dense-backward", right)
    assert result.passed
    assert bool(result) is True
    assert lines(result) == {"dW": "right", "db": "right", "dx": "right"}
    assert repr(result) == result.text
    assert capsys.readouterr().out.startswith("dense-backward: passed.")


@pytest.mark.parametrize("pack", [list, lambda t: dict(zip(("dW", "db", "dx"), t, strict=True))])
def test_blocks_may_come_as_a_list_or_by_name(pack):
    assert check("dense-backward", lambda *arguments: pack(right(*arguments)))


def spoiled(**changes):
    """Return the right answer with some of its blocks changed."""

    def answer(x, h, W, g):
        blocks = dict(zip(("dW", "db", "dx"), right(x, h, W, g), strict=True))
        return {name: changes.get(name, lambda block: block)(b) for name, b in blocks.items()}

    return answer


def one_hot(sizes):
    """Return a column of factors: 3 for the largest row, 1 for the others."""
    return np.where(sizes == sizes.max(), 3.0, 1.0)[:, None]


MISTAKES = {
    "transpose": (
        lambda dW: dW.T,
        "dW",
        "wrong shape (5, 3); it should be (3, 5). You have the transpose.",
    ),
    "sign": (lambda dW: -dW, "dW", "Every entry has the wrong sign"),
    "factor": (lambda dW: 1.7 * dW, "dW", "Every entry is 1.7 times the right one"),
    "twice": (lambda dW: 2 * dW, "dW", "Every entry is twice the right one"),
    "half": (lambda dW: dW / 2, "dW", "Every entry is half the right one"),
    "minus half": (lambda dW: -dW / 2, "dW", "minus half"),
    "offset": (lambda dW: dW + 0.25, "dW", "off by the same amount: 0.25"),
    "order": (lambda dW: dW[::-1], "dW", "in another order"),
    "zero": (lambda dW: 0 * dW, "dW", "Every entry is 0"),
    "nan": (lambda dW: dW * [np.nan] + 0, "dW", "15 of 15 entries are NaN or infinite"),
    "one row": (lambda dW: dW * one_hot(abs(dW).sum(axis=1)), "dW", "Only row"),
    "float32": (lambda dW: dW.astype("float32"), "dW", "You computed in float32"),
    "keepdims": (lambda db: db[None], "db", "axis of length 1"),
    "list of lists": (
        lambda db: [[1.0], [2.0, 3.0]],
        "db",
        "a list is not an array of real numbers",
    ),
    "text": (lambda db: "?", "db", "a str is not an array of real numbers"),
    "complex": (lambda db: db + 0j, "db", "an array of complex128 is not an array of real numbers"),
    "shape": (lambda dx: dx[:, :1], "dx", "wrong shape (7, 1); it should be (7, 5)"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_the_kind_of_mistake_is_guessed_and_the_other_blocks_are_right(kind):
    change, block, words = MISTAKES[kind]
    result = check("dense-backward", spoiled(**{block: change}))
    found = lines(result)
    assert not result.passed
    assert words in found.pop(block)
    assert set(found.values()) == {"right"}
    assert f"Right so far: {', '.join(found)}." in result.text
    assert ".hint()" in result.text


def test_the_size_of_an_error_is_told():
    result = check("dense-backward", spoiled(dW=lambda dW: 1.25 * dW))
    assert "relative error 0.25" in lines(result)["dW"]


def test_an_error_beyond_rounding_is_wrong():
    assert not check("dense-backward", spoiled(dW=lambda dW: dW * (1 + 1e-8))).passed
    assert check("dense-backward", spoiled(dW=lambda dW: dW * (1 + 1e-12))).passed


def test_a_mean_in_place_of_a_sum_is_recognised_by_the_length_of_the_batch():
    def mean(x, h, W, g):
        dW, db, dx = right(x, h, W, g)
        return dW / len(x), db, dx

    text = lines(check("dense-backward", mean))["dW"]
    assert "1/7 of the right one" in text
    assert "a mean instead of a sum" in text

    def total(x, h, W, g):
        dW, db, dx = right(x, h, W, g)
        return dW, len(x) * db, dx

    assert "a sum instead of a mean" in lines(check("dense-backward", total))["db"]


def test_a_forgotten_sum_over_the_batch_is_recognised():
    def each(x, h, W, g):
        dW, _, dx = right(x, h, W, g)
        return dW, (h > 0) * g, dx

    assert "The sum over axis 0 is missing" in lines(check("dense-backward", each))["db"]


def test_a_missing_mask_is_recognised_without_being_told_of_it():
    exercise = Exercise(
        "mask", "a mask", "none", ("m",),
        problem=lambda seed: (np.random.default_rng(seed).normal(size=(5 + seed, 3)),),
        reference=lambda z: np.maximum(z, 0.0),
    )  # fmt: skip
    assert "a mask missing, such as the f' of a ReLU?" in judge(exercise, lambda z: z).text


def test_blocks_in_another_order_are_recognised():
    def swapped(x, h, W, g):
        dW, db, dx = right(x, h, W, g)
        return dx, db, dW

    result = check("dense-backward", swapped)
    assert "It is what dx should be" in lines(result)["dW"]
    assert "It is what dW should be" in lines(result)["dx"]


def test_a_missing_slope_is_named_though_another_block_is_right():
    result = check("dense-backward", lambda x, h, W, g: (g.T @ x, *right(x, h, W, g)[1:]))
    assert "f' is missing" in lines(result)["dW"]
    assert lines(result)["db"] == "right"


def test_a_guess_that_fits_one_problem_alone_is_not_made():
    """By chance a single number is always some multiple of the right one."""
    exercise = Exercise(
        "number", "a number", "none", ("n",),
        problem=lambda seed: (float(seed + 2),), reference=lambda a: a * a,
    )  # fmt: skip
    assert "times" not in judge(exercise, lambda a: a + 0.5).text
    assert "twice" in judge(exercise, lambda a: 2 * a * a).text


def test_a_size_that_is_written_in_is_suspected():
    def only_first(x, h, W, g):
        dW, db, dx = right(x, h, W, g)
        return dW * len(x) / 7, db, dx

    assert "right on the first problem" in check("dense-backward", only_first).text


EMPTY = [..., None, NotImplemented, NotImplementedError, NotImplementedError()]


@pytest.mark.parametrize("answer", EMPTY, ids=repr)
def test_an_empty_answer_gets_the_question_and_no_offer_of_a_hint(answer):
    for result in (check("dense-backward", answer), check("dense-backward", lambda *_: answer)):
        assert not result.passed
        assert "dW (out, in), db (out,) and dx (n, in)" in result.text
        assert "(x, h, W, g), first with x (7, 5), h (7, 3), W (3, 5), g (7, 3)" in result.text
        assert "hint" not in result.text
        assert "wrong" not in result.text


def test_a_function_that_is_not_written_yet_is_empty():
    def later(x, h, W, g):
        raise NotImplementedError

    assert "the function is empty" in check("dense-backward", later).text


def test_blocks_that_are_still_empty_are_named():
    def partly(x, h, W, g):
        return right(x, h, W, g)[0], ..., None

    found = lines(check("dense-backward", partly))
    assert found["dW"] == "right"
    assert found["db"] == found["dx"] == "still empty"
    assert "the answer is empty" in check("dense-backward", lambda *_: (..., ..., ...)).text


def test_what_is_raised_is_shown_with_the_line_of_the_student():
    def broken(x, h, W, g):
        delta = g @ x
        return delta, delta, delta

    text = check("dense-backward", broken).text
    assert "It raised ValueError" in text
    assert "delta = g @ x" in text


def test_a_function_of_other_arguments_is_told_its_own():
    text = check("dense-backward", lambda x: x).text
    assert "It raised TypeError" in text
    assert "We call it with (x, h, W, g)" in text


def test_a_function_that_changes_its_inputs_is_told_which():
    def careless(x, h, W, g):
        g *= h > 0
        return g.T @ x, g.sum(axis=0), g @ W

    assert "changes its input g" in check("dense-backward", careless).text


def test_a_list_that_is_shortened_is_seen():
    def careless(h, W, g):
        W.pop()
        return dict.fromkeys(("W1", "b1"), g)

    assert "changes its input W" in check("supervisor-gradient", careless).text


def test_changes_inside_a_list_of_arrays_are_seen():
    def careless(h, W, g):
        h[1] *= 2
        return dict.fromkeys(("W1", "b1"), g)

    assert "changes its input h" in check("supervisor-gradient", careless).text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3, "an int, not a function of (x, h, W, g)"),
        (np.zeros((2, 3)), "an array of shape (2, 3), not a function"),
        (lambda *_: np.zeros(3), "an array of shape (3,); it should return 3 values: dW, db, dx"),
        (lambda *_: (1, 2), "returned 2 values; it should return 3 values: dW, db, dx"),
        (lambda *_: {"dW": 1, "dw": 2}, "returned the keys dW, dw; missing: db, dx"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer, words):
    result = check("dense-backward", answer)
    assert not result.passed
    assert words in result.text


class Hostile:
    """Raises whatever is done with it."""

    def __array__(self, *_, **__):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


@pytest.mark.parametrize("block", [Hostile(), [], {}, "x", [None], [[]], object, np.zeros(0)])
def test_nothing_that_an_answer_returns_makes_the_checker_raise(block):
    assert not check("dense-backward", lambda *_: (block, block, block)).passed
    assert not check("dense-forward", lambda *_: block).passed
    assert not check("dense-backward", block).passed


def test_an_unknown_exercise_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'dense-backward'"):
        check("dense-bakward", right)
    with pytest.raises(UsageError, match="dense-forward"):
        check(3, right)


def test_long_lines_are_wrapped_when_printed(capsys):
    result = check("supervisor-gradient", lambda h, W, g: {})
    assert max(map(len, result.text.splitlines())) > 100
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 88


# -- hints -----------------------------------------------------------------------------------------


@pytest.fixture
def no_hints_given(monkeypatch):
    monkeypatch.setattr(MODULE, "_hints_given", {})


def test_hints_come_one_by_one_and_the_solution_last(no_hints_given, capsys):
    exercise = all_exercises()["dense-backward"]
    hints = []
    for _ in range(4):
        result = check("dense-backward", lambda x, h, W, g: right(x, g, W, g))
        assert exercise.hint not in result.text
        capsys.readouterr()
        result.hint()
        hints.append(" ".join(capsys.readouterr().out.split()))
    assert hints[0] == f"Hint 1 of 3: {exercise.nudge}"
    assert hints[1] == f"Hint 2 of 3: {exercise.hint}"
    assert "def dense_backward(x, h, W, g):" in hints[2]
    assert hints[3] == hints[2]


def test_what_is_asked_of_a_result_returns_it(no_hints_given, tmp_path):
    """The next lines of a student's cell are ``result.keep()`` and ``result.share``."""
    result = check("dense-backward", ...).hint()
    assert (result.keep(tmp_path / "engine.py"), result.share) == (result, 0.0)


def test_a_hint_can_be_asked_for_by_its_level(no_hints_given, capsys):
    result = check("descent-step", ...)
    result.hint(2)
    result.hint(1)
    assert "Hint 1 of 3" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"choose 1 \(nudge\)"):
        result.hint(4)


def test_an_edition_without_solutions_says_so(no_hints_given, capsys, monkeypatch):
    monkeypatch.setattr(MODULE, "beside_notebooks", lambda name: None)
    check("descent-step", ...).hint(3)
    assert "ask your lecturer" in capsys.readouterr().out


def test_nudges_are_there_and_give_no_formula_away():
    for exercise in all_exercises().values():
        assert exercise.nudge != Exercise("", "", "").nudge, exercise.name
        assert exercise.nudge != exercise.hint
        assert " @ " not in exercise.nudge, exercise.name


def test_a_count_is_not_called_wrong():
    exercise = Exercise(
        "count", "a count", "none", ("n",),
        problem=lambda seed: (seed,), reference=lambda seed: 3,
    )  # fmt: skip
    text = judge(exercise, lambda seed: 5).text
    assert "it is 5; it should be 3." in text
    assert "wrong" not in text


# -- words, judges, exercises ----------------------------------------------------------------------

WORD = Exercise(
    "word", "which bound", "look", ("bound",),
    problem=lambda seed: (seed,), reference=lambda seed: "memory",
)  # fmt: skip


def test_a_word_passes_in_any_case_and_a_wrong_one_is_shown():
    assert judge(WORD, lambda seed: " Memory").passed
    assert "'compute'" in judge(WORD, lambda seed: "compute").text
    assert not judge(WORD, lambda seed: 3).passed


def test_a_judge_that_raises_is_no_end():
    def judge_it(answer):
        return answer + 1

    exercise = Exercise("x", "something", "none", judge=judge_it)
    assert "TypeError" in judge(exercise, "a").text


def test_a_known_mistake_counts_only_where_it_differs_from_the_right_answer():
    exercise = Exercise(
        "both", "two things", "none", ("a", "b"),
        problem=lambda seed: (np.arange(3.0 + seed) + 1,),
        reference=lambda x: (x, 2 * x),
        mistakes={"b was not doubled.": lambda x: (x, x)},
    )  # fmt: skip
    found = lines(judge(exercise, lambda x: (x, x)))
    assert found["a"] == "right"
    assert "b was not doubled." in found["b"]
    assert len(SEEDS) > 1
