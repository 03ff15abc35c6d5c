"""A course in a box: editions of the notebooks, slides, handout and plan."""

import importlib.util
import itertools
import json
import os
import re
import sys

import pytest
from notebook_cases import NAMES, NOTEBOOKS, ROOT, asked, load, source, tags

from ddnmf_np.errors import BackendError, DataError, UsageError
from ddnmf_np.teaching import course
from ddnmf_np.teaching.cells import SOLUTIONS, read_cells
from ddnmf_np.teaching.exercises import all_exercises

HOME = ROOT / "notebooks"
SOLVED = read_cells(HOME / SOLUTIONS)[1]


def require_pages():
    """Skip where what makes the pages is not installed, or fail if that was asked for."""
    missing = [m for m in ("markdown_it", "docutils") if importlib.util.find_spec(m) is None]
    if missing:
        if os.environ.get("DDNMF_REQUIRE_NOTEBOOKS") == "1" and "markdown_it" in missing:
            pytest.fail(f"DDNMF_REQUIRE_NOTEBOOKS=1, but {missing} not installed", pytrace=False)
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'ddnmf-np[notebooks,docs]'")


def test_students_get_no_solution_and_no_output():
    names = []
    for path in NOTEBOOKS:
        book = course.student_edition(load(path))
        for cell in book["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None
            names += asked(cell) if "check" in tags(cell) else []
        text = "".join(map(source, book["cells"]))
        for name, code in SOLVED.items():
            assert code.partition("\n")[2].strip() not in text, name
        assert load(path) != book, "the notebook itself is changed"
    assert names == list(all_exercises())


def test_exercises_have_nbgraders_metadata():
    for path in NOTEBOOKS:
        cells = course.student_edition(load(path))["cells"]
        identities = [cell["id"] for cell in cells]
        assert len(set(identities)) == len(identities)
        for answer, check in itertools.pairwise(cells):
            if "exercise" in tags(answer):
                (name,) = asked(check)
                assert asked(answer) == []
                assert answer["metadata"]["nbgrader"]["grade_id"] == name
                assert answer["metadata"]["nbgrader"]["solution"] is True
                locked = check["metadata"]["nbgrader"]
                assert locked == {
                    "schema_version": 3, "grade_id": f"{name}-check", "grade": True,
                    "locked": True, "solution": False, "task": False, "points": 1,
                }  # fmt: skip
                assert source(check).endswith("result.share")


def test_the_share_of_right_blocks_is_the_last_value_of_a_locked_cell():
    """As nbgrader gives partial credit."""
    space = {}
    exec("from ddnmf_np.teaching import check", space)
    exec("def f(x, h, W, g):\n d = g * (h > 0)\n return d.T @ x, d.sum(0), 0 * x", space)
    exec('result = check("dense-backward", f)', space)
    assert eval("result.share", space) == 0.67
    assert space["result"].blocks == {"dW": True, "db": True, "dx": False}


def test_a_lecturer_gets_solutions_wrong_answers_with_replies_and_questions():
    for path in NOTEBOOKS:
        book = course.instructor_edition(load(path), HOME, "1. Why?")
        assert "Questions for the class" in source(book["cells"][1])
        for exercise in [cell for cell in book["cells"] if "exercise" in tags(cell)]:
            at = book["cells"].index(exercise)
            (name,) = asked(exercise)
            solution, wrong = book["cells"][at + 1 : at + 3]
            assert SOLVED[name] in source(solution)
            assert asked(solution) == [name]
            assert "```text\n" in source(wrong)
            assert "```text\n\n```" not in source(wrong), "a reply is empty"


def test_each_notebook_has_questions():
    text = (HOME / "course" / "questions.md").read_text("utf-8")
    sections = dict(course._sections(text))
    assert list(sections) == [name[:2] for name in NAMES]
    for number, questions in sections.items():
        assert len(re.findall(r"^\d\. .+\*\(.+\)\*$", questions, re.MULTILINE)) >= 4, number


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    for module in ("markdown_it", "docutils.utils.math.latex2mathml"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=r"pip install 'ddnmf-np\[notebooks,docs\]'"):
        course.write_course(tmp_path / "out", HOME)
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_of_notebooks_is_named(tmp_path):
    with pytest.raises(DataError, match="--notebooks"):
        course.write_course(tmp_path / "out", tmp_path)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "my notebook").write_text("mine")
    for place in (tmp_path, tmp_path / "my notebook"):
        with pytest.raises(UsageError, match="is not empty; choose a new one"):
            course.write_course(place, HOME)
    assert (tmp_path / "my notebook").read_text() == "mine"


@pytest.mark.parametrize("name", ["../ada", "", "/ada", "-ada", "ada/../..", "\udcff"])
def test_names_that_cannot_be_folders_are_refused(tmp_path, name):
    (tmp_path / "names").write_bytes(f"emmy\n{name}\n".encode("utf-8", "surrogateescape"))
    if name:
        with pytest.raises(UsageError, match="cannot name a folder"):
            course.write_course(tmp_path / "out", HOME, tmp_path / "names")
    else:
        assert course._names(tmp_path / "names", []) == ["emmy"]


