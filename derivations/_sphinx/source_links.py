"""The book includes the source: names and files in backquotes lead to it.

On a code host `` `ddnmf_np.engine.layers.Dense.forward` `` and `` `ddnmf_np/engine/literal.py` ``
are plain text, and a link to a file opens it there. In the book, where no such host is at hand, the
first leads to its entry in the API reference, a file to a page that shows it with its lines
numbered, and an entry of the reference to its line. The name of the playground leads to it.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from playground_page import PAGE as PLAYGROUND
from sphinx import addnodes
from sphinx.application import Sphinx

FOLDERS = ("ddnmf_np", "tests")
RESULTS = "notebooks/results"

TYPE = "type-of-parameter"
"""Class of the words that may be a type of this package."""

FILE = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w/]+\.py")
DOCUMENT = re.compile(r"(?:derivations/)?[\w-]+\.md")
NAME = re.compile(r"\w+(?:\.\w+)+")


def page_of(path: str) -> str:
    """Return the name of the page that shows a file."""
    return f"source/{path}"


@cache
def lines_of(path: Path) -> dict[str, int]:
    """Return the line on which each class, function and constant of a file begins."""
    found: dict[str, int] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found.setdefault(prefix + name, node.lineno)
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    found.setdefault(prefix + name, node.lineno)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")

    walk(ast.parse(path.read_text("utf-8")).body, "")
    return found


def file_of(root: Path, module: str) -> str | None:
    """Return the file of a module, relative to the root."""
    for end in (".py", "/__init__.py"):
        file = module.replace(".", "/") + end
        if (root / file).is_file():
            return file
    return None


class Linker:
    """Makes the links of one page.

    Parameters
    ----------
    app : Sphinx
        The running build.
    page : str
        The document whose links they are.
    """

    def __init__(self, app: Sphinx, page: str) -> None:
        self.builder, self.page, self.root = app.builder, page, Path(app.srcdir)
        self.documents = app.env.found_docs
        self.objects = app.env.domains["py"].data["objects"]

    def to_file(self, path: str, line: int | None = None) -> str | None:
        """Return the address of a file's page, or of a line in it."""
        if not FILE.fullmatch(path) or not (self.root / path).is_file():
            return None
        uri = self.builder.get_relative_uri(self.page, page_of(path))
        return uri if line is None else f"{uri}#L-{line}"

    def to_document(self, path: str) -> str | None:
        """Return the address of a derivation."""
        name = path.removesuffix(".md")
        if not DOCUMENT.fullmatch(path) or name not in self.documents:
            return None
        return self.builder.get_relative_uri(self.page, name)

    def to_playground(self, text: str) -> str | None:
        """Return the address of the playground, which is not a document."""
        if text != PLAYGROUND:
            return None
        return self.builder.get_relative_uri(self.page, text.removesuffix(".html"))

    def to_name(self, name: str) -> str | None:
        """Return the address of a name's entry in the reference."""
        for full in (name, f"ddnmf_np.{name}"):
            if NAME.fullmatch(name) and full in self.objects:
                entry = self.objects[full]
                uri = self.builder.get_relative_uri(self.page, entry.docname)
                return f"{uri}#{entry.node_id}"
        return None

    def to_class(self, name: str) -> str | None:
        """Return the address of the one class of this name, if there is just one."""
        ours = [
            full
            for full, entry in self.objects.items()
            if entry.objtype in ("class", "exception") and full.rpartition(".")[2] == name
        ]
        return self.to_name(ours[0]) if len(ours) == 1 else None

    def to_source_of(self, module: str, name: str) -> str | None:
        """Return the address of the line on which an object begins."""
        file = file_of(self.root, module)
        line = lines_of(self.root / file).get(name) if file else None
        return self.to_file(file, line) if file and line else None


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the links into a page."""
    if app.builder.format != "html":
        return
    linker = Linker(app, docname)
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext()
        if isinstance(literal.parent, (nodes.reference, nodes.title, addnodes.pending_xref)):
            continue
        ways = (linker.to_file, linker.to_document, linker.to_name, linker.to_playground)
        uri = next(filter(None, (way(text) for way in ways)), None)
        if uri:
            literal.replace_self(_reference(uri, literal.deepcopy()))
    for word in list(doctree.findall(nodes.emphasis)):
        uri = linker.to_class(word.astext()) if TYPE in word["classes"] else None
        if uri:
            word.replace_self(_reference(uri, word.deepcopy()))
    for download in list(doctree.findall(addnodes.download_reference)):
        path = Path(app.env.relfn2path(download["reftarget"], docname)[0]).as_posix()
        uri = linker.to_file(path)
        if uri:
            download.replace_self(_reference(uri, *download.children))
    for signature in doctree.findall(addnodes.desc_signature):
        module, name = signature.get("module"), signature.get("fullname")
        uri = linker.to_source_of(module, name) if module and name else None
        if uri:
            mark = nodes.inline("", "[source]", classes=["viewcode-link"])
            reference = _reference(uri, mark)
            reference["classes"] = ["internal"]
            signature += reference


def _reference(uri: str, *children: nodes.Node) -> nodes.reference:
    return nodes.reference("", "", *children, refuri=uri, internal=True)


def redirect(app: Sphinx, doctree: nodes.document) -> None:
    """Prepare links that Sphinx would not resolve, or resolve wrongly.

    The folder of results and its texts are shown on a page of the book. The types of parameters are
    prose, of which Sphinx makes a reference word by word, to whatever has the same last name: the n
    of "(n, D) array" to an attribute of some class.
    """
    docname = app.env.docname
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and node.get("refspecific"):
            node.replace_self(nodes.emphasis("", node.astext(), classes=[TYPE]))
    for node in doctree.findall(
        lambda n: isinstance(n, (addnodes.pending_xref, addnodes.download_reference))
    ):
        if node.get("reftype") != "myst" or "#" in node["reftarget"]:
            continue
        path = Path(node["reftarget"])
        if node.get("refdomain") != "doc":  # else the target is a name from the root
            path = Path(app.env.relfn2path(node["reftarget"], docname)[0])
        if path.is_relative_to(RESULTS) and path.suffix in ("", ".md"):
            target = addnodes.pending_xref(
                "",
                *node.children,
                refdomain="doc",
                reftarget="derivations/results",
                reftargetid=None,
                reftype="myst",
                refexplicit=True,
                refdoc=docname,
            )
            node.replace_self(target)


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Show each file of the package and of its tests on a page."""
    root = Path(app.srcdir)
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        code = app.builder.highlighter.highlight_block(
            path.read_text("utf-8"), "python", linenos="inline", lineanchors="L"
        )
        body = f'<section class="source-page"><h1>{name}</h1>{code}</section>'
        yield page_of(name), {"title": name, "body": body, "parents": []}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("doctree-resolved", link)
    app.connect("doctree-read", redirect)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
