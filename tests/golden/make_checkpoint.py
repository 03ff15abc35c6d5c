"""Write ``checkpoint.npz`` and ``expected.npz``, what a program that reads it must find.

``python tests/golden/make_checkpoint.py`` from the root, once for each new number of the format.
"""

from pathlib import Path

import numpy as np

from ddnmf_np.config import configure
from ddnmf_np.data.streaming.rows import fingerprint
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint

HOME = Path(__file__).parent


def samples():
    """Return the 64 samples of 12 features that the stored runs were made of."""
    return np.random.default_rng(0).random((64, 12), dtype=np.float32)


def trainer(config):
    """Return a trainer on `samples`, at its start."""
    return config.make_trainer(config.make_model(12), samples())


def main():
    """Stop in the middle of the third epoch; keep the codes there, and the losses of the rest."""
    path = HOME / "checkpoint.npz"
    config = configure(widths=(9, 7), rank=3, batch_size=16, epochs=4, seed=5, fast="off")
    run = trainer(config)
    run.train(4, on_step=stop_in_third_epoch)
    save_checkpoint(path, config, run, fingerprint(run.x))
    codes = load_checkpoint(path).restore_model().encode(samples())
    run.stop_requested = False
    run.train(4)
    names = [name for name in run.history[-1] if name.startswith("loss")]
    losses = [[record[name] for name in names] for record in run.history]
    np.savez(HOME / "expected.npz", H=codes, names=names, losses=losses)


def stop_in_third_epoch(run):
    """Ask for a stop after the second step of the third epoch."""
    run.stop_requested = (run.position.epoch, run.position.batch) == (2, 2)


if __name__ == "__main__":
    main()
