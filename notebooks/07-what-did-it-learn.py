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
# # 7. What did it learn?
#
# *About 60 minutes, 5 checked exercises and the capstone.* [Notebook 6](06-training.ipynb) left a
# question open: the student has learned a code that noise leaves alone. What does the code say?
#
# After this notebook you can
#
# * show the parts of a trained student in two ways, and say what each way leaves out;
# * use $H$ as coordinates: move along one unit, swap units between images, make a map;
# * cluster codes, and read ACC, NMI and ARI;
# * doubt such pictures in the right places: every one of them gets a control.
#
# The paper calls its loss (equation 7) the *interpretability* loss. We train on 5,000 images for a
# few seconds, with two hidden layers, and ask how much of that claim we can see. We use labels to
# score and to colour, never to train or to choose.

# %% tags=["setup"]
from itertools import permutations  # noqa: F401 -- for exercise 1

import numpy as np

from ddnmf_np.config import configure
from ddnmf_np.evaluation.clustering import cluster, score_clustering
from ddnmf_np.evaluation.figures import (
    CLASS_COLORS,
    DATA_COLOR,
    STUDENT_COLOR,
    plot_cluster_matrix,
    plot_embedding,
)
from ddnmf_np.evaluation.interpret import decode_parts, hoyer_sparsity, unit_effects
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.evaluation.metrics import assign_clusters
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.teaching import check, images
from ddnmf_np.teaching.display import image_rows, new_figure, show, show_source

# %% [markdown]
# ## Three networks
#
# We train the model with the demo's objective. The initial weights of its NMF module come from the
# data. There are two controls:
#
# * the same network **untrained**: whatever looks as good with random weights was not learned;
# * a denoising **auto-encoder** with the same widths, noise, steps, and a sigmoid layer of ten
#   units in the middle, but without supervisor, apposition loss and $L_{nc}$: whatever it shows as
#   well is not due to this model.

# %%
x, _, shape = images(5000)
test, labels, _ = images(1000, split="test")
options = {"objective": "demo", "widths": (256, 128), "rank": 10, "batch_size": 50}
config = configure(**options, nmf_start="pca", nmf_spread=2.0)
rank = config.model.rank

model = config.make_model(x.shape[1])
untrained = config.make_model(x.shape[1])
untrained.start(x[:2000])  # initial weights from the data, and not one step
autoencoder = Autoencoder(x.shape[1], config.model, mean=True, batch_size=50)
for net in (model, autoencoder):
    config.make_trainer(net, x).train(10)


def decode_autoencoder(H):
    middle = autoencoder.code_layer
    return autoencoder.stack.apply(np.asarray(H, x.dtype), start=middle)


def show_small(figure, alt):
    figure.set_size_inches(0.75 * figure.get_size_inches())
    show(figure, alt)


encoders = {
    "DDNMF": model.encode,
    "untrained": untrained.encode,
    "auto-encoder": autoencoder.encode,
}
decoders = {
    "DDNMF": model.decode,
    "untrained": untrained.decode,
    "auto-encoder": decode_autoencoder,
}
codes = {name: encode(test) for name, encode in encoders.items()}
for name, H in codes.items():
    error = ((decoders[name](H[:256]) - test[:256]) ** 2).mean()
    print(f"{name:13} error {error:.4f}, spread of a unit {H.std(axis=0).mean():.2f}")

# %% [markdown]
# ## Parts
#
# Equation 3 says $\hat X = \mathrm{ReLU}(W H)$: the recovered code is a sum of the columns of $W$,
# each weighted by one unit of $H$. In [notebook 1](01-nmf-from-scratch.ipynb) a column of $W$ *was*
# an image. Here a decoder follows, so we decode codes in which one unit is 1 and all others are 0:
#
# > **Predict first.** What will the ten pictures show: strokes, whole digits, or neither? And those
# > of the untrained network?

# %%
show_source(decode_parts)
parts = {name: decode_parts(decode, rank) for name, decode in decoders.items()}
titles = [f"unit {k}" for k in range(rank)]
show_small(image_rows(parts, shape, titles=titles), "decoded unit vectors of three networks")
for name, part in parts.items():
    print(f"{name:13} Hoyer sparsity of the parts {hoyer_sparsity(part).mean():.2f}")

# %% [markdown]
# Are these "parts of digits"? There are two doubts, and we can measure both.
#
# **Is the corner where images are?** A unit vector is a corner of the cube $(0, 1)^{10}$. If no
# image has a code near it, the picture shows how the decoder behaves where it was never trained.
#
# **Do the parts add up?** In NMF an image is the weighted sum of its parts. The decoder is not
# linear, so this need not hold here. We compare $\mathrm{decode}(H)$ with
# $\sum_k H_k\, \mathrm{decode}(e_k)$.

