"""What goes in comes out: data frames, masked arrays, arrays of other libraries by DLPack."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_iris
from tolerances import assert_same_bits

from ddnmf_np import DDNMF
from ddnmf_np.errors import DataError

X = load_iris().data
METHODS = ("transform", "denoise", "impute", "inverse_transform", "predict")


@pytest.fixture(scope="module")
def fitted():
    return DDNMF(2, missing="nan", max_iter=2, random_state=0).fit(X)


def given(estimator, name):
    """Return what a method takes."""
    return estimator.transform(X) if name == "inverse_transform" else X


# -- data frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["denoise", "impute", "inverse_transform"])
def test_data_of_all_features_come_back_as_frames(name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"), index=range(7, 157))
    estimator = DDNMF(2, missing="nan", max_iter=1, random_state=0).fit(frame)
    codes = pandas.DataFrame(estimator.transform(frame), index=frame.index)
    use, given = getattr(estimator, name), codes if name == "inverse_transform" else frame
    plain = use(given)
    assert isinstance(plain, np.ndarray)
    estimator.set_output(transform="pandas")
    found = use(given)
    assert list(found.columns) == list("abcd")
    assert list(found.index) == list(range(7, 157))
    assert_same_bits(found.to_numpy(), plain)
    estimator.set_output(transform="default")
    assert isinstance(use(given), np.ndarray)


def test_features_without_names_are_numbered(fitted):
    pytest.importorskip("pandas")
    with config_context(transform_output="pandas"):
        assert list(fitted.denoise(X).columns) == ["x0", "x1", "x2", "x3"]
        assert list(fitted.transform(X).columns) == ["ddnmf0", "ddnmf1"]
    assert isinstance(fitted.denoise(X), np.ndarray)


def test_polars_too(fitted, monkeypatch):
    polars = SimpleNamespace(DataFrame=lambda data, schema, orient: (data, schema, orient))
    monkeypatch.setattr("ddnmf_np.estimator.fitted.import_module", lambda name: polars)
    with config_context(transform_output="polars"):
        data, schema, orient = fitted.denoise(X)
    assert (schema, orient) == (["x0", "x1", "x2", "x3"], "row")
    assert_same_bits(data, fitted.denoise(X))


# -- masked arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["transform", "denoise", "impute", "predict", "score"])
def test_masked_entries_are_missing_everywhere(fitted, name):
    hidden = np.random.default_rng(0).uniform(size=X.shape) < 0.2
    masked = np.ma.array(X, mask=hidden)
    holes = np.where(hidden, np.nan, X)
    one, two = (getattr(fitted, name)(x) for x in (masked, holes))
    np.testing.assert_array_equal(one, two)


# -- arrays of other libraries --------------------------------------------------------------------


def strict():
    return pytest.importorskip("array_api_strict").asarray, np.asarray


class Tensor:
    """An array like PyTorch's: its module, and not the array, knows how to take one over."""

    def __init__(self, data):
        self.data = data

    def __dlpack__(self, **options):
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()

    def __array__(self, dtype=None, copy=None):
        return self.data


def from_dlpack(data):
    return Tensor(data)


def lookalike():
    return Tensor, np.asarray


def torch():
    library = pytest.importorskip("torch", reason="PyTorch is not installed")
    return library.tensor, lambda tensor: tensor.numpy()


LIBRARIES = [strict, lookalike, torch]


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_come_back_in_their_library(library):
    make, back = library()
    dtype = "float64" if library is strict else "float32"
    x = X.astype(dtype)
    array = make(x)
    estimator = DDNMF(2, missing="nan", max_iter=2, random_state=0).fit(array)
    plain = DDNMF(2, missing="nan", max_iter=2, random_state=0).fit(x)
    assert type(estimator.components_) is type(array)
    assert_same_bits(back(estimator.components_), plain.components_)
    for name in METHODS:
        expected = getattr(plain, name)(given(plain, name).astype(dtype))
        found = getattr(estimator, name)(make(given(plain, name).astype(dtype)))
        assert type(found) is type(array), name
        assert_same_bits(back(found), expected, name)
    assert estimator.score(array) == plain.score(x)
    found = DDNMF(2, missing="nan", max_iter=2, random_state=0).fit_transform(array)
    assert type(found) is type(array)
    assert_same_bits(back(estimator.fit_predict(array)), plain.predict(x))
    estimator.partial_fit(array)
    assert_same_bits(np.asarray(array), x)  # only read


@pytest.mark.parametrize("library", [strict, lookalike])
def test_arrays_of_other_libraries_are_checked(fitted, library):
    make, _ = library()
    with pytest.raises(DataError, match="Negative values"):
        fitted.transform(make(-X))
    with pytest.raises(ValueError, match="X has 3 features"):
        fitted.transform(make(np.array(X[:, :3])))
    with pytest.raises(DataError, match=r"H has shape \(4, 3\)"):
        fitted.inverse_transform(make(np.ones((4, 3))))


class Elsewhere:
    """An array that cannot be shared: on a device that nobody here knows, or part of a graph."""

    def __init__(self, device):
        self.device = device

    def __dlpack__(self, **_):
        raise BufferError("it requires a gradient")

    def __dlpack_device__(self):
        return (self.device, 0)


@pytest.mark.parametrize(("device", "why"), [(1, "it requires a gradient"), (10, "kind 10")])
def test_an_array_that_cannot_be_shared_is_named(fitted, device, why):
    text = rf"is a Elsewhere that cannot be shared \(.*{why}\); .*\.detach\(\)\.cpu\(\)"
    for use in (fitted.transform, fitted.fit, fitted.inverse_transform):
        with pytest.raises(DataError, match=f"[XH] {text}"):
            use(Elsewhere(device))


def test_scikit_learn_s_checks_of_the_array_api():
    """SciPy must be told before it is imported, so they run in an interpreter of their own."""
    pytest.importorskip("array_api_strict")
    pytest.importorskip("sklearn.externals.array_api_compat")  # as of scikit-learn 1.8
    code = """
import warnings
from sklearn.utils.estimator_checks import check_array_api_input
from ddnmf_np import DDNMF
warnings.simplefilter("ignore")
estimator = DDNMF(3, widths=(8, 5), max_iter=2)
for namespace, strict in (("numpy", False), ("array_api_strict", True)):
    check_array_api_input("DDNMF", estimator, namespace, dtype_name="float64", check_values=strict,
                          expect_only_array_outputs=strict)
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
