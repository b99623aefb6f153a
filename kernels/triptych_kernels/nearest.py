"""The palette metric and the search for the nearest colour: what the kernels of the k-means panel share.

**The metric.** A colour is four planes: red, green and blue times alpha / 255, and alpha, each in eighths of
a level and rounded to an integer 0..2040. The distance of two colours is the sum of the four squared
differences, an exact integer. All fully transparent colours are one point; among opaque colours the fourth
difference is 0 and the distance is 64 times the squared error in plain RGB.

**Why a distance and an index fit in 32 bits.** A difference is at most 2040, so a distance is at most
4 * 2040**2 = 16,646,400 < 2**24: `distance * 256 + index` is a uint32, the smallest such *key* names the
nearest colour, and among equally near colours the one with the lower index.

**Why there is one multiply for two planes, and no case of its own for opaque pictures.** Points are kept
packed, two planes in a uint32, each plane times 16: at most 32640 < 2**15, so differences fit in int16 and
`(16 d)**2 = 256 d**2` is already shifted by the eight bits of the index. Two such squares sum to at most
2 * 32640**2 < 2**31. That is the multiply-add of pairs (pmaddwd) that x86 has in one instruction: red and
green take one, blue and alpha the other, and three planes would cost as much as four.

The search is written as LLVM vectors of eight colours; LLVM lowers them to what the machine has, and
integer results are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from triptych_kernels._jit import inline, kernel

SCALE = 8
"""Units of the metric in one level of an 8-bit channel."""
LANES = 8
"""Colours compared at once; the length of a search table is a multiple of it."""
RATE_SHIFT = 3
"""Where rates are added to distances, both are in units of 2**RATE_SHIFT of the metric's."""
RATE_LIMIT = (1 << 30) - 256

_SHIFT = np.uint64(4)  # a packed plane is a plane times 16
_LOW = np.uint64(0xFFFF)
_HIGH = np.uint64(16)

_VECTOR = ir.VectorType(ir.IntType(32), LANES)
_HALVES = ir.VectorType(ir.IntType(16), 2 * LANES)


