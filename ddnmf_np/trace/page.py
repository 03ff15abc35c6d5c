"""A record as a page with a table."""

from __future__ import annotations

from typing import Any

from ddnmf_np.explore.page import asset, compose
from ddnmf_np.trace.record import LOSSES

COLUMNS = ("h", "g", "delta", "dW", "db")


def page(record: dict[str, Any]) -> str:
    """Return a record as HTML, to be written in UTF-8."""
    return compose(
        asset("page.html", "trace"),
        asset("frame.css") + asset("style.css", "trace"),
        "",
        {},
        facts=_facts(record),
        losses="\n".join(
            f"<tr><th>{name}</th>{''.join(_pair(entry, 'value'))}</tr>"
            for name, entry in record["losses"].items()
        ),
        layers="\n".join(map(_row, record["layers"])),
    )


def _facts(record: dict[str, Any]) -> str:
    difference = _number(record["worst"]["difference"])
    return (
        f"Step {record['step']}, epoch {record['epoch']}, {record['samples']} samples, objective "
        f"{record['objective']}, {record['optimizer']} with learning rate {record['lr']:.3g}. "
        f"Largest difference from engine/literal.py: {difference} "
        f"({record['worst']['where']}). {' '.join(record['notes'])}"
    )


def _row(layer: dict[str, Any]) -> str:
    cells = [f'<th class="{layer["net"]}">{layer["net"]} {layer["layer"]}<br>']
    name = layer["name"].removeprefix("Dense ").split(" ", 1)[1]  # without the layer's number
    cells[0] += f"<small>{name.replace('->', ' &rarr; ')}</small></th>"
    for name in COLUMNS:
        cells += _pair(layer.get(name))
        if name == "g":
            parts = layer["g"]["parts"]
            cells += [
                f"<td>{_number(parts[part])}</td>" if part in parts else "<td></td>"
                for part in ("from above", *LOSSES)
            ]
    for block in "Wb":
        cells += _pair(layer.get(f"update {block}"))
    return f"<tr>{''.join(cells)}</tr>"


def _pair(entry: dict[str, Any] | None, key: str = "norm") -> list[str]:
    """Return the cells of an entry and its difference; empty ones if there is no entry."""
    number = difference = ""
    if entry is not None:
        number, difference = _number(entry[key]), _number(entry["difference"], ".1e")
    return [f"<td>{number}</td>", f'<td class="difference">{difference}</td>']


def _number(value: float | None, form: str = ".3g") -> str:
    return "not finite" if value is None else format(value, form if value else ".0f")
