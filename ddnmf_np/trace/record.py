"""A training step, done by the engine and repeated by the literal equations."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Array
from ddnmf_np.config import Config, configure
from ddnmf_np.engine import literal
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.layers import Dense
from ddnmf_np.errors import UsageError
from ddnmf_np.model import NETS, Model
from ddnmf_np.runs.checkpoint import Checkpoint
from ddnmf_np.runs.preparation import prepare
from ddnmf_np.training import Position, Trainer

Floats = npt.NDArray[np.float64]

LOSSES = ("sym", "ap", "nc", "rec")


class RecordingLayer(literal.Layer):
    """A literal layer that remembers ``g`` and ``delta`` of each sample."""

    def __init__(self, W: Floats, b: Floats | None, f: str) -> None:
        super().__init__(W, b, f)
        self.g: list[Floats] = []
        self.delta: list[Floats] = []

    def backward(self, below: Floats, g: Floats) -> tuple[list[Floats], Floats]:
        """Remember ``g`` and ``delta``, and return the gradients (equation 9)."""
        self.g.append(g)
        self.delta.append(self.slope(below) @ g)
        return super().backward(below, g)


def of_run(
    checkpoint: Checkpoint, data: Array, image_shape: tuple[int, int] | None
) -> tuple[Trainer, list[str]]:
    """Return a trainer in float64 that stands where a run stands, and notes for `record`.

    The notes say what differs from a step of training; a finished run has no next step. Raises
    `UsageError` if the run has missing entries, which the literal equations have not.
    """
    if checkpoint.config.data.missing == "nan":
        raise UsageError(
            f"{checkpoint.path}: the run has missing entries, which engine/literal.py has not; "
            "trace a run without --missing nan"
        )
    config = configure(checkpoint.config, dtype="float64")
    prepared = prepare(data.astype(np.float64), config, image_shape)
    model = config.make_model(prepared.x.shape[1], scaling=checkpoint.scaling)
    model.load_state(checkpoint.arrays, checkpoint.meta["t"])
    trainer = config.make_trainer(model, prepared.x, image_shape=image_shape)
    trainer.position = Position(**checkpoint.meta["position"])
    trainer.start()
    return trainer, _notes(checkpoint, trainer)


def of_data(
    config: Config, data: Array, image_shape: tuple[int, int] | None
) -> tuple[Trainer, list[str]]:
    """Return a trainer in float64 of a new model, and notes for `record`.

    The data, of shape (n, n_features), decide the options that are open.
    """
    prepared = prepare(data.astype(np.float64), configure(config, dtype="float64"), image_shape)
    x, seed = prepared.x, config.training.seed
    model = prepared.config.make_model(x.shape[1], scaling=prepared.scaling)
    trainer = prepared.config.make_trainer(model, x, image_shape=image_shape)
    trainer.start()
    return trainer, [f"This is the first step of a new model (seed {seed})."]


def record(trainer: Trainer, samples: int, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Do the next training step in float64, and repeat it with the literal equations.

    The step moves the trainer's model. ``samples`` of the batch are recorded, and the notes kept.
    We return the record in plain JSON types: ``losses`` and ``layers`` with norms and, for what the
    literal equations give, the largest difference relative to the largest entry.
    """
    model, position = trainer.model, trainer.position
    index = next(iter(trainer.feed.epoch(position.epoch, position.batch)))[:samples]
    x, x_noisy = trainer.feed.prepare(trainer.feed.batch.choose(index, position.epoch))
    n = x.shape[0]
    before = {name: block.copy() for name, block in model.state().items()}
    nets = _literal_nets(model)
    objective = _literal_objective(model)
    found = literal.losses(*nets, x, x_noisy, objective)
    gradients = dict(zip(NETS, literal.gradients(*nets, x, x_noisy, objective), strict=True))

    model.forward(x, x_noisy)
    model.loss.reset()
    model.loss.measure(x)
    losses = {
        name: {"value": value, "difference": _difference(value, found[name])}
        for name, value in model.loss.values(n).items()
    }
    model.backward(x)
    outputs = {net: [h.copy() for h in network.h] for net, network in model.nets.items()}
    layers = []
    for net, chain in zip(NETS, nets, strict=True):
        shares = iter(gradients[net])
        inputs = x if net == "supervisor" else x_noisy
        literal_h = [np.stack(h) for h in zip(*map(chain.forward, inputs), strict=True)]
        for number, layer in enumerate(model.nets[net].layers, start=1):
            lit = chain.layers[number - 1]
            assert isinstance(lit, RecordingLayer)
            entry: dict[str, Any] = {
                "net": net,
                "layer": number,
                "name": repr(layer),
                "h": _compared(outputs[net][number], literal_h[number]),
                "g": _signal(model, net, number, x, np.stack(lit.g)),
                "delta": _compared(layer.dh[:n], np.stack(lit.delta)),
                "dW": _compared(layer.dW, next(shares)),
            }
            if layer.db is not None:
                entry["db"] = _compared(layer.db, next(shares))
            layers.append(entry)
    model.optimizer.lr = model.descent.rate(_progress(trainer))
    model.optimizer.step()
    after = model.state()
    for entry, layer in zip(layers, _all_layers(model), strict=True):
        for block, gradient in zip(layer.shapes(), (layer.dW, layer.db), strict=False):
            name = f"{entry['net']}.{block}"
            direction = _direction(model.descent, name, gradient, before, model.optimizer.t)
            expected = literal.descend(before[name], direction, model.optimizer.lr)
            entry[f"update {block[0]}"] = {"difference": _difference(after[name], expected)}
    model.project()
    for entry, layer in zip(layers, _all_layers(model), strict=True):
        for block in layer.shapes():
            name = f"{entry['net']}.{block}"
            entry[f"update {block[0]}"]["norm"] = _norm(after[name] - before[name])
    return {
        "objective": model.objective.preset,
        "optimizer": model.descent.optimizer,
        "lr": model.optimizer.lr,
        "step": model.optimizer.t,
        "epoch": position.epoch + 1,
        "samples": n,
        "notes": list(notes),
        "losses": losses,
        "layers": layers,
        "worst": worst(losses, layers),
    }


