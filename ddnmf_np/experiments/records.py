"""Records of a campaign: one line of ``records.jsonl`` for each run.

A record holds everything that a run depends on (its ``identity``, whose hash is its ``key``) and
everything that the run found. The tables and figures need nothing but this file.

We append each record in one write, because a campaign that is killed must not lose its finished
runs. The next campaign drops a line that the kill cut off. If two valid lines have the same name,
the later one counts.
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
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np import __version__
from ddnmf_np.errors import DataError, OutputError
from ddnmf_np.runs.environment import commit, version_of
from ddnmf_np.system import json_text
from ddnmf_np.system.archives import NpzArchive
from ddnmf_np.system.files import (
    atomic_write,
    atomic_write_text,
    locked,
    make_folder,
    open_source,
    remove_unfinished,
)

FORMAT = 1
"""Layout and meaning of a record. Every key depends on it, so a new format invalidates all."""

ROOM = 256 * 2**20
"""Bytes that a run may write: codes, weights, and up to three checkpoints at a time."""

REMEDY = "delete the line, and the next run of the same command computes it again"

Record = dict[str, Any]
Labels = npt.NDArray[np.integer[Any]]


class RecordError(DataError):
    """A record that is damaged, of another version, or no record at all."""


def key_of(content: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of plain JSON values, in any order."""
    text = json.dumps(
        {"format": FORMAT, **content}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checksum_of(record: Mapping[str, Any]) -> str:
    """Return the checksum of a record: it covers all other entries."""
    return key_of({name: value for name, value in record.items() if name != "checksum"})


def check(record: Any) -> Record:
    """Return the record if it is as it was written; otherwise raise `RecordError`."""
    if not isinstance(record, dict) or "format" not in record:
        raise RecordError("is not a record of this package; move it elsewhere")
    if record["format"] != FORMAT:
        raise RecordError(
            f"has format {record['format']!r} (ddnmf-np {record.get('version')}), and this version "
            f"reads format {FORMAT}; read it with that version, or {REMEDY}"
        )
    if record.get("checksum") != checksum_of(record):
        raise RecordError(f"was changed after it was written (its checksum is wrong); {REMEDY}")
    return record


def pack_labels(labels: Labels) -> str:
    """Return clusters (0 to 65,535) as text: base64 of zlib of one or two bytes per sample.

    We use one byte for up to 256 clusters. Raises `ValueError` for numbers out of range.
    """
    if labels.min() < 0 or labels.max() > 0xFFFF:
        raise ValueError(f"clusters {labels.min()} to {labels.max()}; expected 0 to 65535")
    packed = labels.astype("u1" if labels.max() < 256 else "<u2")
    return base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii")


def unpack_labels(text: str, n: int) -> Labels:
    """Return the clusters of ``n`` samples, read only; raises `DataError` for any other text."""
    unpacker = zlib.decompressobj()
    try:
        # We stop one byte after the end, because a few bytes may expand to gigabytes.
        packed = unpacker.decompress(base64.b64decode(text, validate=True), 2 * n + 1)
    except (ValueError, OverflowError, MemoryError, zlib.error) as error:
        raise DataError(f"an assignment of clusters cannot be read: {error}") from error
    if not unpacker.eof or len(packed) not in (n, 2 * n):
        raise DataError(f"an assignment of clusters is cut off, or not of {n} samples")
    return np.frombuffer(packed, "u1" if len(packed) == n else "<u2")


@dataclass(frozen=True)
class Name:
    """Name of a record: a readable label, the kind, and the key of the identity."""

    kind: str  # "codes", "clustering", "embedding" and so on
    label: str  # data set, model and so on, with hyphens
    identity: Mapping[str, Any]  # everything that the result depends on

    @property
    def key(self) -> str:
        """Hash of the identity."""
        return key_of(self.identity)

    @property
    def ending(self) -> str:
        """Part of the name that does not depend on the label."""
        return f"-{self.kind}-{self.key}"

    def __str__(self) -> str:
        return self.label + self.ending


class Store:
    """A folder with ``records.jsonl``, and with arrays in ``codes/``, too large to commit."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "records.jsonl"
        self.codes = self.folder / "codes"

    def create(self) -> None:
        """Make the folders; raises `OutputError` if that is not possible."""
        make_folder(self.codes)

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Make the folder, keep other campaigns out, and tidy up after a killed one.

        Raises `OutputError` if the folder cannot be written, and `UsageError` if it is locked.
        """
        self.create()
        with locked(self.folder):
            for note in self.tidy():
                say(f"note: {note}")
            yield

    def is_empty(self) -> bool:
        """Return whether no record was ever written."""
        return not self.path.exists()

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield the place (for messages) and the content of each line that is not blank."""
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
        """Records by name, and problems of the other lines by name (else by place)."""
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
                    # Another process may still be writing a last line without an end.
                    if line.endswith(b"\n"):
                        problems[place] = f"{place}: is not valid JSON: {error}; delete the line"
        except RecordError as error:
            problems[str(self.path)] = str(error)
        return records, problems

    def find(self, name: Name) -> Record | None:
        """Return the record of a run, or None if there is no valid one."""
        return self._content[0].get(str(name))

    def load(self) -> tuple[list[Record], list[str]]:
        """Return all valid records, sorted by name, and the problems of the other lines."""
        records, problems = self._content
        return [record for _, record in sorted(records.items())], list(problems.values())

    def tidy(self) -> list[str]:
        """Remove what a killed campaign left unfinished; return a note for each removed line.

        We remove lines that are not JSON, and keep records of other versions. The caller must hold
        the lock of the folder.
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
        record["checksum"] = checksum_of(record)
        # JSON has no NaN: the caller must say what a value that is not finite means.
        self._append(json.dumps(record, separators=(",", ":"), allow_nan=False).encode())
        records, problems = self._content
        records[str(name)] = record
        problems.pop(str(name), None)
        return record

    def _append(self, line: bytes) -> None:
        """Append a line in one write, so that the lines of two processes do not mix."""
        try:
            with open(self.path, "ab+", buffering=0) as stream:
                # If a full disk cut the last line off, we must not continue that line.
                stream.seek(max(stream.seek(0, os.SEEK_END) - 1, 0))
                start = b"" if stream.read(1) in (b"", b"\n") else b"\n"
                line = start + line + b"\n"
                if os.write(stream.fileno(), line) < len(line):
                    raise OSError("no space left on the disk")
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written: {error.strerror or error}; make room, and the "
                "same command goes on"
            ) from error

    def adopt(self, name: Name, content: Mapping[str, Any]) -> Record | None:
        """Copy the record of the same run under another label, if there is one.

        Numbers, time and version of the copy are those of the original; ``content`` has the entries
        that differ.
        """
        for other in sorted(self._content[0]):
            if other.endswith(name.ending) and other != str(name):
                twin = self._content[0][other]
                return self.write(name, {**twin, **content, "name": str(name)})
        return None

    def check_room(self) -> None:
        """Raise `OutputError` if the results of a run might not fit on the disk.

        We check before the run, because a run that cannot be saved wastes hours of work.
        """
        free = shutil.disk_usage(self.folder).free
        if free < ROOM:
            raise OutputError(
                f"output {self.folder}: has {free / 2**20:.0f} MiB free, and a run may need "
                f"{ROOM / 2**20:.0f}; make room, and the same command goes on"
            )

    def write_arrays(self, name: Name, suffix: str, arrays: Mapping[str, Any]) -> str:
        """Write the arrays of a record, before the record; return the name of the file."""
        file = f"{name.label}-{name.key}{suffix}.npz"
        with atomic_write(self.codes / file) as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        return file

    def read_arrays(self, name: Name, entry: str) -> dict[str, Any] | None:
        """Return the arrays that an entry of a record names, or None if we cannot read them."""
        file = (self.find(name) or {}).get(entry)
        if file is None:
            return None
        try:
            with NpzArchive(self.codes / file) as archive:
                return {key: archive.read(key) for key in archive.keys}
        except (DataError, OSError):  # removed or damaged
            return None


def stores_in(folder: Path) -> list[Store]:
    """Return the stores with records: that of a folder, then those of the folders in it."""
    inner = sorted(path.parent for path in folder.glob("*/records.jsonl"))
    return [store for store in map(Store, (folder, *inner)) if not store.is_empty()]


@cache
def versions(*more: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers of a record depend on."""
    names = ("numpy", "scipy", "scikit-learn", *more)  # a copy without metadata still computes
    return {"python": platform.python_version()} | {n: version_of(n) or "unknown" for n in names}
