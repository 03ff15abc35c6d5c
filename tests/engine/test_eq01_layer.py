"""Equation 1: ``h(l) = f(W(l) h(l-1) + b(l))``, forward and layer by layer backward."""

import numpy as np
import pytest
from engine_cases import NETS, partial_derivatives, small_config
from literal_cases import literal_chain, literal_layer
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close, assert_same_bits

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.engine import literal
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import DataError, UsageError

pytestmark = pytest.mark.equation(1)


def mixed_layers():
    return [
        Dense(13, 7, "relu"),
        Dense(7, 11, "tanh", bias=False),
        Dense(11, 5, "softplus"),
        Dense(5, 3, "sigmoid", bias=False),
        Dense(3, 2, "identity"),
    ]


def make_network(layers, dtype="float64", ops=None, seed=0):
    network = Network(layers, rows=6, dtype=dtype, ops=ops)
    rng = np.random.default_rng(seed)
    network.arena.params[...] = rng.uniform(-0.8, 0.8, network.arena.size)
    return network


def draw(n, width, seed=1, dtype="float64"):
    x = np.random.default_rng(seed).uniform(-1.0, 1.0, (n, width)).astype(dtype)
    x.flags.writeable = False
    return x


def test_worked_by_hand():
    network = Network([Dense(2, 3, "relu"), Dense(3, 1, "identity")], rows=2, dtype="float64")
    below, above = network.layers
    below.W[...] = [[1.0, 2.0], [-3.0, 0.5], [0.25, -1.0]]
    below.b[...] = [0.5, -1.0, 2.0]
    above.W[...] = [[2.0, 5.0, -4.0]]
    above.b[...] = [0.125]
    y = network.forward(np.array([[1.0, 2.0], [-2.0, 4.0]]))
    np.testing.assert_array_equal(network.h[1], [[5.5, 0.0, 0.25], [6.5, 7.0, 0.0]])
    np.testing.assert_array_equal(y, [[10.125], [48.125]])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_is_the_paper_s_columns(ops, activation, bias):
    network = make_network([Dense(7, 11, activation, bias=bias)], ops=ops)
    x = draw(5, 7)
    expected = [literal_chain(network).forward(sample)[-1] for sample in x]
    assert_close(network.forward(x), expected, ORACLE64)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
def test_every_layer_of_a_network(ops, dtype, tolerance):
    network = make_network(mixed_layers(), dtype, ops)
    x = draw(6, 13, dtype=dtype)
    y = network.forward(x)
    samples = [literal_chain(network).forward(sample) for sample in x]
    assert len(network.h) == 6
    assert network.h[0] is x
    assert y is network.h[-1]
    for number, h in enumerate(network.h):
        assert h.dtype == dtype
        assert_close(h, [s[number] for s in samples], tolerance, f"h[{number}]")


def test_a_part_of_the_network():
    network = make_network(mixed_layers())
    network.forward(draw(4, 13))
    whole = [h.copy() for h in network.h]
    for start in range(5):
        for stop in range(start + 1, 6):
            assert_same_bits(network.apply(whole[start], start, stop), whole[stop])
    assert_same_bits(network.apply(whole[2], start=2), whole[5])


