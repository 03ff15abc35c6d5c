"""Figure of the model, drawn from its widths: ``python -m ddnmf_np.teaching.diagram FILE.svg``.

The supervisor is above and the student below, with appositive layers one above the other. The
height of a layer grows with the square root of its width. The file needs no script and no font, and
follows the reader's light or dark colours.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ddnmf_np.engine.losses import appositive
from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.model import Architecture
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.system.files import atomic_write_text, make_folder

LOSSES = {
    "sym": "symmetric loss, between the clean input and the supervisor's output",
    "ap": "apposition loss, between each layer of the supervisor and its partner in the student",
    "nc": "non-negative constraint loss, between the code and the recovered code",
}
"""Losses that the figure shows: terms of equation 7."""

COLUMN, MARGIN = 96, 64
"""Distance of two layers, and what is left and right of them."""

TALL, THICK = 150, 16
"""Height of the widest layer, and thickness of every layer."""

SUPERVISOR_Y, STUDENT_Y = 170, 412
"""Heights of the two networks' middles."""

HEIGHT = 656

STYLE = """\
text { font: 22px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
text { fill: #16181d; text-anchor: middle; }
.symbol { font: italic 27px "STIX Two Text", "Times New Roman", Times, serif; }
.index { font-size: 19px; }
.name { font-weight: 600; text-anchor: start; }
.soft { fill: #565d6b; }
.ground { fill: #ffffff; }
.line { fill: none; stroke-width: 2.5; }
.dots { stroke-width: 4; stroke-linecap: round; stroke-dasharray: 0.1 9; }
.weights { opacity: 0.2; }
.dim { opacity: 0.22; }
.supervisor { fill: #0072b2; }
.student { fill: #d55e00; }
text.student { fill: #b04c00; }
.sym { stroke: #0072b2; }
.ap { stroke: #009e73; }
.nc { stroke: #cc79a7; }
text.sym { fill: #0068a3; stroke: none; }
text.ap { fill: #00755a; stroke: none; }
text.nc { fill: #a6447c; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #eef0f4; }
  .soft { fill: #aab1bf; }
  .ground { fill: #14161b; }
  .weights { opacity: 0.26; }
  .dim { opacity: 0.3; }
  .supervisor, text.supervisor, text.sym { fill: #58b0ec; }
  .student, text.student { fill: #ff8a3d; }
  .sym { stroke: #58b0ec; }
  .ap { stroke: #2fc79a; }
  .nc { stroke: #e59ac3; }
  text.ap { fill: #2fc79a; }
  text.nc { fill: #e59ac3; }
}
"""


