"""Where streams are read from: bytes, a map, a path, a file object, a pipe or a URL, all behind `read_at`.

`read_at(offset, length)` gives the bytes there, fewer only at the end. Random-access sources may be asked
from several threads. A pipe can only be asked for what lies at or after the last place asked for.
"""

from __future__ import annotations

import io
import mmap
import os
import threading
from pathlib import Path
from typing import IO, Any, Protocol

from triptych.errors import NotSeekable
from triptych.forking import renew_after_fork
from triptych.remote import RemoteSource
from triptych.urls import StorageOptions, is_url

SourceLike = str | os.PathLike[str] | bytes | bytearray | memoryview | mmap.mmap | IO[bytes]


class Source(Protocol):
    """Something to read a stream from.

    `is_local` says whether bytes are at hand: then many small reads cost next to nothing.
    """

    is_local: bool

    @property
    def size(self) -> int | None:
        """Bytes in all; None for a pipe, which has no random access."""
        ...

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """Give the bytes at a place; fewer than `length` only at the end."""
        ...

    def close(self) -> None:
        """Let go of what was opened here (a file object of the caller stays open)."""
        ...


def open_source(target: SourceLike, storage_options: StorageOptions | None = None) -> Source:
    """Open whatever a stream can be read from; the options are for URLs."""
    if isinstance(target, (str, os.PathLike)):
        text = os.fspath(target)
        if is_url(text):
            return RemoteSource(text, storage_options)
        if Path(text).exists() and not Path(text).is_file():  # a FIFO or a device
            return PipeSource(open(text, "rb", buffering=0), owned=True)
        return PathSource(text)
    if isinstance(target, mmap.mmap):
        return MappedSource(target)
    if not isinstance(target, (bytes, bytearray, memoryview)) and hasattr(target, "read"):
        return HandleSource(target) if is_seekable(target) else PipeSource(target)
    return BytesSource(target)


def is_seekable(handle: Any) -> bool:
    """Say whether a file object has random access."""
    try:
        return bool(handle.seekable())
    except AttributeError:
        return hasattr(handle, "seek")


class BytesSource:
    """Bytes in memory, never copied."""

    is_local = True

    def __init__(self, data: Any) -> None:
        self._data = memoryview(data).toreadonly().cast("B")
        self.size = len(self._data)

    def read_at(self, offset: int, length: int) -> memoryview:
        """Give a view of the bytes."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Do nothing: the caller owns the bytes."""


class MappedSource:
    """A file mapped into memory by the caller, who may close it at any time: no view of it is kept.

    Up to Python 3.12 a map is half a file object, whose `seek` gives nothing.
    """

    is_local = True

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Give a copy of the bytes; where the map stands, and is moved to, makes no difference."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Do nothing: the caller owns the map."""


class HandleSource:
    """A seekable file object of the caller's. The stream begins where the file object stands.

    A plain file of the system (`open(path, "rb")`, buffered or not) is read without moving it, so threads and
    forked processes share it safely. Any other file object is moved for each read: threads take turns, but
    parent and child of a fork move the one place that both have, so only one of them may read on.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._is_plain = hasattr(os, "pread") and _is_plain(handle)
        self.is_local = self._is_plain or isinstance(handle, io.BytesIO)
        self._base = handle.tell()
        self.size = handle.seek(0, io.SEEK_END) - self._base
        handle.seek(self._base)
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def read_at(self, offset: int, length: int) -> bytes:
        """Read at a place; where that takes two steps, as one."""
        # Asking for no more than there is keeps a file object from allocating what a bad header claims.
        length = min(length, max(0, self.size - offset))
        if self._is_plain:
            return _pread_fully(self._handle.fileno(), self._base + offset, length)
        with self._lock:
            self._handle.seek(self._base + offset)
            return _read_fully(self._handle, length)

    def close(self) -> None:
        """Do nothing: the caller owns the file object."""


class PathSource(HandleSource):
    """A regular file, opened here."""

    def __init__(self, path: str) -> None:
        super().__init__(open(path, "rb", buffering=0))  # noqa: SIM115  # closed by close()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class PipeSource:
    """A file object that cannot seek: what was passed over is gone."""

    size = None
    is_local = False
    _CHUNK = 1 << 20

    def __init__(self, handle: IO[bytes], *, owned: bool = False) -> None:
        self._handle = handle
        self._owned = owned
        self._offset = 0
        self._kept = b""

    def read_at(self, offset: int, length: int) -> bytes:
        """Read on to the place asked for, and forget what is before it."""
        if offset < self._offset:
            raise NotSeekable("a pipe cannot be read again, or out of order; read it into bytes first")
        while offset > self._offset + len(self._kept):
            self._offset += len(self._kept)
            self._kept = _read_fully(self._handle, min(offset - self._offset, self._CHUNK))
            if not self._kept:
                return b""
        self._kept = self._kept[offset - self._offset :]
        self._offset = offset
        if len(self._kept) < length:
            self._kept += _read_fully(self._handle, length - len(self._kept), self._CHUNK)
        return self._kept[:length]

    def close(self) -> None:
        """Close the file object if it was opened here."""
        if self._owned:
            self._handle.close()


def _is_plain(handle: IO[bytes]) -> bool:
    """Say whether a file object gives the bytes of its file descriptor, and nothing of its own."""
    return type(handle.raw if type(handle) is io.BufferedReader else handle) is io.FileIO


def _pread_fully(descriptor: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_fully(handle: IO[bytes], length: int, chunk: int | None = None) -> bytes:
    """Read `length` bytes (fewer at the end) from something that may give fewer at a time.

    `chunk` bounds what is asked for at once, where a header may claim more than will ever come.
    """
    parts: list[bytes] = []
    while length > 0:
        part = handle.read(min(length, chunk or length))
        if part is None:
            raise BlockingIOError("the source is non-blocking and has no data now")
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
