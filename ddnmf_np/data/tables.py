"""Tables of one's own: CSV and its relatives, and Parquet.

A table has columns of numbers, which are the features. A first column of names, a column of labels
and columns to leave out are recognized or named by the user. Every other column of text is an
error that names it, because we cannot know what it means.
"""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.errors import DataError, UsageError, printable, shown, suggestion
from ddnmf_np.system.files import open_source
from ddnmf_np.system.needed import needed

TEXT = (".csv", ".tsv", ".tab", ".txt")
"""Ends of the names of tables in text."""

PARQUET = (".parquet", ".pq")

MAX_LINE = 2**28
"""Characters of the longest line that is read."""

HEAD = 200
"""Rows by which we recognize what a column holds."""

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "#n/a", "<na>"))
"""Cells, in lower case, that stand for a missing entry."""

_TRUTH = {"true": 1.0, "false": 0.0}
_INDEX = ("", "unnamed: 0", "index", "id", "rownames")  # names of a first column of row names
_SEPARATORS = ("\t", ";", "|", ",")  # a comma last: it may be inside of numbers
_NAMES = {"\t": "tab", " ": "space", ",": "comma", ";": "semicolon", "|": "bar"}
_QUOTED = re.compile(r'"[^"]*"')
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


@dataclass(frozen=True, eq=False)
class Table:
    """The content of a table."""

    x: NDArray[np.float64]  # features, (n, n_features); NaN where a cell is missing
    features: tuple[str, ...] | None  # their names; None if the table has no header
    rows: tuple[str, ...] | None  # names of the rows, if the table has some
    labels: NDArray[Any] | None  # column of labels, (n,), as text or numbers
    notes: tuple[str, ...]  # what we have recognized, for the user to check


def is_table(path: Path) -> bool:
    """Return whether the name of a file is that of a table."""
    return path.suffix.lower() in TEXT + PARQUET


def read_table(
    path: Path,
    *,
    labels: str | None = None,
    ignore: Sequence[str] = (),
    features: Sequence[str] | None = None,
) -> Table:
    """Read a table.

    Parameters
    ----------
    path : Path
        A text file whose lines are rows, with commas, semicolons, tabs, bars or spaces between
        cells, with a header or without; or a Parquet file.
    labels : str, optional
        Name of the column of labels; a number, from 0, if the table has no header. A name that
        the table does not have is left to the caller: ``Table.labels`` is None then.
    ignore : sequence of str
        Names of columns to leave out.
    features : sequence of str, optional
        Names of the features to take, in this order; by default all columns of numbers.

    Returns
    -------
    Table
        Its features, names and labels.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, has rows of different lengths, or a cell or column
        that is not a number. The message has line and column.
    UsageError
        If a column to leave out does not exist.
    BackendError
        If the library for Parquet is not installed.
    """
    asked = _Asked(labels, tuple(ignore), None if features is None else tuple(features))
    name = printable(str(path))
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path, name, asked)
    with _readable(name), _opened(path) as text:
        return _TextTable(text, name, path.suffix.lower(), asked).read()


def read_column(path: Path) -> NDArray[Any]:
    """Return the only column of a table, as text or numbers, for a file of labels.

    Raises `DataError` if it has several, and as `read_table`.
    """
    name = printable(str(path))
    with _readable(name), _opened(path) as text:
        lines = _Lines(text, name)
        cells = [row[0].strip() for row in csv.reader(lines, strict=True) if _single(row, name)]
    return np.array(cells)


