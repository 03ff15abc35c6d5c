"""The default preset: it learns on data that nobody prepared, and says so when it has not."""

import json
import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning

from ddnmf_np import DDNMF, Descent, Noise, Objective
from ddnmf_np.config import configure
from ddnmf_np.data.defaults import DECIDED, Facts, choose
from ddnmf_np.data.noise import Corruption
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.inputs import read_data
from ddnmf_np.runs.preparation import prepare
from ddnmf_np.runs.validation import Unexplained, Validation, findings
from ddnmf_np.runs.yardsticks import described_noise
from ddnmf_np.train import main

SETS = {"iris": (load_iris, 2, {"widths": (64, 32)}), "wine": (load_wine, 5, {})}
"""How to load them, the rank, and what else is set: the same in less time."""


@pytest.fixture(scope="module", params=SETS)
def fitted(request):
    """An estimator with nothing set but that, its training rows and others."""
    load, rank, options = SETS[request.param]
    x = load().data
    order = np.random.default_rng(0).permutation(len(x))
    train, test = x[order[:120]], x[order[120:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return DDNMF(rank, **options, random_state=0).fit(train), train, test


# -- it works ------------------------------------------------------------------------------------


def test_the_defaults_learn(fitted):
    estimator, _, test = fitted
    assert 0.5 < estimator.score(test) < 1.0
    assert 0.0 < estimator.reconstruction_err_ < 0.5
    assert not dead_units(estimator.transform(test)).any()
    assert (estimator.denoise(test).std(axis=0) > 0.0).all()


def test_score_is_of_the_scaled_samples_about_the_training_mean(fitted):
    estimator, train, test = fitted
    held_out = prepare(train, estimator._configure(train)).some
    scaling = estimator.model_.scaling
    x, guess, mean = (
        (a - scaling.low) / scaling.span
        for a in (test, estimator.denoise(test), held_out.mean(axis=0))
    )
    expected = 1.0 - ((guess - x) ** 2).sum() / ((mean - x) ** 2).sum()
    assert estimator.score(test) == pytest.approx(expected, rel=1e-9)


def test_outputs_are_in_the_units_of_the_data(fitted):
    estimator, train, test = fitted
    scaling = estimator.model_.scaling
    assert (scaling.low + scaling.span <= train.max() + 1e-9).all()
    for out in (estimator.denoise(test), estimator.components_):
        assert (out >= scaling.low - 1e-9).all()  # a sigmoid's output, scaled back
        assert (out <= scaling.low + scaling.span + 1e-9).all()
    H = estimator.transform(test)
    np.testing.assert_allclose(estimator.inverse_transform(H), estimator.denoise(test), rtol=1e-9)


def test_what_is_kept_scales_too(fitted, tmp_path):
    estimator, _, test = fitted
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.transform(test), estimator.transform(test))
    np.testing.assert_array_equal(again.denoise(test), estimator.denoise(test))
    twin = estimator.model_.copy(rows=7, dtype="float64")
    np.testing.assert_allclose(twin.denoise(test), estimator.denoise(test), rtol=1e-9)


def test_a_unit_of_the_data_does_not_matter():
    x = load_wine().data[:60]
    options = {"max_iter": 3, "random_state": 0, "batch_size": 10}
    one, other = (DDNMF(3, **options).fit(x * factor) for factor in (1.0, 1024.0))
    np.testing.assert_allclose(other.transform(x * 1024.0), one.transform(x), rtol=1e-6)


def test_the_best_weights_are_kept():
    x = load_iris().data
    estimator = DDNMF(2, max_iter=40, lr=0.05, random_state=0).fit(x)
    seen = [record["fvu"] for record in estimator.loss_history_ if "fvu" in record]
    assert len(seen) == 40
    assert estimator.reconstruction_err_ == pytest.approx(min(seen), rel=1e-9)


def test_held_out_rows_are_not_trained_on():
    config = configure(objective="auto", seed=3)
    x = np.arange(200.0).reshape(50, 4)
    prepared = prepare(x, config)
    assert (len(prepared.x), len(prepared.held_out)) == (45, 5)
    both = np.concatenate([prepared.x, prepared.held_out])
    np.testing.assert_array_equal(np.sort(both, axis=0), x)
    assert len(prepare(x[:10], config).held_out) == 2  # of few rows more than a tenth
    assert prepare(x[:9], config).held_out is None  # too few


def test_training_stops_when_nothing_improves():
    x = load_iris().data
    config = configure(objective="auto", epochs=500, patience=3, tol=0.5, rank=2)
    prepared = prepare(x, config)
    model = prepared.config.make_model(4, scaling=prepared.scaling)
    trainer = prepared.config.make_trainer(model, prepared.x)
    unexplained = Unexplained(model, prepared.some)
    trainer.stopping = Validation.of(prepared.config, unexplained, prepared.held_out)
    assert trainer.train(500)
    assert trainer.stopping.stopped
    assert trainer.position.epoch < 400
    assert unexplained.of(prepared.held_out) == pytest.approx(trainer.stopping.best, rel=1e-6)


def test_partial_fit_goes_on_with_the_first_scaling():
    x = load_wine().data
    estimator = DDNMF(3, random_state=0).partial_fit(x[:60])
    scaling = estimator.model_.scaling
    estimator.partial_fit(x[60:120])
    assert estimator.model_.scaling is scaling
    estimator.set_params(max_iter=3)
    estimator.fit(x[:60]).partial_fit(x[60:120])  # after a schedule too
    assert np.isfinite(estimator.transform(x)).all()


def test_a_stream_learns_too(tmp_path):
    x = load_iris().data.astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    options = {"max_iter": 60, "random_state": 0}
    estimator = DDNMF(2, **options).fit(stream(tmp_path / "x.npy"))
    assert estimator.score(x) > 0.5
    assert DDNMF(2, **options).fit(x).config_.data.scale == estimator.config_.data.scale


def test_missing_entries_are_filled_in_better_than_by_the_mean():
    x = load_wine().data
    hidden = np.random.default_rng(0).uniform(size=x.shape) < 0.2
    estimator = DDNMF(5, missing="nan", widths=(64, 32), random_state=0)
    holes = np.where(hidden, np.nan, x)
    filled = estimator.fit(holes).impute(holes)
    np.testing.assert_array_equal(filled[~hidden], x[~hidden])
    span = x.max(axis=0) - x.min(axis=0)
    errors = [
        float((((guess - x) / span)[hidden] ** 2).mean())
        for guess in (filled, np.broadcast_to(np.nanmean(holes, axis=0), x.shape))
    ]
    assert errors[0] < 0.63 * errors[1]  # .54; .73 if the networks see 0


def test_the_networks_see_the_mean_where_an_entry_is_missing(tmp_path, unscored):
    x = load_iris().data
    x[:, 3] *= 7.0  # another unit
    holes = np.where(np.random.default_rng(0).uniform(size=x.shape) < 0.2, np.nan, x)
    options = {"missing": "nan", "max_iter": 2, "random_state": 0}
    estimator = DDNMF(2, **options).fit(holes)
    mean = np.nanmean(prepare(holes, estimator._configure(holes)).some, axis=0)
    filled = np.where(np.isnan(holes), mean, holes)
    for use in (estimator.transform, estimator.denoise):
        np.testing.assert_allclose(use(holes), use(filled), rtol=1e-12)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.impute(holes), estimator.impute(holes))
    scaling = Scaling.learn(np.full((3, 4), np.nan), "features", fill=True)
    np.testing.assert_array_equal(scaling.fill, np.zeros(4))  # there is no mean

    np.save(tmp_path / "x.npy", holes.astype(np.float32))
    # Held out for scoring, a fifth of the rows would not be in the mean.
    flags = ["--dataset", str(tmp_path / "x.npy"), "--missing", "nan", "--rank", "2",
             "--epochs", "1", "--clusterers", "kmeans", "--starts", "1",
             "--embedding", "pca", "--test-fraction", "0"]  # fmt: skip
    assert main([*flags, "--output", str(tmp_path / "run")]) == 0
    model = load_checkpoint(tmp_path / "run" / "checkpoint.npz").restore_model()
    np.testing.assert_allclose(model.encode(holes), model.encode(filled), rtol=1e-3)


