"""Make and check the test vectors: small streams, good and bad, with what a decoder must say of them.

    python tools/vectors.py make      writes the vectors that are missing; never overwrites one
    python tools/vectors.py check     decodes all of them with triptych and with minidecode

A good vector is `v0/NAME.tych` beside `v0/NAME.json`: its images' shapes and the SHA-256 of their pixels,
keys, labels and attachments, and the vectors that hold its dictionaries; of networks' images, whose pixels
differ between machines, the SHA-256 of the latents (channels, rows, columns; i32). The pixels are those that
went into the encoder, not those that came out of a decoder. A bad vector is `bad/NAME.tych` beside
`bad/NAME.json`, which names the error that triptych must raise. Bad ones are built here by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import minidecode
import numpy as np
import numpy.typing as npt
import triptych as tp
from minidecode import DICTIONARY, ENCODER, IMAGES, INDEX, META, PADDING, PRIVATE, SIGNATURE, USE, crc32c
from smallbook import photograph, small_dictionary
from smallnet import random_latents, random_tensors, small_network
from triptych.dictionary import SEARCH_PATH_VARIABLE
from triptych.fit.networkbook import build_tensors

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "vectors"
GOOD, BAD = FOLDER / "v0", FOLDER / "bad"
SLOWEST = 1.0
"""Seconds in which a bad vector must be refused."""

Pixels = npt.NDArray[np.uint8]


# ---- Bytes ----------------------------------------------------------------------------------------


def header(major: int = 0, minor: int = 1, flags: int = 0) -> bytes:
    head = SIGNATURE + struct.pack("<BBH", major, minor, flags)
    return head + struct.pack("<I", crc32c(head))


def frame(kind: int, payload: bytes, slot: int = 0, length: int | None = None) -> bytes:
    head = b"\xf5\xd3" + struct.pack("<BBII", kind, slot, len(payload), crc32c(payload))
    if length is not None:
        head = head[:4] + struct.pack("<I", length) + head[8:]
    return head + struct.pack("<I", crc32c(head)) + payload


def varint(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes(group | 128 for group in groups[:-1]) + bytes(groups[-1:])


def shape_bytes(height: int, width: int, channels: int) -> bytes:
    return varint((width - 1) * 4 + channels - 1) + varint(height - 1)


def images_payload(
    shapes: Sequence[tuple[int, int, int]], body: bytes, fields: bytes = b"", head: int = 1
) -> bytes:
    """Build an IMAGES payload; `fields` is what stands between shapes and body, announced in `head`."""
    vary = len(set(shapes)) > 1
    said = b"".join(shape_bytes(*shape) for shape in (shapes if vary else shapes[:1]))
    return bytes([head | 16 * vary]) + varint(len(shapes)) + said + fields + body


def palette_payload(colors: Pixels, params: bytes = b"{}", kind: int = 1) -> bytes:
    return struct.pack("<BI", kind, len(params)) + params + colors.tobytes()


# ---- Pictures -------------------------------------------------------------------------------------


def palette(seed: int, k: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return k colours in key order, u8 (k, 4), such as pictures of so many channels have."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (8 * k + 64, 4), np.uint8)
    if channels < 3:
        colors[:, 1] = colors[:, 2] = colors[:, 0]
    if channels in (1, 3):
        colors[:, 3] = 255
    else:
        colors[::2, 3] = 255
    unique = {tuple(map(int, color)) for color in colors}
    chosen = random.permutation(sorted(unique))[:k]
    ordered = sorted(chosen.tolist(), key=lambda color: minidecode.color_key(tuple(color)))
    return np.array(ordered, np.uint8)


def noise(seed: int, k: int, height: int, width: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, k, (height, width), np.uint8)


def drawn(seed: int, k: int, height: int, width: int) -> Pixels:
    """Boxes on a ground, a gradient and a few stray pixels."""
    random = np.random.default_rng(seed)
    indices = np.full((height, width), random.integers(0, k), np.uint8)
    for _ in range(10):
        y, x = random.integers(0, height), random.integers(0, width)
        indices[y : y + random.integers(1, height + 1) // 2, x : x + random.integers(1, width + 1) // 2] = (
            random.integers(0, k)
        )
    slope = np.add.outer(np.arange(height), np.arange(width)) * k // (height + width)
    indices[height // 2 :, : width // 3] = slope[height // 2 :, : width // 3]
    return np.where(random.random((height, width)) < 0.02, noise(seed, k, height, width), indices)


def shown(colors: npt.NDArray[np.uint8], indices: Pixels, channels: int) -> Pixels:
    """Return the picture of an index map as decoders give it."""
    pixels: Pixels = colors[:, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]][indices]
    return pixels[:, :, 0] if channels == 1 else pixels


# ---- Good vectors ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Good:
    """A stream and what it must decode to. `books`: names of good vectors that hold its dictionaries."""

    about: str
    data: bytes
    images: list[minidecode.Image] = field(default_factory=list)
    books: tuple[str, ...] = ()


def coded(
    about: str,
    plan: tuple[int, int, int],
    parts: Sequence[tuple[npt.NDArray[np.uint8], Pixels, int]],
    shared: npt.NDArray[np.uint8] | None = None,
    slot: int = 0,
    before: bytes = b"",
    padding: int = 0,
) -> Good:
    """Code index maps (colours, indices, channels) as one frame, under a plan of our own choice."""
    from triptych.modes.indexmaps import Indexed, Plan, encode_maps

    maps = [Indexed(colors, np.ascontiguousarray(indices)) for colors, indices, _ in parts]
    body = encode_maps(Plan(*plan), maps, shared)
    assert body is not None
    shapes = [(*indices.shape, channels) for _, indices, channels in parts]
    stream = header() + before + frame(IMAGES, images_payload(shapes, body + bytes(padding)), slot)
    return Good(about, stream, [minidecode.Image(shown(*part)) for part in parts])


def written(
    about: str, pictures: Sequence[Pixels], said: Sequence[dict[str, Any]] = (), **options: Any
) -> Good:
    """Write pictures through `Writer`, exactly."""
    target = io.BytesIO()
    said = said or [{}] * len(pictures)
    with tp.Writer(target, **{"lossless": True, "n_colors": 256, **options}) as writer:
        for picture, words in zip(pictures, said, strict=True):
            writer.write(picture, **words)
    return Good(about, target.getvalue(), expected_images(pictures, said))


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def attachments_of(words: dict[str, Any]) -> dict[int, bytes]:
    """Return attachments by tag, of what `Writer.write` takes and `Reader.info` gives."""
    items = {tag: words[name] for tag, name in ((1, "exif"), (2, "xmp"), (3, "icc_profile")) if name in words}
    if "metadata" in words:
        items[4] = canonical(words["metadata"])
    if "dpi" in words:
        items[5] = struct.pack("<2f", *words["dpi"])
    for tag, name in ((6, "text"), (7, "colorimetry")):
        if name in words:
            items[tag] = canonical(words[name])
    if "duration" in words:
        seconds = Fraction(words["duration"] / 1000).limit_denominator(65535)
        numbers = [seconds.numerator, seconds.denominator, *([words["loop"]] if "loop" in words else [])]
        items[8] = b"".join(map(varint, numbers))
    if "palette_order" in words:
        items[9] = words["palette_order"]
    return items


def expected_images(pictures: Sequence[Pixels], said: Sequence[dict[str, Any]]) -> list[minidecode.Image]:
    return [
        minidecode.Image(picture, words.get("key"), words.get("label"), attachments_of(words))
        for picture, words in zip(pictures, said, strict=True)
    ]


Draw = Callable[[int, int, int, int], Pixels]


def one(
    about: str, plan: tuple[int, int, int], k: int, channels: int, make: Draw, height: int, width: int
) -> Good:
    """Code one picture of exactly k colours."""
    return coded(about, plan, [(palette(k, k, channels), make(k, k, height, width), channels)])


DENSE, FAST, BATCH, RANKS = 0, 1, 2, 3
BOOK = palette(5, 16, 4)
BOOK_PAYLOAD = palette_payload(BOOK, b'{"n_colors":16}')
BOOK_ID = hashlib.sha256(BOOK_PAYLOAD).digest()
WIDE_BOOK = palette(6, 256, 4)
SAID: list[dict[str, Any]] = [
    {"key": "h\u00e9ro", "label": 0, "metadata": {"artist": "\u00c5", "n": [1, 2.5, None]}, "exif": b"II*\0"},
    {"label": -1, "exif": b"II*\0", "icc_profile": bytes(range(40))},
    {"key": "h\u00e9ro", "label": 2**40},
    {"exif": b"MM\0*", "xmp": b"<x/>", "icc_profile": bytes(range(40))},
    {"key": "k" * 200, "label": -(2**61), "metadata": {}, "exif": b"MM\0*"},
]


def good_vectors() -> Iterator[tuple[str, Callable[[], Good]]]:
    """Give the good vectors, each by its name and a function that makes it."""
    yield "empty", lambda: Good("a header and nothing else", header())
    yield "pixel", lambda: written("1 x 1, grey, by default", [np.array([[77]], np.uint8)])
    yield "pair", pair
    yield (
        "flat-l",
        lambda: coded(
            "white 64 x 64: its last decisions settle zero bytes, and the tail is zero",
            (FAST, 0, 0),
            [(np.full((1, 4), 255, np.uint8), np.zeros((64, 64), np.uint8), 1)],
        ),
    )
    yield "flat-index0", lambda: coded(
        "all 0 with a dictionary: the message is zeros",
        (DENSE, 1, 0), [(BOOK, np.zeros((70, 90), np.uint8), 4)], BOOK, 9, frame(DICTIONARY, BOOK_PAYLOAD, 9),
    )  # fmt: skip
    yield "dense-k1-la", lambda: one("dense, one colour", (DENSE, 3, 0), 1, 2, noise, 5, 7)
    yield "dense-k2-l", lambda: one("dense, grey", (DENSE, 0, 0), 2, 1, drawn, 33, 47)
    yield "dense-k16-rgb", lambda: one("dense, no flags", (DENSE, 0, 0), 16, 3, drawn, 40, 40)
    yield "dense-k17-rgb", lambda: one("dense, three flags", (DENSE, 3, 0), 17, 3, drawn, 50, 40)
    yield "dense-k64-rgba", lambda: one("dense, alpha, two flags", (DENSE, 2, 0), 64, 4, drawn, 64, 48)
    yield (
        "dense-k256-rgb",
        lambda: one("dense, lines of histories are fought for", (DENSE, 1, 0), 256, 3, noise, 48, 48),
    )
    yield (
        "dense-three",
        lambda: coded(
            "dense, three palettes in a frame: the palette model and the coder go on",
            (DENSE, 1, 0),
            [(palette(c, k, c), drawn(c, k, 12, 10 + k), c) for c, k in ((1, 3), (4, 16), (3, 40))],
        ),
    )
    yield "dense-shared", lambda: coded(
        "dense, one model for palettes and images that differ in all",
        (DENSE, 1, 2),
        [
            (palette(k + c, k, c), drawn(k, k, h, w), c)
            for h, w, c, k in (
                (20, 20, 3, 90), (1, 1, 1, 1), (30, 30, 4, 16), (9, 40, 2, 40), (16, 17, 3, 256)
            )
        ],
    )  # fmt: skip
    yield "fast-k2-l", lambda: one("fast, one flag, pairs", (FAST, 1, 1), 2, 1, drawn, 30, 61)
    yield "fast-k16-la", lambda: one("fast, no flags", (FAST, 0, 0), 16, 2, drawn, 40, 40)
    yield "fast-k64-rgb", lambda: one("fast, two flags, pairs", (FAST, 2, 1), 64, 3, drawn, 64, 64)
    yield "fast-k256-rgba", lambda: one("fast, three flags", (FAST, 3, 0), 256, 4, noise, 40, 40)
    yield "fast-pairs-k256", lambda: one("fast, no flags, pairs", (FAST, 0, 1), 256, 3, drawn, 48, 48)
    yield "fast-shared", lambda: coded(
        "fast, one model for palettes and images that differ in all",
        (FAST, 3, 2),
        [
            (palette(k + c, k, c), drawn(k, k, h, w), c)
            for h, w, c, k in (
                (9, 40, 3, 90), (1, 1, 1, 1), (30, 30, 4, 16), (16, 16, 2, 40), (20, 20, 3, 256)
            )
        ],
    )  # fmt: skip
    for name, coder in (("dense", DENSE), ("fast", FAST)):
        yield f"{name}-shared-lines", lambda name=name, coder=coder: coded(
            f"{name}, one model for images that differ in their numbers of lines",
            (coder, 1, 2),
            [
                (palette(k, k, 3), drawn(k, k, h, w), 3)
                for h, w, k in ((12, 12, 9), (52, 44, 17), (10, 14, 30))
            ],
        )  # fmt: skip
    yield "batch-one", lambda: one("batch of one", (BATCH, 0, 0), 3, 3, drawn, 24, 24)
    yield "batch-k256", lambda: one("batch, colours found by score", (BATCH, 0, 0), 256, 4, drawn, 20, 20)
    yield "batch-shapes", lambda: coded(
        "batch: shapes, channels and palettes vary",
        (BATCH, 0, 0),
        [
            (palette(k + c, k, c), drawn(k, k, h, w), c)
            for h, w, c, k in (
                (16, 16, 3, 4), (1, 1, 1, 1), (17, 3, 4, 16), (16, 16, 3, 2), (3, 40, 2, 17), (1, 64, 1, 5)
            )
        ],
    )  # fmt: skip
    yield "ranks-k1-l", lambda: one("ranks, one colour", (RANKS, 0, 0), 1, 1, noise, 3, 5)
    yield "ranks-k16-rgb", lambda: one("ranks, one group", (RANKS, 0, 0), 16, 3, noise, 20, 31)
    yield "ranks-k256-rgba", lambda: one("ranks, all groups, alpha", (RANKS, 0, 0), 256, 4, noise, 24, 32)
    yield "ranks-shapes", lambda: coded(
        "ranks: shapes, channels and palettes vary, the model goes on, the last group has one colour",
        (RANKS, 0, 0),
        [
            (palette(k + c, k, c), noise(k, k, h, w), c)
            for h, w, c, k in ((16, 16, 3, 33), (1, 1, 1, 1), (17, 3, 4, 16), (9, 40, 2, 40), (1, 64, 1, 17))
        ],
    )  # fmt: skip
    yield (
        "batch-writer",
        lambda: written(
            "12 pictures of one shape through Writer",
            [shown(palette(i % 3, 8, 3), drawn(i, 8, 16, 16), 3) for i in range(12)],
        ),
    )
    yield "lossy", lossy
    yield (
        "thin",
        lambda: coded(
            "one pixel high; one pixel wide",
            (DENSE, 2, 0),
            [(palette(9, 5, 3), drawn(9, 5, *s), 3) for s in ((1, 200), (200, 1))],
        ),
    )
    yield (
        "zeros-behind",
        lambda: coded(
            "zero bytes behind the message",
            (FAST, 1, 0),
            [(palette(2, 4, 3), drawn(2, 4, 9, 9), 3)],
            padding=33,
        ),
    )
    yield "book", lambda: Good("a dictionary file", header() + frame(DICTIONARY, BOOK_PAYLOAD, 1))
    yield "book-embedded", lambda: coded(
        "dense, a dictionary in the stream, the model goes on over images of all channels",
        (DENSE, 2, 0), [(BOOK, drawn(c, 16, 20, 20 + c), c) for c in (1, 2, 3, 4)],
        BOOK, 254, frame(DICTIONARY, BOOK_PAYLOAD, 254),
    )  # fmt: skip
    yield "book-used", lambda: with_book(
        coded(
            "fast, a dictionary by USE", (FAST, 2, 1), [(BOOK, drawn(s, 16, 20, 20), 4) for s in range(3)],
            BOOK, 7, frame(USE, BOOK_ID, 7),
        )
    )  # fmt: skip
    yield "book-inline", lambda: with_book(inline())
    yield "book-k256", lambda: coded(
        "fast, a dictionary of 256 colours for pictures of fewer pixels",
        (FAST, 3, 0), [(WIDE_BOOK, drawn(s, 256, 6, 6), 3) for s in range(4)],
        WIDE_BOOK, 1, frame(DICTIONARY, palette_payload(WIDE_BOOK), 1),
    )  # fmt: skip
    yield "book-writer", book_writer
    yield "said", lambda: written(
        "keys, labels and attachments; the second of a key; an attachment once more",
        [shown(palette(1, 4, 3), drawn(i, 4, 8, 8), 3) for i in range(5)],
        SAID,
        metadata={"b": 1, "a": {"\u00e9": "x"}},
    )  # fmt: skip
    yield (
        "resolution",
        lambda: written(
            "resolutions, the second once more",
            [shown(palette(1, 4, 3), drawn(i, 4, 8, 8), 3) for i in range(3)],
            [{"dpi": (72.0, 300.5)}, {"dpi": (96.0, 96.0), "exif": b"II*\0"}, {"dpi": (96.0, 96.0)}],
        ),
    )
    yield (
        "animation",
        lambda: written(
            "two animations: of hundredths of a second, for ever, and of 30000/1001 frames a second, twice",
            [shown(palette(1, 4, 3), drawn(i, 4, 8, 8), 3) for i in range(5)],
            [
                *({"key": "a/0001", "duration": 70, "loop": 0}, {"key": "a/0002", "duration": 70}),
                *({"key": "a/0003", "duration": 1500}, {"duration": 1001 / 30, "loop": 2}),
                {"duration": 1001 / 30},
            ],
        ),
    )
    points = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06]
    yield (
        "text",
        lambda: written(
            "texts by keyword, one of which comes twice; how colours are meant",
            [shown(palette(1, 4, 3), drawn(i, 4, 8, 8), 3) for i in range(3)],
            [
                {"text": {"Author": "J\u00f6rg", "Comment": ["one", "two"]}},
                {"colorimetry": {"gamma": 0.45455, "chromaticity": points, "srgb": 0}},
                {"text": {"Author": "J\u00f6rg", "Comment": ["one", "two"]}, "colorimetry": {"gamma": 1}},
            ],
        ),
    )
    yield "palette-orders", palette_orders
    yield "palette-orders-unsaid", unsaid_orders
    yield "concatenated", concatenated
    yield "appended", appended
    yield "ancillary", ancillary
    yield from blocks_vectors()
    yield from components_vectors()
    yield from spectral_vectors()
    yield from latents_vectors()


def palette_orders() -> Good:
    """Pictures that were indexed: ranked and listed, unused and equal entries, with alpha."""
    random = np.random.default_rng(9)
    few, many = random.integers(0, 256, (2, 256, 3)).astype(np.uint8)
    soft = np.array([[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 0], [9, 9, 9, 255], [1, 2, 3, 128]], np.uint8)
    cases = [
        (drawn(1, 6, 12, 12), few[:6]),  # ranked
        (drawn(2, 6, 12, 12) + np.uint8(3), few[:20]),  # entries that no pixel has
        (np.full((3, 3), 7, np.uint8), few[:8]),  # one colour
        (drawn(3, 5, 12, 12), soft),  # equal entries, both used, and alpha
        (drawn(4, 3, 12, 12) + np.uint8(2), soft),  # equal entries, the second used
        (np.arange(256, dtype=np.uint8).reshape(16, 16), many),
        (drawn(5, 7, 9, 9), np.full((7, 3), 5, np.uint8)),  # all entries are equal
        *((drawn(6 + i, 40, 12, 12), many[:40]) for i in range(3)),  # listed, and twice again
    ]
    target = io.BytesIO()
    with tp.Writer(target, lossless=True, n_colors=256) as writer:
        for indices, colors in cases:
            writer.write(indices, palette=colors)
    with tp.Reader(data := target.getvalue()) as reader:
        items = [attachments_of(reader.info(number)) for number in range(len(cases))]
    images = [
        minidecode.Image(colors[indices], attachments=item, indexed=(indices, colors))
        for (indices, colors), item in zip(cases, items, strict=True)
    ]
    return Good("indexed pictures, with their indices and palettes", data, images)


def unsaid_orders() -> Good:
    """Palette orders that break a rule, each by one thing, and so say nothing; the first two are whole."""

    def deflate(*data: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(bytes(data)) + packer.flush()

    colors = np.array(sorted(palette(1, 4, 3)[:, :3].tolist()), np.uint8)
    indices = drawn(3, 4, 8, 8)
    n_firsts = int(np.count_nonzero(indices == 0))
    first = tuple(map(int, colors[0]))
    other, others = deflate(1, 2, 3), colors ^ np.uint8(1)
    items = [
        b"\x04\x02\x00" + other,  # four colours in order, and a fifth entry
        b"\x04\x03\x00" + deflate(*first) + deflate(*[1] * n_firsts),  # as the first one again
        *(b"", b"\x04", b"\x04\x02", b"\x04\x02\x00"),  # cut
        b"\x04\x06\x00" + other,  # an unknown flag
        b"\x04\x02\x78" + other,  # the 120th of 120 orders
        b"\x02\x02\x00",  # three entries
        *(b"\x04\x02\x00" + each for each in (deflate(1, 2), deflate(1, 2, 3, 4), b"\xff\xff", other[:-1])),
        b"\x04\x02\x00" + other + b"\x00",  # a byte too many
        b"\x03\x00" + deflate(*np.diff(others.T, axis=1, prepend=np.uint8(0)).ravel()),  # a colour is missing
        *(
            b"\x04\x03\x00" + deflate(*first) + each
            for each in (b"", deflate(*[1] * (n_firsts - 1)), deflate(*[2] * n_firsts), deflate())
        ),
    ]
    inner = written("", [colors[indices]] * len(items))
    body = inner.data[32 + len(images_payload([(8, 8, 3)] * len(items), b"")) :]
    said = b"".join(b"\x01\x09" + varint(len(item)) + item for item in items)
    stream = header() + frame(IMAGES, images_payload([(8, 8, 3)] * len(items), body, said, 0x81))
    both = (indices, np.insert(colors, 4, (1, 2, 3), axis=0))
    again = (np.where(indices == 0, 4, indices).astype(np.uint8), np.insert(colors, 4, first, axis=0))
    found = [both, again, *[None] * (len(items) - 2)]
    images = [
        minidecode.Image(colors[indices], attachments={9: item}, indexed=each)
        for item, each in zip(items, found, strict=True)
    ]
    return Good("palette orders that break a rule, behind two that do not", stream, images)


def lossy() -> Good:
    """One picture reduced to few colours: its expected pixels are what the encoder said it would keep."""
    y, x = np.mgrid[:24, :24].astype(np.uint8)
    picture = np.stack([x * 10, y * 10, x * y], 2)
    data = tp.encode(picture, n_colors=5, keep=((0, 0, 0),))
    return Good(
        "a picture reduced to five colours, with its error in the body",
        data,
        [minidecode.Image(tp.decode(data))],
    )


def pair() -> Good:
    """Return the example of FORMAT.md section 9."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[4:12, 4:12] = (255, 0, 0)
    said: list[dict[str, Any]] = [{"key": "a", "label": 7}, {"key": "b", "label": -1}]
    return written("two images in a frame, with keys and labels", [red, red[:, :, ::-1]], said)


