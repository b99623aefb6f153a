"""How long a server is waited for: `deadline` seconds in all, and more only as it sends.

Each `BYTES_A_SECOND` that come earn a second, up to the deadline again. A server that sends nothing, or a
byte now and then, is left after the deadline, whatever is asked of it and however often; one that sends as
fast as that is never left. Opening a connection and all requests draw from the same seconds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from importlib import import_module
from time import monotonic
from typing import Any, NoReturn, TypeVar

from triptych.errors import RemoteTimeout

T = TypeVar("T")

BYTES_A_SECOND = 1 << 14


class Patience:
    """The seconds that are left for a server, by name; `received` is for who gets bytes of it."""

    def __init__(self, shown: str, deadline: float) -> None:
        self._shown, self._deadline = shown, deadline
        self._left = deadline
        self._n_bytes = 0
        self._begin = 0.0

    def received(self, n_bytes: int) -> None:
        """Note that bytes came."""
        self._n_bytes += n_bytes

    def wait(self, fs: Any, work: Callable[[], Awaitable[T] | T]) -> T:
        """Do work with a file system, by a coroutine where it has such; `RemoteTimeout` ends it."""
        self._n_bytes, self._begin = 0, monotonic()
        try:
            asyn = import_module("fsspec.asyn")
            if isinstance(fs, asyn.AsyncFileSystem):
                task = asyn.sync(fs.loop, self._watch, work)
                if task is None:
                    self._give_up()  # not in the loop: fsspec makes another error of it
                result: T = task.result()
            elif fs.protocol == "memory":
                result = work()  # type: ignore[assignment]
            else:
                result = self._wait_for_thread(work)
        except RemoteTimeout:
            self._left = self._deadline  # another call is another chance
            raise
        self._left = min(self._deadline, max(0.0, self._seconds()))
        return result

    def _seconds(self) -> float:
        return self._left + self._n_bytes / BYTES_A_SECOND - (monotonic() - self._begin)

    async def _watch(self, work: Callable[[], Awaitable[T]]) -> asyncio.Future[T] | None:
        """Return the work when it is done; None: it took too long, and is cancelled."""
        task = asyncio.ensure_future(work())
        try:
            while not task.done() and (left := self._seconds()) > 0:
                await asyncio.wait({task}, timeout=left)
            return task if task.done() else None
        finally:
            task.cancel()

    def _wait_for_thread(self, work: Callable[[], Any]) -> Any:
        """Work in a thread: a file system that is not asynchronous cannot be told to stop."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.extend((work(), None))
            except BaseException as error:
                outcome.extend((None, error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            if (left := self._seconds()) <= 0:
                self._give_up()
            thread.join(left)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def _give_up(self) -> NoReturn:
        raise RemoteTimeout(
            f"{self._shown} could not be read: the server was waited for {self._deadline:g} seconds, and "
            "sends next to nothing; storage_options={'deadline': SECONDS} allows more"
        )
