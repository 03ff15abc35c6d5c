"""Handlers of the signals that end a command: Ctrl-C (SIGINT), SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Stoppable(Protocol):
    """A `ddnmf_np.training.Trainer`, which stops between two steps when asked."""

    stop_requested: bool


@contextmanager
def stop_on_signal(trainer: Stoppable) -> Iterator[None]:
    """Let a signal end training between two steps; a second SIGINT ends it at once."""

    def stop(number: int, frame: Any) -> None:
        trainer.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with _handled_by(stop, signal.SIGINT, *_ends()):
        yield


@contextmanager
def stop_on_interrupt(trainer: Stoppable) -> Iterator[list[int]]:
    """Let Ctrl-C end training between two steps, for a library; a second one interrupts it.

    Yields the signals that came. We listen only where Ctrl-C would raise KeyboardInterrupt, because
    elsewhere the application has its own idea of it.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        trainer.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with _handled_by(stop, *([signal.SIGINT] if is_default else [])):
        yield came


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM or SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that commands clean up."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt, *_ends()):
        yield


def _ends() -> list[signal.Signals]:
    """Return the signals that ask a process to end.

    SIGHUP, which Windows lacks, comes when a terminal closes. Where it is ignored, the user has
    asked for that with ``nohup``.
    """
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


@contextmanager
def _handled_by(handler: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[None]:
    """Give signals another handler for a while; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            # None is a handler from C, which Python cannot restore.
            signal.signal(number, signal.SIG_DFL if old is None else old)
