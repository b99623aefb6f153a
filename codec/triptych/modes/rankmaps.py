"""Index maps by ranks: one message of two symbols a pixel (FORMAT.md section 6.9)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from triptych_kernels import rankmap, tablerans
from triptych_kernels.mapmodel import Maps
from triptych_kernels.status import OK

__all__ = ["build_ranks", "parse_ranks"]

U8 = npt.NDArray[np.uint8]


def build_ranks(maps: Maps) -> bytes:
    """Give the message of index maps."""
    parts = np.zeros((int((maps.places[:, 1] * maps.places[:, 2]).sum()), 2), np.uint32)
    rankmap.find_parts(maps, rankmap.new_palette(), rankmap.new_model(), _new_ranks(maps), parts)
    # A symbol has 13 bits at most, as its frequency is 8 or more: a pixel 26 of 32. The rest is for the
    # states and the last word of each lane.
    sink = np.empty(2 * parts.size + 64, np.uint8)
    progress = np.array([tablerans.LOW, tablerans.LOW, sink.size // 4], np.uint64)
    rankmap.write_parts(parts.reshape(-1), progress, sink)
    return sink[sink.size - int(rankmap.write_states(progress, sink)) :].tobytes()


def parse_ranks(message: U8, maps: Maps, whole: bool) -> int:
    """Fill in maps whose palettes are known from a message; return a status.

    The end of the message is looked at if these are all.
    """
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    status = int(tablerans.start_decoding(message, rankmap.LANES, state))
    if status == OK:
        work = rankmap.new_palette(), rankmap.new_model(), _new_ranks(maps)
        status = int(rankmap.decode_maps(maps, *work, message, state))
    if status == OK and whole:
        status = int(tablerans.finish_decoding(message, state))
    return status


def _new_ranks(maps: Maps) -> U8:
    return np.zeros((2, int(maps.places[:, 2].max(initial=0))), np.uint8)
