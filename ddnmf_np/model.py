"""The model: a supervisor and a student network, joined by the interpretability loss."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ddnmf_np.backends.ops import Activation, Array, Ops
from ddnmf_np.backends.select import ops_by_name
from ddnmf_np.backends.threads import NetworkThreads
from ddnmf_np.data.components import start_from_components
from ddnmf_np.data.parts import start_from_parts
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.data.start import make_positive, start_from_data
from ddnmf_np.engine.arena import Arena
from ddnmf_np.engine.descent import Descent, Optimizer
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.losses import InterpretabilityLoss, Objective, appositive
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.nmf import NMFModule
from ddnmf_np.engine.problems import SAMPLES, Problem, leave_kinks, relu_sides
from ddnmf_np.errors import CheckpointError, DataError, OptionError
from ddnmf_np.system.options import (
    MAX_WIDTH,
    POSITIVE,
    Range,
    check_options,
    documented,
    option,
)

if TYPE_CHECKING:
    from ddnmf_np.data.given import Intake

NETS = ("supervisor", "student")

_CACHED = 1 << 17
"""Number of parameters that stay in the processor's cache during a backward pass.

In a larger network we move each layer as soon as its gradient is computed, because the gradient
is still in the cache: at the paper's shape this saves 0.3 to 1.3 ms of a step of about 30 ms.
"""


@documented
@dataclass(frozen=True)
class Architecture:
    """Shapes and activations of the two networks, and how their NMF module begins.

    With ``start="data"`` we scale the drawn weights by the data (`ddnmf_np.data.start`), and the
    student starts as a copy of its supervisor. ``nmf_start`` is explained in
    `ddnmf_np.data.components` and, for ``"nmf"``, in `ddnmf_np.data.parts`. With ``nmf_spread``
    well below 1 the sigmoid works in its linear part; above 2 it saturates.
    ``derivations/17-parts.md`` derives ``nonnegative="decoder"``.
    """

    widths: tuple[int, ...] = option(
        (500, 500, 2000),
        "widths of the encoder's layers; the decoder mirrors them",
        Range(least=1, most=MAX_WIDTH),
    )
    rank: int = option(
        10, "number of base units H (r in the paper)", Range(least=1, most=MAX_WIDTH)
    )
    activation: tuple[Activation, ...] = option(
        ("relu",),
        "activation of the encoder's layers, mirrored in the decoder: one for all or one for each",
    )
    output_activation: Activation = option("relu", "activation of the output layers")
    base_activation: Activation = option("sigmoid", "activation of the base H (equation 3)")
    recovery_activation: Activation = option(
        "relu", "activation of the recovered code (equation 3)"
    )
    start: Literal["glorot", "data"] = option(
        "glorot", "first weights: glorot (drawn), or data (drawn, then scaled by the data)"
    )
    nmf_start: Literal["glorot", "pca", "nmf"] = option(
        "glorot",
        "first weights of the NMF module: glorot (drawn), pca (from the data), or nmf (parts of "
        "the data, for nonnegative decoder)",
    )
    nmf_spread: float = option(
        1.0,
        "with nmf-start pca: standard deviation of the base's first pre-activations",
        POSITIVE,
    )
    nonnegative: Literal["off", "recovery", "both", "decoder"] = option(
        "off",
        "project weights to >= 0 after each step: off, recovery (W, so that code ~ W H is a true "
        "NMF), both (W' too, which keeps H >= 1/2 where the base has no bias), or decoder (W and "
        "all decoder layers, which then have no biases, so that no part can cancel another)",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.activation) not in (1, len(self.widths)):
            raise OptionError(
                "activation",
                f"names {len(self.activation)} functions for {len(self.widths)} encoder layers; "
                "give one for all or one for each",
            )
        if self.nonnegative == "decoder" and self.base_activation in ("identity", "tanh"):
            raise OptionError(
                "base_activation",
                f"is {self.base_activation}, whose H can be negative; with nonnegative decoder "
                "choose relu, sigmoid or softplus",
            )
        if self.nonnegative == "decoder" and self.output_activation == "sigmoid":
            raise OptionError(
                "nonnegative",
                "is decoder, but output_activation is sigmoid, which is then at least 1/2 whatever "
                "the data; choose output_activation='relu' (--output-activation relu), or "
                "objective='parts', which does",
            )
        if self.nmf_start == "nmf" and self.nonnegative != "decoder":
            raise OptionError(
                "nmf_start",
                f"is nmf, but nonnegative is {self.nonnegative}; nmf starts a non-negative "
                "decoder: choose nonnegative decoder, or nmf_start pca",
            )

    def layers(self, n_features: int, *, base_bias: bool) -> tuple[list[Dense], list[Dense]]:
        """Return the layers of the supervisor and of the student (equations 1 and 3).

        Their labels are the paper's layer numbers; the two layers of the NMF module are
        ``W_base`` and ``W_rec``.

        Raises
        ------
        OptionError
            If a layer is too narrow to start from one part for each unit.
        """
        if self.nmf_start == "nmf" and min(self.widths) < self.rank:
            raise OptionError(
                "widths",
                f"is {self.widths}, with a layer narrower than the rank {self.rank}; nmf_start nmf "
                "needs a unit for each part: choose wider layers, or nmf_start pca",
            )
        widths = [n_features, *self.widths]
        half = len(self.widths)
        names = self.activation * (half // len(self.activation))
        up = [(widths[k], widths[k + 1], names[k]) for k in range(half)]
        down = [
            (widths[k], widths[k - 1], names[k - 2] if k > 1 else self.output_activation)
            for k in range(half, 0, -1)
        ]
        bias = self.nonnegative != "decoder"
        supervisor = [
            *(Dense(*shape, label=str(k)) for k, shape in enumerate(up, start=1)),
            *(Dense(*shape, bias=bias, label=str(k)) for k, shape in enumerate(down, half + 1)),
        ]
        nmf = NMFModule(
            widths[-1],
            self.rank,
            self.base_activation,
            self.recovery_activation,
            base_bias=base_bias,
        )
        student = [
            *(Dense(*shape, label=str(k)) for k, shape in enumerate(up, start=1)),
            *nmf.layers,
            *(Dense(*shape, bias=bias, label=str(k)) for k, shape in enumerate(down, half + 3)),
        ]
        return supervisor, student


class Model:
    """DDNMF of Chen, Jin, Liu and Zhang (2021), section 3.

    The supervisor (layers 1 to depth) sees clean data. The student (layers 1 to depth + 2) sees
    noisy data and carries the NMF module of equation 3 between encoder and decoder:
    ``H = sigmoid(W_base code)``, ``code_hat = ReLU(W_rec H)``.

    Parameters
    ----------
    n_features : int
        Width of the data.
    architecture : Architecture, optional
        Shapes and activations; the paper's by default.
    objective : Objective, optional
        Weights of the losses; the paper's by default.
    descent : Descent, optional
        Descent rule; Adam by default.
    seed : int
        Seed of the weights, and of the order and the noise with which the model is trained.
    dtype : {"float32", "float64"}
        Precision.
    batch_size : int
        Samples of a mini-batch.
    missing : bool
        Whether NaN in the data is a missing entry.
    scaling : Scaling, optional
        Scaling of the data. The model scales its input and scales its output back; None by
        default.
    threads : int, optional
        CPU threads for the two networks together; by default as many as BLAS uses.
    ops : Ops, optional
        Backend; NumPy by default.
    rows : int, optional
        Largest number of samples in one pass; the activations have memory for so many. By default
        at least 256, because `encode` is slow with small batches.

    Attributes
    ----------
    supervisor, student : Network
        The networks; ``supervisor.h[l]`` is h(l), ``student.h[l]`` is h~(l).
    nmf : NMFModule
        The student's base and recovery (equation 3).
    loss : InterpretabilityLoss
        Equation 7 as a table.
    intake : Intake or None
        What samples pass before `encode`, `denoise`, `code` and `supervise`; None if the caller has
        checked them. A model that is restored from a checkpoint has one.
    network_threads : NetworkThreads
        ``with model.network_threads:`` gives each network a thread where that is faster.
    """

    def __init__(
        self,
        n_features: int,
        architecture: Architecture | None = None,
        objective: Objective | None = None,
        descent: Descent | None = None,
        *,
        seed: int = 0,
        dtype: str = "float32",
        batch_size: int = 128,
        missing: bool = False,
        scaling: Scaling | None = None,
        threads: int | None = None,
        ops: Ops | None = None,
        rows: int | None = None,
    ) -> None:
        self.n_features = n_features
        self.architecture = architecture or Architecture()
        self.objective = objective or Objective()
        self.descent = descent or Descent()
        self.seed, self.batch_size, self.missing, self.threads = seed, batch_size, missing, threads
        self.ops, self.scaling = ops or Ops(), scaling
        self.intake: Intake | None = None
        rows = rows or max(batch_size, 256)
        supervisor, student = self.architecture.layers(
            n_features, base_bias=self.objective.base_bias
        )
        self.supervisor = Network(supervisor, rows=rows, dtype=dtype, ops=self.ops)
        self.student = Network(student, rows=rows, dtype=dtype, ops=self.ops)
        self._join()
        for stream, net in enumerate(NETS):
            glorot(self.nets[net].layers, seed, stream)
        if self.architecture.nonnegative == "decoder":
            for layer in (self.nmf.recovery, *itertools.chain(*self.decoders)):
                make_positive(layer)
        self.project()

    def _join(self) -> None:
        """Connect the two networks by the loss, and make what both share."""
        self.nets = {"supervisor": self.supervisor, "student": self.student}
        self.nmf = NMFModule.of(self.student)
        # A parameter takes part in three products a sample: h, dx and dW.
        work = 6.0 * self.batch_size * self.n_parameters()
        self.network_threads = NetworkThreads(self.ops, self.threads, work)
        self._repeat = self.ops.recorder()
        self.loss = InterpretabilityLoss(self.objective, self.supervisor, self.student)
        if self.missing:
            self.loss.allow_missing()
        self.scaler = None if self.scaling is None else self.scaling.on(self.ops, self.dtype)

    @property
    def depth(self) -> int:
        """Number of layers of the supervisor, L in the paper."""
        return self.supervisor.depth

    @property
    def decoders(self) -> tuple[list[Dense], list[Dense]]:
        """The layers above the code of the student, without the recovery, and of the supervisor."""
        half = self.depth // 2
        return self.student.layers[half + 2 :], self.supervisor.layers[half:]

    @property
    def dtype(self) -> Any:
        """Precision of parameters and activations."""
        return self.supervisor.arena.params.dtype

    # -- training -------------------------------------------------------------------------

    def start(self, x: Array) -> None:
        """Start the networks and the NMF module from the data, if the architecture asks for it.

        Parameters
        ----------
        x : ndarray of shape (n, n_features)
            Some clean samples, on the model's backend.
        """
        if self.architecture.start == "data":
            # Drawn again: a run that was stopped before its first step starts a second time.
            glorot(self.supervisor.layers, self.seed, 0)
            start_from_data(self.supervisor.layers, self.ops.to_host(self.seen(x)))
            for number, layer in enumerate(self.supervisor.layers, start=1):
                twin = self.student.layers[appositive(number, self.depth) - 1]
                twin.W[...] = layer.W
                if twin.b is not None:
                    twin.b[...] = layer.b
        match self.architecture.nmf_start:
            case "pca":
                self.start_from_code(self.code(x), self.architecture.nmf_spread)
            case "nmf":
                seen, code = (self.ops.to_host(a) for a in (self.seen(x), self.code(x)))
                start_from_parts(self.nmf, self.decoders, code, seen, self.seed)

    def start_from_code(self, code: Array, spread: float) -> None:
        """Set the NMF module's first weights from the principal components of codes."""
        start_from_components(self.nmf, code, spread)
        if self.architecture.nonnegative == "decoder":
            make_positive(self.nmf.recovery)
        self.project()

    @property
    def starts_from_data(self) -> bool:
        """Whether the first weights depend on the data."""
        return (self.architecture.start, self.architecture.nmf_start) != ("glorot", "glorot")

    @cached_property
    def optimizer(self) -> Optimizer:
        """The optimizer of both networks; it allocates its memory at first use."""
        return self.descent.make_optimizer([self.supervisor.arena, self.student.arena])

    def step(self, x: Array, x_noisy: Array, observed: Array | None = None) -> None:
        """Do one iteration of algorithm 1 on a mini-batch, and add its losses to ``loss.sums``.

        Parameters
        ----------
        x, x_noisy : ndarray of shape (n, n_features)
            The clean and the noisy batch, in the model's precision, on its backend.
        observed : ndarray of shape (n, n_features), bool, optional
            Entries of ``x`` that the losses compare with, for a model with ``missing``; all
            by default. Both batches should be filled where an entry is not observed.
        """
        mask = () if observed is None else (observed,)
        self.optimizer.begin()
        self._repeat(self.iterate, x, x_noisy, *mask)

    def iterate(self, x: Array, x_noisy: Array, observed: Array | None = None) -> None:
        """Run both networks forward, then each backward, and move its parameters (algorithm 1).

        A device may record this as a graph and repeat it, because it is the same at every step:
        the numbers that change (learning rate, bias correction) are set by `step`.

        Parameters
        ----------
        x, x_noisy : ndarray of shape (n, n_features)
            The clean and the noisy batch, as for `step`.
        observed : ndarray of shape (n, n_features), bool, optional
            As for `step`.
        """

        def descend(number: int) -> None:
            net = self.nets[NETS[number]]
            direct = self.loss.direct_gradients(NETS[number], x, measure=True, observed=observed)
            if net.arena.size > _CACHED:
                net.backward(direct, after=lambda span: self.optimizer.update(number, span))
            else:  # a call for all layers costs least where all are in the cache
                net.backward(direct)  # equation 9, equation 10
                self.optimizer.update(number)  # equation 8

        self.forward(x, x_noisy)  # both first, because the losses compare their outputs
        # In turn, in two threads or on two streams: the result is bit-identical.
        self.network_threads.both(lambda: descend(0), lambda: descend(1))
        self.project()

    def forward(self, x: Array, x_noisy: Array) -> None:
        """Run both networks forward; each backward pass needs the outputs of both."""
        self.network_threads.both(
            lambda: self.supervisor.forward(x), lambda: self.student.forward(x_noisy)
        )

    def backward(self, x: Array, observed: Array | None = None) -> None:
        """Compute the gradients of both networks (equation 9 and equation 10)."""
        for net in NETS:
            self.nets[net].backward(self.loss.direct_gradients(net, x, observed=observed))

    def project(self) -> None:
        """Set negative weights to 0 where ``architecture.nonnegative`` says so."""
        if self.architecture.nonnegative == "decoder":
            # The decoder is the end of an arena, and has no biases: one call for all its layers.
            for net, first in (
                (self.supervisor, self.decoders[1][0]),
                (self.student, self.nmf.recovery),
            ):
                self.ops.project_nonnegative(net.arena.params[first.span.start :])
        else:
            self.nmf.project(self.architecture.nonnegative)

    # -- use ------------------------------------------------------------------------------

    def code(self, x: Array) -> Array:
        """Return the code ``X``, the input of the NMF module, shape (n, width of the code)."""
        return self._apply(self.student, x, 0, self.depth // 2)

    def encode(self, x: Array) -> Array:
        """Return ``H`` of samples, (n, rank): the student up to its base layer (equation 3)."""
        return self._apply(self.student, x, 0, self.depth // 2 + 1)

    def decode(self, H: Array) -> Array:
        """Return the data for codes ``H``: the student from recovery to output."""
        return self._apply(self.student, H, self.depth // 2 + 1, self.depth + 2)

    def denoise(self, x: Array) -> Array:
        """Return the student's output for samples, shape (n, n_features)."""
        return self._apply(self.student, x, 0, self.depth + 2)

    def supervise(self, x: Array) -> Array:
        """Return the supervisor's output ``y`` for samples, shape (n, n_features)."""
        return self._apply(self.supervisor, x, 0, self.depth)

    def _apply(self, network: Network, x: Array, start: int, stop: int) -> Array:
        if self.intake is not None and start == 0:
            x = self.intake.take(x)
        x = self.ops.to_device(x, self.dtype)
        out = self.ops.empty((x.shape[0], network.widths[stop]), self.dtype)
        for piece, batch in network.batches(x):
            seen = self.seen(batch) if start == 0 else batch
            out[piece] = network.apply(seen, start, stop)
        if self.scaler is not None and stop == network.depth:
            self.scaler.undo(out)
        return out

    def seen(self, x: Array) -> Array:
        """Return samples as the networks see them: scaled, and filled where entries are missing."""
        if not self.missing and self.scaler is None:
            return x
        seen = x.copy()
        if self.scaler is not None:
            self.scaler.apply(seen)
        if self.missing:
            fill = None if self.scaler is None else self.scaler.fill
            self.ops.set_aside_missing(seen, self.ops.empty(x.shape, bool), fill)
        return seen

    # -- state ----------------------------------------------------------------------------

    def n_parameters(self) -> int:
        """Return the number of weights and biases of both networks."""
        return sum(net.arena.n_parameters for net in self.nets.values())

    def all_finite(self) -> bool:
        """Return whether every parameter is finite."""
        isfinite = self.ops.xp.isfinite
        return all(bool(isfinite(net.arena.params).all()) for net in self.nets.values())

    def first_nonfinite(self, x: Array, x_noisy: Array) -> str | None:
        """Return the lowest layer or block with a value that is not finite, or None.

        We search activations before parameters, because they are computed first.

        Parameters
        ----------
        x, x_noisy : ndarray of shape (n, n_features)
            The clean and the noisy batch of the last step.
        """
        xp = self.ops.xp
        for (net, network), seen in zip(self.nets.items(), (x, x_noisy), strict=True):
            # Not `Network.h`: a CUDA graph that repeats a step leaves that list as it was.
            outputs = (layer.h[: len(seen)] for layer in network.layers)
            for number, h in enumerate([seen, *outputs]):
                if not bool(xp.isfinite(h).all()):
                    return f"activation of {net} layer {number}" if number else f"input of {net}"
        for net, network in self.nets.items():
            for name in network.arena.shapes:
                if not bool(xp.isfinite(network.arena.param(name)).all()):
                    return f"parameter block {name} of the {net}"
        return None

    def state(self) -> dict[str, Array]:
        """Return the parameters and the optimizer's moments by name, on the host.

        Names are ``<net>.<block>`` for parameters and ``<net>.<block>:<slot>`` for moments. If
        the model is on the host the arrays are views; the next step changes them.
        """
        return state_of(self.nets, self.ops)

    def load_state(self, state: Mapping[str, Array], steps: int | None = None) -> None:
        """Load parameters and moments that `state` returned.

        Parameters
        ----------
        state : mapping of str to ndarray
            Blocks by name.
        steps : int, optional
            Number of steps the optimizer had done. Without it we load the parameters only.

        Raises
        ------
        CheckpointError
            If a block is missing or of another shape. It names the block; nothing has changed.
        """
        if steps is not None:
            _ = self.optimizer  # allocates the moments
        load_state(self.nets, self.ops, state, moments=steps is not None)
        if steps is not None:
            self.optimizer.t = steps

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as options and state, because a layer's views would become copies."""
        parts = (self.n_features, self.architecture, self.objective, self.descent)
        options = {
            "seed": self.seed,
            "dtype": self.dtype.name,
            "batch_size": self.batch_size,
            "missing": self.missing,
            "scaling": self.scaling,
            "threads": self.threads,
            "rows": self.supervisor.rows,
        }
        steps = self.optimizer.t if "optimizer" in self.__dict__ else None
        state = {name: block.copy() for name, block in self.state().items()}
        names = self.ops.name, self.ops.matmul_precision
        return _rebuild, (parts, options, *names, state, steps), {"intake": self.intake}

    def copy(self, *, rows: int, dtype: str) -> Model:
        """Return a model with the same parameters, in its own memory, without an optimizer."""
        twin = object.__new__(type(self))  # copy.copy() would pickle
        twin.__dict__ |= {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        twin.supervisor, twin.student = (
            self.nets[net].copy(rows=rows, dtype=dtype) for net in NETS
        )
        twin._join()
        return twin

    def gradient_problems(
        self,
        x: Array | None = None,
        x_noisy: Array | None = None,
        seed: int = 0,
        observed: Array | None = None,
    ) -> list[Problem]:
        """Return the two problems of `ddnmf_np.gradcheck`, one for each network.

        Each network's scalar is the sum of the loss terms that move it (equations 9 and 10), as a
        function of its own parameters. Entries of ``x`` that are not ``observed`` do not count.
        """
        rng = np.random.default_rng([seed, SAMPLES])
        if x is None:
            x = rng.uniform(0.0, 1.0, (5, self.n_features))
        if x.shape[1] != self.n_features:
            raise DataError(f"x has shape {x.shape}; expected (n, {self.n_features})")
        if x_noisy is not None and x_noisy.shape != x.shape:
            raise DataError(
                f"x_noisy has shape {x_noisy.shape}, x has {x.shape}; give one noisy row for each"
            )
        if x_noisy is None:
            x_noisy = self.ops.to_host(x) * (rng.uniform(size=x.shape) >= 0.1)
        if observed is not None and (observed.shape != x.shape or observed.dtype != bool):
            raise DataError(
                f"observed has shape {observed.shape} and dtype {observed.dtype}; expected "
                f"{x.shape} and bool, one entry for each of x"
            )
        twin = self.copy(rows=x.shape[0], dtype="float64")
        if observed is not None:
            observed = self.ops.to_device(observed)
            twin.loss.allow_missing()
        for network in twin.nets.values():
            leave_kinks(network, rng)
        clean, noisy = (self.ops.to_device(a, "float64") for a in (x, x_noisy))
        return [twin._problem(net, clean, noisy, observed) for net in NETS]

    def _problem(self, net: str, x: Array, x_noisy: Array, observed: Array | None) -> Problem:
        network = self.nets[net]
        inputs = {"supervisor": x, "student": x_noisy}

        def value() -> float:
            network.forward(inputs[net])
            self.loss.reset()
            self.loss.measure(x, net, observed)
            return self.loss.values(x.shape[0])["loss_in"]

        def gradient() -> None:
            self.forward(x, x_noisy)
            self.backward(x, observed)

        arena = network.arena
        blocks = {name: (arena.param(name), arena.grad(name)) for name in arena.shapes}
        return Problem(net, self.ops, blocks, value, gradient, lambda: relu_sides(network))


def state_of(nets: Mapping[str, Network], ops: Ops) -> dict[str, Array]:
    """Return the arrays of `Model.state` for any networks."""
    state: dict[str, Array] = {}
    for net, network in nets.items():
        arena = network.arena
        for suffix, flat in _flats(arena):
            host = ops.to_host(flat)
            state |= {f"{net}.{b}{suffix}": arena.view(host, b) for b in arena.shapes}
    return state


def load_state(
    nets: Mapping[str, Network], ops: Ops, state: Mapping[str, Array], *, moments: bool
) -> None:
    """Load what `state_of` returned, with the optimizer's moments or without."""
    blocks: list[tuple[Array, Array]] = []
    for net, network in nets.items():
        arena = network.arena
        for suffix, flat in _flats(arena) if moments else [("", arena.params)]:
            for block, shape in arena.shapes.items():
                name = f"{net}.{block}{suffix}"
                blocks.append((arena.view(flat, block), _block(state, name, shape)))
    for block_here, found in blocks:
        block_here[...] = ops.to_device(found, block_here.dtype)


def _flats(arena: Arena) -> list[tuple[str, Array]]:
    """Return the flat arrays of an arena's state, each with the suffix of its name."""
    return [("", arena.params), *((f":{slot}", flat) for slot, flat in arena.slots.items())]


def _rebuild(
    parts: tuple[Any, ...],
    options: dict[str, Any],
    ops_name: str,
    matmul_precision: str,
    state: Mapping[str, Array],
    steps: int | None,
) -> Model:
    """Return the pickled model; its backend must be usable here."""
    model = Model(*parts, **options, ops=ops_by_name(ops_name, matmul_precision=matmul_precision))
    model.load_state(state, steps)
    return model


def check_state(
    n_features: int, architecture: Architecture, objective: Objective, state: Mapping[str, Array]
) -> None:
    """Raise `CheckpointError` unless a state fits a model with these options."""
    nets = architecture.layers(n_features, base_bias=objective.base_bias)
    for net, layers in zip(NETS, nets, strict=True):
        for layer in layers:
            for block, shape in layer.shapes().items():
                _block(state, f"{net}.{block}", shape)


def _block(state: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """Return a block of a state after a check of its shape."""
    found = state.get(name)
    if found is None or found.shape != shape:
        came = "missing" if found is None else f"of shape {found.shape}"
        raise CheckpointError(
            f"block {name} is {came}; expected shape {shape}: the state belongs to another "
            "architecture"
        )
    return found
