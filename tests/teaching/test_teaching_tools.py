"""What the notebooks lean on: classical NMF, planted bugs, difference quotients, displays."""

import numpy as np
import pytest
from sklearn.decomposition import non_negative_factorization

from ddnmf_np import gradcheck
from ddnmf_np.backends.ops import Ops
from ddnmf_np.config import configure
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import DataError
from ddnmf_np.teaching import bugs, images, nmf
from ddnmf_np.teaching.differences import Slope
from ddnmf_np.teaching.display import image_rows, matrices, source_text


@pytest.fixture(scope="module")
def digits():
    return images(120, "digits").x.astype("float64")


# -- NMF ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_multiplicative_steps_are_those_of_scikit_learn(digits):
    x = digits + 0.01  # scikit-learn treats zeros in a way of its own
    H, W = nmf.start(x, 5, seed=0)
    theirs, parts, _ = non_negative_factorization(
        x, H.copy(), np.ascontiguousarray(W.T), n_components=5,
        init="custom", solver="mu", max_iter=20, tol=0,
    )  # fmt: skip
    for _ in range(20):
        H, W = nmf.multiplicative_step(x, H, W)
    np.testing.assert_allclose(H, theirs, rtol=1e-6)
    np.testing.assert_allclose(W.T, parts, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_never_climb_and_black_pixels_do_no_harm(digits, dtype):
    x = digits.astype(dtype)
    assert (x == 0).all(axis=0).any(), "a pixel that is black in every image"
    H, W = nmf.start(x, 7, seed=1)
    losses = []
    for _ in range(60):
        losses.append(float(((x - H @ W.T) ** 2).sum()))
        H, W = nmf.multiplicative_step(x, H, W)
    assert (np.diff(losses) <= 1e-6 * losses[0]).all()
    assert losses[-1] < 0.5 * losses[0]
    assert H.dtype == W.dtype == dtype
    assert min(H.min(), W.min()) >= 0
    assert np.isfinite(H).all()
    assert np.isfinite(W).all()


# -- planted bugs -------------------------------------------------------------------------------


@pytest.mark.parametrize("check", bugs.CHECKS)
def test_no_check_complains_of_the_right_layer(check, digits):
    assert bugs.CHECKS[check](Dense, digits[:16])


@pytest.mark.parametrize("bug", [name for name in bugs.BUGS if name != "no bug"])
def test_gradcheck_complains_of_every_bug(bug, digits):
    assert not bugs.passes_gradcheck(bugs.BUGS[bug], digits[:16])


def test_gradcheck_complains_of_a_loss_that_leaks(monkeypatch):
    config = configure(objective="paper", widths=(7, 5), rank=3, threads=1)
    assert gradcheck(config.make_model(9), verbose=False).ok
    monkeypatch.setattr("ddnmf_np.model.InterpretabilityLoss", bugs.LeakyLoss)
    report = gradcheck(config.make_model(9), verbose=False)
    wrong = {(result.problem, result.verdict) for result in report.results}
    assert wrong == {("supervisor", "wrong"), ("student", "ok")}


@pytest.mark.parametrize(
    ("check", "bug"),
    [
        ("all-ones signal", "signal forgotten"),
        ("absolute tolerance", "direct gradients forgotten"),
        ("all-ones direction", "rows of dW reversed"),
    ],
)
def test_each_popular_check_misses_what_the_notebook_says(check, bug, digits):
    assert bugs.CHECKS[check](bugs.BUGS[bug], digits[:16])


def test_popular_checks_are_no_straw_men(digits):
    """Each of them sees the plainest bug."""
    for name, passes in bugs.CHECKS.items():
        assert not passes(bugs.ForgetsSlope, digits[:16]), name


# -- difference quotients -------------------------------------------------------------------------


def slope_of(activation, digits):
    layers = [Dense(64, 9, activation), Dense(9, 64, activation)]
    network = Network(layers, rows=20, dtype="float64")
    glorot(layers, 0, 0)
    return Slope(network, digits[:20])


def test_the_error_is_a_v_whose_bottom_is_deep_in_float64_and_high_in_float32(digits):
    slope = slope_of("tanh", digits)
    large, best, small = slope.errors([1e-1, 1e-5, 1e-12])
    assert best < 1e-8
    assert large > 1e3 * best
    assert small > 1e3 * best
    assert slope.errors(10.0 ** np.arange(-8, 0), dtype="float32").min() > 1e-6
    one_sided = slope.errors([1e-5], kind="forward")[0]
    assert one_sided > 10 * best


def test_a_kink_shows_as_a_unit_that_changes_sides(digits):
    slope = slope_of("relu", digits)
    assert slope.crossings(1e-9) == 0
    assert slope.crossings(1e-1) > 0
    assert slope_of("tanh", digits).crossings(1e-1) == 0


# -- displays -----------------------------------------------------------------------------------


def test_a_source_is_shown_with_its_name_and_file_and_without_its_docstring():
    text = source_text(Ops.sum_rows)
    assert text.startswith("`Ops.sum_rows` in `ddnmf_np/backends/ops.py`:\n\n```python\n")
    assert "self.xp.sum(delta, axis=0, out=out)" in text
    assert '"""' not in text
    assert "class DirectGradient" not in source_text(Dense)


def test_rows_of_images_have_an_image_for_each_entry(digits):
    figure = image_rows({"a": digits[:3], "b": digits[3:6]}, (8, 8), titles="xyz")
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes[:3]] == ["x", "y", "z"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["a", "b"]
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), digits[4].reshape(8, 8))
    with pytest.raises(DataError, match="give each row the same number"):
        image_rows({"a": digits[:3], "b": digits[:2]}, (8, 8))


def test_signed_images_are_white_at_zero(digits):
    values = digits[:2] - 0.3
    image = image_rows({"a": values}, (8, 8), signed=True).axes[0].images[0]
    assert image.norm(0.0) == pytest.approx(0.5)
    assert image.norm.vmax == pytest.approx(np.abs(values).max())


def test_matrices_have_titles_labels_and_bars():
    figure = matrices({"p": np.eye(3), "q": -np.eye(2)}, xlabel="unit", ylabel="image", signed=True)
    figure.draw_without_rendering()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["p", "q"]
    assert figure._supxlabel.get_text() == "unit"
    assert len(figure.axes) == 4  # two of them are colour bars
