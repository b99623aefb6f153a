"""The coder of index maps by ranks: two symbols a pixel, for small pictures with many colours each.

A palette, in key order, is cut into *groups* of 16 colours. A pixel's colour is predicted from its
neighbours; its group is told by its rank among the groups, by the distance of each one's nearest colour from
the prediction, and its colour by its rank within the group. What ranks are likely hardly depends on the
palette, so that all images of a frame share one model: adaptive tables of 16 symbols, coded by rANS in two
lanes, one for groups and one for colours, with states and words as `tablerans` has them. FORMAT.md section
6.9 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int16, int32, int64, uint8, uint32, uint64

from triptych_kernels import mapmodel
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, U8, U32, U64
from triptych_kernels.mapmodel import PAD, Maps, slice_plane
from triptych_kernels.ranklanes import (
    LEAST,
    SCALE,
    SIZE,
    key_colors3,
    key_colors4,
    key_groups3,
    key_groups4,
    lane_of,
    move,
    predict,
    rank_of,
    symbol_at,
)
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL
from triptych_kernels.tablerans import _put_word, _refill, _spill

I16 = npt.NDArray[np.int16]

LANES = 2
N_TEXTURES, N_CALM, N_NEAR, N_FINE = 8, 5, 3, 6
COLORS_AT = N_TEXTURES * N_CALM
"""First come the tables of groups, by texture and ranks of neighbours; those of colours are by the group's
rank as well."""
N_TABLES = COLORS_AT + N_TEXTURES * N_NEAR * N_FINE
_FIRST_RATE, _LAST_RATE, _RATE_SHIFT = 3, 7, 3
_PADDING = 4087
"""In place of colours that are not there: farther than any prediction can be from a colour."""


class RankModel(NamedTuple):
    """Adaptive state of a frame, and work arrays.

    starts i32 (16 N_TABLES + 1): in each table, for each symbol, the sum of the probabilities before it in
    1 / 2^20; counts i32 (N_TABLES): symbols seen, at most 32. keys i16 (16): see ranklanes. point i16
    (4): the predicted colour, in 1/8 steps.
    """

    starts: I32
    counts: I32
    keys: I16
    point: I16


class Palette(NamedTuple):
    """A palette's colours in 1/8 steps, i16 (1024) each, arranged for vectors.

    colors: as they are, 256 with those that are not there. members: colour i of all groups, channel by
    channel, then colour i + 1; groups: the colours of group g, channel by channel, then group g + 1.
    """

    colors: I16
    members: I16
    groups: I16


def new_model() -> RankModel:
    """Return the model before the first image of a frame.

    Rank i is taken to be as likely as 1 / (2 i + 3), over what each is sure to keep.
    """
    shares = 65536 // (2 * np.arange(SIZE) + 3)
    before = np.cumsum(shares) - shares
    row = LEAST * np.arange(SIZE) + (SCALE - SIZE * LEAST) * before // shares.sum()
    starts = np.append(np.tile(row, N_TABLES), SCALE).astype(np.int32)
    return RankModel(starts, np.zeros(N_TABLES, np.int32), np.zeros(SIZE, np.int16), np.zeros(4, np.int16))


def new_palette() -> Palette:
    """Return the arrays of a palette."""
    return Palette(*(np.empty(4 * SIZE * SIZE, np.int16) for _ in range(3)))


@inline
def _arrange(colors: U8, palette: Palette) -> int:
    """Set the arrays of a palette to colours u8 (k, 4); return 3 if all are opaque, else 4."""
    n_channels = int64(3)
    for i in range(uint64(SIZE * SIZE)):
        group, member = i >> uint64(4), i & uint64(15)
        if i < uint64(len(colors)) and colors[i, 3] != uint8(255):
            n_channels = int64(4)
        for c in range(uint64(4)):
            value = int16(_PADDING)
            if i < uint64(len(colors)):
                value = int16(int64(colors[i, c]) << 3)
            palette.colors[i * uint64(4) + c] = value
            palette.members[(member * uint64(4) + c) * uint64(SIZE) + group] = value
            palette.groups[(group * uint64(4) + c) * uint64(SIZE) + member] = value
    return n_channels


@inline
def _part(starts: I32, table: int, symbol: int) -> tuple[int, int]:
    """Return where a symbol's part of 65536 starts, and how much it is."""
    at = uint64(table * SIZE + symbol)
    start = uint64(starts[at] >> int32(4))
    end = uint64(starts[at + uint64(1)] >> int32(4)) if symbol < SIZE - 1 else uint64(65536)
    return start, end - start


