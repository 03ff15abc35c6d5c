"""The solutions of the exercises; ``check(...).hint(3)`` prints one, a course leaves them out."""

from itertools import permutations

import numpy as np

from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching.exercises.nb02_layer import pencil_numbers


# %% nmf-gradient
def nmf_gradient(x, H, W):
    return (H @ W.T - x) @ W


# %% nmf-step
def nmf_step(x, H, W):
    H_new = H * (x @ W) / (H @ W.T @ W)
    W_new = W * (x.T @ H_new) / (W @ H_new.T @ H_new)
    return H_new, W_new


# %% hoyer-sparsity
def hoyer_sparsity(parts):
    root = np.sqrt(parts.shape[1])
    ones = np.abs(parts).sum(axis=1)
    twos = np.sqrt((parts**2).sum(axis=1))
    return (root - ones / twos) / (root - 1)


# %% pencil-update
def pencil_update():
    return 3, 1


# %% dense-forward
def dense_forward(x, W, b):
    return np.maximum(x @ W.T + b, 0)


# %% slope-from-output
def slope_from_output(h):
    return 1 - h**2


# %% layer-one-sample
def layer_one_sample(x, h, W, g):
    slope = np.diag(h * (1 - h))
    delta = slope @ g
    return np.outer(delta, x), delta, W.T @ delta


# %% dense-backward
def dense_backward(x, h, W, g):
    delta = (h > 0) * g
    return delta.T @ x, delta.sum(axis=0), delta @ W


# %% pencil-layer
def pencil_layer():
    x, W, b, g = pencil_numbers().values()  # each student has other numbers
    h = np.maximum(W @ x + b, 0)
    delta = (h > 0) * g
    return h, np.outer(delta, x), delta, W.T @ delta


# %% central-difference
def central_difference(loss, theta, u, step):
    return (loss(theta + step * u) - loss(theta - step * u)) / (2 * step)


# %% best-step
def best_step(eta, loss, third):
    return (3 * eta * loss / third) ** (1 / 3)  # from third h / 3 = eta loss / h^2


# %% plant-a-bug
class Broken(Dense):
    def backward(self, g=None, direct=()):
        dx = super().backward(g, direct)
        self.db *= 0.999  # a thousandth is enough
        return dx


# %% fool-the-ones
def fool_the_ones(x, h, W, g):
    dW = (g * (h > 0)).T @ x
    return dW[::-1]  # the same rows in another order have the same sum


# %% pencil-difference
def pencil_difference():
    return (1.1**3 - 0.9**3) / 0.2, 0.01


# %% symmetric-loss
def symmetric_loss(x, y, alpha):
    return ((x - y) ** 2).sum() / len(x), 2 * alpha / len(x) * (y - x)


# %% supervisor-gradient
def supervisor_gradient(h, W, g):
    gradients = {}
    for layer in (4, 3, 2, 1):
        delta = (h[layer] > 0) * g
        gradients[f"W{layer}"] = delta.T @ h[layer - 1]
        gradients[f"b{layer}"] = delta.sum(axis=0)
        g = delta @ W[layer - 1]
    return gradients


# %% descent-step
def descent_step(theta, gradient, lr):
    return theta - lr * gradient


# %% silent-units
def silent_units(h):
    return (h <= 0).all(axis=0)


# %% pencil-loss
def pencil_loss():
    return 0.5, [-1, 1]


# %% student-losses
def student_losses(h, t):
    pairs = [(h[1], t[1]), (h[2], t[2]), (h[3], t[5]), (h[4], t[6])]
    loss_ap = sum(((a - b) ** 2).sum() for a, b in pairs) / len(t[0])
    loss_nc = ((t[2] - t[4]) ** 2).sum() / len(t[0])
    return loss_ap, loss_nc


# %% direct-gradients
def direct_gradients(h, t, beta, gamma):
    b, c = 2 * beta / len(t[0]), 2 * gamma / len(t[0])
    return {
        "Grad1": b * (t[1] - h[1]),
        "Grad2": b * (t[2] - h[2]) + c * (t[2] - t[4]),
        "Grad3": np.zeros_like(t[3]),
        "Grad4": c * (t[4] - t[2]),
        "Grad5": b * (t[5] - h[3]),
        "Grad6": b * (t[6] - h[4]),
    }


