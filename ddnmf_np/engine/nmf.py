"""NMF module between encoder and decoder (equation 3)."""

from __future__ import annotations

from ddnmf_np.backends.ops import Array
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.network import Network


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

    def project(self, nonnegative: str) -> None:
        """Set negative weights to 0: of no layer ("off"), of the "recovery", or of "both"."""
        chosen = {"off": [], "recovery": [self.recovery], "both": [self.recovery, self.base]}
        for layer in chosen[nonnegative]:
            layer.ops.project_nonnegative(layer.W)
