r"""Formulas as MathML, made while the book is built.

Why so. MathML is drawn by the browser itself (all of the large ones, since 2023), so a page needs
no script and no network, and its formulas can be selected, searched and read
aloud. Bundled MathJax would draw finer spacing, but costs two megabytes, a script on every page
and a copy of foreign code to keep up to date. Of the converters in Python, the one in Docutils
comes with Sphinx, so that it is not even a dependency; and it *refuses* what it does not know,
which stops a build with ``-W``. (latex2mathml 3.81, a package of its own, passes such a command on
as text without a word. On the formulas of the derivations it printed ``\arg\min`` as it stands,
lost the letters of ``\mathbf``, ``\mathbb`` and ``\mathcal``, and merged ``'''``.) What Docutils
gets wrong or lacks is mended here, piece by piece with a test. Every formula of the derivations was
looked at, and `tests/book` finds each one in its page. The font is STIX Two Math (book.css): a
browser draws large signs as well as the font that it finds.
"""

import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

SYNONYMS = {r"\dots": r"\ldots", r"\lt": "<", r"\gt": ">", r"\big": "", r"\Big": ""}
"""Commands that Docutils does not know, and what they mean. (A big bar becomes a common one.)"""

ARGUMENT = [
    r"[\^_]\s*",
    r"\\sqrt\s*",
    r"\\[dt]?frac\s*",
    r"\\[dt]?frac\s*(?:\{[^{}]*\}|[a-zA-Z])\s*",
]
"""What is followed by an argument, which in TeX is one digit where there are no braces."""

CLOSE = {"|": "|", "/": "/", "'": "\N{PRIME}"}
"""Signs that TeX sets without space, and browsers as operators; and how to print them."""

FENCES = set("|‖⟨⟩⌊⌋⌈⌉")
"""Signs that browsers stretch to the height of what stands beside them; TeX does so on demand."""

BRACES = {"\N{BOTTOM CURLY BRACKET}", "\N{TOP CURLY BRACKET}"}

APPLY = "\N{FUNCTION APPLICATION}"
THIN = "0.167em"

PUNCTUATED = re.compile(r'<math(?: xmlns="[^"]*")?>(?:(?!</math>).)*</math>[.,;:?!)]+', re.DOTALL)
"""A formula in a line, and the punctuation that follows it."""

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)


def to_mathml(tex: str, *, block: bool = False) -> str:
    r"""Convert a formula.

    Parameters
    ----------
    tex : str
        LaTeX, without dollar signs.
    block : bool
        Whether it stands on a line of its own.

    Returns
    -------
    str
        A ``math`` element.

    Raises
    ------
    MathError
        If a command is unknown, or braces do not match.
    """
    for command, meaning in SYNONYMS.items():
        tex = re.sub(re.escape(command) + r"(?![a-zA-Z])", lambda _, m=meaning: m, tex)
    for before in ARGUMENT:  # Docutils takes all digits of \frac12 for one argument
        tex = re.sub(rf"({before})(\d)(?=\d)", r"\1{\2}", tex)
    tree = ElementTree.fromstring(tex2mathml(tex, as_block=block).replace("&ApplyFunction;", APPLY))
    for parent in list(tree.iter()):
        for place, child in enumerate(parent):
            parent[place] = _label_of_brace(_script_beside_accent(child))
    for parent in tree.iter():
        _space_functions(parent)
        _space_limits(parent)
        for place, child in enumerate(parent):
            if child.tag == _tag("mo") and not _grows(parent, place):
                child.text = CLOSE.get(child.text or "", child.text)
                child.attrib.update(lspace="0", rspace="0", stretchy="false")
    return ElementTree.tostring(tree, encoding="unicode")


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _script_beside_accent(node: ElementTree.Element) -> ElementTree.Element:
    r"""Return a letter with accent and index, the index beside it.

    Docutils puts the i of ``\tilde x_i`` below the letter, as it does that of a sum.
    """
    above = node if node.tag != _tag("msup") else node[0]
    if above.tag != _tag("munderover") or above[2].get("stretchy") != "false":
        return node
    letter, index, accent = above
    both = ElementTree.Element(_tag("mover"), accent="true")
    both.extend((letter, accent))
    beside = ElementTree.Element(_tag("msub" if above is node else "msubsup"))
    beside.extend((both, index) if above is node else (both, index, node[1]))
    return beside


def _label_of_brace(node: ElementTree.Element) -> ElementTree.Element:
    """Return a brace below or above a term, its label centred there instead of beside it."""
    tag = {_tag("msub"): "munder", _tag("msup"): "mover"}.get(node.tag)
    if tag and node[0].tag == _tag(tag) and node[0][1].text in BRACES:
        node.tag = _tag(tag)
    return node


def _space_limits(row: ElementTree.Element) -> None:
    r"""Set the space of ``\max`` and its like, which are operators to Docutils, as TeX does."""
    for place, node in enumerate(row):
        name = node[0] if node.tag == _tag("munder") else node
        if name.tag == _tag("mo") and (name.text or "").isalpha() and len(name.text or "") > 1:
            before, after = row[place - 1 : place], row[place + 1 : place + 2]
            beside_sign = not before or before[0].tag == _tag("mo")
            opened = bool(after) and after[0].text in ("(", "[")
            name.set("lspace", "0" if beside_sign else THIN)
            name.set("rspace", "0" if opened else THIN)


def _grows(parent: ElementTree.Element, place: int) -> bool:
    r"""Whether an operator is to be left as it is: no bar or fence, or one made to grow.

    ``\left`` and ``\right`` leave a row with unmarked fences at its ends, ``\lVert`` one that is
    marked as opening, and ``\bigl`` one with a size.
    """
    sign = parent[place]
    if sign.text == "'":
        return False
    if sign.text not in FENCES | set(CLOSE) or sign.get("minsize"):
        return True
    at_an_end = parent.tag == _tag("mrow") and place in (0, len(parent) - 1)
    unmarked = not sign.attrib and parent[0].get("class") != "mathopen"
    return at_an_end and unmarked


def _space_functions(row: ElementTree.Element) -> None:
    """Set a thin space between the name of a function and an argument without parentheses."""
    for place in range(len(row) - 2, -1, -1):
        name = row[place][0] if row[place].tag == _tag("msup") else row[place]
        if name.tag != _tag("mi") or len(name.text or "") < 2:
            continue
        if row[place + 1].tag != _tag("mo") and row.tag in (_tag("math"), _tag("mrow")):
            row.insert(place + 1, ElementTree.Element(_tag("mo")))
            row[place + 1].text = APPLY
        if row[place + 1].text == APPLY and row[place + 2].tag != _tag("mo"):
            row[place + 1].set("rspace", THIN)


def _converted(node: nodes.Element, *, block: bool) -> str:
    try:
        return to_mathml(node.astext(), block=block)
    except MathError as error:
        logger.warning("%s: %s", node.astext(), error, location=node, type="mathml")
        return str(nodes.literal(text=node.astext()))


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(_converted(node, block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(_converted(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def keep_punctuation(body: str) -> str:
    """Keep a sign of punctuation on the line of the formula before it."""
    return PUNCTUATED.sub(r'<span class="formula">\g<0></span>', body)


def _keep(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = keep_punctuation(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.connect("html-page-context", _keep)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
