"""What the index-map coders share: the plane, a pixel's surroundings and the contexts they give.

An index map is coded in raster order. Its *plane* is u8, flat, with PAD columns left and right and PAD
rows of zeros on top, so that no neighbour needs a test; the encoder's plane holds the map from the
start, the decoder's fills as it goes, and neither looks at a pixel that is not coded yet.

Neighbours are named by compass: W is left, N above, NN two above. `near` (i64, 12) holds them in the
order W N NW NE WW NN NNE NWW NEE NNW WWW NNN. FORMAT.md section 6.5 is the law for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from llvmlite import ir
from numba import int64, types, uint8, uint16, uint64
from numba.extending import intrinsic

from triptych_kernels import regression
from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32, I64, U8, U16, U32, U64
from triptych_kernels.contextmix import _pointer

T = TypeVar("T", int, I64)

PAD = 4
SHARED = 2
"""The value of a plan's `pairs` with which a model is one for all palettes of a frame."""
MATCH_SIZE = 1 << 16

K1 = uint64(0x9E3779B97F4A7C15)
K2 = uint64(0xD6E8FEB86659FD93)
K3 = uint64(0xA0761D6478BD642F)
K4 = uint64(0xE7037ED1A0B428DB)


class Scratch(NamedTuple):
    """Work arrays of one image, for all three coders; made by the caller, as kernels compile faster without.

    near i64 (12): see look_around. hashes u64 (16). at i64 (23), rows and second_rows i64 (4), seen u32 (24),
    logits i32 (24): see contextmix. found i64 (9): lines of histories. slots i64 (3), trace i64 (4), above
    u8 (width): see runs. candidates i64 (2, 4): see list_candidates. predictions, placed i32 (32): see
    colormodel.
    patterns u64 (3), values u64 (6): see spritemap. offsets i32 (64), taps i32 (13), products i32, work
    i64: see regression. errors i32 (width + 2), point i64 (4), weights i32 (256), sums i64 (257): see
    colorodds.
    """

    near: I64
    hashes: U64
    at: I64
    rows: I64
    second_rows: I64
    seen: U32
    logits: I32
    found: I64
    slots: I64
    trace: I64
    above: U8
    candidates: I64
    predictions: I32
    placed: I32
    patterns: U64
    values: U64
    offsets: I32
    taps: I32
    products: I32
    work: I64
    errors: I32
    point: I64
    weights: I32
    sums: I64


def new_scratch(width: int) -> Scratch:
    """Return the work arrays of an image; predictions begin as those of an opaque alpha."""
    return Scratch(
        np.zeros(12, np.int64),
        np.zeros(16, np.uint64),
        np.zeros(23, np.int64),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
        np.zeros(24, np.uint32),
        np.zeros(24, np.int32),
        np.zeros(9, np.int64),
        np.zeros(3, np.int64),
        np.zeros(4, np.int64),
        np.zeros(width, np.uint8),
        np.zeros((2, 4), np.int64),
        np.full(32, 255 * 8, np.int32),
        np.zeros(32, np.int32),
        np.zeros(3, np.uint64),
        np.zeros(6, np.uint64),
        np.zeros(4 * regression.ROW, np.int32),
        regression.new_taps(),
        regression.new_sums(width),
        np.zeros(regression.SIZE, np.int64),
        np.zeros(width + 2, np.int32),
        np.zeros(4, np.int64),
        np.zeros(256, np.int32),
        np.zeros(257, np.int64),
    )


class Maps(NamedTuple):
    """Index maps of a frame and their palettes, as kernels take all of them at once.

    planes u8: plane after plane. places i64 (n, 5): where a plane begins, its height and width, its first
    colour and behind its last. colors u8 (m, 4): the palettes, each in key order.
    """

    planes: U8
    places: I64
    colors: U8

    def plane(self, i: int) -> U8:
        """Return the plane of map i."""
        begin, height, width = self.places[i, :3].tolist()
        return self.planes[begin : begin + plane_size(height, width)]

    def indices(self, i: int) -> U8:
        """Return the view of the pixels of map i, (height, width)."""
        _, height, width = self.places[i, :3].tolist()
        return self.plane(i).reshape(height + PAD, width + 2 * PAD)[PAD:, PAD : PAD + width]

    def palette(self, i: int) -> U8:
        """Return the view of the colours of map i, (k, 4)."""
        first, end = self.places[i, 3:].tolist()
        return self.colors[first:end]


