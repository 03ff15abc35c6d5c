"""Tables and figures written from records, and tables inside Markdown pages.

A table of a page is between the lines ``<!-- experiments table1 -->`` and
``<!-- /experiments -->``; the name may be that of any table or study. After
``<!-- experiments recipe from=notebooks/results/recipe -->`` the table is made from the records of
that folder and of the folders in it, a path relative to the page, like a link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ddnmf_np.errors import DataError, DDNMFError, unknown
from ddnmf_np.evaluation.figures import own_settings, save
from ddnmf_np.experiments import claims, curves, figures, parts, tables
from ddnmf_np.experiments.networks import STUDIES
from ddnmf_np.experiments.records import Record, Store, stores_in
from ddnmf_np.experiments.settings import CURVES
from ddnmf_np.system.files import atomic_write_text, make_folder

OF_FOLDERS = {
    CURVES: curves.render,
    "claims": claims.render,
    "verdicts": claims.render_verdicts,
    "steps": claims.render_steps,
}
"""Tables that choose between folders in which a name stands twice, by rules of their own."""
TABLES = (*tables.TABLES, "table3", *OF_FOLDERS, *STUDIES, "parts")
"""Tables that a page can contain."""

WITH_SOURCE = (*tables.TABLES, "table3", *STUDIES)
"""Tables whose folder a page names below them; the others have a column or a text for it."""

END = "<!-- /experiments -->"
_PLACE = re.compile(r"^(<!-- experiments .*)$", re.MULTILINE)
_BEGIN = re.compile(r"<!-- experiments (\S+)(?: from=(\S+))? -->")

Reader = Callable[[str | None], Sequence[Record]]
"""Returns the records of a folder that a page names; for None, those of the campaign."""


def report(
    store: Store, results: Sequence[str], say: Callable[[str], None], into: Sequence[Path] = ()
) -> list[str]:
    """Write ``tables/*.md`` and ``figures/*.png`` into the folder of the records.

    We leave out results without records, and renew the tables of the pages ``into``, see `updated`.
    The result has a line for each record that we cannot use, and each result that we cannot make.
    """
    records, problems = store.load()
    written: list[Path] = []
    for name in results:
        with _told(name, problems):
            if name not in TABLES:
                folder = store.folder / "figures"
                make_folder(folder)
                written += [folder / file for file in figures.draw(name, records, folder)]
            elif text := render(name, records):
                make_folder(store.folder / "tables")
                written.append(store.folder / "tables" / f"{name}.md")
                atomic_write_text(written[-1], text)
                if name == CURVES:
                    written.append(_draw_curves(store.folder / "figures", records))
                elif name == "parts" and (figure := figures.units(store, records)):
                    written.append(store.folder / "figures" / "units.png")
                    make_folder(written[-1].parent)
                    save(figure, written[-1])
    for path in into:
        try:
            before = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        with _told(path, problems):
            after = updated(before, reader(path, records, problems))
            if after != before:
                atomic_write_text(path, after)
                written.append(path)
                written += _draw_curves_of(path, after, records)
    say(f"written: {', '.join(map(str, written)) or 'nothing new'}")
    return problems


@contextmanager
def _told(what: str | Path, problems: list[str]) -> Iterator[None]:
    """Add an error to the problems, so that the other tables and pages go on."""
    try:
        yield
    except DDNMFError as error:
        problems.append(f"{what}: {error}")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A checksum does not protect from another program's records.
        problems.append(
            f"{what}: its records do not fit together ({type(error).__name__}: {error}); "
            "delete those that this program did not write"
        )


def render(name: str, records: Sequence[Record], *, short: bool = False) -> str:
    """Return a table of `TABLES` as Markdown; empty if it has no records."""
    if name in OF_FOLDERS:
        return OF_FOLDERS[name](records)
    records = _one_of_a_name(records)
    if name == "parts":
        return parts.render(records)
    records = [r for r in records if r["kind"] != "parts"]
    return tables.render(name, records, short=short)


def _one_of_a_name(records: Sequence[Record]) -> list[Record]:
    """Return the first record of each name.

    In two folders one name may stand for two runs of the same options, whose numbers differ if
    their processors round differently. The first folder counts, so that a seed counts once.
    """
    found: dict[str, Record] = {}
    for record in records:
        found.setdefault(record["name"], record)
    return list(found.values())


@own_settings()
def _draw_curves(folder: Path, records: Sequence[Record]) -> Path:
    make_folder(folder)
    figure = curves.draw(records)
    assert figure is not None  # there is a table
    save(figure, folder / "curves.png")
    return folder / "curves.png"


def _draw_curves_of(page: Path, text: str, records: Sequence[Record]) -> list[Path]:
    """Draw the figure that belongs to the curves of a page, in the folder that the page names."""
    places = [match.groups() for match in _BEGIN.finditer(text)]
    folders = [folder for name, folder in places if name == CURVES and folder is not None]
    read = reader(page, records, [])
    return [
        _draw_curves(page.parent / folder, found)
        for folder in folders
        if render(CURVES, found := read(folder))
    ]


def updated(text: str, read: Reader) -> str:
    """Return a page with new tables; everything else stays as it is.

    Raises `DataError` if a line that opens a table names an unknown table, or if the table is not
    closed before the next one or the end; and as `read` and `tables.render`.
    """
    page, *places = _PLACE.split(text)
    for line, body in zip(places[::2], places[1::2], strict=True):
        _, end, rest = body.partition(f"\n{END}")
        if not end:
            raise DataError(f"{line!r} is not closed by {END!r} before the next table or the end")
        match = _BEGIN.fullmatch(line)
        if match is None:
            raise DataError(
                f"{line!r}: expected '<!-- experiments NAME from=FOLDER -->', or no from="
            )
        name, folder = match.groups()
        if name not in TABLES:
            raise DataError(f"{line!r}: {unknown('table', name, list(TABLES))}")
        table = render(name, read(folder), short=True) or "There are no records yet.\n"
        if folder and name in WITH_SOURCE:
            path = folder.removeprefix("../")
            table += f"\nRecords: [{path}]({folder}); command: "
            table += f"`python -m ddnmf_np.experiments report --output {Path(path).parent}`\n"
        page += f"{line}\n\n{table}{end}{rest}"
    return page


def reader(page: Path, records: Sequence[Record], problems: list[str]) -> Reader:
    """Return the function that reads the folders of a page, and adds to the problems.

    For a table without a folder it returns the given records. For a folder without records it
    raises `DataError`.
    """
    known: dict[str | None, Sequence[Record]] = {None: records}

    def read(folder: str | None) -> Sequence[Record]:
        if folder is not None and folder not in known:
            stores = stores_in(page.parent / folder)
            if not stores:
                raise DataError(f"from={folder}: {page.parent / folder} has no records")
            found: list[Record] = []
            for store in stores:
                loaded, wrong = store.load()
                problems.extend(wrong)
                found += [record | {"folder": store.folder.name} for record in loaded]
            known[folder] = found
        return known[folder]

    return read
