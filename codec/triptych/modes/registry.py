"""Modes by name and by code. A mode's module is imported when it is first asked for (it brings numba in)."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from triptych.errors import InvalidOption, UnsupportedFeature
from triptych.images import Shape
from triptych.modes.base import Mode
from triptych.options import make_options

_MODULES = {"kmeans": "triptych.modes.kmeans"}
_CODES = {1: "kmeans"}
_loaded: dict[str, Mode] = {}


def get_mode(name_or_code: str | int) -> Mode:
    """Give the mode of this name (as in an option) or code (as in a frame).

    Raises
    ------
    InvalidOption
        There is no mode of this name.
    UnsupportedFeature
        There is no mode of this code.
    """
    if isinstance(name_or_code, int):
        if name_or_code not in _CODES:
            raise UnsupportedFeature(f"mode {name_or_code} is not known to this version")
        name = _CODES[name_or_code]
    else:
        # "auto" weighs the panels that stand; one panel needs no weighing.
        name = "kmeans" if name_or_code == "auto" else name_or_code
        if name not in _CODES.values():
            raise InvalidOption(
                f"mode must be one of 'auto', {', '.join(map(repr, _CODES.values()))}, not {name!r}"
            )
    if name not in _loaded:
        _loaded[name] = import_module(_MODULES[name]).MODE
    return _loaded[name]


def warmup() -> None:
    """Compile the kernels of all modes now, rather than at the first image."""
    ramp = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    for name in _MODULES:
        mode = get_mode(name)
        for effort in ("fast", "default"):
            body = mode.encode_frame([ramp], make_options({"effort": effort, "n_colors": 16}), None)
            mode.decode_frame(memoryview(body), [Shape(*ramp.shape)], None, 0, 1)


def register(mode: Mode) -> None:
    """Add a mode, or replace the one of its code."""
    _CODES[mode.code] = mode.name
    _loaded[mode.name] = mode
