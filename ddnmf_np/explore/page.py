"""The HTML file, which contains everything it needs and makes no request."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template

from ddnmf_np.explore.content import Content

SCRIPTS = ("network.js", "pictures.js", "map.js", "explorer.js")
"""Scripts in the order in which the page runs them."""


def asset(name: str) -> str:
    """Return the text of a file in ``assets``."""
    return resources.files("ddnmf_np.explore").joinpath("assets", name).read_text("utf-8")


def render(content: Content) -> str:
    """Return the page.

    Names from outside cannot inject code: we escape them in HTML and in JSON, and the scripts
    insert text only as text. The page's policy allows only its own script and style, by their
    hashes, and no request.

    Parameters
    ----------
    content : Content
        Content of the page.

    Returns
    -------
    str
        HTML, to be written in UTF-8.
    """
    style, script = asset("style.css"), "\n".join(asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Inside a script element, "<" could end the element or begin a comment.
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
