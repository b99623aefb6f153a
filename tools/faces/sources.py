"""Where pictures come from: files, folders and lists of URLs, in an order of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from triptych.cli.failures import UsageFailure, naming
from triptych.cli.inputs import collect_images
from triptych.cli.pictures import STDIN


class Source(NamedTuple):
    """A picture to be read: what the manifest and messages call it, a short name for its faces, its bytes."""

    name: str
    key: str
    read: Callable[[], bytes]


def collect_sources(
    arguments: Sequence[str], lists: Sequence[Path], fetch: Callable[[str], bytes]
) -> list[Source]:
    """Give the pictures of files and folders (sorted, and below), then those of lists of URLs, each once."""
    if STDIN in arguments:
        raise UsageFailure("stdin is no input here: name files, folders or --urls FILE")
    if not arguments and not lists:
        raise UsageFailure("no pictures: name files, folders or --urls FILE")
    inputs = collect_images(arguments, None) if arguments else []
    found = {each.path: Source(each.path, each.key, Path(each.path).read_bytes) for each in inputs}
    for path in lists:
        with naming(str(path)):
            text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        for url in parse_urls(text):
            found.setdefault(url, Source(url, _key_of_url(url), partial(fetch, url)))
    return list(found.values())


def parse_urls(text: str) -> list[str]:
    r"""Give the URLs of a list: one a line; a line that begins with # is a comment.

    Examples
    --------
    >>> parse_urls("# mine\n http://a/b.png#x \n\n")
    ['http://a/b.png#x']
    """
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _key_of_url(url: str) -> str:
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:  # no URL; to fetch it will fail and say so
        path = ""
    return PurePosixPath(path).stem.encode("utf-8", "replace").decode() or "face"
