"""Frames with their contents taken apart and their slots resolved: one sequential pass over a stream.

Everything that reads a stream in order (iteration, `decode`, `verify`, rebuilding an index,
concatenation) goes through `scan`, and all that turns an IMAGES frame into pixels through `decode_item`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from triptych.dictionary import ID_LEN, Dictionary, Shelf
from triptych.errors import (
    FormatError,
    InvalidFrame,
    InvalidOption,
    LimitExceeded,
    TriptychError,
    UnsupportedFeature,
)
from triptych.framing import INLINE_SLOT, Damage, Frame, FrameType, walk
from triptych.images import Pixels, count_bytes, count_pixels
from triptych.limits import Limits
from triptych.metadata import parse_json
from triptych.modes.base import ExpandsDictionaries, Mode, NamesBases, OpenFrame, OpensFrames
from triptych.modes.registry import get_mode
from triptych.payload import ImagesPayload, parse_images
from triptych.scalars import plain_scalar
from triptych.source import Source

Reference = Dictionary | bytes
"""The dictionary of a frame: itself, or its id (or the start of that) where it is elsewhere."""


class Item(NamedTuple):
    """A frame and what it holds.

    `reference` is the dictionary that an IMAGES frame uses, or that a DICTIONARY or USE frame binds.
    """

    frame: Frame
    images: ImagesPayload | None = None
    reference: Reference | None = None
    metadata: dict[str, Any] | None = None


def scan(
    source: Source,
    limits: Limits,
    *,
    stop: int | None = None,
    on_damage: Callable[[Damage], None] | None = None,
) -> Iterator[Item]:
    """Read the frames before `stop` in order, as `framing.walk` does, with their contents."""
    slots: dict[int, Reference] = {}
    part = None
    for frame in walk(source, limits, stop=stop, on_damage=on_damage):
        if frame.part != part:
            part = frame.part
            slots = {}
        try:
            item = _parse_item(frame, slots, limits)
        except (UnsupportedFeature, LimitExceeded) as error:
            raise error.locate(offset=frame.offset, frame=frame.number) from None
        except FormatError as error:
            error.locate(offset=frame.offset, frame=frame.number)
            if on_damage is None:
                raise
            on_damage(Damage(frame.offset, frame.offset + frame.length, error))
        else:
            yield item


def _parse_item(frame: Frame, slots: dict[int, Reference], limits: Limits) -> Item:
    if frame.type == FrameType.IMAGES:
        return parse_images_frame(frame, slots.get(frame.slot), limits)
    if frame.type in (FrameType.DICTIONARY, FrameType.USE):
        if frame.slot in slots:
            raise InvalidFrame(f"slot {frame.slot} is bound twice in a part")
        slots[frame.slot] = reference = parse_binding(frame)
        return Item(frame, reference=reference)
    if frame.type == FrameType.META:
        return Item(frame, metadata=parse_json(frame.payload))
    return Item(frame)


def parse_images_frame(frame: Frame, bound: Reference | None, limits: Limits) -> Item:
    """Take an IMAGES frame apart; `bound` is what its slot holds."""
    images = parse_images(frame.payload, frame.slot, limits)
    if frame.slot == INLINE_SLOT:
        bound = images.inline_id
    elif frame.slot and bound is None:
        raise InvalidFrame(f"no dictionary is bound to slot {frame.slot}")
    return Item(frame, images=images, reference=bound)


def parse_binding(frame: Frame) -> Reference:
    """Give what a DICTIONARY or USE frame binds its slot to."""
    if frame.type == FrameType.DICTIONARY:
        return Dictionary(bytes(frame.payload))
    if len(frame.payload) != ID_LEN:
        raise InvalidFrame("bytes of a USE frame", expected=ID_LEN, got=len(frame.payload))
    return bytes(frame.payload)


class Shown(NamedTuple):
    """How images are to be shown, where that is the reader's choice: see `triptych.reader.decode`."""

    n_components: int | None = None
    realism: float | None = None


AS_CODED = Shown()


