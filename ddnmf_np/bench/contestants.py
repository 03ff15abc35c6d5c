"""Contestants and floors: names, files, and ways of working.

This module imports nothing heavy, because the process that measures an import time starts with it.
"""

from __future__ import annotations

from typing import NamedTuple

CHECKED_STEPS = 3
"""Steps after which we compare the losses of all contestants once more."""

NOT_INSTALLED = "not installed"
"""Beginning of the reason of a gap that is no failure."""


class Contestant(NamedTuple):
    """One row of the table, or one floor.

    ``module`` and ``kind`` name a file of this folder and a class in it, which only the process
    that measures imports; ``mode`` is that of ``Settings``.
    """

    name: str
    label: str
    module: str
    kind: str
    mode: str = ""
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def ours(self) -> bool:
        """Whether it is this package's engine."""
        return self.kind == "EnginePeer"


ENGINE, TORCH = ("ddnmf_peer", "EnginePeer"), ("torch_peer", "TorchPeer")
KERAS, PRODUCTS = ("keras_peer", "KerasPeer"), ("floors", "ProductsFloor")
CPU, CUDA = ("cpu",), ("cuda",)

CONTESTANTS = {
    c.name: c
    for c in (
        Contestant("numpy", "engine, NumPy", *ENGINE, "plain", CPU),
        Contestant("numpy+fast", "engine, NumPy + fast", *ENGINE, "fast", CPU),
        Contestant("cupy", "engine, CuPy", *ENGINE, "cupy", CUDA),
        Contestant("torch", "PyTorch eager", *TORCH, "eager"),
        Contestant("torch-compile", "PyTorch compile", *TORCH, "default"),
        Contestant("torch-whole-step", "PyTorch compile, whole step", *TORCH, "whole-step"),
        Contestant(
            "torch-graphs", "PyTorch compile, reduce-overhead", *TORCH, "reduce-overhead", CUDA
        ),
        Contestant("torch-autotune", "PyTorch compile, max-autotune", *TORCH, "max-autotune", CUDA),
        Contestant(
            "torch-captured", "PyTorch eager, whole step captured", *TORCH, "captured", CUDA
        ),
        Contestant(
            "torch-whole-graphs",
            "PyTorch compile, whole step, reduce-overhead",
            *TORCH,
            "whole-step-graphs",
            CUDA,
        ),
        Contestant("jax", "JAX jit", "jax_peer", "JaxPeer"),
        Contestant("keras", "Keras (TensorFlow)", *KERAS),
        Contestant("keras-jit", "Keras (TensorFlow, XLA)", *KERAS, "jit"),
    )
}

FLOORS = {
    c.name: c
    for c in (
        Contestant("products", "matrix products", *PRODUCTS, "serial"),
        Contestant(
            "products-two-threads", "matrix products, two threads", *PRODUCTS, "two-threads", CPU
        ),
        Contestant("copy", "copy", "floors", "CopyFloor"),
    )
}


def available(device: str) -> list[str]:
    """Return the names of the contestants that can be measured on a device."""
    return [c.name for c in CONTESTANTS.values() if device in c.devices]
