# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. The supervisor
#
# *About 60 minutes, 5 checked exercises.* [Notebook 3](03-gradient-check.ipynb) left a question
# open: we can check the gradient of a whole network, but how do we compute it from that of one
# layer?
#
# After this notebook you can
#
# * compute the supervisor's loss, and the gradient that starts the backward pass (equation 4);
# * follow that signal through the whole network, layer by layer (equation 9), and see it;
# * take a step of descent (equation 8), and train the supervisor on real digits;
# * say where signals die.

# %% tags=["setup"]
import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.ops import DirectGradient, Ops
from ddnmf_np.data.order import epoch_order
from ddnmf_np.engine.descent import GradientDescent
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.evaluation.figures import SUPERVISOR_COLOR
from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching import check, images
from ddnmf_np.teaching.display import COLORS, image_rows, matrices, new_figure, show, show_source

limits = threadpool_limits(1)  # these products are tiny: two threads would wait for each other

# %% [markdown]
# ## Up: four layers
#
# The supervisor is an autoencoder: it squeezes a clean image into a short code, here of 20 numbers,
# and rebuilds the image from it. Each layer is equation 1
# ([derivation](../derivations/01-layer.md)). The model of this package has two networks; the other
# one, the student, waits until [notebook 5](05-student-and-nmf.ipynb).

# %%
x, labels, shape = images(1280)
D = x.shape[1]
model = Model(D, Architecture(widths=(60, 20), rank=5), seed=0)
supervisor = model.supervisor
print("widths:", supervisor.widths, "| blocks:", ", ".join(supervisor.arena.shapes))

batch = x[:32]
y = supervisor.forward(batch)
panels = {f"h({number})": h for number, h in enumerate(supervisor.h[1:4], start=1)}
show(
    matrices(panels, xlabel="unit", ylabel="image", columns=3),
    "the outputs of layers 1, 2 and 3 for 32 images: about half of the units are off",
)

# %% [markdown]
# ## The top: equation 4
#
# How far is the output $y = h^{(L)}$ from the input? Equation 4
# ([derivation](../derivations/04-symmetric-loss.md)) is the mean over $N$ images of $\lVert x_i -
# y_i \rVert^2$. The gradient of $\alpha L_{sym}$ with respect to $y$ is the signal that starts the
# way down:
#
# $$L_{sym} = \frac{1}{N} \sum_i \lVert x_i - y_i \rVert^2, \qquad
#   g^{(L)} = \frac{2 \alpha}{N} (y - x).$$
#
# So the first signal is itself an image. It shows where the output is too bright (red) or too dark
# (blue).
#
# > **Predict first.** The network is untrained. Is the first signal mostly red or mostly blue, and
# > where?

# %%
loss_sym = float(((batch - y) ** 2).sum()) / len(batch)
g = 2 * model.objective.alpha_sym / len(batch) * (y - batch)
print(f"loss_sym = {loss_sym:.1f}")
rows = {"x": batch[:6], "y": y[:6]}
show(image_rows(rows, shape), "digits, and the noise that the network makes of them")
show(image_rows({"g(L)": g[:6]}, shape, signed=True), "the difference of the two, red and blue")

# %% [markdown]
# ## Down: equation 9
#
# Each layer does what it did in [notebook 2](02-one-layer-by-hand.ipynb): it receives a signal $g$
# from above, $f'$ lets some of it through, and two products do the rest. Equation 9
# ([derivation](../derivations/09-supervisor-gradient.md)) for a batch and $l = L, \ldots, 1$ is
#
# $$\delta^{(l)} = f'^{(l)} \odot g^{(l)}, \qquad dW^{(l)} = \delta^{(l) T} h^{(l-1)}, \qquad
#   db^{(l)} = \sum_i \delta^{(l)}_i, \qquad g^{(l-1)} = \delta^{(l)} W^{(l)} .$$

# %%
signals, deltas, gradients = {4: g}, {}, {}
for number in (4, 3, 2, 1):
    layer, h = supervisor.layers[number - 1], supervisor.h
    deltas[number] = (h[number] > 0) * signals[number]
    gradients[f"W{number}"] = deltas[number].T @ h[number - 1]
    gradients[f"b{number}"] = deltas[number].sum(axis=0)
    signals[number - 1] = deltas[number] @ layer.W

