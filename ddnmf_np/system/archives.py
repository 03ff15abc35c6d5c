"""Arrays in untrusted .npy and .npz files, with every claim of a file checked.

`numpy.load` allocates the memory that a header claims, and can unpickle. We never unpickle, and our
memory follows the bytes that are in the file:

- a part without compression takes its own bytes of the file, and no others;
- a compressed part must not claim more than deflate can make of its bytes (`MAX_RATIO`), all
  compressed parts together not more than `MAX_BYTES`, and we unpack them piece by piece;
- we check the size of the archive's directory before we read it (`MAX_PARTS`, `MAX_DIRECTORY`), and
  an array's header has at most `MAX_HEADER` bytes.

So a bad file takes at most its own size, `MAX_BYTES` for its compressed parts, and some MB.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.errors import DataError, shown
from ddnmf_np.system.files import Source, open_source

MAX_BYTES = 4 * 2**30
"""Most bytes of all compressed parts of an archive. Other parts may be larger, because the file
itself is as large as they are."""

MAX_RATIO = 1032
"""Deflate makes at most 258 bytes from two bits."""

MAX_PARTS = 10_000
MAX_DIRECTORY = 4 * 2**20
MAX_HEADER = 10_000  # NumPy's own bound
MAX_NDIM = 32

_PIECE = 2**20
_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}  # of the header, by the major version
_KEYS = {"descr", "fortran_order", "shape"}
_NUMBERS = re.compile(r"[<>|=]?[biuf][0-9]{1,2}")
_TEXTS = re.compile(r"[<>|=]?[SU][0-9]{1,4}")
_PLAIN = re.compile(r"[ -~]*\n?")  # all characters that NumPy writes
_PYTHON_2 = re.compile(r"(?<=[0-9])L(?=[,)])")  # its long integers
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FOREIGN = (  # errors of zipfile about a damaged archive, in addition to OSError
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,  # also NotImplementedError
)


class ArchiveError(DataError):
    """The reason why a file is not read; the caller adds the name of the file and the remedy."""


class Header(NamedTuple):
    """The checked header of an array; ``length`` counts all bytes before the values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    length: int

    @property
    def n_bytes(self) -> int:
        """Number of bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(source: Source, *, text: bool = False) -> NDArray[Any]:
    """Return the array of an .npy file, or of its content, in the file's type and byte order.

    It is writable. With ``text`` it may have texts of a fixed length, too. Raises `ArchiveError` if
    the file is not exactly one array of plain numbers, and `OSError` if it cannot be opened.
    """
    with open_source(source) as stream, _one_kind_of_error():
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        header = read_header(stream, size, text=text)
        return _read_values(stream, header, claimed=False)


class NpzArchive:
    """An open .npz file, as a context manager; ``keys`` are the names of its parts.

    Raises `ArchiveError` if its directory is damaged or claims too much, and `OSError` if it cannot
    be opened.
    """

    def __init__(self, source: Source) -> None:
        with ExitStack() as opened:
            stream = opened.enter_context(open_source(source))
            with _one_kind_of_error():
                size, parts = _check_end(stream)
                self._zip = opened.enter_context(zipfile.ZipFile(stream))
                infos = self._zip.infolist()
                if len(infos) != parts:
                    raise ArchiveError(f"its directory has {len(infos)} parts and claims {parts}")
                self._parts = _checked_parts(infos, size)
            self._opened = opened.pop_all()
        self.keys = list(self._parts)

    def read(self, key: str, *, text: bool = False) -> NDArray[Any]:
        """Return the array with a name; raises `ArchiveError` if the part is anything else.

        With ``text`` it may have texts of a fixed length.
        """
        part = self._parts[key]
        try:
            with _one_kind_of_error(), self._zip.open(part) as opened:
                stream = cast(BinaryIO, opened)
                header = read_header(stream, part.file_size, text=text)
                claimed = part.compress_type != zipfile.ZIP_STORED
                array = _read_values(stream, header, claimed=claimed)
                if stream.read(1):  # at the end, zipfile compares the checksum
                    raise ArchiveError("it continues after its end")
                return array
        except ArchiveError as error:
            raise ArchiveError(f"part {shown(part.filename)}: {error}") from error

    def __enter__(self) -> NpzArchive:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except OSError as error:
        raise ArchiveError(f"it cannot be read to its end: {error.strerror or error}") from error
    except _FOREIGN as error:
        raise ArchiveError(str(error) or type(error).__name__) from error


# -- the archive -------------------------------------------------------------------------------


def _check_end(stream: BinaryIO) -> tuple[int, int]:
    """Return the size of an archive and its number of parts, before its directory is read."""
    start = stream.read(4)
    if start not in (b"PK\3\4", b"PK\5\6"):  # zipfile would search for it behind other bytes
        raise ArchiveError(f"it begins with {start!r}, so it is not a zip archive")
    size = stream.seek(0, os.SEEK_END)
    tail_size = min(size, _END.size + _LOCATOR_64.size + _END_64.size)
    stream.seek(size - tail_size)
    tail = stream.read(tail_size)
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\5\6"):
        raise ArchiveError("it does not end as a zip archive does (cut off, or another format?)")
    end = _END.unpack(tail[-_END.size :])
    parts, directory, comment = end[4], end[5], end[7]
    if comment:
        raise ArchiveError("it ends with a comment, which NumPy does not write")
    head = tail[: -_END.size]
    if head[-_LOCATOR_64.size :].startswith(b"PK\6\7"):
        head = head[: -_LOCATOR_64.size]
        if len(head) < _END_64.size or not head.startswith(b"PK\6\6"):
            raise ArchiveError("its zip64 directory is not where it should be")
        end_64 = _END_64.unpack(head)
        parts, directory = end_64[7], end_64[8]
    if parts > MAX_PARTS:
        raise ArchiveError(f"it claims {parts} parts; at most {MAX_PARTS} are read")
    if directory > min(MAX_DIRECTORY, size):
        raise ArchiveError(
            f"its directory claims {directory} bytes; at most {MAX_DIRECTORY} are read, and the "
            f"file has {size}"
        )
    return size, parts


def _checked_parts(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the parts of an archive by their keys."""
    parts: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename
        folders = name.split("/")
        if {"", ".", ".."} & set(folders) or re.search(r"[\\\x00-\x1f]", name):
            raise ArchiveError(f"a part is called {shown(name)}, which is no name for an array")
        key = name.removesuffix(".npy")
        if key in parts:
            raise ArchiveError(f"two parts are called {shown(key)}")
        if info.flag_bits & 0x2041:
            raise ArchiveError(f"part {shown(name)} is encrypted")
        if info.compress_type not in _METHODS:
            raise ArchiveError(
                f"part {shown(name)} is compressed by method {info.compress_type}; save it with "
                "numpy.savez or numpy.savez_compressed"
            )
        most = info.compress_size
        if info.compress_type != zipfile.ZIP_STORED:
            most *= MAX_RATIO
        if info.file_size > most:
            raise ArchiveError(
                f"part {shown(name)} claims {info.file_size} bytes; its {info.compress_size} in "
                f"the file can be {most} at most"
            )
        parts[key] = info
    there = sum(info.compress_size for info in infos)
    if there > size:
        raise ArchiveError(f"its parts claim {there} of its {size} bytes")
    claimed = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
    if claimed > MAX_BYTES:
        raise ArchiveError(
            f"its compressed parts claim {claimed} bytes; at most {MAX_BYTES} are unpacked; save "
            "it with numpy.savez, uncompressed"
        )
    return parts


