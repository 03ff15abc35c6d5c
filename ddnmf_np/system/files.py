"""Safe reading, atomic writing, and a file lock for a folder."""

from __future__ import annotations

import errno
import io
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ddnmf_np.errors import OutputError, UsageError

Source = str | Path | bytes
"""A file, or the content of one."""

LOCK = ".lock"
"""Name of the file that is locked; its text names the process that has the lock."""

PATIENCE = 0.2
"""Seconds to try a lock again, because its owner may have removed the file that we opened."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has no pipes among its files
_open = os.open  # for reading; the tests break os.open for writing


def open_source(source: Source) -> io.BufferedReader:
    """Open a file, or its content, for reading; raises `OSError`."""
    if isinstance(source, bytes):
        return io.BufferedReader(io.BytesIO(source))
    return open(source, "rb", opener=regular)


def regular(path: str, flags: int) -> int:
    """Open a file, as the ``opener`` of `open`; raises `OSError` if it is a pipe or a device.

    To open a pipe without a writer would wait forever.
    """
    handle = _open(path, flags | _NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open() itself refuses folders
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", path)
    except OSError:
        os.close(handle)
        raise
    return handle


def read_source(source: Source, most: int) -> bytes:
    """Return the content of a file; raises `OSError`, or `ValueError` if it exceeds ``most``."""
    with open_source(source) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is longer than {most} bytes, the most that are read")
    return content


def name_of(source: Source) -> str:
    """Return the name of a source for error messages."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file in the same folder, which replaces ``path`` when it is complete.

    Raises `OutputError` if the file cannot be written (full or read-only disk, missing folder). An
    old file is then untouched, and no temporary file is left.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        # Not mkstemp: its files are private, and ours need the mode that open() gives.
        name = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        temporary = name
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; make room or choose another "
            "folder"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    """Write the folder's list of names to disk, or a power cut could undo a rename."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some file systems cannot; the file itself is safe
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path, name: str) -> None:
    """Remove temporary files of `atomic_write` whose process was killed.

    Lock the folder first, because another process may be writing such a file. The folder need not
    exist; ``name`` is that of the final file, or a pattern such as ``*.png``.
    """
    for left in folder.glob(f".{name}.{'[0-9a-f]' * 16}"):
        left.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8 by `atomic_write`; half a surrogate pair is written as escape."""
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def make_folder(path: Path) -> None:
    """Make a folder in which files can be written, or raise `OutputError`."""
    what = "made"
    try:
        path.mkdir(parents=True, exist_ok=True)
        what = "written"
        with tempfile.TemporaryFile(dir=path):  # now, and not after minutes of work
            pass
    except OSError as error:
        raise OutputError(
            f"output {path}: cannot be {what}: {error.strerror or error}; choose another folder"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock an existing folder against other processes that call this.

    The operating system ends the lock with the process, so a killed process leaves no stale lock.
    Some network file systems have no locks; there we continue without one, and nothing keeps two
    runs apart. Raises `UsageError` if another process has the lock, which the message names, and
    `OutputError` if the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # late: usage errors should not wait for it

    path = folder / LOCK
    # Without a soft lock, filelock's substitute, because it would outlive a killed process.
    lock = FileLock(path, PATIENCE, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"output {folder}: another run is writing there ({_owner(path)}); wait until it ends, "
            "or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(
                f"output {folder}: cannot be written: {error.strerror or error}; choose a folder "
                "that can"
            ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows, release() removes it
            path.unlink()  # while we have the lock: afterwards it may be another's
        lock.release()


def _sign(handle: int) -> None:
    """Write the name of this process into the locked file."""
    with suppress(OSError):  # on a full disk the lock works without it
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())


def _owner(path: Path) -> str:
    """Return the text of `_sign` in a locked file; on Windows nobody else can read it."""
    with suppress(OSError, ValueError):
        return read_source(path, 1000).decode("utf-8", "replace") or "unknown"
    return "unknown"
