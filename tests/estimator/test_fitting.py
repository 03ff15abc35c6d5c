"""How a fit is watched, ended and gone on with: callbacks, Ctrl-C, ``warm_start``."""

import signal
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from tolerances import assert_same_bits

from ddnmf_np import DDNMF, Descent, Objective
from ddnmf_np.errors import UsageError
from ddnmf_np.training import Trainer

X = load_iris().data
PLAIN = {"objective": "paper", "widths": (9, 5), "batch_size": 30, "random_state": 0}
AUTO = {"n_components": 2, "random_state": 0}


# -- callbacks ------------------------------------------------------------------------------------


def test_callbacks_see_each_epoch():
    records, trainers = [], set()

    def callback(trainer):
        records.append(trainer.history[-1])
        trainers.add(trainer)
        return False

    estimator = DDNMF(2, max_iter=4, **PLAIN).fit(X, callbacks=[callback, lambda trainer: None])
    assert records == estimator.loss_history_
    (trainer,) = trainers
    assert trainer.model is estimator.model_


@pytest.mark.parametrize("options", [PLAIN, AUTO], ids=["plain", "auto"])
def test_a_callback_may_end_training(options, recwarn):
    options = {"n_components": 2, "max_iter": 9, **options}
    estimator = DDNMF(**options).fit(X, callbacks=lambda trainer: trainer.position.epoch == 3)
    assert estimator.n_iter_ == len(estimator.loss_history_) == 3
    assert not [w for w in recwarn if "interrupted" in str(w.message)]
    if options["random_state"] == 0 and "objective" not in options:
        best = min(record["fvu"] for record in estimator.loss_history_)
        assert estimator.reconstruction_err_ == pytest.approx(best, rel=1e-9)


def test_a_callback_may_answer_with_numpy_s_truth():
    answers = [np.False_, np.True_]
    estimator = DDNMF(2, max_iter=9, **PLAIN).fit(X, callbacks=lambda trainer: answers.pop(0))
    assert estimator.n_iter_ == 2


def test_callbacks_change_nothing():
    seen = []
    one = DDNMF(2, max_iter=3, **PLAIN)
    H = one.fit_transform(X, callbacks=[seen.append])
    assert len(seen) == 3
    assert_same_bits(H, DDNMF(2, max_iter=3, **PLAIN).fit_transform(X))
    one.fit_predict(X, callbacks=[seen.append])
    make_pipeline(clone(one)).fit(X, ddnmf__callbacks=[seen.append])
    assert len(seen) == 9


def test_callbacks_that_cannot_be_called():
    with pytest.raises(UsageError, match="callbacks has 3, which cannot be called"):
        DDNMF(2, **PLAIN).fit(X, callbacks=[3])


def test_a_callback_that_fails_leaves_no_fit():
    estimator = DDNMF(2, **PLAIN)
    with pytest.raises(ZeroDivisionError):
        estimator.fit(X, callbacks=[lambda trainer: 1 / 0])
    assert not hasattr(estimator, "model_")


# -- Ctrl-C ---------------------------------------------------------------------------------------


def interrupt(epoch, times=1):
    """Return a callback that presses Ctrl-C after an epoch."""

    def callback(trainer):
        if trainer.position.epoch == epoch:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return [callback]


