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
# # 2. One layer by hand
#
# *About 60 minutes, 5 checked exercises.* [Notebook 1](01-nmf-from-scratch.ipynb) left a question
# open: it found the code of each image by hundreds of updates. A network computes a code in one
# pass. But how does it find its weights? This notebook gives the answer for one layer.
#
# After this notebook you can
#
# * compute a layer forward, for one image and for a batch (equation 1);
# * write its backward pass with a diagonal matrix and an outer product (equation 9), and say why
#   the code has neither;
# * find the three lines of the package that do it.

# %% tags=["setup"]
import timeit

import numpy as np

from ddnmf_np import gradcheck
from ddnmf_np.backends.ops import Ops
from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching import check, images, student
from ddnmf_np.teaching.display import image_rows, matrices, new_figure, show, show_source
from ddnmf_np.teaching.exercises.nb02_layer import pencil_numbers

# %% [markdown]
# ## One image, forward
#
# Equation 1 ([derivation](../derivations/01-layer.md)) for one image, written as a column, is
#
# $$h = f(z), \qquad z = W x + b .$$
#
# $W$ has one row for each unit. A row is as long as an image, so we can draw it as one. Unit $k$
# multiplies each pixel of $x$ by the weight at its place and adds up the products; then $f$ bends
# the sum. Here are 8 ReLU units, $f(z) = \max(z, 0)$, with the random weights that training starts
# from.
#
# > **Predict first.** How many of the 8 units will be on?

# %%
x, labels, shape = images(64)
x = x.astype("float64")
layer = Dense(x.shape[1], 8, "relu")
layer.allocate(seed=0)  # memory, and random weights

one = x[0]
z = layer.W @ one + layer.b
h = np.maximum(z, 0)
titles = [f"z = {value:.2f}" for value in z]
show(image_rows({"rows of W": layer.W}, shape, signed=True, titles=titles), "eight random images")
print("h =", h.round(2))

# %% [markdown]
# ## One image, backward
#
# The layer above tells our layer how the loss changes with each of its outputs: $g = \partial L /
# \partial h$. Our layer must find how the loss changes with $W$, with $b$, and with $x$. Equation 9
# ([derivation](../derivations/09-supervisor-gradient.md)) does this in three steps.
#
# **1. Through $f$.** $h_k$ depends only on $z_k$. So the matrix of all $\partial h_k / \partial
# z_a$, the paper's $f'$, is *diagonal*, and
#
# $$\delta = \frac{\partial L}{\partial z} = f' g .$$
#
# **2. Weights.** $W_{aj}$ appears only in $z_a$, with the factor $x_j$. So $dW_{aj} = \delta_a
# x_j$. This is an *outer product*. The bias appears with the factor 1, so $db = \delta$.
#
# $$dW = \delta x^T .$$
#
# **3. The layer below.** $x_j$ appears in every $z_k$, with the factor $W_{kj}$:
#
# $$\frac{\partial L}{\partial x} = W^T \delta .$$

# %%
g = np.random.default_rng(1).normal(size=8)
slope = np.diag((h > 0) * 1.0)  # the diagonal matrix f' of a ReLU
delta = slope @ g
dW = np.outer(delta, one)
dx = layer.W.T @ delta

panels = {"f' (8 x 8)": slope, "g": g[:, None], "delta = f' g": delta[:, None]}
show(matrices(panels, xlabel="column", ylabel="unit", signed=True, columns=3), "a diagonal matrix")

# %% [markdown]
# > **Predict first.** $dW$ has a row for each unit, as long as an image. Draw row 1 on paper.
#
# Row $k$ of the outer product $dW$ is the image times the number $\delta_k$. Where the gradient is
# negative (blue), descent adds the image to the unit's weights: its sum was too small. Where the
# gradient is positive (red), descent subtracts the image. A unit that is off ($h_k = 0$) has no
# gradient, so its weights stay as they are.

# %%
titles = [f"$\\delta$ = {value:.2f}" for value in delta]
rows = image_rows({"rows of dW": dW}, shape, signed=True, titles=titles)
show(rows, "one image in eight strengths")

