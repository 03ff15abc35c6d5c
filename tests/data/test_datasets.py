"""Data sets: the search for files, refused data, and bad servers."""

import gzip
import hashlib
import http.server
import os
import socket
import struct
import sys
import threading
import tracemalloc
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from ddnmf_np.data import datasets
from ddnmf_np.data.checks import check_nonnegative
from ddnmf_np.data.datasets import FILES, load
from ddnmf_np.data.streaming.sources import is_stream_path, open_source
from ddnmf_np.errors import DataError, UsageError

# --- a small set under MNIST's name ------------------------------------------------------------


def idx_u1(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


ARRAYS = {
    "x_train": np.random.default_rng(0).integers(256, size=(9, 4, 3)),
    "y_train": np.arange(9) % 3,
    "x_test": np.random.default_rng(1).integers(256, size=(5, 4, 3)),
    "y_test": np.arange(5) % 3,
}
CONTENT = {key: idx_u1(array) for key, array in ARRAYS.items()}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Confine every place where a set is looked for to a folder of the test."""
    known = {key: hashlib.sha256(content).hexdigest() for key, content in CONTENT.items()}
    monkeypatch.setattr(datasets, "SHA256", {"mnist": known, "fashion-mnist": known})
    cache, debian = tmp_path / "cache", tmp_path / "debian"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(cache / name))
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", debian)
    monkeypatch.setenv("DDNMF_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("DDNMF_DATA_URL", nobody)  # a port that nobody listens on
    return tmp_path


def put(folder, content=CONTENT, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for key, data in content.items():
        name = FILES[key] + (".gz" if compress else "")
        (folder / name).write_bytes(gzip.compress(data) if compress else data)
    return folder


def assert_is_the_small_set(data):
    for key, array in ARRAYS.items():
        expected = array.reshape(len(array), 12) / 255 if key[0] == "x" else array
        np.testing.assert_allclose(getattr(data, key), expected, rtol=1e-6)


# --- named sets --------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_named_set(places, compress, dtype):
    put(places / "mine/mnist", compress=compress)
    data = load("mnist", data_dir=places / "mine", dtype=dtype)
    assert_is_the_small_set(data)
    assert data.name == "mnist"
    assert data.source == str(places / "mine/mnist")
    assert data.image_shape == (4, 3)
    for x in (data.x_train, data.x_test):
        assert x.dtype == dtype
        assert x.flags.c_contiguous
        assert 0 <= x.min() <= x.max() <= 1
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    with pytest.raises(FrozenInstanceError):
        data.x_test = None


def test_order_of_places(places):
    """Fill the places from the last to the first: each takes over from the one before."""
    in_order = ["mine/mnist", "mine", "env/mnist", "env", "cache/ddnmf_np/mnist", "debian/mnist"]
    for place in reversed(in_order):
        put(places / place)
        data = load("mnist", data_dir=places / "mine")
        assert_is_the_small_set(data)
        note = "" if place.startswith("mine") else f" (not found in {places / 'mine'})"
        assert data.source == str(places / place) + note
    assert load("mnist").source == str(places / "env/mnist")


@pytest.mark.parametrize("package", ["platformdirs", "pooch"])
def test_only_a_download_needs_the_package_that_the_error_names(places, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=f"; pip install {package}, or name the folder that has"):
        load("mnist")
    assert_is_the_small_set(load("mnist", data_dir=put(places / "mine")))


def test_incomplete_place_is_passed_over(places):
    put(places / "mine", {key: CONTENT[key] for key in ("x_train", "y_train")})
    put(places / "debian/mnist")
    source = load("mnist", data_dir=places / "mine").source
    assert source == f"{places / 'debian/mnist'} (not found in {places / 'mine'})"


@pytest.mark.parametrize("key", FILES)
def test_file_with_other_content_is_named(places, key):
    wrong = CONTENT[key][:-1] + bytes([CONTENT[key][-1] ^ 1])
    put(places / "mine", CONTENT | {key: wrong})
    put(places / "env")  # a good copy further down must not hide it
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=places / "mine")
    message = str(caught.value)
    for part in (places / "mine" / f"{FILES[key]}.gz", hashlib.sha256(wrong).hexdigest()):
        assert str(part) in message
    assert hashlib.sha256(CONTENT[key]).hexdigest() in message
    assert "delete or replace it" in message


def test_missing_set_tells_everything(places):
    put(places / "mine", {"x_train": CONTENT["x_train"]})
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", data_dir=places / "mine")
    message = str(caught.value)
    url = os.environ["DDNMF_DATA_URL"]
    parts = [
        f"{places / 'mine/fashion-mnist'}: no such folder",
        f"{places / 'mine'}: has no {FILES['y_train']}, {FILES['x_test']}, {FILES['y_test']}",
        f"{places / 'env/fashion-mnist'}: no such folder",
        f"{places / 'env'}: no such folder",
        f"{places / 'cache/ddnmf_np/fashion-mnist'}: no such folder",
        f"{places / 'debian/fashion-mnist'}: no such folder",
        f"{url}/fashion-mnist/{FILES['x_train']}.gz: ",
        "--data-dir",
        "DDNMF_DATA",
        "dataset-fashion-mnist",
    ]
    positions = [message.find(part) for part in parts]
    assert -1 not in positions, message
    assert positions == sorted(positions)
    assert all(message.count(name) >= 1 for name in FILES.values())

    with pytest.raises(DataError) as caught:
        load("mnist")
    assert "Debian" not in str(caught.value)


# --- downloads ---------------------------------------------------------------------------------


@pytest.fixture
def server(places, monkeypatch):
    """Serve a table that the test fills: from path to (status, body, announced length)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body, length = served.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    served, asked = {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as instance:
        thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{instance.server_port}"
        monkeypatch.setenv("DDNMF_DATA_URL", url + "/")
        yield url, served, asked
        instance.shutdown()
        thread.join()


def serve(served, prefix, change=None):
    for key, content in CONTENT.items():
        body = gzip.compress(content)
        served[f"{prefix}/{FILES[key]}.gz"] = (200, body, len(body))
    if change is not None:
        served[f"{prefix}/{FILES['x_test']}.gz"] = change


def test_download_once(places, server):
    _, served, asked = server
    serve(served, "/mnist")
    cache = places / "cache/ddnmf_np/mnist"
    data = load("mnist", data_dir=places / "mine")
    assert_is_the_small_set(data)
    assert data.source == f"{cache} (not found in {places / 'mine'})"
    assert sorted(os.listdir(cache)) == sorted(f"{name}.gz" for name in FILES.values())

    assert_is_the_small_set(load("mnist"))
    assert len(asked) == 4  # the second time from the cache


def test_download_completes_the_cache(places, server):
    _, served, asked = server
    serve(served, "/mnist")
    put(places / "cache/ddnmf_np/mnist", {"x_train": CONTENT["x_train"]}, compress=False)
    assert_is_the_small_set(load("mnist"))
    assert f"/mnist/{FILES['x_train']}.gz" not in asked


WHOLE = gzip.compress(CONTENT["x_test"])
OTHER = gzip.compress(CONTENT["x_test"][:-1] + b"\x00")
BAD_ANSWERS = {
    "not found": (404, b"", 0),
    "server error": (500, b"oops", 4),
    "connection lost": (200, WHOLE[:20], len(WHOLE)),
    "truncated": (200, WHOLE[:20], 20),
    "corrupt": (200, WHOLE[:12] + b"\xff\xff" + WHOLE[14:], len(WHOLE)),
    "other content": (200, OTHER, len(OTHER)),
    "a web page": (200, b"<html>Log in", 12),
    "empty": (200, b"", 0),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_bad_server_leaves_nothing_unverified(places, server, answer):
    url, served, _ = server
    serve(served, "/mnist", change=answer)
    with pytest.raises(DataError) as caught:
        load("mnist")
    assert f"{url}/mnist/{FILES['x_test']}.gz: " in str(caught.value)
    # What came before it is verified and stays; of the bad file there is no trace.
    cache = places / "cache/ddnmf_np/mnist"
    assert sorted(os.listdir(cache)) == [f"{FILES[key]}.gz" for key in ("x_train", "y_train")]

    serve(served, "/mnist")  # the server recovers
    assert_is_the_small_set(load("mnist"))


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_second_mirror_stands_in(places, server, monkeypatch, answer):
    url, served, _ = server
    monkeypatch.delenv("DDNMF_DATA_URL")
    monkeypatch.setattr(datasets, "MIRRORS", {"mnist": (f"{url}/first/", f"{url}/second/")})
    serve(served, "/first", change=answer)
    serve(served, "/second")
    assert_is_the_small_set(load("mnist"))


def test_unwritable_cache_is_reported(places, server):
    _, served, _ = server
    serve(served, "/mnist")
    (places / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"(?s)cache.*: cannot be written \(.*--data-dir"):
        load("mnist")


# --- the real files ----------------------------------------------------------------------------

STATISTICS = {"mnist": (0.1306605, 0.3081078), "fashion-mnist": (0.2860406, 0.3530242)}


@pytest.mark.parametrize("name", STATISTICS)
def test_real_files(name):
    root = Path(os.environ.get("DDNMF_DATA") or "data")
    if not any((root / name).glob("train-images-idx3-ubyte*")):
        pytest.skip(f"the real {name} is not in {root}; set DDNMF_DATA")
    data = load(name, data_dir=root)
    assert data.source == str(root / name)
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    assert data.image_shape == (28, 28)
    mean, std = STATISTICS[name]
    # The published moments of the training pixels; sums in float64 over slices, to spare memory.
    rows = np.array([[s.sum(dtype=float), np.square(s, dtype=float).sum()] for s in data.x_train])
    first, second = rows.sum(axis=0) / data.x_train.size
    assert first == pytest.approx(mean, abs=1e-6)
    assert np.sqrt(second - first**2) == pytest.approx(std, abs=1e-6)
    counts = np.bincount(data.y_train), np.bincount(data.y_test)
    if name == "mnist":
        assert counts[0].tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert counts[1].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    else:
        assert counts[0].tolist() == [6000] * 10
        assert counts[1].tolist() == [1000] * 10


# --- digits ------------------------------------------------------------------------------------


def test_digits():
    data = load("digits", dtype="float64")
    assert data.source == "scikit-learn"
    assert data.image_shape == (8, 8)
    assert data.x_train.shape == (1437, 64)
    assert data.x_test.shape == (360, 64)
    # Every one of scikit-learn's samples with its label, once.
    expected_x, expected_y = load_digits(return_X_y=True)
    x = np.concatenate([data.x_train, data.x_test])
    y = np.concatenate([data.y_train, data.y_test])
    rows = sorted(zip(map(tuple, x * 16), y, strict=True))
    assert rows == sorted(zip(map(tuple, expected_x), expected_y, strict=True))


def test_split_of_digits_is_fixed_and_blind_to_labels(monkeypatch):
    first = load("digits")
    assert first.y_train[:12].tolist() == [2, 1, 5, 6, 6, 9, 4, 6, 6, 7, 1, 9]

    x, y = load_digits(return_X_y=True)
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda return_X_y: (x, y * 0))
    np.testing.assert_array_equal(load("digits").x_train, first.x_train)


def test_a_path_is_a_folder_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="'mnist' is unknown"):
        load(Path("mnist"))
    Path("mnist").mkdir()
    idx = b"\0\0\x08\x03" + struct.pack(">3I", 2, 1, 3) + bytes(range(6))
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(idx)
    for given in (Path("./mnist"), "./mnist"):
        assert load(given).x_train.shape == (2, 3)


def test_two_keys_for_one_array_are_refused(tmp_path):
    for number, keys in enumerate((("x", "x_train"), ("X_train", "x_train"))):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **{key: np.ones((3, 4)) for key in keys})
        with pytest.raises(DataError, match="two name the same; keep one of them"):
            load(path)


