"""Tables in a Markdown page, and how they are kept equal to the records.

A table belongs between the lines ``<!-- experiments table1 -->`` and ``<!-- /experiments -->``; any
table or study can be named. After ``<!-- experiments recipe from=notebooks/results/recipe -->`` it
is made of the records of that folder, which is seen from where the page is, as in a link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ddnmf_np.errors import DataError, unknown
from ddnmf_np.experiments import agreement, codes, study_tables, tables
from ddnmf_np.experiments.records import Record, Store
from ddnmf_np.experiments.studies import STUDIES

TABLES = (*tables.TABLES, "table3", *STUDIES)
"""What can be put into a page."""

END = "<!-- /experiments -->"
_BEGIN = re.compile(r"<!-- experiments (\S+)(?: from=(\S+))? -->")

Reader = Callable[[str | None], Sequence[Record]]
"""Returns the records of a folder that a page names, or, for None, those it is made of else."""


def render(name: str, records: Sequence[Record], *, short: bool = False) -> str:
    """Return a table or the table of a study, see `tables.render` and `study_tables.render`."""
    if name in STUDIES:
        return study_tables.render(name, records, short=short)
    text = tables.render(name, records, short=short)
    if text and not short and name in tables.TABLES:
        dataset = tables.TABLES[name]
        shown = {(b.epochs, b.samples) for b in tables.table_budgets(records, dataset)}
        of_shown = [r for r in records if (r["epochs"], r["samples"]) in shown]
        text += f"\n{codes.NOTE}\n\n{codes.code_table(of_shown, dataset=dataset)}\n"
        text += f"\n{agreement.NOTE}\n\n{agreement.stability_table(records, dataset)}\n"
    return text


def updated(text: str, read: Reader) -> str:
    """Return a page with its tables made anew; all else is left alone.

    Parameters
    ----------
    text : str
        Markdown.
    read : callable
        Returns records, see `reader`.

    Raises
    ------
    DataError
        If a line that opens a table names none there is, or is not closed before the next one or
        the end; and as `read` and `render` do.
    """
    lines: list[str] = []
    opened: str | None = None
    for line in text.split("\n"):
        if line.startswith("<!-- experiments "):
            if opened is not None:
                raise DataError(f"{opened!r} is not closed by {END!r} before {line!r}")
            opened = line
            lines += [line, "", *_table(line, read).split("\n")]
        elif line == END:
            opened = None
        if opened is None:
            lines.append(line)
    if opened is not None:
        raise DataError(f"{opened!r} is not closed by {END!r}")
    return "\n".join(lines)


def _table(line: str, read: Reader) -> str:
    match = _BEGIN.fullmatch(line)
    if match is None:
        raise DataError(f"{line!r}: expected '<!-- experiments NAME from=FOLDER -->', or no from=")
    name, folder = match.groups()
    if name not in TABLES:
        raise DataError(f"{line!r}: {unknown('table', name, list(TABLES))}")
    return render(name, read(folder), short=True) or "There are no records yet.\n"


def reader(page: Path, records: Sequence[Record], problems: list[str]) -> Reader:
    """Return who reads the records that a page names.

    Parameters
    ----------
    page : Path
        The Markdown file.
    records : sequence of Record
        Those of tables that name no folder.
    problems : list of str
        Takes what is wrong with records in the folders that are read.

    Returns
    -------
    callable
        Raises `DataError` for a folder that has no records.
    """
    known: dict[str, Sequence[Record]] = {}

    def read(folder: str | None) -> Sequence[Record]:
        if folder is None:
            return records
        if folder not in known:
            store = Store(page.parent / folder)
            if store.is_empty():
                raise DataError(f"from={folder}: {store.folder} has no records")
            known[folder], wrong = store.load()
            problems.extend(wrong)
        return known[folder]

    return read
