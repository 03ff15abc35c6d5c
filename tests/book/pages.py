"""What a built page points at, and what it would load."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
"""Attributes whose address a browser fetches without being asked."""

HARMLESS = {"canonical", "index", "search", "next", "prev", "author", "copyright", "edit"}
"""Relations of a ``link`` element that name a page and load nothing."""


@dataclass
class Page(HTMLParser):
    """A page of HTML, read.

    Attributes
    ----------
    ids : set of str
        Anchors.
    links : list of str
        Addresses that a reader can follow.
    loaded : list of str
        Addresses that are fetched as the page opens.
    formulas : list of str
        The text of each ``math`` element.
    """

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._in_math = False
        self.feed(self.path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"])
        if tag == "a" and values.get("name"):
            self.ids.add(values["name"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        relations = set((values.get("rel") or "").split())
        for name, value in attrs:
            if (tag, name) in LOADED and value and not relations & HARMLESS:
                self.loaded.append(value)
        if tag == "math":
            self._in_math = True
            self.formulas.append("")

    def handle_endtag(self, tag):
        if tag == "math":
            self._in_math = False

    def handle_data(self, data):
        if self._in_math:
            self.formulas[-1] += data.strip()


def read_all(folder):
    """Return every page below a folder, by its path."""
    return {path: Page(path) for path in sorted(Path(folder).rglob("*.html"))}


def broken_links(pages):
    """Return ``(page, address, what is wrong)`` for each link inside that leads nowhere."""
    broken = []
    for path, page in pages.items():
        for address in (*page.links, *page.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].ids if target in pages and parts.fragment else None
            if not target.is_file():
                broken.append((path, address, "there is no such file"))
            elif anchors is not None and unquote(parts.fragment) not in anchors:
                broken.append((path, address, "there is no such anchor"))
    return broken


def fetched_from_afar(pages):
    """Return ``(page, address)`` for everything that a page would fetch from the network."""
    return [
        (path, address)
        for path, page in pages.items()
        for address in page.loaded
        if urlsplit(address).scheme in ("http", "https") or urlsplit(address).netloc
    ]
