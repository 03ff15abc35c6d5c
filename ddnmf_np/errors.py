"""Errors, each kind with the exit code that the command line gives it.

Every message names the argument or file, the value that came and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or SIGTERM has ended, as shells have it."""


class DDNMFError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(DDNMFError, ValueError):
    """An option, parameter or configuration key that cannot be used as given."""

    exit_code = 2


class OptionError(UsageError):
    """An option whose value cannot be used.

    ``name`` is the option as the reader of the error knows it; ``text`` says what is wrong with its
    value, and what to do.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.name, self.text = name, text

    def __str__(self) -> str:
        return f"{self.name} {self.text}"

    def renamed(self, name: str) -> OptionError:
        """Return the error of the same option under another name."""
        return type(self)(name, self.text)


class BackendError(DDNMFError, RuntimeError):
    """A backend that was asked for cannot run here; the original cause is in the text."""

    exit_code = 3


class DataError(DDNMFError, ValueError):
    """Data that cannot be found, read, or used by this model."""

    exit_code = 4


class CheckpointError(DataError):
    """A checkpoint that is corrupt, of another version, or of another model."""


class OutputError(DataError):
    """Results that cannot be written: a full or read-only disk, a missing folder."""


class DivergedError(DDNMFError, ArithmeticError):
    """Training produced a value that is not finite."""

    exit_code = 5


def printable(text: str, keep: str = "") -> str:
    """Return a text, a file's name among it, without what a terminal could take for a command.

    Letters of ``keep`` stay as they are.
    """
    return "".join(
        letter if letter.isprintable() or letter in keep else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def shown(value: object, most: int = 200) -> str:
    """Return a value as an error may show it: not longer than that, whatever it is."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def suggestion(name: str, known: Sequence[str], cutoff: float = 0.5) -> str | None:
    """Return a question that suggests the nearest known name, or None if none is near."""
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else None


def unknown(
    what: str, name: str, known: Sequence[str], remedy: str | None = None, cutoff: float = 0.5
) -> str:
    """Return the text for an unknown name, with the nearest known one, else the remedy or all."""
    hint = suggestion(name, known, cutoff) or remedy or f"choose one of {', '.join(known)}"
    return f"{what} {shown(name)} is unknown; {hint}"
