"""The body of a k-means frame: palettes and index maps to bytes and back. FORMAT.md section 6 is the law.

Four coders: *dense* (fewest bytes), *fast*, and two for small images with palettes of their own: *batch*, and
*ranks*, which is fast where neighbours differ. In dense and fast, small images of a frame share a model. All
adaptive state is made here and handed to the kernels. Nothing here chooses: what colours a picture gets and
which coder it goes to is the business of `triptych.modes.kmeans`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from triptych_kernels import densemap, fastmap, mapmodel, paletteset, spritemap
from triptych_kernels.mapmodel import Maps
from triptych_kernels.palettetree import build_tree
from triptych_kernels.rangecoder import Coder, finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH, TOO_MUCH_WORK

from triptych.errors import InvalidFrame, LimitExceeded
from triptych.images import Pixels, Shape
from triptych.modes.rankmaps import build_ranks, parse_ranks
from triptych.varint import build_varint, parse_varint

Colors = npt.NDArray[np.uint8]
IndexMap = npt.NDArray[np.uint8]
MapModel = densemap.DenseModel | fastmap.FastModel

DENSE, FAST, BATCH, RANKS = 0, 1, 2, 3
CODER_NAMES = ("dense", "fast", "batch", "ranks")
HAS_ERRORS = 4
ERROR_SCALE = 1472
"""Steps of the stored error for each doubling: the error of 2^28 pixels of four channels fits in u16."""
_CAUSES = {
    INPUT_EXHAUSTED: "ends before its last pixel",
    TAIL_MISMATCH: "does not end as an encoder would have ended it",
    BAD_SYMBOL: "holds a palette or a rank that cannot be",
    TOO_MUCH_WORK: "takes more decisions than its pixels allow",
}


@dataclass(frozen=True)
class Plan:
    """The first byte of a body: which coder, and how it is set."""

    coder: int
    n_flags: int = 0
    pairs: int = 0

    def to_byte(self, has_errors: bool) -> int:
        """Build the byte."""
        return self.coder | HAS_ERRORS * has_errors | self.n_flags << 3 | self.pairs << 5

    @property
    def needs_palettes(self) -> bool:
        """Whether the plan is for images with palettes of their own, and not for those of a dictionary."""
        return self.coder in (BATCH, RANKS) or self.pairs == mapmodel.SHARED

    @classmethod
    def parse(cls, byte: int) -> Plan:
        """Parse the byte; raise InvalidFrame for what no encoder writes."""
        coder, n_flags, pairs = byte & 3, byte >> 3 & 3, byte >> 5
        known = {DENSE: (0, mapmodel.SHARED), FAST: (0, 1, mapmodel.SHARED)}
        if pairs not in known.get(coder, (0,)) or (coder in (BATCH, RANKS) and n_flags):
            raise InvalidFrame("unknown coder in a k-means body", got=byte)
        return cls(coder, n_flags, pairs)


@dataclass(frozen=True)
class Indexed:
    """A picture as the coders take it: colours in key order, none twice; the error of the reduction."""

    colors: Colors
    indices: IndexMap
    error: float = 0.0


def _bits_for(n: int, least: int, most: int) -> int:
    return min(most, max(least, n.bit_length()))


def _line_bits(plan: Plan, k: int, n_pixels: int) -> int:
    """Give the bits of the number of a line, of histories or of hashed counters, for colours and pixels."""
    quarters_per_pixel = 8 if plan.coder == FAST else 13 if k <= 16 else 26
    return _bits_for(n_pixels * quarters_per_pixel // 4, 12, 20)


class _MapCoder:
    """One of the two map coders with the adaptive state of one palette, for either direction.

    `model` is the state that palettes share, where they do: made for the image with the most pixels.
    """

    def __init__(self, plan: Plan, colors: Colors, n_pixels: int, model: MapModel | None = None) -> None:
        self.tree = build_tree(colors)
        self.colors = colors.reshape(-1)
        self.n_channels = 4 if (colors[:, 3] != 255).any() else 3
        self.plan = plan
        self.bits = _line_bits(plan, len(colors), n_pixels)
        self.model = model or _new_map_model(plan, len(colors), self.bits)
        if isinstance(model, densemap.DenseModel):
            densemap.begin_palette(model, self.bits)
        elif model is not None:
            fastmap.begin_palette(model, self.bits)

    def code(
        self, plane: IndexMap, shape: Shape, coder: Coder, sink: Pixels | None, source: Pixels | None
    ) -> int:
        """Code one plane; return a status."""
        head = (plane, shape.height, shape.width, self.colors, self.n_channels, self.tree)
        tail = (mapmodel.new_scratch(shape.width), coder, sink, source)
        if isinstance(self.model, densemap.DenseModel):
            status = densemap.code_dense(*head, self.model, self.bits, self.plan.n_flags, *tail)
        else:
            status = fastmap.code_fast(
                *head, self.model, self.bits, self.plan.n_flags, self.plan.pairs, *tail
            )
        return int(status)


def _new_map_model(plan: Plan, k: int, bits: int) -> MapModel:
    if plan.coder == DENSE:
        return densemap.new_model(k, bits, plan.pairs)
    return fastmap.new_model(k, bits, plan.pairs)


class _BatchCoder:
    """The batch coder with the adaptive state of one frame, for either direction."""

    def __init__(self, n_pixels: int) -> None:
        self.bits = _bits_for(2 * n_pixels, 14, 22)
        self.model = spritemap.new_model(self.bits, n_pixels)
        self.palettes = spritemap.new_palettes()

    def code(
        self,
        plane: IndexMap,
        shape: Shape,
        colors: Colors,
        coder: Coder,
        sink: Pixels | None,
        source: Pixels | None,
    ) -> int:
        """Code one plane; return a status."""
        return int(
            spritemap.code_sprite(
                plane,
                shape.height,
                shape.width,
                colors.reshape(-1),
                len(colors),
                self.model,
                self.bits,
                self.palettes,
                mapmodel.new_scratch(shape.width),
                coder,
                sink,
                source,
            )
        )


def _code_frame(
    plan: Plan,
    shapes: Sequence[Shape],
    maps: Maps,
    has_book: bool,
    sink: Pixels | None,
    source: Pixels | None,
) -> tuple[int, Coder]:
    """Code the first maps of a frame of these shapes in either direction; return (status, coder).

    `has_book` says that all have the colours of a dictionary; else each has its palette before it. The
    encoder gives `sink` and full maps, the decoder `source` and maps to fill in.
    """
    coder = new_coder()
    if source is not None:
        start(coder, source)
    n_pixels = sum(shape.pixels for shape in shapes)
    palettes = paletteset.new_model()
    map_coder: _MapCoder | None = None
    common: MapModel | None = None
    if plan.pairs == mapmodel.SHARED:
        largest = max(shape.pixels for shape in shapes)
        common = _new_map_model(plan, 256, _line_bits(plan, 256, largest))  # as many lines as any may need
    batch = _BatchCoder(n_pixels) if plan.coder == BATCH else None
    status = OK
    for i, shape in enumerate(shapes[: len(maps.places)]):
        if not has_book:
            status = int(paletteset.code_palettes(maps, i, i + 1, palettes, coder, sink, source))
        colors = maps.palette(i)
        if status == OK and batch is not None:
            status = batch.code(maps.plane(i), shape, colors, coder, sink, source)
        elif status == OK:
            if map_coder is None or not has_book:
                map_coder = _MapCoder(plan, colors, n_pixels if has_book else shape.pixels, common)
            status = map_coder.code(maps.plane(i), shape, coder, sink, source)
        if status != OK:
            break
    return status, coder


def pack(maps: Sequence[Indexed], palette: Colors | None = None) -> Maps:
    """Put maps together as kernels take them, each with its palette or all with a dictionary's."""
    colors = np.concatenate([m.colors for m in maps]) if palette is None else palette
    packed = mapmodel.new_maps([m.indices.shape for m in maps], colors)
    if palette is None:
        packed.places[:, 4] = np.cumsum([len(m.colors) for m in maps])
        packed.places[1:, 3] = packed.places[:-1, 4]
    else:
        packed.places[:, 4] = len(palette)
    for i, m in enumerate(maps):
        packed.indices(i)[:] = m.indices
    return packed


