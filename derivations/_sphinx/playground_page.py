"""The playground in the book, with links to the derivations and to the lines of code."""

from pathlib import Path

from sphinx.application import Sphinx

PAGE = "playground.html"


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the page beside the others."""
    if error is not None or app.builder.format != "html":
        return
    from ddnmf_np.playground.content import page  # late: only where HTML is built

    Path(app.outdir, PAGE).write_text(page(book=True), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
