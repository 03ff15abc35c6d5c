"""Small models, data and options that the tests of training, checkpoint and command share."""

import numpy as np
from literal_cases import literal_losses

from ddnmf_np.config import configure
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.noise import Corruption
from ddnmf_np.runs.checkpoint import save_checkpoint

SMALL = {"widths": (11, 7), "rank": 3, "batch_size": 10, "epochs": 3, "seed": 5}
"""45 samples make four batches of 10 and one of 5."""

STEPS_PER_EPOCH = 5

TIMES = ("seconds", "samples_per_second")

OTHER = {
    "dataset": "other.npz",
    "data_dir": "somewhere",
    "labels": "labels.npy",
    "ignore": ("date", "place"),
    "test_fraction": 0.25,
    "image_shape": (13, 1),
    "missing": "nan",
    "scale": "features",
    "stream": True,
    "stream_window": 1,
    "widths": (13, 5),
    "rank": 4,
    "activation": ("tanh", "softplus"),
    "output_activation": "sigmoid",
    "base_activation": "tanh",
    "recovery_activation": "softplus",
    "start": "data",
    "nmf_start": "pca",
    "nmf_spread": 0.5,
    "nonnegative": "both",
    "objective": "demo",
    "alpha_sym": 0.5,
    "beta_ap": 0.25,
    "gamma_nc": 2.0,
    "reduction": "mean",
    "student_reconstruction": 0.125,
    "apposition_to_supervisor": True,
    "base_bias": True,
    "noise_kind": "gaussian",
    "noise_rate": 0.35,
    "noise_rescale": False,
    "noise_redraw": True,
    "noise_shift": 0.75,
    "noise_rotation": 12.5,
    "noise_zoom": 0.0625,
    "noise_shear": 0.375,
    "optimizer": "momentum",
    "lr": 3e-05,
    "lr_schedule": "cosine",
    "momentum": 0.5,
    "adam_b1": 0.8,
    "adam_b2": 0.95,
    "adam_eps": 1e-09,
    "epochs": 4,
    "batch_size": 9,
    "seed": 6,
    "dtype": "float64",
    "validation_fraction": 0.25,
    "patience": 7,
    "tol": 0.01,
    "checkpoint_every": 2.5,
    "backend": "auto",
    "fast": "off",
    "threads": 1,
    "matmul_precision": "high",
    "clusters": 4,
    "clusterers": ("gmm-diag", "gmm-full"),
    "starts": 2,
    "embedding": "pca",
    "embedding_samples": 50,
    "save_codes": True,
}
"""For every option a value that is neither its default nor the one in ``SMALL``."""


def draw(n=45, width=13, seed=0, dtype="float32"):
    """Return samples in [0, 1)."""
    return np.random.default_rng(seed).random((n, width)).astype(dtype)


def make_config(**options):
    return configure(**(SMALL | options))


def make_trainer(x=None, ops=None, **options):
    return trainer_of(make_config(**options), x, ops)


def trainer_of(config, x=None, ops=None):
    """Return a trainer for whom samples are images one pixel high, if the options do not say."""
    x = draw(dtype=config.training.dtype) if x is None else x
    model = config.make_model(x.shape[1], ops)
    trainer = config.make_trainer(model, x, image_shape=(1, x.shape[1]))
    trainer.config = config  # for tests alone: the trainer itself knows no more than its parts
    return trainer


def noise_of(trainer):
    """Return another Corruption, made from the options alone."""
    noise, seed = trainer.config.noise, trainer.config.training.seed
    motion = Affine(
        trainer.config.data.image_shape or (1, trainer.x.shape[1]),
        shift=noise.shift,
        rotation=noise.rotation,
        zoom=noise.zoom,
        shear=noise.shear,
        seed=seed,
        redraw=noise.redraw,
    )
    # Where nothing moves, the motion is a copy.
    return Corruption(noise, seed=seed, high=float(trainer.x.max()), motion=motion)


def noisy_data_set(trainer, epoch=0):
    """Return the noisy copy of all samples at once."""
    out = np.empty_like(trainer.x)
    noise_of(trainer).apply(trainer.x, np.arange(len(out)), epoch, out)
    return out


def losses_by_the_paper(trainer, model=None):
    """Return the losses of the model on all samples as the paper writes them, in float64."""
    return literal_losses(model or trainer.model, trainer.x, noisy_data_set(trainer))


def snapshot(model):
    """Return a copy of parameters and optimizer slots by name."""
    return {name: block.copy() for name, block in model.state().items()}


def assert_same_state(actual, expected):
    """Fail unless two models have the same blocks and slots, bit by bit."""
    one, other = (m if isinstance(m, dict) else m.state() for m in (actual, expected))
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert not different, f"these differ: {', '.join(different)}"


def losses_of(history):
    """Return the records without what the clock has written."""
    return [{k: v for k, v in record.items() if k not in TIMES} for record in history]


def stop_after(steps):
    """Return an ``on_step`` that asks the trainer to stop once so many steps are done."""
    done = 0

    def on_step(trainer):
        nonlocal done
        done += 1
        trainer.stop_requested = done == steps

    return on_step


def saved(path, trainer, data_sha256="data"):
    save_checkpoint(path, trainer.config, trainer, data_sha256)
    return path


def poison(trainer):
    """Fill everything that a checkpoint restores with NaN, so that nothing can be left over."""
    model = trainer.model
    model.optimizer.t = -1
    for network in model.nets.values():
        for flat in (network.arena.params, *network.arena.slots.values()):
            for block in network.arena.shapes:  # the gaps between them stay zero
                network.arena.view(flat, block).fill(np.nan)
    model.loss.sums.fill(np.nan)
