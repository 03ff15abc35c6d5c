"""Runs on files of one's own: their names, their labels, and the rows that are held out."""

import json
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ddnmf_np.config import configure, read_config
from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError
from ddnmf_np.explore.content import gather
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.inference import Inference
from ddnmf_np.runs.inputs import MOST, read_data
from ddnmf_np.train import main

FLAGS = ["--widths", "11", "7", "--rank", "3", "--batch-size", "10", "--seed", "5"]
FLAGS += ["--clusterers", "kmeans", "--starts", "2", "--embedding", "pca", "--objective", "paper"]
FLAGS += ["--epochs", "2"]
NAMES = [f"gene {k}" for k in range(13)]

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture
def frame():
    """A table of 120 named rows, with labels in text."""
    rng = np.random.default_rng(0)
    kinds = np.arange(120) % 3
    x = rng.random((120, 13)) + 3.0 * np.eye(13)[kinds]
    frame = pd.DataFrame(x.round(4), columns=NAMES, index=[f"cell {k}" for k in range(120)])
    return frame.assign(kind=[f"kind {k}" for k in kinds])


@pytest.fixture
def table(tmp_path, frame):
    frame.to_csv(tmp_path / "cells.csv")
    return tmp_path / "cells.csv"


def train(data, output, *flags):
    return main(["--dataset", str(data), "--output", str(output), *FLAGS, *flags])


def summary(folder):
    return json.loads((folder / "summary.json").read_text("utf-8"))


def about(folder):
    return load_checkpoint(folder / "checkpoint.npz").about


def test_a_table_from_the_file_to_report_and_explorer(tmp_path, table, capsys):
    run = tmp_path / "run"
    assert train(table, run, "--labels", "kind") == 0
    out = capsys.readouterr().out
    assert "96 training samples of 13 features" in out
    assert "column 'kind' has the labels" in out
    assert "24 rows are for scoring only" in out
    found = summary(run)["evaluation"]
    assert (found["split"], found["n_samples"]) == ("test", 24)
    assert found["scores"]["kmeans"]["cluster_sizes"].__len__() == 3
    assert found["scores"]["kmeans"]["acc"] > 0.3
    assert about(run) == {
        "feature_names": NAMES,
        "class_names": ["kind 0", "kind 1", "kind 2"],
        "from_bytes": False,
        "n_clusters": 3,
    }
    tops = found["top_features"]
    assert len(tops) == 3
    for top in tops:
        assert all(name in NAMES for name, _ in top)
        sizes = [abs(value) for _, value in top]
        assert sizes == sorted(sizes, reverse=True)
    page = (run / "report.html").read_text("utf-8")
    assert "Features on which each unit acts most" in page
    assert max(tops, key=len)[0][0] in page
    head = gather(load_checkpoint(run / "checkpoint.npz"), None, lambda text: None).head
    assert head["notes"] == []
    assert head["samples"]["total"] == 24
    assert sorted(head["samples"]["classes"]) == ["kind 0", "kind 1", "kind 2"]
    assert [[name for name, _ in top] for top in head["tops"]] == [
        [name for name, _ in top] for top in tops
    ]


def test_classes_are_drawn_by_their_names(tmp_path, table, monkeypatch):
    shown = []
    from ddnmf_np.runs import scoring

    plot = scoring.figures.plot_cluster_matrix
    monkeypatch.setattr(
        scoring.figures,
        "plot_cluster_matrix",
        lambda found, title: shown.append(found.classes) or plot(found, title),
    )
    assert train(table, tmp_path / "run", "--labels", "kind") == 0
    assert [str(name) for name in shown[0]] == ["kind 0", "kind 1", "kind 2"]


def test_a_run_of_a_table_goes_on_with_the_same_rows(tmp_path, unscored, table, capsys):
    flags = ["--labels", "kind"]
    assert train(table, tmp_path / "whole", *flags, "--epochs", "4") == 0
    assert train(table, tmp_path / "run", *flags) == 0
    assert read_config(tmp_path / "run" / "config.toml")["test_fraction"] == 0.2
    assert main(["--resume", "--output", str(tmp_path / "run"), "--epochs", "4"]) == 0
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.npz") for name in ("run", "whole"))
    for name, block in one.arrays.items():
        np.testing.assert_array_equal(block, two.arrays[name], err_msg=name)
    again = ["--resume", "--output", str(tmp_path / "run"), "--test-fraction", "0.1"]
    capsys.readouterr()
    assert main(again) == 4
    assert "the run has test_fraction = 0.2, not 0.1" in capsys.readouterr().err


@pytest.mark.parametrize("streamed", [False, True])
def test_a_change_of_any_row_is_found(tmp_path, unscored, frame, streamed, capsys):
    """Also of one that is held out, or a resumed run would score other rows."""
    x, path, run = np.ascontiguousarray(frame[NAMES]), tmp_path / "x.npy", tmp_path / "run"
    np.save(path, x)
    assert train(path, run, *(["--stream"] if streamed else [])) == 0
    config = load_checkpoint(run / "checkpoint.npz").config
    dataset = read_data(config)[1]
    for part in (dataset.x_train[:1], dataset.x_test):
        row = np.flatnonzero((x.astype(np.float32) == part[-1]).all(axis=1))[0]
        changed = x.copy()
        changed[row, 3] += 0.5
        np.save(path, changed)
        assert main(["--resume", "--output", str(run), "--epochs", "3"]) == 4
        assert "was trained on other data" in capsys.readouterr().err
    np.save(path, x)
    assert main(["--resume", "--output", str(run), "--epochs", "3"]) == 0


