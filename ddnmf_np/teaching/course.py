"""A course made from the notebooks: two editions of them, slides, a handout and a plan.

We read the committed ``.ipynb`` files as plain JSON, so that nothing is executed. The slides
contain reveal.js, which lies in ``assets/reveal`` with its licence, so that they need no network.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.system.command import tell
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.system.needed import needed
from ddnmf_np.teaching.cells import SOLUTIONS, WRONG, beside_notebooks, read_cells, run_cell
from ddnmf_np.teaching.check import judge
from ddnmf_np.teaching.exercises import all_exercises

Cell = dict[str, Any]

ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")

_ASKS = re.compile(r"^check\([\"']([\w-]+)[\"'], (\w+)\).*$", re.MULTILINE)
_ACCENTS = ("~", "\N{MODIFIER LETTER CIRCUMFLEX ACCENT}")
_UNNAMED = 'student("")'
"""Call of the notebook in which a student's numbers are drawn."""

_SHORT, _LONG = 300, 800
"""Letters up to which a slide has room for a picture, and above which it has a smaller type."""


def write_course(out: Path, notebooks: Path | None = None, students: Path | None = None) -> None:
    """Write a course.

    ``out`` is new or empty, so that no notebook that somebody changed is lost. ``notebooks`` has
    the folders ``answers``, ``course`` and ``data``; by default it is the clone's. ``students`` is
    a text file with a name on each line. For each name we write the notebook whose numbers depend
    on it into ``student/NAME``.

    Raises `DataError` if the notebooks or the file of names are not there, `UsageError` if the
    folder is not empty, or a name cannot be the name of a folder or is there twice, and
    `BackendError` if a package for the pages is missing.
    """
    found = beside_notebooks(SOLUTIONS)
    home = notebooks or (found.parents[1] if found else Path("notebooks"))
    sources = sorted(home.glob("[0-9][0-9]-*.ipynb"))
    if not sources or not (home / SOLUTIONS).is_file():
        raise DataError(f"notebooks {home}: not those of a clone; give its folder by --notebooks")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"folder {out}: is not empty; choose a new one")
    names = _names(students, [path.name for path in sources]) if students else []
    books = {path.name: json.loads(path.read_text("utf-8")) for path in sources}
    questions = dict(_sections((home / "course" / "questions.md").read_text("utf-8")))
    pages = {"slides": slides(books, home)}
    for name in ("handout", "plan"):
        text = (home / "course" / f"{name}.md").read_text("utf-8")
        pages[name] = page(name.capitalize(), to_html(text, home))

    for edition in ("student", "instructor"):
        make_folder(out / edition)
        shutil.copytree(home / "data", out / edition / "data", dirs_exist_ok=True)
    for file, book in books.items():
        _write_notebook(out / "student" / file, student_edition(book), home)
        asked = questions.get(file[:2], "")
        _write_notebook(out / "instructor" / file, instructor_edition(book, home, asked), home)
        for name in names:
            if _UNNAMED in "".join(map(_source, book["cells"])):
                make_folder(out / "student" / name)
                own = student_edition(book, name)
                _write_notebook(out / "student" / name / file, own, home)
    for name, text in pages.items():
        atomic_write_text(out / f"{name}.html", text)
    tell(f"{out}: student and instructor notebooks; {', '.join(pages)}.html", sys.stdout)


def student_edition(book: dict[str, Any], student: str = "") -> dict[str, Any]:
    """Return a notebook without outputs, whose exercises have nbgrader's metadata.

    Each exercise becomes a cell for the answer and a locked cell with its check, which is worth a
    point; its result is the share of right blocks.
    """
    cells = []
    for cell in deepcopy(book["cells"]):
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        cell["source"] = _source(cell).replace(
            _UNNAMED, f"student({student!r})" if student else _UNNAMED
        )
        match = _ASKS.search(cell["source"]) if "exercise" in _tags(cell) else None
        cells.append(cell)
        if match:
            name, answer = match.groups()
            cell["source"] = cell["source"][: match.start()].rstrip()
            cell["metadata"]["nbgrader"] = _nbgrader(name, solution=True)
            code = f'result = check("{name}", {answer})\nresult.keep()\nresult.share'
            check = _code(code, f"{cell['id']}-check", "check")
            check["metadata"]["nbgrader"] = _nbgrader(f"{name}-check", solution=False)
            cells.append(check)
    return book | {"cells": cells}


