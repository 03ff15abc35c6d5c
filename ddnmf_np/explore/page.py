"""The HTML file, which contains everything it needs and makes no request."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddnmf_np.explore.content import Content

SCRIPTS = ("frame.js", "network.js", "pictures.js", "board.js", "map.js", "explorer.js")
"""Scripts in the order in which the page runs them."""


def asset(name: str, command: str = "explore") -> str:
    """Return the text of a file in ``assets`` of a command that makes a page."""
    return resources.files(f"ddnmf_np.{command}").joinpath("assets", name).read_text("utf-8")


def render(content: Content) -> str:
    """Return the page as HTML. Names from outside cannot inject code: see `compose`."""
    style = asset("frame.css") + asset("style.css")
    return compose(
        asset("page.html"),
        style,
        "\n".join(asset(name) for name in SCRIPTS),
        content.head,
        title=html.escape(content.title),
        blocks=pack_blocks(content.blocks),
    )


def compose(template: str, style: str, script: str, head: Mapping[str, Any], **texts: str) -> str:
    """Return a page, as HTML in UTF-8, that contains everything it needs.

    The page's policy allows only its own script and style, by their hashes, and no request. We
    escape ``head`` in JSON; the scripts insert text only as text. The template has the placeholders
    ``$policy``, ``$style``, ``$script``, ``$head`` and those of ``texts``, which must be HTML
    already.
    """
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Inside a script element, "<" could end the element or begin a comment.
    text = json.dumps(head, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(template).substitute(
        policy=policy, style=style, script=script, head=text, **texts
    )


def pack_blocks(blocks: Mapping[str, str]) -> str:
    """Return packed arrays as elements of a page, which the script finds by their names."""
    return "\n".join(
        f'<script type="text/plain" id="block-{html.escape(name)}">{text}</script>'
        for name, text in blocks.items()
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