def test_apply_has_the_bits_of_forward_and_changes_nothing(ops):
    network, x = make_network(mixed_layers(), ops=ops), draw(6, 13)
    y, seen = network.forward(x).copy(), list(network.h)
    before = [h.copy() for h in seen]
    other = network.apply(draw(9, 13, seed=2))  # more than there is room for
    assert other.shape == (9, 2)
    assert all(now is then for now, then in zip(network.h, seen, strict=True))
    for layer, h, then in zip(network.layers, seen[1:], before[1:], strict=True):
        assert_same_bits(h, then, repr(layer))
        assert layer.x is not None
        assert layer.x.shape[0] == 6
    found = network.apply(x)
    assert_same_bits(found, y)
    assert not np.shares_memory(found, network.layers[-1].h)
    assert_same_bits(network.layers[0].apply(x), before[1])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_a_layer(activation, bias):
    """The whole Jacobian, a row at a time: columns, batch and finite differences agree."""
    layer = Dense(5, 3, activation, bias=bias)
    layer.allocate(seed=3)
    layer.W *= 2.0
    if bias:
        layer.b[...] = [0.3, -0.2, 0.1]
    x = draw(1, 5, seed=4).copy()
    column, sample = literal_layer(layer), x[0]
    assert np.abs(column.pre_activation(sample)).min() > 1e-2, "the draw is too near a kink"
    for unit in range(3):
        g = np.eye(3)[unit]
        layer.forward(x)
        dx = layer.backward(g[None])

        (dW, *db), g_below = column.backward(sample, g)
        assert_close(layer.dW, dW, ORACLE64, "outer product")
        assert_close(layer.dW, literal.tensor_gradient(column, sample, g), ORACLE64, "tensor")
        assert_close(dx[0], g_below, ORACLE64, "dx")

        def output(unit=unit):
            return float(layer.forward(x)[0, unit])

        assert_close(layer.dW, partial_derivatives(output, layer.W), DIFFERENCE64, "dW")
        assert_close(dx, partial_derivatives(output, x), DIFFERENCE64, "dx")
        if bias:
            assert_close(layer.db, db[0], ORACLE64, "db")
            assert_close(layer.db, partial_derivatives(output, layer.b), DIFFERENCE64, "db")
        else:
            assert not db
            assert layer.b is None
            assert layer.db is None


def test_gradients_of_a_batch_are_sums_over_samples():
    layer = Dense(7, 5, "tanh")
    x, g = draw(6, 7), draw(6, 5, seed=2)

    def gradients(samples):
        layer.forward(x[samples])
        layer.backward(g[samples])
        return layer.dW.copy(), layer.db.copy()

    dW, db = gradients(list(range(6)))
    alone = [gradients([k]) for k in range(6)]
    assert_close(dW, sum(one[0] for one in alone), ORACLE64)
    assert_close(db, sum(one[1] for one in alone), ORACLE64)


def test_names_shapes_and_labels():
    network = Network(
        [Dense(4, 3), Dense(3, 2, bias=False, label="_rec"), Dense(2, 5)], rows=1, dtype="float32"
    )
    assert network.arena.shapes == {
        "W1": (3, 4), "b1": (3,), "W_rec": (2, 3), "W3": (5, 2), "b3": (5,),
    }  # fmt: skip
    assert network.widths == [4, 3, 2, 5]
    assert network.depth == 3
    assert repr(network.layers[0]) == "Dense 1 4->3 (relu)"
    assert repr(network.layers[1]) == "Dense _rec 3->2 (relu, no bias)"
    assert repr(Dense(4, 3)) == "Dense 4->3 (relu)"


