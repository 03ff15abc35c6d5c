"""One HTML file that holds everything it needs and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from string import Template

import ddnmf_np
from ddnmf_np.report.markup import Html, element, join
from ddnmf_np.report.results import Results, read_results
from ddnmf_np.report.sections import SECTIONS, files, name_of
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.system.files import atomic_write_text


def asset(name: str) -> str:
    """Return the text of a file in ``assets``."""
    return resources.files("ddnmf_np.report").joinpath("assets", name).read_text("utf-8")


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
        The page.

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
    """Return the page.

    Parameters
    ----------
    results : Results
        What the run has left.
    linked : bool
        Whether the page is beside the files that it names.

    Returns
    -------
    str
        HTML, in UTF-8 when written. Its policy allows its own style and pictures, and nothing else.
    """
    style = asset("style.css")
    content = {name: (title, make(results)) for name, (title, make) in SECTIONS.items()}
    content["files"] = ("Files", files(results, linked))
    shown = {name: (title, body) for name, (title, body) in content.items() if body}
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return Template(asset("page.html")).substitute(
        title=element("title", f"{name_of(results)}: report of a run"),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        heading=element("h1", f"{name_of(results)}: report of a run"),
        notes=_notes(results),
        contents=join(
            element("li", element("a", title, href=f"#{name}"))
            for name, (title, _) in shown.items()
        ),
        sections=join(_section(name, title, body) for name, (title, body) in shown.items()),
        version=element("span", f"ddnmf_np {ddnmf_np.__version__}"),
    )


def _notes(results: Results) -> Html:
    """Return what the reader has to know first."""
    if not results.notes:
        return Html("")
    return element("ul", *(element("li", note) for note in results.notes), class_="note")


def _section(name: str, title: str, body: Html) -> Html:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, body, id=name, aria_labelledby=f"{name}-title")
