"""Scalars of numpy, and of libraries like it, as Python's own: so options come out of arrays and tables."""

from __future__ import annotations

from typing import Any


def plain_scalar(value: Any) -> Any:
    """Return a scalar, or an array without axes, as Python has it; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