def with_book(vector: Good) -> Good:
    return Good(vector.about, vector.data, vector.images, ("book",))


def inline() -> Good:
    vector = coded(
        "dense, a dictionary named in the frame", (DENSE, 0, 0), [(BOOK, drawn(3, 16, 15, 31), 4)], BOOK
    )
    inner = vector.data[32:]
    return Good(vector.about, header() + frame(IMAGES, BOOK_ID[:16] + inner, 255), vector.images)


def book_writer() -> Good:
    colors = palette(8, 8, 3)
    pictures = [shown(colors, drawn(s, 8, 18, 18), 3) for s in range(6)]
    book = tp.fit("kmeans", pictures, n_colors=8)
    return written("a fitted dictionary, several frames", pictures, dictionary=book, frame_images=2)


def concatenated() -> Good:
    parts = [
        written("", [shown(palette(s, 6, 3), drawn(s, 6, 10, 10), 3) for s in (s, s + 1)], frame_images=1)
        for s in (1, 5)
    ]
    return Good(
        "two streams, one behind the other",
        b"".join(p.data for p in parts),
        [i for p in parts for i in p.images],
    )


def appended() -> Good:
    pictures = [shown(palette(s, 6, 3), drawn(s, 6, 10, 10), 3) for s in range(5)]
    target = io.BytesIO()
    for some in (pictures[:2], pictures[2:4], pictures[4:]):
        target.seek(0)
        with tp.Writer(target, append=True, lossless=True, n_colors=256, frame_images=1) as writer:
            for picture in some:
                writer.write(picture, key=f"key {len(picture)}")
    images = expected_images(pictures, [{"key": "key 10"}] * 5)
    return Good("a stream continued twice: older INDEX frames stay", target.getvalue(), images)