# %%
print(f"{'':13} corner to nearest  code to nearest  image less sum")
for name, H in codes.items():
    whole = np.array(decoders[name](H[:256]))
    gap = np.linalg.norm(whole - H[:256] @ parts[name], axis=1) / np.linalg.norm(whole, axis=1)
    corner = np.linalg.norm(H[:, None] - np.eye(rank), axis=2).min(axis=0).mean()
    neighbour = np.sort(np.linalg.norm(H[:, None] - H[None], axis=2), axis=1)[:, 1].mean()
    print(f"{name:13} {corner:16.2f} {neighbour:16.2f} {np.median(gap):16.0%}")

# %% [markdown]
# In the trained networks the corners are several times further from any code than codes are from
# each other. And the sum of the parts misses the image by about the size of the image itself: it is
# no approximation at all. So "the parts" are a picture of the decoder, not a list of ingredients.
# (`nonnegative="recovery"` makes the *module* a true NMF; the layers after it are still not
# linear.)
#
# ## Effects: the same question where the images are
#
# Take the median code. Set one unit to its 5th percentile, then to its 95th percentile, and
# subtract the two images: red pixels appear, blue pixels go.

# %%
effects = {name: unit_effects(decoders[name], H) for name, H in codes.items()}
show_small(image_rows(effects, shape, signed=True, titles=titles), "effects of the units")

# %% [markdown]
# In the trained networks the effects are strokes: red in one place goes with blue in another. In
# the untrained one they are noise. So something was learned. But the auto-encoder has strokes too.
#
# **Is a unit special?** If $H$ has good axes, then a step along one unit should look more like a
# part than a step along any other direction of the same spread. As a control we replace the ten
# axes by ten random orthogonal directions $Q$ (rotated about the median), and draw the same
# picture.
#
# > **Predict first.** Will you be able to tell the two rows apart?

# %%
H = codes["DDNMF"]
median = np.median(H, axis=0)


