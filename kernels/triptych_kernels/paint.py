"""Index maps and palettes to pixels."""

from __future__ import annotations

from numba import uint64

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import U8


@kernel
def paint(indices: U8, colors: U8, step: int, out: U8) -> None:
    """Set out[y, x, c] to channel c * step of the colour that indices[y, x] names.

    IN indices u8 (h, w), below k; colors u8 (k, 4); step: 3 for two channels (grey and alpha), else 1.
    OUT out u8 (h, w, 1 to 4).
    """
    for y in range(uint64(out.shape[0])):
        for x in range(uint64(out.shape[1])):
            color = uint64(indices[y, x])
            for c in range(uint64(out.shape[2])):
                out[y, x, c] = colors[color, c * uint64(step)]
