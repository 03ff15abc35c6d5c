"""The exercises of notebooks 1 to 4: answers by hand pass, usual mistakes are named.

The answers below use nothing of the package, so that a reference that is wrong is found too.
"""

import numpy as np
import pytest

from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching import check, student
from ddnmf_np.teaching.exercises import (
    nb01_nmf,
    nb02_layer,
    nb03_gradcheck,
    nb04_supervisor,
)

MODULES = (nb01_nmf, nb02_layer, nb03_gradcheck, nb04_supervisor)
EXERCISES = {exercise.name: exercise for module in MODULES for exercise in module.EXERCISES}


def nmf_gradient(x, H, W):
    gradient = np.zeros_like(H)
    for i, k in np.ndindex(*H.shape):
        for j in range(x.shape[1]):
            gradient[i, k] += (sum(H[i] * W[j]) - x[i, j]) * W[j, k]
    return gradient


def nmf_step(x, H, W):
    H = H - H / (H @ W.T @ W) * nmf_gradient(x, H, W)  # descent with a step for each entry
    return H, W - W / (W @ H.T @ H) * nmf_gradient(x.T, W, H)


def hoyer_sparsity(parts):
    D = parts.shape[1]
    ratios = [sum(abs(w)) / sum(w**2) ** 0.5 for w in parts]
    return np.array([(D**0.5 - ratio) / (D**0.5 - 1) for ratio in ratios])


def dense_forward(x, W, b):
    return np.array([np.maximum(W @ x_i + b, 0) for x_i in x])


def slope_from_output(h):
    return 1 / np.cosh(np.arctanh(h)) ** 2


def layer_one_sample(x, h, W, g):
    delta = np.diag(h * (1 - h)) @ g
    return np.outer(delta, x), delta, W.T @ delta


def dense_backward(x, h, W, g):
    dW, db, dx = np.zeros_like(W), np.zeros(len(W)), np.zeros_like(x)
    for i in range(len(x)):
        delta = np.diag((h[i] > 0) * 1.0) @ g[i]
        dW += np.outer(delta, x[i])
        db += delta
        dx[i] = W.T @ delta
    return dW, db, dx


def pencil_layer():
    x, W, b, g = nb02_layer.pencil_numbers().values()
    h, dW, dx = [0.0, 0.0], np.zeros((2, 2)), np.zeros(2)
    for k in range(2):
        h[k] = max(sum(W[k, j] * x[j] for j in range(2)) + b[k], 0.0)
        for j in range(2):
            dW[k, j] = (h[k] > 0) * g[k] * x[j]
            dx[j] += (h[k] > 0) * g[k] * W[k, j]
    return h, dW, [(h[k] > 0) * g[k] for k in range(2)], dx


def central_difference(loss, theta, u, step):
    return (loss(theta + step * u) - loss(theta - step * u)) / (2 * step)


def best_step(eta, loss, third):
    """Find the bottom of the V by halving: where the two parts' slopes are equal."""
    low, high = 0.0, 1.0
    for _ in range(200):
        h = (low + high) / 2
        low, high = (h, high) if h / 3 * third < eta * loss / h**2 else (low, h)
    return h


def pencil_update():
    x, W, H = np.array([[2.0, 4.0]]), np.ones((2, 1)), np.ones((1, 1))
    H = nmf_step(x, H, W)[0]
    return H.item(), ((x - H @ W.T) ** 2).sum() / 2


def pencil_difference():
    S = central_difference(lambda t: t**3, 1.0, 1.0, 0.1)
    return S, S - 3


def pencil_loss():
    loss, g = symmetric_loss(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]), 1.0)
    return loss, g[0]


class AddsToBias(Dense):
    def backward(self, g=None, direct=()):
        dx = super().backward(g, direct)
        self.db += 0.001
        return dx


def fool_the_ones(x, h, W, g):
    dW = dense_backward(x, h, W, g)[0]
    dW[0, 0] += 1.0
    dW[0, 1] -= 1.0
    return dW


def symmetric_loss(x, y, alpha):
    loss = np.mean([np.linalg.norm(a - b) ** 2 for a, b in zip(x, y, strict=True)])
    return loss, 2 * alpha / len(x) * (y - x)


