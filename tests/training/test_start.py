"""The start of the NMF module from data (equation 3) against what it promises, and against PCA."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from training_cases import assert_same_state, make_trainer, snapshot

from ddnmf_np.config import configure
from ddnmf_np.data.components import blocks_from_code, principal_rows
from ddnmf_np.engine.descent import Descent
from ddnmf_np.estimator import DDNMF
from ddnmf_np.training import Trainer

SPREAD = 1.5


def make_model(**options):
    defaults = {"widths": (12, 9), "rank": 4, "dtype": "float64", "seed": 3}
    return configure(**(defaults | options)).make_model(15)


def samples(n=300, width=15, seed=0):
    return np.random.default_rng(seed).random((n, width)) ** 2


def pre_activations(model, x):
    """Return ``z`` of the base layer, as a formula of its blocks."""
    z = model.code(x) @ model.student.arena.param("W_base").T
    if "b_base" in model.student.arena.shapes:
        z = z + model.student.arena.param("b_base")
    return z


@pytest.mark.parametrize("objective", ["paper", "demo"])
@pytest.mark.parametrize("base", ["sigmoid", "tanh", "identity"])
def test_base_is_centred_scaled_and_uncorrelated(objective, base):
    model, x = make_model(objective=objective, base_activation=base), samples()
    model.start_from_code(model.code(x), SPREAD)
    z = pre_activations(model, x)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(z.T @ z / len(z), SPREAD**2 * np.eye(4), atol=1e-9)
    H = {"sigmoid": 1 / (1 + np.exp(-z)), "tanh": np.tanh(z), "identity": z}[base]
    np.testing.assert_allclose(model.encode(x), H, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_recovery_is_the_least_squares_solution(objective):
    model, x = make_model(objective=objective), samples()
    model.start_from_code(model.code(x), SPREAD)
    code, H = model.code(x), model.encode(x)
    W_rec = model.student.arena.param("W_rec")
    # The normal equations: what is left over is orthogonal to every base unit.
    np.testing.assert_allclose(H.T @ (code - H @ W_rec.T), 0.0, atol=1e-9)


def test_encoder_decoder_and_supervisor_keep_their_weights():
    model = make_model(objective="demo")
    before = snapshot(model)
    model.start_from_code(model.code(samples()), SPREAD)
    changed = {name for name, block in model.state().items() if (block != before[name]).any()}
    assert changed == {"student.W_base", "student.b_base", "student.W_rec"}


def test_components_are_those_of_pca():
    x = samples(width=6) * [5, 1, 3, 2, 4, 0.5]
    rows = principal_rows(x - x.mean(axis=0), 3)
    pca = PCA(3).fit(x)
    sigma = np.sqrt(pca.explained_variance_ * (len(x) - 1) / len(x))
    signs = np.sign((rows * pca.components_).sum(axis=1))
    np.testing.assert_allclose(rows * signs[:, None], pca.components_ / sigma[:, None], rtol=1e-9)
    assert (rows[np.arange(3), np.abs(rows).argmax(axis=1)] > 0).all()


def test_components_do_not_depend_on_the_unit_of_the_code():
    """A direction counts as without spread beside the others, not by itself."""
    centred = samples(width=6) - samples(width=6).mean(axis=0)
    rows = principal_rows(centred, 3)
    np.testing.assert_allclose(1e-6 * principal_rows(1e-6 * centred, 3), rows, rtol=1e-9)


def test_a_base_with_bias_takes_the_components_as_they_are():
    """Only a base without bias must avoid the mean of the code."""
    code = samples(width=6)
    expected = SPREAD * principal_rows(code - code.mean(axis=0), 3)
    for bias in (True, False):
        blocks = blocks_from_code(
            code, np.zeros((3, 6)), bias=bias, activation="sigmoid", spread=SPREAD
        )
        assert np.allclose(blocks["W_base"], expected, rtol=1e-9) == bias


def test_units_without_a_component_keep_their_weights():
    model = make_model(objective="demo", rank=6)
    two = samples()[np.arange(300) % 3]  # three different samples span two directions
    before = model.student.arena.param("W_base").copy()
    model.start_from_code(model.code(two), SPREAD)
    after = model.student.arena.param("W_base")
    assert (after[:2] != before[:2]).all()
    np.testing.assert_array_equal(after[2:], before[2:])
    assert np.isfinite(model.encode(two)).all()


def test_samples_that_are_all_alike_leave_the_base_as_it_was():
    model = make_model(objective="demo")
    before = model.student.arena.param("W_base").copy()
    model.start_from_code(model.code(np.zeros((40, 15))), SPREAD)
    np.testing.assert_array_equal(model.student.arena.param("W_base"), before)
    assert model.all_finite()


def test_projection_is_kept():
    model = make_model(objective="demo", nonnegative="both")
    model.start_from_code(model.code(samples()), SPREAD)
    for block in ("W_rec", "W_base"):
        assert (model.student.arena.param(block) >= 0).all()


def test_training_starts_from_data_only_at_its_first_step():
    trainer = make_trainer(nmf_start="pca", epochs=2)
    same = make_trainer(nmf_start="pca", epochs=2)
    plain = make_trainer(epochs=2)
    starts = []

    def watch(trainer):
        if (trainer.position.epoch, trainer.position.batch) == (0, 1):
            starts.append(snapshot(trainer.model))

    for one in (trainer, plain):
        one.train(2, on_step=watch)
    assert (starts[0]["student.W_base"] != starts[1]["student.W_base"]).any()
    same.train(1)
    same.train(2)
    assert_same_state(same.model, trainer.model)


def test_a_stopped_run_does_not_start_again():
    whole, parts = (make_trainer(nmf_start="pca", epochs=1) for _ in range(2))
    whole.train(1)

    def stop(trainer):
        trainer.stop_requested = True

    parts.train(1, on_step=stop)
    assert (parts.position.epoch, parts.position.batch) == (0, 1)
    parts.stop_requested = False
    parts.train(1)
    assert_same_state(parts.model, whole.model)


def test_estimator_goes_on_with_partial_fit():
    x = samples(60)
    one = DDNMF(
        3, widths=(8, 6), objective="stable", optimizer=Descent(), batch_size=20, random_state=0
    )
    one.partial_fit(x)
    before = one.model_.student.arena.param("W_base").copy()
    one.partial_fit(samples(60, seed=1))
    # A second start would have replaced the weights; three steps of Adam move them a little.
    assert np.abs(one.model_.student.arena.param("W_base") - before).max() < 0.01


def test_precision_is_the_models():
    trainer = make_trainer(nmf_start="pca", dtype="float32")
    assert isinstance(trainer, Trainer)
    trainer.model.start(trainer.x)
    assert trainer.model.student.arena.param("W_base").dtype == np.float32
