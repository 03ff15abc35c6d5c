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
# # 5. The student and the NMF module
#
# *About 75 minutes, 5 checked exercises.* [Notebook 4](04-the-supervisor.ipynb) left a question
# open: its code of 20 numbers rebuilds an image, but nothing makes it a sum of parts. We put the
# NMF of notebook 1 into the middle of a second network.
#
# After this notebook you can
#
# * write the NMF module forward and backward (equation 3);
# * say which layers each loss compares, and how equation 10 adds up their gradients on the way
#   down;
# * take a term away, and know what breaks.
#
# The networks here are small (two hidden layers, 5,000 images), so that each training takes
# seconds. What breaks here breaks at the paper's size too, but the numbers belong to this size.

# %% tags=["setup"]
import numpy as np

from ddnmf_np import gradcheck
from ddnmf_np.engine.losses import InterpretabilityLoss, appositive
from ddnmf_np.engine.network import Network
from ddnmf_np.evaluation.figures import LOSS_COLORS, STUDENT_COLOR
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching import check, images
from ddnmf_np.teaching.display import image_rows, matrices, new_figure, show, show_source
from ddnmf_np.training import Trainer

# %% [markdown]
# ## Up: two layers more than the supervisor
#
# ![The supervisor above, the student with its NMF module below](../derivations/_static/model.svg)
#
# The student is an auto-encoder like the supervisor of [notebook 4](04-the-supervisor.ipynb), cut
# open in the middle. Between its encoder and its decoder sits the NMF module, equation 3
# ([derivation](../derivations/03-nmf-module.md)):
#
# $$H = \sigma(W' X), \qquad \hat X = \mathrm{ReLU}(W H) .$$
#
# $X$ is the code, here 64 numbers for each image. $H$ has 10 numbers. $\hat X$ is the code again,
# rebuilt as a sum of parts: the columns of $W$, each weighted by one number of $H$. With samples as
# rows we write `H = sigmoid(code @ W_base.T)` and `code_hat = relu(H @ W_rec.T)`. These are two
# layers of equation 1 without bias, so the student is a `Network` of $L + 2$ layers and needs no
# new code.
#
# The student does not see $x$ but $\tilde x = x + \varepsilon$ (equation 2,
# [derivation](../derivations/02-noise.md)). Here each pixel is lost with probability 0.1.

# %%
x, labels, shape = images(5000)
architecture = Architecture(widths=(128, 64), rank=10)
model = Model(x.shape[1], architecture, batch_size=50, rows=500)
for net, network in model.nets.items():
    print(f"{net:10} {' -> '.join(map(str, network.widths))}")

rng = np.random.default_rng(0)
x_noisy = x * (rng.uniform(size=x.shape) > 0.1)
model.forward(x[:64], x_noisy[:64])
code, H, code_hat = model.student.h[2:5]
panels = {"code X": code, "H": H, "recovered code": code_hat}
show(matrices(panels, xlabel="unit", ylabel="image", columns=3), "code, H and recovered code")
print(f"H before training: {H.min():.2f} to {H.max():.2f}")

# %% [markdown]
# Before training $H$ stays near $\sigma(0) = 1/2$ and is nearly the same for all images (vertical
# stripes). Ten units that do not differ between images can say nothing about an image. Keep an eye
# on their spread: the standard deviation of each unit over the images. You need no label to measure
# it.
#
# ## Three losses, one table
#
# * *Symmetric loss*, equation 4: the distance of the supervisor's output from the clean image.
# * *Apposition loss*, equation 5 ([derivation](../derivations/05-apposition-loss.md)): layer by
#   layer, the student should think what the supervisor thinks, $L_{ap} = \frac{1}{N} \sum_i \sum_l
#   \lVert h_i^{(l)} - \tilde h_i^{(s(l))} \rVert^2$. The partner $s(l)$ is $l$ below the NMF module
#   and $l + 2$ above it.
# * *Non-negative constraint loss*, equation 6
#   ([derivation](../derivations/06-non-negative-loss.md)): the error of the factorization,
#   $L_{nc} = \frac{1}{N} \sum_i \lVert X_i - \hat X_i \rVert^2$.
#
# Equation 7 ([derivation](../derivations/07-interpretability-loss.md)) is their weighted sum,
# $L_{in} = \alpha L_{sym} + \beta L_{ap} + \gamma L_{nc}$. The package writes it as a table. Each
# row is a weight times the squared distance of two signals. It also names the signals that it
# *moves*: those that receive a gradient from this row.

