"""Pages of the API reference, one for each module of the package, written when a build begins.

They go into ``derivations/api``, which git ignores: a page for a new module, none for a deleted
one, and nothing to keep up to date by hand.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PACKAGE = "ddnmf_np"


def modules(root: Path) -> dict[str, Path]:
    """Return the package's modules: dotted name and file."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(parts)] = path
    return {name: found[name] for name in sorted(found)}


def page(name: str, file: str) -> str:
    """Return the text of a module's page; the file's name becomes a link to its source."""
    return f"{name}\n{'=' * len(name)}\n\nSource: ``{file}``\n\n.. automodule:: {name}\n"


def write_pages(app: Sphinx) -> None:
    """Write the pages whose text has changed, and delete those of modules that are gone."""
    folder = Path(app.confdir) / "api"
    folder.mkdir(exist_ok=True)
    root = Path(app.srcdir)
    wanted = {
        f"{name}.rst": page(name, path.relative_to(root).as_posix())
        for name, path in modules(root).items()
    }
    for stale in folder.glob("*.rst"):
        if stale.name not in wanted:
            stale.unlink()
    for file, text in wanted.items():
        target = folder / file
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")


def skip_foreign(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Leave out the methods that scikit-learn gives to every estimator."""
    return skip or bool(re.fullmatch(r"set_\w+_request", name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for documents."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", skip_foreign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
