"""The ceiling of costs: no small input takes more than 1 s of CPU or 300 MB for each kB, pixels aside."""

import struct
from pathlib import Path

import fuzz
import pytest
import triptych as tp
from triptych.framing import STREAM_HEADER, FrameType, build_frame
from triptych.images import Shape
from triptych.payload import Entry, build_prefix
from triptych.varint import build_varint

VECTORS = sorted(fuzz.VECTORS.rglob("*.tych"))
PIXEL = Shape(1, 1, 1)


def entry(shape=PIXEL, key=None, attachments=None):
    return Entry(shape, key, None, attachments or {})


def images(entries, body=b"", slot=0, mode=1):
    return STREAM_HEADER + build_frame(FrameType.IMAGES, slot, build_prefix(mode, entries) + body)


def nested(n):
    return b'{"a":' + b"[" * n + b"]" * n + b"}"


def a_basis_of_zeros(n_bytes):
    """A dictionary of components with as many entries as its bytes may stand for."""
    sides = 128 * 4 + 2, 127
    n_components = 1024 * n_bytes // (128 * 128 * 3) - 1
    head = build_varint(sides[0] - 4) + build_varint(sides[1]) + struct.pack("<BBHB", 0, 60, 90, 8)
    content = (head + build_varint(n_components)).ljust(n_bytes, b"\0")
    book = tp.Dictionary.build("components", {}, content)
    frame = build_frame(FrameType.DICTIONARY, 1, book.payload)
    image = build_prefix(2, [entry(Shape(128, 128, 3))]) + b"\xff\xff" + bytes([0, 60, 0])
    return STREAM_HEADER + frame + build_frame(FrameType.IMAGES, 1, image)


HARD = {
    "one JSON for 10,000 images": lambda: images(
        [entry(attachments={4: nested(400)})] * 10_000, bytes(10_000)
    ),
    "60,000 images": lambda: images([entry()] * 60_000, bytes(60_000)),
    "20,000 keys": lambda: images([entry(key=str(n)) for n in range(20_000)], bytes(9)),
    "16 attachments of each": lambda: images(
        [entry(attachments={tag: b"x" for tag in range(16)})] * 2000, bytes(2000)
    ),
    "deep JSON": lambda: STREAM_HEADER + build_frame(FrameType.META, 0, nested(100_000)),
    "wide JSON": lambda: STREAM_HEADER + build_frame(FrameType.META, 0, b'{"a":[' + b"0," * 99_999 + b"0]}"),
    "many frames": lambda: STREAM_HEADER + build_frame(FrameType.PADDING, 0, b"") * 5000,
    "many slots": lambda: (
        STREAM_HEADER + b"".join(build_frame(FrameType.USE, slot, bytes(32)) for slot in range(1, 255))
    ),
    "a basis of zeros": lambda: a_basis_of_zeros(4000),
    "things like headers": lambda: STREAM_HEADER + b"\xf5\xd3" * 20_000,
    "pixels without bytes": lambda: images([entry(Shape(1024, 1024, 1))]),
    "100 pictures without bytes": lambda: images([entry(Shape(1024, 1023, 1))] * 64, bytes(2000)),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_streams(name):
    data = HARD[name]()
    fuzz.cost_of(data)  # what is compiled is not counted
    fuzz.bound_costs(data)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["v0", "bad"])
def test_vectors(folder):
    for path in VECTORS:
        if Path(path).parent.name == folder:
            fuzz.bound_costs(path.read_bytes())


def test_what_is_too_dear_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "cost_of", lambda data: (11.0, 0))
    with pytest.raises(AssertionError, match=r"11\.0 s for 1,000 bytes"):
        fuzz.bound_costs(bytes(1000))
    monkeypatch.setattr(fuzz, "cost_of", lambda data: (0.1, 10**9))
    with pytest.raises(AssertionError, match="1,000,000,000 bytes for 1,000 bytes"):
        fuzz.bound_costs(bytes(1000))
