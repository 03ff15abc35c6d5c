"""Every kind of store gives the same rows, and its errors name the cause."""

import json
import os
import pickle
import sys

import numpy as np
import pytest
from scipy import sparse
from stream_cases import KINDS, dask_array, draw, hdf5, memory_map, npy, rows_of, shards

from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import BLOCK_BYTES, Rows, fingerprint
from ddnmf_np.data.streaming.sources import NpyFile, Share, SlicedSource, is_stream_path, stream
from ddnmf_np.errors import BackendError, DataError, UsageError

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
    if rows.block_rows == BLOCK_BYTES // (
        4 * x.shape[1]
    ):  # else the hash tells its blocks from others too
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
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 9), dtype=np.uint8)
    path = npy(x, tmp_path)
    rows, loaded = Rows(NpyFile(path), "float32", scale=True), load(path)
    np.testing.assert_array_equal(rows.read(0, 40), loaded.x_train)
    assert rows.source.image_shape == loaded.image_shape == (8, 9)
    assert rows.survey.sha256 == fingerprint(loaded.x_train)


def test_sparse_samples_are_dense_a_block_at_a_time(monkeypatch):
    matrix = sparse.csr_matrix(draw(n=200))
    lengths = []
    whole = SlicedSource.rows
    monkeypatch.setattr(
        SlicedSource,
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


# -- refused data ------------------------------------------------------------------------------


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
        with pytest.raises(DataError, match=r"convert it to real numbers|not plain numbers"):
            stream(tmp_path / "x.npy")


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}, 1]], object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        stream(tmp_path / "x.npy")


def test_unknown_sizes_are_refused():
    dask = pytest.importorskip("dask.array")
    x = dask.from_array(draw(), chunks=16)
    with pytest.raises(DataError, match="sizes that are known"):
        stream(x[x[:, 0] > 0.1])


@pytest.mark.parametrize(
    ("part", "place", "value"),
    [("indices", 5, 10_000_000), ("indices", 5, -1), ("indptr", 3, 10**8), ("indptr", 3, 0)],
)
def test_sparse_with_indices_outside_of_it(part, place, value):
    """SciPy itself would read or write there, which ends Python."""
    matrix = sparse.csr_matrix(draw())
    getattr(matrix, part)[place] = value
    with pytest.raises(DataError, match=r"X: is sparse, and its indices do not fit its shape"):
        stream(matrix)


def test_sparse_that_is_checked_is_not_changed():
    matrix = sparse.csr_matrix(draw())
    matrix.data, matrix.indices = np.tile(matrix.data, 3), np.tile(matrix.indices, 3)  # room
    data, indices = matrix.data, matrix.indices
    stream(matrix)
    assert matrix.data is data
    assert matrix.indices is indices


def test_a_mask_is_not_ignored():
    x = np.ma.array(draw(), mask=False)
    assert stream(x).shape == x.shape
    x[3, 4] = np.ma.masked
    with pytest.raises(DataError, match=r"masked array.*numpy\.ma\.filled\(data, numpy\.nan\)"):
        stream(x)


def test_anndata_s_files_are_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    x, matrix = draw(), sparse.csr_matrix(draw())
    path = anndata_file(h5py, tmp_path, x, layers={"counts": matrix, "turned": matrix.tocsc()})
    assert is_stream_path(f"{path}::X")
    for name in ("", "::X", "::layers/counts", "::layers/turned"):
        source = stream(f"{path}{name}")
        assert source.shape == x.shape
        np.testing.assert_array_equal(source.rows(0, 103), x)
        np.testing.assert_array_equal(source.rows(7, 50), x[7:50])
        assert source.feature_names == tuple(f"gene {k}" for k in range(12))
        assert source.row_names == tuple(f"cell {k}" for k in range(103))
        assert source.column("kind").tolist() == [f"kind {k % 3}" for k in range(103)]
        assert source.column("batch").tolist() == [k % 2 for k in range(103)]
        assert source.column("none") is source.column("kind/codes") is None


