"""Something is prepared while the one before it is used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], ahead: int = 1) -> Generator[T, None, None]:
    """Yield items that a thread prepares in the background.

    Parameters
    ----------
    items : iterable
        Advanced in the thread alone.
    ahead : int
        Most items that are ready, or in preparation, beside the one in use.

    Yields
    ------
    object
        The items in their order.

    Notes
    -----
    What the thread raises is raised here, in its place in the order. The thread ends when the
    items do or when the generator is closed, which waits for an item that is in preparation. The
    one in use must be let go before the next is asked for, or it stays in memory beside them.
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
        except BaseException as error:  # whatever it is: it belongs to who asked
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
