"""Groups of 32 symbols of static rANS as AVX2 instructions: four vectors of eight lanes.

`staticrans` calls these where `available()` and finishes what they leave over; its scalar kernels read and
write the same bytes. Numba aborts the process if it meets this code while it compiles for a CPU without
AVX2, so nobody may call it there.

Words are 16 bits, little endian, at any address. No function reads or writes outside what it names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 32
_WIDTH = 8
_VECTORS = LANES // _WIDTH
_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_BYTES, _WORDS, _LONGS = (ir.VectorType(kind, _WIDTH) for kind in (_I8, _I16, _I32))
_DOUBLES = ir.VectorType(_I64, _WIDTH)


@cache
def available() -> bool:
    """Say whether numba compiles for a CPU with AVX2, which need not be this one."""
    return "+avx2" in str(cpu_target.target_context.codegen().magic_tuple()[2])


def _packing() -> list[list[int]]:
    """For each mask of lanes, the lane of each place when the masked ones move to the end, in order."""
    rows = []
    for mask in range(1 << _WIDTH):
        lanes = [lane for lane in range(_WIDTH) if mask >> lane & 1]
        rows.append([0] * (_WIDTH - len(lanes)) + lanes)
    return rows


def _spreading() -> list[list[int]]:
    """For each mask of lanes, the place in the stream, from 0, of each masked lane's word."""
    below = [[mask & ((1 << lane) - 1) for lane in range(_WIDTH)] for mask in range(1 << _WIDTH)]
    return [[before.bit_count() for before in row] for row in below]


def _all(number: int, kind: Any = _LONGS) -> Any:
    return ir.Constant(kind, [number] * _WIDTH)


class _Builder:
    """What both loops are made of; `b` is numba's builder."""

    def __init__(self, context: Any, builder: Any, permutation: str, rows: list[list[int]]) -> None:
        self.context, self.b = context, builder
        table = ir.Constant(ir.ArrayType(_LONGS, len(rows)), [ir.Constant(_LONGS, row) for row in rows])
        self.permutations = cgutils.global_constant(builder.module, permutation, table)

    def data(self, kind: Any, array: Any) -> Any:
        """Point to the first byte of an array."""
        pointer = self.context.make_array(kind)(self.context, self.b, array).data
        return self.b.bitcast(pointer, _I8.as_pointer())

    def place(self, pointer: Any, offset: Any, kind: Any) -> Any:
        """Point to a `kind` at an offset in bytes."""
        return self.b.bitcast(self.b.gep(pointer, [offset]), kind.as_pointer())

    def load(self, pointer: Any, offset: Any, kind: Any) -> Any:
        found = self.b.load(self.place(pointer, offset, kind))
        found.align = 1
        return found

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        self.b.store(value, self.place(pointer, offset, value.type)).align = 1

    def gather(self, table: Any, at: Any) -> Any:
        """Look eight numbers up in a table of u32."""
        kind = ir.FunctionType(_LONGS, [_LONGS, _I8.as_pointer(), _LONGS, _LONGS, _I8])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.x86.avx2.gather.d.d.256")
        return self.b.call(function, [_all(0), table, at, _all(-1), _I8(4)])

    def permute(self, vector: Any, mask: Any) -> Any:
        """Move lanes as the row of the mask says."""
        row = self.b.gep(self.permutations, [_I64(0), self.b.zext(mask, _I64)])
        kind = ir.FunctionType(_LONGS, [_LONGS, _LONGS])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.x86.avx2.permd")
        return self.b.call(function, [vector, self.b.load(row)])

    def count(self, mask: Any) -> Any:
        """Give the number of lanes of a mask as i64."""
        kind = ir.FunctionType(_I8, [_I8])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.ctpop.i8")
        return self.b.zext(self.b.call(function, [mask]), _I64)

    def states(self, pointer: Any) -> list[Any]:
        return [self.load(pointer, _I64(4 * _WIDTH * k), _LONGS) for k in range(_VECTORS)]

    def keep(self, vectors: list[Any], pointer: Any) -> None:
        for k, vector in enumerate(vectors):
            self.store(vector, pointer, _I64(4 * _WIDTH * k))

    def phis(self, starts: list[Any]) -> list[Any]:
        """Begin loop variables, which come from `starts` in the block before."""
        before = self.b.block
        head = self.b.append_basic_block("head")
        self.b.branch(head)
        self.b.position_at_end(head)
        found = []
        for start in starts:
            found.append(self.b.phi(start.type))
            found[-1].add_incoming(start, before)
        return found

    def loop(self, condition: Any) -> tuple[Any, Any, Any]:
        """Leave the head for the body; give (head, body, what follows)."""
        head = self.b.block
        body, done = self.b.append_basic_block("body"), self.b.append_basic_block("done")
        self.b.cbranch(condition, body, done)
        self.b.position_at_end(body)
        return head, body, done

    def again(self, blocks: tuple[Any, Any, Any], variables: list[Any], values: list[Any]) -> None:
        """Close the loop's body."""
        for variable, value in zip(variables, values, strict=True):
            variable.add_incoming(value, self.b.block)
        self.b.branch(blocks[0])
        self.b.position_at_end(blocks[2])


