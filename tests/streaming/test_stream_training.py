"""A streamed run is bit-identical to one in memory, and its memory is constant."""

import json
import os
import re
import shutil
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from stream_cases import KINDS, OBJECTS, draw, npy, rows_of, shards

from ddnmf_np import DDNMF
from ddnmf_np.config import configure
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import NpyFile, stream
from ddnmf_np.errors import CheckpointError, DataError
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.train import main

SMALL = {"widths": (9, 7), "rank": 3, "batch_size": 10, "epochs": 2, "seed": 5}


def trainer_of(x, **options):
    config = configure(**(SMALL | options))
    trainer = config.make_trainer(config.make_model(x.shape[1]), x)
    trainer.config = config
    return trainer


def state(trainer):
    return {name: block.tobytes() for name, block in trainer.model.state().items()}


def losses(trainer):
    return [
        {k: v for k, v in record.items() if not k.startswith("s")} for record in trainer.history
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_as_the_array(kind, stored):
    """The order depends on sizes, not on the store; we use small windows."""
    x = draw()
    runs = [trainer_of(rows_of(data)) for data in (x, stored(kind, x))]
    for run in runs:
        run.train(2)
    assert state(runs[0]) == state(runs[1])


@pytest.mark.parametrize("options", [{}, {"missing": "nan"}, {"nmf_start": "pca"}], ids=str)
def test_a_window_of_everything_trains_as_in_memory(options):
    x = draw()
    if "missing" in options:
        x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    rows = rows_of(x, window_blocks=13, missing=options.get("missing", "error"))
    streamed, whole = trainer_of(rows, **options), trainer_of(x, **options)
    streamed.train(2)
    whole.train(2)
    assert state(streamed) == state(whole)
    assert losses(streamed) == losses(whole)


def test_batches_are_consecutive_samples_of_the_order(monkeypatch):
    """Batches cross the ends of windows, because 24 samples are not a multiple of 10."""
    x = draw()
    trainer, seen = trainer_of(rows_of(x)), []

    def step(index):
        np.testing.assert_array_equal(trainer.feed.batch.clean[: len(index)], x[index])
        seen.append(index.tolist())

    monkeypatch.setattr(trainer, "step", step)
    trainer.train(1)
    order = rows_of(x).order(5)
    expected = np.concatenate([order.mixed(b, 0)[1] for b in order.windows(0)])
    assert [len(batch) for batch in seen] == [10] * 10 + [3]
    assert [i for batch in seen for i in batch] == expected.tolist()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 13])
def test_a_run_that_stops_goes_on_to_the_same_bits(steps, tmp_path):
    from ddnmf_np.runs.checkpoint import save_checkpoint

    x = draw()
    whole = trainer_of(rows_of(x))
    whole.train(2)
    first, done = trainer_of(rows_of(x)), []

    def on_step(trainer):
        done.append(1)
        trainer.stop_requested = len(done) == steps

    assert not first.train(2, on_step=on_step)
    save_checkpoint(tmp_path / "checkpoint.npz", first.config, first, first.x.survey.sha256)
    second = trainer_of(rows_of(x))
    load_checkpoint(tmp_path / "checkpoint.npz").restore(
        second, second.config, second.x.survey.sha256
    )
    second.train(2)
    assert state(second) == state(whole)
    assert losses(second) == losses(whole)


def test_bad_values_end_training_with_their_row_and_no_thread():
    x = draw()
    trainer = trainer_of(rows_of(x))
    x[61, 7] = np.nan  # after the survey
    with pytest.raises(DataError, match="at row 61, column 7"):
        trainer.train(1)
    assert not [t for t in threading.enumerate() if "read-ahead" in t.name]


def test_a_file_that_vanishes_ends_training(tmp_path):
    path = npy(draw(), tmp_path)
    trainer = trainer_of(rows_of(path))
    path.unlink()
    with pytest.raises(DataError, match=r"x\.npy: cannot be read"):
        trainer.train(1)


def with_time_put_back(path, change):
    """Change a file in a way that its size and time do not tell."""
    before = os.stat(path)
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwritten(path):
    with open(path, "r+b") as file:
        file.seek(-60, os.SEEK_END)
        file.write(np.float32(0.625).tobytes())


