"""The paper's equations as the paper writes them: one sample at a time, columns, plain NumPy.

Read this file first, next to section 3 of Chen, Jin, Liu and Zhang (2021). A column is a vector of
shape (width,). ``h[l]`` is the output of supervisor layer l. ``t[l]`` is the output of student
layer l, which the paper writes as h with a tilde. Nothing here is fast: the engine computes the
same for whole batches, and tests compare the two. This file imports nothing of the package, so a
mistake cannot be on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (lambda z: 1 - 2 / (np.exp(2 * z) + 1), lambda z: 4 / (np.exp(z) + np.exp(-z)) ** 2),
    "softplus": (lambda z: np.log(1 + np.exp(z)), lambda z: np.exp(z) / (1 + np.exp(z))),
}
"""Each function f with its derivative f', both of the pre-activation z."""


class Layer:
    """Layer with weights W (width, width below), bias b (width,) or None, and a function f."""

    def __init__(self, W: Array, b: Array | None = None, f: str = "relu") -> None:
        self.W, self.b = W, b
        self.f, self.f_prime = ACTIVATIONS[f]
        self.parameters = [W] if b is None else [W, b]

    def pre_activation(self, below: Array) -> Array:
        """Return ``z = W h(l-1) + b``, or ``W h(l-1)`` without bias."""
        return self.W @ below if self.b is None else self.W @ below + self.b

    def forward(self, below: Array) -> Array:
        """Return h(l), given the output h(l-1) of the layer below."""
        return self.f(self.pre_activation(below))  # equation 1: h(l) = f(W(l) h(l-1) + b(l))

    def slope(self, below: Array) -> Array:
        """Return the paper's f', a diagonal matrix."""
        return np.diag(self.f_prime(self.pre_activation(below)))

    def backward(self, below: Array, g: Array) -> tuple[list[Array], Array]:
        """Return the gradients of `parameters`, and g(l-1); g(l) is the gradient for h(l)."""
        delta = self.slope(below) @ g  # equation 9: delta(l) = f'(l) g(l)
        dW = np.outer(delta, below)  # equation 9: dW(l) = delta(l) h(l-1)^T
        db = delta  # equation 9: db(l) = delta(l)
        g_below = self.W.T @ delta  # equation 9: g(l-1) = W(l)^T delta(l)
        return [dW] if self.b is None else [dW, db], g_below


class NMFModule:
    """Base W' (r, m) and recovery W (m, r) without bias; in the demo the base has a bias (r,)."""

    def __init__(self, W_base: Array, W_rec: Array, b_base: Array | None = None) -> None:
        self.base, self.recovery = Layer(W_base, b_base, "sigmoid"), Layer(W_rec, None, "relu")

    def forward(self, X: Array) -> tuple[Array, Array]:
        """Return H and the recovered code X^, given the code X of one sample."""
        H = self.base.forward(X)  # equation 3: H = sigmoid(W' X)
        return H, self.recovery.forward(H)  # equation 3: X^ = ReLU(W H)


@dataclass(frozen=True)
class Objective:
    """Weights of equation 7, and the differences between the paper and its authors' demo."""

    alpha: float = 1.0  # of the symmetric loss
    beta: float = 1.0  # of the apposition loss
    gamma: float = 1.0  # of the non-negative constraint loss
    reconstruction: float = 0.0  # of the student's distance from the clean sample; demo: 1
    apposition_to_supervisor: bool = False  # does that loss train the supervisor too? demo: True
    mean: bool = False  # is a loss a mean over the features? demo: True

    def distance(self, a: Array, b: Array) -> float:
        """Return ``||a - b||^2``, divided by the number of features if `mean`."""
        return float((a - b) @ (a - b)) / (len(a) if self.mean else 1)

    def pull(self, weight: float, a: Array, b: Array, N: int) -> Array:
        """Return ``(2 weight / N)(a - b)``, the gradient of ``(weight / N) distance`` for a."""
        return 2 * weight / N * (a - b) / (len(a) if self.mean else 1)


def appositive(l: int, L: int) -> int:
    """Return s(l), the student layer that the apposition loss pairs with supervisor layer l."""
    return l if l <= L // 2 else l + 2


class Chain:
    """Layers in a row; ``parameters`` are W and b of layer 1, of layer 2, and so on."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.parameters = [theta for layer in layers for theta in layer.parameters]

    def forward(self, x: Array) -> list[Array]:
        """Return ``[h(0), h(1), ..., h(L)]``, where h(0) = x."""
        h = [x]
        for layer in self.layers:
            h.append(layer.forward(h[-1]))
        return h


class Supervisor(Chain):
    """Auto-encoder of L layers, L even. It sees the clean sample; its output is y = h(L)."""

    def gradient(self, h: list[Array], t: list[Array], objective: Objective, N: int) -> list[Array]:
        """Return one sample's share of the gradient of `parameters` (equation 9)."""
        L, found = len(self.layers), list[Array]()
        g = objective.pull(objective.alpha, h[L], h[0], N)  # equation 9: g(L) = (2 alpha/N)(y - x)
        for l in range(L, 0, -1):
            if objective.apposition_to_supervisor:
                g = g + objective.pull(objective.beta, h[l], t[appositive(l, L)], N)
            own, g = self.layers[l - 1].backward(h[l - 1], g)
            found = own + found
        return found


