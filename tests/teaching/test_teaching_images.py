"""Images for the notebooks: what is on disk is used, and nothing is downloaded."""

import gzip
import struct
from importlib import import_module

import numpy as np
import pytest

from ddnmf_np.data import datasets
from ddnmf_np.errors import UsageError
from ddnmf_np.teaching import images
from ddnmf_np.teaching.images import _load


@pytest.fixture
def nothing_on_disk(monkeypatch, tmp_path):
    """Hide what this computer has, and refuse every download."""

    def refuse(*_):
        raise AssertionError("a download")

    monkeypatch.setattr(datasets, "_download", refuse)
    # The name ddnmf_np.teaching.images is that of the function.
    module = import_module("ddnmf_np.teaching.images")
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(module, "_shipped", lambda split: None)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.delenv("DDNMF_DATA", raising=False)
    _load.cache_clear()
    yield
    _load.cache_clear()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_digits_take_the_place_of_what_is_not_here_and_a_sentence_says_so(
    name, nothing_on_disk, capsys
):
    x, labels, shape = images(50, name)
    assert (x.shape, labels.shape, shape) == ((50, 64), (50,), (8, 8))
    said = capsys.readouterr().out
    assert said.startswith(f"{name} is not on this computer: these are scikit-learn's 8 x 8 digits")
    assert said.count("\n") == 1


def test_digits_that_are_asked_for_come_without_a_word(nothing_on_disk, capsys):
    x, labels, _ = images(name="digits", split="test")
    assert len(x) == len(labels) == 360
    assert x.dtype == np.float32
    assert x.min() == 0.0
    assert x.max() == 1.0
    assert capsys.readouterr().out == ""


def test_images_are_the_callers_own(nothing_on_disk):
    first = images(5, "digits")
    first.x[:] = 9.0
    assert images(5, "digits").x.max() <= 1.0


def write_mnist(folder, monkeypatch):
    """Write a MNIST of six images of 28 x 28, and let it be the known one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for key, name in datasets.FILES.items():
        array = rng.integers(
            0, 10 if key[0] == "y" else 256, (6, 28, 28)[: 1 if key[0] == "y" else 3]
        )
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        end = ".gz" if key == "x_train" else ""
        data = head + array.astype(np.uint8).tobytes()
        (folder / f"{name}{end}").write_bytes(gzip.compress(data) if end else data)
    known = {
        key: datasets.sha256_of_decompressed(path)
        for key, path in datasets._idx_files(folder).items()
    }
    monkeypatch.setitem(datasets.SHA256, "mnist", known)


@pytest.mark.parametrize("place", ["DDNMF_DATA/mnist", "DDNMF_DATA", "cache/mnist"])
def test_mnist_is_found_where_the_loader_finds_it(
    place, nothing_on_disk, monkeypatch, tmp_path, capsys
):
    """Plain and compressed files in one folder, as after an interrupted copy."""
    write_mnist(tmp_path / place, monkeypatch)
    if place.startswith("DDNMF"):
        monkeypatch.setenv("DDNMF_DATA", str(tmp_path / "DDNMF_DATA"))
    assert datasets.on_disk("mnist")
    x, labels, shape = images(100)
    assert (x.shape, labels.shape, shape) == ((6, 784), (6,), (28, 28))
    assert capsys.readouterr().out == ""


def test_a_set_that_lacks_a_file_is_not_taken(nothing_on_disk, monkeypatch, tmp_path):
    write_mnist(tmp_path / "cache" / "mnist", monkeypatch)
    (tmp_path / "cache" / "mnist" / datasets.FILES["y_test"]).unlink()
    assert images(10).shape == (8, 8)


@pytest.mark.parametrize("bad", [{"name": "minst"}, {"split": "valid"}, {"n": 0}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        images(**bad)


# -- images that lie beside the notebooks ----------------------------------------------------------


@pytest.mark.parametrize(("split", "n"), [("train", 5000), ("test", 1000)])
def test_images_beside_the_notebooks_have_as_many_of_each_digit(split, n):
    x, labels, shape = images(n, split=split)
    assert (x.shape, x.dtype, shape) == ((n, 784), np.float32, (28, 28))
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert (np.bincount(labels) == n // 10).all()
    assert len(np.unique(x, axis=0)) == n


def test_images_beside_the_notebooks_are_those_that_their_readme_names():
    if not datasets.on_disk("mnist"):
        pytest.skip("MNIST is not on this computer (DDNMF_DATA)")
    whole = datasets.load("mnist")
    for split, y, x in (
        ("train", whole.y_train, whole.x_train),
        ("test", whole.y_test, whole.x_test),
    ):
        shipped = images({"train": 5000, "test": 1000}[split], split=split)
        per_digit = len(shipped.x) // 10
        own = [np.flatnonzero(y == digit) for digit in range(10)]
        rows = [k[np.linspace(0, len(k) - 1, per_digit).astype(int)] for k in own]
        rows = np.sort(np.concatenate(rows))
        np.testing.assert_array_equal(shipped.labels, y[rows])
        np.testing.assert_allclose(shipped.x, x[rows], atol=1e-7)
