"""Keras on TensorFlow as a contestant, written like the authors' demo.

Both networks are one functional model, and each distance between layers is a layer that adds a
loss. Epochs are those of ``fit``. ``Settings.mode`` is ``jit`` (XLA) or empty.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.peer import Peer, Settings
from ddnmf_np.bench.problem import LayerSpec, Problem
from ddnmf_np.errors import BackendError


class Distance(keras.layers.Layer):  # type: ignore[misc]
    """Layer that adds a weighted squared distance to the loss and keeps its mean as a metric."""

    def __init__(self, loss: str, weight: float, reduction: str) -> None:
        super().__init__()
        self.weight, self.reduction = weight, reduction
        self.mean = keras.metrics.Mean(name=loss)

    def call(self, a: Any, b: Any) -> Any:
        """Return ``a``, so that the layer is part of the model."""
        total = keras.ops.sum(keras.ops.square(a - b))
        rows, width = keras.ops.shape(a)
        value = total / keras.ops.cast(rows, a.dtype)
        if self.reduction == "mean":
            value = value / width
        self.add_loss(self.weight * value)
        self.mean.update_state(value)
        return a


class Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam, with epsilon added as in algorithm 1 of Kingma and Ba.

    They add epsilon to the bias-corrected root, Keras adds it to the uncorrected one. The steps
    differ where gradients are as small as those of a mean over features. So we correct epsilon in
    each step.
    """

    def __init__(self, lr: float, b1: float, b2: float, eps: float) -> None:
        super().__init__(lr, b1, b2)
        self.given = eps

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        t = keras.ops.cast(self.iterations + 1, "float32")
        self.epsilon = self.given * keras.ops.sqrt(1.0 - self.beta_2**t)
        super().apply(grads, trainable_variables)


class KerasPeer(Peer):
    """Training step of the Keras model."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
        self.gpus = tf.config.list_physical_devices("GPU")
        if settings.device == "cuda" and not self.gpus:
            raise BackendError("TensorFlow finds no CUDA device")
        tf.config.experimental.enable_tensor_float_32_execution(settings.matmul_precision == "high")
        self.config, self.problem = problem.config, problem
        self.model = make_model(problem)
        self.model.compile(
            optimizer=Adam(
                problem.config.optimizer.lr,
                problem.config.optimizer.adam_b1,
                problem.config.optimizer.adam_b2,
                problem.config.optimizer.adam_eps,
            ),
            jit_compile=settings.mode == "jit",
        )
        self.batches = [
            (tf.constant(x), tf.constant(x_noisy))
            for x, x_noisy in zip(problem.clean, problem.noisy, strict=True)
        ]
        model = self.model
        self.train = tf.function(
            lambda x, x_noisy: model.train_step(((x, x_noisy),)),
            jit_compile=settings.mode == "jit",
            reduce_retracing=True,
        )

    def reset(self) -> None:
        self.model.reset_metrics()

    def step(self, batch: int) -> None:
        self.logs = self.train(*self.batches[batch])

    def synchronize(self) -> None:
        self.logs["loss"].numpy()

    def losses(self) -> dict[str, float]:
        found = {metric.name: float(metric.result()) for metric in self.model.metrics}
        total = {"loss_in": found.pop("loss")}
        for name, value in found.items():
            key = name.partition(".")[0]
            total[key] = total.get(key, 0.0) + value
        return total

    def start_epochs(self, x: Array) -> None:
        keep = 1.0 - self.config.noise.rate
        rng = np.random.default_rng(self.config.training.seed)
        noisy = np.where(rng.uniform(size=x.shape) < keep, x / keep, 0.0)
        self.x = (x, noisy.astype(x.dtype))

    def epoch(self) -> None:
        self.model.fit(self.x, batch_size=self.config.training.batch_size, shuffle=True, verbose=0)

    def device(self) -> tuple[str, int | None]:
        if not self.gpus:
            return super().device()
        name = tf.config.experimental.get_device_details(self.gpus[0]).get("device_name")
        return str(name), int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def make_model(problem: Problem) -> Any:
    """Return both networks, with their first weights, and all distances as one model."""
    o = problem.config.objective
    x, x_noisy = (keras.Input((problem.case.n_features,), name=n) for n in ("x", "x_noisy"))
    h = forward(problem.layers["supervisor"], problem.weights, x)
    s = forward(problem.layers["student"], problem.weights, x_noisy)
    half = len(h) // 2  # the student's NMF module lies between its halves
    moved = h if o.apposition_to_supervisor else [keras.ops.stop_gradient(a) for a in h]

    def distance(loss: str, weight: float, a: Any, b: Any) -> Any:
        return Distance(loss, weight, o.reduction)(a, b)

    outputs = [distance("loss_sym", o.alpha_sym, h[-1], x)]
    for number, (a, b) in enumerate(zip(s[:half] + s[half + 2 :], moved, strict=True)):
        outputs.append(distance(f"loss_ap.{number}", o.beta_ap, a, b))
    outputs.append(distance("loss_nc", o.gamma_nc, s[half - 1], s[half + 1]))
    if o.student_reconstruction:
        outputs.append(distance("loss_rec", o.student_reconstruction, s[-1], x))
    return keras.Model([x, x_noisy], outputs)


def forward(specs: list[LayerSpec], weights: dict[str, Array], h: Any) -> list[Any]:
    """Return the output of every layer."""
    outputs = []
    for spec in specs:
        W = weights[spec.W]
        layer = keras.layers.Dense(len(W), spec.activation, use_bias=spec.b is not None)
        h = layer(h)
        layer.set_weights([W.T] if spec.b is None else [W.T, weights[spec.b]])
        outputs.append(h)
    return outputs
