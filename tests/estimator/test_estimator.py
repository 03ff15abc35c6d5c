"""DDNMF as a scikit-learn transformer: the same model as the command line's, in its clothes."""

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from tolerances import ORACLE64, assert_close, assert_same_bits

from ddnmf_np import DDNMF
from ddnmf_np import config as config_module
from ddnmf_np.config import DECIDED_BY, PRESETS, configure
from ddnmf_np.data.noise import Corruption, Noise
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import DataError, DDNMFError, DivergedError, OutputError, UsageError
from ddnmf_np.model import Model
from ddnmf_np.training import Trainer

OPTIONS = {
    "n_components": 3,
    "widths": (11, 7),
    "max_iter": 3,
    "batch_size": 10,
    "random_state": 5,
    "objective": "paper",  # which does as it is told; `test_auto.py` is about the default
}
PLAIN = [name for name in PRESETS if name not in DECIDED_BY]
"""Presets that hold out and scale nothing; `test_auto.py` is about the other."""
TIMES = ("seconds", "samples_per_second")


def samples(n=45, width=13, seed=0, dtype="float64"):
    return np.random.default_rng(seed).random((n, width)).astype(dtype)


def make(**options):
    """Return an estimator; options that are not its parameters go into its objects."""
    given = OPTIONS | options
    inner = {k: v for k, v in given.items() if k not in DDNMF._get_param_names()}
    if inner:
        same = {k: given[k] for k in ("objective", "optimizer", "lr") if k in given}
        config = configure(**inner, **same)
    for name in inner:
        part = config_module.OPTIONS[name].part
        given[part] = getattr(config, part)
    return DDNMF(**{k: v for k, v in given.items() if k not in inner})


def assert_same_model(one, other):
    """Fail unless two estimators have the same weights and optimizer slots, bit by bit."""
    a, b = one.model_.state(), other.model_.state()
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert not different, f"these differ: {', '.join(different)}"
    assert losses(one) == losses(other)


def losses(estimator):
    return [{k: v for k, v in r.items() if k not in TIMES} for r in estimator.loss_history_]


# -- one model, two faces ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "demo", "noise_redraw": True, "noise_kind": "gaussian", "noise_rate": 0.2},
        {"optimizer": "momentum", "lr": 0.01, "beta_ap": 0.5, "reduction": "mean"},
        {"activation": ("tanh", "relu"), "output_activation": "sigmoid", "nonnegative": "both"},
        {"noise_shift": 1.0, "noise_zoom": 0.1, "image_shape": (13, 1), "lr_schedule": "cosine"},
        *({"objective": name, "image_shape": (1, 13)} for name in PLAIN),
    ],
    ids=["plain", "demo", "momentum", "activations", "motion", *PLAIN],
)
def test_estimator_is_the_command_line_s_trainer(options, dtype):
    x = samples(dtype=dtype)
    estimator = make(**options, fast="off").fit(x)
    config = configure(
        rank=3, widths=(11, 7), epochs=3, batch_size=10, seed=5, dtype=dtype, **options
    )
    trainer = config.make_trainer(config.make_model(13), x)
    trainer.train(3)
    expected, found = trainer.model.state(), estimator.model_.state()
    assert found.keys() == expected.keys()
    for name, block in expected.items():
        assert_same_bits(found[name], block, name)
    assert losses(estimator) == [
        {k: v for k, v in r.items() if k not in TIMES} for r in trainer.history
    ]


def test_defaults_are_the_command_line_s():
    x = samples()
    for preset in PLAIN:
        found = DDNMF(objective=preset, random_state=0)._configure(x)
        assert found == configure(objective=preset, dtype="float64")


def test_a_name_is_the_preset_s_object():
    x = samples()
    for name in PLAIN:
        by_name = DDNMF(objective=name, random_state=0)._configure(x)
        assert by_name == DDNMF(objective=Objective(name), random_state=0)._configure(x)


def test_objects_replace_their_parts():
    x, parts = samples(), {}
    parts["objective"] = Objective("demo", beta_ap=0.5)
    parts["noise"] = Noise("gaussian", 0.2, redraw=True)
    parts["optimizer"] = Descent("momentum", momentum=0.5, lr=0.25)
    found = DDNMF(**parts, random_state=0)._configure(x)
    assert {name: getattr(found, name) for name in parts} == parts
    slower = DDNMF(**parts, lr=0.125, random_state=0)._configure(x)
    assert slower == replace(found, optimizer=replace(parts["optimizer"], lr=0.125))
    moved = DDNMF(objective="stable", noise="none", random_state=0)._configure(x)
    assert moved.noise == Noise("none", redraw=True)  # the preset's, but for the kind


# -- values -----------------------------------------------------------------------------------