# %% [markdown]
# The package does the same for any number of layers. Where a loss compares a layer's output $h$
# with a reference, its gradient with respect to $h$ is a *direct gradient*, $c\,(h -
# \mathrm{ref})$. The supervisor has one, at its last layer, with $c = 2\alpha / N$ and
# $\mathrm{ref} = x$.

# %%
show_source(Network.backward)

# %% [markdown]
# Side by side: the lines of `literal.py` compute equation 9 for one sample as the paper writes it,
# those of `ops.py` and `network.py` for a batch. The first three lines belong to the last layer,
# the other two to the way down. In the batch's lines `c` is $2\alpha / N$ and `ref` is $x$.
#
# | file | line |
# |---|---|
# | `ddnmf_np/engine/literal.py` | `g = objective.pull(objective.alpha, h[L], h[0], N)` |
# | `ddnmf_np/backends/ops.py` | `self.xp.subtract(h, ref, out=work)` |
# | `ddnmf_np/backends/ops.py` | `self.xp.multiply(work, c, out=work)` |
# | `ddnmf_np/engine/literal.py` | `own, g = self.layers[l - 1].backward(h[l - 1], g)` |
# | `ddnmf_np/engine/network.py` | `layer.backward(direct=direct.get(number, ()))` |

# %%
direct = model.loss.direct_gradients("supervisor", batch)
supervisor.backward(direct)
for name, gradient in gradients.items():
    found = supervisor.arena.grad(name)
    error = np.abs(found - gradient).max() / np.abs(gradient).max()
    print(f"{name}: {'x'.join(map(str, found.shape)):8} relative difference {error:.0e} (float32)")

# %% [markdown]
# ## Signals as pictures
#
# > **Predict first.** How many of the columns in the bottom row are white?
#
# The top row shows the signals from above, the bottom row what $f'$ lets through. White columns are
# units that are off for every image: whatever the signal says, their weights do not move.

# %%
panels = {f"g({number})": signals[number] for number in (3, 2, 1)}
panels |= {f"delta({number}) = f' g": deltas[number] for number in (3, 2, 1)}
show(
    matrices(panels, xlabel="unit", ylabel="image", signed=True, columns=3),
    "signals in layers 3, 2 and 1; the lower ones have gaps where units are off",
)

# %% [markdown]
# At both ends of the network the gradients are images. A row of $dW^{(1)}$ is a mixture of inputs,
# each weighted by its $\delta$. A column of $dW^{(4)}$ is a mixture of errors.

# %%
ends = {"rows of dW1": gradients["W1"][:8], "columns of dW4": gradients["W4"].T[:8]}
show(image_rows(ends, shape, signed=True), "gradients as images, all of them mixtures of digits")

# %% [markdown]
# ## Descent: equation 8
#
# Equation 8 ([derivation](../derivations/08-descent.md)) moves all parameters at once by a step
# against the gradient, $\theta \leftarrow \theta - \rho\, \partial L / \partial \theta$. We go
# through the 1280 images sixty times, 64 at a time:

# %%
show_source(Ops.descend)


# %%
def signal_sizes():
    """Return the root mean square of delta at each layer, on the first batch."""
    supervisor.forward(batch)
    supervisor.backward(model.loss.direct_gradients("supervisor", batch))
    return [float(np.sqrt((layer.dh[: len(batch)] ** 2).mean())) for layer in supervisor.layers]


descent = GradientDescent([supervisor.arena], lr=0.01)
sizes, losses = {0: signal_sizes()}, []
for epoch in range(1, 61):
    order = epoch_order(len(x), 0, epoch)
    total = 0.0
    for at in range(0, len(x), 64):
        some = x[order[at : at + 64]]
        total += float(((supervisor.forward(some) - some) ** 2).sum())
        supervisor.backward(model.loss.direct_gradients("supervisor", some))
        descent.step()
    losses.append(total / len(x))
    if epoch in (5, 60):
        sizes[epoch] = signal_sizes()

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.8)
left, right = figure.subplots(1, 2)
left.plot(range(1, 61), losses, color=SUPERVISOR_COLOR)
left.set(xlabel="epoch", ylabel="loss_sym", ylim=0)
for (epoch, values), style in zip(sizes.items(), ("o:", "s--", "^-"), strict=True):
    right.semilogy(range(1, 5), values, style, color=SUPERVISOR_COLOR, label=f"epoch {epoch}")
