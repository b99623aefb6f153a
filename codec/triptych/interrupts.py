"""SIGINT and SIGTERM on the command line: an orderly end, of which none is lost.

A signal raises `Interrupted` where the main thread is, and all that is under way tidies up as it passes. But
Python and libraries drop exceptions here and there: in callbacks from C (by which compiled kernels are
loaded), in finalizers, where an import fails. What is dropped is destroyed, so an `Interrupted` that is
destroyed before `settle` has seen it sends its signal again. Another signal while one is on its way is an
echo of the same keypress or, after a second, somebody who will not wait: that one ends the process at once.

Imports next to nothing, so that signals are taken over as soon as Python has begun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from threading import Timer
from time import monotonic
from types import FrameType
from typing import Any

_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_RESEND_SECONDS = 0.05
_ECHO_SECONDS = 1.0

_since: float | None = None
"""When the signal came that is on its way, or has ended the work."""


class Interrupted(KeyboardInterrupt):
    """A signal came, as from Ctrl-C, or from a cluster that takes a machine back."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.is_settled = False

    def __del__(self) -> None:
        global _since
        if self.is_settled:
            return
        _since = None
        # In a moment: what is raised while an object is destroyed is dropped, too.
        timer = Timer(_RESEND_SECONDS, _send, [self.number])
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no threads
            timer.start()


def _send(number: int) -> None:
    if os.name == "nt":
        signal.raise_signal(number)
    else:
        os.kill(os.getpid(), number)  # to the process: it wakes the main thread


def _interrupt(number: int, _: FrameType | None) -> None:
    global _since
    if _since is None:
        _since = monotonic()
        raise Interrupted(number)
    if monotonic() - _since >= _ECHO_SECONDS:
        signal.signal(number, signal.SIG_DFL)
        _send(number)


def _tell_unraisable(dropped: Any) -> None:
    """Tell what could not be raised, but of signals: they come again."""
    if not isinstance(dropped.exc_value, Interrupted):
        sys.__unraisablehook__(dropped)


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Take signals over for what is done inside, and leave by `SystemExit` when one came.

    A signal that is ignored, as those of a shell's background jobs are, goes on being ignored. When the block
    is left, what is left to be done is Python's own, and signals end the process.
    """
    taken = [number for number in _NAMES if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        sys.unraisablehook = _tell_unraisable
        for number in taken:
            signal.signal(number, _interrupt)
        yield
    except BaseException as error:
        if (status := settle(error)) is None:
            raise
        raise SystemExit(status) from None
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def settle(error: BaseException | None) -> int | None:
    """Say on stderr that a signal ended the work, and return the exit status; None: none did.

    The error is one of a signal, or was raised in its place, or while it passed.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    number: int = signal.SIGINT
    if isinstance(error, Interrupted):
        if error.is_settled:
            return None
        error.is_settled, number = True, error.number
    with contextlib.suppress(OSError):  # stderr may have no reader any more
        print(f"triptych: {_NAMES[signal.Signals(number)]}", file=sys.stderr, flush=True)
    return 128 + number
