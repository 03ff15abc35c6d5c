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
# # 3. Is the gradient right?
#
# After this notebook you can
#
# * check a gradient with finite differences, and choose the step;
# * recognise a kink, and say why float32 is too coarse;
# * say why checks that are often used let wrong gradients pass;
# * plant a bug in a layer and watch the checker of this package find it.
#
# The gradients are those of equation 9 and equation 10; the page behind this notebook is
# [the gradient check](../derivations/13-gradient-check.md).

# %% tags=["setup"]
import numpy as np

from ddnmf_np import gradcheck
from ddnmf_np.engine import gradcheck as checker
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.teaching import bugs, check, images
from ddnmf_np.teaching.differences import Slope
from ddnmf_np.teaching.display import COLORS, new_figure, show, show_source

# %% [markdown]
# ## A slope, two ways
#
# A gradient $g$ of a loss $L(\theta)$ claims to know the slope in every direction $u$:
#
# $$\frac{d}{dh} L(\theta + h u) \Big|_{h = 0} = \langle g, u \rangle .$$
#
# The left side can be had without any derivative, from two losses:
#
# $$S(h) = \frac{L(\theta + h u) - L(\theta - h u)}{2 h} .$$
#
# A small network of tanh layers, 20 real images, all parameters moved at once by steps of random
# sign:

# %%
x, labels, shape = images(20)
D = x.shape[1]
network = Network([Dense(D, 30, "tanh"), Dense(30, D, "tanh")], rows=len(x), dtype="float64")
glorot(network.layers, seed=0, stream=0)
slope = Slope(network, x)
difference = (slope.loss(1e-5) - slope.loss(-1e-5)) / 2e-5
print(f"from backward (equation 9):  {slope.exact:.10f}")
print(f"from two losses, h = 1e-5:   {difference:.10f}")

# %% [markdown]
# ## Which step?
#
# By Taylor's series, $S(h)$ misses the slope by $\frac{h^2}{6} L'''$: small steps are better. But
# a computer rounds each loss, by about $\eta |L|$ with $\eta \approx 10^{-16}$ in float64, and
# divides that by $h$: large steps are better. Together,
#
# $$E(h) \approx \frac{h^2}{6} |L'''| + \frac{\eta |L|}{h},$$
#
# a V on double-logarithmic paper. In float32, $\eta \approx 10^{-7}$: the left branch moves up, and
# with it the bottom of the V, which moves to the right too.

# %%
steps = np.logspace(-12, 0, 49)
curves = {
    "float64, central": slope.errors(steps),
    "float64, one-sided": slope.errors(steps, kind="forward"),
    "float32, central": slope.errors(steps, dtype="float32"),
}

figure = new_figure(3.6)
axes = figure.subplots()
colors = ("black", COLORS[1], COLORS[0])
for (name, errors), style, color in zip(curves.items(), ("o-", "^:", "s--"), colors, strict=True):
    axes.loglog(steps, np.maximum(errors, 1e-14), style, color=color, markersize=3, label=name)
axes.axhline(checker.TOLERANCE, color="0.6", linewidth=1)
axes.text(1, 2e-7, "tolerance of gradcheck", ha="right", fontsize=8, color="0.3")
axes.set(xlabel="step h (no unit)", ylabel="relative error of the slope", ylim=(1e-13, 1e6))
axes.legend(frameon=False, fontsize=8)
show(
    figure,
    "three curves of error against step, each a V; the left branch of float32 lies far above",
)
for name, errors in curves.items():
    print(f"{name:20} least error {errors.min():.0e} at h = {steps[errors.argmin()]:.0e}")

# %% [markdown]
# Read it from the right. The central difference falls with slope 2 (ten times smaller step, a
# hundred times smaller error), the one-sided one with slope 1. Then rounding takes over and both
# rise again, with slope $-1$. In float32 no step is good enough to tell a small mistake from
# rounding; and the smallest steps do not move a parameter at all, so that the slope comes out as 0.
# The checker takes central differences, in float64, with $h = 10^{-5}$.
#
# ## Kinks
#
# A ReLU has a kink at 0. If the step carries a unit over it, the difference quotient mixes two
# slopes: it is not the checker's gradient that is wrong then, and not the layer's either. The same
# network with ReLU in place of tanh, and the number of unit outputs that change sides within the
# step:

# %%
relu = Network([Dense(D, 30, "relu"), Dense(30, D, "relu")], rows=len(x), dtype="float64")
glorot(relu.layers, seed=0, stream=0)
bent = Slope(relu, x)
errors, crossings = bent.errors(steps), [bent.crossings(step) for step in steps]

figure = new_figure(4)
top, low = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
top.loglog(steps, np.maximum(errors, 1e-14), "o-", color=COLORS[1], markersize=3, label="ReLU")
top.loglog(steps, np.maximum(curves["float64, central"], 1e-14), "k:", label="tanh")
top.axhline(checker.TOLERANCE, color="0.6", linewidth=1)
top.set(ylabel="relative error of the slope", ylim=(1e-13, 1e2))
top.legend(frameon=False, fontsize=8)
low.semilogx(steps, crossings, "o-", color=COLORS[1], markersize=3)
low.set(xlabel="step h (no unit)", ylabel="ReLUs that\nchange sides", yscale="symlog", ylim=0)
show(figure, "the error of a ReLU network jumps at the step at which a first unit changes sides")

