"""Two threads for two networks, and the number of BLAS threads of each.

The supervisor and the student depend on each other only once in a step: the direct gradients of
equations 9 and 10 read the outputs of both, so both forward passes end before a backward pass
begins. Everything else runs in one thread for each network. The results are bit-identical in any
order, because neither thread writes what the other reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from ddnmf_np.backends.ops import Ops

WORTH_A_THREAD = 2e7
"""Floating-point operations in a step above which a second thread saves more than it costs."""


class NetworkThreads:
    """Context in which two functions run in two threads, if that is faster.

    Outside the context they run one after the other. On a device they run on two streams.
    ``threads`` is the number of threads in all, by default the one that BLAS uses when the context
    is entered: one for each processor, unless ``OMP_NUM_THREADS`` or joblib has set a lower limit.
    ``work`` is the number of floating-point operations of a step.

    Notes
    -----
    Each network gets half of the BLAS threads. OpenBLAS, which comes with NumPy, is different: it
    does one multi-threaded product at a time (a lock, ``level3_lock``), so two such products wait
    for each other. With OpenBLAS and three or more threads, the networks therefore take turns with
    all threads but one, and one thread is left for the work between the products.
    """

    def __init__(self, ops: Ops, threads: int | None, work: float) -> None:
        self.ops, self.threads, self.work = ops, threads, work
        self._other: ThreadPoolExecutor | None = None
        self._process = self._depth = 0

    @property
    def side_by_side(self) -> bool:
        """Whether the two functions run in two threads now."""
        # A forked process has a copy of this object, but not its thread.
        return self._other is not None and self._process == os.getpid()

    def __enter__(self) -> NetworkThreads:
        if self._depth == 0:
            worth_it = self.work >= WORTH_A_THREAD
            self._limited = self.ops.on_host and (self.threads is not None or worth_it)
            if self._limited and _BLAS.take(self.threads, two=worth_it) > 1 and worth_it:
                self._other = ThreadPoolExecutor(1, thread_name_prefix="ddnmf-network")
                self._process = os.getpid()
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._limited:
            try:
                if self._other is not None:
                    self._other.shutdown(wait=self.side_by_side)
            finally:
                self._other = None
                _BLAS.give_back()

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Call both functions, and return when both are done.

        Neither may write what the other reads or writes. If both fail, you get the error of
        ``two``.
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
    """Number of BLAS threads, which belongs to the whole process.

    Several fits may run in threads of one process. The first one sets the number, and the last one
    restores it.
    """

    def __init__(self) -> None:
        self.lock, self.users = Lock(), 0
        self.limits: Any = None
        self.threads = 1

    def take(self, threads: int | None, *, two: bool) -> int:
        """Divide ``threads`` (by default those of BLAS), and return how many there are."""
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
        """Restore the old number, unless another fit still needs the new one."""
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.limits.restore_original_limits()


_BLAS = _Blas()


def _finish(future: Future[None]) -> None:
    """Wait until the thread is done, also after Ctrl-C, so that no work of a step goes on."""
    interrupt: KeyboardInterrupt | None = None
    while not future.done():
        try:
            wait([future])
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def threads_of(blas: Any) -> int:
    """Return the number of threads that BLAS uses now, or of processors if no library says.

    If there are several libraries we take the least: NumPy's may have been limited before SciPy
    loaded another.
    """
    return min((lib.num_threads for lib in blas.lib_controllers), default=usable_processors())


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def share(threads: int, *, two: bool, takes_turns: bool) -> int:
    """Return the number of BLAS threads for one product, see `NetworkThreads`.

    ``two`` tells whether two networks share the threads, ``takes_turns`` whether this BLAS does one
    multi-threaded product at a time.
    """
    if not two:
        return threads
    return max(1, threads - 1 if takes_turns else threads // 2)


def _quietly(work: Callable[[], object]) -> None:
    """Call without floating-point warnings, as the trainer does in the main thread."""
    with np.errstate(all="ignore"):
        work()
