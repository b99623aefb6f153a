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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
INDEX_END = b"TYCINDEX"
ENCODER = 0x05
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
    """One decoded image: pixels (H, W) or (H, W, 2..4) uint8, and what travels with it.

    Of modes 3 and 4 there are no pixels, which only floats can give, but latents (channels, rows, columns).
    `indexed` are the indices and the palette of one that says what they were (3.3).
    """

    pixels: npt.NDArray[np.uint8] | None
    key: str | None = None
    label: int | None = None
    attachments: dict[int, bytes] = field(default_factory=dict)
    latents: npt.NDArray[np.int32] | None = None
    indexed: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None = None


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
        value = json.loads(data.decode(), parse_constant=refuse_constant, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise Invalid("not JSON") from error
    if not isinstance(value, dict):
        raise Invalid("not a JSON object")
    return value


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def finite(text: str) -> float:
    if abs(number := float(text)) == float("inf"):
        raise ValueError(f"{text} is no float64")
    return number


# ---- The stream (1, 2, 4) -------------------------------------------------------------------------


@dataclass
class Decoder:
    """What is known at a point of the stream. `bound` is the slots of the part."""

    dictionaries: dict[bytes, bytes]
    images: list[Image] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    bound: dict[int, bytes] = field(default_factory=dict)
    decoded: int = 0
    part: int = 0
    frames: list[tuple[int, int, int]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

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
                self.part, self.frames, self.others, self.keys = at, [], [], []
                at += 16
            else:
                kind, slot, length, crc = read_frame_header(data, at)
                payload = take_whole(data, at + 16, length)
                if crc32c(payload) != crc:
                    raise Invalid("a payload's CRC does not match")
                if kind == INDEX and payload != self.index_payload(at - self.part):
                    raise Invalid("an index that is not of the frames before it")
                if kind != INDEX and payload.endswith(INDEX_END):
                    raise Invalid("a payload that ends like an index")
                before = len(self.images)
                self.read_frame(kind, slot, payload)
                if kind == IMAGES:
                    keys = [image.key for image in self.images[before:]]
                    self.frames.append((at - self.part, len(keys), crc32c(data[at : at + 12])))
                    self.keys += keys
                else:
                    self.others.append(at - self.part)
                at += 16 + length

    def index_payload(self, offset: int) -> bytes:
        """Return what an INDEX frame at an offset of the part must hold (5)."""
        keyed = [(number, key) for number, key in enumerate(self.keys) if key is not None]
        payload = struct.pack("<III", len(self.frames), len(self.others), len(keyed))
        payload += b"".join(struct.pack("<QII", *one) for one in self.frames)
        payload += b"".join(struct.pack("<Q", one) for one in self.others)
        payload += b"".join(hashlib.sha256(key.encode()).digest()[:4] for _, key in keyed)
        if len(keyed) < len(self.keys):
            payload += b"".join(struct.pack("<I", number) for number, _ in keyed)
        return payload + struct.pack("<IQ", 16 + len(payload) + 20, offset) + INDEX_END

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
        elif kind in (META, INDEX, PADDING, PRIVATE, ENCODER):
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
        dictionary = None
        if slot == 255:
            dictionary = self.find(fields.take(16))
        elif slot:
            if slot not in self.bound:
                raise Invalid("an empty slot is used")
            dictionary = self.find(self.bound[slot])
        mode, shapes, keys, labels, attachments = read_image_fields(fields, len(payload))
        self.decoded += sum(height * width * channels for height, width, channels in shapes)
        if self.decoded > MAX_DECODED:
            raise TooLarge("decoded bytes in all")
        if mode in (3, 4):
            latents = decode_latents(fields.rest(), shapes, dictionary)
            for said in zip(keys, labels, attachments, latents, strict=True):
                self.images.append(Image(None, *said))
            return
        if mode == 10:
            pixels = decode_spectral(fields.rest(), shapes, dictionary, self.find)
        elif mode == 1:
            palette = None if dictionary is None else read_palette_dictionary(dictionary)
            pixels = decode_body(fields.rest(), shapes, palette)
        else:
            pixels = decode_pca(fields.rest(), shapes, dictionary)
        for image in zip(pixels, keys, labels, attachments, strict=True):
            self.images.append(Image(*image, indexed=read_indices(image[3].get(9, b""), image[0])))

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
) -> tuple[int, list[Shape], list[str | None], list[int | None], list[dict[int, bytes]]]:
    head = fields.u8()
    mode = head & 15
    if mode not in (1, 2, 3, 4, 10):
        raise Unsupported(f"mode {mode}")
    count = fields.varint()
    if count == 0 or (count == 1 and head & 16):
        raise Invalid("no images, or shapes that vary where there is one")
    if count > MAX_FRAME_IMAGES:
        raise TooLarge("images in a frame")
    shapes = (
        [read_shape(fields, mode) for _ in range(count)] if head & 16 else [read_shape(fields, mode)] * count
    )
    pixels = sum(map(count_pixels, shapes))
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
    return mode, shapes, keys, labels, attachments


def read_shape(fields: Fields, mode: int = 0) -> Shape:
    first, height = fields.varint(), fields.varint() + 1
    shape = height, (first >> 2) + 1, (first & 3) + 1
    if mode == 10:
        shape = height, first + 1, fields.varint() + 5
        if shape[2] > 512:
            raise Invalid("more than 512 bands")
    if count_pixels(shape) > MAX_IMAGE_PIXELS:
        raise TooLarge("pixels in an image")
    return shape


def count_pixels(shape: Shape) -> int:
    """Return the pixels of an image, as limits count them (3.1)."""
    height, width, channels = shape
    return height * width * -(-channels // 4)


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


# ---- Palette order (3.3) --------------------------------------------------------------------------


def read_indices(
    item: bytes, pixels: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """Return indices (H, W) and palette (n, 3 or 4) of decoded pixels, if their item of tag 9 says them."""
    try:
        return Order(item, pixels).read()
    except (Invalid, zlib.error):
        return None


class Order:
    """A palette order, and the colours of the image that it is of."""

    def __init__(self, item: bytes, pixels: npt.NDArray[np.uint8]) -> None:
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise Invalid("no colours")
        self.fields = Fields(item)
        self.height, self.width, self.channels = pixels.shape
        self.pixels = [tuple(map(int, color)) for color in pixels.reshape(-1, self.channels)]

    def read(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return indices and palette."""
        n, flags = self.fields.u8() + 1, self.fields.u8()
        if flags > 3:
            raise Invalid("flags of a palette order")
        palette: list[Any] = [None] * n
        ranked: dict[Any, int] = {}
        if flags & 2:
            colors = sorted(set(self.pixels))
            ranked = dict(zip(colors, self.read_ranks(len(colors), n), strict=True))
            for color, entry in ranked.items():
                palette[entry] = color
        rest = [entry for entry in range(n) if palette[entry] is None]
        values = list(self.inflate(len(rest) * self.channels))
        planes = [values[c * len(rest) : (c + 1) * len(rest)] for c in range(self.channels)]
        sums = [[value & 255 for value in accumulate(plane)] for plane in planes]
        for entry, color in zip(rest, zip(*sums, strict=True), strict=True):
            palette[entry] = color
        entries = {color: [i for i in range(n) if palette[i] == color] for color in set(self.pixels)}
        if not all(entries.values()):
            raise Invalid("a colour that the palette has not")
        if flags & 1:
            several = [color for color in self.pixels if len(entries[color]) > 1]
            said = iter(self.inflate(len(several)))
            indices = [
                entries[color][0] if len(entries[color]) == 1 else self.pick(entries[color], next(said))
                for color in self.pixels
            ]
        else:
            indices = [ranked.get(color, entries[color][0]) for color in self.pixels]
        if self.fields.at < len(self.fields.data):
            raise Invalid("bytes behind a palette order")
        return (
            np.array(indices, np.uint8).reshape(self.height, self.width),
            np.array(palette, np.uint8).reshape(n, self.channels),
        )

    def read_ranks(self, k: int, n: int) -> list[int]:
        """Return the entries of the image's colours."""
        if k > n:
            raise Invalid("more colours than entries")
        count = math.factorial(n) // math.factorial(n - k)
        number = int.from_bytes(self.fields.take(((count - 1).bit_length() + 7) // 8), "little")
        if number >= count:
            raise Invalid("a number of no order")
        places = []
        for j in range(k - 1, -1, -1):
            number, place = divmod(number, n - j)
            places.insert(0, place)
        left = list(range(n))
        return [left.pop(place) for place in places]

    @staticmethod
    def pick(entries: list[int], choice: int) -> int:
        """Return an entry of a colour."""
        if choice >= len(entries):
            raise Invalid("a choice of no entry")
        return entries[choice]

    def inflate(self, size: int) -> bytes:
        """Return the bytes of a deflate stream that begins here; none where there is nothing to tell."""
        if size == 0:
            return b""
        inflater = zlib.decompressobj(-15)
        data = inflater.decompress(self.fields.data[self.fields.at :], size + 1)
        if len(data) != size or not inflater.eof:
            raise Invalid("a deflate stream of another size")
        self.fields.at = len(self.fields.data) - len(inflater.unused_data)
        return data


# ---- The k-means body (6) -------------------------------------------------------------------------

DENSE, FAST, BATCH, RANKS = 0, 1, 2, 3


def decode_body(body: bytes, shapes: list[Shape], palette: Colors | None) -> list[npt.NDArray[np.uint8]]:
    fields = Fields(body)
    plan = fields.u8()
    coder, n_flags, pairs = plan & 3, plan >> 3 & 3, plan >> 5 & 3
    known_pairs = {DENSE: (0, 2), FAST: (0, 1, 2)}.get(coder, (0,))
    if plan >> 7 or pairs not in known_pairs or (coder in (BATCH, RANKS) and n_flags):
        raise Invalid("a plan that means nothing")
    if (coder in (BATCH, RANKS) or pairs == 2) and palette is not None:
        raise Invalid("a coder that goes with no dictionary")
    if plan & 4:
        fields.take(2 * len(shapes))
    if coder == RANKS:
        message = fields.take(fields.varint())
    decoder = RangeDecoder(fields.rest())
    palettes = PaletteModel()
    if coder == RANKS:
        books = [palettes.decode(decoder, height * width) for height, width, _ in shapes]
        decoder.finish()
        ranks = RankModel(message)
        maps = [ranks.decode_map(*pair) for pair in zip(books, shapes, strict=True)]
        ranks.decoder.finish()
        return [show(*trio) for trio in zip(maps, books, shapes, strict=True)]
    frame_pixels = sum(height * width for height, width, _ in shapes)
    model: BatchModel | TreeModel | None = None
    pixels = []
    for height, width, channels in shapes:
        colors = palette if palette is not None else palettes.decode(decoder, height * width)
        if coder == BATCH:
            model = model or BatchModel(frame_pixels)
        elif palette is None or model is None:
            size = height * width if palette is None else frame_pixels
            kind = FastModel if coder == FAST else DenseModel
            model = kind(colors, size, n_flags, pairs, model if pairs == 2 else None)
        rows = model.decode_map(decoder, colors, height, width)
        pixels.append(show(rows, colors, (height, width, channels)))
    decoder.finish()
    return pixels


def show(rows: list[list[int]], colors: Colors, shape: Shape) -> npt.NDArray[np.uint8]:
    table = np.array(colors, np.uint8)[:, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[shape[2]]]
    image = table[np.array(rows)]
    return image[:, :, 0] if shape[2] == 1 else image


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
    leaves: tuple[int, int, int]
    page: int = 0
    slot: int = 0


def build_tree(colors: Colors) -> tuple[list[Node], list[int]]:
    """Return the nodes, and the indices of the leaves from the 0 side to the 1 side."""
    nodes: list[Node] = []
    leaves: list[int] = []

    def split(members: list[int]) -> int:
        if len(members) == 1:
            leaves.append(members[0])
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
        inverse, first = 2**24 // max(512, math.isqrt(best) // n), len(leaves)
        node = Node(direction, 4 * (x[cut] + x[cut - 1]), inverse, [], (first, first + cut, first + n))
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
    return nodes, leaves


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


def stir(hashes: Sequence[int]) -> list[int]:
    stirred = [(h + i + 1) * K2 & U64 for i, h in enumerate(hashes)]
    return [s ^ s >> 29 for s in stirred]


def hash_surroundings(near: Sequence[int]) -> tuple[list[int], list[int], tuple[int, int]]:
    """Return the three hashes of the fast coder, the nine of the dense one, and two match slots."""
    w, n, nw, ne, ww, nn, nne, nww, nee, nnw, www, nnn = (index + 1 for index in near)
    two = (w * K1 & U64) ^ (n * K2 & U64)
    four = mix_hash((two ^ (nw * K3 & U64) ^ (ne * K4 & U64)) * K1)
    six = mix_hash((four ^ (ww * K1 & U64) ^ (nn * K3 & U64)) * K2)
    nine = mix_hash((six ^ (nne * K2 & U64) ^ (nww * K3 & U64) ^ (nee * K4 & U64)) * K1)
    twelve = mix_hash((nine ^ (nnw * K1 & U64) ^ (www * K3 & U64) ^ (nnn * K4 & U64)) * K2)
    dense = [
        w * K1,
        n * K2,
        six,
        nine,
        twelve,
        (w * K2) ^ (ww * K3),
        (n * K3) ^ (nn * K1),
        (n * K1) ^ (nw * K2) ^ (ne * K3),
        (w * K1) ^ (ne * K2) ^ (ww * K3),
    ]
    return stir([two, four, six]), stir(dense), ((nine * K2 & U64) >> 48, (six * K2 & U64) >> 48)


class TreeModel:
    """What the dense and the fast coder share. A subclass decides flags and nodes."""

    rate: Rate

    def __init__(self, colors: Colors, n_flags: int, pairs: int) -> None:
        self.colors, self.n_flags = colors, n_flags
        self.nodes, self.leaves = build_tree(colors)
        # With pairs = 2 what nodes have of their own belongs to their depths.
        self.inner = 16 if pairs == 2 else max(1, len(colors) - 1)
        self.node_rows = depths_of(self.nodes) if pairs == 2 else list(range(len(self.nodes)))
        self.channels = (0, 1, 2, 3) if any(color[3] < 255 for color in colors) else (0, 1, 2)
        run = 1000000 << 12 | 2560
        self.run_counters = [run] * (114688 + 128 * 16)
        self.run_weights = [36000] * 64
        self.matches = [[0] * 65536, [0] * 65536]

    def decode_map(self, decoder: RangeDecoder, colors: Colors, height: int, width: int) -> list[list[int]]:
        """Decode an index map, row by row."""
        self.decoder = decoder
        self.begin_map(width)
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
                self.x = x
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
            self.end_row()
            decoder.check()
        return rows

    def begin_map(self, width: int) -> None:
        """Begin an image."""

    def end_row(self) -> None:
        """End a row of pixels."""
        self.rate.end_row()

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
        self.few_hashes, self.hashes, slots = hash_surroundings(near)
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


class Regression:
    """The weights of twelve neighbours for the blocks of an image, by local least squares."""

    def __init__(self, width: int) -> None:
        self.above = np.zeros(((width - 1) // 16 + 3, 13, 13), np.int64)
        self.begin_row()

    def begin_row(self) -> None:
        """Forget the row."""
        self.block = -1
        self.fresh, self.left = np.zeros((2, 13, 13), np.int64)

    def move_to(self, block: int) -> None:
        """Add the sums of the blocks before `block` to those kept."""
        for j in range(max(0, self.block), block):
            fresh = self.fresh >> 3
            self.left += fresh - (self.left >> 2)
            self.above[j + 1] += fresh - (self.above[j + 1] >> 3)
            self.fresh = np.zeros((13, 13), np.int64)
        self.block = block

    def solve(self) -> None:
        """Set the taps of this block."""
        before, here, behind = self.above[self.block : self.block + 3]
        sums = here + ((3 * (before + behind)) >> 2) + self.left
        m = [[int(value) for value in row] for row in sums]
        for i, pull in enumerate((1024, 1024, -410, 410)):
            m[12][i] += pull
        for i in range(12):
            m[i][i] += 2048
        factors = [[0] * 13 for _ in range(12)]
        for i in range(12):
            for r in range(i + 1, 13):
                factor = factors[i][r] = (m[r][i] << 30) // m[i][i]
                for j in range(i + 1, min(r, 11) + 1):
                    m[r][j] -= (factor * m[j][i]) >> 30
        self.taps = [0] * 12
        for i in reversed(range(12)):
            total = sum(factors[i][j] * self.taps[j] for j in range(i + 1, 12))
            self.taps[i] = clamp((factors[i][12] >> 14) - (total >> 30), -(2**19), 2**19)

    def learn(self, offsets: list[int]) -> None:
        """Add the products of thirteen offsets."""
        self.fresh += np.outer(offsets, offsets)


def halving(exponent: int) -> int:
    """Return about 2^(22 - exponent / 256)."""
    exponent = min(exponent, 31 * 256 + 255)
    part = exponent & 255
    return (65536 - 172 * part + (44 * part * part >> 8)) << 6 >> (exponent >> 8)


def luma_and_differences(r: int, g: int, b: int) -> tuple[int, int, int]:
    return (r + 2 * g + b) >> 2, r - g, b - g


class DenseModel(TreeModel):
    """The dense coder."""

    def __init__(
        self, colors: Colors, pixels: int, n_flags: int, pairs: int, before: "DenseModel | None" = None
    ) -> None:
        super().__init__(colors, n_flags, pairs)
        inner = self.inner
        self.bits = clamp((pixels * 13 * (1 if len(colors) <= 16 else 2) // 4).bit_length(), 12, 20)
        self.lines = bytearray(16 << self.bits)
        self.tree_histories, self.flag_histories = 0, 9 * 256
        self.flag_counters = 18 * 256
        self.color_counters = self.flag_counters + 5 * 4096
        self.dead = self.color_counters + 5 * inner * 1024
        self.counters = HISTORY_COUNTERS * 18 + [HALF] * (self.dead + 1 - self.flag_counters)
        weight = 65536 * 42 // 230
        self.mixers = (
            Mixer(16, (inner + 192, weight), (257, 0), (1024, 0), (1025, 0)),
            Mixer(16, (8 * inner + 192, weight), (1025, 0), (65, 0), (2, 0)),
        )
        self.first_refinement, self.third_refinement = Refinement(inner + 192), Refinement(1024)
        self.rate = Rate(100, 22)
        self.means = [[240 << 8] * 3 for _ in range(72)]
        if before is not None:
            self.counters, self.mixers = before.counters, before.mixers
            self.rate, self.means = before.rate, before.means
            self.first_refinement, self.third_refinement = before.first_refinement, before.third_refinement
            self.run_counters, self.run_weights = before.run_counters, before.run_weights

    def begin_map(self, width: int) -> None:
        """Begin an image."""
        self.regression = Regression(width)
        self.errors = [0] * (width + 2)
        self.last_block = (width - 1) // 16

    def end_row(self) -> None:
        """End a row of pixels."""
        super().end_row()
        self.regression.move_to(self.last_block + 1)
        self.regression.begin_row()

    def predict(self) -> None:
        """Set the predictions, the local one in the place of the second mean, and the odds."""
        super().predict()
        if self.regression.block != self.x // 16:
            self.regression.move_to(self.x // 16)
            self.regression.solve()
        self.offsets = {}
        for channel in self.channels:
            mean = self.predictions[1][channel]
            offsets = [8 * self.colors[index][channel] - mean for index in self.near]
            total = sum(tap * offset for tap, offset in zip(self.regression.taps, offsets, strict=True))
            self.predictions[6][channel] = clamp(mean + (total >> 16), -2048, 4096)
            self.offsets[channel] = offsets
        self.point = luma_and_differences(*self.predictions[6][:3])
        w, n, ne = self.errors[self.x : self.x + 3]
        around = 8 + 2 * (w + n) + ne
        bits = around.bit_length()
        self.kind = 4 * bits + (around >> (bits - 3) & 3)
        factors = [(44528 << 8) // max(1024, mean) for mean in self.means[self.kind]]
        self.sums = [0]
        for index in self.leaves:
            r, g, b, _ = (8 * value for value in self.colors[index])
            leaf = luma_and_differences(r, g, b)
            z = sum(
                ((a - p) * factor >> 12) ** 2 for a, p, factor in zip(leaf, self.point, factors, strict=True)
            )
            self.sums.append(self.sums[-1] + halving(z) + (halving(z >> 4) >> 7) + 1)

    def learn_pixel(self, index: int) -> None:
        """Learn the offsets and the errors."""
        color = self.colors[index]
        for channel, offsets in self.offsets.items():
            self.regression.learn([*offsets, 8 * color[channel] - self.predictions[1][channel]])
        r, g, b, _ = (8 * value for value in color)
        leaf = luma_and_differences(r, g, b)
        errors = [abs(a - p) for a, p in zip(leaf, self.point, strict=True)]
        self.errors[self.x + 1] = sum(errors)
        means = self.means[self.kind]
        for i, error in enumerate(errors):
            means[i] += ((error << 8) - means[i]) >> 5

    def find_lines(self, page: int) -> None:
        """Set `found` to where the nine lines of a page begin."""
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

    def decide(
        self,
        slot: int,
        histories: int,
        others: list[int],
        odds: int | None,
        rows: tuple[int, int, int, int],
        second_rows: tuple[int, int, int, int],
    ) -> int:
        """Decode a decision: nine histories at `slot`, tables from `histories` on; five counters; odds."""
        places = []
        for i, line in enumerate(self.found):
            state = self.lines[line + slot]
            places.append(histories + 256 * i + state if state else self.dead)
        places += others
        values = [self.counters[place] for place in places]
        logits = [STRETCH[value >> 20] for value in values]
        logits.append(0 if odds is None else STRETCH[odds])
        first, _, third, _ = rows
        starts = (0, self.inner + 192, self.inner + 449, self.inner + 1473)
        second_starts = (0, 8 * self.inner + 192, 8 * self.inner + 1217, 8 * self.inner + 1282)
        one, other = self.mixers
        d1, _ = one.mix(logits, *(a + b for a, b in zip(starts, rows, strict=True)))
        d2, _ = other.mix(logits, *(a + b for a, b in zip(second_starts, second_rows, strict=True)))
        logit = (d1 + d2) >> 1
        mixed = squash(logit)
        ra, rb = self.first_refinement.refine(first, logit), self.third_refinement.refine(third, logit)
        bit = self.decoder.decide(clamp((2 * mixed + ra + rb + 2) >> 2, 2, 65534))
        one.learn(bit, self.rate.value >> 8)
        other.learn(bit, self.rate.value >> 8)
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
        others = [self.flag_counters + context for context in contexts]
        flag = 64 * stage + 16 * self.level + same
        rows = self.inner + flag, 256, 256 + 256 * stage + self.equal, 1024
        second_rows = 8 * self.inner + flag, 1024, 64, 1
        return self.decide(slot, self.flag_histories, others, None, rows, second_rows)

    def decide_node(self, number: int, node: Node, z: list[int]) -> int:
        """Decode on which side of a node it goes on."""
        self.find_lines(node.page)
        b2, b3, b4, b6 = (class_b(z[j]) for j in (2, 3, 4, 6))
        contexts = (
            8 * class_a(z[6]) + self.texture,
            32 * b2 + b3,
            32 * b3 + b4,
            32 * b6 + clamp(((z[2] - z[6]) >> 4) + 16, 0, 31),
            8 * class_a(z[0]) + self.texture,
        )
        row = self.node_rows[number]
        others = [
            self.color_counters + (j * self.inner + row) * 1024 + context
            for j, context in enumerate(contexts)
        ]
        start, middle, end = (self.sums[leaf] for leaf in node.leaves)
        odds = ((end - middle) << 12) // (end - start)
        rows = row, 8 * b6 + self.texture, self.equal, 32 * b2 + b3
        second_rows = 8 * row + self.texture, 32 * b3 + b4, self.equal & 63, 0
        return self.decide(node.slot, self.tree_histories, others, odds, rows, second_rows)


# ---- Fast (6.7) -----------------------------------------------------------------------------------


class FastModel(TreeModel):
    """The fast coder."""

    def __init__(
        self, colors: Colors, pixels: int, n_flags: int, pairs: int, before: "FastModel | None" = None
    ) -> None:
        super().__init__(colors, n_flags, pairs)
        self.pairs = pairs
        inner = self.inner
        self.bits = clamp((2 * pixels).bit_length(), 12, 20)
        self.color_counters = 4 * 4096
        self.hashed = self.color_counters + 4 * inner * 1024
        self.counters = [HALF] * (self.hashed + (3 << self.bits))
        self.mixer = Mixer(8, (inner + 192, 20480), (1024, 0))
        self.pair_weights = [40000] * (16 * inner)
        self.rate = Rate(300, 60)
        if before is not None:
            self.counters[: self.hashed] = before.counters[: self.hashed]
            self.mixer, self.pair_weights, self.rate = before.mixer, before.pair_weights, before.rate
            self.run_counters, self.run_weights = before.run_counters, before.run_weights

    def decide(self, page: int, slot: int, others: list[int], first: int, second: int) -> int:
        """Decode a mixed decision of 3 hashed counters, 4 others and two rows of weights."""
        places = []
        for i in range(3):
            line = page_hash(self.few_hashes[i], page) >> (68 - self.bits)
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
        row = self.node_rows[number]
        others = [
            self.color_counters + (j * self.inner + row) * 1024 + context
            for j, context in enumerate(contexts)
        ]
        if self.pairs:
            at = 2 * (8 * row + self.texture)
            return decide_pair(self.decoder, self.counters, others[0], others[1], self.pair_weights, at, 1)
        return self.decide(node.page, node.slot, others, row, 8 * class_b(z[1]) + self.texture)


def depths_of(nodes: list[Node]) -> list[int]:
    """Return the depth of each node."""
    depths = [0] * len(nodes)
    for number, node in enumerate(nodes):
        for child in node.children:
            if child >= 0:
                depths[child] = depths[number] + 1
    return depths


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


# ---- Ranks (6.9) ----------------------------------------------------------------------------------


class RankModel:
    """The coder of ranks: its tables, and where the message is read."""

    def __init__(self, message: bytes) -> None:
        self.decoder = StateDecoder(message, 2)
        shares = [65536 // (2 * j + 3) for j in range(16)]
        starts = [256 * i + (2**20 - 4096) * sum(shares[:i]) // sum(shares) for i in range(16)]
        self.tables = [[*starts, 2**20] for _ in range(40 + 144)]
        self.counts = [0] * (40 + 144)

    def decode_map(self, colors: Colors, shape: Shape) -> list[list[int]]:
        """Decode an index map, row by row."""
        height, width, _ = shape
        groups = [list(range(first, min(first + 16, len(colors)))) for first in range(0, len(colors), 16)]
        around = Surroundings(width)
        above = [(0, 0)] * width
        rows = []
        for _ in range(height):
            around.begin_row()
            left = (0, 0)
            for x in range(width):
                near = [
                    colors[index] for index in (around.around(x)[:4] if rows else around.around(x)[:1] * 4)
                ]
                point = [foretell(*values) for values in zip(*near, strict=True)]
                texture = how_many(
                    (12, 30, 60, 100, 160, 240, 400),
                    sum(abs(a - e) + abs(b - e) + abs(b - f) for a, b, e, f in zip(*near, strict=True)),
                )
                apart = [max(abs(8 * v - p) for v, p in zip(c, point, strict=True)) for c in colors]
                rank, group = 0, groups[0]
                if len(groups) > 1:
                    rank = self.decode(0, 5 * texture + min(4, left[0] + above[x][0]))
                    group = nearest(groups, [min(apart[index] for index in group) for group in groups], rank)
                fine_table = 6 * (3 * texture + min(2, rank)) + min(5, (left[1] + above[x][1] + 1) >> 1)
                fine = self.decode(1, 40 + fine_table)
                around.rows[0][x + 3] = nearest(group, [apart[index] for index in group], fine)
                left = above[x] = rank, fine
            rows.append(around.end_row())
        return rows

    def decode(self, lane: int, table: int) -> int:
        """Decode a symbol, and let its table learn."""
        starts = self.tables[table]
        symbol = self.decoder.entry(lane, [(starts[i + 1] >> 4) - (starts[i] >> 4) for i in range(16)])
        rate = min(7, 3 + (self.counts[table] >> 3))
        for i in range(1, 16):
            starts[i] += (256 * i + (2**20 - 4096 if i > symbol else 0) - starts[i]) >> rate
        self.counts[table] += 1
        return symbol


def foretell(a: int, b: int, e: int, f: int) -> int:
    """Return the point's value in a channel."""
    return clamp(2 * a + 2 * b + f - e, 0, 1020) + 4 * max(min(a, b), min(max(a, b), a + b - e))


def nearest(things: list[Any], distances: list[int], rank: int) -> Any:
    """Return the thing of this rank; among equally near ones the first is first."""
    if rank >= len(things):
        raise Invalid("a rank that no colour has")
    return things[sorted(range(len(things)), key=lambda i: distances[i])[rank]]


# ---- The PCA bodies (7, 8) ------------------------------------------------------------------------


def decode_pca(body: bytes, shapes: list[Shape], dictionary: bytes | None) -> list[npt.NDArray[np.uint8]]:
    """Decode the body of a frame of mode 2."""
    if dictionary is None:
        raise Invalid("a PCA frame without a dictionary")
    kind, content = split_dictionary(dictionary)
    if kind not in (2, 3):
        raise Invalid("a dictionary that is not of PCA")
    return (decode_blocks if kind == 2 else decode_components)(skip_note(body), shapes, content)


def skip_note(body: bytes) -> bytes:
    """Return what follows the note of the PSNR (7)."""
    if len(body) < 2:
        raise Invalid("a PCA body that ends in its note")
    return body[2:]


# ---- Dictionaries of blocks (4.1) -----------------------------------------------------------------

Integers = npt.NDArray[np.int64]

MAX_INFLATED = 32 << 20
RATES = 2560, 1700, 1200, 900, 700, 560, 480, 400, 330, 280, 230, 190, 150, 120, 90, 64
ZERO_TABLES = 10240, 65536, 11520, 10240, 20480, 20480, 40960
MAGNITUDE_TABLES = 10240, 10240, 20480, 5120, 4096, 40960, 5120
TREE_TABLES = (32768,) * 7
TABLE_STARTS = list(accumulate((*ZERO_TABLES, *MAGNITUDE_TABLES, *TREE_TABLES), initial=0))
ZERO, MAGNITUDE, TREE = 0, 7, 14  # the first table of each seven
WEIGHT_ROWS = 577


@dataclass(frozen=True)
class Basis:
    """What a dictionary has for blocks of one kind.

    `first_class` and `first_component` are what "number" and "first" of 7.3 begin from.
    """

    side: int
    log_sigma: Integers  # (classes, kept)
    predictor: npt.NDArray[np.int16]  # (classes, side * side, template)
    transform: npt.NDArray[np.int16]  # (classes, kept, side * side)
    first_class: int
    first_component: int

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.log_sigma)

    @property
    def components(self) -> int:
        """The number of components of all classes, for the counters."""
        return self.classes * self.rounded

    @property
    def rounded(self) -> int:
        """The kept components of a class, rounded up to a multiple of 4."""
        return -(-int(self.log_sigma.shape[1]) // 4) * 4


@dataclass(frozen=True)
class BlockBook:
    """A dictionary of blocks."""

    bases: list[Basis]  # by kind: luma of 8, chroma of 8, luma of 16, chroma of 16
    color: Integers  # (planes, channels)
    mu: list[int]
    counters: list[int]
    weights: npt.NDArray[np.int32]  # (rows, 8)
    filter_steps: list[int]
    filters: Integers  # (sets, 2, 360, 24)


def parse_blocks(content: bytes) -> BlockBook:
    """Return what the content of a dictionary of kind 2 holds."""
    fields = Fields(inflate(content))
    sizes = fields.take(8)
    bases: list[Basis] = []
    first_class = first_component = 0
    for number, (side, most) in enumerate(((8, 64), (16, 62), (8, 64), (16, 62))):
        classes, kept = sizes[2 * number], sizes[2 * number + 1]
        if not (1 <= classes <= most and 1 <= kept <= side * side):
            raise Invalid("a number of classes or components that cannot be")
        basis = read_basis(fields, side, number >= 2, (classes, kept), (first_class, first_component))
        bases.append(basis)
        planes = 1 if number < 2 else 2
        first_class += planes * basis.classes
        first_component += planes * basis.components
    if first_class > 128 or first_component > 16384:
        raise Invalid("more classes or components than there are counters")
    color = np.frombuffer(fields.take(18), "<i2").astype(np.int64).reshape(3, 3)
    if np.abs(color).max() > 2**14 or color[0].sum() < 2**13:
        raise Invalid("a colour matrix that cannot be")
    mu = np.frombuffer(fields.take(80), "<u2").tolist()
    packed = read_split(fields, (TABLE_STARTS[-1],), "<u2").tolist()
    counters = [(256 * (value >> 4) + 128) << 12 | RATES[value & 15] for value in packed]
    weights = np.frombuffer(fields.take(4 * 8 * WEIGHT_ROWS), "<i4").astype(np.int32).reshape(-1, 8)
    if np.abs(weights.astype(np.int64)).max() >= 2**24:
        raise Invalid("a weight beyond 2^24")
    sets = fields.u8()
    steps = list(fields.take(sets))
    if any(a >= b for a, b in pairwise(steps)) or any(step > 160 for step in steps):
        raise Invalid("steps of filters that do not ascend, or are beyond 160")
    filters = read_split(fields, (sets, 2, 360, 24)).astype(np.int64)
    if (np.abs(filters).sum(axis=3) > 32767).any():
        raise Invalid("a filter that is too strong")
    if fields.rest():
        raise Invalid("bytes behind a dictionary's filters")
    kinds = [bases[0], bases[2], bases[1], bases[3]]
    return BlockBook(kinds, color, mu, counters, weights, steps, filters)


def inflate(content: bytes) -> bytes:
    """Return what the one zlib stream holds."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(content, MAX_INFLATED + 1)
    except zlib.error as error:
        raise Invalid("not a zlib stream") from error
    if len(data) > MAX_INFLATED or not stream.eof or stream.unused_data:
        raise Invalid("a zlib stream that is too long, cut, or not the last thing")
    return data


def read_split(fields: Fields, shape: tuple[int, ...], kind: str = "<i2") -> npt.NDArray[np.int16]:
    """Read 16-bit numbers: their low bytes, then their high bytes."""
    halves = np.frombuffer(fields.take(2 * int(np.prod(shape))), np.uint8).reshape(2, -1)
    return np.ascontiguousarray(halves.T).view(kind).reshape(shape)


def read_basis(
    fields: Fields, side: int, chroma: bool, sizes: tuple[int, int], firsts: tuple[int, int]
) -> Basis:
    """Read one of the four; `sizes` is classes and kept components."""
    classes, kept = sizes
    template = 6 * side + 4 + side * side * chroma
    log_sigma = np.frombuffer(fields.take(classes * kept), np.uint8).astype(np.int64).reshape(classes, kept)
    predictor = read_split(fields, (classes, side * side, template))
    transform = read_split(fields, (classes, kept, side * side))
    if (np.diff(log_sigma) > 0).any():
        raise Invalid("deviations that rise along a class")
    if (np.abs(predictor.astype(np.int64)).sum(axis=2) > 2**18).any():
        raise Invalid("a row of a predictor that is too strong")
    if np.abs(transform.astype(np.int64)).max() > 2**14:
        raise Invalid("a transform beyond 2^14")
    return Basis(side, log_sigma, predictor, transform, *firsts)


# ---- Steps and levels (7.1) -----------------------------------------------------------------------


def make_steps() -> list[int]:
    """Return STEP."""
    steps, step = [], 64
    for s in range(161):
        while (step + 1) ** 16 <= 2 ** (96 + s):
            step += 1
        steps.append(step)
    return steps


STEPS = make_steps()


def log(x: int) -> int:
    """Return 16 log2 x, rounded down (and for great x a little more)."""
    beyond = 0
    while x >= 4096:
        x, beyond = x >> 4, beyond + 64
    return (x**16).bit_length() - 1 + beyond


def find_bin(a: int, b: int, scale: int, bins: int) -> int:
    """Return BIN(a, b, c, n)."""
    return clamp(((log(a) - log(b)) * scale + 16 * bins) >> 5, 0, bins - 1)


# ---- Blocks (7.2) ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """What is remembered of a block: the number of its class, its u and its magnitudes."""

    side: int = 0
    number: int = 0
    u: int = 0
    magnitudes: list[int] = field(default_factory=list)

    def coded(self, side: int, j: int) -> int:
        """Return magnitude j, up to 2, or 0 if the block has another side or no such component."""
        return min(2, self.magnitudes[j]) if self.side == side and j < len(self.magnitudes) else 0


NO_BLOCK = Block()


class Plane:
    """A plane, its blocks by cells of 8 x 8, and its squares of 16: 1 + split."""

    def __init__(self, height: int, width: int, step: int) -> None:
        self.rec = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16), np.int64)
        self.step = step
        self.cells: dict[tuple[int, int], Block] = {}
        self.squares: dict[tuple[int, int], int] = {}

    def cell(self, row: int, column: int) -> Block:
        """Return the block of a cell; one without number for a cell not coded yet, or outside."""
        return self.cells.get((row, column), NO_BLOCK)

    def remember(self, block: Block, y: int, x: int) -> None:
        """Keep a block under its cells."""
        for row in range(y // 8, (y + block.side) // 8):
            for column in range(x // 8, (x + block.side) // 8):
                self.cells[row, column] = block

    def template(self, y: int, x: int, side: int) -> tuple[Integers, int]:
        """Return the template of a block without luma, and the mean that was subtracted."""
        rec = self.rec
        last = rec.shape[1] - 1
        if side == 8 and y % 16 and x % 16:
            last = x + 7
        if y > 0:
            columns = np.clip(np.arange(x - 2, x + 2 * side), 0, last)
            above = np.concatenate([rec[y - 1, columns], rec[y - 2, columns]])
        else:
            above = np.full(4 * side + 4, rec[y, x - 1] if x > 0 else 0)
        if x > 0:
            left = np.concatenate([rec[y : y + side, x - 1], rec[y : y + side, x - 2]])
        else:
            left = np.full(2 * side, rec[y - 1, x] if y > 0 else 0)
        total = int(above[2 : 2 + side].sum() + left[:side].sum())
        mean = (total + side) >> (4 if side == 8 else 5)
        return np.concatenate([above, left]) - mean, mean

    def as_luma(self, y: int, x: int, side: int) -> Integers:
        """Return the samples of a block as chroma's templates have them."""
        rec = self.rec
        near: list[int] = []
        if y > 0:
            near += rec[y - 1, x : x + side].tolist()
        if x > 0:
            near += rec[y : y + side, x - 1].tolist()
        mean = (sum(near) + (len(near) >> 1)) // len(near) if near else 0
        return rec[y : y + side, x : x + side].ravel() - mean


# ---- The model of blocks (7.3) --------------------------------------------------------------------


class BlockModel:
    """The adaptive model of a frame, and the way from its decisions to planes."""

    def __init__(self, decoder: RangeDecoder, book: BlockBook, strength: int) -> None:
        self.decoder, self.book, self.strength = decoder, book, strength
        self.counters = list(book.counters)
        self.mixer = Mixer(8, (WEIGHT_ROWS, 0))
        self.mixer.weights[:] = book.weights

    def decide(self, tables: int, contexts: tuple[int, ...], *rows: int) -> int:
        """Decode a mixed decision; input i is counter contexts[i] of table `tables` + i."""
        places = [TABLE_STARTS[tables + i] + context for i, context in enumerate(contexts)]
        values = [self.counters[place] for place in places]
        _, mixed = self.mixer.mix([STRETCH[value >> 20] for value in values], *rows)
        bit = self.decoder.decide(clamp(mixed, 24, 65512))
        self.mixer.learn(bit, 48)
        for place, value in zip(places, values, strict=True):
            self.counters[place] = train(value, bit, 16)
        return bit

    def decide_node(self, kind: int, node: int, contexts: tuple[int, ...]) -> int:
        """Decode a bit of a tree."""
        places = tuple((64 * kind + node) * 128 + context for context in contexts)
        return self.decide(TREE, places, 192 + 64 * kind + node, 576)

    def raw_bit(self) -> int:
        """Decode a bit that has no model."""
        return self.decoder.decide(32768)

    def decode_plane(self, plane: Plane, luma: Plane | None, second: int) -> None:
        """Decode a plane; `luma` is None if this is it, `second` is 1 for the second of chroma."""
        height, width = plane.rec.shape
        for y in range(0, height, 16):
            for x in range(0, width, 16):
                split = self.decode_split(plane, luma, y, x)
                plane.squares[y // 16, x // 16] = 1 + split
                if split:
                    for dy, dx in ((0, 0), (0, 8), (8, 0), (8, 8)):
                        self.decode_block(plane, luma, second, y + dy, x + dx, 8)
                else:
                    self.decode_block(plane, luma, second, y, x, 16)

    def decode_split(self, plane: Plane, luma: Plane | None, y: int, x: int) -> int:
        """Decode whether a square is split."""
        row, column = y // 16, x // 16
        squares = ((row, column - 1), (row - 1, column), (row - 1, column - 1), (row - 1, column + 1))
        left, above, corner, far = (plane.squares.get(square, 0) for square in squares)
        row, column = y // 8, x // 8
        b, o = plane.cell(row, column - 1).number, plane.cell(row - 1, column).number
        sides = 3 * left + above
        if luma is None:
            last = left + above + corner + far, 0
        else:
            last = luma.cell(row, column).number, luma.cell(row + 1, column + 1).number
        contexts = sides, b, o, (sides * 3 + corner) * 3 + far, (7 * b + 29 * o + 1) & 127, *last
        return self.decide_node(0 if luma is None else 1, 0, contexts)

    def decode_block(self, plane: Plane, luma: Plane | None, second: int, y: int, x: int, side: int) -> None:
        """Decode a block and reconstruct it."""
        kind = 2 * (side == 16) + (luma is not None)
        basis = self.book.bases[kind]
        template, mean = plane.template(y, x, side)
        energy = int((template * template).sum()) // len(template)
        k = self.decode_class(plane, luma, kind, y, x, template, energy)
        step = plane.step
        if luma is None:
            rough = log((energy >> 5) + 175)
            step += 4 * clamp(((rough - 153) * self.strength + 32) >> 6, -5, 5)
            step = clamp(step, 0, 160)
        else:
            template = np.concatenate([template, luma.as_luma(y, x, side)])
        levels = []
        for log_sigma in basis.log_sigma[k].tolist():
            level = (log_sigma - step + 22) >> 2
            if level < 0:
                break
            levels.append(min(39, level))
        coefficients = self.decode_coefficients(plane, luma, second, kind, k, y, x, levels)
        predicted = ((basis.predictor[k].astype(np.int64) @ template + 2048) >> 12) + mean
        transform = basis.transform[k, : len(levels)].astype(np.int64)
        added = (np.array(coefficients, np.int64) @ transform * STEPS[step] + 65536) >> 17
        samples = np.clip(np.clip(predicted, -4095, 4095) + added, -2047, 2047)
        plane.rec[y : y + side, x : x + side] = samples.reshape(side, side)
        magnitudes = [abs(q) for q in coefficients]
        number, u = (1 + k, 4 * sum(magnitudes)) if side == 8 else (65 + k, sum(magnitudes))
        plane.remember(Block(side, number, u, magnitudes), y, x)
        self.decoder.check()

    def decode_class(
        self, plane: Plane, luma: Plane | None, kind: int, y: int, x: int, template: Integers, energy: int
    ) -> int:
        """Decode a block's class."""
        basis = self.book.bases[kind]
        side, s = basis.side, plane.step
        row, column = y // 8, x // 8
        near = (row, column - 1), (row - 1, column), (row - 1, column - 1), (row - 1, column + side // 8)
        left, above, corner, far = (plane.cell(*cell).number for cell in near)
        across = int(np.abs(np.diff(template[2 : 2 * side + 1])).sum())
        down = int(np.abs(np.diff(template[4 * side + 4 : 5 * side + 4])).sum())
        g = clamp((((log(energy + 4) - 96) >> 1) - s + 80) >> 2, 0, 31)
        g_x = clamp((log(across + 8) - (109 if side == 8 else 127) - s + 80) >> 4, 0, 7)
        g_y = clamp((log(down + 8) - (93 if side == 8 else 111) - s + 80) >> 4, 0, 7)
        last = (11 * corner + 37 * far) & 127 if luma is None else luma.cell(row, column).number
        contexts = 0, left, above, g, 8 * g_x + g_y, (7 * left + 29 * above + 1) & 127, last
        node = 1
        bits = (basis.classes - 1).bit_length()
        for _ in range(bits):
            node = 2 * node + self.decide_node(kind, node, contexts)
        k = node - (1 << bits)
        if k >= basis.classes:
            raise Invalid("a class that is none")
        return k

    def decode_coefficients(
        self, plane: Plane, luma: Plane | None, second: int, kind: int, k: int, y: int, x: int,
        levels: list[int],
    ) -> list[int]:  # fmt: skip
        """Decode the numbers of a block's components, whose levels are given."""
        basis, mu = self.book.bases[kind], self.book.mu
        side = basis.side
        w, row, column = side // 8, y // 8, x // 8
        # What is near.
        expected = 2 * (sum(mu[level] for level in levels) >> 6)
        u_left = sum(plane.cell(row + i, column - 1).u for i in range(w))
        u_above = sum(plane.cell(row - 1, column + i).u for i in range(w))
        if x == 0:
            u_left = u_above if y > 0 else 4
        if y == 0:
            u_above = u_left
        seen = (u_left + u_above) * w + 2
        near, fine = find_bin(seen, expected + 2, 3, 8), find_bin(seen, expected + 2, 6, 16)
        lumabin = 4
        if luma is not None:
            u = sum(luma.cell(row + i, column + j).u for i in range(w) for j in range(w))
            lumabin = find_bin(u + 2, (3 * expected >> 1) + 2, 3, 8)
        left, above = plane.cell(row, column - 1), plane.cell(row - 1, column)
        number = basis.first_class + second * basis.classes + k
        first = basis.first_component + second * basis.components + k * basis.rounded
        # The numbers.
        sizes = means = one = two = run = some = total = 0
        coefficients: list[int] = []
        for j, level in enumerate(levels):
            b1 = find_bin(sizes + 77, means + 77, 6, 16) >> 1
            both = left.coded(side, j) + above.coded(side, j)
            zero_flag = (
                ((8 * level + b1) * 8 + near) * 4 + kind,
                4 * (first + j) + (b1 >> 1),
                ((3 * level + min(one, 2)) * 3 + min(two, 2)) * 32 + 4 * b1 + kind,
                ((5 * min(j, 63) + both) * 8 + near) * 4 + kind,
                ((8 * fine + lumabin) * 40 + level) * 4 + kind,
                ((8 * min(run, 15) + min(some, 7)) * 40 + level) * 4 + kind,
                (40 * number + level) * 8 + near,
            )
            q = 0
            if self.decide(ZERO, zero_flag, 4 * level + kind, 448 + 8 * b1 + near):
                for i in range(1, 18):
                    d = min(i, 7)
                    more = (
                        ((8 * level + d) * 8 + b1) * 4 + kind,
                        ((8 * level + d) * 8 + near) * 4 + kind,
                        ((4 * d + min(one, 3)) * 4 + min(two, 3)) * 160 + 4 * level + kind,
                        ((8 * min(j, 31) + d) * 5 + both) * 4 + kind,
                        ((8 * fine + lumabin) * 8 + d) * 4 + kind,
                        (40 * number + level) * 8 + d,
                        ((8 * level + d) * 4 + min(some, 3)) * 4 + kind,
                    )
                    if not self.decide(MAGNITUDE, more, 160 + 4 * d + kind, 512 + 8 * d + b1):
                        q = i
                        break
                else:
                    q = self.decode_great()
            total += q
            if total > 8191:
                raise Invalid("a block whose magnitudes are too great")
            coefficients.append(-q if q > 0 and self.raw_bit() else q)
            sizes, means = (218 * sizes >> 8) + 256 * q, (218 * means >> 8) + mu[level]
            two, one = one, q
            run = 0 if q > 0 else run + 1
            some += q > 0
        return coefficients

    def decode_great(self) -> int:
        """Decode a magnitude of 18 or more."""
        z = 0
        while z < 14 and self.raw_bit():
            z += 1
        f = 0
        for _ in range(z):
            f = 2 * f + self.raw_bit()
        return 17 + (1 << z) + f


# ---- The filter (7.4) -----------------------------------------------------------------------------


def filter_plane(plane: Plane, filters: Integers) -> Integers:
    """Return a filtered plane; the filters are (360, 24)."""
    rec = plane.rec
    height, width = rec.shape
    padded = np.pad(rec, 2, mode="edge")

    def moved(dy: int, dx: int) -> Integers:
        return padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]

    def roughness(dy: int, dx: int) -> Integers:
        """Return the sums of 4 x 4 samples."""
        bends = np.abs(2 * rec - moved(-dy, -dx) - moved(dy, dx))
        sums: Integers = bends.reshape(height // 4, 4, width // 4, 4).sum(axis=(1, 3))
        return sums

    across, down, falling, rising = roughness(0, 1), roughness(1, 0), roughness(1, 1), roughness(1, -1)
    logs = np.array([log(int(value)) for value in (across + down + 1).flat]).reshape(across.shape)
    activity = np.clip((logs - 48 - plane.step) >> 4, 0, 3)
    directions = across > 2 * down, down > 2 * across, falling > 2 * rising, rising > 2 * falling
    direction = np.select(directions, (1, 2, 3, 4), 0)
    sides = np.array([[plane.cell(y, x).side for x in range(width // 8)] for y in range(height // 8)])
    side = sides.repeat(8, axis=0).repeat(8, axis=1)
    row, column = np.arange(height)[:, None] % side, np.arange(width) % side
    a, b = (np.where(at == 0, 0, np.where(at == side - 1, 2, 1)) for at in (row, column))
    place = 9 * (side == 16) + 3 * a + b
    of_tiles = (activity, direction)
    activity, direction = (values.repeat(4, axis=0).repeat(4, axis=1) for values in of_tiles)
    taps = filters[(4 * place + activity) * 5 + direction]
    around = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
    total = sum(taps[:, :, i] * (moved(dy, dx) - rec) for i, (dy, dx) in enumerate(around))
    filtered: Integers = np.clip(rec + ((total + 2048) >> 12), -2047, 2047)
    return filtered


# ---- The PCA body: blocks (7, 7.5) ----------------------------------------------------------------


def decode_blocks(body: bytes, shapes: list[Shape], content: bytes) -> list[npt.NDArray[np.uint8]]:
    """Decode the body of a frame of mode 2 with the content of its dictionary, of kind 2."""
    book = parse_blocks(content)
    fields = Fields(body)
    plan, first = fields.u8(), fields.u8()
    strength, filtered, coarser = plan & 7, plan & 8, plan >> 4
    if strength > 4:
        raise Invalid("an adaptation that is too strong")
    steps = [first & 127] * len(shapes)
    if first & 128:
        steps[1:] = fields.take(len(shapes) - 1)
        if max(steps) > 127:
            raise Invalid("a step that is too great")
    with_alpha = [(height, width, 1) for height, width, channels in shapes if channels in (2, 4)]
    alpha = iter(decode_body(fields.take(fields.varint()), with_alpha, None) if with_alpha else [])
    decoder = RangeDecoder(fields.rest())
    model = BlockModel(decoder, book, strength)
    images = []
    for (height, width, channels), step in zip(shapes, steps, strict=True):
        luma = Plane(height, width, step)
        model.decode_plane(luma, None, 0)
        planes = [luma]
        if channels > 2:
            for second in (0, 1):
                planes.append(Plane(height, width, min(160, step + coarser)))
                model.decode_plane(planes[-1], luma, second)
        shown = [show_plane(plane, book, i > 0, bool(filtered)) for i, plane in enumerate(planes)]
        pixels = show_pixels(np.stack(shown)[:, :height, :width], book.color)
        if channels in (2, 4):
            pixels = np.dstack([pixels, next(alpha)])
        images.append(pixels[:, :, 0] if channels == 1 else pixels)
    decoder.finish()
    return images


def show_plane(plane: Plane, book: BlockBook, chroma: bool, filtered: bool) -> Integers:
    """Return a plane as it is shown: filtered if that is wanted and there are filters."""
    if not (filtered and book.filter_steps):
        return plane.rec
    nearest = min(range(len(book.filter_steps)), key=lambda i: (abs(book.filter_steps[i] - plane.step), i))
    return filter_plane(plane, book.filters[nearest, int(chroma)])


def show_pixels(planes: Integers, color: Integers) -> npt.NDArray[np.uint8]:
    """Return the grey or colours of planes (1 or 3, height, width)."""
    if len(planes) == 1:
        total = int(color[0].sum())
        matrix = np.array([[(2**28 + total // 2) // total]])
    else:
        matrix = color
    sums = np.tensordot(planes, matrix, axes=(0, 0))
    pixels: npt.NDArray[np.uint8] = np.clip(((sums + 65536) >> 17) + 128, 0, 255).astype(np.uint8)
    return pixels


# ---- Dictionaries of components (4.2) -------------------------------------------------------------

POWER = [
    65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752,
    92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515,
]  # fmt: skip
COARSE = (2, 5, 9, 14, 20, 27, 35, 44, 56, 72, 96, 128, 192, 256, 400)


def coarse(value: int) -> int:
    reached = how_many(COARSE, abs(value))
    return 16 + reached if value >= 0 else 15 - reached


def sign_of(value: int) -> int:
    return (value > 0) + 2 * (value < 0)


def octaves(value: int) -> int:
    top = value.bit_length() - 1
    return value if value < 2 else 2 * top + (value >> top - 1 & 1)


class Numbers:
    """Signed numbers as mixed decisions (8); a caller sets `contexts`, `level` and `kind`."""

    def __init__(self, n_contexts: int) -> None:
        self.counters = [HALF] * (64 * n_contexts)
        self.mixer = Mixer(8, (2048, 14000), (2048, 0))
        self.refinement = Refinement(2048)
        self.contexts: list[int] = []
        self.level = self.kind = 0

    def decide(self, decoder: RangeDecoder, node: int) -> int:
        """Decode the decision of a node."""
        at = [64 * context + node for context in self.contexts]
        seen = [self.counters[i] for i in at]
        row = 32 * node + self.level
        logit, mixed = self.mixer.mix([STRETCH[c >> 20] for c in seen], row, 2048 + 32 * node + self.kind)
        bit = decoder.decide(clamp((mixed + self.refinement.refine(row, logit) + 1) >> 1, 2, 65534))
        self.mixer.learn(bit, 256)
        for i, counter in zip(at, seen, strict=True):
            self.counters[i] = train(counter, bit, 16)
        self.refinement.learn(bit)
        return bit

    def magnitude(self, decoder: RangeDecoder) -> int:
        """Decode a magnitude of at least 1."""
        length = 1
        while length < 15 and self.decide(decoder, length):
            length += 1
        value = 1
        for place in range(length - 1):
            if place == 0:
                bit = self.decide(decoder, 16 + length)
            elif place == 1:
                bit = self.decide(decoder, 32 + 2 * length + (value & 1))
            else:
                bit = decoder.decide(32768)
            value = 2 * value + bit
        return value


@dataclass
class Components:
    """A dictionary of components; rows (K, H, V, C), mean (H, V, C)."""

    shape: tuple[int, int, int]
    mirrored: bool
    step: int
    shift: int
    levels: list[int]
    odd: list[int]
    mean: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


def read_components(content: bytes) -> Components:
    fields = Fields(content)
    height, width, channels = shape = read_shape(fields)
    flags, step, gain = fields.u8(), fields.u8(), fields.u8() | fields.u8() << 8
    shift, n_components = fields.u8(), fields.varint()
    if flags > 7 or gain > 1023 or not 4 <= shift <= 12:
        raise Invalid("a basis whose head means nothing")
    mirrored, precise = bool(flags & 1), flags >> 1
    stored = (height, (width + 1) // 2 if mirrored else width, channels)
    size = stored[0] * stored[1] * stored[2] * (n_components + 1)
    if n_components > min(4096, height * width * channels) or size > min(2**26, 2**20 + 1024 * len(content)):
        raise Invalid("a basis that is too large")
    coder = BasisCoder(RangeDecoder(fields.rest()), stored)
    entries = coder.image(31)
    if entries.min() < -(128 << precise) or entries.max() >= 128 << precise:
        raise Invalid("a mean that is no picture")
    mean = entries + (128 << precise) << shift - precise
    levels, odd, rows, level = [], [], np.zeros((n_components, *stored), np.int64), 255
    for j in range(n_components):
        level -= coder.fact(0)
        odd.append(coder.fact(1) if mirrored else 0)
        if level < 0 or odd[-1] > 1:
            raise Invalid("a component that cannot be")
        levels.append(level)
        entries, power = coder.image(min(31, level // 8)), POWER[gain - level & 15]
        n = 16 - (gain - level >> 4)
        rows[j] = entries * power + (1 << n - 1) >> n if n > 0 else entries * power << -n
    if np.abs(rows).max(initial=0) > 32767:
        raise Invalid("a basis beyond 16 bits")
    coder.decoder.finish()
    return Components(shape, mirrored, step, shift, levels, odd, mean, rows)


class BasisCoder:
    """Images of entries (8)."""

    def __init__(self, decoder: RangeDecoder, stored: tuple[int, int, int]) -> None:
        self.decoder, self.stored = decoder, stored
        self.numbers = Numbers(5138)
        self.taps = [[40960, 40960, -26214, 6554, 0, 0, 0, 0, 0, 0] for _ in range(stored[2])]
        self.past = np.zeros(stored, np.int64)

    def fact(self, which: int) -> int:
        """Decode a number that is said of a component."""
        numbers = self.numbers
        numbers.contexts, numbers.level, numbers.kind = [5124 + 7 * which + i for i in range(7)], 0, 0
        return numbers.magnitude(self.decoder) if numbers.decide(self.decoder, 0) else 0

    def image(self, level: int) -> npt.NDArray[np.int64]:
        """Decode an image's entries."""
        height, width, channels = self.stored
        entries, numbers = np.zeros(self.stored, np.int64), np.zeros(self.stored, np.int64)

        def at(plane: npt.NDArray[np.int64], y: int, x: int, c: int) -> int:
            return int(plane[y, x, c]) if y >= 0 and 0 <= x < width and c >= 0 else 0

        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    same = [(y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1), (y, x - 2), (y - 2, x)]
                    other = [(y, x), (y, x - 1), (y - 1, x), (y - 1, x + 1)]
                    near = [at(entries, *place, c) for place in same]
                    near += [at(entries, *place, c - 1) for place in other]
                    r = [at(numbers, *place, c) for place in same[:4]] + [at(numbers, y, x, c - 1)]
                    foretold = sum(a * b for a, b in zip(near, self.taps[c], strict=True)) >> 12
                    foretold = clamp(foretold, -262128, 262128)
                    rest = self.rest(foretold, r, int(self.past[y, x, c]), c, level)
                    entry = (foretold + 8 >> 4) + rest
                    if abs(entry) > 16383:
                        raise Invalid("an entry beyond the greatest")
                    entries[y, x, c], numbers[y, x, c] = entry, rest
                    self.past[y, x, c] += (16 * abs(rest) - int(self.past[y, x, c])) >> 2
                    gain = (16 * entry - foretold) * 2048 // (40 + sum(a * a for a in near))
                    self.taps[c] = [
                        clamp(tap + (gain * a >> 4), -(2**20), 2**20)
                        for tap, a in zip(self.taps[c], near, strict=True)
                    ]
        self.decoder.check()
        return entries

    def rest(self, foretold: int, r: list[int], past: int, c: int, level: int) -> int:
        """Decode what an entry has beyond its prediction."""
        numbers, decoder = self.numbers, self.decoder
        part = foretold - 16 * (foretold + 8 >> 4) + 8
        w, n, nw, ne, h = map(abs, r)
        busy, was = min(15, octaves(2 * (w + n) + nw + ne)), min(15, octaves(past))
        first = min(c, 1)
        numbers.level, numbers.kind = level, 2 * busy + first
        contexts = [
            first,
            4 + 16 * level + was,
            516 + (6 * min(w, 5) + min(n, 5)) * 2 + first,
            1028 + 16 * min(15, octaves(abs(foretold) >> 3)) + busy,
            1540 + (16 * min(15, octaves(2 * h)) + min(15, octaves(w + n))) * 2 + first,
            2052 + 16 * was + busy,
            2564 + (8 * part + (busy >> 1)) * 2 + first,
        ]
        numbers.contexts = contexts
        if not numbers.decide(decoder, 0):
            return 0
        numbers.contexts = [
            first,
            3076 + 9 * sign_of(r[0]) + 3 * sign_of(r[1]) + sign_of(r[4]),
            3108 + part,
            3140 + 16 * part + busy,
            3588 + coarse(foretold),
            3844 + 2 * coarse(4 * r[4]) + first,
            4100 + 32 * coarse(4 * r[0]) + coarse(4 * r[1]),
        ]
        negative = numbers.decide(decoder, 15)
        numbers.contexts = contexts
        value = numbers.magnitude(decoder)
        return -value if negative else value


# ---- Scores (8) ---------------------------------------------------------------------------------


def hash_context(j: int, value: int) -> int:
    g = j * K1 & U64 ^ (value * K2 + K1) & U64
    return ((g ^ g >> 29) * K2 & U64) >> 52


class ScoreCoder:
    """The scores of a frame's n images."""

    def __init__(self, decoder: RangeDecoder, n: int, foretell: bool) -> None:
        self.decoder, self.n, self.foretell = decoder, n, foretell
        self.numbers = Numbers(13825)
        self.fast, self.slow, self.cluster = [256] * n, [256] * n, [0] * n
        self.mean = 4096
        self.rows: list[list[int]] = []
        self.distances = np.zeros((n if foretell else 0, n), np.int64)
        self.lists: list[list[tuple[int, int]]] = [[] for _ in range(n)]

    def component(self, level: int) -> None:
        """Decode the next component's scores."""
        j, row, count = len(self.rows), [0] * self.n, 8
        if self.foretell and (1 <= j < 8 or (8 <= j < 64 and j % 4 == 0)):
            self.lists = [self.nearest(i) for i in range(self.n)]
        for i in range(self.n):
            row[i] = score = self.score(j, i, level, row)
            v = abs(score)
            u = min((v << 20) // self.mean, 16384)
            self.fast[i] += (u - self.fast[i]) >> 2
            self.slow[i] += (u - self.slow[i]) >> 4
            if j < 4:
                self.cluster[i] = 3 * self.cluster[i] + (sign_of(score) if v << 12 > self.mean else 0)
            self.mean = max(16, self.mean + ((v << 12) - self.mean) // count)
            count = min(count + 1, 200)
        self.decoder.check()
        self.rows.append(row)
        if self.foretell and j < 63:
            values = np.array(row, np.int64)
            self.distances += np.minimum(np.abs(values[:, None] - values), 2047) ** 2

    def nearest(self, i: int) -> list[tuple[int, int]]:
        """List the nearest images before image i, with their weights."""
        first = max(0, i - 2048)
        found = sorted((int(self.distances[i, k]), k) for k in range(first, i))[:8]
        cut = [min(distance, 2**20) + 4 for distance, _ in found]
        return [(65536 * cut[0] ** 2 // d**2, k) for d, (_, k) in zip(cut, found, strict=True)]

    def hint(self, i: int, row: list[int]) -> tuple[int, int]:
        """Foretell a score from similar images: (hint, spread)."""
        if not self.lists[i]:
            return 0, 0
        total = sum(w for w, _ in self.lists[i])
        hint = (sum(16 * w * row[k] for w, k in self.lists[i]) + (total >> 1)) // total
        return hint, min(7, sum(w * abs(16 * row[k] - hint) for w, k in self.lists[i]) // total // 4)

    def score(self, j: int, i: int, level: int, row: list[int]) -> int:
        """Decode the score of an image."""
        numbers, decoder = self.numbers, self.decoder
        q1, q2, q3 = (self.rows[j - k][i] if j >= k else 0 for k in (1, 2, 3))
        qp = row[i - 1] if i else 0
        busy, calm = (clamp(octaves(a[i]) - 6, 0, 15) for a in (self.fast, self.slow))
        hint, spread = self.hint(i, row) if self.foretell else (0, 0)
        cluster = self.cluster[i]
        m1, m2, mp = abs(q1), abs(q2), abs(qp)

        def contexts(t: int) -> list[int]:
            numbers.kind = t
            return [
                0,
                1 + 16 * level + busy,
                513 + 16 * level + 4 * min(m1, 3) + min(m2, 3),
                3073 + (8 * t + spread) * 8 + (level >> 2),
                5121 + hash_context(j, t >> 1 if self.foretell else cluster),
                9217 + hash_context(j, 1000 + 9 * min(m1, 2) + 3 * min(m2, 2) + min(mp, 2)),
                13313 + 16 * level + 4 * min(mp, 3) + min(m1 + m2, 3)
                if self.foretell
                else 1025 + (16 * calm + busy) * 8 + (level >> 2),
            ]

        numbers.level = level
        numbers.contexts = contexts(coarse(abs(hint)) if self.foretell else calm)
        if not numbers.decide(decoder, 0):
            return 0
        k = numbers.kind = coarse(-hint)
        numbers.contexts = [
            5121 + hash_context(j, 5000),
            5121 + hash_context(j, 6000 + cluster),
            9217 + hash_context(j, 7000 + 9 * sign_of(q1) + 3 * sign_of(q2) + sign_of(q3)),
            3073 + (8 * k + spread) * 8 + (level >> 2),
            9217 + hash_context(j, 8000 + sign_of(qp)),
            9217 + hash_context(j, 9000 + cluster // 9),
            5121 + hash_context(j, 10000 + (k >> 1)),
        ]
        negative = numbers.decide(decoder, 15)
        numbers.contexts = contexts(coarse(-hint if negative else hint) if self.foretell else calm)
        value = numbers.magnitude(decoder)
        return -value if negative else value


def decode_tables(fields: Fields, deviations: list[int], n: int) -> list[list[int]]:
    """Decode scores under tables, component by component (8.6)."""
    first, listed = fields.u8(), fields.u8()
    if first + listed > 32:
        raise Invalid("a table of no class")
    weights: list[list[int]] = [[] for _ in range(32)]
    for c in range(first, first + listed):
        weights[c] = list(fields.take(fields.u8()))
        if len(weights[c]) > 56:
            raise Invalid("a table of more tokens than there are")
    tables = []
    for row in (row or [255] * 56 for row in weights):
        shares = [POWER[w & 15] << (w >> 4) if w else 0 for w in row]
        table = [1 + share * (65535 - len(row)) // max(sum(shares), 1) for share in shares]
        tables.append([*table, 65536 - sum(table)])
    decoder = StateDecoder(fields.take(fields.varint()), 4)
    bits = iter([byte >> k & 1 for byte in fields.rest() for k in range(8)])
    activity, rows = [819] * n, []
    for x in deviations:
        row = []
        for i, a in enumerate(activity):
            t = a.bit_length() - 1
            token = decoder.number(0, tables[clamp((x + 16 * t + ((a << 4 >> t) & 15) - 80) >> 3, 0, 31)])
            if not 0 <= token < 56:
                raise Invalid("a token that is none")
            m = max((token >> 2) - 1, 0)
            raw = list(islice(bits, m + 1 if token else 0))
            if len(raw) < (m + 1 if token else 0):
                raise Invalid("raw bits that end before the last score")
            v = token
            if token >= 4:
                v = ((token & 3) + 4 << m) + sum(bit << k for k, bit in enumerate(raw[1:]))
            row.append(-v if raw and raw[0] else v)
            u = v * POWER[-x & 15] << 6 >> 12 - (-x >> 4)
            activity[i] = max(1, a + (min(u, 16384) - a >> 5))
        rows.append(row)
    decoder.finish()
    if any(bits):
        raise Invalid("bits behind the last score")
    return rows


def decode_components(
    body: bytes, shapes: list[tuple[int, int, int]], content: bytes
) -> list[npt.NDArray[np.uint8]]:
    """Decode the images of a frame of mode 2 whose dictionary is of kind 3."""
    basis = read_components(content)
    height, width, channels = basis.shape
    if any(shape != basis.shape for shape in shapes):
        raise Invalid("images of another shape than the dictionary's")
    fields, n = Fields(body), len(shapes)
    plan, step, coded = fields.u8(), fields.u8(), fields.varint()
    apart = step - basis.step
    if plan > 2 or (plan == 1 and n > 4096) or abs(apart) > 128 or coded > len(basis.levels):
        raise Invalid("a body whose head means nothing")
    if plan == 2:
        found = decode_tables(fields, [level - apart - 64 for level in basis.levels[:coded]], n)
    else:
        coder = ScoreCoder(RangeDecoder(fields.rest()), n, plan == 1)
        for level in basis.levels[:coded]:
            coder.component(clamp((level - apart) // 8, 0, 31))
        coder.decoder.finish()
        found = coder.rows
    scores = np.array(found, np.int64).reshape(coded, n)
    rows = basis.rows[:coded].reshape(coded, basis.mean.size)
    peaks = np.abs(rows).max(axis=1, initial=0)
    if np.count_nonzero(scores) > 65536 + 64 * len(body):
        raise Invalid("more scores than bytes for them")
    if (np.abs(scores) * peaks[:, None]).sum(axis=0).max() > 2**30:
        raise Invalid("scores that leave 32 bits")
    power = POWER[apart & 15]
    factor = power << (apart >> 4) if apart >= 0 else power >> -(apart >> 4)
    odd = np.array(basis.odd[:coded], bool)
    images = []
    for i in range(n):
        even_sum, odd_sum = ((scores[o, i] @ rows[o]).reshape(basis.mean.shape) for o in (~odd, odd))

        def show(total: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            value = basis.mean + (total * factor >> 16) + (1 << basis.shift - 1) >> basis.shift
            shown: npt.NDArray[np.int64] = np.clip(value, 0, 255)
            return shown

        left = show(even_sum + odd_sum)
        if basis.mirrored:
            left = np.concatenate([left, show(even_sum - odd_sum)[:, : width // 2][:, ::-1]], axis=1)
        image = left.astype(np.uint8).reshape(height, width, channels)
        images.append(image[:, :, 0] if channels == 1 else image)
    return images


# ---- Spectral dictionaries (4.3) and bodies (12) --------------------------------------------------


def read_spectral(content: bytes) -> tuple[bytes, Integers, Integers]:
    """Return the id of the base, the mean (bands) and the entries (components, bands)."""
    fields = Fields(content)
    bands, k = struct.unpack("<HH", fields.take(4))
    base = fields.take(32)
    if not 5 <= bands <= 512 or k > bands:
        raise Invalid("a spectral dictionary that cannot be")
    inflater, size = zlib.decompressobj(), 2 * bands * (1 + k)
    try:
        data = inflater.decompress(fields.rest(), size + 1)
    except zlib.error as error:
        raise Invalid("a spectral dictionary that does not inflate") from error
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise Invalid("a spectral dictionary of another size")
    inflated = Fields(data)
    mean = read_split(inflated, (bands,), "<u2").astype(np.int64)
    entries = np.cumsum(read_split(inflated, (k, bands)), axis=1, dtype=np.int16).astype(np.int64)
    if mean.max() > 65280 or np.abs(entries).max(initial=0) > 16384:
        raise Invalid("a spectral dictionary with numbers beyond their bounds")
    return base, mean, entries


def decode_spectral(
    body: bytes, shapes: list[Shape], dictionary: bytes | None, find: Callable[[bytes], bytes]
) -> list[npt.NDArray[np.uint8]]:
    """Decode the body of a frame of mode 10; `find` gives a dictionary by its id."""
    kind, content = split_dictionary(dictionary or b"")
    if kind != 4:
        raise Invalid("a dictionary that is not spectral")
    body = skip_note(body)
    base, mean, entries = read_spectral(content)
    base_kind, base_content = split_dictionary(find(base))
    if base_kind != 2:
        raise Invalid("a base that is not of blocks")
    if any(channels != len(mean) for _, _, channels in shapes):
        raise Invalid("images of another number of bands")
    fields, n = Fields(body), len(shapes)
    coded = fields.varint()
    if coded > len(entries):
        raise Invalid("more components than there are")
    ranges = [struct.unpack("<Bh", fields.take(3)) for _ in range(n * coded)]
    if any(scale > 159 for scale, _ in ranges):
        raise Invalid("a scale that is too great")
    planes: list[npt.NDArray[np.uint8]] = []
    if coded:
        grey = [(height, width, 1) for height, width, _ in shapes] * coded
        planes = decode_blocks(fields.rest(), grey, base_content)
    elif any(fields.rest()):
        raise Invalid("bytes where there are no planes")
    images = []
    for i, shape in enumerate(shapes):
        sums = np.zeros(shape, np.int64) + (1024 * mean + (1 << 17))
        for j in range(coded):
            scale, low = ranges[j * n + i]
            factor = POWER[scale & 15] << (scale >> 4)
            scores = (planes[j * n + i].astype(np.int64) + low) * factor + 32768 >> 16
            sums += scores[:, :, None] * entries[j]
        images.append(np.clip(sums >> 18, 0, 255).astype(np.uint8))
    return images


# ---- Networks (4.4) and latents (13) --------------------------------------------------------------

TENSOR_TYPES = {
    "I8": "<i1", "U8": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
    "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
N_TABLES = 56 * 32
Tensors = dict[str, npt.NDArray[Any]]


def read_tensors(content: bytes) -> tuple[Tensors, dict[str, object]]:
    """Return the tensors of a safetensors file, and its text."""
    fields = Fields(content)
    length = struct.unpack("<Q", fields.take(8))[0]
    header, data = parse_json(fields.take(length)), fields.rest()
    text = header.pop("__metadata__", {})
    if not isinstance(text, dict):
        raise Invalid("a safetensors file with another text")
    tensors: Tensors = {}
    ends = [0]
    try:
        for name, said in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):  # type: ignore
            begin, end = said["data_offsets"]  # type: ignore[index]
            shape = [int(n) for n in said["shape"]]  # type: ignore[index]
            kind = np.dtype(TENSOR_TYPES[said["dtype"]])  # type: ignore[index]
            if begin != ends[-1] or end > len(data) or min(shape, default=0) < 0:
                raise Invalid("a safetensors file with holes")
            if end - begin != math.prod(shape) * kind.itemsize:
                raise Invalid("a tensor of another size than its shape's")
            tensors[name] = np.frombuffer(data, kind, math.prod(shape), begin).reshape(shape)
            ends.append(end)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("a safetensors file that cannot be") from error
    if ends[-1] != len(data):
        raise Invalid("a safetensors file with bytes behind its tensors")
    for tensor in tensors.values():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise Invalid("a number that is not finite")
    return tensors, text


def find_tensor(tensors: Tensors, name: str, kind: str, shape: tuple[int, ...]) -> Integers:
    """Return a tensor that must be there; -1 in its shape: any number."""
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != np.dtype("<" + kind) or tensor.ndim != len(shape):
        raise Invalid(f"tensor {name}")
    if any(n not in (-1, got) for n, got in zip(shape, tensor.shape, strict=True)):
        raise Invalid(f"tensor {name}")
    return tensor.astype(np.int64)


class Network:
    """What a network dictionary has for decoding latents."""

    def __init__(self, content: bytes) -> None:
        tensors, text = read_tensors(content)
        if text.get("version") != "1" or text.get("architecture") not in ("whole", "patches"):
            raise Invalid("a network of another version or architecture")
        config = parse_json(str(text.get("config")).encode())
        self.shape = config.get("shape") if text["architecture"] == "whole" else None
        bounds = find_tensor(tensors, "context.bounds", "i4", (-1,)).tolist()
        units = find_tensor(tensors, "context.units", "i4", (-1,)).tolist()
        if len(bounds) < 2 or len(units) != len(bounds) or bounds[0] or units[0]:
            raise Invalid("groups that cannot be")
        if any(b <= a or (b - a) % 2 for a, b in pairwise(bounds)):
            raise Invalid("a group of channels that is empty or odd")
        if any(b < a or (b - a) % 16 for a, b in pairwise(units)) or not 1 <= units[-1] <= 2048:
            raise Invalid("hidden units that cannot be")
        self.bounds, self.units = bounds, units
        m, h = self.channels, self.hidden = bounds[-1], units[-1]
        self.norm = find_tensor(tensors, "context.norm", "u1", (m,))
        taps = find_tensor(tensors, "context.taps", "i1", (-1, 2)).tolist()
        if not taps or taps[-1] != [0, 0] or len({tuple(tap) for tap in taps}) < len(taps):
            raise Invalid("taps without (0, 0) at their end, or one twice")
        if any(not (1 <= down <= 8 or (down == 0 and right >= 1)) for down, right in taps[:-1]):
            raise Invalid("a tap that foretells what is known")
        if len(taps) * m > 4096:
            raise Invalid("too many inputs")
        self.taps = taps
        self.a = find_tensor(tensors, "context.a", "i1", (len(taps), h, 2 * m))
        self.b = find_tensor(tensors, "context.b", "i1", (h, h))
        self.c = find_tensor(tensors, "context.c", "i1", (2 * m, h))
        sizes = {"a": h, "b": h, "c": 2 * m}
        self.scales = {k: find_tensor(tensors, f"context.scale_{k}", "i4", (n,)) for k, n in sizes.items()}
        self.levels = {k: find_tensor(tensors, f"context.bias_{k}", "i4", (-1, n)) for k, n in sizes.items()}
        if any(scale.min() < 0 for scale in self.scales.values()):
            raise Invalid("a multiplier below 0")
        counts = {len(rows) for rows in self.levels.values()}
        if len(counts) > 1 or not 1 <= max(counts) <= 16:
            raise Invalid("levels")
        self.offsets = find_tensor(tensors, "tables.offsets", "i2", (N_TABLES,)).tolist()
        entries = find_tensor(tensors, "tables.sizes", "u2", (N_TABLES,)).tolist()
        frequencies = find_tensor(tensors, "tables.frequencies", "u2", (sum(entries),)).tolist()
        self.tables, at = [], 0
        for n in entries:
            table = frequencies[at : at + n]
            if n < 2 or min(table) < 1 or sum(table) != 65536:
                raise Invalid("a table that cannot be")
            self.tables.append(table)
            at += n
        self.counters, self.weights = [HALF] * (6 * (6728 + 123 * m)), np.zeros((6 * (293 + m), 16), np.int32)
        self.weights[:6, 0], self.weights[:6, 1:15] = 56000, 4000
        if "mixer.counters" in tensors or "mixer.weights" in tensors:
            packed = find_tensor(tensors, "mixer.counters", "u2", (len(self.counters),)).tolist()
            self.counters = [(256 * (value >> 4) + 128) << 12 | RATES[value & 15] for value in packed]
            weights = find_tensor(tensors, "mixer.weights", "i2", (self.weights.size,))
            self.weights = (weights * 16).astype(np.int32).reshape(-1, 16)

    def grid(self, shape: Shape) -> tuple[int, int]:
        """Return rows and columns of an image's latents (13.1)."""
        if self.shape is not None:
            if list(shape) != self.shape:
                raise Invalid("an image of another shape than the networks'")
            return 1, 1
        if shape[2] > 4:
            raise Invalid("an image of more than 4 channels")
        rows, columns = -(-shape[0] // 16), -(-shape[1] // 16)
        if rows * columns > 1 << 19:
            raise Invalid("an image of more than 2^19 positions")
        return rows, columns

    def biases(self, quality: int) -> dict[str, Integers]:
        """Return the biases of a quality."""
        found = {}
        for k, rows in self.levels.items():
            t = quality * (len(rows) - 1)
            i, p = t // 100, t % 100
            above = rows[min(i + 1, len(rows) - 1)]
            found[k] = ((rows[i] * (100 - p) + above * p) // 100 << 8) + (1 << 23)
        return found


def activate(sums: Integers, scale: Integers, bias: Integers) -> Integers:
    x: Integers = np.clip((sums * scale + bias) >> 24, -8191, 8191)
    x[x < 0] >>= 3
    return x


class Foreteller:
    """The context network at one position of an image, group by group (13.2)."""

    def __init__(self, net: Network, biases: dict[str, Integers], latents: Integers, y: int, x: int) -> None:
        self.net, self.bias = net, biases
        self.h1, self.h2 = np.zeros(net.hidden, np.int64), np.zeros(net.hidden, np.int64)
        self.seen: list[tuple[int, Integers]] = []
        for tap, (down, right) in enumerate(net.taps[:-1]):
            if y >= down and 0 <= x - right < latents.shape[2]:
                self.seen.append((tap, latents[:, y - down, x - right]))
        self.here = latents[:, y, x]

    def inputs(self, values: Integers) -> Integers:
        """Return what latents of a position are to the first layer: with their signs, and without."""
        u = np.minimum(np.abs(values) * self.net.norm, 2047)
        both: Integers = np.concatenate([np.sign(values) * u, u])
        return both

    def group(self, g: int) -> tuple[list[int], list[int]]:
        """Return the means and scales of a group, from those before it."""
        net, scales, bias = self.net, self.net.scales, self.bias
        low, high = net.bounds[g : g + 2]
        units, known = slice(*net.units[g : g + 2]), slice(0, net.units[g + 1])
        before = np.where(np.arange(net.channels) < low, self.here, 0)
        sums = net.a[-1, units] @ self.inputs(before)
        for tap, values in self.seen:
            sums = sums + net.a[tap, units] @ self.inputs(values)
        self.h1[units] = activate(sums, scales["a"][units], bias["a"][units])
        sums = net.b[units, known] @ self.h1[known]
        self.h2[units] = activate(sums, scales["b"][units], bias["b"][units])
        found = []
        for rows in (slice(low, high), slice(net.channels + low, net.channels + high)):
            sums = net.c[rows, known] @ self.h2[known]
            found.append((sums * scales["c"][rows] + bias["c"][rows]) >> 24)
        return np.clip(found[0], -32767, 32767).tolist(), np.clip(found[1], 0, 55).tolist()


class StateDecoder:
    """RANS with a table for each number (13.3)."""

    def __init__(self, message: bytes, lanes: int) -> None:
        fields = Fields(message)
        self.states = [struct.unpack("<Q", fields.take(8))[0] for _ in range(lanes)]
        rest = fields.rest()
        if len(rest) % 4 or any(not 1 << 31 <= x < 1 << 63 for x in self.states):
            raise Invalid("a message that no encoder begins")
        self.words = [word for (word,) in struct.iter_unpack("<I", rest)]
        self.read = self.decoded = 0

    def fill(self, x: int) -> int:
        """Take a word where the state is small."""
        if x < 1 << 31:
            if self.read == len(self.words):
                raise Invalid("a message that ends before its last number")
            x = x << 32 | self.words[self.read]
            self.read += 1
        return x

    def bit(self, lane: int) -> int:
        """Decode a bit of probability one half."""
        x: int = self.states[lane]
        self.states[lane] = self.fill(x >> 1)
        return x & 1

    def entry(self, lane: int, frequencies: list[int]) -> int:
        """Decode which of a table's entries comes next in a lane."""
        x = self.states[lane]
        slot, entry, start = x & 65535, 0, 0
        while start + frequencies[entry] <= slot:
            start += frequencies[entry]
            entry += 1
        self.states[lane] = self.fill(frequencies[entry] * (x >> 16) + slot - start)
        return entry

    def number(self, offset: int, frequencies: list[int]) -> int:
        """Decode the next number with a table."""
        lane = self.decoded % len(self.states)
        self.decoded += 1
        entry = self.entry(lane, frequencies)
        if entry < len(frequencies) - 1:
            return offset + entry
        below, zeros, distance = self.bit(lane), 0, 1
        while not self.bit(lane):
            zeros += 1
            if zeros > 31:
                raise Invalid("a distance of more than 31 zeros")
        for _ in range(zeros):
            distance = 2 * distance + self.bit(lane)
        number = offset - distance if below else offset + len(frequencies) - 2 + distance
        if not -(1 << 31) <= number < 1 << 31:
            raise Invalid("a number beyond 32 bits")
        return number

    def check(self) -> None:
        """Look at nothing: taking words does."""

    def finish(self) -> None:
        """Refuse a message that goes on, or ends in other states than an encoder begins with."""
        if self.read < len(self.words) or any(x != 1 << 31 for x in self.states):
            raise Invalid("a message that no encoder ends so")


class Site:
    """A position of an image where latents are decoded: what mixed decisions know there (13.5)."""

    def __init__(self, latents: Integers, trace: Integers, y: int, x: int) -> None:
        self.latents, self.y, self.x, self.trace = latents, y, x, trace
        self.now, self.last = [0, 0], [0, 0]
        places = [(y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)]
        inside = [trace[v, u] for v, u in places if v >= 0 and 0 <= u < trace.shape[1]]
        flags, expected = (65536 + sum(int(pair[k]) for pair in inside) for k in (0, 1))
        self.around = find_bin(flags, expected, 6, 16)

    def at(self, c: int, down: int, right: int) -> int:
        """Return a latent of a channel near, 0 outside of the grid."""
        y, x = self.y + down, self.x + right
        return int(self.latents[c, y, x]) if y >= 0 and 0 <= x < self.latents.shape[2] else 0


def span(x: int, m: int) -> int:
    """Return S(x, m)."""
    return clamp(x, -m, m) + m


class MixedDecoder(RangeDecoder):
    """Latents as mixed decisions (13.5)."""

    def __init__(self, message: bytes, net: Network) -> None:
        super().__init__(message)
        self.net, self.counters = net, [0, *net.counters]
        self.mixer = Mixer(16, (0, 0))
        self.mixer.weights = net.weights.copy()
        self.often = [[0, 0] for _ in range(net.channels)]

    def mixed(self, node: int, q: int) -> int:
        """Decode a mixed decision that the network gives q."""
        q = clamp(q, 64, 2**20 - 64)
        v = clamp(STRETCH[q >> 8] + 2048, 0, 4095) >> 7
        part = [v, v >> 2, v, v, v >> 2] + [0] * 9
        places = [1 + 6 * (x + add) + node for x, add in zip(self.contexts, part, strict=True)]
        values = [self.counters[place] for place in places]
        logits = [STRETCH[q >> 8], *(STRETCH[value >> 20] for value in values)]
        _, mixed = self.mixer.mix(logits, *(6 * t + node for t in self.rows))
        bit = self.decide(clamp(mixed, 16, 65520))
        self.mixer.learn(bit, 28)
        for place, value in zip(places, values, strict=True):
            self.counters[place] = train(value, bit, 32)
        return bit

    def residual(self, site: Site, c: int, base: int, table: int) -> int:
        """Decode the next latent of an image's position, less its base."""
        offset, frequencies = self.net.offsets[table], self.net.tables[table]

        def below(k: int) -> int:
            return sum(frequencies[: clamp(k - offset, 0, len(frequencies) - 1)])

        zero = below(1) - below(0)
        self.look(site, c, base)
        some = self.decide(65536 - zero) if zero > 65300 else self.mixed(0, (65536 - zero) << 4)
        value = self.signed(below, frequencies[-1] >> 1) if some else 0
        taken = (65536 * some, 65536 - zero)
        for k in (0, 1):
            site.now[k] = (236 * site.now[k] >> 8) + taken[k]
            self.often[c][k] += taken[k] - (self.often[c][k] >> 6)
            site.trace[site.y, site.x, k] += taken[k]
        site.last = [value, site.last[0]]
        return value

    def signed(self, below: Callable[[int], int], e: int) -> int:
        """Decode a residual that is not 0."""
        low, up = below(0) + e, 65536 - below(1) - e
        negative = self.mixed(1, (low << 20) // (low + up))
        mass, size = low if negative else up, 1
        while size < 16:
            beyond = below(-size) + e if negative else 65536 - below(size + 1) - e
            if not self.mixed(min(size + 1, 5), (beyond << 20) // mass if beyond < mass else 2**19):
                break
            mass, size = beyond, size + 1
        if size == 16:
            n = 0
            while n < 15 and self.decide(32768):
                n += 1
            rest = 1
            for _ in range(n):
                rest = 2 * rest + self.decide(32768)
            size = 15 + rest
        return -size if negative else size

    def look(self, site: Site, c: int, base: int) -> None:
        """Find the contexts and the rows."""
        m = self.net.channels
        w, n, nw, ne = (site.at(c, *by) for by in ((0, -1), (-1, 0), (-1, -1), (-1, 1)))
        ww, nn = site.at(c, 0, -2), site.at(c, -2, 0)
        now = find_bin(site.now[0] + 32768, site.now[1] + 32768, 6, 16)
        often = find_bin(self.often[c][0] + 65536, self.often[c][1] + 65536, 6, 16)
        sizes = (abs(w) + abs(n), abs(nw) + abs(ne) + (abs(ww) + abs(nn) >> 1))
        z = [sum(x >= k for k in (1, 2, 3, 5, 9)) for x in sizes]
        self.rows = 0, 293 + c, 1 + 16 * now + site.around, 257 + 6 * z[0] + z[1]
        slope = span(w + n - nw - base, 2)
        w, n, nw, ne, ww, nn = (x - base for x in (w, n, nw, ne, ww, nn))
        one, two = site.last
        far = 75 * span(ne, 1) + 25 * span(nw, 1) + 5 * span(ww, 2) + span(nn, 2)
        self.contexts = [
            32 * (7 * span(w, 3) + span(n, 3)),
            1568 + 8 * far,
            3368 + 32 * (5 * span(one, 2) + span(two, 2)),
            4168 + 32 * often,
            4680 + 8 * (16 * often + now),
            6728 + 25 * c + 5 * span(w, 2) + span(n, 2),
            6728 + 25 * m + 15 * c + 3 * span(w + n, 2) + span(one, 1),
            6728 + 40 * m + 15 * c + 3 * slope + span(ne, 1),
            6728 + 55 * m + 9 * c + 3 * span(w, 1) + span(n, 1),
            6728 + 64 * m + 9 * c + 3 * span(ne, 1) + span(nw, 1),
            6728 + 73 * m + 9 * c + 3 * span(ww, 1) + span(nn, 1),
            6728 + 82 * m + 9 * c + 3 * span(one, 1) + span(two, 1),
            6728 + 91 * m + 16 * c + now,
            6728 + 107 * m + 16 * c + site.around,
        ]


def decode_latents(body: bytes, shapes: list[Shape], dictionary: bytes | None) -> list[npt.NDArray[np.int32]]:
    """Decode the body of a frame of mode 3 or 4 to latents (channels, rows, columns) of each image."""
    kind, content = split_dictionary(dictionary or b"")
    if kind != 5:
        raise Invalid("a dictionary that is not of networks")
    net = Network(content)
    grids = [net.grid(shape) for shape in shapes]
    fields = Fields(body)
    with_alpha = [(height, width, 1) for height, width, channels in shapes if channels in (2, 4)]
    if with_alpha and net.shape is None:
        decode_body(fields.take(fields.varint()), with_alpha, None)
    quality, plan = fields.u8(), fields.u8()
    if quality > 100 or plan not in (0, 1, 2, 4):
        raise Invalid("a quality or a plan that is not known")
    message = fields.take(fields.varint())
    decoder = MixedDecoder(message, net) if plan == 4 else StateDecoder(message, 1 << plan)
    if any(fields.rest()):
        raise Invalid("bytes behind the message")
    biases, images = net.biases(quality), [np.zeros((net.channels, *grid), np.int64) for grid in grids]
    first, width = 0, max(net.channels, net.hidden)
    while first < len(images):
        last = first + 1
        rows, columns = grids[first]
        while last < len(images) and grids[last] == grids[first]:
            if (last + 1 - first) * rows * columns * width > 1 << 24:
                break
            last += 1
        # What was not 0 and what was expected, of each image's positions: only mixed decisions look at it.
        traces = [np.zeros((rows, columns, 2), np.int64) for _ in range(first, last)]
        for y, x in np.ndindex(rows, columns):
            tellers = [Foreteller(net, biases, latents, y, x) for latents in images[first:last]]
            sites = [
                Site(latents, trace, y, x) for latents, trace in zip(images[first:last], traces, strict=True)
            ]
            for g, (low, high) in enumerate(pairwise(net.bounds)):
                for site, teller in zip(sites, tellers, strict=True):
                    means, scales = teller.group(g)
                    for c, mean, scale in zip(range(low, high), means, scales, strict=True):
                        base = (mean + 16) >> 5
                        table = 32 * scale + mean - 32 * base + 16
                        if isinstance(decoder, MixedDecoder):
                            value = base + decoder.residual(site, c, base, table)
                        else:
                            value = base + decoder.number(net.offsets[table], net.tables[table])
                        if abs(value) > 32767:
                            raise Invalid("a latent beyond the greatest")
                        site.latents[c, y, x] = value
                    decoder.check()
        first = last
    decoder.finish()
    return [latents.astype(np.int32) for latents in images]


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
        shown = image.latents if image.pixels is None else image.pixels
        assert shown is not None
        if arguments.png and image.pixels is not None:
            path.with_suffix(".png").write_bytes(build_png(image.pixels))
        else:
            np.save(path.with_suffix(".npy"), shown)
        print(path.name, shown.shape, image.key, image.label)
    return 0


if __name__ == "__main__":
    sys.exit(main())
