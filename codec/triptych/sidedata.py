"""Text and colorimetry that picture files say beside the pixels (FORMAT.md section 3.2).

Both are JSON objects in a stream. What a caller gives is checked; of what a stream says, the parts that have
the right form count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from triptych.errors import InvalidOption

Text = dict[str, str | list[str]]
_INTENTS = range(4)
_CHROMATICITIES = 8


def check_text(text: Any) -> Text:
    """Return text by keyword as a stream holds it.

    Raises
    ------
    InvalidOption
        Not a dict of strings, or of lists of strings where a keyword comes more than once.

    Examples
    --------
    >>> check_text({"Author": "A", "Comment": ["one", "two"], "Title": ["only"]})
    {'Author': 'A', 'Comment': ['one', 'two'], 'Title': 'only'}
    """
    known = known_text(text)
    if not isinstance(text, Mapping) or len(known) < len(text):
        raise InvalidOption("text must be a dict of keywords and strings, or lists of strings")
    return known


def known_text(text: Any) -> Text:
    """Return what is text in an object."""
    known: Text = {}
    for keyword, value in text.items() if isinstance(text, Mapping) else ():
        texts = list(value) if isinstance(value, (list, tuple)) else [value]
        if isinstance(keyword, str) and texts and all(isinstance(each, str) for each in texts):
            plain = [str(each) for each in texts]  # those of Pillow are strings with a language
            known[keyword] = plain[0] if len(plain) == 1 else plain
    return known


def check_colorimetry(said: Any) -> dict[str, Any]:
    """Return how colours are meant, as a stream holds it.

    Raises
    ------
    InvalidOption
        Not a dict of `gamma`, `chromaticity` and `srgb`, or a value that these cannot have.
    """
    known = known_colorimetry(said)
    if not isinstance(said, Mapping) or len(known) < len(said):
        raise InvalidOption(
            "colorimetry must be a dict of gamma (a number above 0), chromaticity (8 numbers: x and y of "
            "white, red, green, blue) and srgb (a rendering intent, 0 to 3)"
        )
    return known


def known_colorimetry(said: Any) -> dict[str, Any]:
    """Return what is colorimetry in an object."""
    said = said if isinstance(said, Mapping) else {}
    known: dict[str, Any] = {}
    if _is_number(gamma := said.get("gamma")) and gamma > 0:
        known["gamma"] = gamma
    points = said.get("chromaticity")
    if isinstance(points, (list, tuple)) and len(points) == _CHROMATICITIES and all(map(_is_number, points)):
        known["chromaticity"] = list(points)
    if type(said.get("srgb")) is int and said["srgb"] in _INTENTS:
        known["srgb"] = said["srgb"]
    return known


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