def table_len(n_colors: int) -> int:
    """Length of the search table of `n_colors` colours (see `build_table`)."""
    return -(-n_colors // LANES) * LANES


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(_VECTOR, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _minimum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_unsigned("<", a, b), b, a)


def _lowest(builder: Any, vector: Any) -> Any:
    """Reduce a vector to its smallest element by halving it."""
    for width in (4, 2, 1):
        order = ir.Constant(_VECTOR, [(lane + width) % LANES for lane in range(LANES)])
        vector = _minimum(builder, vector, builder.shuffle_vector(vector, vector, order))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _load(builder: Any, pointer: Any, offset: Any) -> Any:
    place = builder.bitcast(builder.gep(pointer, [offset]), _VECTOR.as_pointer())
    return builder.load(place, align=4)


def _squares(builder: Any, pairs: Any, point: Any) -> Any:
    """Sum of the squared differences of both planes, for each of eight packed colours.

    The order (widen, square, part, add) is the one that LLVM recognises as pmaddwd.
    """
    halves = builder.sub(builder.bitcast(pairs, _HALVES), builder.bitcast(point, _HALVES))
    wide = builder.sext(halves, ir.VectorType(ir.IntType(32), 2 * LANES))
    squares = builder.mul(wide, wide)
    parts = []
    for side in (0, 1):
        lanes = ir.Constant(_VECTOR, [2 * lane + side for lane in range(LANES)])
        parts.append(builder.shuffle_vector(squares, squares, lanes))
    return builder.add(parts[0], parts[1])


def _load_keys(builder: Any, pointer: Any, stride: Any, start: Any, points: Any) -> Any:
    """Eight keys, without their index, of the table's colours `start` to `start + 7`."""
    first = _squares(builder, _load(builder, pointer, start), points[0])
    second = _squares(builder, _load(builder, pointer, builder.add(start, stride)), points[1])
    return builder.add(first, second)


def _load_index(builder: Any, pointer: Any, stride: Any, start: Any) -> Any:
    return _load(builder, pointer, builder.add(start, builder.add(stride, stride)))


def _open_table(context: Any, builder: Any, table_type: Any, table: Any) -> tuple[Any, Any]:
    array = context.make_array(table_type)(context, builder, table)
    return array.data, builder.extract_value(array.shape, 1)


def _search(two: bool) -> Callable[..., Any]:
    """Generate the code of `smallest_key` (`two` false) or of `two_smallest_keys`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, stride = _open_table(context, builder, signature.args[0], args[0])
        points = [_splat(builder, arg, _VECTOR) for arg in args[1:]]
        worst = ir.Constant(_VECTOR, [0xFFFFFFFF] * LANES)
        best = cgutils.alloca_once_value(builder, worst)
        second = cgutils.alloca_once_value(builder, worst)
        step = ir.Constant(stride.type, LANES)
        with cgutils.for_range_slice(builder, ir.Constant(stride.type, 0), stride, step) as (start, _):
            keys = _load_keys(builder, pointer, stride, start, points)
            keys = builder.or_(keys, _load_index(builder, pointer, stride, start))
            held = builder.load(best)
            if two:
                loser = _maximum(builder, held, keys)
                builder.store(_minimum(builder, builder.load(second), loser), second)
            builder.store(_minimum(builder, held, keys), best)
        held = builder.load(best)
        smallest = _lowest(builder, held)
        if not two:
            return smallest
        # Keys differ, so the smallest lies in one lane: that lane gives its second, the others their first.
        ours = builder.icmp_unsigned("==", held, _splat(builder, smallest, _VECTOR))
        rest = _lowest(builder, builder.select(ours, builder.load(second), held))
        wide = builder.shl(builder.zext(rest, ir.IntType(64)), ir.Constant(ir.IntType(64), 32))
        return builder.or_(wide, builder.zext(smallest, ir.IntType(64)))

    return codegen


def _search_with_rates(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Generate the code of `cheapest_key`."""
    pointer, stride = _open_table(context, builder, signature.args[0], args[0])
    points = [_splat(builder, arg, _VECTOR) for arg in args[1:3]]
    rows = []
    for kind, rates, row in zip(signature.args[3:6], args[3:6], args[6:], strict=True):
        data, length = _open_table(context, builder, kind, rates)
        rows.append(builder.gep(data, [builder.mul(row, length)]))
    best = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0xFFFFFFFF] * LANES))
    step = ir.Constant(stride.type, LANES)
    with cgutils.for_range_slice(builder, ir.Constant(stride.type, 0), stride, step) as (start, _):
        keys = _load_keys(builder, pointer, stride, start, points)
        keys = builder.lshr(keys, ir.Constant(_VECTOR, [RATE_SHIFT] * LANES))
        keys = builder.and_(keys, ir.Constant(_VECTOR, [0xFFFFFF00] * LANES))
        for row in rows:
            keys = builder.add(keys, _load(builder, row, start))
        keys = builder.or_(keys, _load_index(builder, pointer, stride, start))
        builder.store(_minimum(builder, builder.load(best), keys), best)
    return _lowest(builder, builder.load(best))


def _type_smallest_key(context: Any, table: Any, pair01: Any, pair23: Any) -> Any:
    return types.uint32(table, types.uint32, types.uint32), _search(two=False)


def _type_two_smallest_keys(context: Any, table: Any, pair01: Any, pair23: Any) -> Any:
    return types.uint64(table, types.uint32, types.uint32), _search(two=True)


def _type_cheapest_key(
    context: Any, table: Any, pair01: Any, pair23: Any, a: Any, b: Any, c: Any, i: Any, j: Any, k: Any
) -> Any:
    row = types.uint64
    signature = types.uint32(table, types.uint32, types.uint32, a, b, c, row, row, row)
    return signature, _search_with_rates


_smallest_key: Any = intrinsic(_type_smallest_key)
_two_smallest_keys: Any = intrinsic(_type_two_smallest_keys)
_cheapest_key: Any = intrinsic(_type_cheapest_key)