def draw(features: int, architecture: Architecture, lit: Sequence[str] = ()) -> str:
    """Return the figure as SVG; ``features`` is the width of the input, D.

    ``lit`` names the losses of `LOSSES` to show; the others are faint. If it is empty, we show all.
    Raises `UsageError` if a name is unknown.
    """
    for name in lit:
        if name not in LOSSES:
            raise UsageError(unknown("loss", name, list(LOSSES)))
    encoder, rank, code = (
        [features, *architecture.widths],
        architecture.rank,
        len(architecture.widths),
    )
    above = [*encoder, *encoder[-2::-1]]  # widths of supervisor layers 0 to L
    below = [*encoder, rank, *encoder[::-1]]  # of student layers 0 to L + 2
    depth, widest = 2 * code, max(below)

    def half(width: int) -> float:
        return max(TALL / 2 * math.sqrt(width / widest), 2)

    def x_of(column: int) -> int:
        return MARGIN + COLUMN * column

    # A supervisor layer is above its partner, so there is a gap in which the NMF module fits.
    columns = [0, *(appositive(layer, depth) for layer in range(1, depth + 1))]
    last, middle = x_of(depth + 2), (x_of(code) + x_of(code + 2)) // 2
    right = last + MARGIN
    body: list[str] = []

    def network(kind: str, y: int, widths: Sequence[int], places: Sequence[int]) -> None:
        """Draw layers as bars, and the weights between two layers as an area."""
        ends = [(x_of(place), half(width)) for place, width in zip(places, widths, strict=True)]
        for (x, a), (to, b) in pairwise(ends):
            corners = f"{x},{y - a:.0f} {to},{y - b:.0f} {to},{y + b:.0f} {x},{y + a:.0f}"
            body.append(f'<polygon class="weights {kind}" points="{corners}"/>')
        for x, a in ends:
            body.append(
                f'<rect class="{kind}" x="{x - THICK // 2}" y="{y - a:.0f}" '
                f'width="{THICK}" height="{2 * a:.0f}" rx="2"/>'
            )

    def text(x: float, y: float, words: str, kind: str) -> None:
        body.append(f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{words}</text>')

    def loss(name: str, x: float, y: float, *paths: str, dotted: bool = False) -> None:
        """Draw the lines of a loss, with its name at a place."""
        faint = ' class="dim"' if lit and name not in lit else ""
        body.append(f"<g{faint}>")
        kind = f"line dots {name}" if dotted else f"line {name}"
        body.extend(f'<path class="{kind}" d="{path}"/>' for path in paths)
        label = f'L<tspan class="index" dy="6">{name}</tspan>'
        text(x, y, label, f"symbol {name}")
        body.append("</g>")

    network("supervisor", SUPERVISOR_Y, above, columns)
    network("student", STUDENT_Y, below, range(depth + 3))

    text(MARGIN - 44, 36, "supervisor: sees the clean sample", "name supervisor")
    text(MARGIN - 44, HEIGHT - 18, "student: sees the noisy sample", "name student")
    for y, into, out in ((SUPERVISOR_Y, "x", "y"), (STUDENT_Y, "x\u0303", "y\u0303")):
        text(MARGIN - 34, y + 8, into, "symbol")
        text(last + 34, y + 8, out, "symbol")

    # L_sym: a bracket over the supervisor, from its input to its output.
    top, feet = 66, SUPERVISOR_Y - half(features) - 8
    gap = (middle - 36, middle + 36)
    loss(
        "sym",
        middle,
        top + 8,
        f"M{MARGIN} {feet:.0f}V{top}H{gap[0]}",
        f"M{gap[1]} {top}H{last}V{feet:.0f}",
    )

    # L_ap: a dotted line between the layers of each pair.
    pairs = [
        f"M{x_of(place)} {SUPERVISOR_Y + half(width) + 8:.0f}V{STUDENT_Y - half(width) - 8:.0f}"
        for place, width in zip(columns[1:], above[1:], strict=True)
    ]
    loss("ap", x_of(0) + COLUMN / 2, (SUPERVISOR_Y + STUDENT_Y) / 2 + 6, *pairs, dotted=True)

    # Below the student: symbols, widths, and the brace of L_nc from the code to the recovered code.
    foot = STUDENT_Y + TALL / 2
    for place, symbol in ((code, "X"), (code + 1, "H"), (code + 2, "X\u0302")):
        text(x_of(place), foot + 30, symbol, "symbol")
    for place, width in enumerate(below):
        x = x_of(place)
        text(x, foot + 58, str(width), "soft")
    text(x_of(code + 1), STUDENT_Y - max(half(rank), half(encoder[-1]) / 2) - 10, "sigmoid", "soft")
    text(x_of(code + 2), STUDENT_Y - half(encoder[-1]) - 10, "ReLU", "soft")
    text(x_of(code + 1), STUDENT_Y - TALL / 2 - 38, "NMF module", "")
    text(x_of(code) / 2 + MARGIN / 2, foot + 98, "encoder", "")
    text((x_of(code + 3) + last) / 2, foot + 98, "decoder", "")
    start, end, bend = x_of(code), x_of(code + 2), 9
    brace = (
        f"M{start} {foot + 68:.0f}q0 {bend} {bend} {bend}H{middle - bend}q{bend} 0 {bend} {bend}"
        f"q0 -{bend} {bend} -{bend}H{end - bend}q{bend} 0 {bend} -{bend}"
    )
    loss("nc", middle, foot + 112, brace)

    shown = [what for name, what in LOSSES.items() if not lit or name in lit]
    description = (
        f"Supervisor: layers of {', '.join(map(str, above))} units. "
        f"Student: layers of {', '.join(map(str, below))} units; the {rank} are H, the base of the "
        f"NMF module. Losses: {'; '.join(shown)}."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {HEIGHT}" '
        f'width="{right}" height="{HEIGHT}" role="img" aria-labelledby="title description">\n'
        '<title id="title">The two networks and the three losses</title>\n'
        f'<desc id="description">{description}</desc>\n'
        f"<style>\n{STYLE}</style>\n"
        f'<rect class="ground" width="{right}" height="{HEIGHT}" rx="10"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def make_parser() -> Parser:
    """Return the parser."""
    usual = Architecture()
    parser = Parser(
        "ddnmf_np.teaching.diagram",
        "Draw the model's two networks and three losses as SVG.",
    )
    parser.add_argument("file", type=Path, help="where the figure goes")
    parser.add_argument("--features", type=int, default=784, metavar="N", help="width of the input")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=usual.widths, metavar="N", help="encoder's widths"
    )
    parser.add_argument("--rank", type=int, default=usual.rank, metavar="N", help="base units H")
    parser.add_argument(
        "--lit",
        nargs="+",
        default=(),
        choices=list(LOSSES),
        help="losses to show; others are faint",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the figure that the command line describes; return the exit code."""
    return run_command(lambda: _draw(argv))


def _draw(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    if flags.features < 1:
        raise UsageError(f"features is {flags.features}; give 1 or more")
    architecture = Architecture(widths=tuple(flags.widths), rank=flags.rank)
    make_folder(flags.file.parent)
    atomic_write_text(flags.file, draw(flags.features, architecture, flags.lit))
    print(f"written: {flags.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
