"""One HTML file that holds everything it needs and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template

from ddnmf_np.explore.content import Content

SCRIPTS = ("network.js", "pictures.js", "map.js", "explorer.js")
"""In the order in which they are read."""


def asset(name: str) -> str:
    """Return the text of a file in ``assets``."""
    return resources.files("ddnmf_np.explore").joinpath("assets", name).read_text("utf-8")


def render(content: Content) -> str:
    """Return the page.

    Names from outside are escaped where they stand in HTML, and cannot end the element where they
    stand in JSON; the scripts put text into the page as text alone. What is still run is only what
    is written in ``assets``: the page's policy names the hash of its script and of its style, and
    allows no request at all.

    Parameters
    ----------
    content : Content
        What the page shows.

    Returns
    -------
    str
        HTML, in UTF-8 when written.
    """
    style, script = asset("style.css"), "\n".join(asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # In a script element only "<" could end it or begin a comment.
    head = json.dumps(content.head, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    blocks = "\n".join(
        f'<script type="text/plain" id="block-{html.escape(name)}">{text}</script>'
        for name, text in content.blocks.items()
    )
    return Template(asset("page.html")).substitute(
        title=html.escape(content.title),
        policy=policy,
        style=style,
        script=script,
        head=head,
        blocks=blocks,
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
