"""Streams as inputs, and the verbs that move whole frames: `cat` and `index`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from triptych.cli import options as opt
from triptych.cli.failures import CommandError, Failures, UsageFailure, naming
from triptych.cli.outputs import STDOUT, stream_target
from triptych.errors import KeyMissing, TriptychError
from triptych.urls import show_url

if TYPE_CHECKING:
    from triptych.limits import Limits
    from triptych.reader import Reader

STDIN = "-"


def stream_name(stream: str) -> str:
    """Give the name by which messages call a stream."""
    return "stdin" if stream == STDIN else show_url(stream)


@contextmanager
def stream_source(stream: str, *, seekable: bool = False) -> Iterator[str | IO[bytes]]:
    """Give what a stream is read from; `seekable` where it is not read from front to back."""
    if stream != STDIN:
        if Path(stream).is_dir():
            raise IsADirectoryError(None, "is a directory", stream)
        yield stream
    elif sys.stdin.isatty():
        raise UsageFailure("stdin is a terminal: name a stream, or pipe one in")
    elif seekable:
        yield io.BytesIO(sys.stdin.buffer.read())
    else:
        yield sys.stdin.buffer


def select_images(reader: Reader, only: Sequence[str], failures: Failures) -> list[int]:
    """Give the numbers of the images that `--only` asks for, in that order; each once.

    A text that is a key means that image, and one that ends in / all images whose keys begin with it; else it
    is a number, from the end where it is negative.
    """
    numbers: dict[int, None] = {}
    for text in only:
        try:
            numbers.update(dict.fromkeys(_find_images(reader, text)))
        except (KeyMissing, IndexError) as error:
            failures.add(f"--only {text}", error)
    return list(numbers)


def _find_images(reader: Reader, text: str) -> list[int]:
    if text in reader:
        return [int(reader.info(text)["number"])]
    if text.endswith("/"):
        keys: Sequence[str | None] = reader.keys()
        if len(keys) < len(reader):  # some images have none
            keys = [reader.info(number).get("key") for number in range(len(reader))]
        if found := [number for number, key in enumerate(keys) if (key or "").startswith(text)]:
            return found
        raise KeyMissing("no image has a key that begins so")
    try:
        number = int(text)
    except ValueError:
        raise KeyMissing("no image has this key") from None
    n_images = len(reader)
    if not -n_images <= number < n_images:
        raise IndexError(f"no image has this key or number; the stream holds {n_images}")
    return [number % n_images]


@click.command("cat")
@click.argument("streams", nargs=-1, required=True, metavar="IN.tych...")
@click.option("-o", "--output", required=True, metavar="OUT.tych", help="The stream; - is stdout.")
@opt.force_option
@opt.limits_option
def cat_command(streams: tuple[str, ...], output: str, force: bool, limits: Limits) -> None:
    """Join streams into one with one index, without decoding them.

    Dictionaries that several have are stored once. (The plain concatenation of the files is a stream too.)
    """
    from triptych.part import concatenate

    target = stream_target(output, force, inputs=streams)
    current = ""

    def opened() -> Iterator[str | IO[bytes]]:
        nonlocal current
        for stream in streams:
            current = stream_name(stream)
            with stream_source(stream) as source:
                yield source

    with naming(output):
        try:
            concatenate(opened(), target, limits=limits)
        except (TriptychError, OSError) as error:
            # What the system says of the output names no file, or its temporary one.
            if isinstance(error, OSError) and error.filename != current:
                raise
            raise CommandError(current, error) from error


@click.command("index")
@click.argument("stream", metavar="FILE.tych")
@click.option("-o", "--output", metavar="OUT.tych", help="Where to; FILE itself if not given.")
@opt.force_option
@opt.limits_option
def index_command(stream: str, output: str | None, force: bool, limits: Limits) -> None:
    """Write a stream anew, as one part with one index at its end.

    FILE is replaced when the new stream is whole; its images are not decoded.
    """
    from triptych.part import rebuild_index

    if output is None and stream == STDIN:
        output = STDOUT
    target = stream if output is None else stream_target(output, force, inputs=[stream])
    with naming(stream_name(stream)), stream_source(stream) as source:
        rebuild_index(source, target, limits=limits)
