"""Feed damaged and made-up bytes to everything that reads bytes.

    python tools/fuzz.py --seconds 60 [--target NAME] [--seed N] [--save FOLDER]
    python tools/fuzz.py --target NAME --replay FILE
    python tools/fuzz.py --seconds 600 --learn       adds to tests/corpus what seeds did not show

Each input must give pixels or a TriptychError, within `--timeout` seconds and `ROOM` bytes of memory. What is
accepted is held against a second way to the same result (`Target.run` raises AssertionError if they differ).
Inputs are mutations of seeds: the vectors under tests/vectors, streams and bodies made here, and the corpus
under tests/corpus, which holds for each outcome that others did not show one small input. An input whose
outcome is new becomes a seed; with `--learn` it is minimised and added to the corpus.

Inputs run in a worker process, which notes each one in a file before it tries it; so whatever ends the worker
(a signal, a hang, too much memory) leaves its input behind. The parent saves that as FOLDER/TARGET-HASH.bin,
and starts the next worker until the time is over. The exit code is 1 if anything was found. Run it under
NUMBA_BOUNDSCHECK=1, with a NUMBA_CACHE_DIR of its own, to have the kernels check every index.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import hashlib
import io
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import minidecode
import numpy as np
import numpy.typing as npt
import triptych as tp
from triptych import keeping
from triptych.framing import (
    HEADER_LEN,
    INDEX_END,
    INLINE_SLOT,
    STREAM_HEADER,
    SYNC,
    FrameType,
    build_frame,
    walk,
)
from triptych.images import Shape
from triptych.payload import Entry, build_prefix, parse_images
from triptych.source import open_source

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
CORPUS = VECTORS.parent / "corpus"
MAX_LEARNED = 1 << 10
"""Bytes of an input that the corpus takes."""
LIMITS = tp.Limits(
    pixels_per_image=1 << 12,
    images_per_frame=64,
    payload_bytes=1 << 20,
    dictionary_bytes=1 << 16,
    metadata_bytes=1 << 16,
    decoded_bytes=1 << 16,
)
"""Small, so that the time of an input says something about the code rather than about the input's size."""
ROOM = 1 << 30
"""Bytes of memory that inputs may take beyond what the seeds took."""
MAX_INPUT = 1 << 16
MAX_PLACES = 64
"""Images that are asked for by number: an index may claim billions."""
STARTUP = 600
"""Seconds that a worker may take to compile kernels and run the seeds."""


class Target(NamedTuple):
    """A way into the code: inputs that are good, and what to do with one that may not be."""

    seeds: Callable[[], Iterator[bytes]]
    run: Callable[[bytes], None]


# Targets.


def _frames() -> Iterator[tuple[int, int, bytes]]:
    """Give type, slot and payload of the frames of all vectors."""
    for data in _streams():
        try:
            for frame in walk(open_source(data), tp.Limits()):
                yield frame.type, frame.slot, bytes(frame.payload)
        except tp.TriptychError:
            continue


def _streams() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(VECTORS.rglob("*.tych")))
    yield _indexed_stream()


@cache
def _indexed_stream() -> bytes:
    """Small images in several frames, with keys, a dictionary, metadata and an index."""
    images = [np.full((4, 5, 3), 20 * n, np.uint8) for n in range(8)]
    book = tp.Dictionary.build("palette", {}, bytes([0, 0, 0, 255, 90, 90, 90, 255]))
    target = io.BytesIO()
    for append, dictionary in ((False, None), (True, book)):
        with tp.Writer(target, dictionary, append=append, frame_images=2, threads=1) as writer:
            for number, image in enumerate(images):
                writer.write(image, key=f"{append}{number}", label=number, metadata={"n": number})
    return target.getvalue()


def read_stream(data: bytes) -> None:
    """Read a stream in every way: in order, at random, past damage, and its description."""
    images = []
    failure = None
    try:
        images = list(tp.Reader(data, limits=LIMITS))
    except tp.TriptychError as error:
        failure = error
    reader = tp.Reader(data, limits=LIMITS, damage="skip")
    with contextlib.suppress(tp.TriptychError):
        for info, pixels in reader.items():
            json.dumps(info, default=repr)
            assert pixels.dtype == np.uint8
    with contextlib.suppress(tp.TriptychError):
        for place in (*range(len(reader))[:MAX_PLACES], *reader.keys()):
            with contextlib.suppress(tp.TriptychError):
                # What is at hand shows by index what is there in order.
                pixels = reader[place]
                assert failure or any(np.array_equal(pixels, image) for image in images)
    if failure:
        raise failure
    report = tp.verify(data, limits=LIMITS)
    assert report.images == len(images)


