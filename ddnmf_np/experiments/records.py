"""What a campaign keeps: one JSON record a run, named by the hash of the run's configuration.

A record is written whole or not at all, and the run it is of is not repeated. Tables and figures
are made from records alone, so that a folder of them is all that a result needs.

Thousands of small files are packed into one, ``records.jsonl``: a line for each, an object with the
``file`` that the record was in and the ``record``. Both forms are read, and a file of its own wins
over a line of the same name.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ddnmf_np import __version__
from ddnmf_np.errors import DataError, OutputError
from ddnmf_np.experiments.assignments import unpack_labels
from ddnmf_np.runs.environment import commit
from ddnmf_np.system import json_text
from ddnmf_np.system.archives import NpzArchive
from ddnmf_np.system.files import atomic_write, atomic_write_text, make_folder, remove_unfinished

FORMAT = 1
"""Number of the layout and meaning of a record; a reader leaves every other aside.

It is part of the key, so that after a change of it every run is done anew.
"""

RECORD_BYTES = 2**20
"""More than any record is long."""

Record = dict[str, Any]
Kind = Literal["codes", "clustering", "embedding"]

FIELDS: dict[str, dict[str, Any]] = {
    "codes": {
        "seconds": (int, float),
        "code": dict,
        "losses": dict,
        "reconstruction_error": dict,
        "arrays": (str, type(None)),
    },
    "clustering": {"images": str, "method": str, "starts": int, "result": dict},
    "embedding": {"images": str, "points": list, "labels": (list, type(None))},
}
"""What a record of each kind must have beside `COMMON`, with its types."""

OPTIONAL: dict[str, dict[str, Any]] = {"clustering": {"assignment": str}}
"""What a record may have; one that was written before there was such a thing is as valid."""

RANGES = {"acc": (0.0, 1.0), "nmi": (0.0, 1.0), "ari": (-1.0, 1.0)}
"""Every score, and between what it lies."""

SCORES = tuple(RANGES)


MOST = 1e300
"""Largest number in a record: sums and squares of what is left have to stay finite."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST


def _between(low: float, high: float) -> Callable[[Any], bool]:
    slack = 1e-9  # NMI of a perfect clustering may round to just above 1
    return lambda value: _is_number(value) and low - slack <= value <= high + slack


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _list_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(is_valid, value))


ENTRIES: dict[str, dict[str, Callable[[Any], bool]]] = {
    "codes": {
        "code.unit_std": _list_of(_is_number),
        "code.dead_units": _is_count,
        "losses": _numbers_by_name,
        "reconstruction_error": _numbers_by_name,
    },
    "clustering": {
        **{f"result.{score}": _between(*ends) for score, ends in RANGES.items()},
        **{
            f"result.spread.{score}.{what}": _between(*ends)
            for score, ends in RANGES.items()
            for what in ("mean", "min", "max")
        },
        **{f"result.spread.{score}.std": _between(0.0, 1.0) for score in RANGES},
        "result.bic": lambda value: value is None or _is_number(value),
        "result.degenerate": lambda value: value is None or isinstance(value, str),
        "result.cluster_sizes": _list_of(_is_count),
    },
    "embedding": {"points": _list_of(_is_point)},
}
"""What tables read inside the entries of a record, by its path, and what is valid there."""

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


