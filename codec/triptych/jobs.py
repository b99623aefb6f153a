"""A frame on its way through the Writer: images gathered, sent to be encoded anywhere, and come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from triptych.dictionary import Dictionary
from triptych.images import Pixels, Shape
from triptych.modes.base import Mode
from triptych.modes.registry import get_mode
from triptych.options import Options
from triptych.payload import Entry


@dataclass
class Batch:
    """Images that will be one frame, of one mode."""

    mode: Mode | None = None
    entries: list[Entry] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    nbytes: int = 0
    room: int = 0
    """Images that the frame may hold: the least that any of its images wants."""

    @property
    def is_full(self) -> bool:
        """Whether no further image fits, whatever it is."""
        return len(self.entries) >= self.room

    def takes(self, mode: Mode, shape: Shape, room: int, max_bytes: int) -> bool:
        """Say whether an image fits that wants to share a frame with `room - 1` others."""
        fits = min(room, self.room) > len(self.entries) and self.nbytes + shape.nbytes <= max_bytes
        return not self.entries or (fits and mode is self.mode)

    def add(self, mode: Mode, entry: Entry, pixels: Pixels, room: int) -> None:
        """Add an image."""
        self.mode = mode
        self.room = min(self.room, room) if self.entries else room
        self.entries.append(entry)
        self.pixels.append(pixels)
        self.nbytes += pixels.nbytes


class Job(NamedTuple):
    """All that encoding a frame needs; it can be sent to another process."""

    mode: str
    images: list[Pixels]
    options: Options
    dictionary: Dictionary | None
    prefix: bytes
    least_payload: int
    slot: int
    keys: list[str | None]


class Encoded(NamedTuple):
    """A frame to be written."""

    slot: int
    payload: bytes
    keys: list[str | None]


def encode_frame(job: Job) -> Encoded:
    """Encode the images of one frame."""
    body = get_mode(job.mode).encode_frame(job.images, job.options, job.dictionary)
    # Zero bytes keep very flat images within the pixels that a reader accepts for each byte.
    payload = (job.prefix + body).ljust(job.least_payload, b"\0")
    job.options.limits.check("payload_bytes", len(payload))
    return Encoded(job.slot, payload, job.keys)
