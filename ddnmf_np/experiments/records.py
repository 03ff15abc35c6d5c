"""What a campaign keeps: one JSON record a run, named by the hash of the run's configuration.

A record is written whole or not at all, and the run it is of is not repeated. Tables and figures
are made from records alone, so that a folder of them is all that a result needs.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ddnmf_np import __version__
from ddnmf_np.environment import commit
from ddnmf_np.errors import DataError
from ddnmf_np.files import atomic_write, atomic_write_text, make_folder

FORMAT = 1
"""Number of the layout and meaning of a record; a reader leaves every other aside.

It is part of the key, so that after a change of it every run is done anew.
"""

Record = dict[str, Any]
Kind = Literal["codes", "clustering", "embedding"]

FIELDS: dict[str, dict[str, Any]] = {
    "codes": {"seconds": (int, float), "code": dict, "arrays": (str, type(None))},
    "clustering": {"images": str, "method": str, "starts": int, "result": dict},
    "embedding": {"images": str, "points": list, "labels": (list, type(None))},
}
"""What a record of each kind must have beside `COMMON`, with its types."""

COMMON: dict[str, Any] = {
    "identity": dict,
    "dataset": str,
    "model": str,
    "seed": int,
    "epochs": (int, type(None)),
    "samples": (int, type(None)),
    "noise_rate": (int, float),
    "n_test": int,
}


class RecordError(DataError):
    """A record that is corrupt, of another version, or not what its name says."""


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of a run: 16 hexadecimal digits of the SHA-256 of its configuration.

    Parameters
    ----------
    identity : mapping
        Everything that the result depends on, in plain JSON types; their order is not part of it.
    """
    text = json.dumps(
        {"format": FORMAT, **identity}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Name:
    """How a record is found: what a person reads in its file name, and the key.

    Parameters
    ----------
    kind : {"codes", "clustering", "embedding"}
        What the record is of.
    label : str
        Data set, model and so on, with hyphens.
    identity : mapping
        See `key_of`.
    """

    kind: Kind
    label: str
    identity: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The hash of the identity."""
        return key_of(self.identity)

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.label}-{self.kind}-{self.key}.json"


class Store:
    """A folder with ``records/`` (JSON, small) and ``codes/`` (arrays, too large to commit).

    Parameters
    ----------
    folder : path_like
        Its place; `create` makes it.
    warn : callable, optional
        Called with a line of text for each record that is there and of no use.
    """

    def __init__(self, folder: str | Path, warn: Callable[[str], None] | None = None) -> None:
        self.folder = Path(folder)
        self.records = self.folder / "records"
        self.codes = self.folder / "codes"
        self.warn = warn or (lambda text: None)

    def create(self) -> None:
        """Make the folders; raises `OutputError` if that is not possible."""
        for path in (self.records, self.codes):
            make_folder(path)

    def read(self, path: Path) -> Record:
        """Return a record from its file.

        Raises
        ------
        RecordError
            If it cannot be used; the text names the file, the reason and the remedy.
        """
        remedy = "delete it, and the next run of the same command computes it again"
        try:
            record = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
        except ValueError as error:  # not UTF-8, or not JSON
            raise RecordError(f"{path}: is not valid JSON: {error}; {remedy}") from error
        if not isinstance(record, dict) or "format" not in record:
            raise RecordError(f"{path}: is not a record of this package; move it elsewhere")
        if record["format"] != FORMAT:
            raise RecordError(
                f"{path}: has format {record['format']!r} (ddnmf-np {record.get('version')}), and "
                f"this version reads format {FORMAT}; read it with that version, or {remedy}"
            )
        kind = record.get("kind")
        expected = COMMON | FIELDS.get(str(kind), {})
        wrong = [
            name
            for name, types in expected.items()
            if name not in record or not isinstance(record[name], types)
        ]
        if kind not in FIELDS or wrong:
            what = f"no valid {wrong[0]!r}" if wrong else f"the unknown kind {kind!r}"
            raise RecordError(f"{path}: has {what}; {remedy}")
        if record.get("key") != key_of(record["identity"]) or record["key"] not in path.name:
            raise RecordError(
                f"{path}: its key is not that of its configuration (edited or renamed?); {remedy}"
            )
        return record

    def find(self, name: Name) -> Record | None:
        """Return the record of a run, or None if there is none that can be used."""
        path = self.records / name.file
        if not path.exists():
            return None
        try:
            return self.read(path)
        except RecordError as error:
            self.warn(f"{error}. It is computed again now")
            return None

    def load(self) -> tuple[list[Record], list[str]]:
        """Return all records in the order of their names, and what is wrong with the others."""
        records, problems = [], []
        for path in sorted(self.records.glob("*.json")):
            try:
                records.append(self.read(path))
            except RecordError as error:
                problems.append(str(error))
        return records, problems

    def write(self, name: Name, content: Mapping[str, Any]) -> Record:
        """Write the record of a run, and return it."""
        record = {
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
        text = json.dumps(record, indent=1, allow_nan=False)
        atomic_write_text(self.records / name.file, text + "\n")
        return record

    def write_arrays(self, name: Name, suffix: str, arrays: Mapping[str, Any]) -> str:
        """Write arrays beside a record, before it; return the file's name."""
        file = f"{name.label}-{name.key}{suffix}.npz"
        with atomic_write(self.codes / file) as stream:
            # A name that is a variable, since NumPy's own arguments share the keywords.
            np.savez(stream, allow_pickle=False, **arrays)
        return file

    def has_arrays(self, file: str | None) -> bool:
        """Return whether the arrays of that name are there."""
        return file is not None and (self.codes / file).is_file()

    def read_arrays(self, name: str) -> dict[str, Any]:
        """Return the arrays of a file.

        Raises
        ------
        RecordError
            If it cannot be read.
        """
        path = self.codes / name
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds
            raise RecordError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); delete it, and the "
                "next run of the same command computes it again"
            ) from error


@cache
def versions() -> dict[str, str]:
    """Return the versions that the numbers of a record depend on."""
    packages = ("numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