# -- what the data decide ------------------------------------------------------------------------


def test_the_data_decide_what_is_not_given():
    x = load_wine().data
    every = {name: configure(objective="auto").undecided for name in DECIDED}
    assert every.keys() == set(DECIDED)
    estimator = DDNMF(3, widths=(20, 10), batch_size=9, max_iter=2, random_state=0).fit(x)
    config = estimator.config_
    assert (config.model.widths, config["batch_size"], estimator.n_iter_) == ((20, 10), 9, 2)
    some = prepare(x, configure(objective="auto")).some
    facts = Facts.of(some, n=len(some), images=False, missing=False)
    chosen = choose(facts, 3)
    assert chosen.keys() == set(DECIDED)
    assert config.data.scale == chosen["scale"] == "features"
    assert config["alpha_sym"] == pytest.approx(chosen["alpha_sym"])
    assert not config.undecided


@pytest.mark.parametrize(("widths", "steps"), [((64, 32), 8_000), ((4_000, 2_000), 3_000)])
def test_the_length_depends_on_the_widths_that_are_given(widths, steps):
    facts = Facts(60_000, 784, "all", True, False, 0.1)
    config = configure(objective="auto", widths=widths).decide(facts)
    taken = config.training.epochs * 60_000 / config.training.batch_size
    assert taken == pytest.approx(steps, rel=0.08)


