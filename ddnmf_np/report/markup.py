"""HTML as text in which everything is escaped that does not say that it is HTML already."""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is HTML: `escape` leaves it as it is."""


def escape(text: str) -> Html:
    """Return text as HTML."""
    return text if isinstance(text, Html) else Html(html.escape(text))


def join(parts: Iterable[str], between: str = "\n") -> Html:
    """Return parts, each escaped, one after the other."""
    return Html(between.join(escape(part) for part in parts))


def element(tag: str, *parts: str, **attributes: str) -> Html:
    """Return an element; an underscore at the end of an attribute's name is left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{given}>{join(parts, '')}</{tag}>")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = ""
) -> Html:
    """Return a table; the first cell of a row is its heading.

    It stands in a box that can be scrolled sideways, by keyboard too, where it is too wide.
    """
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    body = join(
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell) for cell in row[1:]),
        )
        for row in rows
    )
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", body),
    )
    box = {"class_": f"scroll {kind}".strip(), "tabindex": "0", "role": "region"}
    return element("div", whole, **box, aria_label=caption)


def bar(share: float) -> Html:
    """Return a bar as long as a share of the largest; the number beside it says the same."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return Html(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width}" height="10"/></svg>'
    )


def picture(png: bytes, alt: str, caption: str) -> Html:
    """Return a figure with the picture inside."""
    width, height = struct.unpack(">II", png[16:24])
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    image = f'<img src="{source}" width="{width}" height="{height}" alt="{html.escape(alt)}">'
    return element("figure", Html(image), element("figcaption", caption))


def number(value: object, digits: int = 4) -> str:
    """Return a number in so many digits; other values as they are, None as "not recorded"."""
    if value is None:
        return "not recorded"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def duration(seconds: object) -> str:
    """Return a time in words."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return number(seconds)
    if not 0.0 <= seconds < 1e9:
        return f"{seconds} s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(n_bytes: int) -> str:
    """Return a number of bytes in words."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} bytes"
