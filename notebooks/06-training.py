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
# # 6. Training, end to end
#
# *About 70 minutes, 4 checked exercises, and a training with your own engine.* [Notebook
# 5](05-student-and-nmf.ipynb) left a question open: each term of the loss is needed, but how do all
# of them train together, and is the result good for anything?
#
# After this notebook you can
#
# * write algorithm 1 of the paper as a loop over the package's objects, and show that the package's
#   own trainer gives the same parameters, to the last bit;
# * read the curves of the losses, and see what a learning rate does;
# * say what "denoising" means here, and measure it;
# * stop a run, resume it, and get the same result as a run that was never stopped.
#
# We train on 5,000 images with two small hidden layers. The authors' demo has 60,000 images, layers
# of 500, 500 and 2,000 units, and 300 epochs. Its command would be `python -m ddnmf_np.train
# --dataset mnist --objective demo --epochs 300`.

# %% tags=["setup"]
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator

from ddnmf_np.config import configure
from ddnmf_np.data.noise import Corruption, Noise
from ddnmf_np.data.order import batch_slices, epoch_order
from ddnmf_np.engine.descent import GradientDescent, Optimizer
from ddnmf_np.errors import DivergedError
from ddnmf_np.evaluation.figures import (
    DATA_COLOR,
    STUDENT_COLOR,
    SUPERVISOR_COLOR,
    plot_losses,
    plot_reconstructions,
)
from ddnmf_np.explore.__main__ import main as explore
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.teaching import check, engine, images, tally
from ddnmf_np.teaching.display import image_rows, new_figure, show, show_source
from ddnmf_np.teaching.own_engine import save_run
from ddnmf_np.training import Trainer

# %% [markdown]
# ## What the student sees
#
# Equation 2 ([derivation](../derivations/02-noise.md)) is one line, $\tilde x = x + \varepsilon$
# with $\varepsilon \sim P(\varepsilon)$, and leaves $P$ open. The package has three kinds of noise.
# Masking, the demo's choice, sets a pixel to 0 with probability $p$ and divides the others by
# $1 - p$, so that the mean of a pixel stays.
#
# Each random number is a function of (seed, image, pixel), and we compute it when we need it. So an
# image has the same noise in every batch, and we store no second data set.

# %%
x, labels, shape = images(5000)
test = images(1000, split="test").x
some = test[:7]
rows = {"clean": some}
for kind, rate in ("masking", 0.1), ("masking", 0.5), ("salt-and-pepper", 0.2), ("gaussian", 0.2):
    rows[f"{kind} {rate}"] = np.empty_like(some)
    noise = Corruption(Noise(kind, rate), seed=0)
    noise.apply(some, np.arange(len(some)), 0, out=rows[f"{kind} {rate}"])
show(image_rows(rows, shape), "seven digits, clean and with noise of three kinds")

# %% [markdown]
# ## Algorithm 1 as a loop
#
# We have all we need: networks, losses and gradients from notebooks 4 and 5, noise, and a step. The
# step is equation 8 ([derivation](../derivations/08-descent.md)),
# $\theta \leftarrow \theta - \rho\, \partial L / \partial \theta$, for every parameter of both
# networks:

# %%
show_source(GradientDescent)
show_source(Optimizer.step)

# %% [markdown]
# The default is Adam, a refinement of equation 8 that divides by a running size of the gradient.
# `configure` takes the paper's objective if you name no other.
#
# Now the loop. In each line you should recognise an equation. We compute both gradients before
# either network moves.

# %%
config = configure(widths=(128, 64), rank=10, batch_size=50, epochs=8)
model = config.make_model(x.shape[1])
noise = Corruption(config.noise, seed=model.seed, high=float(x.max()))
x_noisy = np.empty((model.batch_size, x.shape[1]), x.dtype)
batches = batch_slices(len(x), model.batch_size)

with model.network_threads:  # as many threads as the trainer will use
    for epoch in range(2):
        order = epoch_order(len(x), model.seed, epoch)  # a new order in each epoch
        model.loss.reset()
        for rows in batches:
            clean, noisy = x[order[rows]], x_noisy[: rows.stop - rows.start]
            noise.apply(clean, order[rows], epoch, out=noisy)  # equation 2
            model.forward(clean, noisy)  # equation 1 and, in the student, equation 3
            model.loss.measure(clean)  # equation 4, equation 5, equation 6
            model.backward(clean)  # equation 9 and equation 10
            model.optimizer.step()  # equation 8, by Adam
        losses = model.loss.values(len(x))  # equation 7
        print(f"epoch {epoch + 1}:", {name: round(value, 3) for name, value in losses.items()})