# %% [markdown]
# With the first unit that crosses its kink, the error jumps. The checker therefore looks at which
# side every ReLU is on, and makes the step smaller until none changes. If no step is small enough
# it draws another direction, and if that does not help either it says `at a kink`, which is not
# `wrong`.
#
# ## The lines of the package

# %%
show_source(checker._direction_error)

# %% [markdown]
# The last line before `return None` is the whole check: $|\langle g, u \rangle - S(h)|$, relative
# to the length of the block's own gradient. All blocks of the tanh network:

# %%
report = gradcheck(network, x)

# %% [markdown]
# ## Checks that miss
#
# Each bug of the list below is one wrong line in `backward`. Three checks that one meets in
# courses, against the one of this package:
#
# * **all-ones signal**: the loss is the sum of the outputs, so that $g = 1$ everywhere. Then
#   forgetting to multiply by $g$ is exactly right.
# * **absolute tolerance**: right if no entry is off by more than $10^{-4}$. A mean over images and
#   pixels has gradients that are hardly larger themselves.
# * **all-ones direction**: every parameter moves by $+h$. That sees the *sum* of a gradient; what
#   is in the wrong order, or transposed, has the right sum.
#
# `gradcheck` takes directions of random signs, a random target at every layer, and an error
# relative to each block.

# %%
some = images(16).x.astype("float64")
caught = np.array(
    [[not passes(layer, some) for passes in bugs.CHECKS.values()] for layer in bugs.BUGS.values()]
)

figure = new_figure(3.2)
axes = figure.subplots()
axes.imshow(caught, cmap="cividis", vmin=-0.6, vmax=1.2, aspect="auto")
for (row, column), found in np.ndenumerate(caught):
    word = "complains" if found else "content"
    axes.text(column, row, word, ha="center", va="center", color="black" if found else "white")
axes.set_xticks(range(len(bugs.CHECKS)), bugs.CHECKS, fontsize=9)
axes.set_yticks(range(len(bugs.BUGS)), bugs.BUGS)
axes.tick_params(length=0)
axes.xaxis.tick_top()
show(figure, "which of four checks complains of which of six bugs; gradcheck complains of all")

# %% [markdown]
# The first line has no bug, and no check may complain. In the others every "content" is a bug that
# goes unseen. The direct gradients of hidden layers, which are the heart of equation 10
# ([derivation](../derivations/10-student-gradient.md)), are seen by `gradcheck` alone, since the
# others put their loss at the output.
#
# What no such check can see: a loss that is itself the wrong one. A missing term is missing in the
# loss and in its gradient, and the two agree. For that the package has a second writing of the
# equations in its tests.
#
# ## Exercises
#
# **1. The central difference.** `loss` is a function of `theta`.


# %% tags=["exercise"]
def central(loss, theta, u, step):
    return ...  # a number


check("central-difference", central)


# %% tags=["solution", "hide-cell"] jupyter={"source_hidden": true}
def central(loss, theta, u, step):
    return (loss(theta + step * u) - loss(theta - step * u)) / (2 * step)


check("central-difference", central)

# %% [markdown]
# **2. The bottom of the V.** At which $h$ is $E(h) = \frac{h^2}{6} |L'''| + \frac{\eta |L|}{h}$
# smallest? (`eta`, `loss` and `third` are $\eta$, $|L|$ and $|L'''|$.)


# %% tags=["exercise"]
def best_step(eta, loss, third):
    return ...  # a number


check("best-step", best_step)


# %% tags=["solution", "hide-cell"] jupyter={"source_hidden": true}
def best_step(eta, loss, third):
    return (3 * eta * loss / third) ** (1 / 3)  # from third h / 3 = eta loss / h^2


check("best-step", best_step)

# %% [markdown]
# **3. Plant a bug.** Spoil something in `backward`, as you might by accident: a factor, a sign, an
# axis, a forgotten copy. `gradcheck` is to find it. (`self.dW`, `self.db` and `dx` are the results;
# change them in place.)


# %% tags=["exercise"]
class Broken(Dense):
    def backward(self, g=None, direct=()):
        dx = super().backward(g, direct)
        self.dW *= 1.0  # your bug here
        return dx


check("plant-a-bug", Broken)


# %% tags=["solution", "hide-cell"] jupyter={"source_hidden": true}
class Broken(Dense):
    def backward(self, g=None, direct=()):
        dx = super().backward(g, direct)
        self.db *= 0.999  # a thousandth is enough
        return dx


check("plant-a-bug", Broken)

# %% [markdown]
# **4. Fool the ones.** Write a *wrong* `dW` of a ReLU layer that the all-ones direction takes for
# right.


# %% tags=["exercise"]
def fooling(x, h, W, g):
    dW = (g * (h > 0)).T @ x  # the right one
    dW *= 1.0  # spoil it here
    return dW


check("fool-the-ones", fooling)


# %% tags=["solution", "hide-cell"] jupyter={"source_hidden": true}
def fooling(x, h, W, g):
    dW = (g * (h > 0)).T @ x
    return dW[::-1]  # the same rows in another order have the same sum


check("fool-the-ones", fooling)

# %% [markdown]
# ## What to read next
#
# * [Notebook 4](04-the-supervisor.ipynb): equation 9 through a whole network.
# * [The gradient check](../derivations/13-gradient-check.md): every choice of the checker, with its
#   reason.
# * `ddnmf_np/engine/gradcheck.py`. It takes a layer, a network, a model or a fitted estimator: use
#   it on your own.
