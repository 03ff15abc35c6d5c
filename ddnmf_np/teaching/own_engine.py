"""Training with the learner's own functions, and ours where one is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ddnmf_np.config import Config, configure
from ddnmf_np.data.batch import Feed
from ddnmf_np.data.streaming.rows import fingerprint
from ddnmf_np.engine.descent import Adam, GradientDescent
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import UsageError
from ddnmf_np.model import Model
from ddnmf_np.runs.checkpoint import save_checkpoint
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.inputs import read_data, with_held_out
from ddnmf_np.system.files import atomic_write
from ddnmf_np.teaching.check import MY_ENGINE, changed_input, load_answers
from ddnmf_np.teaching.comparison import relative_error
from ddnmf_np.teaching.exercises import all_exercises
from ddnmf_np.training import RecordedStep, Trainer

FUNCTIONS = (
    "masking-noise",
    "dense-forward",
    "symmetric-loss",
    "supervisor-gradient",
    "student-losses",
    "direct-gradients",
    "student-gradient",
    "descent-step",
    "adam-step",
)
"""Exercises whose answers make an engine, in the order in which a step uses them."""

_GRADIENTS = ("supervisor-gradient", "student-gradient")


class Difference(NamedTuple):
    """The largest difference of one block, relative to the block's largest entry."""

    where: str  # network, layer and block, such as "student layer 3, W_base"
    function: str  # exercise whose answer computed the block
    yours: bool  # whether the answer is the learner's
    size: float  # infinite if shapes differ, or the function raised an error or changed its input

    def __str__(self) -> str:
        return f"{self.where}: relative difference {self.size:.2g} (your {self.function})"


@dataclass(frozen=True)
class Comparison:
    """All blocks of one step, compared; printing it names the wrong ones."""

    blocks: tuple[Difference, ...]
    tolerance: float

    @property
    def wrong(self) -> tuple[Difference, ...]:
        """The blocks whose difference is more than rounding."""
        return tuple(block for block in self.blocks if not block.size <= self.tolerance)

    def __str__(self) -> str:
        gradients = [b for b in self.blocks if b.function in _GRADIENTS]
        right = [b for b in gradients if b.yours and b not in self.wrong]
        lines = [f"wrong: {block}" for block in self.wrong]
        ours = sorted({b.function for b in self.blocks if not b.yours}, key=FUNCTIONS.index)
        if ours:
            lines.append(f"still ours: {', '.join(ours)}")
        largest = max((block.size for block in self.blocks if block.yours), default=0.0)
        rounding = ", which is rounding" if 0.0 < largest <= self.tolerance else ""
        lines.append(
            f"{len(right)} of {len(gradients)} blocks are yours; largest difference "
            f"{largest:.1g}{rounding}"
        )
        return "\n".join(lines)

    __repr__ = __str__


