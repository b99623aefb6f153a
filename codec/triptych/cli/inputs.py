"""Images as inputs: files, directories, globs, lists of files, stdin.

A directory means the image files in it and below, sorted: see `triptych.cli.walking`. `collect_images` names
them without opening any, and keeps two strings for each: there may be millions. `Input.load` reads one;
`open_all` reads all in order, in threads, a bounded number ahead of its consumer.
"""

from __future__ import annotations

import codecs
import glob
import os
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
from triptych.cli.walking import LeftOut, find_images, match_images
from triptych.limits import DEFAULT, Limits

_NAMED = -1
"""In place of the number of a directory: the file itself was named."""
_LAST_LEVEL = 2
"""Each input has three keys to choose from."""
_WIDE_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as that of UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Of lists as some shells and editors of Windows write them, by their byte order marks."""


class Input(NamedTuple):
    """An image to be read."""

    path: str
    key: str
    limits: Limits
    frame: int = 0
    tree: str | None = None
    """The directory that was named, with the separator; None where the file itself was."""

    @property
    def name(self) -> str:
        """How messages call it."""
        name = "stdin" if self.path == STDIN else self.path
        return f"{name} (frame {self.frame})" if self.frame else name

    def of_frame(self, number: int) -> Input:
        """Return one of the file's several images, from 1, by a key of its own."""
        return self._replace(key=f"{self.key}/{number:04}".removeprefix("/"), frame=number)

    def load(self, reading: Reading = AS_GIVEN) -> Picture:
        """Read the image: see `triptych.cli.pictures.read_picture`."""
        return read_picture(self.path, self.limits, reading)