def new_maps(sizes: Sequence[tuple[int, int]], colors: U8) -> Maps:
    """Return empty maps of these heights and widths; which colours are whose is still to be said."""
    places = np.zeros((len(sizes), 5), np.int64)
    places[:, 1:3] = np.reshape(sizes, (-1, 2))
    lengths = plane_size(places[:, 1], places[:, 2])
    places[:, 0] = np.cumsum(lengths) - lengths
    return Maps(np.zeros(lengths.sum(), np.uint8), places, colors)


def plane_size(height: T, width: T) -> T:
    """Return the length of a plane."""
    return (height + PAD) * (width + 2 * PAD)


@inline
def slice_plane(maps: Maps, i: int) -> U8:
    """Return the plane of map i."""
    begin, height, width = maps.places[i, 0], maps.places[i, 1], maps.places[i, 2]
    return maps.planes[begin : begin + (height + PAD) * (width + 2 * PAD)]


@inline
def pad_row(plane: U8, q: int, width: int, first_row: bool) -> None:
    """Set the padding that the row beginning at q needs: its own left, and the right of the row above.

    Left of a row stands the pixel above its first; right of a row its last pixel; above the first row, 0.
    """
    up = q - width - uint64(2 * PAD)
    for i in range(PAD):
        plane[q - uint64(1 + i)] = uint8(0) if first_row else plane[up]
        if not first_row:
            plane[up + width + uint64(i)] = plane[up + width - uint64(1)]


@inline
def look_around(plane: U8, q: int, stride: int, near: I64) -> None:
    """Fill `near` for the pixel at q."""
    up = q - stride
    up2 = up - stride
    near[0], near[1] = int64(plane[q - uint64(1)]), int64(plane[up])
    near[2], near[3] = int64(plane[up - uint64(1)]), int64(plane[up + uint64(1)])
    near[4], near[5] = int64(plane[q - uint64(2)]), int64(plane[up2])
    near[6], near[7] = int64(plane[up2 + uint64(1)]), int64(plane[up - uint64(2)])
    near[8], near[9] = int64(plane[up + uint64(2)]), int64(plane[up2 - uint64(1)])
    near[10], near[11] = int64(plane[q - uint64(3)]), int64(plane[up2 - stride])


@inline
def growing_hashes(near: I64, hashes: U64) -> None:
    """Set hashes[0:4] (u64) from the nearest two, four, six and nine neighbours."""
    two = (uint64(near[0] + 1) * K1) ^ (uint64(near[1] + 1) * K2)
    four = (two ^ (uint64(near[2] + 1) * K3) ^ (uint64(near[3] + 1) * K4)) * K1
    four ^= four >> uint64(32)
    six = (four ^ (uint64(near[4] + 1) * K1) ^ (uint64(near[5] + 1) * K3)) * K2
    six ^= six >> uint64(32)
    nine = (six ^ (uint64(near[6] + 1) * K2) ^ (uint64(near[7] + 1) * K3) ^ (uint64(near[8] + 1) * K4)) * K1
    hashes[0], hashes[1], hashes[2], hashes[3] = two, four, six, nine ^ (nine >> uint64(32))


@inline
def odd_hashes(near: I64, hashes: U64) -> None:
    """Replace hashes[0:2] and set hashes[4:9]: all twelve neighbours, and shapes that leave some out."""
    w, n, nw, ne = uint64(near[0] + 1), uint64(near[1] + 1), uint64(near[2] + 1), uint64(near[3] + 1)
    ww, nn = uint64(near[4] + 1), uint64(near[5] + 1)
    rest = (uint64(near[9] + 1) * K1) ^ (uint64(near[10] + 1) * K3) ^ (uint64(near[11] + 1) * K4)
    twelve = (hashes[3] ^ rest) * K2
    hashes[0] = w * K1
    hashes[1] = n * K2
    hashes[4] = twelve ^ (twelve >> uint64(32))
    hashes[5] = (w * K2) ^ (ww * K3)
    hashes[6] = (n * K3) ^ (nn * K1)
    hashes[7] = (n * K1) ^ (nw * K2) ^ (ne * K3)
    hashes[8] = (w * K1) ^ (ne * K2) ^ (ww * K3)


