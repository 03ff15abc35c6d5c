"""Typical wrong answers: exercise, and words of the reply that the answer gets."""

import numpy as np

from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching.exercises.nb02_layer import pencil_numbers

# ruff: noqa: F811 -- the cells are run one by one


# %% nmf-gradient: forgot H in the residual
def nmf_gradient(x, H, W):
    return -x @ W


# %% nmf-gradient: wrong sign
def nmf_gradient(x, H, W):
    return (x - H @ W.T) @ W


# %% nmf-gradient: twice the right one
def nmf_gradient(x, H, W):
    return 2 * (H @ W.T - x) @ W


# %% nmf-gradient: That is the shape of the transpose
def nmf_gradient(x, H, W):
    return W.T @ (x - H @ W.T).T


# %% nmf-step: with the old H; use the new one
def nmf_step(x, H, W):
    return H * (x @ W) / (H @ W.T @ W), W * (x.T @ H) / (W @ H.T @ H)


# %% nmf-step: upside down
def nmf_step(x, H, W):
    H = H * (H @ W.T @ W) / (x @ W)
    return H, W * (W @ H.T @ H) / (x.T @ H)


# %% nmf-step: changes its input H
def nmf_step(x, H, W):
    H *= (x @ W) / (H @ W.T @ W)
    W *= (x.T @ H) / (W @ H.T @ H)
    return H, W


# %% hoyer-sparsity: forgot the absolute values
def hoyer_sparsity(parts):
    root = np.sqrt(parts.shape[1])
    return (root - parts.sum(axis=1) / np.linalg.norm(parts, axis=1)) / (root - 1)


# %% hoyer-sparsity: forgot to divide by sqrt(D) - 1
def hoyer_sparsity(parts):
    return np.sqrt(parts.shape[1]) - np.abs(parts).sum(axis=1) / np.linalg.norm(parts, axis=1)


# %% hoyer-sparsity: it is a number and should have shape (7,)
def hoyer_sparsity(parts):
    root = np.sqrt(parts.shape[1])
    return (root - np.abs(parts).sum() / np.linalg.norm(parts)) / (root - 1)


# %% pencil-update: You forgot the half in F
def pencil_update():
    return 3, 2


# %% dense-forward: The bias is missing
def dense_forward(x, W, b):
    return np.maximum(x @ W.T, 0)


# %% dense-forward: added the bias after the ReLU
def dense_forward(x, W, b):
    return np.maximum(x @ W.T, 0) + b


# %% dense-forward: It raised ValueError
def dense_forward(x, W, b):
    return np.maximum(x @ W + b, 0)


# %% dense-forward: The ReLU is missing
def dense_forward(x, W, b):
    return x @ W.T + b


# %% slope-from-output: h is tanh(z) already
def slope_from_output(h):
    return 1 - np.tanh(h) ** 2


# %% slope-from-output: slope of the sigmoid
def slope_from_output(h):
    return h * (1 - h)


# %% layer-one-sample: result with g instead of delta
def layer_one_sample(x, h, W, g):
    return np.outer(g, x), g, W.T @ g


# %% layer-one-sample: You have the transpose
def layer_one_sample(x, h, W, g):
    delta = h * (1 - h) * g
    return np.outer(x, delta), delta, W.T @ delta


# %% dense-backward: 1/7 of the right one
def dense_backward(x, h, W, g):
    delta = g * (h > 0)
    return delta.T @ x / len(x), delta.mean(axis=0), delta @ W


# %% dense-backward: The sum over axis 0 is missing
def dense_backward(x, h, W, g):
    delta = g * (h > 0)
    return delta.T @ x, delta, delta @ W


# %% dense-backward: You have the transpose
def dense_backward(x, h, W, g):
    delta = g * (h > 0)
    return x.T @ delta, delta.sum(axis=0), delta @ W


# %% dense-backward: result with g instead of delta
def dense_backward(x, h, W, g):
    return g.T @ x, g.sum(axis=0), g @ W


# %% dense-backward: changes its input g
def dense_backward(x, h, W, g):
    g *= h > 0
    return g.T @ x, g.sum(axis=0), g @ W


# %% dense-backward: g is missing
def dense_backward(x, h, W, g):
    delta = 1.0 * (h > 0)
    return delta.T @ x, delta.sum(axis=0), delta @ W


# %% pencil-layer: result with g instead of delta
def pencil_layer():
    x, W, b, g = pencil_numbers().values()
    return np.maximum(W @ x + b, 0), np.outer(g, x), g, W.T @ g