class Inputs(Sequence[Input]):
    """Inputs in order: for each a path, a key and the number of its tree, and nothing else.

    `limits` are for all; `trees` are the directories that were named, `left_out` what is no input in them.
    """

    def __init__(
        self,
        paths: list[str],
        keys: list[str],
        limits: Limits = DEFAULT,
        *,
        trees: Sequence[str] = (),
        tree_numbers: array[int] | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self._paths = paths
        self._keys = keys
        self.limits = limits
        self.trees = trees
        self._tree_numbers = array("i", [_NAMED]) * len(paths) if tree_numbers is None else tree_numbers
        self.left_out = left_out or LeftOut()

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Input: ...
    @overload
    def __getitem__(self, index: slice) -> Inputs: ...
    def __getitem__(self, index: int | slice) -> Input | Inputs:
        if isinstance(index, slice):
            return self._of(self._paths[index], self._keys[index], self._tree_numbers[index])
        number = self._tree_numbers[index]
        tree = None if number == _NAMED else self.trees[number]
        return Input(self._paths[index], self._keys[index], self.limits, tree=tree)

    def _of(self, paths: list[str], keys: list[str], tree_numbers: array[int]) -> Inputs:
        return Inputs(
            paths, keys, self.limits, trees=self.trees, tree_numbers=tree_numbers, left_out=self.left_out
        )

    @property
    def paths(self) -> Sequence[str]:
        """What is read, in order."""
        return self._paths

    def find(self, key: str, start: int = 0) -> int:
        """Give the number of the first input from `start` on, or else of all, that has this key."""
        try:
            return self._keys.index(key, start)
        except ValueError:
            return self._keys.index(key)

    def select(self, wanted: Callable[[str], bool]) -> Inputs:
        """Give those of which the key is wanted."""
        numbers = [number for number, key in enumerate(self._keys) if wanted(key)]
        paths, keys = ([names[number] for number in numbers] for names in (self._paths, self._keys))
        return self._of(paths, keys, array("i", [self._tree_numbers[number] for number in numbers]))

    def without_keys(self) -> Inputs:
        """Give the same without keys."""
        return self._of(self._paths, [""] * len(self), self._tree_numbers)


def collect_images(
    arguments: Sequence[str],
    filelist: str | None,
    limits: Limits = DEFAULT,
    *,
    is_null_separated: bool = False,
) -> Inputs:
    """Give the images that the arguments mean, each with a key of its own; say what is left out."""
    names = list(arguments)
    if filelist is not None:
        names += _read_list(filelist, is_null_separated)
    elif is_null_separated:
        raise UsageFailure("-0: only with --filelist, for a list that NUL bytes divide")
    paths: list[str] = []
    trees: list[str] = []
    tree_numbers = array("i")
    left_out = LeftOut()
    for name in names:
        tree_number = _NAMED
        if name != STDIN and os.path.isdir(name):
            folder = "" if str(Path(name)) == os.curdir else str(Path(name))
            tree_number = len(trees)
            trees.append(os.path.join(folder, ""))
            before = len(paths)
            paths.extend(find_images(folder, left_out))
            if len(paths) == before:
                complain(f"{name}: no image files in it")
        elif name != STDIN and glob.has_magic(name) and not os.path.exists(name):
            paths.extend(match_images(name, left_out) or [name])
        else:
            paths.append(name)
        tree_numbers.extend([tree_number] * (len(paths) - len(tree_numbers)))
    left_out.say()
    if not paths:
        raise UsageFailure("no images: name files, directories or -, or use --filelist")
    if paths.count(STDIN) > 1:
        raise UsageFailure("stdin can be read once only")
    keys = _distinct_keys(paths, trees, tree_numbers)
    return Inputs(paths, keys, limits, trees=trees, tree_numbers=tree_numbers, left_out=left_out)


def _read_list(filelist: str, is_null_separated: bool) -> list[str]:
    """Give the names of a list: UTF-8 or any other bytes, or UTF-16 or UTF-32 with a byte order mark."""
    with naming(filelist):
        data = sys.stdin.buffer.read() if filelist == STDIN else Path(filelist).read_bytes()
    encoding, errors = "utf-8-sig", "surrogateescape"
    for mark, wide in _WIDE_ENCODINGS.items():
        if data.startswith(mark):
            encoding, errors = wide, "surrogatepass"
            break
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise UsageFailure(
            f"{filelist}: is no {encoding.upper()}, and begins with its mark: {error}"
        ) from None
    if is_null_separated:
        return [name for name in text.split("\0") if name]
    if "\0" in text:
        raise UsageFailure(
            f"{filelist}: holds NUL characters; -0 reads names that NUL bytes divide, and UTF-16 needs a "
            "byte order mark"
        )
    # Names hold any byte but that of a line's end, so nothing else divides them.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip()]


def _key(path: str, tree: str | None, level: int) -> str:
    """Give the key of an input: the shortest at level 0, then longer ones.

    Keys are UTF-8: of a name that is not, each wrong byte is told by its number, so that keys stay distinct.
    """
    if tree is None:
        name = os.path.basename(path) if level == 0 else _plain(path)
        key = name if level == _LAST_LEVEL else os.path.splitext(name)[0]
    elif level == _LAST_LEVEL:
        key = _plain(path)
    else:
        inside = path[len(tree) :].replace(os.sep, "/")
        key = inside if level else os.path.splitext(inside)[0]
    return in_utf8(key)


def in_utf8(name: str) -> str:
    """Give a name as UTF-8; what is none becomes the number of a byte, as text."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _plain(path: str) -> str:
    """Give a path without what leads out of or up from a directory."""
    return "/".join(part for part in path.replace(os.sep, "/").split("/") if part not in ("", ".", ".."))


def _distinct_keys(paths: Sequence[str], trees: Sequence[str], tree_numbers: Sequence[int]) -> list[str]:
    """Give each input its shortest key that no other input has; longer ones only where needed."""

    def key(number: int, level: int) -> str:
        tree = None if tree_numbers[number] == _NAMED else trees[tree_numbers[number]]
        return _key(paths[number], tree, level)

    keys = [key(number, 0) for number in range(len(paths))]
    levels = bytearray(len(keys))
    while True:
        seen: set[str] = set()
        repeated: set[str] = set()
        for each in keys:
            (repeated if each in seen else seen).add(each)
        clashes = [
            number
            for number, each in enumerate(keys)
            if repeated and each in repeated and levels[number] < _LAST_LEVEL
        ]
        if not clashes:
            return keys
        for number in clashes:
            levels[number] += 1
            keys[number] = key(number, levels[number])


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