# %% [markdown]
# `Trainer` is this loop, with care for what may go wrong. It checks that numbers are finite, can
# stop between two steps, and knows its position. Here is its step:

# %%
show_source(Trainer.step)

trainer = config.make_trainer(config.make_model(x.shape[1]), x)
trainer.train(2)
difference = max(
    np.abs(trainer.model.nets[net].arena.params - model.nets[net].arena.params).max()
    for net in model.nets
)
print("largest difference between loop and trainer:", difference)

# %% [markdown]
# Not "nearly": the difference is 0. Order and noise depend only on seed and epoch, and both
# programs do the same arithmetic in the same order. That makes a run something one can argue about.
#
# ## Curves
#
# > **Predict first.** Three losses, eight epochs. Which of them will rise for a while, and why?
#
# We train six more epochs. `loss_in` is equation 7, the weighted sum of the others. The supervisor
# descends `loss_sym`; the student descends `loss_ap` and `loss_nc` towards a teacher that moves. So
# neither network descends the sum. It is a number to watch, and it may rise for a while.

# %%
trainer.train(config.training.epochs)
show(plot_losses(trainer.history), "the losses by epoch")

# %% [markdown]
# ## The learning rate
#
# $\rho$ decides how far a step goes. Too small, and training crawls; too large, and a step jumps
# over the valley that the gradient describes. We look only at the supervisor's loss, for Adam and
# for plain descent (equation 8), on 2,000 images and three epochs.
#
# > **Predict first.** Which of the four learning rates is best for Adam? And for plain descent?

# %% tags=["hide-input"] jupyter={"source_hidden": true}
empty = float((x[:2000] ** 2).sum(axis=1).mean())  # loss of a network that shows nothing
figure = new_figure(3.0)
for axes, optimizer in zip(figure.subplots(1, 2, sharey=True), ("adam", "gd"), strict=True):
    for lr, style in (1e-4, ":"), (1e-3, "-"), (1e-2, "--"), (1e-1, "-."):
        tried = configure(config, optimizer=optimizer, lr=lr)
        run = tried.make_trainer(tried.make_model(x.shape[1]), x[:2000])
        try:
            run.train(3)
        except DivergedError as error:
            print(f"{optimizer}, lr {lr:g}: {error}\n")
        curve = [record["loss_sym"] for record in run.history]
        label = f"{lr:g}" if curve else f"{lr:g} (diverged)"
        axes.plot(range(1, len(curve) + 1), curve, style, color=SUPERVISOR_COLOR, label=label)
    axes.axhline(empty, color="0.7", zorder=0)
    axes.set(title=f"optimizer {optimizer!r}", xlabel="epoch", xticks=[1, 2, 3], yscale="log")
    axes.set_ylim(empty / 5, empty * 5)  # what lies above is worse than no network
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.legend(title="learning rate", frameon=False, fontsize=8)
figure.axes[0].set_ylabel("loss_sym per image")
show(figure, "loss of the supervisor for four learning rates, with Adam and plain descent")

# %% [markdown]
# The grey line is the loss of an empty image. Adam moves each parameter by about $\rho$, whatever
# the scale of the gradient. A plain step is $\rho$ times the gradient. Here the losses are *sums*
# over features, so gradients are large. (With `reduction="mean"` they would be smaller, and so
# would the steps.) A curve that ends high and flat belongs to a network whose units died because
# the steps were too large: finite, and useless.
#
# ## Denoising
#
# The student gets the noisy image. What does it make of it? With the paper's objective no loss
# shows it the clean image; it hears of it only through the supervisor. The authors' own demo has
# other weights and one more row in the table of losses: the distance of the student's output from
# the clean image ([page 12](../derivations/12-paper-and-demo.md)). We train both once more. This
# time the initial weights of the NMF module come from the data ([equation
# 3](../derivations/03-nmf-module.md)), which saves epochs.