class Engine:
    """Algorithm 1 in the functions of a learner.

    Parameters
    ----------
    answers : dict of str to callable
        The learner's functions by exercise; for those of `FUNCTIONS` that are missing we take ours.
    """

    def __init__(self, answers: dict[str, Any]) -> None:
        self.mine = {name: answers[name] for name in FUNCTIONS if name in answers}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return the function of an exercise."""
        function: Callable[..., Any] | None = self.mine.get(name, all_exercises()[name].reference)
        assert function is not None
        return function

    def make_trainer(self, config: Config, model: Model, x: Any) -> Trainer:
        """Return a trainer whose steps are the learner's.

        Parameters
        ----------
        config : Config
            Options, with the paper's objective and no others than Adam or plain descent.
        model : Model
            The model, of ``config.make_model``.
        x : ndarray of shape (n, n_features)
            Clean samples.

        Raises
        ------
        UsageError
            If the exercises do not cover the model.
        """
        _check(model)
        return config.make_trainer(model, x, step=partial(_Step, self, config.noise))

    def compare(self, model: Model, x: Any, x_noisy: Any, rate: float = 0.1) -> Comparison:
        """Compare each function with ours, on one step of the model and on one of a drawn model.

        A new model has biases of 0 and losses of weight 1, and would hide a forgotten bias or
        weight; the drawn model has neither. Each function gets copies of our inputs, so a wrong
        one does not spoil those after it.

        Parameters
        ----------
        model : Model
            The model; only its activations and gradients change.
        x, x_noisy : ndarray of shape (n, n_features)
            The clean and the noisy batch.
        rate : float
            The rate of the masking noise in ``x_noisy``.

        Returns
        -------
        Comparison
            The larger of the two differences of each block.

        Raises
        ------
        UsageError
            If the exercises do not cover the model.
        """
        _check(model)
        steps = (self._blocks(model, x, x_noisy, rate), self._blocks(*_drawn(model)))
        larger = tuple(max(pair, key=lambda block: block.size) for pair in zip(*steps, strict=True))
        return Comparison(larger, 1e-9 if x.dtype == np.float64 else 1e-4)

    def _blocks(self, model: Model, x: Any, x_noisy: Any, rate: float) -> Iterator[Difference]:
        """Yield the differences of all blocks on one step of a model."""
        model.forward(x, x_noisy)
        model.backward(x)
        h, t, o, W = model.supervisor.h, model.student.h, model.objective, _weights(model)
        direct = Engine({})["direct-gradients"](h, t, o.beta_ap, o.gamma_nc)
        g = 2 * o.alpha_sym / len(x) * (h[-1] - x)
        calls: list[tuple[str, str, tuple[Any, ...]]] = [
            ("masking-noise", "data", (x, x_noisy != 0, rate)),
            ("symmetric-loss", "supervisor", (x, h[-1], o.alpha_sym)),
            ("supervisor-gradient", "supervisor", (h, W["supervisor"], g)),
            ("student-losses", "student", (h, t)),
            ("direct-gradients", "student", (h, t, o.beta_ap, o.gamma_nc)),
            ("student-gradient", "student", (t, W["student"], [0 * t[0], *direct.values()])),
        ]
        for net, network in model.nets.items():
            for number, layer in enumerate(network.layers):
                if layer.b is not None:
                    given = network.h[number], layer.W, layer.b
                    calls.append(("dense-forward", f"{net} layer {number + 1}", given))
            p, dp = network.arena.params, network.arena.grads
            m, v = np.random.default_rng(0).uniform(0.1, 1.0, (2, len(p))).astype(p.dtype)
            calls.append(("descent-step", net, (p, dp, 0.05)))
            calls.append(("adam-step", net, (p, dp, m, v, 3, 0.05, 0.8, 0.95, 0.01)))
        for call in calls:
            yield from self._compare(model, *call)

    def _compare(
        self, model: Model, name: str, where: str, arguments: tuple[Any, ...]
    ) -> Iterator[Difference]:
        """Yield the differences of all blocks of one function.

        Gradients are compared with those of the package, all others with our short function.
        """
        blocks, given = all_exercises()[name].blocks, deepcopy(arguments)
        try:
            got = _by_name(blocks, self[name](*given))
        except Exception:  # whatever the learner's function raises
            got = {}
        if changed_input(all_exercises()[name], given, arguments):
            got = {}
        if name in _GRADIENTS:
            want = {block: model.nets[where].arena.grad(block) for block in blocks}
        else:
            want = _by_name(blocks, Engine({})[name](*arguments))
        for block in blocks:
            value, right = np.asarray(got.get(block)), np.asarray(want[block])
            fits = value.shape == right.shape and value.dtype.kind in "fiub"
            size = relative_error(value, right) if fits else float("inf")
            number = {"W_base": "3", "W_rec": "4"}.get(block, block[-1])
            layer = f" layer {number}" if number.isdigit() else ""
            yield Difference(f"{where}{layer}, {block}", name, name in self.mine, size)

    def iterate(self, model: Model, x: Any, x_noisy: Any) -> None:
        """Do one step of algorithm 1; the optimizer has begun it."""
        h = self._forward(model.supervisor, x)
        t = self._forward(model.student, x_noisy)
        objective, weights = model.objective, _weights(model)
        beta, gamma = objective.beta_ap, objective.gamma_nc

        loss_sym, g = self["symmetric-loss"](x, h[-1], objective.alpha_sym)
        loss_ap, loss_nc = self["student-losses"](h, t)
        sums = {"sym": loss_sym, "ap": loss_ap, "nc": loss_nc}
        for number, term in enumerate(model.loss.terms):  # of equation 5, the first takes all
            model.loss.sums[number] += len(x) * sums.pop(term.loss, 0.0)

        direct = self["direct-gradients"](h, t, beta, gamma)
        direct = [np.zeros_like(t[0]), *(direct[f"Grad{layer}"] for layer in range(1, len(t)))]
        gradients = {
            "supervisor": self["supervisor-gradient"](h, weights["supervisor"], g),
            "student": self["student-gradient"](t, weights["student"], direct),
        }
        for net, network in model.nets.items():
            for block in network.arena.shapes:
                network.arena.grad(block)[...] = gradients[net][block]
            self._descend(model, network)

    def _forward(self, network: Network, x: Any) -> list[Any]:
        h = [x]
        for layer in network.layers:
            if layer.b is None:  # the NMF module
                h.append(layer.apply(h[-1]))
            else:
                h.append(np.asarray(self["dense-forward"](h[-1], layer.W, layer.b)))
        return h

    def _descend(self, model: Model, network: Network) -> None:
        arena, optimizer = network.arena, model.optimizer
        theta, lr = arena.params, optimizer.lr
        if isinstance(optimizer, Adam):
            slots = arena.slots["m"], arena.slots["v"]
            rule = optimizer.adam_b1, optimizer.adam_b2, optimizer.adam_eps
            new = self["adam-step"](theta, arena.grads, *slots, optimizer.t, lr, *rule)
            theta[...], slots[0][...], slots[1][...] = new
        else:
            theta[...] = self["descent-step"](theta, arena.grads, lr)


class _Step(RecordedStep):
    """One iteration of algorithm 1 by a learner's engine."""

    def __init__(self, engine: Engine, noise: Any, model: Model, feed: Feed) -> None:
        super().__init__(model, feed)
        self.engine, self.noise = engine, noise

    def work(self, index: Any) -> None:
        x, x_noisy = self.feed.prepare(index)
        if self.noise.kind == "masking" and self.noise.rescale:
            x_noisy = self.engine["masking-noise"](x, x_noisy != 0, self.noise.rate)
        self.engine.iterate(self.model, x, x_noisy)