# --- the user's own files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "expected", "image_shape"),
    [
        (np.full((3, 6), 51, np.uint8), 0.2, None),
        (np.full((3, 64), 51, np.uint8), 0.2, (8, 8)),
        (np.full((3, 49), 51, np.uint8), 0.2, None),
        (np.full((3, 2, 5), 51, np.uint8), 0.2, (2, 5)),
        (np.full((3, 6), 51, np.int64), 51, None),
        (np.full((3, 6), 51, ">u2"), 51, None),
        (np.full((3, 6), 51, np.int8), 51, None),
        (np.full((3, 6), True), 1, None),
        (np.full((3, 6), 0.3, np.float16), np.float16(0.3), None),
        (np.full((3, 6), 0.3, ">f8"), 0.3, None),
        (np.asfortranarray(np.full((3, 6), 0.3)), 0.3, None),
        (np.full((3, 1), 0.3), 0.3, None),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_npy(tmp_path, array, expected, image_shape, dtype):
    path = tmp_path / "mine.npy"
    np.save(path, array)
    data = load(path, dtype=dtype)
    np.testing.assert_array_equal(data.x_train, np.full((3, array.size // 3), expected, dtype))
    assert data.x_train.dtype == dtype
    assert data.x_train.dtype.isnative
    assert data.x_train.flags.c_contiguous
    assert data.image_shape == image_shape
    assert (data.name, data.source) == ("mine", str(path))
    assert data.x_test is data.y_train is data.y_test is None


def test_3d_images_are_flattened_row_by_row(tmp_path):
    images = np.arange(24.0).reshape(2, 3, 4)
    np.save(tmp_path / "x.npy", images)
    np.testing.assert_array_equal(load(tmp_path / "x.npy").x_train[1], images[1].ravel())


def test_npy_with_labels(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.array([2, 0, 1], np.uint8))
    data = load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")
    assert data.y_train.tolist() == [2, 0, 1]
    assert data.y_train.dtype == np.int64
    for bad in (np.zeros(4, int), np.zeros((3, 1), int), np.zeros(3, complex)):
        np.save(tmp_path / "y.npy", bad)
        with pytest.raises(
            DataError, match=r"^labels .*y\.npy.*( has .* expected \(3,\), one|read)"
        ):
            load(str(tmp_path / "x.npy"), labels=tmp_path / "y.npy")
    np.savez(tmp_path / "x.npz", x=np.ones((3, 2)), y=np.arange(3))
    put(tmp_path / "idx")
    for name in ("digits", tmp_path / "x.npz", tmp_path / "idx"):
        with pytest.raises(UsageError, match=r"labels is 'y\.npy', but .* has labels of its own"):
            load(name, labels="y.npy")


@pytest.mark.parametrize(
    ("given", "expected", "classes"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        ([b"b", b"a", b"b"], [1, 0, 1], ("a", "b")),
        (["2", "0", "10"], [2, 0, 10], None),
        (["2.0", "0.0", "1.0"], [2, 0, 1], None),
        ([2.0, 0.0, -1.0], [2, 0, -1], None),
        ([True, False, True], [1, 0, 1], None),
    ],
)
def test_labels_of_any_kind(tmp_path, given, expected, classes):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.array(given))
    data = load(tmp_path / "x.npy", labels=tmp_path / "y.npy")
    assert data.y_train.tolist() == expected
    assert data.y_train.dtype == np.int64
    assert data.class_names == classes


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([0.0, 1.5, 1.0], "the label of row 1 is 1.5; expected a whole number or text"),
        ([0.0, 1.0, np.nan], "the label of row 2 is nan"),
        ([0.0, np.inf, 1.0], "the label of row 1 is inf"),
        ([0.0, 1e300, 1.0], "the label of row 1 is 1e"),
        (["a", "", "b"], "the label of row 1 is missing"),
    ],
)
def test_labels_that_are_neither_whole_nor_text(tmp_path, given, text):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.array(given))
    with pytest.raises(DataError, match=rf"y\.npy.*{text}"):
        load(tmp_path / "x.npy", labels=tmp_path / "y.npy")


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("compressed", [False, True])
def test_sparse_npz(tmp_path, form, compressed):
    rng = np.random.default_rng(0)
    x = sparse.csr_array(rng.uniform(size=(6, 5)) * (rng.uniform(size=(6, 5)) < 0.4)).asformat(form)
    sparse.save_npz(tmp_path / "x.npz", x, compressed=compressed)
    np.save(tmp_path / "y.npy", np.arange(6))
    data = load(tmp_path / "x.npz", dtype="float64", labels=tmp_path / "y.npy")
    np.testing.assert_array_equal(data.x_train, x.toarray())
    assert data.y_train.tolist() == list(range(6))
    assert is_stream_path("x.npz") is False
    np.testing.assert_array_equal(open_source(tmp_path / "x.npz").rows(1, 4), x.toarray()[1:4])


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("indices", 99, "its indices do not fit its shape"),
        ("indices", -1, "its indices do not fit its shape"),
        ("indptr", 99, "do not fit its shape"),
        ("shape", 3, "do not fit its shape"),
        ("format", b"dia", "sparse in the format 'dia'; convert it with"),
        ("format", b"xyz", "sparse in the format 'xyz'"),
    ],
)
def test_sparse_npz_that_does_not_fit_itself_is_refused(tmp_path, part, value, text):
    path = tmp_path / "x.npz"
    sparse.save_npz(path, sparse.csr_matrix(np.eye(5)))
    with np.load(path) as archive:
        arrays = dict(archive)
    if part == "format":
        arrays[part] = np.array(value)
    else:
        arrays[part][1] = value
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=rf"x\.npz.*{text}"):
        load(path)