def plain_hdf5(x, folder):
    """Values as they are, so that a write to the file is a write to one of them."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = x
        assert file["x"].id.get_offset() + x.nbytes == (folder / "x.h5").stat().st_size
    return folder / "x.h5"


def plain_zarr(x, folder):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        folder / "x.zarr", shape=x.shape, chunks=(500, 12), dtype=x.dtype, compressors=None
    )
    array[:] = x
    return folder / "x.zarr"


def chunks(folder):
    return sorted(path for path in (folder / "c").rglob("*") if path.is_file())


CHANGES = {
    "npy, written to": (npy, lambda path: with_time_put_back(path, overwritten)),
    "npy, cut off": (npy, lambda path: os.truncate(path, 3000)),
    "HDF5, written to": (plain_hdf5, lambda path: with_time_put_back(path, overwritten)),
    "HDF5, cut off": (plain_hdf5, lambda path: os.truncate(path, 3000)),
    "HDF5, emptied": (plain_hdf5, lambda path: os.truncate(path, 0)),
    "Zarr, written to": (plain_zarr, lambda path: overwritten(chunks(path)[2])),
    "Zarr, one chunk cut off": (plain_zarr, lambda path: os.truncate(chunks(path)[2], 100)),
    "Zarr, one chunk gone": (plain_zarr, lambda path: chunks(path)[2].unlink()),
    "Zarr, all chunks gone": (plain_zarr, lambda path: shutil.rmtree(path / "c")),
    "Zarr, all gone": (plain_zarr, lambda path: shutil.rmtree(path)),
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody change what is open")
@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_data_that_change_between_epochs_end_training(kind, change, tmp_path):
    path = kind(draw(n=6000), tmp_path)  # HDF5 keeps 64 KiB of what it has read
    rows = Rows(stream(path), "float32")
    rows.block_rows, rows.window_blocks = 1000, 2
    trainer = trainer_of(rows, batch_size=200)
    trainer.train(1)
    change(path)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}.*(rows|changed|cannot be read)"):
        trainer.train(2)


def test_the_rows_that_have_changed_are_named():
    x = draw()
    rows = rows_of(x)
    _ = rows.survey
    x[61, 7] += 0.25
    with pytest.raises(DataError, match="rows 56 to 63 are not what they were"):
        list(rows.blocks())
    with pytest.raises(DataError, match="rows 56 to 63 are not what they were"):
        list(rows.mixed_windows(5, 0))


def test_memory_does_not_grow_with_the_samples(tmp_path):
    """Compare twenty times the samples, whose size is ten times the allowed difference."""
    peaks = []
    for n in (4_000, 80_000):
        path = tmp_path / f"{n}.npy"
        out = np.lib.format.open_memmap(path, "w+", "float32", (n, 64))
        out[:] = 0.5
        del out
        rows = Rows(NpyFile(path), "float32", window_mib=1)
        rows.block_rows, rows.window_blocks = 100, 10
        trainer = trainer_of(rows, batch_size=128, widths=(8, 4))
        trainer.train(1)  # what is made once
        tracemalloc.start()
        trainer.train(2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 2 * 2**20
    assert peaks[1] - peaks[0] < 80_000 * 64 * 4 / 40, peaks


# -- the estimator -----------------------------------------------------------------------------

OPTIONS = {
    "widths": (9, 7),
    "n_components": 3,
    "max_iter": 2,
    "batch_size": 10,
    "random_state": 0,
    "objective": "paper",  # holds nothing out, in memory or on disk
}


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_estimator_streams_what_is_no_array(kind, dtype, stored):
    x = draw(dtype=dtype)
    data = stored(kind, x)
    whole, streamed = DDNMF(**OPTIONS).fit(x), DDNMF(**OPTIONS).fit(data)
    for name in ("transform", "denoise"):
        expected, found = getattr(whole, name)(x), getattr(streamed, name)(data)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    assert streamed.data_max_ == whole.data_max_


def test_estimator_streams_what_it_is_told_to(tmp_path):
    x = draw()
    path = npy(x, tmp_path)
    whole, streamed = DDNMF(**OPTIONS).fit(x), DDNMF(**OPTIONS).fit(stream(path))
    np.testing.assert_array_equal(streamed.components_, whole.components_)
    out = np.lib.format.open_memmap(tmp_path / "H.npy", "w+", "float32", (103, 3))
    assert streamed.transform_into(path, out) is out
    np.testing.assert_array_equal(np.load(tmp_path / "H.npy"), whole.transform(x))
    with pytest.raises(DataError, match=r"out has shape \(103, 4\); expected \(103, 3\)"):
        streamed.transform_into(path, np.empty((103, 4)))


def test_estimator_goes_on_with_sparse_parts():
    x = draw()
    parts = DDNMF(**OPTIONS), DDNMF(**OPTIONS)
    for part in np.array_split(x, 3):
        parts[0].partial_fit(part)
        parts[1].partial_fit(sparse.csr_matrix(part))
    np.testing.assert_array_equal(parts[0].components_, parts[1].components_)


def test_estimator_imputes_a_stream():
    x = draw()
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    model = DDNMF(missing="nan", **OPTIONS).fit(stream(x))
    np.testing.assert_array_equal(model.impute(stream(x)), model.impute(x))


def test_estimator_refuses_other_widths():
    model = DDNMF(**OPTIONS).fit(draw())
    with pytest.raises(DataError, match="X has 11 features, but DDNMF is expecting 12"):
        model.transform(sparse.csr_matrix(draw(width=11)))


# -- the command -------------------------------------------------------------------------------

FLAGS = ["--widths", "9", "7", "--rank", "3", "--batch-size", "10", "--epochs", "2", "--seed", "5",
         "--clusterers", "kmeans", "--starts", "1", "--embedding", "pca",
         "--objective", "paper"]  # fmt: skip


def train(data, output, *flags):
    return main(["--dataset", str(data), "--output", str(output), *FLAGS, *flags])


def blocks_of(output):
    arrays = load_checkpoint(output / "checkpoint.npz").arrays
    return {name: block.tobytes() for name, block in arrays.items()}


def test_command_streams_and_ends_where_memory_does(tmp_path, sketched):
    x = draw()
    y = np.arange(103) % 3
    np.save(tmp_path / "y.npy", y)
    path, labels = npy(x, tmp_path), ("--labels", str(tmp_path / "y.npy"))
    labels = (*labels, "--test-fraction", "0")
    assert train(path, tmp_path / "whole", *labels) == 0
    assert train(path, tmp_path / "stream", "--stream", *labels) == 0
    folder = shards(x, tmp_path)
    assert train(folder, tmp_path / "run", "--test-fraction", "0") == 0
    assert blocks_of(tmp_path / "whole") == blocks_of(tmp_path / "stream")
    assert blocks_of(tmp_path / "whole") == blocks_of(tmp_path / "run")
    one, two = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "stream")
    )
    assert one["dataset"]["n_train"] == two["dataset"]["n_train"] == 103
    assert one["evaluation"]["code"] == two["evaluation"]["code"]
    acc = [s["evaluation"]["scores"]["kmeans"]["acc"] for s in (one, two)]
    assert acc[0] == acc[1]


def test_command_refuses_to_go_on_with_other_data(tmp_path, sketched, capsys):
    x = draw()
    path = npy(x, tmp_path)
    assert train(path, tmp_path / "run", "--stream") == 0
    x[50, 3] += 0.5
    np.save(path, x)
    again = ["--resume", "--output", str(tmp_path / "run"), "--epochs", "3"]
    assert main(again) == CheckpointError.exit_code
    assert "was trained on other data" in capsys.readouterr().err


def test_command_looks_at_the_folder_before_it_reads_everything(
    tmp_path, sketched, capsys, monkeypatch
):
    path = npy(draw(), tmp_path)
    assert train(path, tmp_path / "run", "--stream") == 0
    monkeypatch.setattr(Rows, "look", lambda *_: pytest.fail("the samples were read"))
    assert train(path, tmp_path / "run", "--stream") == 2
    assert "already holds a run" in capsys.readouterr().err


def test_command_names_the_row_that_is_bad(tmp_path, capsys):
    x = draw()
    x[61, 7] = -1.0
    assert train(npy(x, tmp_path), tmp_path / "run", "--stream") == DataError.exit_code
    assert "at row 61, column 7" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_command_does_not_stream_what_has_a_name(tmp_path, capsys):
    assert train("digits", tmp_path / "run", "--stream") == 2
    assert "leave --stream out" in capsys.readouterr().err
