"""The tester, tested: it passes what is right, on every seed, and rejects what is wrong."""

import math

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DEPTH,
    DIFFERENCES,
    NETS,
    PAPER,
    PAPER_SHAPE,
    batch,
    small_config,
    small_model,
)
from tolerances import GRADCHECK64, assert_same_bits

from ddnmf_np.backends.ops import ACTIVATIONS, DirectGradient, Ops
from ddnmf_np.config import configure
from ddnmf_np.engine.gradcheck import (
    STEPS,
    TOLERANCE,
    GradcheckReport,
    check_problem,
    gradcheck,
)
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.losses import InterpretabilityLoss
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.problems import Problem, leave_kinks
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.model import Model

OBJECTIVES = {"paper": PAPER, "demo": DEMO}
LABELS = ["1", "2", "3", "_base", "_rec", "6", "7", "8"]
CODE, BASE, RECOVERED = DEPTH // 2, DEPTH // 2 + 1, DEPTH // 2 + 2


def check(target, *data, **options):
    return gradcheck(target, *data, verbose=False, **options)


def rejected(report):
    """Return ``(network, block)`` of every block that does not pass."""
    return {(r.problem, r.block) for r in report.results if r.verdict != "ok"}


def verdicts(report):
    return {(r.problem, r.block): r.verdict for r in report.results}


def student_blocks(up_to, bias=True):
    """Return the student's blocks from layer 1 to that layer (of a model in the paper's mode)."""
    blocks = {("student", f"W{label}") for label in LABELS[:up_to]}
    return blocks | {("student", f"b{x}") for x in LABELS[:up_to] if bias and x[0] != "_"}


def mixed_network(ops=None, dtype="float64", seed=0):
    network = Network(
        [
            Dense(13, 7, "relu"),
            Dense(7, 11, "tanh", bias=False),
            Dense(11, 5, "softplus"),
            Dense(5, 3, "sigmoid", bias=False),
            Dense(3, 2, "identity"),
        ],
        dtype=dtype,
        ops=ops,
    )
    glorot(network.layers, seed, 0)
    return network


# -- no false alarm ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_right_model_passes_on_every_seed(ops, options):
    for seed in range(20):
        model = small_config(widths=(29, 23, 17), rank=7, seed=seed, **options).make_model(13, ops)
        report = check(model, seed=seed)
        assert report.ok, f"seed {seed}\n{report}"
        assert report.worst <= TOLERANCE


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("widths", [(2,), (5, 3), (7, 11, 5), (9, 8, 7, 6)], ids=str)
def test_a_narrow_one_is_never_called_wrong(widths, options):
    """Some are born with a dead layer. Their zeros are rejected, but as what they are."""
    passed = 0
    for seed in range(20):
        model = configure(widths=widths, rank=2, seed=seed, **options).make_model(13)
        report = check(model, seed=seed)
        passed += report.ok
        for result in report.results:
            expected = "ok" if result.norm > 0.0 else "zero gradient"
            assert result.verdict == expected, f"seed {seed}\n{report}"
    assert passed >= 5


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_right_model_passes_with_each_difference_of_the_demo(name):
    for seed in range(5):
        report = check(small_model(seed=seed, **PAPER, **DIFFERENCES[name]), seed=seed)
        assert report.ok, f"seed {seed}\n{report}"


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trained_model_passes(ops, options, dtype):
    model = small_model(ops, dtype=dtype, lr=0.01, **options)
    for seed in range(30):
        model.step(*batch(6, seed=seed, dtype=dtype))
    report = check(model, *batch(5, seed=99, dtype=dtype))
    assert report.ok, str(report)


@pytest.mark.paper_shape
@pytest.mark.parametrize(("objective", "seed"), [("paper", 0), ("paper", 1), ("demo", 0)])
def test_the_paper_s_shape_passes(objective, seed):
    """Seed 1 has an output bias within a step of its kink."""
    model = configure(**PAPER_SHAPE, objective=objective, seed=seed).make_model(784, rows=5)
    report = check(model, directions=1, seed=seed)
    assert report.ok, str(report)
    assert report.worst <= GRADCHECK64
    assert len(report.results) == 26 + (objective == "demo")


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_right_layer_passes(activation, bias):
    for seed in range(30):
        report = check(Dense(11, 7, activation, bias=bias), seed=seed)
        assert report.ok, f"seed {seed}\n{report}"
        blocks = ["W1", "b1", "x"] if bias else ["W1", "x"]
        assert [r.block for r in report.results] == blocks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_network_passes(ops, dtype):
    for seed in range(30):
        report = check(mixed_network(ops, dtype, seed), seed=seed)
        assert report.ok, f"seed {seed}\n{report}"