# %%
noisy = np.empty_like(some)
noise.apply(some, np.arange(len(some)) + len(x), 0, out=noisy)  # noise that nobody was trained on
trained = {}
for name in ("paper", "demo"):
    chosen = configure(config, objective=name, nmf_start="pca")
    trained[name] = chosen.make_model(x.shape[1])
    chosen.make_trainer(trained[name], x).train(chosen.training.epochs)
    print(f"objective {name!r}, rows {[term.loss for term in trained[name].loss.terms]}:")
    outputs = (trained[name].denoise(noisy), trained[name].supervise(some))
    figure = plot_reconstructions(some, noisy, *outputs, shape)
    show(figure, f"clean, noisy, student and supervisor, objective {name}")

# %% [markdown]
# The student's images are blurred, because only ten numbers get through. Is that denoising? We
# measure: the mean squared error per pixel from the clean image, as more and more pixels are lost.
# A denoiser must beat *doing nothing*. For comparison we also give the noisy images to the
# supervisor, which saw no noise in training and has no narrow door. (Both networks are the demo's.)
#
# > **Predict first.** Half of the pixels are lost. Who is nearest to the clean image?

# %%
rates = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
nothing, student, supervisor = [], [], []
for rate in rates:
    noisy = np.empty_like(test)
    Corruption(Noise("masking", rate), seed=1).apply(test, np.arange(len(test)), 0, out=noisy)
    for found, output in (
        (nothing, noisy),
        (student, trained["demo"].denoise(noisy)),
        (supervisor, trained["demo"].supervise(noisy)),
    ):
        found.append(float(((output - test) ** 2).mean()))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(3.2)
axes = figure.add_subplot()
axes.plot(rates, nothing, "o:", color=DATA_COLOR, label="doing nothing")
axes.plot(rates, supervisor, "s--", color=SUPERVISOR_COLOR, label="supervisor")
axes.plot(rates, student, "D-", color=STUDENT_COLOR, label="student")
axes.axvline(0.1, color="0.8", zorder=0)
axes.text(0.11, axes.get_ylim()[1] * 0.9, "trained at 0.1", color="0.4", fontsize=9, va="top")
axes.set(xlabel="share of pixels lost", ylabel="mean squared error per pixel")
axes.legend(frameon=False)
show(figure, "error against the share of lost pixels")
for name, found in ("doing nothing", nothing), ("supervisor", supervisor), ("student", student):
    print(f"{name:14}", np.round(found, 3))

# %% [markdown]
# At the noise rate of its training, the student's output is *further* from the clean image than the
# noisy image is. Its ten units cost more than the noise does. (In our results the full training on
# 60,000 images reaches 0.015, and masking 0.1 costs about 0.012.) But its curve is the flattest of
# the three: noise hardly touches what gets through the door. So as more pixels are lost, the
# student overtakes first doing nothing and in the end the supervisor. It has not learned to polish
# images. It has learned a *code that noise leaves alone*. [Notebook 7](07-what-did-it-learn.ipynb)
# asks what that code says.
#
# ## Your engine
#
# `check(...).keep()` has collected your answers in `my_engine.py`. `tally` checks all of them once
# more. `engine` makes a training step of them: noise, forward pass, losses, direct gradients, both
# backward passes and the descent. Where one of yours is missing it takes ours, and says so. Two of
# them, `masking-noise` and `adam-step`, are exercises 1 and 2 at the end of this notebook. Solve
# them and come back, and the whole step is yours.
#
# `compare` does one step with both, in float64, and one with drawn numbers, because a new model has
# biases of 0, which hide a forgotten bias. It gives each of your functions our inputs, so that a
# wrong one does not spoil those after it. If a block differs, it names the layer and the block.

# %%
tally()
mine = engine("my_engine.py")
options = {"objective": "paper", "widths": (128, 64), "rank": 10, "batch_size": 50, "epochs": 6}
double = configure(**options, dtype="float64")
clean = x[:50].astype("float64")
keep = np.random.default_rng(0).uniform(size=clean.shape) >= 0.1
print(mine.compare(double.make_model(x.shape[1]), clean, clean * keep / 0.9))

# %% [markdown]
# If nothing is wrong, train. The trainer is the package's; the steps are yours.

# %%
config_mine = configure(**options)
model_mine = config_mine.make_model(x.shape[1])
trainer_mine = mine.make_trainer(config_mine, model_mine, x)
trainer_mine.train(6)
show(plot_losses(trainer_mine.history), "the losses of the network that your functions trained")
show(
    image_rows({"clean": some, "student": model_mine.denoise(some)}, shape), "its students' images"
)