def test_sparse_npz_that_is_too_large_as_a_whole(tmp_path):
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix((2**20, 2**20)))
    with pytest.raises(DataError, match=r"x\.npz: is sparse and would take 8796\.1 GB.*--stream"):
        load(tmp_path / "x.npz")


def test_upper_case_suffixes(tmp_path):
    with (tmp_path / "X.NPY").open("wb") as file:
        np.save(file, np.ones((3, 2)))
    with (tmp_path / "X.NPZ").open("wb") as file:
        np.savez(file, x=np.ones((3, 2)))
    with (tmp_path / "y.npy").open("wb") as file:
        np.save(file, [0, 1, 1])
    assert load(tmp_path / "X.NPY", labels=tmp_path / "y.npy").y_train.tolist() == [0, 1, 1]
    assert load(tmp_path / "X.NPZ").x_train.shape == (3, 2)


def test_an_empty_name_is_not_this_folder():
    with pytest.raises(UsageError, match=r"the name of the data set is empty; choose from digits"):
        load("")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "mine.npz"
    full = {key: array.astype(np.uint8) for key, array in ARRAYS.items()}
    save(path, **full, ignored=np.array(["text"]))
    assert_is_the_small_set(load(path))
    assert load(path).image_shape == (4, 3)

    save(path, x_train=full["x_train"], x_test=full["x_test"])
    data = load(path)
    assert len(data.x_test) == 5
    assert data.y_train is data.y_test is None

    for x, y in (("x", "y"), ("X", "y"), ("X", "Y"), ("X_train", "Y_train")):
        save(path, **{x: full["x_train"], y: full["y_train"]})
        data = load(path)
        assert data.x_train.shape == (9, 12)
        assert data.y_train.tolist() == full["y_train"].tolist()
        assert data.x_test is data.y_test is None


