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
# *About 50 minutes, 5 checked exercises.* [Notebook 2](02-one-layer-by-hand.ipynb) left a question
# open: your gradient has the right shape, but is it right? The loss itself can tell you.
#
# After this notebook you can
#
# * check a gradient with finite differences, and choose the step;
# * recognise a kink, and say why float32 is too coarse;
# * say why checks that are often used let wrong gradients pass;
# * plant a bug in a layer and watch the checker of this package find it.
#
# The gradients are those of equation 9 and equation 10. The page [the gradient
# check](../derivations/13-gradient-check.md) has the theory of this notebook.

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
# $$\frac{d}{dh} L(\theta + h u) |_{h = 0} = \langle g, u \rangle .$$
#
# We can compute the left side without any derivative, from two losses:
#
# $$S(h) = \frac{L(\theta + h u) - L(\theta - h u)}{2 h} .$$
#
# We take a small network of tanh layers and 20 real images. All parameters move at once, each by a
# step of random sign:

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
# By Taylor's series, $S(h)$ misses the slope by $\frac{h^2}{6} L'''$: small steps are better. But a
# computer rounds each loss by about $\eta |L|$, with $\eta \approx 10^{-16}$ in float64, and $S(h)$
# divides this error by $h$: large steps are better. Together,
#
# $$E(h) \approx \frac{h^2}{6} |L'''| + \frac{\eta |L|}{h},$$
#
# a V on logarithmic axes. In float32, $\eta \approx 10^{-7}$: the left branch moves up, and the
# bottom of the V moves up and to the right.
#
# > **Predict first.** At which $h$ is the bottom for float64: $10^{-2}$, $10^{-5}$ or $10^{-8}$?
# > And how deep is it for float32?

# %% tags=["hide-input"] jupyter={"source_hidden": true}
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
# Read the curves from right to left. The error of the central difference falls with slope 2 (ten
# times smaller step, a hundred times smaller error), that of the one-sided difference with slope 1.
# Then rounding takes over, and both rise again with slope $-1$. In float32 no step is good enough
# to tell a small mistake from rounding. The smallest steps do not even change a parameter, so the
# computed slope is 0. Therefore the checker takes central differences in float64 with $h =
# 10^{-5}$.
#
# ## Kinks
#
# A ReLU has a kink at 0. If the step carries a unit across it, the difference quotient mixes two
# slopes. It then differs from the gradient although the layer's gradient is right. We repeat the
# experiment with ReLU in place of tanh, and count the unit outputs that change sides within the
# step:

# %% tags=["hide-input"] jupyter={"source_hidden": true}
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
# The error jumps when the first unit crosses its kink. The checker therefore records the side of
# every ReLU and makes the step smaller until none changes. If no step is small enough, it draws
# another direction. If that does not help either, the verdict is `at a kink`, which does not mean
# `wrong`.
#
# ## The lines of the package

# %%
show_source(checker._direction_error)

# %% [markdown]
# The last line before `return None` is the whole check: $|\langle g, u \rangle - S(h)|$, relative
# to the length of the block's own gradient. Here are all blocks of the tanh network:

# %%
report = gradcheck(network, x)

# %% [markdown]
# ## Checks that miss
#
# Each bug in the picture below is one wrong line in `backward`. We compare three checks that are
# common in courses with the checker of this package:
#
# * **all-ones signal**: the loss is the sum of the outputs, so $g = 1$ everywhere. A `backward`
#   that forgets to multiply by $g$ is then exactly right.
# * **absolute tolerance**: the loss is a mean over images and pixels, and a gradient passes if no
#   entry is off by more than $10^{-4}$. If the true entries are smaller than that, zeros pass.
# * **all-ones direction**: every parameter moves by $+h$. This check sees only the *sum* of a
#   gradient. A gradient with its entries in the wrong order has the right sum.
#
# `gradcheck` takes directions of random signs, a random target at every layer, and a tolerance
# relative to the norm of each block.
#
# > **Predict first.** Before you look at the table: which of the three common checks misses the
# > most bugs?

