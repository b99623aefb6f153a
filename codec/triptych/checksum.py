"""CRC-32C of frames: google-crc32c's where it has compiled code, a kernel of ours everywhere else.

There are no wheels of google-crc32c for free-threaded Pythons, and what pip builds there from source is
Python, a thousand times slower.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def _find_compiled() -> Callable[[int, Any], int] | None:
    """Return google-crc32c's function, unless it is not there or is not compiled."""
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # says that it is slow
            import google_crc32c
    except ImportError:
        return None
    extend: Callable[[int, Any], int] = google_crc32c.extend
    return extend if google_crc32c.implementation == "c" else None


_compiled = _find_compiled()


def crc32c(data: bytes | memoryview, start: int = 0) -> int:
    """Return the CRC-32C of some bytes, going on from the CRC of those before."""
    if _compiled is None:
        from triptych_kernels.crc32c import extend

        return int(extend(start, np.frombuffer(memoryview(data).toreadonly(), np.uint8)))
    # The library takes no memoryview; an array over one costs no copy.
    buffer = data if isinstance(data, bytes) else np.frombuffer(data, np.uint8)
    return int(_compiled(start, buffer))