@pytest.mark.parametrize(
    ("n", "n_features", "rank", "steps"),
    [
        (100, 10, 3, 3_000),
        (1_500, 64, 10, 6_000),
        (9_000, 64, 10, 8_000),
        (60_000, 784, 10, 4_000),
        (60_000, 20_000, 10, 3_000),
    ],
)
def test_the_length_is_in_steps_and_wide_networks_have_fewer(n, n_features, rank, steps):
    chosen = choose(Facts(n, n_features, "all", True, False, 0.1), rank)
    taken = chosen["epochs"] * n / chosen["batch_size"]
    assert taken == pytest.approx(steps, rel=0.08)  # whole epochs


def test_what_an_object_says_is_not_decided():
    noise, descent = Noise("gaussian", 0.05), Descent(lr=0.001)
    estimator = DDNMF(2, noise=noise, optimizer=descent, max_iter=1, random_state=0)
    config = estimator.fit(load_iris().data).config_
    assert (config.noise, config.optimizer) == (noise, descent)
    assert config["alpha_sym"] > 1.0  # which the data have decided


def test_images_and_counts_share_one_scale():
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 16, (50, 64)) * np.linspace(0.01, 1.0, 64)

    def mixed(x, images=False):
        return Facts.of(x, n=50, images=images, missing=False).scale == "features"

    assert mixed(x)
    assert not mixed(x, images=True)
    assert not mixed(x[:, 32:])
    x[0] = 0.02 * x[1:].max(axis=0)  # the least of a spectrum with noise
    assert not mixed(x)
    x[0] *= 5.0
    assert mixed(x)
    assert mixed(rng.normal(size=(50, 10)) * np.linspace(1.0, 50.0, 10))  # centred
    x[0] = 0.0  # as counts and pixels are, somewhere
    assert not mixed(x)
    assert mixed(x * np.logspace(0, 3, 64))


