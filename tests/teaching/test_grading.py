"""Marks: right, half right and hostile submissions, each in a separate process."""

import csv
import json
import sys
from io import StringIO

import pytest
from notebook_cases import NOTEBOOKS, load
from submission_cases import HALF, HOSTILE, LIGHT, NAMES, RIGHT, write_submission

from ddnmf_np.errors import DataError
from ddnmf_np.teaching import grading
from ddnmf_np.teaching.__main__ import main
from ddnmf_np.teaching.grading import Mark, grade
from ddnmf_np.teaching.worker import find_answers, judge_cells

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")


def snapshot(folder):
    return {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def marks_of(graded, student):
    found = json.loads((graded / student / "results.json").read_text())
    assert [test["name"] for test in found["tests"]] == NAMES
    assert found["score"] == pytest.approx(sum(test["score"] for test in found["tests"]), abs=1e-3)
    return {test["name"]: test for test in found["tests"]}


@pytest.mark.extra
def test_a_class_is_graded(tmp_path, monkeypatch):
    """One test, since each process that a hostile answer ends costs a start of a new one."""
    write_submission(tmp_path / "in" / "ada", RIGHT)
    write_submission(tmp_path / "in" / "emmy" / "nested folder", RIGHT | HALF)
    write_submission(tmp_path / "in" / "=mallory", RIGHT | HOSTILE, LIGHT)  # started six times
    (tmp_path / "in" / "=mallory" / "precious.txt").write_text("keep me")
    (tmp_path / "in" / "=mallory" / "99-link.ipynb").symlink_to(tmp_path / "in" / "ada")
    (tmp_path / "in" / ".git").mkdir()
    before = snapshot(tmp_path / "in")
    monkeypatch.setenv("TOKEN_OF_THE_LECTURER", "secret")
    assert main(["grade", str(tmp_path / "in"), "--seconds", "3"]) == 0
    assert snapshot(tmp_path / "in") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "in-marks"]
    graded = tmp_path / "in-marks"
    a_right_submission_has_every_point(marks_of(graded, "ada"))
    a_half_right_submission_has_the_points_of_its_right_blocks(marks_of(graded, "emmy"))
    a_hostile_submission_loses_only_what_it_did_not_answer(marks_of(graded, "=mallory"))
    tables_have_a_line_for_each_student_and_each_block(graded)


def a_right_submission_has_every_point(marks):
    assert {test["score"] for test in marks.values()} == {1}, marks
    assert {test["status"] for test in marks.values()} == {"passed"}


def a_half_right_submission_has_the_points_of_its_right_blocks(marks):
    assert {name: test["score"] for name, test in marks.items() if test["score"] != 1} == {
        "dense-backward": pytest.approx(2 / 3, abs=1e-4), "dense-forward": 0, "adam-step": 0,
        "swap-units": 0,
    }  # fmt: skip
    assert "1/7 of the right one" in marks["dense-backward"]["output"]
    assert "NameError" in marks["adam-step"]["output"]
    assert "SyntaxError" in marks["swap-units"]["output"]


def a_hostile_submission_loses_only_what_it_did_not_answer(marks):
    assert {name for name, test in marks.items() if test["score"] != 1} == set(HOSTILE)
    late = marks["nmf-gradient"]["output"]  # by the wall clock if others have the processors
    assert "took longer than 3 s" in late or "did not answer" in late
    assert "MemoryError" in marks["nmf-step"]["output"]
    assert "SystemExit" in marks["dense-forward"]["output"]
    assert "wrote into the protocol" in marks["slope-from-output"]["output"]
    assert "it closed its output" in marks["layer-one-sample"]["output"]
    assert "its process ended" in marks["supervisor-gradient"]["output"]
    assert "theta: wrong" in marks["descent-step"]["output"]
    assert marks["silent-units"]["status"] == "failed"


def tables_have_a_line_for_each_student_and_each_block(graded):
    rows = list(csv.DictReader((graded / "grades.csv").read_text().splitlines()))
    assert [row["student"] for row in rows] == ["'=mallory", "ada", "emmy"]
    assert rows[1]["score"] == f"{len(NAMES)}.00"
    assert rows[2]["dense-backward"] == "0.67"
    blocks = list(csv.DictReader(StringIO((graded / "blocks.csv").read_text())))
    assert {
        row["block"]: row["right"]
        for row in blocks
        if (row["student"], row["exercise"]) == ("emmy", "dense-backward")
    } == {"dW": "1", "db": "0", "dx": "1"}


def test_what_is_no_notebook_has_no_answers(tmp_path):
    for number, text in enumerate(["{", '{"cells": [{"cell_type": "code", "source": [3]}]}', "3"]):
        (tmp_path / f"{number}.ipynb").write_text(text)
    assert find_answers(tmp_path) == {}


