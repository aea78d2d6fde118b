"""Several things at once, a few at a time: the only place with threads beside the lease's."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import chain, islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """The results of ``work`` in the order of the items, at most ``at_once`` at a time.

    A slow one does not keep others from beginning; results wait for their turn, so they should be small. After an error
    nothing new is begun; what is under way is waited for, then the error is raised.
    """
    if at_once == 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(at_once) as threads:
        begun: deque[Future[R]] = deque()
        while True:
            under_way = {future for future in begun if not future.done()}
            if not any(future.done() and future.exception() for future in begun):
                for item in islice(waiting, at_once - len(under_way)):
                    future = threads.submit(copy_context().run, work, item)
                    begun.append(future)
                    under_way.add(future)
            if not begun:
                return
            if begun[0].done():
                yield begun.popleft().result()
            else:
                wait(under_way, return_when=FIRST_COMPLETED)


def do_each(work: Callable[[T], object], items: Iterable[T], at_once: int) -> None:
    """The same for work without results, to its end."""
    for _ in each(work, items, at_once):
        pass


def interleave(readers: Iterable[Iterator[T]], at_once: int, over: Callable[[T], bool] = lambda _: True) -> Iterator[T]:
    """What the readers give, in turn: one item of each of the first ``at_once``, then the next of each, and so on.

    A reader's turn goes on to the item after which it is ``over``. While one item is used, the readers' next ones are
    on their way. The order depends on the readers only, not on time.
    """
    if at_once == 1:
        yield from chain.from_iterable(readers)
        return
    end = object()
    waiting = iter(readers)
    with ThreadPoolExecutor(at_once) as threads:

        def begun(reader: Iterator[T]) -> tuple[Iterator[T], "Future[T | object]"]:
            return reader, threads.submit(copy_context().run, lambda: next(reader, end))

        under_way = deque(begun(reader) for reader in islice(waiting, at_once))
        try:
            while under_way:
                reader, future = under_way.popleft()
                found = future.result()
                if found is end:
                    under_way.extend(begun(other) for other in islice(waiting, 1))
                    continue
                (under_way.append if over(found) else under_way.appendleft)(begun(reader))  # type: ignore[arg-type]
                yield found  # type: ignore[misc]
        finally:
            for _, future in under_way:
                future.cancel()
