"""Streams behind a URL: exact ranges through fsspec, few of them, each byte once where it can be.

A request for few bytes brings a block; requests that go on where the last one ended bring more and more;
ranges that are known beforehand (`prefetch`) are joined where they are near each other and fetched at the
same time where the file system can. What came last is kept, within a bound. Threads may share a source; a
forked child makes its own connections. A web server that knows no ranges is found out with the first request,
without taking all that it sends.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from triptych.errors import ExtraMissing, RemoteError
from triptych.forking import renew_after_fork

BLOCK = 1 << 16
"""Bytes that a request brings at least: one costs more than they do."""
TAIL_SHARE, MAX_TAIL = 16, 1 << 22
"""The first request brings this share of a stream, its end with the index in it; at most so many bytes."""
MAX_GAP = 1 << 16
"""Ranges that lie no further apart are fetched as one."""
MAX_REQUEST = 1 << 23
"""Bytes that one request brings at most, unless one read needs more."""
KEPT_BYTES = 1 << 25


class RemoteSource:
    """A file of any fsspec file system, by URL and its options; see `triptych.source.Source`."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url, self._options = url, options or {}
        self._fs: Any = None
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._pieces: dict[int, bytes] = {}
        self._order: list[int] = []
        self._ahead = BLOCK
        self._next = -1
        renew_after_fork(self)
        self._knows_ranges = not url.startswith(("http://", "https://"))
        try:
            found = self._connect().info(self._path).get("size")
        except Exception as error:
            raise _explain(error, url, "opened") from error
        if found is None:
            raise RemoteError(
                f"{url} has no known size, so it cannot be read from its end; download it first"
            )
        self.size = int(found)
        tail = min(self.size, max(BLOCK, min(self.size // TAIL_SHARE, MAX_TAIL)))
        if tail:
            self._fetch([(self.size - tail, self.size)])

    def _connect(self) -> Any:
        """Give the file system, in a forked child another one: connections are not shared."""
        if self._fs is None:
            try:
                core = import_module("fsspec.core")
            except ImportError as error:
                raise ExtraMissing(f"to read {self._url}, install fsspec: triptych[remote]") from error
            self._fs, self._path = core.url_to_fs(self._url, **self._options)
        return self._fs

    def _after_fork(self) -> None:
        self._fs, self._lock = None, threading.Lock()
        self._forget()

    def read_at(self, offset: int, length: int) -> bytes:
        """Give the bytes at a place, from what is kept or by a request."""
        self._connect()
        stop = min(offset + max(0, length), self.size)
        if offset >= stop:
            return b""
        with self._lock:
            parts, at = [], offset
            while at < stop:
                piece = self._find(at)
                if piece is None:
                    # Up to what is kept behind; with more, where reading goes on from the last request.
                    self._ahead = min(2 * self._ahead, KEPT_BYTES // 8) if at == self._next else BLOCK
                    end = min(max(stop, at + self._ahead), self._bound(at))
                    self._fetch([(at, end)])
                    self._next = end
                    continue
                start, data = piece
                parts.append(data[at - start : stop - start])
                at += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch ranges (begin, end) that will be read next, those near each other as one."""
        self._connect()
        with self._lock:
            joined: list[tuple[int, int]] = []
            for start, stop in sorted(ranges):
                stop = min(stop, self.size)
                while start < stop and (piece := self._find(start)):
                    start = min(stop, piece[0] + len(piece[1]))
                if start < stop and (piece := self._find(stop - 1)):
                    stop = piece[0]
                if start >= stop:
                    continue
                if joined and start - joined[-1][1] <= MAX_GAP and stop - joined[-1][0] <= MAX_REQUEST:
                    joined[-1] = joined[-1][0], max(stop, joined[-1][1])
                else:
                    joined.append((start, stop))
            if joined:
                self._fetch(joined)

    def close(self) -> None:
        """Let go of what is kept; connections are the file system's, which others may use."""
        self._forget()

    def _forget(self) -> None:
        self._starts, self._pieces, self._order = [], {}, []

    def _find(self, offset: int) -> tuple[int, bytes] | None:
        """Give the piece that holds an offset, and where it begins."""
        at = bisect_right(self._starts, offset) - 1
        if at < 0:
            return None
        start = self._starts[at]
        data = self._pieces[start]
        return (start, data) if offset < start + len(data) else None

    def _bound(self, offset: int) -> int:
        """Give where the next piece begins, or the end."""
        at = bisect_right(self._starts, offset)
        return self._starts[at] if at < len(self._starts) else self.size

    def _fetch(self, ranges: list[tuple[int, int]]) -> None:
        try:
            if len(ranges) == 1:
                found = [self._request(*ranges[0])]
            else:
                paths = [self._path] * len(ranges)
                found = self._fs.cat_ranges(paths, *map(list, zip(*ranges, strict=True)), on_error="raise")
        except Exception as error:
            raise _explain(error, self._url, "read") from error
        for (start, stop), data in zip(ranges, found, strict=True):
            if len(data) != stop - start:
                raise RemoteError(
                    f"{self._url} gave another number of bytes than asked for from {start:,} on: the server "
                    "knows no ranges, the connection was lost, or the file has changed",
                    expected=stop - start,
                    got=len(data),
                )
            self._keep(start, bytes(data))

    def _request(self, start: int, stop: int) -> bytes:
        if self._knows_ranges:
            data: bytes = self._fs.cat_file(self._path, start=start, end=stop)
            return data
        # `cat_file` takes whatever is sent; an open file looks at the headers of the answer first.
        arguments = {"block_size": stop - start, "cache_type": "none", "size": self.size}
        with self._fs.open(self._path, **arguments) as file:
            file.seek(start)
            try:
                data = file.read(stop - start)
            except ValueError as error:
                raise RemoteError(
                    f"{self._url} is on a server that knows no ranges; download it first"
                ) from error
        self._knows_ranges = True
        return data

    def _keep(self, start: int, data: bytes) -> None:
        if start not in self._pieces:
            self._starts.insert(bisect_right(self._starts, start), start)
            self._order.append(start)
        self._pieces[start] = data
        while len(self._order) > 1 and sum(map(len, self._pieces.values())) > KEPT_BYTES:
            oldest = self._order.pop(0)
            self._starts.remove(oldest)
            del self._pieces[oldest]


def _explain(error: Exception, url: str, what: str) -> Exception:
    """Give the error to raise: the system's own where a file is missing or forbidden, one of ours else."""
    if isinstance(error, (PermissionError, ExtraMissing, RemoteError)):
        return error
    if isinstance(error, FileNotFoundError):
        # fsspec says so of a server that cannot be reached, too.
        cause = error.__cause__
        if not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError):
            return error
        return RemoteError(f"{url} could not be {what}: {cause}")
    if isinstance(error, ImportError):
        return ExtraMissing(f"to read {url}, install what fsspec needs: triptych[remote] ({error})")
    text = str(error) or type(error).__name__
    return RemoteError(f"{url} could not be {what}: {text}")
