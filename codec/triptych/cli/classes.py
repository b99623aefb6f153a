"""Folders as classes (`encode --label-folders`), numbered as torchvision's `ImageFolder` numbers them."""

from __future__ import annotations

import os
from bisect import bisect_left
from contextlib import suppress

from triptych.cli.console import plural
from triptych.cli.failures import complain
from triptych.cli.inputs import Input, Inputs, in_utf8
from triptych.cli.walking import is_folder


class Classes:
    """The classes of inputs: the names of folders, sorted by code point, each once.

    In a directory that was named its folders are the classes, links to folders and those without images
    among them, and the class of an image is the one that it lies in or below: `find_classes` and
    `make_dataset` of torchvision. Where a directory has no folders, it is a class itself; the class of an
    image that was named is the folder that it lies in.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._folders_of = {tree: _folders(tree) for tree in inputs.trees}
        used = {name for name in map(self._name, inputs) if name is not None}
        known = {name for names in self._folders_of.values() for name in names}
        self._names = sorted(used | known)
        unused = sorted(known - used)
        if unused:
            first = f"{in_utf8(unused[0])}{', ...' * (len(unused) > 1)}"
            complain(f"--label-folders: {plural(len(unused), 'class')} without images: {first}")

    @property
    def names(self) -> list[str]:
        """The names by their numbers, as UTF-8."""
        return [in_utf8(name) for name in self._names]

    def label(self, each: Input) -> int | None:
        """Give the number of an input's class; None for one that lies beside the folders, not in one."""
        name = self._name(each)
        return None if name is None else bisect_left(self._names, name)

    def _name(self, each: Input) -> str | None:
        folder = os.path.dirname(each.path)
        if each.tree is not None:
            first, *deeper = each.path[len(each.tree) :].split(os.sep)
            if deeper:
                return first
            if self._folders_of[each.tree]:
                return None
            folder = each.tree
        return os.path.basename(os.path.abspath(folder))


def _folders(tree: str) -> set[str]:
    with suppress(OSError), os.scandir(tree or os.curdir) as entries:  # whose loading fails too, and is told
        return {entry.name for entry in entries if is_folder(entry)}
    return set()