def check(record: Any, where: str, file: str, remedy: str) -> Record:
    """Return what was read as a record, if it is one.

    Parameters
    ----------
    record : Any
        What was read.
    where : str
        What an error calls its place.
    file : str
        Name of its file, which has the key in it.
    remedy : str
        What can be done about a bad one.

    Raises
    ------
    RecordError
        If it cannot be used; the text names the place, the reason and the remedy.
    """
    if not isinstance(record, dict) or "format" not in record:
        raise RecordError(f"{where}: is not a record of this package; move it elsewhere")
    if record["format"] != FORMAT:
        raise RecordError(
            f"{where}: has format {record['format']!r} (ddnmf-np {record.get('version')}), and "
            f"this version reads format {FORMAT}; read it with that version, or {remedy}"
        )
    kind = str(record.get("kind"))
    if kind not in FIELDS:
        raise RecordError(f"{where}: has the unknown kind {record.get('kind')!r}; {remedy}")
    optional = {name: types for name, types in OPTIONAL.get(kind, {}).items() if name in record}
    for name, types in (COMMON | FIELDS[kind] | optional).items():
        if name not in record or not isinstance(record[name], types):
            raise RecordError(f"{where}: has no valid {name!r}; {remedy}")
    for place, is_valid in (ENTRIES[kind] | {"n_test": lambda value: value > 0}).items():
        if not is_valid(_entry(record, place)):
            raise RecordError(f"{where}: has no valid {place!r}; {remedy}")
    if "assignment" in optional:
        try:
            unpack_labels(record["assignment"], record["n_test"])
        except DataError as error:
            raise RecordError(f"{where}: {error}; {remedy}") from error
    if record.get("key") != key_of(record["identity"]) or record["key"] not in file:
        raise RecordError(
            f"{where}: its key is not that of its configuration (edited or renamed?); {remedy}"
        )
    return record


_MISSING = object()


def _entry(record: Record, place: str) -> Any:
    """Return what is at a path such as ``"result.acc"``, or `_MISSING`, which is never valid."""
    value: Any = record
    for name in place.split("."):
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


