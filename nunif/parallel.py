"""Work in threads that reads like a loop."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    initializer: Callable[[], Any] | None = None,
) -> Iterator[Result]:
    """`function` of every item, worked out in threads, in the order of the items.

    At most `workers` + 1 items are under way. The first error ends the iteration once what is under
    way has finished.
    """
    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def prefetch(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the next one is made in a thread while the current one is in use."""
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending: Future[Any] = pool.submit(next, iterator, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, iterator, end)
            yield item
