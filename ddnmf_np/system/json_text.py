"""JSON that anybody may have written, as plain values or a `ValueError` that says why not."""

from __future__ import annotations

import json
import math
from typing import Any

from ddnmf_np.system.files import Source, read_source

MAX_BYTES = 64 * 2**20
"""The longest JSON text that is read: Python's values take some 10 times as much."""


def read(source: Source, *, finite: bool = True) -> Any:
    """Return what a JSON file says.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its content.
    finite : bool
        As in `parse`.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is longer than `MAX_BYTES`, or as in `parse`.
    """
    return parse(read_source(source, MAX_BYTES), finite=finite)


def parse(text: str | bytes, *, finite: bool = True) -> Any:
    """Return what a JSON text says.

    Parameters
    ----------
    text : str or bytes
        Bytes must be UTF-8.
    finite : bool
        Whether to refuse NaN and infinities, which Python reads and JSON does not have, and
        numbers that no float can hold.

    Raises
    ------
    ValueError
        If the text is not JSON, longer than `MAX_BYTES`, or cannot be read: nested too deeply,
        or with a whole number of too many digits.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes, the most that are read")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        if not finite:
            return json.loads(text)
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"there is no {constant} in it")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is larger than any float")
    return value
