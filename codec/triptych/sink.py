"""Where streams are written to. A sink is only ever written at its end.

A path is written under a temporary name in the same folder and gets its own name at `flush` or `close`, so
what stands under a final name is always a whole stream. From then on, and when appending, the file is written
in place, and `abort` cuts it back to what was last flushed.

For as long as a file is written, under whichever name, other sinks are kept from it by an advisory lock
(`flock`). The system lifts it when the process ends, in whatever way: a temporary file that nobody has locked
was left by a process that was killed, and who next writes to the same path removes it. There are no locks on
Windows (where nobody can remove an open file), on file systems without them, and for file objects, which are
the caller's. A forked child cannot write to its parent's paths.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import weakref
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import IO, Protocol

from triptych.errors import InvalidOption, TargetBusy
from triptych.forking import renew_after_fork
from triptych.remotesink import RemoteSink
from triptych.urls import StorageOptions, is_url, show_url

SinkLike = str | os.PathLike[str] | IO[bytes]

_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
_N_SWEPT = 4
"""Temporary files of a path that are looked for: of so many processes that wrote to it at the same time."""


class Sink(Protocol):
    """Something to write a stream to."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it."""
        ...

    def go_on_at(self, size: int) -> None:
        """Go on behind the first `size` bytes of what is to be continued; the rest is cut off."""
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


def open_sink(target: SinkLike, storage_options: StorageOptions | None = None) -> Sink:
    """Open whatever a stream can be written to, as a new stream; the options are for URLs."""
    if isinstance(target, str) and is_url(target):
        return RemoteSink(target, storage_options)
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)
        if path.exists() and not path.is_file():  # a FIFO or a device
            return HandleSink(path.open("wb", buffering=0), owned=True)
        return PathSink(path)
    return HandleSink(target)


def open_append(target: SinkLike) -> Sink:
    """Open what may hold a stream that is to be continued; nothing is changed before `go_on_at`.

    Raises
    ------
    InvalidOption
        The path is a folder, a FIFO or a device, or a URL.
    TargetBusy
        The path is being written by another Writer.
    """
    if isinstance(target, str) and is_url(target):
        raise InvalidOption(
            f"append=True needs a file, and {show_url(target)} is a URL: write another stream, and join them "
            "by concatenate (triptych cat)"
        )
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)
        if path.exists() and not path.is_file():
            raise InvalidOption(f"append=True needs a file, and {path} is none")
        return PathSink(path, append=True)
    return HandleSink(target)


class PathSink:
    """A file: a new one, or with `append` the one that is there, if there is one."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        path = path.resolve()  # what a link points to is replaced, not the link
        _sweep(path)
        self._path = path
        self._append = append
        self._temporary: Path | None = None
        found = _open_locked(path) if append else None
        if found is None:
            found, self._temporary = _open_temporary(path)
        self._handle: IO[bytes] = found
        self._size = self._flushed = found.seek(0, os.SEEK_END)
        renew_after_fork(self)
        # Also removes the temporary file of a sink that was dropped, or of a program that ends.
        self._cleanup = weakref.finalize(self, _remove, self._handle, self._temporary, os.getpid())

    def _after_fork(self) -> None:
        self._handle.close()  # the lock would last as long as the child, and `abort` cut the parent's file

    def go_on_at(self, size: int) -> None:
        """Cut off what is behind so many bytes; of a new file there are none."""
        if self._temporary is None:
            self._handle.truncate(size)
            self._size = self._flushed = self._handle.seek(size)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it at the end."""
        _write_fully(self._handle, data)
        self._size += len(data)

    def flush(self) -> None:
        """Sync to the disk, and give the file its name."""
        os.fsync(self._handle.fileno())
        if self._temporary is not None:
            self._check_path_is_free()
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

    def _check_path_is_free(self) -> None:
        """Refuse to take a name away from what is being written under it."""
        with contextlib.suppress(FileNotFoundError, PermissionError), self._path.open("rb") as handle:
            if self._append:
                raise TargetBusy(
                    f"{self._path} is being written by another Writer, or was since this one began"
                )
            _lock(handle, self._path)

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._cleanup()

    def abort(self) -> None:
        """Leave what was flushed, or nothing."""
        if self._temporary is None and not self._handle.closed:
            self._handle.truncate(self._flushed)
        self._cleanup()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there when it is whole; unlike a stream's it is not synced to the disk."""
    _sweep(path)
    handle, temporary = _open_temporary(path)
    try:
        _write_fully(handle, data)
        if os.name == "nt":  # see `PathSink.flush`
            handle.close()
        os.replace(temporary, path)
    finally:
        _remove(handle, temporary, os.getpid())


