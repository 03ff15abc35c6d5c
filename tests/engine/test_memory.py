"""Who owns which memory: nothing leaks from step to step, and nothing is allocated in one."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    NETS,
    PAPER,
    PAPER_SHAPE,
    batch,
    draw_biases,
    engine_gradient,
    small_config,
    small_model,
)
from tolerances import ORACLE32, ORACLE64, WARM_STEP_BYTES, assert_close, assert_same_bits

from ddnmf_np.backends.ops import ACTIVATIONS, DirectGradient
from ddnmf_np.config import configure
from ddnmf_np.engine.arena import ALIGNMENT
from ddnmf_np.engine.descent import Adam, GradientDescent, Momentum
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import DataError, UsageError

OBJECTIVES = {"paper": PAPER, "demo": DEMO}


def everything(model):
    """Return copies of all that a step leaves behind, by name."""
    state = {"sums": model.loss.sums.copy()}
    for net, network in model.nets.items():
        arena = network.arena
        state |= {f"{net} params": arena.params.copy(), f"{net} grads": arena.grads.copy()}
        state |= {f"{net} {slot}": flat.copy() for slot, flat in arena.slots.items()}
        state |= {f"{net} h[{k}]": h.copy() for k, h in enumerate(network.h)}
    return state


def poison(model):
    """Fill every buffer whose content a step must not depend on with NaN."""
    for network in model.nets.values():
        fill_gradients(network.arena, np.nan)
        for layer in network.layers:
            for buffer in (layer.h, layer.dh, layer.work):
                buffer.fill(np.nan)
    for work in model.optimizer.work:
        work.fill(np.nan)


def fill_gradients(arena, value):
    """Fill every gradient, but not the gaps between the blocks: those stay zero."""
    for name in arena.shapes:
        arena.grad(name).fill(value)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_does_not_read_what_is_left_in_the_buffers(ops, options, optimizer, dtype):
    models = [small_model(ops, dtype=dtype, optimizer=optimizer, **options) for _ in range(2)]
    for seed in range(3):
        x, x_noisy = batch(5, seed=seed, dtype=dtype)
        poison(models[1])
        for model in models:
            model.step(x, x_noisy)
        expected = everything(models[0])
        for name, values in everything(models[1]).items():
            assert_same_bits(values, expected[name], name)
            assert np.isfinite(values).all(), name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_layer_reads_what_is_left_in_its_buffers(ops, activation):
    network = Network([Dense(7, 5, activation), Dense(5, 3, activation)], rows=4, ops=ops)
    network.arena.params[...] = np.random.default_rng(0).normal(size=network.arena.size)
    x = np.random.default_rng(1).normal(size=(4, 7)).astype("float32")
    results = []
    for value in (0.0, np.nan):
        for layer in network.layers:
            for buffer in (layer.h, layer.dh, layer.work):
                buffer.fill(value)
        fill_gradients(network.arena, value)
        dx = np.full_like(x, value)
        y = network.forward(x).copy()
        network.backward(
            {
                1: [DirectGradient(np.ones((4, 5), "float32"), 0.5)],
                2: [DirectGradient(0.0 * y, 0.5)],
            },
            dx,
        )
        results.append((y, network.arena.grads.copy(), dx))
    for once, again in zip(*results, strict=True):
        assert_same_bits(again, once)
        assert np.isfinite(again).all()


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
class TestTwice:
    def test_forward(self, ops, options):
        model = small_model(ops, **options)
        x, x_noisy = batch(5)
        model.forward(x, x_noisy)
        once = everything(model)
        model.forward(x, x_noisy)
        for name, values in everything(model).items():
            assert_same_bits(values, once[name], name)

    def test_backward(self, ops, options):
        model = small_model(ops, **options)
        x, x_noisy = batch(5)
        model.forward(x, x_noisy)
        model.backward(x)
        once = everything(model)
        model.backward(x)
        for net in NETS:
            model.nets[net].backward(model.loss.direct_gradients(net, x))
        for name, values in everything(model).items():
            assert_same_bits(values, once[name], name)

    def test_measure_adds_to_the_sums_alone(self, ops, options):
        model = small_model(ops, **options)
        x, x_noisy = batch(5)
        model.forward(x, x_noisy)
        model.backward(x)
        before = everything(model)
        model.loss.measure(x)
        once = model.loss.sums.copy()
        model.loss.measure(x)
        after = everything(model)
        assert once.all()
        assert_same_bits(after.pop("sums"), 2.0 * once)
        for name, values in after.items():
            assert_same_bits(values, before[name], name)


class TestViews:
    @pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
    def test_blocks_tile_the_arena(self, ops, options):
        for network in small_model(ops, **options).nets.values():
            arena = network.arena
            marks = np.zeros(arena.size, "int64")
            for number, (name, shape) in enumerate(arena.shapes.items(), start=1):
                block = arena.view(marks, name)
                assert block.shape == shape
                assert not block.any(), f"{name} overlaps block {block.flat[0]}"
                block[...] = number
            gaps = np.diff(np.flatnonzero(marks), prepend=-1) - 1
            assert gaps.max() < ALIGNMENT, "a part of the arena belongs to no block"
            assert marks[-1], "the arena ends with its last block"
            sizes = [np.prod(shape) for shape in arena.shapes.values()]
            assert arena.n_parameters == np.count_nonzero(marks) == sum(sizes)
            assert_same_bits(arena.packed(marks), np.repeat(np.arange(1, len(sizes) + 1), sizes))

    @pytest.mark.paper_shape
    @pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
    def test_blocks_start_on_256_bytes_and_gaps_stay_zero(self, ops, optimizer):
        """Behind a bias of 10 numbers cuBLAS could not load 16 bytes at a time."""
        model = configure(**PAPER_SHAPE, optimizer=optimizer, lr=1e-6).make_model(784, ops, rows=3)
        for seed in range(2):
            model.step(*batch(3, features=784, seed=seed, dtype="float32"))
        for network in model.nets.values():
            arena = network.arena
            flats = {"params": arena.params, "grads": arena.grads} | arena.slots
            for flat in flats.values():
                for name in arena.shapes:
                    first = arena.view(flat, name).ctypes.data - flat.ctypes.data
                    assert first % 256 == 0, name
            gap = np.ones(arena.size, bool)
            for span in arena.spans.values():
                gap[span] = False
            assert gap.any()
            for what, flat in flats.items():
                assert flat[~gap].any(), what
                assert not flat[gap].any(), what

    def test_a_layer_s_parameters_are_the_arena_s(self, ops):
        for network in small_model(ops, **DEMO).nets.values():
            arena = network.arena
            for flat, names in ((arena.params, ("W", "b")), (arena.grads, ("dW", "db"))):
                flat[...] = np.arange(arena.size)
                seen = []
                for layer in network.layers:
                    blocks = [arena.spans[name] for name in layer.shapes()]
                    assert layer.span == slice(blocks[0].start, blocks[-1].stop)
                    for name in names:
                        view = getattr(layer, name)
                        if view is not None:
                            assert np.shares_memory(view, flat)
                            assert view.flags.c_contiguous
                            seen += view.ravel().tolist()
                assert seen == arena.packed(flat).tolist()

    def test_no_two_buffers_share_memory(self, ops):
        model = small_model(ops, **DEMO)
        model.step(*batch(5))
        buffers = [model.loss.sums, *model.optimizer.work]
        for network in model.nets.values():
            buffers += [network.arena.params, network.arena.grads, *network.arena.slots.values()]
            buffers += [b for layer in network.layers for b in (layer.h, layer.dh, layer.work)]
        spans = sorted((b.__array_interface__["data"][0], b.nbytes) for b in buffers)
        for (start, size), (after, _) in itertools.pairwise(spans):
            assert start + size <= after

    def test_outputs_are_views_of_the_layers_buffers(self, ops):
        model = small_model(ops, **PAPER)
        x, x_noisy = batch(5)
        model.forward(x, x_noisy)
        for network in model.nets.values():
            for layer, h in zip(network.layers, network.h[1:], strict=True):
                assert h.base is layer.h
                assert h.shape == (5, layer.fan_out)
                assert h.flags.c_contiguous

    def test_a_copy_shares_nothing(self, ops):
        model = small_model(ops, dtype="float32", **DEMO)
        twin = model.copy(rows=3, dtype="float32")
        for net in NETS:
            one, other = model.nets[net].arena, twin.nets[net].arena
            assert_same_bits(other.params, one.params)
            assert not np.shares_memory(other.params, one.params)
            other.params.fill(0.0)
            assert one.params.any()
        model.step(*batch(5, dtype="float32"))
        twin = model.copy(rows=5, dtype="float64")
        before = everything(model)
        twin.step(*batch(5))
        for name, values in everything(model).items():
            assert_same_bits(values, before[name], name)
        assert twin.optimizer.t == model.optimizer.t == 1
        assert (twin.student.arena.params != model.student.arena.params).any()
        network = model.student.copy(rows=2, dtype="float64")
        assert_same_bits(network.arena.params, model.student.arena.params.astype("float64"))
        assert list(network.arena.shapes) == list(model.student.arena.shapes)
        network.arena.params.fill(0.0)
        assert model.student.arena.params.any()


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
def test_inputs_and_foreign_memory_are_not_written(ops, options, optimizer):
    """`batch` is read-only, so a write raises; here the values are looked at as well."""
    model = small_model(ops, optimizer=optimizer, **options)
    x, x_noisy = (a.copy() for a in batch(5))
    kept = x.copy(), x_noisy.copy()
    model.step(x, x_noisy)
    model.encode(x)
    model.decode(model.encode(x))
    assert_same_bits(x, kept[0])
    assert_same_bits(x_noisy, kept[1])
    model.step(*batch(5))


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_short_last_batch(ops, options, n):
    """Buffers that are longer than the batch, and full of another one, change nothing."""
    tight, loose = (small_model(ops, rows=rows, **options) for rows in (n, 23))
    loose.step(*batch(23, seed=5))
    for net in NETS:
        loose.nets[net].arena.params[...] = tight.nets[net].arena.params
    x, x_noisy = batch(n)
    for net in NETS:
        expected = engine_gradient(net, tight, x, x_noisy)
        for block, values in engine_gradient(net, loose, x, x_noisy).items():
            assert_same_bits(values, expected[block], block)
    for model in (tight, loose):
        model.loss.reset()
        model.loss.measure(x)
    assert tight.loss.values(n) == loose.loss.values(n)


class TestLayouts:
    """An array's strides and dtype are the caller's business, its values the engine's."""

    def layouts(self, x):
        wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
        wide[::2, 1::3] = x
        back = np.ascontiguousarray(x[::-1, ::-1])
        return {
            "Fortran": np.asfortranarray(x),
            "strided": wide[::2, 1::3],
            "reversed": back[::-1, ::-1],
            "transposed": np.ascontiguousarray(x.T).T,
            "broadcast": x,
        }

    @pytest.mark.parametrize("layout", ["Fortran", "strided", "reversed", "transposed"])
    @pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
    def test_odd_strides(self, ops, layout, dtype, tolerance):
        model = small_model(ops, dtype=dtype, **DEMO)
        x, x_noisy = batch(5, dtype=dtype)
        expected = {net: engine_gradient(net, model, x, x_noisy) for net in NETS}
        H = model.encode(x)
        odd, odd_noisy = self.layouts(x)[layout], self.layouts(x_noisy)[layout]
        assert not odd.flags.c_contiguous
        for net in NETS:
            for block, values in engine_gradient(net, model, odd, odd_noisy).items():
                assert_close(values, expected[net][block], tolerance, block)
        assert_close(model.encode(odd), H, tolerance)

    @pytest.mark.parametrize("other", ["float64", "float16", "int64", "uint8", "bool"])
    def test_other_dtypes(self, ops, other):
        """Values that both dtypes hold exactly give the same result."""
        model = small_model(ops, dtype="float32", **DEMO)
        x = np.random.default_rng(0).integers(0, 2, (5, 13)).astype("float32")
        expected = {net: engine_gradient(net, model, x, x) for net in NETS}
        H = model.encode(x)
        strange = x.astype(other)
        for net in NETS:
            for block, values in engine_gradient(net, model, strange, strange).items():
                assert values.dtype == "float32"
                assert_close(values, expected[net][block], ORACLE32, block)
        assert_same_bits(model.encode(strange), H)

    def test_complex_numbers_are_refused(self, ops):
        model = small_model(ops, **PAPER)
        x, x_noisy = batch(5)
        with pytest.raises(TypeError, match="complex128"):
            model.step(x + 0j, x_noisy)

    @pytest.mark.parametrize("shape", [(5, 14), (13,), (0, 13), (7, 13)])
    def test_other_shapes(self, ops, shape):
        model = small_model(ops, rows=6, **PAPER)
        x, x_noisy = batch(5)
        wrong = np.zeros(shape)
        with pytest.raises(DataError, match=r"Dense 1 13->7 \(relu\): x has shape"):
            model.step(wrong, x_noisy)
        with pytest.raises(DataError, match=r"Dense 1 13->7 \(relu\): x has shape"):
            model.step(x, wrong)


