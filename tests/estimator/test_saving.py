"""Saved estimators, and estimators of runs: the same results, from one file without pickle."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import NotFittedError
from tolerances import assert_same_bits

from ddnmf_np import DDNMF, Descent, Noise, Objective
from ddnmf_np.errors import CheckpointError, DataError, OutputError, UsageError
from ddnmf_np.runs import run as run_module
from ddnmf_np.runs import scoring
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.system.described import read_described, write_described
from ddnmf_np.train import main
from ddnmf_np.transform.__main__ import main as transform

WINE = load_wine().data
HOLES = np.where(np.random.default_rng(0).uniform(size=WINE.shape) < 0.1, np.nan, WINE)
FAST = {"max_iter": 3, "random_state": 0}
METHODS = ("transform", "denoise", "impute", "predict")
QUICK = ["--epochs", "3", "--clusterers", "kmeans", "--starts", "1"]


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    """Runs are here for their checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.scoring, "draw_figures", lambda *_: [])
        patch.setattr(run_module, "write_report", lambda *_: None)
        yield


def fitted(**options):
    return DDNMF(**{"n_components": 3, "missing": "nan", **FAST, **options}).fit(HOLES)


def assert_same_results(one, other, x=HOLES):
    for name in METHODS:
        assert_same_bits(getattr(one, name)(x), getattr(other, name)(x), name)
    H = one.transform(x)
    assert_same_bits(one.inverse_transform(H), other.inverse_transform(H))
    assert one.score(x) == other.score(x)
    assert_same_bits(one.components_, other.components_)


@pytest.mark.parametrize("supervisor", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "paper", "widths": (9, 5), "batch_size": 16, "fast": "off"},
        {
            "objective": Objective("auto", beta_ap=0.1),
            "noise": Noise("gaussian", 0.2),
            "optimizer": Descent("momentum", momentum=0.5, lr=0.01),
            "image_shape": np.array([1, 13]),
            "n_clusters": 2,
        },
    ],
    ids=["default", "paper", "objects"],
)
def test_a_loaded_estimator_gives_the_same_bits(tmp_path, options, supervisor):
    estimator = fitted(**options)
    file = tmp_path / "model.npz"
    estimator.save(file, supervisor=supervisor)
    again = DDNMF.load(file)
    assert_same_results(again, estimator)
    for name in ("n_features_in_", "n_iter_", "n_samples_seen_", "reconstruction_err_",
                 "data_max_", "loss_history_", "config_"):  # fmt: skip
        assert getattr(again, name) == getattr(estimator, name), name
    expected = estimator.get_params()
    if "image_shape" in options:
        expected["image_shape"] = (1, 13)
    assert again.get_params() == expected
    with pytest.raises(NotFittedError):
        clone(again).transform(HOLES)
    again.save(tmp_path / "twice.npz", supervisor=supervisor)
    assert_same_results(DDNMF.load(tmp_path / "twice.npz"), estimator)


def test_clusters_that_were_found_are_kept(tmp_path, monkeypatch):
    estimator = fitted()
    expected = estimator.predict(HOLES)
    estimator.save(tmp_path / "model.npz")
    again = DDNMF.load(tmp_path / "model.npz")
    monkeypatch.setattr("ddnmf_np.evaluation.code_clusters.cluster", lambda *_, **__: 1 / 0)
    assert_same_bits(again.predict(HOLES), expected)
    with pytest.raises(AttributeError, match=r"labels_ are there only after the fit"):
        _ = again.labels_