def test_methods_are_the_model_s():
    x, new = samples(), samples(300, seed=1)
    estimator = make().fit(x)
    model = estimator.model_
    assert_same_bits(estimator.transform(new), model.encode(new))
    assert_same_bits(estimator.denoise(new), model.denoise(new))
    H = estimator.transform(new)
    assert H.min() > 0.0
    assert H.max() < 1.0
    assert_same_bits(estimator.inverse_transform(H), model.decode(H))
    # encode and decode are the two halves of denoise.
    assert_close(estimator.inverse_transform(H), estimator.denoise(new), ORACLE64)
    # What comes back is the caller's: another call does not write over it.
    kept = H.copy()
    estimator.transform(x)
    assert_same_bits(H, kept)


def test_codes_do_not_depend_on_what_else_is_encoded():
    estimator = make().fit(samples())
    x = samples(300, seed=1)
    whole = estimator.transform(x)
    for rows in (slice(0, 1), slice(250, 262), slice(290, 300)):
        assert_close(estimator.transform(x[rows]), whole[rows], ORACLE64)


def test_transform_is_of_clean_samples():
    estimator = make(noise_rate=0.9, noise_kind="masking").fit(samples())
    x = samples(seed=1)
    assert_same_bits(estimator.transform(x), estimator.transform(x))


def test_fit_transform_is_fit_then_transform():
    x = samples()
    assert_same_bits(make().fit_transform(x), make().fit(x).transform(x))


def test_components_are_the_decoded_units():
    estimator = make().fit(samples())
    assert_same_bits(estimator.components_, estimator.inverse_transform(np.eye(3)))
    assert estimator.components_.shape == (3, 13)
    assert not np.array_equal(estimator.components_[0], estimator.components_[1])
    before = estimator.components_.copy()
    estimator.partial_fit(samples(seed=1))
    assert_same_bits(estimator.components_, estimator.inverse_transform(np.eye(3)))
    assert not np.array_equal(estimator.components_, before)


@pytest.mark.parametrize(("given", "used"), [("float32", "float32"), ("float64", "float64")])
def test_precision_is_the_data_s(given, used):
    x = samples(dtype=given)
    estimator = make().fit(x)
    for result in (estimator.transform(x), estimator.denoise(x), estimator.components_):
        assert result.dtype == used
    assert estimator.inverse_transform(estimator.transform(x)).dtype == used
    assert estimator.model_.dtype == used


@pytest.mark.parametrize(
    "kind", ["int", "uint8", "bool", "list", "fortran", "strided", "read-only"]
)
def test_other_arrays_are_the_same_samples(kind):
    x = (samples() > 0.5).astype(np.float64)
    other = {
        "int": x.astype(int),
        "uint8": x.astype(np.uint8),
        "bool": x.astype(bool),
        "list": x.tolist(),
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "read-only": np.frombuffer(x.tobytes()).reshape(x.shape),
    }[kind]
    assert_same_bits(make().fit_transform(other), make().fit_transform(x))


def test_samples_are_only_read():
    x = samples()
    before = x.copy()
    make(noise_kind="gaussian").fit(x).denoise(x)
    assert_same_bits(x, before)


def test_history_and_counts():
    estimator = make().fit(samples())
    assert [record["epoch"] for record in estimator.loss_history_] == [1, 2, 3]
    assert (estimator.n_iter_, estimator.n_samples_seen_, estimator.n_features_in_) == (3, 45, 13)
    assert estimator.loss_history_[0].keys() >= {"loss_in", "loss_sym", "loss_ap", "loss_nc"}


def test_auto_batch_is_128_or_all():
    for n, size in ((45, 45), (128, 128), (300, 128)):
        x = samples(n)
        assert_same_model(make(batch_size="auto").fit(x), make(batch_size=size).fit(x))


def test_no_epochs_is_the_model_as_initialised():
    x = samples()
    estimator = make(max_iter=0).fit(x)
    assert estimator.loss_history_ == []
    config = configure(rank=3, widths=(11, 7), batch_size=10, seed=5, dtype="float64")
    assert_same_bits(estimator.transform(x), config.make_model(13).encode(x))


# -- images and the learning rate -------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:300] / 16


def test_motion_of_digits(digits):
    options = {"noise_shift": 1.0, "noise_rotation": 10.0, "noise_redraw": True}
    moved = make(image_shape=(8, 8), **options).fit(digits)
    assert_same_bits(moved.transform(digits), moved.transform(digits))  # they are seen as they are
    assert_same_model(make(image_shape=[8, 8], **options).fit(digits), moved)
    assert_same_model(make(image_shape=np.array([8, 8]), **options).fit(digits), moved)
    for other in ({"image_shape": (4, 16)}, {"noise_rotation": 0.0}, {"noise_redraw": False}):
        different = make(**({"image_shape": (8, 8)} | options | other)).fit(digits)
        assert not np.array_equal(different.transform(digits), moved.transform(digits))
    assert_same_model(pickle.loads(pickle.dumps(moved)), moved)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_motion_needs_the_shape_of_images(digits, method):
    estimator = make(noise_shift=1.0)
    with pytest.raises(UsageError) as caught:
        getattr(estimator, method)(digits)
    text = str(caught.value)
    assert text.startswith("image_shape is unknown and a sample has 64 features, but noise_shift ")
    assert "give image_shape=(height, width), or noise_shift=0, " in text
    with pytest.raises(NotFittedError):
        estimator.transform(digits)


