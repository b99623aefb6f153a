"""CRC-32C (Castagnoli; RFC 3720, appendix B.4), eight bytes at a step.

Row n of the table says what a byte does to the remainder n bytes behind it, so eight bytes are taken at once
(slicing-by-8; Kounavis and Berry). For where google-crc32c has no compiled code, as free-threaded Pythons.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint64

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import U8

_POLYNOMIAL = np.uint32(0x82F63B78)


def _build_tables() -> npt.NDArray[np.uint32]:
    tables = np.zeros((8, 256), np.uint32)
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = (row >> np.uint32(1)) ^ (row & np.uint32(1)) * _POLYNOMIAL
    tables[0] = row
    for n in range(1, 8):
        tables[n] = (tables[n - 1] >> np.uint32(8)) ^ row[tables[n - 1] & np.uint32(255)]
    return tables


_TABLES = _build_tables()


@kernel
def extend(crc: int, data: U8) -> int:
    """Return the CRC of some bytes, going on from the CRC of those before (0: there are none).

    IN crc below 2^32, data u8 (n); the caller gives it read-only, so that one kernel is compiled.
    """
    byte, shift = uint64(255), uint64(8)
    x = uint64(crc) ^ uint64(0xFFFFFFFF)
    whole = uint64(data.size) & ~uint64(7)
    for at in range(uint64(0), whole, uint64(8)):
        word = x
        for n in range(uint64(8)):
            word ^= uint64(data[at + n]) << (n << uint64(3))
        x = uint64(0)
        for n in range(uint64(8)):
            x ^= uint64(_TABLES[uint64(7) - n, (word >> (n << uint64(3))) & byte])
    for at in range(whole, uint64(data.size)):
        x = (x >> shift) ^ uint64(_TABLES[uint64(0), (x ^ uint64(data[at])) & byte])
    return x ^ uint64(0xFFFFFFFF)
