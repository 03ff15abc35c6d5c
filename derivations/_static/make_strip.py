"""Draw ``strip.png`` from a run: ``python derivations/_static/make_strip.py runs/digits``.

Test images, what the student makes of them, what PCA and NMF of the same rank make of them, and the
learned parts.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import NMF, PCA

from ddnmf_np.data.datasets import load
from ddnmf_np.evaluation.interpret import decode_parts
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.teaching.display import image_rows

checkpoint = load_checkpoint(Path(sys.argv[1]) / "checkpoint.npz")
model, rank = checkpoint.restore_model(), checkpoint.config["rank"]
data = load("digits")
train, test, shape = data.x_train, data.x_test, data.image_shape
chosen = np.array([np.flatnonzero(data.y_test == digit)[0] for digit in range(10)])
rows = {"test image": test[chosen], "student": model.denoise(test[chosen])}
for name, method in (
    ("PCA", PCA(rank, random_state=0)),
    ("NMF", NMF(rank, init="nndsvda", max_iter=200, random_state=0)),
):
    method.fit(train)
    rows[name] = np.clip(method.inverse_transform(method.transform(test[chosen])), 0, None)
rows["ten parts"] = decode_parts(model.decode, rank)
image_rows(rows, shape).savefig(Path(__file__).with_name("strip.png"), dpi=100)
