"""Products of int16 matrices and vectors with int32 sums, in LLVM IR: the same result on every target.

`matvec` is many dot products, for dense vectors; `axpy` adds one scaled row, for sparse ones, and
`axpy_pairs` rows by pairs, which AVX2 multiplies and adds in one instruction. Sums wrap at 32 bits: whoever
calls has a proof that they do not have to.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from triptych_kernels.avx2 import available

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
LANES = 16
"""Rows are whole vectors of so many columns."""
ROWS = 4
"""`matvec` takes so many rows at a time."""
PAIRS, PAIR_LANES = 4, 8
"""`axpy_pairs` takes so many pairs of rows at a time, and whole vectors of so many columns."""
_NARROW, _WIDE = ir.VectorType(_I16, LANES), ir.VectorType(_I32, LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _widened(builder: Any, pointer: Any, at: Any) -> Any:
    vector = builder.load(builder.bitcast(builder.gep(pointer, [at]), _NARROW.as_pointer()))
    vector.align = 2
    return builder.sext(vector, _WIDE)


@intrinsic
def matvec(typing: Any, matrix: Any, at: Any, n_rows: Any, n_columns: Any, vector: Any, out: Any) -> Any:
    """Set out[r] = sum over c of matrix[at + r * n_columns + c] * vector[c].

    IN matrix i16 (flat), at i64, n_rows i64 (a multiple of ROWS), n_columns i64 (a multiple of LANES, not 0),
    vector i16 (n_columns). OUT out i32 (n_rows).
    """
    signature = types.void(matrix, types.int64, types.int64, types.int64, vector, out)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = _I64(0)
        first = _pointer(context, builder, sig.args[0], args[0], args[1])
        vector = _pointer(context, builder, sig.args[4], args[4], zero)
        out = _pointer(context, builder, sig.args[5], args[5], zero)
        n_rows, n_columns = args[2], args[3]
        module = builder.module
        total = cgutils.get_or_insert_function(
            module, ir.FunctionType(_I32, [_WIDE]), f"llvm.vector.reduce.add.v{LANES}i32"
        )
        with cgutils.for_range_slice(builder, zero, n_rows, _I64(ROWS), inc=True) as (row, _):
            rows = [
                builder.gep(first, [builder.mul(builder.add(row, _I64(i)), n_columns)]) for i in range(ROWS)
            ]
            before = builder.block
            body = builder.append_basic_block("columns")
            done = builder.append_basic_block("columns.done")
            builder.branch(body)
            builder.position_at_end(body)
            column = builder.phi(_I64)
            column.add_incoming(zero, before)
            sums = [builder.phi(_WIDE) for _ in rows]
            factor = _widened(builder, vector, column)
            for start, pointer in zip(sums, rows, strict=True):
                start.add_incoming(ir.Constant(_WIDE, [0] * LANES), before)
                product = builder.mul(_widened(builder, pointer, column), factor)
                start.add_incoming(builder.add(start, product), body)
            following = builder.add(column, _I64(LANES))
            column.add_incoming(following, body)
            ends = [start.incomings[1][0] for start in sums]
            builder.cbranch(builder.icmp_signed("<", following, n_columns), body, done)
            builder.position_at_end(done)
            for i, end in enumerate(ends):
                builder.store(builder.call(total, [end]), builder.gep(out, [builder.add(row, _I64(i))]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def axpy(typing: Any, matrix: Any, at: Any, n_columns: Any, factor: Any, sums: Any) -> Any:
    """Add factor * matrix[at + c] to sums[c].

    IN matrix i16 (flat), at i64, n_columns i64 (a multiple of LANES, not 0), factor i64 (32 bits count).
    IN/OUT sums i32 (n_columns).
    """
    signature = types.void(matrix, types.int64, types.int64, types.int64, sums)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row = _pointer(context, builder, sig.args[0], args[0], args[1])
        sums = _pointer(context, builder, sig.args[4], args[4], _I64(0))
        one = builder.insert_element(ir.Constant(_WIDE, ir.Undefined), builder.trunc(args[3], _I32), _I32(0))
        factor = builder.shuffle_vector(
            one, ir.Constant(_WIDE, ir.Undefined), ir.Constant(_WIDE, [0] * LANES)
        )
        with cgutils.for_range_slice(builder, _I64(0), args[2], _I64(LANES), inc=True) as (column, _):
            target = builder.bitcast(builder.gep(sums, [column]), _WIDE.as_pointer())
            old = builder.load(target)
            old.align = 4
            product = builder.mul(_widened(builder, row, column), factor)
            builder.store(builder.add(old, product), target).align = 4
        return context.get_dummy_value()

    return signature, codegen


def _add_products(builder: Any, one: Any, other: Any) -> Any:
    """Multiply vectors of 2 n numbers of 16 bits, and add the products of neighbours: n of 32 bits."""
    kind = ir.VectorType(_I32, PAIR_LANES)
    if available():
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [one.type, one.type]), "llvm.x86.avx2.pmadd.wd"
        )
        return builder.call(function, [one, other])
    halves = []
    for first in (0, 1):
        mask = ir.Constant(kind, list(range(first, 2 * PAIR_LANES, 2)))
        a, b = (builder.sext(builder.shuffle_vector(v, v, mask), kind) for v in (one, other))
        halves.append(builder.mul(a, b))
    return builder.add(*halves)


@intrinsic
def axpy_pairs(typing: Any, pairs: Any, places: Any, n_columns: Any, sums: Any) -> Any:
    """Add to sums[c] the products of PAIRS pairs of rows with a factor each; return the columns done.

    IN pairs i16 (flat): a pair is its rows' numbers side by side, column by column. places i64 (2 PAIRS,
    flat): where each pair's first column is, then its factors, as 16 bits each, that of its second row above.
    n_columns i64; what is left of whole vectors is not done. IN/OUT sums i32 (n_columns).
    """
    signature = types.int64(pairs, places, types.int64, sums)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, whole = ir.VectorType(_I16, 2 * PAIR_LANES), ir.VectorType(_I32, PAIR_LANES)
        places = _pointer(context, builder, sig.args[1], args[1], _I64(0))
        sums = _pointer(context, builder, sig.args[3], args[3], _I64(0))
        numbers = [builder.load(builder.gep(places, [_I64(i)])) for i in range(2 * PAIRS)]
        rows = [_pointer(context, builder, sig.args[0], args[0], at) for at in numbers[:PAIRS]]
        undefined, zeros = ir.Constant(whole, ir.Undefined), ir.Constant(whole, [0] * PAIR_LANES)
        factors = []
        for number in numbers[PAIRS:]:
            first = builder.insert_element(undefined, builder.trunc(number, _I32), _I32(0))
            factors.append(builder.bitcast(builder.shuffle_vector(first, undefined, zeros), vector))
        done = builder.and_(args[2], _I64(-PAIR_LANES))
        with cgutils.for_range_slice(builder, _I64(0), done, _I64(PAIR_LANES), inc=True) as (column, _):
            target = builder.bitcast(builder.gep(sums, [column]), whole.as_pointer())
            total = builder.load(target)
            total.align = 4
            for row, factor in zip(rows, factors, strict=True):
                at = builder.gep(row, [builder.shl(column, _I64(1))])
                both = builder.load(builder.bitcast(at, vector.as_pointer()))
                both.align = 2
                total = builder.add(total, _add_products(builder, both, factor))
            builder.store(total, target).align = 4
        return done

    return signature, codegen
