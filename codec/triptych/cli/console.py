"""What the user sees on stderr while work goes on: progress on a terminal, and why the first run is slow."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from triptych.cli.failures import complain
from triptych.cli.names import show_marks

T = TypeVar("T")


@contextmanager
def cold_kernel_notice(*, is_quiet: bool = False) -> Iterator[None]:
    """Say so, once, if kernels have to be compiled inside: numba reports it when its cache has none.

    Where they cannot be kept, that is said too, as every run will compile them.
    """
    from triptych.warmup import cache_fault, on_compilation

    told: list[str | None] = []

    def tell() -> None:
        if not told and not is_quiet:
            told.append(fault := cache_fault())
            once = "once; `triptych warmup` does it ahead"
            complain(f"compiling kernels, {once if fault is None else not_kept(fault)}")

    with on_compilation(tell):
        yield
    if told == [None] and (fault := cache_fault()):
        complain(f"compiled kernels, {not_kept(fault)}")


def not_kept(fault: str) -> str:
    """Say that kernels are not kept on disk, why, and what helps."""
    return f"for this run alone ({fault}): set NUMBA_CACHE_DIR to a folder where they can be kept"


def progress(items: Iterable[T], unit: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a progress bar, where stderr is a terminal."""
    if not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, unit=f" {unit}", total=total, file=sys.stderr, leave=False, delay=0.3)
    return bar


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Give the lines of a table: `left` columns aligned to the left, the others to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def plural(count: int, noun: str) -> str:
    """Give a count with its noun.

    Examples
    --------
    >>> plural(1, "image"), plural(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {noun}" + "s" * (count != 1)


def say(*lines: str, err: bool = False) -> None:
    """Print lines, with what keys and names may hold shown and not done: see `show_marks`."""
    click.echo("\n".join(map(show_marks, lines)), err=err)


def print_json(value: Any) -> None:
    """Print a value for machines."""
    import json

    click.echo(json.dumps(value, allow_nan=False))
