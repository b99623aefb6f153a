"""Failures that are expected: one line on stderr that names the file and the cause, and an exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from triptych.cli.names import show_marks
from triptych.cli.usage import if_typed, with_typed
from triptych.errors import (
    DictionaryMismatch,
    DictionaryMissing,
    EngineFailed,
    FormatError,
    InvalidOption,
    LimitExceeded,
    TriptychError,
)
from triptych.urls import hide_credentials

FAILED, USAGE, CORRUPT, MISSING, LIMIT = 1, 2, 3, 4, 5

_OF_PIXELS = re.compile(r"Limits\.(pixels_per_image|decoded_bytes)")
_EXPECTED = (TriptychError, OSError, MemoryError, ImportError)


def is_expected(error: BaseException) -> bool:
    """Say whether an error is about the user's files and options, not a fault of ours."""
    return isinstance(error, _EXPECTED) and not isinstance(error, BrokenPipeError)


def exit_code(error: BaseException) -> int:
    """Give the exit code of an error."""
    if isinstance(error, FormatError):
        return CORRUPT
    if isinstance(error, DictionaryMissing):
        return MISSING
    if isinstance(error, LimitExceeded):
        return LIMIT
    if isinstance(error, (InvalidOption, DictionaryMismatch)):
        return USAGE
    return FAILED


def cause(error: BaseException) -> str:
    """Give the cause of an error in one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return "no such file or directory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TriptychError):
        text = with_typed(text, error.options)
    if isinstance(error, DictionaryMismatch) and (option := if_typed("dictionary")):
        text = f"{option}: {text}"
    if isinstance(error, LimitExceeded) and _OF_PIXELS.search(text):
        text += "; --max-pixels allows more"
    return text


class CommandError(click.ClickException):
    """Ends a verb: `triptych: NAME: CAUSE` and the exit code of the cause."""

    def __init__(self, name: str | None, error: BaseException) -> None:
        super().__init__(cause(error) if name is None else f"{name}: {cause(error)}")
        self.exit_code = exit_code(error)  # type: ignore[misc]  # of this error, not of its class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        complain(self.message)


class UsageFailure(click.ClickException):
    """Ends a verb that was called in a way that cannot work: one line, exit code 2."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        complain(self.message)


def complain(text: str) -> None:
    """Print a line on stderr, above a progress bar where there is one; without credentials of URLs."""
    line = f"triptych: {show_marks(hide_credentials(text))}"
    tqdm = sys.modules.get("tqdm")
    if tqdm is not None:
        tqdm.tqdm.write(line, file=sys.stderr)
    else:
        click.echo(line, err=True)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say that what fails inside is about the file of this name."""
    try:
        yield
    except BrokenPipeError:
        raise
    except _EXPECTED as error:
        # A wrong option is about no file, and a cluster is named by its own errors.
        is_of_no_file = isinstance(error, (InvalidOption, EngineFailed))
        raise CommandError(None if is_of_no_file else name, error) from error


class Notes:
    """What was changed or left out of inputs that went on: a line for each kind, however many there are."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str, str]] = {}

    def add(self, name: str, text: str, detail: str = "") -> None:
        """Note what happened to one input; `detail` is said where it is the only one."""
        count, first, first_detail = self._kinds.get(text, (0, name, detail))
        self._kinds[text] = count + 1, first, first_detail

    def say(self) -> None:
        """Print the lines, once."""
        for text, (count, first, detail) in self._kinds.items():
            if count == 1:
                complain(f"{first}: {text}{f' ({detail})' * bool(detail)}")
            else:
                complain(f"{first} and {count - 1:,} more: {text}")
        self._kinds.clear()


class Failures:
    """Inputs that failed while others went on, and notes of those that went on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.notes = Notes()
        self.frames_left_out = 0
        self._codes: set[int] = set()

    def add(self, name: str, error: BaseException) -> None:
        """Print what failed and why, and remember it."""
        self.names.append(name)
        self._codes.add(exit_code(error))
        complain(f"{name}: {cause(error)}")

    def leave_out_frames(self, name: str, count: int) -> None:
        """Note that of a file of several images only the first is read."""
        self.frames_left_out += count
        self.notes.add(
            name, "only the first frame is read; --all-frames reads all", f"it has {count + 1} frames"
        )

    def exit(self, n_good: int) -> None:
        """End the verb with 1 if some inputs failed; with the cause's own code where none was good."""
        if not self.names:
            return
        code = self._codes.pop() if n_good == 0 and len(self._codes) == 1 else FAILED
        click.get_current_context().exit(code)
