"""The coder of index maps by ranks: two symbols a pixel, for small pictures with many colours each.

A palette, in key order, is cut into *groups* of 16 colours. A pixel's colour is predicted from its
neighbours; its group is told by its rank among the groups, by the distance of each one's nearest colour from
the prediction, and its colour by its rank within the group. What ranks are likely hardly depends on the
palette, so that all images of a frame share one model: adaptive tables of 16 symbols, coded by rANS in two
lanes, one for groups and one for colours, with states and words as `tablerans` has them. FORMAT.md section
6.9 is the law.

Vectors are 16 lanes of int16 in plain LLVM IR, the same on every target. Distances are in 1/8 of a colour
step, at most 2040: a distance and a lane fit 15 bits, and no two such are equal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import int32, int64, types, uint8, uint32, uint64
from numba.extending import intrinsic

from triptych_kernels import mapmodel
from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, U8, U32, U64
from triptych_kernels.contextmix import _pointer
from triptych_kernels.mapmodel import PAD
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL
from triptych_kernels.tablerans import _put_word, _refill, _spill

I16 = npt.NDArray[np.int16]

SIZE = 16
"""Colours of a group, and groups at most."""
LANES = 2
N_TEXTURES, N_CALM, N_NEAR, N_FINE = 8, 5, 3, 6
COLORS_AT = N_TEXTURES * N_CALM
"""First come the tables of groups, by texture and ranks of neighbours; those of colours are by the group's
rank as well."""
N_TABLES = COLORS_AT + N_TEXTURES * N_NEAR * N_FINE
_SCALE, _LEAST = 1 << 20, 256
_FIRST_RATE, _LAST_RATE, _RATE_SHIFT = 3, 7, 3
_FARTHEST = 2047
_PADDING = 4087
"""In place of colours that are not there: farther than any prediction can be from a colour."""


class RankModel(NamedTuple):
    """Adaptive state of a frame, and work arrays.

    starts i32 (16 N_TABLES + 1): in each table, for each symbol, the sum of the probabilities before it in
    1 / 2^20; counts i32 (N_TABLES): symbols seen, at most 32. keys i16 (16): see `_keep_keys`. point i16
    (4): the predicted colour, in 1/8 steps.
    """

    starts: I32
    counts: I32
    keys: I16
    point: I16


class Palette(NamedTuple):
    """A palette's colours in 1/8 steps, i16, arranged for vectors.

    colors (4 k): as they are. members (1024): colour i of all groups, channel by channel, then colour i + 1;
    groups (1024): the colours of group g, channel by channel, then group g + 1.
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
    row = _LEAST * np.arange(SIZE) + (_SCALE - SIZE * _LEAST) * before // shares.sum()
    starts = np.append(np.tile(row, N_TABLES), _SCALE).astype(np.int32)
    return RankModel(starts, np.zeros(N_TABLES, np.int32), np.zeros(SIZE, np.int16), np.zeros(4, np.int16))


def new_palette(colors: U8) -> Palette:
    """Return the arrays of a palette, u8 (k, 4) in key order, 1 <= k <= 256."""
    padded = np.full((SIZE * SIZE, 4), _PADDING, np.int16)
    padded[: len(colors)] = colors
    padded[: len(colors)] <<= 3
    grouped = padded.reshape(SIZE, SIZE, 4)
    return Palette(
        padded[: len(colors)].ravel(),
        np.ascontiguousarray(grouped.transpose(1, 2, 0)).ravel(),
        np.ascontiguousarray(grouped.transpose(0, 2, 1)).ravel(),
    )


# Intrinsics: 16 lanes, generic IR.

_I1, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
_SHORTS, _INTS, _COLOR = ir.VectorType(_I16, SIZE), ir.VectorType(_I32, SIZE), ir.VectorType(_I16, 4)


def _all(number: int, kind: Any = _SHORTS) -> Any:
    return ir.Constant(kind, [number] * kind.count)


def _numbers(step: int, kind: Any = _SHORTS) -> Any:
    return ir.Constant(kind, [step * i for i in range(kind.count)])


def _spread(builder: Any, scalar: Any, kind: Any = _SHORTS) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), _all(0, ir.VectorType(_I32, kind.count))
    )


def _load(builder: Any, pointer: Any, at: Any, kind: Any = _SHORTS) -> Any:
    vector = builder.load(builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer()))
    vector.align = kind.element.width // 8
    return vector


