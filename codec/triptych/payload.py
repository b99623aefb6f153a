"""The payload of an IMAGES frame, all but its body (FORMAT.md section 3).

`build_prefix` gives what comes before the body; `parse_images` takes a payload apart. Limits are checked
here, before anything of the declared size exists.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

from triptych.errors import InvalidFrame, InvalidOption, LimitExceeded, UnsupportedFeature
from triptych.framing import INLINE_ID_LEN, INLINE_SLOT
from triptych.images import MAX_CHANNELS, MODES, Shape
from triptych.limits import Limits
from triptych.metadata import Attachments, build_attachments, parse_attachments
from triptych.varint import MAX as MAX_VARINT
from triptych.varint import build_varint, parse_varint

MAX_KEY_BYTES = 4096
_MAX_LABEL = (MAX_VARINT - 1) >> 1
_BANDS_CODES = {2: 10}
"""The codes of modes where images have more than 4 channels; their shapes are written otherwise."""
_MIN_BANDS = len(MODES) + 1
_MODE_MASK, _SHAPES_VARY, _KEYS, _LABELS, _ATTACHMENTS = 0x0F, 0x10, 0x20, 0x40, 0x80


class Entry(NamedTuple):
    """What a frame says of one image besides its pixels."""

    shape: Shape
    key: str | None
    label: int | None
    attachments: Attachments


class ImagesPayload(NamedTuple):
    """A payload taken apart. `inline_id` is empty unless the frame names its dictionary itself."""

    mode: int
    shapes: Sequence[Shape]
    keys: Sequence[str | None]
    labels: Sequence[int | None]
    attachments: Sequence[Attachments]
    inline_id: bytes
    body: memoryview

    def entry(self, number: int) -> Entry:
        """Give what is said of one image."""
        return Entry(self.shapes[number], self.keys[number], self.labels[number], self.attachments[number])


def check_key(key: Any) -> str | None:
    """Refuse what cannot be a key."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise InvalidOption(f"key must be a string, not {type(key).__name__}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidOption(f"key must be encodable as UTF-8: {error}") from error
    if not 1 <= length <= MAX_KEY_BYTES:
        raise InvalidOption(f"key must have 1 to {MAX_KEY_BYTES} bytes of UTF-8, not {length}")
    return key


def check_label(label: Any) -> int | None:
    """Refuse what cannot be a label."""
    if label is None:
        return None
    try:
        number = operator.index(label)
    except TypeError:
        raise InvalidOption(f"label must be an integer, not {type(label).__name__}") from None
    if isinstance(label, bool) or abs(number) > _MAX_LABEL:
        raise InvalidOption(f"label must be an integer of at most 62 bits, not {label!r}")
    return number


def build_prefix(mode: int, entries: Sequence[Entry], inline_id: bytes = b"") -> bytes:
    """Give the bytes before the body."""
    shapes = [entry.shape for entry in entries]
    vary = any(shape != shapes[0] for shape in shapes)
    bands = shapes[0].has_bands
    head = _BANDS_CODES[mode] if bands else mode
    fields = bytearray(build_varint(len(entries)))
    for shape in shapes if vary else shapes[:1]:
        fields += _build_shape(shape, bands)
    if vary:
        head |= _SHAPES_VARY
    if any(entry.key is not None for entry in entries):
        head |= _KEYS
        for entry in entries:
            key = (entry.key or "").encode()
            fields += build_varint(len(key)) + key
    if any(entry.label is not None for entry in entries):
        head |= _LABELS
        for entry in entries:
            fields += build_varint(0 if entry.label is None else 1 + _zigzag(entry.label))
    if any(entry.attachments for entry in entries):
        head |= _ATTACHMENTS
        fields += build_attachments([entry.attachments for entry in entries])
    return inline_id + bytes((head,)) + fields


