"""Images as inputs: files, directories, globs, lists of files, stdin.

A directory means the image files in it and below, sorted. `collect_images` names them without opening any,
and keeps two strings for each: there may be millions. `Input.load` reads one; `open_all` reads all in order,
in threads, a bounded number ahead of its consumer.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, overload

from triptych.cli.failures import Failures, UsageFailure, complain, naming
from triptych.cli.pictures import (
    AS_GIVEN,
    STDIN,
    UNREADABLE,
    Picture,
    Reading,
    limiting_pillow,
    read_picture,
    read_pictures,
)
from triptych.limits import DEFAULT, Limits

_IMAGE_NAME = re.compile(
    r"(?i)[^.].*"
    r"\.(a?png|avif|bmp|dds|gif|ico|icns|jfif|jp2|jpe?g?|p[bgnp]m|pcx|qoi|sgi|tga|tiff?|webp|xbm|xpm)"
)
"""What counts as an image in a directory; a file that is named is read whatever its name."""
_NAMED = -1
"""In place of the length of a directory's name: the file itself was named."""
_LAST_LEVEL = 2
"""Each input has three keys to choose from."""


class Input(NamedTuple):
    """An image to be read."""

    path: str
    key: str
    limits: Limits
    frame: int = 0

    @property
    def name(self) -> str:
        """How messages call it."""
        name = "stdin" if self.path == STDIN else self.path
        return f"{name} (frame {self.frame})" if self.frame else name

    def of_frame(self, number: int) -> Input:
        """Return one of the file's several images, from 1, by a key of its own."""
        return self._replace(key=f"{self.key}/{number:04}".removeprefix("/"), frame=number)

    @property
    def folder(self) -> str:
        """The name of the directory that it lies in, as UTF-8: see `_key`."""
        return _in_utf8(os.path.basename(os.path.dirname(os.path.abspath(self.path))))

    def load(self, reading: Reading = AS_GIVEN) -> Picture:
        """Read the image: see `triptych.cli.pictures.read_picture`."""
        return read_picture(self.path, self.limits, reading)


class Inputs(Sequence[Input]):
    """Inputs in order: for each a path and a key, and nothing else. `limits` are for all."""

    def __init__(self, paths: list[str], keys: list[str], limits: Limits = DEFAULT) -> None:
        self._paths = paths
        self._keys = keys
        self.limits = limits

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Input: ...
    @overload
    def __getitem__(self, index: slice) -> Inputs: ...
    def __getitem__(self, index: int | slice) -> Input | Inputs:
        if isinstance(index, slice):
            return Inputs(self._paths[index], self._keys[index], self.limits)
        return Input(self._paths[index], self._keys[index], self.limits)

    def find(self, key: str, start: int = 0) -> int:
        """Give the number of the first input from `start` on, or else of all, that has this key."""
        try:
            return self._keys.index(key, start)
        except ValueError:
            return self._keys.index(key)

    def folders(self) -> list[str]:
        """Give the names of the directories that inputs lie in, sorted, each once."""
        return sorted({each.folder for each in self})

    def select(self, wanted: Callable[[str], bool]) -> Inputs:
        """Give those of which the key is wanted."""
        numbers = [number for number, key in enumerate(self._keys) if wanted(key)]
        paths, keys = ([names[number] for number in numbers] for names in (self._paths, self._keys))
        return Inputs(paths, keys, self.limits)


def collect_images(arguments: Sequence[str], filelist: str | None, limits: Limits = DEFAULT) -> Inputs:
    """Give the images that the arguments mean, each with a key of its own."""
    names = list(arguments)
    if filelist is not None:
        names += _read_list(filelist)
    paths: list[str] = []
    roots = array("i")  # for each, how much of the path is the directory that was named, or _NAMED
    for name in names:
        root = _NAMED
        if name != STDIN and os.path.isdir(name):
            folder = str(Path(name))
            root = 0 if folder == os.curdir else len(os.path.join(folder, ""))
            before = len(paths)
            paths.extend(_walk("" if folder == os.curdir else folder))
            if len(paths) == before:
                complain(f"{name}: no image files in it")
        elif name != STDIN and glob.has_magic(name) and not os.path.exists(name):
            paths.extend(sorted(filter(os.path.isfile, glob.iglob(name, recursive=True))) or [name])
        else:
            paths.append(name)
        roots.extend([root] * (len(paths) - len(roots)))
    if not paths:
        raise UsageFailure("no images: name files, directories or -, or use --filelist")
    if paths.count(STDIN) > 1:
        raise UsageFailure("stdin can be read once only")
    return Inputs(paths, _distinct_keys(paths, roots), limits)


