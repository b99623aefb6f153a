"""Index maps by ranks: one message of two symbols a pixel (FORMAT.md section 6.9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from triptych_kernels import mapmodel, rankmap, tablerans
from triptych_kernels.status import OK

from triptych.images import Shape

__all__ = ["build_ranks", "n_channels", "parse_ranks"]

U8 = npt.NDArray[np.uint8]


def n_channels(colors: U8) -> int:
    """Say how many channels matter of a palette, uint8 (k, 4): 3 if all its colours are opaque, else 4."""
    return 4 if (colors[:, 3] != 255).any() else 3


def build_ranks(maps: Sequence[U8], palettes: Sequence[U8]) -> bytes:
    """Give the message of index maps, u8 (height, width), each with its palette, u8 (k, 4) in key order."""
    model = rankmap.new_model()
    parts = []
    for indices, colors in zip(maps, palettes, strict=True):
        height, width = indices.shape
        plane = mapmodel.new_plane(height, width)
        mapmodel.plane_pixels(plane, height, width)[:] = indices
        parts.append(np.zeros((height, width, 2), np.uint32))
        ranks = np.zeros((2, width), np.uint8)
        rankmap.find_parts(
            plane, height, width, rankmap.new_palette(colors), n_channels(colors), model, ranks, parts[-1]
        )
    # A symbol has 13 bits at most, as its frequency is 8 or more: a pixel 26 of 32. The rest is for the
    # states and the last word of each lane.
    sink = np.empty(4 * sum(part.size // 2 for part in parts) + 64, np.uint8)
    progress = np.array([tablerans.LOW, tablerans.LOW, sink.size // 4], np.uint64)
    for part in reversed(parts):
        rankmap.write_parts(part.reshape(-1), progress, sink)
    return sink[sink.size - int(rankmap.write_states(progress, sink)) :].tobytes()


def parse_ranks(
    message: U8, palettes: Sequence[U8], shapes: Sequence[Shape], whole: bool
) -> tuple[int, list[U8]]:
    """Give a status and the maps of a message; its end is looked at if these are all.

    Each palette has at least one colour.
    """
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    status = tablerans.start_decoding(message, rankmap.LANES, state)
    model = rankmap.new_model()
    maps: list[U8] = []
    for shape, colors in zip(shapes, palettes, strict=True):
        if status != OK:
            break
        plane = mapmodel.new_plane(shape.height, shape.width)
        status = int(
            rankmap.decode_map(
                plane,
                shape.height,
                shape.width,
                rankmap.new_palette(colors),
                n_channels(colors),
                model,
                np.zeros((2, shape.width), np.uint8),
                message,
                state,
            )
        )
        maps.append(mapmodel.plane_pixels(plane, shape.height, shape.width))
    if status == OK and whole:
        status = tablerans.finish_decoding(message, state)
    return status, maps
