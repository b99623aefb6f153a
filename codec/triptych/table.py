"""Where each image of a stream is: the indexes of all its parts, joined.

Built from the INDEX frames at the ends of the parts, with a few reads, or by scanning what has none. Image
and frame numbers are those of the whole stream; frames are IMAGES frames.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from triptych.errors import ChecksumMismatch, FormatError, InvalidFrame, NotSeekable
from triptych.framing import (
    HEADER_LEN,
    Damage,
    Frame,
    FrameType,
    check_stream_header,
    read_frame,
    read_frame_header,
)
from triptych.index import PartIndex, check_boundary, hash_key, read_index
from triptych.limits import Limits
from triptych.metadata import parse_json
from triptych.remote import MAX_GAP, RemoteSource
from triptych.scan import Item, Reference, parse_binding, parse_images_frame, scan
from triptych.source import Source

PREFETCH_BYTES = 1 << 23
"""Bytes of frames that are fetched from a remote source at a time."""
_LOST = 0
"""Stands for the type of a frame whose header is damaged."""
_FEW = 4
"""Headers that are not worth a request for all of them at once: they mostly lie together."""
_BINDINGS = (FrameType.DICTIONARY, FrameType.USE)


@dataclass(frozen=True)
class Part:
    """A part: the offset of its stream header, and its index.

    span: where in the part the INDEX frame is that says so; 0 where the stream has none.
    """

    offset: int
    index: PartIndex
    span: int = 0

    @property
    def is_indexed(self) -> bool:
        """Whether the stream itself has the index."""
        return self.span > 0


class Wanted(NamedTuple):
    """Images of a frame: their numbers in it, and where they are wanted."""

    frame: int
    images: list[int]
    ats: list[int]


class _Other(NamedTuple):
    """A frame that is no IMAGES frame."""

    offset: int
    type: int
    slot: int


class Table:
    """Looks up images by number and key, and reads their frames.

    Frames are checked against the index when they are read: a frame that is not what the index says is
    damage.
    """

    def __init__(
        self,
        source: Source,
        parts: list[Part],
        limits: Limits,
        on_damage: Callable[[Damage], None] | None = None,
    ) -> None:
        self._source = source
        self._on_damage = on_damage
        self._limits = limits
        self.parts = parts
        frames = [part.index.frames for part in parts]
        self._frames = np.concatenate(frames) if frames else PartIndex().frames
        self._starts = np.concatenate(
            [
                np.empty(0, np.int64),
                *(part.offset + part.index.frames["offset"].astype(np.int64) for part in parts),
            ]
        )
        # First image of each frame, and the number of all; likewise first frame of each part.
        self._first_image = np.concatenate(([0], np.cumsum(self._frames["count"], dtype=np.int64)))
        self._first_frame = [0, *np.cumsum([len(entries) for entries in frames]).tolist()]
        self._is_header_due = self.is_remote
        self._others: dict[int, list[_Other]] = {}
        self._boundaries: dict[int, npt.NDArray[np.int64]] = {}
        self._references: dict[int, Reference] = {}

    @property
    def n_images(self) -> int:
        """Images of the stream."""
        return int(self._first_image[-1])

    def frame_of(self, image: int) -> tuple[int, int]:
        """Give the frame of an image, and the image's number in it."""
        frame = int(self._first_image.searchsorted(image, side="right")) - 1
        return frame, image - self.first_image(frame)

    def group(self, images: Sequence[int]) -> list[Wanted]:
        """Give images frame by frame, frames in order and those of a frame in the order given."""
        numbers = np.array(images, np.int64)
        frames = self._first_image.searchsorted(numbers, side="right") - 1
        inside = (numbers - self._first_image[frames]).tolist()
        groups: dict[int, Wanted] = {}
        for at, (frame, image) in enumerate(zip(frames.tolist(), inside, strict=True)):
            group = groups.get(frame)
            if group is None:
                group = groups[frame] = Wanted(frame, [], [])
            group.images.append(image)
            group.ats.append(at)
        return sorted(groups.values())

    @property
    def is_remote(self) -> bool:
        """Whether reads are requests to a server, so that it pays to ask for several frames at once."""
        return isinstance(self._source, RemoteSource)

    def prefetch(self, frames: Iterable[int]) -> int:
        """Fetch the first of some frames of a remote source, in their order; say how many."""
        assert isinstance(self._source, RemoteSource)
        ranges: list[tuple[int, int]] = []
        nbytes = 0
        for frame in frames:
            start, stop = self._extent(frame)
            gap = start - ranges[-1][1] if ranges else 0
            nbytes += stop - start + (gap if gap <= MAX_GAP else 0)  # what is fetched for nothing counts
            if ranges and nbytes > PREFETCH_BYTES:
                break
            ranges.append((start, stop))
        self._source.prefetch(ranges)
        return len(ranges)

    def _extent(self, frame: int) -> tuple[int, int]:
        """Give where a frame begins, and where it ends at most (as far as is known without reading it)."""
        start = int(self._starts[frame])
        is_last = frame + 1 == len(self._starts)
        stop = (self._source.size or start) if is_last else int(self._starts[frame + 1])
        # What an index says is not believed: the frame itself says how long it is.
        return start, min(stop, start + PREFETCH_BYTES)

    def first_image(self, frame: int) -> int:
        """Give the first image of a frame."""
        return int(self._first_image[frame])

    def images_with_hash(self, key: str) -> list[int]:
        """Give the images whose key may be this one, first ones first."""
        shift, keys = self._keys
        least = hash_key(key) << 32 >> shift << shift
        first = int(np.searchsorted(keys, np.uint64(least), "left"))
        last = int(np.searchsorted(keys, np.uint64(least | (1 << shift) - 1), "right"))
        return [int(found) - least for found in keys[first:last]]

    @cached_property
    def _keys(self) -> tuple[int, npt.NDArray[np.uint64]]:
        """All keys, ascending: the hash, and in its low bits, as many as the first number, the image.

        One number for both sorts in place, which matters where there are millions. Of more than 2^32 images
        the hashes lose bits: a key that is not there may lead to a frame more often.
        """
        shift = max(32, self.n_images.bit_length())
        keys = np.empty(sum(part.index.n_keys for part in self.parts), np.uint64)
        at = 0
        for part, frame in zip(self.parts, self._first_frame, strict=False):
            own = keys[at : at + part.index.n_keys]
            own[:] = part.index.hashes
            own <<= np.uint64(32)
            own >>= np.uint64(shift)
            own <<= np.uint64(shift)
            own += part.index.keyed
            own += np.uint64(self.first_image(frame))
            at += len(own)
        keys.sort()
        return shift, keys

    def read(self, frame_number: int) -> Item:
        """Read an IMAGES frame, with the dictionary that its slot was bound to."""
        self._check_header()
        offset_in_part, count, crc = self._frames[frame_number].item()
        part_number = bisect_right(self._first_frame, frame_number) - 1
        part = self.parts[part_number]
        offset = part.offset + offset_in_part
        try:
            frame = read_frame(self._source, offset, self._limits, part=part.offset, number=frame_number)
            if (frame.type, frame.header_crc) != (FrameType.IMAGES, crc):
                raise ChecksumMismatch("the index names another frame", expected=crc, got=frame.header_crc)
            if part.is_indexed and frame.length != (length := self._length(part_number, offset_in_part)):
                raise InvalidFrame("the index names another frame: length", expected=length, got=frame.length)
            item = parse_images_frame(frame, self._bound(part_number, frame.slot, offset), self._limits)
            assert item.images is not None
            if len(item.images.shapes) != count:
                raise InvalidFrame(
                    "images of a frame, by the index", expected=count, got=len(item.images.shapes)
                )
        except FormatError as error:
            raise error.locate(offset=offset, frame=frame_number) from None
        return item

    def _length(self, part_number: int, offset: int) -> int:
        """Say how long the frame at an offset of a part is, by the part's index."""
        if part_number not in self._boundaries:
            part = self.parts[part_number]
            self._boundaries[part_number] = part.index.boundaries(part.span)
        every = self._boundaries[part_number]
        at = int(every.searchsorted(offset))
        return int(every[at + 1]) - offset

    def _check_header(self) -> None:
        """Check what `load_table` left out, before the first byte behind it is believed."""
        if self._is_header_due:
            check_stream_header(self._source.read_at(0, HEADER_LEN))
            self._is_header_due = False

    def references(self) -> list[Reference]:
        """Give all dictionaries that DICTIONARY and USE frames bind, in order."""
        return [reference for number in range(len(self.parts)) for _, reference in self.slots_of(number)]

    def slots_of(self, part_number: int) -> list[tuple[int, Reference]]:
        """Give the slots of a part that are bound at its end, and to what."""
        bound = []
        for other in self._others_of(part_number):
            frame = self._read_other(other) if other.type in (*_BINDINGS, _LOST) else None
            if frame is not None and frame.type in _BINDINGS:
                bound.append((other.slot, self._reference(frame)))
        return bound

    def metadata(self) -> dict[str, Any]:
        """Give the metadata of the stream: META frames joined, later ones win."""
        joined: dict[str, Any] = {}
        for number in range(len(self.parts)):
            for other in self._others_of(number):
                if other.type in (FrameType.META, _LOST) and (frame := self._read_other(other)):
                    joined |= parse_json(frame.payload)
        return joined

    def _bound(self, part_number: int, slot: int, before: int) -> Reference | None:
        for other in self._others_of(part_number):
            if slot and other.slot == slot and other.offset < before:
                frame = self._read_other(other)
                return None if frame is None else self._reference(frame)
        return None

    def _others_of(self, part_number: int) -> list[_Other]:
        """Give the frames of a part that are no IMAGES frames, when their headers are what the index says."""
        self._check_header()
        if part_number not in self._others:
            part = self.parts[part_number]
            offsets = part.index.others.tolist()
            if isinstance(self._source, RemoteSource) and len(offsets) > _FEW:
                places = [part.offset + offset for offset in offsets]
                self._source.prefetch([(place, place + HEADER_LEN) for place in places])
            others = []
            for offset in offsets:
                place = part.offset + offset
                try:
                    header = read_frame_header(self._source, place)
                except FormatError:
                    others.append(_Other(place, _LOST, 0))  # costs only what needs it
                    continue
                if part.is_indexed:
                    try:
                        check_boundary(header, self._length(part_number, offset), None)
                    except FormatError as error:
                        raise error.locate(offset=place) from None
                slot = header.slot if header.type in _BINDINGS else 0
                others.append(_Other(place, header.type, slot))
            self._others[part_number] = others
        return self._others[part_number]

    def _read_other(self, other: _Other) -> Frame | None:
        """Read a frame; None: it is damaged, and that is noted."""
        try:
            return read_frame(self._source, other.offset, self._limits, part=0, number=0)
        except FormatError as error:
            error.locate(offset=other.offset)
            if self._on_damage is None:
                raise
            self._on_damage(Damage(other.offset, other.offset + HEADER_LEN, error))
            return None

    def _reference(self, frame: Frame) -> Reference:
        if frame.offset not in self._references:
            self._references[frame.offset] = parse_binding(frame)
        return self._references[frame.offset]


