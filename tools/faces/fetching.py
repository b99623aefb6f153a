"""Files from the web, fetched politely and once.

`Fetcher.fetch` gives the bytes of a URL, from the cache folder where they are there. A host gets one request
at a time, with a pause between requests; what may pass (429, 5xx, a timeout, a broken connection) is tried
again, later and later, or when the host says. Failures are `FetchFailed`, never remembered: the next run
tries again. The cache holds whole files only, named by the SHA-256 of their URL.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from triptych.cli.outputs import write_file

USER_AGENT = "triptych-faces/1.0 (a face data set tool; Python urllib)"
_MAY_PASS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_LEAST_BACKOFF = 0.1
_LONGEST_WAIT = 120.0
"""Seconds. A host that asks for more is left alone for the rest of the run."""
_SLOWEST = 10
"""A whole response may take so many timeouts: one byte a minute is no progress."""
_CHUNK = 1 << 16
_SAFE = "!#$%&'()*+,/:;=?@[]~"


class FetchFailed(Exception):
    """A URL gave no file; the text is the cause."""


class _MayPass(Exception):
    """A failure that may be over soon, perhaps in as many seconds as the host said."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


@dataclass
class Fetcher:
    """Fetches and caches.

    Parameters
    ----------
    cache : Path
        Folder; made when there is something to keep.
    delay : float
        Seconds between the end of a request and the next one to the same host; also the first pause before
        another try, which doubles each time.
    timeout : float
        Seconds without a byte.
    retries : int
        Tries after the first.
    max_bytes : int
        Of one file.
    clock, sleep, now
        Monotonic seconds; how to wait; seconds since 1970, for dates in Retry-After.
    """

    cache: Path
    delay: float = 1.0
    timeout: float = 30.0
    retries: int = 3
    max_bytes: int = 32 << 20
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    _free_at: dict[str, float] = field(default_factory=dict, init=False)

    def fetch(self, url: str) -> bytes:
        """Give the bytes of a URL.

        Raises
        ------
        FetchFailed
            It gave none.
        OSError
            The cache cannot be read or written.
        """
        path = cache_path(self.cache, url)
        if path.is_file():
            return path.read_bytes()
        data = self._download(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        return data

    def _download(self, url: str) -> bytes:
        parts = _split(url)
        # What people write and browsers repair: spaces and letters beyond ASCII. The fragment stays here.
        quoted = urllib.parse.quote(parts._replace(fragment="").geturl(), safe=_SAFE)
        for attempt in range(self.retries + 1):
            self._wait_for(parts.netloc)
            pause = self.delay
            try:
                return self._request(quoted)
            except _MayPass as failure:
                if failure.wait is not None:
                    pause = max(pause, failure.wait)
                elif attempt < self.retries:
                    pause = min(max(pause, _LEAST_BACKOFF) * 2**attempt, max(pause, _LONGEST_WAIT))
                if attempt == self.retries:
                    raise FetchFailed(_after(str(failure), self.retries)) from failure
            finally:
                self._free_at[parts.netloc] = self.clock() + pause
        raise AssertionError("every attempt returns or raises")

    def _wait_for(self, host: str) -> None:
        wait = self._free_at.get(host, 0.0) - self.clock()
        if wait > max(self.delay, _LONGEST_WAIT):
            raise FetchFailed(f"the host asks to wait {wait:,.0f} s")
        self.sleep(max(0.0, wait))

    def _request(self, url: str) -> bytes:
        request = urllib.request.Request(
            url, headers={"User-Agent": USER_AGENT, "Accept": "image/*, */*;q=0.5"}
        )
        try:
            with _opener().open(request, timeout=self.timeout) as response:
                return self._read(response)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, (TimeoutError, ConnectionError)):
                raise _MayPass(_text(error.reason)) from error
            raise FetchFailed(_text(error.reason)) from error
        except (http.client.InvalidURL, UnicodeError) as error:
            raise FetchFailed(f"not a URL that can be fetched: {error}") from error
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _MayPass(_text(error)) from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        cause = f"HTTP {error.code} {error.reason}".rstrip()
        if error.code in _MAY_PASS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _MayPass(cause, parse_retry_after(error.headers.get("Retry-After"), self.now()))
        return FetchFailed(cause)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        too_large = f"more than {self.max_bytes:,} bytes"
        declared = response.length  # None where the body ends with the connection, or comes in chunks
        if declared is not None and declared > self.max_bytes:
            raise FetchFailed(too_large)
        end = self.clock() + _SLOWEST * self.timeout
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self.max_bytes:
                raise FetchFailed(too_large)
            if self.clock() > end:
                raise FetchFailed("the response is too slow")
        # `read1` gives what there is and does not say that there should be more.
        if declared is not None and len(body) < declared:
            raise _MayPass(f"the connection ended after {len(body):,} of {declared:,} bytes")
        return bytes(body)


def cache_path(cache: Path, url: str) -> Path:
    """Give where a URL is kept: folders of two digits keep the listing short."""
    name = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()
    return cache / name[:2] / name


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Give the seconds that Retry-After means: a number, or a date.

    Examples
    --------
    >>> parse_retry_after("120", 0), parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 40)
    (120.0, 20.0)
    >>> parse_retry_after("soon", 0)
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise FetchFailed(f"not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise FetchFailed("not an http or https URL")
    return parts


def _opener() -> urllib.request.OpenerDirector:
    """Give an opener of http and https alone: a redirection leads to no file and no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _text(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return " ".join(str(error).split()) or type(error).__name__


def _after(cause: str, retries: int) -> str:
    return f"{cause}, also after {retries} more tries" if retries else cause