# %% [markdown]
# The paper's $\partial h / \partial W$ is a tensor of order three: one number for each output, row
# and column. For the paper's layer 500 -> 2000 it would take 8 GB in float32, and nearly all of its
# entries would be 0.

# %%
for fan_in, fan_out in (one.size, 8), (500, 2000):
    numbers = f"{fan_out**2 * fan_in:,} numbers in the tensor, {fan_out * fan_in:,} in dW"
    print(f"layer {fan_in} -> {fan_out}: {numbers}")

# %% [markdown]
# ## From one image to a batch
#
# We put $n$ images into the rows of `x`. In the forward pass the rows do not influence each other,
# so one matrix product computes them all. In the backward pass the rows stay separate too, until
# $dW$ and $db$ add them up. And a sum of outer products *is* a matrix product:
#
# $$h = f(x W^T + \mathbf 1 b^T), \qquad dW = \sum_i \delta_i x_i^T = \delta^T x, \qquad
#   db = \sum_i \delta_i, \qquad dx = \delta W .$$
#
# The diagonal matrices of all images have become one element-wise product, $\delta = f' \odot g$.

# %%
h = layer.forward(x)  # (64, 8)
g = np.random.default_rng(2).normal(size=h.shape)


def one_by_one(x, h, g):
    """Add up the outer products of all images, each with its own diagonal matrix."""
    dW = np.zeros((h.shape[1], x.shape[1]))
    for x_i, h_i, g_i in zip(x, h, g, strict=True):
        dW += np.outer(np.diag((h_i > 0) * 1.0) @ g_i, x_i)
    return dW


def at_once(x, h, g):
    """Do the same in one product."""
    return ((h > 0) * g).T @ x


print("largest difference:", np.abs(one_by_one(x, h, g) - at_once(x, h, g)).max())
slow, fast = (
    min(timeit.repeat(lambda: way(x, h, g), number=5, repeat=5)) / 5  # noqa: B023
    for way in (one_by_one, at_once)
)
print(f"64 images one by one: {1e3 * slow:.2f} ms; at once: {1e3 * fast:.2f} ms")

# %% [markdown]
# Now a row of $dW$ is a mixture of all images for which its unit was on, each with its own weight.

# %%
dW = at_once(x, h, g)
show(image_rows({"rows of dW": dW}, shape, signed=True), "eight mixtures of digits")

# %% [markdown]
# ## The lines of the package
#
# `Dense.forward` computes equation 1, `Dense.backward` equation 9. All memory exists before the
# call: `out=` says where a result goes.

# %%
show_source(Dense.forward)
show_source(Dense.backward)

# %% [markdown]
# Side by side: the lines of `literal.py` compute one image as the paper writes it, those of
# `layers.py` a batch. (`literal.py` has all ten equations in this form. It calls the output of the
# layer below `below`.)
#
# | file | line |
# |---|---|
# | `ddnmf_np/engine/literal.py` | `delta = self.slope(below) @ g` |
# | `ddnmf_np/engine/literal.py` | `dW = np.outer(delta, below)` |
# | `ddnmf_np/engine/literal.py` | `db = delta` |
# | `ddnmf_np/engine/literal.py` | `g_below = self.W.T @ delta` |
# | `ddnmf_np/engine/layers.py` | `ops.delta(self.activation, h, delta, direct, work, self.db)` |
# | `ddnmf_np/engine/layers.py` | `ops.sum_outer(delta, x, out=self.dW)` |
# | `ddnmf_np/engine/layers.py` | `ops.matmul(delta, self.W, out=dx)` |

# %% [markdown]
# `ops.delta` does step 1. Its heart is $f'$, written as a function of the output $h$, so we need
# not keep $z$:

# %%
show_source(Ops.dactivate)

# %% [markdown]
# Are the numbers the same? We give $g$ to `backward` and compare with the sum of outer products.
# ([Notebook 3](03-gradient-check.ipynb) explains the table that `gradcheck` prints.)

# %%
dx = layer.backward(g)
print("equal:", np.allclose(layer.dW, one_by_one(x, h, g), rtol=1e-12, atol=1e-12))
report = gradcheck(layer, x)

