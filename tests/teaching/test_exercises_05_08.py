"""The exercises of notebooks 5 to 8: right answers written by hand pass, usual mistakes are named.

The answers below use nothing of the package, so that a reference that is wrong is found too.
"""

from itertools import permutations

import numpy as np
import pytest

from ddnmf_np.teaching import check
from ddnmf_np.teaching.exercise import SEEDS
from ddnmf_np.teaching.exercises import nb05_student, nb06_training, nb07_representation, nb08_gpu

MODULES = (nb05_student, nb06_training, nb07_representation, nb08_gpu)
EXERCISES = {exercise.name: exercise for module in MODULES for exercise in module.EXERCISES}


def student_losses(h, t):
    pairs = [(h[1], t[1]), (h[2], t[2]), (h[3], t[5]), (h[4], t[6])]
    loss_ap = sum(np.linalg.norm(a[i] - b[i]) ** 2 for a, b in pairs for i in range(len(a)))
    loss_nc = sum(np.linalg.norm(a - b) ** 2 for a, b in zip(t[2], t[4], strict=True))
    return loss_ap / len(t[0]), loss_nc / len(t[0])


def direct_gradients(h, t, beta, gamma):
    n = len(t[0])
    return {
        "Grad1": 2 * beta / n * (t[1] - h[1]),
        "Grad2": 2 * beta / n * (t[2] - h[2]) + 2 * gamma / n * (t[2] - t[4]),
        "Grad3": np.zeros_like(t[3]),
        "Grad4": 2 * gamma / n * (t[4] - t[2]),
        "Grad5": 2 * beta / n * (t[5] - h[3]),
        "Grad6": 2 * beta / n * (t[6] - h[4]),
    }


def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    dW_rec, dW_base, dcode = np.zeros_like(W_rec), np.zeros_like(W_base), np.zeros_like(code)
    for i in range(len(code)):  # the paper's columns, one sample at a time
        delta_hat = np.diag((code_hat[i] > 0) * 1.0) @ g[i]
        delta_H = np.diag(H[i] * (1 - H[i])) @ W_rec.T @ delta_hat
        dW_rec += np.outer(delta_hat, H[i])
        dW_base += np.outer(delta_H, code[i])
        dcode[i] = W_base.T @ delta_H
    return dW_rec, dW_base, dcode


def student_gradient(t, W, Grad):
    labels, found = ("1", "2", "_base", "_rec", "5", "6"), {}
    above = np.zeros_like(t[6])
    for layer in (6, 5, 4, 3, 2, 1):
        slope = t[3] * (1 - t[3]) if layer == 3 else (t[layer] > 0) * 1.0
        delta = slope * (Grad[layer] + above)
        found["W" + labels[layer - 1]] = delta.T @ t[layer - 1]
        found["b" + labels[layer - 1]] = delta.sum(axis=0)
        above = delta @ W[layer - 1]
    return found


def masking_noise(x, keep, rate):
    return np.where(keep, x / (1 - rate), 0.0)


def adam_step(theta, g, m, v, t, lr, b1, b2, eps):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return theta - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps), m, v


def algorithm_1_step(model, x, x_noisy, lr):
    model.forward(x, x_noisy)
    model.backward(x)
    for net in model.nets.values():
        net.arena.params -= lr * net.arena.grads


def clustering_accuracy(y, clusters):
    k = max(y.max(), clusters.max()) + 1
    return max(np.mean(np.array(names)[clusters] == y) for names in permutations(range(k)))


def unit_effects(decode, H):
    low, median, high = np.quantile(H, [0.05, 0.5, 0.95], axis=0)
    effects = []
    for k in range(H.shape[1]):
        up, down = median.copy(), median.copy()
        up[k], down[k] = high[k], low[k]
        effects.append((decode(up[None]) - decode(down[None]))[0])
    return np.array(effects)


def swap_units(H_a, H_b):
    return np.where(np.eye(len(H_a)) == 1, H_b, H_a)


def additivity_gap(decode, H):
    parts = decode(np.eye(H.shape[1]))
    total = sum(H[:, [k]] * parts[k] for k in range(H.shape[1]))
    return np.linalg.norm(decode(H) - total, axis=1) / np.linalg.norm(decode(H), axis=1)


def layer_intensity(n, fan_in, fan_out, itemsize):
    flop = 2 * n * fan_out * fan_in
    moved = itemsize * (n * fan_in + fan_in * fan_out + n * fan_out)
    return flop, moved, flop / moved


def roofline_time(flop, moved, peak, bandwidth):
    bound = "compute" if flop / moved > peak / bandwidth else "memory"
    return (flop / peak if bound == "compute" else moved / bandwidth), bound


def delta_in_place(h, dh, ref, c, work, db):
    np.subtract(h, ref, out=work)
    np.multiply(work, c, out=work)
    np.add(dh, work, out=dh)
    np.greater(h, 0.0, out=work)
    np.multiply(dh, work, out=dh)
    np.sum(dh, axis=0, out=db)


def one_crossing(outputs, targets):
    total = 0.0
    for output, target in zip(outputs, targets, strict=True):
        total = total + ((output - target) ** 2).sum()
    return float(total)


def pencil_module():
    numbers = (np.array([[v]]) for v in (2.0, 0.5, 1.0, 1.0, 2.0, 1.0))
    return [gradient.item() for gradient in nmf_backward(*numbers)]


def pencil_adam():
    return [adam_step(0.0, g, 0.0, 0.0, 1, 1.0, 0.9, 0.999, 0.0)[0] for g in (4.0, 0.001)]


def pencil_purity():
    pairs = [(0, 0)] * 40 + [(0, 1)] * 30 + [(1, 0)] * 20 + [(1, 1)] * 10
    y, clusters = np.array(pairs).T
    largest = [np.bincount(y[clusters == k]).max() for k in (0, 1)]
    return clustering_accuracy(y, clusters), sum(largest) / 100


