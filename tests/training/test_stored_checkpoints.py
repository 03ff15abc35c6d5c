"""A checkpoint of each format that there has been is read, gives its codes and goes on."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ddnmf_np.data.streaming.rows import Rows, fingerprint
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.errors import CheckpointError
from ddnmf_np.model import Model
from ddnmf_np.runs.checkpoint import FORMAT, load_checkpoint
from ddnmf_np.training import Trainer

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from make_checkpoint import samples, trainer  # noqa: E402


class NotAnArray:
    def __init__(self, x):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype

    def __getitem__(self, rows):
        return self.x[rows]


formats = pytest.mark.parametrize("number", range(1, FORMAT + 1))


def stored(number):
    expected = np.load(GOLDEN / f"expected-format-{number}.npz")
    return load_checkpoint(GOLDEN / f"checkpoint-format-{number}.npz"), expected


@formats
def test_its_model_has_the_codes_that_it_had(number):
    checkpoint, expected = stored(number)
    codes = checkpoint.restore_model().encode(samples())
    # Another BLAS adds in another order.
    np.testing.assert_allclose(codes, expected["H"], rtol=1e-5)


@formats
def test_it_goes_on_to_the_losses_that_it_went_on_to(number):
    checkpoint, expected = stored(number)
    run = trainer(checkpoint.config)
    checkpoint.restore(run, fingerprint(run.x))
    assert (run.position.epoch, run.position.batch) == (2, 2)
    assert run.train(4)
    found = [[record[name] for name in expected["names"]] for record in run.history]
    np.testing.assert_allclose(found, expected["losses"], rtol=1e-4)


@formats
def test_it_refuses_other_data(number):
    """The first format by a hash of all values, which is made again here."""
    checkpoint, _ = stored(number)
    fewer = Trainer(Model(12, checkpoint.config), samples()[:-1])
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(fewer, fingerprint(fewer.x))
    other = Trainer(Model(12, checkpoint.config), 1.0 - samples())
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(other, fingerprint(other.x))
    rows = Rows(stream(NotAnArray(samples())), "float32")
    streamed = Trainer(Model(12, checkpoint.config), rows)
    checkpoint.restore(streamed, fingerprint(rows))
    rows = Rows(stream(NotAnArray(7.0 * samples())), "float32")
    streamed = Trainer(Model(12, checkpoint.config), rows)
    with pytest.raises(CheckpointError, match="was trained on other data"):
        checkpoint.restore(streamed, fingerprint(rows))
