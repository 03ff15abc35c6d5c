"""Studies: variants of networks, side by side on quantities that need no label.

A variant is a `NetworkRow` like those of the tables, so that records, keys and restarts are what
they are there. One whose options are those of another variant, or of a row of a table, has the same
key: it is not trained a second time, and gets records of its own name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ddnmf_np.config import RECIPES
from ddnmf_np.engine.losses import PRESETS, Objective
from ddnmf_np.experiments.networks import NetworkRow


@dataclass(frozen=True)
class Study:
    """What is compared.

    Parameters
    ----------
    title : str
        Of its table.
    variants : mapping of str to NetworkRow
        The lines, each by its name in records, which no other study or table has.
    """

    title: str
    variants: Mapping[str, NetworkRow]

    @property
    def names(self) -> dict[str, str]:
        """The names in records, each by the name that the variant has in this study."""
        return {name.partition("-")[2]: name for name in self.variants}


def _ablation() -> Iterator[tuple[str, NetworkRow]]:
    """Yield both presets, and each with one option after the other at the other's value."""
    paper, demo = PRESETS["paper"], PRESETS["demo"]
    options = [f.name for f in fields(Objective) if getattr(paper, f.name) != getattr(demo, f.name)]
    for name, other, whose in (("demo", paper, "the paper's"), ("paper", demo, "the demo's")):
        yield _changed(name)
        for option in options:
            value = getattr(other, option)
            yield _changed(name, option, value, f"{option} = {_text(value)} ({whose})")


def _weights() -> Iterator[tuple[str, NetworkRow]]:
    """Yield both presets, and each with one weight after the other a tenth and ten times of it.

    Of the apposition and the non-negative loss 0 too, and both at once a tenth and ten times;
    without the symmetric loss nothing would train the paper's supervisor.
    """
    for name in ("demo", "paper"):
        yield _changed(name)
        for weight in ("alpha_sym", "beta_ap", "gamma_nc"):
            for factor in (0.0, 0.1, 10.0):
                if factor or weight != "alpha_sym":
                    value = getattr(PRESETS[name], weight) * factor
                    yield _changed(name, weight, value, f"{weight} = {value:g}")
        # The corners of the grid of both: with the lines above, 3 x 3.
        for of_beta, of_gamma in itertools.product((0.1, 10.0), repeat=2):
            beta = PRESETS[name].beta_ap * of_beta
            gamma = PRESETS[name].gamma_nc * of_gamma
            yield (
                f"{name}-beta-ap-{_text(beta)}-gamma-nc-{_text(gamma)}",
                NetworkRow(
                    f"{name}: beta_ap = {beta:g}, gamma_nc = {gamma:g}",
                    "ddnmf",
                    {"objective": name, "beta_ap": beta, "gamma_nc": gamma},
                ),
            )


def _ingredients() -> Iterator[tuple[str, NetworkRow]]:
    """Yield the third preset and the demo's, each with one ingredient of the other's.

    The spread of the start from the data goes with it: it says nothing of another start.
    """
    sides = {name: vars(PRESETS[name]) | vars(RECIPES[name]) for name in ("stable", "demo")}
    spread = "nmf_spread"
    options = [o for o in sides["stable"] if sides["stable"][o] != sides["demo"][o] and o != spread]
    for (name, _), (whose, other) in zip(sides.items(), reversed(sides.items()), strict=True):
        yield _changed(name)
        for option in options:
            more = {spread: other[spread]} if option == "nmf_start" else {}
            value = other[option]
            text = f"{option} = {_text(value)} (as in {whose})"
            yield _changed(name, option, value, text, more)


def _changed(
    preset: str,
    option: str | None = None,
    value: Any = None,
    text: str = "as it is",
    more: Mapping[str, Any] | None = None,
) -> tuple[str, NetworkRow]:
    """Return a preset with one option at another value, and its name."""
    name, options = preset, {"objective": preset, **(more or {})}
    if option is not None:
        name = f"{preset}-{option.replace('_', '-')}-{_text(value)}"
        options[option] = value
    return name, NetworkRow(f"{preset}: {text}", "ddnmf", options)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


