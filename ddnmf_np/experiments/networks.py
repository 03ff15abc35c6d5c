"""Networks of the tables and studies: names in records, titles, options and clusterers.

A study compares variants of networks, mainly on quantities that need no labels. A variant with the
options of another variant or of a row of a table has the same key. So it is not trained a second
time: it gets copies of the records, under its own name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ddnmf_np.config import DECIDED_BY, Config, configure
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.engine.losses import PRESETS, Objective
from ddnmf_np.evaluation.options import Method
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.model import Model


@dataclass(frozen=True)
class NetworkRow:
    """A network that is trained for a table or a study: its name there, and its options."""

    title: str
    kind: Literal["ddnmf", "autoencoder"]
    options: Mapping[str, Any] = field(default_factory=dict)
    bottleneck: bool = True  # whether an auto-encoder has the layer of ``rank`` units
    keep_weights: bool = False  # whether another row continues from the network


# -- tables -------------------------------------------------------------------------------

_PLAIN = {"objective": "demo", "noise_kind": "none"}  # the objective: its mean over features

TABLE_NETWORKS = {
    "ae1": NetworkRow("AE1", "autoencoder", {**_PLAIN, "base_activation": "relu"}),
    "ae2": NetworkRow("AE2", "autoencoder", _PLAIN, bottleneck=False, keep_weights=True),
    "ae-linear": NetworkRow(
        "AE with a linear code", "autoencoder", {**_PLAIN, "base_activation": "identity"}
    ),
    "ae1-denoising": NetworkRow(
        "AE1 (denoising)", "autoencoder", {"objective": "demo", "base_activation": "relu"}
    ),
    "ddnmf-paper": NetworkRow("DDNMF (paper's objective)", "ddnmf", {"objective": "paper"}),
    "ddnmf-demo": NetworkRow("DDNMF (demo's objective)", "ddnmf", {"objective": "demo"}),
    "ddnmf-stable": NetworkRow("DDNMF (preset stable)", "ddnmf", {"objective": "stable"}),
    "ddnmf-auto": NetworkRow("DDNMF (preset auto)", "ddnmf", {"objective": "auto"}),
}
"""Networks of the tables; a new row is one entry here, and one name in `TABLE_MODELS`.

AE1 has the student's depth and widths; AE2 has no layer of 10 units (derivations, page 12). In
tables 1 and 2 both see clean images. In table 3 AE1 sees noisy images and learns to reconstruct the
clean ones, because DDNMF learns from the clean ones too.
"""

TABLE_MODELS = (
    "raw", "nmf", "ae2", "ae2-nmf", "ae1", "ddnmf-paper", "ddnmf-demo", "ae-linear", "ddnmf-stable",
    "ddnmf-auto",
)  # fmt: skip
"""Representations of tables 1 and 2, in the paper's order; the last three are ours."""
MAPPED_MODELS = ("ae1", "ddnmf-paper", "ddnmf-demo", "ae-linear", "ddnmf-stable", "ddnmf-auto")
"""Representations of tables 1 and 2 that we also cluster on maps, if the user asks for maps."""
NOISE_MODELS = ("ae1-denoising", "ddnmf-paper", "ddnmf-demo")
"""Networks of table 3 and figure 3."""
MAP_MODELS = ("ddnmf-paper", "ddnmf-demo", "ddnmf-stable", "ae1")
"""Networks of figure 2."""

# -- studies ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Title of a study's table, and its variants by name in records."""

    title: str
    variants: Mapping[str, NetworkRow]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _changed(
    preset: str, changes: Mapping[str, Any], text: str, more: Mapping[str, Any] | None = None
) -> tuple[str, NetworkRow]:
    """Return the name of a preset with changed options, and the network."""
    parts = (f"{option.replace('_', '-')}-{_text(value)}" for option, value in changes.items())
    options = {"objective": preset, **(more or {}), **changes}
    return "-".join([preset, *parts]), NetworkRow(f"{preset}: {text}", "ddnmf", options)


def _ablation() -> Iterator[tuple[str, NetworkRow]]:
    """Yield both presets, and each of them with one option at a time from the other."""
    paper, demo = PRESETS["paper"], PRESETS["demo"]
    names = [f.name for f in fields(Objective) if f.name != "preset"]
    options = [name for name in names if getattr(paper, name) != getattr(demo, name)]
    for name, other, whose in (("demo", paper, "the paper's"), ("paper", demo, "the demo's")):
        yield _changed(name, {}, "as it is")
        for option in options:
            value = getattr(other, option)
            yield _changed(name, {option: value}, f"{option} = {_text(value)} ({whose})")


def _weights() -> Iterator[tuple[str, NetworkRow]]:
    """Yield both presets, and each of them with one weight at a time divided or multiplied by 10.

    The apposition and the non-negative loss also get the weight 0, and both change together. The
    symmetric loss keeps a weight, because nothing else trains the paper's supervisor.
    """
    for name in ("demo", "paper"):
        yield _changed(name, {}, "as it is")
        for weight in ("alpha_sym", "beta_ap", "gamma_nc"):
            for factor in (0.0, 0.1, 10.0):
                if factor or weight != "alpha_sym":
                    value = getattr(PRESETS[name], weight) * factor
                    yield _changed(name, {weight: value}, f"{weight} = {value:g}")
        # With the lines above these four corners complete a grid of 3 x 3.
        for of_beta, of_gamma in itertools.product((0.1, 10.0), repeat=2):
            beta = PRESETS[name].beta_ap * of_beta
            gamma = PRESETS[name].gamma_nc * of_gamma
            text = f"beta_ap = {beta:g}, gamma_nc = {gamma:g}"
            yield _changed(name, {"beta_ap": beta, "gamma_nc": gamma}, text)