right.set(xlabel="layer", ylabel="root mean square of delta", xticks=range(1, 5))
right.legend(frameon=False, fontsize=8)
show(figure, "the loss falls from epoch to epoch; signals of all layers, before and after training")

# %% [markdown]
# What is left of the signal at the top after training follows the edges of the strokes:

# %%
y = supervisor.forward(batch)
g = 2 / len(batch) * (y - batch)
show(image_rows({"x": batch[:8], "y": y[:8]}, shape), "digits and their reconstructions, blurred")
show(image_rows({"g(L)": g[:8]}, shape, signed=True), "what the reconstructions lack")

# %% [markdown]
# ## Where signals die
#
# Every layer multiplies the signal by $f'$ and by its weights. In a ReLU network each layer stops
# about half of the signal, and lets the rest through whole. In a sigmoid network nothing is
# stopped, but at most a quarter passes, and after eight layers little is left. We send the same
# signal through both, with the same images and the same initial weights:
#
# > **Predict first.** By which factor does the sigmoid's signal shrink over eight layers?

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.8)
axes = figure.subplots()
for kind, style, color in ("relu", "o-", COLORS[0]), ("sigmoid", "s--", COLORS[1]):
    deep = Network([Dense(D, 50, kind), *(Dense(50, 50, kind) for _ in range(7))], rows=len(batch))
    glorot(deep.layers, seed=0, stream=0)
    top = deep.forward(batch)
    deep.backward({8: [DirectGradient(top - 1, 1.0)]})  # a signal of ones
    sizes = [float(np.sqrt((layer.dh[: len(batch)] ** 2).mean())) for layer in deep.layers]
    axes.semilogy(range(1, 9), sizes, style, color=color, label=kind)
axes.set(xlabel="layer", ylabel="root mean square of delta")
axes.legend(frameon=False)
show(figure, "the signal of the sigmoid network shrinks at every layer on its way down")

# %% [markdown]
# ## Exercises
#
# **1. Equation 4 and its gradient.** Compute both. `x` and `y` are (n, D), `alpha` is a number.


# %% tags=["exercise"]
def symmetric_loss(x, y, alpha):
    loss_sym = ...  # a number, without alpha
    g = ...  # (n, D), the gradient of alpha * loss_sym with respect to y
    return loss_sym, g


check("symmetric-loss", symmetric_loss).keep()


# %% [markdown]
# **2. Equation 9.** Compute all gradients of a ReLU network of four layers. `h[layer]` is the
# output of a layer, `h[0]` the input, and `W[layer - 1]` the layer's weights. `g` is the gradient
# of the loss with respect to `h[4]`.


# %% tags=["exercise"]
def supervisor_gradient(h, W, g):
    gradients = {}
    for layer in (4, 3, 2, 1):
        gradients[f"W{layer}"] = ...
        gradients[f"b{layer}"] = ...
        # and then g for the layer below
    return gradients


check("supervisor-gradient", supervisor_gradient).keep()


# %% [markdown]
# **3. Equation 8.** Take one step.


# %% tags=["exercise"]
def step(theta, gradient, lr):
    return ...  # as theta


check("descent-step", step).keep()


# %% [markdown]
# **4. Silent units.** Which units of a ReLU layer pass no signal for any image of the batch?


# %% tags=["exercise"]
def silent(h):
    return ...  # (out,), True or False


check("silent-units", silent).keep()


# %% [markdown]
# **5. Pencil.** Compute $L_{sym}$ and $g^{(L)}$ for $N = 1$, $x = (1, 0)$, $y = (0.5, 0.5)$ and
# $\alpha = 1$.


# %% tags=["exercise"]
def pencil():
    loss = ...
    g = ...  # [., .]
    return loss, g


check("pencil-loss", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** Which gradient becomes 0 if all of a layer's biases start at $-10$?
# * **Debug.** A friend's loss falls for three epochs and then stays at the loss of a black image.
#   Which picture of this notebook do you ask for?
# * **Open.** Give the supervisor sigmoid layers. How many epochs does it need to reach the same
#   loss?
#
# ## What to read next
#
# * [Notebook 5](05-student-and-nmf.ipynb): the student, where losses act on hidden layers too
#   (equation 10).
# * [Equation 4](../derivations/04-symmetric-loss.md), [equation 8](../derivations/08-descent.md)
#   and [equation 9](../derivations/09-supervisor-gradient.md).
# * `ddnmf_np/engine/network.py`.