# -- one array ---------------------------------------------------------------------------------


def read_header(stream: BinaryIO, size: int, *, text: bool = False) -> Header:
    """Read the header of an array of plain numbers in NumPy's format, up to its first value.

    ``size`` are the bytes from there to the end of the file. With ``text`` we accept texts of a
    fixed length, too. Raises `ArchiveError` if there is no such header, or it announces another
    number of bytes than follow.
    """
    with _one_kind_of_error():
        header = _parsed_header(stream, _TEXTS if text else None)
    if header.length + header.n_bytes != size:
        raise ArchiveError(
            f"its header announces {header.n_bytes} bytes, shape {shown(header.shape)}, and "
            f"{size - header.length} follow"
        )
    return header


def _parsed_header(stream: BinaryIO, others: re.Pattern[str] | None) -> Header:
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(_MAGIC):
        raise ArchiveError(f"it begins with {start!r}, so it is not an array in NumPy's format")
    major, minor = start[6:]
    if major not in _LENGTHS or minor != 0:
        raise ArchiveError(f"it is of version {major}.{minor} of NumPy's format, which is unknown")
    kind = _LENGTHS[major]
    field = stream.read(struct.calcsize(kind))
    (length,) = struct.unpack(kind, field)  # struct.error if it is too short
    if length > MAX_HEADER:
        raise ArchiveError(f"its header claims {length} bytes; at most {MAX_HEADER} are read")
    header = stream.read(length)
    if len(header) < length:
        raise ArchiveError("it ends inside its header")
    text = header.decode("utf-8" if major == 3 else "latin-1")
    shape, dtype, fortran_order = _parse_header(text, major, others)
    return Header(shape, dtype, fortran_order, len(start) + len(field) + length)