def _open_temporary(path: Path) -> tuple[IO[bytes], Path]:
    """Open a new file beside a path, for those who may read what it will replace, and lock it.

    The lock goes with the file when that gets its name.
    """
    handle, temporary = next(opened for name in _temporary_names(path) if (opened := _create_locked(name)))
    with contextlib.suppress(OSError):
        temporary.chmod(path.stat().st_mode & _PERMISSIONS)
    return handle, temporary


def _temporary_names(path: Path) -> Iterator[Path]:
    return (path.with_name(f".{path.name}.{number}.part") for number in count())


def _create_locked(temporary: Path) -> tuple[IO[bytes], Path] | None:
    """Create a file that is ours; None: the name is somebody else's."""
    try:
        handle: IO[bytes] = temporary.open("xb", buffering=0)
    except FileExistsError:
        return None
    # Before it is locked, somebody may take it for abandoned.
    if _try_lock(handle) is not False and _is_at(handle, temporary):
        return handle, temporary
    handle.close()
    return None


def _sweep(path: Path) -> None:
    """Remove temporary files of a path whose processes are no more."""
    for temporary in islice(_temporary_names(path), _N_SWEPT):
        with contextlib.suppress(OSError):
            if os.name == "nt":
                temporary.unlink()
                continue
            with temporary.open("r+b", buffering=0) as handle:
                if _try_lock(handle):
                    _unlink_own(handle, temporary)


def _remove(handle: IO[bytes], temporary: Path | None, pid: int) -> None:
    if os.getpid() != pid:  # a forked child owns neither the file nor its name
        return
    if os.name == "nt":
        handle.close()
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return
    if temporary is not None and not handle.closed:
        _unlink_own(handle, temporary)  # as long as it is locked: the name may then be another's
    _unlock(handle)  # closing alone may leave the lock with a child that is just being forked
    handle.close()


def _unlink_own(handle: IO[bytes], temporary: Path) -> None:
    if _is_at(handle, temporary):
        temporary.unlink(missing_ok=True)


def _is_at(handle: IO[bytes], path: Path) -> bool:
    """Say whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open_locked(path: Path) -> IO[bytes] | None:
    """Open the file of a path to be written in place by nobody else; None: there is none."""
    while True:
        try:
            handle: IO[bytes] = path.open("r+b", buffering=0)
        except FileNotFoundError:
            return None
        try:
            _lock(handle, path)
            # Before it was locked, another file may have got the name.
            if _is_at(handle, path):
                return handle
        except BaseException:
            handle.close()
            raise
        handle.close()


def _lock(handle: IO[bytes], path: Path) -> None:
    if _try_lock(handle) is False:
        raise TargetBusy(f"{path} is being written by another Writer")


def _try_lock(handle: IO[bytes]) -> bool | None:
    """Lock a file, and say whether it could be; None: there are no locks here."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None  # a file system without locks
    return True


def _unlock(handle: IO[bytes]) -> None:
    if sys.platform == "win32" or handle.closed:
        return
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)


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

    def go_on_at(self, size: int) -> None:
        """Seek, and cut off what is behind."""
        self._handle.seek(size)
        self._handle.truncate()

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
