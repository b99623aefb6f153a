"""Counters of mixed decisions as dictionaries keep them: two bytes each instead of four.

See `triptych_kernels.contextmix` for what a counter is, FORMAT.md section 4.1 for what is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["RATES", "long_counters", "short_counters"]

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]

RATES = np.array([2560, 1700, 1200, 900, 700, 560, 480, 400, 330, 280, 230, 190, 150, 120, 90, 64], np.uint32)
"""Rates of stored counters, by the low four bits."""


def short_counters(counters: U32) -> U16:
    """Give counters as 12 bits of probability and 4 of rate."""
    rates = np.abs((counters & 4095).astype(np.int64)[:, None] - RATES.astype(np.int64)).argmin(1)
    p = counters >> 20
    short: U16 = (p << 4 | rates).astype(np.uint16)
    return short


def long_counters(short: U16) -> U32:
    """Give the counters that `short_counters` wrote."""
    p = (short >> 4).astype(np.uint32)
    long: U32 = ((p << 8 | 128) << 12 | RATES[short & 15]).astype(np.uint32)
    return long
