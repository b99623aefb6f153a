"""Where streams are written to. A sink is only ever written at its end.

A path is written under a temporary name in the same folder and gets its own name at `flush` or `close`, so
what stands under a final name is always a whole stream. From then on, and when appending, the file is written
in place, and `abort` cuts it back to what was last flushed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import weakref
from pathlib import Path
from typing import IO, Protocol

SinkLike = str | os.PathLike[str] | IO[bytes]


class Sink(Protocol):
    """Something to write a stream to."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it."""
        ...

    def flush(self) -> None:
        """Make what was written durable, and readable by others."""
        ...

    def close(self) -> None:
        """Flush, and let go."""
        ...

    def abort(self) -> None:
        """Take back what was not flushed, as far as the target can, and let go."""
        ...


def open_sink(target: SinkLike) -> Sink:
    """Open whatever a stream can be written to, as a new stream."""
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)
        if path.exists() and not path.is_file():  # a FIFO or a device
            return HandleSink(path.open("wb", buffering=0), owned=True)
        return PathSink(path)
    return HandleSink(target)


def open_append(target: SinkLike, size: int) -> Sink:
    """Open an existing stream of `size` bytes to be continued in place; what is behind them is cut off."""
    if isinstance(target, (str, os.PathLike)):
        return PathSink(Path(target), append_at=size)
    target.seek(size)
    target.truncate()
    return HandleSink(target)


class PathSink:
    """A file, new or continued."""

    def __init__(self, path: Path, *, append_at: int | None = None) -> None:
        path = path.resolve()  # what a link points to is replaced, not the link
        self._path = path
        if append_at is None:
            self._temporary: Path | None = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
            self._handle: IO[bytes] = self._temporary.open("xb", buffering=0)
            self._size = self._flushed = 0
        else:
            self._temporary = None
            self._handle = path.open("r+b", buffering=0)
            self._size = self._flushed = append_at
            self._handle.truncate(append_at)
            self._handle.seek(append_at)
        # Also removes the temporary file of a sink that was dropped, or of a program that ends.
        self._cleanup = weakref.finalize(self, _remove, self._handle, self._temporary, os.getpid())

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it at the end."""
        _write_fully(self._handle, data)
        self._size += len(data)

    def flush(self) -> None:
        """Sync to the disk, and give the file its name."""
        os.fsync(self._handle.fileno())
        if self._temporary is not None:
            # An open file cannot be renamed everywhere; where it can, it is written on under its new name.
            if os.name == "nt":
                self._handle.close()
            os.replace(self._temporary, self._path)
            if os.name == "nt":
                self._handle = self._path.open("r+b", buffering=0)
                self._handle.seek(self._size)
            self._temporary = None
            self._cleanup.detach()
            self._cleanup = weakref.finalize(self, _remove, self._handle, None, os.getpid())
            _sync_folder(self._path.parent)
        self._flushed = self._size

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._cleanup()

    def abort(self) -> None:
        """Leave what was flushed, or nothing."""
        if self._temporary is None and not self._handle.closed:
            self._handle.truncate(self._flushed)
        self._cleanup()


def _remove(handle: IO[bytes], temporary: Path | None, pid: int) -> None:
    if os.getpid() != pid:  # a forked child owns neither the file nor its name
        return
    handle.close()
    if temporary is not None:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class HandleSink:
    """A file object or a pipe. What was written to it cannot be taken back."""

    def __init__(self, handle: IO[bytes], *, owned: bool = False) -> None:
        self._handle = handle
        self._owned = owned

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it."""
        _write_fully(self._handle, data)

    def flush(self) -> None:
        """Flush the file object, and sync what can be synced."""
        if hasattr(self._handle, "flush"):
            self._handle.flush()
        try:
            descriptor = self._handle.fileno()
        except (AttributeError, OSError):
            return  # not a file of the operating system
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # pipes cannot be synced
                raise

    def close(self) -> None:
        """Flush; close the file object if it was opened here."""
        self.flush()
        if self._owned:
            self._handle.close()

    def abort(self) -> None:
        """Close the file object if it was opened here."""
        if self._owned:
            with contextlib.suppress(OSError):
                self._handle.close()


def _write_fully(handle: IO[bytes], data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        written = handle.write(rest)
        if written is None:
            raise BlockingIOError("the target is non-blocking and takes no data now")
        rest = rest[written:]