def anndata_file(h5py, folder, x, layers):
    """Write a file as AnnData does: a table has ``_index``, a category codes and categories."""
    text = h5py.string_dtype()
    path = folder / "x.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = x
        for name, matrix in layers.items():
            group = file.create_group(f"layers/{name}")
            group.attrs["encoding-type"] = f"{matrix.format}_matrix"
            group.attrs["shape"] = matrix.shape
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
        for axis, size, one in (("obs", len(x), "cell"), ("var", x.shape[1], "gene")):
            group = file.create_group(axis)
            group.attrs["_index"] = "names"
            group.create_dataset("names", data=[f"{one} {k}" for k in range(size)], dtype=text)
        file["obs/batch"] = np.arange(len(x)) % 2
        file["obs/kind/codes"] = np.arange(len(x), dtype=np.int8) % 3
        names = [f"kind {k}" for k in range(3)]
        file.create_dataset("obs/kind/categories", data=names, dtype=text)
    return str(path)


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("indices", 12, "its indices do not fit its shape"),
        ("indices", -1, "its indices do not fit its shape"),
        ("indptr", 10**6, "its indptr does not fit its shape"),
    ],
)
def test_sparse_groups_that_do_not_fit_themselves_are_refused(tmp_path, part, value, text):
    h5py = pytest.importorskip("h5py")
    path = anndata_file(h5py, tmp_path, draw(), {"counts": sparse.csr_matrix(draw())})
    with h5py.File(path, "r+") as file:
        file[f"layers/counts/{part}"][5] = value
    with pytest.raises(DataError, match=rf"layers/counts.*{text}"):
        stream(f"{path}::layers/counts").rows(0, 103)


@pytest.mark.parametrize("attribute", ["encoding-type", "shape"])
def test_sparse_groups_without_form_or_shape_are_refused(tmp_path, attribute):
    h5py = pytest.importorskip("h5py")
    path = anndata_file(h5py, tmp_path, draw(), {"counts": sparse.csr_matrix(draw())})
    with h5py.File(path, "r+") as file:
        del file["layers/counts"].attrs[attribute]
    with pytest.raises(DataError, match=r"layers/counts: is sparse in the format .*write it again"):
        stream(f"{path}::layers/counts")


