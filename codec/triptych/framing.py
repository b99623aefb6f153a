"""Bytes to frames and back: headers, checksums, the next frame after damage (FORMAT.md section 1).

`build_frame` makes frames, `walk` reads them in order from any `Source`, also from a pipe, and `read_frame`
reads one at a known place. Payloads are not looked into here. Nothing is believed before its CRC matched.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from triptych.checksum import crc32c
from triptych.errors import (
    ChecksumMismatch,
    FormatError,
    InvalidFrame,
    LimitExceeded,
    NotTriptych,
    Truncated,
    UnsupportedFeature,
    UnsupportedVersion,
)
from triptych.limits import Limits
from triptych.source import Source

SIGNATURE = b"\x89TYC\r\n\x1a\n"
SYNC = b"\xf5\xd3"
HEADER_LEN = 16
"""Bytes of a stream header, and of a frame header."""
CRITICAL = 0x80
MAX_SLOT = 254
INLINE_SLOT = 255
"""The payload begins with `INLINE_ID_LEN` bytes of the dictionary's id."""
INLINE_ID_LEN = 16
INDEX_END = b"TYCINDEX"
"""Ends the payload of an INDEX frame, and of no other: the end of a stream says whether it has an index."""

_MAJOR, _MINOR = 0, 1
_STREAM_HEADER = struct.Struct("<8sBBHI")
_FRAME_HEADER = struct.Struct("<2sBBIII")
_CRC = struct.Struct("<I")
_HEADER_START = re.compile(re.escape(SYNC) + b"|" + re.escape(SIGNATURE))
_SEARCH_BYTES = 1 << 16


class FrameType(enum.IntEnum):
    """The types of frames; `CRITICAL` is set where a reader must know the type."""

    IMAGES = 0x81
    DICTIONARY = 0x82
    USE = 0x83
    META = 0x01
    INDEX = 0x02
    PADDING = 0x03
    PRIVATE = 0x04
    ENCODER = 0x05


SLOTTED = frozenset((FrameType.IMAGES, FrameType.DICTIONARY, FrameType.USE))
_KNOWN = frozenset(FrameType)


class Frame(NamedTuple):
    """A frame whose checksums matched.

    `part` is the offset of its part's stream header and `number` counts the IMAGES frames before it (in what
    was read). `header_crc` is the CRC that an index stores.
    """

    type: int
    slot: int
    payload: memoryview
    offset: int
    part: int
    number: int
    header_crc: int

    @property
    def length(self) -> int:
        """Bytes of the frame, its header included."""
        return HEADER_LEN + len(self.payload)


class Damage(NamedTuple):
    """Bytes `start` to `stop - 1` were lost, because of `error`."""

    start: int
    stop: int
    error: FormatError


STREAM_HEADER = SIGNATURE + bytes((_MAJOR, _MINOR, 0, 0)) + bytes.fromhex("d92df40f")
"""With its CRC as a constant: to compute it may bring in kernels, which an import must not."""


def build_frame_header(frame_type: int, slot: int, payload: bytes | memoryview) -> bytes:
    """Give the 16 bytes that come before a payload."""
    if len(payload) >= 1 << 32:
        raise LimitExceeded(f"a frame holds less than 4 GiB, and this one has {len(payload):,} bytes")
    head = _FRAME_HEADER.pack(SYNC, frame_type, slot, len(payload), crc32c(payload), 0)[:-4]
    return head + _CRC.pack(crc32c(head))


def build_frame(frame_type: int, slot: int, payload: bytes) -> bytes:
    """Give a whole frame."""
    return build_frame_header(frame_type, slot, payload) + payload


def header_crc(header: bytes | memoryview) -> int:
    """Give the CRC that a frame header ends with, as an index stores it."""
    return int(_CRC.unpack_from(header, HEADER_LEN - 4)[0])


