"""Progress of a run: a bar on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from ddnmf_np.system.command import tell
from ddnmf_np.training import Record, Trainer

LINES = 100
"""About how many lines a run of short epochs prints."""

SILENCE = 10.0
"""Seconds after which the next epoch prints its line in any case."""

LOSSES = {
    "sym": ("supervisor", "its output against the clean sample"),
    "ap": ("follow", "the student's layers against the supervisor's"),
    "nc": ("factorize", "the student's code against the code that its NMF module recovers"),
    "rec": ("student", "its output against the clean sample"),
}
"""By the loss of a term: its name in a line, and what it compares."""


class Progress:
    """Callbacks of `Trainer.train` that show losses and speed, on standard error by default."""

    def __init__(self, trainer: Trainer, epochs: int, stream: TextIO | None = None) -> None:
        self.epochs = epochs
        self.every = max(1, epochs // LINES)
        self.told: float | None = None
        self.stream = stream or sys.stderr
        self.bar: Any = None
        # A term may occur more than once, always with one weight.
        terms = trainer.model.loss.terms
        self.weights: dict[str, float] = {term.loss: term.weight for term in terms}
        tell(legend(self.weights, held_out=trainer.stopping is not None), self.stream)
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
            tell(
                f"epoch {record['epoch']}/{self.epochs}  {describe(record, self.weights)}",
                self.stream,
            )
        else:
            self.bar.set_postfix_str(describe(record, self.weights))

    def close(self) -> None:
        """Finish the bar's line."""
        if self.bar is not None:
            self.bar.close()


def legend(weights: Mapping[str, float], *, held_out: bool) -> str:
    """Return lines that explain those of the epochs.

    ``weights`` are those of the losses by their names in `LOSSES`. If rows are held out, the lines
    show their unexplained variance.
    """
    names = {name: what for loss, (name, what) in LOSSES.items() if loss in weights}
    lines = [f"total = {' + '.join(names)}, each loss times its weight"]
    lines += [f"  {name:12}{what}" for name, what in names.items()]
    if held_out:
        what = "fraction of the variance of held-out samples; 1 is no better than the mean"
        lines.append(f"  {'unexplained':12}{what}")
    return "\n".join(lines)


def describe(record: Record, weights: Mapping[str, float]) -> str:
    """Return an epoch's weighted losses, whose sum is the total, and its speed in one line."""
    total = record["loss_in"]
    size = abs(total) if math.isfinite(total) else 0.0
    digits = max(0, 3 - math.floor(math.log10(size))) if size else 3  # four that count
    shown = " + ".join(
        f"{name} {record[f'loss_{loss}'] * weights[loss]:.{digits}f}"
        for loss, (name, _) in LOSSES.items()
        if loss in weights
    )
    found = f"  unexplained {record['fvu']:.3f}" if "fvu" in record else ""
    speed = f"{record['samples_per_second']:,.0f} samples/s"
    return f"total {total:.{digits}f} = {shown}{found}  {speed}"