def encode_maps(plan: Plan, maps: Sequence[Indexed], palette: Colors | None) -> bytes | None:
    """Give the body of a frame of index maps; None if the batch coder is asked for maps too noisy for it.

    `palette` is the dictionary's, if the frame has one; else each map brings its own. A map's colours are
    in key order, none twice, and no more than its pixels.
    """
    shapes = [Shape(m.indices.shape[0], m.indices.shape[1], 4) for m in maps]
    head = bytes([plan.to_byte(has_errors=any(m.error for m in maps))])
    if head[0] & HAS_ERRORS:
        head += b"".join(struct.pack("<H", _error_code(m.error)) for m in maps)
    if plan.coder == RANKS:
        assert palette is None
        return head + _encode_ranked(pack(maps))
    size = 2 * sum(shape.pixels for shape in shapes) + 2048 * len(maps)
    status = OUTPUT_FULL
    while status == OUTPUT_FULL:  # a pixel may cost 255 decisions of 15 bits; it never does for long
        sink = np.empty(size, np.uint8)
        # Packed anew each time, as the batch coder writes into what is above a plane.
        status, coder = _code_frame(plan, shapes, pack(maps, palette), palette is not None, sink, None)
        if status == OK:
            status = int(finish_encoding(coder, sink))
        size *= 8
    return None if status == TOO_MUCH_WORK else head + sink[:status].tobytes()


