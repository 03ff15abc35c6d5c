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
            f"<tr><th>{name}</th>{_cell(entry['value'])}{_cell(entry['difference'], True)}</tr>"
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
    cells[0] += f"<small>{layer['name'].removeprefix('Dense ').replace('>', '&gt;')}</small></th>"
    for name in COLUMNS:
        entry = layer.get(name)
        cells += [_cell(entry and entry["norm"]), _cell(entry and entry["difference"], True)]
        if name == "g":
            parts = layer["g"]["parts"]
            cells += [_cell(parts.get(part)) for part in ("from above", *LOSSES)]
    for block in "Wb":
        entry = layer.get(f"update {block}")
        cells += [_cell(entry and entry["norm"]), _cell(entry and entry["difference"], True)]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: float | None, difference: bool = False) -> str:
    kind = ' class="difference"' if difference else ""
    return f"<td{kind}>{'' if value is None else _number(value)}</td>"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
