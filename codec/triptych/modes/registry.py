"""Modes by name and by code. A mode's module is imported when it is first asked for (it brings numba in)."""

from __future__ import annotations

from importlib import import_module

from triptych.errors import InvalidOption, UnsupportedFeature
from triptych.modes.base import Mode

_MODULES = {
    "kmeans": ("triptych.modes.kmeans", "MODE"),
    "pca": ("triptych.modes.pca", "MODE"),
    "ae": ("triptych.modes.neural", "AE"),
    "gan": ("triptych.modes.neural", "GAN"),
}
_CODES = {1: "kmeans", 2: "pca", 3: "ae", 4: "gan"}
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
        name = name_or_code
        if name not in _CODES.values():
            raise InvalidOption(
                f"mode must be one of 'auto', {', '.join(map(repr, _CODES.values()))}, not {name!r}",
                options=("mode",),
            )
    if name not in _loaded:
        module, attribute = _MODULES[name]
        _loaded[name] = getattr(import_module(module), attribute)
    return _loaded[name]


def register(mode: Mode) -> None:
    """Add a mode, or replace the one of its code."""
    _CODES[mode.code] = mode.name
    _loaded[mode.name] = mode