_DEMO = {"objective": "demo"}
_REDRAW = {**_DEMO, "noise_redraw": True}
_DECAY = {**_REDRAW, "lr_schedule": "cosine"}
_MOVED = {"noise_shift": 2.0, "noise_rotation": 10.0, "noise_zoom": 0.1, "noise_shear": 0.1}
_WEAK = {"gamma_nc": 0.01, "beta_ap": 0.001}
_LINEAR = {"base_activation": "identity"}


def _start(spread: float) -> dict[str, Any]:
    return {**_DECAY, "nmf_start": "pca", "nmf_spread": spread}


_RECIPE = {
    "demo": NetworkRow("demo", "ddnmf", _DEMO),
    "redraw": NetworkRow("demo + noise drawn anew", "ddnmf", _REDRAW),
    "decay": NetworkRow("drawn anew + cosine decay of the learning rate", "ddnmf", _DECAY),
    "mask30": NetworkRow(
        "decay + 30 % of the pixels masked", "ddnmf", {**_DECAY, "noise_rate": 0.3}
    ),
    "moved": NetworkRow("decay + images moved", "ddnmf", {**_DECAY, **_MOVED}),
    "start2": NetworkRow(
        "start2: decay + start by PCA, spread 2, gamma 0.1",
        "ddnmf",
        {**_start(2.0), "gamma_nc": 0.1},
    ),
    "start2-moved": NetworkRow(
        "start2 + images moved", "ddnmf", {**_start(2.0), "gamma_nc": 0.1, **_MOVED}
    ),
    "start2-weak": NetworkRow("start2, gamma 0.01, beta 0.001", "ddnmf", _start(2.0) | _WEAK),
    "start03": NetworkRow(
        "start03: decay + start by PCA, spread 0.3, gamma 0.1",
        "ddnmf",
        {**_start(0.3), "gamma_nc": 0.1},
    ),
    "start03-weak": NetworkRow(
        "start03-weak: start03, gamma 0.01, beta 0.001", "ddnmf", _start(0.3) | _WEAK
    ),
    "start03-weak-moved": NetworkRow(
        "start03-weak + images moved", "ddnmf", _start(0.3) | _WEAK | _MOVED
    ),
    "start01-weak": NetworkRow("start03-weak with a spread of 0.1", "ddnmf", _start(0.1) | _WEAK),
    "identity": NetworkRow(
        "no candidate: DDNMF with a linear base, start by PCA, gamma 0.1",
        "ddnmf",
        {**_start(1.0), "gamma_nc": 0.1, **_LINEAR},
    ),
    "ae-linear": NetworkRow(
        "to beat: AE with a linear code", "autoencoder", {**_DEMO, "noise_kind": "none", **_LINEAR}
    ),
    "ae-linear-moved": NetworkRow(
        "to compare: the same + noise drawn anew, images moved, cosine decay",
        "autoencoder",
        {**_DECAY, **_MOVED, **_LINEAR},
    ),
}
"""Candidates of the search for a recipe (derivations/experiments.md); one more is one more line."""


def _study(name: str, title: str, variants: Mapping[str, NetworkRow]) -> Study:
    """Return a study; in records its name comes before that of the variant."""
    return Study(title, {f"{name}-{variant}": network for variant, network in variants.items()})


STUDIES = {
    "ablation": _study(
        "ablation", "What each difference between paper and demo does", dict(_ablation())
    ),
    "weights": _study("weights", "What the weights of the losses do", dict(_weights())),
    "ingredients": _study(
        "ingredients", "What each ingredient of the preset stable does", dict(_ingredients())
    ),
    "recipe": _study("recipe", "Candidates for a recipe", _RECIPE),
}
"""Every study by the name that the command line has for it."""

VARIANTS = {name: network for study in STUDIES.values() for name, network in study.variants.items()}
"""Every variant of every study, by its name in records."""