@pytest.fixture(autouse=True)
def usual_handler():
    """Ctrl-C raises KeyboardInterrupt, whatever runs the tests; and does so afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_keeps_the_weights():
    estimator = DDNMF(2, max_iter=9, **PLAIN)
    text = "interrupted after 4 of 9 epochs and keeps its weights; set_params.*warm_start=True.*fit"
    with pytest.warns(ConvergenceWarning, match=text):
        estimator.fit(X, callbacks=interrupt(4))
    expected = DDNMF(2, max_iter=4, **PLAIN).fit(X)
    assert_same_bits(estimator.transform(X), expected.transform(X))
    assert (estimator.n_iter_, estimator.reconstruction_err_) == (4, expected.reconstruction_err_)
    assert estimator.predict(X).shape == (150,)


def test_ctrl_c_keeps_the_best_weights():
    estimator = DDNMF(max_iter=60, lr=0.1, **AUTO)
    with pytest.warns(ConvergenceWarning, match="interrupted after 50 of 60"):
        estimator.fit(X, callbacks=interrupt(50))
    seen = [record["fvu"] for record in estimator.loss_history_ if "fvu" in record]
    assert min(seen) < seen[-1]
    assert estimator.reconstruction_err_ == pytest.approx(min(seen), rel=1e-9)


def test_a_second_ctrl_c_interrupts():
    estimator = DDNMF(2, max_iter=9, **PLAIN).fit(X)
    before = estimator.transform(X)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, callbacks=interrupt(4, times=2))
    assert_same_bits(estimator.transform(X), before)
    fresh = DDNMF(2, max_iter=9, **PLAIN)
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X, callbacks=interrupt(4, times=2))
    with pytest.raises(NotFittedError):
        fresh.transform(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_ctrl_c_before_the_first_epoch_ends_is_an_interrupt(monkeypatch, method):
    step = Trainer.step

    def press(self, index):
        step(self, index)
        if self.position.batch == 1:
            signal.raise_signal(signal.SIGINT)

    estimator = DDNMF(2, max_iter=2, **PLAIN).fit(X)
    before = estimator.transform(X)
    monkeypatch.setattr(Trainer, "step", press)
    with pytest.raises(KeyboardInterrupt):
        getattr(estimator, method)(X)
    assert_same_bits(estimator.transform(X), before)


def test_ctrl_c_after_the_last_step_comes_too_late(recwarn):
    estimator = DDNMF(2, max_iter=3, **PLAIN).fit(X, callbacks=interrupt(3))
    assert estimator.n_iter_ == 3
    assert not [w for w in recwarn if "interrupted" in str(w.message)]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("late", ["_parts", "_codes_of"])
def test_ctrl_c_after_training_keeps_what_was_learned(monkeypatch, recwarn, late, method):
    work = getattr(DDNMF, late)
    expected = getattr(DDNMF(2, max_iter=2, **PLAIN), method)(X)
    pressed = []

    def press(*given):
        if not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return work(*given[-1:]) if late == "_parts" else work(*given)

    monkeypatch.setattr(DDNMF, late, press)
    estimator = getattr(DDNMF(2, max_iter=2, **PLAIN), method)(X)
    assert pressed
    assert weights(estimator) == weights(expected)
    assert_same_bits(estimator.predict(X), expected.predict(X))
    assert not [w for w in recwarn if "interrupted" in str(w.message)]


def test_two_ctrl_c_after_training_leave_the_weights_of_before(monkeypatch):
    estimator = DDNMF(2, max_iter=2, **PLAIN).fit(X)
    before = weights(estimator)

    def press(*given):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(DDNMF, "_codes_of", press)
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(X)
    assert weights(estimator) == before


def test_an_application_s_own_handler_stays(monkeypatch):
    pressed = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        assert DDNMF(2, max_iter=3, **PLAIN).fit(X, callbacks=interrupt(2)).n_iter_ == 3
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert pressed == [signal.SIGINT]


def test_a_fit_in_a_thread_listens_to_nothing():
    fitted = []
    thread = threading.Thread(target=lambda: fitted.append(DDNMF(2, max_iter=2, **PLAIN).fit(X)))
    thread.start()
    thread.join()
    assert fitted[0].n_iter_ == 2


# -- warm_start -----------------------------------------------------------------------------------


def weights(estimator):
    return {k: v.tobytes() for k, v in estimator.model_.state().items() if ":" not in k}


def test_warm_start_begins_with_the_fitted_weights():
    estimator = DDNMF(2, max_iter=4, **PLAIN).fit(X)
    before = weights(estimator)
    estimator.set_params(warm_start=True, max_iter=0).fit(X)
    assert weights(estimator) == before
    assert estimator.n_iter_ == len(estimator.loss_history_) == 4
    estimator.set_params(max_iter=3).fit(X)
    assert [record["epoch"] for record in estimator.loss_history_] == [1, 2, 3, 4, 5, 6, 7]
    assert estimator.model_.optimizer.t == 3 * 5  # begun again
    assert weights(estimator) != before


def test_warm_start_makes_the_fit_better():
    estimator = DDNMF(max_iter=10, warm_start=True, **AUTO).fit(X)
    first = estimator.reconstruction_err_
    assert estimator.fit(X).reconstruction_err_ < first


def test_the_first_fit_is_cold():
    cold = DDNMF(max_iter=3, **AUTO).fit(X)
    warm = DDNMF(max_iter=3, warm_start=True, **AUTO).fit(X)
    assert_same_bits(warm.transform(X), cold.transform(X))
    assert_same_bits(cold.fit(X).transform(X), warm.transform(X))  # and without it, each


def test_a_schedule_spans_the_new_epochs():
    options = {**PLAIN, "optimizer": Descent(lr_schedule="cosine")}
    estimator = DDNMF(2, max_iter=3, warm_start=True, **options).fit(X)
    rates = []
    estimator.fit(X, callbacks=lambda trainer: rates.append(trainer.model.optimizer.lr))
    lr = Descent().lr
    # Last step of each of three epochs of five steps.
    expected = [lr * (1 + np.cos(np.pi * (5 * k + 4) / 15)) / 2 for k in range(3)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_what_the_data_decided_at_first_stays():
    x = load_wine().data
    estimator = DDNMF(max_iter=3, warm_start=True, **AUTO).fit(x[:90])
    scaling, config = estimator.model_.scaling, estimator.config_
    estimator.fit(x[90:] * 2)
    assert estimator.model_.scaling is scaling
    assert estimator.config_ == config
    assert estimator.n_samples_seen_ == 88


def test_other_options_may_change():
    estimator = DDNMF(2, max_iter=2, **PLAIN).fit(X)
    estimator.set_params(warm_start=True, objective=Objective("paper", beta_ap=0.5), noise="none")
    estimator.set_params(batch_size=50, lr=1e-4).fit(X)
    assert (estimator.config_["beta_ap"], estimator.config_["lr"]) == (0.5, 1e-4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_components": 3}, "n_components is 3, but the fitted networks have 2"),
        ({"widths": (9, 6)}, r"widths is \(9, 6\), but the fitted networks have \(9, 5\)"),
        ({"activation": "tanh"}, "activation is"),
        ({"objective": "demo"}, "base_bias is True, but the fitted networks have False"),
        ({"missing": "nan"}, "missing is 'nan', but the fitted networks have 'error'"),
    ],
)
def test_the_shape_of_the_networks_may_not_change(change, text):
    estimator = DDNMF(2, max_iter=2, **PLAIN).fit(X)
    before = weights(estimator)
    estimator.set_params(warm_start=True, **change)
    with pytest.raises(UsageError, match=f"{text}.*warm_start trains them on; put it back"):
        estimator.fit(X)
    assert weights(estimator) == before
    with pytest.raises(ValueError, match="X has 3 features, but DDNMF is expecting 4"):
        estimator.fit(X[:, :3])


def test_a_failed_warm_fit_changes_nothing():
    estimator = DDNMF(2, max_iter=2, warm_start=True, **PLAIN).fit(X)
    before = weights(estimator)
    with pytest.raises(ZeroDivisionError):
        estimator.fit(X, callbacks=[lambda trainer: 1 / 0])
    assert (weights(estimator), estimator.n_iter_) == (before, 2)


def test_an_error_of_other_weights_is_not_kept():
    estimator = DDNMF(max_iter=3, **AUTO).fit(X)
    assert estimator.reconstruction_err_ > 0.0
    estimator.partial_fit(X)
    assert not hasattr(estimator, "reconstruction_err_")
    assert estimator.fit(X).reconstruction_err_ > 0.0
