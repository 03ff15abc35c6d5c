"""Prefetching in a background thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], ahead: int = 1) -> Generator[T, None, None]:
    """Yield items that a background thread prepares.

    Parameters
    ----------
    items : iterable
        Advanced in the thread only.
    ahead : int
        Largest number of items that are ready or in preparation, not counting the one in use.

    Yields
    ------
    object
        The items in their order.

    Notes
    -----
    An exception of the thread is raised here, in its place in the order. The thread ends with the
    items, or when the generator is closed; `close` waits for an item in preparation. Delete the
    item in use before you ask for the next, or both stay in memory.
    """
    ready: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(ahead)
    stopped = threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                ready.put((next(iterator),))
        except StopIteration:
            ready.put(None)
        except BaseException as error:  # of any kind: the caller must see it
            ready.put(error)

    thread = threading.Thread(target=work, name="ddnmf_np read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item[0]
            del item
    finally:
        stopped.set()
        room.release()
        thread.join()
