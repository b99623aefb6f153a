"""The payload of an INDEX frame (FORMAT.md section 5): where a part's frames and keys are.

`PartIndex` grows while a part is written or scanned, at 16 bytes a frame and 4 a key (8 once some image has
none), and becomes the payload at the end. `read_index` finds the index that ends at some place of a source,
and proves it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from triptych.errors import FormatError, InvalidFrame, LimitExceeded
from triptych.framing import (
    HEADER_LEN,
    INDEX_END,
    FrameHeader,
    FrameType,
    check_stream_header,
    read_frame,
    read_frame_header,
)
from triptych.limits import RATIO_FREE_IMAGES, Limits
from triptych.source import Source

FRAME_DTYPE = np.dtype([("offset", "<u8"), ("count", "<u4"), ("crc", "<u4")])
OTHER_DTYPE = np.dtype("<u8")
KEY_DTYPE = np.dtype("<u4")
MAX_IMAGES = (1 << 32) - 1
"""Images of a part: their numbers are u32."""

Buffer = bytes | memoryview
_COUNTS = struct.Struct("<III")
_TRAILER = struct.Struct("<IQ8s")
_FRAME = struct.Struct("<QII")
_OFFSET = struct.Struct("<Q")
_NUMBER = struct.Struct("<I")
MOST_PROVEN = 1 << 16
"""Frames of a part whose headers are all looked at before its index is believed (under 0.5 s)."""


def hash_key(key: str) -> int:
    """First 4 bytes of the SHA-256 of a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")


