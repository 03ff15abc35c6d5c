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
# # 1. NMF from scratch
#
# *About 40 minutes, 4 checked exercises.* Here is the question of the whole course: can a network
# describe an image as a sum of few parts, and can you write all of its training by hand? We begin
# without a network, with the method of 1999.
#
# After this notebook you can
#
# * write an image as a sum of parts, and say what the two matrices of NMF are;
# * derive the multiplicative updates of Lee and Seung (1999), and run them on real images;
# * say why their parts look like pieces of images and those of PCA like ghosts;
# * find the place where the deep model of this package does the same.
#
# You need matrix products and the chain rule.

# %% tags=["setup"]
import numpy as np
from sklearn.decomposition import PCA

from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.network import Network
from ddnmf_np.evaluation.interpret import hoyer_sparsity
from ddnmf_np.teaching import check, images, nmf
from ddnmf_np.teaching.display import COLORS, image_rows, new_figure, show, show_source

# %% [markdown]
# ## Images as a matrix
#
# Each image becomes a row of `x`: $n$ images of $D$ pixels are a matrix $(n, D)$, and every entry
# is 0 (black) or more.

# %%
x, labels, shape = images(2000)
print(f"x has shape {x.shape}; each row is an image of {shape[0]} x {shape[1]} pixels")
print(f"smallest pixel {x.min():.0f}, largest {x.max():.0f}, {(x == 0).mean():.0%} of them black")
show(image_rows({"images": x[:12]}, shape, titles=[str(k) for k in labels[:12]]), "twelve digits")

# %% [markdown]
# ## What NMF asks for
#
# NMF looks for two matrices without negative entries whose product comes close to the images:
#
# $$x \approx H W^T, \qquad H \ge 0 \ (n, r), \qquad W \ge 0 \ (D, r).$$
#
# Column $k$ of $W$ is a *part*, which is itself an image. Row $i$ of $H$ is the *code* of image
# $i$: it says how much of each part the image contains. So an image is a sum of $r$ parts, and
# nothing is ever subtracted. Close means that the squared distance is small:
#
# $$F(H, W) = \tfrac{1}{2} \lVert x - H W^T \rVert^2 .$$
#
# Equation 6 of the deep model ([derivation](../derivations/06-non-negative-loss.md)) is the same
# distance. There it is between the code and what the NMF module makes of the code.
#
# ## From the gradient to the update
#
# By the chain rule, the gradient with respect to $H$ is
#
# $$\frac{\partial F}{\partial H} = (H W^T - x)\, W
#   = H W^T W - x W .$$
#
# We call $H W^T W$ the positive part and $x W$ the negative part; both are non-negative. Gradient
# descent subtracts the gradient times a step size, so it could make an entry of $H$ negative. Lee
# and Seung give each entry its own step size, $H / (H W^T W)$. Then the subtraction turns into a
# product:
#
# $$H - \frac{H}{H W^T W} \odot (H W^T W - x W) = H \odot \frac{x W}{H W^T W} .$$
#
# A product of non-negative numbers is non-negative: the constraint takes care of itself. An entry
# grows where the negative part is larger, and shrinks where the positive part is larger. The update
# of $W$ is the same with $x^T$ in place of $x$.
#
# Steps this long might increase the loss. Lee and Seung (2001) prove that they never do. They
# construct a quadratic function that touches $F$ at the current $H$, lies above it elsewhere, and
# has its minimum exactly at the new $H$.
#
# This is how the package computes both updates:

# %%
show_source(nmf.multiplicative_step)

# %% [markdown]
# ## Run it
#
# We ask for 25 parts and start from random positive numbers. For comparison we also compute the
# smallest loss that *any* 25 parts could reach if they could have either sign (the truncated
# singular value decomposition).
#
# > **Predict first.** Does the loss of NMF reach this number? Does it fall at every step, or jump?

# %%
rank = 25
H, W = nmf.start(x, rank, seed=0)
loss = []
for _ in range(300):
    loss.append(float(((x - H @ W.T) ** 2).sum() / len(x)))
    H, W = nmf.multiplicative_step(x, H, W)
loss.append(float(((x - H @ W.T) ** 2).sum() / len(x)))

values = np.linalg.eigvalsh(x.T.astype("float64") @ x)[::-1]  # squared singular values of x
floor = values[rank:].sum() / len(x)
rises = np.sum(np.diff(loss) > 1e-6 * np.array(loss[1:]))  # float32 rounds to about 1e-7
print(f"squared error of an image: {loss[0]:.1f} at the start, {loss[-1]:.1f} after 300 steps")
print(f"the least that 25 parts of any sign can reach: {floor:.1f}; steps that went up: {rises}")

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(3)
axes = figure.subplots()
axes.semilogx(range(1, len(loss) + 1), loss, color=COLORS[0], label="NMF")
axes.axhline(floor, color="0.3", linestyle="--", label="least with any signs")
axes.set(xlabel="step (log scale)", ylabel="squared error of an image", ylim=0)
axes.legend(frameon=False)
show(figure, "the loss falls at every step, towards a floor that it does not reach")

# %% [markdown]
# ## Parts and ghosts
#
# > **Predict first.** What does a part look like: a whole digit, a stroke, a single pixel? And a
# > component of PCA?
#
# PCA with the same number of components has a smaller error. But its components have both signs
# (red above 0, blue below). Each is a ghost of whole digits, and ghosts make an image only by
# adding and cancelling. NMF cannot cancel. What it adds must be there in the image, so its parts
# become strokes.

