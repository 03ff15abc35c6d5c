"""The steps of the page, done again by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddnmf_np.errors import UsageError
from ddnmf_np.model import Model
from ddnmf_np.playground.content import configured, samples
from ddnmf_np.training import Trainer


class Replay:
    """A run of the page, repeated in float64; the result of `replay`.

    ``model`` is the model after the last step. ``losses`` are those of the last mini-batch by name;
    before the first step there are none.
    """

    def __init__(self, model: Model, losses: dict[str, float]) -> None:
        self.model, self.losses = model, losses

    def __str__(self) -> str:
        values = "  ".join(f"{name} {value:.12g}" for name, value in self.losses.items())
        return f"step {self.model.optimizer.t}  {values}".rstrip()


def replay(
    data: str, history: Sequence[tuple[int, dict[str, Any]]], data_dir: str | None = None
) -> Replay:
    """Train as the page has trained: same weights, order and noise.

    Parameters
    ----------
    data : {"digits", "mnist"}
        Samples, see `ddnmf_np.playground.content.samples`.
    history : sequence of (int, dict)
        Number of steps, and the options that change before them, by their short names; the first
        entry has the options of the start.
    data_dir : str, optional
        Where to look for MNIST first.

    Returns
    -------
    Replay
        The trained model and its last losses.

    Raises
    ------
    UsageError
        If the history is empty, or an option is unknown or cannot be used.
    DataError
        If there are no such data.

    Examples
    --------
    >>> from ddnmf_np.playground.replay import replay
    >>> replay("digits", [(2, {"objective": "demo"}), (1, {"beta_ap": 0.0})]).model.optimizer.t
    3
    """
    if not history:
        raise UsageError("history is empty; give at least one entry (steps, options)")
    x = samples(data, data_dir)
    config, trainer, losses = None, None, dict[str, float]()
    for steps, options in history:
        config = configured(config, **options)
        model = config.make_model(x.shape[1])
        going_on = config.make_trainer(model, x)
        if trainer is not None:
            model.load_state(trainer.model.state(), trainer.model.optimizer.t)
            going_on.position = trainer.position
        trainer = going_on
        losses = _steps(trainer, steps) or losses
    assert trainer is not None
    return Replay(trainer.model, losses)


def _steps(trainer: Trainer, steps: int) -> dict[str, float]:
    """Do some steps; return the losses of the last batch."""
    model, values = trainer.model, dict[str, float]()
    last = model.optimizer.t + steps

    def look(trainer: Trainer) -> None:
        values.update(model.loss.values(trainer.feed.batch.n))
        model.loss.reset()
        trainer.stop_requested = model.optimizer.t == last

    trainer.stop_requested = steps == 0
    trainer.train(trainer.position.epoch + steps, on_step=look)
    return values
