"""Files of arrays with a description in JSON: an .npz archive with one part more."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.system import json_text
from ddnmf_np.system.archives import NpzArchive
from ddnmf_np.system.files import Source, atomic_write

PART = "meta"
"""Name of the part that holds the description."""


def write_described(
    path: str | os.PathLike[str], meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays and their description, whole or not at all.

    Raises `OutputError` if the file cannot be written; what was there is untouched.
    """
    text = np.frombuffer(json.dumps(meta).encode("utf-8"), dtype=np.uint8)
    with atomic_write(path) as stream:
        np.savez(stream, **{PART: text, **arrays})  # type: ignore[arg-type]


def read_described(source: Source) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the description of a file, and its arrays by name.

    Raises `OSError` or `ValueError` if the file cannot be read, is damaged (each part has a
    checksum), or has no description.
    """
    with NpzArchive(source) as archive:
        arrays = {key: archive.read(key) for key in archive.keys}
    if PART not in arrays:
        raise ValueError(f"it has no part {PART!r}")
    # A run that diverges writes NaN among its losses.
    meta = json_text.parse(arrays.pop(PART).tobytes(), finite=False)
    if not isinstance(meta, dict):
        raise ValueError(f"its part {PART!r} is no table")
    return meta, arrays
