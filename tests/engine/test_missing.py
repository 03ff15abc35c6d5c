"""Missing entries: no influence on anything, and the gradient of what is left."""

import numpy as np
import pytest
from engine_cases import DEMO, FEATURES, NETS, PAPER, batch, small_config, small_model
from tolerances import assert_same_bits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.errors import DataError
from ddnmf_np.model import Model
from ddnmf_np.training import Trainer

STABLE = {"objective": "stable"}
OBJECTIVES = {"paper": PAPER, "demo": DEMO, "stable": STABLE}
HERE = {"plain": "off", "numba": "on"}


def mask(shape, seed=3, share=0.3):
    """Return a mask that hides that share of the entries."""
    return np.random.default_rng(seed).uniform(size=shape) >= share


def ops_of(fast):
    if fast == "on":
        pytest.importorskip("numba")
    return get_ops("numpy", fast=fast)


def gradients(model, x, x_noisy, observed):
    model.loss.allow_missing()
    model.loss.reset()
    model.forward(x, x_noisy)
    model.loss.measure(x, observed=observed)
    model.backward(x, observed)
    grads = {
        f"{net}.{name}": model.nets[net].arena.grad(name).copy()
        for net in NETS
        for name in model.nets[net].arena.shapes
    }
    return grads, model.loss.sums.copy()


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_gradients_with_30_percent_hidden_pass_the_checker(options):
    model = small_model(**options)
    x, x_noisy = batch(5)
    observed = mask(x.shape)
    report = gradcheck(model, x * observed, x_noisy, observed=observed, verbose=False)
    assert report.ok, str(report)


def test_the_checker_sees_a_gradient_that_forgets_the_mask(monkeypatch):
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    backward = Model.backward
    monkeypatch.setattr(Model, "backward", lambda self, x, observed=None: backward(self, x))
    report = gradcheck(model, x, x_noisy, observed=mask(x.shape), verbose=False)
    assert {r.problem for r in report.results if r.verdict != "ok"} == {"supervisor"}


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_losses_are_sums_over_what_is_observed(options):
    model = small_model(**options)
    x, x_noisy = batch(5)
    observed = mask(x.shape)
    _, sums = gradients(model, x * observed, x_noisy, observed)
    for term, total in zip(model.loss.terms, sums, strict=True):
        if term.b.net == "data":
            y = model.nets[term.a.net].h[term.a.layer]
            by_hand = sum(
                (y[i, j] - x[i, j]) ** 2
                for i in range(x.shape[0])
                for j in range(x.shape[1])
                if observed[i, j]
            )
            assert total == pytest.approx(by_hand, rel=1e-13)


@pytest.mark.parametrize("fast", HERE.values(), ids=HERE)
@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("hidden", [1e30, np.inf, np.nan, -7.0])
def test_a_target_that_is_hidden_has_no_influence(options, hidden, fast):
    model = small_model(ops_of(fast), **options)
    x, x_noisy = batch(5)
    observed = mask(x.shape)
    seen = x * observed
    one = gradients(model, seen, x_noisy, observed)
    # The networks' input stays: only what losses compare with differs.
    model.forward(seen, x_noisy)
    other = np.where(observed, x, hidden)
    model.loss.reset()
    with np.errstate(all="ignore"):
        model.loss.measure(other, observed=observed)
        model.backward(other, observed)
    for name, values in one[0].items():
        net, block = name.split(".")
        assert_same_bits(model.nets[net].arena.grad(block), values, name)
    assert_same_bits(model.loss.sums, one[1], "sums")


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_with_nothing_hidden_all_is_as_without_a_mask(options):
    model = small_model(**options)
    x, x_noisy = batch(5)
    one = gradients(model, x, x_noisy, None)
    two = gradients(model, x, x_noisy, np.ones(x.shape, bool))
    for name, values in one[0].items():
        assert_same_bits(two[0][name], values, name)
    assert_same_bits(two[1], one[1], "sums")


def trained(x, fast="off", **options):
    config = small_config(missing="nan", batch_size=8, epochs=3, **options)
    trainer = config.make_trainer(config.make_model(FEATURES, ops_of(fast)), x)
    trainer.train(3)
    return trainer


@pytest.mark.parametrize("fast", HERE.values(), ids=HERE)
@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_runs_on_the_same_known_entries_are_the_same_bits(options, fast):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 1.0, (21, FEATURES))
    observed = mask(x.shape)
    observed[np.unravel_index(x.argmax(), x.shape)] = True  # the unit of the noise is known
    others = np.where(observed, x, rng.uniform(5.0, 9.0, x.shape))
    one, two = (trained(np.where(observed, data, np.nan), fast, **options) for data in (x, others))
    for name, block in one.model.state().items():
        assert_same_bits(two.model.state()[name], block, name)
    for a, b in zip(one.history, two.history, strict=True):
        times = ("seconds", "samples_per_second")
        assert a.keys() == b.keys()
        assert all(a[name] == b[name] for name in a if name not in times)


def test_data_without_nan_train_to_the_same_bits_with_the_option_as_without():
    x = np.random.default_rng(0).uniform(0.0, 1.0, (21, FEATURES))
    with_option = trained(x)
    plain = Trainer(small_config(batch_size=8, epochs=3).make_model(FEATURES, ops_of("off")), x)
    plain.train(3)
    for name, block in plain.model.state().items():
        assert_same_bits(with_option.model.state()[name], block, name)


def test_what_the_networks_see_is_zero_where_data_are_missing():
    x = np.random.default_rng(0).uniform(0.0, 1.0, (21, FEATURES))
    x[~mask(x.shape)] = np.nan
    model = trained(x).model
    for use in (model.encode, model.denoise, model.supervise, model.code):
        assert_same_bits(use(x), use(np.nan_to_num(x)), use.__name__)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operations_say_what_the_formulas_say(ops, dtype):
    x = np.array([[0.0, np.nan, -0.0, np.inf], [1e-45, 3.0, np.nan, -np.inf]], dtype)
    here, observed = ops.to_device(x.copy()), ops.empty(x.shape, bool)
    ops.set_aside_missing(here, observed)
    np.testing.assert_array_equal(ops.to_host(observed), ~np.isnan(x))
    expected = x.copy()
    expected[np.isnan(x)] = 0.0
    assert_same_bits(ops.to_host(here), expected, "x")
    there, fill = ops.to_device(x.copy()), np.array([1.0, 2.0, 3.0, 4.0], dtype)
    ops.set_aside_missing(there, observed, ops.to_device(fill))
    assert_same_bits(ops.to_host(there), np.where(np.isnan(x), fill, x), "x, filled")
    h, out = ops.to_device(np.full(x.shape, 7.0, dtype)), ops.empty(x.shape, dtype)
    ops.observed_or(here, observed, h, out)
    np.testing.assert_array_equal(ops.to_host(out), np.where(np.isnan(x), 7.0, x))


@pytest.mark.parametrize("options", [PAPER, DEMO], ids=["paper", "demo"])
def test_memory_for_hidden_targets_is_taken_once_for_each_term_with_data(options):
    loss = small_model(**options).loss
    loss.allow_missing()
    taken = dict(loss._targets)
    assert taken.keys() == {term.a for term in loss.terms if term.b.net == "data"}
    loss.allow_missing()
    assert all(loss._targets[signal] is array for signal, array in taken.items())


def test_a_mask_that_does_not_fit_is_refused():
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    for bad in (np.ones((5, 2), bool), np.ones(x.shape)):
        with pytest.raises(DataError, match="observed has shape"):
            model.gradient_problems(x, x_noisy, observed=bad)