def read_frame(data: bytes) -> None:
    """Read a stream of one frame with good checksums: the input is its type, slot and payload."""
    if len(data) >= 2:
        read_stream(STREAM_HEADER + build_frame(data[0], data[1], data[2:]))


def _frame_seeds() -> Iterator[bytes]:
    for kind, slot, payload in _frames():
        yield bytes([kind, slot]) + payload


_BODY_PALETTES = (0, 1, 2, 7, 40, 256)
"""Colours of the dictionaries that a body may use; 0: none."""


def _palette(k: int) -> npt.NDArray[np.uint8]:
    from triptych.fit.colors import sort_palette

    values = np.arange(256, dtype=np.uint8)
    colors = np.stack([values * 7, values * 31, values * 101, 255 - values % 3], 1)
    return sort_palette(np.ascontiguousarray(colors[:k]))[0]


def _body_seeds() -> Iterator[bytes]:
    """Give bodies behind a byte for the dictionary, one for the number of images and two for each shape."""
    from triptych.modes.indexmaps import BATCH, DENSE, FAST, RANKS, Indexed, Plan, encode_maps

    rng = np.random.default_rng(1)
    plans = [Plan(DENSE), Plan(DENSE, 3), Plan(DENSE, 1, 2), Plan(BATCH), Plan(RANKS)]
    plans += [Plan(FAST), Plan(FAST, 2), Plan(FAST, 1, 1), Plan(FAST, 3, 2)]
    for plan in plans:
        for number, k in enumerate(_BODY_PALETTES):
            if k and plan.needs_palettes:
                continue
            for shapes in ([(1, 1)], [(3, 40)], [(20, 20), (1, 30), (9, 2)]):
                maps = []
                for height, width in shapes:
                    colors = _palette(k or min(height * width, 30))
                    noise = rng.integers(0, len(colors), (height, width))
                    flat = noise * (rng.random((height, width)) < 0.2)
                    maps.append(Indexed(colors, flat.astype(np.uint8), float(k)))
                body = encode_maps(plan, maps, _palette(k) if k else None)
                if body is not None:
                    head = [number, len(shapes) - 1, *(side - 1 for shape in shapes for side in shape)]
                    yield bytes(head) + body


def decode_body(data: bytes) -> None:
    """Decode the body of a k-means frame, and code again what it gives."""
    from triptych.modes.indexmaps import decode_maps, encode_maps, parse_head

    if len(data) < 2:
        return
    k = _BODY_PALETTES[data[0] % len(_BODY_PALETTES)]
    n = 1 + data[1] % 4
    sides = data[2 : 2 + 2 * n]
    if len(sides) < 2 * n:
        return
    shapes = [Shape(1 + h % 64, 1 + w % 64, 4) for h, w in zip(sides[::2], sides[1::2], strict=True)]
    body, palette = memoryview(data)[2 + 2 * n :], _palette(k) if k else None
    maps = decode_maps(body, shapes, palette, n)
    assert [m.indices.shape for m in maps] == [shape[:2] for shape in shapes]
    assert all(m.indices.max() < len(m.colors) for m in maps)
    again = encode_maps(parse_head(body, n)[0], maps, palette)
    assert again is not None, "the encoder declines what the decoder accepted"
    for before, after in zip(maps, decode_maps(memoryview(again), shapes, palette, n), strict=True):
        assert np.array_equal(before.colors, after.colors)
        assert np.array_equal(before.indices, after.indices)


_BLOCKS_HEAD = 6
"""Bytes before a body of blocks: the number of images, channels, and the sides of the first two."""


def _blocks_seeds() -> Iterator[bytes]:
    """Give bodies behind a byte for the number of images, one for their channels and two for each shape."""
    from smallbook import photograph, small_dictionary
    from triptych.modes.pca import MODE
    from triptych.options import Options

    settings: tuple[dict[str, Any], ...] = (
        {},
        {"quality": 90, "tune": "psnr"},
        {"quality": 0},
        {"target_psnr": 33.0},
    )
    for setting in settings:
        for channels in (1, 2, 3, 4):
            for sides in ((20, 33), (16, 16, 1, 40)):
                images = [photograph(h, w, channels, h) for h, w in zip(sides[::2], sides[1::2], strict=True)]
                body = MODE.encode_frame(images, Options(mode="pca", **setting), small_dictionary())
                yield (
                    bytes([len(images) - 1, channels - 1, *(side - 1 for side in (*sides, 1, 1)[:4])]) + body
                )