def ancillary() -> Good:
    vector = coded("", (FAST, 0, 0), [(palette(2, 4, 3), drawn(2, 4, 9, 9), 3)])
    extra = (
        frame(PADDING, bytes(5)) + frame(PADDING, b"") + frame(PRIVATE, bytes(16) + b"ours")
        + frame(0x7F, b"of a later version", 3) + frame(META, b'{"a":1,"b":2}') + frame(META, b'{"b":3}')
    )  # fmt: skip
    data = header(minor=9) + extra + vector.data[16:] + frame(PADDING, b"end")
    return Good("frames to be skipped, of a later minor version", data, vector.images)


# ---- Good vectors of PCA --------------------------------------------------------------------------


PCA = 2
BANDS = 10
NOTE = 2
"""Bytes of the note that a body begins with."""
UNSAID = b"\xff\xff"


def pca_body(pictures: Sequence[Pixels], book: tp.Dictionary, **options: Any) -> bytes:
    from triptych.modes.pca import MODE
    from triptych.options import Options

    return MODE.encode_frame(pictures, Options(mode="pca", **options), book)


def pca_frame(pictures: Sequence[Pixels], body: bytes) -> bytes:
    """Build an IMAGES frame of slot 1."""
    shapes = [(p.shape[0], p.shape[1], p.shape[2]) for p in pictures]
    return frame(IMAGES, images_payload(shapes, body, head=PCA), 1)


def pca(
    about: str, pictures: Sequence[Pixels], body: bytes, book: tp.Dictionary, elsewhere: str = ""
) -> Good:
    """Return a stream of one frame, with its dictionary in it or, if it has a vector of its own, named."""
    binding = frame(USE, bytes.fromhex(book.id), 1) if elsewhere else frame(DICTIONARY, book.payload, 1)
    data = header() + binding + pca_frame(pictures, body)
    with tp.Reader(data, dictionary=[book]) as reader:
        images = [minidecode.Image(pixels) for pixels in reader]
    return Good(about, data, images, (elsewhere,) if elsewhere else ())


def blocks_vectors() -> Iterator[tuple[str, Callable[[], Good]]]:
    """Give the vectors of section 7. What they must decode to is what triptych made of them at first."""
    book = small_dictionary()

    def one_frame(about: str, pictures: Sequence[Pixels], **options: Any) -> Good:
        return pca(about, pictures, pca_body(pictures, book, **options), book, "blocks-book")

    def unfiltered() -> Good:
        pictures = [photograph(33, 20, 3, 5)]
        body = pca_body(pictures, book)
        return pca(
            "blocks, the filter is off",
            pictures,
            UNSAID + bytes([body[NOTE] & ~8]) + body[NOTE + 1 :],
            book,
            "blocks-book",
        )

    def varied() -> Good:
        pictures = [photograph(16 + 9 * c, 40 - 8 * c, c, c) for c in (4, 1, 3)]
        vector = one_frame("blocks, three images, steps vary", pictures, target_psnr=34.0)
        at = len(vector.data) - len(pca_body(pictures, book, target_psnr=34.0))
        assert vector.data[at + 1] & 128
        return vector

    yield "blocks-book", lambda: Good("a dictionary of blocks", header() + frame(DICTIONARY, book.payload, 1))
    for channels, name in enumerate(("l", "la", "rgb", "rgba"), 1):
        yield (
            f"blocks-{name}",
            lambda channels=channels: one_frame(  # type: ignore[misc]
                "blocks, tuned for PSNR", [photograph(24, 37, channels, channels)], tune="psnr", quality=70
            ),
        )
    yield (
        "blocks-visual",
        lambda: one_frame("blocks, tuned for the eye", [photograph(40, 33, 3, 9)], quality=30),
    )
    yield "blocks-unfiltered", unfiltered
    yield "blocks-varied", varied
    yield (
        "blocks-batch",
        lambda: one_frame("blocks, three alike", [photograph(16, 16, 3, s) for s in range(3)]),
    )
    yield "blocks-noise", lambda: one_frame(
        "blocks, great magnitudes",
        [noise(3, 2, 18, 17)[:, :, None] * np.uint8(255)], quality=100, tune="psnr",
    )  # fmt: skip
    yield "blocks-pixel", lambda: one_frame("blocks, one pixel", [np.full((1, 1, 3), 200, np.uint8)])
    yield (
        "blocks-embedded",
        lambda: pca(
            "blocks, coarse, zero bytes behind",
            [photograph(17, 50, 3, 8)],
            pca_body([photograph(17, 50, 3, 8)], book, quality=0) + bytes(5),
            book,
        ),
    )


def collection(n: int, height: int, width: int, channels: int, kinds: int = 0) -> list[Pixels]:
    """Return images of four factors, with `kinds` of so many kinds. Every other one is mirrored."""
    random = np.random.default_rng(n)
    factors = random.normal(0, 25, (4, height, width, channels)).cumsum(axis=1)
    weights = random.normal(0, 1, (n, 4))
    if kinds:
        weights = random.normal(0, 2, (kinds, 4))[random.integers(0, kinds, n)]
    images = 128 + np.tensordot(weights, factors, 1) + random.normal(0, 2, (n, height, width, channels))
    images[::2] = images[::2, :, ::-1]
    return list(np.clip(np.rint(images), 0, 255).astype(np.uint8))


def fit_basis(pictures: Sequence[Pixels], **options: Any) -> tp.Dictionary:
    from triptych.fit.components import fit_components
    from triptych.options import Options

    return fit_components(iter(pictures), Options(**options))