def test_partial_fit_moves_images_too(digits, monkeypatch):
    estimator = make(noise_shift=1.0, noise_kind="none", noise_redraw=True, image_shape=(8, 8))
    seen = []
    right = Model.iterate

    def spy(self, x, x_noisy):
        seen.append((x.copy(), x_noisy.copy()))
        right(self, x, x_noisy)

    monkeypatch.setattr(Model, "iterate", spy)
    for _ in range(2):  # the same samples are others at the second call
        estimator.partial_fit(digits[:10])
    for x, x_noisy in seen:
        assert (x != x_noisy).any(axis=1).all()
    one, two = (x_noisy[np.lexsort(x.T)] for x, x_noisy in seen)
    assert (one != two).any(axis=1).all()


def test_partial_fit_refuses_a_schedule(digits):
    text = "lr_schedule is 'cosine', which needs to know the last epoch, and partial_fit has none; "
    estimator = make(lr_schedule="cosine")
    for _ in range(2):
        with pytest.raises(UsageError, match=f"^{text}use fit, or lr_schedule='constant'"):
            estimator.partial_fit(digits)
    with pytest.raises(NotFittedError):
        estimator.transform(digits)
    before = estimator.fit(digits).transform(digits)
    with pytest.raises(UsageError, match=f"^{text}"):
        estimator.partial_fit(digits)
    assert_same_bits(estimator.transform(digits), before)
    make(lr_schedule="constant").partial_fit(digits)


@pytest.mark.parametrize("objective", PLAIN)
def test_partial_fit_and_the_preset_s_schedule(objective):
    estimator = make(objective=objective, image_shape=(1, 13))
    if configure(objective=objective).optimizer.lr_schedule == "constant":
        estimator.partial_fit(samples())
    else:
        with pytest.raises(UsageError, match=r"^lr_schedule is "):
            estimator.partial_fit(samples())
        estimator.set_params(optimizer=Descent()).partial_fit(samples())


def test_a_schedule_is_of_all_epochs_of_fit(digits):
    slow = make(lr_schedule="cosine").fit(digits)
    assert slow.model_.optimizer.lr < 0.01 * slow.optimizer.lr
    assert make().fit(digits).model_.optimizer.lr == slow.optimizer.lr


# -- partial_fit ------------------------------------------------------------------------------


def test_first_partial_fit_is_one_epoch():
    x = samples()
    assert_same_model(make().partial_fit(x), make(max_iter=1).fit(x))


def test_partial_fit_goes_on():
    x = samples()
    estimator = make().partial_fit(x)
    before = {name: block.copy() for name, block in estimator.model_.state().items()}
    model = estimator.model_
    estimator.partial_fit(samples(20, seed=1))
    assert estimator.model_ is model
    assert (estimator.n_samples_seen_, estimator.n_iter_) == (65, 2)
    assert [record["epoch"] for record in estimator.loss_history_] == [1, 2]
    assert model.optimizer.t == 5 + 2
    after = model.state()
    for name in ("supervisor.W1", "student.W_rec", "student.W1:m"):
        assert not np.array_equal(before[name], after[name])


def noise_of_calls(monkeypatch, estimator, parts):
    """Return (index, epoch) of every noise that was drawn in each call of partial_fit."""
    drawn = []
    apply = Corruption.apply

    def spy(self, x, index, epoch, out):
        drawn[-1].append((index.copy(), int(epoch[0])))
        apply(self, x, index, epoch, out)

    monkeypatch.setattr(Corruption, "apply", spy)
    for part in parts:
        drawn.append([])
        estimator.partial_fit(part)
    return [
        (np.sort(np.concatenate([index for index, _ in call])), {epoch for _, epoch in call})
        for call in drawn
    ]


def test_samples_of_another_call_are_other_samples(monkeypatch):
    calls = noise_of_calls(monkeypatch, make(), [samples(45), samples(45), samples(20)])
    for (index, epochs), (first, last, epoch) in zip(
        calls, [(0, 45, 0), (45, 90, 1), (90, 110, 2)], strict=True
    ):
        np.testing.assert_array_equal(index, np.arange(first, last))
        assert epochs == {epoch}