def instructor_edition(book: dict[str, Any], home: Path, questions: str) -> dict[str, Any]:
    """Return a notebook with solutions, typical wrong answers and the replies that they get."""
    _, solutions = read_cells(home / SOLUTIONS)
    cells = []
    for cell in book["cells"]:
        cells.append(cell)
        for name in _ASKS.findall(_source(cell)) if "exercise" in _tags(cell) else ():
            code = solutions[name[0]]
            last = [n.name for n in ast.parse(code).body if hasattr(n, "name")][-1]
            check = f'{code}\n\ncheck("{name[0]}", {last})'
            cells.append(_code(check, f"{cell['id']}-solution", "solution"))
            cells.append(_text(_wrong_answers(name[0], home), f"{cell['id']}-wrong"))
    if questions:
        cells.insert(1, _text(f"**Questions for the class**\n\n{questions}", "questions"))
    return book | {"cells": cells}


def _wrong_answers(name: str, home: Path) -> str:
    """Return typical wrong answers as Markdown, each with the reply of `check`."""
    head, cells = read_cells(home / WRONG)
    text = [f"**Typical wrong answers to {name}, and what `check` says**"]
    for title, code in cells.items():
        if title.partition(":")[0] == name:
            reply = judge(all_exercises()[name], run_cell(head, code, title)).text
            said = reply.partition("\nAsked for:")[0].partition("\n")[2]
            text.append(f"```python\n{code.rstrip()}\n```\n\n```text\n{said}\n```")
    return "\n\n".join(text)


def _names(students: Path, notebooks: Sequence[str]) -> list[str]:
    try:
        text = students.read_bytes().decode("utf-8-sig", "replace")
    except FileNotFoundError as error:
        raise DataError(
            f"students {students}: the file is missing; write one with a name on each line"
        ) from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    taken = {name.casefold() for name in ("data", "model.svg", *notebooks)}
    for name in names:
        if name.casefold() in taken:  # as in the file systems that do not tell capitals apart
            raise UsageError(
                f"students {students}: {name!r} is there twice, or is a file of the course; "
                "choose another name, such as one with a number"
            )
        taken.add(name.casefold())
        if not re.fullmatch(r"\w[\w .@-]*", name):
            raise UsageError(
                f"students {students}: {name!r} cannot name a folder; use letters, digits, "
                "spaces, '.', '@' and '-', in UTF-8"
            )
    return names


def _source(cell: Cell) -> str:
    return "".join(cell["source"])


def _tags(cell: Cell) -> list[str]:
    tags: list[str] = cell["metadata"].get("tags", [])
    return tags


def _code(source: str, identity: str, tag: str) -> Cell:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": identity,
        "metadata": {"tags": [tag]},
        "outputs": [],
        "source": source,
    }


def _text(source: str, identity: str) -> Cell:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": source}


def _nbgrader(name: str, *, solution: bool) -> dict[str, Any]:
    points = {} if solution else {"points": 1}
    return {
        "schema_version": 3,
        "grade_id": name,
        "grade": not solution,
        "locked": not solution,
        "solution": solution,
        "task": False,
        **points,
    }


def _write_notebook(path: Path, book: dict[str, Any], home: Path) -> None:
    """Write a notebook; pictures come with it, and links into the repository become text."""
    for cell in book["cells"]:
        source = _source(cell)
        if cell["cell_type"] == "markdown":
            for picture in re.findall(r"!\[[^\]]*\]\((\.\./[^)]+)\)", source):
                shutil.copyfile(home / picture, path.parent / Path(picture).name)
                source = source.replace(picture, Path(picture).name)
            source = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./([^)]+)\)", r"\1 (`\2`)", source)
        cell["source"] = source.splitlines(keepends=True)
    atomic_write_text(path, json.dumps(book, indent=1, ensure_ascii=False) + "\n")


# -- pages -----------------------------------------------------------------------------------------


def slides(books: dict[str, dict[str, Any]], home: Path) -> str:
    """Return a page of slides by reveal.js: first sentences, formulas and pictures of each section.

    The whole text is in the speaker's notes.
    """
    found = []
    for book in books.values():
        for title, cells in _slides_of(book):
            text = notes = ""  # what no slide shows yet, and the last notes
            for cell in cells:
                pictures = _pictures(cell)
                whole = _source(cell).strip() if cell["cell_type"] == "markdown" else ""
                if (pictures or whole) and _letters(text) > _SHORT:
                    found.append(_slide(title, text, notes))
                    text = ""
                if whole:
                    notes = (notes if text else "") + to_html(whole, home)
                    text += to_html(_first_sentences(whole), home)
                for picture in pictures:
                    found.append(_slide(title, text + picture, notes))
                    text = ""
            if text:
                found.append(_slide(title, text, notes))
    assets = resources.files("ddnmf_np.teaching") / "assets"
    parts = {path.name: path.read_text("utf-8") for path in (assets / "reveal").iterdir()}
    parts["slides"] = "\n".join(found)
    frame = (assets / "slides.html").read_text("utf-8")
    return re.sub(r"\{\{ ([\w.-]+) \}\}", lambda match: parts[match.group(1)], frame)


