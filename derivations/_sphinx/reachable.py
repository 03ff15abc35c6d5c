"""What scrolls sideways can be reached by the keyboard: code, tables and formulas.

Some browsers stop at such an element by themselves. A ``tabindex`` makes all of them do so.
"""

import re
from typing import Any

from sphinx.application import Sphinx

SCROLLS = re.compile(r'<(?=pre>|div class="(?:table-wrapper\b|math"))(\w+)')


def mark(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the attribute into the body of a page."""
    if "body" in context:
        body = SCROLLS.sub(r'<\1 tabindex="0"', context["body"])
        # MyST-NB calls each folded cell so, whatever its summary says.
        context["body"] = body.replace(' aria-label="Toggle hidden content"', "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("html-page-context", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