def pencil_descent():
    return 3 * np.dtype("float32").itemsize, len(["multiply", "subtract"])


ANSWERS = {
    name.replace("_", "-"): answer
    for name, answer in globals().items()
    if name.replace("_", "-") in EXERCISES
}


def test_every_exercise_has_an_answer_here():
    assert ANSWERS.keys() == EXERCISES.keys()


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


def delta_with_new_arrays(h, dh, ref, c, work, db):
    dh[...] = (dh + c * (h - ref)) * (h > 0)
    db[...] = dh.sum(axis=0)


def printed_in_every_batch(outputs, targets):
    total = 0.0
    for output, target in zip(outputs, targets, strict=True):
        total = total + ((output - target) ** 2).sum()
        f"{total:.3f}"
    return total.item()


def printed_as_it_is(outputs, targets):
    total = 0.0
    for output, target in zip(outputs, targets, strict=True):
        total = total + ((output - target) ** 2).sum()
        str(total)
    return float(total)


def stacked(outputs, targets):
    return float(((np.stack(outputs) - np.stack(targets)) ** 2).sum())


def read_by_item(outputs, targets):
    return sum(((a - b) ** 2).sum() for a, b in zip(outputs, targets, strict=True)).item()


def delta_on_the_side(h, dh, ref, c, work, db):
    side = np.empty(h.shape)
    np.subtract(h, ref, out=side)
    np.multiply(side, c, out=work)
    np.add(dh, work, out=dh)
    np.greater(h, 0.0, out=work)
    np.multiply(dh, work, out=dh)
    np.matmul(np.ones(len(h)), dh, out=db)


def delta_of_a_copy(h, dh, ref, c, work, db):
    side = h.copy()
    np.subtract(side, ref, out=side)
    np.multiply(side, c, out=side)
    np.add(dh, side, out=dh)
    np.multiply(dh, np.greater(h, 0.0, out=work), out=dh)
    np.sum(dh, axis=0, out=db)


def delta_by_copyto(h, dh, ref, c, work, db):
    np.copyto(work, h)
    np.subtract(work, ref, work)
    np.multiply(work, c, work)
    np.add(dh, work, dh)
    np.greater(h, 0.0, work)
    np.multiply(dh, work, dh)
    np.sum(dh, 0, None, db)


def delta_over_its_input(h, dh, ref, c, work, db):
    np.greater(h, 0.0, out=work)
    np.subtract(h, ref, out=ref)
    np.multiply(ref, c, out=ref)
    np.add(dh, ref, out=dh)
    np.multiply(dh, work, out=dh)
    np.sum(dh, axis=0, out=db)


def slopes_from_inputs(code, H, code_hat, W_base, W_rec, g):
    """Compute the slopes from z: the module has no bias, so that z can be had again."""
    delta_hat = g * (H @ W_rec.T > 0)
    sigmoid = 1 / (1 + np.exp(-code @ W_base.T))
    delta_H = delta_hat @ W_rec * sigmoid * (1 - sigmoid)
    return delta_hat.T @ H, delta_H.T @ code, delta_H @ W_base


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("one-crossing", stacked),
        ("one-crossing", read_by_item),
        ("delta-in-place", delta_by_copyto),
        ("nmf-backward", slopes_from_inputs),
    ],
)
def test_another_way_passes_too(name, answer):
    result = check(name, answer)
    assert result.passed, result.text


def test_an_input_that_is_overwritten_is_named():
    assert "changes its input ref" in check("delta-in-place", delta_over_its_input).text


@pytest.mark.parametrize(
    ("name", "answer", "block", "words"),
    [
        ("delta-in-place", delta_with_new_arrays, "new arrays", "it should be 0"),
        ("one-crossing", printed_in_every_batch, "crossings", "it should be 1"),
        ("one-crossing", printed_as_it_is, "crossings", "it should be 1"),
        ("delta-in-place", delta_on_the_side, "new arrays", "it should be 0"),
        ("delta-in-place", delta_of_a_copy, "new arrays", "it should be 0"),
    ],
)
def test_what_is_wrong_is_said_of_its_block(name, answer, block, words):
    result = check(name, answer)
    (line,) = [line for line in result.text.splitlines() if line.startswith(f"  {block}:")]
    assert not result.passed
    assert words in line


def test_a_new_array_in_the_arena_is_no_step_in_place():
    def step(model, x, x_noisy, lr):
        model.forward(x, x_noisy)
        model.backward(x)
        for net in model.nets.values():
            net.arena.params = net.arena.params - lr * net.arena.grads

    result = check("algorithm-1-step", step)
    assert not result.passed
    assert "arena.params is a new array" in result.text


@pytest.mark.parametrize("name", [n for n, e in EXERCISES.items() if e.run is not type(e).run])
def test_an_empty_function_that_works_in_place_is_called_empty(name):
    assert "the function is empty" in check(name, lambda *arguments: None).text


def test_a_clustering_problem_tells_the_scores_apart():
    """Else a purity, or labels compared as they are, would pass on every problem."""
    fooled = []
    for seed in SEEDS:
        y, clusters = nb07_representation._clusters_problem(seed)
        acc = clustering_accuracy(y, clusters)
        purity = sum(np.bincount(y[clusters == k]).max() for k in np.unique(clusters)) / len(y)
        rows = sum(np.bincount(clusters[y == k]).max() for k in np.unique(y)) / len(y)
        greedy = nb07_representation._greedy(y, clusters)
        fooled.append([wrong == acc for wrong in (purity, rows, greedy, np.mean(y == clusters))])
    assert not np.all(fooled, axis=0).any()
