"""URLs of streams: which are taken, what of them may be shown, and errors that keep their secrets.

A string is a URL where it begins with a scheme and `://`. Only schemes of networks are taken, as a string may
come from anywhere; others (`file`, `zip`, `simplecache` and such, and chains of them) name files of this
machine, and are for who asks for them: `storage_options={"schemes": ["zip"]}`.

User names, passwords and queries (tokens, signatures) of URLs, and the texts in storage options, are in no
message. What a library raised is therefore told in our words, and never chained to our error.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeAlias, TypeGuard
from urllib.parse import unquote

from triptych.errors import (
    ExtraMissing,
    InvalidOption,
    RemoteDenied,
    RemoteError,
    RemoteTimeout,
    SchemeRefused,
    TriptychError,
)

SCHEMES = frozenset(("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory"))
DEADLINE_SECONDS = 60.0

StorageOptions: TypeAlias = Mapping[str, Any]

_NAME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_BEGIN = re.compile(rf"(?:{_NAME}::)*{_NAME}://")
_IN_TEXT = re.compile(rf"({_NAME}://)([^\s'\"<>]*)")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?")
_CONTAINERS = frozenset(("az", "abfs", "abfss"))
"""Schemes whose `@` divides a container from its account."""
_TOLD_OPTIONS = frozenset(("endpoint_url", "region_name", "project", "account_name", "anon", "token_type"))
_HIDDEN = "***"
_SHORTEST_SECRET = 3


def is_url(target: object) -> TypeGuard[str]:
    """Say whether something names a place behind a file system of fsspec."""
    return isinstance(target, str) and _BEGIN.match(target) is not None


def hide_credentials(text: str) -> str:
    """Return a text in which URLs have neither user, password nor query.

    Examples
    --------
    >>> hide_credentials("https://me:secret@example.com/a.tych?token=abc: lost")
    'https://example.com/a.tych?... lost'
    >>> hide_credentials("plain.tych")
    'plain.tych'
    """
    return _IN_TEXT.sub(lambda found: found[1] + _split(found[1], found[2])[1], text)


def show_url(url: str) -> str:
    """Return a URL, which may hold any characters, without its secrets; any other name as it is."""
    begin = _BEGIN.match(url)
    return begin[0] + hide_credentials(_split(begin[0], url[begin.end() :])[1]) if begin else url


def _split(scheme: str, rest: str) -> tuple[str, str]:
    """Return the user and password of what follows `://`, and what may be shown."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user = ""
    if not _HOST.fullmatch(authority):
        # A password may hold what should have been escaped.
        before, _, after = rest.rpartition("@") if "@" not in authority else authority.rpartition("@")
        if ":" in before or scheme.removesuffix("://").lower() not in _CONTAINERS:
            user, rest = before, after + rest[len(authority) :] * ("@" in authority)
    place, *query = re.split("[?#]", rest, maxsplit=1)
    return user, place + "?..." * bool(query)