class TestOutsideANetwork:
    """A layer by itself takes memory at first use."""

    def test_the_readme_s_line(self):
        assert Dense(4, 3).forward(np.ones((2, 4))).shape == (2, 3)

    def test_defaults(self):
        layer = Dense(4, 3)
        y = layer.forward(draw(2, 4))
        dx = layer.backward(np.ones((2, 3)))
        assert {a.dtype for a in (y, dx, layer.W, layer.dW, layer.db)} == {np.dtype("float64")}
        assert dx.shape == (2, 4)
        other = Network([Dense(4, 3)], dtype="float64")
        glorot(other.layers, 0, 0)
        assert_same_bits(layer.W, other.layers[0].W)

    def test_it_computes_what_it_computes_in_a_network(self, ops):
        layer = Dense(7, 5, "tanh")
        layer.allocate("float32", ops, seed=4)
        network = Network([Dense(7, 5, "tanh")], rows=6, ops=ops)
        glorot(network.layers, 4, 0)
        x, g = draw(6, 7, dtype="float32"), draw(6, 5, seed=2, dtype="float32")
        assert_same_bits(layer.forward(x), network.forward(x))
        dx, expected = layer.backward(g), np.empty_like(x)
        # c (h - ref) with c = -1 and h - ref = -g up to rounding: what a network takes as g.
        network.layers[0].dx = expected
        network.layers[0].backward(g)
        assert_same_bits(dx, expected)
        assert_same_bits(layer.dW, network.layers[0].dW)
        assert_same_bits(layer.db, network.layers[0].db)

    def test_it_makes_room_for_larger_batches_and_keeps_its_weights(self):
        layer, x = Dense(4, 3), draw(9, 4)
        first = layer.forward(x[:2]).copy()
        assert_same_bits(layer.forward(x)[:2], layer.forward(x[:2]))
        assert_close(layer.forward(x)[:2], first, ORACLE64)
        assert layer.backward(np.ones((9, 3))).shape == (9, 4)

    def test_the_caller_s_gradient_is_read_not_changed(self):
        layer, g = Dense(4, 3, "sigmoid"), draw(2, 3)  # read-only
        layer.forward(draw(2, 4))
        first = layer.backward(g).copy()
        assert_same_bits(layer.backward(g), first)

    def test_refusals(self):
        layer = Dense(4, 3)
        with pytest.raises(UsageError, match=r"backward comes after forward"):
            layer.backward(np.ones((2, 3)))
        with pytest.raises(DataError, match=r"x has shape \(2, 5\); expected \(n, 4\) with n >= 1"):
            layer.forward(np.ones((2, 5)))
        layer.forward(np.ones((2, 4)))
        with pytest.raises(DataError, match=r"g has shape \(3,\); expected \(2, 3\)"):
            layer.backward(np.ones(3))

    def test_two_layers_make_a_chain_by_hand(self):
        """What a network does for its layers: the gradient goes down from hand to hand."""
        below, above = Dense(7, 5, "tanh"), Dense(5, 3, "sigmoid")
        x, g = draw(6, 7), draw(6, 3, seed=2)
        above.forward(below.forward(x))
        dx = below.backward(above.backward(g))
        columns = [literal_layer(below), literal_layer(above)]
        for sample, one, actual in zip(x, g, dx, strict=True):
            h = literal.Chain(columns).forward(sample)
            _, middle = columns[1].backward(h[1], one)
            assert_close(actual, columns[0].backward(sample, middle)[1], ORACLE64)


class TestGlorot:
    def test_bounds_and_moments(self):
        network = Network([Dense(300, 500), Dense(500, 200)], rows=1, dtype="float64")
        network.arena.params.fill(np.nan)
        glorot(network.layers, seed=3, stream=1)
        for layer in network.layers:
            a = (6.0 / (layer.fan_in + layer.fan_out)) ** 0.5
            n = layer.W.size
            assert 0.999 * a < layer.W.max() < a
            assert -a < layer.W.min() < -0.999 * a
            # The mean of n numbers from U(-a, a) has standard deviation a / sqrt(3 n).
            assert abs(layer.W.mean()) < 5 * a / (3 * n) ** 0.5
            assert abs(layer.W.var() / (a**2 / 3) - 1) < 5 * (4 / 5 / n) ** 0.5
            assert not layer.b.any()

    def test_the_numbers_are_a_function_of_seed_and_stream(self):
        """A seed's weights are a promise: NumPy's generator, layer after layer."""
        network = Network([Dense(7, 5), Dense(5, 3)], rows=1, dtype="float64")
        glorot(network.layers, seed=3, stream=1)
        rng = np.random.default_rng([3, 1])
        for layer in network.layers:
            a = (6.0 / (layer.fan_in + layer.fan_out)) ** 0.5
            assert_same_bits(layer.W, rng.uniform(-a, a, (layer.fan_out, layer.fan_in)))

    def test_each_network_of_a_model_has_a_stream(self):
        model = small_config(seed=5).make_model(13)
        for stream, net in enumerate(NETS):
            arena, network = model.nets[net].arena, model.nets[net].copy(rows=1, dtype="float64")
            network.arena.params.fill(np.nan)
            glorot(network.layers, seed=5, stream=stream)
            for name in arena.shapes:
                assert_same_bits(arena.param(name), network.arena.param(name), name)

    def test_the_same_numbers_in_every_precision(self):
        networks = {d: Network([Dense(7, 5), Dense(5, 3)], rows=1, dtype=d)
                  for d in ("float32", "float64")}  # fmt: skip
        for network in networks.values():
            glorot(network.layers, seed=3, stream=0)
        wide = networks["float64"].arena.params.astype("float32")
        assert_same_bits(networks["float32"].arena.params, wide)

    def test_seeds_and_streams_differ(self):
        draws = []
        for seed, stream in [(0, 0), (0, 1), (1, 0), (0, 0)]:
            network = Network([Dense(7, 5)], rows=1)
            glorot(network.layers, seed, stream)
            draws.append(network.arena.params.tobytes())
        assert draws[0] == draws[3]
        assert len(set(draws)) == 3