# %% pencil-layer: You have the transpose
def pencil_layer():
    x, W, b, g = pencil_numbers().values()
    h = np.maximum(W @ x + b, 0)
    delta = g * (h > 0)
    return h, np.outer(x, delta), delta, W.T @ delta


# %% central-difference: one-sided difference
def central_difference(loss, theta, u, step):
    return (loss(theta + step * u) - loss(theta)) / step


# %% central-difference: divide by 2 * step
def central_difference(loss, theta, u, step):
    return loss(theta + step * u) - loss(theta - step * u)


# %% central-difference: twice the right one
def central_difference(loss, theta, u, step):
    return (loss(theta + step * u) - loss(theta - step * u)) / step


# %% best-step: take the cube root
def best_step(eta, loss, third):
    return 3 * eta * loss / third


# %% best-step: took the square root
def best_step(eta, loss, third):
    return np.sqrt(3 * eta * loss / third)


# %% plant-a-bug: accepts this layer
class PlantABug(Dense):
    def backward(self, g=None, direct=()):
        self.dW *= 2  # before the gradient is computed
        return super().backward(g, direct)


# %% plant-a-bug: forward pass differs
class PlantABug(Dense):
    def forward(self, x):
        return 2 * super().forward(x)


# %% fool-the-ones: the sum of dW is
def fool_the_ones(x, h, W, g):
    return 2 * (g * (h > 0)).T @ x


# %% fool-the-ones: make it wrong
def fool_the_ones(x, h, W, g):
    return (g * (h > 0)).T @ x


# %% pencil-difference: That is the difference on one side
def pencil_difference():
    return 3.31, 0.31


# %% symmetric-loss: averaged over the features too
def symmetric_loss(x, y, alpha):
    return ((x - y) ** 2).mean(), 2 * alpha / x.size * (y - x)


# %% symmetric-loss: alpha belongs in g
def symmetric_loss(x, y, alpha):
    return alpha * ((x - y) ** 2).sum() / len(x), 2 * alpha / len(x) * (y - x)


# %% symmetric-loss: wrong sign
def symmetric_loss(x, y, alpha):
    return ((x - y) ** 2).sum() / len(x), 2 * alpha / len(x) * (x - y)


# %% symmetric-loss: half the right one
def symmetric_loss(x, y, alpha):
    return ((x - y) ** 2).sum() / len(x), alpha / len(x) * (y - x)


# %% supervisor-gradient: f' is missing
def supervisor_gradient(h, W, g):
    found = {}
    for layer in (4, 3, 2, 1):
        found |= {f"W{layer}": g.T @ h[layer - 1], f"b{layer}": g.sum(axis=0)}
        g = g @ W[layer - 1]
    return found


# %% supervisor-gradient: Pass delta @ W to the layer below
def supervisor_gradient(h, W, g):
    found = {}
    for layer in (4, 3, 2, 1):
        delta = g * (h[layer] > 0)
        found |= {f"W{layer}": delta.T @ h[layer - 1], f"b{layer}": delta.sum(axis=0)}
        g = g @ W[layer - 1]
    return found


# %% supervisor-gradient: missing: b4
def supervisor_gradient(h, W, g):
    found = {}
    for layer in (4, 3, 2, 1):
        delta = g * (h[layer] > 0)
        found[f"W{layer}"] = delta.T @ h[layer - 1]
        g = delta @ W[layer - 1]
    return found


# %% descent-step: goes uphill
def descent_step(theta, gradient, lr):
    return theta + lr * gradient


# %% descent-step: changes its input theta
def descent_step(theta, gradient, lr):
    theta -= lr * gradient
    return theta


# %% silent-units: off for some sample
def silent_units(h):
    return (h == 0).any(axis=0)


# %% silent-units: Those are the units that do pass a signal
def silent_units(h):
    return h.sum(axis=0) > 0


# %% pencil-loss: mean over the features
def pencil_loss():
    return 0.25, [-0.5, 0.5]


# %% student-losses: averaged over the features too
def student_losses(h, t):
    pairs = [(h[1], t[1]), (h[2], t[2]), (h[3], t[5]), (h[4], t[6])]
    return sum(((a - b) ** 2).mean() for a, b in pairs), ((t[2] - t[4]) ** 2).mean()