# %%
depth = model.depth
print("partners s(l):", {layer: appositive(layer, depth) for layer in range(1, depth + 1)})
for term in model.loss.terms:
    a, b = (f"{signal.net} {signal.layer}" for signal in (term.a, term.b))
    moves = ", ".join(f"{net} {layer}" for net, layer in term.moves)
    print(f"{term.loss:4} weight {term.weight:g}:  {a:12} - {b:12}  moves {moves}")

# %% [markdown]
# The apposition loss moves the student and not the supervisor: the teacher is not taught. The last
# row moves *both* its signals, because both belong to the student.
#
# ## Down: equation 10
#
# The output of a student layer affects the losses in two ways. A loss may compare it directly, and
# it is the input of the next layer. Equation 10
# ([derivation](../derivations/10-student-gradient.md)) adds the two gradients:
#
# $$\tilde g^{(l)} = \mathrm{Grad}[\tilde h^{(l)}] + W^{(l+1)T} f'^{(l+1)} \tilde g^{(l+1)} .$$
#
# The first part is the *direct gradient*. A row $w \lVert a - b \rVert^2 / N$ of the table gives
# $\frac{2w}{N} (a - b)$ at $a$, if it moves $a$, and the opposite at $b$, if it moves $b$. The
# package stores it as a `DirectGradient`: a reference and a factor. The first function below reads
# the direct gradients off the table; the second is the recursion:

# %%
show_source(InterpretabilityLoss.direct_gradients)
show_source(Network.backward)

# %% [markdown]
# Side by side: the lines of `literal.py` compute one sample as the paper writes it, those of
# `losses.py` and `network.py` a batch. The first two lines are the direct gradient of the code $X$,
# the other two the recursion.
#
# | file | line |
# |---|---|
# | `ddnmf_np/engine/literal.py` | `pull(beta, t[l], h[l], N) + pull(gamma, t[l], t[l + 2], N)` |
# | `ddnmf_np/engine/losses.py` | `DirectGradient(target, c, adds_to)` |
# | `ddnmf_np/engine/literal.py` | `g = self.direct_gradient(l, h, t, objective, N) + from_above` |
# | `ddnmf_np/engine/network.py` | `layer.backward(direct=direct.get(number, ()))` |

# %% [markdown]
# Where does each direct gradient enter, and how large is it compared with what comes from above?
# After `backward` we compute the norm of each direct gradient, and of the gradient that the next
# layer passes down.
#
# > **Predict first.** Which layer has no direct gradient? Which has two?

# %%
model.backward(x[:64])
layers, direct = model.student.layers, model.loss.direct_gradients("student", x[:64])
names = ["1", "2: code", "3: H", "4: recovered", "5", "6: output"]
pulls = {"loss_ap": np.zeros(6), "loss_nc": np.zeros(6), "from above": np.zeros(6)}
for number, layer in enumerate(layers, start=1):
    h = layer.h[:64]
    for ref, c, _ in direct.get(number, ()):
        inside = any(ref is signal for signal in model.student.h)
        pulls["loss_nc" if inside else "loss_ap"][number - 1] = np.linalg.norm(c * (h - ref))
    if number < len(layers):
        above = layers[number]
        pulls["from above"][number - 1] = np.linalg.norm(above.dh[:64] @ above.W)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.9)
axes = figure.add_subplot()
colors = {**LOSS_COLORS, "from above": "0.6"}
for place, (name, norms) in enumerate(pulls.items()):
    shown = f"direct, {name}" if name in LOSS_COLORS else name
    axes.bar(np.arange(6) + 0.27 * (place - 1), norms, 0.26, label=shown, color=colors[name])
axes.set(xticks=range(6), xticklabels=names, xlabel="layer of the student")
axes.set(ylabel="norm of the gradient")
axes.legend(frameon=False)
show(figure, "direct gradients and what comes from above, for each layer of the student")

# %% [markdown]
# $H$ has no coloured bar, because no loss compares it. It learns only from the gradient that comes
# down through $\hat X$. That gradient must pass $f' = H (1 - H) \le 1/4$ and the ten rows of $W'$
# on its way to the code. There it is the smallest of three, so the encoder learns mostly from the
# direct gradients. That is what *layer by layer* is good for.
#
# Is equation 10 right in this model? We check it as in [notebook 3](03-gradient-check.ipynb):

# %%
report = gradcheck(model, verbose=False)
lines = str(report).splitlines()
print("\n".join([*lines[:2], *(line for line in lines if line.startswith("student")), lines[-1]]))

