"""How long a frame of an animation is shown, and how often the animation is played (FORMAT.md section 3.2).

Times are fractions of a second, as in APNG, which hold the hundredths of GIF, the milliseconds of WebP and
the rates of films. To users they are milliseconds, as in Pillow.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from triptych.errors import InvalidFrame, InvalidOption
from triptych.scalars import plain_scalar
from triptych.varint import build_varint, parse_varint

MAX_SECONDS = 65535
MAX_LOOP = (1 << 32) - 1
_MAX_DENOMINATOR = 65535


def build_timing(duration: Any, loop: Any = None) -> bytes:
    """Return the bytes of an attachment.

    Parameters
    ----------
    duration : number
        Milliseconds. What is no fraction of a second with a denominator of at most 65535 becomes the nearest.
    loop : int or None
        Of the first frame of an animation: how often it is played, 0 for ever.

    Raises
    ------
    InvalidOption
        Below 0, or beyond 65,535 seconds or 2**32 - 1 times; or no number.

    Examples
    --------
    >>> parse_timing(build_timing(1000 / 30, loop=0))
    {'duration': 33.333333333333336, 'loop': 0}
    """
    value = plain_scalar(duration)
    try:
        seconds = (Fraction(value) / 1000).limit_denominator(_MAX_DENOMINATOR)
    except (TypeError, ValueError, OverflowError):
        seconds = Fraction(-1)
    if isinstance(value, (bool, str)) or not 0 <= seconds <= MAX_SECONDS:
        expected = f"milliseconds from 0 to {MAX_SECONDS * 1000:,}"
        raise InvalidOption("duration", expected=expected, got=repr(duration))
    data = build_varint(seconds.numerator) + build_varint(seconds.denominator)
    return data if loop is None else data + build_varint(_check_loop(loop))


def _check_loop(loop: Any) -> int:
    value = plain_scalar(loop)
    try:
        count = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = -1
    if not 0 <= count <= MAX_LOOP:
        raise InvalidOption("loop", expected=f"an integer from 0 to {MAX_LOOP:,}", got=repr(loop))
    return count


def parse_timing(data: bytes) -> dict[str, Any]:
    """Return `duration`, and `loop` if there is one; nothing where the bytes say neither.

    Examples
    --------
    >>> parse_timing(build_timing(70))
    {'duration': 70}
    """
    numbers: list[int] = []
    position = 0
    try:
        while position < len(data) and len(numbers) < 3:
            number, position = parse_varint(memoryview(data), position)
            numbers.append(number)
    except InvalidFrame:
        return {}
    if position < len(data) or len(numbers) < 2:
        return {}
    count, of = numbers[:2]
    if not (
        1 <= of <= _MAX_DENOMINATOR and count <= MAX_SECONDS * of and max(numbers[2:], default=0) <= MAX_LOOP
    ):
        return {}
    timing = {"duration": count * 1000 // of if count * 1000 % of == 0 else count / of * 1000}
    return timing | ({"loop": numbers[2]} if numbers[2:] else {})


def animation_name(key: str | None) -> str:
    """Return what the keys of all frames of an animation begin with: the key up to its last `/`, less that.

    Examples
    --------
    >>> animation_name("sprites/walk/0001")
    'sprites/walk'
    """
    return (key or "").rpartition("/")[0]


def goes_on(before: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    """Say whether an image is a further frame of the animation that the image before it belongs to.

    Parameters
    ----------
    before, info : mappings
        What `Reader.info` says of each: `duration`, `loop` and `key` matter.
    """
    is_frame = "duration" in info and "loop" not in info and "duration" in before
    return is_frame and animation_name(before.get("key")) == animation_name(info.get("key"))
