"""The body of a k-means frame: palettes and index maps to bytes and back. FORMAT.md section 6 is the law.

Four coders: *dense* (fewest bytes), *fast*, and two for small images with palettes of their own: *batch*, and
*ranks*, which is fast where neighbours differ. All adaptive state is made here and handed to the kernels.
Nothing here chooses: what colours a picture gets and which coder it goes to is the business of
`triptych.modes.kmeans`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from triptych_kernels import densemap, fastmap, mapmodel, paletteset, spritemap
from triptych_kernels.palettetree import build_tree
from triptych_kernels.rangecoder import Coder, finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH, TOO_MUCH_WORK

from triptych.errors import InvalidFrame
from triptych.images import Pixels, Shape
from triptych.modes.rankmaps import build_ranks, n_channels, parse_ranks
from triptych.varint import build_varint, parse_varint

Colors = npt.NDArray[np.uint8]
IndexMap = npt.NDArray[np.uint8]

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
        return self.coder in (BATCH, RANKS) or self.pairs == fastmap.SHARED

    @classmethod
    def parse(cls, byte: int) -> Plan:
        """Parse the byte; raise InvalidFrame for what no encoder writes."""
        coder, n_flags, pairs = byte & 3, byte >> 3 & 3, byte >> 5
        if pairs > fastmap.SHARED * (coder == FAST) or (coder in (BATCH, RANKS) and n_flags):
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


class _MapCoder:
    """One of the two map coders with the adaptive state of one palette, for either direction.

    `fast` is the state that palettes share, where they do.
    """

    def __init__(
        self, plan: Plan, colors: Colors, n_pixels: int, fast: fastmap.FastModel | None = None
    ) -> None:
        k = len(colors)
        self.tree = build_tree(colors)
        self.colors = colors.reshape(-1)
        self.n_channels = n_channels(colors)
        self.plan = plan
        if plan.coder == DENSE:
            self.bits = _bits_for(n_pixels * 13 * (1 if k <= 16 else 2) // 4, 12, 20)
            self.dense = densemap.new_model(k, self.bits)
        else:
            self.bits = _bits_for(n_pixels * 2, 12, 20)
            self.fast = fast or fastmap.new_model(k, self.bits, plan.pairs)
            if fast is not None:
                fastmap.begin_palette(fast, self.bits)

    def code(
        self, plane: IndexMap, shape: Shape, coder: Coder, sink: Pixels | None, source: Pixels | None
    ) -> int:
        """Code one plane; return a status."""
        head = (plane, shape.height, shape.width, self.colors, self.n_channels, self.tree)
        tail = (mapmodel.new_scratch(shape.width), coder, sink, source)
        if self.plan.coder == DENSE:
            status = densemap.code_dense(*head, self.dense, self.bits, self.plan.n_flags, *tail)
        else:
            status = fastmap.code_fast(*head, self.fast, self.bits, self.plan.n_flags, self.plan.pairs, *tail)
        return int(status)


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
    maps: Sequence[Indexed] | None,
    palette: Colors | None,
    stop: int,
    sink: Pixels | None,
    source: Pixels | None,
) -> tuple[int, Coder, list[Indexed]]:
    """Code the first `stop` maps of a frame in either direction; return (status, coder, maps).

    The encoder gives `maps` and `sink`, the decoder `source`. The decoder's maps are views of new memory.
    """
    coder = new_coder()
    if source is not None:
        start(coder, source)
    n_pixels = sum(shape.pixels for shape in shapes)
    palettes = paletteset.new_model()
    map_coder: _MapCoder | None = None
    fast: fastmap.FastModel | None = None
    if plan.pairs == fastmap.SHARED:
        largest = max(shape.pixels for shape in shapes)
        fast = fastmap.new_model(1, _bits_for(largest * 2, 12, 20), plan.pairs)
    batch = _BatchCoder(n_pixels) if plan.coder == BATCH else None
    coded: list[Indexed] = []
    status = OK
    for i, shape in enumerate(shapes[:stop]):
        plane = mapmodel.new_plane(shape.height, shape.width)
        pixels = mapmodel.plane_pixels(plane, shape.height, shape.width)
        if maps is not None:
            pixels[:] = maps[i].indices
        colors = palette
        if colors is None:
            status, colors = _code_palette(
                None if maps is None else maps[i].colors, shape.pixels, palettes, coder, sink, source
            )
        if status == OK and batch is not None:
            status = batch.code(plane, shape, colors, coder, sink, source)
        elif status == OK:
            if map_coder is None or palette is None:
                size = shape.pixels if palette is None else n_pixels
                map_coder = _MapCoder(plan, colors, size, fast)
            status = map_coder.code(plane, shape, coder, sink, source)
        if status != OK:
            break
        coded.append(Indexed(colors, pixels))
    return status, coder, coded


def _code_palette(
    colors: Colors | None,
    n_pixels: int,
    model: paletteset.PaletteModel,
    coder: Coder,
    sink: Pixels | None,
    source: Pixels | None,
) -> tuple[int, Colors]:
    """Code a palette in either direction; return (status, colours). It has no more colours than pixels."""
    layout = 0 if colors is None else paletteset.layout_of(colors)
    keys = np.zeros(1, np.uint64) if colors is None else paletteset.colors_to_keys(colors, layout)
    size, layout = divmod(int(paletteset.code_size(len(keys), layout, model, coder, sink, source)), 4)
    if size >= n_pixels:
        return BAD_SYMBOL, np.zeros((1, 4), np.uint8)
    if colors is None:
        keys = np.zeros(size + 1, np.uint64)
    bits = paletteset.layout_bits(layout)
    status = int(paletteset.code_keys(keys, len(keys), *bits, model, coder, sink, source))
    return status, paletteset.keys_to_colors(keys, layout)


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
        return head + _encode_ranked(maps)
    size = 2 * sum(shape.pixels for shape in shapes) + 2048 * len(maps)
    status = OUTPUT_FULL
    while status == OUTPUT_FULL:  # a pixel may cost 255 decisions of 15 bits; it never does for long
        sink = np.empty(size, np.uint8)
        status, coder, _ = _code_frame(plan, shapes, maps, palette, len(maps), sink, None)
        if status == OK:
            status = int(finish_encoding(coder, sink))
        size *= 8
    return None if status == TOO_MUCH_WORK else head + sink[:status].tobytes()


def decode_maps(
    body: memoryview, shapes: Sequence[Shape], palette: Colors | None, stop: int
) -> list[Indexed]:
    """Give the first `stop` index maps of a body.

    Raises
    ------
    InvalidFrame
        The body is not what an encoder writes. Where `stop` is less than all, its end is not looked at.
    """
    plan, errors, at = parse_head(body, len(shapes))
    if palette is not None and plan.needs_palettes:
        raise InvalidFrame("a coder that does not go with a dictionary", got=body[0])
    if plan.coder == RANKS:
        status, maps = _decode_ranked(body[at:], shapes, stop)
    else:
        source = np.frombuffer(body, np.uint8)[at:]
        status, coder, maps = _code_frame(plan, shapes, None, palette, stop, None, source)
        if status == OK and stop == len(shapes):
            status = int(finish_decoding(coder, source))
    if status != OK:
        raise InvalidFrame(f"a k-means body {_CAUSES[status]}")
    return [Indexed(m.colors, m.indices, error) for m, error in zip(maps, errors, strict=False)]


def _encode_ranked(maps: Sequence[Indexed]) -> bytes:
    """Build what the coder of ranks writes: all maps, then all palettes."""
    message = build_ranks([m.indices for m in maps], [m.colors for m in maps])
    coder, model = new_coder(), paletteset.new_model()
    # Nodes of n keys take n decisions at most on each of 32 levels, of 11 bits as p is 32 or more: 44 bytes.
    sink = np.empty(sum(44 * len(m.colors) + 16 for m in maps) + 4, np.uint8)
    for m in maps:
        _code_palette(m.colors, m.indices.size, model, coder, sink, None)
    return build_varint(len(message)) + message + sink[: int(finish_encoding(coder, sink))].tobytes()


def _decode_ranked(coded: memoryview, shapes: Sequence[Shape], stop: int) -> tuple[int, list[Indexed]]:
    """Give a status and the first `stop` maps; raise InvalidFrame where the parts do not fit the bytes."""
    size, at = parse_varint(coded, 0)
    if size > len(coded) - at:
        raise InvalidFrame("bytes of ranks", expected=size, got=len(coded) - at)
    # A copy may be written to, as messages elsewhere: kernels are compiled for either.
    message = np.frombuffer(coded, np.uint8)[at : at + size].copy()
    source = np.frombuffer(coded, np.uint8)[at + size :]
    is_whole, status = stop == len(shapes), OK
    palettes: list[Colors] = []
    coder, model = new_coder(), paletteset.new_model()
    start(coder, source)
    for shape in shapes[:stop]:
        if status == OK:
            status, colors = _code_palette(None, shape.pixels, model, coder, None, source)
            palettes.append(colors)
    if status == OK and is_whole:
        status = int(finish_decoding(coder, source))
    if status != OK:
        return status, []
    status, maps = parse_ranks(message, palettes, shapes[:stop], is_whole)
    return status, [Indexed(*pair) for pair in zip(palettes, maps, strict=False)]


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