# %% nmf-backward
def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    delta_hat = g * (code_hat > 0)
    delta_H = (delta_hat @ W_rec) * H * (1 - H)
    return delta_hat.T @ H, delta_H.T @ code, delta_H @ W_base


# %% student-gradient
def student_gradient(t, W, Grad):
    names, found = ["1", "2", "_base", "_rec", "5", "6"], {}
    from_above = 0
    for layer in range(6, 0, -1):
        slope = t[3] * (1 - t[3]) if layer == 3 else t[layer] > 0
        delta = slope * (Grad[layer] + from_above)
        found["W" + names[layer - 1]] = delta.T @ t[layer - 1]
        found["b" + names[layer - 1]] = delta.sum(axis=0)
        from_above = delta @ W[layer - 1]
    return found


# %% pencil-module
def pencil_module():
    return 0.5, 1, 0.5


# %% masking-noise
def masking_noise(x, keep, rate):
    return x * keep / (1 - rate)


# %% adam-step
def adam_step(theta, g, m, v, t, lr, b1, b2, eps):
    new_m = b1 * m + (1 - b1) * g
    new_v = b2 * v + (1 - b2) * g**2
    step = new_m / (1 - b1**t) / (np.sqrt(new_v / (1 - b2**t)) + eps)
    return theta - lr * step, new_m, new_v


# %% algorithm-1-step
def algorithm_1_step(model, x, x_noisy, lr):
    model.forward(x, x_noisy)
    model.backward(x)
    for net in model.nets.values():
        net.arena.params -= lr * net.arena.grads


# %% pencil-adam
def pencil_adam():
    return -1, -1


# %% clustering-accuracy
def clustering_accuracy(y, clusters):
    k = max(y.max(), clusters.max()) + 1
    return max(np.mean(np.array(classes)[clusters] == y) for classes in permutations(range(k)))


# %% unit-effects
def unit_effects(decode, H):
    low, median, high = np.quantile(H, [0.05, 0.5, 0.95], axis=0)
    up, down = (np.tile(median, (len(median), 1)) for _ in range(2))
    np.fill_diagonal(up, high)
    np.fill_diagonal(down, low)
    return decode(up) - decode(down)


# %% swap-units
def swap_units(H_a, H_b):
    codes = np.tile(H_a, (len(H_a), 1))
    np.fill_diagonal(codes, H_b)
    return codes


# %% additivity-gap
def additivity_gap(decode, H):
    whole, parts = decode(H), decode(np.eye(H.shape[1]))
    return np.linalg.norm(whole - H @ parts, axis=1) / np.linalg.norm(whole, axis=1)


# %% pencil-purity
def pencil_purity():
    return 0.5, 0.7


# %% layer-intensity
def layer_intensity(n, fan_in, fan_out, itemsize):
    flop = 2 * n * fan_in * fan_out
    moved = itemsize * (n * fan_in + fan_out * fan_in + n * fan_out)
    return flop, moved, flop / moved


# %% roofline-time
def roofline_time(flop, moved, peak, bandwidth):
    computing, moving = flop / peak, moved / bandwidth
    return max(computing, moving), "compute" if computing > moving else "memory"


# %% delta-in-place
def delta_in_place(h, dh, ref, c, work, db):
    np.subtract(h, ref, out=work)
    np.multiply(work, c, out=work)
    np.add(dh, work, out=dh)
    np.greater(h, 0.0, out=work)
    np.multiply(dh, work, out=dh)
    np.sum(dh, axis=0, out=db)


# %% one-crossing
def one_crossing(outputs, targets):
    total = 0.0
    for output, target in zip(outputs, targets, strict=True):
        total = total + ((output - target) ** 2).sum()
    return float(total)


# %% pencil-descent
def pencil_descent():
    return 12, 2
