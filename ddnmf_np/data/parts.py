"""A start from non-negative parts: a factorization of the data, written into both networks.

See ``derivations/17-parts.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.start import pre_activation

if TYPE_CHECKING:
    from ddnmf_np.engine.nmf import NMFModule

STARTS = 8
"""Random starts of the factorization; we keep the one with the smallest error."""

ROUNDS = 100
"""Rounds of a start. In the first half the activations are penalised, less and less."""

PENALTY = 0.1
"""First penalty of an activation, in units of the mean length of a sample."""

RIDGE = 1e-4
"""Damping of the regression that sets the base, in units of the mean variance of the code."""

HIGHEST = 0.95
"""Largest first activation of a unit."""

STREAM = 17
"""Stream of the seed that draws the starts."""

Floats = npt.NDArray[np.float64]


def factorize(x: Floats, rank: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return ``H`` and ``P``, both non-negative, with ``x ~ H P`` for non-negative samples.

    ``H`` has shape (n, rank), ``P`` (rank, n_features); its rows have length 1, or 0 for a part
    that no sample needs. ``rng`` draws the start.

    Notes
    -----
    Hierarchical alternating least squares (Cichocki and Phan, 2009): each column of ``H`` and each
    row of ``P`` in turn gets its best value, and the error cannot rise. We add a penalty on the sum
    of ``H`` that falls to 0 halfway, because the error by itself has many poor local minima.
    """
    n, tiny = len(x), np.finfo(np.float64).tiny
    P = rng.exponential(1.0, (rank, x.shape[1]))
    P /= np.linalg.norm(P, axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1)
    H = rng.random((n, rank)) * length.mean() / rank
    for done in range(ROUNDS):
        penalty = PENALTY * length.mean() * max(0.0, 1.0 - 2.0 * done / ROUNDS)
        _improve(H.T, P @ x.T - penalty, P @ P.T)
        _improve(P, H.T @ x, H.T @ H)
        norm = np.linalg.norm(P, axis=1, keepdims=True)
        P /= np.maximum(norm, tiny)
        H *= norm.T
    return H, P


def best_factorization(x: Floats, rank: int, seed: int) -> tuple[Floats, Floats]:
    """Return the factorization with the smallest error of `STARTS` starts, see `factorize`."""
    tries = (factorize(x, rank, np.random.default_rng([seed, STREAM, k])) for k in range(STARTS))
    return min(tries, key=lambda found: float(np.linalg.norm(x - found[0] @ found[1])))


def _improve(rows: Floats, products: Floats, gram: Floats) -> None:
    """Set each row in turn to its non-negative optimum, with the others as they are."""
    for k, row in enumerate(rows):
        if gram[k, k] > 0.0:
            np.maximum(row + (products[k] - gram[k] @ rows) / gram[k, k], 0.0, out=row)


def start_from_parts(module: NMFModule, decoders: Any, code: Any, x: Floats, seed: int) -> None:
    """Set the first weights of the base, the recovery and the decoders from a factorization.

    After it the student decodes unit k at 1 to part k, and its base is the linear regression of the
    activations on the code. The supervisor gets the same decoder.

    The decoders are the layers above the module in the student and in the supervisor, without
    biases. ``code``, (n, code_dim), at least as wide as the rank, and ``x``, (n, n_features), are
    the codes of samples and the samples as the network sees them, on the host. ``seed`` is that of
    the factorization's random starts.
    """
    rank, ops = module.base.fan_out, module.base.ops
    H, P = best_factorization(np.asarray(x, np.float64), rank, seed)
    top = np.maximum(H.max(axis=0), np.finfo(np.float64).tiny) / HIGHEST  # 1 in H is the full part
    set_base(module, np.asarray(code, np.float64), H / top)
    P = P * top[:, None]
    unit = np.arange(rank)  # the part that each unit of the layer below carries
    for number, layer in enumerate([module.recovery, *decoders[0]]):
        if layer is decoders[0][-1]:
            share = np.bincount(unit, minlength=rank)[unit, None]
            W = (P[unit] / share).T
        else:
            above = np.arange(layer.fan_out) % rank
            W = (above[:, None] == unit).astype(np.float64)
            W /= W.sum(axis=1, keepdims=True)
            unit = above
        for one in [layer, *([decoders[1][number - 1]] if number else [])]:
            one.W[...] = ops.to_device(W, one.W.dtype)


def set_base(module: NMFModule, code: Floats, target: Floats) -> None:
    """Set the base so that ``H`` is near a target, by ridge regression of its pre-activations."""
    base, mean = module.base, code.mean(axis=0)
    z = pre_activation(base.activation, target)
    offset = z.mean(axis=0) if base.bias else np.zeros(z.shape[1])
    centred = code - mean if base.bias else code
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    W = np.linalg.solve(gram, centred.T @ (z - offset)).T
    base.W[...] = base.ops.to_device(W, base.W.dtype)
    if base.b is not None:
        base.b[...] = base.ops.to_device(offset - W @ mean, base.b.dtype)
