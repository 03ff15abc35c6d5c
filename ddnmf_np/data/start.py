"""First weights that suit the data: every layer begins where its activation is alive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.literal import ACTIVATIONS

OUTPUT_SPREAD = 0.5
"""Standard deviation of the output's first pre-activations: near the mean, but not on it."""

EDGE = 0.005
"""The output begins at the mean of the data, but not nearer than this to an end of [0, 1]."""


def start_from_data(layers: Sequence[Dense], x: Array) -> None:
    """Scale drawn weights, and set the biases, by the data that reach each layer.

    After it the pre-activations of every layer have mean 0 in each unit, and standard deviation 1
    over all units. So no unit is dead or saturated at the start. The output begins at the mean of
    the data. This is layer-sequential unit-variance initialisation (Mishkin and Matas, 2016) with
    one factor for each layer.

    Parameters
    ----------
    layers : sequence of Dense
        Layers with biases, from input to output. Their weights are drawn before.
    x : ndarray of shape (n, n_features)
        Samples as the network sees them, on the host.
    """
    h = mean = np.asarray(x, np.float64)
    for layer in layers:
        assert layer.b is not None
        ops, last = layer.ops, layer is layers[-1]
        W = np.asarray(ops.to_host(layer.W), np.float64)
        z = h @ W.T  # (n, in) @ (in, out) -> (n, out)
        spread = float(z.std(axis=0).mean())
        factor = (OUTPUT_SPREAD if last else 1.0) / spread if spread > 0.0 else 1.0
        middle = _pre_activation(layer.activation, mean.mean(axis=0)) if last else 0.0
        z *= factor
        b = middle - z.mean(axis=0)
        layer.W[...] = ops.to_device(W * factor, layer.W.dtype)
        layer.b[...] = ops.to_device(b, layer.b.dtype)
        h = ACTIVATIONS[layer.activation][0](z + b)


def _pre_activation(activation: str, h: Array) -> Array:
    """Return roughly the z with ``f(z) = h``."""
    if activation == "sigmoid":
        h = np.clip(h, EDGE, 1.0 - EDGE)
        return np.log(h / (1.0 - h))
    if activation == "softplus":
        return np.log(np.expm1(np.maximum(h, EDGE)))
    return np.maximum(h, EDGE) if activation == "relu" else h