@inline
def _learn(model: RankModel, table: int, symbol: int) -> None:
    """Let a table take note of a symbol: the first ones count for more."""
    seen = int64(model.counts[uint64(table)])
    move(model.starts, table, symbol, int64(min(_LAST_RATE, _FIRST_RATE + (seen >> _RATE_SHIFT))))
    model.counts[uint64(table)] = int32(min(seen + 1, (_LAST_RATE - _FIRST_RATE) << _RATE_SHIFT))


@inline
def _texture(activity: int) -> int:
    """Return the class, 0 to 7, of what the neighbours' colours differ by, in 1/8 steps."""
    texture = 0
    for bound in (96, 240, 480, 800, 1280, 1920, 3200):
        texture += int64(activity >= int64(bound))
    return texture


@inline
def _look(plane: U8, q: int, stride: int, first_row: bool, colors: I16, point: I16) -> int:
    """Predict the colour of the pixel at q; return its texture. Above the first row there is but W."""
    up = q - stride
    w, n = int64(plane[q - uint64(1)]), int64(plane[up])
    nw, ne = int64(plane[up - uint64(1)]), int64(plane[up + uint64(1)])
    if first_row:
        n, nw, ne = w, w, w
    return _texture(predict(colors, w, n, nw, ne, point))


@inline
def _group_table(texture: int, left: int, above: int) -> int:
    """Return the table of a group, from the ranks of the groups of W and N."""
    return texture * N_CALM + min(int64(N_CALM - 1), left + above)


@inline
def _color_table(texture: int, rank: int, left: int, above: int) -> int:
    """Return the table of a colour, from its group's rank and the ranks of the colours of W and N."""
    near = texture * N_NEAR + min(int64(N_NEAR - 1), rank)
    return int64(COLORS_AT) + near * N_FINE + min(int64(N_FINE - 1), (left + above + 1) >> 1)


@inline
def _key_groups(palette: Palette, n_channels: int, model: RankModel) -> None:
    if n_channels == 3:
        key_groups3(palette.members, 0, model.point, model.keys)
    else:
        key_groups4(palette.members, 0, model.point, model.keys)


@inline
def _key_colors(palette: Palette, group: int, n_channels: int, model: RankModel) -> None:
    if n_channels == 3:
        key_colors3(palette.groups, group, model.point, model.keys)
    else:
        key_colors4(palette.groups, group, model.point, model.keys)


@inline
def _begin_map(maps: Maps, i: int, palette: Palette, ranks: U8) -> tuple[U8, int, int, int, int]:
    """Arrange the palette of map i, clear `ranks`; return (plane, height, width, colours, channels)."""
    places = maps.places[i]
    ranks[:, : places[2]] = uint8(0)
    n_channels = _arrange(maps.colors[places[3] : places[4]], palette)
    return slice_plane(maps, i), places[1], places[2], places[4] - places[3], n_channels


@kernel
def find_parts(maps: Maps, palette: Palette, model: RankModel, ranks: U8, parts: U32) -> None:
    """Find the parts of all symbols of a frame: what `write_parts` codes.

    IN maps, see mapmodel. Work arrays: palette; ranks u8 (2, the greatest width), those of the row above.
    IN/OUT model. OUT parts u32 (pixels, 2), zeros before: of each pixel's group, if its palette has several,
    and of its colour the start, and frequency << 16.
    """
    at = uint64(0)
    for i in range(len(maps.places)):
        plane, height, width, k, n_channels = _begin_map(maps, i, palette, ranks)
        stride = uint64(width + 2 * PAD)
        for y in range(height):
            row = uint64(y + PAD) * stride + uint64(PAD)
            mapmodel.pad_row(plane, row, uint64(width), y == 0)
            left_rank, left_fine = int64(0), int64(0)
            for x in range(uint64(width)):
                q = row + x
                texture = _look(plane, q, stride, y == 0, palette.colors, model.point)
                s = int64(plane[q])
                rank = int64(0)
                if k > SIZE:
                    _key_groups(palette, n_channels, model)
                    rank = rank_of(model.keys, s >> 4)
                    table = _group_table(texture, left_rank, int64(ranks[uint64(0), x]))
                    start, frequency = _part(model.starts, table, rank)
                    parts[at, 0] = uint32(start | frequency << uint64(16))
                    _learn(model, table, rank)
                _key_colors(palette, s >> 4, n_channels, model)
                fine = rank_of(model.keys, s & 15)
                table = _color_table(texture, rank, left_fine, int64(ranks[uint64(1), x]))
                start, frequency = _part(model.starts, table, fine)
                parts[at, 1] = uint32(start | frequency << uint64(16))
                _learn(model, table, fine)
                left_rank, left_fine = rank, fine
                ranks[uint64(0), x], ranks[uint64(1), x] = uint8(rank), uint8(fine)
                at += uint64(1)


