"""Draw ``strip.png`` from a run: ``python derivations/_static/make_strip.py runs/digits``.

Test images, the same with noise, what the student makes of the noisy ones, and the learned parts.
"""

import sys
from pathlib import Path

import numpy as np

from ddnmf_np.data.datasets import load
from ddnmf_np.evaluation.interpret import decode_parts
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.yardsticks import noisy_copy
from ddnmf_np.teaching.display import image_rows

checkpoint = load_checkpoint(Path(sys.argv[1]) / "checkpoint.npz")
model, config = checkpoint.restore_model(checked=False), checkpoint.config
data = load("digits")
test, shape = data.x_test, data.image_shape
chosen = np.array([np.flatnonzero(data.y_test == digit)[0] for digit in range(10)])
noisy = noisy_copy(config.make_trainer(model, data.x_train), test)[chosen]
rows = {
    "test image": test[chosen],
    "with noise": noisy,
    "student": model.denoise(noisy),
    "ten parts": decode_parts(model.decode, config["rank"]),
}
image_rows(rows, shape).savefig(Path(__file__).with_name("strip.png"), dpi=100)
