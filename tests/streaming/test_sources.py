"""Every kind of store gives the same rows, and says what is wrong with those that cannot."""

import sys

import numpy as np
import pytest
from scipy import sparse
from stream_cases import KINDS, dask_array, draw, hdf5, memory_map, npy, rows_of, shards

from ddnmf_np.data.rows import Rows
from ddnmf_np.data.sources import NpyFile, SparseSource, is_stream_path, stream
from ddnmf_np.errors import BackendError, DataError, UsageError
from ddnmf_np.run import fingerprint

RANGES = [(0, 103), (0, 1), (102, 103), (25, 27), (3, 99), (16, 32)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_array(kind, stored):
    x = draw()
    source = stream(stored(kind, x))
    assert (source.shape, source.dtype) == (x.shape, x.dtype)
    for start, stop in RANGES:
        rows = source.rows(start, stop)
        assert type(rows) is np.ndarray
        np.testing.assert_array_equal(rows, x[start:stop])


@pytest.mark.parametrize("kind", KINDS)
def test_survey_finds_what_the_array_has(kind, stored):
    x = draw()
    rows = Rows(stream(stored(kind, x)), "float32")
    assert rows.survey.high == x.max()
    assert rows.survey.missing == 0.0
    if rows.block_rows == rows._plain_rows:  # else the hash tells its blocks from others too
        assert rows.survey.sha256 == fingerprint(x)
    else:
        assert kind.__name__ in ("hdf5", "hdf5_object", "zarr_folder", "zarr_object", "dask_array")
    np.testing.assert_array_equal(np.concatenate([part for _, part in rows.blocks()]), x)


@pytest.mark.parametrize("row", [0, 17, 102])
def test_another_value_is_another_hash(row):
    x = draw()
    changed = x.copy()
    changed[row, 3] += 0.5
    assert rows_of(x).survey.sha256 != rows_of(changed).survey.sha256


def test_blocks_are_whole_chunks(stored):
    x = draw(n=103)
    rows = Rows(stream(stored(hdf5, x)), "float32")
    assert rows.block_rows % 16 == 0
    rows = Rows(stream(stored(dask_array, x)), "float32")
    assert rows.block_rows % 16 == 0


def test_bytes_are_scaled_as_in_memory(tmp_path):
    from ddnmf_np.data.datasets import load

    x = np.random.default_rng(0).integers(0, 256, (40, 8, 9), dtype=np.uint8)
    path = npy(x, tmp_path)
    rows, loaded = Rows(NpyFile(path), "float32", scale=True), load(path)
    np.testing.assert_array_equal(rows.read(0, 40), loaded.x_train)
    assert rows.source.image_shape == loaded.image_shape == (8, 9)
    assert rows.survey.sha256 == fingerprint(loaded.x_train)


def test_sparse_samples_are_dense_a_block_at_a_time(monkeypatch):
    matrix = sparse.csr_matrix(draw(n=200))
    lengths = []
    whole = SparseSource.rows
    monkeypatch.setattr(
        SparseSource,
        "rows",
        lambda self, start, stop: lengths.append(stop - start) or whole(self, start, stop),
    )
    rows = rows_of(matrix, block_rows=16)
    assert rows.survey.high == matrix.max()
    assert max(lengths) == 16
    assert sum(lengths) == 200


@pytest.mark.parametrize("order", ["r", "r+", "c"])
def test_maps_in_any_mode_give_what_they_show(order, tmp_path):
    x = draw()
    mapped = np.load(npy(x, tmp_path), mmap_mode=order)
    if order != "r":
        mapped[5] = 0.25
    np.testing.assert_array_equal(stream(mapped).rows(0, 103), mapped)
    assert isinstance(stream(mapped), NpyFile) == (order != "c")


def test_a_slice_of_a_map_is_that_slice(tmp_path):
    mapped = memory_map(draw(), tmp_path)
    np.testing.assert_array_equal(stream(mapped[10:60, 2:]).rows(5, 50), mapped[15:60, 2:])


def test_sample_has_equal_distances(tmp_path):
    x = draw()
    index, sample = rows_of(npy(x, tmp_path)).sample(10)
    np.testing.assert_array_equal(sample, x[index])
    assert len(index) == 10
    assert set(np.diff(index)) <= {11, 12}
    assert len(rows_of(npy(x, tmp_path)).sample(1000)[0]) == 103


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (0, 4), (4, 0), (2, 3, 4, 5), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(DataError, match=r"expected \(n, D\)"):
        stream(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]", object])
def test_what_is_no_number_is_refused(dtype, tmp_path):
    with pytest.raises(DataError, match="convert it to real numbers"):
        stream(np.zeros((3, 2), dtype))
    if dtype is not object:
        np.save(tmp_path / "x.npy", np.zeros((3, 2), dtype))
        with pytest.raises(DataError, match="convert it to real numbers"):
            stream(tmp_path / "x.npy")


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}, 1]], object), allow_pickle=True)
    with pytest.raises(DataError, match="convert it to real numbers"):
        stream(tmp_path / "x.npy")


