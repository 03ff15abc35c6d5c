"""Auto-encoders of section 4.2: shapes, gradients, and training with the model's trainer."""

import numpy as np
import pytest

from ddnmf_np import gradcheck
from ddnmf_np.backends.ops import DirectGradient
from ddnmf_np.config import configure
from ddnmf_np.engine.problems import Problem, leave_kinks, relu_sides
from ddnmf_np.errors import DivergedError
from ddnmf_np.experiments.autoencoder import Autoencoder, ReconstructionLoss
from ddnmf_np.experiments.baselines import unpack
from ddnmf_np.experiments.networks import NETWORKS, make_config, make_network

SMALL = {"widths": (11, 7), "rank": 3, "batch_size": 10}


def build(model, n_features=13, **options):
    config = make_config(model, SMALL | {"fast": "off"} | options)
    ae = make_network(model, config, n_features)
    ae.config = config  # for the tests alone
    return ae


class Checked:
    """An auto-encoder in float64 with the interface of the gradient checker."""

    def __init__(self, ae):
        self.ae = ae

    def gradient_problems(self, x=None, x_noisy=None, seed=0, observed=None):
        rng = np.random.default_rng(seed)
        clean = rng.uniform(size=(5, self.ae.n_features))
        noisy = clean * (rng.uniform(size=clean.shape) >= 0.1)
        stack, loss = self.ae.stack, self.ae.loss
        leave_kinks(stack, rng)

        def gradient():
            stack.forward(noisy)
            stack.backward(loss.direct_gradients(clean))

        def value():
            return float(((stack.forward(noisy) - clean) ** 2).sum() / (5 * loss.divisor))

        arena = stack.arena
        blocks = {name: (arena.param(name), arena.grad(name)) for name in arena.shapes}
        return [Problem("ae", self.ae.ops, blocks, value, gradient, lambda: relu_sides(stack))]


AUTOENCODERS = [name for name, network in NETWORKS.items() if network.kind == "autoencoder"]


def test_packed_weights_make_the_same_network():
    """What continues from an auto-encoder reads its weights from a file, without the gaps."""
    first, second = build("ae2", seed=1), build("ae2", seed=2)
    arenas = [ae.stack.arena for ae in (first, second)]
    for layer in first.stack.layers:
        layer.b[...] = np.arange(len(layer.b))
    unpack(arenas[1], arenas[0].packed(arenas[0].params))
    np.testing.assert_array_equal(arenas[1].params, arenas[0].params)


def test_shapes_are_those_of_the_paper_page():
    paper = {"widths": (500, 500, 2000), "rank": 10, "batch_size": 128}
    ae1, ae2 = (build(name, 784, **paper) for name in ("ae1", "ae2"))
    student = configure().make_model(784).student
    assert ae1.stack.widths == student.widths == [784, 500, 500, 2000, 10, 2000, 500, 500, 784]
    assert ae2.stack.widths == [784, 500, 500, 2000, 500, 500, 784]
    assert all(layer.activation == "relu" for ae in (ae1, ae2) for layer in ae.stack.layers)
    assert all(layer.bias for ae in (ae1, ae2) for layer in ae.stack.layers)
    assert ae1.encode(np.zeros((3, 784), "float32")).shape == (3, 10)
    assert ae2.encode(np.zeros((3, 784), "float32")).shape == (3, 2000)


def test_linear_code_is_the_only_layer_that_is_not_relu():
    names = [layer.activation for layer in build("ae-linear").stack.layers]
    assert names == ["relu", "relu", "identity", "relu", "relu", "relu"]


def test_activations_are_mirrored_as_in_the_model():
    options = {"activation": ("tanh", "softplus"), "output_activation": "sigmoid"}
    ae = build("ae1", **options, recovery_activation="softplus")
    student = configure(**SMALL, **options, recovery_activation="softplus").make_model(13).student
    ours = [layer.activation for layer in ae.stack.layers]
    theirs = [layer.activation for layer in student.layers]
    theirs[2] = "relu"  # the code, a sigmoid in the student
    assert ours == theirs


@pytest.mark.parametrize("name", AUTOENCODERS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_pass_the_checker(name, reduction):
    ae = build(name, reduction=reduction, dtype="float64")
    report = gradcheck(Checked(ae), verbose=False)
    assert report.ok, report
    assert len(report.results) == 2 * build(name).stack.depth


def test_checker_sees_a_wrong_factor(monkeypatch):
    """A wrong derivative must fail, or the checks above prove nothing."""

    def halved(self, x, measure=False):
        return {self.stack.depth: [DirectGradient(x, 1.0 / (x.shape[0] * self.divisor))]}

    monkeypatch.setattr(ReconstructionLoss, "direct_gradients", halved)
    assert not gradcheck(Checked(build("ae1", dtype="float64")), verbose=False).ok


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_trainer_lowers_the_loss_it_reports(name):
    x = np.random.default_rng(0).random((60, 13)).astype("float32")
    # These samples are no images to be moved, and a schedule would end before it has learned.
    still = dict.fromkeys(("noise_shift", "noise_rotation", "noise_zoom", "noise_shear"), 0.0)
    still["lr_schedule"] = "constant"
    ae = build(name, **still)
    trainer = ae.config.make_trainer(ae, x)
    before = np.mean((ae.reconstruct(x) - x) ** 2)
    trainer.train(40)
    losses = [record["loss_rec"] for record in trainer.history]
    assert losses[-1] < 0.9 * losses[0]
    if name != "ae1-denoising":  # whose loss is of noisy inputs
        after = np.mean((ae.reconstruct(x) - x) ** 2)
        assert after < before
        assert after == pytest.approx(losses[-1], rel=0.1)


def test_noise_is_in_the_input_and_not_in_the_target(monkeypatch):
    x = np.random.default_rng(0).random((20, 13)).astype("float32") + 0.1
    seen = []
    monkeypatch.setattr(Autoencoder, "iterate", lambda _, *both: seen.append(np.stack(both)))
    ae = build("ae1-denoising", noise_rate=0.5)
    ae.config.make_trainer(ae, x).train(1)
    assert len(seen) == 2
    for clean, noisy in seen:
        assert (clean > 0).all()
        assert 0.2 < (noisy == 0).mean() < 0.8


def test_same_seed_same_network_and_another_seed_another():
    one, two, other = (build("ae1", seed=seed).stack.arena.params for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_divergence_is_named():
    x = np.random.default_rng(0).random((20, 13)).astype("float32")
    ae = build("ae1", optimizer="gd", lr=1e30)
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="layer"):
        ae.config.make_trainer(ae, x).train(3)


def test_optimizer_is_the_configured_one():
    assert type(build("ae1", optimizer="gd").optimizer).__name__ == "GradientDescent"
    assert type(build("ae1", optimizer="momentum").optimizer).__name__ == "Momentum"
    assert type(build("ae1").optimizer).__name__ == "Adam"