def engine(mine: ModuleType | str | Path = MY_ENGINE) -> Engine:
    """Return an engine that runs the learner's functions, and ours where one is missing.

    Parameters
    ----------
    mine : path_like or module
        The learner's file, which ``check(...).keep()`` wrote; it may be missing.

    Returns
    -------
    Engine
        Its ``make_trainer`` trains a model, and its ``compare`` names the wrong functions.

    Raises
    ------
    UsageError
        If a cell of the file cannot be run.

    Examples
    --------
    >>> from ddnmf_np.teaching import engine
    >>> sorted(engine("no_file.py").mine)
    []
    """
    return Engine(load_answers(str(mine.__file__) if isinstance(mine, ModuleType) else mine))


def save_run(
    trainer: Trainer, config: Config, folder: str | Path, image_shape: tuple[int, int]
) -> None:
    """Write a trained model as a run with its report; `ddnmf_np.explore` makes a page of it.

    An earlier run in the folder is replaced. ``image_shape`` is the height and width of the images.
    """
    # Imported late: matplotlib takes a second, and each graded submission would wait for it.
    from ddnmf_np.report.page import write_report

    run = RunFolder(folder)
    file = run.path.resolve() / "images.npy"
    config = configure(config, dataset=str(file), image_shape=image_shape, test_fraction=0.0)
    run.create(config, overwrite=True)
    with atomic_write(file) as stream:
        np.save(stream, trainer.x)
    x, dataset, _ = read_data(config)
    save_checkpoint(run.checkpoint, config, trainer, with_held_out(fingerprint(x), dataset, config))
    run.write_metrics(trainer.history)
    write_report(run)


def _check(model: Model) -> None:
    """Raise `UsageError` unless the exercises cover the model."""
    o, kinds = model.objective, {layer.activation for layer in model.supervisor.layers}
    covered = (
        model.depth == 4
        and kinds == {"relu"}
        and (o.reduction, o.student_reconstruction) == ("sum", 0.0)
        and min(o.alpha_sym, o.beta_ap, o.gamma_nc) > 0
        and not (o.base_bias or o.apposition_to_supervisor or model.missing)
        and isinstance(model.optimizer, (Adam, GradientDescent))
        and model.architecture.nonnegative == "off"
    )
    if not covered:
        raise UsageError(
            "the model has parts that the exercises do not cover; use configure(objective='paper', "
            "widths=(128, 64), optimizer='adam' or 'gd')"
        )


def _drawn(model: Model) -> tuple[Model, Any, Any, float]:
    """Return a model of the same widths, two batches and a rate, where no factor is 0 or 1."""
    rng, rate = np.random.default_rng(0), 0.3
    objective = replace(model.objective, alpha_sym=0.7, beta_ap=1.3, gamma_nc=0.4)
    twin = Model(model.n_features, model.architecture, objective, dtype=str(model.dtype), rows=7)
    for layer in (layer for network in twin.nets.values() for layer in network.layers):
        if layer.b is not None:
            layer.b[...] = rng.uniform(0.1, 0.3, layer.b.shape)
    x = rng.uniform(0.1, 1.0, (7, model.n_features)).astype(model.dtype)
    return twin, x, (x * (rng.uniform(size=x.shape) >= rate) / (1 - rate)).astype(x.dtype), rate


def _weights(model: Model) -> dict[str, list[Any]]:
    return {net: [layer.W for layer in network.layers] for net, network in model.nets.items()}


def _by_name(blocks: Any, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return dict(zip(blocks, [value] if len(blocks) == 1 else value, strict=True))