def test_npz_of_another_layout_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.ones((2, 2)), target=np.ones(2))
    with pytest.raises(DataError, match=r"keys 'images', 'target'; expected x_train .* or x and y"):
        load(path)
    np.savez(path, x_train=np.ones((2, 3)), x_test=np.ones((2, 4)))
    with pytest.raises(DataError, match="x_test has 4 features and x_train has 3"):
        load(path)
    np.savez(path, x_train=np.ones((2, 3)), y_train=np.zeros(3, int))
    with pytest.raises(DataError, match=r"y_train has shape \(3,\) .* expected \(2,\)"):
        load(path)
    np.savez(path, x_train=np.ones((2, 3)), y_test=np.zeros(3, int))
    with pytest.raises(DataError, match=r"y_test has shape \(3,\) .* expected \(0,\)"):
        load(path)


class Payload:
    """A pickle that leaves a trace if it is ever loaded."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_pickles_are_never_loaded(tmp_path, name):
    trace, path = tmp_path / "trace", tmp_path / name
    array = np.array([[Payload(trace)]], dtype=object)
    if name == "x.npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array, allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot be read .*never unpickled") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("end", [".npy", ".npz"])
def test_damaged_files_are_data_errors(tmp_path, end):
    rng = np.random.default_rng(0)
    good, path = tmp_path / f"good{end}", tmp_path / f"bad{end}"
    if end == ".npy":
        np.save(good, np.ones((4, 3)))
    else:
        np.savez_compressed(good, x=np.ones((4, 3)), y=np.arange(4))
    whole = good.read_bytes()
    refusals = []
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(whole) // 2, 2 * len(whole))])
        try:
            load(path)
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(str(path) in message for message in refusals)


def test_archive_under_the_wrong_name_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    np.savez(tmp_path / "z.npz", x=np.ones((2, 2)))
    os.rename(tmp_path / "x.npy", tmp_path / "a.npz")
    os.rename(tmp_path / "z.npz", tmp_path / "b.npy")
    for name in ("a.npz", "b.npy"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            load(tmp_path / name)


def test_folder_of_idx_files(tmp_path):
    folder = put(tmp_path / "mine")
    data = load(folder)
    assert_is_the_small_set(data)
    assert (data.name, data.source, data.image_shape) == ("mine", str(folder), (4, 3))

    folder = put(tmp_path / "images", {"x_train": CONTENT["x_train"]}, compress=False)
    data = load(folder)
    assert data.x_train.shape == (9, 12)
    assert data.x_test is data.y_train is data.y_test is None

    folder = put(tmp_path / "labels", {"y_train": CONTENT["y_train"]})
    with pytest.raises(DataError, match=r"labels: has no file train-images-idx3-ubyte \(or \.gz\)"):
        load(folder)


def test_plain_file_comes_before_its_compressed_copy(tmp_path):
    put(tmp_path, compress=False)
    put(tmp_path, dict.fromkeys(CONTENT, b"other content"))
    assert_is_the_small_set(load(tmp_path))


def test_folder_with_the_name_of_a_set(tmp_path, monkeypatch):
    put(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits").source == "scikit-learn"
    assert load("./digits").source == str(tmp_path / "digits")


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    assert load("~/x.npy").source == str(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "near"),
    [("mnsit", "mnist"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist")],
)
def test_unknown_name_gets_a_suggestion(name, near):
    with pytest.raises(UsageError, match=rf"{name}' is unknown; did you mean '{near}'\? Choose"):
        load(name)


def test_name_without_a_neighbour():
    with pytest.raises(UsageError, match=r"unknown\. Choose from digits, mnist, fashion-mnist, or"):
        load("zzzz")


@pytest.mark.parametrize(
    "path", ["no/such", "none.npy", "none.npz", "none.csv", "none.parquet", "text.docx"]
)
def test_unusable_path_is_refused(tmp_path, path):
    (tmp_path / "text.docx").write_text("1 2 3")
    with pytest.raises(DataError, match=path) as caught:
        load(tmp_path / path)
    assert any(word in str(caught.value) for word in ("check the path", "convert it"))


def test_dtype_is_one_of_two():
    for bad in ("float16", "no type", np.dtype("int32"), None):
        with pytest.raises(UsageError, match=r"dtype=.* cannot be used; choose 'float32' or"):
            load("digits", dtype=bad)
    assert load("digits", dtype=np.dtype("float64")).x_train.dtype == "float64"


# --- values for a non-negative model -----------------------------------------------------------


def matrix(value=0.5, row=4, column=7, dtype=float):
    x = np.full((6, 11), 0.5, dtype)
    x[row:, column] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            matrix(-0.25),
            "Negative values in data the faces: 2 of 66, the first -0.25 at row 4, column 7; shift",
        ),
        (
            matrix(np.nan),
            r"\(NaN or infinite\) in data the faces: 2 of 66, the first nan at row 4, column 7",
        ),
        (
            matrix(np.inf),
            r"\(NaN or infinite\) in data the faces: 2 of 66, the first inf at row 4, column 7",
        ),
        (
            matrix(-np.inf),
            r"\(NaN or infinite\) in data the faces: 2 of 66, the first -inf at row 4, column 7",
        ),
        (np.asfortranarray(matrix(-0.25)), "the first -0.25 at row 4, column 7"),
        (
            matrix(-3, dtype=np.int8),
            "Negative values in data the faces: 2 of 66, the first -3.0 at row 4",
        ),
        (np.ones(4), r"shape \(4,\); expected \(n, D\)"),
        (np.ones((4, 2, 2)), r"shape \(4, 2, 2\)"),
        (np.ones((0, 4)), r"shape \(0, 4\)"),
        (np.ones((4, 0)), r"shape \(4, 0\)"),
        (np.ones((2, 2), complex), "dtype complex128"),
        (np.array([["a"]]), "dtype <U1"),
        (np.array([[1]], object), "dtype object"),
        (np.array([["2020-01-01"]], "M8[D]"), "dtype datetime64"),
    ],
)
def test_values_that_cannot_be_used(x, message):
    with pytest.raises(DataError, match=message):
        check_nonnegative(x, "the faces")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, np.float32, float])
def test_values_that_can_be_used(dtype):
    check_nonnegative(np.array([[0, 1]], dtype), "x")
    check_nonnegative(np.array([[0, 1]], dtype)[:, :1], "x")


def test_good_data_are_not_copied_to_be_checked():
    x = np.ones((1000, 1000), np.float32)
    tracemalloc.start()
    try:
        check_nonnegative(x, "x")
        assert tracemalloc.get_traced_memory()[1] < 16_384
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", ["x_train", "x_test"])
def test_loading_refuses_what_cannot_be_used(tmp_path, key):
    arrays = {"x_train": matrix(), "x_test": matrix()}
    np.savez(tmp_path / "a.npz", **arrays | {key: matrix(-1)})
    with pytest.raises(DataError, match=rf"Negative values in data .*a\.npz: {key}: 2 of 66"):
        load(tmp_path / "a.npz")


def test_values_too_large_for_the_dtype_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", matrix(1e300))
    with pytest.raises(DataError, match=r"not finite .* in data .*x_train as float32: 2 of 66"):
        load(tmp_path / "a.npy")
    assert load(tmp_path / "a.npy", dtype="float64").x_train.max() == 1e300
