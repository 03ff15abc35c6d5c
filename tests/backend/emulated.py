"""Counts and complaints of the emulated device (``tests/emulator``); a real one has none."""

import ctypes
import os
from collections import Counter
from contextlib import contextmanager
from typing import NamedTuple

ROOT = os.environ.get("FAKECUDA_ROOT")
"""Where the emulated device was built, if this process runs on it."""


class Work(NamedTuple):
    """A piece of a graph: its stream, its place in the longest row up to it, and its name."""

    stream: int
    row: int
    name: str


class Emulated:
    """Counts, complaints and switches of the emulated device."""

    def __init__(self):
        self._library = ctypes.CDLL(f"{ROOT}/lib/libfakecuda.so")
        for name in ("fake_counts", "fake_complaints", "fake_graph"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def counts(self):
        """Return how often each thing was asked for, by name."""
        lines = self._library.fake_counts().decode().splitlines()
        return Counter({name: int(count) for name, count in (line.split("\t") for line in lines)})

    @contextmanager
    def counting(self):
        """Count what happens inside."""
        counted, before = Counter(), self.counts()
        yield counted
        counted.update(self.counts() - before)

    def complaints(self):
        """Return what a device would not have forgiven, and forget it."""
        found = self._library.fake_complaints().decode().splitlines()
        self._library.fake_reset()
        return found

    def graph(self):
        """Return the work of the last graph that was launched."""
        lines = [line.split("\t") for line in self._library.fake_graph().decode().splitlines()]
        return [Work(int(stream), int(row), name) for stream, row, name in lines]

    @contextmanager
    def dry(self):
        """Let launches cost the host what they cost, and do nothing."""
        self._library.fake_dry(1)
        try:
            yield
        finally:
            self._library.fake_dry(0)

    @contextmanager
    def order(self, seed):
        """Do a graph's work in another of the orders that its events allow."""
        self._library.fake_order(seed)
        try:
            yield
        finally:
            self._library.fake_order(0)