def test_a_bound_layer_is_checked_with_its_own_parameters():
    network = mixed_network()
    layer = network.layers[2]
    report = check(layer, directions=1)
    layer.W[...] *= 3.0
    assert report.ok
    assert check(layer, directions=1).results[0].norm != report.results[0].norm


def test_x_and_x_noisy_are_used():
    model = small_model(**PAPER)
    x, x_noisy = batch(4)
    once = check(model, x, x_noisy)
    assert check(model, x.tolist(), x_noisy.tolist()) == once
    other_noise = check(model, x, 1.0 - x_noisy)
    other_data = check(model, 1.0 - x, x_noisy)
    for net, noise_matters in (("supervisor", False), ("student", True)):
        norms = [
            [r.norm for r in report.results if r.problem == net]
            for report in (once, other_noise, other_data)
        ]
        assert (norms[1] != norms[0]) == noise_matters
        assert norms[2] != norms[0]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_data_of_another_dtype(dtype):
    x = np.random.default_rng(0).integers(0, 2, (5, 13)).astype(dtype)
    assert check(small_model(**PAPER), x).ok
    assert check(mixed_network(), x).ok


# -- kinks ------------------------------------------------------------------------------------


def relu_unit_near_its_kink(distance):
    """Return a bias-free network and its input; the first unit of the first layer has that z."""
    network = Network([Dense(3, 4, "relu", bias=False), Dense(4, 2, "tanh")], dtype="float64")
    glorot(network.layers, 1, 0)
    x = np.array([[1.0, 0.5, 0.25]])
    W = network.layers[0].W
    W[0] = [0.5, -1.0, distance * 4.0]  # 0.5 - 0.5 + distance
    assert (W @ x[0])[0] == distance
    W[1:] = np.abs(W[1:]) + 0.1
    return network, x


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 2e-6, 1e-6, 4e-7])
@pytest.mark.parametrize("sign", [1, -1])
def test_near_a_kink_there_is_no_false_alarm(distance, sign):
    network, x = relu_unit_near_its_kink(sign * distance)
    for seed in range(20):
        report = check(network, x, seed=seed)
        assert report.ok, f"seed {seed}\n{report}"


@pytest.mark.parametrize("distance", [0.0, 1e-9, -1e-9])
def test_on_a_kink_the_verdict_says_so(distance):
    network, x = relu_unit_near_its_kink(distance)
    for seed in range(20):
        report = check(network, x, seed=seed)
        found = verdicts(report)
        assert found["network", "x"] == "at a kink"  # every entry that counts moves the unit
        assert found["network", "W1"] in ("at a kink", "ok")  # the other units' weights do not
        assert {found["network", block] for block in ("W2", "b2")} == {"ok"}  # above the kink
        assert not report.ok
        assert report.worst == math.inf


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_one_entry_at_its_kink_does_not_hide_the_others(factor):
    """As a bias of a wide ReLU layer: no direction that moves that entry keeps its side."""
    z, p, g = np.linspace(0.5, 1.5, 40), np.zeros(40), np.zeros(40)
    z[7] = 1e-9

    def gradient():
        g[...] = np.where(z + p > 0, 2.0 * (z + p), 0.0)
        g[20] *= factor

    problem = Problem(
        "units",
        Ops(),
        {"p": (p, g)},
        lambda: float((np.maximum(z + p, 0.0) ** 2).sum()),
        gradient,
        lambda: z + p > 0,
    )
    for seed in range(20):
        # Each entry is in half of the directions: one that is wrong is missed with 2^-12.
        [result] = check_problem(problem, directions=12, seed=seed)
        assert result.verdict == ("ok" if factor == 1.0 else "wrong")
        assert not p.any()


def test_a_direction_without_entries_proves_nothing():
    """One entry, at its kink: leaving it out would compare nothing with nothing."""
    p, g = np.array([1e-9]), np.zeros(1)
    problem = Problem(
        "unit",
        Ops(),
        {"p": (p, g)},
        lambda: max(float(p[0]), 0.0),
        lambda: g.fill(5.0),
        lambda: p > 0,
    )
    [result] = check_problem(problem)
    assert result.verdict == "at a kink"


