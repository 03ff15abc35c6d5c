"""Figures of pages 01 to 10: ``python derivations/_static/make_figures.py`` writes ``eq*.svg``.

They show one small model, whose numbers can be followed by hand: a supervisor 2-2-2 and a student
2-2-1-2-2, with one sample, its noisy twin, and all weights of the loss 1. The values are computed
by ``ddnmf_np/engine/literal.py`` and are the ones that the pages' worked examples print.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ddnmf_np.engine import literal
from ddnmf_np.teaching.diagram import STYLE

HOME = Path(__file__).parent

GAP, LEFT, RADIUS = 150, 76, 29
"""Distance of two layers, what is left of the first, and the size of a unit."""

LOCAL = """\
text.value { font-size: 19px; fill: #ffffff; }
text.weight { font-size: 18px; paint-order: stroke; stroke: #ffffff; stroke-width: 7px; }
text.index { font-size: 17px; }
.edge { stroke: #565d6b; stroke-width: 1.5; fill: none; }
.axis { stroke: #565d6b; stroke-width: 1.5; fill: none; }
.student { fill: #b04c00; }
.apfill { fill: #00755a; }
.ncfill { fill: #a6447c; }
@media (prefers-color-scheme: dark) {
  text.value { fill: #0b0d11; }
  text.weight { stroke: #14161b; }
  .edge, .axis { stroke: #aab1bf; }
  .student { fill: #ff8a3d; }
  .apfill { fill: #2fc79a; }
  .ncfill { fill: #e59ac3; }
}
"""

Point = tuple[float, float]

X, X_NOISY = np.array([2.0, 1.0]), np.array([4.0, 0.0])
ENCODER = literal.Layer(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.0, -1.0]))
DECODER = literal.Layer(np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([0.5, -1.5]))
STUDENT_ENCODER = literal.Layer(np.array([[0.5, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0]))
MODULE = literal.NMFModule(np.array([[1.0, -3.0]]), np.array([[5.0], [4.0]]))
STUDENT_DECODER = literal.Layer(np.array([[1.0, -0.5], [0.0, 1.0]]), np.array([0.0, -1.0]))

SUPERVISOR = literal.Supervisor([ENCODER, DECODER])
STUDENT = literal.Student([STUDENT_ENCODER], MODULE, [STUDENT_DECODER])
OBJECTIVE = literal.Objective()
H, T = SUPERVISOR.forward(X), STUDENT.forward(X_NOISY)


def number(value: float) -> str:
    """Return a number as a figure shows it."""
    return f"{value + 0.0:g}".replace("-", "\N{MINUS SIGN}")


class Figure:
    """Shapes of a figure, in the order in which they are drawn."""

    def __init__(self, title: str, width: float, height: float) -> None:
        self.title, self.width, self.height = title, width, height
        self.body: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "soft", anchor: str = "") -> None:
        """Write words; ``A_b`` sets b below the line."""
        words = escape(words)
        if "_" in words:
            head, _, index = words.partition("_")
            index, _, rest = index.partition(" ")
            words = f'{head}<tspan class="index" dy="6">{index}</tspan>'
            words += f'<tspan dy="-6"> {rest}</tspan>' if rest else ""
        style = f' style="text-anchor:{anchor}"' if anchor else ""
        self.body.append(f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}"{style}>{words}</text>')

    def line(self, *points: Point, kind: str = "edge") -> None:
        """Draw a line through points."""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.body.append(f'<path class="{kind}" d="M{path}"/>')

    def arrow(self, a: Point, b: Point, kind: str = "edge") -> None:
        """Draw an arrow from the rim of the unit at a to that of the unit at b."""
        (ax, ay), (bx, by) = a, b
        length = float(np.hypot(bx - ax, by - ay))
        ux, uy = (bx - ax) / length, (by - ay) / length
        start = ax + ux * RADIUS, ay + uy * RADIUS
        tip = bx - ux * (RADIUS + 2), by - uy * (RADIUS + 2)
        self.line(start, tip, kind=kind)
        left, right = (
            (tip[0] - 9 * ux + side * 5 * uy, tip[1] - 9 * uy - side * 5 * ux) for side in (1, -1)
        )
        self.line(left, tip, right, kind=kind)

    def units(
        self, x: float, y: float, values: Sequence[float], kind: str, name: str = ""
    ) -> list[Point]:
        """Draw a layer in the middle of height y; return the places of its units."""
        places = [(x, y + 100 * (k - (len(values) - 1) / 2)) for k in range(len(values))]
        for (_, at), value in zip(places, values, strict=True):
            self.body.append(f'<circle class="{kind}" cx="{x:.0f}" cy="{at:.0f}" r="{RADIUS}"/>')
            self.text(x, at + 7, number(value), "value")
        if name:
            self.text(x, y - 98, name, f"symbol {kind}")
        return places

    def edges(self, below: Sequence[Point], above: Sequence[Point], W: np.ndarray, to: str) -> None:
        """Draw the weights between two layers, with arrows ``"up"`` or ``"down"``."""
        pairs = [(j, k) for j in range(len(below)) for k in range(len(above))]
        for j, k in pairs:
            a, b = (below[j], above[k]) if to == "up" else (above[k], below[j])
            self.arrow(a, b)
        for j, k in pairs:
            # Near the layer with more units, where the lines are apart.
            share = 0.34 if len(below) >= len(above) else 0.66
            (ax, ay), (bx, by) = below[j], above[k]
            x, y = ax + share * (bx - ax), ay + share * (by - ay)
            self.text(x, y + 6, number(W[k, j]), "weight")

    def chain(
        self,
        y: float,
        layers: Sequence[Sequence[float]],
        names: Sequence[str],
        weights: Sequence[np.ndarray] = (),
        kind: str = "supervisor",
        to: str = "up",
    ) -> list[list[Point]]:
        """Draw layers in a row."""
        places = [
            self.units(LEFT + GAP * level, y, values, kind, name)
            for level, (values, name) in enumerate(zip(layers, names, strict=True))
        ]
        for level, W in enumerate(weights):
            self.edges(places[level], places[level + 1], W, to)
        return places

    def svg(self) -> str:
        """Return the document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} '
            f'{self.height:.0f}" width="{self.width:.0f}" height="{self.height:.0f}" role="img" '
            f'aria-labelledby="title">\n<title id="title">{escape(self.title)}</title>\n'
            f"<style>\n{STYLE}{LOCAL}</style>\n"
            f'<rect class="ground" width="{self.width:.0f}" height="{self.height:.0f}" rx="10"/>\n'
            + "\n".join(self.body)
            + "\n</svg>\n"
        )


def width_of(layers: int) -> int:
    """Return the width of a figure with so many layers."""
    return 2 * LEFT + GAP * (layers - 1)


def layer() -> Figure:
    """Equation 1: from x to z to h."""
    figure = Figure("One layer: x times W, plus b, through ReLU", width_of(3), 250)
    z = ENCODER.pre_activation(X)
    places = figure.chain(140, [X, z, H[1]], ["x", "z", "h"], [ENCODER.W])
    for (x, y), bias in zip(places[1], ENCODER.b, strict=True):
        figure.text(x, y + 46, f"b = {number(bias)}")
    for a, b in zip(places[1], places[2], strict=True):
        figure.arrow(a, b)
        figure.text((a[0] + b[0]) / 2, a[1] - 9, "ReLU")
    return figure


def noise() -> Figure:
    """Equation 2: a sum of two columns."""
    figure = Figure("The noisy sample is the sample plus noise", width_of(3), 220)
    epsilon = X_NOISY - X
    figure.chain(130, [X], ["x"])
    figure.units(LEFT + GAP, 130, epsilon, "ncfill", "ε")
    figure.units(LEFT + 2 * GAP, 130, X_NOISY, "student", "x\u0303")
    for y in (80, 180):
        figure.text(LEFT + GAP / 2, y + 8, "+", "")
        figure.text(LEFT + 1.5 * GAP, y + 8, "=", "")
    return figure


def nmf_module(pulls: bool = False) -> Figure:
    """Equation 3, or with pulls equation 6: the code, H, and the recovered code."""
    title = "The NMF module: from the code X to one number H, and back to a code"
    figure = Figure(title, width_of(3), 250)
    weights = [MODULE.base.W, MODULE.recovery.W]
    names = ["X", "H", "X\u0302"]
    places = figure.chain(140, T[1:4], names, weights, "student")
    if not pulls:
        figure.text(LEFT + GAP, 188, "sigmoid(0)")
        return figure
    figure.title = "The non-negative constraint loss pulls at both codes, in opposite directions"
    pull = OBJECTIVE.pull(1.0, T[1], T[3], 1)
    for at, sign in ((0, 1), (2, -1)):
        for (x, y), value in zip(places[at], sign * pull, strict=True):
            figure.text(x, y + 46, f"Grad {number(value)}", "nc")
    return figure


def symmetric() -> Figure:
    """Equation 4: the supervisor, and the distance of its ends."""
    figure = Figure("The symmetric loss: squared distance of y from x", width_of(3) + 70, 270)
    places = figure.chain(160, H, ["x", "h", "y"], [ENCODER.W, DECODER.W])
    for (x, y), value in zip(places[2], H[2] - X, strict=True):
        figure.text(x + 36, y + 7, f"y − x = {number(value)}", "sym", "start")
    right = LEFT + 2 * GAP
    figure.line((LEFT, 40), (LEFT, 24), (right, 24), (right, 40), kind="line sym")
    figure.width += 60
    loss = OBJECTIVE.distance(X, H[2])
    figure.text(right + 16, 34, f"L_sym = {number(loss)}", "sym", "start")
    return figure


def interpretability() -> Figure:
    """Equation 7: three losses, end to end."""
    values = literal.losses(SUPERVISOR, STUDENT, X[None], X_NOISY[None], OBJECTIVE)
    figure = Figure("The interpretability loss is the sum of three losses", 640, 140)
    x, scale = 20.0, 600 / values["loss_in"]
    for name, fill in (("sym", "supervisor"), ("ap", "apfill"), ("nc", "ncfill")):
        value = values[f"loss_{name}"]
        wide = value * scale
        figure.body.append(
            f'<rect class="{fill}" x="{x:.1f}" y="46" width="{wide:.1f}" height="44"/>'
        )
        places = {"sym": (x, "start"), "ap": (x + wide / 2, ""), "nc": (x + wide, "end")}
        place, anchor = places[name]
        figure.text(place, 34, f"L_{name} = {number(value)}", name, anchor)
        x += wide
    figure.text(320, 122, f"L_in = {number(values['loss_in'])}", "")
    return figure


def descent() -> Figure:
    """Equation 8: the supervisor's loss along its negative gradient."""
    gradient, _ = literal.gradients(SUPERVISOR, STUDENT, X[None], X_NOISY[None], OBJECTIVE)
    slope = sum(float((g * g).sum()) for g in gradient)

    def loss(rho: float) -> float:
        W1, b1, W2, b2 = (
            literal.descend(theta, g, rho)
            for theta, g in zip(SUPERVISOR.parameters, gradient, strict=True)
        )
        moved = literal.Supervisor([literal.Layer(W1, b1), literal.Layer(W2, b2)])
        return OBJECTIVE.distance(X, moved.forward(X)[2])

    figure = Figure("The supervisor's loss after a step, by learning rate", 600, 300)
    left, bottom, per_rho, per_loss = 70, 250, 500 / 0.08, 200 / 0.6
    start = loss(0.0)

    def place(rho: float, value: float) -> Point:
        return left + per_rho * rho, bottom - per_loss * value

    figure.line((left, 30), (left, bottom), (570, bottom), kind="axis")
    figure.line(*(place(r, loss(r)) for r in np.linspace(0, 0.08, 81)), kind="line sym")
    figure.line(place(0, start), place(start / slope, 0), kind="axis")
    for rho, kind in ((0.0, "supervisor"), (0.01, "student")):
        x, y = place(rho, loss(rho))
        figure.body.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    figure.text(x + 14, y - 4, "after a step of ρ = 0.01", "student", "start")
    figure.text(left + 14, y - 56, f"before: {number(start)}", "sym", "start")
    x, _ = place(start / slope, 0)
    figure.text(x - 20, bottom - 14, f"slope {number(-slope)}", "soft", "end")
    figure.text(560, bottom + 32, "ρ", "symbol")
    figure.text(34, 44, "L_sym", "symbol sym")
    return figure


def backward(
    figure: Figure,
    inputs: Sequence[float],
    kind: str,
    names: Sequence[str],
    signals: list,
    dWs: list,
) -> None:
    """Draw the way down: a signal in each unit, and the gradient of each weight on its line."""
    places = figure.chain(390, [[], *signals], names, kind="ncfill")
    places[0] = figure.units(LEFT, 390, inputs, kind, names[0])
    for level, dW in enumerate(dWs):
        figure.edges(places[level], places[level + 1], dW, "down")


def supervisor_gradient() -> Figure:
    """Equation 9: up with values, down with gradients."""
    figure = Figure("The supervisor's forward and backward pass", width_of(3), 490)
    figure.chain(140, H, ["x", "h", "y"], [ENCODER.W, DECODER.W])
    (dW2, db2), g = DECODER.backward(H[1], OBJECTIVE.pull(1.0, H[2], X, 1))
    (dW1, db1), _ = ENCODER.backward(H[0], g)
    backward(figure, X, "supervisor", ["x", "δ of h", "δ of y"], [db1, db2], [dW1, dW2])
    return figure


def student_gradient() -> Figure:
    """Equation 10: what each layer gets from the losses, and what from above."""
    figure = Figure("The student's forward and backward pass", width_of(5), 560)
    names = ["x\u0303", "X", "H", "X\u0302", "y\u0303"]
    figure.chain(140, T, names, [layer.W for layer in STUDENT.layers], "student")
    shares, dWs, above = [], [], np.zeros(2)
    for level in range(4, 0, -1):
        direct = STUDENT.direct_gradient(level, H, T, OBJECTIVE, 1)
        (dW, *_), below = STUDENT.layers[level - 1].backward(T[level - 1], direct + above)
        shares.insert(0, (direct, above))
        dWs.insert(0, dW)
        above = below
    totals = [direct + above for direct, above in shares]
    titles = [names[0], *(f"g of {name}" for name in names[1:])]
    backward(figure, X_NOISY, "student", titles, totals, dWs)
    figure.text(LEFT, 508, "direct", "ap")
    figure.text(LEFT, 538, "from above", "soft")
    for level, (direct, above) in enumerate(shares, 1):
        figure.text(LEFT + GAP * level, 508, ", ".join(map(number, direct)), "ap")
        if level < 4:
            figure.text(LEFT + GAP * level, 538, ", ".join(map(number, above)), "soft")
    return figure


FIGURES = {
    "eq01-layer": layer,
    "eq02-noise": noise,
    "eq03-nmf-module": nmf_module,
    "eq04-symmetric-loss": symmetric,
    "eq06-non-negative-loss": lambda: nmf_module(pulls=True),
    "eq07-interpretability-loss": interpretability,
    "eq08-descent": descent,
    "eq09-supervisor-gradient": supervisor_gradient,
    "eq10-student-gradient": student_gradient,
}
"""The drawing function of each file; page 05 shows the model itself."""

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (HOME / f"{name}.svg").write_text(draw().svg(), "utf-8")