# %% student-losses: forgot to divide by the number of samples
def student_losses(h, t):
    pairs = [(h[1], t[1]), (h[2], t[2]), (h[3], t[5]), (h[4], t[6])]
    return sum(((a - b) ** 2).sum() for a, b in pairs), ((t[2] - t[4]) ** 2).sum()


# %% student-losses: It raised ValueError
def student_losses(h, t):
    loss_ap = sum(((h[k] - t[k]) ** 2).sum() for k in range(1, 5)) / len(t[0])
    return loss_ap, ((t[2] - t[4]) ** 2).sum() / len(t[0])


# %% direct-gradients: The gradient of L_nc is missing here
def direct_gradients(h, t, beta, gamma):
    b = 2 * beta / len(t[0])
    partners = {1: h[1], 2: h[2], 5: h[3], 6: h[4]}
    return {
        f"Grad{k}": b * (t[k] - partners[k]) if k in partners else 0 * t[k] for k in range(1, 7)
    }


# %% direct-gradients: wrong sign
def direct_gradients(h, t, beta, gamma):
    b, c = 2 * beta / len(t[0]), 2 * gamma / len(t[0])
    found = {f"Grad{k}": b * (h[j] - t[k]) for k, j in ((1, 1), (5, 3), (6, 4))}
    found["Grad2"] = b * (t[2] - h[2]) + c * (t[2] - t[4])
    return found | {"Grad3": 0 * t[3], "Grad4": c * (t[4] - t[2])}


# %% nmf-backward: The slope of the ReLU is missing
def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    delta_H = (g @ W_rec) * H * (1 - H)
    return g.T @ H, delta_H.T @ code, delta_H @ W_base


# %% nmf-backward: The slope H (1 - H) of the sigmoid is missing
def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    delta_hat = g * (code_hat > 0)
    delta_H = delta_hat @ W_rec
    return delta_hat.T @ H, delta_H.T @ code, delta_H @ W_base


# %% nmf-backward: It is what dW_rec should be
def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    delta_hat = g * (code_hat > 0)
    delta_H = (delta_hat @ W_rec) * H * (1 - H)
    return delta_H.T @ code, delta_hat.T @ H, delta_H @ W_base


# %% student-gradient: The direct gradients below the last layer are missing
def student_gradient(t, W, Grad):
    names, found, g = ["1", "2", "_base", "_rec", "5", "6"], {}, Grad[6]
    for layer in range(6, 0, -1):
        delta = g * (t[3] * (1 - t[3]) if layer == 3 else t[layer] > 0)
        found["W" + names[layer - 1]] = delta.T @ t[layer - 1]
        found["b" + names[layer - 1]] = delta.sum(axis=0)
        g = delta @ W[layer - 1]
    return found


# %% student-gradient: Layer 3 is a sigmoid
def student_gradient(t, W, Grad):
    names, found, above = ["1", "2", "_base", "_rec", "5", "6"], {}, 0
    for layer in range(6, 0, -1):
        delta = (Grad[layer] + above) * (t[layer] > 0)
        found["W" + names[layer - 1]] = delta.T @ t[layer - 1]
        found["b" + names[layer - 1]] = delta.sum(axis=0)
        above = delta @ W[layer - 1]
    return found


# %% student-gradient: The signal from the layers above is missing
def student_gradient(t, W, Grad):
    names, found = ["1", "2", "_base", "_rec", "5", "6"], {}
    for layer in range(6, 0, -1):
        delta = Grad[layer] * (t[3] * (1 - t[3]) if layer == 3 else t[layer] > 0)
        found["W" + names[layer - 1]] = delta.T @ t[layer - 1]
        found["b" + names[layer - 1]] = delta.sum(axis=0)
    return found


# %% pencil-module: slope of the sigmoid
def pencil_module():
    return 0.5, 4, 2


# %% masking-noise: forgot to divide by 1 - rate
def masking_noise(x, keep, rate):
    return np.where(keep, x, 0)


# %% masking-noise: kept the entries that should go
def masking_noise(x, keep, rate):
    return x * (1 - keep) / (1 - rate)


# %% adam-step: The corrections c1 and c2 are missing
def adam_step(theta, g, m, v, t, lr, b1, b2, eps):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return theta - lr * m / (np.sqrt(v) + eps), m, v


# %% adam-step: eps is under the root
def adam_step(theta, g, m, v, t, lr, b1, b2, eps):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return theta - lr * m / (1 - b1**t) / np.sqrt(v / (1 - b2**t) + eps), m, v


