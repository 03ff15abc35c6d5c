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
# # 8. From CPU to GPU
#
# *About 50 minutes, 5 checked exercises.* The notebooks before left open a question that has
# nothing to do with mathematics. The paper's networks have fifteen times as many parameters as
# those of notebooks 5 and 6. What makes a step slow?
#
# After this notebook you can
#
# * say how one code runs on NumPy and on CuPy, and what must not cross between host and device;
# * measure how much time each part of a training step takes;
# * tell by hand, with a roofline, which part of it is limited by arithmetic and which by memory;
# * explain what a fused operation saves.
#
# The mathematics is that of notebooks 2 to 6. Nothing here changes a formula. All times were
# measured on the machine that ran this notebook, on one thread. On your machine they will differ.

# %% tags=["setup"]
import time
from collections import Counter, defaultdict

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.ops import Ops
from ddnmf_np.backends.select import get_ops, why_not_cupy, why_not_numba
from ddnmf_np.config import configure
from ddnmf_np.teaching import check, images
from ddnmf_np.teaching.display import new_figure, show, show_source

# %% [markdown]
# ## The shim
#
# CuPy has NumPy's functions under NumPy's names, for arrays in the GPU's memory. So the engine asks
# for its array module once, and calls it `xp`. All arithmetic is in the methods of one object,
# `Ops`; a layer holds an `Ops` and never names a library. Here are the direct gradient of equation
# 10, the descent of equation 8, and the two methods that move data:

# %%
for method in (Ops.add_direct, Ops.descend, Ops.to_device, Ops.to_host):
    show_source(method)

# %% [markdown]
# Every operation has an `out=`: the caller owns the memory, and after warm-up a step allocates
# nothing. On a GPU an allocation can be slower than the arithmetic; on a CPU fresh memory is not in
# the cache.
#
# `get_ops(name)` returns the object for a backend, or says why it cannot run here. It never falls
# back to another backend by itself. `ddnmf_np/backends/select.py` is the only file that knows the
# names.

# %%
for backend, problem in ("cupy", why_not_cupy()), ("numba", why_not_numba()):
    print(f"{backend}: {'usable here' if problem is None else 'not usable here'}")

# %% [markdown]
# ## What must not cross
#
# A bus joins host and device. Crossing it is expensive for two reasons. *Bytes*: the bus moves some
# 10 to 50 GB/s, the GPU's own memory a hundred times as much. *Waiting*: usually the host only
# queues work and runs ahead. But to read a single number back (`float(loss)`, `if loss > 3`,
# `print(loss)`) it must wait until the GPU has done all queued work, and then the GPU runs dry.
#
# So the data cross once, at the start. The device makes order, noise, batches and losses. Once an
# epoch, a handful of losses comes back. We count the calls of one epoch:

# %%
x, labels, shape = images(5000)
config = configure(widths=(64, 32), rank=10, batch_size=50, fast="off")


def counted(ops, names, calls):
    """Let an object count the calls of some of its methods."""
    for name in names:
        method = getattr(ops, name)

        def count(*arguments, name=name, method=method, **options):
            calls[name] += 1
            return method(*arguments, **options)

        setattr(ops, name, count)
    return ops


calls = Counter()
ops = counted(Ops(), ["to_device", "to_host", "matmul", "activate", "delta", "adam"], calls)
trainer = config.make_trainer(config.make_model(x.shape[1], ops), x)
print("before training:", dict(calls))
for epoch in (1, 2):
    calls.clear()
    trainer.train(epoch)
    print(f"epoch {epoch}, {len(trainer.batches)} steps:", dict(calls))

# %% [markdown]
# An epoch has thousands of operations and one `to_host`. (Before training, `to_device` moves the
# images and the initial weights. We draw these on the host, so that every backend starts from the
# same numbers.)
#
# ## Where the time goes
#
# The authors' network is 784-500-500-2000-10-2000-500-500-784, with batches of 128. We run a few
# steps and time each operation. (Random data of the right shape will do, because the time does not
# depend on their values. We use the clock of the thread, which stops while other programs have the
# processor.)
#
# The plain form and its *fused* twin in Numba compute the same. In plain NumPy `delta` goes over
# its batch once for each operation of equation 10, and each time the numbers travel from memory and
# back. Numba's loop does everything to a row while the row is in the cache.
#
# > **Predict first.** Which takes longest in a step of 128 images: products, activations, or Adam?
# > And in a step of 16?