@pytest.mark.parametrize("n", [1, 2, 7, 20, 1000, 10**6])
@pytest.mark.parametrize("n_features", [1, 2, 100, 10**5])
def test_every_shape_gets_options_that_can_be_used(n, n_features):
    for scale, variance in (("all", 0.0), ("features", 0.1)):
        facts = Facts(n, n_features, scale, inside=True, missing=False, variance=variance)
        config = configure(objective="auto", rank=3).decide(facts)
        assert 1 <= config.training.batch_size <= n
        assert config.training.epochs >= 1


# -- scaling -------------------------------------------------------------------------------------


def test_scaling():
    x = np.array([[0.0, 2.0, 5.0, np.nan], [4.0, 6.0, 5.0, np.nan], [np.nan, 4.0, 5.0, np.nan]])
    features = Scaling.learn(x, "features")
    assert features.low.tolist() == [0.0, 2.0, 5.0, 0.0]
    assert features.span.tolist() == [4.0, 4.0, 1.0, 1.0]  # constant, and never seen
    assert Scaling.learn(x, "all").span.tolist() == [6.0] * 4
    both = Scaling.learn(x + 1.0, "all")
    assert (both.low.tolist(), both.span.tolist()) == ([1.0] * 4, [6.0] * 4)
    assert Scaling.learn(x, "none").is_identity
    assert Scaling.learn(np.zeros((3, 2)), "all").is_identity
    assert Scaling.learn(np.full((3, 2), np.nan), "all").is_identity


# -- it says so ----------------------------------------------------------------------------------


def test_a_model_that_has_not_learned_says_so():
    x = load_iris().data
    with pytest.warns(ConvergenceWarning) as caught:
        estimator = DDNMF(2, objective="paper", widths=(9,), max_iter=1, random_state=0).fit(x)
    texts = [str(warning.message) for warning in caught]
    worse = next(text for text in texts if "of the variance unexplained" in text)
    assert f"{estimator.reconstruction_err_:.2f} of the variance" in worse
    assert "objective='auto'" in worse


def test_the_remedy_is_not_what_the_fit_has_already():
    x = load_iris().data
    with pytest.warns(ConvergenceWarning) as caught:
        DDNMF(3, max_iter=0, random_state=0).fit(x)
    for warning in caught:
        assert warning.filename == __file__  # the line of the user
        assert "objective='auto'" not in str(warning.message)
        assert "--scale)" not in str(warning.message)


def test_a_fit_says_what_the_data_chose_and_how_it_ended(capsys):
    estimator = DDNMF(
        2, widths=(9,), max_iter=40, patience=3, tol=0.9, random_state=0, verbose=True
    )
    estimator.fit(load_iris().data)
    said = capsys.readouterr().err
    assert "chosen from the data: " in said
    assert "scale all" in said
    assert f"stopped early, after {estimator.n_iter_} of 40 epochs: 3 looks in a row" in said
    assert "kept: the weights of epoch" in said
    noise = estimator.baselines_["noise"]
    assert f"(the noise itself {noise:.3f})" in said


@pytest.mark.parametrize(
    ("student", "noise", "said"), [(0.2, 0.1, True), (0.2, 0.3, False), (3.1, 1.2, False)]
)
def test_more_noise_is_advised_where_it_is_weaker_than_the_student_s_error(student, noise, said):
    lines = described_noise(student, noise)
    assert lines[0] == f"from noisy samples:        {student:.3f} (the noise itself {noise:.3f})"
    assert ("give it more (--noise-rate 0.3" in lines[-1]) == said