def test_a_step_that_crosses_is_made_smaller():
    """And the two ends of the step that counts are on the side of the point itself."""
    p, g = np.array([3e-6]), np.zeros(1)
    seen = []

    def loss():
        seen.append(float(p[0]))
        return max(float(p[0]), 0.0)

    problem = Problem(
        "unit", Ops(), {"p": (p, g)}, loss, lambda: g.fill(1.0), lambda: np.array([p[0] > 0])
    )
    [result] = check_problem(problem, directions=1)
    assert result.verdict == "ok"
    assert max(abs(np.array(seen) - 3e-6)) == pytest.approx(1e-5, rel=1e-9)
    assert sorted(seen[-2:]) == pytest.approx([2e-6, 4e-6], rel=1e-9)


def test_a_fresh_network_with_a_dead_sample_passes():
    """One sample switches the whole first layer off: zero biases would put the next on its kink."""
    network = Network(
        [Dense(3, 2, "relu"), Dense(2, 5, "relu"), Dense(5, 2, "tanh")], dtype="float64"
    )
    glorot(network.layers, 0, 0)
    network.layers[0].W[...] = [[0.5, -0.6, 0.7], [0.3, -0.4, 0.2]]
    x = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.1], [0.9, 0.2, 0.8]])
    assert (network.apply(x, stop=1)[1] == 0.0).all()
    for seed in range(20):
        report = check(network, x, seed=seed)
        assert report.ok, f"seed {seed}\n{report}"


def test_biases_leave_zero_and_nothing_else_moves():
    network = mixed_network()
    before = network.copy(rows=1, dtype="float64")
    leave_kinks(network, np.random.default_rng(0))
    for layer, old in zip(network.layers, before.layers, strict=True):
        assert_same_bits(layer.W, old.W)
        if layer.b is not None:
            shift = np.abs(layer.b - old.b)
            assert shift.min() > 0.0
            assert shift.max() <= 0.01


# -- the target stays as it is ----------------------------------------------------------------


def snapshot(network):
    arena = network.arena
    arrays = [arena.params, arena.grads, *arena.slots.values(), *network.h]
    arrays += [b for layer in network.layers for b in (layer.h, layer.dh, layer.work)]
    return [a.tobytes() for a in arrays]


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_is_not_changed_and_trains_on_as_if_nothing_had_been(ops, options, dtype):
    models = [small_model(ops, dtype=dtype, **options) for _ in range(2)]
    for seed in range(6):
        x, x_noisy = batch(5, seed=seed, dtype=dtype)
        for model in models:
            model.step(x, x_noisy)
        before = {net: snapshot(models[0].nets[net]) for net in NETS}
        sums = models[0].loss.sums.copy()
        assert check(models[0], x, x_noisy).ok  # x is read-only: it is not written either
        assert before == {net: snapshot(models[0].nets[net]) for net in NETS}
        assert_same_bits(models[0].loss.sums, sums)
    for net in NETS:
        checked, other = (model.nets[net].arena for model in models)
        assert_same_bits(checked.params, other.params)
        assert_same_bits(checked.slots["v"], other.slots["v"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_and_a_layer_are_not_changed(ops, dtype):
    network = mixed_network(ops, dtype)
    x = np.random.default_rng(0).normal(size=(5, 13)).astype(dtype)
    x.flags.writeable = False
    network.forward(x)
    before = snapshot(network)
    assert check(network, x).ok
    assert check(network.layers[0], x).ok
    assert snapshot(network) == before
    loose = Dense(5, 3)
    assert check(loose).ok
    assert not hasattr(loose, "W")
    assert loose.label == ""


def test_blocks_are_put_back_even_if_the_loss_fails():
    p, g = np.full(3, 0.1), np.ones(3)
    calls = []

    def loss():
        calls.append(None)
        if len(calls) == 3:
            raise FloatingPointError("planted")
        return float(p.sum())

    problem = Problem("sum", Ops(), {"p": (p, g)}, loss, lambda: None, lambda: np.zeros(0, bool))
    with pytest.raises(FloatingPointError, match="planted"):
        check_problem(problem)
    assert_same_bits(p, np.full(3, 0.1))


# -- planted bugs: the objective --------------------------------------------------------------


def plant_direct(monkeypatch, change):
    """Replace the table of direct gradients by ``change(loss, net, direct, x)``."""
    right = InterpretabilityLoss.direct_gradients

    def direct_gradients(self, net, x, **options):
        found = {layer: list(pairs) for layer, pairs in right(self, net, x, **options).items()}
        change(self, net, found, x)
        return found

    monkeypatch.setattr(InterpretabilityLoss, "direct_gradients", direct_gradients)


def is_apposition(loss, ref):
    return any(ref is h for h in loss.nets["supervisor"].h[1:])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, 1.01], ids="times {}".format)