def _store(builder: Any, vector: Any, pointer: Any, at: Any) -> None:
    target = builder.bitcast(builder.gep(pointer, [at]), vector.type.as_pointer())
    builder.store(vector, target).align = vector.type.element.width // 8


def _least(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _most(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _distance(builder: Any, a: Any, b: Any) -> Any:
    d = builder.sub(a, b)
    return _most(builder, d, builder.neg(d))


def _count(builder: Any, mask: Any) -> Any:
    """Count the lanes that are true."""
    return builder.zext(builder.ctpop(builder.bitcast(mask, _I16)), _I64)


@intrinsic
def _predict(typing: Any, colors: Any, w: Any, n: Any, nw: Any, ne: Any, point: Any) -> Any:
    """Set the point to the prediction from four indices; return how much their colours differ.

    With colours in 1/8 steps, at most 2040, every sum stays within 16 bits: |2 W + 2 N + NE - NW| <= 10200.
    """
    signature = types.int64(colors, w, n, nw, ne, point)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _pointer(context, builder, sig.args[0], args[0])
        a, b, e, f = (_load(builder, data, builder.mul(i, _I64(4)), _COLOR) for i in args[1:5])
        least, most = _least(builder, a, b), _most(builder, a, b)
        edge = _most(builder, least, _least(builder, most, builder.sub(builder.add(a, b), e)))
        sides = builder.shl(builder.add(a, b), _all(1, _COLOR))
        plane = builder.ashr(builder.add(sides, builder.sub(f, e)), _all(3, _COLOR))
        plane = _most(builder, _least(builder, plane, _all(1020, _COLOR)), _all(0, _COLOR))
        middle = builder.add(plane, builder.ashr(edge, _all(1, _COLOR)))
        _store(builder, middle, _pointer(context, builder, sig.args[5], args[5]), _I64(0))
        total = builder.add(_distance(builder, a, e), _distance(builder, b, e))
        total = builder.add(total, _distance(builder, b, f))
        parts = [builder.zext(builder.extract_element(total, _I32(c)), _I64) for c in range(4)]
        return builder.add(builder.add(parts[0], parts[1]), builder.add(parts[2], parts[3]))

    return signature, codegen


def _farther(builder: Any, data: Any, at: Any, point: Any, n_channels: int) -> Any:
    """Give the greatest of the channels' distances of 16 colours."""
    found = None
    for c in range(n_channels):
        d = _distance(builder, _load(builder, data, builder.add(at, _I64(SIZE * c))), point[c])
        found = d if found is None else _most(builder, found, d)
    return found


def _keep_keys(context: Any, builder: Any, sig: Any, keys: Any, distances: Any) -> None:
    """Store keys: distances and, where two are equal, lanes, in one number."""
    keyed = builder.shl(_least(builder, distances, _all(_FARTHEST)), _all(4))
    _store(builder, builder.or_(keyed, _numbers(1)), _pointer(context, builder, sig, keys), _I64(0))


def _make_key(n_channels: int, of_groups: bool) -> Any:
    """Build `key_groups` or `key_colors` for palettes of so many channels that differ."""

    @intrinsic
    def key(typing: Any, vectors: Any, group: Any, point: Any, keys: Any) -> Any:
        """Set keys i16 (16) to those of all groups (vectors: members), or of the colours of one (groups)."""
        signature = types.void(vectors, group, point, keys)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = _pointer(context, builder, sig.args[0], args[0])
            at = _pointer(context, builder, sig.args[2], args[2])
            channels = [builder.load(builder.gep(at, [_I64(c)])) for c in range(n_channels)]
            middle = [_spread(builder, channel) for channel in channels]
            if of_groups:
                found = _farther(builder, data, _I64(0), middle, n_channels)
                for i in range(1, SIZE):
                    d = _farther(builder, data, _I64(4 * SIZE * i), middle, n_channels)
                    found = _least(builder, found, d)
            else:
                place = builder.mul(args[1], _I64(4 * SIZE))
                found = _farther(builder, data, place, middle, n_channels)
            _keep_keys(context, builder, sig.args[3], args[3], found)
            return context.get_dummy_value()

        return signature, codegen

    return key


_key_groups3, _key_groups4 = _make_key(3, of_groups=True), _make_key(4, of_groups=True)
_key_colors3, _key_colors4 = _make_key(3, of_groups=False), _make_key(4, of_groups=False)


@intrinsic
def _rank_of(typing: Any, keys: Any, lane: Any) -> Any:
    """Return how many keys are less than a lane's."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _pointer(context, builder, sig.args[0], args[0])
        mine = _spread(builder, builder.load(builder.gep(data, [args[1]])))
        return _count(builder, builder.icmp_signed("<", _load(builder, data, _I64(0)), mine))

    return types.int64(keys, types.int64), codegen


@intrinsic
def _lane_of(typing: Any, keys: Any, rank: Any) -> Any:
    """Return the lane whose key has this rank, 0 to 15: the inverse of `_rank_of`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _pointer(context, builder, sig.args[0], args[0])
        mine, below = _load(builder, data, _I64(0)), _all(0)
        for i in range(SIZE):
            other = _spread(builder, builder.load(builder.gep(data, [_I64(i)])))
            below = builder.sub(below, builder.sext(builder.icmp_signed(">", mine, other), _SHORTS))
        mask = builder.icmp_signed("==", below, _spread(builder, builder.trunc(args[1], _I16)))
        return builder.zext(builder.cttz(builder.bitcast(mask, _I16), _I1(1)), _I64)

    return types.int64(keys, types.int64), codegen


@intrinsic
def _symbol_at(typing: Any, starts: Any, table: Any, slot: Any) -> Any:
    """Return the symbol whose part of a table holds a slot of 16 bits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row = _load(
            builder,
            _pointer(context, builder, sig.args[0], args[0]),
            builder.mul(args[1], _I64(SIZE)),
            _INTS,
        )
        slot = _spread(builder, builder.trunc(args[2], _I32), _INTS)
        mask = builder.icmp_signed("<=", builder.ashr(row, _all(4, _INTS)), slot)
        return builder.sub(_count(builder, mask), _I64(1))

    return types.int64(starts, types.int64, types.uint64), codegen


@intrinsic
def _move(typing: Any, starts: Any, table: Any, symbol: Any, rate: Any) -> Any:
    """Move a table towards one that expects the symbol, by 1 / 2^rate.

    Starts grow by 2^8 at least from symbol to symbol where they are bound for, so by 2^8 - 2^rate + 1 >= 129
    where they are: rounding down takes less than 1 from what the average of two such steps leaves. A symbol
    has 8 of 65536 or more.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _pointer(context, builder, sig.args[0], args[0])
        at = builder.mul(args[1], _I64(SIZE))
        row = _load(builder, data, at, _INTS)
        symbol = _spread(builder, builder.trunc(args[2], _I32), _INTS)
        rate = _spread(builder, builder.trunc(args[3], _I32), _INTS)
        behind = builder.icmp_signed(">", _numbers(1, _INTS), symbol)
        rest = builder.select(behind, _all(_SCALE - SIZE * _LEAST, _INTS), _all(0, _INTS))
        target = builder.add(_numbers(_LEAST, _INTS), rest)
        _store(builder, builder.add(row, builder.ashr(builder.sub(target, row), rate)), data, at)
        return context.get_dummy_value()

    return types.void(starts, types.int64, types.int64, types.int64), codegen


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
    _move(model.starts, table, symbol, int64(min(_LAST_RATE, _FIRST_RATE + (seen >> _RATE_SHIFT))))
    model.counts[uint64(table)] = int32(min(seen + 1, (_LAST_RATE - _FIRST_RATE) << _RATE_SHIFT))


@inline
def _texture(activity: int) -> int:
    """Return the class, 0 to 7, of what the neighbours' colours differ by, in 1/8 steps."""
    texture = 0
    for bound in (96, 240, 480, 800, 1280, 1920, 3200):
        texture += int64(activity >= int64(bound))
    return texture


@inline
def _look(plane: U8, q: int, stride: int, colors: I16, point: I16) -> int:
    """Predict the colour of the pixel at q; return its texture."""
    up = q - stride
    w, n = int64(plane[q - uint64(1)]), int64(plane[up])
    nw, ne = int64(plane[up - uint64(1)]), int64(plane[up + uint64(1)])
    return _texture(_predict(colors, w, n, nw, ne, point))


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
        _key_groups3(palette.members, 0, model.point, model.keys)
    else:
        _key_groups4(palette.members, 0, model.point, model.keys)


@inline
def _key_colors(palette: Palette, group: int, n_channels: int, model: RankModel) -> None:
    if n_channels == 3:
        _key_colors3(palette.groups, group, model.point, model.keys)
    else:
        _key_colors4(palette.groups, group, model.point, model.keys)


@kernel
def find_parts(
    plane: U8,
    height: int,
    width: int,
    palette: Palette,
    n_channels: int,
    model: RankModel,
    ranks: U8,
    parts: U32,
) -> None:
    """Find the parts of all symbols of a map: what `write_parts` codes.

    IN plane u8, see mapmodel; palette; n_channels: 3 if all colours are opaque, else 4. IN/OUT model; ranks
    u8 (2, width), zeros: those of the row above. OUT parts u32 (height, width, 2), zeros before: of each
    pixel's group, if there are several, and of its colour the start, and frequency << 16.
    """
    stride = uint64(width + 2 * PAD)
    several = palette.colors.size > 4 * SIZE
    for y in range(height):
        row = uint64(y + PAD) * stride + uint64(PAD)
        mapmodel.pad_row(plane, row, uint64(width), y == 0)
        left_rank, left_fine = int64(0), int64(0)
        for x in range(uint64(width)):
            q = row + x
            texture = _look(plane, q, stride, palette.colors, model.point)
            s = int64(plane[q])
            rank = int64(0)
            if several:
                _key_groups(palette, n_channels, model)
                rank = _rank_of(model.keys, s >> 4)
                table = _group_table(texture, left_rank, int64(ranks[uint64(0), x]))
                start, frequency = _part(model.starts, table, rank)
                parts[y, x, 0] = uint32(start | frequency << uint64(16))
                _learn(model, table, rank)
            _key_colors(palette, s >> 4, n_channels, model)
            fine = _rank_of(model.keys, s & 15)
            table = _color_table(texture, rank, left_fine, int64(ranks[uint64(1), x]))
            start, frequency = _part(model.starts, table, fine)
            parts[y, x, 1] = uint32(start | frequency << uint64(16))
            _learn(model, table, fine)
            left_rank, left_fine = rank, fine
            ranks[uint64(0), x], ranks[uint64(1), x] = uint8(rank), uint8(fine)


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
    symbol = _symbol_at(model.starts, table, slot)
    start, frequency = _part(model.starts, table, symbol)
    x, at = _refill(frequency * (x >> uint64(16)) + slot - start, at, message)
    _learn(model, table, symbol)
    return x, at, symbol


@kernel
def decode_map(
    plane: U8,
    height: int,
    width: int,
    palette: Palette,
    n_channels: int,
    model: RankModel,
    ranks: U8,
    message: U8,
    state: U64,
) -> int:
    """Decode a map into its plane; return OK or a status.

    Arguments as for `find_parts`. IN message u8; IN/OUT state u64 (6), see tablerans.
    """
    stride = uint64(width + 2 * PAD)
    k = int64(palette.colors.size) >> 2
    n_groups = (k + SIZE - 1) >> 4
    groups_x, colors_x, at = state[0], state[1], state[4]
    n_words = uint64(message.size) >> uint64(2)
    status = OK
    for y in range(height):
        row = uint64(y + PAD) * stride + uint64(PAD)
        mapmodel.pad_row(plane, row, uint64(width), y == 0)
        left_rank, left_fine = int64(0), int64(0)
        for x in range(uint64(width)):
            q = row + x
            texture = _look(plane, q, stride, palette.colors, model.point)
            rank, group = int64(0), int64(0)
            if n_groups > 1:
                table = _group_table(texture, left_rank, int64(ranks[uint64(0), x]))
                groups_x, at, rank = _take(groups_x, at, model, table, message)
                _key_groups(palette, n_channels, model)
                group = _lane_of(model.keys, rank)
            table = _color_table(texture, rank, left_fine, int64(ranks[uint64(1), x]))
            colors_x, at, fine = _take(colors_x, at, model, table, message)
            if rank >= n_groups or fine >= k - (group << 4):
                return BAD_SYMBOL
            _key_colors(palette, group, n_channels, model)
            plane[q] = uint8(group << 4 | _lane_of(model.keys, fine))
            left_rank, left_fine = rank, fine
            ranks[uint64(0), x], ranks[uint64(1), x] = uint8(rank), uint8(fine)
        if at > n_words:
            status = INPUT_EXHAUSTED
            break
    state[0], state[1], state[4] = groups_x, colors_x, at
    return status