@inline
def stir(hashes: U64, n: int) -> None:
    """Make hashes[0:n] differ from each other and from their inputs in every bit."""
    for i in range(n):
        h = (hashes[i] + uint64(i + 1)) * K2
        hashes[i] = h ^ (h >> uint64(29))


@inline
def match_slot(h: int) -> int:
    """Return where an unstirred hash stands in a match table."""
    return int64((h * K2) >> uint64(48))


@inline
def equalities(near: I64) -> int:
    """Return eight bits: which pairs of neighbours are equal."""
    return (
        int64(near[0] == near[1])
        | (int64(near[0] == near[2]) << 1)
        | (int64(near[2] == near[1]) << 2)
        | (int64(near[1] == near[3]) << 3)
        | (int64(near[0] == near[4]) << 4)
        | (int64(near[1] == near[5]) << 5)
        | (int64(near[3] == near[8]) << 6)
        | (int64(near[2] == near[7]) << 7)
    )


@inline
def equals_near(s: int, near: I64) -> int:
    """Return four bits: is s equal to W, N, NE, NW."""
    return (
        int64(s == near[0])
        | (int64(s == near[1]) << 1)
        | (int64(s == near[3]) << 2)
        | (int64(s == near[2]) << 3)
    )


@inline
def list_candidates(
    near: I64, flat: bool, matches: U16, at_nine: int, at_six: int, candidates: I64
) -> tuple[int, int]:
    """Fill candidates[0:3] with likely indices, none twice, and return (how many, confidence 0..3).

    candidates is i64 (2, 4): index and where it is from (0 = match table, 1 to 4 = W, N, NE, NW). `matches`
    is u16 (2, MATCH_SIZE): the index that followed the surroundings of nine and of six pixels, and how
    often ((confidence + 1) << 8 | index; 0 = never seen). A flat pixel has already been told apart from W.
    """
    n, confidence = 0, 0
    seen = int64(matches[0, at_nine])
    if seen > 0:
        confidence = (seen >> 8) - 1
        if confidence > 0:
            candidates[0, 0], candidates[1, 0] = seen & 255, 0
            n = 1
    if n == 0:
        seen = int64(matches[1, at_six])
        if (seen >> 8) > 2:
            candidates[0, 0], candidates[1, 0] = seen & 255, 0
            n = 1
    if flat and n > 0 and candidates[0, 0] == near[0]:
        n = 0
    for i in range(4):
        s = near[0] if i == 0 else (near[1] if i == 1 else (near[3] if i == 2 else near[2]))
        fresh = n < 3 and not (flat and s == near[0])
        for j in range(n):
            if candidates[0, j] == s:
                fresh = False
        if fresh:
            candidates[0, n], candidates[1, n] = s, int64(i + 1)
            n += 1
    level = 0
    if confidence > 0:
        level = 1 if confidence < 2 else (2 if confidence < 6 else 3)
    return n, level


@inline
def flag_slot(stage: int, candidates: I64) -> int:
    """Return the place, 1 to 15, of a candidate's histories in the line of the first candidate."""
    if stage == 0:
        return 1
    return 1 + min(13, (stage - 1) * 5 + candidates[1, stage])


@inline
def remember_match(matches: U16, at: int, s: int) -> None:
    """Tell one match table (u16) that index s followed the surroundings `at`."""
    seen = int64(matches[at])
    confidence = (seen >> 8) - 1
    if seen > 0 and (seen & 255) == s:
        confidence, keep = min(confidence, 60) + 1, s
    elif seen == 0 or confidence < 2:
        confidence, keep = 1, s
    else:
        confidence, keep = confidence // 3, seen & 255
    matches[at] = uint16(((confidence + 1) << 8) | keep)


@intrinsic
def prefetch(typing: Any, table: Any, offset: Any) -> Any:
    """Ask for the cache line of table[offset]."""
    signature = types.void(table, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, i32 = ir.IntType(8), ir.IntType(32)
        pointer = builder.bitcast(
            _pointer(context, builder, sig.args[0], args[0], args[1]), byte.as_pointer()
        )
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), i32, i32, i32])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [pointer, i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return signature, codegen
