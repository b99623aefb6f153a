"""The one decorator of every kernel: `kernel` for entry points, `inline` for the functions they call.

Fixed flags: nogil (frames run in threads), fastmath off (no float may differ between machines),
error_model numpy (a division by zero is no exception), lazy compilation (no explicit signatures).

The disk cache survives what numba's own does not:

* no writable place for it: numba raises when the decorator runs, that is when the package is imported;
  the kernel is then compiled without a cache;
* a damaged cache file: numba lets `UnpicklingError` and the like escape from the first call; a cache
  that cannot be read counts as empty and is written again;
* an edit in another file: numba stamps a kernel with the source of its own file only; here the stamp
  covers the files of this package that the file imports from, so an old binary is never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = __name__.rpartition(".")[0]


def _source_files(module: Any, seen: dict[str, Path]) -> dict[str, Path]:
    """Collect the files of `module` and of every module of this package that it takes names from."""
    name = module["__name__"] if isinstance(module, dict) else module.__name__
    names = module if isinstance(module, dict) else vars(module)
    if name in seen or not name.startswith(_PACKAGE + "."):
        return seen
    seen[name] = Path(names["__file__"])
    for value in list(names.values()):
        origin = getattr(value, "__module__", None) or getattr(value, "__name__", None)
        if isinstance(origin, str) and origin.startswith(_PACKAGE + ".") and origin in sys.modules:
            _source_files(sys.modules[origin], seen)
    return seen


def _stamp(names: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(_source_files(names, {}).items()):
        digest.update(name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _harden(dispatcher: Any) -> Any:
    """Make the dispatcher's disk cache forgive damage and notice edits in the files it imports from."""
    cache: Any = getattr(dispatcher, "_cache", None)
    index = getattr(cache, "_cache_file", None)
    if index is None:
        return dispatcher
    index._source_stamp = _stamp(dispatcher.py_func.__globals__)
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:  # any damage to a cache file: pickle raises whatever the bytes make it raise
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_overload(*args: Any) -> Any:
        try:
            return save(*args)
        except OSError:  # a full or vanished disk costs the cache, not the call
            return None

    cache.load_overload, cache.save_overload = load_overload, save_overload
    return dispatcher


def kernel(function: F) -> F:
    """Compile an entry point: cached on disk, GIL released, strict floats."""
    flags = {"nogil": True, "fastmath": False, "error_model": "numpy"}
    try:
        compiled = _harden(njit(cache=True, **flags)(function))
    except RuntimeError:  # numba found no writable place for the cache
        compiled = njit(cache=False, **flags)(function)
    return compiled


def inline(function: F) -> F:
    """Compile a helper that LLVM must inline into its kernel; it is never called from Python."""
    return njit(nogil=True, fastmath=False, error_model="numpy", forceinline=True)(function)