# %% [markdown]
# ## What collapses without which term
#
# Now we train with the whole objective, and then with parts of the table switched off. A row with
# weight 0 does nothing. A row that moves one signal instead of two gives one direct gradient
# instead of two. Everything else is equal: initial weights, noise, order of images, number of
# steps.
#
# > **Predict first.** Before you run the cell, write down for each variant what breaks: the image,
# > the spread of $H$, or the factorization.
#
# We judge without labels, on images of the test split:
#
# * **spread of H**: the standard deviation of a unit over the images, averaged over the units. A
#   unit with less than 0.001 counts as **dead**;
# * **size of X**: the root mean square of the code;
# * **left over**: $\lVert X - \hat X \rVert^2 / \lVert X \rVert^2$, the share of the code that the
#   factorization does not explain;
# * **error**: the mean squared difference between the student's output and the clean image, per
#   pixel.

# %%
test = images(500, split="test").x


def keep(term):
    return term


def off(loss):
    return lambda term: term._replace(weight=0.0) if term.loss == loss else term


def output_pair_only(term):
    hidden = term.loss == "ap" and term.b.layer < depth
    return term._replace(weight=0.0) if hidden else term


def pull_at_code_only(term):
    return term._replace(moves=(term.a,)) if term.loss == "nc" else term


def pull_at_recovered_only(term):
    return term._replace(a=term.b, b=term.a, moves=(term.b,)) if term.loss == "nc" else term


variants = {
    "all terms": keep,
    "no L_sym": off("sym"),
    "no L_ap": off("ap"),
    "L_ap, output only": output_pair_only,
    "no L_nc": off("nc"),
    "L_nc, X only": pull_at_code_only,
    "L_nc, X^ only": pull_at_recovered_only,
}
trained, rows = {}, {}
print(f"{'':18} spread of H  dead  size of X  left over   error")
for name, change in variants.items():
    trained[name] = model = Model(x.shape[1], architecture, batch_size=50, rows=500)
    model.loss.terms = tuple(change(term) for term in model.loss.terms)
    Trainer(model, x).train(10)
    model.forward(test, test)
    code, H, code_hat = model.student.h[2:5]
    left = ((code - code_hat) ** 2).sum() / (code**2).sum()
    spread, dead, size = H.std(axis=0).mean(), dead_units(H).sum(), np.sqrt((code**2).mean())
    error = ((model.student.h[-1] - test) ** 2).mean()
    rows[name] = spread, size, left, error
    print(f"{name:18} {spread:11.4f} {dead:5} {size:10.3f} {left:10.2f} {error:7.4f}")

# %% tags=["hide-input"] jupyter={"source_hidden": true}
titles = ["spread of H", "size of the code X", "left over by the factorization", "error per pixel"]
figure = new_figure(2.9, 9.6)
for place, (title, axes) in enumerate(zip(titles, figure.subplots(1, 4, sharey=True), strict=True)):
    values = [row[place] for row in rows.values()]
    axes.barh(list(rows), values, color=[STUDENT_COLOR] + ["0.6"] * (len(rows) - 1))
    axes.set_title(title, fontsize=9)
    axes.axvline(values[0], color=STUDENT_COLOR, linewidth=0.8)
axes.invert_yaxis()
show(figure, "four measures for each variant of the objective")

shown = {"image": test[:9]} | {name: net.denoise(test[:9]) for name, net in trained.items()}
show(image_rows(shown, shape), "outputs of the students")

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(2.0, 9.6)
for (name, net), axes in zip(trained.items(), figure.subplots(1, 7, sharey=True), strict=True):
    axes.hist(net.encode(test).ravel(), bins=np.linspace(0, 1, 31), color=STUDENT_COLOR)
    axes.set_title(name, fontsize=8)
    axes.set(xticks=[0, 0.5, 1], yscale="log")
figure.supxlabel("value of a unit of H", fontsize=9)
figure.supylabel("count", fontsize=9)
show(figure, "histograms of H; without the apposition loss all values are near a half")