def _ingredients() -> Iterator[tuple[str, NetworkRow]]:
    """Yield the presets stable and demo, and each of them with one ingredient of the other.

    The spread changes with the start from the data, because it has no meaning for another start.
    """
    sides = {name: configure(objective=name).to_dict() for name in ("stable", "demo")}
    spread = "nmf_spread"
    options = ("gamma_nc", "noise_redraw", "lr_schedule", "nmf_start")
    for (name, _), (whose, other) in zip(sides.items(), reversed(sides.items()), strict=True):
        yield _changed(name, {}, "as it is")
        for option in options:
            more = {spread: other[spread]} if option == "nmf_start" else {}
            value = other[option]
            text = f"{option} = {_text(value)} (as in {whose})"
            yield _changed(name, {option: value}, text, more)


def _supervisor() -> Iterator[tuple[str, NetworkRow]]:
    """Yield the demo, it without supervisor or non-negative loss, and its student by itself."""
    yield _changed("demo", {}, "as it is")
    yield _changed("demo", {"beta_ap": 0.0}, "the supervisor has no say (beta_ap = 0)")
    yield _changed("demo", {"gamma_nc": 0.0}, "no non-negative loss (gamma_nc = 0)")
    title = "denoising auto-encoder with a sigmoid code"
    yield "ae-sigmoid", NetworkRow(title, "autoencoder", {"objective": "demo"})


def _recipe() -> Iterator[tuple[str, NetworkRow]]:
    """Yield the two candidates for a recipe that have records, and the auto-encoder to beat."""
    options = {
        "objective": "demo", "noise_redraw": True, "lr_schedule": "cosine", "nmf_start": "pca",
        "nmf_spread": 0.3, "gamma_nc": 0.1,
    }  # fmt: skip
    title = "start03: noise drawn anew, cosine decay, start by PCA, spread 0.3, gamma 0.1"
    yield "start03", NetworkRow(title, "ddnmf", options)
    weak = {**options, "gamma_nc": 0.01, "beta_ap": 0.001}
    yield "start03-weak", NetworkRow("start03-weak: start03, gamma 0.01, beta 0.001", "ddnmf", weak)
    linear = TABLE_NETWORKS["ae-linear"]
    yield "ae-linear", replace(linear, title=f"to beat: {linear.title}")


STUDIES = {
    # In records the name of a variant begins with the name of its study.
    name: Study(title, {f"{name}-{variant}": network for variant, network in variants})
    for name, title, variants in (
        ("ablation", "What each difference between paper and demo does", _ablation()),
        ("weights", "What the weights of the losses do", _weights()),
        ("ingredients", "What each ingredient of the preset stable does", _ingredients()),
        ("recipe", "Candidates for a recipe", _recipe()),
        ("supervisor", "What the supervisor and the non-negative loss do", _supervisor()),
    )
}
"""Every study by its name on the command line."""

VARIANTS = {name: network for study in STUDIES.values() for name, network in study.variants.items()}
"""Every variant of every study, by its name in records."""

NETWORKS = {**TABLE_NETWORKS, **VARIANTS}
"""Every network of tables and studies, by its name in records."""


def decided_by_data(model: str) -> bool:
    """Return whether the data decide the noise and other options of a network."""
    return NETWORKS[model].options.get("objective") in DECIDED_BY


TITLES = {"raw": "images", "nmf": "NMF", "ae2-nmf": "AE2 + NMF"} | {
    name: network.title for name, network in NETWORKS.items()
}
"""Every representation by its name in records, with its name in tables and figures."""

CLUSTERERS: tuple[Method, ...] = ("kmeans", "gmm-spherical", "gmm-full")
"""k-means has the odd rows of the paper's tables, a mixture the even ones."""
WIDEST_MIXTURE = 64
"""Codes wider than this are reduced to principal components before a mixture is fitted."""
COMPONENTS = 50


def make_config(model: str, options: Mapping[str, Any]) -> Config:
    """Return the options of a network; those of the campaign override its own."""
    return configure(**{**NETWORKS[model].options, **options})


def make_network(
    model: str, config: Config, n_features: int, scaling: Scaling | None = None
) -> Model | Autoencoder:
    """Return an untrained network by its name in records, on the backend of its options."""
    ops, network = config.execution.get_ops(), NETWORKS[model]
    if network.kind == "ddnmf":
        return config.make_model(n_features, ops, scaling=scaling)
    return Autoencoder(
        n_features,
        config.model,
        config.optimizer,
        mean=config.objective.reduction == "mean",
        seed=config.training.seed,
        dtype=config.training.dtype,
        batch_size=config.training.batch_size,
        threads=config.execution.threads,
        bottleneck=network.bottleneck,
        ops=ops,
    )
