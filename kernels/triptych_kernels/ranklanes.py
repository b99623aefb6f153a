"""The vectors of `rankmap`: 16 lanes of int16, tables of 16 int32, in plain LLVM IR, the same everywhere.

Distances are in 1/8 of a colour step, at most 2040: a distance and a lane fit 15 bits, and no two such *keys*
are equal. FORMAT.md section 6.9 is the law.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from triptych_kernels.contextmix import _pointer

SIZE = 16
"""Colours of a group, and groups at most; symbols of a table."""
SCALE, LEAST = 1 << 20, 256
"""What a table sums to, and what each symbol is bound to keep of it."""
FARTHEST = 2047
"""Stands for distances of colours that are not there."""

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
def predict(typing: Any, colors: Any, w: Any, n: Any, nw: Any, ne: Any, point: Any) -> Any:
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
    keyed = builder.shl(_least(builder, distances, _all(FARTHEST)), _all(4))
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


key_groups3, key_groups4 = _make_key(3, of_groups=True), _make_key(4, of_groups=True)
key_colors3, key_colors4 = _make_key(3, of_groups=False), _make_key(4, of_groups=False)


@intrinsic
def rank_of(typing: Any, keys: Any, lane: Any) -> Any:
    """Return how many keys are less than a lane's."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _pointer(context, builder, sig.args[0], args[0])
        mine = _spread(builder, builder.load(builder.gep(data, [args[1]])))
        return _count(builder, builder.icmp_signed("<", _load(builder, data, _I64(0)), mine))

    return types.int64(keys, types.int64), codegen


@intrinsic
def lane_of(typing: Any, keys: Any, rank: Any) -> Any:
    """Return the lane whose key has this rank, 0 to 15: the inverse of `rank_of`."""

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
def symbol_at(typing: Any, starts: Any, table: Any, slot: Any) -> Any:
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
def move(typing: Any, starts: Any, table: Any, symbol: Any, rate: Any) -> Any:
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
        rest = builder.select(behind, _all(SCALE - SIZE * LEAST, _INTS), _all(0, _INTS))
        target = builder.add(_numbers(LEAST, _INTS), rest)
        _store(builder, builder.add(row, builder.ashr(builder.sub(target, row), rate)), data, at)
        return context.get_dummy_value()

    return types.void(starts, types.int64, types.int64, types.int64), codegen