def _opened(path: Path) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 if a mark says so."""
    stream = open_source(path)
    marked = stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")
    return io.TextIOWrapper(stream, "utf-16" if marked else "utf-8-sig", newline="")


def _single(row: list[str], name: str) -> bool:
    if len(row) > 1:
        raise DataError(
            f"{name}: has {len(row)} cells in a line; a file of labels has one in each line"
        )
    return bool(row)


# -- which column is what ------------------------------------------------------------------------


class TextColumnError(DataError):
    """A column of text among the features; ``labels`` says whether it may be one of labels."""

    def __init__(self, text: str, column: str, labels: bool = True) -> None:
        super().__init__(text, column, labels)
        self.text, self.column, self.labels = text, column, labels

    def __str__(self) -> str:
        name = shown(self.column)
        use = f"use it as labels (--labels {name}), " if self.labels else ""
        return f"{self.text}; {use}leave it out (--ignore {name}), or make columns of 0 and 1 of it"

    def without_labels(self) -> TextColumnError:
        """Return the error for a command that takes no labels."""
        return type(self)(self.text, self.column, labels=False)


class _Asked(NamedTuple):
    labels: str | None
    ignore: tuple[str, ...]
    features: tuple[str, ...] | None


class _Column(NamedTuple):
    """A column: its name, and of text an example and its place."""

    name: str
    example: str | None = None
    place: str = ""
    distinct: bool = False  # whether all its first values differ


class _Plan(NamedTuple):
    features: list[int]
    rows: int | None
    labels: int | None
    notes: list[str]


def _plan(columns: list[_Column], asked: _Asked, name: str, index: int | None) -> _Plan:
    """Decide what each column is; ``index`` is one that the file itself calls row names."""
    names = [column.name for column in columns]
    left_out = {_place(names, wanted, name) for wanted in asked.ignore}
    labels = None
    if asked.labels is not None and asked.labels in names:
        labels = _place(names, asked.labels, name)
    notes = []
    rows = index
    first = columns[0]
    if rows is None and 0 not in left_out | {labels} and len(columns) > 1 and first.distinct:
        named = first.name.strip().lower() in _INDEX
        if first.example is not None or named:
            rows = 0
    if asked.features is not None:
        lacking = [wanted for wanted in asked.features if wanted not in names]
        if lacking:
            raise DataError(
                f"{name}: has no column {shown(lacking[0])}, which is a feature of the model"
                + (f", nor {len(lacking) - 1} others" if len(lacking) > 1 else "")
                + f"; its columns are {_listed(names)}"
            )
        features = [_place(names, wanted, name) for wanted in asked.features]
        rows = None if rows in features else rows
    else:
        features = [k for k in range(len(names)) if k not in left_out | {rows, labels}]
    for k in features:
        if columns[k].example is not None:
            if asked.features is not None:
                raise DataError(
                    f"{_text(columns[k], name)}, but is a feature of the model; give numbers"
                )
            raise TextColumnError(_text(columns[k], name), columns[k].name)
    taken = [names[k] for k in features]
    if len(set(taken)) < len(taken):
        twice = next(one for one in taken if taken.count(one) > 1)
        raise DataError(f"{name}: has two columns {shown(twice)}; give each its own name")
    if not features:
        raise DataError(f"{name}: has no column of numbers; its columns are {_listed(names)}")
    if rows is not None:
        notes.append(f"column {columns[rows].name or rows!r} names the rows")
    if labels is not None:
        notes.append(f"column {columns[labels].name!r} has the labels")
    if asked.ignore:
        notes.append(f"left out: {_listed([names[k] for k in sorted(left_out)])}")
    return _Plan(features, rows, labels, notes)


def _place(names: list[str], wanted: str, name: str) -> int:
    found = [k for k, one in enumerate(names) if one == wanted]
    if len(found) > 1:
        raise DataError(f"{name}: has {len(found)} columns {wanted!r}; give each its own name")
    if not found:
        near = suggestion(wanted, names) or f"its columns are {_listed(names)}"
        raise UsageError(f"{name}: has no column {shown(wanted)}; {near}")
    return found[0]


def _text(column: _Column, name: str) -> str:
    return f"{name}: column {column.name!r} is text ({shown(column.example, 40)} in {column.place})"


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(map(repr, names[:most]))) + more


# -- text ----------------------------------------------------------------------------------------


class _Lines:
    """The lines of a text, none of them too long; ``odd`` says that one needs a closer look."""

    def __init__(self, text: TextIO, name: str) -> None:
        self.text, self.name, self.odd, self.number = text, name, False, 0
        self.ahead: list[str] = []

    def __iter__(self) -> Iterator[str]:
        while line := self.ahead.pop(0) if self.ahead else self._next():
            self.number += 1
            # Python takes 1_000, and digits of all scripts, for numbers.
            self.odd = self.odd or "_" in line or not line.isascii()
            yield line

    def _next(self) -> str:
        line = self.text.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise DataError(f"{self.name}: has a line of more than {MAX_LINE} characters")
        return line

    def first(self, count: int) -> list[str]:
        """Return the first lines that are not blank, and keep all for later."""
        while len(self.ahead) < count and (line := self._next()):
            self.ahead.append(line)
        return [line for line in self.ahead if line.strip()]


class _Row(NamedTuple):
    cells: list[str]
    line: int  # its last line in the file
    odd: bool


class _TextTable:
    """A table in text that is being read."""

    def __init__(self, text: TextIO, name: str, suffix: str, asked: _Asked) -> None:
        self.name, self.asked = name, asked
        self.lines = _Lines(text, name)
        self.separator = self._separator(suffix)
        self.comma = self.point = ""  # where a decimal comma, and a point, was first seen
        self.width = 0
        self.names: list[str] = []

    def _separator(self, suffix: str) -> str:
        lines = self.lines.first(20)
        if not lines:
            raise DataError(f"{self.name}: is empty; give a file with one row for each sample")
        if told := re.fullmatch(r"sep=(.)\s*", lines[0]):  # written by spreadsheets
            self.lines.ahead = self.lines.ahead[self.lines.ahead.index(lines[0]) + 1 :]
            return told[1]
        plain = [_QUOTED.sub("", line) for line in lines]
        if suffix in (".tsv", ".tab"):
            return "\t"
        for separator in _SEPARATORS:
            counts = {line.count(separator) for line in plain}
            if len(counts) == 1 and counts != {0}:
                return separator
        best = max(_SEPARATORS, key=plain[0].count)
        if best in plain[0]:
            return best
        return " " if any(" " in line.strip() for line in plain) else ","

    def _rows(self) -> Iterator[_Row]:
        lines: Any = self.lines
        if self.separator == " ":
            lines = (line.strip() + "\n" for line in self.lines)
        reader = csv.reader(
            lines, delimiter=self.separator, strict=True, skipinitialspace=self.separator != "\t"
        )
        while True:
            began = self.lines.number + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f'{self.name}: line {began} cannot be read ({error}); look for a quote (") '
                    "that does not close, or stands inside of a cell"
                ) from error
            if cells is None:
                return
            odd, self.lines.odd = self.lines.odd, False
            if cells:
                yield _Row(cells, self.lines.number, odd)

    def read(self) -> Table:
        """Return the table; raises as `read_table`."""
        rows = self._rows()
        head = list(islice(rows, HEAD + 1))
        header = self._header(head)
        index = None
        if header is not None:
            self.width, self.names = len(header.cells), [cell.strip() for cell in header.cells]
            if len(head) > 1 and len(head[1].cells) == self.width + 1:  # as R writes row names
                self.width, self.names, index = self.width + 1, ["", *self.names], 0
            self.names = [
                name or ("" if k == 0 else f"column {k}") for k, name in enumerate(self.names)
            ]
            head = head[1:]
        else:
            self.width = len(head[0].cells)
            self.names = [str(k) for k in range(self.width)]
        if not head:
            raise DataError(f"{self.name}: has a header and no rows")
        for row in head:
            self._check_length(row)
        plan = _plan(
            [self._column(k, head) for k in range(self.width)], self.asked, self.name, index
        )
        x = array("d")
        names: list[str] = []
        labels: list[str] = []
        count = 0
        for some in (head, rows):
            for row in some:
                self._check_length(row)
                self._parse(row, plan.features, x)
                if plan.rows is not None:
                    names.append(row.cells[plan.rows])
                if plan.labels is not None:
                    labels.append(row.cells[plan.labels].strip())
                count += 1
        self._check_commas()
        notes = [
            f"{'a header' if header is not None else 'no header'}, "
            f"{_NAMES.get(self.separator, self.separator)}-separated"
            + (", decimal commas" if self.comma else ""),
            *plan.notes,
        ]
        return Table(
            np.frombuffer(x, np.float64).reshape(count, len(plan.features)),
            tuple(self.names[k] for k in plan.features) if header is not None else None,
            tuple(names) if plan.rows is not None else None,
            np.array(labels) if plan.labels is not None else None,
            tuple(notes),
        )

    def _header(self, head: list[_Row]) -> _Row | None:
        """Return the header if the first row is one: text where the next row has numbers."""
        first = [cell.strip() for cell in head[0].cells]
        for shift in (0, 1):  # pandas numbers the columns, behind one of row names or not
            numbered = [str(k) for k in range(len(first) - shift)]
            if first == [""] * shift + numbered and len(numbered) > 2:
                return head[0]
        if len(head) == 1:
            return None if any(map(_is_number, first)) else head[0]
        later = [row.cells for row in head[1:]]
        shift = 1 if len(later[0]) == len(first) + 1 else 0  # as R writes row names
        numbers = [
            name
            for k, name in enumerate(first)
            if any(k + shift < len(row) and _is_number(row[k + shift]) for row in later)
        ]
        if any(not _is_number(name) and name.lower() not in MISSING for name in numbers):
            return head[0]
        return None if numbers or any(map(_is_number, first)) else head[0]

    def _column(self, k: int, head: list[_Row]) -> _Column:
        cells = [(row.cells[k].strip(), row.line) for row in head]
        distinct = len({cell for cell, _ in cells}) == len(cells)
        known = [(cell, line) for cell, line in cells if cell.lower() not in MISSING]
        texts = [(cell, line) for cell, line in known if not _is_number(cell)]
        if 2 * len(texts) <= len(known):
            return _Column(self.names[k], distinct=distinct)
        return _Column(self.names[k], texts[0][0], f"line {texts[0][1]}", distinct)

    def _check_length(self, row: _Row) -> None:
        if len(row.cells) != self.width:
            raise DataError(
                f"{self.name}: line {row.line} has {len(row.cells)} cells, and the first "
                f"{self.width}; give all rows the same ({_NAMES.get(self.separator, 'character')} "
                f"{self.separator!r} separates cells)"
            )

    def _parse(self, row: _Row, features: list[int], x: array[float]) -> None:
        cells = [row.cells[k] for k in features]
        if not row.odd and self.separator != ";":
            before = len(x)
            try:
                x.extend(map(float, cells))
                return
            except ValueError:
                del x[before:]
        x.extend(self._number(cell, row.line, k) for cell, k in zip(cells, features, strict=True))

    def _number(self, cell: str, line: int, k: int) -> float:
        """Return the number in a cell; NaN if it is missing."""
        text = cell.strip()
        small = text.lower()
        if small in MISSING:
            return math.nan
        if small in _TRUTH:
            return _TRUTH[small]
        if self.separator == ";" and not self.point and "." in text:
            self.point = f"{text!r} in line {line}"
        sure = self.separator == ";" or (self.separator == "\t" and not _THOUSANDS.fullmatch(text))
        if sure and "," in text and "." not in text:
            self.comma = self.comma or f"{text!r} in line {line}"
            text = text.replace(",", ".", 1)
        if "_" not in text and text.isascii():
            try:
                return float(text)
            except ValueError:
                pass
        raise DataError(
            f"{self.name}: line {line}, column {self.names[k]!r}: {shown(cell, 40)} is not a "
            "number; write numbers as 1234.5 and leave missing cells empty"
        )

    def _check_commas(self) -> None:
        if self.comma and self.point:
            raise DataError(
                f"{self.name}: has a comma ({self.comma}) and a point ({self.point}) in numbers; "
                "write all of them with a point"
            )


def _is_number(cell: str) -> bool:
    """Return whether a cell may be a number, with a point or a comma."""
    text = cell.strip().lower()
    if text in _TRUTH:
        return True
    if "_" in text or not text.isascii() or text in MISSING:
        return False
    try:
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn errors of reading a text into `DataError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: is not text in UTF-8 (byte 0x{error.object[error.start]:02x}, "
            f"{error.reason}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(f"{name}: cannot be read ({error}); look for a quote (\") that does not "
                        "close") from error  # fmt: skip
    except UnicodeError as error:
        raise DataError(f"{name}: is not text ({error}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DataError | UsageError):
            raise
        raise DataError(f"{name}: cannot be read ({error}); check the path") from error


# -- Parquet -------------------------------------------------------------------------------------


def import_pyarrow(name: str) -> Any:
    """Return the module pyarrow, or raise `BackendError` for a file that needs it."""
    remedy = "pip install 'ddnmf-np[parquet]', or use CSV"
    needed("pyarrow.parquet", f"{name}: Parquet", remedy)
    return import_module("pyarrow")


def _read_parquet(path: Path, name: str, asked: _Asked) -> Table:
    pyarrow = import_pyarrow(name)
    try:
        with open_source(path) as stream:
            table = pyarrow.parquet.ParquetFile(stream).read(use_threads=False)
        table.validate(full=True)
        index = [
            column
            for column in (table.schema.pandas_metadata or {}).get("index_columns", ())
            if isinstance(column, str)
        ]
    except MemoryError:
        raise
    except Exception as error:  # of a library with kinds of its own
        raise DataError(
            f"{name}: cannot be read as Parquet ({printable(str(error))}); check the path, and "
            "write it again"
        ) from error
    names = list(table.column_names)
    if not names or table.num_rows == 0:
        raise DataError(f"{name}: has {table.num_rows} rows of {len(names)} columns; give samples")
    columns = [_parquet_column(pyarrow, table, k, name) for k in range(len(names))]
    named = names.index(index[0]) if len(index) == 1 and index[0] in names else None
    plan = _plan(columns, asked, name, named)
    x = np.empty((table.num_rows, len(plan.features)))
    for place, k in enumerate(plan.features):
        x[:, place] = table.column(k).cast("float64").to_numpy()
    rows = plan.rows
    return Table(
        x,
        tuple(names[k] for k in plan.features),
        None if rows is None else tuple(map(str, table.column(rows).to_pylist())),
        None if plan.labels is None else _parquet_labels(table, plan.labels),
        tuple(plan.notes),
    )


def _parquet_column(pyarrow: Any, table: Any, k: int, name: str) -> _Column:
    types, column = pyarrow.types, table.column(k)
    kind, known = column.type, table.column_names[k]
    head = column.slice(0, HEAD).to_pylist()
    tests = ("integer", "floating", "decimal", "boolean", "null")
    if any(getattr(types, f"is_{test}")(kind) for test in tests):
        return _Column(known, distinct=len(set(head)) == len(head))
    example = next((value for value in head if value is not None), None)
    distinct = isinstance(example, str) and len(set(head)) == len(head)
    return _Column(known, str(example), f"the first rows, type {column.type}", distinct)


def _parquet_labels(table: Any, k: int) -> NDArray[Any]:
    found = table.column(k).to_pylist()
    return np.array(["" if value is None else str(value) for value in found])
