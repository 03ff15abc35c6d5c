"""Who is measured: names, files, and in which of its ways of working.

Imports nothing, so that the process which measures an import time starts with it.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECKED_STEPS = 3
"""Steps after which the losses of all contestants are compared once more."""

NOT_INSTALLED = "not installed"
"""How the reason of a gap begins that is no failure."""


@dataclass(frozen=True)
class Contestant:
    """One row of the table, or one floor.

    Parameters
    ----------
    name : str
        What options and results call it.
    label : str
        What table and plot call it.
    module, kind : str
        File of this folder and class in it; only the process that measures imports it.
    mode : str
        ``Settings.mode``.
    devices : tuple of str
        Where it can be measured.
    ours : bool
        Whether it is this package's engine.
    """

    name: str
    label: str
    module: str
    kind: str
    mode: str = ""
    devices: tuple[str, ...] = ("cpu", "cuda")
    ours: bool = False


CONTESTANTS = {
    c.name: c
    for c in (
        Contestant(
            "numpy", "engine, NumPy", "ddnmf_peer", "EnginePeer", "plain", ("cpu",), ours=True
        ),
        Contestant(
            "numpy+fast", "engine, NumPy + fast", "ddnmf_peer", "EnginePeer", "fast", ("cpu",),
            ours=True,
        ),
        Contestant("cupy", "engine, CuPy", "ddnmf_peer", "EnginePeer", "cupy", ("cuda",), True),
        Contestant("torch", "PyTorch eager", "torch_peer", "TorchPeer", "eager"),
        Contestant("torch-compile", "PyTorch compile", "torch_peer", "TorchPeer", "default"),
        Contestant(
            "torch-whole-step", "PyTorch compile, whole step", "torch_peer", "TorchPeer",
            "whole-step",
        ),
        Contestant(
            "torch-graphs", "PyTorch compile, reduce-overhead", "torch_peer", "TorchPeer",
            "reduce-overhead", ("cuda",),
        ),
        Contestant(
            "torch-autotune", "PyTorch compile, max-autotune", "torch_peer", "TorchPeer",
            "max-autotune", ("cuda",),
        ),
        Contestant(
            "torch-captured", "PyTorch eager, whole step captured", "torch_peer", "TorchPeer",
            "captured", ("cuda",),
        ),
        Contestant(
            "torch-whole-graphs", "PyTorch compile, whole step, reduce-overhead", "torch_peer",
            "TorchPeer", "whole-step-graphs", ("cuda",),
        ),
        Contestant("jax", "JAX jit", "jax_peer", "JaxPeer"),
        Contestant("keras", "Keras (TensorFlow)", "keras_peer", "KerasPeer"),
        Contestant("keras-jit", "Keras (TensorFlow, XLA)", "keras_peer", "KerasPeer", "jit"),
    )
}  # fmt: skip

FLOORS = {
    c.name: c
    for c in (
        Contestant("products", "matrix products", "floors", "ProductsFloor", "serial"),
        Contestant(
            "products-two-threads", "matrix products, two threads", "floors", "ProductsFloor",
            "two-threads", ("cpu",),
        ),
        Contestant("copy", "copy", "floors", "CopyFloor"),
    )
}  # fmt: skip


def available(device: str) -> list[str]:
    """Return the names of the contestants that can be measured on a device."""
    return [c.name for c in CONTESTANTS.values() if device in c.devices]
