"""Streaming by several ranks: one rank reads each block, and samples are those of one process."""

from functools import partial

import numpy as np
import pytest
from parallel_cases import in_ranks
from training_cases import SMALL, assert_same_state, draw, losses_of

from ddnmf_np.config import configure
from ddnmf_np.data.feed import read_alone
from ddnmf_np.data.streaming.rows import Rows, fingerprint
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.errors import DataError
from ddnmf_np.parallel.feed import read_together, survey_together
from ddnmf_np.parallel.launch import make_trainer

N = 103
"""Samples: 13 blocks of 8 (the last has 7), windows of 3 blocks, batches of 10."""


class Map:
    """Stand-in for an array that records the rows it was asked for."""

    def __init__(self, x):
        self.x, self.shape, self.dtype, self.asked = x, x.shape, x.dtype, []

    def __getitem__(self, rows):
        self.asked.append((rows.start, rows.stop))
        return self.x[rows]


def rows_of(x, **options):
    rows = Rows(stream(Map(x)), x.dtype, **options)
    rows.block_rows, rows.window_blocks = 8, 3
    return rows


def asked(rows):
    return rows.source._array.asked


def batches(rows, read, epoch=1, skip=0):
    """Return a rank's samples of each whole batch."""
    found, index = [], []
    for part in read(rows, 10, 5, epoch, skip):
        assert part.before[-1] == len(part.place)
        found.append(part.x[part.place])
        index.append(part.numbers)
    return np.concatenate(found), np.concatenate(index)


@pytest.mark.parametrize("skip", [0, 10, 30, 100])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_shares_are_those_of_one_process(size, skip):
    x = draw(N)
    whole, order = batches(rows_of(x), read_alone, skip=skip)
    np.testing.assert_array_equal(whole, x[order])

    def work(ranks):
        mine, numbers = batches(rows_of(x), partial(read_together, ranks), skip=skip)
        np.testing.assert_array_equal(numbers, order)
        cut = [whole[at : at + 10] for at in range(0, len(whole), 10)]
        return mine, np.concatenate([batch[ranks.share(len(batch))] for batch in cut])

    for mine, expected in in_ranks(size, work):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("size", [2, 5])
def test_each_row_is_read_by_one_rank(size):
    x = draw(N)

    def work(ranks):
        rows = rows_of(x)
        batches(rows, partial(read_together, ranks))
        return asked(rows)

    read = [row for part in in_ranks(size, work) for at in part for row in range(*at)]
    assert sorted(read) == list(range(N))


@pytest.mark.parametrize("size", [2, 3, 20])  # of 20 ranks some have no block
@pytest.mark.parametrize("missing", ["error", "nan"])
def test_survey_is_that_of_one_process(size, missing):
    x = draw(N)
    if missing == "nan":
        x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
        x[:40] = np.nan  # a rank that has nothing else
    alone = rows_of(x, missing=missing).survey

    def work(ranks):
        rows = rows_of(x, missing=missing)
        survey_together(rows, ranks)
        return rows.survey, fingerprint(rows), asked(rows)

    found = in_ranks(size, work)
    assert all(survey == alone and print_ == alone.sha256 for survey, print_, _ in found)
    assert max(len(rows) for _, _, rows in found) <= -(-13 // size) + 1  # its own, one of the next


def test_nothing_but_missing_entries_is_found_by_all():
    x = np.full((N, 12), np.nan, np.float32)
    found = in_ranks(
        2, lambda ranks: survey_together(rows_of(x, missing="nan"), ranks), all_fail=True
    )
    assert all(isinstance(error, DataError) and "NaN throughout" in str(error) for error in found)


def test_other_values_on_one_rank_are_found():
    """Differences that the check of one block misses are found when they are read."""
    x = draw(N)
    other = x[::-1].copy()
    found = in_ranks(2, lambda r: survey_together(rows_of((x, other)[r.rank]), r), all_fail=True)
    assert any("give every machine the same file" in str(error) for error in found)

    changed = x.copy()
    changed[30] += 0.25  # of the fourth block, which is rank 0's to check

    def work(ranks):
        rows = rows_of((x, changed)[ranks.rank])
        survey_together(rows, ranks)
        for epoch in range(20):
            batches(rows, partial(read_together, ranks), epoch)

    errors = [error for error in in_ranks(2, work) if isinstance(error, DataError)]
    assert errors
    assert "rows 24 to 31 are not what they were when all were checked" in str(errors[0])
    assert "on every machine" in str(errors[0])


def test_another_shape_on_one_rank_is_found():
    x = draw(N)
    found = in_ranks(2, lambda r: survey_together(rows_of(x[: N - r.rank]), r))
    assert "shape (102, 13) in blocks of 8 rows; on rank 0 (103, 13)" in str(found[1])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("missing", ["error", "nan"])
def test_a_window_of_everything_trains_as_in_memory(size, missing):
    """With a single window the order is that of memory, so every bit is the same."""
    x = draw(N, dtype="float64")
    if missing == "nan":
        x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan

    def train(ranks, how):
        data = x
        if how != "memory":
            data = rows_of(x, missing=missing)
            data.window_blocks = 13 if how == "whole" else 3
            survey_together(data, ranks)
        options = {"dtype": "float64", "batch_size": 10, "missing": missing, "epochs": 2}
        config = configure(**(SMALL | options))
        trainer = make_trainer(config, config.make_model(13), data, ranks)
        trainer.train(2)
        return trainer

    memory = in_ranks(size, lambda ranks: train(ranks, "memory"))
    streamed = in_ranks(size, lambda ranks: train(ranks, "whole"))
    for one, other in zip(memory, streamed, strict=True):
        assert_same_state(one.model, other.model)
        assert losses_of(one.history) == losses_of(other.history)
    windows = in_ranks(size, lambda ranks: train(ranks, "windows"))
    for trainer in windows:
        assert_same_state(trainer.model, windows[0].model)
    assert losses_of(windows[0].history) != losses_of(memory[0].history)