class Sealed:
    """A value that travels in a pickle, and shows nothing of itself."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<sealed>"


class Location:
    """A URL with the options of its file system. Of these, two are ours.

    Parameters
    ----------
    url : str
    options : mapping
        `schemes`: schemes that are taken besides `SCHEMES`. `deadline`: seconds, see `triptych.waiting`. The
        others are arguments of the file system.

    Raises
    ------
    SchemeRefused
        The URL has another scheme.
    InvalidOption
        `schemes` or `deadline` are none.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        given = dict(options or {})
        more = given.pop("schemes", ())
        deadline = given.pop("deadline", DEADLINE_SECONDS)
        if isinstance(more, str) or not all(isinstance(name, str) for name in more):
            raise InvalidOption(f"storage_options: schemes must be a list of names, not {more!r}")
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not deadline > 0:
            raise InvalidOption(f"storage_options: deadline must be seconds above 0, not {deadline!r}")
        self.deadline = float(deadline)
        self.shown = show_url(url)
        """The URL without its secrets."""
        self._url, self._options = url, given
        begin = _BEGIN.match(url)
        names = begin[0].lower().removesuffix("://").split("::") if begin else [""]
        self.scheme = names[0]
        # Where the first scheme is a network's, `::` is a part of a path, or of an address.
        self._is_chain = len(names) > 1 or ("::" in url and names[0] not in SCHEMES)
        if self._is_chain:
            names = [link.partition("://")[0].lower() for link in url.split("::")]
        refused = [name for name in names if name not in SCHEMES and name not in more]
        if refused:
            raise SchemeRefused(
                f"{self.shown}: the scheme {refused[0]!r} is not taken, it may name files of this machine; "
                f"taken are {', '.join(sorted(SCHEMES))}, and in Python what "
                f"storage_options={{'schemes': {refused}}} allows"
            )
        self._secrets = sorted(set(self._find_secrets()), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Location {self.shown}>"

    def connect(self, **options: Any) -> tuple[Any, str]:
        """Return the file system, and the path in it."""
        try:
            fsspec = import_module("fsspec")
        except ImportError:
            raise ExtraMissing(f"{self.shown} needs fsspec: pip install 'triptych[remote]'") from None
        arguments = self._options | options
        if self._is_chain:
            found = import_module("fsspec.core").url_to_fs(self._url, **arguments)
            return found[0], found[1]
        # Not by `url_to_fs`, which takes any `::` for a chain, as in the address [::1].
        kind = fsspec.get_filesystem_class(self.scheme)
        return kind(**(kind._get_kwargs_from_urls(self._url) | arguments)), kind._strip_protocol(self._url)

    @property
    def is_writable(self) -> bool:
        """Whether it may be that something can be written there."""
        return self.scheme not in ("http", "https")

    def exists(self) -> bool:
        """Say whether something is at the place."""
        try:
            fs, path = self.connect()
            return bool(fs.exists(path))
        except Exception as error:
            failure = self.explain(error, "looked up")
        raise failure

    def explain(self, error: BaseException, what: str) -> Exception:
        """Return the error to raise for what a library raised: what could not be done, and why.

        It is to be raised outside of the handler: in a chain, the library's error would be shown.
        """
        if isinstance(error, TriptychError):
            return error
        if isinstance(error, ImportError):
            return ExtraMissing(
                f"{self.shown} needs a package of fsspec's: pip install 'triptych[remote]' "
                f"({self._scrub(str(error))})"
            )
        cause = error.__cause__
        # fsspec says that a file is missing of a server that cannot be reached or that refuses, too.
        if isinstance(error, FileNotFoundError) and cause is not None and _tells_more(cause):
            error = cause
        status = _status_of(error)
        if type(error).__name__ == "TooManyRedirects":
            return RemoteError(f"{self.shown} could not be {what}: the server redirects in a loop")
        if status == 401:
            return RemoteDenied(
                f"{self.shown} could not be {what}: 401, the server asks for credentials; storage_options "
                "and the environment may give them"
            )
        if status == 403 or isinstance(error, PermissionError):
            return RemoteDenied(
                f"{self.shown} could not be {what}: 403, the server refuses it to these credentials, or to "
                "none"
            )
        if status in (404, 410) or isinstance(error, FileNotFoundError):
            return FileNotFoundError(errno.ENOENT, "there is no such file", self.shown)
        if isinstance(error, TimeoutError):
            return RemoteTimeout(f"{self.shown} could not be {what}: the server does not answer")
        text = self._scrub(str(error)) or type(error).__name__
        return RemoteError(f"{self.shown} could not be {what}: {text}")

    def _scrub(self, text: str) -> str:
        text = hide_credentials(text)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def _find_secrets(self) -> Iterator[str]:
        """Find the texts that no message may hold."""
        for link in self._url.split("::"):
            scheme, _, rest = link.partition("://")
            user = _split(scheme, rest)[0]
            query = re.split("[?#]", rest, maxsplit=1)[1:]
            values = re.split("[&=;#]", query[0])[1:] if query else []
            for text in (user.partition(":")[2] or user, *query, *values):
                yield from (form for form in (text, unquote(text)) if len(form) >= _SHORTEST_SECRET)
        yield from _texts_in(self._options)


def _tells_more(cause: BaseException) -> bool:
    return _status_of(cause) is not None or isinstance(cause, OSError)


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error of aiohttp, or of what else has it."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _texts_in(value: Any) -> Iterator[str]:
    """Find all texts in options, at any depth, but those that are no secrets."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        if len(value) >= _SHORTEST_SECRET:
            yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _TOLD_OPTIONS:
                yield from _texts_in(inner)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for inner in value:
            yield from _texts_in(inner)
