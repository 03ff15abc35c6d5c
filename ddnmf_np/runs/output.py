"""Arrays written a block at a time as .npy, CSV or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.tables import import_pyarrow
from ddnmf_np.errors import UsageError
from ddnmf_np.system.files import atomic_write

KINDS = (".npy", ".csv", ".parquet")
"""Ends of the names of the files that we write."""


def check_output(path: Path) -> None:
    """Raise `UsageError` unless we can write a file of this name.

    Raises `BackendError` if the library for its kind is not installed.
    """
    if path.suffix.lower() not in KINDS or path.is_dir():
        raise UsageError(
            f"output {path}: expected the name of a file that ends in {', '.join(KINDS)}"
        )
    if path.suffix.lower() == ".parquet":
        import_pyarrow(str(path))


def write_blocks(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    n: int,
    columns: Sequence[str],
    row_names: Sequence[str] | None = None,
) -> int:
    """Write a matrix whose rows come in blocks; return the number of its columns.

    `check_output` has accepted the path. The blocks, (m, k) of one dtype, have ``n`` rows in all. A
    matrix of one column is an .npy file of one dimension. The names of columns and rows are for CSV
    and Parquet; those of the rows are the first column, ``row`` (or ``row_``, if another column has
    that name). Raises `OutputError` if the file
    cannot be written. An error or an interruption leaves what was there.
    """
    write = {".npy": _npy, ".csv": _csv, ".parquet": _parquet}[path.suffix.lower()]
    with atomic_write(path) as stream, write(stream, n, columns, row_names) as put:
        start = 0
        for block in blocks:
            put(start, block)
            start += len(block)
    return len(columns)


@contextmanager
def _npy(
    stream: BinaryIO, n: int, columns: Sequence[str], row_names: Sequence[str] | None
) -> Iterator[Any]:
    def put(start: int, block: NDArray[Any]) -> None:
        if start == 0:
            shape = (n,) if len(columns) == 1 else (n, len(columns))
            described = {"descr": block.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, described)
        stream.write(np.ascontiguousarray(block).tobytes())

    yield put


@contextmanager
def _csv(
    stream: BinaryIO, n: int, columns: Sequence[str], row_names: Sequence[str] | None
) -> Iterator[Any]:
    text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_heads(columns, row_names))

    def put(start: int, block: NDArray[Any]) -> None:
        # The shortest text that gives the same number; tolist() would give float64's.
        cells = block.astype(str).tolist() if block.dtype.kind == "f" else block.tolist()
        if row_names is not None:
            cells = [[row_names[start + k], *row] for k, row in enumerate(cells)]
        writer.writerows(cells)

    yield put
    text.flush()
    text.detach()


@contextmanager
def _parquet(
    stream: BinaryIO, n: int, columns: Sequence[str], row_names: Sequence[str] | None
) -> Iterator[Any]:
    pyarrow = import_pyarrow("output")
    writer: Any = None

    def put(start: int, block: NDArray[Any]) -> None:
        nonlocal writer
        arrays = [pyarrow.array(column) for column in block.T]
        if row_names is not None:
            names = list(row_names[start : start + len(block)])
            arrays.insert(0, pyarrow.array(names, pyarrow.string()))
        table = pyarrow.table(arrays, names=_heads(columns, row_names))
        writer = writer or pyarrow.parquet.ParquetWriter(stream, table.schema)
        writer.write_table(table)

    try:
        yield put
    finally:
        if writer is not None:
            writer.close()


def _heads(columns: Sequence[str], row_names: Sequence[str] | None) -> list[str]:
    """Return the names of all columns, each of them once."""
    if row_names is None:
        return [*columns]
    first = "row"
    while first in columns:
        first += "_"
    return [first, *columns]
