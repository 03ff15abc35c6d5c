"""One process at a time in a folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddnmf_np.errors import OutputError, UsageError

NAME = ".lock"
"""The file that is locked; it holds who has it, for the message of who does not."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder to oneself.

    The lock is the operating system's: it ends with the process, however that ends, so that no
    stale lock is ever in the way. A file system that knows no locks (some network ones) gives
    none, and then two runs are not kept apart.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Raises
    ------
    UsageError
        If another process has it; the message says which.
    OutputError
        If nothing can be written there.
    """
    path = folder / NAME
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"output {folder}: cannot be written: {error.strerror or error}; choose a folder "
                "that can"
            ) from error
        try:
            if not _take(handle):
                owner = os.pread(handle, 200, 0).decode("utf-8", "replace") if _POSIX else ""
                raise UsageError(
                    f"output {folder}: another run is writing there ({owner or 'unknown'}); wait "
                    "for its end, or choose another folder"
                )
            # Who had it before may have removed the file between our opening and locking it.
            if not _is_at(handle, path):
                continue
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return
        finally:
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


_POSIX = sys.platform != "win32"

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here
            return True
        return True
