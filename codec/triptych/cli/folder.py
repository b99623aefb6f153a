"""A directory that images are written into, each as a file of its own.

Whatever keys images have, and whatever stands in the directory: nothing is created outside of it, only
regular files are written, and no image takes the name of another one, on any system.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from triptych.cli.names import fold_name, safe_name
from triptych.cli.outputs import is_input
from triptych.sink import write_whole


class Folder:
    """A directory, and which names images have taken in it.

    Names end in `suffix`; a file that is there is replaced with `force`, but none of the `inputs`.
    """

    def __init__(self, path: Path, suffix: str, *, force: bool, inputs: Sequence[str]) -> None:
        self.path = path
        self._suffix, self._force, self._inputs = suffix, force, inputs
        self._taken: set[str] = set()
        self._marks: dict[str, count[int]] = {}

    def write(self, key: str | None, number: int, data: bytes) -> tuple[Path, bool]:
        """Write the file of an image; give its path, and whether another one has the name of the key.

        Raises
        ------
        OSError
            The key leads out, or something is in the way; nothing was created but directories inside.
        """
        name, is_other = self._choose(key, number)
        folder = self._make_folders(name.parent)
        path = folder / name.name
        self._check(path)
        write_whole(path, data)
        return path, is_other

    def _choose(self, key: str | None, number: int) -> tuple[Path, bool]:
        wanted = safe_name(key, number)
        if wanted.suffix.lower() != self._suffix:
            wanted = wanted.with_name(wanted.name + self._suffix)
        name, mark = wanted, number
        while fold_name(name) in self._taken:
            name = name.with_name(f"{wanted.stem}~{mark}{self._suffix}")
            mark = next(self._marks.setdefault(fold_name(wanted), count()))  # no mark is tried twice
        self._taken.add(fold_name(name))
        return name, name != wanted

    def _make_folders(self, inner: Path) -> Path:
        """Give a directory in this one, made if it is not there, and never through a link that leads out."""
        self.path.mkdir(parents=True, exist_ok=True)
        top, folder = self.path.resolve(), self.path
        for part in inner.parts:
            folder = folder / part
            if not folder.resolve().is_relative_to(top):
                raise PermissionError(None, f"{part} is a link that leads out of the directory")
            folder.mkdir(exist_ok=True)
        return folder

    def _check(self, path: Path) -> None:
        """Refuse what is in the way; a link is replaced itself, wherever it leads."""
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if is_input(str(path), self._inputs):
            raise FileExistsError(None, "is an input too, and would be lost")
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise FileExistsError(None, f"is there, and is no file but a {_kind(mode)}")
        if not self._force:
            raise FileExistsError(None, "exists; use --force to overwrite it")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "directory"
    return {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(mode), "device")