def _direction(
    descent: Descent, name: str, gradient: Any, before: dict[str, Any], t: int
) -> Floats:
    """Return the direction of equation 8 in step t: the gradient, or that of momentum or Adam.

    A model has its averages from step 1 on; they begin at 0.
    """
    g: Floats = gradient
    if descent.optimizer == "gd":
        return g
    if descent.optimizer == "momentum":
        velocity: Floats = descent.momentum * before.get(f"{name}:velocity", 0.0) + g
        return velocity
    b1, b2 = descent.adam_b1, descent.adam_b2
    m = (b1 * before.get(f"{name}:m", 0.0) + (1 - b1) * g) / (1 - b1**t)
    v = (b2 * before.get(f"{name}:v", 0.0) + (1 - b2) * g**2) / (1 - b2**t)
    direction: Floats = m / (np.sqrt(v) + descent.adam_eps)
    return direction


def worst(losses: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the largest difference of the engine from the literal equations, and its place."""
    found = [(entry["difference"], name) for name, entry in losses.items()]
    for layer in layers:
        found += [
            (entry["difference"], f"{key} of {layer['net']} layer {layer['layer']}")
            for key, entry in layer.items()
            if isinstance(entry, dict) and "difference" in entry
        ]
    # NaN, which no comparison puts first, counts as infinite.
    difference, where = max(found, key=lambda pair: float("inf") if pair[0] is None else pair[0])
    return {"difference": difference, "where": where}


def _progress(trainer: Trainer) -> float:
    """Return the progress at the step, or at the last step of a run that is at its end.

    There a schedule has come to rate 0, with which nothing would move.
    """
    steps = trainer.epochs * len(trainer.batches)
    return min(trainer.progress, max(0, steps - 1) / max(1, steps))


def _notes(checkpoint: Checkpoint, trainer: Trainer) -> list[str]:
    """Return the differences from a step of training, in sentences."""
    model, rate = trainer.model, trainer.model.descent.rate(_progress(trainer))
    done, epochs = checkpoint.meta["position"]["epoch"], checkpoint.config.training.epochs
    validation = checkpoint.meta.get("validation") or {}
    notes = []
    if done >= epochs > 0:
        notes.append(
            f"The run is finished, so we add a step after its {epochs} epochs, with the learning "
            f"rate of its last step ({rate:.3g})."
        )
    elif validation.get("stopped"):
        notes.append(
            f"The run is finished: it stopped early after {done} of {epochs} epochs. We add the "
            f"step that would come next, with its learning rate ({rate:.3g})."
        )
    arrays = checkpoint.arrays
    last = {net: arrays[f"last.{net}"] for net in NETS if f"last.{net}" in arrays}
    best = any(not np.array_equal(model.nets[net].arena.params, last[net]) for net in last)
    if best and model.optimizer.slots:
        notes.append(
            "The weights are the best of the run, but the averages of the optimizer "
            f"({', '.join(model.optimizer.slots)}) are from its last step."
        )
    return notes


def _all_layers(model: Model) -> list[Dense]:
    return [layer for net in NETS for layer in model.nets[net].layers]


def _signal(model: Model, net: str, number: int, x: Floats, expected: Floats) -> dict[str, Any]:
    """Return ``g`` of a layer with its parts: from above, and from each loss (equation 10)."""
    layers, n = model.nets[net].layers, x.shape[0]
    h = layers[number - 1].h[:n]
    parts = {}
    if number < len(layers):
        above = layers[number]
        parts["from above"] = above.dh[:n] @ above.W  # (n, out) @ (out, in) -> (n, in)
    for name in LOSSES:
        loss = copy(model.loss)
        loss.terms = tuple(term for term in model.loss.terms if term.loss == name)
        for ref, c, _ in loss.direct_gradients(net, x).get(number, ()):
            parts[name] = parts.get(name, 0.0) + c * (h - ref)
    g = sum(parts.values(), np.zeros_like(h))
    return _compared(g, expected) | {"parts": {k: _norm(part) for k, part in parts.items()}}


def _compared(found: Floats, expected: Floats) -> dict[str, Any]:
    return {
        "shape": list(found.shape),
        "norm": _norm(found),
        "difference": _difference(found, expected),
    }


def _norm(block: Floats) -> float | None:
    value = float(np.linalg.norm(block))
    return value if np.isfinite(value) else None


def _difference(found: Any, expected: Any) -> float | None:
    """Return the largest difference relative to the largest expected entry, None if not finite."""
    difference = float(np.max(np.abs(np.asarray(found) - expected)))
    if difference > 0.0:
        difference /= float(np.max(np.abs(expected))) or 1.0
    return difference if np.isfinite(difference) else None


def _literal_nets(model: Model) -> tuple[literal.Supervisor, literal.Student]:
    supervisor, layers = (
        [
            RecordingLayer(
                layer.W.copy(), None if layer.b is None else layer.b.copy(), layer.activation
            )
            for layer in model.nets[net].layers
        ]
        for net in NETS
    )
    half = model.depth // 2
    base, recovery = layers[half : half + 2]
    nmf = literal.NMFModule(base.W, recovery.W, base.b)
    nmf.base, nmf.recovery = base, recovery  # their activations may be other than the paper's
    return literal.Supervisor(supervisor), literal.Student(layers[:half], nmf, layers[half + 2 :])


def _literal_objective(model: Model) -> literal.Objective:
    objective = model.objective
    return literal.Objective(
        alpha=objective.alpha_sym,
        beta=objective.beta_ap,
        gamma=objective.gamma_nc,
        reconstruction=objective.student_reconstruction,
        apposition_to_supervisor=objective.apposition_to_supervisor,
        mean=objective.reduction == "mean",
    )