# %% tags=["hide-input"] jupyter={"source_hidden": true}
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
show(figure, "which of four checks complains of which of nine bugs; gradcheck complains of all")

# %% [markdown]
# The first row has no bug, so no check may complain. In the other rows every "content" is a bug
# that goes unseen. Only `gradcheck` sees the direct gradients of hidden layers, which are the heart
# of equation 10 ([derivation](../derivations/10-student-gradient.md)): the other checks put their
# loss at the output.
#
# The absolute tolerance sees eight of the nine bugs, because the gradients are large enough here:
# the largest entry of a block is two to four times the tolerance. The mean divides by the number of
# pixels, and on images with ten times as many the same check misses seven of the nine.
#
# In the last row no gradient is transposed. The layer reads $W$ in the wrong order when it passes
# the signal on, so the gradients below have other sums. The all-ones direction sees that.
#
# No such check can see a wrong loss. If a term is missing in the loss, it is missing in the
# gradient too, and the two agree. Therefore the tests compare the package with a second
# implementation of the equations, `ddnmf_np/engine/literal.py`.
#
# ## Exercises
#
# **1. The central difference.** Compute $S(h)$. `loss` is a function of `theta`.


# %% tags=["exercise"]
def central(loss, theta, u, step):
    return ...  # a number


check("central-difference", central).keep()


# %% [markdown]
# **2. The bottom of the V.** At which $h$ is $E(h) = \frac{h^2}{6} |L'''| + \frac{\eta |L|}{h}$
# smallest? (`eta`, `loss` and `third` are $\eta$, $|L|$ and $|L'''|$.)


# %% tags=["exercise"]
def best_step(eta, loss, third):
    return ...  # a number


check("best-step", best_step).keep()


# %% [markdown]
# **3. Plant a bug.** Spoil something in `backward`, as you might by accident: a factor, a sign, an
# axis, a forgotten copy. `gradcheck` should find it. (`self.dW`, `self.db` and `dx` are the
# results; change them in place.)


# %% tags=["exercise"]
class Broken(Dense):
    def backward(self, g=None, direct=()):
        dx = super().backward(g, direct)
        self.dW *= 1.0  # your bug here
        return dx


check("plant-a-bug", Broken).keep()


# %% [markdown]
# **4. Fool the ones.** Write a *wrong* `dW` of a ReLU layer that the all-ones direction accepts.


# %% tags=["exercise"]
def fooling(x, h, W, g):
    dW = (g * (h > 0)).T @ x  # the right one
    dW *= 1.0  # spoil it here
    return dW


check("fool-the-ones", fooling).keep()


# %% [markdown]
# **5. Pencil.** Compute the central difference $S$ of $L(\theta) = \theta^3$ at $\theta = 1$ with
# $h = 0.1$. How far is it from 3, and which term of Taylor's series is that?


# %% tags=["exercise"]
def pencil():
    S = ...
    error = ...
    return S, error


check("pencil-difference", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** You check a layer with 400,000 weights along a single random direction. How likely
#   is it that a wrong sign in *one* weight goes unseen?
# * **Debug.** A check reports an error of $10^{-3}$ for a ReLU network at $h = 0.1$, and of
#   $10^{-9}$ at $h = 10^{-6}$. Is the gradient wrong?
# * **Open.** Run `gradcheck` on a layer that you wrote for another course or framework.
#
# ## What to read next
#
# * [Notebook 4](04-the-supervisor.ipynb): equation 9 through a whole network.
# * [The gradient check](../derivations/13-gradient-check.md): every choice of the checker, with its
#   reason.
# * `ddnmf_np/engine/gradcheck.py`. It takes a layer, a network, a model or a fitted estimator: use
#   it on your own.
