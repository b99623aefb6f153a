"""Ordered work in threads, or in any `concurrent.futures.Executor`, with a bounded number of jobs under way.

Results come in the order of submission, whatever finishes first: that is what makes streams independent of
the number of threads. Threads are started with the second job, never at import.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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

    def close(self) -> None:
        """Drop jobs that have not begun, and end our threads."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        if self._owned is not None:
            self._owned.shutdown()
            self._owned = None