def rotated_effects(seed):
    """Return the effects of ten random orthogonal directions in place of the units."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(rank, rank)))[0].astype(H.dtype)
    return unit_effects(lambda z: model.decode(median + z @ Q.T), (H - median) @ Q)


rows = {"units": effects["DDNMF"], "random directions": rotated_effects(0)}
show_small(image_rows(rows, shape, signed=True), "effects of units beside random directions")
random = [hoyer_sparsity(rotated_effects(seed)).mean() for seed in range(50)]
print(f"Hoyer sparsity: units {hoyer_sparsity(effects['DDNMF']).mean():.3f}, 50 random bases "
      f"{np.mean(random):.3f} (from {np.min(random):.3f} to {np.max(random):.3f})")  # fmt: skip

# %% [markdown]
# Look at the two rows without the names: could you tell which is which? If the number for the units
# lies inside the range of the random bases, then by this measure the *space* of $H$ is meaningful
# and the *axes* are not special. That is the sharpest limit of the claim, and a table of pretty
# effects does not show it.
#
# ## H as coordinates
#
# We move one unit from its 5th to its 95th percentile, while the other nine keep the values of this
# image. Here are the three units with the strongest effects:

# %%
strongest = np.argsort(-np.linalg.norm(effects["DDNMF"], axis=1))[:3]
start = H[3]
steps = np.quantile(H, np.linspace(0.05, 0.95, 9), axis=0)
moves = {}
for k in strongest:
    path = np.tile(start, (len(steps), 1))
    path[:, k] = steps[:, k]
    moves[f"unit {k}"] = model.decode(path)
titles = [f"{q:.0%}" for q in np.linspace(0.05, 0.95, 9)]
show_small(image_rows(moves, shape, titles=titles), "one image while one unit moves")

# %% [markdown]
# Now we swap: in the code of image A we replace one unit by that of image B. If units were parts,
# each swap would bring in one part of B and leave the rest of A alone.

# %%
a, b = (int(np.flatnonzero(labels == digit)[0]) for digit in (7, 0))
swapped = np.tile(H[a], (rank, 1))
np.fill_diagonal(swapped, H[b])
order = np.argsort(-np.abs(H[a] - H[b]))  # the largest difference first
one_at_a_time = model.decode(swapped[order][:8])
together = np.tile(H[a], (8, 1))
for count in range(8):
    together[count, order[: count + 1]] = H[b, order[: count + 1]]
rows = {"one unit of B": one_at_a_time, "more and more": model.decode(together)}
titles = [f"unit {k}" for k in order[:8]]
both = np.vstack([test[[a, b]], model.decode(H[[a, b]])])
columns = ["A", "B", "A, student", "B, student"]
show_small(image_rows({"": both}, shape, titles=columns), "A and B, and what the student shows")
show_small(image_rows(rows, shape, titles=titles), "A with units of B")

# %% [markdown]
# Some swaps open or close a stroke. Most change the whole image a little, because the units work
# together. Some images between A and B are no digit at all.
#
# ## A map
#
# t-SNE places 700 codes in the plane so that neighbours stay neighbours. It sees no label; we
# colour each point by its class. Distances *between* groups, sizes of groups, and axes mean
# nothing.

# %%
shown, points = embed(H, max_samples=700)
show_small(
    plot_embedding(points, labels[shown], "t-SNE of H, coloured by class"), "map of the codes"
)

# %% [markdown]
# **Control.** t-SNE makes islands of many things. Here are two more maps of the same images in the
# same colours: the untrained network's codes, and the pixels themselves.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(3.0, 6.0)
controls = {"H, untrained": codes["untrained"][shown], "pixels": test[shown]}
for (title, space), axes in zip(controls.items(), figure.subplots(1, 2), strict=True):
    axes.scatter(*embed(space)[1].T, s=4, c=[CLASS_COLORS[y] for y in labels[shown]], linewidths=0)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[], xlabel="no unit")
show(figure, "t-SNE of an untrained network's codes, and of pixels")

# %% [markdown]
# ## Clusters, and three scores
#
# k-means assigns each code to the nearest of ten centres. A Gaussian mixture (GMM) also fits the
# spread of each cluster. Both start at random and end in *some* optimum. So we restart each five
# times and keep the start with the best objective, without a look at the labels.
#
# > **Predict first.** Rank four spaces by the accuracy of k-means: ten units of DDNMF, ten of the
# > auto-encoder, ten of the untrained network, and 784 pixels.
#
# Clusters have no names. How can we score them?
#
# * **ACC**: match clusters to classes one to one, as well as possible (the Hungarian method). ACC
#   is the share of images on matched pairs.
# * **NMI**: how much the cluster tells about the class: the mutual information over the mean of the
#   two entropies. 0 is nothing, 1 is all.
# * **ARI**: do cluster and class agree whether two images belong together? We count this over all
#   *pairs* of images, and correct it so that chance gives 0.

# %%
spaces = {"H of DDNMF": H, "H, untrained": codes["untrained"]}
spaces |= {"auto-encoder": codes["auto-encoder"], "pixels": test}
found = {}
print(f"{'':14}{'k-means':33}GMM\n{'':13}" + " ACC (range)       NMI   ARI     " * 2)
for name, space in spaces.items():
    line = f"{name:13}"
    for method in ("kmeans", "gmm-spherical"):
        result = cluster(space, 10, method=method, n_starts=5)
        score = score_clustering(result, labels)
        found[name, method] = score, result
        spread = score["spread"]["acc"]
        line += f" {score['acc']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"
        line += f"  {score['nmi']:.2f}  {score['ari']:.2f}    "
    print(line)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.8)
axes = figure.add_subplot()
for place, name in enumerate(spaces):
    score, result = found[name, "kmeans"]
    every = [assign_clusters(labels, start).accuracy for start in result.all_labels]
    color = STUDENT_COLOR if name == "H of DDNMF" else DATA_COLOR
    axes.plot(every, [place] * len(every), "o", color=color, alpha=0.5)
    axes.plot(score["acc"], place, "D", color=color, markersize=9)
axes.set(yticks=range(len(spaces)), yticklabels=spaces, xlabel="ACC of k-means", xlim=(0, 1))
axes.set_ylim(3.5, -0.5)
axes.axvline(0.1, color="0.7", linestyle=":")
axes.text(0.11, 3.3, "one class in ten", fontsize=8, color="0.4")
show(figure, "accuracy of k-means, five starts for each space; the kept one is a diamond")

title = "k-means on H of DDNMF"
labels_found = found["H of DDNMF", "kmeans"][1].labels
show(plot_cluster_matrix(assign_clusters(labels, labels_found), title), "clusters against classes")

# %% [markdown]
# Before you discuss a difference between two rows, look at the range over the starts, and remember
# that this is one seed and a training of seconds. The [results page](../derivations/results.md) has
# runs with several seeds. The table does show three things.
#
# * Pixels alone reach 0.59. A score near that is no achievement of a network.
# * By ACC, k-means finds the classes in the codes of DDNMF no better than in those of the
#   *untrained* network. By NMI it does (0.47 and 0.38). Without this control we would have called
#   0.49 a success, because chance gives 0.1.
# * The matrix shows where ACC loses. 4, 7 and 9 share their strokes and two clusters. 0 and 1 fill
#   two clusters each, and a one-to-one matching counts only one of them.
#
# ## What may be claimed
#
# * A unit's effect is a smooth change of strokes where images are. The untrained control does not
#   show this.
# * After this short training, ten units carry less of the classes than 784 pixels do, as far as
#   k-means can tell.
# * The auto-encoder shows much of the same. A claim for *this* model needs a comparison with it
#   over several seeds, not a gallery.
# * Decoded unit vectors are far from all codes and do not add up. "Parts" is a name for them, not a
#   property that we measured.
# * Whether the axes are better than random directions is a question with a number. Ask it.

# %% [markdown]
# ## Exercises
#
# **1. ACC.** `y` (classes) and `clusters` are arrays of whole numbers from 0. There are as many
# clusters as classes, few enough to try all matchings.


# %% tags=["exercise"]
def accuracy(y, clusters):
    return ...  # a number


check("clustering-accuracy", accuracy).keep()


# %% [markdown]
# **2. Effects.** Row `k` is `decode` of the median code with unit `k` at its 95th percentile, minus
# `decode` of the same code with unit `k` at its 5th percentile.


# %% tags=["exercise"]
def effects_of_units(decode, H):
    return ...  # (rank, D)


check("unit-effects", effects_of_units).keep()


# %% [markdown]
# **3. Swap.** Row `k` is the code `H_a` (rank,) with unit `k` taken from `H_b`.


# %% tags=["exercise"]
def swap(H_a, H_b):
    return ...  # (rank, rank)


check("swap-units", swap).keep()


# %% [markdown]
# **4. Do parts add up?** Compute for each code $\lVert \mathrm{decode}(H) - H P \rVert / \lVert
# \mathrm{decode}(H) \rVert$, where row $k$ of $P$ is the decoded unit vector $k$.


# %% tags=["exercise"]
def additivity_gap(decode, H):
    return ...  # (n,)


check("additivity-gap", additivity_gap).keep()


# %% [markdown]
# **5. Pencil.** The counts of two classes (rows) in two clusters (columns) are $((40, 30), (20,
# 10))$. Compute ACC, and purity: the share of samples that are of their cluster's largest class.
# Why do the two differ?


# %% tags=["exercise"]
def pencil():
    acc = ...
    purity = ...
    return acc, purity


check("pencil-purity", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** You colour the map by clusters instead of classes. Will it look better or worse,
#   and what does that prove?
# * **Debug.** A paper reports the best ACC of ten starts. What does the reader not learn, and which
#   number would you ask for?
# * **Open.** Find a measure by which the units of $H$ are better than random directions, or show
#   that one that you believed in fails.
#
# ## Capstone
#
# *Two to four hours, alone or in pairs.* Take a data set of your own, at least 1,000 samples and no
# negative values (`images(5000, "fashion-mnist")` if you have none), and answer one question about
# it with a network that your own functions trained.
#
# 1. `engine("my_engine.py").compare(...)` says that all 18 blocks are yours.
# 2. Train on nine tenths of the samples. Say how you chose the rank, without a look at the rest.
# 3. Write the report and the explorer of the run (notebook 6, "Your engine").
# 4. Make one claim about the parts, with a control that could have refuted it (this notebook).
# 5. Hand in `my_engine.py`, the two pages, and half a page of text.
#
# | points | for |
# |---|---|
# | 6 | the engine: 18 blocks, no difference beyond rounding |
# | 4 | a choice of the rank that uses only the training samples |
# | 6 | the claim, its number, and its control |
# | 4 | an honest sentence on what you could not show |
#
# ## What to read next
#
# * [Notebook 8](08-cpu-to-gpu.ipynb): where the time goes, and the same arithmetic on a GPU.
# * The parts explorer: `python -m ddnmf_np.explore RUN_FOLDER` writes a page in which you move the
#   units yourself.
# * [Equation 3](../derivations/03-nmf-module.md): in what sense the module is an NMF.
# * [The experiments](../derivations/experiments.md), on how to compare without fooling oneself;
#   `ddnmf_np/evaluation/interpret.py` and `metrics.py`.