def test_the_student_alone_is_small_and_cannot_be_trained(tmp_path):
    estimator = fitted(widths=(60, 50))
    estimator.save(tmp_path / "small.npz")
    estimator.save(tmp_path / "whole.npz", supervisor=True)
    small, whole = (os.path.getsize(tmp_path / f"{name}.npz") for name in ("small", "whole"))
    assert 4.5 * small < whole  # both networks, each with two moments of Adam
    again = DDNMF.load(tmp_path / "small.npz")
    text = "loaded without its supervisor and cannot be trained on; save it with supervisor=True"
    with pytest.raises(UsageError, match=f"^partial_fit: .*{text}"):
        again.partial_fit(HOLES)
    with pytest.raises(UsageError, match=f"^warm_start: .*{text}"):
        again.set_params(warm_start=True).fit(HOLES)
    with pytest.raises(UsageError, match="supervisor is True, but this model was loaded without"):
        again.save(tmp_path / "other.npz", supervisor=True)
    assert np.isnan(again.model_.supervise(HOLES)).all()  # nobody takes it for trained
    again.set_params(warm_start=False).fit(HOLES).partial_fit(HOLES)
    assert_same_bits(
        again.transform(HOLES), fitted(widths=(60, 50)).partial_fit(HOLES).transform(HOLES)
    )


def test_a_whole_estimator_is_trained_on_as_the_original(tmp_path):
    estimator = fitted()
    estimator.save(tmp_path / "model.npz", supervisor=True)
    again = DDNMF.load(tmp_path / "model.npz").partial_fit(HOLES[:60])
    estimator.partial_fit(HOLES[:60])
    assert_same_results(again, estimator)


def test_names_of_features_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(WINE, columns=[f"c{k}" for k in range(13)])
    DDNMF(3, **FAST).fit(frame).save(tmp_path / "model.npz")
    again = DDNMF.load(tmp_path / "model.npz")
    assert again.feature_names_in_.tolist() == list(frame.columns)
    again.transform(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        again.transform(frame[frame.columns[::-1]])


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (lambda x: -x, "Negative values"),
        (lambda x: x[:, :12], "X has 12 features, but DDNMF is expecting 13"),
        (lambda x: np.where(x > 1000, np.inf, x), "Infinite values"),
    ],
)
def test_a_loaded_estimator_checks_its_samples(tmp_path, bad, text):
    fitted().save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=text):
        DDNMF.load(tmp_path / "model.npz").transform(bad(WINE))


def test_the_container_of_results_is_kept(tmp_path):
    estimator = DDNMF(3, **FAST).fit(WINE).set_output(transform="pandas")
    estimator.save(tmp_path / "model.npz")
    again = DDNMF.load(tmp_path / "model.npz")
    for name in ("transform", "denoise"):
        one, two = getattr(estimator, name)(WINE), getattr(again, name)(WINE)
        assert type(one).__name__ == "DataFrame"
        assert one.equals(two), name


def test_before_fit_there_is_nothing_to_save(tmp_path):
    with pytest.raises(NotFittedError):
        DDNMF().save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        fitted().save(tmp_path / "no" / "model.npz")


# -- files that are no models ---------------------------------------------------------------------