def _read_list(filelist: str) -> list[str]:
    with naming(filelist):
        data = sys.stdin.buffer.read() if filelist == STDIN else Path(filelist).read_bytes()
    # Names hold any byte but that of a line's end, so nothing else divides them.
    lines = [line.removesuffix("\r") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    return [line for line in lines if line.strip()]


def _walk(folder: str) -> Iterator[str]:
    """Give the image files of a directory, in the order of the names on the way to each.

    Links to directories are not followed. A directory that cannot be opened is given itself: its loading
    fails.
    """
    try:
        with os.scandir(folder or os.curdir) as entries:
            inside = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError:
        yield folder or os.curdir
        return
    for name, is_folder in inside:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path)
        elif _IMAGE_NAME.fullmatch(name) and os.path.isfile(path):
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _key(path: str, root: int, level: int) -> str:
    """Give the key of an input: the shortest at level 0, then longer ones.

    Keys are UTF-8: of a name that is not, each wrong byte is told by its number, so that keys stay distinct.
    """
    if root == _NAMED:
        name = os.path.basename(path) if level == 0 else _plain(path)
        key = name if level == _LAST_LEVEL else os.path.splitext(name)[0]
    elif level == _LAST_LEVEL:
        key = _plain(path)
    else:
        inside = path[root:].replace(os.sep, "/")
        key = inside if level else os.path.splitext(inside)[0]
    return _in_utf8(key)


def _in_utf8(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _plain(path: str) -> str:
    """Give a path without what leads out of or up from a directory."""
    return "/".join(part for part in path.replace(os.sep, "/").split("/") if part not in ("", ".", ".."))


def _distinct_keys(paths: Sequence[str], roots: Sequence[int]) -> list[str]:
    """Give each input its shortest key that no other input has; longer ones only where needed."""
    keys = [_key(path, root, 0) for path, root in zip(paths, roots, strict=True)]
    levels = bytearray(len(keys))
    while True:
        seen: set[str] = set()
        repeated: set[str] = set()
        for key in keys:
            (repeated if key in seen else seen).add(key)
        clashes = [
            number
            for number, key in enumerate(keys)
            if repeated and key in repeated and levels[number] < _LAST_LEVEL
        ]
        if not clashes:
            return keys
        for number in clashes:
            levels[number] += 1
            keys[number] = _key(paths[number], roots[number], levels[number])


@contextmanager
def open_all(
    inputs: Inputs, failures: Failures, threads: int = 1, reading: Reading = AS_GIVEN
) -> Iterator[Iterator[tuple[Input, Picture]]]:
    """Read images, in order; those that cannot be read go to `failures`, and what was changed to its notes.

    Of a file of several images the first is read, or with `all_frames` each as an input of its own: after the
    first, one at a time as they are asked for.

    Up to two images a thread are read before they are asked for; with one thread none, and no thread is
    started. Pillow has its own limit again at the end of the block: the generator would give it back whenever
    the collector finds it, perhaps while others read.
    """
    try:
        with (
            limiting_pillow(inputs.limits),
            closing(_load_all(inputs, failures, threads, reading)) as pictures,
        ):
            yield pictures
    finally:
        failures.notes.say()


def _load_all(
    inputs: Inputs, failures: Failures, threads: int, reading: Reading
) -> Generator[tuple[Input, Picture]]:
    from triptych.parallel import ordered_map

    for source, first, others in ordered_map(partial(_try_load, reading), inputs, threads):
        result, name = first, source.name
        while isinstance(result, Picture):
            number, n_frames = result.frame, result.n_frames
            if n_frames > 1 and not number:
                failures.leave_out_frames(source.name, n_frames - 1)
            for change in result.changes:
                failures.notes.add(source.name, *change)
            yield source.of_frame(number) if number else source, result
            result, name = (
                _try(partial(next, others, None)),
                f"{source.name} (frame {number + 1} of {n_frames} and all after it)",
            )
        if result is not None:
            failures.add(name, result)


def _try_load(reading: Reading, each: Input) -> tuple[Input, Picture | Exception | None, Iterator[Picture]]:
    if not reading.all_frames:
        return each, _try(partial(each.load, reading)), iter(())
    pictures = read_pictures(each.path, each.limits, reading)
    return each, _try(partial(next, pictures, None)), pictures


def _try(read: Callable[[], Picture | None]) -> Picture | Exception | None:
    """Give the next image of a file, or why it cannot be read; None where there is none."""
    try:
        return read()
    except UNREADABLE as error:
        return error
