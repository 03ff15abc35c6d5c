"""The HTML file, which contains everything it needs and makes no request."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import statistics
import struct
from pathlib import Path

import jinja2

import ddnmf_np
from ddnmf_np.config import DECIDED_BY, OPTIONS, by_preset, configure
from ddnmf_np.report.results import Results, read_results
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.scoring import NAMES_OF_MAPS
from ddnmf_np.system.files import atomic_write_text

PLACES = ("dataset", "data_dir", "labels")
"""Options that may be paths. The page shows only their last part, because people share pages."""


def write_report(folder: RunFolder) -> None:
    """Write ``report.html`` into the folder of a run; raise as `make_report`."""
    atomic_write_text(folder.report, make_report(folder, linked_from=folder.report))


def make_report(folder: RunFolder, *, linked_from: Path) -> str:
    """Return the report of a run, finished or not, from the files in its folder.

    It is HTML, whose policy allows only its own style and pictures. ``linked_from`` is the file
    that it will be written to. Outside the folder, the page does not link the files of the run,
    because the links would break if either moves. Raises `UsageError` if the folder contains no
    run, and `DataError` if a file of the run is damaged or of another version.
    """
    linked = linked_from.parent.resolve() == folder.path.resolve()
    return render(read_results(folder), linked=linked)


@functools.cache
def _environment() -> jinja2.Environment:
    """Return the environment of the template, which compiles it once for all reports."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ddnmf_np.report", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (number, numbers, duration, setting, statistics.median, base64_text, png_size)
    environment.filters |= {function.__name__: function for function in functions}
    return environment


def render(results: Results, *, linked: bool = True) -> str:
    """Return the page; `linked` says whether it lies in the folder of the run."""
    environment = _environment()
    config = results.config
    style = environment.loader.get_source(environment, "style.css")[0]  # type: ignore[union-attr]
    scores = results.get("evaluation", "scores")
    scores = scores if isinstance(scores, dict) else {}
    values, usual = config.to_dict(), configure(objective=config.objective.preset).to_dict()
    # What the data have decided is not the user's change.
    usual |= {name: values[name] for name in DECIDED_BY.get(config.objective.preset, ())}
    page = environment.get_template("report.html").render(
        results=results,
        get=results.get,
        name=str(results.get("dataset", "name") or Path(config.data.dataset).stem),
        scores={str(name): entry for name, entry in scores.items() if isinstance(entry, dict)},
        config=values,
        options=list(OPTIONS.values()),
        usual=usual,
        by_preset=by_preset(config),
        maps=NAMES_OF_MAPS,
        linked=linked,
        style=style,
        digest=base64_text(hashlib.sha256(style.encode("utf-8")).digest()),
        version=ddnmf_np.__version__,
    )
    return page.lstrip()  # the definitions at the head of the template leave empty lines


def base64_text(data: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(data).decode("ascii")


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG file."""
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
    """Return a number with `digits` digits, None as "not recorded", other values unchanged."""
    if value is None:
        return "not recorded"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def numbers(values: object) -> list[float]:
    """Return `values` if it is a list of finite numbers, else an empty list."""

    def is_finite(value: object) -> bool:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]

    return values if isinstance(values, list) and all(map(is_finite, values)) else []


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
