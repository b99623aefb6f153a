"""Ordered work in threads, or in any `concurrent.futures.Executor`, with a bounded number of jobs under way.

Results come in the order of submission, whatever finishes first: that is what makes streams independent of
the number of threads. Threads are started with the second job, never at import.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

from triptych.errors import InvalidOption

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OrderedPool(Generic[T]):
    """Jobs in, results out in the same order.

    Parameters
    ----------
    threads : int
        0: all cores. 1: jobs run at once in the caller's thread.
    executor : Executor or None
        Where jobs run instead; it stays open. Functions and arguments must then be what it can send, and
        `threads` only says how many jobs are under way.
    """

    def __init__(self, threads: int, executor: Executor | None = None) -> None:
        if threads < 0:
            raise InvalidOption(
                f"threads must be an integer of at least 0, not {threads}", options=("threads",)
            )
        self._workers = threads or count_cores()
        self._executor = executor
        self._owned: ThreadPoolExecutor | None = None
        self._pending: deque[Future[T]] = deque()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Start a job, and give the results (none or one) that are due."""
        if self._executor is None and self._workers == 1:
            return [function(*args, **kwargs)]
        executor = self._executor or self._owned
        if executor is None:
            executor = self._owned = ThreadPoolExecutor(self._workers, thread_name_prefix="triptych")
        self._pending.append(executor.submit(function, *args, **kwargs))
        # Two jobs a worker keep all busy; more would only hold memory.
        if len(self._pending) <= 2 * self._workers:
            return []
        return [self._pending.popleft().result()]

    def drain(self) -> Iterator[T]:
        """Wait for the jobs under way."""
        while self._pending:
            yield self._pending.popleft().result()

    def close(self, wait: bool = True) -> None:
        """Drop jobs that have not begun, and end our threads, or have them end with the jobs they are at."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        if self._owned is not None:
            self._owned.shutdown(wait)
            self._owned = None


def ordered_map(
    function: Callable[[A], T], arguments: Iterable[A], threads: int, executor: Executor | None = None
) -> Iterator[T]:
    """Give the results of a function for each argument, in order.

    Where getting the next argument fails, the results for those before it come first.
    """
    pool: OrderedPool[T] = OrderedPool(threads, executor)
    failure: Exception | None = None
    iterator = iter(arguments)
    try:
        while True:
            try:
                argument = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            yield from pool.submit(function, argument)
        yield from pool.drain()
        if failure is not None:
            raise failure
    except GeneratorExit:
        # It may be the cyclic collector that ends us, in any thread and under any lock of the interpreter's:
        # whoever waits there may wait for ever.
        pool.close(wait=False)
        raise
    finally:
        pool.close()