def check_stream_header(header: bytes | memoryview) -> None:
    """Refuse anything but a stream header that this version reads."""
    if header[: len(SIGNATURE)] != SIGNATURE[: len(header)]:
        raise NotTriptych("not a Triptych stream: the signature is missing")
    if len(header) < HEADER_LEN:
        raise Truncated("the stream ends inside a stream header", expected=HEADER_LEN, got=len(header))
    _, major, _, flags, crc = _STREAM_HEADER.unpack(header)
    computed = crc32c(header[:-4])
    if crc != computed:
        raise ChecksumMismatch("stream header CRC", expected=crc, got=computed)
    if major != _MAJOR:
        raise UnsupportedVersion("major version", expected=_MAJOR, got=major)
    if flags:
        raise UnsupportedFeature(f"stream flags {flags:#06x} are not known to this version")


class FrameHeader(NamedTuple):
    """What the header of a frame says, after its CRC matched; `crc` is that CRC."""

    type: int
    slot: int
    payload_len: int
    payload_crc: int
    crc: int


def _parse_frame_header(header: bytes | memoryview) -> FrameHeader:
    if header[:2] != SYNC[: len(header)]:
        raise InvalidFrame("there is no frame here", expected=SYNC.hex(), got=bytes(header[:2]).hex())
    if len(header) < HEADER_LEN:
        raise Truncated("the stream ends inside a frame header", expected=HEADER_LEN, got=len(header))
    _, frame_type, slot, payload_len, payload_crc, crc = _FRAME_HEADER.unpack(header)
    computed = crc32c(header[:-4])
    if crc != computed:
        raise ChecksumMismatch("frame header CRC", expected=crc, got=computed)
    return FrameHeader(frame_type, slot, payload_len, payload_crc, crc)


def _check_type(head: FrameHeader) -> None:
    if head.type & CRITICAL and head.type not in _KNOWN:
        raise UnsupportedFeature(f"frames of type {head.type:#04x} are not known to this version")
    if head.slot and head.type in _KNOWN and head.type not in SLOTTED:
        raise InvalidFrame(f"a frame of type {head.type:#04x} has no slot", expected=0, got=head.slot)
    if head.type in (FrameType.DICTIONARY, FrameType.USE) and not 0 < head.slot <= MAX_SLOT:
        raise InvalidFrame("slot of a dictionary", expected=f"1 to {MAX_SLOT}", got=head.slot)


def _check_limits(head: FrameHeader, limits: Limits) -> None:
    limits.check("payload_bytes", head.payload_len)
    if head.type == FrameType.DICTIONARY:
        limits.check("dictionary_bytes", head.payload_len)
    elif head.type == FrameType.META:
        limits.check("metadata_bytes", head.payload_len)


def read_frame_header(source: Source, offset: int) -> FrameHeader:
    """Give what the header of the frame at this place says."""
    return _parse_frame_header(source.read_at(offset, HEADER_LEN))


def read_frame(source: Source, offset: int, limits: Limits, *, part: int, number: int) -> Frame:
    """Read the frame at a known place; `part` and `number` are only noted in it."""
    head = _parse_frame_header(source.read_at(offset, HEADER_LEN))
    _check_type(head)
    _check_limits(head, limits)
    payload = memoryview(source.read_at(offset + HEADER_LEN, head.payload_len))
    _check_payload(head, payload)
    return Frame(head.type, head.slot, payload, offset, part, number, head.crc)


def _check_payload(head: FrameHeader, payload: memoryview) -> None:
    if len(payload) < head.payload_len:
        raise Truncated("the stream ends inside a payload", expected=head.payload_len, got=len(payload))
    computed = crc32c(payload)
    if computed != head.payload_crc:
        raise ChecksumMismatch("payload CRC", expected=head.payload_crc, got=computed)
    if payload[-len(INDEX_END) :] == INDEX_END and head.type != FrameType.INDEX:
        raise InvalidFrame("a payload ends as that of an INDEX frame, and is none", got=f"{head.type:#04x}")


