"""A second decoder of Triptych streams, written from FORMAT.md alone: it proves the document.

It uses numpy and the standard library, imports nothing of ours, and follows FORMAT.md section by
section (the numbers in parentheses). It is written to be read; it decodes ten thousand binary decisions
a second, so it is for small pictures and for doubts about the real one.

    python tools/minidecode.py FILE.tych -o DIR [--png] [-d BOOK.tych ...]

`decode_stream` is its one entry. It stops at the first damage, reads no index and writes nothing.
"""

import argparse
import hashlib
import json
import math
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

# Limits (3.1): the format's defaults.
MAX_IMAGE_PIXELS = 89_478_485
MAX_FRAME_IMAGES = 65_536
MAX_PAYLOAD = MAX_DICTIONARY = 256 << 20
MAX_METADATA = 1 << 20
MAX_DECODED = 2 << 30
MAX_PIXELS_PER_BYTE = 65_536

IMAGES, DICTIONARY, USE, META, INDEX, PADDING, PRIVATE = 0x81, 0x82, 0x83, 0x01, 0x02, 0x03, 0x04
SIGNATURE = bytes.fromhex("89 54 59 43 0D 0A 1A 0A")
SYNC = bytes.fromhex("F5 D3")


class Invalid(ValueError):
    """The stream breaks a rule: not Triptych, damaged, or built wrong."""


class Truncated(Invalid):
    """The stream ends inside a header or a payload."""


class Unsupported(Invalid):
    """A version, flag, frame or mode that this decoder does not know."""


class TooLarge(ValueError):
    """The stream is beyond a limit."""


class Missing(LookupError):
    """A dictionary that was not given."""


@dataclass(frozen=True)
class Image:
    """One decoded image: pixels (H, W) or (H, W, 2..4) uint8, and what travels with it."""

    pixels: npt.NDArray[np.uint8]
    key: str | None = None
    label: int | None = None
    attachments: dict[int, bytes] = field(default_factory=dict)


# ---- Integers and bytes ---------------------------------------------------------------------------

U64 = (1 << 64) - 1