def components_vectors() -> Iterator[tuple[str, Callable[[], Good]]]:
    """Give the vectors of section 8. What they must decode to is what triptych made of them at first."""

    def fitted(
        about: str, pictures: list[Pixels], mirrored: bool, plan: int, fit: dict[str, Any], **options: Any
    ) -> Good:
        book = fit_basis(pictures, **fit)
        body = pca_body(pictures, book, **options)
        assert (book.mirrored, body[NOTE]) == (mirrored, plan)
        return pca(about, pictures, body, book)

    yield "components-l", lambda: fitted(
        "components, grey", collection(20, 6, 5, 1), False, 0, {"quality": 70}
    )  # fmt: skip
    yield "components-rgb", lambda: fitted(
        "components, mirrored, an odd width", collection(70, 4, 7, 3), True, 0, {"quality": 60}, effort="fast"
    )  # fmt: skip
    yield (
        "pca-note",
        lambda: fitted("a note that says a PSNR", collection(3, 4, 5, 1), False, 0, {"quality": 70}),
    )
    yield "components-similar", lambda: fitted(
        "components, scores foretold from similar images",
        collection(150, 5, 4, 1, 12), True, 1, {"quality": 80},
    )  # fmt: skip
    yield "components-tables", lambda: fitted(
        "components, scores under tables, of up to 8 bits",
        collection(240, 5, 4, 1, 30), True, 2, {"quality": 90}, effort="fast",
    )  # fmt: skip
    yield "components-few", lambda: fitted(
        "components, only the first two, a finer step than the dictionary's",
        collection(30, 3, 4, 4), False, 0, {"quality": 50}, n_components=2, quality=81,
    )  # fmt: skip
    yield "components-coarse", lambda: fitted(
        "components, a coarser step than the dictionary's",
        collection(30, 4, 4, 2), False, 0, {"quality": 90}, quality=33,
    )  # fmt: skip
    yield (
        "components-none",
        lambda: fitted(
            "components, of which there are none", [np.full((3, 4, 2), 99, np.uint8)] * 3, False, 0, {}
        ),
    )


# ---- Bad vectors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A stream and the triptych error that it must raise."""

    error: str
    about: str
    data: bytes
    books: tuple[str, ...] = ()


class Forger(minidecode.RangeDecoder):
    """Stands in for the range decoder and codes given decisions, then zeros: what no encoder would write."""

    def __init__(self, bits: Sequence[int]) -> None:
        super().__init__(b"")
        self.bits, self.written = iter(bits), bytearray()

    def decide(self, p: int) -> int:
        """Code the next bit."""
        width = self.high - self.low
        mid = self.low + (width >> 16) * p + (((width & 0xFFFF) * p) >> 16)
        bit = next(self.bits, 0)
        self.low, self.high = (self.low, mid) if bit else (mid + 1, self.high)
        while (self.low ^ self.high) < 1 << 24:
            self.written.append(self.low >> 24)
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, self.high << 8 & 0xFFFFFFFF | 255
        return bit

    def check(self) -> None:
        """Nothing is read, so nothing can end early."""

    def written_message(self) -> bytes:
        """Return the bytes, with an end that is not the right one."""
        return bytes(self.written) + self.low.to_bytes(4) + bytes(4)


def forge(shape: tuple[int, int, int], bits: Sequence[int]) -> bytes:
    """Build a batch body of one image from the bits of its decisions, as far as a decoder will follow."""
    forger = Forger(bits)
    height, width, _ = shape
    with contextlib.suppress(minidecode.Invalid):
        colors = minidecode.PaletteModel().decode(forger, height * width)
        minidecode.BatchModel(height * width).decode_map(forger, colors, height, width)
    return bytes([BATCH]) + forger.written_message()


def head_bits(k: int) -> list[int]:
    """Return the decisions of a palette's size and of layout 0, grey."""
    return [k - 1 >> bit & 1 for bit in range(7, -1, -1)] + [0, 0]


