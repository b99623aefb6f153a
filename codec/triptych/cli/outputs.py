"""Where results go: streams and files that never appear half written, and names that cannot lead astray."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import IO

from triptych.cli.failures import UsageFailure
from triptych.sink import write_whole
from triptych.urls import Location, is_url, show_url

STDOUT = "-"
_MAX_NAME_BYTES = 200
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def stream_target(output: str, force: bool, *, append: bool = False) -> str | IO[bytes]:
    """Give what a stream is written to: a path, or stdout.

    An existing file needs `force` (or `append`), and so does a terminal.
    """
    if is_url(output):
        if append:
            raise UsageFailure(
                f"{show_url(output)}: a URL cannot be continued; write another stream, and `cat` them"
            )
        if not force and (location := Location(output)).is_writable and location.exists():
            raise UsageFailure(f"{location.shown}: exists; use --force to overwrite it")
        return output
    if output != STDOUT:
        if not (force or append):
            refuse_existing(Path(output))
        return output
    if append:
        raise UsageFailure("--append needs a file, not stdout")
    return binary_stdout(force)


def binary_stdout(force: bool) -> IO[bytes]:
    """Give stdout, unless it is a terminal."""
    if sys.stdout.isatty() and not force:
        raise UsageFailure("stdout is a terminal: use -o FILE, a pipe, or --force")
    return sys.stdout.buffer


def refuse_existing(path: Path) -> None:
    """Refuse to overwrite a file; devices and pipes are there to be written to."""
    if path.is_file():
        raise UsageFailure(f"{path}: exists; use --force to overwrite it")
    if path.is_dir():
        raise UsageFailure(f"{path}: is a directory")


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is there when it is whole; a device or a pipe as it is."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        write_whole(path, data)


def safe_name(key: str | None, number: int) -> Path:
    """Give the relative path for an image: from its key, or its number where the key gives none.

    Whatever the key is, the path has no root, no drive, no `..`, and no name that a system reserves.

    Examples
    --------
    >>> safe_name("monsters/../../etc/passwd", 0).as_posix()
    'monsters/etc/passwd'
    """
    parts = []
    for part in re.split(r"[/\\]", key or ""):
        name = _FORBIDDEN.sub("_", part).strip(" ").rstrip(". ")
        if not name or not name.strip("."):
            continue
        if name.startswith(".") or _RESERVED.fullmatch(name):
            name = "_" + name.lstrip(".")
        parts.append(_shorten(name))
    return Path(*parts) if parts else Path(str(number))


def _shorten(name: str) -> str:
    while len(name.encode()) > _MAX_NAME_BYTES:
        name = name[:-1]
    return name