@intrinsic
def decode_groups(typing: Any, source: Any, table: Any, states: Any, out: Any, at: Any, n: Any) -> Any:
    """Decode groups of 32 symbols while any 32 words are left; return (words read, groups decoded).

    IN source u8, table u32 (4096): symbol, start << 8, (4096 - frequency) << 20; at i64: words already read;
    n i64: groups that `out` has room for. IN/OUT states u32 (32), each in 2^15 to 2^31 - 1. OUT out u8.

    A group takes at most a word for each lane, and the vector of eight words that lane 8k reads from begins
    at most 8k words on: what lies behind the 32 words is not touched.
    """
    signature = types.UniTuple(types.int64, 2)(source, table, states, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        m, b = _Builder(context, builder, "triptych.spreading", _spreading()), builder
        source, table, states, out = (
            m.data(kind, array) for kind, array in zip(sig.args[:4], args[:4], strict=True)
        )
        size = context.make_array(sig.args[0])(context, b, args[0]).nitems
        last = b.sub(b.lshr(size, _I64(1)), _I64(LANES))
        variables = m.phis([args[4], _I64(0), *m.states(states)])
        at, group, *before = variables
        blocks = m.loop(b.and_(b.icmp_signed("<=", at, last), b.icmp_signed("<", group, args[5])))
        found = [m.gather(table, b.and_(x, _all(4095))) for x in before]
        after = []
        for x, entry in zip(before, found, strict=True):
            # x = 4096 q + slot becomes frequency * q + slot - start = x - start - (4096 - frequency) * q.
            start = b.and_(b.lshr(entry, _all(8)), _all(4095))
            rest = b.mul(b.lshr(entry, _all(20)), b.lshr(x, _all(12)))
            x = b.sub(b.sub(x, start), rest)
            is_small = b.icmp_signed("<", x, _all(1 << 15))
            mask = b.bitcast(is_small, _I8)
            words = b.zext(m.load(source, b.shl(at, _I64(1)), _WORDS), _LONGS)
            filled = b.or_(b.shl(x, _all(16)), m.permute(words, mask))
            after.append(b.select(is_small, filled, x))
            at = b.add(at, m.count(mask))
        place = b.mul(group, _I64(LANES))
        halves = [
            b.shuffle_vector(found[k], found[k + 1], ir.Constant(ir.VectorType(_I32, 16), list(range(16))))
            for k in (0, 2)
        ]
        whole = b.shuffle_vector(*halves, ir.Constant(ir.VectorType(_I32, 32), list(range(32))))
        m.store(b.trunc(whole, ir.VectorType(_I8, LANES)), out, place)
        m.again(blocks, variables, [at, b.add(group, _I64(1)), *after])
        m.keep(before, states)
        return context.make_tuple(b, sig.return_type, variables[:2])

    return signature, codegen


@intrinsic
def encode_groups(
    typing: Any, symbols: Any, reciprocals: Any, entries: Any, states: Any, sink: Any, at: Any, n: Any
) -> Any:
    """Encode groups of 32 symbols, the last first, while any 32 words fit; return (room, groups left, least).

    IN symbols u8; reciprocals, entries u32 (256) as `staticrans` makes them; at i64: words that are free
    before what is written; n i64: groups to encode. IN/OUT states u32 (32). OUT sink u8 (the words before
    `at`); least i64: the least frequency of a symbol met, 0 where one has no code.

    Eight words are stored for every eight lanes, of which the first may be noise that is written over later.
    """
    signature = types.UniTuple(types.int64, 3)(
        symbols, reciprocals, entries, states, sink, types.int64, types.int64
    )

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        m, b = _Builder(context, builder, "triptych.packing", _packing()), builder
        symbols, reciprocals, entries, states, sink = (
            m.data(kind, array) for kind, array in zip(sig.args[:5], args[:5], strict=True)
        )
        minimum = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_LONGS, [_LONGS, _LONGS]), "llvm.umin.v8i32"
        )
        variables = m.phis([args[5], args[6], _all(4096), *m.states(states)])
        at, n_left, least, *before = variables
        blocks = m.loop(b.and_(b.icmp_signed(">=", at, _I64(LANES)), b.icmp_signed(">", n_left, _I64(0))))
        group = b.sub(n_left, _I64(1))
        after: list[Any] = []
        for k in reversed(range(_VECTORS)):
            place = b.add(b.mul(group, _I64(LANES)), _I64(_WIDTH * k))
            symbol = b.zext(m.load(symbols, place, _BYTES), _LONGS)
            reciprocal, entry, x = m.gather(reciprocals, symbol), m.gather(entries, symbol), before[k]
            frequency = b.and_(b.lshr(entry, _all(13)), _all(8191))
            least = b.call(minimum, [least, frequency])
            is_large = b.icmp_unsigned(">=", x, b.shl(frequency, _all(19)))
            mask = b.bitcast(is_large, _I8)
            words = b.trunc(m.permute(b.and_(x, _all(65535)), mask), _WORDS)
            m.store(words, sink, b.shl(b.sub(at, _I64(_WIDTH)), _I64(1)))
            at = b.sub(at, m.count(mask))
            x = b.select(is_large, b.lshr(x, _all(16)), x)
            product = b.mul(b.zext(x, _DOUBLES), b.zext(reciprocal, _DOUBLES))
            quotient = b.lshr(b.trunc(b.lshr(product, _all(32, _DOUBLES)), _LONGS), b.lshr(entry, _all(26)))
            moved = b.mul(quotient, b.sub(_all(4096), frequency))
            after.insert(0, b.add(b.add(x, b.and_(entry, _all(8191))), moved))
        m.again(blocks, variables, [at, group, least, *after])
        m.keep(before, states)
        reduce = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_I32, [_LONGS]), "llvm.vector.reduce.umin.v8i32"
        )
        lowest = b.zext(b.call(reduce, [variables[2]]), _I64)
        return context.make_tuple(b, sig.return_type, [*variables[:2], lowest])

    return signature, codegen
