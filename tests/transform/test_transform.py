"""``python -m ddnmf_np.transform``: results of a trained model for a file."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ddnmf_np.runs import inference
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.output import write_blocks
from ddnmf_np.train import main as train
from ddnmf_np.transform.__main__ import main

NAMES = [f"gene {k}" for k in range(13)]
FLAGS = ["--widths", "11", "7", "--rank", "3", "--batch-size", "10", "--epochs", "2"]
FLAGS += ["--clusterers", "kmeans", "--starts", "2", "--embedding", "pca", "--objective", "paper"]
FLAGS += ["--scale", "features"]

pytestmark = pytest.mark.usefixtures("sketched_module")


@pytest.fixture(scope="module")
def frame():
    x = np.random.default_rng(0).random((120, 13)) * np.arange(1, 14)
    return pd.DataFrame(x, columns=NAMES, index=[f"cell {k}" for k in range(120)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, frame):
    """Runs on the same table: as CSV with a header, as .npy, and with missing cells."""
    folder = tmp_path_factory.mktemp("runs")
    frame.assign(kind="a").to_csv(folder / "named.csv")
    np.save(folder / "plain.npy", frame.to_numpy())
    holes = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.2)
    holes.to_csv(folder / "holes.csv")
    for name, flags in {
        "named.csv": ["--labels", "kind"],
        "plain.npy": [],
        "holes.csv": ["--missing", "nan"],
    }.items():
        output = folder / name.partition(".")[0]
        assert (
            train(["--dataset", str(folder / name), "--output", str(output), *FLAGS, *flags]) == 0
        )
    return folder


def model_of(run):
    return load_checkpoint(run / "checkpoint.npz").restore_model()


def read(path):
    if path.suffix == ".npy":
        return np.load(path)
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return frame.set_index("row") if "row" in frame else frame


@pytest.mark.parametrize("end", [".npy", ".csv", ".parquet", ".CSV"])
@pytest.mark.parametrize("block", [200, 2**23])
def test_codes(runs, frame, tmp_path, end, block, capsys, monkeypatch):
    monkeypatch.setattr(inference, "BLOCK_BYTES", block)
    output = tmp_path / f"h{end}"
    named = runs / "named"
    assert main([str(named), str(runs / "named.csv"), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: codes of 120 samples\n"
    output = output.rename(output.with_suffix(end.lower()))
    found, expected = read(output), model_of(named).encode(frame.to_numpy(np.float32))
    # A product of fewer rows adds in another order: one unit in the last place.
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, rtol=0, atol=3e-7)
    if end != ".npy":
        assert list(found.columns) == ["H0", "H1", "H2"]
        assert list(found.index) == list(frame.index)


@pytest.mark.parametrize("store", ["npy", "npz", "sparse", "csv", "parquet", "shuffled"])
def test_every_kind_of_file_has_the_same_codes(runs, frame, tmp_path, store):
    run, x = runs / "named", frame.to_numpy()
    path = tmp_path / f"x.{store}"
    if store == "npy":
        np.save(path, x)
    elif store == "npz":
        np.savez(path, x_train=x[:50], x_test=x[50:])
    elif store == "sparse":
        path = tmp_path / "x.npz"
        sparse.save_npz(path, sparse.csr_matrix(x))
    elif store == "parquet":
        frame.to_parquet(path)
    else:  # columns by their names, whatever else there is
        path = tmp_path / "x.csv"
        other = frame[NAMES[::-1]].assign(kind="b", more=1.0) if store == "shuffled" else frame
        other.to_csv(path, index=False)
    assert main([str(run), str(path)]) == 0
    expected = model_of(run).encode(x.astype(np.float32))
    np.testing.assert_array_equal(np.load(run / "x-codes.npy"), expected)


def test_denoised_samples_are_in_the_units_of_the_data(runs, frame, tmp_path):
    output = tmp_path / "y.csv"
    arguments = [str(runs / "named"), str(runs / "named.csv"), "--what", "denoised"]
    assert main([*arguments, "--output", str(output)]) == 0
    found = read(output)
    assert list(found.columns) == NAMES
    expected = model_of(runs / "named").denoise(frame.to_numpy(np.float32))
    np.testing.assert_array_equal(np.asarray(found, np.float32), expected)


def test_imputed_samples_are_new_only_where_they_were_missing(runs, frame, tmp_path):
    output = tmp_path / "y.csv"
    arguments = [str(runs / "holes"), str(runs / "holes.csv"), "--what", "imputed"]
    assert main([*arguments, "--output", str(output)]) == 0
    given = pd.read_csv(runs / "holes.csv", index_col=0)
    gaps = given.isna().to_numpy()
    found = read(output).to_numpy()
    np.testing.assert_array_equal(found[~gaps], given.to_numpy()[~gaps])  # to the last digit
    out = model_of(runs / "holes").denoise(given.to_numpy(np.float32))
    np.testing.assert_array_equal(found[gaps], out[gaps])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_feature_may_have_the_name_of_the_rows(tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    file, block = tmp_path / f"y.{kind}", np.eye(2)
    write_blocks(file, [block], 2, ["row", "b"], ["first", "second"])
    found = pd.read_csv(file) if kind == "csv" else pd.read_parquet(file)
    assert [*found.columns] == ["row_", "row", "b"]
    np.testing.assert_array_equal(found[["row", "b"]], block)


@pytest.mark.parametrize(("flags", "count"), [([], 3), (["--clusters", "5"], 5)])
def test_clusters(runs, tmp_path, flags, count, capsys):
    output = tmp_path / "c.npy"
    arguments = [str(runs / "plain"), str(runs / "plain.npy"), "--what", "clusters", *flags]
    assert main([*arguments, "--output", str(output)]) == 0
    found = np.load(output)
    assert found.shape == (120,)
    assert found.dtype == np.int32
    assert set(found) == set(range(count))
    printed = capsys.readouterr().out
    assert "clusters of 120 samples, found among these samples and not those of the run" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{named}"], 2, "1 paths given; expected the run folder and the file"),
        (["{named}", "{named}.csv", "x"], 2, "3 paths given"),
        (["{named}", "{named}.csv", "--what", "code"], 2, "invalid choice: 'code'"),
        (["{named}", "{named}.csv", "--output", "{tmp}/h.txt"], 2, "ends in .npy, .csv, .parquet"),
        (["{named}", "{named}.csv", "--output", "{tmp}"], 2, "ends in .npy"),
        (["{named}", ""], 2, "FILE is empty; give the file of the samples"),
        (["{named}", "{tmp}/words.csv"], 4, "is text ('many' in line 2), but is a feature of"),
        (["{named}", "{named}.csv", "--clusters", "0"], 2, "--clusters is 0; expected"),
        (["{named}", "{named}.csv", "--output", "{named}.csv"], 2, "is the file of the samples"),
        (["{tmp}/none", "{named}.csv"], 2, "there is no such folder"),
        (["{tmp}", "{named}.csv"], 2, "contains no run"),
        (["{named}", "{tmp}/none.csv"], 4, "none.csv: there is no such file"),
        (["{named}", "{tmp}/wide.npy"], 4, "has 14 features, but the model of the run takes 13"),
        (["{named}", "{tmp}/lacking.csv"], 4, "has no column 'gene 3', which is a feature"),
        (["{named}", "{tmp}/holes.csv"], 4, "at row 1, column 2 ('gene 2')"),
        (["{plain}", "{tmp}/few.npy", "--what", "clusters"], 4, "fewer than n_clusters"),
    ],
)
def test_bad_arguments_write_nothing(runs, frame, tmp_path, arguments, code, text, capsys):
    np.save(tmp_path / "wide.npy", np.ones((3, 14)))
    frame.drop(columns="gene 3").to_csv(tmp_path / "lacking.csv")
    frame.assign(**{"gene 3": "many"}).to_csv(tmp_path / "words.csv")
    frame.mask(frame == frame.iloc[1, 2]).to_csv(tmp_path / "holes.csv")
    np.save(tmp_path / "few.npy", frame.to_numpy()[:2])
    before = {path.name for path in (runs / "named").iterdir()}
    places = {"named": runs / "named", "plain": runs / "plain", "tmp": tmp_path}
    assert main([part.format(**places) for part in arguments]) == code
    out, err = capsys.readouterr()
    assert not out
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last
    assert {path.name for path in (runs / "named").iterdir()} == before


@pytest.mark.parametrize("end", ["npy", "csv", "parquet"])
def test_an_interruption_leaves_what_was_there(runs, tmp_path, end, monkeypatch, capsys):
    monkeypatch.setattr(inference, "BLOCK_BYTES", 200)
    output = tmp_path / f"h.{end}"
    output.write_text("before")
    work, calls = inference.Inference.of, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return work(self, *arguments)

    monkeypatch.setattr(inference.Inference, "of", interrupted)
    assert main([str(runs / "plain"), str(runs / "plain.npy"), "--output", str(output)]) == 130
    assert "interrupted; no file was written" in capsys.readouterr().err
    assert output.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
