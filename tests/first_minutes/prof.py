"""Print the time of a step on a GPU, what it costs the host, and the time of every kernel."""

import time

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from ddnmf_np.backends.select import get_ops
from ddnmf_np.config import configure
from ddnmf_np.training import Trainer

torch.zeros(1, device="cuda")  # a profiler that is started later sees no kernels
x = np.random.default_rng(0).random((12800, 784), "float32")
for objective in ("paper", "stable"):
    for precision in ("highest", "high"):
        ops = get_ops("cupy", matmul_precision=precision)
        model = configure(objective=objective, noise_redraw=True).make_model(784, ops)
        trainer = Trainer(model, x, high=1.0)
        trainer.train(3)
        seconds = []
        for epoch in range(4, 14):
            start = time.perf_counter()
            trainer.train(epoch)
            seconds.append(time.perf_counter() - start)
        batch = ops.xp.arange(128)
        ops.synchronize()
        start = time.perf_counter()
        for _ in range(40):
            trainer.step(batch)
        host = (time.perf_counter() - start) / 40
        ops.synchronize()
        graphs = len(getattr(trainer._step.repeat, "_graphs", ()))
        print(
            f"{objective} {precision}: {min(seconds) * 1e4:.1f} us a step, "
            f"host {host * 1e6:.1f} us, graphs {graphs}",
            flush=True,
        )
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            for _ in range(40):
                trainer.step(batch)
            ops.synchronize()
        table = found.key_averages().table
        print(table(sort_by="cuda_time_total", row_limit=40, max_name_column_width=90))
