"""Names that cannot lead astray: of files, from keys of images; and in messages and listings, any text."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

_MAX_NAME_BYTES = 200
_MARKS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Characters that do something to a terminal, end lines, or turn the direction of text around them."""
_UNSHOWN = re.compile(f"[{_MARKS}]")
_FORBIDDEN = re.compile(rf'[{_MARKS}<>:"|?*\\]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def safe_name(key: str | None, number: int) -> Path:
    """Give the relative path for an image: from its key, or its number where the key gives none.

    Whatever the key is, the path has no root, no drive, no `..`, and no name that a system reserves.

    Examples
    --------
    >>> safe_name("monsters/../../etc/passwd", 0).as_posix()
    'monsters/etc/passwd'
    """
    parts = []
    for part in (key or "").split("/"):  # as keys are made everywhere: a backslash is part of a name
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


def fold_name(path: Path) -> str:
    r"""Give what paths have in common that are one file on some system: after NFC and case folding.

    Examples
    --------
    >>> fold_name(Path("CAFE\u0301.png")) == fold_name(Path("caf\u00e9.PNG"))
    True
    """
    # Folding may undo what is composed (the canonical caseless matching of Unicode, section 3.13).
    folded = unicodedata.normalize("NFD", path.as_posix()).casefold()
    return unicodedata.normalize("NFC", folded)


def show_marks(text: str) -> str:
    r"""Give a line with what a terminal would not show as text, or in another order, as its escape.

    Examples
    --------
    >>> print(show_marks("two\nlines, and \u202egnp.exe"))
    two\nlines, and \u202egnp.exe
    """
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