def changed(file, change):
    meta, arrays = read_described(file)
    change(meta, arrays)
    write_described(file, meta, arrays)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m, a: m.update(format=2), r"has format 2 \(written by .*reads format 1. Use that"),
        (lambda m, a: m.update(format=True), "has format True"),
        (lambda m, a: m.pop("what"), "is no saved estimator; write one with save"),
        (lambda m, a: m.pop("config"), "cannot be used .*'config'.*; save the model again"),
        (lambda m, a: m.update(n_features=12), "block student.W1 is of shape"),
        (lambda m, a: m.update(n_iter="3"), "n_iter is '3'"),
        (lambda m, a: m["params"].update(nonsense=1), "nonsense"),
        (lambda m, a: m["params"].update(noise={"Other": {}}), "cannot be used .*Other"),
        (lambda m, a: a.pop("student.W_base"), "block student.W_base is missing"),
        (lambda m, a: a.update(mean=np.zeros(3)), r"mean has shape \(3,\)"),
        (lambda m, a: a.update({"scaling.low": np.zeros(3)}), r"scaling.low has shape \(3,\)"),
        (lambda m, a: m.update(feature_names=["a"]), "names 1 of 13 features"),
    ],
)  # fmt: skip
def test_a_file_with_other_content_is_refused(tmp_path, change, text):
    file = tmp_path / "model.npz"
    fitted().save(file)
    changed(file, change)
    with pytest.raises(CheckpointError, match=rf"model\.npz: .*{text}"):
        DDNMF.load(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "model.npz"
    with pytest.raises(CheckpointError, match="there is no such file; check the path"):
        DDNMF.load(file)
    np.savez(file, x=WINE)
    with pytest.raises(CheckpointError, match="is damaged or no model of ddnmf_np"):
        DDNMF.load(file)
    fitted().save(file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged or no model"):
        DDNMF.load(file)


# -- runs of the command line ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["auto", "paper"])
def run(request, tmp_path_factory):
    """The folder of a run on 8-bit images, the images, and the codes of its own evaluation."""
    folder = tmp_path_factory.mktemp(request.param)
    images = np.random.default_rng(0).integers(0, 256, (120, 5, 4)).astype(np.uint8)
    np.savez(folder / "x.npz", x_train=images[:100], x_test=images[100:])
    seen = []
    evaluate = scoring.evaluate

    def spy(*given):
        seen.append(evaluate(*given))
        return seen[-1]

    flags = ["--dataset", str(folder / "x.npz"), "--objective", request.param, "--rank", "3",
             "--widths", "9", "6", "--batch-size", "50", *QUICK]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.scoring, "evaluate", spy)
        assert main([*flags, "--output", str(folder / "run")]) == 0
    return folder / "run", images.reshape(120, 20), seen[0]


def test_the_estimator_of_a_run_has_the_run_s_codes(run):
    folder, images, evaluation = run
    for path in (folder, folder / "checkpoint.npz", str(folder)):
        estimator = DDNMF.from_run(path)
        assert_same_bits(estimator.transform(images[100:]), evaluation.H)
        assert_same_bits(estimator.transform(images[100:].astype(np.float32) / 255), evaluation.H)
        assert_same_bits(estimator.components_, evaluation.parts)
    assert (estimator.n_features_in_, estimator.n_iter_, estimator.n_components) == (20, 3, 3)
    summary = json.loads((folder / "summary.json").read_text())
    unexplained = summary["evaluation"]["unexplained"]["ddnmf"]
    assert 1.0 - estimator.score(images[100:]) == pytest.approx(unexplained, rel=1e-5)
    found = summary["evaluation"]["unexplained"]
    names = ("mean", "pca", "nmf", "noise")
    assert DDNMF.from_run(folder).baselines_ == {k: found[k] for k in names}


def test_the_estimator_of_a_run_checks_its_samples(run):
    folder, images, _ = run
    estimator = DDNMF.from_run(folder)
    with pytest.raises(DataError, match="X has values above 1, but the run was trained on unsig"):
        estimator.transform(images.astype(float))
    x = images / 255
    for bad, text in (
        (-x, "Negative"),
        (np.where(x > 0.9, np.nan, x), "NaN"),
        (x[:, :9], "9 feat"),
    ):
        with pytest.raises(ValueError, match=text):
            estimator.transform(bad)
    with pytest.raises(UsageError, match="predict: a run keeps no codes of its training samples"):
        estimator.predict(images)


def test_frames_of_8_bit_samples_are_divided_too(run):
    folder, images, evaluation = run
    estimator = DDNMF.from_run(folder)
    for kind in ("uint8", "UInt8"):
        frame = pd.DataFrame(images[100:]).astype(kind)
        assert_same_bits(estimator.transform(frame), evaluation.H)


@pytest.mark.parametrize("kind", [np.float64, np.int16])
def test_8_bit_samples_of_another_type_are_refused(run, tmp_path, kind, capsys):
    folder, images, _ = run
    x, out = images.astype(kind), np.empty((120, 3), np.float32)
    np.save(tmp_path / "x.npy", x)
    text = "x.npy.* has values above 1, but the run was trained on unsigned 8-bit samples"
    with pytest.raises(DataError, match=text):
        DDNMF.from_run(folder).transform_into(tmp_path / "x.npy", out)
    with pytest.raises(DataError, match="X has values above 1, but"):
        load_checkpoint(folder / "checkpoint.npz").intake.take(x)
    assert (
        transform([str(folder), str(tmp_path / "x.npy"), "--output", str(tmp_path / "h.npy")]) == 4
    )
    assert re.search(text, capsys.readouterr().err)
    np.save(tmp_path / "x.npy", images / 255)
    DDNMF.from_run(folder).transform_into(tmp_path / "x.npy", out)


def test_a_stopped_run_does_not_show_the_error_of_other_weights(run, tmp_path):
    folder = run[0]
    meta, arrays = read_described(folder / "checkpoint.npz")
    if meta["validation"] is None:
        assert not hasattr(DDNMF.from_run(folder), "reconstruction_err_")
        return
    best = meta["validation"]["best"]
    assert DDNMF.from_run(folder).reconstruction_err_ == best
    meta["validation"]["finished"] = False
    arrays = {name.replace("last.", "best."): block for name, block in arrays.items()}
    write_described(tmp_path / "stopped.npz", meta, arrays)
    assert not hasattr(DDNMF.from_run(tmp_path / "stopped.npz"), "reconstruction_err_")


def test_the_folder_of_a_run_is_no_saved_estimator(run):
    with pytest.raises(CheckpointError, match=r"is a folder; .*DDNMF.from_run\("):
        DDNMF.load(run[0])


def test_streamed_samples_of_a_run_are_divided_too(run, tmp_path):
    folder, images, evaluation = run
    np.save(tmp_path / "x.npy", images[100:])
    out = np.empty((20, 3), np.float32)
    DDNMF.from_run(folder).transform_into(tmp_path / "x.npy", out)
    assert_same_bits(out, evaluation.H)


def test_the_estimator_of_a_run_goes_on_and_can_be_saved(run, tmp_path):
    folder, images, evaluation = run
    DDNMF.from_run(folder).save(tmp_path / "model.npz")
    again = DDNMF.load(tmp_path / "model.npz")
    assert_same_bits(again.transform(images[100:]), evaluation.H)
    warm = DDNMF.from_run(folder).set_params(warm_start=True, max_iter=2)
    for x in (images, images / 255):  # the units stay those of the run
        assert warm.fit(x[:100]).n_iter_ in (5, 7)
        same = np.divide(images, 255.0, dtype=warm.model_.dtype)
        assert_same_bits(warm.transform(images), warm.transform(same))
    more = DDNMF.from_run(folder).partial_fit(images[:100] / np.float32(255))
    assert more.n_iter_ == 4
    assert not np.array_equal(more.transform(images[100:]), evaluation.H)
    assert more.predict(images).shape == (120,)


def test_parameters_of_a_run_train_the_same_model_again(run):
    folder, images, _ = run
    estimator = DDNMF.from_run(folder)
    x = images[:100] / np.float32(255)
    twin = clone(estimator).fit(x.astype(np.float32))
    assert twin.config_.model == estimator.config_.model
    assert_same_bits(
        twin.transform(images[100:] / np.float32(255)), estimator.transform(images[100:])
    )


def test_a_run_of_other_numbers_takes_them_as_they_are(tmp_path):
    np.save(tmp_path / "x.npy", load_iris().data)
    flags = ["--dataset", str(tmp_path / "x.npy"), "--rank", "2", *QUICK]
    assert main([*flags, "--output", str(tmp_path / "run")]) == 0
    estimator = DDNMF.from_run(tmp_path / "run")
    x = np.rint(load_iris().data)
    assert_same_bits(estimator.transform(x.astype(np.uint8)), estimator.transform(x))
    assert not os.path.exists(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match=r"is the checkpoint of a run; open it with DDNMF.fr"):
        DDNMF.load(tmp_path / "run" / "checkpoint.npz")
    estimator.save(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match="is a saved estimator and no checkpoint"):
        DDNMF.from_run(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        DDNMF.from_run(tmp_path)


def test_a_checkpoint_without_a_mean_has_no_score(run, tmp_path):
    folder, images, _ = run
    checkpoint = load_checkpoint(folder / "checkpoint.npz")
    meta, arrays = read_described(checkpoint.path)
    del arrays["mean"], meta["data"]
    write_described(tmp_path / "old.npz", meta, arrays)
    estimator = DDNMF.from_run(tmp_path / "old.npz")
    with pytest.raises(UsageError, match="score: this checkpoint does not say what the mean"):
        estimator.score(images / 255)
    meta["data"] = {"feature_names": [f"c{k}" for k in range(20)]}
    write_described(tmp_path / "old.npz", meta, arrays)
    assert DDNMF.from_run(tmp_path / "old.npz").feature_names_in_.tolist()[-1] == "c19"


# -- unsigned 8-bit samples -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [255, 180])
@pytest.mark.parametrize("objective", ["paper", "stable", "auto"])
def test_estimator_and_command_line_agree_on_8_bit_samples(tmp_path, objective, most):
    images = np.random.default_rng(0).integers(0, most + 1, (60, 9)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    noise = ["--noise-kind", "salt-and-pepper", "--noise-rate", "0.3"]
    flags = ["--dataset", str(tmp_path / "x.npy"), "--objective", objective, "--rank", "2", *noise,
             "--widths", "7", "5", "--batch-size", "20", "--dtype", "float64", *QUICK]  # fmt: skip
    assert main([*flags, "--output", str(tmp_path / "run")]) == 0
    run = DDNMF.from_run(tmp_path / "run")
    options = {"objective": objective, "widths": (7, 5), "batch_size": 20, "n_components": 2}
    options["noise"] = run.config_.noise
    estimator = DDNMF(**options, **FAST).fit(images)
    assert estimator.data_max_ == pytest.approx(run.data_max_, rel=1e-12)
    codes = estimator.transform(images)
    np.testing.assert_allclose(codes, run.transform(images), rtol=1e-6)
    # A number means the same in every type, and what comes back is in the samples' units.
    assert_same_bits(estimator.transform(images.astype(float)), codes)
    np.testing.assert_allclose(estimator.denoise(images), 255 * run.denoise(images), rtol=1e-6)
    assert estimator.score(images) == pytest.approx(run.score(images), rel=1e-6)


def test_8_bit_truth_values_are_no_grey_values():
    x = np.random.default_rng(0).integers(0, 2, (60, 9))
    options = {"objective": "paper", "widths": (7, 5), "n_components": 2, **FAST}
    one, two = (DDNMF(**options).fit(x.astype(kind)) for kind in (np.uint8, np.float64))
    assert_same_bits(one.transform(x), two.transform(x))


def test_missing_8_bit_samples_are_filled_with_their_mean():
    x = np.random.default_rng(0).integers(0, 256, (60, 9)).astype(np.uint8)
    hidden = np.random.default_rng(1).uniform(size=x.shape) < 0.2
    holes = np.where(hidden, np.nan, x / 255)
    options = {"objective": "paper", "widths": (7, 5), "n_components": 2, "missing": "nan", **FAST}
    one, two = DDNMF(**options).fit(np.ma.array(x, mask=hidden)), DDNMF(**options).fit(holes)
    np.testing.assert_allclose(one.model_.scaling.fill, np.nanmean(holes, axis=0), rtol=1e-12)
    np.testing.assert_allclose(one.transform(255 * holes), two.transform(holes), rtol=1e-6)


def test_frames_of_8_bit_samples_are_grey_values():
    x = np.random.default_rng(0).integers(0, 256, (60, 9)).astype(np.uint8)
    options = {"objective": "paper", "widths": (7, 5), "n_components": 2, **FAST}
    one, two = DDNMF(**options).fit(x), DDNMF(**options).fit(pd.DataFrame(x))
    assert_same_bits(one.transform(x), two.transform(pd.DataFrame(x)))
    mixed = pd.DataFrame(x).astype({0: float})  # another type means other numbers
    assert DDNMF(**options).fit(mixed).model_.scaling is None
