"""A frame on its way through the Writer: images gathered, sent to be encoded anywhere, and come back."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage, LimitExceeded, TargetUnreachable, TooManyColors, TriptychError
from triptych.framing import INDEX_END
from triptych.images import Pixels, Shape
from triptych.limits import Limits
from triptych.metadata import TAGS
from triptych.modes.auto import Choice
from triptych.modes.base import Mode
from triptych.modes.registry import get_mode
from triptych.options import Options
from triptych.paletteorder import PaletteOrder
from triptych.payload import Entry, build_prefix
from triptych.psnr import psnr_of, squared_error
from triptych.scan import check_expanded

_PALETTE_ORDER = TAGS["palette_order"]
OF_IMAGES = (InvalidImage, LimitExceeded, TargetUnreachable, TooManyColors)
"""Errors that concern some images, and leave others alone."""


@dataclass
class Batch:
    """Images that will be one frame, of one choice."""

    choice: Choice | None = None
    entries: list[Entry] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    orders: list[PaletteOrder | None] = field(default_factory=list)
    nbytes: int = 0
    room: int = 0
    """Images that the frame may hold: the least that any of its images wants."""

    @property
    def is_full(self) -> bool:
        """Whether no further image fits, whatever it is."""
        return len(self.entries) >= self.room

    def takes(self, choice: Choice, shape: Shape, room: int, max_bytes: int) -> bool:
        """Say whether an image fits that wants to share a frame with `room - 1` others."""
        fits = min(room, self.room) > len(self.entries) and self.nbytes + shape.nbytes <= max_bytes
        return not self.entries or (fits and choice is self.choice)

    def add(
        self, choice: Choice, entry: Entry, pixels: Pixels, room: int, order: PaletteOrder | None = None
    ) -> None:
        """Add an image, with its palette if it was indexed."""
        self.choice = choice
        self.room = min(self.room, room) if self.entries else room
        self.entries.append(entry)
        self.pixels.append(pixels)
        self.orders.append(order)
        self.nbytes += pixels.nbytes

    def complete_entries(self, limits: Limits) -> list[Entry]:
        """Give the entries with the orders of palettes, each in the form that suits all of them."""
        palettes = Counter(order.palette for order in self.orders if order is not None)
        return [
            entry if order is None else _attach(entry, order, palettes[order.palette] > 1, limits)
            for entry, order in zip(self.entries, self.orders, strict=True)
        ]


def _attach(entry: Entry, order: PaletteOrder, is_repeated: bool, limits: Limits) -> Entry:
    data = order.attachment(is_repeated=is_repeated)
    nbytes = len(data) + sum(map(len, entry.attachments.values()))
    if nbytes > limits.metadata_bytes:
        warnings.warn(
            f"the indices of an image are left out, and its colours kept: with them it has {nbytes:,} bytes "
            f"of metadata, and Limits.metadata_bytes allows {limits.metadata_bytes:,}",
            RuntimeWarning,
            stacklevel=2,
        )
        return entry
    return entry._replace(attachments=entry.attachments | {_PALETTE_ORDER: data})


class Job(NamedTuple):
    """All that encoding a frame needs; it can be sent to another process."""

    mode: str
    entries: list[Entry]
    images: list[Pixels]
    options: Options
    dictionary: Dictionary | None
    inline_id: bytes
    slot: int
    is_measured: bool = False
    """Whether `Encoded.psnrs` is asked for."""


class Encoded(NamedTuple):
    """A frame to be written.

    mode: its name. psnrs: of each image in dB, None where it is exact; empty if they were not asked for.
    """

    slot: int
    payload: bytes
    keys: list[str | None]
    mode: str
    psnrs: list[float | None]


class Lost(NamedTuple):
    """Images that cannot be encoded, by their keys, and why."""

    keys: list[str | None]
    error: TriptychError


class Outcome(NamedTuple):
    """What became of a job: a frame, unless none of its images can be encoded, and those left out."""

    encoded: Encoded | None
    lost: list[Lost]


def encode_frame(job: Job) -> Outcome:
    """Encode the images of one frame; those that cannot be, say for want of colours, are left out."""
    try:
        return Outcome(_encode(job), [])
    except OF_IMAGES as error:
        whole = Lost([entry.key for entry in job.entries], error)
    lost, good = [], []
    if len(job.images) > 1:
        for number in range(len(job.images)):
            try:
                _encode(_pick(job, [number]))
            except OF_IMAGES as error:
                lost.append(Lost([job.entries[number].key], error))
            else:
                good.append(number)
    if not lost or not good:
        return Outcome(None, lost or [whole])
    return Outcome(_encode(_pick(job, good)), lost)


def _pick(job: Job, numbers: list[int]) -> Job:
    """Give a job of some of its images."""
    return job._replace(entries=[job.entries[i] for i in numbers], images=[job.images[i] for i in numbers])


def _encode(job: Job) -> Encoded:
    mode, limits = get_mode(job.mode), job.options.limits
    if job.dictionary is not None:
        check_expanded(mode, job.dictionary, limits)
    body = mode.encode_frame(job.images, job.options, job.dictionary)
    is_indexed = any(_PALETTE_ORDER in entry.attachments for entry in job.entries)
    psnrs = _measure(job, mode, body) if job.is_measured or is_indexed else []
    entries = list(map(_without_order, job.entries, psnrs)) if is_indexed else job.entries
    # Zero bytes keep very flat images within the pixels that a reader accepts for each byte.
    n_pixels = sum(entry.shape.pixels for entry in entries)
    payload = build_prefix(mode.code, entries, job.inline_id) + body
    payload = payload.ljust(limits.least_payload(n_pixels, len(entries)), b"\0")
    if payload.endswith(INDEX_END):  # a picture may have been made for that
        payload += b"\0"
    limits.check("payload_bytes", len(payload))
    keys = [entry.key for entry in entries]
    return Encoded(job.slot, payload, keys, job.mode, psnrs if job.is_measured else [])


def _without_order(entry: Entry, psnr: float | None) -> Entry:
    """Take the order of its palette from an image that is not exact."""
    kept = {tag: data for tag, data in entry.attachments.items() if tag != _PALETTE_ORDER or psnr is None}
    return entry._replace(attachments=kept)


def _measure(job: Job, mode: Mode, body: bytes) -> list[float | None]:
    """Give the PSNR of each image as it will be decoded, None if it is exact."""
    if job.options.lossless:
        return [None] * len(job.images)
    shapes = [entry.shape for entry in job.entries]
    shown = mode.decode_frame(memoryview(body), shapes, job.dictionary, 0, len(shapes))
    return [
        None if np.array_equal(image, pixels) else psnr_of(squared_error([image], [pixels]), image.size)
        for image, pixels in zip(job.images, shown, strict=True)
    ]