class Student(Chain):
    """Encoder, NMF module and decoder: L + 2 layers. It sees the noisy sample."""

    def __init__(self, encoder: Sequence[Layer], nmf: NMFModule, decoder: Sequence[Layer]) -> None:
        super().__init__([*encoder, nmf.base, nmf.recovery, *decoder])

    def direct_gradient(
        self, l: int, h: list[Array], t: list[Array], objective: Objective, N: int
    ) -> Array:
        """Return ``Grad[h~(l)]``, the gradient of the losses that compare h~(l) itself."""
        L, pull = len(self.layers) - 2, objective.pull
        beta, gamma = objective.beta, objective.gamma
        if l < L // 2:  # encoder
            grad = pull(beta, t[l], h[l], N)  # equation 10
        elif l == L // 2:  # the code X
            grad = pull(beta, t[l], h[l], N) + pull(gamma, t[l], t[l + 2], N)  # equation 10
        elif l == L // 2 + 1:  # H, which no loss compares
            grad = np.zeros_like(t[l])  # equation 10
        elif l == L // 2 + 2:  # the recovered code X^
            grad = pull(gamma, t[l], t[l - 2], N)  # equation 10
        else:  # decoder
            grad = pull(beta, t[l], h[l - 2], N)  # equation 10
        if l == L + 2:  # the demo
            grad = grad + pull(objective.reconstruction, t[l], h[0], N)
        return grad

    def gradient(self, h: list[Array], t: list[Array], objective: Objective, N: int) -> list[Array]:
        """Return one sample's share of the gradient of `parameters` (equation 10)."""
        found, from_above = list[Array](), np.zeros_like(t[-1])
        for l in range(len(self.layers), 0, -1):
            # g(l) = Grad[h~(l)] + W(l+1)^T f'(l+1) g(l+1)
            g = self.direct_gradient(l, h, t, objective, N) + from_above  # equation 10
            own, from_above = self.layers[l - 1].backward(t[l - 1], g)
            found = own + found
        return found


def losses(
    supervisor: Supervisor, student: Student, X: Array, X_noisy: Array, objective: Objective
) -> dict[str, float]:
    """Return the losses by name, given N clean and noisy samples, the rows of X and X_noisy."""
    L, N, distance = len(supervisor.layers), len(X), objective.distance
    sym = ap = nc = rec = 0.0
    for x, x_noisy in zip(X, X_noisy, strict=True):
        h, t = supervisor.forward(x), student.forward(x_noisy)
        sym += distance(x, h[L]) / N  # equation 4
        ap += sum(distance(h[l], t[appositive(l, L)]) for l in range(1, L + 1)) / N  # equation 5
        nc += distance(t[L // 2], t[L // 2 + 2]) / N  # equation 6
        rec += distance(x, t[L + 2]) / N  # the demo
    total = objective.alpha * sym + objective.beta * ap + objective.gamma * nc  # equation 7
    total += objective.reconstruction * rec
    return {"loss_in": total, "loss_sym": sym, "loss_ap": ap, "loss_nc": nc, "loss_rec": rec}


def gradients(
    supervisor: Supervisor, student: Student, X: Array, X_noisy: Array, objective: Objective
) -> tuple[list[Array], list[Array]]:
    """Return the gradients of the parameters of both networks, sums over the samples."""
    outputs = [
        (supervisor.forward(x), student.forward(x_noisy))
        for x, x_noisy in zip(X, X_noisy, strict=True)
    ]

    def total(network: Supervisor | Student) -> list[Array]:
        shares = [network.gradient(h, t, objective, len(X)) for h, t in outputs]
        return [np.sum(parts, axis=0) for parts in zip(*shares, strict=True)]

    return total(supervisor), total(student)


def noisy(x: Array, epsilon: Array) -> Array:
    """Return the student's input, a sample plus noise."""
    return x + epsilon  # equation 2: x~ = x + epsilon


def descend(theta: Array, gradient: Array, rho: float) -> Array:
    """Return a parameter after one step of gradient descent with learning rate rho."""
    return theta - rho * gradient  # equation 8: theta <- theta - rho dL/dtheta


def tensor_gradient(layer: Layer, below: Array, g: Array) -> Array:
    """Return dW from section 3.2's tensor of order three, ``dh_k/dW_ij = f'_ki h(l-1)_j``."""
    tensor = np.einsum("ki,j->kij", layer.slope(below), below)
    dW: Array = np.einsum("k,kij->ij", g, tensor)
    return dW