# -- no allocation ----------------------------------------------------------------------------


def peak_of_a_step(model, x, x_noisy):
    """Return the largest number of bytes that a step holds beyond what there was before it."""
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        model.step(x, x_noisy)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.enable()


WIDE = {"widths": (300, 200), "rank": 100, "dtype": "float32"}
"""With 400 features: the smallest activation of 256 samples has 102,400 bytes."""


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_warm_step_allocates_nothing(ops, options):
    model = configure(**WIDE, nonnegative="both", **options).make_model(400, ops, rows=256)
    arenas = [network.arena for network in model.nets.values()]
    x, x_noisy = batch(256, 400, dtype="float32")
    rules = {
        "gd": GradientDescent(arenas, 1e-3),
        "momentum": Momentum(arenas, 1e-3, 0.9),
        "adam": Adam(arenas, 1e-3),
    }
    model.step(x, x_noisy)
    for name, model.optimizer in rules.items():
        model.optimizer.step()  # compiles Numba's loop
        assert peak_of_a_step(model, x, x_noisy) < WARM_STEP_BYTES, name
    # The short last batch of an epoch is no exception.
    assert peak_of_a_step(model, x[:200], x_noisy[:200]) < WARM_STEP_BYTES


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_allocates(ops, activation):
    config = small_config(
        activation=activation, output_activation=activation, base_activation=activation,
        recovery_activation=activation, **WIDE, **DEMO,
    )  # fmt: skip
    model = config.make_model(400, ops, rows=256)
    draw_biases(model)
    x, x_noisy = batch(256, 400, dtype="float32")
    model.step(x, x_noisy)
    assert peak_of_a_step(model, x, x_noisy) < WARM_STEP_BYTES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gather_allocates_nothing(ops, dtype):
    x, _ = batch(512, 300, dtype=dtype)
    out, index = np.empty((256, 300), dtype), np.arange(256)

    class Gather:
        @staticmethod
        def step(x, out):
            ops.gather(x, index, out=out)

    assert peak_of_a_step(Gather, x, out) < WARM_STEP_BYTES


def test_the_peak_is_seen():
    """The test of the test: one forgotten ``out=`` is found."""

    class Model:
        @staticmethod
        def step(x, x_noisy):
            np.multiply(x, x_noisy).sum()

    x, x_noisy = batch(128, 784, dtype="float32")
    assert peak_of_a_step(Model, x, x_noisy) >= x.nbytes


def test_a_layer_is_part_of_one_network():
    """A second network would take its weights away from under the first."""
    layer = Dense(5, 3)
    Network([layer])
    with pytest.raises(UsageError, match=r"Dense 1 5->3 .* has memory already"):
        Network([layer])
    Network([layer.unbound()])


def test_a_direct_gradient_for_no_layer_is_refused():
    network = Network([Dense(5, 3)], rows=2, dtype="float64")
    network.forward(np.ones((2, 5)))
    for number in (0, 7):
        with pytest.raises(UsageError, match=rf"gradients name layers \[{number}\] of 1 to 1"):
            network.backward({number: [(np.ones((2, 3)), 1.0)]})