def test_without_an_improvement_no_weights_are_said_to_be_the_best(capsys):
    estimator = DDNMF(2, widths=(9,), max_iter=2, random_state=0, verbose=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(np.full((40, 5), 0.5))
    assert "kept: " not in capsys.readouterr().err


def test_a_flat_output_has_a_remedy_that_is_not_there_yet():
    x = load_wine().data
    estimator = DDNMF(2, widths=(9,), max_iter=1, scale="features", random_state=0).fit(x)
    layer = estimator.model_.student.layers[-1]
    layer.W[4], layer.b[4] = 0.0, 0.0
    found = " ".join(findings(estimator.unexplained_, estimator.model_, x))
    assert "1 of 13 output features are constant although the data are not; train longer" in found
    holes = np.where(np.random.default_rng(0).random(x.shape) < 0.7, np.nan, x)
    missing = DDNMF(2, widths=(9,), max_iter=1, missing="nan", random_state=0).fit(holes)
    layer = missing.model_.student.layers[-1]
    layer.W[4], layer.b[4] = 0.0, 0.0
    assert "1 of 13 output" in " ".join(findings(missing.unexplained_, missing.model_, holes))


@pytest.mark.parametrize(
    ("scale", "remedy"), [("none", "or leave out scale='none'"), ("all", "or give more samples")]
)
def test_worse_than_the_mean_names_scaling_where_it_was_refused(scale, remedy):
    x = load_wine().data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DDNMF(2, widths=(9,), max_iter=0, scale=scale, random_state=0).fit(x)
    estimator.model_.student.layers[-1].b[...] = 1e4
    [first, *_] = findings(estimator.unexplained_, estimator.model_, x)
    assert "where the mean of each feature leaves 1.00" in first
    assert first.endswith(remedy) or f"{remedy} (--scale none)" in first


def test_held_out_samples_and_scaling_can_be_chosen():
    x = load_iris().data
    whole = DDNMF(2, widths=(9,), max_iter=2, validation_fraction=0.0, scale="features").fit(x)
    assert whole.config_.data.scale == "features"
    np.testing.assert_allclose(whole.model_.scaling.span, np.ptp(x, axis=0))
    assert whole.config_.training.validation_fraction == 0.0
    assert whole.config_.undecided == frozenset()
    for few, share in ((x, 0.0), (x[::20], 0.1), (stream(x), 0.1)):
        with pytest.raises(UsageError, match="patience is 2, but no samples are held out"):
            DDNMF(2, validation_fraction=share, patience=2).fit(few)
    with pytest.raises(UsageError, match=r"validation_fraction is 1\.5"):
        DDNMF(2, validation_fraction=1.5).fit(x)
    with pytest.raises(UsageError, match="scale is 'rows'"):
        DDNMF(2, scale="rows").fit(x)
    kept = DDNMF(2, widths=(9,), max_iter=2, patience=2, warm_start=True).fit(x)
    with pytest.raises(UsageError, match="scale is 'none', but the fitted networks have"):
        kept.set_params(scale="none").fit(x)
    DDNMF(2, widths=(9,), patience=2).partial_fit(x)  # which holds nothing out


def test_dead_codes_and_outputs_are_counted():
    x = load_iris().data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DDNMF(3, objective="demo", widths=(9,), max_iter=0, random_state=0).fit(x)
    model = estimator.model_
    model.student.arena.param("W_base")[1] = 0.0  # H is 1/2 for all samples
    model.student.layers[-1].W[2] = 0.0
    model.student.layers[-1].b[2] = 1.0
    found = " ".join(findings(estimator.unexplained_, model, x))
    assert "1 of 3 codes are the same for all samples" in found
    assert "nmf_start" not in found  # the estimator has no such parameter
    assert "output features are constant although the data are not" in found


def test_an_output_that_leaves_out_a_rare_feature_needs_no_warning():
    """A border pixel is lit in a few of thousands of images."""
    x = np.random.default_rng(0).uniform(size=(3000, 5))
    x[:, 4] = 0.0
    x[7, 4] = 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DDNMF(3, objective="demo", widths=(9,), max_iter=0, random_state=0).fit(x)
    model, text = estimator.model_, "output features are constant although the data are not"
    model.student.layers[-1].b[...] = 5.0  # ReLU is on for all samples
    model.student.layers[-1].W[4] = 0.0
    assert text not in " ".join(findings(estimator.unexplained_, model, x))
    model.student.layers[-1].W[2] *= 1e-4  # what a sigmoid's limit looks like
    assert f"1 of 5 {text}" in " ".join(findings(estimator.unexplained_, model, x))


# -- the command line ----------------------------------------------------------------------------


def content(folder):
    checkpoint = load_checkpoint(folder / "checkpoint.npz")
    return {name: array.tobytes() for name, array in checkpoint.arrays.items()}


def noise_of(folder):
    """The squares of a run's noise in the scored rows, over their deviations from the mean."""
    checkpoint = load_checkpoint(folder / "checkpoint.npz")
    x, dataset, config = read_data(checkpoint.config)
    scaling, n = checkpoint.scaling, checkpoint.meta["n_samples"]
    scaled = (dataset.x_test - scaling.low) / scaling.span
    noisy = np.empty_like(scaled)
    index = np.arange(len(scaled)) + n
    Corruption(config.noise, seed=config.training.seed).apply(scaled, index, 0, noisy)
    train = prepare(x, config).some
    mean = ((train - scaling.low) / scaling.span).mean(axis=0)
    assert config.noise.rate == pytest.approx(0.1 * train_spread(train, scaling), rel=1e-6)
    return ((noisy - scaled) ** 2).sum() / ((scaled - mean) ** 2).sum()


def train_spread(train, scaling):
    return ((train - scaling.low) / scaling.span).astype(np.float64).var(axis=0).mean() ** 0.5


def test_a_resumed_run_is_the_run_without_a_pause(tmp_path, monkeypatch, capsys, sketched):
    np.save(tmp_path / "x.npy", load_wine().data)
    flags = ["--dataset", str(tmp_path / "x.npy"), "--rank", "3", "--epochs", "12",
             "--batch-size", "16", "--clusterers", "kmeans", "--starts", "1",
             "--embedding", "pca"]  # fmt: skip
    assert main([*flags, "--output", str(tmp_path / "whole")]) == 0
    out = capsys.readouterr().out
    assert "chosen from the data: widths " in out
    assert "variance left unexplained: 0." in out
    from ddnmf_np.training import Trainer

    step = Trainer.step

    def stop(self, index):
        step(self, index)
        self.stop_requested = self.position.epoch == 7 and self.position.batch == 3

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        assert main([*flags, "--output", str(tmp_path / "run")]) == 130
    assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found = summary["evaluation"]["unexplained"]
    assert found["findings"] == []
    assert 0.0 < found["pca"] < found["ddnmf"] < 1.0
    assert found["ddnmf"] < found["ddnmf_noisy"] < 1.0
    assert found["noise"] == pytest.approx(noise_of(tmp_path / "run"), rel=1e-5)
    with monkeypatch.context() as patch:  # what PCA and NMF leave is not computed again
        patch.setattr("ddnmf_np.runs.scoring.yardsticks", None)
        assert main(["--resume", "--output", str(tmp_path / "run")]) == 0
    again = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert again["evaluation"]["unexplained"] == found
    model = load_checkpoint(tmp_path / "run" / "checkpoint.npz").restore_model()
    assert Unexplained(model, load_wine().data).of(load_wine().data) < 1.0


def test_the_preset_is_written_out_and_decides_nothing_again(tmp_path, unscored):
    np.save(tmp_path / "x.npy", load_iris().data)
    flags = ["--dataset", str(tmp_path / "x.npy"), "--rank", "2", "--epochs", "2",
             "--clusterers", "kmeans", "--starts", "1", "--embedding", "pca"]  # fmt: skip
    assert main([*flags, "--output", str(tmp_path / "one")]) == 0
    again = ["--config", str(tmp_path / "one" / "config.toml"), "--output", str(tmp_path / "two")]
    assert main(again) == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_best_weights_must_be_of_the_model():
    x = load_iris().data
    prepared = prepare(x, configure(objective="auto", rank=2))
    model = prepared.config.make_model(4, scaling=prepared.scaling)
    rule = Validation(Unexplained(model, x), x, patience=1, tol=0.1)
    for which, finished in (("best", False), ("last", True)):
        numbers = {"best": 1.0, "fraction": 1.0, "waited": 0, "stopped": False}
        numbers["finished"] = finished
        with pytest.raises(DataError, match="has no best_epoch"):
            rule.load_state({}, numbers)
        numbers["best_epoch"] = 1
        with pytest.raises(DataError, match=rf"block {which}.student is of shape \(3,\)"):
            rule.load_state({f"{which}.student": np.zeros(3)}, numbers)


def test_an_objective_object_names_its_preset():
    config = DDNMF(2, objective=Objective("auto", gamma_nc=1.0))._configure(load_iris().data)
    assert (config.objective.preset, config.objective.gamma_nc) == ("auto", 1.0)
    assert config.undecided


# -- what was found wrong once --------------------------------------------------------------------


def test_the_estimator_s_defaults_are_the_preset_s():
    x = load_wine().data
    found = DDNMF(5, random_state=0)._configure(x)
    assert found.undecided == frozenset(DECIDED)
    expected = configure(objective="auto", rank=5, dtype="float64")
    assert found.to_dict() == expected.to_dict()


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_some_rows_are_held_out_and_a_batch_is_left(share):
    config = configure(objective="auto", validation_fraction=share)
    prepared = prepare(np.random.default_rng(0).uniform(size=(40, 3)), config)
    assert 1 <= len(prepared.held_out) <= 39
    given = configure(objective="auto", batch_size=30, validation_fraction=share)
    prepared = prepare(np.random.default_rng(0).uniform(size=(40, 3)), given)
    assert len(prepared.x) >= 30
    full = configure(objective="auto", batch_size=40)
    assert prepare(np.ones((40, 3)), full).held_out is None


def test_constant_data_end_in_a_summary(tmp_path, sketched):
    np.save(tmp_path / "x.npy", np.full((40, 4), 0.1))
    flags = ["--rank", "2", "--epochs", "2", "--clusterers", "kmeans", "--clusters", "1",
             "--starts", "1", "--embedding", "pca"]  # fmt: skip
    output = tmp_path / "run"
    assert main(["--dataset", str(tmp_path / "x.npy"), *flags, "--output", str(output)]) == 0
    json.loads((output / "summary.json").read_text(), parse_constant=pytest.fail)


def test_what_the_data_decided_does_not_outlive_the_preset():
    config = DDNMF(2, max_iter=1, random_state=0).fit(load_iris().data).config_
    paper = configure(config, objective="paper")
    expected = configure(objective="paper", rank=2, dtype="float64").to_dict()
    assert {k: v for k, v in paper.to_dict().items() if v != expected[k]} == {}


def test_an_object_leaves_the_weights_to_the_data():
    x = load_iris().data
    by_name = DDNMF(2, max_iter=1, random_state=0).fit(x).config_
    one = DDNMF(2, objective=Objective("auto", beta_ap=0.1), max_iter=1, random_state=0)
    config = one.fit(x).config_
    assert config["beta_ap"] == 0.1
    assert config["alpha_sym"] == by_name["alpha_sym"] > 1.0


def test_another_kind_of_noise_has_its_own_rate():
    x = load_iris().data
    config = DDNMF(2, noise="masking", max_iter=1, random_state=0).fit(x).config_
    assert (config.noise.kind, config.noise.rate) == ("masking", 0.1)


def test_a_given_batch_size_counts():
    facts = Facts(2000, 30, "all", inside=True, missing=False, variance=0.1)
    config = configure(objective="auto", batch_size=16).decide(facts)
    assert config["batch_size"] == 16
    assert config["lr"] == pytest.approx(1e-3)
    assert config["epochs"] * 2000 / 16 == pytest.approx(8000, rel=0.01)


def test_data_that_are_not_scaled_keep_an_output_that_reaches_them():
    x = load_wine().data
    config = configure(objective="auto", scale="none")
    assert prepare(x, config).config.model.output_activation == "relu"


def test_a_stream_s_first_look_is_bounded(monkeypatch):
    monkeypatch.setattr("ddnmf_np.runs.preparation.MOST_BYTES", 4 * 8 * 10)
    prepared = prepare(Rows(stream(load_iris().data), "float64"), configure(objective="auto"))
    assert len(prepared.some) <= 10


def test_more_epochs_go_on_from_the_last_weights_and_not_from_the_best(tmp_path, capsys, unscored):
    np.save(tmp_path / "x.npy", load_iris().data)
    flags = ["--dataset", str(tmp_path / "x.npy"), "--rank", "2", "--widths", "9", "7",
             "--lr-schedule", "constant", "--lr", "0.05", "--clusterers", "kmeans", "--starts", "1",
             "--embedding", "pca"]  # fmt: skip
    assert main([*flags, "--output", str(tmp_path / "whole"), "--epochs", "12"]) == 0
    assert main([*flags, "--output", str(tmp_path / "run"), "--epochs", "6"]) == 0
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    params = np.concatenate([
        block.ravel() for name, block in checkpoint.arrays.items() if ":" not in name
        and name.startswith("student.")
    ])  # fmt: skip
    assert not np.array_equal(params, checkpoint.arrays["last.student"])  # else nothing is shown
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "12"]) == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_run_that_stopped_early_says_why_it_cannot_be_extended(tmp_path, capsys, unscored):
    np.save(tmp_path / "x.npy", load_iris().data)
    run = str(tmp_path / "run")
    flags = ["--rank", "2", "--widths", "9", "7", "--lr-schedule", "constant", "--patience", "2",
             "--tol", "0.9", "--clusterers", "kmeans", "--starts", "1", "--embedding",
             "pca"]  # fmt: skip
    assert (
        main(["--dataset", str(tmp_path / "x.npy"), "--output", run, *flags, "--epochs", "50"]) == 0
    )
    before = content(tmp_path / "run")
    out = capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert f"stopped early, after {summary['epochs']} of 50 epochs: 2 looks" in out
    assert f"kept: the weights of epoch {summary['best_epoch']}, which" in out
    assert 0 < summary["best_epoch"] <= summary["epochs"] < 50
    assert main(["--resume", "--output", run, "--epochs", "60"]) == 2
    err = capsys.readouterr().err
    assert "epochs is 60, but the run has stopped early, after" in err
    assert "larger --patience" in err
    assert main(["--resume", "--output", run]) == 0  # scores again
    assert content(tmp_path / "run") == before


