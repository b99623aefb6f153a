"""Dictionaries as they are used, unpacked: the last ones are kept, up to so many bytes in all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from triptych.forking import renew_after_fork

P = ParamSpec("P")
T = TypeVar("T")

MAX_BYTES = 256 << 20
"""What is kept in all; one that is larger is kept alone, until the next one comes."""


class _Kept:
    """Values by the function that made them and its arguments; those used longest ago go first."""

    def __init__(self) -> None:
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
            self.nbytes = 0

    def get(self, key: Hashable) -> Any:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any) -> None:
        nbytes = count_nbytes((key, value))
        with self._lock:
            if key in self._values:  # another thread was quicker
                return
            self._values[key] = value, nbytes
            self.nbytes += nbytes
            while self.nbytes > MAX_BYTES and len(self._values) > 1:
                self.nbytes -= self._values.popitem(last=False)[1][1]


_kept = _Kept()


def keep(make: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function gives for hashable arguments, beside what others give, within `MAX_BYTES`."""

    @wraps(make)
    def get(*args: P.args, **kwargs: P.kwargs) -> T:
        key = (make, args, *kwargs.items())
        value: T | None = _kept.get(key)
        if value is None:
            value = make(*args, **kwargs)
            _kept.put(key, value)
        return value

    return get


def forget() -> None:
    """Let go of all that is kept."""
    _kept.clear()


def count_nbytes(value: Any) -> int:
    """Say how many bytes of arrays, tensors and bytes a value holds.

    Examples
    --------
    >>> count_nbytes({"a": np.zeros(3), "b": [b"12", np.zeros(2, np.uint8)]})
    28
    """
    seen: set[int] = set()

    def count(one: Any) -> int:
        if id(one) in seen or isinstance(one, (int, float, str, type(None))):
            return 0
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            return one.nbytes if one.base is None else count(one.base)
        if isinstance(one, (bytes, bytearray)):
            return len(one)
        if isinstance(one, dict):
            return sum(map(count, one.values()))
        if isinstance(one, (list, tuple)):
            return sum(map(count, one))
        if hasattr(one, "state_dict"):  # a network of torch
            return sum(tensor.numel() * tensor.element_size() for tensor in one.state_dict().values())
        return sum(map(count, vars(one).values())) if hasattr(one, "__dict__") else 0

    return count(value)