def _build_shape(shape: Shape, bands: bool) -> bytes:
    if bands:
        numbers: tuple[int, ...] = (shape.width - 1, shape.height - 1, shape.channels - _MIN_BANDS)
    else:
        numbers = ((shape.width - 1) << 2 | (shape.channels - 1), shape.height - 1)
    return b"".join(map(build_varint, numbers))


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def parse_images(payload: memoryview, slot: int, limits: Limits) -> ImagesPayload:
    """Take a payload apart; `slot` is that of its frame header."""
    position = INLINE_ID_LEN if slot == INLINE_SLOT else 0
    if position >= len(payload):
        raise InvalidFrame("the payload of an IMAGES frame is too short", got=len(payload))
    inline_id = bytes(payload[:position])
    head = payload[position]
    mode = head & _MODE_MASK
    if mode == 0:
        raise UnsupportedFeature("mode 0 is not known to this version")
    bands = mode in _BANDS_CODES.values()
    if bands:
        mode = next(of for of, code in _BANDS_CODES.items() if code == mode)
    count, position = parse_varint(payload, position + 1)
    if count < 1 or (count == 1 and head & _SHAPES_VARY):
        raise InvalidFrame("an IMAGES frame of no image, or of one image whose shapes vary", got=count)
    limits.check("images_per_frame", count)
    shapes, position = _parse_shapes(payload, position, count, bool(head & _SHAPES_VARY), bands, limits)
    keys: Sequence[str | None] = [None] * count
    labels: Sequence[int | None] = keys  # type: ignore[assignment]  # both are all None
    if head & _KEYS:
        keys, position = _parse_keys(payload, position, count)
    if head & _LABELS:
        labels, position = _parse_labels(payload, position, count)
    attachments: Sequence[Attachments] = [{}] * count
    if head & _ATTACHMENTS:
        attachments, position = parse_attachments(payload, position, count, limits)
    return ImagesPayload(mode, shapes, keys, labels, attachments, inline_id, payload[position:])


def _parse_shapes(
    payload: memoryview, position: int, count: int, vary: bool, bands: bool, limits: Limits
) -> tuple[list[Shape], int]:
    shapes = []
    for _ in range(count if vary else 1):
        shape, position = _parse_shape(payload, position, bands)
        limits.check("pixels_per_image", shape.pixels)
        shapes.append(shape)
    if not vary:
        shapes *= count
    pixels = shapes[0].pixels * count if not vary else sum(shape.pixels for shape in shapes)
    least = limits.least_payload(pixels, count)
    if len(payload) < least:
        raise LimitExceeded(
            f"{count:,} images of {pixels:,} pixels need a payload of at least {least:,} bytes, "
            f"not {len(payload):,}"
        )
    return shapes, position


def _parse_shape(payload: memoryview, position: int, bands: bool) -> tuple[Shape, int]:
    width, position = parse_varint(payload, position)
    height, position = parse_varint(payload, position)
    if not bands:
        return Shape(height + 1, (width >> 2) + 1, (width & 3) + 1), position
    more, position = parse_varint(payload, position)
    if more > MAX_CHANNELS - _MIN_BANDS:
        raise InvalidFrame("bands of an image", expected=f"at most {MAX_CHANNELS}", got=more + _MIN_BANDS)
    return Shape(height + 1, width + 1, more + _MIN_BANDS), position


def _parse_keys(payload: memoryview, position: int, count: int) -> tuple[list[str | None], int]:
    """Give keys, and where they end: at once where all are of ASCII and shorter than 128, as most are."""
    rest, ends, end = payload[position:], [0], 0
    with suppress(IndexError):
        for _ in range(count):
            end += 1 + rest[end]
            ends.append(end)
    data = bytes(rest[:end])
    if len(ends) <= count or len(data) < end or not data.isascii():  # lengths of two bytes are no ASCII
        return _parse_long_keys(payload, position, count)
    text = data.decode()
    return [text[start + 1 : stop] or None for start, stop in pairwise(ends)], position + end


def _parse_long_keys(payload: memoryview, position: int, count: int) -> tuple[list[str | None], int]:
    keys: list[str | None] = []
    for _ in range(count):
        length, position = parse_varint(payload, position)
        end = position + length
        if length > MAX_KEY_BYTES:
            raise InvalidFrame("bytes of a key", expected=f"at most {MAX_KEY_BYTES}", got=length)
        if end > len(payload):
            raise InvalidFrame("the payload ends inside a key")
        try:
            keys.append(str(payload[position:end], "utf-8") or None)
        except UnicodeDecodeError as error:
            raise InvalidFrame(f"a key is not UTF-8: {error}") from error
        position = end
    return keys, position


def _parse_labels(payload: memoryview, position: int, count: int) -> tuple[list[int | None], int]:
    labels: list[int | None] = []
    for _ in range(count):
        value, position = parse_varint(payload, position)
        zigzag = value - 1
        labels.append(None if value == 0 else -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1)
    return labels, position
