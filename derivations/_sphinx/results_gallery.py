"""The directive ``results-gallery``: every recorded run and measurement, with its pictures."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FIGURES = ("losses", "reconstructions", "parts", "effects", "clusters", "embedding")
"""Pictures of a run, in the order in which they are shown."""


def of_run(run: Path, to_run: str) -> list[str]:
    """Return what is shown of a training run.

    Parameters
    ----------
    run : Path
        A folder with ``summary.json``, ``config.toml`` and perhaps pictures.
    to_run : str
        The way to it from the page.

    Returns
    -------
    list of str
        Lines of Markdown.
    """
    scores = json.loads((run / "summary.json").read_text("utf-8"))["evaluation"]["scores"]
    lines = ["| clustering of H | ACC | NMI | ARI |", "|---|---|---|---|"]
    for method, entry in scores.items():
        cells = (f"{entry[score]:.3f}" for score in ("acc", "nmi", "ari"))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", f"Record: [summary]({to_run}/summary.json), [options]({to_run}/config.toml)", ""]
    for name in FIGURES:
        if (run / f"{name}.png").exists():
            lines += [f"![{name} of {run.name}]({to_run}/{name}.png)", ""]
    return lines


def of_texts(folder: Path, to_folder: str) -> list[str]:
    """Return what is shown of a folder with texts of its own: these, and their pictures."""
    lines = []
    for text in sorted(folder.glob("*.md")):
        lines += [f"```{{include}} {to_folder}/{text.name}", ":relative-images:", "```", ""]
        if text.with_suffix(".png").exists():
            lines += [f"![{text.stem}]({to_folder}/{text.stem}.png)", ""]
    return lines


class ResultsGallery(SphinxDirective):
    """A section for each folder of ``notebooks/results`` that holds a record or a text."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        root = Path(self.env.srcdir)
        up = "../" * self.env.docname.count("/")
        sections: list[nodes.Node] = []
        folders = root.glob("notebooks/results/*/")
        for folder in sorted(folders, key=lambda f: (not (f / "summary.json").exists(), f)):
            to_folder = up + folder.relative_to(root).as_posix()
            record = folder / "summary.json"
            lines = of_run(folder, to_folder) if record.exists() else of_texts(folder, to_folder)
            if not lines:
                continue
            section = nodes.section(ids=[f"results-{folder.name}"], names=[])
            section += nodes.title(text=folder.name)
            self.state.nested_parse(StringList(lines, str(folder)), self.content_offset, section)
            sections.append(section)
        self.env.note_reread()  # a new folder is no change of the page
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("results-gallery", ResultsGallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
