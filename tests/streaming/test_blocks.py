"""The order of a stream's samples, and prefetching in a thread."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from stream_cases import draw, rows_of

from ddnmf_np.data.order import epoch_order
from ddnmf_np.data.streaming.blocks import BlockOrder
from ddnmf_np.data.streaming.readahead import read_ahead
from ddnmf_np.errors import DataError


def visited(order, epoch):
    """Return the indices of an epoch in their order, window by window."""
    return [order.mixed(blocks, epoch)[1] for blocks in order.windows(epoch)]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 103, 104])
@pytest.mark.parametrize("window_blocks", [1, 3, 100])
def test_every_sample_is_visited_once(n, window_blocks):
    order = BlockOrder(n, 8, window_blocks, 5)
    windows = visited(order, 2)
    assert [len(w) for w in windows] == [order.count(blocks) for blocks in order.windows(2)]
    np.testing.assert_array_equal(np.sort(np.concatenate(windows)), np.arange(n))


def test_a_window_of_everything_is_the_full_shuffle():
    for epoch in range(3):
        [window] = visited(BlockOrder(103, 8, 13, 5), epoch)
        np.testing.assert_array_equal(window, epoch_order(103, 5, epoch))


def test_a_window_has_whole_blocks():
    for window in visited(BlockOrder(104, 8, 3, 5), 0):
        assert set(Counter((window // 8).tolist()).values()) == {8}


def test_orders_differ_by_epoch_and_seed():
    orders = [
        tuple(np.concatenate(visited(BlockOrder(104, 8, 3, seed), epoch)))
        for seed, epoch in ((5, 0), (5, 1), (6, 0))
    ]
    assert len(set(orders)) == 3


def test_every_place_is_equally_likely():
    """Over 1000 epochs a sample's place is uniform: chi-square over 13 windows' worth of places."""
    order = BlockOrder(104, 8, 1, 5)
    places = [
        int(np.flatnonzero(np.concatenate(visited(order, epoch)) == 50)[0]) for epoch in range(1000)
    ]
    for bins in (13, 8):  # which block comes when; which place in it
        found = np.bincount(np.array(places) // 8 if bins == 13 else np.array(places) % 8)
        expected = 1000 / bins
        assert ((found - expected) ** 2 / expected).sum() < 40.0  # p < 1e-4 at 12 degrees


def test_samples_of_a_window_are_independent_of_its_blocks():
    """Two samples of one block follow each other as often as chance predicts."""
    order, together = BlockOrder(64, 8, 4, 5), 0
    for epoch in range(500):
        for window in visited(order, epoch):
            together += int((np.diff(window // 8) == 0).sum())
    expected = 500 * 2 * 31 * (7 / 31)
    assert abs(together - expected) < 5 * np.sqrt(expected)


def test_rows_of_a_window_are_the_samples():
    x = draw()
    rows = rows_of(x)
    for skip in (0, 1, 23, 24, 25, 60, 102, 103):
        seen = []
        for window, place, index, _ in rows.mixed_windows(5, 1, skip):
            np.testing.assert_array_equal(window[place], x[index])
            seen += index.tolist()
        whole = np.concatenate(visited(rows.order(5), 1)).tolist()
        assert seen == whole[skip:]


@pytest.mark.parametrize("count", [1, 24, 30, 103, 500])
def test_the_first_samples_are_those_of_the_first_windows(count):
    x = draw()
    rows = rows_of(x)
    order = np.concatenate(visited(rows.order(5), 0))
    np.testing.assert_array_equal(rows.first(5, count), x[order[:count]])


def test_windows_that_are_skipped_are_not_read(monkeypatch):
    rows, read = rows_of(draw()), []
    whole = rows.read
    monkeypatch.setattr(rows, "read", lambda start, stop: read.append(start) or whole(start, stop))
    list(rows.mixed_windows(5, 0, 48))
    assert len(read) == 13 - 6


# -- the thread --------------------------------------------------------------------------------


def readers():
    return [thread for thread in threading.enumerate() if "read-ahead" in thread.name]


def test_items_come_in_order_and_the_thread_ends():
    assert list(read_ahead(iter(range(50)))) == list(range(50))
    assert not readers()


def test_one_item_is_prepared_while_one_is_in_use():
    begun = []

    def items():
        for number in range(20):
            begun.append(number)
            yield number

    reading = read_ahead(items())
    for number in range(10):
        assert next(reading) == number
        deadline = time.monotonic() + 10
        while len(begun) < number + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert begun == list(range(number + 2))
    reading.close()
    assert not readers()


def test_its_errors_are_raised_where_the_item_would_be():
    def items():
        yield 1
        raise DataError("row 7")

    reading = read_ahead(items())
    assert next(reading) == 1
    with pytest.raises(DataError, match="row 7"):
        next(reading)
    assert not readers()


def test_the_thread_ends_with_who_asked():
    reading = read_ahead(iter(range(50)))
    next(reading)
    assert len(readers()) == 1
    reading.close()
    assert not readers()
