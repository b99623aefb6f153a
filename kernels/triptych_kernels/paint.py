"""Index maps and palettes to pixels."""

from __future__ import annotations

from numba import uint64

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import I64, U8
from triptych_kernels.mapmodel import PAD, Maps, slice_plane


@kernel
def paint(maps: Maps, images: I64, step: int, out: U8) -> None:
    """Set out[i, y, x, c] to channel c * step of the colour that pixel (y, x) of map images[i] names.

    IN maps, see mapmodel, with indices below the number of their colours; images i64 (n), whose maps are of
    one size; step: 3 for two channels (grey and alpha), else 1. OUT out u8 (n, h, w, 1 to 4).
    """
    for i in range(len(images)):
        image = images[i]
        plane, stride = slice_plane(maps, image), uint64(maps.places[image, 2] + 2 * PAD)
        colors = maps.colors[maps.places[image, 3] : maps.places[image, 4]]
        for y in range(uint64(out.shape[1])):
            row = (y + uint64(PAD)) * stride + uint64(PAD)
            for x in range(uint64(out.shape[2])):
                color = uint64(plane[row + x])
                for c in range(uint64(out.shape[3])):
                    out[i, y, x, c] = colors[color, c * uint64(step)]