def check_shown(n_components: int | None, realism: float | None) -> Shown:
    """Refuse a realism that is none; n_components is checked where it is known how many there are."""
    n_components, realism = plain_scalar(n_components), plain_scalar(realism)
    if realism is None:
        return Shown(n_components)
    if isinstance(realism, bool) or not isinstance(realism, (int, float)) or not 0 <= realism <= 1:
        raise InvalidOption(f"realism must be a number from 0 to 1, not {realism!r}", options=("realism",))
    return Shown(n_components, float(realism))


def decode_item(
    item: Item, start: int, stop: int, shelf: Shelf, limits: Limits, shown: Shown = AS_CODED
) -> list[Pixels]:
    """Decode images `start` to `stop - 1` of an IMAGES frame."""
    images = item.images
    assert images is not None
    with _located(item), shelf.budget.spend(count_pixels(images.shapes[:stop])):
        mode, dictionary = _prepare(item, images, stop, shelf, limits)
        return mode.decode_frame(images.body, images.shapes, dictionary, start, stop, *shown)


def open_item(
    item: Item, start: int, stop: int, shelf: Shelf, limits: Limits, shown: Shown = AS_CODED
) -> OpenFrame:
    """Read an IMAGES frame so that its images `start` to `stop - 1` can be shown, each alone."""
    images = item.images
    assert images is not None
    with _located(item), shelf.budget.spend(count_pixels(images.shapes[:stop])):
        mode, dictionary = _prepare(item, images, stop, shelf, limits)
        opened = None
        if isinstance(mode, OpensFrames):
            opened = mode.open_frame(images.body, images.shapes, dictionary, stop, *shown)
        if opened is not None:
            return opened
        return _Decoded(start, mode.decode_frame(images.body, images.shapes, dictionary, start, stop, *shown))


class _Decoded:
    """What stands for an open frame where a mode has none: pixels."""

    def __init__(self, start: int, pixels: list[Pixels]) -> None:
        self.images = range(start, start + len(pixels))
        self._start, self._pixels = start, pixels
        self.nbytes = sum(array.nbytes for array in pixels)

    def show(self, images: Sequence[int], out: Sequence[Pixels] | Pixels) -> None:
        """Copy pixels."""
        for image, target in zip(images, out, strict=True):
            target[:] = self._pixels[image - self._start]


@contextmanager
def _located(item: Item) -> Iterator[None]:
    try:
        yield
    except TriptychError as error:
        raise error.locate(offset=item.frame.offset, frame=item.frame.number) from None


def _prepare(
    item: Item, images: ImagesPayload, stop: int, shelf: Shelf, limits: Limits
) -> tuple[Mode, Dictionary | None]:
    # Those before the first that is wanted may have to be decoded to get there.
    limits.check("decoded_bytes", count_bytes(images.shapes[:stop]))
    mode, dictionary = get_mode(images.mode), shelf.get(item.reference)
    if dictionary is not None:
        check_expanded(mode, dictionary, limits)
    if dictionary is not None and isinstance(mode, NamesBases):
        base = mode.base_of(dictionary)
        dictionary = dictionary if base is None else shelf.with_base(dictionary, base)
    return mode, dictionary


def check_expanded(mode: Mode, dictionary: Dictionary, limits: Limits) -> None:
    """Refuse a dictionary that takes too many bytes once it is unpacked."""
    if isinstance(mode, ExpandsDictionaries):
        limits.check("expanded_bytes", mode.expanded_bytes(dictionary))


def decode_all(
    item: Item,
    shelf: Shelf,
    limits: Limits,
    on_damage: Callable[[Damage], None] | None,
    shown: Shown = AS_CODED,
) -> list[Pixels] | None:
    """Decode all images of an IMAGES frame; None: its body is damaged, and `on_damage` was told."""
    assert item.images is not None
    try:
        return decode_item(item, 0, len(item.images.shapes), shelf, limits, shown)
    except UnsupportedFeature:
        raise
    except FormatError as error:
        if on_damage is None:
            raise
        on_damage(Damage(item.frame.offset, item.frame.offset + item.frame.length, error))
        return None