def supervisor_gradient(h, W, g):
    found = {}
    for layer in (4, 3, 2, 1):
        dW, db, g = dense_backward(h[layer - 1], h[layer], W[layer - 1], g)
        found |= {f"W{layer}": dW, f"b{layer}": db}
    return found


def descent_step(theta, gradient, lr):
    return theta - lr * gradient


def silent_units(h):
    return np.array([not any(column > 0) for column in h.T])


ANSWERS = {
    name.replace("_", "-"): answer
    for name, answer in globals().items()
    if name.replace("_", "-") in EXERCISES
} | {"plant-a-bug": AddsToBias}


def test_every_exercise_has_an_answer_here():
    assert ANSWERS.keys() == EXERCISES.keys()


def test_a_small_number_against_division_by_zero_is_right():
    def step(x, H, W):
        H = H * (x @ W) / (H @ (W.T @ W) + 1e-9)
        return H, W * (x.T @ H) / (W @ (H.T @ H) + 1e-9)

    assert check("nmf-step", step).passed


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_by_hand_passes(name):
    result = check(name, ANSWERS[name])
    assert result.passed, result.text


@pytest.mark.parametrize(
    ("name", "guess"),
    [(name, guess) for name, exercise in EXERCISES.items() for guess in exercise.mistakes],
)
def test_a_usual_mistake_is_named(name, guess):
    result = check(name, EXERCISES[name].mistakes[guess])
    assert not result.passed
    assert guess in result.text


def test_numbers_for_the_pencil_depend_on_the_student_alone(monkeypatch):
    monkeypatch.delenv("DDNMF_STUDENT", raising=False)
    drawn = []
    for name in ("Ada", "Emmy", "ada "):
        student(name)
        drawn.append([value.tolist() for value in nb02_layer.pencil_numbers().values()])
        assert check("pencil-layer", pencil_layer).passed
    assert drawn[0] == drawn[2] != drawn[1]
    student("Emmy")
    theirs = pencil_layer()
    student("Ada")
    assert not check("pencil-layer", lambda: theirs).passed
    monkeypatch.setenv("DDNMF_GRADING", "1")
    assert student("Emmy") == "Ada", "a submission cannot choose its numbers"


# -- exercises without one right answer ---------------------------------------------------------


class NoBug(Dense):
    def backward(self, g=None, direct=()):
        return super().backward(g, direct)


class OtherForward(Dense):
    def forward(self, x):
        return 2 * super().forward(x)


class NoSignal(Dense):
    def backward(self, g=None, direct=()):
        self.dh.fill(1.0)
        return super().backward()


class Raises(Dense):
    def backward(self, g=None, direct=()):
        self.dW[...] = direct @ self.x  # a mistake of another kind


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (NoBug, "accepts this layer"),
        (OtherForward, "forward pass differs"),
        (Raises, "self.dW[...] = direct @ self.x"),
        (object, "not a class that inherits from Dense"),
        (lambda x: x, "not a class that inherits from Dense"),
    ],
)
def test_what_is_no_planted_bug_is_refused_with_the_reason(layer, words):
    result = check("plant-a-bug", layer)
    assert not result.passed
    assert words in result.text


def test_a_planted_bug_is_shown_with_the_block_and_what_another_check_says():
    text = check("plant-a-bug", AddsToBias).text
    assert "b1 (wrong, relative error" in text
    assert "W1" not in text
    assert "all-ones signal finds it too" in text
    assert "all-ones signal misses it" in check("plant-a-bug", NoSignal).text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, h, W, g: ((h > 0) * g).T @ x, "make it wrong"),
        (lambda x, h, W, g: g.T @ x, "all-ones direction finds your bug: the sum of dW is"),
        (lambda x, h, W, g: x, "dW should be"),
        (lambda x, h: x, "TypeError"),
    ],
)
def test_what_does_not_fool_the_ones_is_refused_with_the_reason(answer, words):
    result = check("fool-the-ones", answer)
    assert not result.passed
    assert words in result.text