def load_table(source: Source, limits: Limits, on_damage: Callable[[Damage], None] | None = None) -> Table:
    """Find the indexes of a stream, part by part from the end, and scan what has none."""
    if source.size is None:
        raise NotSeekable("a pipe can only be iterated; read it into bytes for random access")
    indexed: list[Part] = []
    stop = source.size
    is_remote = isinstance(source, RemoteSource)
    while stop and (found := read_index(source, stop, limits, skip_first_header=is_remote)):
        indexed.insert(0, Part(*found))
        stop = found[0]
    if stop == 0:
        return Table(source, indexed, limits, on_damage)
    if indexed:
        try:
            return Table(source, _scan_parts(source, limits, stop) + indexed, limits, on_damage)
        except FormatError:
            # What looked like an index may be the end of a payload; only a scan of everything can tell.
            pass
    return Table(source, _scan_parts(source, limits, source.size, on_damage), limits, on_damage)


def _scan_parts(
    source: Source, limits: Limits, stop: int, on_damage: Callable[[Damage], None] | None = None
) -> list[Part]:
    parts: list[Part] = []
    for item in scan(source, limits, stop=stop, on_damage=on_damage):
        frame = item.frame
        if not parts or parts[-1].offset != frame.part:
            parts.append(Part(frame.part, PartIndex()))
        add_to_index(parts[-1].index, item, frame.offset - frame.part)
    return parts


def add_to_index(index: PartIndex, item: Item, offset: int) -> None:
    """Note a frame in the index of its part, where it stands at `offset`."""
    if item.images is not None:
        index.add_frame(offset, item.frame.header_crc, item.images.keys)
    else:
        index.add_other(offset)
