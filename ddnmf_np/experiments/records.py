"""The records of a campaign: one line of ``records.jsonl`` for each run.

A record says what was run (its ``identity``, whose hash is its ``key``), and what came of it.
Tables and figures are made from records alone, so the file is all that a result needs.

We append each record in one write, because a campaign that is killed must not lose what is
finished. A line that the kill cut off is dropped when the next campaign starts. Of two valid
lines with the same name the later one holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ddnmf_np import __version__
from ddnmf_np.errors import DataError, OutputError
from ddnmf_np.runs.environment import commit
from ddnmf_np.system import json_text
from ddnmf_np.system.archives import NpzArchive
from ddnmf_np.system.files import (
    atomic_write,
    atomic_write_text,
    make_folder,
    open_source,
    remove_unfinished,
)

FORMAT = 1
"""Number of the layout and meaning of a record. It is part of the key: a change invalidates all."""

RECORD_BYTES = 2**20
"""Upper bound of the size of a record."""

MOST = 1e300
"""Largest number in a record: sums and squares of such numbers have to stay finite."""

SCORES = {"acc": (0.0, 1.0), "nmi": (0.0, 1.0), "ari": (-1.0, 1.0)}
"""Every score with its range."""

Record = dict[str, Any]
Kind = Literal["codes", "clustering", "embedding"]
Labels = npt.NDArray[np.integer[Any]]
Check = Callable[[Any], bool]


class RecordError(DataError):
    """A record that is corrupt, of another version, or not what its name says."""


# -- what is valid ------------------------------------------------------------------------


def _is_a(*types: type) -> Check:
    return lambda value: isinstance(value, types)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _between(low: float, high: float) -> Check:
    slack = 1e-9  # NMI of a perfect clustering may round to just above 1
    return lambda value: _is_number(value) and low - slack <= value <= high + slack


def _list_of(is_valid: Check) -> Check:
    return lambda value: isinstance(value, list) and bool(value) and all(map(is_valid, value))


def _is_point(value: Any) -> bool:
    return _list_of(_is_number)(value) and len(value) == 2


def _numbers_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


NONE = type(None)

COMMON: dict[str, Check] = {
    "name": _is_a(str),
    "identity": _is_a(dict),
    "dataset": _is_a(str),
    "model": _is_a(str),
    "seed": _is_a(int),
    "epochs": _is_a(int, NONE),
    "samples": _is_a(int, NONE),
    "noise_rate": _is_number,
    "n_test": lambda value: _is_count(value) and value > 0,
}
"""Entries of every record, and what is valid there."""

ENTRIES: dict[str, dict[str, Check]] = {
    "codes": {
        "seconds": _is_number,
        "arrays": _is_a(str, NONE),
        "code.unit_std": _list_of(_is_number),
        "code.dead_units": _is_count,
        "losses": _numbers_by_name,
        "reconstruction_error": _numbers_by_name,
    },
    "clustering": {
        "images": _is_a(str),
        "method": _is_a(str),
        "starts": _is_a(int),
        **{f"result.{score}": _between(*ends) for score, ends in SCORES.items()},
        **{
            f"result.spread.{score}.{what}": _between(*ends)
            for score, ends in SCORES.items()
            for what in ("mean", "min", "max")
        },
        **{f"result.spread.{score}.std": _between(0.0, 1.0) for score in SCORES},
        "result.bic": lambda value: value is None or _is_number(value),
        "result.degenerate": _is_a(str, NONE),
        "result.cluster_sizes": _list_of(_is_count),
    },
    "embedding": {
        "images": _is_a(str),
        "points": _list_of(_is_point),
        "labels": _is_a(list, NONE),
    },
}
"""Further entries of a record of each kind, by their path, and what is valid there."""

_MISSING = object()


def _entry(record: Record, place: str) -> Any:
    """Return the entry at a path such as ``"result.acc"``, or `_MISSING`, which is never valid."""
    value: Any = record
    for name in place.split("."):
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def check(record: Any) -> Record:
    """Return the record if it can be used; otherwise raise `RecordError` with the reason."""
    if not isinstance(record, dict) or "format" not in record:
        raise RecordError("is not a record of this package; move it elsewhere")
    remedy = "delete the line, and the next run of the same command computes it again"
    if record["format"] != FORMAT:
        raise RecordError(
            f"has format {record['format']!r} (ddnmf-np {record.get('version')}), and this version "
            f"reads format {FORMAT}; read it with that version, or {remedy}"
        )
    kind = str(record.get("kind"))
    if kind not in ENTRIES:
        raise RecordError(f"has the unknown kind {record.get('kind')!r}; {remedy}")
    for place, is_valid in (COMMON | ENTRIES[kind]).items():
        if not is_valid(_entry(record, place)):
            raise RecordError(f"has no valid {place!r}; {remedy}")
    if "assignment" in record:
        if not isinstance(record["assignment"], str):
            raise RecordError(f"has no valid 'assignment'; {remedy}")
        try:
            unpack_labels(record["assignment"], record["n_test"])
        except DataError as error:
            raise RecordError(f"{error}; {remedy}") from error
    key = key_of(record["identity"])
    if record.get("key") != key or not record["name"].endswith(f"-{kind}-{key}"):
        raise RecordError(f"its key is not that of its configuration (edited?); {remedy}")
    return record


# -- clusterings as text ------------------------------------------------------------------


def pack_labels(labels: Labels) -> str:
    """Return clusters (0 to 65,535) as text: base64 of zlib of one or two bytes a sample.

    One byte is enough for 256 clusters. Raises `ValueError` for numbers out of range.
    """
    if labels.min() < 0 or labels.max() > 0xFFFF:
        raise ValueError(f"clusters {labels.min()} to {labels.max()}; expected 0 to 65535")
    packed = labels.astype("u1" if labels.max() < 256 else "<u2")
    return base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii")


def unpack_labels(text: str, n: int) -> Labels:
    """Return the clusters of ``n`` samples from their text, read only; else raise `DataError`."""
    unpacker = zlib.decompressobj()
    try:
        # At most one byte too many: a few bytes may claim to stand for gigabytes.
        packed = unpacker.decompress(base64.b64decode(text, validate=True), 2 * n + 1)
    except (ValueError, OverflowError, MemoryError, zlib.error) as error:
        raise DataError(f"an assignment of clusters cannot be read: {error}") from error
    if not unpacker.eof or len(packed) not in (n, 2 * n):
        raise DataError(f"an assignment of clusters is cut off, or not of {n} samples")
    return np.frombuffer(packed, "u1" if len(packed) == n else "<u2")


# -- names and the store ------------------------------------------------------------------


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of a run: 16 hexadecimal digits of the SHA-256 of its identity.

    The identity is everything that the result depends on, in plain JSON types, in any order.
    """
    text = json.dumps(
        {"format": FORMAT, **identity}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Name:
    """Name of a record: a label that a person can read, the kind, and the key of the identity.

    Parameters
    ----------
    kind : {"codes", "clustering", "embedding"}
        Kind of the result.
    label : str
        Data set, model and so on, with hyphens.
    identity : mapping
        Argument of `key_of`.
    """

    kind: Kind
    label: str
    identity: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Hash of the identity."""
        return key_of(self.identity)

    @property
    def ending(self) -> str:
        """The part of the name that does not depend on the label."""
        return f"-{self.kind}-{self.key}"

    def __str__(self) -> str:
        return self.label + self.ending


class Store:
    """A folder with ``records.jsonl``, and ``codes/`` (arrays, too large to commit).

    Parameters
    ----------
    folder : path_like
        Its place; `create` makes it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "records.jsonl"
        self.codes = self.folder / "codes"

    def create(self) -> None:
        """Make the folders; raises `OutputError` if that is not possible."""
        make_folder(self.codes)

    def is_empty(self) -> bool:
        """Return whether no record was ever written."""
        return not self.path.exists()

    # -- reading --------------------------------------------------------------------------

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield each line that is not blank, with its place for messages."""
        if self.is_empty():
            return
        try:
            with open_source(self.path) as stream:
                content = stream.read()
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be read: {error.strerror}") from error
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if line.strip():
                yield f"{self.path}: line {number}", line

    @cached_property
    def _content(self) -> tuple[dict[str, Record], dict[str, str]]:
        """The records by name, and the problems of the other lines by name (else by place)."""
        records: dict[str, Record] = {}
        problems: dict[str, str] = {}
        try:
            for place, line in self._lines():
                name = place
                try:
                    found = json_text.parse(line)
                    if isinstance(found, dict) and isinstance(found.get("name"), str):
                        name = found["name"]
                    records[name] = check(found)
                    problems.pop(name, None)
                except RecordError as error:
                    problems[name] = f"{place}: {'' if name == place else f'{name} '}{error}"
                except ValueError as error:  # not UTF-8, not JSON, or too long
                    # Another process may be writing a last line that has no end yet.
                    if line.endswith(b"\n"):
                        problems[place] = f"{place}: is not valid JSON: {error}; delete the line"
        except RecordError as error:
            problems[str(self.path)] = str(error)
        return records, problems

    def find(self, name: Name) -> Record | None:
        """Return the record of a run, or None if there is none that can be used."""
        return self._content[0].get(str(name))

    def load(self) -> tuple[list[Record], list[str]]:
        """Return all records in the order of their names, and the problems of the others."""
        records, problems = self._content
        return [record for _, record in sorted(records.items())], list(problems.values())

    # -- writing --------------------------------------------------------------------------

    def tidy(self) -> list[str]:
        """Remove what a killed campaign left unfinished, and return a note for each such line.

        Lines that are not JSON go. Records that only another version can read stay. The caller
        must have the folder to itself.
        """
        remove_unfinished(self.folder, self.path.name)
        remove_unfinished(self.codes, "*.npz")
        kept, notes = [], []
        for place, line in self._lines():
            try:
                json_text.parse(line)
                kept.append(line.strip() + b"\n")
            except ValueError as error:
                notes.append(f"{place}: is not valid JSON: {error}; dropped, and computed again")
        if notes:
            atomic_write_text(self.path, b"".join(kept).decode())
        self.__dict__.pop("_content", None)
        return notes

    def write(self, name: Name, content: Mapping[str, Any]) -> Record:
        """Append the record of a run, and return it; raises `OutputError` if the disk is full."""
        record = {
            "name": str(name),
            "format": FORMAT,
            "kind": name.kind,
            "key": name.key,
            "version": __version__,
            "commit": commit(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "identity": dict(name.identity),
            **content,
        }
        # Not NaN, which is not JSON: whoever has one to store must say what it stands for.
        self._append(json.dumps(record, separators=(",", ":"), allow_nan=False).encode())
        records, problems = self._content
        records[str(name)] = record
        problems.pop(str(name), None)
        return record

    def _append(self, line: bytes) -> None:
        """Write a line in one call, so that the lines of two processes do not mix."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(self.path, flags, 0o666)
            try:
                # A full disk may have cut the last line off; this one must not continue it.
                size = os.fstat(handle).st_size
                os.lseek(handle, max(size - 1, 0), os.SEEK_SET)
                line = (b"" if os.read(handle, 1) in (b"", b"\n") else b"\n") + line + b"\n"
                if os.write(handle, line) < len(line):
                    raise OSError("no space left on the disk")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written: {error.strerror or error}; make room, and the "
                "same command goes on"
            ) from error

    def adopt(self, name: Name, content: Mapping[str, Any]) -> Record | None:
        """Write a run's record from the record of the same run under another label, if any.

        Parameters
        ----------
        name : Name
            Name of the new record.
        content : mapping
            Entries that differ in it.

        Returns
        -------
        dict or None
            The new record: what was measured, and when and by which version, is as it was.
        """
        for other in sorted(self._content[0]):
            if other.endswith(name.ending) and other != str(name):
                twin = self._content[0][other]
                return self.write(name, {**twin, **content, "name": str(name)})
        return None

    # -- arrays ---------------------------------------------------------------------------

    def check_room(self, n_values: int) -> None:
        """Raise `OutputError` if so many values in float64 and a record would not fit on the disk.

        We ask before the run, because a run that cannot be kept is hours of work for nothing.
        """
        needed, free = 8 * n_values + RECORD_BYTES, shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutputError(
                f"output {self.folder}: has {free / 2**20:.0f} MiB free, and this run may need "
                f"{needed / 2**20:.0f}; make room, and the same command goes on"
            )

    def write_arrays(self, name: Name, suffix: str, arrays: Mapping[str, Any]) -> str:
        """Write the arrays of a record, before the record; return the file's name."""
        file = f"{name.label}-{name.key}{suffix}.npz"
        with atomic_write(self.codes / file) as stream:
            # A mapping, since NumPy's own arguments share the keywords.
            np.savez(stream, allow_pickle=False, **arrays)
        return file

    def read_arrays(self, record: Record | None, entry: str) -> dict[str, Any] | None:
        """Return the arrays that an entry of a record names; None if they are not there.

        Raises
        ------
        RecordError
            If they are there and cannot be read.
        """
        file = None if record is None else record.get(entry)
        if file is None or not (self.codes / file).is_file():
            return None
        path = self.codes / file
        try:
            with NpzArchive(path) as archive:
                return {key: archive.read(key) for key in archive.keys}
        except (DataError, OSError) as error:
            raise RecordError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); delete it, and the "
                "next run of the same command computes it again"
            ) from error


@cache
def versions(*more: str) -> dict[str, str]:
    """Return the versions that the numbers of a record depend on; of more packages if asked."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "scikit-learn", *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # importable all the same; not worth a result
            found[name] = "unknown"
    return found
