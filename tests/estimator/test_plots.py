"""Public pictures: of an estimator or arrays, on axes that are given or by pyplot."""

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, load_iris, load_wine

from ddnmf_np import DDNMF, plots
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation import figures
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.evaluation.metrics import assign_clusters

matplotlib.use("agg")
DIGITS, DIGIT = (a[:60] for a in load_digits(return_X_y=True))
IRIS, KIND = load_iris(return_X_y=True)
FAST = {"max_iter": 2, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return DDNMF(6, **FAST).fit(DIGITS)


@pytest.fixture(scope="module")
def iris():
    return DDNMF(2, **FAST).fit(IRIS)


@pytest.fixture(autouse=True)
def closed():
    """No figure of pyplot is left open."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield
    pyplot.close("all")


def pixels(figure):
    return figures.png(figure)


CALLS = {
    "parts": lambda e, x, y, **o: plots.plot_parts(e, x, **o),
    "losses": lambda e, x, y, **o: plots.plot_losses(e, **o),
    "reconstructions": lambda e, x, y, **o: plots.plot_reconstructions(e, x, n=4, **o),
    "embedding": lambda e, x, y, **o: plots.plot_embedding(e, x, method="pca", **o),
    "clusters": lambda e, x, y, **o: plots.plot_clusters(e, x, y, **o),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("data", ["digits", "iris"])
def test_each_draws_on_the_axes_it_is_given(name, data, request):
    estimator = request.getfixturevalue(data)
    x, y = {"digits": (DIGITS, DIGIT), "iris": (IRIS, KIND)}[data]
    figure = Figure(figsize=(9, 4))
    other, ax = figure.subplots(1, 2)
    assert CALLS[name](estimator, x, y, ax=ax, title="a $ title") is ax
    assert ax.get_title() == r"a \$ title"
    assert ax.has_data() or ax.child_axes
    assert not other.has_data()
    pyplot = sys.modules["matplotlib.pyplot"]
    assert not pyplot.get_fignums()
    own = CALLS[name](estimator, x, y, title="a title")
    assert pyplot.gcf() is own.figure  # which show() shows


def test_pictures_are_those_of_a_run(digits):
    H = digits.transform(DIGITS)
    assert pixels(plots.plot_parts(digits, DIGITS).figure) == pixels(
        figures.plot_parts(digits.components_, (8, 8), dead=dead_units(H))
    )
    assert pixels(plots.plot_clusters(digits, y=DIGIT).figure) == pixels(
        figures.plot_cluster_matrix(assign_clusters(DIGIT, digits.labels_), "")
    )
    model = digits.model_
    assert pixels(plots.plot_reconstructions(digits, DIGITS, DIGITS / 2).figure) == pixels(
        figures.plot_reconstructions(
            DIGITS, DIGITS / 2, model.denoise(DIGITS / 2), model.supervise(DIGITS), (8, 8)
        )
    )


def test_arrays_are_as_good_as_an_estimator(digits):
    parts = plots.plot_parts(digits.components_, image_shape=(8, 8)).figure
    assert pixels(parts) == pixels(plots.plot_parts(digits).figure)
    assert plots.plot_losses(digits.loss_history_).lines
    axes = plots.plot_reconstructions(digits.denoise(DIGITS), DIGITS, n=3)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clean", "student"]
    H = digits.transform(DIGITS)
    points = plots.plot_embedding(H, labels=DIGIT, method="pca", max_samples=20)
    assert sum(len(dots.get_offsets()) for dots in points.collections) == 20
    plots.plot_clusters(digits.labels_, y=DIGIT)


def test_shape_of_images(digits, iris):
    assert plots.plot_parts(iris).get_xlabel() == "feature"
    assert plots.plot_parts(digits, image_shape=None).get_xlabel() == "feature"
    assert plots.plot_parts(digits, image_shape=(4, 16)).get_xlabel() == ""
    with pytest.raises(DataError, match=r"image_shape is \(4, 4\) for 64 features"):
        plots.plot_parts(digits, image_shape=(4, 4))
    with pytest.raises(UsageError, match="image_shape is 'square'; give"):
        plots.plot_parts(digits, image_shape="square")


def test_features_of_different_units_are_drawn_in_shares_of_their_range():
    x = load_wine().data
    estimator = DDNMF(2, **FAST).fit(x)
    (image,) = plots.plot_parts(estimator).images
    scaling = estimator.model_.scaling
    shares = (estimator.components_ - scaling.low) / scaling.span
    np.testing.assert_allclose(image.get_array(), shares, rtol=1e-6)
    (raw,) = plots.plot_parts(estimator.components_).images
    np.testing.assert_allclose(raw.get_array(), estimator.components_)
    panel = plots.plot_reconstructions(estimator, x, n=2)
    assert panel.get_ylim()[1] < 2.0


def test_features_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IRIS, columns=["petal", "sepal $", "c", "d"])
    estimator = DDNMF(2, **FAST).fit(frame)
    labels = plots.plot_parts(estimator, frame).get_xticklabels()
    assert [label.get_text() for label in labels] == ["petal", r"sepal \$", "c", "d"]
    plots.plot_reconstructions(estimator, frame)
    plots.plot_embedding(estimator, frame, KIND, method="pca")
    squares = pandas.DataFrame(DIGITS, columns=[f"c{k}" for k in range(64)])
    named = DDNMF(2, **FAST).fit(squares)  # named features are no pixels
    assert plots.plot_parts(named).get_xlabel() == "feature"


def test_a_model_without_its_supervisor_is_drawn_without_it(digits, tmp_path):
    digits.save(tmp_path / "model.npz")
    loaded = DDNMF.load(tmp_path / "model.npz")
    for estimator, more in ((digits, ["supervisor"]), (loaded, [])):
        axes = plots.plot_reconstructions(estimator, DIGITS, n=3)
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert rows == ["clean", "student", *more]


def test_what_is_missing_is_said(digits):
    with pytest.raises(UsageError, match="X is missing; give the samples"):
        plots.plot_embedding(digits)
    with pytest.raises(UsageError, match="y is missing; give the class of each"):
        plots.plot_clusters(digits, DIGITS)
    with pytest.raises(UsageError, match="X goes with an estimator, and this is an array"):
        plots.plot_parts(digits.components_, DIGITS)
    with pytest.raises(DataError, match="labels has 3 entries for 60 points"):
        plots.plot_embedding(digits, DIGITS, [1, 2, 3], method="pca")


def test_missing_entries_stay_blank():
    holes = np.where(np.random.default_rng(0).uniform(size=DIGITS.shape) < 0.2, np.nan, DIGITS)
    estimator = DDNMF(2, missing="nan", **FAST).fit(holes)
    axes = plots.plot_reconstructions(estimator, holes, n=2)
    assert np.isnan(axes.images[0].get_array().filled(np.nan)).any()