# %%
show_source(Ops.delta)
show_source(Ops.dactivate)

# %%
# The clock of this thread, unless it ticks too slowly, as it does on some systems.
fine = time.get_clock_info("thread_time").resolution < 1e-5
now = time.thread_time if fine else time.perf_counter

KINDS = {
    "matmul": "matrix products",
    "activate": "forward: bias, f",
    "delta": "backward: direct, f', db",
    "adam": "Adam",
    "replace": "noise",
}


def timed(ops, spent):
    """Let an object add up the seconds of its operations."""
    for name, kind in KINDS.items():
        method = getattr(ops, name)

        def clock(*arguments, kind=kind, method=method, **options):
            start = now()
            method(*arguments, **options)
            spent[kind] += now() - start

        setattr(ops, name, clock)
    return ops


def profile(fast, batch, steps=8):
    """Return the milliseconds of each kind of work in a step."""
    ops = get_ops("numpy", fast=fast)
    ops.warm_up("float32")  # compile before the clock runs
    config = configure(batch_size=batch, noise_redraw=True)
    data = np.random.default_rng(0).uniform(size=(batch, 784)).astype("float32")
    spent = defaultdict(float)
    trainer = config.make_trainer(config.make_model(784, timed(ops, spent)), data)
    index = np.arange(batch)
    with threadpool_limits(1):
        for number in range(steps + 2):
            if number == 2:  # two steps to warm up
                spent.clear()
                start = now()
            trainer.step(index)
    whole = now() - start
    spent["the rest"] = whole - sum(spent.values())
    return {kind: 1e3 * spent[kind] / steps for kind in [*KINDS.values(), "the rest"]}


forms = {"plain NumPy": "off", "fused (Numba)": "on"}
if why_not_numba() is not None:
    print("Numba is not installed, so there is no fused form to compare with.")
    del forms["fused (Numba)"]
found = {f"{name}, batch {n}": profile(fast, n) for n in (128, 16) for name, fast in forms.items()}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
COLORS = ["#332288", "#88CCEE", "#44AA99", "#CC6677", "#DDCC77", "0.7"]
figure = new_figure(3.0)
axes = figure.add_subplot()
left = np.zeros(len(found))
for kind, color in zip([*KINDS.values(), "the rest"], COLORS, strict=True):
    lengths = np.array([spent[kind] for spent in found.values()])
    axes.barh(list(found), lengths, left=left, color=color, label=kind, edgecolor="white")
    left += lengths
axes.invert_yaxis()
axes.set_xlabel("milliseconds per step (one thread)")
figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
show(figure, "time of a step by kind of work, plain and fused, for batches of 128 and 16")
for name, spent in found.items():
    products, adam = spent["matrix products"], spent["Adam"]
    print(f"{name:24} {sum(spent.values()):5.1f} ms: products {products:.1f}, Adam {adam:.1f}")

# %% [markdown]
# With 128 images the products dominate. Fusing makes everything else small, and then there is
# little left to win. With 16 images the products take less time, but Adam takes as long as before:
# it moves all parameters once a step, however few images the step has seen.
#
# ## A roofline by hand
#
# You can tell without running it whether a piece of work is limited by arithmetic or by memory.
# Count its floating-point operations and the bytes it must move. Their ratio is the *arithmetic
# intensity*. A machine with a peak of $P$ operations per second and $M$ bytes per second can do at
# most
#
# $$\min(P, \; M \cdot \text{intensity})$$
#
# operations per second: a slope that meets a flat roof. [Page 11](../derivations/11-complexity.md)
# counts a whole step. Here we count three pieces of it by hand, in float32 (4 bytes), for the layer
# 500 -> 2000:
#
# * *Forward product* of $n$ images: $2 n \cdot 500 \cdot 2000$ operations on
#   $4\,(500 n + 500 \cdot 2000 + 2000 n)$ bytes. For $n = 128$ that is 48 operations per byte.
# * *ReLU with bias*, fused: 2 operations and 8 bytes (read, write) per entry: 0.25 operations per
#   byte.
# * *Adam*, fused: about 13 operations and 28 bytes per parameter (read $\theta, g, m, v$, write
#   $\theta, m, v$): 0.46 operations per byte.
#
# Now we measure this machine's roof, and put the pieces on the picture.
#
# > **Predict first.** Where do the roof and the slope meet on your machine: at 1, 10 or 100
# > operations per byte?