def all_greys(n: int = 256) -> list[int]:
    """Return the decisions of a palette node whose keys are all there are."""
    if n == 1:
        return []
    bits, low, high = [0, 0], 1, n - 1
    while low < high:
        mid = (low + high) >> 1
        bits.append(int(n // 2 > mid))
        low, high = (mid + 1, high) if bits[-1] else (low, mid)
    return bits + 2 * all_greys(n // 2)


def bad_vectors() -> Iterator[tuple[str, Bad]]:
    """Give the bad vectors by name: one for each way to be wrong."""
    small = coded("", (DENSE, 0, 0), [(palette(2, 4, 3), drawn(2, 4, 8, 8), 3)])
    images = small.data[16:]
    payload = images[16:]
    body = payload[len(images_payload([(8, 8, 3)], b"")) :]
    yield from bad_streams(images)
    yield from bad_frames(images, payload)
    yield from bad_images(body)
    yield from bad_dictionaries(payload, body)
    yield from bad_bodies(body)
    yield from bad_blocks()
    yield from bad_components()
    yield from bad_spectral()
    yield from bad_latents()


def bad_streams(images: bytes) -> Iterator[tuple[str, Bad]]:
    whole = header() + images
    damaged = header()[:9] + b"\x02" + header()[10:]
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    text = whole.replace(b"\r\n", b"\n")
    long = frame(IMAGES, b"", length=2**32 - 1)
    yield "signature", Bad("NotTriptych", "line ends changed by a text transfer", text)
    yield "other-file", Bad("NotTriptych", "a PNG file", bytes.fromhex("89504E470D0A1A0A") + bytes(24))
    yield "nothing", Bad("Truncated", "no bytes at all", b"")
    yield "signature-short", Bad("Truncated", "ends in the signature", whole[:5])
    yield "header-short", Bad("Truncated", "ends in the stream header", whole[:15])
    yield "major", Bad("UnsupportedVersion", "major version 1", header(major=1) + images)
    yield "flags", Bad("UnsupportedFeature", "flags of the stream header", header(flags=1) + images)
    yield "header-crc", Bad("ChecksumMismatch", "stream header", damaged + images)
    yield "header-crc-later", Bad("ChecksumMismatch", "the second part's header", whole + damaged + images)
    yield "frame-header-crc", Bad("ChecksumMismatch", "frame header", whole[:20] + b"\x01" + whole[21:])
    yield "payload-crc", Bad("ChecksumMismatch", "payload", flipped)
    yield "frame-header-short", Bad("Truncated", "ends in a frame header", whole[:30])
    yield "sync-short", Bad("Truncated", "ends after a frame header's first byte", whole + b"\xf5")
    yield "payload-short", Bad("Truncated", "ends in a payload", whole[:-1])
    yield "between", Bad("InvalidFrame", "bytes between frames", whole + b"\0" + images)
    yield "behind", Bad("InvalidFrame", "bytes behind the last frame", whole + bytes(40))
    yield (
        "critical",
        Bad("UnsupportedFeature", "an unknown critical frame", header() + frame(0x90, b"") + images),
    )
    yield "payload-bomb", Bad("LimitExceeded", "says 4 GiB of payload", header() + long)


def bad_frames(images: bytes, payload: bytes) -> Iterator[tuple[str, Bad]]:
    def refused(about: str, *frames: bytes) -> Bad:
        return Bad("InvalidFrame", about, header() + b"".join(frames))

    book, use = frame(DICTIONARY, BOOK_PAYLOAD, 1), frame(USE, BOOK_ID, 1)
    for kind, name in ((META, "meta"), (INDEX, "index"), (PADDING, "padding"), (PRIVATE, "private")):
        content = b"{}" if kind == META else bytes(16)
        yield f"slot-{name}", refused("a slot where there is none", frame(kind, content, 1))
    yield "slot-0", refused("DICTIONARY in slot 0", frame(DICTIONARY, BOOK_PAYLOAD, 0))
    yield "slot-255", refused("USE in slot 255", frame(USE, BOOK_ID, 255))
    yield "slot-twice", refused("a slot bound twice", use, book)
    yield "slot-empty", refused("an empty slot", frame(IMAGES, payload, 3))
    yield "slot-other-part", refused("a slot of the part before", book, header(), frame(IMAGES, payload, 1))
    yield "use-length", refused("an id of 31 bytes", frame(USE, BOOK_ID[:31], 1))
    for name, text in (
        ("nan", b'{"a":NaN}'),
        ("infinite", b'{"a":1e999}'),
        ("array", b"[1]"),
        ("utf8", b'{"a":"\xe9"}'),
        ("cut", b'{"a":1'),
        ("deep", b'{"a":' + b"[" * 20000 + b"]" * 20000 + b"}"),
    ):
        yield f"json-{name}", refused("metadata that is not one JSON object", frame(META, text))
    at = len(header())
    belied = index_of(at + len(images), [(at, 2, 0)])
    yield "index-belied", refused("an index that its part belies", images, belied)
    crc = crc32c(images[:12])
    padding = frame(PADDING, bytes(9))
    begin = at + len(images) + len(padding)
    gap = index_of(begin, [(at, 1, crc)])
    yield "index-gap", refused("an index that leaves out a frame", images, padding, gap)
    # The frame of each type holds one that nobody finds in order, and an index that names it.
    for kind, name in ((PADDING, "padding"), (PRIVATE, "private"), (ENCODER, "encoder"), (META, "meta")):
        before = b'{"' if kind == META else bytes(16)
        place = at + len(images) + 16 + len(before)
        inside = index_of(place + len(images), [(at, 1, crc), (place, 1, crc)])
        hidden = frame(kind, before + images + inside)
        yield f"hidden-{name}", refused("a payload that ends like an index", images, hidden)


def index_of(offset: int, frames: Sequence[tuple[int, int, int]], others: Sequence[int] = ()) -> bytes:
    """Build an INDEX frame that will stand at `offset`; frames are offset, count and CRC."""
    tables = struct.pack("<III", len(frames), len(others), 0)
    tables += b"".join(struct.pack("<QII", *one) for one in frames)
    tables += b"".join(struct.pack("<Q", one) for one in others)
    length = 16 + len(tables) + 20
    return frame(INDEX, tables + struct.pack("<IQ", length, offset) + minidecode.INDEX_END)


def bad_images(body: bytes) -> Iterator[tuple[str, Bad]]:
    shape = shape_bytes(8, 8, 3)

    def refused(about: str, payload: bytes, error: str = "InvalidFrame") -> Bad:
        return Bad(error, about, header() + frame(IMAGES, payload))

    def attached(about: str, items: bytes) -> Bad:
        return refused(about, b"\x81\x01" + shape + items + body)

    def keyed(about: str, key: bytes) -> Bad:
        return refused(about, b"\x21\x01" + shape + key)

    def bomb(about: str, head: int, count: int, shape: bytes, padding: int = 0) -> Bad:
        return refused(about, bytes([head]) + varint(count) + shape + body + bytes(padding), "LimitExceeded")

    yield "payload-empty", refused("an empty payload", b"")
    yield "mode-0", refused("mode 0", b"\x00\x01" + shape + body, "UnsupportedFeature")
    yield "mode-3", refused("mode 3 without a dictionary", b"\x03\x01" + shape + body)
    yield "mode-5", refused("mode 5", b"\x05\x01" + shape + body, "UnsupportedFeature")
    yield "count-0", refused("no images", b"\x01\x00" + shape + body)
    yield "count-1-vary", refused("one image whose shapes vary", b"\x11\x01" + shape + body)
    yield "varint-long", refused("a varint that is not the shortest", b"\x01\x81\x00" + shape + body)
    yield "varint-10", refused("a varint of 10 bytes", b"\x01" + b"\x81" * 9 + b"\x01" + shape + body)
    yield "varint-short", refused("ends in a varint", b"\x01\x81")
    yield "shapes-short", refused("ends in the shapes", b"\x11\x09" + shape)
    yield "key-long", keyed("a key of 4,097 bytes", varint(4097) + b"k" * 4097 + body)
    yield "key-utf8", keyed("a key that is not UTF-8", b"\x02\xc3\x28" + body)
    yield "key-short", keyed("ends in a key", b"\x09key")
    yield "label-short", refused("ends in a label", b"\x41\x01" + shape)
    yield (
        "attachments-17",
        attached("17 attachments", b"\x11" + b"".join(bytes([t, 0]) for t in range(10, 27))),
    )
    yield "attachment-twice", attached("EXIF twice", b"\x02\x01\x01a\x01\x01b")
    yield "attachment-again", attached("EXIF, and once more by reference", b"\x02\x01\x01a\x81")
    yield "attachment-first", attached("a reference to nothing", b"\x01\x81")
    yield "attachment-short", refused("ends in an attachment", b"\x81\x01" + shape + b"\x01\x01\x7fa")
    yield "pixels-bomb", bomb("2^31 pixels", 1, 1, shape_bytes(2**16, 2**15, 1))
    yield "width-bomb", bomb("a row of 2^60 pixels", 1, 1, shape_bytes(1, 2**60, 4))
    yield "count-bomb", bomb("2^32 images", 1, 2**32, shape)
    yield "count-bomb-vary", bomb("2^32 shapes", 0x11, 2**32, shape)
    yield "ratio-bomb", bomb("2^30 pixels in some bytes", 1, 1024, shape_bytes(1024, 1024, 1))
    yield "images-bomb", bomb("60,000 images of a pixel in some bytes", 1, 60_000, shape_bytes(1, 1, 1))
    yield "decoded-bomb", bomb("2.25 GiB of pixels", 1, 9, shape_bytes(8192, 8192, 4), 9216)


def bad_dictionaries(payload: bytes, body: bytes) -> Iterator[tuple[str, Bad]]:
    def refused(about: str, dictionary: bytes, error: str = "InvalidFrame") -> Bad:
        return Bad(error, about, header() + frame(DICTIONARY, dictionary, 1) + frame(IMAGES, payload, 1))

    use = frame(USE, bytes(range(32)), 1)
    inline = frame(IMAGES, bytes(range(16)) + payload, 255)
    batch = frame(IMAGES, images_payload([(8, 8, 3)], b"\x02" + body[1:]), 1)
    book = header() + frame(DICTIONARY, BOOK_PAYLOAD, 1)
    yield "missing", Bad("DictionaryMissing", "named by USE", header() + use + frame(IMAGES, payload, 1))
    yield "missing-inline", Bad("DictionaryMissing", "named in the frame", header() + inline)
    yield "inline-short", Bad("InvalidFrame", "ends in the id", header() + frame(IMAGES, bytes(15), 255))
    yield "book-kind", refused("of another kind", palette_payload(BOOK, kind=9), "DictionaryMismatch")
    yield "book-order", refused("colours that descend", palette_payload(BOOK[::-1]))
    yield "book-double", refused("a colour twice", palette_payload(BOOK[[0, 0, 1]]))
    yield "book-none", refused("no colours", palette_payload(BOOK[:0]))
    yield "book-257", refused("257 colours", palette_payload(palette(6, 257, 4)))
    yield "book-half", refused("half a colour", palette_payload(BOOK)[:-2])
    yield "book-params", refused("params that are no object", palette_payload(BOOK, b"[1]"))
    yield "book-short", refused("ends in its params", palette_payload(BOOK[:0])[:-1])
    yield "book-empty", refused("an empty payload", b"")
    yield "book-batch", Bad("InvalidFrame", "the batch coder with a dictionary", book + batch)
    shared = frame(IMAGES, images_payload([(8, 8, 3)], b"\x41" + body[1:]), 1)
    yield "book-shared", Bad("InvalidFrame", "fast for all palettes, with a dictionary", book + shared)
    dense = frame(IMAGES, images_payload([(8, 8, 3)], b"\x40" + body[1:]), 1)
    yield "book-dense", Bad("InvalidFrame", "dense for all palettes, with a dictionary", book + dense)
    ranks = frame(IMAGES, images_payload([(8, 8, 3)], bytes([RANKS]) + body[1:]), 1)
    yield "book-ranks", Bad("InvalidFrame", "ranks with a dictionary", book + ranks)


def bad_bodies(body: bytes) -> Iterator[tuple[str, Bad]]:
    def refused(about: str, body: bytes, shape: tuple[int, int, int] = (8, 8, 3)) -> Bad:
        return Bad("InvalidFrame", about, header() + frame(IMAGES, images_payload([shape], body)))

    yield "body-empty", refused("no plan", b"")
    for name, plan in (
        ("bit7", 0x80),
        ("dense-pairs-3", 0x60),
        ("fast-pairs-3", 0x61),
        ("batch-flags", 0x0A),
        ("batch-pairs", 0x22),
        ("ranks-flags", 0x0B),
        ("ranks-pairs", 0x23),
        ("dense-pairs", 0x20),
    ):
        yield f"plan-{name}", refused(f"plan {plan:02X}", bytes([plan]) + body[1:])
    yield "errors-short", refused("ends in its errors", b"\x04\x07")
    yield "body-short", refused("ends early", body[: len(body) // 2])
    yield "body-plan", refused("a plan and no message", body[:1])
    yield "tail-other", refused("a number of the last interval that is not the tail", body + b"\1")
    yield "tail-behind", refused("a byte behind the tail", body + b"\0\0\0\0\0\1")
    yield "palette-large", refused("5 colours in 4 pixels", forge((2, 2, 1), head_bits(5)), (2, 2, 1))
    yield "palette-double", refused("a colour twice", forge((8, 8, 1), head_bits(2) + [1] * 8), (8, 8, 1))
    slow = forge((16, 17, 1), head_bits(256) + all_greys())
    yield "batch-slow", refused("more decisions than its pixels may take", slow, (16, 17, 1))
    message, palettes = ranks_parts(40)
    for name, about, parts in (
        ("short", "ends in its length", (b"\x80",)),
        ("length", "a message longer than the body", (b"\x09", message[:8])),
        ("state", "a state that is too low", ranked(message[:4] + bytes(4) + message[8:], palettes)),
        ("odd", "a message of an odd length", ranked(message + b"\0", palettes)),
        ("early", "a message that ends early", ranked(message[:-8], palettes)),
        ("late", "a message that goes on", ranked(message + bytes(4), palettes)),
        ("color", "a rank that no colour has", ranked(ranks_parts(16)[0], ranks_parts(15)[1])),
        ("group", "a rank that no group has", ranked(message, ranks_parts(32)[1])),
        ("palette", "no palettes", ranked(message, b"")),
        ("behind", "a byte behind the palettes", ranked(message, palettes + b"\0\0\0\0\1")),
    ):
        yield f"ranks-{name}", refused(about, b"".join((bytes([RANKS]), *parts)), (24, 24, 3))


def ranks_parts(k: int) -> tuple[bytes, bytes]:
    """Return the message and the palettes of a picture of k colours."""
    from triptych.modes.indexmaps import Indexed, Plan, encode_maps
    from triptych.varint import parse_varint

    colors = palette(k, k, 3)
    body = encode_maps(Plan(RANKS), [Indexed(colors, noise(k, k, 24, 24))], None)
    assert body is not None
    size, at = parse_varint(memoryview(body), 1)
    return body[at : at + size], body[at + size :]


def ranked(message: bytes, palettes: bytes) -> tuple[bytes, ...]:
    """Return what follows the plan."""
    from triptych.varint import build_varint

    return build_varint(len(message)), message, palettes


def bad_pca(about: str, payload: bytes, pictures: Sequence[Pixels], body: bytes, error: str = "") -> Bad:
    """Return a PCA frame behind a dictionary's payload; `body` is what follows the note."""
    stream = header() + frame(DICTIONARY, payload, 1) + pca_frame(pictures, UNSAID + body)
    return Bad(error or "InvalidFrame", about, stream)


def bad_blocks() -> Iterator[tuple[str, Bad]]:
    book, pictures = small_dictionary(), [photograph(20, 20, 3, 1)]
    clear = [photograph(20, 20, 4, 1)]
    body, clear_body = pca_body(pictures, book)[NOTE:], pca_body(clear, book)[NOTE:]

    def body_of(about: str, body: bytes, pictures: Sequence[Pixels] = pictures) -> Bad:
        return bad_pca(about, book.payload, pictures, body)

    inflated = zlib.decompress(book.content)
    head = book.payload[: -len(book.content)]

    def book_of(about: str, content: bytes) -> Bad:
        return bad_pca(about, head + content, pictures, body)

    def changed(about: str, at: int, values: bytes) -> Bad:
        content = inflated[:at] + values + inflated[at + len(values) :]
        return book_of(about, zlib.compress(content, 9))

    shapes = [(20, 20, 3)]
    alone = header() + frame(IMAGES, images_payload(shapes, UNSAID + body, head=PCA))
    palette_first = bad_pca("", BOOK_PAYLOAD, pictures, body).data
    kmeans = frame(DICTIONARY, book.payload, 1) + frame(IMAGES, images_payload(shapes, bytes(9)), 1)
    yield "pca-alone", Bad("InvalidFrame", "a PCA frame without a dictionary", alone)
    yield "pca-palette", Bad("DictionaryMismatch", "a PCA frame with a palette", palette_first)
    yield "kmeans-blocks", Bad("DictionaryMismatch", "a k-means frame with blocks", header() + kmeans)
    note = header() + frame(DICTIONARY, book.payload, 1) + pca_frame(pictures, UNSAID[:1])
    yield "pca-note", Bad("InvalidFrame", "ends in its note", note)
    yield "blocks-empty", body_of("no plan", b"")
    yield "blocks-plan", body_of("no step", body[:1])
    yield "blocks-strength", body_of("a strength of 5", bytes([body[0] & ~7 | 5]) + body[1:])
    varied = bytes([body[0], body[1] | 128])
    yield "blocks-step", body_of("a further step above 127", varied + b"\x80" + body[2:], pictures * 2)
    yield "blocks-steps-short", body_of("ends in its steps", varied, pictures * 2)
    yield "blocks-short", body_of("ends early", body[: len(body) // 2])
    yield "blocks-tail", body_of("a byte behind the tail", body + b"\0\0\0\0\0\1")
    yield "blocks-class", body_of("a class that there is not", body[:2] + bytes(40))
    yield (
        "blocks-alpha-long",
        body_of("alpha goes beyond", clear_body[:2] + b"\xff\x7f" + clear_body[4:], clear),
    )
    yield "blocks-alpha", body_of("alpha is no k-means body", clear_body[:2] + b"\1\xff" + body[2:], clear)
    yield "blocks-book-zlib", book_of("content that does not inflate", b"not zlib")
    yield "blocks-book-behind", book_of("a byte behind the content", book.content + b"\0")
    yield "blocks-book-cut", book_of("content cut short", book.content[:-9])
    yield "blocks-book-short", book_of("ends in its sizes", zlib.compress(inflated[:7]))
    yield "blocks-book-long", book_of("goes on behind its filters", zlib.compress(inflated + b"\0", 9))
    yield "blocks-book-classes", changed("no classes", 0, b"\0")
    yield "blocks-book-kept", changed("65 components of 64 samples", 1, b"\x41")
    yield "blocks-book-rising", changed("deviations that rise", 9, b"\xff")
    sets = len(inflated) - 2 * 2 * 360 * 24 * 2 - 3
    yield "blocks-book-weights", changed("a weight of 2^24", sets - 4, struct.pack("<i", 1 << 24))
    yield "blocks-book-steps", changed("steps of filters that are equal", sets, b"\2\x32\x32")
    yield (
        "blocks-book-filters",
        changed("a filter that sums to 32768 and more", len(inflated) - 24, b"\x7f" * 24),
    )
    classes, kept = inflated[0], inflated[1]
    predictor = 8 + classes * kept
    rows = classes * 64 * 52
    yield "blocks-book-predictor", changed(
        "a row that sums to more than 2^18", predictor + rows, b"\x40" * 52
    )  # fmt: skip
    transform = predictor + 2 * rows
    high = transform + classes * kept * 64
    yield "blocks-book-transform", changed("an entry beyond 2^14", high, b"\x7f")
    bomb = zlib.compress(bytes((32 << 20) + 1), 9)
    yield "blocks-book-bomb", book_of("content that inflates to more than 32 MiB", bomb)


def table_body(pictures: Sequence[Pixels], book: tp.Dictionary) -> bytes:
    """Return a body under tables, however few its scores are."""
    from triptych.fit.basis import load_basis
    from triptych.modes import components

    basis = load_basis(book)
    coded = components.parse_body(memoryview(pca_body(pictures, book)[NOTE:]), len(pictures), basis)
    return components.build_body(coded, components.TABLES, basis)


def bad_components() -> Iterator[tuple[str, Bad]]:
    pictures = collection(20, 6, 5, 1)
    book = fit_basis(pictures, quality=70)
    body = pca_body(pictures, book)[NOTE:]
    tabled = table_body(pictures, book)
    head = book.payload[: -len(book.content)]

    def body_of(about: str, body: bytes, pictures: Sequence[Pixels] = pictures, error: str = "") -> Bad:
        return bad_pca(about, book.payload, pictures, body, error)

    def book_of(about: str, content: bytes) -> Bad:
        return bad_pca(about, head + content, pictures, body)

    content = book.content
    other = [np.zeros((5, 6, 1), np.uint8)] * 20
    yield "components-shape", body_of("images of another shape", body, other, "DictionaryMismatch")
    yield "components-empty", body_of("no plan", b"")
    yield "components-plan", body_of("plan 03", b"\3" + body[1:])
    yield "components-step", body_of("a step too far from the dictionary's", body[:1] + b"\xff" + body[2:])
    yield "components-many", body_of("more components than there are", body[:2] + b"\x7f" + body[3:])
    yield "components-short", body_of("ends early", body[: len(body) // 2])
    yield "components-tail", body_of("a byte behind the tail", body + b"\0\0\0\0\0\1")
    states = struct.pack("<4Q", *[1 << 31] * 4)

    def tables_of(about: str, coded: bytes) -> Bad:
        return body_of(f"tables: {about}", b"\2" + body[1:2] + b"\1" + coded)

    yield "components-tables-empty", tables_of("nothing", b"")
    yield "components-tables-classes", tables_of("class 32", b"\x1f\2\0\0\x20" + states)
    yield "components-tables-tokens", tables_of("57 tokens", b"\0\1\x39" + b"\xff" * 57 + b"\x20" + states)
    yield "components-tables-length", tables_of("a message longer than the rest", b"\0\0\x21" + states)
    yield "components-tables-lanes", tables_of("a message of three lanes", b"\0\0\x18" + states[8:])
    yield "components-tables-words", tables_of("no words", b"\0\0\x20" + states)
    yield "components-tables-cut", body_of("tables: raw bits end early", tabled[:-4])
    yield "components-tables-behind", body_of("tables: a bit behind the last", tabled + b"\x80")
    yield "components-book-empty", book_of("no shape", b"")
    yield "components-book-short", book_of("ends in its head", content[:5])
    yield "components-book-flags", book_of("flags 08", content[:2] + b"\x08" + content[3:])
    yield "components-book-gain", book_of("a gain of 1,024", content[:4] + b"\0\4" + content[6:])
    yield "components-book-shift", book_of("13 fraction bits", content[:6] + b"\x0d" + content[7:])
    yield "components-book-many", book_of("31 components of 30 samples", content[:7] + b"\x1f" + content[8:])
    yield "components-book-cut", book_of("ends early", content[: len(content) // 2])
    yield "components-book-tail", book_of("a byte behind the tail", content + b"\0\0\0\0\0\1")
    yield "components-book-bomb", book_of("2^26 entries in some bytes", b"\xfc\xff\3\xff\x3f" + content[2:])


BAND_ENTRIES = ((9000, 9000, 9000, 3000, 3000, 0), (-6000, 2000, 9000, -9000, 6000, 16384), (0,) * 6)
MEANS = (0, 65280, 32768, 30000, 777, 32768)


def band_book(
    bands: int = 6,
    k: int = 3,
    base: str = "",
    entries: Sequence[Sequence[int]] = BAND_ENTRIES,
    mean: Sequence[int] = MEANS,
    behind: bytes = b"",
) -> tp.Dictionary:
    """Return a spectral dictionary; its base is that of the vectors of blocks."""
    base = base or tp.load_dictionary(GOOD / "blocks-book.tych").id
    differences = np.diff(np.array(entries, np.int64), axis=1, prepend=0).astype("<i2")
    parts = (np.array(mean, "<u2"), differences)
    halves = [part.reshape(-1).view(np.uint8)[half::2].tobytes() for part in parts for half in (0, 1)]
    head = struct.pack("<HH", bands, k) + bytes.fromhex(base)
    return tp.Dictionary.build("spectral", {}, head + zlib.compress(b"".join(halves) + behind, 9))


def band_pictures(*sides: tuple[int, int], bands: int = 6) -> list[Pixels]:
    return [
        np.concatenate([photograph(h, w, 3, s), photograph(h, w, 3, s + 9)], 2)[:, :, :bands]
        for s, (h, w) in enumerate(sides)
    ]


def band_frame(pictures: Sequence[Pixels], body: bytes) -> bytes:
    """Build an IMAGES frame of mode 10 and slot 1."""
    shapes = [(p.shape[0], p.shape[1], p.shape[2]) for p in pictures]
    vary = len(set(shapes)) > 1
    said = [varint(w - 1) + varint(h - 1) + varint(c - 5) for h, w, c in (shapes if vary else shapes[:1])]
    return frame(IMAGES, bytes([BANDS | 16 * vary]) + varint(len(shapes)) + b"".join(said) + body, 1)


def spectral_vectors() -> Iterator[tuple[str, Callable[[], Good]]]:
    """Give the vectors of section 12. What they must decode to is what triptych made of them at first."""

    def coded_bands(about: str, pictures: Sequence[Pixels], behind: bytes = b"", **options: Any) -> Good:
        book = band_book()
        with on_shelf():
            data = header() + frame(DICTIONARY, book.payload, 1)
            data += band_frame(pictures, pca_body(pictures, book, **options) + behind)
            with tp.Reader(data) as reader:
                images = [minidecode.Image(pixels) for pixels in reader]
        return Good(about, data, images, ("blocks-book",))

    yield (
        "spectral",
        lambda: coded_bands("spectral, one image of 6 bands", band_pictures((20, 19)), quality=80),
    )
    yield (
        "spectral-varied",
        lambda: coded_bands("spectral, three sizes", band_pictures((9, 17), (16, 16), (1, 1)), quality=60),
    )
    yield (
        "spectral-few",
        lambda: coded_bands(
            "spectral, one component, zero bytes behind",
            band_pictures((8, 9), (8, 9)),
            bytes(3),
            n_components=1,
        ),
    )
    yield (
        "spectral-none",
        lambda: coded_bands(
            "spectral, no component",
            [np.broadcast_to(np.array(MEANS) >> 8, (3, 4, 6)).astype(np.uint8)],
            bytes(2),
        ),
    )


def bad_spectral() -> Iterator[tuple[str, Bad]]:
    pictures = band_pictures((12, 9))
    book = band_book()
    with on_shelf():
        noted = pca_body(pictures, book, n_components=2, quality=90)
    body = noted[NOTE:]
    assert body[0] == 2
    ranges, planes = body[1:7], body[7:]

    def stream(about: str, book: tp.Dictionary, images: bytes, error: str = "InvalidFrame") -> Bad:
        data = header() + frame(DICTIONARY, book.payload, 1) + images
        return Bad(error, about, data, ("blocks-book", "book"))

    def body_of(about: str, body: bytes) -> Bad:
        return stream(about, book, band_frame(pictures, UNSAID + body))

    def book_of(about: str, error: str = "InvalidFrame", **fields: Any) -> Bad:
        return stream(about, band_book(**fields), band_frame(pictures, noted), error)

    def content_of(about: str, content: bytes) -> Bad:
        return stream(about, tp.Dictionary.build("spectral", {}, content), band_frame(pictures, noted))

    five, seven = band_pictures((12, 9), bands=5), [np.zeros((12, 9, 7), np.uint8)]
    rgb = [photograph(12, 9, 3)]
    mismatch = "DictionaryMismatch"
    yield "spectral-five", stream("images of 5 bands", book, band_frame(five, noted), mismatch)
    yield "spectral-seven", stream("images of 7 bands", book, band_frame(seven, noted), mismatch)
    yield "spectral-rgb", stream("an RGB image", book, pca_frame(rgb, noted), mismatch)
    yield (
        "spectral-blocks",
        stream("bands with blocks", small_dictionary(), band_frame(pictures, noted), mismatch),
    )
    alone = header() + frame(IMAGES, band_frame(pictures, noted)[16:])
    yield "spectral-alone", Bad("InvalidFrame", "bands without a dictionary", alone)
    wide = bytes([BANDS, 1]) + varint(8) + varint(11) + varint(508) + noted
    yield "spectral-wide", stream("513 bands", book, frame(IMAGES, wide, 1))
    large = bytes([BANDS, 1]) + varint(9999) + varint(9999) + varint(1) + noted
    yield "spectral-large", stream("10^8 pixels of 6 bands", book, frame(IMAGES, large, 1), "LimitExceeded")
    counted = bytes([BANDS, 1]) + varint(6999) + varint(6999) + varint(1) + noted
    counted += bytes(9_000)
    yield (
        "spectral-counted",
        stream("4.9 * 10^7 pixels, twice for 6 bands", book, frame(IMAGES, counted, 1), "LimitExceeded"),
    )
    yield "spectral-empty", body_of("no number of components", b"")
    yield "spectral-many", body_of("more components than there are", b"\4" + ranges * 2 + planes)
    yield "spectral-ranges", body_of("ends in its ranges", body[:6])
    yield "spectral-scale", body_of("a scale of 160", b"\2\xa0" + body[2:])
    yield "spectral-short", body_of("ends early", body[: 7 + len(planes) // 2])
    yield "spectral-tail", body_of("a byte behind the tail", body + b"\0\0\0\0\0\1")
    yield "spectral-behind", body_of("a byte behind no components", b"\0\1")
    yield "spectral-base-missing", book_of("its base is nowhere", "DictionaryMissing", base="ab" * 32)
    palette_id = hashlib.sha256(BOOK_PAYLOAD).hexdigest()
    yield "spectral-base-palette", book_of("its base is a palette", mismatch, base=palette_id)
    yield "spectral-book-empty", content_of("no head", b"")
    yield "spectral-book-bands", book_of("4 bands", bands=4, mean=MEANS[:4], entries=[[1] * 4] * 3)
    yield "spectral-book-many", book_of("7 components of 6 bands", k=7, entries=[[1] * 6] * 7)
    yield "spectral-book-cut", content_of("content cut short", book.content[:-5])
    yield "spectral-book-zlib", content_of("content that does not inflate", book.content[:36] + b"no zlib")
    yield "spectral-book-behind", content_of("a byte behind the content", book.content + b"\0")
    yield "spectral-book-long", book_of("a byte too much, inflated", behind=b"\0")
    yield "spectral-book-short", book_of("entries for two components of three", entries=BAND_ENTRIES[:2])
    yield "spectral-book-mean", book_of("a mean beyond the samples", mean=(*MEANS[:5], 65281))
    yield "spectral-book-entry", book_of("an entry of 16385", entries=[[16385] * 6] * 3)


# ---- Vectors of latents ---------------------------------------------------------------------------


AE, GAN = 3, 4


@cache
def network(architecture: str) -> tp.Dictionary:
    """Return a dictionary of networks with short tables; only that of patches has a second generator."""
    return small_network(architecture, realism=architecture == "patches", short=True)


MIXED = 4
"""The plan of mixed decisions."""


def latents_frame(shapes: Sequence[tuple[int, int, int]], body: bytes, mode: int = AE) -> bytes:
    return frame(IMAGES, images_payload(shapes, body, head=mode), 1)


def network_stream(architecture: str, images: bytes) -> bytes:
    return header() + frame(USE, bytes.fromhex(network(architecture).id), 1) + images


def latents_body(
    symbols: Sequence[npt.NDArray[np.int32]], quality: int, architecture: str, effort: str = "fast"
) -> bytes:
    from triptych.fit.networkbook import load_network
    from triptych.modes.latents import build_body

    return build_body(symbols, quality, load_network(network(architecture)).latents, effort)


def latents_vectors() -> Iterator[tuple[str, Callable[[], Good]]]:
    """Give the vectors of section 13. What they must decode to are the latents that were put in."""

    def coded_latents(
        about: str,
        shapes: Sequence[tuple[int, int, int]],
        plan: int,
        architecture: str = "patches",
        quality: int = 50,
        mode: int = AE,
        extreme: bool = False,
        behind: bytes = b"",
    ) -> Good:
        from triptych.fit.networkbook import load_network
        from triptych.modes.alpha import encode_alpha
        from triptych.modes.latents import Grid, cut_sets
        from triptych.options import Options

        random = np.random.default_rng(len(about))
        model = load_network(network(architecture)).latents
        bounds = (0, 4, 8) if architecture == "patches" else (0, 4, 8, 12)
        grids = [Grid(-(-h // 16), -(-w // 16)) for h, w, _ in shapes]
        sets = []
        for part in cut_sets(grids, model):
            rows, columns = grids[part.start]
            sets.append(random_latents(random, bounds, part.stop - part.start, rows, columns, extreme))
        body = latents_body(sets, quality, architecture, "max" if plan == MIXED else "fast")
        assert body[1] == plan
        images = [minidecode.Image(None, latents=latents) for part in sets for latents in part]
        drawn = [np.full(shape, random.integers(256), np.uint8) for shape in shapes]
        alpha = encode_alpha(drawn, Options())
        data = network_stream(architecture, latents_frame(shapes, alpha + body + behind, mode))
        return Good(about, data, images, (f"latents-book-{architecture}",))

    def book(about: str, architecture: str, more: bytes = b"") -> Good:
        return Good(about, header() + frame(DICTIONARY, network(architecture).payload, 1) + more)

    square = (16, 16, 3)
    yield "latents-book-patches", lambda: book("networks of patches", "patches")
    yield (
        "latents-book-whole",
        lambda: book(
            "networks of whole images, with their encoder",
            "whole",
            frame(minidecode.ENCODER, network("whole").encoder),
        ),
    )
    yield (
        "latents-whole",
        lambda: coded_latents("latents of a whole image, the coarsest", [square], 0, "whole", 0),
    )
    yield (
        "latents-whole-many",
        lambda: coded_latents(
            "latents of 30 whole images, two lanes, between levels", [square] * 30, 1, "whole", 63
        ),
    )
    yield (
        "latents-sets",
        lambda: coded_latents(
            "latents in four sets, grey and RGB, one lane",
            [(33, 50, 3), (40, 63, 1), (1, 1, 1), (17, 3, 3), (48, 64, 3)],
            1,
            quality=71,
        ),
    )
    yield (
        "latents-gan",
        lambda: coded_latents("latents of mode 4, the finest", [(20, 90, 3)], 0, quality=100, mode=GAN),
    )
    yield (
        "latents-lanes",
        lambda: coded_latents("latents in four lanes, zeros behind", [(255, 270, 3)], 2, behind=bytes(3)),
    )
    yield (
        "latents-mixed",
        lambda: coded_latents(
            "latents in mixed decisions, in sets", [(30, 40, 3), (32, 36, 1), (9, 9, 3)], 4
        ),
    )
    yield (
        "latents-mixed-whole",
        lambda: coded_latents("whole images in mixed decisions", [square] * 3, 4, "whole", 81),
    )
    yield (
        "latents-alpha",
        lambda: coded_latents(
            "latents with alpha, and some without", [(30, 40, 4), (9, 9, 3), (20, 5, 2)], 0
        ),
    )
    yield (
        "latents-extreme",
        lambda: coded_latents("the greatest latents", [(30, 40, 3), (32, 36, 3)], 0, extreme=True),
    )


def bad_latents() -> Iterator[tuple[str, Bad]]:
    shapes, random = [(33, 50, 3)], np.random.default_rng(1)
    latents = random_latents(random, (0, 4, 8), 1, 3, 4)
    body = latents_body([latents], 50, "patches")
    assert body[:2] == b"\x32\0"
    assert len(body) < 130
    message = body[3:]
    books = ("latents-book-patches", "latents-book-whole", "book")

    def body_of(about: str, body: bytes, shapes: Sequence[tuple[int, int, int]] = shapes) -> Bad:
        return Bad("InvalidFrame", about, network_stream("patches", latents_frame(shapes, body)), books)

    def message_of(about: str, message: bytes, plan: int = 0) -> Bad:
        return body_of(about, bytes([50, plan]) + varint(len(message)) + message)

    def book_of(about: str, content: bytes) -> Bad:
        payload = tp.Dictionary.build("network", {}, content).payload
        data = header() + frame(DICTIONARY, payload, 1) + latents_frame(shapes, body)
        return Bad("InvalidFrame", about, data)

    yield "latents-quality", body_of("a quality of 101", b"\x65" + body[1:])
    yield "latents-plan", body_of("a plan of 3", bytes([50, 3]) + body[2:])
    yield "latents-empty", body_of("no quality", b"")
    yield "latents-length", body_of("a message of more bytes than there are", body[:-4])
    yield "latents-behind", body_of("a byte behind the message", body + b"\0\1")
    yield "latents-short", message_of("a message that ends early", message[:-4])
    yield "latents-words", message_of("a message of half a word more", message + b"\0\0")
    yield "latents-tail", message_of("a message with a word too many", message + bytes(4))
    yield "latents-lanes", message_of("a message of one lane, as two", message, 1)
    yield "latents-state", message_of("a state below 2^31", bytes(4) + b"\0\0\0\0" + message[8:])
    yield "latents-states", message_of("ends in its states", message[:7])
    yield "latents-zeros", message_of("an escape of more than 31 zeros", bytes(7) + b"\x40" + bytes(400))
    beyond = latents.copy()
    beyond[0, 3, 1, 1] = 32768
    yield "latents-great", body_of("a latent of 32768", latents_body([beyond], 50, "patches"))
    yield "latents-positions", body_of("2^19 + 1 positions", body + bytes(200), [(1, (1 << 23) + 1, 3)])
    yield "latents-alpha", body_of("alpha is no k-means body", b"\1\xff" + body, [(33, 50, 4)])
    yield "latents-alpha-long", body_of("alpha goes beyond", b"\xff\x7f" + body, [(33, 50, 4)])
    whole = network_stream("whole", latents_frame([(16, 17, 3)], body))
    yield "latents-shape", Bad("DictionaryMismatch", "an image of another shape", whole, books)
    palette_used = header() + frame(USE, BOOK_ID, 1) + latents_frame(shapes, body)
    yield "latents-palette", Bad("DictionaryMismatch", "latents with a palette", palette_used, books)
    pca_used = header() + frame(USE, bytes.fromhex(network("patches").id), 1)
    pca_used += frame(IMAGES, images_payload(shapes, body, head=PCA), 1)
    yield "latents-pca", Bad("DictionaryMismatch", "a PCA frame with networks", pca_used, books)
    yield from bad_networks(book_of)


def bad_networks(book_of: Callable[[str, bytes], Bad]) -> Iterator[tuple[str, Bad]]:
    """Give bad dictionaries: networks that would only decode latents, were they good."""
    good = random_tensors(np.random.default_rng(2), (0, 2, 4), (0, 16, 16), n_entries=2)
    text = {"architecture": "patches", "config": "{}", "version": "1"}

    def tensors(about: str, said: dict[str, str] = text, **changes: npt.NDArray[Any] | None) -> Bad:
        given = good | {name.replace("__", "."): values for name, values in changes.items()}
        return book_of(about, build_tensors({k: v for k, v in given.items() if v is not None}, said))

    tables: dict[str, Any] = {name.replace(".", "__"): None for name in good if name.startswith("tables.")}
    sums = good["tables.frequencies"].copy()
    sums[-1] += 1
    file = build_tensors({"context.norm": good["context.norm"]}, text)
    header_of = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}'
    yield "network-sum", tensors("a table that does not sum to 65536", tables__frequencies=sums)
    yield "network-empty", book_of("no length", b"")
    yield "network-cut", book_of("a file cut short", file[:-2])
    yield "network-behind", book_of("a byte behind the tensors", file + b"\0")
    yield "network-hole", book_of("a hole", struct.pack("<Q", len(header_of)) + header_of + bytes(3))
    yield "network-json", book_of("no JSON", struct.pack("<Q", 4) + b"{]}}")
    yield "network-none", book_of("no tensors", file)
    yield "network-tables", tensors("no tables", **tables)
    yield "network-text", tensors("no description", {})
    yield "network-version", tensors("version 2", text | {"version": "2"})
    yield "network-other", tensors("another architecture", text | {"architecture": "other"})
    yield "network-config", tensors("a configuration that is no object", text | {"config": "[]"})
    changes: dict[str, tuple[str, Any]] = {
        "nan": ("a weight that is not a number", ("generator__x", np.array([np.nan], np.float32))),
        "odd": ("a group of 3 channels", ("context__bounds", np.array([0, 1, 4], np.int32))),
        "units": ("15 hidden units", ("context__units", np.array([0, 15, 15], np.int32))),
        "taps": ("a tap that looks ahead", ("context__taps", np.array([[0, -1], [0, 0]], np.int8))),
        "norm": ("norms of another type", ("context__norm", good["context.norm"].astype(np.int16))),
        "scale": ("a multiplier below 0", ("context__scale_b", np.full(16, -1, np.int32))),
        "levels": ("17 levels", ("context__bias_a", np.zeros((17, 16), np.int32))),
    }
    for name, (about, (tensor, values)) in changes.items():
        yield f"network-{name}", tensors(about, **{tensor: values})


# ---- Make and check -------------------------------------------------------------------------------


def say(image: minidecode.Image) -> dict[str, Any]:
    """Return what a good vector's JSON says of an image."""
    said: dict[str, Any] = {}
    if image.pixels is not None:
        said = {"shape": list(image.pixels.shape)}
        said["pixels"] = hashlib.sha256(image.pixels.tobytes()).hexdigest()
    if image.latents is not None:
        said["grid"] = list(image.latents.shape)
        said["latents"] = hashlib.sha256(image.latents.astype("<i4").tobytes()).hexdigest()
    if image.key is not None:
        said["key"] = image.key
    if image.label is not None:
        said["label"] = image.label
    if image.indexed is not None:
        indices, colors = image.indexed
        said["indices"] = hashlib.sha256(indices.tobytes()).hexdigest()
        said["palette"] = colors.tobytes().hex()
    if image.attachments:
        said["attachments"] = {str(tag): item.hex() for tag, item in sorted(image.attachments.items())}
    return said


def read_expected(path: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return expected


def book_files(expected: dict[str, Any]) -> list[Path]:
    return [GOOD / f"{name}.tych" for name in expected.get("dictionaries", [])]


@contextlib.contextmanager
def on_shelf() -> Iterator[None]:
    """Have triptych find the dictionaries of the vectors: it looks there for the base of a spectral one."""
    before = os.environ.get(SEARCH_PATH_VARIABLE)
    os.environ[SEARCH_PATH_VARIABLE] = str(GOOD)
    try:
        yield
    finally:
        del os.environ[SEARCH_PATH_VARIABLE]
        if before is not None:
            os.environ[SEARCH_PATH_VARIABLE] = before


def shelf_of(expected: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Have triptych find the dictionaries that a vector needs."""
    return on_shelf() if "dictionaries" in expected else contextlib.nullcontext()


def say_by_triptych(path: Path, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what triptych makes of a good vector, in the words of its JSON."""
    if any("latents" in image for image in expected["images"]):
        with shelf_of(expected):
            return [say(image) for image in latents_by_triptych(path)]
    said = []
    with shelf_of(expected), tp.Reader(path, dictionary=book_files(expected)) as reader:
        for number, pixels in enumerate(reader):
            info = reader.info(number)
            indexed = None
            if "palette_order" in info:
                with contextlib.suppress(tp.NotIndexed):
                    indexed = tuple(reader.read_indexed(number))
            said_of = (info.get("key"), info.get("label"), attachments_of(info))
            image = minidecode.Image(pixels, *said_of, indexed=indexed)
            said.append(say(image))
    return said


def latents_by_triptych(path: Path) -> Iterator[minidecode.Image]:
    """Give the latents of a stream's images; pixels differ between machines."""
    from triptych.dictionary import Shelf
    from triptych.fit.networkbook import load_network
    from triptych.modes.alpha import decode_alpha
    from triptych.modes.latents import Grid, parse_body
    from triptych.scan import scan
    from triptych.source import open_source

    shelf = Shelf([], tp.Limits())
    for item in scan(open_source(path.read_bytes()), tp.Limits()):
        if item.images is not None:
            dictionary = shelf.get(item.reference)
            assert dictionary is not None
            body = item.images.body
            grids = [Grid(-(-shape.height // 16), -(-shape.width // 16)) for shape in item.images.shapes]
            book = load_network(dictionary)
            at = 0 if book.architecture == "whole" else decode_alpha(body, 0, item.images.shapes, 0)[1]
            _, sets = parse_body(body[at:], grids, book.latents)
            yield from (minidecode.Image(None, latents=latents) for part in sets for latents in part)


def say_by_minidecode(path: Path, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what minidecode makes of a good vector, in the words of its JSON."""
    return [say(image) for image in minidecode.decode_stream(path.read_bytes(), payloads_of(expected))]


def payloads_of(expected: dict[str, Any]) -> dict[bytes, bytes]:
    """Return the dictionaries that a vector needs, by id."""
    books: dict[bytes, bytes] = {}
    for book in book_files(expected):
        books |= minidecode.stored_dictionaries(book.read_bytes())
    return books


def timed_error(path: Path, expected: dict[str, Any]) -> tuple[str, float]:
    """Return the error that triptych raises for a bad vector (or `""`) and the seconds it took."""
    name, began = "", time.perf_counter()
    try:
        with shelf_of(expected):
            tp.verify(path)
    except tp.TriptychError as error:
        name = type(error).__name__
    return name, time.perf_counter() - began


def error_of_minidecode(path: Path, expected: dict[str, Any]) -> str:
    try:
        minidecode.decode_stream(path.read_bytes(), payloads_of(expected))
    except (minidecode.Invalid, minidecode.TooLarge, minidecode.Missing) as error:
        return type(error).__name__
    return ""


def check_good(path: Path) -> list[str]:
    """Return what is wrong with a good vector."""
    expected = read_expected(path)
    wrong = []
    if say_by_triptych(path, expected) != expected["images"]:
        wrong.append(f"{path.name}: triptych decodes it to something else")
    if say_by_minidecode(path, expected) != expected["images"]:
        wrong.append(f"{path.name}: minidecode decodes it to something else")
    return wrong


def check_bad(path: Path) -> list[str]:
    """Return what is wrong with a bad vector."""
    expected = read_expected(path)
    wrong = []
    error, seconds = timed_error(path, expected)
    if seconds > SLOWEST:  # the first call may have compiled kernels
        error, seconds = timed_error(path, expected)
    if error != expected["error"]:
        wrong.append(f"{path.name}: triptych raises {error or 'nothing'}, not {expected['error']}")
    if seconds > SLOWEST:
        wrong.append(f"{path.name}: triptych takes {seconds:.1f} s")
    if not error_of_minidecode(path, expected):
        wrong.append(f"{path.name}: minidecode raises nothing")
    return wrong


def check() -> list[str]:
    """Check all vectors; return what is wrong."""
    wrong = []
    for path in sorted(GOOD.glob("*.tych")):
        wrong += check_good(path)
    for path in sorted(BAD.glob("*.tych")):
        wrong += check_bad(path)
    return wrong


def make() -> None:
    """Write the vectors that are missing."""
    GOOD.mkdir(parents=True, exist_ok=True)
    BAD.mkdir(parents=True, exist_ok=True)
    for name, make_vector in good_vectors():
        if not (GOOD / f"{name}.tych").exists():
            good = make_vector()
            said: dict[str, Any] = {"about": good.about, "images": [say(image) for image in good.images]}
            if good.books:
                said["dictionaries"] = list(good.books)
            write(GOOD / f"{name}.tych", good.data, said)
    for name, bad in bad_vectors():
        if not (BAD / f"{name}.tych").exists():
            said = {"about": bad.about, "error": bad.error}
            if bad.books:
                said["dictionaries"] = list(bad.books)
            write(BAD / f"{name}.tych", bad.data, said)


def write(path: Path, data: bytes, said: dict[str, Any]) -> None:
    path.with_suffix(".json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    path.write_bytes(data)
    print("made", path.name, len(data))


def main() -> int:
    parser = argparse.ArgumentParser(description="Make and check the test vectors.")
    parser.add_argument("command", choices=["make", "check"])
    if parser.parse_args().command == "make":
        make()
        return 0
    wrong = check()
    print("\n".join(wrong) or "all vectors are as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
