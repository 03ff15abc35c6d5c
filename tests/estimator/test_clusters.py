"""Clusters of the codes: ``predict``, ``fit_predict`` and ``labels_``."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_clusterer
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from tolerances import assert_same_bits

from ddnmf_np import DDNMF
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation import code_clusters
from ddnmf_np.evaluation.clustering import cluster

X, Y = load_iris(return_X_y=True)
FAST = {"max_iter": 20, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return DDNMF(3, **FAST).fit(X)


def test_clusters_are_the_command_line_s_mixture_on_the_codes(fitted):
    expected = cluster(fitted.transform(X), 3, method="gmm-spherical", seed=0).labels
    np.testing.assert_array_equal(fitted.labels_, expected)
    np.testing.assert_array_equal(fitted.predict(X), expected)
    assert fitted.labels_.dtype == np.int64
    assert adjusted_rand_score(Y, fitted.labels_) > 0.5


def test_fit_predict_is_fit_then_predict(fitted):
    assert_same_bits(DDNMF(3, **FAST).fit_predict(X), fitted.predict(X))
    assert_same_bits(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_other_samples_have_the_clusters_of_the_training_codes(fitted):
    some = fitted.predict(X[::7])
    assert_same_bits(some, fitted.predict(X)[::7])
    assert_same_bits(fitted.predict(X[:1]), fitted.predict(X)[:1])


def test_the_number_of_clusters_may_change_after_the_fit(fitted):
    twin = pickle.loads(pickle.dumps(fitted)).set_params(n_clusters=2)
    assert set(twin.labels_.tolist()) == set(twin.predict(X).tolist()) == {0, 1}
    assert_same_bits(twin.set_params(n_clusters=None).predict(X), fitted.predict(X))
    assert clone(twin.set_params(n_clusters=5)).n_clusters == 5


def test_fit_does_not_pay_for_clusters(monkeypatch):
    monkeypatch.setattr(code_clusters, "cluster", lambda *_, **__: 1 / 0)
    estimator = DDNMF(3, max_iter=1, random_state=0).fit(X)
    with pytest.raises(ZeroDivisionError):
        estimator.predict(X)


def test_before_fit_there_are_no_clusters():
    assert not hasattr(DDNMF(), "labels_")
    with pytest.raises(NotFittedError):
        DDNMF().predict(X)
    assert not is_clusterer(DDNMF())  # above all it is a transformer


def test_clusters_follow_partial_fit(fitted):
    estimator = pickle.loads(pickle.dumps(fitted)).partial_fit(X[:60])
    codes = estimator.transform(X[:60])
    expected = cluster(codes, 3, method="gmm-spherical", seed=0).labels
    np.testing.assert_array_equal(estimator.labels_, expected)


def test_many_codes_are_thinned_out(monkeypatch, fitted):
    monkeypatch.setattr(code_clusters, "MOST_CODES", 50)
    estimator = pickle.loads(pickle.dumps(fitted)).set_params(n_clusters=2)
    assert len(estimator._clusters.some()) == 50
    assert estimator.labels_.shape == (150,)
    assert_same_bits(estimator.labels_, estimator.predict(X))


def test_of_a_stream_the_clusters_of_some_samples_are_found(tmp_path):
    np.save(tmp_path / "x.npy", X)
    estimator = DDNMF(3, max_iter=2, random_state=0)
    found = estimator.fit_predict(stream(tmp_path / "x.npy"))
    assert_same_bits(found, estimator.predict(X))
    assert not hasattr(estimator, "labels_")


@pytest.mark.parametrize("n_clusters", [0, 2.5, "three", True])
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_n_clusters_that_cannot_be_used(fitted, n_clusters, method):
    estimator = pickle.loads(pickle.dumps(fitted)).set_params(n_clusters=n_clusters)
    with pytest.raises(UsageError, match=rf"n_clusters is {n_clusters!r}; .*whole number"):
        getattr(estimator, method)(X)


def test_more_clusters_than_samples(fitted):
    estimator = pickle.loads(pickle.dumps(fitted)).set_params(n_clusters=151)
    with pytest.raises(DataError, match="H has 150 samples, fewer than n_clusters = 151"):
        estimator.predict(X)