@pytest.mark.parametrize("layer", [1, 2, 3, 6, 7, 8])
def test_one_apposition_term_missing_or_scaled(monkeypatch, layer, factor, seed):
    """Rejected where it acts, in its layer and below, and nowhere else."""

    def change(loss, net, direct, x):
        if net == "student":
            direct[layer] = [
                term._replace(c=term.c * (factor if is_apposition(loss, term.ref) else 1.0))
                for term in direct[layer]
            ]

    plant_direct(monkeypatch, change)
    report = check(small_model(seed=seed, **PAPER), seed=seed, directions=5)
    assert rejected(report) == student_blocks(layer)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("layer", [CODE, RECOVERED])
@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0], ids="times {}".format)
@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_constraint_on_one_side_only_or_with_a_wrong_sign(
    monkeypatch, options, factor, layer, seed
):
    other = {CODE: RECOVERED, RECOVERED: CODE}[layer]

    def change(loss, net, direct, x):
        if net == "student":
            partner = loss.nets["student"].h[other]
            direct[layer] = [
                term._replace(c=term.c * factor) if term.ref is partner else term
                for term in direct[layer]
            ]

    plant_direct(monkeypatch, change)
    report = check(small_model(seed=seed, **options), seed=seed, directions=5)
    expected = student_blocks(layer)
    if options is DEMO and layer == RECOVERED:
        expected |= {("student", "b_base")}
    assert rejected(report) == expected


@pytest.mark.parametrize("seed", range(2))
def test_supervisor_moved_by_apposition_in_the_paper_s_mode(monkeypatch, seed):
    def change(loss, net, direct, x):
        if net == "supervisor":
            for layer in range(1, DEPTH + 1):
                partner = layer if layer <= DEPTH // 2 else layer + 2
                ref = loss.nets["student"].h[partner]
                direct.setdefault(layer, []).append(DirectGradient(ref, 2 * 1.3 / x.shape[0]))

    plant_direct(monkeypatch, change)
    report = check(small_model(seed=seed, **PAPER), seed=seed)
    blocks = {("supervisor", f"{kind}{k}") for kind in "Wb" for k in range(1, DEPTH + 1)}
    assert rejected(report) == blocks


@pytest.mark.parametrize("seed", range(2))
def test_supervisor_not_moved_by_apposition_in_the_demo_s_mode(monkeypatch, seed):
    def change(loss, net, direct, x):
        if net == "supervisor":
            for layer, pairs in direct.items():
                direct[layer] = [pair for pair in pairs if pair[0] is x]

    plant_direct(monkeypatch, change)
    report = check(small_model(seed=seed, **DEMO), seed=seed)
    blocks = {("supervisor", f"{kind}{k}") for kind in "Wb" for k in range(1, DEPTH + 1)}
    assert rejected(report) == blocks


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_sum_over_samples_for_the_mean(monkeypatch, options):
    def change(loss, net, direct, x):
        for layer, pairs in direct.items():
            direct[layer] = [term._replace(c=term.c * x.shape[0]) for term in pairs]

    plant_direct(monkeypatch, change)
    report = check(small_model(**options))
    assert len(rejected(report)) == len(report.results)


