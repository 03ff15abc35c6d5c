"""What a person sees of a run in progress: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

from ddnmf_np.system.command import tell
from ddnmf_np.training import Record, Trainer

LINES = 100
"""About how many lines a run of short epochs prints."""

SILENCE = 10.0
"""Seconds after which the next epoch prints its line in any case."""


class Progress:
    """Callbacks of `Trainer.train` that show losses and speed.

    Parameters
    ----------
    trainer : Trainer
        What is watched.
    epochs : int
        When it will be done.
    stream : file, optional
        Where to write; standard error by default.
    """

    def __init__(self, trainer: Trainer, epochs: int, stream: TextIO | None = None) -> None:
        self.epochs = epochs
        self.every = max(1, epochs // LINES)
        self.told: float | None = None
        self.stream = stream or sys.stderr
        self.bar: Any = None
        if self.stream is not None and self.stream.isatty():  # None: closed before Python began
            steps, position = len(trainer.batches), trainer.position
            self.bar = tqdm(
                total=epochs * steps,
                initial=position.epoch * steps + position.batch,
                unit="step",
                file=self.stream,
                dynamic_ncols=True,
            )

    def on_step(self, trainer: Trainer) -> None:
        """Move the bar; looks at nothing on the device."""
        if self.bar is not None:
            self.bar.update()

    def on_epoch(self, trainer: Trainer) -> None:
        """Show the record of the epoch."""
        record = trainer.history[-1]
        if self.bar is None:
            now = time.monotonic()
            recent = self.told is not None and now - self.told < SILENCE
            if recent and record["epoch"] % self.every and record["epoch"] != self.epochs:
                return
            self.told = now
            tell(f"epoch {record['epoch']}/{self.epochs}  {describe(record)}", self.stream)
        else:
            self.bar.set_postfix_str(describe(record))

    def close(self) -> None:
        """Finish the bar's line."""
        if self.bar is not None:
            self.bar.close()


def describe(record: Record) -> str:
    """Return an epoch's losses and speed in one line."""
    losses = "  ".join(
        f"{name.removeprefix('loss_')} {value:.4g}"
        for name, value in record.items()
        if name.startswith("loss_")
    )
    if "fvu" in record:
        losses += f"  unexplained {record['fvu']:.3f}"
    return f"{losses}  {record['samples_per_second']:,.0f} samples/s"