@inline
def smallest_key(table: npt.NDArray[np.uint32], pair01: np.uint32, pair23: np.uint32) -> np.uint32:
    """Give the smallest `distance * 256 + index` of a packed point to the colours of a search table."""
    key: np.uint32 = _smallest_key(table, pair01, pair23)
    return key


@inline
def two_smallest_keys(table: npt.NDArray[np.uint32], pair01: np.uint32, pair23: np.uint32) -> np.uint64:
    """Give the two smallest keys in one uint64, the smallest in the low half.

    A table of one colour has no second: the high half is then 0xFFFFFFFF.
    """
    keys: np.uint64 = _two_smallest_keys(table, pair01, pair23)
    return keys


@inline
def cheapest_key(
    table: npt.NDArray[np.uint32],
    pair01: np.uint32,
    pair23: np.uint32,
    rates: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]],
    rows: tuple[np.uint64, np.uint64, np.uint64],
) -> np.uint32:
    """Give the smallest `((distance >> RATE_SHIFT) + three rates) * 256 + index`.

    Each rate is the entry, of the colour's column, in one row of a uint32 array as wide as the table. Rates
    come times 256 and at most `RATE_LIMIT`: 3 * 2**30 + 2**32 / 2**RATE_SHIFT < 2**32.
    """
    key: np.uint32 = _cheapest_key(
        table, pair01, pair23, rates[0], rates[1], rates[2], rows[0], rows[1], rows[2]
    )
    return key


@inline
def plane_of(points: npt.NDArray[np.uint32], plane: int, i: np.uint64) -> np.int64:
    """Plane 0..3 (0..2040) of packed point `i`."""
    pair = np.uint64(points[np.uint64(plane) >> np.uint64(1), i])
    if plane & 1:
        pair >>= _HIGH
    return np.int64((pair & _LOW) >> _SHIFT)


@inline
def pack_pair(first: np.int64, second: np.int64) -> np.uint32:
    """Pack two planes (0..2040 each) into one uint32."""
    return np.uint32((np.uint64(first) << _SHIFT) | (np.uint64(second) << (_SHIFT + _HIGH)))


@inline
def build_table(centers: npt.NDArray[np.int32], table: npt.NDArray[np.uint32]) -> None:
    """Fill a search table, uint32 (3, table_len(k)), OUT, from planes, int32 (4, k).

    Its rows are the packed pairs and the index. Places past k hold an index of all ones: a key of all ones,
    which never wins.
    """
    n_colors = centers.shape[1]
    for j in range(table.shape[1]):
        s = min(j, n_colors - 1)
        table[0, j] = pack_pair(np.int64(centers[0, s]), np.int64(centers[1, s]))
        table[1, j] = pack_pair(np.int64(centers[2, s]), np.int64(centers[3, s]))
        table[2, j] = np.uint32(j) if j < n_colors else np.uint32(0xFFFFFFFF)


@kernel
def pack_colors(colors: npt.NDArray[np.uint8], points: npt.NDArray[np.uint32]) -> None:
    """Turn RGBA colours, uint8 (n, 4), IN, into packed points of the metric, uint32 (2, n), OUT."""
    full = np.int64(255 * SCALE)
    for i in range(colors.shape[0]):
        r, g, b = np.int64(colors[i, 0]), np.int64(colors[i, 1]), np.int64(colors[i, 2])
        a = np.int64(colors[i, 3]) * np.int64(SCALE)
        if a != full:  # round(SCALE * c * alpha / 255), halves up
            r, g, b = (2 * r * a + 255) // 510, (2 * g * a + 255) // 510, (2 * b * a + 255) // 510
        else:
            r, g, b = r * np.int64(SCALE), g * np.int64(SCALE), b * np.int64(SCALE)
        points[0, i] = pack_pair(r, g)
        points[1, i] = pack_pair(b, a)


@kernel
def unpack_points(points: npt.NDArray[np.uint32], planes: npt.NDArray[np.int32]) -> None:
    """Turn packed points, uint32 (2, n), IN, into planes, int32 (4, n), OUT."""
    for plane in range(4):
        for i in range(points.shape[1]):
            planes[plane, i] = plane_of(points, plane, np.uint64(i))
