"""From samples to what a run needs: decided options, held-out rows, scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ddnmf_np.backends.select import backend_of
from ddnmf_np.data.defaults import DECIDED, Facts
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.errors import OptionError

if TYPE_CHECKING:
    from ddnmf_np.config import Config

MOST_SEEN = 20_000
"""Largest number of samples of a stream that we look at before training."""

MOST_BYTES = 2**27
"""Largest size of these samples."""

FEWEST = 10
"""With fewer samples we hold none out; with more at least two, because few samples are soon learned
by heart."""

HELD_OUT = 9
"""Stream of the seed that draws the held-out rows."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Samples and options of a run."""

    config: Config  # none of its options is undecided
    x: Any  # samples to train on, an array (n, n_features) or Rows
    held_out: Any  # samples that training does not see, or None; of a stream none are held out
    some: Any  # training samples on the host: all, or of a stream some
    scaling: Scaling | None  # None if it changes nothing
    decided: list[str]  # short names of the options that the data have decided

    def choices(self) -> str:
        """Return a line on what the data have decided, or "" if nothing."""
        if not self.decided:
            return ""
        chosen = ", ".join(f"{name} {_shown(self.config[name])}" for name in self.decided)
        held = 0 if self.held_out is None else len(self.held_out)
        return f"chosen from the data: {chosen}; {held} samples held out"


def prepare(x: Any, config: Config, image_shape: tuple[int, ...] | None = None) -> Prepared:
    """Decide what the data decide, hold rows out, and learn the scaling.

    Raises `OptionError` if training should stop early and no rows are held out.
    """
    x, held_out = _split(x, config)
    if config.training.patience and held_out is None:
        raise OptionError(
            "patience",
            f"is {config.training.patience}, but no samples are held out to look at: there are "
            f"fewer than {FEWEST}, they are streamed, or validation_fraction is 0; leave it out, "
            "or hold samples out (validation_fraction 0.1)",
        )
    some = on_host(x)
    missing = config.data.missing == "nan"
    decided = [name for name in DECIDED if name in config.undecided]
    if decided:
        scale = None if "scale" in config.undecided else config.data.scale
        images = image_shape is not None
        facts = Facts.of(some, n=x.shape[0], images=images, missing=missing, scale=scale)
        config = config.decide(facts)
    scaling = Scaling.learn(some, config.data.scale, fill=missing)
    kept = None if scaling.is_identity and scaling.fill is None else scaling
    return Prepared(config, x, held_out, some, kept, decided)


def on_host(x: Any) -> Any:
    """Return samples on the host: all, or of a stream some."""
    if isinstance(x, Rows):
        row_bytes = x.shape[1] * x.dtype.itemsize
        return x.sample(min(MOST_SEEN, max(1, MOST_BYTES // row_bytes)))[1]
    return x if backend_of(x) == "numpy" else x.get()


def _split(x: Any, config: Config) -> tuple[Any, Any]:
    n, share = x.shape[0], config.training.validation_fraction
    if share == 0.0 or n < FEWEST or isinstance(x, Rows):
        return x, None
    order = np.random.default_rng([config.training.seed, HELD_OUT]).permutation(n)
    batch_size = 1 if "batch_size" in config.undecided else config.training.batch_size
    held_out = min(max(2, round(share * n)), n - batch_size)  # a batch must be left
    if held_out < 1:
        return x, None
    return x[np.sort(order[held_out:])], x[np.sort(order[:held_out])]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