# %%
def seconds(work, repeat=30):
    """Return the shortest of several times of `work`."""
    times = []
    for _ in range(repeat):
        start = now()
        work()
        times.append(now() - start)
    return min(times)


def product(n, fan_in=500, fan_out=2000):
    """Return the intensity and the operations per second of a forward product."""
    a, b = np.ones((n, fan_in), "float32"), np.ones((fan_out, fan_in), "float32")
    out = np.empty((n, fan_out), "float32")
    flop, moved = 2 * n * fan_in * fan_out, a.nbytes + b.nbytes + out.nbytes
    return flop / moved, flop / seconds(lambda: np.matmul(a, b.T, out=out))


ops = get_ops("numpy")  # the fused form where there is one
ops.warm_up("float32")
size = 6_600_000  # parameters of the paper's two networks
p, g, m, v = (np.zeros(size, "float32") for _ in range(4))
z, b = np.zeros((128, 2000), "float32"), np.zeros(2000, "float32")
work = np.empty(1 << 17, "float32")
with threadpool_limits(1):
    square, out = np.ones((2, 512, 512), "float32")
    peak = 2 * 512**3 / seconds(lambda: np.matmul(square, square, out=out))
    bandwidth = 3 * p.nbytes / seconds(lambda: np.add(p, g, out=p))  # reads p and g, writes p
    points = {f"product, n = {n}": product(n) for n in (1, 16, 128, 512)}
    adam = (p, g, m, v, (1e-3, 1e-7), 0.9, 0.999, work)
    points["Adam"] = 13 / 28, 13 * size / seconds(lambda: ops.adam(*adam))
    points["ReLU"] = 2 / 8, 2 * z.size / seconds(lambda: ops.activate("relu", z, b))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(3.6)
axes = figure.add_subplot()
intensity = np.logspace(-1, 3, 50)
axes.loglog(intensity, np.minimum(peak, bandwidth * intensity) / 1e9, color="0.3")
for name, (ratio, rate) in points.items():
    marker, color = ("o", "#332288") if name.startswith("product") else ("s", "#CC6677")
    axes.plot(ratio, rate / 1e9, marker, color=color)
    place = {"ha": "right" if 20 < ratio < 60 else "left", "va": "top"}
    axes.annotate(
        name, (ratio, rate / 1e9), (4, -4), textcoords="offset points", fontsize=8, **place
    )
axes.set(xlabel="operations per byte", ylabel="10$^9$ operations per second")
axes.grid(color="0.92")
show(figure, "roofline of this machine with products, Adam and ReLU")
print(f"roof: {peak / 1e9:.0f} GFLOP/s; slope: {bandwidth / 1e9:.1f} GB/s; they meet at "
      f"{peak / bandwidth:.0f} operations per byte")  # fmt: skip

# %% [markdown]
# The more images, the nearer the product comes to the roof, because each weight is read once and
# used $n$ times. Adam and the ReLU stay at the left, far below the roof, whatever the batch. Only
# fewer passes over memory make them faster, and fusing does just that. (A point above the line has
# its numbers in the cache, where bytes are cheaper than the slope says.)
#
# On a GPU both limits are 10 to 100 times higher. The picture is the same but for one thing: each
# operation is a *launch*, which takes some microseconds. A batch of 128 is little work for a large
# GPU, so launches count. Therefore `activate` and `delta` are one kernel each, and a step is
# recorded as a CUDA graph and replayed ([on a GPU](../derivations/gpu.md)).
#
# ## Do both forms compute the same?
#
# A fused form is worth nothing if it computes something else. It keeps the order of the operations,
# so only the sum of a loss may differ.

# %%
outcome = {}
for name, ops in {"plain": Ops(), "fused": get_ops("numpy")}.items():
    trainer = config.make_trainer(config.make_model(x.shape[1], ops), x[:1000])
    with threadpool_limits(1):
        trainer.train(2)
    outcome[name] = trainer
