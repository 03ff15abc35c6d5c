"""The paper's formulas, literally: one sample at a time, columns, explicit matrices.

The second copy of the formulas, and the only other one: it imports nothing from the package, so
that a mistake can not be on both sides. It is slow and is meant to be read beside the paper (Chen,
Jin, Liu and Zhang, 2021, section 3). What the engine computes for a batch with rows as samples is
computed here for each sample as the paper writes it: ``h = f(W h + b)`` with columns of shape
(width, 1), ``f'`` as a diagonal matrix, the gradient of a weight matrix as an outer product, or
as the order-three tensor of section 3.2 contracted with the signal.
"""

from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """``h = f(W h + b)``; ``b`` is a column or None."""

    W: np.ndarray
    b: np.ndarray | None
    f: str


class Weights(NamedTuple):
    """Equation 7's weights, and the four places where the authors' demo differs from the paper.

    The fourth, a bias in the base layer, is a matter of the layers.
    """

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0
    reconstruction: float = 0.0  # demo 1: the student's output against the clean input
    both_ends: bool = False  # demo True: the apposition loss moves the supervisor too
    mean: bool = False  # demo True: mean over features, not sum


# -- equations 1 and 3 ------------------------------------------------------------------------


def f(name, z):
    """Return the activation of a column."""
    return {
        "identity": lambda: z,
        "relu": lambda: np.where(z > 0, z, 0.0),
        "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "tanh": lambda: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
        "softplus": lambda: np.log(1 + np.exp(z)),
    }[name]()


def f_prime(name, z):
    """Return the paper's ``f'[W h + b]``: a diagonal matrix, from the pre-activation."""
    slope = {
        "identity": lambda: np.ones_like(z),
        "relu": lambda: np.where(z > 0, 1.0, 0.0),
        "sigmoid": lambda: np.exp(-z) / (1 + np.exp(-z)) ** 2,
        "tanh": lambda: 4 / (np.exp(z) + np.exp(-z)) ** 2,
        "softplus": lambda: np.exp(z) / (1 + np.exp(z)),
    }[name]()
    return np.diag(slope[:, 0])


def pre_activation(layer, h):
    """Return ``W h + b``, or ``W h`` in the NMF module, which has no bias (equation 3)."""
    return layer.W @ h if layer.b is None else layer.W @ h + layer.b


def forward(layers, x):
    """Return ``[h(0), h(1), ..., h(L)]`` of one column x (equation 1; h(0) = x)."""
    h = [x]
    for layer in layers:
        h.append(f(layer.f, pre_activation(layer, h[-1])))
    return h


def columns(batch):
    """Return the samples of a batch, rows there, as columns."""
    return [row.reshape(-1, 1).astype(np.float64) for row in batch]


def rows(samples):
    """Return columns as a batch."""
    return np.concatenate([sample.T for sample in samples])


# -- equations 4 to 7 -------------------------------------------------------------------------


def square(v, weights):
    """Return ``||v||^2`` of a column, or its mean over the features (demo)."""
    total = sum(float(entry) ** 2 for entry in v[:, 0])
    return total / len(v) if weights.mean else total


