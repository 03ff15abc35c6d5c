"""Two threads for two networks: who computes beside whom, and with how many threads of BLAS.

The supervisor and the student meet once a step: both forward passes must be done before either
backward pass begins, since the direct gradients of equations 9 and 10 read both. Everything else
of one network is independent of the other, so each may have a thread to itself. The results are the
same bits whichever runs first, because neither writes what the other reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from ddnmf_np.backends.ops import Ops

WORTH_A_THREAD = 2e7
"""Floating-point operations a step above which a second thread saves more than it costs."""


class Lanes:
    """Runs two functions, side by side where that is faster; a context that holds the threads.

    Outside of the context the two run one after the other; on a device, on its own streams.

    Parameters
    ----------
    ops : Ops
        Who does the arithmetic.
    threads : int, optional
        Threads in all. By default as many as BLAS has when the context is entered: one for each
        processor, unless somebody has asked for less (``OMP_NUM_THREADS``, joblib's workers).
    work : float
        Floating-point operations of a step.

    Notes
    -----
    Each lane does its products with its share of the threads. OpenBLAS, which comes with NumPy,
    does several products at a time only if each has one thread; of two with more threads, one
    waits for the other (a lock around its threaded products, ``level3_lock``). With OpenBLAS and
    three threads or more, the lanes therefore take turns with all threads but one, which is left
    for what the other lane does between its products.
    """

    def __init__(self, ops: Ops, threads: int | None, work: float) -> None:
        self.ops, self.threads, self.work = ops, threads, work
        self._other: ThreadPoolExecutor | None = None
        self._process = 0
        self._depth = 0

    @property
    def side_by_side(self) -> bool:
        """Whether each of the two has a thread now."""
        # A process that was forked has the object, but not its thread.
        return self._other is not None and self._process == os.getpid()

    def __enter__(self) -> Lanes:
        worth_it = self.work >= WORTH_A_THREAD
        if self._depth == 0 and self.ops.on_host and (self.threads is not None or worth_it):
            threads = _BLAS.take(self.threads, two=worth_it)
            if threads > 1 and worth_it:
                self._other = ThreadPoolExecutor(1, thread_name_prefix="ddnmf-lane")
                self._process = os.getpid()
            self._limited = True
        elif self._depth == 0:
            self._limited = False
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth == 0 and self._limited:
            try:
                if self._other is not None:
                    self._other.shutdown(wait=self.side_by_side)
            finally:
                self._other = None
                _BLAS.give_back()

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Call both, and return when both are done.

        Parameters
        ----------
        one, two : callable
            Neither may write what the other reads or writes. If both raise, the error of ``two``
            is the one that comes through.
        """
        if self._other is None or not self.side_by_side:
            self.ops.both(one, two)
            return
        future = self._other.submit(_quietly, one)
        try:
            two()
        finally:
            _finish(future)
        future.result()


class _Blas:
    """The threads of BLAS: one number for the whole process, set by the first who takes it.

    Fits that run side by side in threads of their own share what the first has set; the last one
    puts the old number back.
    """

    def __init__(self) -> None:
        self.lock, self.users = Lock(), 0
        self.limits: Any = None
        self.threads = 1

    def take(self, threads: int | None, *, two: bool) -> int:
        """Share out ``threads`` (by default those that BLAS has), and return how many they are."""
        with self.lock:
            if self.users == 0:
                blas = ThreadpoolController().select(user_api="blas")
                self.threads = threads or threads_of(blas)
                turns = any(lib.internal_api == "openblas" for lib in blas.lib_controllers)
                two = two and self.threads > 1
                self.limits = blas.limit(limits=share(self.threads, two=two, takes_turns=turns))
            self.users += 1
            return self.threads

    def give_back(self) -> None:
        """Put the old number back, if nobody else needs the new one."""
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.limits.restore_original_limits()


_BLAS = _Blas()


def _finish(future: Future[None]) -> None:
    """Wait until it is done, come what may: nothing of a step outlives it."""
    interrupt: KeyboardInterrupt | None = None
    while not future.done():
        try:
            wait([future])
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def threads_of(blas: Any) -> int:
    """Return the threads that BLAS has now; where it does not say, the processors.

    Of several the least: NumPy's may have been limited before SciPy loaded its own.
    """
    return min((lib.num_threads for lib in blas.lib_controllers), default=usable_processors())


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def share(threads: int, *, two: bool, takes_turns: bool) -> int:
    """Return with how many threads BLAS does a product.

    Parameters
    ----------
    threads : int
        Threads in all.
    two : bool
        Whether there are two lanes.
    takes_turns : bool
        Whether this BLAS does one threaded product at a time.
    """
    if not two:
        return threads
    return max(1, threads - 1 if takes_turns else threads // 2)


def _quietly(work: Callable[[], object]) -> None:
    """Call without floating-point warnings, as the trainer does in its own thread."""
    with np.errstate(all="ignore"):
        work()
