"""Prefetching in a background thread."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_END: Any = object()


def read_ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield items; a background thread prepares the next one while one is in use.

    An exception of the thread is raised here, in its place in the order. The thread ends with the
    items, or when the generator is closed; `close` waits for an item in preparation. Delete the
    item in use before you ask for the next, or both stay in memory.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ddnmf_np read-ahead") as thread:
        coming = thread.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, iterator, _END)
            yield item
            del item