def test_training_does_not_see_what_is_scored(tmp_path, table):
    config = configure(dataset=str(table), labels="kind", seed=5, rank=3, batch_size=10)
    x, dataset, decided = read_data(config)
    whole = load(str(table), labels="kind").x_train
    assert decided.data.test_fraction == 0.2
    assert x is dataset.x_train
    assert (len(x), len(dataset.x_test)) == (96, 24)
    rows = {row.tobytes() for row in whole}
    assert {row.tobytes() for row in x} | {row.tobytes() for row in dataset.x_test} == rows
    assert not {row.tobytes() for row in x} & {row.tobytes() for row in dataset.x_test}


@pytest.mark.parametrize(
    ("n", "options", "share"),
    [
        (97, {}, 0.0),  # a fifth would be fewer than 20
        (100, {}, 0.2),
        (100, {"rank": 10}, 0.2),
        (100, {"rank": 11}, 0.0),  # fewer than two for each cluster
        (100, {"clusters": 11}, 0.0),
        (100, {"rank": 11, "clusters": 4}, 0.2),
        (100, {"batch_size": 81}, 0.0),  # no batch would be left
        (5 * MOST + 5, {}, MOST / (5 * MOST + 5)),
        (100, {"test_fraction": 0.5}, 0.5),
        (30, {"test_fraction": 0.5}, 0.5),
        (100, {"test_fraction": 0.0}, 0.0),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_how_many_rows_are_held_out(tmp_path, n, options, share, streamed):
    np.save(tmp_path / "x.npy", np.ones((n, 1), np.float32))
    options = {"rank": 3, "batch_size": 10, "stream": streamed} | options
    x, dataset, config = read_data(configure(dataset=str(tmp_path / "x.npy"), **options))
    assert config.data.test_fraction == share
    assert (0 if dataset.x_test is None else len(dataset.x_test)) == min(round(share * n), MOST)
    assert x.shape[0] == n - round(share * n)


def test_a_batch_that_the_data_will_choose_holds_no_rows_back(tmp_path):
    """The default is 128, more than the rows of many tables; the preset auto takes 16 for these."""
    np.save(tmp_path / "x.npy", np.ones((120, 1), np.float32))
    config = configure(dataset=str(tmp_path / "x.npy"), objective="auto", rank=3)
    assert read_data(config)[2].data.test_fraction == 0.2


def test_a_share_below_one_row_says_that_no_rows_are_held_out(tmp_path, unscored, table, capsys):
    flags = ["--ignore", "kind", "--test-fraction", "0.001"]
    assert train(table, tmp_path / "run", *flags) == 0
    assert "no rows are for scoring only" in capsys.readouterr().out


def test_a_set_with_a_test_split_keeps_it(tmp_path, capsys):
    assert read_data(configure())[2].data.test_fraction == 0.0
    assert train("digits", tmp_path / "run", "--test-fraction", "0.5") == 2
    assert "test_fraction is 0.5, but digits has a test split" in capsys.readouterr().err


def test_a_file_is_scored_on_its_training_rows_if_asked(tmp_path, table, capsys):
    assert train(table, tmp_path / "run", "--ignore", "kind", "--test-fraction", "0") == 0
    assert "no rows are for scoring only" in capsys.readouterr().out
    found = summary(tmp_path / "run")["evaluation"]
    assert (found["split"], found["n_samples"]) == ("train", 120)


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        ([], 4, "column 'kind' is text ('kind 0' in line 2)"),
        (["--labels", "kin"], 4, "column 'kind' is text"),
        (["--ignore", "kid"], 2, "has no column 'kid'; did you mean 'kind'?"),
        (["--ignore", "kind", "--labels", "kin"], 2, "labels is 'kin', neither a column"),
        (["--ignore", "kind", "--test-fraction", "1"], 2, "test_fraction is 1.0; expected"),
        (["--stream"], 4, "cells.csv: cannot be streamed"),
    ],
)
def test_bad_options_for_a_table_leave_nothing(tmp_path, table, flags, code, text, capsys):
    assert train(table, tmp_path / "run", *flags) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert text in err
    assert not (tmp_path / "run").exists()