def walk(
    source: Source,
    limits: Limits,
    *,
    stop: int | None = None,
    on_damage: Callable[[Damage], None] | None = None,
) -> Iterator[Frame]:
    """Read the frames before `stop` (by default all) in order, each once and never going back.

    Damage is raised, or given to `on_damage`, and then the walk goes on behind it; a source without any frame
    or stream header is an error in both cases. What is no damage (`LimitExceeded`, `UnsupportedVersion`,
    `UnsupportedFeature`) is always raised.
    """
    position = part = number = 0
    failure: FormatError | None = None
    found = False
    while True:
        header = _read(source, position, HEADER_LEN, stop)
        if not header and (position or failure):
            break
        try:
            if position == 0 or header[:1] == SIGNATURE[:1]:
                check_stream_header(header)
                frame = None
            else:
                frame = _parse_frame(source, header, limits, position, part, number, stop)
        except (UnsupportedVersion, UnsupportedFeature, LimitExceeded) as refusal:
            raise refusal.locate(offset=position, frame=number) from None
        except FormatError as error:
            failure = error.locate(offset=position, frame=number)
            if on_damage is None:
                raise
            after, one_frame = _resume(source, position, header, stop)
            on_damage(Damage(position, after, error))
            if not one_frame:
                # A stream header may be among the lost bytes, and with it other bindings of the slots.
                part = after
            position = after
            continue
        found = True
        if frame is None:
            part = position
            position += HEADER_LEN
        else:
            yield frame
            number += frame.type == FrameType.IMAGES
            position += frame.length
    if failure and not found:
        raise failure


def _read(source: Source, offset: int, length: int, stop: int | None) -> memoryview:
    return memoryview(source.read_at(offset, length if stop is None else max(0, min(length, stop - offset))))


def _parse_frame(
    source: Source, header: memoryview, limits: Limits, offset: int, part: int, number: int, stop: int | None
) -> Frame:
    head = _parse_frame_header(header)
    _check_type(head)
    _check_limits(head, limits)
    payload = _read(source, offset + HEADER_LEN, head.payload_len, stop)
    _check_payload(head, payload)
    return Frame(head.type, head.slot, payload, offset, part, number, head.crc)


def _is_header(data: memoryview) -> bool:
    return (
        len(data) == HEADER_LEN
        and (data[:2] == SYNC or data[:8] == SIGNATURE)
        and crc32c(data[:-4]) == header_crc(data)
    )


def _resume(source: Source, offset: int, header: memoryview, stop: int | None) -> tuple[int, bool]:
    """Find where to go on after damage at `offset`, and say whether exactly one frame was lost.

    One frame was lost if the bytes up to there have the length or the CRC that the (perhaps damaged)
    frame header at `offset` says. An empty payload proves nothing by its CRC, which is 0: a damaged stream
    header may say the same.
    """
    if len(header) < HEADER_LEN:
        return offset + len(header), False
    _, _, _, payload_len, payload_crc, _ = _FRAME_HEADER.unpack(header)
    begin = offset + HEADER_LEN
    search = offset + 1
    if _is_header(header):
        # The length is good. If it leads to a header or to the end, only the payload was damaged.
        block = _read(source, begin, payload_len + HEADER_LEN, stop)
        if len(block) == payload_len or _is_header(block[payload_len:]):
            return begin + payload_len, True
        search = begin
    running_crc = 0
    while True:
        window = _read(source, search, _SEARCH_BYTES, stop)
        hit = next(
            (
                match.start()
                for match in _HEADER_START.finditer(window)
                if _is_header(window[match.start() : match.start() + HEADER_LEN])
            ),
            None,
        )
        # A header may straddle the end of the window: the next one begins with it.
        end_of_source = len(window) < _SEARCH_BYTES
        step = hit if hit is not None else len(window) - (0 if end_of_source else HEADER_LEN - 1)
        running_crc = crc32c(window[max(0, begin - search) : step], running_crc)
        search += step
        if hit is not None or end_of_source:
            by_crc = search > begin and running_crc == payload_crc
            return search, by_crc or search == begin + payload_len