def test_all_parts_have_one_unit_of_noise(monkeypatch):
    """Salt is the largest value of the first part, whatever the others hold."""
    highs = []
    apply = Corruption.apply

    def spy(self, *args):
        highs.append(self.high)
        apply(self, *args)

    monkeypatch.setattr(Corruption, "apply", spy)
    first = samples()
    estimator = make(noise_kind="salt-and-pepper")
    for part in (first, 0.25 * samples(20, seed=1)):
        estimator.partial_fit(part)
    assert set(highs) == {first.max()}
    assert estimator.data_max_ == first.max()


def test_partial_fit_after_fit_goes_on(monkeypatch):
    estimator = make().fit(samples())
    ((index, epochs),) = noise_of_calls(monkeypatch, estimator, [samples(20, seed=1)])
    np.testing.assert_array_equal(index, np.arange(45, 65))
    assert epochs == {3}
    assert (estimator.n_samples_seen_, estimator.n_iter_) == (65, 4)


def test_fit_starts_from_scratch():
    x = samples()
    again = make().partial_fit(samples(seed=1)).fit(x)
    assert_same_model(again, make().fit(x))
    assert (again.n_samples_seen_, again.n_iter_) == (45, 3)


def test_partial_fit_of_a_part_smaller_than_the_batch():
    with pytest.raises(DataError, match="x has 9 samples, fewer than batch_size = 10"):
        make().partial_fit(samples()).partial_fit(samples(9))
    estimator = make(batch_size="auto").partial_fit(samples()).partial_fit(samples(9))
    assert estimator.model_.optimizer.t == 2


# -- random_state -----------------------------------------------------------------------------


def test_random_state():
    x = samples()
    assert_same_model(make(random_state=7).fit(x), make(random_state=np.int64(7)).fit(x))
    one, two = (np.random.RandomState(3) for _ in range(2))
    assert_same_model(make(random_state=one).fit(x), make(random_state=two).fit(x))
    # A generator moves on with each fit; none is a new one for each.
    for state in (np.random.RandomState(3), None):
        first, second = (make(random_state=state).fit_transform(x) for _ in range(2))
        assert not np.array_equal(first, second)


# -- copies -----------------------------------------------------------------------------------

COPIES = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copy_goes_on_like_the_original(how, optimizer, dtype):
    x, more = samples(dtype=dtype), samples(20, seed=1, dtype=dtype)
    estimator = make(optimizer=optimizer, lr=0.01).fit(x)
    twin = COPIES[how](estimator)
    assert_same_bits(twin.transform(x), estimator.transform(x))
    assert_same_bits(twin.denoise(x), estimator.denoise(x))
    assert twin.model_.optimizer.t == estimator.model_.optimizer.t
    untouched = estimator.transform(x)
    twin.partial_fit(more)
    assert_same_bits(estimator.transform(x), untouched)  # they share no memory
    estimator.partial_fit(more)
    assert_same_model(twin, estimator)
    assert twin.n_samples_seen_ == estimator.n_samples_seen_


def test_copy_of_a_copy():
    x = samples()
    estimator = make().fit(x)
    twin = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(estimator))))
    assert_same_model(twin, estimator)


def test_clone_has_the_parameters_and_no_model():
    x = samples()
    estimator = make(activation=["tanh", "relu"], beta_ap=0.5).fit(x)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        twin.transform(x)
    assert_same_model(twin.fit(x), estimator)


# -- with the rest of scikit-learn ------------------------------------------------------------


def silhouette(pipeline, X, y=None):
    H = pipeline.named_steps["codes"].transform(X)
    clusters = pipeline.predict(X)
    return silhouette_score(H, clusters) if len(set(clusters)) > 1 else -1.0


def test_grid_search_without_labels():
    x = samples(60)
    pipeline = Pipeline(
        [
            ("codes", make(batch_size="auto", max_iter=2)),
            ("clusters", KMeans(2, n_init=1, random_state=0)),
        ]
    )
    search = GridSearchCV(
        pipeline, {"codes__n_components": [2, 4]}, scoring=silhouette, cv=3, error_score="raise"
    )
    search.fit(x)
    best = search.best_params_["codes__n_components"]
    assert search.best_estimator_.named_steps["codes"].components_.shape == (best, 13)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]
    assert best == [2, 4][int(np.argmax(scores))]
    assert search.predict(x).shape == (60,)


def test_pipeline_with_scaling_and_a_mixture():
    x = samples(60) * 9 - 4  # negative: the scaler mends that
    mixture = GaussianMixture(2, covariance_type="spherical", random_state=0)
    pipeline = make_pipeline(MinMaxScaler(clip=True), make(), mixture)
    labels = pipeline.fit_predict(x)
    assert set(labels.tolist()) <= {0, 1}
    scaled = MinMaxScaler(clip=True).fit_transform(x)
    H = make().fit_transform(scaled)
    np.testing.assert_array_equal(labels, clone(mixture).fit_predict(H))