class PartIndex:
    """What an INDEX frame says of one part. Offsets count from the part's stream header."""

    def __init__(
        self, frames: Buffer = b"", others: Buffer = b"", hashes: Buffer = b"", keyed: Buffer | None = None
    ) -> None:
        self._frames = bytearray(frames)
        self._others = bytearray(others)
        self._hashes = bytearray(hashes)
        self.n_images = int(self.frames["count"].sum(dtype=np.uint64))
        # None as long as all images have keys.
        self._keyed: bytearray | None = None
        if keyed is not None or self.n_keys != self.n_images:
            self._keyed = bytearray(_first_numbers(self.n_keys) if keyed is None else keyed)

    @property
    def n_frames(self) -> int:
        """IMAGES frames."""
        return len(self._frames) // FRAME_DTYPE.itemsize

    @property
    def n_keys(self) -> int:
        """Images that have keys."""
        return len(self._hashes) // KEY_DTYPE.itemsize

    @property
    def frames(self) -> npt.NDArray[np.void]:
        """The frames' entries, a copy."""
        return np.frombuffer(bytes(self._frames), FRAME_DTYPE)

    @property
    def others(self) -> npt.NDArray[np.uint64]:
        """Offsets of all frames that are no IMAGES frames, a copy."""
        return np.frombuffer(bytes(self._others), OTHER_DTYPE)

    @property
    def hashes(self) -> npt.NDArray[np.uint32]:
        """Hashes of the keys, a copy, in the order of the images."""
        return np.frombuffer(bytes(self._hashes), KEY_DTYPE)

    @property
    def keyed(self) -> npt.NDArray[np.uint32]:
        """Numbers of the images that have these keys, a copy, ascending."""
        keyed = _first_numbers(self.n_keys) if self._keyed is None else bytes(self._keyed)
        return np.frombuffer(keyed, KEY_DTYPE)

    def add_frame(self, offset: int, crc: int, keys: Sequence[str | None]) -> None:
        """Add an IMAGES frame with the keys of its images, None where one has none."""
        count, keyed = len(keys), _numbered(keys)
        if self.n_images + count > MAX_IMAGES:
            raise LimitExceeded(f"a part holds at most {MAX_IMAGES:,} images: start another stream")
        self._frames += _FRAME.pack(offset, count, crc)
        if self._keyed is None and len(keyed) < count:
            self._keyed = bytearray(_first_numbers(self.n_keys))
        for image, key in keyed:
            self._hashes += _NUMBER.pack(hash_key(key))
            if self._keyed is not None:
                self._keyed += _NUMBER.pack(self.n_images + image)
        self.n_images += count

    def add_other(self, offset: int) -> None:
        """Add a frame of another type."""
        self._others += _OFFSET.pack(offset)

    def boundaries(self, offset: int) -> npt.NDArray[np.int64]:
        """Give where all frames begin, ascending, and behind them `offset`, where the INDEX frame is."""
        frames = self.frames["offset"].astype(np.int64)
        return np.append(np.sort(np.concatenate([frames, self.others.astype(np.int64)])), offset)

    def build(self, offset: int) -> bytes:
        """Give the payload of an INDEX frame that will stand at `offset` of the part."""
        tables = bytes(self._frames + self._others + self._hashes + (self._keyed or b""))
        counts = _COUNTS.pack(self.n_frames, len(self._others) // OTHER_DTYPE.itemsize, self.n_keys)
        length = HEADER_LEN + len(counts) + len(tables) + _TRAILER.size
        return counts + tables + _TRAILER.pack(length, offset, INDEX_END)


def _numbered(keys: Sequence[str | None]) -> list[tuple[int, str]]:
    return [(number, key) for number, key in enumerate(keys) if key is not None]


def _first_numbers(n: int) -> bytes:
    return np.arange(n, dtype=KEY_DTYPE).tobytes()


def parse_index(payload: memoryview, offset: int) -> PartIndex:
    """Give the index that an INDEX frame at `offset` of its part holds; its last 20 bytes led here.

    That the frames are where it says is for `prove_index`, and checked when they are read.
    """
    if len(payload) < _COUNTS.size + _TRAILER.size:
        raise InvalidFrame("the payload of an INDEX frame is too short", got=len(payload))
    n_frames, n_others, n_keys = _COUNTS.unpack_from(payload)
    sizes = [
        n_frames * FRAME_DTYPE.itemsize,
        n_others * OTHER_DTYPE.itemsize,
        n_keys * KEY_DTYPE.itemsize,
    ]
    room = len(payload) - _COUNTS.size - _TRAILER.size
    is_partial = sum(sizes) != room
    if is_partial:  # then the images that have keys are named
        sizes.append(sizes[-1])
    if sum(sizes) != room:
        raise InvalidFrame("length of an INDEX frame's tables", expected=sum(sizes), got=room)
    tables, at = [], _COUNTS.size
    for size in sizes:
        tables.append(payload[at : at + size])
        at += size
    index = PartIndex(*tables)
    if n_keys and is_partial != (n_keys < index.n_images):
        raise InvalidFrame("keys in an INDEX frame", expected=index.n_images, got=n_keys)
    _check_tables(index, offset)
    return index


def _check_tables(index: PartIndex, offset: int) -> None:
    for name, offsets in (("IMAGES", index.frames["offset"]), ("other", index.others)):
        if not _ascends(offsets):
            raise InvalidFrame(f"offsets of {name} frames in an INDEX frame do not ascend")
    every = index.boundaries(offset)
    if every[0] != HEADER_LEN or (np.diff(every) < HEADER_LEN).any():
        raise InvalidFrame("frames in an INDEX frame do not fill the part, one behind the other")
    if index.n_frames:
        counts, starts = index.frames["count"].astype(np.int64), index.frames["offset"].astype(np.int64)
        # A payload of n bytes holds at most n + 64 images (FORMAT.md section 3.1), so the length of a reader,
        # which `list` allocates, stays in proportion to the bytes that are there.
        room = np.diff(starts, append=offset) + RATIO_FREE_IMAGES
        if counts.min() < 1 or (counts > room).any() or index.n_images > MAX_IMAGES:
            raise InvalidFrame("numbers of images in an INDEX frame", got=index.n_images)
    keyed = index.keyed if index.n_keys < index.n_images else np.empty(0, KEY_DTYPE)
    if len(keyed) and (keyed[-1] >= index.n_images or not _ascends(keyed)):
        raise InvalidFrame("keyed images in an INDEX frame do not ascend, or are not there")


def _ascends(values: npt.NDArray[np.unsignedinteger]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def read_index(
    source: Source, stop: int, limits: Limits, *, skip_first_header: bool = False
) -> tuple[int, PartIndex, int] | None:
    """Give the offset and the index of the part that ends at `stop` with an INDEX frame, and where that is.

    None: there is none, or it cannot be used. With `skip_first_header` the header of the stream itself is not
    looked at, where reading it would be a request of its own: it is the caller's to check.
    """
    trailer = bytes(source.read_at(stop - _TRAILER.size, _TRAILER.size)) if stop > 2 * HEADER_LEN else b""
    if trailer[-len(INDEX_END) :] != INDEX_END:
        return None
    length, offset, _ = _TRAILER.unpack(trailer)
    part = stop - length - offset
    if part < 0 or length <= HEADER_LEN:
        return None
    try:
        if part or not skip_first_header:
            check_stream_header(source.read_at(part, HEADER_LEN))
        frame = read_frame(source, part + offset, limits, part=part, number=0)
        if frame.type != FrameType.INDEX or frame.length != length:
            return None
        index = parse_index(frame.payload, offset)
        if source.is_local:
            prove_index(index, source, part, offset)
        return part, index, offset
    except FormatError:
        return None


def prove_index(index: PartIndex, source: Source, part: int, offset: int) -> None:
    """Look at the headers of all frames before the INDEX frame at `offset`, if they are not too many.

    Each must be an IMAGES frame where the index says so, and end where the next one begins: then these frames
    are those that a sequential reader finds, and the INDEX frame is one of theirs. A damaged header is damage
    of its frame, and found when that is read.

    Raises
    ------
    InvalidFrame
        The frames are others than the index says.
    """
    every = index.boundaries(offset).tolist()
    if len(every) > MOST_PROVEN:
        return
    crcs = dict(zip(index.frames["offset"].tolist(), index.frames["crc"].tolist(), strict=True))
    for start, stop in pairwise(every):
        try:
            header = read_frame_header(source, part + start)
        except FormatError:
            continue
        check_boundary(header, stop - start, crcs.get(start))


def check_boundary(header: FrameHeader, length: int, crc: int | None) -> None:
    """Compare a frame's header with what an index says: its length, and the CRC if it is an IMAGES frame.

    Raises
    ------
    InvalidFrame
        The index names another frame.
    """
    if header.payload_len + HEADER_LEN != length:
        raise InvalidFrame(
            "the index names another frame: length", expected=length, got=header.payload_len + HEADER_LEN
        )
    if (header.type == FrameType.IMAGES) != (crc is not None) or crc not in (None, header.crc):
        raise InvalidFrame("the index names another frame: header CRC", expected=crc, got=header.crc)
