"""Untrusted JSON, as plain values or a `ValueError` with the reason."""

from __future__ import annotations

import json
import math
from typing import Any

from ddnmf_np.system.files import Source, read_source

MAX_BYTES = 64 * 2**20
"""Largest JSON text that we read; its Python values take about ten times the memory."""


def read(source: Source, *, finite: bool = True) -> Any:
    """Return the value in a JSON file (or its content); raises `OSError`, or as `parse`."""
    return parse(read_source(source, MAX_BYTES), finite=finite)


def parse(text: str | bytes, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Bytes must be UTF-8. With ``finite`` we refuse NaN and infinities, which are not JSON although
    Python reads them, and numbers that are too large for a float. Raises `ValueError` if the text
    is not JSON, is longer than `MAX_BYTES`, is nested too deeply, or has an integer of too many
    digits.
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
