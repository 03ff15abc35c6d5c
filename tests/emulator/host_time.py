"""Print the host's time for a step, on the emulated device with empty kernels.

``ROOT/run python tests/emulator/host_time.py``; the network is the paper's, the batch 128.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from ddnmf_np.backends.select import get_ops
from ddnmf_np.config import PRESETS, configure
from ddnmf_np.training import Trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "backend"))
from emulated import Emulated

STEPS, BLOCKS = 50, 20

ops, x = get_ops("cupy"), np.random.default_rng(0).random((1280, 784), "float32")
with Emulated().dry():
    for objective in PRESETS:
        trainer = Trainer(configure(objective=objective).make_model(784, ops), x, high=1.0)
        batch = ops.xp.arange(128)
        microseconds = []
        for _ in range(BLOCKS):  # the first ones record the step
            start = time.perf_counter()
            for _ in range(STEPS):
                trainer.step(batch)
            microseconds.append((time.perf_counter() - start) / STEPS * 1e6)
        best, middle = min(microseconds), statistics.median(microseconds)
        print(f"{objective}: {best:.0f} us a step, median {middle:.0f} us")
