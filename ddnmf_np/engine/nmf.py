"""NMF module between encoder and decoder (equation 3), and its start from data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.network import Network

SAMPLES = 4096
"""Number of samples for the start from data: twice the paper's widest layer."""

Floats = npt.NDArray[np.float64]


class NMFModule:
    """Two layers without bias: ``H = sigmoid(code W_base^T)``, ``code_hat = ReLU(H W_rec^T)``.

    This is equation 3 with samples as rows; see ``derivations/03-nmf-module.md``. The student has
    these layers between its encoder and its decoder, labelled ``_base`` and ``_rec``.

    Parameters
    ----------
    code_dim, rank : int
        Width of the code and number of units of ``H``, m and r in the paper.
    base_activation, recovery_activation : str
        Sigmoid and ReLU in the paper.
    base_bias : bool
        Whether the base has a bias: no in the paper, yes in its authors' demo.
    """

    def __init__(
        self,
        code_dim: int,
        rank: int,
        base_activation: str = "sigmoid",
        recovery_activation: str = "relu",
        *,
        base_bias: bool = False,
    ) -> None:
        self.base = Dense(code_dim, rank, base_activation, bias=base_bias, label="_base")
        self.recovery = Dense(rank, code_dim, recovery_activation, bias=False, label="_rec")

    @classmethod
    def of(cls, student: Network) -> NMFModule:
        """Return the NMF module of a student."""
        module = cls.__new__(cls)
        layers = {layer.label: layer for layer in student.layers}
        module.base, module.recovery = layers["_base"], layers["_rec"]
        return module

    @property
    def layers(self) -> list[Dense]:
        """Base and recovery."""
        return [self.base, self.recovery]

    def forward(self, code: Array) -> Array:
        """Return the recovered code, shape (n, code_dim) (equation 3); ``base.h`` keeps H."""
        H = self.base.forward(code)  # equation 3: H = sigmoid(W' X)
        return self.recovery.forward(H)  # equation 3: X^ = ReLU(W H)

    def backward(self, g: Array) -> Array | None:
        """Return the gradient with respect to the code, given that with respect to ``code_hat``."""
        return self.base.backward(self.recovery.backward(g))

    def start(self, code: Array, spread: float) -> None:
        """Replace the random weights by principal components of some codes, see `blocks_from_code`.

        ``code``, shape (n, code_dim), is on the layers' backend. We compute in float64 on the host,
        so that all backends start from the same weights.
        """
        ops, base, recovery = self.base.ops, self.base, self.recovery
        samples, W_base = (np.asarray(ops.to_host(array), np.float64) for array in (code, base.W))
        blocks = blocks_from_code(
            samples, W_base, bias=base.bias, activation=base.activation, spread=spread
        )
        for block, name in ((base.W, "W_base"), (base.b, "b_base"), (recovery.W, "W_rec")):
            if block is not None:
                block[...] = ops.to_device(blocks[name], block.dtype)

    def project(self, nonnegative: str) -> None:
        """Set negative weights to 0: of no layer ("off"), of the "recovery", or of "both"."""
        chosen = {"off": [], "recovery": [self.recovery], "both": [self.recovery, self.base]}
        for layer in chosen[nonnegative]:
            layer.ops.project_nonnegative(layer.W)


def blocks_from_code(
    code: Floats, W_base: Floats, *, bias: bool, activation: str, spread: float
) -> dict[str, Floats]:
    """Return ``W_base``, ``W_rec`` and, with ``bias``, ``b_base`` that suit some codes.

    The base (equation 3) gets the principal components of the code, so that ``H`` keeps most of its
    variance. Each pre-activation has mean 0 and standard deviation ``spread``. The recovery gets
    the least-squares solution of ``code = W H``, as in alternating least squares for classical NMF.
    See ``derivations/03-nmf-module.md``.

    Parameters
    ----------
    code : ndarray of shape (n, width), float64
        Codes of some clean samples under the untrained encoder.
    W_base : ndarray of shape (rank, width), float64
        Random weights. A unit keeps them if there are fewer components than units.
    bias : bool
        Whether the base has a bias. Without one, a pre-activation has mean 0 only if its weights
        are orthogonal to the mean of the code, so we look for components in that subspace.
    activation : str
        Activation of the base.
    spread : float
        Standard deviation of the first pre-activations.
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
