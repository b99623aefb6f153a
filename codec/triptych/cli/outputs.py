"""Where results go: streams and files that never appear half written, and never in place of what is read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from triptych.cli.failures import UsageFailure
from triptych.cli.pictures import STDIN
from triptych.cli.walking import Identity, identity_of, is_image_name
from triptych.sink import write_whole
from triptych.urls import Location, is_url, show_url

STDOUT = "-"
_OTHER_PICTURES = frozenset((".npy", ".jxl", ".heic", ".heif", ".svg", ".psd", ".pdf"))
"""Suffixes of pictures and arrays, beside those of images that are found in directories."""


def stream_target(
    output: str, force: bool, *, append: bool = False, inputs: Iterable[str | None] = ()
) -> str | IO[bytes]:
    """Give what a stream is written to: a path, or stdout.

    An existing file needs `force` (or `append`), and so does a terminal. One of the inputs is refused, and so
    is the name of a picture.
    """
    if names_picture(output):
        suffix = os.path.splitext(_path_of(output))[1]
        raise UsageFailure(
            f"{show_url(output)}: what is written is a Triptych stream, not {suffix}: name it OUT.tych "
            "(`triptych decode` writes pictures)"
        )
    refuse_input(output, inputs)
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


def names_picture(output: str) -> bool:
    """Say whether a name ends as those of pictures or arrays do."""
    path = _path_of(output)
    return is_image_name(os.path.basename(path)) or os.path.splitext(path)[1].lower() in _OTHER_PICTURES


def _path_of(output: str) -> str:
    return output.partition("?")[0] if is_url(output) else output


def refuse_input(output: str, inputs: Iterable[str | None]) -> None:
    """Refuse to write to what is read, whatever else is allowed."""
    if is_input(output, inputs):
        raise UsageFailure(
            f"{'stdout' if output == STDOUT else show_url(output)}: is an input too, and would be lost: name "
            "another output"
        )


def is_input(output: str, inputs: Iterable[str | None]) -> bool:
    """Say whether an output is one of the inputs; None is no input.

    As the system tells files apart: through links, and by any spelling that it takes for the same.
    """
    if is_url(output):
        return output in inputs
    file = _identify_file(output, sys.stdout)
    others = (_identify_file(name, sys.stdin) for name in inputs if name is not None)
    return file is not None and file in others


def _identify_file(name: str, standard: IO[str]) -> Identity | None:
    """Say which regular file it is; `-` is a standard stream, if that is one."""
    with suppress(OSError, ValueError):  # not there; no name of a file; a standard stream without a file
        facts = os.fstat(standard.fileno()) if name == STDIN else os.stat(name)
        if stat.S_ISREG(facts.st_mode):
            return identity_of(name, facts)
    return None


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