a, b = (outcome[name].model.state() for name in ("plain", "fused"))
print(f"{outcome['plain'].ops.name} against {outcome['fused'].ops.name}:")
print("largest difference of a parameter:", max(np.abs(a[name] - b[name]).max() for name in a))
losses = [outcome[name].history[-1]["loss_in"] for name in ("plain", "fused")]
print(f"loss_in: {losses[0]:.6f} and {losses[1]:.6f}")

# %% [markdown]
# ## The same run on a GPU
#
# Seed, initial weights, order and noise are the same. But the device adds up the products in
# another order, so the numbers agree up to rounding and are not bit-identical. If there is no GPU,
# the next cell says so and does nothing else.

# %%
problem = why_not_cupy()
if problem is not None:
    print("No GPU can be used here, so this part is skipped. `python -m ddnmf_np.doctor` says why.")
else:
    for name, ops in {"numpy": get_ops("numpy"), "cupy": get_ops("cupy")}.items():
        config = configure(batch_size=128)
        trainer = config.make_trainer(config.make_model(x.shape[1], ops), x)
        trainer.train(3)
        ops.synchronize()
        record = trainer.history[-1]
        print(f"{name:6} {ops.device_name()}: loss_in {record['loss_in']:.4f}, "
              f"{record['samples_per_second']:,.0f} images a second")  # fmt: skip

# %% [markdown]
# ## Exercises
#
# **1. Intensity.** Take the product `x @ W.T` with `x` (n, fan_in) and `W` (fan_out, fan_in).
# Return its operations, its bytes (both factors and the result, each moved once), and their ratio.


# %% tags=["exercise"]
def layer_intensity(n, fan_in, fan_out, itemsize):
    flop = ...
    moved = ...  # bytes
    intensity = ...  # operations per byte
    return flop, moved, intensity


check("layer-intensity", layer_intensity).keep()


# %% [markdown]
# **2. Roofline.** Return the least time that a piece of work can take, and its limit: `"compute"`
# or `"memory"`.


# %% tags=["exercise"]
def roofline_time(flop, moved, peak, bandwidth):
    least = ...  # seconds
    bound = ...  # "compute" or "memory"
    return least, bound


check("roofline-time", roofline_time).keep()


# %% [markdown]
# **3. In place.** Do what `Ops.delta` does for a ReLU layer with one direct gradient (equation 10):
# overwrite `dh` with $\delta = f' \odot (dh + c\,(h - \mathrm{ref}))$, and `db` with the sum of its
# rows. Make no array: use `work`, and give every step its `out=`. Return nothing.


# %% tags=["exercise"]
def relu_delta(h, dh, ref, c, work, db):
    """Overwrite dh and db."""


check("delta-in-place", relu_delta).keep()


# %% [markdown]
# **4. One crossing.** `outputs` and `targets` are lists of arrays on a (pretended) device, one
# array for each batch. Return the sum of all squared differences as a Python float, and let the
# host read only once.


# %% tags=["exercise"]
def total_loss(outputs, targets):
    return ...  # a float


check("one-crossing", total_loss).keep()


# %% [markdown]
# **5. Pencil.** How many bytes does a step of plain descent move for each parameter of float32, and
# how many operations does it do? Place it on the roofline.


# %% tags=["exercise"]
def pencil():
    moved = ...  # bytes
    flop = ...
    return moved, flop


check("pencil-descent", pencil).keep()


# %% [markdown]
# ## More exercises, without a check
#
# * **Predict.** A GPU has 100 times the peak and 20 times the bandwidth of your machine. Which of
#   the three pieces gains most?
# * **Debug.** A training on a GPU is slow, and `print(loss)` is in its inner loop. Explain with one
#   sentence why removing the line makes everything else faster too.
# * **Open.** Run `python -m ddnmf_np.bench` and explain one of its rows with a roofline.
#
# ## What to read next
#
# * [Cost](../derivations/11-complexity.md): operations and bytes of a step, derived and counted.
# * [Speed](../derivations/14-speed.md): what makes a step fast, and what did not help.
# * `ddnmf_np/backends/ops.py` beside `ops_numba.py` and `ops_cupy.py`: the same formulas three
#   times. Tests compare them.
# * `python -m ddnmf_np.bench` measures a step beside other libraries.
