"""First weights that suit the data: every layer begins where its activation is alive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.literal import ACTIVATIONS

SAMPLES = 4096
"""Number of samples for a start from data: twice the paper's widest layer."""

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

    The layers go from input to output. One without bias belongs to a non-negative decoder: it gets
    positive weights, and keeps the mean of what it sees. ``x``, (n, n_features), are samples as the
    network sees them, on the host.
    """
    h = mean = np.asarray(x, np.float64)
    for layer in layers:
        ops, last = layer.ops, layer is layers[-1]
        if layer.b is None:
            make_positive(layer)
        W = np.asarray(ops.to_host(layer.W), np.float64)
        z = h @ W.T  # (n, in) @ (in, out) -> (n, out)
        if layer.b is None:
            if last and z.mean() > 0.0:
                layer.W *= float(mean.mean() / z.mean())
            h = ACTIVATIONS[layer.activation][0](z)
            continue
        spread = float(z.std(axis=0).mean())
        factor = (OUTPUT_SPREAD if last else 1.0) / spread if spread > 0.0 else 1.0
        middle = pre_activation(layer.activation, mean.mean(axis=0)) if last else 0.0
        z *= factor
        b = middle - z.mean(axis=0)
        layer.W[...] = ops.to_device(W * factor, layer.W.dtype)
        layer.b[...] = ops.to_device(b, layer.b.dtype)
        h = ACTIVATIONS[layer.activation][0](z + b)


def make_positive(layer: Dense) -> None:
    """Replace drawn weights by positive ones with the same order of sizes, and of mean 1 / fan_in.

    They are cubes of exponential numbers: most are near 0 and a few are large. So each unit of a
    non-negative decoder begins with a few of the units above it, and no two begin alike.
    """
    size = np.abs(np.asarray(layer.ops.to_host(layer.W), np.float64))
    rank = np.argsort(np.argsort(size, axis=None)).reshape(size.shape)
    W = (-np.log1p(-(rank + 0.5) / size.size)) ** 3  # quantiles of the distribution
    layer.W[...] = layer.ops.to_device(W / (W.mean() * layer.fan_in), layer.W.dtype)


def pre_activation(activation: str, h: Array) -> Array:
    """Return roughly the z with ``f(z) = h``, for an array ``h`` of any shape."""
    if activation == "sigmoid":
        h = np.clip(h, EDGE, 1.0 - EDGE)
        return np.log(h / (1.0 - h))
    if activation == "softplus":
        return np.log(np.expm1(np.maximum(h, EDGE)))
    return np.maximum(h, EDGE) if activation == "relu" else h