def clamp(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value


def wrap_i32(value: int) -> int:
    return (value + 2**31 & 0xFFFFFFFF) - 2**31


def how_many(bounds: Sequence[int], value: int) -> int:
    """How many of the bounds are <= value."""
    return sum(bound <= value for bound in bounds)


def make_crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = make_crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class Fields:
    """A payload, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self.data) - self.at:
            raise Invalid("a field ends behind the payload's end")
        self.at += size
        return self.data[self.at - size : self.at]

    def u8(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """Return the next varint."""
        value = 0
        for group in range(9):
            byte = self.u8()
            value |= (byte & 127) << 7 * group
            if byte < 128:
                if byte == 0 and group > 0:
                    raise Invalid("a varint that is not the shortest")
                return value
        raise Invalid("a varint of more than 9 bytes")

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self.data) - self.at)


def parse_json(data: bytes) -> dict[str, object]:
    """Return the object of metadata (3.2). That its form is the canonical one is the encoder's business."""
    try:
        value = json.loads(data.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid("not JSON") from error
    if not isinstance(value, dict):
        raise Invalid("not a JSON object")
    return value


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# ---- The stream (1, 2, 4) -------------------------------------------------------------------------


@dataclass
class Decoder:
    """What is known at a point of the stream. `bound` is the slots of the part."""

    dictionaries: dict[bytes, bytes]
    images: list[Image] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    bound: dict[int, bytes] = field(default_factory=dict)
    decoded: int = 0

    def decode(self, data: bytes) -> None:
        """Go through a stream."""
        if not data.startswith(SIGNATURE):
            if SIGNATURE.startswith(data):
                raise Truncated("the stream ends inside its signature")
            raise Invalid("not a Triptych stream")
        at = 0
        while at < len(data):
            if data.startswith(SIGNATURE, at):
                self.read_stream_header(take_whole(data, at, 16))
                at += 16
            else:
                kind, slot, length, crc = read_frame_header(data, at)
                payload = take_whole(data, at + 16, length)
                if crc32c(payload) != crc:
                    raise Invalid("a payload's CRC does not match")
                self.read_frame(kind, slot, payload)
                at += 16 + length

    def read_stream_header(self, header: bytes) -> None:
        """Begin a part."""
        major, _, flags, crc = struct.unpack("<BBHI", header[8:])
        if crc32c(header[:12]) != crc:
            raise Invalid("the stream header's CRC does not match")
        if major != 0 or flags != 0:
            raise Unsupported("a version or flags that are not known")
        self.bound = {}

    def read_frame(self, kind: int, slot: int, payload: bytes) -> None:
        """Do what a frame says."""
        if kind == IMAGES:
            self.read_images(slot, payload)
        elif kind in (DICTIONARY, USE):
            if not 1 <= slot <= 254 or slot in self.bound:
                raise Invalid("a slot that cannot be bound")
            if kind == USE:
                if len(payload) != 32:
                    raise Invalid("an id of other than 32 bytes")
                self.bound[slot] = payload
            else:
                if len(payload) > MAX_DICTIONARY:
                    raise TooLarge("a dictionary")
                split_dictionary(payload)
                self.bound[slot] = hashlib.sha256(payload).digest()
                self.dictionaries[self.bound[slot]] = payload
        elif kind in (META, INDEX, PADDING, PRIVATE):
            if slot != 0:
                raise Invalid("a slot where there is none")
            if kind == META:
                if len(payload) > MAX_METADATA:
                    raise TooLarge("metadata")
                self.metadata.update(parse_json(payload))
        elif kind & 0x80:
            raise Unsupported(f"a critical frame of type {kind:02X}")

    def read_images(self, slot: int, payload: bytes) -> None:
        """Decode an IMAGES frame."""
        fields = Fields(payload)
        palette = None
        if slot == 255:
            palette = read_palette_dictionary(self.find(fields.take(16)))
        elif slot:
            if slot not in self.bound:
                raise Invalid("an empty slot is used")
            palette = read_palette_dictionary(self.find(self.bound[slot]))
        shapes, keys, labels, attachments = read_image_fields(fields, len(payload))
        self.decoded += sum(height * width * channels for height, width, channels in shapes)
        if self.decoded > MAX_DECODED:
            raise TooLarge("decoded bytes in all")
        pixels = decode_body(fields.rest(), shapes, palette)
        for image in zip(pixels, keys, labels, attachments, strict=True):
            self.images.append(Image(*image))

    def find(self, identity: bytes) -> bytes:
        """Return the dictionary whose id begins so."""
        for known, payload in self.dictionaries.items():
            if known.startswith(identity):
                return payload
        raise Missing(f"the dictionary {identity.hex()}")


def take_whole(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise Truncated("the stream ends inside a header or a payload")
    return data[at : at + size]


def read_frame_header(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return the type, slot, payload length and payload CRC of the frame at an offset."""
    if not data.startswith(SYNC, at):
        if len(data) - at < 8 and (SIGNATURE.startswith(data[at:]) or SYNC.startswith(data[at:])):
            raise Truncated("the stream ends inside a header")
        raise Invalid("bytes that are neither a header nor in a frame")
    header = take_whole(data, at, 16)
    kind, slot, length, payload_crc, header_crc = struct.unpack("<BBIII", header[2:])
    if crc32c(header[:12]) != header_crc:
        raise Invalid("a frame header's CRC does not match")
    if length > MAX_PAYLOAD:
        raise TooLarge("a payload")
    return kind, slot, length, payload_crc


Colors = list[tuple[int, int, int, int]]


def split_dictionary(payload: bytes) -> tuple[int, bytes]:
    """Return the kind and the content of a dictionary (4)."""
    fields = Fields(payload)
    kind = fields.u8()
    parse_json(fields.take(struct.unpack("<I", fields.take(4))[0]))
    return kind, fields.rest()


def read_palette_dictionary(payload: bytes) -> Colors:
    kind, content = split_dictionary(payload)
    if kind != 1:
        raise Invalid("the dictionary is not a palette")
    if len(content) % 4 or not 1 <= len(content) // 4 <= 256:
        raise Invalid("a palette of other than 1 to 256 colours")
    colors: Colors = [(r, g, b, a) for r, g, b, a in struct.iter_unpack("<4B", content)]
    if any(a >= b for a, b in pairwise(map(color_key, colors))):
        raise Invalid("a palette whose colours do not ascend")
    return colors


# ---- Images (3) -----------------------------------------------------------------------------------

Shape = tuple[int, int, int]


def read_image_fields(
    fields: Fields, payload_length: int
) -> tuple[list[Shape], list[str | None], list[int | None], list[dict[int, bytes]]]:
    head = fields.u8()
    if head & 15 != 1:
        raise Unsupported(f"mode {head & 15}")
    count = fields.varint()
    if count == 0 or (count == 1 and head & 16):
        raise Invalid("no images, or shapes that vary where there is one")
    if count > MAX_FRAME_IMAGES:
        raise TooLarge("images in a frame")
    shapes = [read_shape(fields) for _ in range(count)] if head & 16 else [read_shape(fields)] * count
    pixels = sum(height * width for height, width, _ in shapes)
    if pixels > 2**20 and pixels > MAX_PIXELS_PER_BYTE * payload_length:
        raise TooLarge("pixels for each byte")
    if count > payload_length + 64:
        raise TooLarge("images for each byte")
    keys: list[str | None] = [None] * count
    labels: list[int | None] = [None] * count
    attachments: list[dict[int, bytes]] = [{}] * count
    if head & 32:
        keys = [read_key(fields) for _ in range(count)]
    if head & 64:
        labels = [read_label(fields) for _ in range(count)]
    if head & 128:
        last: dict[int, bytes] = {}
        attachments = [read_attachments(fields, last) for _ in range(count)]
    return shapes, keys, labels, attachments


def read_shape(fields: Fields) -> Shape:
    first = fields.varint()
    height, width, channels = fields.varint() + 1, (first >> 2) + 1, (first & 3) + 1
    if height * width > MAX_IMAGE_PIXELS:
        raise TooLarge("pixels in an image")
    return height, width, channels


def read_key(fields: Fields) -> str | None:
    length = fields.varint()
    if length > 4096:
        raise Invalid("a key of more than 4,096 bytes")
    try:
        return fields.take(length).decode() or None
    except UnicodeDecodeError as error:
        raise Invalid("a key that is not UTF-8") from error


def read_label(fields: Fields) -> int | None:
    value = fields.varint()
    if value == 0:
        return None
    z = value - 1
    return -(z + 1) // 2 if z & 1 else z // 2


def read_attachments(fields: Fields, last: dict[int, bytes]) -> dict[int, bytes]:
    """Read one image's list; `last` is the last item of each tag in the frame, and goes on."""
    n = fields.varint()
    if n > 16:
        raise Invalid("more than 16 attachments")
    items: dict[int, bytes] = {}
    for _ in range(n):
        byte = fields.u8()
        tag = byte & 127
        if tag in items:
            raise Invalid("an attachment's tag twice")
        if byte & 128:
            if tag not in last:
                raise Invalid("an attachment like none before")
        else:
            last[tag] = fields.take(fields.varint())
        items[tag] = last[tag]
    if sum(map(len, items.values())) > MAX_METADATA:
        raise TooLarge("metadata of an image")
    return items


# ---- The k-means body (6) -------------------------------------------------------------------------

DENSE, FAST, BATCH = 0, 1, 2


def decode_body(body: bytes, shapes: list[Shape], palette: Colors | None) -> list[npt.NDArray[np.uint8]]:
    fields = Fields(body)
    plan = fields.u8()
    coder, n_flags, pairs = plan & 3, plan >> 3 & 3, plan >> 5 & 1
    if coder == 3 or plan >> 6 or (coder == BATCH and n_flags) or (coder != FAST and pairs):
        raise Invalid("a plan that means nothing")
    if coder == BATCH and palette is not None:
        raise Invalid("the batch coder with a dictionary")
    if plan & 4:
        fields.take(2 * len(shapes))
    decoder = RangeDecoder(fields.rest())
    palettes = PaletteModel()
    frame_pixels = sum(height * width for height, width, _ in shapes)
    model: BatchModel | TreeModel | None = None
    pixels = []
    for height, width, channels in shapes:
        colors = palette if palette is not None else palettes.decode(decoder, height * width)
        if coder == BATCH:
            model = model or BatchModel(frame_pixels)
        elif palette is None or model is None:
            size = height * width if palette is None else frame_pixels
            model = (
                FastModel(colors, size, n_flags, pairs)
                if coder == FAST
                else DenseModel(colors, size, n_flags)
            )
        rows = model.decode_map(decoder, colors, height, width)
        table = np.array(colors, np.uint8)[:, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
        image = table[np.array(rows)]
        pixels.append(image[:, :, 0] if channels == 1 else image)
    decoder.finish()
    return pixels


# ---- Mixing (6.1) ---------------------------------------------------------------------------------

K1, K2, K3, K4 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB
HALF = 2**31 + 2560


def make_tables() -> tuple[list[int], list[int]]:
    """Return SQUASH, whose entry for x is at x + 3072, and STRETCH."""
    one = 1 << 80
    term, root, n = one, 0, 0
    while term > 0:
        root, n = root + term, n + 1
        term //= 256 * n
    pos = [one]
    for _ in range(3072):
        pos.append(pos[-1] * root // one)
    squash = [65536 * one // (one + pos[-x]) for x in range(-3072, 0)]
    squash += [65536 * pos[x] // (one + pos[x]) for x in range(3072)]
    stretch, x = [], -3071
    for i in range(2048):
        while 8192 * one < (2 * i + 1) * (one + pos[-x]):
            x += 1
        stretch.append(x)
    return [clamp(value, 1, 65535) for value in squash], stretch + [-value for value in reversed(stretch)]


SQUASH, STRETCH = make_tables()


def squash(logit: int) -> int:
    return SQUASH[logit + 3072]


def train(counter: int, bit: int, least: int) -> int:
    p, rate = counter >> 12, counter & 4095
    p += (((2**20 - 1 if bit else 0) - p >> 2) * rate) >> 10
    return p << 12 | max(least, rate - 1 - (rate * rate >> 12))


class Mixer:
    """Rows of weights. A mixed decision is `mix`, the coder's business, then `learn`.

    `parts` gives numbers of rows and the value of all their weights at first.
    """

    def __init__(self, width: int, *parts: tuple[int, int]) -> None:
        self.weights = np.concatenate([np.full((rows, width), value, np.int32) for rows, value in parts])

    def mix(self, logits: list[int], *rows: int) -> tuple[int, int]:
        """Return the logit and the mixed probability. numpy's int32 wraps as i32 does."""
        self.rows = rows
        self.inputs = np.array([*logits, 100], np.int32)
        total = self.weights[list(rows)].sum(axis=0, dtype=np.int32) >> 3
        self.logit = clamp(int((self.inputs * total).sum(dtype=np.int32)) >> 13, -3071, 3071)
        self.mixed = squash(self.logit)
        return self.logit, self.mixed

    def learn(self, bit: int, rate: int) -> None:
        """Move the weights of the last decision."""
        change = self.inputs * ((((bit << 16) - self.mixed) * rate) >> 8)
        for place, row in enumerate(self.rows):
            self.weights[row] += (change + 2**13) >> 14 if place == 0 else (change + 2**14) >> 15


class Rate:
    """A learning rate, in 1/256."""

    def __init__(self, first: int, least: int) -> None:
        self.value, self.least = first * 256, least * 256

    def end_row(self) -> None:
        """Slow down."""
        self.value = max(self.least, self.value * 252 >> 8)


class Refinement:
    """Rows of 33 points each."""

    def __init__(self, rows: int) -> None:
        self.first = [squash(clamp((j - 16) * 128, -3071, 3071)) << 6 for j in range(33)]
        self.points = self.first * rows

    def refine(self, row: int, logit: int) -> int:
        """Return the refined probability."""
        x = clamp(logit, -2048, 2047) + 2048
        self.at, self.part = 33 * row + (x >> 7), x & 127
        return (self.points[self.at] * (128 - self.part) + self.points[self.at + 1] * self.part) >> 13

    def learn(self, bit: int) -> None:
        """Move the two points that were used."""
        target = (2**22 - 1) * bit
        for at, part in ((self.at, 128 - self.part), (self.at + 1, self.part)):
            self.points[at] += ((target - self.points[at]) * part * 5) >> 14


def decide_pair(
    decoder: "RangeDecoder",
    counters: list[int],
    first: int,
    second: int,
    weights: list[int],
    at: int,
    gain: int,
) -> int:
    """Decode a pair decision of two counters with the weights at `at` and `at + 1`."""
    a, b = STRETCH[counters[first] >> 20], STRETCH[counters[second] >> 20]
    mixed = squash(clamp((a * weights[at] + b * weights[at + 1]) >> 16, -3071, 3071))
    bit = decoder.decide(clamp(mixed, 2, 65534))
    error = (bit << 16) - mixed
    weights[at] = wrap_i32(weights[at] + ((a * error * gain + 16384) >> 15))
    weights[at + 1] = wrap_i32(weights[at + 1] + ((b * error * gain + 16384) >> 15))
    counters[first] = train(counters[first], bit, 16)
    counters[second] = train(counters[second], bit, 16)
    return bit


BOUNDS = 20, 48, 15, 8, 6, 5


def count_states(n0: int, n1: int) -> int:
    few, many = min(n0, n1), max(n0, n1)
    if few > 5 or many > BOUNDS[few]:
        return 0
    return 2 if few > 0 and n0 + n1 <= 17 else 1


def next_counts(n0: int, n1: int, bit: int) -> tuple[int, int]:
    if n0 < n1:
        n1, n0 = next_counts(n1, n0, 1 - bit)
        return n0, n1
    if bit:
        n0, n1 = how_many((1, 2, 3, 4, 5, 7, 8), n0), n1 + 1
    else:
        n0, n1 = n0 + 1, how_many((1, 2, 3, 4, 5, 7, 8), n1)
    while count_states(n0, n1) == 0:
        if n1 < 2:
            n0 -= 1
        else:
            n0, n1 = (n0 * (n1 - 1) + n1 // 2) // n1, n1 - 1
    return n0, n1


def make_histories() -> tuple[list[tuple[int, int]], list[int]]:
    """Return NEXT and the table of counters at first."""
    number: dict[tuple[int, int, int], int] = {}
    counts: list[tuple[int, int]] = []
    for total in range(50):
        for n1 in range(total + 1):
            n0 = total - n1
            states = count_states(n0, n1)
            if states:
                number[n0, n1, 0], number[n0, n1, 1] = len(counts), len(counts) + states - 1
                counts += [(n0, n1)] * states
    following = [
        (number[(*next_counts(n0, n1, 0), 0)], number[(*next_counts(n0, n1, 1), 1)]) for n0, n1 in counts
    ]
    table = [((2**22 - 1) * (6 * n1 + 1) // (6 * (n0 + n1) + 2) >> 2) << 12 | 2560 for n0, n1 in counts]
    return following, table + [HALF] * (256 - len(table))


NEXT, HISTORY_COUNTERS = make_histories()


# ---- The range coder (6.2) ------------------------------------------------------------------------


class RangeDecoder:
    """The range coder's state, and the bytes that it has taken in."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.low: int = 0
        self.high: int = 0xFFFFFFFF
        self.code = int.from_bytes(message[:4].ljust(4, b"\0"))
        self.taken = 4

    def decide(self, p: int) -> int:
        """Return the bit of a decision."""
        width = self.high - self.low
        mid = self.low + (width >> 16) * p + (((width & 0xFFFF) * p) >> 16)
        bit = int(self.code <= mid)
        if bit:
            self.high = mid
        else:
            self.low = mid + 1
        while (self.low ^ self.high) < 1 << 24:
            byte = self.message[self.taken] if self.taken < len(self.message) else 0
            self.taken += 1
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = self.high << 8 & 0xFFFFFFFF | 255
            self.code = self.code << 8 & 0xFFFFFFFF | byte
        return bit

    def check(self) -> None:
        """Check at the end of a row of pixels or of a palette."""
        if self.taken > len(self.message) + 4:
            raise Invalid("the body ends early")

    def finish(self) -> None:
        """Check the end of the message."""
        for zero_bytes in (4, 3, 2, 1, 0):
            unit = 1 << 8 * zero_bytes
            tail = -(-self.low // unit) * unit
            if tail <= self.high:
                break
        if self.code != tail or any(self.message[self.taken :]):
            raise Invalid("the body does not end as it must")


# ---- Palettes (6.3) -------------------------------------------------------------------------------


def layout_places(layout: int) -> list[tuple[int, int]]:
    """Return the channel and level of each bit of a key, most significant first."""
    places = [(3, level) for level in range(7, -1, -1)] if layout & 1 else []
    for level in range(7, -1, -1):
        places += [(channel, level) for channel in ((0, 1, 2) if layout & 2 else (0,))]
    return places


def color_key(color: tuple[int, int, int, int]) -> int:
    """Return the key of layout 3."""
    r, g, b, a = color
    channels = (g, (r - g + 128) & 255, (b - g + 128) & 255, 255 - a)
    key = 0
    for channel, level in layout_places(3):
        key = key << 1 | channels[channel] >> level & 1
    return key


def key_color(key: int, layout: int) -> tuple[int, int, int, int]:
    channels = [0, 128, 128, 0]
    places = layout_places(layout)
    if layout & 2:
        channels[1] = channels[2] = 0
    for depth, (channel, level) in enumerate(places):
        channels[channel] |= (key >> (len(places) - 1 - depth) & 1) << level
    g, r, b, a = channels
    return (r + g - 128) & 255, g, (b + g - 128) & 255, 255 - a


class PaletteModel:
    """What goes on from palette to palette of a frame."""

    def __init__(self) -> None:
        self.counters = [HALF] * (115712 + 256 + 4)
        self.mixer = Mixer(8, (32, 17000), (32, 0))

    def decode(self, decoder: RangeDecoder, pixels: int) -> Colors:
        """Decode the palette of an image of so many pixels."""
        k = self.decode_number(decoder, 115712, 8) + 1
        if k > pixels:
            raise Invalid("more colours than pixels")
        layout = self.decode_number(decoder, 115968, 2)
        self.decoder, self.places, self.keys = decoder, layout_places(layout), list[int]()
        self.visit(0, 0, k)
        decoder.check()
        return [key_color(key, layout) for key in self.keys]

    def decode_number(self, decoder: RangeDecoder, base: int, bits: int) -> int:
        """Decode a number of so many bits, each with a counter of its own."""
        node = 1
        for _ in range(bits):
            at = base + node
            bit = decoder.decide(clamp(self.counters[at] >> 16, 32, 65504))
            self.counters[at] = train(self.counters[at], bit, 64)
            node = 2 * node + bit
        return node - (1 << bits)

    def visit(self, depth: int, prefix: int, n: int) -> None:
        """Decode the keys of a node; the prefix has its bits in their places."""
        if depth == len(self.places):
            if n != 1:
                raise Invalid("a colour twice")
            self.keys.append(prefix)
            return
        self.set_contexts(depth, prefix, n)
        if n == 1:
            zeros = 1 - self.decide(0, 0)
        elif self.decide(1, 0):
            zeros = n
        elif self.decide(2, 0):
            zeros = 0
        else:
            low, high, asked = 1, n - 1, 0
            while low < high:
                mid = (low + high) >> 1
                if self.decide(3, asked):
                    low = mid + 1
                else:
                    high = mid
                asked += 1
            zeros = low
        if zeros > 0:
            self.visit(depth + 1, prefix, zeros)
        if zeros < n:
            self.visit(depth + 1, prefix | 1 << (len(self.places) - 1 - depth), n - zeros)

    def set_contexts(self, depth: int, prefix: int, n: int) -> None:
        """Find all that the decisions of a node look at, except their kind and number."""
        channel, level = self.places[depth]
        last = self.keys[-1] if self.keys else 0
        before = self.keys[-2] if len(self.keys) > 1 else 0

        def bit_of(key: int, place: int) -> int:
            return key >> (len(self.places) - 1 - place) & 1

        own = [place for place in range(depth) if self.places[place][0] == channel]

        def bits_of(key: int) -> int:
            return sum(bit_of(key, place) << (len(own) - 1 - i) for i, place in enumerate(own))

        ours = [bit_of(prefix, place) for place in own]
        self.five = ours[7 - level - 5] if level + 5 <= 7 else 2
        self.four = ours[7 - level - 4] if level + 4 <= 7 else 2
        self.top = bits_of(prefix)
        self.agree, self.agree2 = int(self.top == bits_of(last)), int(self.top == bits_of(before))
        self.side = 0 if self.agree else 1 if self.top > bits_of(last) else 2
        self.other = 0
        for place in range(depth):
            if self.places[place][0] != channel and self.places[place][1] == level:
                self.other = 2 * self.other + bit_of(prefix, place) + 1
        self.theirs = bit_of(last, depth) if self.keys else 2
        self.group = min(n, 4) + (n >= 5) + (n >= 9) + (n >= 33)
        self.n, self.channel, self.level, self.last = n, channel, level, last
        self.place = (prefix | 1 << 40 | depth << 48) * K1

    def decide(self, kind: int, asked: int) -> int:
        """Decode a decision at the node that `set_contexts` looked at."""
        q = 4 * kind + min(asked, 3)
        spot = 8 * self.channel + self.level
        p = (4 * q + self.channel) * 8 + self.level
        z = (self.place + q * K2) & U64
        h = z ^ z >> 31
        places = [
            (8 * q + self.group) * 32 + spot,
            4096 + (((3 * q + self.five) * 3 + self.four) * 32 + spot) * 2 + (self.n == 1),
            13312 + (2 * p + self.agree) * 12 + 4 * self.theirs + self.side,
            25600 + (4 * q + self.channel) * 256 + (self.top & 255),
            41984 + (8 * p + (self.other & 7)) * 2 + self.agree2,
            50176 + ((h * K3 & U64) >> 49),
            50176 + 32768 + (((((self.last ^ K4) * K2 & U64) ^ h) * K4 & U64) >> 49),
        ]
        values = [self.counters[place] for place in places]
        _, mixed = self.mixer.mix(
            [STRETCH[value >> 20] for value in values], 8 * kind + self.group, 32 + spot
        )
        bit = self.decoder.decide(clamp(mixed, 32, 65504))
        self.mixer.learn(bit, 512)
        for place, value in zip(places, values, strict=True):
            self.counters[place] = train(value, bit, 64)
        return bit


# ---- The tree of a palette (6.4) ------------------------------------------------------------------

DIRECTIONS = (
    (256, 0, 0, 0), (0, 256, 0, 0), (0, 0, 256, 0), (0, 0, 0, 256), (148, 148, 148, 0), (181, 0, -181, 0),
    (105, -209, 105, 0), (181, 181, 0, 0), (0, 181, 181, 0), (181, -181, 0, 0), (0, 181, -181, 0),
)  # fmt: skip


@dataclass
class Node:
    """An inner node. A child is a node's number, or -1 - index for a leaf."""

    direction: tuple[int, int, int, int]
    threshold: int
    inverse: int
    children: list[int]
    page: int = 0
    slot: int = 0


def build_tree(colors: Colors) -> list[Node]:
    nodes: list[Node] = []

    def split(members: list[int]) -> int:
        if len(members) == 1:
            return -1 - members[0]
        n = len(members)
        best = -1
        for candidate in DIRECTIONS:
            found = [sum(d * v for d, v in zip(candidate, colors[i], strict=True)) for i in members]
            spread = n * sum(x * x for x in found) - sum(found) ** 2
            if spread > best:
                best, direction, projections = spread, candidate, found
        order = sorted(range(n), key=projections.__getitem__)
        x = [projections[i] for i in order]
        members = [members[i] for i in order]
        low = max(1, 35 * n // 100)
        high = min(max(low + 1, (65 * n + 99) // 100), n - 1)
        cut = max(range(low, high + 1), key=lambda j: (x[j] - x[j - 1], -abs(j - n // 2), j))
        node = Node(direction, 4 * (x[cut] + x[cut - 1]), 2**24 // max(512, math.isqrt(best) // n), [])
        number = len(nodes)
        nodes.append(node)
        node.children = [split(members[:cut])]
        node.children.append(split(members[cut:]))
        return number

    split(list(range(len(colors))))
    pages = [0] if nodes else []
    while pages:
        page = pages.pop()
        queue = [page]
        for slot in range(1, 16):
            if not queue:
                break
            number = queue.pop(0)
            nodes[number].page, nodes[number].slot = page, slot
            queue += [child for child in nodes[number].children if child >= 0]
        pages += queue
    return nodes


# ---- Surroundings, runs, predictions (6.5) --------------------------------------------------------


class Surroundings:
    """The row of pixels being decoded and the three above it, each with 3 more on both sides."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [[0] * (width + 6) for _ in range(4)]

    def begin_row(self) -> None:
        """Move down; what is left of the row is what is above its first pixel."""
        above = self.rows[0]
        self.rows = [[above[3]] * (self.width + 6), *self.rows[:3]]

    def end_row(self) -> list[int]:
        """Pad the row on its right, and return it."""
        row = self.rows[0]
        row[-3:] = [row[-4]] * 3
        return row[3:-3]

    def around(self, x: int) -> tuple[int, ...]:
        """Return W, N, NW, NE, WW, NN, NNE, NWW, NEE, NNW, WWW, NNN."""
        row, n, nn, nnn = self.rows
        x += 3
        return (
            row[x - 1], n[x], n[x - 1], n[x + 1], row[x - 2], nn[x],
            nn[x + 1], n[x - 2], n[x + 2], nn[x - 1], row[x - 3], nnn[x],
        )  # fmt: skip


def mix_hash(h: int) -> int:
    h &= U64
    return h ^ h >> 32


def hash_surroundings(near: Sequence[int]) -> tuple[list[int], tuple[int, int]]:
    """Return the 13 stirred hashes and the two slots of the match tables."""
    w, n, nw, ne, ww, nn, nne, nww, nee, nnw, www, nnn = (index + 1 for index in near)
    h0 = (w * K1 & U64) ^ (n * K2 & U64)
    h1 = mix_hash((h0 ^ (nw * K3 & U64) ^ (ne * K4 & U64)) * K1)
    h2 = mix_hash((h1 ^ (ww * K1 & U64) ^ (nn * K3 & U64)) * K2)
    h3 = mix_hash((h2 ^ (nne * K2 & U64) ^ (nww * K3 & U64) ^ (nee * K4 & U64)) * K1)
    h4 = mix_hash((h3 ^ (nnw * K1 & U64) ^ (www * K3 & U64) ^ (nnn * K4 & U64)) * K2)
    hashes = [
        h0, h1, h2, h3, h4,
        w * K1,
        n * K2,
        h0 ^ (nw * K3),
        h0 ^ (ne * K4),
        (w * K2) ^ (ww * K3),
        (n * K3) ^ (nn * K1),
        (n * K1) ^ (nw * K2) ^ (ne * K3),
        (w * K1) ^ (ne * K2) ^ (ww * K3),
    ]  # fmt: skip
    stirred = []
    for i, h in enumerate(hashes):
        s = (h + i + 1) * K2 & U64
        stirred.append(s ^ s >> 29)
    return stirred, ((h3 * K2 & U64) >> 48, (h2 * K2 & U64) >> 48)


class TreeModel:
    """What the dense and the fast coder share. A subclass decides flags and nodes."""

    rate: Rate

    def __init__(self, colors: Colors, n_flags: int) -> None:
        self.colors, self.n_flags = colors, n_flags
        self.nodes = build_tree(colors)
        self.channels = (0, 1, 2, 3) if any(color[3] < 255 for color in colors) else (0, 1, 2)
        run = 1000000 << 12 | 2560
        self.run_counters = [run] * (114688 + 128 * 16)
        self.run_weights = [36000] * 64
        self.matches = [[0] * 65536, [0] * 65536]

    def decode_map(self, decoder: RangeDecoder, colors: Colors, height: int, width: int) -> list[list[int]]:
        """Decode an index map, row by row."""
        self.decoder = decoder
        around = Surroundings(width)
        steady = [0] * width  # `above`
        self.history = 0
        rows = []
        for _ in range(height):
            around.begin_row()
            row, above = around.rows[0], around.rows[1]
            edge = run = wait = x = 0
            while x < width:
                near = around.around(x)
                w, n = near[:2]
                flat = all(index == w for index in near[1:6])
                same = 0
                if flat:
                    if edge > 0:
                        edge -= 1
                    else:
                        most = min(15, width - 1 - x)
                        while edge < most and above[x + 4 + edge] == w:
                            edge += 1
                    tried = int(wait > 0)
                    if edge >= 8 and not tried and width - x >= 8:
                        if self.decide_run(True, w, edge, 0, run, steady[x]):
                            row[x + 3 : x + 11] = [w] * 8
                            steady[x : x + 8] = [min(15, count + 1) for count in steady[x : x + 8]]
                            edge, run, self.history = max(0, edge - 7), run + 8, 0xFFFF
                            x += 8
                            continue
                        tried, wait = 1, 8
                    same = self.decide_run(False, w, edge, tried, run, steady[x])
                index = row[x + 3] = w if same else self.decode_pixel(near, flat)
                steady[x] = min(15, steady[x] + 1) if index == n else 0
                if not flat:
                    edge = 0
                run = run + 1 if index == w else 0
                wait -= 1
                self.history = (self.history << 2 | (index == w) | 2 * (index == n)) & 0xFFFF
                x += 1
            rows.append(around.end_row())
            self.rate.end_row()
            decoder.check()
        return rows

    def decide_run(self, block: bool, w: int, edge: int, tried: int, run: int, steady: int) -> int:
        """Decode a block decision or a run decision."""
        length = min(7, run >> 1) if run < 8 else min(7, 4 + (run >> 4))
        if block:
            first = 81920 + 128 * w + 8 * steady + length
            second = 114688 + 128 * (self.history & 15) + 8 * steady + length
            weights = 2 * edge
        else:
            first = w * 256 + 16 * edge + 8 * tried + length
            second = 65536 + 1024 * edge + 64 * steady + 16 * (self.history & 3) + 8 * tried + length
            weights = 32 + 2 * edge
        return decide_pair(self.decoder, self.run_counters, first, second, self.run_weights, weights, 6)

    def decode_pixel(self, near: tuple[int, ...], flat: bool) -> int:
        """Decode a pixel that no run decided: flags, then the walk."""
        w, n, nw, ne, ww, nn, _, nww, nee = near[:9]
        self.near = near
        self.hashes, slots = hash_surroundings(near)
        self.page = -1
        pairs = (w, n), (w, nw), (nw, n), (n, ne), (w, ww), (n, nn), (ne, nee), (nw, nww)
        self.equal = sum((a == b) << i for i, (a, b) in enumerate(pairs))
        entries = [table[slot] for table, slot in zip(self.matches, slots, strict=True)]
        candidates = self.find_candidates(near, flat, entries) if self.n_flags else []
        for stage, (candidate, origin) in enumerate(candidates[: self.n_flags]):
            slot = 1 if stage == 0 else 1 + min(13, 5 * (stage - 1) + origin)
            if self.decide_flag(candidate, stage, 1024 + candidates[0][0], slot):
                index = candidate
                break
        else:
            index = self.walk() if self.nodes else 0
        for table, slot, entry in zip(self.matches, slots, entries, strict=True):
            confidence = (entry >> 8) - 1
            if entry and entry & 255 == index:
                table[slot] = 256 * (min(confidence, 60) + 2) + index
            elif confidence < 2:
                table[slot] = 256 * 2 + index
            else:
                table[slot] = 256 * (confidence // 3 + 1) + (entry & 255)
        return index

    def find_candidates(self, near: tuple[int, ...], flat: bool, entries: list[int]) -> list[tuple[int, int]]:
        """Return the candidates with their origins, and set the level."""
        w, n, nw, ne = near[:4]
        confidence = max(0, (entries[0] >> 8) - 1)
        candidates: list[tuple[int, int]] = []
        if confidence > 0:
            candidates = [(entries[0] & 255, 0)]
        elif entries[1] >> 8 > 2:
            candidates = [(entries[1] & 255, 0)]
        if flat and candidates and candidates[0][0] == w:
            candidates = []
        self.level = 0 if confidence == 0 else 1 if confidence == 1 else 2 if confidence <= 5 else 3
        for origin, index in enumerate((w, n, ne, nw), 1):
            known = index in [candidate for candidate, _ in candidates]
            if len(candidates) < 3 and not known and not (flat and index == w):
                candidates.append((index, origin))
        return candidates

    def same(self, index: int) -> int:
        """Return which neighbours have an index, as 4 bits."""
        w, n, nw, ne = self.near[:4]
        return (index == w) + 2 * (index == n) + 4 * (index == ne) + 8 * (index == nw)

    def walk(self) -> int:
        """Go down the tree, and return the leaf's index."""
        self.predict()
        number = 0
        while number >= 0:
            node = self.nodes[number]
            dr, dg, db, da = node.direction
            z = []
            for r, g, b, a in self.predictions:
                distance = (dr * r + dg * g + db * b + da * a - node.threshold) >> 7
                z.append(wrap_i32(distance * node.inverse) >> 13)
            number = node.children[self.decide_node(number, node, z)]
        index = -1 - number
        self.learn_pixel(index)
        return index

    def predict(self) -> None:
        """Set `predictions`, 8 of four channels, and the texture."""
        around = [self.colors[index] for index in self.near[:7]]
        predictions = [[2040] * 4 for _ in range(8)]
        rough = 0
        for channel in self.channels:
            a, b, e, f, _, _, nne = (color[channel] for color in around)
            mean = 3 * a + 3 * b + e + f
            values = (
                8 * max(min(a, b), min(max(a, b), a + b - e)), mean, 8 * a, 8 * b, 8 * f, 8 * e, mean,
                8 * (b + f - nne),
            )  # fmt: skip
            for prediction, value in zip(predictions, values, strict=True):
                prediction[channel] = value
            rough += abs(a - e) + abs(b - e) + abs(b - f)
        self.predictions = predictions
        self.texture = how_many((12, 30, 60, 100, 160, 240, 400), rough)

    def learn_pixel(self, index: int) -> None:
        """Learn from a pixel that walked the tree."""

    def decide_flag(self, candidate: int, stage: int, page: int, slot: int) -> int:
        """Decode "is it candidate number `stage`?"."""
        raise NotImplementedError

    def decide_node(self, number: int, node: Node, z: list[int]) -> int:
        """Decode on which side of a node it goes on."""
        raise NotImplementedError


def class_a(z: int) -> int:
    return clamp((z >> 3) + 64, 0, 127)


def class_b(z: int) -> int:
    return clamp((3 * z >> 6) + 16, 0, 31)


def class_c(z: int) -> int:
    return clamp((5 * z >> 8) + 5, 0, 9)


def page_hash(h: int, page: int) -> int:
    return (h + (page + 1) * K1) * K4 & U64


# ---- Dense (6.6) ----------------------------------------------------------------------------------


class DenseModel(TreeModel):
    """The dense coder."""

    def __init__(self, colors: Colors, pixels: int, n_flags: int) -> None:
        super().__init__(colors, n_flags)
        self.inner = inner = max(1, len(colors) - 1)
        self.bits = clamp((pixels * 13 * (1 if len(colors) <= 16 else 2) // 4).bit_length(), 12, 20)
        self.lines = bytearray(16 << self.bits)
        self.tree_histories, self.flag_histories = 0, 13 * 256
        self.flag_counters = 26 * 256
        self.color_counters = self.flag_counters + 5 * 4096
        self.dead = self.color_counters + 10 * inner * 1024
        self.counters = HISTORY_COUNTERS * 26 + [HALF] * (self.dead + 1 - self.flag_counters)
        self.mixer = Mixer(24, (inner + 192, 65536 * 42 // 230), (257, 0), (1024, 0))
        self.first_refinement, self.third_refinement = Refinement(inner + 192), Refinement(1024)
        self.rate = Rate(160, 30)
        self.taps = [[32768, 32768, -13107, 13107] + [0] * 8 for _ in range(4)]

    def predict(self) -> None:
        """Set the predictions, and the adaptive one in the place of the second mean."""
        super().predict()
        self.offsets = {}
        for channel in self.channels:
            mean = self.predictions[1][channel]
            offsets = [8 * self.colors[index][channel] - mean for index in self.near]
            total = sum(tap * offset for tap, offset in zip(self.taps[channel], offsets, strict=True))
            self.predictions[6][channel] = clamp(mean + (total >> 16), -2048, 4096)
            self.offsets[channel] = offsets

    def learn_pixel(self, index: int) -> None:
        """Move the taps."""
        for channel, offsets in self.offsets.items():
            error = 8 * self.colors[index][channel] - self.predictions[6][channel]
            gain = error * 75497 // (3840 + sum(offset * offset for offset in offsets))
            self.taps[channel] = [
                clamp(tap + ((gain * offset) >> 6), -(2**20), 2**20)
                for tap, offset in zip(self.taps[channel], offsets, strict=True)
            ]

    def find_lines(self, page: int) -> None:
        """Set `found` to where the 13 lines of a page begin."""
        if page == self.page:
            return
        self.page = page
        self.found = []
        for h in self.hashes:
            code = page_hash(h, page)
            line, check = code >> (64 - self.bits), code >> 20 & 255
            if self.lines[16 * line] != check:
                other = line ^ 1
                if self.lines[16 * other] == check:
                    line = other
                else:
                    if self.lines[16 * other + 1] < self.lines[16 * line + 1]:
                        line = other
                    self.lines[16 * line : 16 * line + 16] = bytes([check]) + bytes(15)
            self.found.append(16 * line)

    def decide(self, slot: int, histories: int, others: list[int], rows: tuple[int, int, int]) -> int:
        """Decode a decision: 13 histories at `slot`, their tables from `histories` on, 10 other counters."""
        places = []
        for i, line in enumerate(self.found):
            state = self.lines[line + slot]
            places.append(histories + 256 * i + state if state else self.dead)
        places += others
        values = [self.counters[place] for place in places]
        first, second, third = rows
        base = self.inner + 192
        logit, mixed = self.mixer.mix(
            [STRETCH[value >> 20] for value in values], first, base + second, base + 257 + third
        )
        ra, rb = self.first_refinement.refine(first, logit), self.third_refinement.refine(third, logit)
        bit = self.decoder.decide(clamp((2 * mixed + ra + rb + 2) >> 2, 2, 65534))
        self.mixer.learn(bit, self.rate.value >> 8)
        for place, value in zip(places, values, strict=True):
            if place != self.dead:
                self.counters[place] = train(value, bit, 16)
        self.first_refinement.learn(bit)
        self.third_refinement.learn(bit)
        for line in self.found:
            self.lines[line + slot] = NEXT[self.lines[line + slot]][bit]
        return bit

    def decide_flag(self, candidate: int, stage: int, page: int, slot: int) -> int:
        """Decode "is it candidate number `stage`?"."""
        self.find_lines(page)
        same = self.same(candidate)
        contexts = (
            16 * self.equal + same,
            4096 + 16 * (self.history & 255) + same,
            8192 + 16 * (4 * self.level + stage) + same,
            12288 + 64 * (self.equal & 63) + 16 * self.level + same,
            16384 + 16 * candidate + same,
        )
        others = [self.flag_counters + context for context in contexts] + [self.dead] * 5
        rows = self.inner + 64 * stage + 16 * self.level + same, 256, 256 + 256 * stage + self.equal
        return self.decide(slot, self.flag_histories, others, rows)

    def decide_node(self, number: int, node: Node, z: list[int]) -> int:
        """Decode on which side of a node it goes on."""
        self.find_lines(node.page)
        b2, b3, b4, b5, b6, b7 = (class_b(value) for value in z[2:])
        c2, c3, c4, c5 = (class_c(value) for value in z[2:6])
        contexts = (
            8 * class_a(z[0]) + self.texture,
            8 * class_a(z[1]) + self.texture,
            8 * class_a(z[6]) + self.texture,
            32 * b2 + b3,
            32 * b3 + b4,
            32 * b2 + b5,
            100 * c2 + 10 * c3 + c4,
            100 * c2 + 10 * c3 + c5,
            32 * b6 + b7,
            32 * b6 + clamp(((z[2] - z[6]) >> 4) + 16, 0, 31),
        )
        others = [
            self.color_counters + (j * self.inner + number) * 1024 + context
            for j, context in enumerate(contexts)
        ]
        return self.decide(
            node.slot, self.tree_histories, others, (number, 8 * b6 + self.texture, self.equal)
        )


# ---- Fast (6.7) -----------------------------------------------------------------------------------


class FastModel(TreeModel):
    """The fast coder."""

    def __init__(self, colors: Colors, pixels: int, n_flags: int, pairs: int) -> None:
        super().__init__(colors, n_flags)
        self.pairs = pairs
        self.inner = inner = max(1, len(colors) - 1)
        self.bits = clamp((2 * pixels).bit_length(), 12, 20)
        self.color_counters = 4 * 4096
        self.hashed = self.color_counters + 4 * inner * 1024
        self.counters = [HALF] * (self.hashed + (3 << self.bits))
        self.mixer = Mixer(8, (inner + 192, 20480), (1024, 0))
        self.pair_weights = [40000] * (16 * inner)
        self.rate = Rate(300, 60)

    def decide(self, page: int, slot: int, others: list[int], first: int, second: int) -> int:
        """Decode a mixed decision of 3 hashed counters, 4 others and two rows of weights."""
        places = []
        for i in range(3):
            line = page_hash(self.hashes[i], page) >> (68 - self.bits)
            places.append(self.hashed + (i << self.bits) + 16 * line + slot)
        places += others
        values = [self.counters[place] for place in places]
        logits = [STRETCH[value >> 20] for value in values]
        _, mixed = self.mixer.mix(logits, first, self.inner + 192 + second)
        bit = self.decoder.decide(clamp(mixed, 2, 65534))
        self.mixer.learn(bit, self.rate.value >> 8)
        for place, value in zip(places, values, strict=True):
            self.counters[place] = train(value, bit, 32)
        return bit

    def decide_flag(self, candidate: int, stage: int, page: int, slot: int) -> int:
        """Decode "is it candidate number `stage`?"."""
        same = self.same(candidate)
        others = [
            16 * self.equal + same,
            4096 + 16 * (self.history & 255) + same,
            8192 + 256 * (4 * self.level + stage) + candidate,
            12288 + 64 * (self.equal & 63) + 16 * self.level + same,
        ]
        row = self.inner + 64 * stage + 16 * self.level + same
        return self.decide(page, slot, others, row, 256 + 256 * stage + self.equal)

    def decide_node(self, number: int, node: Node, z: list[int]) -> int:
        """Decode on which side of a node it goes on."""
        contexts = (
            8 * class_a(z[1]) + self.texture,
            32 * class_b(z[2]) + class_b(z[3]),
            8 * class_a(z[0]) + self.texture,
            100 * class_c(z[2]) + 10 * class_c(z[3]) + class_c(z[4]),
        )
        others = [
            self.color_counters + (j * self.inner + number) * 1024 + context
            for j, context in enumerate(contexts)
        ]
        if self.pairs:
            at = 2 * (8 * number + self.texture)
            return decide_pair(self.decoder, self.counters, others[0], others[1], self.pair_weights, at, 1)
        return self.decide(node.page, node.slot, others, number, 8 * class_b(z[1]) + self.texture)


# ---- Batch (6.8) ----------------------------------------------------------------------------------


class BatchModel:
    """The batch coder."""

    def __init__(self, pixels: int) -> None:
        self.bits = clamp((2 * pixels).bit_length(), 14, 22)
        self.dead = 1 << self.bits
        self.history_counters = self.dead + 1
        self.counters = [HALF] * (self.dead + 1) + HISTORY_COUNTERS * 7
        self.histories = bytearray(2 << self.bits)
        self.mixer = Mixer(24, (768, 11000), (1024, 0), (512, 0))
        self.refinement = Refinement(3072)
        self.rate = Rate(150, 40)
        self.decisions_left = 8 * pixels + 4096

    def decode_map(self, decoder: RangeDecoder, colors: Colors, height: int, width: int) -> list[list[int]]:
        """Decode an index map, row by row."""
        self.decoder = decoder
        k = self.k = len(colors)
        self.luma = [(2 * r + 5 * g + b) >> 3 for r, g, b, _ in colors]
        self.keys = [(r + 256 * g + 65536 * b + (a << 24)) * K1 & U64 for r, g, b, a in colors]
        self.apart = [[how_apart(one, two) for two in colors] for one in colors]
        self.used = [0] * k
        self.beside = [[0] * k for _ in range(k)]
        self.below = [[0] * k for _ in range(k)]
        self.background = -1
        self.history = 0
        around = Surroundings(width)
        rows = []
        for y in range(height):
            around.begin_row()
            for x in range(width):
                near = around.around(x)
                w, n = near[:2]
                index = around.rows[0][x + 3] = self.decode_pixel(near, x, y)
                self.used[index] += 1
                self.beside[w][index] += 1
                self.below[n][index] += 1
                self.history = (self.history << 2 | (index == w) | 2 * (index == n)) & 0xFFFF
                if x == y == 0:
                    self.background = index
                    around.rows = [[index] * (width + 6) for _ in range(4)]
            rows.append(around.end_row())
            self.rate.end_row()
            decoder.check()
            if self.decisions_left < 0:
                raise Invalid("more decisions than the pixels may take")
        return rows

    def decode_pixel(self, near: tuple[int, ...], x: int, y: int) -> int:
        """Ask for candidates until one it is."""
        self.near, self.region = near, 8 * (y >> 3) + (x >> 3)
        self.patterns = []
        pattern = 0
        for i, index in enumerate(near):
            first = near.index(index)
            pattern = 13 * pattern + (first + 1 if first < i else 0)
            if i in (3, 7, 11):
                self.patterns.append(pattern)
        left = list(range(self.k))
        stage = asked = 0
        for candidate in near[:6]:
            if candidate in left:
                if len(left) == 1:
                    return candidate
                asked += 1
                if self.decide(candidate, stage, asked):
                    return candidate
                left.remove(candidate)
                stage += 1
        for candidate in sorted(left, key=lambda c: (-self.score(c), c)):
            if len(left) == 1:
                break
            stage = clamp(stage, 6, 11)
            asked += 1
            if self.decide(candidate, stage, asked):
                return candidate
            left.remove(candidate)
            stage += 1
        return left[0]

    def score(self, c: int) -> int:
        """Return how likely a colour is to be asked for."""
        w, n = self.near[:2]
        seen = 64 * (self.beside[w][c] + self.below[n][c]) + 2 * min(self.used[c], 30)
        return seen - 4 * (self.apart[w][c] + self.apart[n][c]) - 20 * (self.used[c] == 0)

    def decide(self, c: int, stage: int, asked: int) -> int:
        """Decode "is it c?"."""
        self.decisions_left -= 1
        w, n, _, ne = self.near[:4]
        mask = sum((index == c) << i for i, index in enumerate(self.near))
        use = how_many((1, 3, 10, 100), self.used[c])
        left = min(7, self.used.count(0))
        apart = self.apart
        distance = 512 * apart[w][c] + 64 * apart[n][c] + 8 * apart[w][n] + apart[ne][c]
        places = self.hash(c, mask, distance, use, left, stage, asked)
        states = [place >> (63 - self.bits) for place in places[9:]]
        places = [place >> (64 - self.bits) for place in places]
        for j, state in enumerate(states):
            seen = self.histories[state]
            places.append(self.history_counters + 256 * j + seen if seen else self.dead)
        values = [self.counters[place] for place in places]
        logits = [STRETCH[value >> 20] for value in values]
        rows = 64 * stage + 8 * use + left, 768 + (mask & 1023), 768 + 1024 + (distance >> 3)
        logit, mixed = self.mixer.mix(logits, *rows)
        refined = self.refinement.refine(12 * (mask & 255) + stage, logit)
        bit = self.decoder.decide(clamp((mixed + refined) >> 1, 2, 65534))
        self.mixer.learn(bit, self.rate.value >> 8)
        for place, value in zip(places, values, strict=True):
            if place != self.dead:
                self.counters[place] = train(value, bit, 16)
        self.refinement.learn(bit)
        for state in states:
            self.histories[state] = NEXT[self.histories[state]][bit]
        return bit

    def hash(
        self, c: int, mask: int, distance: int, use: int, left: int, stage: int, asked: int
    ) -> list[int]:
        """Return the sixteen hashes, stirred."""
        w, n, nw = self.near[:3]
        kw, kn, knw, kne, kww, knn, knne, knww, knee = (self.keys[index] for index in self.near[:9])
        kc = self.keys[c] * K4 & U64
        m = mask & 15
        kind = stage | use << 4
        backs = 2 * (c == self.background) + (w == self.background)
        luma = self.luma
        pattern4, pattern8, pattern12 = self.patterns
        beside = 8 * quantize(self.beside[w][c]) + quantize(self.below[n][c])
        t2 = (kw * K2 ^ kn * K3) & U64
        t4 = fold((t2 ^ knw * K4 ^ kne * K1) * K2, 31)
        t6 = fold((t4 ^ kww * K3 ^ knn * K4) * K1, 30)
        t9 = fold((t6 ^ knne * K2 ^ knww * K4 ^ knee * K3) * K1, 29)
        values = (
            pattern4 * 65536 + 16 * mask + stage + (1 << 60),
            pattern8 * K1 ^ (mask & 255) * K2 ^ kind,
            pattern12 * K2 ^ mask * K1 ^ kind,
            (4096 * mask + 4 * kind + backs) * K3,
            distance * K4 ^ kind * K1,
            (64 * self.region + 4 * m + backs) * K1 ^ stage * K3,
            (16 * (self.history & 4095) + m) * K2 ^ stage * K4,
            ((beside * 8 + use) * 8 + left) * K3 ^ stage * K2 ^ min(15, asked) * K1,
            (256 * (luma[c] >> 4) + 16 * (luma[w] >> 4) + (luma[n] >> 4)) * K4 ^ kind * K2,
            (((luma[c] - luma[w] - luma[n] + luma[nw]) >> 3) + 128) * K2
            ^ (((luma[c] - ((luma[w] + luma[n]) >> 1)) >> 3) + 128) * K3
            ^ m * K4
            ^ stage * K1,
            kw * K2 ^ kc,
            t2 ^ kc * K1,
            t4 ^ kc,
            t6 ^ kc,
            t9 ^ kc,
            kn * K4 ^ kne * K2 ^ kc * K2,
        )
        return [fold((value + i * K3) * K2, 32) * K1 & U64 for i, value in enumerate(values)]


def how_apart(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    return how_many((1, 24, 48, 96, 160, 260, 400), sum(abs(a - b) for a, b in zip(one, two, strict=True)))


def quantize(n: int) -> int:
    return n if n < 4 else 4 + (n >= 8) + (n >= 20)


def fold(value: int, shift: int) -> int:
    value &= U64
    return value ^ value >> shift


# ---- The entries ----------------------------------------------------------------------------------


def decode_stream(data: bytes, dictionaries: Mapping[bytes, bytes] = MappingProxyType({})) -> list[Image]:
    """Decode all images of a stream.

    Parameters
    ----------
    data
        The whole stream.
    dictionaries
        DICTIONARY payloads that are not in the stream, by their ids (32 bytes).

    Raises
    ------
    Invalid, TooLarge, Missing
        The first thing that is wrong.
    """
    decoder = Decoder(dict(dictionaries))
    decoder.decode(data)
    return decoder.images


def stored_dictionaries(data: bytes) -> dict[bytes, bytes]:
    """Return the DICTIONARY payloads of a stream, by id, such as a dictionary file."""
    decoder = Decoder({})
    decoder.decode(data)
    return decoder.dictionaries


def build_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    lines = b"".join(b"\0" + pixels[y].tobytes() for y in range(height))
    return (
        bytes.fromhex("89504E470D0A1A0A")
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode a Triptych stream, slowly.")
    parser.add_argument("stream", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    parser.add_argument(
        "-d", "--dictionary", type=Path, action="append", default=[], help="a dictionary file"
    )
    parser.add_argument("--png", action="store_true", help="write PNG files, not .npy")
    arguments = parser.parse_args()
    dictionaries: dict[bytes, bytes] = {}
    for path in arguments.dictionary:
        dictionaries |= stored_dictionaries(path.read_bytes())
    images = decode_stream(arguments.stream.read_bytes(), dictionaries)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        path = arguments.output / f"{number:05d}"
        if arguments.png:
            path.with_suffix(".png").write_bytes(build_png(image.pixels))
        else:
            np.save(path.with_suffix(".npy"), image.pixels)
        print(path.name, image.pixels.shape, image.key, image.label)
    return 0


if __name__ == "__main__":
    sys.exit(main())