# %%
pca = PCA(rank, svd_solver="covariance_eigh").fit(x)
show(image_rows({"PCA": pca.components_[:10]}, shape, signed=True), "ten ghosts, red and blue")
order = np.argsort(-H.sum(axis=0) * np.linalg.norm(W, axis=0))  # what is used most comes first
show(image_rows({"NMF": W.T[order][:10]}, shape), "ten parts, pieces of strokes")

# %% [markdown]
# Now we build one image term by term, the largest first. NMF only ever adds ink. PCA starts from
# the mean image and overshoots: blue pixels are darker than black.

# %%
one = 3
terms = H[one][:, None] * W.T
terms = terms[np.argsort(-np.linalg.norm(terms, axis=1))]
ghosts = pca.transform(x[[one]]).T * pca.components_
ghosts = ghosts[np.argsort(-np.linalg.norm(ghosts, axis=1))]
so_far = [1, 2, 3, 4, 6, 9, 14, rank]
builds = {
    "NMF": np.cumsum(terms, axis=0)[np.array(so_far) - 1],
    "PCA": pca.mean_ + np.cumsum(ghosts, axis=0)[np.array(so_far) - 1],
}
titles = [f"{k} term{'s'[: k > 1]}" for k in so_far]
show(image_rows(builds, shape, signed=True, titles=titles), "one digit, built from parts")

# %% [markdown]
# How much smaller are parts than ghosts? Hoyer's sparsity is 0 for an image of equal pixels and 1
# for an image with a single bright pixel.
#
# > **Predict first.** Draw the two histograms on paper, with the axis from 0 to 1.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.6)
axes = figure.subplots()
bins = np.linspace(0, 1, 26)
axes.hist(hoyer_sparsity(W.T), bins, color=COLORS[0], label="NMF parts")
axes.hist(hoyer_sparsity(pca.components_), bins, color=COLORS[1], label="PCA")
axes.set(xlabel="Hoyer sparsity (no unit)", ylabel="number of parts")
axes.legend(frameon=False)
show(figure, "two histograms: the parts of NMF are sparser than the components of PCA")

# %% [markdown]
# Three limits. The parts are not unique: another start gives other parts with nearly the same
# error. The parts are pieces only because these images are aligned and mostly empty; NMF guarantees
# non-negativity, not sparsity. And PCA, which may cancel, needs fewer terms for the same error.
#
# ## The same in the deep model
#
# Equation 3 ([derivation](../derivations/03-nmf-module.md)) is this factorization inside a network:
# $\hat X = \mathrm{ReLU}(W H)$ in the paper's columns. With samples as rows, the argument of the
# ReLU is $H W^T$. If $W$ has no negative entry, this product is never negative, so the ReLU changes
# nothing and the layer computes $H W^T$:

# %%
layer = Dense(rank, x.shape[1], "relu", bias=False)  # the recovery layer of equation 3
Network([layer], rows=len(x))
layer.W[...] = W
print("layer and product agree:", np.allclose(layer.forward(H), H @ W.T, rtol=1e-5, atol=1e-6))

# %% [markdown]
# Two things are new there. A layer computes $H = \sigma(W' X)$ directly, so a new image gets its
# code without any iteration. And $X$ is not the image but the output of an encoder.
#
# ## Exercises
#
# Fill in each answer and run the cell: `check` says which block is wrong, and by how much. If you
# are stuck, run `check(...).hint()`: first you get a nudge, then nearly the
# line, then the solution. Once an answer is right, `.keep()` writes it into `my_engine.py` beside
# this notebook. In [notebook 6](06-training.ipynb) you train a model with your own functions.
#
# **1. The gradient.** Return $\partial F / \partial H$ for
# $F = \frac{1}{2} \lVert x - H W^T \rVert^2$.


# %% tags=["exercise"]
def gradient(x, H, W):
    return ...  # (n, rank)


check("nmf-gradient", gradient).keep()


# %% [markdown]
# **2. The updates.** Do one step of Lee and Seung: first $H$, then $W$ with the new $H$. (All
# numbers of this exercise are above 0, so you cannot divide by 0.)


# %% tags=["exercise"]
def step(x, H, W):
    H_new = ...  # (n, rank)
    W_new = ...  # (D, rank)
    return H_new, W_new


check("nmf-step", step).keep()


# %% [markdown]
# **3. Sparsity.** Compute for each row $w$ of `parts` the number
# $(\sqrt{D} - \lVert w \rVert_1 / \lVert w \rVert_2) / (\sqrt{D} - 1)$.


# %% tags=["exercise"]
def sparsity(parts):
    return ...  # (rank,)


check("hoyer-sparsity", sparsity).keep()


# %% [markdown]
# **4. Pencil.** Take $x = (2, 4)$, $W = (1, 1)^T$ and $H = 1$. Do one update of $H$ by hand, and
# compute $F$ afterwards. Is it at its minimum? Why already after one step?


# %% tags=["exercise"]
def pencil():
    H = ...
    F = ...
    return H, F


check("pencil-update", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** What happens to the parts with `rank = 5`, and with `rank = 100`? Write it down,
#   then change the number and run the notebook again.
# * **Debug.** A friend starts with `H = np.zeros((n, rank))`, "to be neutral". Which formula shows
#   what happens?
# * **Open.** Remove the mean image before NMF. What breaks, and what would you need instead?
#
# ## What to read next
#
# * [Notebook 2](02-one-layer-by-hand.ipynb): one layer, forward and backward.
# * [Equation 3](../derivations/03-nmf-module.md), the NMF module, and
#   [notebook 5](05-student-and-nmf.ipynb), where it is trained.
# * Lee and Seung, "Learning the parts of objects by non-negative matrix factorization", Nature 401
#   (1999), and "Algorithms for non-negative matrix factorization", NIPS 13 (2001).