def decode_maps(
    body: memoryview, shapes: Sequence[Shape], palette: Colors | None, stop: int
) -> list[Indexed]:
    """Give the first `stop` index maps of a body, with their errors; see `open_maps`."""
    maps = open_maps(body, shapes, palette, stop)
    _, errors, _ = parse_head(body, len(shapes))
    return [Indexed(maps.palette(i), maps.indices(i), errors[i]) for i in range(stop)]


def open_maps(body: memoryview, shapes: Sequence[Shape], palette: Colors | None, stop: int) -> Maps:
    """Give the first `stop` index maps of a body.

    Raises
    ------
    InvalidFrame
        The body is not what an encoder writes. Where `stop` is less than all, its end is not looked at.
    LimitExceeded
        There is less memory than the maps would take.
    """
    plan, _, at = parse_head(body, len(shapes))
    if palette is not None and plan.needs_palettes:
        raise InvalidFrame("a coder that does not go with a dictionary", got=body[0])
    is_whole, wanted = stop == len(shapes), shapes[:stop]
    colors = palette
    if colors is None:
        colors = np.zeros((sum(min(256, shape.pixels) for shape in wanted), 4), np.uint8)
    try:
        maps = mapmodel.new_maps([shape[:2] for shape in wanted], colors)
    except MemoryError:
        raise LimitExceeded(f"there is not the memory for the index maps of {len(wanted):,} images") from None
    if palette is not None:
        maps.places[:, 4] = len(palette)
    if plan.coder == RANKS:
        status = _decode_ranked(body[at:], maps, is_whole)
    else:
        source = np.frombuffer(body, np.uint8)[at:]
        status, coder = _code_frame(plan, shapes, maps, palette is not None, None, source)
        if status == OK and is_whole:
            status = int(finish_decoding(coder, source))
    if status != OK:
        raise InvalidFrame(f"a k-means body {_CAUSES[status]}")
    if palette is None:  # a copy, without the room that was not needed
        maps = maps._replace(colors=maps.colors[: maps.places[-1, 4] if stop else 0].copy())
    return maps


def _encode_ranked(maps: Maps) -> bytes:
    """Build what the coder of ranks writes: all maps, then all palettes."""
    message = build_ranks(maps)
    coder = new_coder()
    # Nodes of n keys take n decisions at most on each of 32 levels, of 11 bits as p is 32 or more: 44 bytes.
    sink = np.empty(44 * len(maps.colors) + 16 * len(maps.places) + 4, np.uint8)
    paletteset.code_palettes(maps, 0, len(maps.places), paletteset.new_model(), coder, sink, None)
    return build_varint(len(message)) + message + sink[: int(finish_encoding(coder, sink))].tobytes()


def _decode_ranked(coded: memoryview, maps: Maps, whole: bool) -> int:
    """Fill in maps and return a status; raise InvalidFrame where the parts do not fit the bytes."""
    size, at = parse_varint(coded, 0)
    if size > len(coded) - at:
        raise InvalidFrame("bytes of ranks", expected=size, got=len(coded) - at)
    # A copy may be written to, as messages elsewhere: kernels are compiled for either.
    message = np.frombuffer(coded, np.uint8)[at : at + size].copy()
    source = np.frombuffer(coded, np.uint8)[at + size :]
    coder = new_coder()
    start(coder, source)
    palettes = paletteset.new_model()
    status = int(paletteset.code_palettes(maps, 0, len(maps.places), palettes, coder, None, source))
    if status == OK and whole:
        status = int(finish_decoding(coder, source))
    return parse_ranks(message, maps, whole) if status == OK else status


def parse_head(body: memoryview, n_images: int) -> tuple[Plan, list[float], int]:
    """Give what a body says before its coded bytes: the plan, each image's error, where the bytes begin."""
    if not len(body):
        raise InvalidFrame("a k-means body is empty")
    plan = Plan.parse(body[0])
    if not body[0] & HAS_ERRORS:
        return plan, [0.0] * n_images, 1
    if len(body) < 1 + 2 * n_images:
        raise InvalidFrame("a k-means body ends in its errors", expected=1 + 2 * n_images, got=len(body))
    codes = struct.unpack_from(f"<{n_images}H", body, 1)
    return plan, [2 ** (code / ERROR_SCALE) - 1 for code in codes], 1 + 2 * n_images


def _error_code(error: float) -> int:
    return min(65535, round(ERROR_SCALE * math.log2(1 + error)))
