"""One HTML file that holds everything it needs and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import math
import statistics
import struct
from pathlib import Path

import jinja2

import ddnmf_np
from ddnmf_np.config import OPTIONS, by_preset, configure
from ddnmf_np.report.results import Results, read_results
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.scoring import NAMES_OF_MAPS
from ddnmf_np.system.files import atomic_write_text

PLACES = ("dataset", "data_dir", "labels")
"""Options that may be paths: a page is given away, and the name alone says enough."""


def write_report(folder: RunFolder) -> None:
    """Write ``report.html`` into the folder of a run; raises as `make_report`."""
    atomic_write_text(folder.report, make_report(folder, linked_from=folder.report))


def make_report(folder: RunFolder, *, linked_from: Path) -> str:
    """Return the report of a run, finished or not, from the files in its folder alone.

    Parameters
    ----------
    folder : RunFolder
        Of the run.
    linked_from : Path
        Where the page will be. If that is not the folder, its files are named but not linked: the
        links would not survive a move of either.

    Returns
    -------
    str
        The page: HTML, in UTF-8 when written. Its policy allows its own style and pictures, and
        nothing else.

    Raises
    ------
    UsageError
        If the folder holds no run.
    DataError
        If a file of the run is damaged or of another version.
    """
    linked = linked_from.parent.resolve() == folder.path.resolve()
    return render(read_results(folder), linked=linked)


def render(results: Results, *, linked: bool = True) -> str:
    """Return the page; `linked` says whether it is beside the files that it names."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ddnmf_np.report", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (number, numbers, duration, setting, statistics.median, base64_text, png_size)
    environment.filters |= {function.__name__: function for function in functions}
    config = results.config
    style = environment.loader.get_source(environment, "style.css")[0]  # type: ignore[union-attr]
    scores = results.get("evaluation", "scores")
    scores = scores if isinstance(scores, dict) else {}
    page = environment.get_template("report.html").render(
        results=results,
        get=results.get,
        name=str(results.get("dataset", "name") or Path(config.data.dataset).stem),
        scores={str(name): entry for name, entry in scores.items() if isinstance(entry, dict)},
        config=config.to_dict(),
        options=list(OPTIONS.values()),
        usual=configure(objective=config.objective.preset).to_dict(),
        by_preset=by_preset(config),
        maps=NAMES_OF_MAPS,
        linked=linked,
        style=style,
        digest=base64_text(hashlib.sha256(style.encode("utf-8")).digest()),
        version=ddnmf_np.__version__,
    )
    return page.lstrip()  # definitions at the head of the template leave empty lines


def base64_text(data: bytes) -> str:
    """Return bytes as a page can hold them."""
    return base64.b64encode(data).decode("ascii")


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height of a picture."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def setting(value: object, name: str) -> str:
    """Return the value of an option in words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return Path(str(value)).name if name in PLACES else str(value)


def number(value: object, digits: int = 4) -> str:
    """Return a number in so many digits; other values as they are, None as "not recorded"."""
    if value is None:
        return "not recorded"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def numbers(values: object) -> list[float]:
    """Return a list of finite numbers, or an empty one if it is none."""
    values = values if isinstance(values, list) else []
    good = [
        value
        for value in values
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    ]
    return good if len(good) == len(values) else []


def duration(seconds: object) -> str:
    """Return a time in words."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return number(seconds)
    if not 0.0 <= seconds < 1e9:
        return f"{seconds} s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