def _slide(title: str, body: str, notes: str) -> str:
    dense = ' class="dense"' if _letters(body) > _LONG else ""
    aside = f'<aside class="notes">{notes}</aside>'
    return f"<section{dense}><h2>{html.escape(title)}</h2>{body}{aside}</section>"


def _letters(body: str) -> int:
    return len(re.sub(r"<[^>]*>|\s", "", body))


def _slides_of(book: dict[str, Any]) -> Iterator[tuple[str, list[Cell]]]:
    """Yield title and cells of each section of a notebook, without its exercises."""
    title, cells = "", list[Cell]()
    for cell in book["cells"]:
        if cell["cell_type"] != "markdown":
            cells.append(cell)
            continue
        for line in re.split(r"^(?=##? )", _source(cell), flags=re.MULTILINE):
            if match := re.match(r"##? (.+)\n?", line):
                if title:
                    yield title, cells
                title, cells = match.group(1), []
                line = line[match.end() :]
            if title in ("Exercises", "What to read next"):
                return
            cells.append(_text(line, ""))
    yield title, cells


def _first_sentences(text: str) -> str:
    """Return the first sentence of each paragraph; lists, tables and formulas stay whole."""
    short = []
    for part in re.split(r"\n\s*\n", text.strip()):
        plain = not re.match(r"[*|>!$]|\d\.", part)
        match = re.match(r".*?[.?!](?=\s|$)", part, flags=re.DOTALL) if plain else None
        short.append(match.group() if match and "$$" not in match.group() else part)
    return "\n\n".join(short)


def _pictures(cell: Cell) -> list[str]:
    found = []
    for output in cell.get("outputs", ()):
        if png := output.get("data", {}).get("image/png"):
            alt = output["metadata"].get("image/png", {}).get("alt", "")
            source = f"data:image/png;base64,{''.join(png).strip()}"
            found.append(f'<img class="r-stretch" src="{source}" alt="{html.escape(alt)}">')
    return found


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the first word of each heading, and the text below it."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        yield title.split()[0], body.strip()


def to_html(text: str, home: Path) -> str:
    """Return Markdown with formulas as HTML with MathML, which browsers draw without a script."""

    def picture(match: re.Match[str]) -> str:
        data = base64.b64encode((home / match.group(2)).read_bytes()).decode("ascii")
        return f"![{match.group(1)}](data:image/svg+xml;base64,{data})"

    text = re.sub(r"!\[([^\]]*)\]\((\.\./[^)]+\.svg)\)", picture, text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\([^)]+\)", r"\1", text)  # the page stands alone
    parser = _needed("markdown_it").MarkdownIt("commonmark").enable("table")
    parser.validateLink = lambda link: True  # the pictures are data
    dollars = _needed("mdit_py_plugins.dollarmath").dollarmath_plugin
    rendered: str = parser.use(dollars, renderer=_formula).render(text)
    return rendered


def _formula(tex: str, options: dict[str, Any]) -> str:
    convert = _needed("docutils.utils.math.latex2mathml").tex2mathml
    root = ElementTree.fromstring(convert(tex, as_block=options["display_mode"]))
    for element in root.iter():
        kind = element.tag.rpartition("}")[2]
        if kind == "munderover" and element[2].text in _ACCENTS:
            # Docutils puts the index of a letter with an accent below the letter.
            letter, index, accent = list(element)
            accented = ElementTree.Element(element.tag.replace("munderover", "mover"))
            accented.extend([letter, accent])
            element.tag = element.tag.replace("munderover", "msub")
            element[:] = [accented, index]
        elif kind == "mo" and element.text in ("\N{DOUBLE VERTICAL LINE}", "|"):
            element.set("stretchy", "false")
    return ElementTree.tostring(root, "unicode")


def page(title: str, body: str) -> str:
    """Return a page that needs no other file."""
    frame = (resources.files("ddnmf_np.teaching") / "assets" / "course.html").read_text("utf-8")
    return frame.replace("{{ title }}", html.escape(title)).replace("{{ body }}", body)


def _needed(module: str) -> Any:
    return needed(module, "the course", "pip install 'ddnmf-np[notebooks,docs]'")
