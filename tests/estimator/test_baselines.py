"""What the mean, PCA and NMF leave unexplained, beside the estimator's own fraction."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn import decomposition
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import NMF, PCA

from ddnmf_np import DDNMF
from ddnmf_np.runs import yardsticks
from ddnmf_np.runs.preparation import prepare

X = load_digits().data[:400].astype("float32")


def made(**options):
    return DDNMF(5, max_iter=2, widths=(32, 16), random_state=0, **options)


def by_hand(train, test, rank=5):
    """The fractions in units in which all features are between 0 and 1."""
    low, span = train.min(axis=0), np.ptp(train, axis=0)
    train, test = ((x - low) / np.where(span, span, 1.0) for x in (train, test))
    deviation = ((test - train.mean(axis=0)) ** 2).sum()
    pca = PCA(rank, random_state=0).fit(train)
    nmf = NMF(rank, init="nndsvda", max_iter=200, random_state=0).fit(train)
    guesses = {"pca": pca.inverse_transform(pca.transform(test))}
    guesses["nmf"] = nmf.inverse_transform(nmf.transform(np.maximum(test, 0.0)))
    return {"mean": 1.0} | {k: ((g - test) ** 2).sum() / deviation for k, g in guesses.items()}


@pytest.fixture
def asked(monkeypatch):
    """The number of PCAs fitted so far, in a list."""
    count = []
    fit = PCA.fit
    monkeypatch.setattr(
        decomposition.PCA, "fit", lambda self, X, y=None: count.append(1) or fit(self, X)
    )
    return count


@pytest.mark.filterwarnings("ignore:Maximum number")  # of the other models
def test_they_are_those_of_scikit_learn_on_the_held_out_rows():
    x = load_wine().data
    estimator = made(verbose=False).fit(x)
    prepared = prepare(x, estimator._configure(x))
    expected = by_hand(prepared.some, prepared.held_out)
    found = estimator.baselines_
    noise = found.pop("noise")
    assert found == pytest.approx(expected, rel=1e-6)
    # Gaussian noise of standard deviation rate times the unit, on held-out rows.
    scaled = estimator.unexplained_.scaled(prepared.held_out)
    variance = np.mean((scaled - estimator.unexplained_.mean) ** 2)
    assert estimator.config_.noise.kind == "gaussian"
    assert noise == pytest.approx(estimator.config_.noise.rate**2 / variance, rel=0.15)
    assert estimator.config_.data.scale == "features"


def test_they_are_computed_once_and_only_if_asked(asked, capsys):
    estimator = made().fit(X)
    estimator.transform(X)
    assert not asked
    first = estimator.baselines_
    first["pca"] = 7.0  # the caller's own copy
    assert estimator.baselines_["pca"] < 1.0
    assert len(asked) == 1
    assert "PCA" not in capsys.readouterr().err


def test_a_verbose_fit_prints_them(asked, capsys):
    estimator = made(verbose=True).fit(X)
    said = capsys.readouterr().err.splitlines()
    assert len(asked) == 1
    found = estimator.baselines_
    assert (
        f"variance left unexplained: {estimator.reconstruction_err_:.3f} (the mean 1.000, "
        f"PCA {found['pca']:.3f}, NMF {found['nmf']:.3f})"
    ) in said
    assert len(asked) == 1


def test_copies_have_the_numbers_and_not_the_samples(tmp_path):
    estimator = made().fit(X)
    with pytest.raises(AttributeError, match="only after fit"):
        _ = pickle.loads(pickle.dumps(estimator)).baselines_
    estimator.save(tmp_path / "unasked.npz")
    assert not hasattr(DDNMF.load(tmp_path / "unasked.npz"), "baselines_")
    small = len(pickle.dumps(estimator))
    found = estimator.baselines_
    assert len(pickle.dumps(estimator)) < small + 1000
    assert pickle.loads(pickle.dumps(estimator)).baselines_ == found
    estimator.save(tmp_path / "model.npz")
    loaded = DDNMF.load(tmp_path / "model.npz")
    assert loaded.baselines_ == found
    loaded.save(tmp_path / "again.npz")
    assert DDNMF.load(tmp_path / "again.npz").baselines_ == found


def test_more_samples_of_partial_fit_end_them():
    estimator = made().fit(X)
    estimator.partial_fit(X)
    assert not hasattr(estimator, "baselines_")
    assert not hasattr(made().partial_fit(X), "baselines_")
    with pytest.raises(AttributeError):
        _ = made().baselines_


def test_missing_entries_leave_mean_and_noise_only():
    x = X.copy()
    x[3, 20] = np.nan
    assert set(made(missing="nan").fit(x).baselines_) == {"mean", "noise"}
    assert set(made(missing="nan").fit(X).baselines_) == {"mean", "noise", "pca", "nmf"}


def test_sparse_samples_are_measured_as_dense_ones():
    # Of a stream no rows are held out, so its fractions are of the training rows.
    found = made().fit(scipy.sparse.csr_matrix(X)).baselines_
    x = X.astype(np.float64) / X.max()
    pca = PCA(5, random_state=0).fit(x)
    left = ((pca.inverse_transform(pca.transform(x)) - x) ** 2).sum()
    assert found["pca"] == pytest.approx(left / ((x - x.mean(axis=0)) ** 2).sum(), rel=1e-5)


def test_arrays_of_other_libraries():
    strict = pytest.importorskip("array_api_strict")
    found = made().fit(strict.asarray(X)).baselines_
    assert found == made().fit(X).baselines_
    assert all(type(value) is float for value in found.values())


def test_few_samples_are_evenly_spaced(monkeypatch):
    monkeypatch.setattr(yardsticks, "MOST_SAMPLES", 3)
    x = np.arange(20.0).reshape(10, 2)
    assert yardsticks.few(x)[:, 0].tolist() == [0.0, 8.0, 18.0]
    monkeypatch.setattr(yardsticks, "MOST_BYTES", 40)
    assert yardsticks.few(x)[:, 0].tolist() == [0.0, 18.0]


def test_samples_without_variance():
    with pytest.warns():
        assert made().fit(np.full((40, 3), 2.0)).baselines_ == {"mean": 1.0}