def decode_blocks(data: bytes) -> None:
    """Decode the body of a frame of blocks; its first image is the same whether or not the rest is wanted."""
    from smallbook import small_dictionary
    from triptych.modes.pca import MODE

    if len(data) < _BLOCKS_HEAD:
        return
    n, channels = 1 + data[0] % 2, 1 + data[1] % 4
    shapes = [Shape(1 + data[2 + 2 * i] % 64, 1 + data[3 + 2 * i] % 64, channels) for i in range(n)]
    body = memoryview(data)[_BLOCKS_HEAD:]
    json.dumps(MODE.describe_frame(body, shapes, small_dictionary()))
    images = MODE.decode_frame(body, shapes, small_dictionary(), 0, n)
    assert [image.shape for image in images] == shapes
    for place, image in enumerate(images):
        (alone,) = MODE.decode_frame(body, shapes, small_dictionary(), place, place + 1)
        assert np.array_equal(alone, image)


@cache
def _components() -> tuple[tp.Dictionary, list[npt.NDArray[np.uint8]]]:
    """Give a dictionary of components, and images that it is of."""
    random = np.random.default_rng(3)
    factors = random.normal(0, 40, (3, 4, 5, 2))
    kinds = random.normal(0, 1, (9, 3))[random.integers(0, 9, 80)]
    images = 128 + np.tensordot(kinds, factors, 1) + random.normal(0, 2, (80, 4, 5, 2))
    pictures = list(np.clip(np.rint(images), 0, 255).astype(np.uint8))
    return tp.fit("pca", pictures, quality=75, variance=0.999), pictures


def _components_seeds() -> Iterator[bytes]:
    """Give bodies, with a note that says nothing, behind a byte for the number of images."""
    from triptych.fit.basis import load_basis
    from triptych.modes import components
    from triptych.options import Options

    book, pictures = _components()
    basis = load_basis(book)
    for n in (1, 5, 80):
        for quality in (30, 75, 95):
            body, _ = components.encode_frame(pictures[:n], Options(mode="pca", quality=quality), book)
            coded = components.parse_body(memoryview(body), n, basis)
            for plan in (components.MIXED, components.SIMILAR, components.TABLES):
                yield bytes([n - 1]) + b"\xff\xff" + components.build_body(coded, plan, basis)


def decode_components(data: bytes) -> None:
    """Decode the body of a frame of components: all, the first two, and all by their number."""
    from triptych.modes.pca import MODE

    if not data:
        return
    book, pictures = _components()
    n = 1 + data[0] % 128
    shapes = [Shape(*pictures[0].shape)] * n
    body = memoryview(data)[1:]
    json.dumps(MODE.describe_frame(body, shapes, book))
    images = MODE.decode_frame(body, shapes, book, 0, n)
    assert [image.shape for image in images] == shapes
    few = MODE.decode_frame(body, shapes, book, 0, n, 2)
    assert all(map(np.array_equal, few[-1:], MODE.decode_frame(body, shapes, book, n - 1, n, 2)))
    every = MODE.decode_frame(body, shapes, book, 0, n, book.n_components)
    assert all(map(np.array_equal, every, images))


_BANDS = 7
_SPECTRAL_HEAD = 5
"""Bytes before a spectral body: the number of images, and the sides of the first two."""


@cache
def _spectral() -> tp.Dictionary:
    """Give a spectral dictionary."""
    random = np.random.default_rng(5)
    cube = 128 + random.normal(0, 30, (20, 20, 4)).cumsum(axis=0) @ random.normal(0, 1, (4, _BANDS))
    return tp.fit("pca", [np.clip(cube, 0, 255).astype(np.uint8)], variance=1.0, threads=1)