def test_a_run_that_has_not_learned_says_so(tmp_path, capsys):
    np.save(tmp_path / "x.npy", load_wine().data)
    files = ["--dataset", str(tmp_path / "x.npy"), "--output", str(tmp_path / "run")]
    quick = ["--epochs", "1", "--clusterers", "kmeans", "--starts", "1", "--embedding", "pca"]
    assert main([*files, *quick, "--objective", "demo", "--rank", "2", "--widths", "9"]) == 0
    out = capsys.readouterr().out
    assert "not learned well: the reconstruction leaves" in out
    assert "or take objective='auto' (--objective auto), which scales the data" in out


def test_a_schedule_says_why_a_run_cannot_be_extended(tmp_path, capsys, unscored):
    np.save(tmp_path / "x.npy", load_iris().data)
    run = str(tmp_path / "run")
    flags = ["--rank", "2", "--widths", "9", "7", "--clusterers", "kmeans", "--starts", "1",
             "--embedding", "pca"]  # fmt: skip
    assert (
        main(["--dataset", str(tmp_path / "x.npy"), "--output", run, *flags, "--epochs", "2"]) == 0
    )
    capsys.readouterr()
    assert main(["--resume", "--output", run, "--epochs", "3"]) == 4
    assert "the run has epochs = 2, not 3 (the learning rate of lr_schedule 'cosine' depends" in (
        capsys.readouterr().err
    )