class Store:
    """A folder with records, and ``codes/`` (arrays, too large to commit).

    Parameters
    ----------
    folder : path_like
        Its place; `create` makes it.
    warn : callable, optional
        Called with a line of text for each record that is there and of no use.

    Attributes
    ----------
    records : Path
        The folder of records in a file each.
    packed : Path
        The file of packed records, if there is one.
    codes : Path
        The folder of arrays.
    """

    def __init__(self, folder: str | Path, warn: Callable[[str], None] | None = None) -> None:
        self.folder = Path(folder)
        self.records = self.folder / "records"
        self.packed = self.folder / "records.jsonl"
        self.codes = self.folder / "codes"
        self.warn = warn or (lambda text: None)

    def create(self) -> None:
        """Make the folders; raises `OutputError` if that is not possible."""
        for path in (self.records, self.codes):
            make_folder(path)

    def remove_unfinished(self) -> None:
        """Remove what a killed campaign was writing; only for who has the folder to itself."""
        remove_unfinished(self.records, "*.json")
        remove_unfinished(self.codes, "*.npz")

    def is_empty(self) -> bool:
        """Return whether there is no record at all, of use or not."""
        return not self.packed.exists() and not any(self.records.glob("*.json"))

    # -- reading --------------------------------------------------------------------------

    def read(self, path: Path) -> Record:
        """Return a record from its file; raises `RecordError` as `check` does."""
        remedy = "delete it, and the next run of the same command computes it again"
        try:
            record = json_text.read(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
        except ValueError as error:  # not UTF-8, not JSON, or too long
            raise RecordError(f"{path}: is not valid JSON: {error}; {remedy}") from error
        return check(record, str(path), path.name, remedy)

    @cached_property
    def _lines(self) -> tuple[dict[str, Record], list[str]]:
        """The packed records by the name of their file, and what is wrong with the other lines."""
        records: dict[str, Record] = {}
        problems = []
        try:
            lines = self.packed.read_bytes().splitlines() if self.packed.exists() else []
        except OSError as error:
            return {}, [f"{self.packed}: cannot be read: {error.strerror}"]
        for number, line in enumerate(lines, start=1):
            try:
                file, record = _unpack(line, f"{self.packed}: line {number}")
                if file in records:
                    raise RecordError(
                        f"{self.packed}: line {number}: {file} is in an earlier line too; delete "
                        "one of the two"
                    )
                records[file] = record
            except RecordError as error:
                problems.append(str(error))
        return records, problems

    def find(self, name: Name) -> Record | None:
        """Return the record of a run, or None if there is none that can be used."""
        path = self.records / name.file
        if not path.exists():
            return self._lines[0].get(name.file)
        try:
            return self.read(path)
        except RecordError as error:
            packed = self._lines[0].get(name.file)
            instead = "It is computed again" if packed is None else "The packed one is taken"
            self.warn(f"{error}. {instead} now")
            return packed

    def load(self) -> tuple[list[Record], list[str]]:
        """Return all records in the order of their names, and what is wrong with the others."""
        found, problems = self._load()
        return [record for _, record in sorted(found.items())], problems

    def _load(self) -> tuple[dict[str, Record], list[str]]:
        packed, bad_lines = self._lines
        records, problems = dict(packed), list(bad_lines)
        for path in sorted(self.records.glob("*.json")):
            try:
                records[path.name] = self.read(path)
            except RecordError as error:
                problems.append(str(error))
        return records, problems

    # -- writing --------------------------------------------------------------------------

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

    def adopt(self, name: Name, content: Mapping[str, Any]) -> Record | None:
        """Write a run's record from the one that it has under another label, if it has one.

        Parameters
        ----------
        name : Name
            Whose record is to be.
        content : mapping
            What is another in it.

        Returns
        -------
        dict or None
            The new record: what was measured, and when and by which version, is as it was.
        """
        ending = f"-{name.kind}-{name.key}.json"
        files = {path.name for path in self.records.glob(f"*{ending}")}
        files |= {file for file in self._lines[0] if file.endswith(ending)}
        for file in sorted(files - {name.file}):
            label = file.removesuffix(ending)
            twin = self.find(Name(name.kind, label, name.identity))
            if twin is not None:
                return self.write(name, {**twin, **content})
        return None

    def pack(self) -> tuple[int, list[str]]:
        """Write every record into the one packed file; the others stay where they are.

        Returns
        -------
        tuple of int and list of str
            How many there are, and what is wrong with those that are left out.

        Raises
        ------
        RecordError
            If the packed file there is has a line of no use: it would be lost.
        OutputError
            If the file cannot be written.
        """
        if self._lines[1]:
            raise RecordError(f"{self._lines[1][0]}. Nothing is packed: that line would be lost")
        found, problems = self._load()
        lines = (
            json.dumps({"file": file, "record": record}, sort_keys=True, separators=(",", ":"))
            for file, record in sorted(found.items())
        )
        atomic_write_text(self.packed, "".join(f"{line}\n" for line in lines))
        del self._lines  # read it again
        return len(found), problems

    def check_room(self, n_values: int) -> None:
        """Raise `OutputError` if so many values in float64 and a record would not fit on the disk.

        A run that cannot be kept is hours of work for nothing.
        """
        needed, free = 8 * n_values + RECORD_BYTES, shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutputError(
                f"output {self.folder}: has {free / 2**20:.0f} MiB free, and this run may need "
                f"{needed / 2**20:.0f}; make room, and the same command goes on"
            )

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
            with NpzArchive(path) as archive:
                return {key: archive.read(key) for key in archive.keys}
        except (DataError, OSError) as error:
            raise RecordError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); delete it, and the "
                "next run of the same command computes it again"
            ) from error


def _unpack(line: bytes, where: str) -> tuple[str, Record]:
    """Return file name and record of a packed line; raises `RecordError` if it is of no use."""
    remedy = "delete the line, and the next run of the same command computes it again"
    try:
        entry = json_text.parse(line)
        file, record = entry["file"], entry["record"]
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{file!r} is no name of a file")
    except (ValueError, TypeError, KeyError) as error:
        text = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(f"{where}: is not a packed record: {text}; {remedy}") from error
    return file, check(record, where, file, remedy)


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
