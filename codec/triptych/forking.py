"""What must not go on in a forked child: locks that a thread of the parent held, files that it writes.

An object with such says so once, with `renew_after_fork`; the child calls its `_after_fork`.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _Forked(Protocol):
    def _after_fork(self) -> None: ...


_forked: weakref.WeakSet[_Forked] = weakref.WeakSet()


def renew_after_fork(owner: _Forked) -> None:
    """See to it that `_after_fork` of an object is called in each forked child."""
    _forked.add(owner)


def _renew_all() -> None:
    for owner in list(_forked):
        owner._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
