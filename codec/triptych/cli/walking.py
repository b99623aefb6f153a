"""The image files of directories and patterns, and one line for all that is left out of them.

Links to directories are followed, each as the directory that it names, except where one leads back to a
directory on the way to it: a tree of links ends, and a directory that has several names comes under each.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from triptych.cli.console import plural
from triptych.cli.failures import complain

_IMAGE_NAME = re.compile(
    r"(?is)\.*[^.].*"
    r"\.(a?png|avif|bmp|dds|gif|ico|icns|jfif|jp2|jpe?g?|p[bgnp]m|pcx|qoi|sgi|tga|tiff?|webp|xbm|xpm)"
)
"""What counts as an image in a directory; a file that is named is read whatever its name."""
_DEEP = re.compile(r"(?:^|(?<=[{0}]))\*\*(?:[{0}]+|$)".format(re.escape(os.sep + (os.altsep or ""))))
"""`**` in a pattern, as a whole part of a path."""
_MOST_SUFFIXES = 5
_HIDDEN, _DANGLING, _CIRCULAR, _SPECIAL, _FOLDER = (
    "hidden",
    "dangling link",
    "circular link",
    "special file",
    "folder",
)
_NEVER_READ = {_DANGLING, _CIRCULAR}
"""What would not be encoded if it were named."""

Identity = tuple[int, int] | str
"""Device and inode of a file, whatever its name; its real path where the file system has no inodes."""


class LeftOut:
    """What is left out of directories and patterns, counted by its kind: a suffix, or in words."""

    def __init__(self) -> None:
        self._suffixes: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    def add_file(self, entry: os.DirEntry[str]) -> None:
        """Count what is no image file: what is hidden and has no image's name is nobody's picture."""
        is_image, is_hidden = is_image_name(entry.name), entry.name.startswith(".")
        if is_hidden and not is_image:
            return
        if not _is_file(entry):
            self.add(_SPECIAL if os.path.exists(entry.path) else _DANGLING)
        elif is_hidden:
            self.add(_HIDDEN)
        else:
            self._suffixes[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1

    def add(self, kind: str) -> None:
        """Count one of a kind."""
        self._kinds[kind] += 1

    def counts(self) -> dict[str, int]:
        """Give all counts, for machines."""
        return {**self._suffixes, **self._kinds}

    def say(self) -> None:
        """Print the line, if anything was left out."""
        n_of_types = self._suffixes.total()
        n = n_of_types + self._kinds.total()
        if not n:
            return
        parts = []
        if n_of_types:
            suffixes = [suffix for suffix, _ in self._suffixes.most_common(_MOST_SUFFIXES)]
            rest = ["..."] * (len(self._suffixes) > _MOST_SUFFIXES)
            parts.append(f"{n_of_types:,} of other types ({', '.join(suffixes + rest)})")
        for kind, count in self._kinds.items():
            parts.append(f"{count:,} hidden" if kind == _HIDDEN else plural(count, kind))
        it = "it" if n == 1 else "them"
        hint = f"; name {it} to encode {it}" if n_of_types or self._kinds.keys() - _NEVER_READ else ""
        complain(f"{n:,} left out: {', '.join(parts)}{hint}")


class _Level(NamedTuple):
    """A directory that is being walked: how paths in it begin, which it is, and what of it is to come."""

    path: str
    identity: Identity
    entries: Iterator[os.DirEntry[str]]


def find_images(folder: str, left: LeftOut) -> Iterator[str]:
    """Yield the image files of a directory and below, in the order of the names on the way to each.

    A directory that cannot be opened is given itself: its loading fails. The current one is "".
    """
    for path, entry in _walk(folder, left):
        if entry is None:
            yield path or os.curdir
        elif is_folder(entry):
            continue
        elif not entry.name.startswith(".") and is_image_name(entry.name) and _is_file(entry):
            yield path
        else:
            left.add_file(entry)


def _walk(
    folder: str, left: LeftOut, enters: Callable[[os.DirEntry[str]], bool] | None = None
) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Yield all below a directory, directories before what is in them; None with one that cannot be opened.

    `enters` says which are entered, of those that do not lead back: all, if it is not given.
    """
    top = _open(folder)
    if top is None:
        yield folder, None
        return
    levels = [top]
    while levels:
        entry = next(levels[-1].entries, None)
        if entry is None:
            levels.pop()
            continue
        path = os.path.join(levels[-1].path, entry.name)
        if not (enters or is_folder)(entry):
            yield path, entry
            continue
        level = _open(path)
        if level is None:
            yield path, None
        elif any(level.identity == above.identity for above in levels):
            left.add(_CIRCULAR)
        else:
            levels.append(level)
            yield path, entry


def _open(folder: str) -> _Level | None:
    folder_or_current = folder or os.curdir
    try:
        identity = identity_of(folder_or_current, os.stat(folder_or_current))
        with os.scandir(folder_or_current) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return None
    return _Level(folder, identity, iter(inside))


def identity_of(path: str, facts: os.stat_result) -> Identity:
    """Say which file it is that a path leads to, by what the system says of it."""
    return (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(path)


def is_image_name(name: str) -> bool:
    """Say whether a file in a directory counts as an image."""
    return _IMAGE_NAME.fullmatch(name) is not None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a directory, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def match_images(pattern: str, left: LeftOut) -> list[str]:
    """Give the files that a pattern means, sorted; what else it means is counted as left out.

    `**` is all directories from there on that are not hidden, through links but not in circles.
    """
    found = []
    for path in sorted(set(_expand(pattern))):
        if os.path.isfile(path):
            found.append(path)
        elif not os.path.isdir(path):
            left.add(_SPECIAL if os.path.exists(path) else _DANGLING)
        elif not _DEEP.search(pattern):
            left.add(_FOLDER)
    return found


def _expand(pattern: str) -> Iterator[str]:
    """Give all that a pattern means, where `glob` would follow links in circles, by more ways than end."""
    deep = _DEEP.search(pattern)
    if deep is None:
        yield from glob.iglob(pattern)
        return
    before, behind = pattern[: deep.start()], pattern[deep.end() :]
    for top in glob.iglob(before) if before else [""]:
        below = _walk(top, LeftOut(), _is_shown_folder)
        folders = [path for path, entry in below if entry is not None and _is_shown_folder(entry)]
        for folder in (top, *folders):
            yield from _expand(os.path.join(glob.escape(folder), behind or "*"))


def _is_shown_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and is_folder(entry)
