"""Colour predictions for an index map: what colour comes next, and on which side of a tree node it lies.

Predictions are in 1/8 of a colour step, eight a channel (see `predict_colors`). FORMAT.md section 6.5.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import int32, int64, types, uint64
from numba.extending import intrinsic

from triptych_kernels._jit import inline
from triptych_kernels.arrays import I32, I64, U8
from triptych_kernels.contextmix import _clamped, _const, _load, _pointer, _splat, _store


@inline
def predict_colors(colors: U8, near: I64, n_channels: int, predictions: I32) -> int:
    """Fill predictions (i32, 4 * 8, a channel's eight together, in 1/8 steps); return the texture, 0 to 7.

    The eight: median edge detector, local mean, W, N, NE, NW, the mean again (where `regression` may
    put its own), N + NE - NNE. colors is u8 (k, 4) flat.
    """
    activity = 0
    for c in range(n_channels):
        w, n = int64(colors[uint64(near[0] * 4 + c)]), int64(colors[uint64(near[1] * 4 + c)])
        nw, ne = int64(colors[uint64(near[2] * 4 + c)]), int64(colors[uint64(near[3] * 4 + c)])
        edge = max(min(w, n), min(max(w, n), w + n - nw))
        mean = 3 * (w + n) + ne + nw
        at = uint64(c * 8)
        predictions[at] = int32(edge * 8)
        predictions[at + uint64(1)] = int32(mean)
        predictions[at + uint64(2)] = int32(w * 8)
        predictions[at + uint64(3)] = int32(n * 8)
        predictions[at + uint64(4)] = int32(ne * 8)
        predictions[at + uint64(5)] = int32(nw * 8)
        predictions[at + uint64(6)] = int32(mean)
        predictions[at + uint64(7)] = int32((n + ne - int64(colors[uint64(near[6] * 4 + c)])) * 8)
        activity += abs(w - nw) + abs(n - nw) + abs(n - ne)
    texture = 0
    for bound in (12, 30, 60, 100, 160, 240, 400):
        texture += int64(activity >= int64(bound))
    return texture


@intrinsic
def project(typing: Any, predictions: Any, axis: Any, row: Any, out: Any) -> Any:
    """Place the eight predictions on a tree node's axis, as vectors.

    out[0:8] = q = distance from the node's threshold in sigma / 128; out[8:16], out[16:24], out[24:32] = q in
    128 coarse, 32 and 10 classes. |axis . prediction| < 2^9 * 2^13 and q < 2^15 * 2^15: no overflow.
    """
    signature = types.void(predictions, axis, types.int64, out)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pp, pq = (
            _pointer(context, builder, sig.args[0], args[0]),
            _pointer(context, builder, sig.args[3], args[3]),
        )
        row = builder.mul(args[2], ir.Constant(ir.IntType(64), 8))
        pa = _pointer(context, builder, sig.args[1], args[1], row)

        def entry(i: int) -> Any:
            return _splat(builder, builder.load(builder.gep(pa, [ir.Constant(ir.IntType(32), i)])))

        total = builder.neg(entry(4))
        for c in range(4):
            total = builder.add(total, builder.mul(entry(c), _load(builder, pp, c)))
        q = builder.ashr(builder.mul(builder.ashr(total, _const(7)), entry(5)), _const(13))
        _store(builder, q, pq, 0)
        for k, (factor, shift, middle, high) in enumerate(((1, 3, 64, 127), (3, 6, 16, 31), (5, 8, 5, 9)), 1):
            level = builder.ashr(builder.mul(q, _const(factor)), _const(shift))
            _store(builder, _clamped(builder, builder.add(level, _const(middle)), high), pq, k)
        return context.get_dummy_value()

    return signature, codegen