def pairs(L):
    """Return the L pairs (student layer, supervisor layer) of appositive layers."""
    encoder = [(number, number) for number in range(1, L // 2 + 1)]
    decoder = [(number, number - 2) for number in range(L // 2 + 3, L + 3)]
    return encoder + decoder


def losses(supervisor, student, X, X_noisy, weights):
    """Return the losses of a batch by name, equation 7's first."""
    L, N = len(supervisor), len(X)
    sym = ap = nc = rec = 0.0
    for x, x_noisy in zip(columns(X), columns(X_noisy), strict=True):
        h, h_student = forward(supervisor, x), forward(student, x_noisy)
        sym += square(x - h[L], weights) / N  # equation 4
        for k, number in pairs(L):  # equation 5
            ap += square(h[number] - h_student[k], weights) / N
        nc += square(h_student[L // 2] - h_student[L // 2 + 2], weights) / N  # equation 6
        rec += square(h_student[L + 2] - x, weights) / N  # the demo's
    total = weights.alpha * sym + weights.beta * ap + weights.gamma * nc  # equation 7
    total += weights.reconstruction * rec
    return {"loss_in": total, "loss_sym": sym, "loss_ap": ap, "loss_nc": nc, "loss_rec": rec}


def moving_loss(net, supervisor, student, X, X_noisy, weights):
    """Return what moves a network: the terms whose gradient equations 9 and 10 hand to it."""
    value = losses(supervisor, student, X, X_noisy, weights)
    if net == "supervisor":
        ap = weights.beta * value["loss_ap"] if weights.both_ends else 0.0
        return weights.alpha * value["loss_sym"] + ap
    return (
        weights.beta * value["loss_ap"]
        + weights.gamma * value["loss_nc"]
        + weights.reconstruction * value["loss_rec"]
    )


# -- equation 9 -------------------------------------------------------------------------------


def outer_product(slope, g, below):
    """Return ``(f' g) o h(l-1)``: the gradient of W as an outer product."""
    delta = slope @ g
    return delta @ below.T


def tensor_contraction(slope, g, below):
    """Return the gradient of W from the order-three tensor ``dh/dW = h(l-1) o f'``.

    Entry (k, i, j) is the derivative of ``h_k`` by ``W_ij``: ``f'_ki h(l-1)_j``.
    """
    dh_dW = np.einsum("ki,j->kij", slope, below[:, 0])
    return np.einsum("k,kij->ij", g[:, 0], dh_dW)


def share(width, weights, N):
    """Return ``1 / N``, or ``1 / (N width)`` where the features are averaged too."""
    return 1 / (N * width) if weights.mean else 1 / N


def supervisor_gradient(
    supervisor, student, X, X_noisy, weights, weight_gradient=outer_product
):  # fmt: skip
    """Return ``[(dW(l), db(l)) for l = 1..L]`` of the supervisor, summed over the samples.

    ``g(L) = (2 alpha / N)(y - x)``; ``delta(l) = f'(l) g(l)``; ``dW(l) = delta(l) o h(l-1)``;
    ``db(l) = delta(l)``; ``g(l-1) = W(l)^T delta(l)``.
    """
    L, N = len(supervisor), len(X)
    total = zeros(supervisor)
    for x, x_noisy in zip(columns(X), columns(X_noisy), strict=True):
        h, h_student = forward(supervisor, x), forward(student, x_noisy)
        partner = {number: k for k, number in pairs(L)}
        g = 2 * weights.alpha * share(len(x), weights, N) * (h[L] - x)
        for number in range(L, 0, -1):
            if weights.both_ends:  # the demo's second difference
                scale = 2 * weights.beta * share(len(h[number]), weights, N)
                g = g + scale * (h[number] - h_student[partner[number]])
            g = down(supervisor, number, h, g, total, weight_gradient)
    return total


# -- equation 10 ------------------------------------------------------------------------------


def direct_gradient(number, L, h_student, h, x, weights, N):
    """Return ``Grad[h~(l)]``, the part that comes straight from the losses, case by case."""
    per = share(len(h_student[number]), weights, N)
    beta, gamma = 2 * weights.beta * per, 2 * weights.gamma * per
    code, code_hat = h_student[L // 2], h_student[L // 2 + 2]
    if number < L // 2:  # encoder
        grad = beta * (h_student[number] - h[number])
    elif number == L // 2:  # the encoder's output, the code X
        grad = beta * (h_student[number] - h[number]) + gamma * (code - code_hat)
    elif number == L // 2 + 1:  # the base H
        grad = np.zeros_like(h_student[number])
    elif number == L // 2 + 2:  # the recovered code X^
        grad = gamma * (code_hat - code)
    else:  # decoder
        grad = beta * (h_student[number] - h[number - 2])
    if number == L + 2:  # the demo's first difference
        grad = grad + 2 * weights.reconstruction * per * (h_student[number] - x)
    return grad


def student_gradient(
    supervisor, student, X, X_noisy, weights, weight_gradient=outer_product
):  # fmt: skip
    """Return ``[(dW(l), db(l)) for l = 1..L+2]`` of the student, summed over the samples.

    ``g~(l) = Grad[h~(l)] + W(l+1)^T f'(l+1) g~(l+1)``.
    """
    L, N = len(supervisor), len(X)
    total = zeros(student)
    for x, x_noisy in zip(columns(X), columns(X_noisy), strict=True):
        h, h_student = forward(supervisor, x), forward(student, x_noisy)
        from_above = np.zeros_like(h_student[-1])
        for number in range(L + 2, 0, -1):
            g = direct_gradient(number, L, h_student, h, x, weights, N) + from_above
            from_above = down(student, number, h_student, g, total, weight_gradient)
    return total


def down(layers, number, h, g, total, weight_gradient):
    """Add the gradients of layer l for one sample; return ``W(l)^T f'(l) g(l)``."""
    layer, below = layers[number - 1], h[number - 1]
    slope = f_prime(layer.f, pre_activation(layer, below))
    dW, db = total[number - 1]
    dW += weight_gradient(slope, g, below)
    if db is not None:
        db += slope @ g
    return layer.W.T @ slope @ g


def zeros(layers):
    """Return a zero gradient for every layer."""
    return [
        (np.zeros(layer.W.shape), None if layer.b is None else np.zeros(layer.b.shape))
        for layer in layers
    ]


# -- equation 8 -------------------------------------------------------------------------------


def gradient_descent(theta, gradients, rho):
    """Return theta after ``theta <- theta - rho g`` for each of the gradients."""
    for g in gradients:
        theta = theta - rho * g
    return theta


def heavy_ball(theta, gradients, rho, mu):
    """Return theta after ``v <- mu v + g``, ``theta <- theta - rho v`` for each gradient."""
    v = np.zeros_like(theta)
    for g in gradients:
        v = mu * v + g
        theta = theta - rho * v
    return theta


def adam(theta, gradients, rho, b1, b2, eps):
    """Return theta after a step of Kingma and Ba's algorithm 1 for each of the gradients."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        theta = theta - rho * m_hat / (np.sqrt(v_hat) + eps)
    return theta


# -- finite differences -----------------------------------------------------------------------


def partial_derivatives(function, array, step=1e-5):
    """Return the central difference of a scalar function by each entry of an array.

    The array is moved in place, one entry at a time, and put back.
    """
    slopes = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        entry = array[index]
        array[index] = entry + step
        upper = function()
        array[index] = entry - step
        lower = function()
        array[index] = entry
        slopes[index] = (upper - lower) / (2 * step)
    return slopes
