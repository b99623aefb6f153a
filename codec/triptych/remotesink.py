"""Objects behind a URL, written through fsspec: see `triptych.sink.Sink`."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from triptych.errors import InvalidOption
from triptych.forking import renew_after_fork
from triptych.urls import Location, StorageOptions

T = TypeVar("T")


class RemoteSink:
    """An object behind a URL, of which there is nothing before `close`, where the file system can.

    For `abort`, and for a sink that is dropped, what was sent is thrown away.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        self._location = Location(url, options)
        if not self._location.is_writable:
            raise InvalidOption(f"{self._location.shown} cannot be written to: write a file, and send that")
        # A file system of its own: a transaction is of all that is written by one.
        self._fs, path = self._do(lambda: self._location.connect(skip_instance_cache=True))
        self._fs.start_transaction()
        self._handle = self._do(lambda: self._fs.open(path, "wb"))
        renew_after_fork(self)
        self._cleanup = weakref.finalize(self, _discard, self._fs, self._handle, os.getpid())

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:
            failure = self._location.explain(error, "written")
        raise failure

    def _after_fork(self) -> None:
        _forget(self._handle)

    def go_on_at(self, size: int) -> None:
        """Do nothing: of a new object there are no bytes."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it at the end."""
        self._do(lambda: self._handle.write(data))

    def flush(self) -> None:
        """Refuse: nothing can be read of an object before it is whole."""
        raise InvalidOption(
            f"flush is for files: {self._location.shown} can be read when its Writer is closed, not before"
        )

    def close(self) -> None:
        """Send the rest, and give the object its name."""
        self._do(self._handle.close)
        self._do(self._fs.end_transaction)
        self._cleanup.detach()

    def abort(self) -> None:
        """Throw away what was sent."""
        self._cleanup()


def _discard(fs: Any, handle: Any, pid: int) -> None:
    if os.getpid() != pid:
        return
    with contextlib.suppress(Exception):  # there may be no connection any more
        handle.discard()
    _forget(handle)


def _forget(handle: Any) -> None:
    """Call a file closed: to close it, as its finalizer would, sends the rest and completes the object."""
    with contextlib.suppress(AttributeError):  # a file in memory
        handle.closed = True
