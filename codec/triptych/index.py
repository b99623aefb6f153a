"""The payload of an INDEX frame (FORMAT.md section 5): where a part's frames, bindings and keys are.

`PartIndex` grows while a part is written or scanned, at 16 bytes a frame and 12 a key, and becomes the
payload at the end. `read_index` finds and checks the index that ends at some place of a source.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

from triptych.errors import FormatError, InvalidFrame, LimitExceeded
from triptych.framing import HEADER_LEN, FrameType, check_stream_header, read_frame
from triptych.limits import RATIO_FREE_IMAGES, Limits
from triptych.source import Source

FRAME_DTYPE = np.dtype([("offset", "<u8"), ("count", "<u4"), ("crc", "<u4")])
BINDING_DTYPE = np.dtype("<u8")
KEY_DTYPE = np.dtype([("hash", "<u8"), ("image", "<u4")])
MAX_IMAGES = (1 << 32) - 1
"""Images of a part: their numbers are u32."""

Buffer = bytes | memoryview
_COUNTS = struct.Struct("<III")
_TRAILER = struct.Struct("<IQ8s")
_END = b"TYCINDEX"


def hash_key(key: str) -> int:
    """First 8 bytes of the SHA-256 of a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")


class PartIndex:
    """What an INDEX frame says of one part. Offsets count from the part's stream header."""

    def __init__(self, frames: Buffer = b"", bindings: Buffer = b"", keys: Buffer = b"") -> None:
        self._frames = bytearray(frames)
        self._bindings = bytearray(bindings)
        self._keys = bytearray(keys)
        self.n_images = int(self.frames["count"].sum(dtype=np.uint64))

    @property
    def n_frames(self) -> int:
        """IMAGES frames."""
        return len(self._frames) // FRAME_DTYPE.itemsize

    @property
    def frames(self) -> npt.NDArray[np.void]:
        """The frames' entries, a copy."""
        return np.frombuffer(bytes(self._frames), FRAME_DTYPE)

    @property
    def bindings(self) -> npt.NDArray[np.uint64]:
        """Offsets of DICTIONARY, USE and META frames, a copy."""
        return np.frombuffer(bytes(self._bindings), BINDING_DTYPE)

    @property
    def keys(self) -> npt.NDArray[np.void]:
        """The keys' entries, a copy, ascending by hash and image number."""
        keys = np.frombuffer(bytes(self._keys), KEY_DTYPE)
        # Stable, and images come in ascending order: equal hashes stay sorted by image.
        return keys[np.argsort(keys["hash"], kind="stable")]

    def add_frame(self, offset: int, count: int, crc: int, keys: list[tuple[int, str]]) -> None:
        """Add an IMAGES frame; `keys` are (image of the frame, key)."""
        if self.n_images + count > MAX_IMAGES:
            raise LimitExceeded(f"a part holds at most {MAX_IMAGES:,} images: start another stream")
        self._frames += struct.pack("<QII", offset, count, crc)
        for image, key in keys:
            self._keys += struct.pack("<QI", hash_key(key), self.n_images + image)
        self.n_images += count

    def add_binding(self, offset: int) -> None:
        """Add a DICTIONARY, USE or META frame."""
        self._bindings += struct.pack("<Q", offset)

    def build(self, offset: int) -> bytes:
        """Give the payload of an INDEX frame that will stand at `offset` of the part."""
        keys = self.keys
        tables = bytes(self._frames) + bytes(self._bindings) + keys.tobytes()
        counts = _COUNTS.pack(self.n_frames, len(self._bindings) // BINDING_DTYPE.itemsize, len(keys))
        length = HEADER_LEN + len(counts) + len(tables) + _TRAILER.size
        return counts + tables + _TRAILER.pack(length, offset, _END)


def parse_index(payload: memoryview, offset: int) -> PartIndex:
    """Give the index that an INDEX frame at `offset` of its part holds; its last 20 bytes led here.

    That the frames are where it says is checked when they are read.
    """
    if len(payload) < _COUNTS.size + _TRAILER.size:
        raise InvalidFrame("the payload of an INDEX frame is too short", got=len(payload))
    n_frames, n_bindings, n_keys = _COUNTS.unpack_from(payload)
    sizes = (
        n_frames * FRAME_DTYPE.itemsize,
        n_bindings * BINDING_DTYPE.itemsize,
        n_keys * KEY_DTYPE.itemsize,
    )
    if len(payload) != _COUNTS.size + sum(sizes) + _TRAILER.size:
        raise InvalidFrame(
            "length of an INDEX frame", expected=_COUNTS.size + sum(sizes) + _TRAILER.size, got=len(payload)
        )
    frames_end = _COUNTS.size + sizes[0]
    bindings_end = frames_end + sizes[1]
    index = PartIndex(
        payload[_COUNTS.size : frames_end],
        payload[frames_end:bindings_end],
        payload[bindings_end : len(payload) - _TRAILER.size],
    )
    _check_tables(index, np.frombuffer(payload, KEY_DTYPE, n_keys, bindings_end), offset)
    return index


def _check_tables(index: PartIndex, keys: npt.NDArray[np.void], offset: int) -> None:
    for name, offsets in (("frames", index.frames["offset"]), ("bindings", index.bindings)):
        if len(offsets) and (offsets[0] < HEADER_LEN or offsets[-1] >= offset or not _ascends(offsets)):
            raise InvalidFrame(f"offsets of {name} in an INDEX frame do not ascend within the part")
    if index.n_frames:
        counts, starts = index.frames["count"].astype(np.int64), index.frames["offset"].astype(np.int64)
        # A payload of n bytes holds at most n + 64 images (FORMAT.md section 3.1), so the length of a reader,
        # which `list` allocates, stays in proportion to the bytes that are there.
        room = np.diff(starts, append=offset) + RATIO_FREE_IMAGES
        if counts.min() < 1 or (counts > room).any() or index.n_images > MAX_IMAGES:
            raise InvalidFrame("numbers of images in an INDEX frame", got=index.n_images)
    tied = keys["hash"][1:] == keys["hash"][:-1]
    in_order = (keys["hash"][1:] > keys["hash"][:-1]) | (tied & (keys["image"][1:] > keys["image"][:-1]))
    if len(keys) and (keys["image"].max() >= index.n_images or not in_order.all()):
        raise InvalidFrame("keys in an INDEX frame do not ascend, or name images that are not there")


def _ascends(values: npt.NDArray[np.uint64]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def read_index(
    source: Source, stop: int, limits: Limits, *, skip_first_header: bool = False
) -> tuple[int, PartIndex] | None:
    """Give the offset and the index of the part that ends at `stop` with an INDEX frame.

    None: there is none, or it cannot be used. With `skip_first_header` the header of the stream itself is not
    looked at, where reading it would be a request of its own: it is the caller's to check.
    """
    trailer = bytes(source.read_at(stop - _TRAILER.size, _TRAILER.size)) if stop > 2 * HEADER_LEN else b""
    if trailer[-len(_END) :] != _END:
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
        return part, parse_index(frame.payload, offset)
    except FormatError:
        return None