def _parse_header(
    text: str, major: int, others: re.Pattern[str] | None
) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    # A header of plain numbers has no comment, and no backslash, about which Python could warn.
    try:
        if not _PLAIN.fullmatch(text) or "\\" in text or "#" in text:
            raise ValueError
        found = ast.literal_eval((text if major == 3 else _PYTHON_2.sub("", text)).strip())
        if not isinstance(found, dict) or found.keys() != _KEYS:
            raise ValueError
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ArchiveError(f"its header cannot be read: {shown(text)}") from error
    descr, shape, fortran_order = found["descr"], found["shape"], found["fortran_order"]
    kinds = [_NUMBERS] if others is None else [_NUMBERS, others]
    if not isinstance(descr, str) or not any(kind.fullmatch(descr) for kind in kinds):
        raise ArchiveError(
            f"its elements are {shown(descr)}, not plain numbers; objects are never unpickled"
        )
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise ArchiveError(f"this machine has no numbers of type {descr!r}") from error
    if not isinstance(fortran_order, bool):
        raise ArchiveError(f"its fortran_order is {shown(fortran_order)}")
    is_tuple = isinstance(shape, tuple) and len(shape) <= MAX_NDIM
    if not is_tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise ArchiveError(f"its shape is {shown(shape)}")
    # NumPy leaves zeros out of this product.
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        raise ArchiveError(f"its shape is {shown(shape)}, larger than any memory")
    return shape, dtype, fortran_order


def _read_values(stream: BinaryIO, header: Header, *, claimed: bool) -> NDArray[Any]:
    """Return the array; if the number of bytes is only a claim, memory grows as they come."""
    expected = header.n_bytes
    raw = np.empty(0 if claimed else expected, np.uint8)
    grown = bytearray()
    done = 0
    while done < expected and (piece := stream.read(min(_PIECE, expected - done))):
        if claimed:
            grown += piece
        else:
            raw[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if done < expected:
        raise ArchiveError(f"it announces {expected} bytes, and {done} follow")
    if claimed:
        raw = np.frombuffer(grown, np.uint8)
    if header.dtype.kind == "b" and raw.size and raw.max() > 1:
        raise ArchiveError("it has truth values other than 0 and 1")
    array: NDArray[Any] = raw.view(header.dtype)
    if header.fortran_order:
        return array.reshape(header.shape[::-1]).T
    return array.reshape(header.shape)