def test_width_of_another_layer_in_the_mean_over_features(monkeypatch):
    right = InterpretabilityLoss.direct_gradients

    def direct_gradients(self, net, x, **options):
        return {
            layer: [term._replace(c=term.c * term.ref.shape[1] / 13) for term in pairs]
            for layer, pairs in right(self, net, x, **options).items()
        }

    monkeypatch.setattr(InterpretabilityLoss, "direct_gradients", direct_gradients)
    assert rejected(check(small_model(**DEMO))) >= student_blocks(DEPTH // 2)


# -- planted bugs: the arithmetic -------------------------------------------------------------


class MeanForDb(Ops):
    def sum_rows(self, delta, out):
        np.mean(delta, axis=0, out=out)


class SigmoidForgetsTheSignal(Ops):
    def dactivate(self, kind, h, dh, work):
        if kind == "sigmoid":
            dh.fill(1.0)
        super().dactivate(kind, h, dh, work)


class ReluSlopeOffset(Ops):
    def dactivate(self, kind, h, dh, work):
        if kind == "relu":
            np.multiply(dh, h > 0.05, out=dh)
        else:
            super().dactivate(kind, h, dh, work)


class ReluSlopeAlwaysOne(Ops):
    def dactivate(self, kind, h, dh, work):
        if kind != "relu":
            super().dactivate(kind, h, dh, work)


class SigmoidSlopeFromTheWrongSide(Ops):
    def dactivate(self, kind, h, dh, work):
        if kind == "sigmoid":
            np.multiply(dh, h * h, out=dh)
        else:
            super().dactivate(kind, h, dh, work)


class TapOverwrites(Ops):
    def add_direct(self, h, ref, c, dh, work):
        np.multiply(h - ref, c, out=dh)


class TapWithoutReference(Ops):
    def add_direct(self, h, ref, c, dh, work):
        dh += c * h


class NoBiasForward(Ops):
    def activate(self, kind, z, b=None):
        super().activate(kind, z)


class Float32InBetween(Ops):
    """A product rounded to float32: too coarse by nine digits, and nothing else wrong."""

    def matmul(self, a, b, out):
        out[...] = (a @ b).astype("float32")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize(
    "bad_ops",
    [
        MeanForDb,
        SigmoidForgetsTheSignal,
        ReluSlopeOffset,
        ReluSlopeAlwaysOne,
        SigmoidSlopeFromTheWrongSide,
        TapOverwrites,
        TapWithoutReference,
        NoBiasForward,
        Float32InBetween,
    ],
)
def test_wrong_operation_in_a_model(bad_ops, options, seed):
    report = check(small_model(bad_ops(), seed=seed, **options), seed=seed)
    bad = rejected(report)
    assert bad
    if bad_ops is MeanForDb:
        blocks = {(r.problem, r.block) for r in report.results if r.block[0] == "b"}
        assert bad == blocks
    if bad_ops in (SigmoidForgetsTheSignal, SigmoidSlopeFromTheWrongSide):
        expected = student_blocks(BASE)
        assert bad == expected | ({("student", "b_base")} if options is DEMO else set())


class WrongSlope(Ops):
    """f' forgotten for one activation."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def dactivate(self, kind, h, dh, work):
        if kind != self.wrong:
            super().dactivate(kind, h, dh, work)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("activation", [kind for kind in ACTIVATIONS if kind != "identity"])
def test_forgotten_slope_in_a_network(activation, seed):
    bad = rejected(check(mixed_network(WrongSlope(activation), seed=seed), seed=seed))
    layer = {"relu": 1, "tanh": 2, "softplus": 3, "sigmoid": 4}[activation]
    weights = {("network", f"W{k}") for k in range(1, layer + 1)}
    biases = {("network", f"b{k}") for k in (1, 3) if k <= layer}
    assert bad == weights | biases | {("network", "x")}


def test_a_bound_layer_is_checked_with_its_own_operations():
    layers = mixed_network(WrongSlope("tanh")).layers
    assert check(layers[0]).ok
    report = check(layers[1])
    assert {block for _, block in rejected(report)} == {"W2", "x"}


def plant_backward(monkeypatch, change):
    """Let ``change(layer, x, dx)`` spoil what `Dense.backward` has computed."""
    right = Dense.backward

    def backward(self, g=None, direct=()):
        dx = None if self.dx is None else self.dx[: self.x.shape[0]]
        change(self, self.x, dx, lambda: right(self, g, direct))
        return dx

    monkeypatch.setattr(Dense, "backward", backward)


def square_network(seed):
    network = Network([Dense(7, 7, "tanh"), Dense(7, 7, "sigmoid")], dtype="float64")
    glorot(network.layers, seed, 0)
    return network


@pytest.mark.parametrize("seed", range(2))
def test_transposed_products_where_the_shapes_allow_it(monkeypatch, seed):
    def transposed_dW(layer, x, dx, right):
        right()
        layer.dW[...] = layer.dW.T.copy()

    def transposed_W(layer, x, dx, right):
        right()
        if dx is not None:
            dx[...] = layer.dh[: x.shape[0]] @ layer.W.T

    with monkeypatch.context() as patch:
        plant_backward(patch, transposed_dW)
        assert rejected(check(square_network(seed), seed=seed)) == {
            ("network", "W1"),
            ("network", "W2"),
        }
    with monkeypatch.context() as patch:
        plant_backward(patch, transposed_W)
        bad = rejected(check(square_network(seed), seed=seed))
        assert bad == {("network", "W1"), ("network", "b1"), ("network", "x")}
    assert check(square_network(seed), seed=seed).ok


@pytest.mark.parametrize("seed", range(2))
def test_products_with_the_signal_before_the_slope(monkeypatch, seed):
    """``g`` where ``delta`` belongs: in dW, or in what goes down."""

    def in_dW(layer, x, dx, right):
        g = layer.dh[: x.shape[0]].copy()
        right()
        layer.dW[...] = g.T @ x

    def in_dx(layer, x, dx, right):
        g = layer.dh[: x.shape[0]].copy()
        right()
        if dx is not None:
            dx[...] = g @ layer.W

    with monkeypatch.context() as patch:
        plant_backward(patch, in_dW)
        assert rejected(check(square_network(seed), seed=seed)) == {
            ("network", "W1"),
            ("network", "W2"),
        }
    with monkeypatch.context() as patch:
        plant_backward(patch, in_dx)
        bad = rejected(check(square_network(seed), seed=seed))
        assert bad == {("network", "W1"), ("network", "b1"), ("network", "x")}


def accumulate(layer, x, dx, right):
    kept = layer.dW.copy()
    right()
    layer.dW += kept


def test_accumulated_gradient_in_a_model(monkeypatch):
    plant_backward(monkeypatch, accumulate)
    report = check(small_model(**PAPER))
    assert {block for net, block in rejected(report) if net == "student"} == {
        f"W{label}" for label in LABELS
    }


@pytest.mark.parametrize("make", [square_network, lambda seed: Dense(7, 5, "tanh")])
def test_accumulated_gradient_in_a_network_or_layer(monkeypatch, make):
    plant_backward(monkeypatch, accumulate)
    assert not check(make(0)).ok


@pytest.mark.parametrize("seed", range(2))
def test_bias_missing_from_the_demo_s_base(monkeypatch, seed):
    def no_db(layer, x, dx, right):
        right()
        if layer.label == "_base":
            layer.db.fill(0.0)

    with monkeypatch.context() as patch:
        plant_backward(patch, no_db)
        found = verdicts(check(small_model(seed=seed, **DEMO), seed=seed))
        assert found["student", "b_base"] == "zero gradient"
        assert {v for block, v in found.items() if block[1] != "b_base"} == {"ok"}

    right = Dense.forward

    def no_bias(self, x):
        h = right(self, x)
        if self.label == "_base":
            h[...] = 1 / (1 + np.exp(-x @ self.W.T))
        return h

    monkeypatch.setattr(Dense, "forward", no_bias)
    found = verdicts(check(small_model(seed=seed, **DEMO), seed=seed))
    assert found["student", "b_base"] == "wrong"
    assert {v for block, v in found.items() if block[1] != "b_base"} == {"ok"}


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_stale_activations_of_a_layer(monkeypatch, options):
    """The output goes up, but what `backward` finds in ``h`` is the batch before."""
    right = Dense.forward

    def forward(self, x):
        before = self.h.copy()
        fresh = right(self, x).copy()
        self.h[...] = before
        return fresh

    monkeypatch.setattr(Dense, "forward", forward)
    assert not check(small_model(**options)).ok


def test_stale_activations_of_the_supervisor(monkeypatch):
    """Its forward pass after the student's backward: ``Grad`` holds another batch's values."""
    right = Model.backward

    def backward(self, x, observed=None):
        fresh = [h.copy() for h in self.supervisor.h]
        for h in self.supervisor.h[1:]:
            h *= 0.9
        right(self, x)
        for h, good in zip(self.supervisor.h[1:], fresh[1:], strict=True):
            h[...] = good

    monkeypatch.setattr(Model, "backward", backward)
    assert {net for net, _ in rejected(check(small_model(**PAPER)))} >= {"student"}


def test_student_fed_with_clean_data(monkeypatch):
    def forward(self, x, x_noisy):
        self.supervisor.forward(x)
        self.student.forward(x)

    monkeypatch.setattr(Model, "forward", forward)
    bad = rejected(check(small_model(**PAPER), *batch(5)))
    assert bad == student_blocks(DEPTH + 2)


def test_a_wrong_layer_of_the_user_s_own():
    class Wrong(Dense):
        def backward(self, g=None, direct=()):
            dx = super().backward(g, direct)
            self.dW *= 2.0
            return dx

    network = Network([Wrong(5, 4, "tanh"), Dense(4, 3)], dtype="float64")
    glorot(network.layers, 0, 0)
    assert not check(Wrong(5, 4, "tanh")).ok
    assert not check(network).ok


# -- gradients that prove nothing -------------------------------------------------------------


def test_a_dead_block_is_rejected():
    """0 = 0: every unit of the first layer is off, so nothing below the second is proved."""
    network = Network([Dense(7, 5, "relu"), Dense(5, 3, "tanh")], dtype="float64")
    glorot(network.layers, 0, 0)
    network.layers[0].b.fill(-100.0)
    found = verdicts(check(network))
    assert found["network", "b2"] == "ok"
    for block in ("W1", "b1", "x", "W2"):
        assert found["network", block] == "zero gradient", block


def test_a_network_cut_off_from_its_loss_is_rejected():
    report = check(small_model(**{**PAPER, "alpha_sym": 0.0}))
    for (net, block), verdict in verdicts(report).items():
        assert verdict == ("zero gradient" if net == "supervisor" else "ok"), block
    assert not report.ok


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 17])
def test_a_gradient_that_is_not_finite_is_wrong(monkeypatch, value, where):
    def spoil(layer, x, dx, right):
        right()
        if layer.label == "2":
            layer.dW.flat[where] = value

    plant_backward(monkeypatch, spoil)
    report = check(mixed_network())
    assert rejected(report) == {("network", "W2")}
    assert verdicts(report)["network", "W2"] == "wrong"
    assert not report.ok
    assert report.worst == math.inf


@pytest.mark.parametrize("good_calls", range(7))
def test_a_loss_that_is_not_finite_is_wrong(good_calls):
    """Whether it shows in the first direction or in the last."""
    p, g = np.ones(3), np.ones(3)
    calls = []

    def loss():
        calls.append(None)
        return float(p.sum()) if len(calls) <= good_calls else math.nan

    problem = Problem("nan", Ops(), {"p": (p, g)}, loss, lambda: None, lambda: np.zeros(0, bool))
    [result] = check_problem(problem)
    assert len(calls) == 7  # one at the point, two in each of three directions
    assert result.verdict == "wrong"
    assert GradcheckReport((result,), TOLERANCE).worst == math.inf


# -- what is compared, exactly ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("excess", "verdict"), [(0.0, "ok"), (5e-7, "ok"), (2e-6, "wrong"), (-2e-6, "wrong")]
)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_error_is_relative_and_the_tolerance_is_the_documented_one(excess, verdict, scale):
    """On one number the direction does not matter: the error is the excess itself."""
    p, g = np.array([0.75]), np.zeros(1)

    def gradient():
        g[0] = scale * 2 * p[0] * (1 + excess)

    problem = Problem(
        "square",
        Ops(),
        {"p": (p, g)},
        lambda: scale * float(p[0]) ** 2,
        gradient,
        lambda: np.zeros(0, bool),
    )
    [result] = check_problem(problem)
    assert TOLERANCE == 1e-6
    assert result.verdict == verdict
    assert result.error == pytest.approx(abs(excess), rel=1e-3, abs=1e-9)
    assert result.norm == pytest.approx(scale * 1.5, rel=1e-5)
    loose = check_problem(problem, tolerance=1e-5)
    assert loose[0].verdict == "ok"


def test_directions_are_signs_and_every_block_gets_its_own():
    """Steps of the same size in every entry, in `directions` draws that are not alike."""
    p, q, dp, dq = np.zeros(40), np.zeros(3), np.empty(40), np.empty(3)
    moves = []

    def gradient():
        dp.fill(1.0)
        dq.fill(1.0)

    def loss():
        moves.append((p.copy(), q.copy()))
        return float(p.sum() + q.sum())

    blocks = {"p": (p, dp), "q": (q, dq)}
    problem = Problem("sum", Ops(), blocks, loss, gradient, lambda: np.zeros(0, bool))
    results = check_problem(problem, directions=4)
    assert [r.verdict for r in results] == ["ok", "ok"]
    moves = moves[1:]  # the first finds out the sides
    assert len(moves) == 2 * 4 * 2
    signs = set()
    for upper, lower in zip(moves[0:8:2], moves[1:8:2], strict=True):
        np.testing.assert_array_equal(upper[0], -lower[0])
        np.testing.assert_array_equal(np.abs(upper[0]), STEPS[0])
        assert not upper[1].any()
        assert 0 < (upper[0] > 0).sum() < 40
        signs.add(np.sign(upper[0]).tobytes())
    assert len(signs) == 4


def test_the_seed_decides():
    model = small_model(**PAPER)
    assert check(model, seed=3) == check(model, seed=3)
    assert check(model, seed=3) != check(model, seed=4)


# -- the report -------------------------------------------------------------------------------


def test_report_is_a_table_of_every_block(monkeypatch, capsys):
    def spoil(layer, x, dx, right):
        right()
        if layer.label == "_rec":
            layer.dW *= 1.5

    plant_backward(monkeypatch, spoil)
    report = gradcheck(small_model(**PAPER))
    text = str(report)
    assert capsys.readouterr().out == text + "\n"
    assert isinstance(report, GradcheckReport)
    lines = text.splitlines()
    assert lines[0].split("  ")[0] == "network"
    for title in ("block", "shape", "gradient norm", "relative error", "verdict"):
        assert title in lines[0]
    model = small_model(**PAPER)
    expected = [
        (net, block, "x".join(map(str, shape)))
        for net in NETS
        for block, shape in model.nets[net].arena.shapes.items()
    ]
    assert [tuple(line.split()[:3]) for line in lines[2:-1]] == expected
    for line, result in zip(lines[2:-1], report.results, strict=True):
        assert line.endswith("wrong" if result.block == "W_rec" else "ok")
        assert f"{result.norm:.3e}" in line
        assert f"{result.error:.1e}" in line
    assert lines[-1] == "25 of 26 blocks pass (relative error <= 1e-06)"
    assert not report.ok
    assert report.worst == max(r.error for r in report.results) > 1e-3


def test_report_can_be_silent(capsys):
    assert check(Dense(3, 2)).ok
    assert capsys.readouterr().out == ""


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", [0, -1])
def test_directions_below_one(directions):
    with pytest.raises(UsageError, match=f"directions is {directions}; expected at least 1"):
        check(Dense(3, 2), directions=directions)


@pytest.mark.parametrize("target", [None, 3, "model", np.zeros((2, 2)), Dense, object()])
def test_target_of_another_kind(target):
    with pytest.raises(UsageError, match=f"target is a {type(target).__name__}; expected a Dense"):
        check(target)


def test_an_estimator_is_checked_by_its_model():
    class Estimator:
        model_ = small_model(**PAPER)

    assert check(Estimator()) == check(Estimator.model_)


@pytest.mark.parametrize(
    "make", [lambda: small_model(**PAPER), mixed_network, lambda: Dense(13, 2)]
)
class TestInput:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, make, value):
        x = np.ones((5, 13))
        x[2, 3] = value
        with pytest.raises(DataError, match="x has entries that are not finite"):
            check(make(), x)

    @pytest.mark.parametrize("shape", [(13,), (0, 13), (5, 0), (1, 5, 13), ()])
    def test_not_a_batch(self, make, shape):
        with pytest.raises(DataError, match=r"x has shape .* expected numbers of shape"):
            check(make(), np.ones(shape))

    @pytest.mark.parametrize("dtype", ["complex128", "U3", "object"])
    def test_not_numbers(self, make, dtype):
        with pytest.raises(DataError, match=r"x has shape \(5, 13\) and dtype"):
            check(make(), np.ones((5, 13)).astype(dtype))

    def test_of_another_width(self, make):
        with pytest.raises(DataError, match=r"x has shape \(5, 12\); expected \(n, 13\)"):
            check(make(), np.ones((5, 12)))


class TestNoisyInput:
    def test_not_finite(self):
        with pytest.raises(DataError, match="x_noisy has entries that are not finite"):
            check(small_model(**PAPER), np.ones((5, 13)), np.full((5, 13), math.nan))

    def test_of_another_width(self):
        with pytest.raises(DataError, match=r"x_noisy has shape \(5, 12\), x has \(5, 13\)"):
            check(small_model(**PAPER), np.ones((5, 13)), np.ones((5, 12)))

    @pytest.mark.parametrize("n", [1, 3])
    def test_of_another_length(self, n):
        with pytest.raises(DataError, match="x_noisy"):
            check(small_model(**PAPER), np.ones((5, 13)), np.ones((n, 13)))


def test_observed_entries_are_for_a_model():
    with pytest.raises(UsageError, match="observed is for a model"):
        check(Dense(3, 2), observed=np.ones((4, 3), bool))