def _spectral_seeds() -> Iterator[bytes]:
    """Give bodies behind a byte for the number of images and two for each shape."""
    from triptych.modes.pca import MODE
    from triptych.options import Options

    random = np.random.default_rng(6)
    for sides in ((9, 20), (16, 16, 1, 5)):
        for quality in (0, 50, 100):
            shapes = zip(sides[::2], sides[1::2], strict=True)
            images = [random.integers(0, 256, (h, w, _BANDS), np.uint8) // 2 for h, w in shapes]
            options = Options(mode="pca", quality=quality, effort="fast")
            head = bytes([len(images) - 1, *(side - 1 for side in (*sides, 1, 1)[:4])])
            yield head + MODE.encode_frame(images, options, _spectral())


def decode_spectral(data: bytes) -> None:
    """Decode the body of a frame of many bands: all, the first two components, and all by their number."""
    from triptych.modes.pca import MODE

    if len(data) < _SPECTRAL_HEAD:
        return
    book, n = _spectral(), 1 + data[0] % 2
    shapes = [Shape(1 + data[1 + 2 * i] % 32, 1 + data[2 + 2 * i] % 32, _BANDS) for i in range(n)]
    body = memoryview(data)[_SPECTRAL_HEAD:]
    json.dumps(MODE.describe_frame(body, shapes, book))
    images = MODE.decode_frame(body, shapes, book, 0, n)
    assert [image.shape for image in images] == shapes
    few = MODE.decode_frame(body, shapes, book, 0, n, 2)
    assert all(map(np.array_equal, few[-1:], MODE.decode_frame(body, shapes, book, n - 1, n, 2)))
    assert all(map(np.array_equal, MODE.decode_frame(body, shapes, book, 0, n, _BANDS), images))


_GRIDS = ((3, 4), (1, 1), (1, 9), (7, 2))
_BODY, _CONTENT = 0, 1


@cache
def _network() -> tp.Dictionary:
    """Give the networks of the vectors."""
    return tp.load_dictionary(VECTORS / "v0" / "latents-book-patches.tych")


def _latents_seeds() -> Iterator[bytes]:
    """Give bodies behind bytes for their grids and number of images, and contents of dictionaries."""
    from smallnet import random_latents, random_tensors
    from triptych.fit.networkbook import build_tensors, load_network
    from triptych.modes.latents import build_body

    random, model = np.random.default_rng(3), load_network(_network()).latents
    for kind, grid in enumerate(_GRIDS):
        for n, quality, extreme in ((1, 0, False), (2, 77, True), (9, 50, False)):
            symbols = random_latents(random, model.net.bounds.tolist(), n, *grid, extreme)
            for effort in ("fast", "max"):
                yield bytes([_BODY, kind, n - 1]) + build_body([symbols], quality, model, effort)
    for architecture in ("patches", "whole"):
        book = tp.load_dictionary(VECTORS / "v0" / f"latents-book-{architecture}.tych")
        yield bytes([_CONTENT, 0, 0]) + book.content
    # Smaller ones, without what draws pixels: more of them is hit.
    text = {"architecture": "patches", "config": "{}", "version": "1"}
    for bounds, units in (((0, 2, 6), (0, 0, 16)), ((0, 2), (0, 16))):
        tensors = random_tensors(random, bounds, units, n_entries=2)
        yield bytes([_CONTENT, 0, 0]) + build_tensors(tensors, text)


def decode_latents(data: bytes) -> None:
    """Decode a body; or code latents with a dictionary's content, and draw them if it can."""
    from smallnet import random_latents
    from triptych.fit.networkbook import load_network
    from triptych.modes.latents import Grid, build_body, parse_body, parse_head

    if len(data) < 3:
        return
    if data[0] % 2 == _CONTENT:
        book = tp.Dictionary.build("network", {}, data[3:])
        model = load_network(book).latents
        symbols = random_latents(np.random.default_rng(data[1]), model.net.bounds.tolist(), 1, 2, 2)
        body = build_body([symbols], data[2] % 101, model)
        assert np.array_equal(parse_body(memoryview(body), [Grid(2, 2)], model)[1][0], symbols)
        _draw(body, book)
        return
    grid, n = Grid(*_GRIDS[data[1] % len(_GRIDS)]), 1 + data[2] % 16
    model, body = load_network(_network()).latents, data[3:]
    quality, found = parse_body(memoryview(body), [grid] * n, model)
    head = parse_head(memoryview(body))
    again = build_body(found, quality, model, "fast" if head.lanes else "max")
    new = parse_head(memoryview(again))
    # Zeros may come after mixed decisions, as after every message of the range coder.
    messages = [data[at.begin : at.end].rstrip(b"\0") for data, at in ((again, new), (body, head))]
    same = again == body[: head.end] if head.lanes else messages[0] == messages[1]
    assert new.lanes != head.lanes or same
    shape = (16 * grid.rows - 3, 16 * grid.columns - 9, 3)
    others = minidecode.decode_latents(body, [shape] * n, _network().payload)
    assert np.array_equal(np.stack(others), np.concatenate(found))


def _draw(body: bytes, book: tp.Dictionary) -> None:
    """Show latents of a grid of 2 x 2, where torch is installed."""
    try:
        import torch
    except ImportError:
        return
    from triptych.modes.neural import AE

    torch.set_num_threads(1)
    for realism in (0.0, 0.5):
        images = AE.decode_frame(memoryview(body), [Shape(20, 31, 1)], book, 0, 1, None, realism)
        assert [image.shape for image in images] == [(20, 31, 1)]


def _dictionary_seeds() -> Iterator[bytes]:
    for kind, _, payload in _frames():
        if kind == FrameType.DICTIONARY:
            yield payload
    for k in _BODY_PALETTES[1:]:
        yield tp.Dictionary.build("palette", {"n_colors": k, "wcss": 1.5}, _palette(k).tobytes()).payload
    yield _spectral().payload


def read_dictionary(data: bytes) -> None:
    """Take a dictionary's payload for what it may be: a file, a palette, and a palette to encode with."""
    from triptych.fit import spectral
    from triptych.fit.basis import load_basis
    from triptych.modes.blocks import load
    from triptych.modes.reduce import dictionary_colors

    book = tp.Dictionary(data)
    assert tp.load_dictionary(book.to_bytes(), limits=LIMITS).id == book.id
    json.dumps(book.params)
    if book.kind == "blocks":
        load(book)
        image = np.arange(17 * 9 * 3, dtype=np.uint8).reshape(17, 9, 3)
    elif book.kind == "components":
        image = np.zeros(load_basis(book).shape, np.uint8)
    elif book.kind == "spectral":
        image = np.zeros((9, 7, spectral.load_basis(book).bands), np.uint8)
    if book.kind in ("blocks", "components", "spectral"):
        stream = tp.encode(image, mode="pca", dictionary=book, embed=True)
        assert tp.decode(stream).size == image.size
        return
    colors = dictionary_colors(book)
    image = colors[:, None]
    stream = tp.encode(image, mode="kmeans", dictionary=book, lossless=True)
    assert np.array_equal(tp.decode(stream), image)


def _index_seeds() -> Iterator[bytes]:
    yield _split_index()[1]
    for kind, _, payload in _frames():
        if kind == FrameType.INDEX:
            yield payload


@cache
def _split_index() -> tuple[bytes, bytes]:
    """Give a stream without its last index, and that."""
    stream = _indexed_stream()
    *_, last = walk(open_source(stream), tp.Limits())
    return stream[: last.offset], bytes(last.payload)


def read_index(data: bytes) -> None:
    """Read a good stream whose index is the input: an index can be wrong, but it cannot change an image."""
    read_stream(_split_index()[0] + build_frame(FrameType.INDEX, 0, data))


def _attachment_seeds() -> Iterator[bytes]:
    shape, blob = Shape(1, 1, 1), bytes(range(40))
    some = [{}, {1: blob}, {1: blob, 2: b""}, {1: blob, 3: b"icc", 4: b'{"a":[1,2]}'}, {9: b"?"}]
    for n in range(1, len(some) + 1):
        yield build_prefix(1, [Entry(shape, "key" * (i % 2) or None, i, some[i]) for i in range(n)])


def read_attachments(data: bytes) -> None:
    """Parse what a frame says of its images, and build it again."""
    from triptych.metadata import name_attachments

    images = parse_images(memoryview(data), 0, LIMITS)
    entries = [images.entry(number) for number in range(len(images.shapes))]
    for entry in entries:
        json.dumps(name_attachments(entry.attachments), default=repr)
    again = parse_images(memoryview(build_prefix(images.mode, entries)), 0, LIMITS)
    assert [again.entry(number) for number in range(len(entries))] == entries


def seal(data: bytes) -> bytes:
    """Make the lengths and checksums of a stream good again, so that what is inside is believed.

    Frames begin where they say; the last one ends where the data do. Whatever is no frame becomes PADDING.
    """
    out, at = bytearray(STREAM_HEADER), len(STREAM_HEADER)
    while at < len(data):
        head = data[at : at + HEADER_LEN].ljust(HEADER_LEN, b"\0")
        is_frame = head[:2] == SYNC
        kind, slot = (head[2], head[3]) if is_frame else (FrameType.PADDING, 0)
        begin = at + HEADER_LEN if is_frame else at
        payload = data[begin : begin + int.from_bytes(head[4:8], "little")] if is_frame else data[begin:]
        if kind == FrameType.INDEX and len(payload) > _INDEX_TAIL:
            length, span = HEADER_LEN + len(payload), len(out)
            payload = payload[:-_INDEX_TAIL] + struct.pack("<IQ8s", length, span, INDEX_END)
        out += build_frame(kind, slot, payload)
        at = begin + len(payload)
    return bytes(out)


def read_sealed(data: bytes) -> None:
    """Read a stream whose lengths and checksums are made good, some small ones by the second decoder too."""
    stream = seal(data)
    if len(stream) < MAX_SECOND and stream[-1] % 4 == 0 and not _has_networks(stream):
        _compare_decoders(stream)
    read_stream(stream)


def _compare_decoders(stream: bytes) -> None:
    """Hold a stream of few pixels against the second decoder: the same pixels, or refused by both."""
    try:
        tp.verify(stream, limits=FEW)
    except (tp.LimitExceeded, tp.DictionaryMissing):
        return
    except tp.TriptychError:
        try:
            minidecode.decode_stream(stream)
        except (minidecode.Invalid, minidecode.TooLarge, minidecode.Missing):
            return
        raise AssertionError("the second decoder takes what is refused") from None
    for image, other in zip(tp.Reader(stream), minidecode.decode_stream(stream), strict=True):
        assert np.array_equal(image, other.pixels), "the second decoder gives other pixels"


def _has_networks(stream: bytes) -> bool:
    """Say whether latents may be in it: the second decoder gives no pixels of these."""
    frames = walk(open_source(stream), tp.Limits(), on_damage=lambda _: None)
    try:
        return any(
            frame.type == FrameType.IMAGES
            and frame.payload[16 * (frame.slot == INLINE_SLOT) :][:1].tobytes()[:1] in _NETWORK_HEADS
            for frame in frames
        )
    except tp.TriptychError:
        return True


_NETWORK_HEADS = frozenset(bytes([mode | flags]) for mode in (3, 4) for flags in range(0, 256, 16))
_INDEX_TAIL = 20
MAX_SECOND = 600
FEW = dataclasses.replace(LIMITS, pixels_per_image=500, total_pixels=500)
"""Bytes of streams, and pixels, that the second decoder is tried on: it is slow."""


def cost_of(data: bytes) -> tuple[float, int]:
    """Read a stream under the default limits: in order, past damage, by number, and its description.

    No more pixels are decoded than `MAX_PIXELS`, so that what is left is not the cost of pixels.

    Returns
    -------
    seconds, nbytes
        Of CPU; of memory at most, as far as Python counts it.
    """
    limits = tp.Limits(total_pixels=MAX_PIXELS)
    keeping.forget()
    tracemalloc.start()
    began = time.process_time()
    for damage in ("raise", "skip"):
        with contextlib.suppress(tp.TriptychError), tp.Reader(data, damage=damage, limits=limits) as reader:
            with contextlib.suppress(tp.TriptychError):
                for _ in reader:
                    pass
            for place in range(len(reader))[:4]:
                for look in (reader.info, reader.__getitem__):
                    with contextlib.suppress(tp.TriptychError):
                        look(place)
    with contextlib.suppress(tp.TriptychError):
        tp.verify(data, limits=limits)
    spent = time.process_time() - began
    nbytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return spent, nbytes


def bound_costs(data: bytes) -> None:
    """Nothing costs more than a second or 300 MB for each kB each time it is read, pixels aside."""
    seconds, nbytes = cost_of(data)
    size = max(1, len(data) / 1000)
    # In five ways, and the pixels three times; tracing takes its time too.
    assert seconds <= 5 * size + SLACK_SECONDS, f"{seconds:.1f} s for {len(data):,} bytes"
    assert nbytes <= 3e8 * size + SLACK_BYTES, f"{nbytes:,} bytes for {len(data):,} bytes"


def read_costly(data: bytes) -> None:
    """Bound the costs of a stream whose lengths and checksums are made good."""
    bound_costs(seal(data))


MAX_PIXELS = 1 << 20
SLACK_SECONDS, SLACK_BYTES = 5.0, 1 << 27
"""What three times so many pixels may cost, on a machine that does something else too."""


def _inflated_seeds() -> Iterator[bytes]:
    """Give what blocks and spectral dictionaries deflate, behind a byte for the kind."""
    yield b"\0" + zlib.decompress(_small_book().content)
    yield b"\1" + _spectral().content[:36] + zlib.decompress(_spectral().content[36:])


@cache
def _small_book() -> tp.Dictionary:
    from smallbook import small_dictionary

    return small_dictionary()


def read_inflated(data: bytes) -> None:
    """Decode a body with a dictionary whose deflated part is the input."""
    from smallbook import photograph
    from triptych.modes.pca import MODE
    from triptych.options import Options

    if not data:
        return
    if data[0] % 2 == 0:
        book = tp.Dictionary.build("blocks", {}, zlib.compress(data[1:], 1))
        picture = photograph(20, 33, 3)
        body = MODE.encode_frame([picture], Options(mode="pca"), _small_book())
    else:
        book = tp.Dictionary.build("spectral", {}, data[1:37] + zlib.compress(data[37:], 1))
        picture = np.full((6, 5, _BANDS), 99, np.uint8)
        body = MODE.encode_frame([picture], Options(mode="pca"), _spectral())
    shapes = [Shape(*picture.shape)]
    assert MODE.decode_frame(memoryview(body), shapes, book, 0, 1)[0].shape == picture.shape
    again = MODE.encode_frame([picture], Options(mode="pca"), book)
    MODE.decode_frame(memoryview(again), shapes, book, 0, 1)


TARGETS = {
    "stream": Target(_streams, read_stream),
    "sealed": Target(_streams, read_sealed),
    "costs": Target(_streams, read_costly),
    "inflated": Target(_inflated_seeds, read_inflated),
    "frame": Target(_frame_seeds, read_frame),
    "body": Target(_body_seeds, decode_body),
    "blocks": Target(_blocks_seeds, decode_blocks),
    "components": Target(_components_seeds, decode_components),
    "spectral": Target(_spectral_seeds, decode_spectral),
    "latents": Target(_latents_seeds, decode_latents),
    "dictionary": Target(_dictionary_seeds, read_dictionary),
    "index": Target(_index_seeds, read_index),
    "attachments": Target(_attachment_seeds, read_attachments),
}


# Mutation.

_EDGES = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 129, 254, 255)


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change an input in one to four places."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(out) + 1)
        stop = min(len(out), start + rng.choice((1, 1, 2, 4, 8, 100)))
        way = rng.randrange(9)
        if way == 0 and stop > start:
            out[start] ^= 1 << rng.randrange(8)
        elif way == 1 and stop > start:
            out[start] = rng.choice(_EDGES)
        elif way == 2 and stop > start:
            out[start] = rng.randrange(256)
        elif way == 3:
            out[start:stop] = rng.randbytes(stop - start)
        elif way == 4:
            out[start:start] = rng.randbytes(rng.choice((1, 2, 4, 30)))
        elif way == 5:
            del out[start:stop]
        elif way == 6:
            out[start:start] = out[start:stop]
        elif way == 7:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(out), rng.getrandbits(32)))
            out[start : start + 4] = number.to_bytes(4, "little")
        else:
            other = rng.choice(others)
            cut = rng.randrange(len(other) + 1)
            out[start:] = other[cut:]
    return bytes(out[:MAX_INPUT])