def test_names_that_lead_to_other_files_are_not_followed(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = anndata_file(h5py, tmp_path, draw(), {})
    other = anndata_file(h5py, tmp_path.parent, draw(), {})
    with h5py.File(path, "r+") as file:
        for name in ("obs/batch", "var/names"):
            del file[name]
            file[name] = h5py.ExternalLink(other, name)
    source = stream(path)
    assert source.column("batch") is source.feature_names is None


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_share_and_the_others_are_all_rows_once(fraction, seed):
    x = draw()
    parts = [Share(stream(x), fraction, seed, held_out=held) for held in (False, True)]
    assert parts[1].shape[0] == max(1, round(fraction * 103))
    assert sorted(np.concatenate([part.index for part in parts])) == list(range(103))
    for part in parts:
        np.testing.assert_array_equal(part.rows(0, part.shape[0]), x[part.index])
        assert [part.number(k) for k in range(part.shape[0])] == part.index.tolist()
    gaps = np.diff(parts[1].index)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_upper_case_suffixes(tmp_path):
    npy(draw(), tmp_path).rename(tmp_path / "X.NPY")
    assert stream(tmp_path / "X.NPY").shape == (103, 12)
    assert is_stream_path(str(tmp_path))


@pytest.mark.parametrize("form", ["csc", "coo", "dok"])
def test_sparse_matrices_that_are_not_by_rows_are_refused(form):
    with pytest.raises(DataError, match=rf"'{form}'.*tocsr\(\)"):
        stream(sparse.csr_matrix(draw()).asformat(form))


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
    with pytest.raises(DataError, match=r"announces 4944 bytes, .* and 4943 follow"):
        stream(path)


def test_a_file_that_goes_on_behind_its_end_is_refused(tmp_path):
    path = npy(draw(), tmp_path)
    path.write_bytes(path.read_bytes() + bytes(200))
    with pytest.raises(DataError, match=r"announces 4944 bytes, .* and 5144 follow"):
        stream(path)


@pytest.mark.parametrize(
    ("shape", "length", "words"),
    [("(1,) * 33", 118, "header cannot be read"), (str((1,) * 33), 246, "its shape is"),
     ("(4, 2)", 10_001, "at most 10000 are read")],
)  # fmt: skip
def test_headers_have_the_bounds_that_they_have_in_memory(shape, length, words, tmp_path):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(length - 1)
    content = b"\x93NUMPY\1\0" + length.to_bytes(2, "little") + f"{header}\n".encode()
    (tmp_path / "x.npy").write_bytes(content + bytes(32))
    with pytest.raises(DataError, match=words):
        stream(tmp_path / "x.npy")


def test_truth_values_are_0_and_1(tmp_path):
    path = npy(draw() > 0, tmp_path)
    np.testing.assert_array_equal(stream(path).rows(0, 103), draw() > 0)
    path.write_bytes(path.read_bytes()[:-1] + b"\2")
    with pytest.raises(DataError, match="truth values other than 0 and 1 in rows 96 to 102"):
        stream(path).rows(96, 103)


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


# -- files made to mislead ---------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("name", ["p.npy", "p.h5", "p.zarr", "folder/p.npy"])
def test_pipes_are_refused_at_once(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(DataError, match="a pipe or a device"):
        stream(path.parent if "/" in name else path)
    if path.suffix == ".npy":
        with pytest.raises(DataError, match="a pipe or a device"):
            load(path)


@pytest.mark.parametrize("chunks", [None, (2**16, 4)])
def test_hdf5_that_was_never_written_is_refused(chunks, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (2**40, 4), "f4", chunks=chunks)
    with pytest.raises(DataError, match="not all of it was ever written"):
        stream(tmp_path / "x.h5")


def test_a_chunk_that_was_never_written_is_refused(tmp_path):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    x = draw(n=40)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", x.shape, x.dtype, chunks=(10, 12))[:30] = x[:30]
    with pytest.raises(DataError, match="write all values, also the zeros"):
        stream(tmp_path / "x.h5")
    with (
        h5py.File(tmp_path / "x.h5") as file,
        pytest.raises(DataError, match="not all of it was ever written"),
    ):
        stream(file["x"])
    array = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(10, 12), dtype=x.dtype)
    array[:30] = x[:30]
    with pytest.raises(DataError, match=r"no file c/3/0.*write_empty_chunks"):
        stream(tmp_path / "x.zarr")
    zarr.create_array(tmp_path / "y.zarr", shape=(2**40, 4), chunks=(1, 4), dtype="f4")
    with pytest.raises(DataError, match="no file c/0/0"):
        stream(tmp_path / "y.zarr")


def test_hdf5_that_leads_to_other_files_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    x = draw()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = x
    (tmp_path / "secret").write_bytes(x.tobytes())
    layout = h5py.VirtualLayout(x.shape, x.dtype)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", x.shape)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        external = [(str(tmp_path / "secret"), 0, x.nbytes)]
        file.create_dataset("external", x.shape, x.dtype, external=external)
        file["link"] = h5py.ExternalLink("other.h5", "/")
        file["soft"] = h5py.SoftLink("/link/x")
        file["loop"] = h5py.SoftLink("loop")
    for name, words in (
        ("virtual", "values in other files"),
        ("external", "values in other files"),
        ("link/x", "link to another file"),
        ("soft", "link to another file"),
        ("loop", "leads to itself"),
    ):
        with pytest.raises(DataError, match=words):
            stream(f"{tmp_path / 'x.h5'}::{name}")


def test_arrays_inside_are_found_by_their_names(tmp_path):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    x = draw()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["group/x"] = x
        file["group/near"] = h5py.SoftLink("x")
        file["far"] = h5py.SoftLink("/group/near")
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("sub/x", data=x)
    group.create_array("y", data=x)
    for path in ("x.h5", "x.h5::far", "x.h5::/group/near", "g.zarr::sub/x", "g.zarr::y"):
        np.testing.assert_array_equal(stream(tmp_path / path).rows(0, 103), x)
    for path in ("x.h5::group", "g.zarr::sub", "g.zarr::z"):
        with pytest.raises(DataError, match="has no array"):
            stream(tmp_path / path)
    with pytest.raises(DataError, match="leaves the folder"):
        stream(tmp_path / "g.zarr::../g.zarr/y")


@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [{"id": "pickle"}]},
        {"compressor": {"id": "pickle"}},
        {"filters": [{"protocol": 4, "id": "numcodecs.Pickle"}]},
    ],
    ids=str,
)
def test_pickles_in_zarr_are_refused_before_a_chunk_is_read(codecs, tmp_path):
    pytest.importorskip("zarr")
    folder = tmp_path / "x.zarr"
    folder.mkdir()
    about = {"zarr_format": 2, "shape": [4, 2], "chunks": [4, 2], "dtype": "<f4", "order": "C"}
    about |= {"fill_value": 0, "filters": None, "compressor": None} | codecs
    (folder / ".zarray").write_text(json.dumps(about))
    (folder / "0.0").write_bytes(pickle.dumps(draw(4, 2)))
    with pytest.raises(DataError, match="pickles, which are never read"):
        stream(folder)


def test_a_library_that_is_broken_says_why(tmp_path, monkeypatch):
    (tmp_path / "x.h5").touch()
    (tmp_path / "libraries" / "h5py").mkdir(parents=True)
    (tmp_path / "libraries" / "h5py" / "__init__.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    monkeypatch.delitem(sys.modules, "h5py", raising=False)
    with pytest.raises(BackendError, match=r"cannot be imported \(No module named 'no_such_part'"):
        stream(tmp_path / "x.h5")
