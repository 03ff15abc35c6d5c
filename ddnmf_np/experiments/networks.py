"""The networks of the tables: each by the name that it has in records, with its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class NetworkRow:
    """A network that is trained for a table or a study.

    Parameters
    ----------
    title : str
        Its name in tables and figures.
    kind : {"ddnmf", "autoencoder"}
        What is built from the options.
    options : mapping
        Options of `Config` that are not at their defaults.
    bottleneck : bool
        Of an auto-encoder: whether it has the layer of ``rank`` units.
    keep_weights : bool
        Whether another row continues from it.
    """

    title: str
    kind: Literal["ddnmf", "autoencoder"]
    options: Mapping[str, Any] = field(default_factory=dict)
    bottleneck: bool = True
    keep_weights: bool = False


_PLAIN = {"objective": "demo", "noise_kind": "none"}  # of the objective: a mean over features

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
}
"""Networks of the tables; a further row is one more entry here, and its name in `TABLE_MODELS`.

AE1 has the student's depth and widths, AE2 the same without the layer of 10 units (derivations,
page 12). In tables 1 and 2 both see clean images; in table 3 AE1 gets noisy images and is to give
the clean ones back, since DDNMF too has the clean ones to learn from.
"""

TABLE_MODELS = (
    "raw", "nmf", "ae2", "ae2-nmf", "ae1", "ddnmf-paper", "ddnmf-demo", "ae-linear", "ddnmf-stable",
)  # fmt: skip
"""Representations of tables 1 and 2, in the paper's order; the last two are not the paper's."""
MAPPED_MODELS = ("ae1", "ddnmf-paper", "ddnmf-demo", "ae-linear", "ddnmf-stable")
"""Representations of tables 1 and 2 that are clustered on maps too, where those are asked for."""
NOISE_MODELS = ("ae1-denoising", "ddnmf-paper", "ddnmf-demo")
"""Networks of table 3 and figure 3."""
MAP_MODELS = ("ddnmf-paper", "ddnmf-demo", "ddnmf-stable", "ae1")
"""Networks of figure 2."""