# The worker.


def outcome_of(target: Target, data: bytes) -> str:
    """Run an input; give "accepted", or the error's class and text less its numbers."""
    try:
        target.run(data)
    except tp.TriptychError as error:
        text = error.args[0] if error.args else ""
        return f"{type(error).__name__}: {re.sub(r'[0-9a-f]{8,}|[0-9,]+|0x..', '#', str(text))[:80]}"
    return "accepted"


def corpus_of(name: str) -> list[bytes]:
    """Give the inputs of a target that earlier campaigns have left."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*.bin"))]


def minimise(target: Target, data: bytes, outcome: str) -> bytes:
    """Take away what an input does not need for its outcome, ever smaller pieces of it."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            less = data[:at] + data[at + size :]
            if outcome_of(target, less) == outcome:
                data = less
            else:
                at += size
        size //= 2
    return data


def _learn(name: str, data: bytes, outcome: str) -> None:
    """Add an input to the corpus, if it can be made small."""
    small = minimise(TARGETS[name], data, outcome) if len(data) <= 4 * MAX_LEARNED else data
    if len(small) <= MAX_LEARNED:
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        (CORPUS / name / f"{hashlib.sha256(small).hexdigest()[:16]}.bin").write_bytes(small)


def work(name: str, seconds: float, seed: int, timeout: float, note: Path, learns: bool = False) -> None:
    """Run mutated inputs for so long; print a count of the outcomes."""
    target, rng = TARGETS[name], random.Random(seed)
    seeds = [data[:MAX_INPUT] for data in (*target.seeds(), *corpus_of(name))]
    outcomes: Counter[str] = Counter()
    with note.open("r+b") as file:
        for data in seeds:
            _write_note(file, data)
            outcomes[outcome_of(target, data)] += 1
        _limit_memory()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = mutate(rng.choice(seeds), seeds, rng)
            _write_note(file, data)
            # Ends the process from a thread of its own, whatever the main thread is at.
            faulthandler.dump_traceback_later(timeout, exit=True)
            outcome = outcome_of(target, data)
            faulthandler.cancel_dump_traceback_later()
            if outcome not in outcomes and len(seeds) < 10_000:
                seeds.append(data)
                if learns:
                    _learn(name, data, outcome)
            outcomes[outcome] += 1
    print(json.dumps(outcomes))