# %% [markdown]
# The network is yours: look at its report, and move its parts. The cell below writes both into the
# folder `my_run` if you have kept an answer. You can give the two pages away.

# %%
if mine.mine:
    save_run(trainer_mine, config_mine, "my_run", shape)
    explore(["my_run"])
    print("open my_run/report.html and my_run/explorer.html")
else:
    print("You have kept no answer yet, so this was our engine.")

# %% [markdown]
# ## Stop, save, resume
#
# Two numbers say where a run is, epoch and batch, since order and noise follow from them and the
# seed. A checkpoint holds these two, the parameters, and Adam's moments. We stop a new run in the
# middle of its second epoch, throw it away, and continue from the file.

# %%
short = x[:2000]
digest = sha256(short.tobytes()).hexdigest()


def stop_after(steps):
    def on_step(trainer):
        trainer.stop_requested = trainer.model.optimizer.t == steps

    return on_step


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "checkpoint.npz"
    first = config.make_trainer(config.make_model(x.shape[1]), short)
    done = first.train(3, on_step=stop_after(55))
    print(f"done: {done}; {first.position.epoch} epoch and {first.position.batch} batches")
    save_checkpoint(path, config, first, digest)
    del first

    second = config.make_trainer(config.make_model(x.shape[1]), short)
    load_checkpoint(path).restore(second, config, digest)
    second.train(3)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")

whole = config.make_trainer(config.make_model(x.shape[1]), short)
whole.train(3)
states = second.model.state(), whole.model.state()
print("same bits:", all(np.array_equal(states[0][name], states[1][name]) for name in states[1]))
print("same losses:", second.history[-1]["loss_in"] == whole.history[-1]["loss_in"])

# %% [markdown]
# ## Exercises
#
# **1. Masking noise.** Compute equation 2 so that the mean of each pixel stays. `keep` is True
# where a pixel stays and False where it is lost.


# %% tags=["exercise"]
def masked(x, keep, rate):
    return ...  # (n, D)


check("masking-noise", masked).keep()


# %% [markdown]
# **2. Adam.** Take one step of equation 8 with a running mean `m` of the gradient and `v` of its
# square, $\theta \leftarrow \theta - \rho \frac{m / c_1}{\sqrt{v / c_2} + \epsilon}$ with
# $c_k = 1 - b_k^t$.


# %% tags=["exercise"]
def adam(theta, g, m, v, t, lr, b1, b2, eps):
    new_m = ...
    new_v = ...
    new_theta = ...
    return new_theta, new_m, new_v


check("adam-step", adam).keep()


# %% [markdown]
# **3. One step of algorithm 1**, with plain descent (equation 8). `model.nets` is a dict of the two
# networks; each has `arena.params` and `arena.grads`, flat arrays. Change the parameters in place.


# %% tags=["exercise"]
def step(model, x, x_noisy, lr):
    """Go forward and backward; then move both networks."""


check("algorithm-1-step", step).keep()


# %% [markdown]
# **4. Pencil.** Do step 1 of Adam by hand for $g = 4$ and for $g = 0.001$, with $\epsilon = 0$. By
# how many learning rates does each parameter move, and in which direction (the sign)?


# %% tags=["exercise"]
def pencil():
    large = ...  # for g = 4
    small = ...  # for g = 0.001
    return large, small


check("pencil-adam", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** You double the batch size and keep the learning rate. Does the loss after one epoch
#   rise or fall with Adam? And with plain descent?
# * **Debug.** Break one line of `my_engine.py`, ask a neighbour to find it with `compare`, and
#   mend it.
# * **Open.** Give the student fresh noise in each epoch (`noise_redraw=True`) or more of it
#   (`noise_rate=0.3`), and draw the curve of the errors again. At which rate is each student best?
#
# ## What to read next
#
# * [Notebook 7](07-what-did-it-learn.ipynb): what the ten units mean.
# * [Equation 8](../derivations/08-descent.md), with the small print of Adam, and [where paper and
#   demo differ](../derivations/12-paper-and-demo.md).
# * `ddnmf_np/training.py`, the whole of algorithm 1, and `ddnmf_np/runs/checkpoint.py`.
