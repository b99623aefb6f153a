"""Writing parts: stream headers, frames, slots and the index, onto a sink that only grows.

`Writer` feeds a `PartWriter` with encoded images; `concatenate` and `rebuild_index` feed one with frames of
other streams, without decoding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from triptych.dictionary import Dictionary
from triptych.errors import InvalidFrame
from triptych.framing import (
    INDEX_END,
    INLINE_SLOT,
    MAX_SLOT,
    STREAM_HEADER,
    FrameType,
    build_frame_header,
    header_crc,
)
from triptych.index import PartIndex
from triptych.limits import Limits
from triptych.scan import Item, scan
from triptych.sink import Sink, SinkLike, open_sink
from triptych.source import SourceLike, open_source
from triptych.tail import Tail, slot_key

_JOIN_BYTES = 1 << 16
"""Smaller payloads go out with their header in one write."""


class PartWriter:
    """Appends frames to a sink, and keeps what the index will need."""

    def __init__(self, sink: Sink, limits: Limits, tail: Tail | None = None) -> None:
        self._sink = sink
        self._limits = limits
        tail = tail or Tail(0, 0, PartIndex(), {})
        self._size, self._part, self._index, self._slots = tail.size, tail.part, tail.index, tail.slots
        # A part that lost its index, or never had one because its writer was killed, gets one.
        self._new_frames = 0 if tail.is_indexed else tail.index.n_frames
        self.whole_size = tail.size
        """Bytes of the stream up to the end of the last frame that is there as a whole."""
        if self._part == self._size:
            self._start_part()

    @property
    def size(self) -> int:
        """Bytes of the stream up to now."""
        return self._size

    def _start_part(self) -> None:
        self._part = self._size
        self._index = PartIndex()
        self._slots = {}
        self._write(STREAM_HEADER)
        self.whole_size = self._size

    def _write(self, data: bytes | memoryview) -> None:
        self._sink.write(data)
        self._size += len(data)

    def add_other(self, frame_type: int, slot: int, payload: bytes | memoryview) -> None:
        """Append a frame that is no IMAGES frame."""
        self._index.add_other(self._size - self._part)
        self._add(frame_type, slot, payload)

    def _add(self, frame_type: int, slot: int, payload: bytes | memoryview) -> int:
        """Append a frame; give its header's CRC."""
        if frame_type != FrameType.INDEX and payload[-len(INDEX_END) :] == INDEX_END:
            raise InvalidFrame(
                "a payload must not end as that of an INDEX frame does", got=f"{frame_type:#04x}"
            )
        header = build_frame_header(frame_type, slot, payload)
        if len(payload) < _JOIN_BYTES:
            self._write(header + payload)
        else:
            self._write(header)
            self._write(payload)
        self.whole_size = self._size
        return header_crc(header)

    def add_images(self, slot: int, payload: bytes | memoryview, keys: Sequence[str | None]) -> None:
        """Append an IMAGES frame."""
        offset = self._size - self._part
        crc = self._add(FrameType.IMAGES, slot, payload)
        self._index.add_frame(offset, crc, keys)
        self._new_frames += 1

    def add_metadata(self, payload: bytes | memoryview) -> None:
        """Append a META frame."""
        self._limits.check("metadata_bytes", len(payload))
        self.add_other(FrameType.META, 0, payload)

    def bind(self, reference: Dictionary | bytes) -> int:
        """Give a slot bound to this dictionary; embed it, or name it, where none is."""
        dictionary_id, embedded = key = slot_key(reference)
        if (dictionary_id, True) in self._slots:
            return self._slots[dictionary_id, True]
        if key in self._slots:
            return self._slots[key]
        if len(self._slots) == MAX_SLOT:
            self._finish_part()
            self._start_part()
        # A slot is never bound twice: a lost binding then cannot turn into another dictionary's pixels.
        slot = self._slots[key] = len(self._slots) + 1
        payload = reference.payload if isinstance(reference, Dictionary) else reference
        self._limits.check("dictionary_bytes", len(payload))
        self.add_other(FrameType.DICTIONARY if embedded else FrameType.USE, slot, payload)
        return slot

    def _finish_part(self) -> None:
        if self._new_frames and self._index.n_frames >= 2:
            payload = self._index.build(self._size - self._part)
            if len(payload) <= self._limits.payload_bytes:  # else readers scan, slowly, and refuse nothing
                self._add(FrameType.INDEX, 0, payload)
        self._new_frames = 0

    def close(self) -> None:
        """Append the index, if the part has two IMAGES frames or more, and close the sink."""
        self._finish_part()
        self._sink.close()


def concatenate(sources: Iterable[SourceLike], target: SinkLike, *, limits: Limits | None = None) -> None:
    """Join streams into one part with one index; dictionaries that come again are left out.

    Images are copied as they are, so no dictionary is needed. (The plain concatenation of the files is a
    stream too, with a part and an index for each.)
    """
    limits = limits or Limits()
    sink = open_sink(target)
    try:
        writer = PartWriter(sink, limits)
        for each in sources:
            source = open_source(each)
            try:
                for item in scan(source, limits):
                    _copy(item, writer)
            finally:
                source.close()
        writer.close()
    except BaseException:
        sink.abort()
        raise


def _copy(item: Item, writer: PartWriter) -> None:
    frame = item.frame
    if item.images is not None:
        slot = (
            writer.bind(item.reference)
            if frame.slot not in (0, INLINE_SLOT) and item.reference
            else frame.slot
        )
        writer.add_images(slot, frame.payload, item.images.keys)
    elif item.reference is not None:
        writer.bind(item.reference)
    elif frame.type == FrameType.META:
        writer.add_metadata(frame.payload)
    elif frame.type != FrameType.INDEX:
        writer.add_other(frame.type, frame.slot, frame.payload)


def rebuild_index(source: SourceLike, target: SinkLike, *, limits: Limits | None = None) -> None:
    """Write a stream anew as one part with one index at its end; source and target may be the same path."""
    concatenate([source], target, limits=limits)