def _write_note(file: io.BufferedRandom, data: bytes) -> None:
    file.seek(0)
    file.write(len(data).to_bytes(4, "little") + data)
    file.flush()


def _read_note(note: Path) -> bytes:
    content = note.read_bytes()
    return content[4 : 4 + int.from_bytes(content[:4], "little")]


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, resource.RLIM_INFINITY))


# The parent.


def fuzz(name: str, seconds: float, seed: int, timeout: float, save: Path, learns: bool = False) -> int:
    """Run workers on a target for so long; give the number of inputs saved."""
    end = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    findings = 0
    while (left := end - time.monotonic()) > 0:
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder) / "input"
            note.write_bytes(bytes(4))
            command = [sys.executable, "-X", "faulthandler", sys.argv[0], "--worker", str(note)]
            command += ["--target", name, "--seconds", str(left), "--seed", str(seed)]
            command += ["--timeout", str(timeout), *["--learn"] * learns]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=left + timeout + STARTUP
                )
                cause, printed = done.stderr, done.stdout
                failed = done.returncode != 0
            except subprocess.TimeoutExpired:
                cause, printed, failed = "the worker does not end", "", True
            if failed:
                data = _read_note(note)
                findings += 1
                save.mkdir(parents=True, exist_ok=True)
                path = save / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.bin"
                path.write_bytes(data)
                print(f"{name}: {len(data)} bytes saved as {path}\n{cause[-3000:]}", flush=True)
            else:
                outcomes.update(json.loads(printed.splitlines()[-1]))
        seed += 1_000_003
    total = sum(outcomes.values())
    accepted = outcomes["accepted"]
    print(f"{name}: {total:,} inputs, {accepted:,} accepted, {len(outcomes)} outcomes, {findings} findings")
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="in all, shared by the targets")
    parser.add_argument("--target", choices=TARGETS, help="default: all, one after the other")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=2, help="seconds for one input")
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"), help="folder for what is found")
    parser.add_argument("--replay", type=Path, help="run one saved input, here, with its traceback")
    parser.add_argument("--learn", action="store_true", help="add what is new to tests/corpus, minimised")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker is not None:
        work(given.target, given.seconds, given.seed, given.timeout, given.worker, given.learn)
        return 0
    if given.replay is not None:
        print(outcome_of(TARGETS[given.target], given.replay.read_bytes()))
        return 0
    names = [given.target] if given.target else list(TARGETS)
    share = given.seconds / len(names)
    findings = [fuzz(name, share, given.seed, given.timeout, given.save, given.learn) for name in names]
    return int(any(findings))


if __name__ == "__main__":
    sys.exit(main())