def test_unknown_sizes_are_refused():
    dask = pytest.importorskip("dask.array")
    x = dask.from_array(draw(), chunks=16)
    with pytest.raises(DataError, match="sizes that are known"):
        stream(x[x[:, 0] > 0.1])


def test_columns_of_sparse_matrices_are_refused():
    with pytest.raises(DataError, match=r"'csc'.*tocsr\(\)"):
        stream(sparse.csc_matrix(draw()))


def test_a_list_is_no_source():
    with pytest.raises(UsageError, match="list"):
        stream([[0.5]])


def test_columns_first_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(draw()))
    with pytest.raises(DataError, match="ascontiguousarray"):
        stream(tmp_path / "x.npy")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = npy(draw(), tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cut off"):
        stream(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array_is_refused(content, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        stream(path)


@pytest.mark.parametrize("change", ["cut", "gone", "other"])
def test_a_file_that_changes_meanwhile_is_refused(change, tmp_path):
    path = npy(draw(), tmp_path)
    source = stream(path)
    if change == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-60] if change == "cut" else content)
    with pytest.raises(DataError, match=r"was changed|cannot be read"):
        source.rows(0, 5)


def test_shards_of_different_widths_are_refused(tmp_path):
    folder = shards(draw(), tmp_path)
    np.save(folder / "part-9.npy", draw(width=11))
    with pytest.raises(DataError, match=r"part-9\.npy: has 11 features"):
        stream(folder)


def test_the_array_in_a_file_must_be_named(stored):
    pytest.importorskip("h5py")
    path = stored(hdf5, draw()).partition("::")[0]
    with pytest.raises(DataError, match=r"has 2 arrays; give one of its arrays \(group/x, y\)"):
        stream(path)
    with pytest.raises(DataError, match="has no array 'z'"):
        stream(f"{path}::z")


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    for library, name in (("h5py", "x.h5"), ("zarr", "x.zarr")):
        (tmp_path / name).mkdir()
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(BackendError, match=f"pip install {library}"):
            stream(tmp_path / name)


@pytest.mark.parametrize("path", ["nothing.npy", "nothing.h5::x", "nothing"])
def test_paths_to_nothing_are_refused(path, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        stream(tmp_path / path)


def test_which_paths_are_streams(tmp_path):
    x = draw()
    assert is_stream_path(str(shards(x, tmp_path)))
    assert not is_stream_path(str(npy(x, tmp_path)))
    assert not is_stream_path(str(tmp_path / "nothing"))
    (tmp_path / "shards" / "train-images-idx3-ubyte.gz").touch()
    assert not is_stream_path(str(tmp_path / "shards"))


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (-0.5, "Negative")]
)
def test_bad_values_are_refused_with_their_row(value, words):
    x = draw()
    x[61, 7] = value
    with pytest.raises(DataError, match=rf"{words}.*rows 56 to 63.*at row 61, column 7;"):
        _ = rows_of(x).survey


def test_values_that_overflow_are_refused():
    with pytest.raises(DataError, match=r"at row 3, column 0; .*float64"):
        rows_of(np.where(np.arange(8)[:, None] == 3, 1e300, 0.5)).read(0, 8)


def test_missing_entries_are_counted():
    x = draw()
    x[:40] = np.nan  # whole blocks too
    survey = rows_of(x, missing="nan").survey
    assert survey.high == np.nanmax(x)
    assert survey.missing == np.isnan(x).mean()
    with pytest.raises(DataError, match="NaN throughout"):
        _ = rows_of(np.full((20, 3), np.nan), missing="nan").survey