@pytest.mark.parametrize(
    ("prints", "end"),
    [
        ("'ready'", "wrote into the protocol"),
        ("'[' * 100_000", "wrote into the protocol"),
        ("json.dumps({'name': NAMES[0], 'blocks': {}, 'reply': 'x' * 600_000}) + '\\n' + "
         "json.dumps({'name': NAMES[1], 'blocks': {}, 'reply': 'x' * 600_000})",
         "printed too much"),
    ],
)  # fmt: skip
def test_a_process_that_does_not_keep_to_the_protocol_is_ended(tmp_path, monkeypatch, prints, end):
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport json\nNAMES = {NAMES}\nprint({prints})\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    assert end in grading._run("mallory", str(tmp_path), NAMES, 5, 2048)[1]


def test_a_fault_in_one_submission_costs_the_others_nothing(tmp_path, monkeypatch, capsys):
    def marked(submission, *_):
        if submission.name == "mallory":
            raise RecursionError("too deep")
        if submission.name == "zoe":  # the lecturer has seen enough
            raise KeyboardInterrupt
        return [Mark(name, {"block": True}, "") for name in NAMES]

    monkeypatch.setattr(grading, "mark", marked)
    for name in ("ada", "mallory", "noether", "zoe"):
        (tmp_path / "in" / name).mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        grade(tmp_path / "in", tmp_path, 5, 2048)
    rows = list(csv.DictReader((tmp_path / "grades.csv").read_text().splitlines()))
    scores = {row["student"]: float(row["score"]) for row in rows}
    assert scores == {"ada": len(NAMES), "mallory": 0, "noether": len(NAMES)}
    assert "mallory: No marks: marking ended with RecursionError" in capsys.readouterr().err
    assert "RecursionError: too deep" in (tmp_path / "blocks.csv").read_text()


def test_of_two_notebooks_with_one_name_the_one_that_is_least_deep_is_marked(tmp_path, capsys):
    for folder in ("a", "a/old", "z"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "02.ipynb").write_text(folder)
    (tmp_path / "z" / "03.ipynb").write_text("")
    assert grading._notebooks(tmp_path) == [
        tmp_path / "a" / "02.ipynb", tmp_path / "z" / "03.ipynb",
    ]  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in said] == [
        "skipped z/02.ipynb; we mark a/02.ipynb", "skipped a/old/02.ipynb; we mark a/02.ipynb",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ['{"cells": [{"cell_type": "code", "source": "x", "metadata": '
                                    '[1]}]}', "[" * 100_000, "[]"])  # fmt: skip
def test_a_broken_notebook_costs_the_others_nothing(tmp_path, broken):
    (tmp_path / "00.ipynb").write_text(broken)
    (tmp_path / "01.ipynb").write_text(json.dumps(load(NOTEBOOKS[0])))
    assert "nmf-gradient" in find_answers(tmp_path)


@pytest.mark.parametrize(
    "imports",
    [
        "%matplotlib inline\nimport numpy as np",
        "if True:\n    !pip install seaborn\nimport numpy as np",
        "import seaborn_of_mine",
        "check('dense-forward', None)",
    ],
)
def test_the_first_cell_need_not_be_python_or_run(imports):
    answer = f"%precision 3\n{RIGHT['dense-forward']}\ncheck('dense-forward', dense_forward)"
    blocks, reply = judge_cells("dense-forward", imports, answer)
    assert blocks == {"h": True}, reply


def test_a_modulus_at_the_beginning_of_a_line_stays():
    code = "h = np.maximum(x @ W.T + b, 0)\n    return (h\n% np.inf)"
    answer = f"def f(x, W, b):\n    {code}\ncheck('dense-forward', f)"
    blocks, reply = judge_cells("dense-forward", "import numpy as np", answer)
    assert blocks == {"h": True}, reply


def test_a_line_that_fails_after_the_check_costs_no_mark():
    right = "def masking_noise(x, keep, rate):\n    return np.where(keep, x / (1 - rate), 0.0)\n"
    answer = right + 'result = check("masking-noise", masking_noise)\nresult.no_such_thing'
    blocks, reply = judge_cells("masking-noise", "import numpy as np", answer)
    assert all(blocks.values()), reply
    _, reply = judge_cells("masking-noise", "import numpy as np", f"1 / 0\n{answer}")
    assert "ZeroDivisionError" in reply


def test_a_folder_without_submissions_is_named(tmp_path):
    with pytest.raises(DataError, match="one folder per student"):
        grade(tmp_path, tmp_path / "out", 20, 2048)
    with pytest.raises(DataError, match="none: has no submission"):
        grade(tmp_path / "none", tmp_path / "out", 20, 2048)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grades", "x"], "did you mean 'grade'?"),
        (["grade", "x", "--memory", "3"], "memory 3"),
        (["grade", "x", "--seconds", "nan"], "seconds is nan"),
        (["grade"], "required: folder"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_help_says_that_there_is_no_sandbox(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "NO SANDBOX" in capsys.readouterr().out