class TestRefusals:
    @pytest.mark.parametrize(
        "shape", [(5, 8), (5,), (0, 7), (7, 5), (1, 5, 7)], ids=lambda s: "x".join(map(str, s))
    )
    def test_input_of_another_shape(self, shape):
        network = Network([Dense(7, 3)], rows=6)
        with pytest.raises(DataError) as error:
            network.forward(np.zeros(shape, "float32"))
        text = str(error.value)
        assert text.startswith("Dense 1 7->3 (relu): x has shape ")
        assert str(shape) in text
        assert "expected (n, 7) with 1 <= n <= 6" in text

    @pytest.mark.parametrize("shape", [(5, 8), (5,), (0, 7), (1, 5, 7)])
    def test_apply_of_another_shape(self, shape):
        network = Network([Dense(7, 3)], rows=6)
        with pytest.raises(DataError, match=r"expected \(n, 7\) with n >= 1"):
            network.apply(np.zeros(shape, "float32"))

    def test_apply_of_a_layer_without_weights(self):
        with pytest.raises(UsageError, match=r"Dense 7->3 .*has no weights yet; call allocate"):
            Dense(7, 3).apply(np.zeros((1, 7)))

    def test_more_rows_than_there_is_room_for(self):
        with pytest.raises(DataError, match=r"\(7, 7\); expected \(n, 7\) with 1 <= n <= 6"):
            Network([Dense(7, 3)], rows=6).forward(np.zeros((7, 7), "float32"))

    @pytest.mark.parametrize("width", [0, -1, 2.5, "3", None])
    def test_width(self, width):
        with pytest.raises(UsageError, match=r"fan_in is .*; expected a whole number >= 1"):
            Dense(width, 3)
        with pytest.raises(UsageError, match=r"fan_out is .*; expected a whole number >= 1"):
            Dense(3, width)

    def test_activation(self):
        with pytest.raises(UsageError, match="'selu'; choose one of identity, relu, sigmoid"):
            Dense(3, 2, "selu")

    def test_layers_that_do_not_fit(self):
        with pytest.raises(UsageError, match="layer 2 gives 5 features but layer 3 takes 4"):
            Network([Dense(3, 2), Dense(2, 5), Dense(4, 3)])

    def test_no_layers_and_no_rows(self):
        with pytest.raises(UsageError, match="layers is empty"):
            Network([])
        with pytest.raises(UsageError, match="rows is 0"):
            Network([Dense(3, 2)], rows=0)

    def test_two_layers_of_one_name(self):
        with pytest.raises(UsageError, match="two layers are labelled '1'"):
            Network([Dense(3, 2), Dense(2, 3, label="1")])
