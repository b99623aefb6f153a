"""Streams behind a URL: exact ranges through fsspec, few of them, each byte once where it can be.

A request for few bytes brings a block; requests that go on where the last one ended bring more and more;
ranges that are known beforehand (`prefetch`) are joined where they are near each other and fetched at the
same time where the file system can. What came last is kept, within a bound. Threads may share a source; a
forked child makes its own connections.

Of a web server's answer no more is read than was asked for, whatever it sends, and one that knows no ranges
is found out with the first request. How long servers are waited for is `triptych.waiting`'s.
"""

from __future__ import annotations

import asyncio
import re
import threading
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from triptych.errors import RemoteError
from triptych.forking import renew_after_fork
from triptych.urls import Location, StorageOptions
from triptych.waiting import Patience

T = TypeVar("T")

BLOCK = 1 << 16
"""Bytes that a request brings at least: one costs more than they do."""
TAIL_SHARE, MAX_TAIL = 16, 1 << 22
"""The first request brings this share of a stream, its end with the index in it; at most so many bytes."""
MAX_GAP = 1 << 16
"""Ranges that lie no further apart are fetched as one."""
MAX_REQUEST = 1 << 23
"""Bytes that one request brings at most, unless one read needs more."""
KEPT_BYTES = 1 << 25


_RANGE = re.compile(r"bytes (\d+)-")


class RemoteSource:
    """A file of any fsspec file system, by URL and its options; see `triptych.source.Source`."""

    is_local = False

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        self._location = Location(url, options)
        self._fs: Any = None
        self._lock = threading.Lock()
        self._patience = Patience(self._location.shown, self._location.deadline)
        self._starts: list[int] = []
        self._pieces: dict[int, bytes] = {}
        self._order: list[int] = []
        self._ahead = BLOCK
        self._next = -1
        renew_after_fork(self)
        self._is_web = self._location.scheme in ("http", "https")
        found = self._ask("opened", self._look_up).get("size")
        if found is None:
            raise RemoteError(
                f"{self._location.shown} has no known size, so it cannot be read from its end; download it "
                "first"
            )
        self.size = int(found)
        tail = min(self.size, max(BLOCK, min(self.size // TAIL_SHARE, MAX_TAIL)))
        if tail:
            self._fetch([(self.size - tail, self.size)])

    def _connect(self) -> None:
        """Get the file system, in a forked child another one: connections are not shared."""
        if self._fs is None:
            self._fs, self._path = self._location.connect()
            self._is_async = isinstance(self._fs, import_module("fsspec.asyn").AsyncFileSystem)

    def _ask(self, what: str, work: Callable[[], Awaitable[T] | T]) -> T:
        """Have the file system do something, within the time that is left."""
        try:
            self._connect()
            return self._patience.wait(self._fs, work)
        except Exception as error:
            failure = self._location.explain(error, what)
        raise failure

    def _look_up(self) -> Any:
        return self._method("info")(self._path)

    def _method(self, name: str) -> Any:
        """Return a method, or the coroutine function that stands behind it."""
        return getattr(self._fs, "_" * self._is_async + name)

    def _after_fork(self) -> None:
        self._fs, self._lock = None, threading.Lock()
        self._forget()

    def read_at(self, offset: int, length: int) -> bytes:
        """Give the bytes at a place, from what is kept or by a request."""
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
        found = self._ask("read", lambda: self._request(ranges))
        for (start, stop), data in zip(ranges, found, strict=True):
            if len(data) != stop - start:
                raise RemoteError(
                    f"{self._location.shown} gave another number of bytes than asked for from {start:,} on: "
                    "the server knows no ranges, the connection was lost, or the file has changed",
                    expected=stop - start,
                    got=len(data),
                )
            self._keep(start, bytes(data))

    def _request(self, ranges: list[tuple[int, int]]) -> Any:
        """Return the bytes of ranges, or a coroutine that does."""
        if self._is_web:
            return self._request_web(ranges)
        # When bytes come is not seen here: time for them is given beforehand.
        self._patience.received(sum(stop - start for start, stop in ranges))
        starts, stops = map(list, zip(*ranges, strict=True))
        return self._method("cat_ranges")([self._path] * len(ranges), starts, stops, on_error="raise")

    async def _request_web(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._get(*each)) for each in ranges]
        except BaseExceptionGroup as errors:
            failure = errors.exceptions[0]
        else:
            return [task.result() for task in tasks]
        raise failure

    async def _get(self, start: int, stop: int) -> bytes:
        """Get a range, and not a byte more: fsspec's own ways take whatever is sent."""
        arguments = dict(self._fs.kwargs)
        headers = {"Accept-Encoding": "identity", **arguments.pop("headers", {})}
        headers["Range"] = f"bytes={start}-{stop - 1}"
        arguments.setdefault("timeout", import_module("aiohttp").ClientTimeout(total=None))
        session = await self._fs.set_session()
        url = self._fs.encode_url(self._path)
        async with session.get(url, headers=headers, auto_decompress=False, **arguments) as answer:
            if answer.status == 416:
                return b""
            answer.raise_for_status()
            begin = _RANGE.match(answer.headers.get("Content-Range", ""))
            if (int(begin[1]) if begin else 0 if answer.status != 206 else start) != start:
                raise RemoteError(
                    f"{self._location.shown} is on a server that knows no ranges; download it first"
                )
            data = bytearray()
            while len(data) < stop - start:
                part = await answer.content.read(stop - start - len(data))
                if not part:
                    break
                data += part
                self._patience.received(len(part))
            if not answer.content.at_eof():
                answer.close()
        return bytes(data)

    def _keep(self, start: int, data: bytes) -> None:
        if start not in self._pieces:
            self._starts.insert(bisect_right(self._starts, start), start)
            self._order.append(start)
        self._pieces[start] = data
        while len(self._order) > 1 and sum(map(len, self._pieces.values())) > KEPT_BYTES:
            oldest = self._order.pop(0)
            self._starts.remove(oldest)
            del self._pieces[oldest]
