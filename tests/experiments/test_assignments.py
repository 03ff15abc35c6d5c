"""Assignments of clusters: packing, unpacking, damaged texts, and stability."""

import base64
import tracemalloc
import zlib

import numpy as np
import pytest

from ddnmf_np.errors import DataError
from ddnmf_np.experiments.records import pack_labels, unpack_labels
from ddnmf_np.experiments.tables import stability


@pytest.mark.parametrize(("clusters", "dtype"), [(1, "u1"), (256, "u1"), (257, "<u2")])
def test_labels_come_back(clusters, dtype):
    labels = np.random.default_rng(0).integers(clusters, size=700).astype("int32")
    labels[0] = clusters - 1
    found = unpack_labels(pack_labels(labels), 700)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == dtype


def test_ten_clusters_take_less_than_a_byte_an_image():
    labels = np.random.default_rng(0).integers(10, size=10_000)
    assert len(pack_labels(labels)) < 7_000
    assert pack_labels(labels) == pack_labels(labels.astype("int32"))


@pytest.mark.parametrize("labels", [[-1, 0], [0, 65_536]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(ValueError, match="expected 0 to 65535"):
        pack_labels(np.array(labels))


@pytest.mark.parametrize("text", ["***", "AAAA", pack_labels(np.arange(5))])
def test_what_is_no_assignment_is_named(text):
    with pytest.raises(DataError, match="assignment of clusters"):
        unpack_labels(text, 3)


def test_what_is_cut_off_is_named():
    whole = base64.b64decode(pack_labels(np.arange(5)))
    for size in range(1, len(whole)):
        with pytest.raises(DataError, match="assignment of clusters"):
            unpack_labels(base64.b64encode(whole[:size]).decode(), 5)


def test_a_bomb_is_not_let_off():
    bomb = base64.b64encode(zlib.compress(bytes(10**8), 9)).decode()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="not of 3 samples"):
            unpack_labels(bomb, 3)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(bomb)
    finally:
        tracemalloc.stop()


def test_stability_is_the_mean_over_pairs_and_blind_to_names():
    a = np.array([0, 0, 1, 1, 2, 2])
    renamed = np.array([2, 2, 0, 0, 1, 1])
    other = np.array([0, 0, 1, 2, 2, 2])
    assert stability([a, renamed]) == 1.0
    # Hubert and Arabie by hand: 2 pairs together in both, 3 in a, 4 in other, of 15.
    expected = (2 - 3 * 4 / 15) / ((3 + 4) / 2 - 3 * 4 / 15)
    assert stability([a, other]) == pytest.approx(expected)
    assert stability([a, renamed, other]) == pytest.approx((1 + 2 * expected) / 3)


def test_one_clustering_has_no_stability():
    assert stability([]) is None
    assert stability([np.array([0, 1])]) is None
