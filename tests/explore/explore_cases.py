"""Small runs, their pages, and the page's arithmetic done again, for the tests of the explorer."""

import base64
import json
import re
from html import unescape

import numpy as np

from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import fingerprint
from ddnmf_np.explore.content import gather
from ddnmf_np.explore.page import render
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.runs.folder import RunFolder

FLOAT16 = 2e-3
"""The page beside the model: each weight is rounded to float16, by 2^-11 = 5e-4 of itself at most.
In a sum of terms of both signs these errors add up as a walk at random does, over four layers 4e-4
is what it comes to. A bias that is forgotten or a wrong function is off by 1e-2 and more."""

JAVASCRIPT = 1e-6
"""The page beside the same rounded weights in float64: JavaScript adds in float64 and keeps the
output of a layer as float32, which is 6e-8 a layer, and a little more after a steep one."""

SMALL = {
    "widths": (23, 19),
    "rank": 5,
    "batch_size": 16,
    "epochs": 2,
    "starts": 2,
    "embedding": "pca",
    "clusterers": ("kmeans",),
    "threads": 1,
}


def draw(n=90, width=64, seed=0):
    """Return samples of three kinds, bytes, and their kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, n)
    kinds[:3] = 0, 1, 2
    middles = rng.uniform(0, 1, (3, width)) ** 3
    x = np.clip(
        middles[kinds] * rng.uniform(0.5, 1.2, (n, 1)) + rng.normal(0, 0.05, (n, width)), 0, 1
    )
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8), kinds


def make_run(folder, x=None, y=None, *, name="points", trained=True, change=None, **options):
    """Leave a run folder with its data beside it, and return its path.

    ``change(model)`` is called before the checkpoint is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if x is None:
        x, y = draw()
    data = folder / "data" / f"{name}.npz"
    data.parent.mkdir()
    np.savez(data, x=x, **({} if y is None else {"y": y}))
    config = configure(**(SMALL | {"dataset": str(data)} | options))
    dataset = load(config.data.dataset, dtype=config.training.dtype)
    trainer = config.make_trainer(config.make_model(dataset.x_train.shape[1]), dataset.x_train)
    if trained:
        trainer.train(config.training.epochs)
    if change:
        change(trainer.model)
    run = RunFolder(folder / "run")
    run.create(config)
    save_checkpoint(run.checkpoint, config, trainer, fingerprint(dataset.x_train))
    return run.path


def stir(model, seed=0):
    """Give every parameter some noise: biases are zero in a new model."""
    params = model.student.arena.params
    params += np.random.default_rng(seed).normal(0, 0.1, params.shape).astype(params.dtype)


def quiet(text):
    """Say nothing."""


def page_of(run, data_dir=None):
    """Return the text of a run's page."""
    return render(gather(load_checkpoint(run / "checkpoint.npz"), data_dir, quiet))


def model_of(run):
    return load_checkpoint(run / "checkpoint.npz").restore_model()


def head_of(page):
    """Return what a page says in JSON."""
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def block_of(page, name, dtype):
    """Return a packed array of a page, flat."""
    found = {unescape(key): text for key, text in re.findall(r'id="block-(.+?)">([^<]*)<', page)}
    return np.frombuffer(base64.b64decode(found[name]), dtype)


FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(z, 0.0),
}


def decode_packed(page, H):
    """Decode with the weights that are in a page, in float64."""
    h = np.asarray(H, np.float64)
    for layer in head_of(page)["layers"]:
        blocks = [
            block_of(page, layer[kind]["block"], "<f2").astype(np.float64) * layer[kind]["scale"]
            if kind in layer
            else np.zeros(layer["outputs"])
            for kind in "Wb"
        ]
        W = blocks[0].reshape(layer["outputs"], layer["inputs"])
        h = FUNCTIONS[layer["activation"]](h @ W.T + blocks[1])  # (n, in) @ (in, out)
    return h
