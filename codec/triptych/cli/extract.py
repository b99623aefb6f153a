"""`triptych extract`: some images of a stream into another."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from typing import IO, TYPE_CHECKING

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice
from triptych.cli.failures import Failures, UsageFailure, naming
from triptych.cli.outputs import stream_target
from triptych.cli.streams import select_images, stream_name, stream_source

if TYPE_CHECKING:
    from triptych.dictionary import Shelf
    from triptych.limits import Limits
    from triptych.part import PartWriter
    from triptych.scan import Item


@click.command("extract")
@click.argument("stream", metavar="IN.tych")
@opt.only_option
@click.option("-o", "--output", required=True, metavar="OUT.tych", help="The stream; - is stdout.")
@opt.dictionaries_option
@opt.force_option
@opt.limits_option
def extract_command(
    stream: str,
    only: tuple[str, ...],
    output: str,
    dictionaries: tuple[str, ...],
    force: bool,
    limits: Limits,
) -> None:
    """Copy some images of a stream into another, in the order of the stream.

    Frames of which all images are wanted are copied as they are; of others the images are encoded again,
    without any loss.
    """
    if not only:
        raise UsageFailure("say which images: --only KEY or --only INDEX")
    from triptych.dictionary import Shelf, iterate_dictionaries
    from triptych.part import PartWriter
    from triptych.reader import Reader
    from triptych.sink import open_sink

    target = stream_target(output, force, inputs=(stream, *dictionaries))
    failures = Failures()
    name = stream_name(stream)
    with cold_kernel_notice(), naming(name), stream_source(stream, seekable=True) as source:
        with Reader(source, limits, dictionary=dictionaries or None) as reader:
            wanted = set(select_images(reader, only, failures))
        if not wanted:
            failures.exit(0)
        shelf = Shelf(iterate_dictionaries(dictionaries or None, limits), limits)
        with naming(output):
            sink = open_sink(target)
        try:
            with naming(output):
                writer = PartWriter(sink, limits)
            for item in _select_items(source, wanted, shelf, limits):
                with naming(output):
                    _copy_item(item, writer)
            with naming(output):
                writer.close()
        except BaseException:
            sink.abort()
            raise
    failures.exit(len(wanted))


def _select_items(
    source: str | IO[bytes], wanted: Collection[int], shelf: Shelf, limits: Limits
) -> Iterator[Item]:
    """Give the frames to be written: metadata, whole frames as they are, new ones for parts of frames."""
    from triptych.scan import scan
    from triptych.source import open_source

    opened = open_source(source)
    try:
        first = 0
        for item in scan(opened, limits):
            if item.metadata is not None:
                yield item
            if item.images is None:
                continue
            count = len(item.images.shapes)
            picked = [number for number in range(count) if first + number in wanted]
            first += count
            if len(picked) == count:
                yield item
            elif picked:
                yield from scan(open_source(_recode(item, picked, shelf, limits)), limits)
    finally:
        opened.close()


def _copy_item(item: Item, writer: PartWriter) -> None:
    from triptych.framing import INLINE_SLOT

    if item.metadata is not None:
        writer.add_metadata(item.frame.payload)
    elif item.images is not None:
        slot = item.frame.slot
        if slot not in (0, INLINE_SLOT) and item.reference is not None:
            slot = writer.bind(item.reference)
        writer.add_images(slot, item.frame.payload, item.images.keys)


def _recode(item: Item, picked: Sequence[int], shelf: Shelf, limits: Limits) -> bytes:
    """Give a stream of some images of a frame, exactly as they decode."""
    from triptych.dictionary import Dictionary
    from triptych.metadata import name_attachments
    from triptych.modes.registry import get_mode
    from triptych.paletteorder import find_indices
    from triptych.scan import decode_item
    from triptych.writer import Writer

    images = item.images
    assert images is not None
    pixels = decode_item(item, picked[0], picked[-1] + 1, shelf, limits)
    buffer = io.BytesIO()
    with Writer(
        buffer,
        shelf.get(item.reference),
        mode=get_mode(images.mode).name,  # type: ignore[arg-type]  # one that there is
        lossless=True,
        embed=isinstance(item.reference, Dictionary),
        frame_images=len(picked),
        limits=limits,
        threads=1,
    ) as writer:
        for number in picked:
            entry = images.entry(number)
            attachments = name_attachments(entry.attachments)
            image, palette = pixels[number - picked[0]], None
            if indexed := find_indices(attachments.pop("palette_order", b""), image):
                image, palette = indexed
            writer.write(image, entry.key, entry.label, palette=palette, **attachments)
    return buffer.getvalue()
