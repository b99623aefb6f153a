"""Products of int16 matrices and vectors with int32 sums, in plain LLVM IR: the same result on every target.

`matvec` is many dot products, for dense vectors; `axpy` adds one scaled row, for sparse ones. Sums wrap at
32 bits: whoever calls has a proof that they do not have to.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
LANES = 16
"""Rows are whole vectors of so many columns."""
ROWS = 4
"""`matvec` takes so many rows at a time."""
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
