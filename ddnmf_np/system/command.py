"""The frame of every command: arguments, one clear error or a result, and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from ddnmf_np import __version__
from ddnmf_np.errors import INTERRUPTED, DDNMFError, OutputError, UsageError, printable, unknown
from ddnmf_np.system.signals import interrupt_on_sigterm

if TYPE_CHECKING:  # the module needs NumPy, for which no usage error should wait
    from ddnmf_np.system.options import Kind


class Parser(argparse.ArgumentParser):
    """Parser of a command's options, which raises `UsageError` and does not end the process.

    ``module`` is what ``python -m`` runs; description and epilog are the text above and below the
    options in ``--help``.
    """

    def __init__(self, module: str, description: str, epilog: str = "", **options: Any) -> None:
        super().__init__(
            prog=f"python -m {module}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )
        self.add_argument("--version", action="version", version=f"ddnmf-np {__version__}")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse arguments, by default those of the process.

        Raises `UsageError` if an option is unknown (the message suggests the nearest one), is
        missing, or has an invalid value.
        """
        flags, rest = self.parse_known_args(argv)
        if rest:
            known = [name for a in self._actions if a.help != argparse.SUPPRESS
                     for name in a.option_strings]  # fmt: skip
            given = rest[0].partition("=")[0]
            raise UsageError(unknown("argument", given, known, "see --help", cutoff=0.7))
        return flags

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`; `argparse` would print the usage and end the process."""
        raise UsageError(f"{message}; see --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process after ``--help`` or ``--version``."""
        _flush()
        super().exit(status, message)


class PageParser(Parser):
    """Parser of a command that makes a web page of a run.

    The page is by default ``page`` in the run's folder. With ``data`` the command takes data, too,
    by name or path; the page then lies in this folder.
    """

    def __init__(
        self, module: str, description: str, epilog: str, page: str, *, data: bool = False
    ) -> None:
        super().__init__(module, description, epilog)
        self.page, self.data = page, data
        text = "folder that ddnmf_np.train has written" + (
            ", or data: digits, mnist, fashion-mnist, or a path" if data else ""
        )
        name = "RUN_OR_DATA" if data else "RUN_FOLDER"
        self.add_argument("run", nargs="*", type=Path, metavar=name, help=text)
        text = f"page to write; replaced if it exists (default: {page} in the run's folder" + (
            ", for data in this one)" if data else ")"
        )
        self.add_argument("--output", type=Path, metavar="FILE", help=text)

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse arguments; ``run`` is one folder, ``output`` the file of the page.

        ``is_run`` says whether ``run`` is a folder, not data. Raises `UsageError` as
        `Parser.parse`, or if ``run`` or ``output`` cannot be used.
        """
        flags = super().parse(argv)
        if len(flags.run) != 1:
            what = "runs or data sets" if self.data else "run folders"
            raise UsageError(f"{len(flags.run)} {what} given; expected one; see --help")
        [flags.run] = flags.run
        # Folders of data are Zarr arrays and those of IDX files.
        is_data = flags.run.suffix.lower() == ".zarr" or any(flags.run.glob("*-ubyte*"))
        flags.is_run = not (self.data and (is_data or not flags.run.is_dir()))
        flags.output = flags.output or (flags.run if flags.is_run else Path()) / self.page
        if flags.output.suffix.lower() not in (".html", ".htm") or flags.output.is_dir():
            raise UsageError(
                f"output {flags.output}: expected the name of a file that ends in .html"
            )
        return flags


def flag_of(kind: Kind, text: str, metavar: str = "TEXT") -> dict[str, Any]:
    """Return the arguments for argparse of an option of some kind, with its help."""
    if kind.type is bool:
        return {"help": text, "action": argparse.BooleanOptionalAction}
    flag: dict[str, Any] = {"help": text, "type": kind.type, "choices": kind.choices}
    if kind.choices is None:
        flag["metavar"] = {int: "N", float: "X"}.get(kind.type, metavar)
    return flag | ({"nargs": "+"} if kind.many else {})


def run_command(
    work: Callable[[], int],
    *,
    interrupted: str = "interrupted",
    memory: str = "close other programs",
    say: Callable[[str], None] | None = None,
    sigterm: bool = True,
) -> int:
    """Run a command, report an error in one line, and return the exit code.

    ``work`` parses the arguments, runs the command, and returns the exit code. ``interrupted`` is
    the line to print after Ctrl-C or SIGTERM, and ``memory`` the remedy to name if memory runs out.
    ``say`` prints the line; it is `complain` by default. With ``sigterm``, SIGTERM ends the command
    in good order, as Ctrl-C does.

    The exit code is the result of ``work``; else the ``exit_code`` of its `DDNMFError`, 2 if memory
    ran out, 4 if a file cannot be used or standard output was closed, 130 after an interruption.
    """
    say = say or complain
    _prepare()
    try:
        with interrupt_on_sigterm() if sigterm else nullcontext():
            code = work()
            _flush()
            return code
    except DDNMFError as error:
        say(f"error: {error}")
        return error.exit_code
    except MemoryError as error:
        say(f"error: not enough memory: {error}; {memory}")
        return UsageError.exit_code
    except BrokenPipeError:  # the reader of standard output has left and expects no message
        drop(sys.stdout)
        return OutputError.exit_code
    except OSError as error:
        say(f"error: {error}; make room or check the path")
        return OutputError.exit_code
    except KeyboardInterrupt:
        say(interrupted)
        return INTERRUPTED


def _prepare() -> None:
    """Keep surroundings that we do not need from ending a command."""
    for stream in (sys.stdout, sys.stderr):
        # A path may have letters that the stream's encoding has not.
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError, ValueError):  # a stream that cannot even be flushed
                stream.reconfigure(errors="backslashreplace")
    # matplotlib cannot be imported if this names a backend that is not installed, such as that of
    # the notebook from which the command was started. We draw without one.
    backend = os.environ.get("MPLBACKEND")
    if backend and "matplotlib" not in sys.modules:
        del os.environ["MPLBACKEND"]
        with suppress(ImportError, ValueError):
            import_module("matplotlib").rcParams["backend"] = backend
            os.environ["MPLBACKEND"] = backend


def tell(text: str, stream: TextIO | None) -> None:
    """Print a line of progress at once, so that a log shows it in time.

    The work is worth more than its log. If the stream is closed or full, or its reader has left,
    the text is lost, and the command goes on without the stream, which is None if it was closed
    before Python began.
    """
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # ValueError: closed by Python
        drop(stream)


def say(text: str) -> None:
    """Print progress on standard error."""
    tell(text, sys.stderr)


def drop(stream: TextIO) -> None:
    """Forget a standard stream that cannot be written, or Python would fail again when it exits."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is stream:
            setattr(sys, name, None)


def complain(text: str) -> None:
    """Print on standard error, without characters that a terminal could take for a command."""
    tell(printable(text, keep="\n\t"), sys.stderr)


def _flush() -> None:
    """Flush standard output now, because at exit Python could only print an exception."""
    if sys.stdout is None:  # closed before the process began, or lost since
        return
    try:
        sys.stdout.flush()
    except OSError:
        drop(sys.stdout)
        raise
