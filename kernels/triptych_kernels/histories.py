"""Bit histories: a byte that remembers what followed a context, in the manner of ZPAQ's indirect models.

A state stands for counts (zeros, ones) and, where they are few, for the last bit. The table is generated
by the rule of the ZPAQ specification (Mahoney, "The ZPAQ Open Standard Format", section on ICM), with the
bounds 20, 48, 15, 8, 6, 5: the most of one bit that may be remembered beside 0 to 5 of the other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BOUNDS = (20, 48, 15, 8, 6, 5)


def _n_states(n0: int, n1: int) -> int:
    """How many states hold these counts: 2 where the last bit is remembered too, 0 where there are none."""
    most, least = max(n0, n1), min(n0, n1)
    if least < 0 or least >= len(_BOUNDS) or most > _BOUNDS[least]:
        return 0
    return 2 if least > 0 and most + least <= 17 else 1


def _discount(n: int) -> int:
    """What remains of a count when the other bit comes: recent bits matter more."""
    return sum(n >= bound for bound in (1, 2, 3, 4, 5, 7, 8))


def _next_counts(n0: int, n1: int, bit: int) -> tuple[int, int]:
    """The counts after one more bit, reduced until a state holds them."""
    if n0 < n1:
        ones, zeros = _next_counts(n1, n0, 1 - bit)
        return zeros, ones
    if bit:
        n0, n1 = _discount(n0), n1 + 1
    else:
        n0, n1 = n0 + 1, _discount(n1)
    while not _n_states(n0, n1):
        if n1 < 2:
            n0 -= 1
        else:
            n0 = (n0 * (n1 - 1) + n1 // 2) // n1
            n1 -= 1
    return n0, n1


def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    numbers: dict[tuple[int, int, int], int] = {}
    n_states = 0
    for total in range(50):
        for n1 in range(total + 1):
            count = _n_states(total - n1, n1)
            if count:
                numbers[total - n1, n1, 0] = n_states
                numbers[total - n1, n1, 1] = n_states + count - 1
                n_states += count
    following = np.zeros(512, np.uint8)
    p = np.zeros(256, np.int64)
    p[:] = (1 << 20) // 2
    for (n0, n1, last), state in numbers.items():
        if last < _n_states(n0, n1):
            for bit in (0, 1):
                following[2 * state + bit] = numbers[(*_next_counts(n0, n1, bit), bit)]
            p[state] = ((1 << 22) - 1) * (6 * n1 + 1) // (6 * (n0 + n1) + 2) >> 2
    return following, (p << 12 | 2560).astype(np.uint32)


NEXT_STATE, STATE_P = _tables()
"""NEXT_STATE[2 * state + bit]; STATE_P[state]: the counter that a state's history starts with."""
