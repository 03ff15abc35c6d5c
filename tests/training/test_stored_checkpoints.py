"""A stored checkpoint is read, gives the codes that it gave, and goes on as it went on."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ddnmf_np.data.streaming.rows import Rows, fingerprint
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.errors import CheckpointError
from ddnmf_np.runs.checkpoint import load_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from make_checkpoint import samples, trainer  # noqa: E402


class NotAnArray:
    def __init__(self, x):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype

    def __getitem__(self, rows):
        return self.x[rows]


def stored():
    return load_checkpoint(GOLDEN / "checkpoint.npz"), np.load(GOLDEN / "expected.npz")


def test_its_model_has_the_codes_that_it_had():
    checkpoint, expected = stored()
    codes = checkpoint.restore_model().encode(samples())
    # Another BLAS adds in another order.
    np.testing.assert_allclose(codes, expected["H"], rtol=1e-5)


def test_it_goes_on_to_the_losses_that_it_went_on_to():
    checkpoint, expected = stored()
    run = trainer(checkpoint.config)
    checkpoint.restore(run, checkpoint.config, fingerprint(run.x))
    assert (run.position.epoch, run.position.batch) == (2, 2)
    assert run.train(4)
    found = [[record[name] for name in expected["names"]] for record in run.history]
    np.testing.assert_allclose(found, expected["losses"], rtol=1e-4)


def test_it_refuses_other_data():
    """Of the same samples it does not matter whether they are in memory or streamed."""
    checkpoint, _ = stored()
    fewer = checkpoint.config.make_trainer(checkpoint.config.make_model(12), samples()[:-1])
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(fewer, checkpoint.config, fingerprint(fewer.x))
    other = checkpoint.config.make_trainer(checkpoint.config.make_model(12), 1.0 - samples())
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(other, checkpoint.config, fingerprint(other.x))
    rows = Rows(stream(NotAnArray(samples())), "float32")
    streamed = checkpoint.config.make_trainer(checkpoint.config.make_model(12), rows)
    checkpoint.restore(streamed, checkpoint.config, fingerprint(rows))
    rows = Rows(stream(NotAnArray(7.0 * samples())), "float32")
    streamed = checkpoint.config.make_trainer(checkpoint.config.make_model(12), rows)
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(streamed, checkpoint.config, fingerprint(rows))