def test_annotated_counts(tmp_path, frame, capsys):
    """AnnData's file with a sparse matrix: names, labels from obs, held-out rows, resume, pages."""
    matrix = sparse.csr_matrix(frame[NAMES].to_numpy(np.float32))
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": matrix.shape})
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        for axis, names in (("obs", list(frame.index)), ("var", NAMES)):
            group = file.create_group(axis)
            group.attrs["_index"] = "_index"
            group["_index"] = names
        file["obs/kind"] = list(frame["kind"])
    run = tmp_path / "run"
    assert train(path, run, "--labels", "kind") == 0
    assert about(run)["feature_names"] == NAMES
    assert about(run)["class_names"] == ["kind 0", "kind 1", "kind 2"]
    found = summary(run)
    assert found["dataset"]["n_train"] == 96
    assert (found["evaluation"]["split"], found["evaluation"]["n_samples"]) == ("test", 24)
    assert main(["--resume", "--output", str(run), "--epochs", "3"]) == 0
    head = gather(load_checkpoint(run / "checkpoint.npz"), None, lambda text: None).head
    assert head["notes"] == []
    assert head["samples"]["total"] == 24
    capsys.readouterr()
    assert train(path, tmp_path / "other", "--labels", "sort") == 2
    assert "labels is 'sort', neither a column of obs in" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_codes_of_all_rows_in_their_order(tmp_path, unscored, frame, kind):
    x, path = frame[NAMES], tmp_path / f"x.{kind}"
    if kind == "csv":
        x.to_csv(path)
    elif kind == "npy":
        np.save(path, x.to_numpy())
    else:
        np.savez(path, x_train=x.to_numpy()[:90], x_test=x.to_numpy()[90:])
    assert train(path, tmp_path / "run", "--save-codes") == 0
    codes = np.load(tmp_path / "run" / "codes.npy")
    model = load_checkpoint(tmp_path / "run" / "checkpoint.npz").restore_model()
    np.testing.assert_array_equal(codes, model.encode(x.to_numpy(np.float32)))
    assert train(path, tmp_path / "run", "--overwrite") == 0
    assert not (tmp_path / "run" / "codes.npy").exists()


def test_help_names_the_kinds_of_files_and_the_signals(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for word in (".csv", ".parquet", ".h5ad", "SIGHUP", "--test-fraction", "--save-codes"):
        assert word in out


# -- inference ---------------------------------------------------------------------------------


def test_samples_are_taken_as_the_run_took_them(tmp_path, unscored):
    x = np.random.default_rng(0).integers(256, size=(120, 13)).astype(np.uint8)
    np.save(tmp_path / "bytes.npy", x)
    np.save(tmp_path / "floats.npy", x.astype(float))
    codes = {}
    for name in ("bytes", "floats"):
        assert train(tmp_path / f"{name}.npy", tmp_path / name) == 0
        checkpoint = load_checkpoint(tmp_path / name / "checkpoint.npz")
        inference = Inference(checkpoint)
        codes[name] = inference.of("codes", x)
        taken = x / 255 if name == "bytes" else x
        expected = checkpoint.restore_model().encode(taken.astype(np.float32))
        np.testing.assert_allclose(codes[name], expected, rtol=0, atol=1e-6)
        # A restored model takes raw samples as they come, and so does a copy of it.
        model = checkpoint.restore_model()
        for one in (model, pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(one.encode(x), codes[name])
            with pytest.raises(DataError, match="Negative values"):
                one.denoise(-x.astype(float))
            with pytest.raises(DataError, match="NaN"):
                one.code(np.full((2, 13), np.nan))
            with pytest.raises(DataError, match="X has 13 masked entries of 1560"):
                one.encode(np.ma.array(x, mask=np.arange(1560).reshape(120, 13) // 13 == 3))
            with pytest.raises(DataError, match=r"X has shape \(120, 12\), but the model takes"):
                one.supervise(x[:, 1:])
    assert np.abs(codes["bytes"] - codes["floats"]).max() > 0.01
    np.save(tmp_path / "holes.npy", x)
    assert train(tmp_path / "holes.npy", tmp_path / "holes", "--missing", "nan") == 0
    model = load_checkpoint(tmp_path / "holes" / "checkpoint.npz").restore_model()
    masked = np.ma.array(x, mask=np.arange(1560).reshape(120, 13) == 3)
    np.testing.assert_array_equal(model.encode(masked)[1:], model.encode(x)[1:])
    with pytest.raises(DataError, match="give them as uint8"):
        load_checkpoint(tmp_path / "bytes" / "checkpoint.npz").restore_model().encode(x * 1.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x[:, 1:], r"the data has shape \(4, 12\), but the model takes samples of 13"),
        (lambda x: -x, "Negative values in data the data"),
        (lambda x: x * np.nan, r"\(NaN or infinite\)"),
        (lambda x: x * 1e300, r"\(NaN or infinite\) in data the data as float32"),
        (lambda x: x.astype(complex), "dtype complex128"),
        (lambda x: x.astype(str), "dtype <U"),
    ],
)
def test_samples_that_the_run_would_have_refused(tmp_path, unscored, table, frame, change, text):
    assert train(table, tmp_path / "run", "--ignore", "kind") == 0
    inference = Inference(load_checkpoint(tmp_path / "run" / "checkpoint.npz"))
    x = frame[NAMES].to_numpy()[:4]
    assert inference.of("codes", x, "the data").shape == (4, 3)
    with pytest.raises(ValueError, match=text):
        inference.of("codes", change(x), "the data")
