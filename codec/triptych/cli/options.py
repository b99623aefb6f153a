"""Options that several verbs have, and how their values are written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from triptych.limits import DEFAULT, Limits

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def integer(low: int, high: int | None = None) -> Callable[[str | int], int]:
    """Give what reads an integer of an option, `low` to `high`."""
    allowed = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def parse(given: str | int) -> int:
        try:
            value = int(given)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise click.BadParameter(f"{given!r} is not {allowed}")
        return value

    return parse


def number(allowed: str, is_allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Give what reads a finite number of an option; `allowed` says in words which."""

    def parse(given: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not is_allowed(value):
            raise click.BadParameter(f"{given!r} is not a number {allowed}")
        return value

    return parse


def above_zero(value: float) -> bool:
    """Say whether a number is above 0."""
    return value > 0


def parse_size(text: str) -> int:
    """Give the bytes that 20000, 20k, 1M (powers of 1000), 20Ki or 1Mi (powers of 1024) mean."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmg]i?|)b?", text.strip().lower())
    size = 0 if match is None else int(float(match[1]) * _UNITS[match[2]])
    if size < 1:
        raise click.BadParameter(f"{text!r} is not a size; sizes look like 20000, 20k, 1M or 64Ki")
    return size


def parse_limits(text: str) -> Limits:
    """Give limits that let images of so many pixels pass, and one such image be decoded."""
    pixels = parse_size(text)
    return Limits(pixels_per_image=pixels, decoded_bytes=max(DEFAULT.decoded_bytes, 4 * pixels))


def parse_color(text: str) -> tuple[int, ...]:
    """Give the (r, g, b, a) of #rrggbb or #rrggbbaa."""
    match = re.fullmatch(r"#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a colour; colours look like '#ff8000' or '#ff800080'")
    return tuple(bytes.fromhex(match[1] + (match[2] or "ff")))


def parse_color_count(text: str) -> int | str:
    """Give the number of colours, or "auto"."""
    if text == "auto":
        return text
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise click.BadParameter(f"{text!r} is neither a number from 1 to 256 nor auto")
    return int(text)


def parse_shard(text: str) -> tuple[int, int]:
    """Give the number and the count of i/n, i from 1 to n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{text!r} is not a shard; shards are 1/4, 2/4, 3/4 and 4/4")
    return int(match[1]), int(match[2])


force_option = click.option("-f", "--force", is_flag=True, help="Overwrite; write binary to a terminal.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
threads_option = click.option(
    "-j", "--threads", type=integer(0), metavar="N", default=0, help="Threads; 0 is all cores."
)
only_option = click.option(
    "--only",
    multiple=True,
    metavar="KEY|NAME/|INDEX",
    help="This image only, or those with keys below NAME/: all frames of an animation. May be repeated.",
)
dictionaries_option = click.option(
    "-D",
    "--dictionary",
    "dictionaries",
    multiple=True,
    metavar="DICT",
    help="A dictionary that the stream names and does not hold: file, id or name. May be repeated.",
)
limits_option = click.option(
    "--max-pixels",
    "limits",
    type=parse_limits,
    metavar="N",
    default=str(DEFAULT.pixels_per_image),
    help="Refuse larger images, and streams that hold some; 200M is 200 million. The default is 89M.",
)
all_frames_option = click.option(
    "--all-frames", is_flag=True, help="All frames, pages or sizes of a file, not its first image alone."
)
metadata_option = click.option(
    "--metadata/--no-metadata",
    default=True,
    help="Carry EXIF, ICC, XMP, dpi, text, gamma and the order of palettes over (the default).",
)
filelist_option = click.option(
    "--filelist", type=click.Path(), metavar="F", help="Read names of inputs from F, one a line; - is stdin."
)
null_option = click.option(
    "-0",
    "--null",
    "is_null_separated",
    is_flag=True,
    help="NUL bytes divide the names in F, as `find -print0` writes them.",
)

_SHARED_OPTIONS = (
    click.option("-q", "--quality", type=integer(0, 100), metavar="0..100", help="100 is the finest."),
    click.option(
        "-k",
        "--colors",
        "n_colors",
        type=parse_color_count,
        metavar="N",
        help="k-means: colours, 1 to 256, or auto.",
    ),
    click.option(
        "--keep",
        type=parse_color,
        multiple=True,
        metavar="'#rrggbb[aa]'",
        help="k-means: a colour to keep exactly.",
    ),
    click.option(
        "--components",
        "n_components",
        type=integer(1),
        metavar="N",
        help="PCA of collections: how many components.",
    ),
    click.option("--effort", type=click.Choice(["fast", "default", "max"]), help="Time for bytes."),
    click.option(
        "--target-psnr", type=number("above 0", above_zero), metavar="DB", help="Decibels to reach."
    ),
    click.option("--seed", type=integer(0), metavar="N", help="Of everything random."),
)


def shared_options(command: F) -> F:
    """Give a verb the options that `encode` and `fit` share."""
    for option in reversed(_SHARED_OPTIONS):
        command = option(command)
    return command


def given_options(**options: Any) -> dict[str, Any]:
    """Leave out what was not given, so that the library's defaults stand."""
    return {name: value for name, value in options.items() if value is not None and value != ()}