# %% [markdown]
# What we see:
#
# * **No $L_{sym}$: the teacher never learns.** The supervisor keeps the random weights it started
#   with. The student follows it faithfully, and so makes random images as well.
# * **No $L_{ap}$: collapse.** The student has only $L_{nc}$ left, and $X = \hat X = 0$ costs
#   nothing. The code shrinks, $W' X$ goes to 0, every unit of $H$ settles at $1/2$, and the spread
#   is gone. The share left over is *small*: a code that says nothing is easy to factorize. A low
#   $L_{nc}$ by itself proves nothing.
# * **$L_{ap}$ at the output only.** The image is good, as that of any auto-encoder would be. But
#   the code no longer follows the supervisor's, and $L_{nc}$ shrinks it.
# * **No $L_{nc}$: not an NMF.** The spread of $H$ and the image are even *better*: nothing presses
#   the code through ten parts, and the decoder can work with any $\hat X$. But most of $X$ is left
#   over. $H$ is then the bottleneck of an auto-encoder. It would be wrong to call it a
#   factorization of $X$.
# * **$L_{nc}$ moves one side only.** If it moves only $X$, the encoder adapts to whatever the
#   module produces, and the module never learns to rebuild $X$. If it moves only $\hat X$, the
#   module learns, and the code stays as large as the supervisor's. Of the three variants, the one
#   that moves both leaves least over.
#
# (The black dots in the images are output pixels whose ReLU is off for every image. By equation 9
# such a unit gets no gradient, so it cannot come back.)
#
# So the terms check each other. $L_{sym}$ gives the teacher something to say. $L_{ap}$ makes the
# student say it, and keeps the code from vanishing. $L_{nc}$ makes the code a product of few parts,
# at some cost to the image. The weights $\alpha, \beta, \gamma$ decide how much of each we get; the
# paper does not publish them.
#
# Seven trainings with one seed are a demonstration, not a proof. Do these differences survive
# another seed? You can find out in a minute: `Model(..., seed=1)`.

# %% [markdown]
# ## Exercises
#
# In all exercises `h[0]` to `h[4]` are the supervisor's activations ($L = 4$) and `t[0]` to `t[6]`
# the student's: `t[2]` is the code, `t[3]` is $H$, `t[4]` the recovered code.
#
# **1. Two losses.** Compute equation 5 and equation 6: sum over the features, mean over the `n`
# samples.


# %% tags=["exercise"]
def losses(h, t):
    loss_ap = ...  # a number
    loss_nc = ...  # a number
    return loss_ap, loss_nc


check("student-losses", losses).keep()


# %% [markdown]
# **2. The direct gradients.** Return the table of equation 10, one entry for each layer of the
# student.


# %% tags=["exercise"]
def direct(h, t, beta, gamma):
    return {"Grad1": ..., "Grad2": ..., "Grad3": ..., "Grad4": ..., "Grad5": ..., "Grad6": ...}


check("direct-gradients", direct).keep()


# %% [markdown]
# **3. Through the NMF module.** Go backward through equation 3. `g` (n, m) is the gradient of the
# loss with respect to `code_hat`. There is no other direct gradient.


# %% tags=["exercise"]
def nmf_backward(code, H, code_hat, W_base, W_rec, g):
    dW_rec = ...  # (m, r)
    dW_base = ...  # (r, m)
    dcode = ...  # (n, m)
    return dW_rec, dW_base, dcode


check("nmf-backward", nmf_backward).keep()


# %% [markdown]
# **4. All of equation 10.** `Grad[l]` is given for `l` = 1 to 6, and `W[l - 1]` is the weight of
# layer `l`. Layer 3 is a sigmoid, all others are ReLU. Layers 3 and 4 have no bias.


# %% tags=["exercise"]
def student_gradient(t, W, Grad):
    return ...  # {"W6": dW of layer 6, "b6": db of layer 6, "W5": ..., ..., "W1": ..., "b1": ...}


check("student-gradient", student_gradient).keep()


# %% [markdown]
# **5. Pencil.** One sample has the code $X = 2$, with $H = 0.5$, $\hat X = 1$, $W' = 1$, $W = 2$,
# and $g = 1$ at $\hat X$. Compute both weight gradients and the gradient at $X$.


# %% tags=["exercise"]
def pencil():
    dW_rec = ...
    dW_base = ...
    dcode = ...
    return dW_rec, dW_base, dcode


check("pencil-module", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** Set $\gamma = 100$. What happens to the size of the code, and to the image?
# * **Debug.** A student's $L_{nc}$ falls to 0.001 in one epoch. Why is that bad news, and which
#   number do you print?
# * **Open.** Train two variants with `Model(..., seed=1)` and `seed=2`. Which of the differences
#   above survive?
#
# ## What to read next
#
# * [Notebook 6](06-training.ipynb): training, from a loop that you could have written to a run that
#   can be stopped and resumed.
# * [Equation 10](../derivations/10-student-gradient.md), and its trap: the gradient of $L_{in}$
#   with respect to the *supervisor's* weights is not what moves the supervisor.
# * [Equation 3](../derivations/03-nmf-module.md): why forcing $W' \ge 0$ would keep every $H$ above
#   1/2, and how the module can start from the data.
# * [Where paper and demo differ](../derivations/12-paper-and-demo.md): other weights, and one more
#   kind of row in the table.
# * `ddnmf_np/engine/losses.py`.