# %% [markdown]
# ## Where f' is small, little comes through
#
# > **Predict first.** Which of the four functions lets the most through at $z = 3$, and which the
# > least?
#
# $f'$ decides how much of a signal passes. A ReLU passes all or nothing, a sigmoid at most a
# quarter. Ten layers of sigmoids pass at most $0.25^{10}$, a millionth.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
z = np.linspace(-5, 5, 401)[:, None]
figure = new_figure(2.6)
axes = figure.subplots(1, 2)
for kind, style in ("relu", "-"), ("sigmoid", "--"), ("tanh", ":"), ("softplus", "-."):
    out, passed = z.copy(), np.ones_like(z)
    Ops().activate(kind, out)
    Ops().dactivate(kind, out, passed, np.empty_like(z))
    axes[0].plot(z, out, style, label=kind)
    axes[1].plot(z, passed, style)
axes[0].set(xlabel="z", ylabel="h = f(z)", ylim=(-1.2, 3))
axes[1].set(xlabel="z", ylabel="f'(z)")
axes[0].legend(frameon=False, fontsize=8)
show(figure, "four activations and their slopes; the sigmoid's is never above a quarter")

# %% [markdown]
# ## Exercises
#
# **1. Forward.** Compute a ReLU layer for a batch: `x` is (n, in), `W` is (out, in), `b` is (out,).


# %% tags=["exercise"]
def forward(x, W, b):
    return ...  # (n, out)


check("dense-forward", forward).keep()


# %% [markdown]
# **2. The slope from the output.** Compute the derivative of $\tanh$ from nothing but $h = \tanh
# z$.


# %% tags=["exercise"]
def slope(h):
    return ...  # as h


check("slope-from-output", slope).keep()


# %% [markdown]
# **3. One sample, as the paper writes it.** Go backward through a sigmoid layer with a diagonal
# matrix and an outer product. `x` is (in,), `h` and `g` are (out,), `W` is (out, in).


# %% tags=["exercise"]
def one_sample(x, h, W, g):
    # first f' as a diagonal matrix, then delta
    dW = ...  # (out, in)
    db = ...  # (out,)
    dx = ...  # (in,)
    return dW, db, dx


check("layer-one-sample", one_sample).keep()


# %% [markdown]
# **4. A batch.** Go backward through a ReLU layer without a loop. `x` is (n, in), `h` and `g` are
# (n, out).


# %% tags=["exercise"]
def backward(x, h, W, g):
    dW = ...  # (out, in)
    db = ...  # (out,)
    dx = ...  # (n, in)
    return dW, db, dx


check("dense-backward", backward).keep()


# %% [markdown]
# **5. With a pencil.** Write your name (as your course knows it) between the quotes: it decides
# which numbers you get, and your neighbour gets others. Compute by hand what exercise 3 computes,
# for one sample and a ReLU layer of two units, and write the numbers into the answer.

# %%
student("")
for name, values in pencil_numbers().items():
    print(f"{name} =", values.tolist())


# %% tags=["exercise"]
def pencil():
    h = ...  # [., .]
    dW = ...  # [[., .], [., .]]
    db = ...  # [., .]
    dx = ...  # [., .]
    return h, dW, db, dx


check("pencil-layer", pencil).keep()

# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** All weights start at 0. Which rows of $dW$ differ from each other after one step?
#   Which after a hundred?
# * **Debug.** Mend this backward pass. `check("dense-backward", ...)` names the wrong block:
#
#   ```python
#   def backward(x, h, W, g):
#       delta = g * (h > 0)
#       return delta.T @ x, delta.mean(axis=0), delta @ W
#   ```
# * **Open.** Your layer gets `x` with a column of ones instead of a bias. Show that nothing else
#   changes. Where would you rather have the bias, and why?
#
# ## What to read next
#
# * [Notebook 3](03-gradient-check.ipynb): is this gradient right? How can we know?
# * [Equation 1](../derivations/01-layer.md) and [equation
#   9](../derivations/09-supervisor-gradient.md).
# * `ddnmf_np/engine/layers.py`, which is shorter than this notebook.
