"""Files in the IDX format of MNIST, compressed by gzip or not.

A file has a magic number (two zero bytes, the element type, the number of dimensions), the size of
each dimension as a big-endian 32-bit integer, and the elements in C order, big-endian.
"""

import gzip
import hashlib
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.errors import DataError
from ddnmf_np.system.files import Source, name_of, open_source

MAX_BYTES = 4 * 2**30  # of one file after decompression

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_NDIM = 4  # images with channels
_PIECE = 2**20


def read_idx(source: Source, *, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read an IDX file.

    We recognise gzip by the first bytes, not by the name, and refuse a file whose header announces
    more than ``max_bytes`` of data. The result has the shape and type of the header, in native byte
    order, C-contiguous, writable. Raises `DataError` if the file cannot be read, is not IDX, or is
    not exactly as long as its header says.

    Notes
    -----
    Memory grows with the bytes in the file, not with the claims of the header. Decompression stops
    one byte after the announced end.
    """
    path = name_of(source)
    with _open_decompressed(source) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
            raise DataError(
                f"{path}: begins with {magic!r}, so it is not an IDX file; get it again"
            )
        dtype, ndim = np.dtype(_DTYPES[magic[2]]), magic[3]
        if not 1 <= ndim <= _MAX_NDIM:
            raise DataError(
                f"{path}: has {ndim} dimensions; expected 1 to {_MAX_NDIM}; "
                "reshape the data, or save them as .npy"
            )
        sizes = stream.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise DataError(f"{path}: ends inside its header; get the file again")
        shape = struct.unpack(f">{ndim}I", sizes)
        expected = math.prod(shape) * dtype.itemsize
        if expected > max_bytes:
            raise DataError(
                f"{path}: its header announces {expected} bytes, shape {shape}; at most "
                f"{max_bytes} are read; get the file again, or split it"
            )
        if math.prod(size or 1 for size in shape) * dtype.itemsize > sys.maxsize:  # and one is 0
            raise DataError(
                f"{path}: its header announces the shape {shape}, which NumPy cannot hold; get "
                "the file again"
            )
        data = bytearray()
        for piece in _pieces(stream, expected + 1):
            data += piece
    if len(data) != expected:
        found = f"at least {len(data)}" if len(data) > expected else len(data)
        raise DataError(
            f"{path}: its header announces {expected} bytes of data, shape {shape}, "
            f"but {found} follow; get the file again"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def sha256_of_decompressed(source: Source, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the SHA-256, as 64 hexadecimal digits, of a file's decompressed content.

    Copies of one file may have different gzip headers and compression, but the same digest. Raises
    `DataError` if the file cannot be read, is corrupt, or is longer than ``max_bytes``.
    """
    path = name_of(source)
    digest, length = hashlib.sha256(), 0
    with _open_decompressed(source) as stream:
        for piece in _pieces(stream, max_bytes + 1):
            digest.update(piece)
            length += len(piece)
    if length > max_bytes:
        raise DataError(f"{path}: holds more than {max_bytes} bytes; get the file again")
    return digest.hexdigest()


@contextmanager
def _open_decompressed(source: Source) -> Iterator[BinaryIO]:
    """Open a file for reading; turn errors of the file system and of gzip into `DataError`."""
    path = name_of(source)
    try:
        with open_source(source) as raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as unzipped:
                    yield cast(BinaryIO, unzipped)
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: its gzip stream is corrupt or cut short ({error}); get the file again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error


def _pieces(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the pieces of a stream, up to its end or `limit` bytes."""
    while limit > 0 and (piece := stream.read(min(_PIECE, limit))):
        limit -= len(piece)
        yield piece
