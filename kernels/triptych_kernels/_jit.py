"""The one decorator of every kernel: `kernel` for entry points, `inline` for the functions they call.

Fixed flags: nogil (frames run in threads), fastmath off (no float may differ between machines),
error_model numpy (a division by zero is no exception), lazy compilation (no explicit signatures).

The disk cache survives what numba's own does not:

* no writable place for it: numba raises when the decorator runs, that is when the package is imported;
  the kernel is then compiled without a cache;
* a damaged cache file: numba lets `UnpicklingError` and the like escape from the first call; a cache
  that cannot be read counts as empty and is written again;
* an edit in another file: numba stamps a kernel with the source of its own file only, and functions and
  constants come from others; here the stamp covers all files of the package, so no old binary is run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_faults: list[str] = []
"""Why compiled kernels are not kept on disk."""


def cache_fault() -> str | None:
    """Say why kernels that are compiled here are not kept for other processes; None: they are."""
    return _faults[0] if _faults else None


@cache
def _stamp() -> str:
    """Give a digest of the sources of all kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _harden(dispatcher: Any) -> Any:
    """Make the dispatcher's disk cache forgive damage and notice edits in the files it imports from."""
    store: Any = getattr(dispatcher, "_cache", None)
    index = getattr(store, "_cache_file", None)
    if index is None:
        return dispatcher
    index._source_stamp = _stamp()
    load, save = store.load_overload, store.save_overload

    def load_overload(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:  # any damage to a cache file: pickle raises whatever the bytes make it raise
            with contextlib.suppress(OSError):
                store.flush()
            return None

    def save_overload(*args: Any) -> Any:
        try:
            return save(*args)
        except OSError as error:  # a full or vanished disk costs the cache, not the call
            _faults.append(f"{store.cache_path}: {error.strerror or error}")
            return None

    store.load_overload, store.save_overload = load_overload, save_overload
    return dispatcher


def kernel(function: F) -> F:
    """Compile an entry point: cached on disk, GIL released, strict floats."""
    flags = {"nogil": True, "fastmath": False, "error_model": "numpy"}
    try:
        compiled = _harden(njit(cache=True, **flags)(function))
    except RuntimeError:  # numba found no writable place for the cache
        _faults.append("no folder for them can be written")
        compiled = njit(cache=False, **flags)(function)
    return compiled


def inline(function: F) -> F:
    """Compile a helper that LLVM must inline into its kernel; it is never called from Python."""
    return njit(nogil=True, fastmath=False, error_model="numpy", forceinline=True)(function)