@pytest.mark.parametrize("name", ["data", "Model.svg", "02-one-layer-by-hand.ipynb", "EMMY"])
def test_names_that_are_taken_are_refused(tmp_path, name):
    (tmp_path / "names").write_text(f"emmy\n{name}\n")
    with pytest.raises(UsageError, match="is there twice, or is a file of the course"):
        course.write_course(tmp_path / "out", HOME, tmp_path / "names")
    assert not (tmp_path / "out").exists()


def test_names_are_read_without_a_byte_order_mark(tmp_path):
    (tmp_path / "names").write_bytes("\N{BYTE ORDER MARK}Ada\r\nEmmy\r\n".encode())
    assert course._names(tmp_path / "names", []) == ["Ada", "Emmy"]


def test_a_missing_file_of_names_is_named(tmp_path):
    with pytest.raises(DataError, match="none: the file is missing; write one"):
        course.write_course(tmp_path / "out", HOME, tmp_path / "none")


@pytest.mark.extra
def test_course_is_written_whole_and_needs_no_network(tmp_path, capsys):
    require_pages()
    (tmp_path / "names").write_text("Ada\nEmmy Noether\n")
    out = tmp_path / "out"
    course.write_course(out, HOME, tmp_path / "names")
    assert sorted(path.name for path in out.iterdir()) == [
        "handout.html", "instructor", "plan.html", "slides.html", "student",
    ]  # fmt: skip
    for edition in ("student", "instructor"):
        files = {path.name for path in (out / edition).iterdir()}
        assert {f"{name}.ipynb" for name in NAMES} | {"data", "model.svg"} <= files
        for path in (out / edition).glob("*.ipynb"):
            text = "".join(source(c) for c in load(path)["cells"] if c["cell_type"] == "markdown")
            assert "](../" not in text
    own = out / "student" / "Emmy Noether" / "02-one-layer-by-hand.ipynb"
    assert "student('Emmy Noether')" in "".join(map(source, load(own)["cells"]))
    for page in out.glob("*.html"):
        text = page.read_text("utf-8").partition("<script")[0]
        assert not re.search(r"(?:src|href)=\"(?!data:)", text)
        assert "$$" not in text
        assert "<math" in text or page.name == "plan.html"
    slides = (out / "slides.html").read_text("utf-8")
    assert slides.count("<section") > 50
    assert "Permission is hereby granted" in slides, "reveal.js comes without its licence"
    assert "def nmf_gradient" not in slides
    assert "Predict first." in slides


@pytest.mark.extra
def test_slides_open_turn_fit_print_and_have_notes(tmp_path, monkeypatch):
    """In a browser without a network."""
    require_pages()
    monkeypatch.syspath_prepend(ROOT / "tests" / "explore")
    chromium = pytest.importorskip("chromium", reason="needs a POSIX system")
    if (program := chromium.find()) is None:
        pytest.skip("there is no Chromium on the PATH")
    books = {path.name: load(path) for path in NOTEBOOKS}
    slides = tmp_path / "slides.html"
    slides.write_text(course.slides(books, HOME), "utf-8")
    browser = chromium.Chromium(program, tmp_path)
    try:
        page = chromium.Page(browser, 1280, 720)
        page.go(slides.as_uri() + "#/1")
        last = page.run("Reveal.getTotalSlides()") - 1
        for key, number in (
            ("ArrowRight", 2),
            (" ", 3),
            ("ArrowLeft", 2),
            ("End", last),
            ("Home", 0),
        ):
            page.press(key)
            assert page.run("Reveal.getIndices().h") == number, key
        below = page.run(
            "Reveal.getSlides().map((slide, k) => { Reveal.slide(k); return [slide.innerText,"
            "Math.max(...[...slide.children].map(e => e.offsetTop + e.offsetHeight))]; })"
            ".filter(([text, bottom]) => bottom > Reveal.getConfig().height)"
        )
        assert below == [], "a slide is higher than the page"
        notes = page.run("Reveal.slide(1), Reveal.getSlideNotes()")
        page.press("s")
        found = []
        while not found:
            targets = browser.call("Target.getTargets")["targetInfos"]
            found = [t["targetId"] for t in targets if "Speaker View" in t["title"]]
        speaker = chromium.Page(browser, 1100, 700, found[0])
        shown = "document.querySelector('.speaker-controls-notes .value').innerHTML"
        speaker.wait(f"{shown} === {json.dumps(notes)}")
        assert page.complaints() == []
        assert {url.partition(":")[0] for url in page.requests()} <= {"file", "data"}
        page.go(slides.as_uri() + "?print-pdf")
        page.wait(f"document.querySelectorAll('.pdf-page').length === {last + 1}")
    finally:
        browser.close()