def test_names_of_the_codes():
    estimator = make().fit(samples())
    assert estimator.get_feature_names_out().tolist() == ["ddnmf0", "ddnmf1", "ddnmf2"]


def test_pandas_in_and_out():
    pandas = pytest.importorskip("pandas")
    x = samples()
    names = [f"pixel{k}" for k in range(13)]
    frame = pandas.DataFrame(x, columns=names, index=range(100, 145))
    estimator = make().set_output(transform="pandas")
    H = estimator.fit_transform(frame)
    assert H.columns.tolist() == ["ddnmf0", "ddnmf1", "ddnmf2"]
    assert H.index.tolist() == list(range(100, 145))
    assert_same_bits(H.to_numpy(), make().fit_transform(x))
    assert estimator.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame[names[::-1]])
    # Codes as a frame are codes.
    back = estimator.inverse_transform(H)
    assert_same_bits(back.to_numpy(), make().fit(x).inverse_transform(H.to_numpy(copy=True)))


def test_labels_are_not_seen():
    x = samples()
    labelled = make().fit(x, np.arange(45) % 3)
    assert_same_model(labelled, make().fit(x))


def test_verbose_shows_progress(capsys):
    make(verbose=True).fit(samples())
    lines = capsys.readouterr().err.splitlines()
    epochs, rest = lines[-5:-2], lines[-2:]
    assert [line[:9] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    starts = ("variance left unexplained: ", "from noisy samples: ")
    assert all(line.startswith(start) for line, start in zip(rest, starts, strict=True))
    assert lines[0].startswith("total = ")
    make().fit(samples())
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


# -- errors -----------------------------------------------------------------------------------

BAD_PARAMETERS = [
    ("n_components", 0, "n_components is 0; expected a whole number from 1 to "),
    ("n_components", 2.5, "n_components is 2.5; expected a whole number"),
    ("n_components", "3", "n_components is '3'; expected a whole number"),
    ("n_components", None, "n_components is None; leave it out"),
    ("max_iter", -1, "max_iter is -1; expected a whole number >= 0"),
    ("random_state", -1, "random_state is -1; expected a whole number from 0 to "),
    (
        "random_state",
        2**32,
        "random_state is 4294967296; expected a whole number from 0 to 4294967295",
    ),
    ("widths", (), "widths is (), which is empty; give at least one"),
    ("widths", (5, 0), "widths is (5, 0); expected whole numbers from 1 to "),
    ("widths", "wide", "widths is 'wide'; expected a whole number"),
    ("batch_size", 0, "batch_size is 0; expected a whole number >= 1"),
    ("batch_size", "all", "batch_size is 'all'; expected a whole number"),
    ("lr", -1.0, "lr is -1.0; expected a finite number > 0"),
    ("lr", float("nan"), "lr is nan; expected a finite number > 0"),
    ("noise", "gausian", "noise is 'gausian'; did you mean 'gaussian'?"),
    ("noise", 0.2, "noise is 0.2; expected a text"),
    ("objective", 3, "objective is 3; expected a text"),
    ("objective", "papers", "objective is 'papers'; did you mean 'paper'?"),
    ("activation", "relux", "activation is 'relux'; did you mean 'relu'?"),
    ("activation", ["relu"] * 3, "activation names 3 functions for 2 encoder layers"),
    ("optimizer", "sgd", "optimizer is 'sgd'; did you mean 'gd'?"),
    ("nonnegative", True, "nonnegative is True; expected a text"),
    ("backend", "cuda", "backend is 'cuda'; "),
    ("fast", True, "fast is True; expected a text"),
    ("image_shape", (13,), "image_shape is (13,); expected height and width"),
    ("image_shape", "13x1", "image_shape is '13x1'; expected a whole number"),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value", "text"), BAD_PARAMETERS)
def test_bad_parameters_are_named_when_fitted(name, value, text, method):
    estimator = make(**{name: value})  # not here: scikit-learn sets and clones before it fits
    assert repr(clone(estimator).get_params()[name]) == repr(value)
    with pytest.raises(UsageError) as caught:
        getattr(estimator, method)(samples())
    assert str(caught.value).startswith(text)
    with pytest.raises(NotFittedError):
        estimator.transform(samples())


@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_transform"])
def test_negative_samples(method):
    x = samples()
    x[7, 4] = -0.25
    with pytest.raises(DataError, match=r"-0.25 at row 7, column 4.*MinMaxScaler"):
        getattr(make(), method)(x)


@pytest.mark.parametrize("method", ["transform", "denoise"])
def test_negative_samples_after_fit(method):
    estimator = make().fit(samples())
    with pytest.raises(DataError, match="at row 0, column 0"):
        getattr(estimator, method)(-samples())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(value):
    x = samples()
    x[7, 4] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        make().fit(x)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        make().fit(samples()).transform(x)


def test_fewer_samples_than_the_batch():
    with pytest.raises(DataError, match="x has 9 samples, fewer than batch_size = 10"):
        make().fit(samples(9))


@pytest.mark.parametrize("method", ["transform", "denoise", "partial_fit"])
def test_other_number_of_features(method):
    estimator = make().fit(samples())
    with pytest.raises(ValueError, match="X has 12 features, but DDNMF is expecting 13 features"):
        getattr(estimator, method)(samples(width=12))


@pytest.mark.parametrize("shape", [(5, 4), (5, 2), (3,), (2, 3, 3)])
def test_codes_of_another_shape(shape):
    estimator = make().fit(samples())
    with pytest.raises(DataError, match=rf"H has shape {re.escape(str(shape))} and dtype"):
        estimator.inverse_transform(np.zeros(shape))


@pytest.mark.parametrize("method", ["transform", "denoise", "inverse_transform"])
def test_before_fit(method):
    with pytest.raises(NotFittedError, match="This DDNMF instance is not fitted yet"):
        getattr(make(), method)(samples())


def test_failed_fit_is_no_fit():
    estimator = make(lr=1e300)
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        estimator.fit(samples())
    with pytest.raises(NotFittedError):
        estimator.transform(samples())
    # Mended, it starts from scratch.
    estimator.set_params(lr=1e-3).partial_fit(samples())
    assert_same_model(estimator, make(max_iter=1).fit(samples()))


def test_failed_refit_leaves_the_fitted_model():
    x = samples()
    estimator = make().fit(x)
    before = estimator.transform(x)
    with pytest.raises(DivergedError):
        estimator.set_params(lr=1e300).fit(x)
    assert_same_bits(estimator.transform(x), before)


@pytest.mark.parametrize("error", [DivergedError, KeyboardInterrupt])
def test_failed_partial_fit_changes_nothing(monkeypatch, error):
    x = samples()
    estimator = make().fit(x)
    twin = pickle.loads(pickle.dumps(estimator))
    right, calls = Trainer.step, []

    def step(self, index):
        right(self, index)
        calls.append(index)
        if len(calls) == 3:
            if error is KeyboardInterrupt:
                raise error
            for name in self.model.student.arena.shapes:
                self.model.student.arena.param(name).fill(np.nan)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        with pytest.raises(error):
            estimator.partial_fit(samples(40, seed=3))
    assert_same_model(estimator, twin)
    assert (estimator.n_iter_, estimator.n_samples_seen_) == (twin.n_iter_, twin.n_samples_seen_)
    assert_same_model(estimator.partial_fit(x), twin.partial_fit(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_where_samples_are_not_finite(bad):
    x = samples()
    x[4, 7] = bad
    with pytest.raises(DataError, match=r"in data X: 1 of \d+, the first .* at row 4, column 7"):
        make().fit(x)
    fitted = make().fit(samples())
    with pytest.raises(DataError, match="row 4, column 7"):
        fitted.transform(x)
    codes = fitted.transform(samples())
    codes[0, 0] = bad
    with pytest.raises(DataError, match="H has entries that are not finite"):
        fitted.inverse_transform(codes)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_interrupted_fit_is_no_fit(monkeypatch, stop):
    def step(self, index):
        raise stop

    monkeypatch.setattr(Trainer, "step", step)
    estimator = make()
    with pytest.raises(stop):
        estimator.fit(samples())
    assert not hasattr(estimator, "model_")


def test_errors_are_of_the_package_and_of_scikit_learn_s_kind():
    for error in (UsageError, DataError):
        assert issubclass(error, DDNMFError)
        assert issubclass(error, ValueError)


# -- missing entries ------------------------------------------------------------------------------


class TestMissing:
    OPTIONS: ClassVar = {
        "widths": (64, 32),
        "objective": "stable",
        "max_iter": 20,
        "batch_size": 32,
    }

    @pytest.fixture
    def data(self):
        x = load_digits().data[:900] / 16
        observed = np.random.default_rng(0).uniform(size=x.shape) >= 0.3
        return x, observed, np.where(observed, x, np.nan)

    def test_imputes_better_than_the_mean_and_keeps_what_is_known(self, data):
        x, observed, holes = data
        model = DDNMF(20, missing="nan", random_state=0, **self.OPTIONS).fit(holes)
        guess = model.impute(holes)
        np.testing.assert_array_equal(guess[observed], x[observed])
        mean = np.broadcast_to(np.nanmean(holes, axis=0), x.shape)
        error, by_mean = (np.mean((f - x)[~observed] ** 2) for f in (guess, mean))
        assert error < 0.9 * by_mean
        assert np.isfinite(model.transform(holes)).all()

    def test_nan_is_refused_with_the_remedy_unless_it_is_asked_for(self, data):
        x, _, holes = data
        with pytest.raises(DataError, match="missing='nan'"):
            DDNMF(**self.OPTIONS).fit(holes)
        model = DDNMF(**{**self.OPTIONS, "max_iter": 1}, random_state=0).fit(x)
        with pytest.raises(DataError, match="missing='nan'"):
            model.transform(holes)
        with pytest.raises(UsageError, match="fit with missing='nan'"):
            model.impute(holes)

    @pytest.mark.parametrize(("bad", "words"), [(np.inf, "Infinite"), (-1.0, "Negative")])
    def test_other_bad_values_are_refused_all_the_same(self, data, bad, words):
        holes = data[2].copy()
        holes[3, 5] = bad
        with pytest.raises(DataError, match=f"{words}.*1 of .*row 3, column 5"):
            DDNMF(missing="nan", **self.OPTIONS).fit(holes)

    def test_nothing_but_nan_is_refused(self):
        with pytest.raises(DataError, match="NaN throughout"):
            DDNMF(missing="nan", **self.OPTIONS).fit(np.full((40, 5), np.nan))


# -- files, and arrays to write to ------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return make(max_iter=1).fit(samples())


@pytest.mark.parametrize("kind", [str, Path])
def test_path_is_refused_with_the_way_to_read_it(tmp_path, fitted, kind):
    path = kind(tmp_path / "x.npy")
    np.save(path, samples())
    for use in (make().fit, make().partial_fit, fitted.transform, fitted.denoise):
        with pytest.raises(UsageError, match=r"X is the path '.*x\.npy', not samples; .*stream\("):
            use(path)
    out = fitted.transform_into(path, np.empty((45, 3)))
    assert_same_bits(out, fitted.transform(samples()))


def test_files_of_arrays_are_refused(tmp_path, fitted):
    np.savez(tmp_path / "x.npz", a=samples())
    with np.load(tmp_path / "x.npz") as archive:
        for X in (archive, {"a": samples()}):
            for use in (make().fit, fitted.transform):
                with pytest.raises(UsageError, match=r"arrays by name \('a'\).*FILE\['NAME'\]"):
                    use(X)


def test_hdf5_files_groups_and_closed_datasets_are_refused(tmp_path, fitted):
    h5py = pytest.importorskip("h5py")

    def into(X):
        return fitted.transform_into(X, np.empty((45, 3)))

    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("part/a", data=samples())
        out = file.create_dataset("out", (45, 3), "float64")
        for use in (make().fit, fitted.transform, into):
            with pytest.raises(UsageError, match=r"X is a File, .*\('out', 'part'\).*FILE\['NAME"):
                use(file)
            with pytest.raises(UsageError, match=r"X is a Group, which holds arrays .*'a'"):
                use(file["part"])
        assert fitted.transform_into(data, out) is out
        assert_same_bits(out[:], fitted.transform(samples()))
    for use in (make().fit, fitted.transform, into):
        with pytest.raises(DataError, match=r"X is a Dataset of an HDF5 file that is closed; open"):
            use(data)
    with pytest.raises(DataError, match="X is a File of an HDF5 file that is closed"):
        make().fit(file)
    with pytest.raises(DataError, match="out is a Dataset of an HDF5 file that is closed"):
        fitted.transform_into(samples(), out)
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(OutputError, match="out: cannot be w"):
        fitted.transform_into(samples(), file["out"])


def test_zarr_groups_are_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("a", data=samples())
    with pytest.raises(UsageError, match=r"X is a Group, which holds arrays by name \('a'\)"):
        make().fit(group)


@pytest.mark.parametrize(
    ("out", "text"),
    [
        (np.ones((45, 3), int), "out has dtype int64, which cannot hold codes.*expected float32"),
        (np.ones((45, 3), bool), "out has dtype bool"),
        (np.ones((45, 3), complex), "out has dtype complex128"),
        (np.ones((45, 3), object), "out has dtype object"),
        (np.ones((45, 4)), r"out has shape \(45, 4\); expected \(45, 3\)"),
        (np.ones(45), r"out has shape \(45,\); expected"),
        ([[0.0] * 3] * 45, r"out is a list; expected an array of shape \(45, 3\)"),
        (None, "out is a NoneType"),
    ],
    ids=["int", "bool", "complex", "object", "wide", "flat", "list", "None"],
)
def test_out_that_cannot_hold_codes(fitted, out, text):
    before = copy.deepcopy(out)
    with pytest.raises(DataError, match=text):
        fitted.transform_into(samples(), out)
    np.testing.assert_array_equal(out, before)


def test_out_that_is_read_only(fitted):
    out = np.ones((45, 3))
    out.flags.writeable = False
    with pytest.raises(OutputError, match=r"out: cannot be written \(.*read-only\); give an array"):
        fitted.transform_into(samples(), out)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f8"])
def test_out_of_any_precision(fitted, dtype):
    out = np.full((45, 3), np.nan, dtype)
    assert fitted.transform_into(samples(), out) is out
    np.testing.assert_array_equal(out, fitted.transform(samples()).astype(dtype))


@pytest.mark.parametrize("form", ["dok", "coo", "lil", "csc"])
def test_sparse_forms_without_rows_say_what_to_do(form):
    x = sparse.csr_matrix(samples()).asformat(form)
    for use in (make().fit, make().fit(samples()).transform):
        with pytest.raises(DataError, match=rf"in the format '{form}'.*convert it with .tocsr\(\)"):
            use(x)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("noise", [{}, {"noise_shift": 1.0}])
def test_image_shape_fits_the_features(digits, method, noise):
    with pytest.raises(UsageError, match=r"image_shape is \(4, 4\), but X has 64 features; give"):
        getattr(make(image_shape=(4, 4), **noise), method)(digits)


# -- masks and failures -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_masked_entries_are_missing(dtype):
    x = samples(dtype="float64")
    x = (100 * x).astype(dtype) if dtype == "int64" else x.astype(dtype)
    masked = np.ma.array(x, mask=False)
    masked[3, 4] = masked[7, 0] = np.ma.masked
    masked.data[3, 4] = 99  # what is behind a mask means nothing
    holes = x.astype("float64" if dtype == "int64" else dtype)
    holes[3, 4] = holes[7, 0] = np.nan
    one, two = make(missing="nan").fit(masked), make(missing="nan").fit(holes)
    assert_same_model(one, two)
    for name in ("transform", "denoise", "impute"):
        assert_same_bits(getattr(one, name)(masked), getattr(two, name)(holes), name)
    two.partial_fit(masked)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_known_is_imputed_to_the_last_digit(dtype):
    x = np.random.default_rng(0).uniform(size=(40, 9))
    x[3, 4], x[5, 4], x[7, 0] = 123456789.0, 0.269786713764, np.nan
    model = make(missing="nan").fit(np.where(np.isnan(x), np.nan, x % 1.0).astype(dtype))
    found = model.impute(x)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[~np.isnan(x)], x[~np.isnan(x)])
    assert np.isfinite(found).all()


def test_masked_entries_are_refused_where_none_may_be_missing():
    x = np.ma.array(samples(), mask=False)
    fitted = make().fit(x)  # nothing is masked
    assert_same_model(fitted, make().fit(x.data))
    x[3, 4] = np.ma.masked
    for use in (make().fit, fitted.transform):
        with pytest.raises(DataError, match=r"X has 1 masked entries of 585; .*'nan'.*fill"):
            use(x)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(method, monkeypatch):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x = pandas.DataFrame(samples(), columns=[f"c{k}" for k in range(13)])
    fitted, fresh = make().fit(x), make()
    expected, before = fitted.transform(x), dict(vars(fitted))
    narrow = -x.iloc[:, :7]
    with pytest.raises(DataError, match="Negative values"):
        getattr(fresh, method)(narrow)
    assert vars(fresh) == vars(make())
    with pytest.raises((DataError, ValueError)):
        getattr(fitted, method)(narrow)
    monkeypatch.setattr(Trainer, "train", lambda *_, **__: 1 / 0)
    with pytest.raises((ZeroDivisionError, ValueError)):
        getattr(fitted, method)(-narrow)
    assert vars(fitted).keys() == before.keys()
    assert all(value is before[name] for name, value in vars(fitted).items())
    assert_same_bits(fitted.transform(x), expected)


# -- threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", ["off", "auto"])
@pytest.mark.parametrize("name", ["transform", "denoise", "inverse_transform", "impute", "predict"])
def test_threads_may_use_one_model(name, fast):
    missing = "nan" if name == "impute" else "error"
    x = samples(600, 64, dtype="float32")
    fitted = make(widths=(64, 32), max_iter=1, missing=missing, fast=fast).fit(x)
    parts = [x[at : at + 30].copy() for at in range(0, 600, 30)]
    for part in parts:
        if name == "impute":
            part[::3, ::5] = np.nan
    if name == "inverse_transform":
        parts = [fitted.transform(part) for part in parts]
    use = getattr(fitted, name)
    expected = [use(part).tobytes() for part in parts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: use(parts[k % 20]).tobytes(), range(400)))
    wrong = sum(result != expected[k % 20] for k, result in enumerate(found))
    assert wrong == 0, f"{wrong} of 400 calls of {name} gave another thread's values"


def test_joblib_s_threads_may_use_one_model():
    x = samples(300, dtype="float32")
    fitted = pickle.loads(pickle.dumps(make(widths=(64, 32), max_iter=1).fit(x)))
    parts = np.split(x, 20)
    expected = [fitted.transform(part).tobytes() for part in parts]
    calls = (delayed(fitted.transform)(parts[k % 20]) for k in range(400))
    found = Parallel(n_jobs=8, prefer="threads")(calls)
    assert [codes.tobytes() for codes in found] == expected * 20
