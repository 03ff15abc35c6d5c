"""Options as annotated fields of dataclasses: one line declares kind, range and help."""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from dataclasses import MISSING, field, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from ddnmf_np.errors import OptionError, shown, suggestion

T = TypeVar("T")

MAX_WIDTH = 2**24
"""Widest layer: beyond it a weight matrix would not fit any memory, nor its size an index."""


class Range(NamedTuple):
    """Numbers that an option accepts.

    ``least`` and ``most`` belong to the range; ``above`` and ``below`` do not.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, (int, float))
            and math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.below is not None:
            return f"in [{self.least:g}, {self.below:g})"
        if self.above is not None:
            return f"> {self.above:g}"
        return f">= {self.least}" if self.most is None else f"from {self.least} to {self.most}"


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}

COUNT = Range(least=1)
WEIGHT = Range(least=0)
POSITIVE = Range(above=0)
FRACTION = Range(least=0, below=1)


def option(
    default: Any, text: str, numbers: Range | None = None, *, resumable: bool = False
) -> Any:
    """Declare an option of a dataclass whose ``__post_init__`` calls `check_options`.

    ``text`` is the help of its flag. We accept the given numbers, by default all finite ones. A
    resumed run may change what is ``resumable``.
    """
    metadata = {"help": text, "range": numbers or Range(), "resumable": resumable}
    return field(default=default, metadata=metadata)


class Kind(NamedTuple):
    """The kind of an option, read off its annotation."""

    type: type  # ``bool``, ``int``, ``float`` or ``str``
    many: bool  # whether the option is a tuple of such values
    choices: tuple[str, ...] | None  # the accepted texts, if only some are accepted
    optional: bool  # whether None is accepted


@cache
def kinds(part: type) -> dict[str, Kind]:
    """Return the kind of each option of a dataclass, read off its annotations."""
    hints = get_type_hints(part)
    return {f.name: _kind(hints[f.name]) for f in fields(part)}


def _kind(hint: Any) -> Kind:
    optional = NoneType in get_args(hint)
    if optional:
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    many = get_origin(hint) is tuple
    if many:
        hint = get_args(hint)[0]
    choices = get_args(hint) if get_origin(hint) is Literal else None
    return Kind(str if choices else hint, many, choices, optional)


def documented(part: type[T]) -> type[T]:
    """Add sections to the docstring of a dataclass: its options with their texts, and the error."""
    options: Any = part
    lines = [inspect.cleandoc(part.__doc__ or ""), "", "Parameters", "----------"]
    for f in fields(options):
        kind, bounds, text = kinds(options)[f.name], f.metadata["range"], f.metadata["help"]
        name = "tuple of " if kind.many else ""
        name += f"{{{', '.join(map(repr, kind.choices))}}}" if kind.choices else kind.type.__name__
        name += f", {bounds}" if bounds != Range() else ""
        name += ", optional" if kind.optional else ""
        if not text.startswith((*(kind.choices or ()), str(f.default))):  # a value stays as it is
            text = text[0].upper() + text[1:]
        lines += [f"{f.name} : {name}", f"    {text}."]
    lines += ["", "Raises", "------", "OptionError", "    If a value cannot be used."]
    part.__doc__ = "\n".join(lines)
    return part


def check_options(part: Any) -> None:
    """Check every option of a frozen dataclass, and convert it to Python's own types.

    A NumPy float64 scalar would turn float32 arithmetic into float64. Raises `OptionError`, which
    names the option, if a value is of the wrong kind or out of range.
    """
    for f in fields(part):
        value = checked(f.name, getattr(part, f.name), type(part))
        object.__setattr__(part, f.name, value)


def checked(name: str, value: Any, part: type) -> Any:
    """Return the value of an option of a dataclass in the option's own type.

    Raises `OptionError` if the value is of the wrong kind or out of range.
    """
    kind = kinds(part)[name]
    if value is None:
        if kind.optional:
            return None
        default = next(f.default for f in fields(part) if f.name == name)
        if default in (None, MISSING):
            raise OptionError(name, "is None; leave it out")
        raise OptionError(name, f"is None; leave it out to have the default {default!r}")
    accepted = next(f.metadata["range"] for f in fields(part) if f.name == name)
    if not kind.many:
        found = _converted(name, value, kind)
        if not _is_accepted(found, accepted):
            finite = "finite " if kind.type is float and accepted.below is None else ""
            number = WORDS[kind.type].replace("a ", f"a {finite}")
            raise OptionError(name, f"is {shown(value)}; expected {number} {accepted}")
        return found
    values = value.tolist() if isinstance(value, np.ndarray) else value
    values = values if isinstance(values, (list, tuple)) else [values]
    if not values:
        raise OptionError(name, f"is {shown(value)}, which is empty; give at least one")
    found = tuple(_converted(name, item, kind) for item in values)
    if not all(_is_accepted(item, accepted) for item in found):
        raise OptionError(name, f"is {shown(value)}; expected whole numbers {accepted}")
    return found


def _is_accepted(value: Any, accepted: Range) -> bool:
    return isinstance(value, (bool, str)) or value in accepted


def _converted(name: str, value: Any, kind: Kind) -> Any:
    """Return a value in the type of its option; its range is not looked at."""
    is_bool = isinstance(value, (bool, np.bool_))
    converted: Any = None
    if kind.type is bool and is_bool:
        return bool(value)
    if kind.type is str and isinstance(value, (str, Path)):
        return _checked_text(name, str(value), kind)
    # TOML has hexadecimal numbers of any length, which Python would not print.
    if kind.type is int and isinstance(value, Integral) and not is_bool:
        converted = int(value) if int(value).bit_length() <= 1024 else None
    elif kind.type is float and isinstance(value, Real) and not is_bool:
        with suppress(OverflowError):  # a whole number that no float can hold
            converted = float(value)
    if converted is None:
        raise OptionError(name, f"is {shown(value)}; expected {WORDS[kind.type]}")
    return converted


def _checked_text(name: str, value: str, kind: Kind) -> str:
    if kind.choices is not None and value not in kind.choices:
        hint = suggestion(value, kind.choices) or f"choose one of {', '.join(kind.choices)}"
        raise OptionError(name, f"is {shown(value)}; {hint}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise OptionError(
            name, f"is {shown(value)}, which is no text in UTF-8; rename the file or folder"
        )
    return value