@kernel
def write_parts(parts: U32, progress: U64, sink: U8) -> int:
    """Encode parts u32 (2 n) from the last to the first; return OK or OUTPUT_FULL.

    IN/OUT progress u64 (3): the states of both lanes, and words of the sink that are free; at the beginning
    2^31 twice and all of them. OUT sink u8, whole words.
    """
    at, n_words = progress[2], uint64(sink.size) >> uint64(2)
    i = uint64(parts.size)
    while i > uint64(0):
        i -= uint64(1)
        frequency, start = uint64(parts[i]) >> uint64(16), uint64(parts[i]) & uint64(65535)
        if frequency != uint64(0):
            lane = i & uint64(1)
            x, at = _spill(progress[lane], at, frequency << uint64(47), sink)
            if at > n_words:
                return OUTPUT_FULL
            progress[lane] = (x // frequency << uint64(16)) + x % frequency + start
    progress[2] = at
    return OK


@kernel
def write_states(progress: U64, sink: U8) -> int:
    """Write the states before the words; return the length of the message or OUTPUT_FULL."""
    at = progress[2]
    if at < uint64(2 * LANES):
        return OUTPUT_FULL
    for lane in range(uint64(LANES)):
        place = at - uint64(2 * LANES) + uint64(2) * lane
        _put_word(progress[lane], place, sink)
        _put_word(progress[lane] >> uint64(32), place + uint64(1), sink)
    return int64((uint64(sink.size) >> uint64(2)) - at + uint64(2 * LANES)) * 4


@inline
def _take(x: int, at: int, model: RankModel, table: int, message: U8) -> tuple[int, int, int]:
    """Decode a symbol of a table; return (x, at, symbol)."""
    slot = x & uint64(65535)
    symbol = symbol_at(model.starts, table, slot)
    start, frequency = _part(model.starts, table, symbol)
    x, at = _refill(frequency * (x >> uint64(16)) + slot - start, at, message)
    _learn(model, table, symbol)
    return x, at, symbol


@kernel
def decode_maps(maps: Maps, palette: Palette, model: RankModel, ranks: U8, message: U8, state: U64) -> int:
    """Decode maps into their planes; return OK or a status.

    IN/OUT maps, see mapmodel: their palettes are known, of one colour at least. Work arrays as for
    `find_parts`; IN/OUT model. IN message u8; IN/OUT state u64 (6), see tablerans.
    """
    n_words = uint64(message.size) >> uint64(2)
    groups_x, colors_x, at = state[0], state[1], state[4]
    status = OK
    for i in range(len(maps.places)):
        plane, height, width, k, n_channels = _begin_map(maps, i, palette, ranks)
        n_groups = (k + SIZE - 1) >> 4
        stride = uint64(width + 2 * PAD)
        for y in range(height):
            row = uint64(y + PAD) * stride + uint64(PAD)
            mapmodel.pad_row(plane, row, uint64(width), y == 0)
            left_rank, left_fine = int64(0), int64(0)
            for x in range(uint64(width)):
                q = row + x
                texture = _look(plane, q, stride, y == 0, palette.colors, model.point)
                rank, group = int64(0), int64(0)
                if n_groups > 1:
                    table = _group_table(texture, left_rank, int64(ranks[uint64(0), x]))
                    groups_x, at, rank = _take(groups_x, at, model, table, message)
                    _key_groups(palette, n_channels, model)
                    group = lane_of(model.keys, rank)
                table = _color_table(texture, rank, left_fine, int64(ranks[uint64(1), x]))
                colors_x, at, fine = _take(colors_x, at, model, table, message)
                if rank >= n_groups or fine >= k - (group << 4):
                    return BAD_SYMBOL
                _key_colors(palette, group, n_channels, model)
                plane[q] = uint8(group << 4 | lane_of(model.keys, fine))
                left_rank, left_fine = rank, fine
                ranks[uint64(0), x], ranks[uint64(1), x] = uint8(rank), uint8(fine)
            if at > n_words:
                status = INPUT_EXHAUSTED
                break
        if status != OK:
            break
    state[0], state[1], state[4] = groups_x, colors_x, at
    return status
