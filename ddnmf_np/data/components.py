"""A start from principal components: a decomposition of the codes, written into the NMF module.

See ``derivations/03-nmf-module.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Array, Ops

if TYPE_CHECKING:
    from ddnmf_np.engine.nmf import NMFModule

Floats = npt.NDArray[np.float64]


def start_from_components(module: NMFModule, code: Array, spread: float) -> None:
    """Set the first weights of the base and the recovery from codes, see `blocks_from_code`.

    ``code``, shape (n, code_dim), is on the layers' backend. We compute in float64 on the host, so
    that all backends start from the same weights.
    """
    base, ops = module.base, module.base.ops
    samples, W_base = (np.asarray(ops.to_host(array), np.float64) for array in (code, base.W))
    blocks = blocks_from_code(
        samples, W_base, bias=base.bias, activation=base.activation, spread=spread
    )
    for block, name in ((base.W, "W_base"), (base.b, "b_base"), (module.recovery.W, "W_rec")):
        if block is not None:
            block[...] = ops.to_device(blocks[name], block.dtype)


def blocks_from_code(
    code: Floats, W_base: Floats, *, bias: bool, activation: str, spread: float
) -> dict[str, Floats]:
    """Return ``W_base``, ``W_rec`` and, with ``bias``, ``b_base`` that suit some codes.

    The base (equation 3) gets the principal components of the code, so that ``H`` keeps most of its
    variance. Each pre-activation has mean 0 and standard deviation ``spread``. The recovery gets
    the least-squares solution of ``code = W H``, as in alternating least squares for classical NMF.

    ``code``, (n, width), are codes of some clean samples under the untrained encoder. ``W_base``,
    (rank, width), are random weights; a unit keeps them if there are fewer components than units.
    Without a bias, a pre-activation has mean 0 only if its weights are orthogonal to the mean of
    the code, so we look for components in that subspace. ``activation`` is that of the base.
    """
    mean = code.mean(axis=0)
    centred = code - mean
    if not bias and mean.any():
        centred -= np.outer(centred @ mean, mean / (mean @ mean))
    base = principal_rows(centred, len(W_base))
    W_base = W_base.copy()
    W_base[: len(base)] = spread * base
    blocks = {"W_base": W_base} | ({"b_base": -W_base @ mean} if bias else {})
    H = code @ W_base.T
    Ops().activate(activation, H, blocks.get("b_base"))
    blocks["W_rec"] = np.linalg.lstsq(H, code, rcond=None)[0].T
    return blocks


def principal_rows(centred: Floats, count: int) -> Floats:
    """Return the directions ``v`` of largest variance as rows ``v / sigma``, at most ``count``.

    The samples, rows with mean 0, have standard deviation 1 along each. Rows are ordered by falling
    ``sigma``, and the largest entry of a row is positive. We leave out directions in which the
    samples do not vary, up to rounding.
    """
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, directions = variances[::-1][:count], directions.T[::-1][:count]
    varies = variances > 1e-10 * max(variances[0], np.finfo(np.float64).tiny)
    variances, directions = variances[varies], directions[varies]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    rows: Floats = directions * np.sign(largest) / np.sqrt(variances)[:, None]
    return rows