# %% adam-step: You returned the corrected m and v
def adam_step(theta, g, m, v, t, lr, b1, b2, eps):
    m = (b1 * m + (1 - b1) * g) / (1 - b1**t)
    v = (b2 * v + (1 - b2) * g**2) / (1 - b2**t)
    return theta - lr * m / (np.sqrt(v) + eps), m, v


# %% algorithm-1-step: moved before you computed
def algorithm_1_step(model, x, x_noisy, lr):
    for net in model.nets.values():
        model.forward(x, x_noisy)
        model.backward(x)
        net.arena.params -= lr * net.arena.grads


# %% algorithm-1-step: pass x to backward
def algorithm_1_step(model, x, x_noisy, lr):
    model.forward(x, x_noisy)
    model.backward(x_noisy)
    for net in model.nets.values():
        net.arena.params -= lr * net.arena.grads


# %% pencil-adam: That is plain descent
def pencil_adam():
    return -4, -0.001


# %% clustering-accuracy: a cluster's number means nothing
def clustering_accuracy(y, clusters):
    return (y == clusters).mean()


# %% clustering-accuracy: That is the purity
def clustering_accuracy(y, clusters):
    return sum(np.bincount(y[clusters == k]).max() for k in np.unique(clusters)) / len(y)


# %% unit-effects: subtract low from high
def unit_effects(decode, H):
    low, median, high = np.quantile(H, [0.05, 0.5, 0.95], axis=0)
    up, down = (np.tile(median, (len(median), 1)) for _ in range(2))
    np.fill_diagonal(up, high)
    np.fill_diagonal(down, low)
    return decode(down) - decode(up)


# %% unit-effects: at their mean; use their median
def unit_effects(decode, H):
    low, high = np.quantile(H, [0.05, 0.95], axis=0)
    up, down = (np.tile(H.mean(axis=0), (H.shape[1], 1)) for _ in range(2))
    np.fill_diagonal(up, high)
    np.fill_diagonal(down, low)
    return decode(up) - decode(down)


# %% swap-units: swap the two
def swap_units(H_a, H_b):
    codes = np.tile(H_b, (len(H_b), 1))
    np.fill_diagonal(codes, H_a)
    return codes


# %% additivity-gap: forgot to divide by the norm of the image
def additivity_gap(decode, H):
    return np.linalg.norm(decode(H) - H @ decode(np.eye(H.shape[1])), axis=1)


# %% additivity-gap: divide by the norm of the image
def additivity_gap(decode, H):
    total = H @ decode(np.eye(H.shape[1]))
    return np.linalg.norm(decode(H) - total, axis=1) / np.linalg.norm(total, axis=1)


# %% pencil-purity: each cluster, a column
def pencil_purity():
    return 0.5, 0.6


# %% layer-intensity: count multiplications and additions
def layer_intensity(n, fan_in, fan_out, itemsize):
    flop = n * fan_in * fan_out
    moved = itemsize * (n * fan_in + fan_out * fan_in + n * fan_out)
    return flop, moved, flop / moved


# %% layer-intensity: each has itemsize bytes
def layer_intensity(n, fan_in, fan_out, itemsize):
    flop, moved = 2 * n * fan_in * fan_out, n * fan_in + fan_out * fan_in + n * fan_out
    return flop, moved, flop / moved


# %% roofline-time: not the sum
def roofline_time(flop, moved, peak, bandwidth):
    computing, moving = flop / peak, moved / bandwidth
    return computing + moving, "compute" if computing > moving else "memory"


# %% delta-in-place: new arrays: it is
def delta_in_place(h, dh, ref, c, work, db):
    dh[...] = (dh + c * (h - ref)) * (h > 0)
    db[...] = dh.sum(axis=0)


# %% delta-in-place: The slope f' of the ReLU is missing
def delta_in_place(h, dh, ref, c, work, db):
    np.subtract(h, ref, out=work)
    np.multiply(work, c, out=work)
    np.add(dh, work, out=dh)
    np.sum(dh, axis=0, out=db)


# %% one-crossing: The host reads a value in every batch
def one_crossing(outputs, targets):
    total = 0.0
    for output, target in zip(outputs, targets, strict=True):
        total += float(((output - target) ** 2).sum())
    return total


# %% one-crossing: still on the device
def one_crossing(outputs, targets):
    return sum(((a - b) ** 2).sum() for a, b in zip(outputs, targets, strict=True))


# %% pencil-descent: read and written
def pencil_descent():
    return 8, 2
