"""The palette of an indexed picture, and each pixel's entry in it (FORMAT.md section 3.3).

A stream keeps colours; what a picture was beside them, an order of palette entries and a choice among equal
ones, is an attachment. `order_palette` makes it of indices and a palette; with the decoded pixels,
`find_indices` gives both back. It takes few bytes, as the colours of a picture tell what its palette holds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from triptych.errors import InvalidImage, InvalidOption
from triptych.images import Pixels

MAX_ENTRIES = 256
_CHOICES, _RANKED = 1, 2
_CHANNELS = (3, 4)
_PART = 1 << 20
"""Pixels that are looked at together: numpy takes 8 bytes for each number that it looks up."""

Keys = npt.NDArray[np.uint32]
"""Colours as numbers: the first channel is the most significant byte."""


class IndexedPicture(NamedTuple):
    """A picture as indices into a palette.

    indices: uint8 (height, width). palette: uint8 (n, 3) for RGB, (n, 4) for RGBA, n from 1 to 256.
    """

    indices: Pixels
    palette: Pixels

    @property
    def pixels(self) -> Pixels:
        """The colours of the pixels, (height, width, 3 or 4)."""
        return _look_up(self.palette, self.indices)


class PaletteOrder(NamedTuple):
    """What to attach to an indexed picture: one of two forms.

    listed: the same for all pictures of a palette, if nothing else is to be told. ranked: the shorter one for
    a picture that has most of the colours of its palette.
    """

    listed: bytes
    ranked: bytes
    palette: bytes

    def attachment(self, *, is_repeated: bool) -> bytes:
        """Give the form of fewest bytes; `is_repeated`: other pictures of a frame have the palette."""
        return self.listed if is_repeated else min(self.ranked, self.listed, key=len)


def as_indexed(indices: Any, palette: Any) -> IndexedPicture:
    """Give indices and a palette as they are kept.

    Raises
    ------
    InvalidImage, InvalidOption
        The indices are no uint8 (height, width), or one has no entry; the palette is not as in
        `IndexedPicture`.
    """
    entries = np.asarray(palette)
    is_palette = entries.ndim == 2 and entries.dtype.kind in "ui" and entries.shape[1] in _CHANNELS
    if not is_palette or not 1 <= len(entries) <= MAX_ENTRIES or entries.min() < 0 or entries.max() > 255:
        raise InvalidOption(
            "palette must be 1 to 256 colours of 3 or 4 numbers from 0 to 255, as uint8 (n, 3) or (n, 4)"
        )
    wanted = np.asarray(indices)
    if wanted.ndim != 2 or wanted.dtype != np.uint8 or not wanted.size:
        raise InvalidImage(
            f"with a palette, an image is its indices: uint8 (height, width), not {wanted.dtype} of shape "
            f"{wanted.shape}"
        )
    if (highest := int(wanted.max())) >= len(entries):
        raise InvalidImage(f"index {highest} of a palette of {len(entries)} colours")
    return IndexedPicture(np.ascontiguousarray(wanted), np.ascontiguousarray(entries, np.uint8))


def indexed_of_pillow(image: Any) -> IndexedPicture | None:
    """Give the indices and the palette of a Pillow image of mode P; None: it is of another mode."""
    if image.mode != "P":
        return None
    from PIL import Image

    image.load()
    probe = Image.frombytes("P", (MAX_ENTRIES, 1), bytes(range(MAX_ENTRIES)))
    mode = image.im.getpalettemode()  # that of `image.palette` may be another, after a conversion
    entries = image.getpalette(mode)
    probe.putpalette(entries, mode)
    if "transparency" in image.info:
        probe.info["transparency"] = image.info["transparency"]
    table = np.asarray(probe.convert("RGBA" if image.has_transparency_data else "RGB"))[0]
    indices = np.asarray(image)
    n_entries = min(MAX_ENTRIES, max(len(entries) // len(mode), int(indices.max()) + 1))
    return IndexedPicture(indices, np.ascontiguousarray(table[:n_entries]))


def set_palette(image: Any, palette: Pixels) -> None:
    """Make a Pillow image of indices, mode L, one of mode P, as Pillow opens such a PNG file."""
    alphas = palette[:, 3:].tobytes()
    image.putpalette(palette[:, :3].tobytes())
    if alphas.count(0) == 1 and alphas.count(255) == len(alphas) - 1:
        image.info["transparency"] = alphas.index(0)
    elif alphas:
        image.info["transparency"] = alphas


def order_palette(picture: IndexedPicture) -> PaletteOrder:
    """Give what is attached to an indexed picture."""
    indices, palette = picture
    keys = _keys(palette)
    used = np.flatnonzero(sum(np.bincount(part, minlength=len(palette)) for part in _parts(indices)))
    _, firsts = np.unique(keys[used], return_index=True)
    entries = used[firsts]  # of each colour in ascending order, the first entry that is used
    choices = b""
    if len(entries) < len(used):
        choices = _build_choices(indices, keys)
    ranks = _build_ranks(entries.tolist(), len(palette))
    rest = np.delete(palette, entries, axis=0)
    ranked = bytes((len(palette) - 1, _RANKED | bool(choices))) + ranks + _build_colors(rest) + choices
    # Without ranks, the first entry of a colour is meant, whether it is used or not.
    _, firsts_of_all = np.unique(keys, return_index=True)
    if not choices and not np.isin(used, firsts_of_all).all():
        choices = _build_choices(indices, keys)
    listed = bytes((len(palette) - 1, bool(choices))) + _build_colors(palette) + choices
    return PaletteOrder(listed, ranked, palette.tobytes())


def find_indices(order: bytes, pixels: Pixels) -> IndexedPicture | None:
    """Give the indices and the palette of decoded pixels, if what is attached to them says these.

    Examples
    --------
    >>> picture = as_indexed(np.array([[2, 0]], np.uint8), [[9, 9, 9], [0, 0, 0], [7, 7, 7]])
    >>> found = find_indices(order_palette(picture).ranked, picture.pixels)
    >>> found.indices.tolist(), found.palette.tolist()
    ([[2, 0]], [[9, 9, 9], [0, 0, 0], [7, 7, 7]])
    """
    n_channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if n_channels not in _CHANNELS or len(order) < 2 or order[1] & ~(_CHOICES | _RANKED):
        return None
    n_entries, flags, data = order[0] + 1, order[1], order[2:]
    found = _rank_pixels(pixels, n_entries)
    if found is None:
        return None
    colors, ranks = found
    entries: list[int] = []
    if flags & _RANKED:
        n_bytes = _rank_bytes(len(colors), n_entries)
        ranked = _parse_ranks(data[:n_bytes], len(colors), n_entries)
        if ranked is None:
            return None
        entries, data = ranked, data[n_bytes:]
    rest = _inflate(data, (n_entries - len(entries)) * n_channels)
    if rest is None:
        return None
    palette = np.empty((n_entries, n_channels), np.uint8)
    others = np.delete(np.arange(n_entries), entries)
    planes = np.frombuffer(rest[0], np.uint8).reshape(n_channels, len(others))
    palette[others] = planes.cumsum(axis=1, dtype=np.uint8).T
    if entries:
        palette[entries] = _colors(colors, n_channels)
    keys = _keys(palette)
    by_color = np.argsort(keys, kind="stable")  # the entries of each colour, ascending
    starts = np.searchsorted(keys[by_color], colors)
    counts = np.searchsorted(keys[by_color], colors, side="right") - starts
    if not counts.all():  # a colour that the palette has not
        return None
    if not flags & _CHOICES:
        firsts = np.array(entries or by_color[starts], np.uint8)
        return None if rest[1] else IndexedPicture(_look_up(firsts, ranks), palette)
    is_open = _look_up(counts > 1, ranks)
    said = _inflate(rest[1], int(np.count_nonzero(is_open)))
    if said is None or said[1]:
        return None
    ordinals = np.zeros(ranks.shape, np.uint8)
    ordinals[is_open] = np.frombuffer(said[0], np.uint8)
    if (ordinals > _look_up((counts - 1).astype(np.uint8), ranks)).any():
        return None
    places = _look_up(starts.astype(np.uint8), ranks) + ordinals  # below 256, as all are entries
    return IndexedPicture(_look_up(by_color.astype(np.uint8), places), palette)


def _rank_pixels(pixels: Pixels, most: int) -> tuple[Keys, Pixels] | None:
    """Give the colours, ascending, and the place of each pixel's among them; None: more than `most`."""
    colors = np.empty(0, np.uint32)
    for part in _parts(pixels):
        colors = np.union1d(colors, _keys(part))
        if len(colors) > most:
            return None
    ranks = np.empty(pixels.shape[:2], np.uint8)
    for part, place in zip(_parts(pixels), _parts(ranks), strict=True):
        place[:] = np.searchsorted(colors, _keys(part))
    return colors, ranks


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    """Give pixels in a row, some at a time: views of (height, width, ...)."""
    flat = pixels.reshape(-1, *pixels.shape[2:])
    for start in range(0, len(flat), _PART):
        yield flat[start : start + _PART]


def _look_up(table: npt.NDArray[Any], indices: Pixels) -> npt.NDArray[Any]:
    """Give the rows of a table that indices (height, width) say."""
    found = np.empty(indices.shape + table.shape[1:], table.dtype)
    for part, place in zip(_parts(indices), _parts(found), strict=True):
        place[:] = table[part]
    return found


def index_colors(pixels: Pixels) -> IndexedPicture | None:
    """Give pixels (height, width, 3 or 4) as indices into their colours, ascending, if 256 suffice."""
    found = _rank_pixels(pixels, MAX_ENTRIES)
    return None if found is None else IndexedPicture(found[1], _colors(found[0], pixels.shape[2]))


def _keys(colors: Pixels) -> Keys:
    """Give the colours of the last axis as numbers; all of those of 3 channels are below 2^24."""
    keys = np.zeros(colors.shape[:-1], np.uint32)
    for channel in range(colors.shape[-1]):
        keys = keys << np.uint32(8) | colors[..., channel]
    return keys


def _colors(keys: Keys, n_channels: int) -> Pixels:
    shifts = np.arange(8 * n_channels - 8, -1, -8, dtype=np.uint32)
    return (keys[:, None] >> shifts).astype(np.uint8)


def _rank_bytes(n_ranks: int, n_entries: int) -> int:
    return (math.perm(n_entries, n_ranks) - 1).bit_length() + 7 >> 3


def _build_ranks(entries: list[int], n_entries: int) -> bytes:
    """Give the number of these distinct entries among all sequences of so many."""
    number, left = 0, list(range(n_entries))
    for entry in entries:
        at = left.index(entry)
        number = number * len(left) + at
        del left[at]
    return number.to_bytes(_rank_bytes(len(entries), n_entries), "little")


def _parse_ranks(data: bytes, n_ranks: int, n_entries: int) -> list[int] | None:
    number = int.from_bytes(data, "little")
    if len(data) < _rank_bytes(n_ranks, n_entries) or number >= math.perm(n_entries, n_ranks):
        return None
    places = []
    for base in range(n_entries - n_ranks + 1, n_entries + 1):
        number, at = divmod(number, base)
        places.append(at)
    left = list(range(n_entries))
    return [left.pop(at) for at in reversed(places)]


def _build_colors(colors: Pixels) -> bytes:
    if not len(colors):
        return b""
    planes = np.diff(colors.T, axis=1, prepend=np.uint8(0))
    return _deflate(planes.tobytes())


def _build_choices(indices: Pixels, keys: Keys) -> bytes:
    """Give for each pixel of a colour that several entries have which of these is meant."""
    _, whiches, counts = np.unique(keys, return_inverse=True, return_counts=True)
    ordinals = np.array(
        [np.count_nonzero(whiches[:at] == which) for at, which in enumerate(whiches)], np.uint8
    )
    is_open = counts[whiches] > 1
    return _deflate(_look_up(ordinals, indices)[_look_up(is_open, indices)].tobytes())


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _inflate(data: bytes, size: int) -> tuple[bytes, bytes] | None:
    """Give so many bytes that data begin with, deflated, and what is behind; None where they are others."""
    if not size:
        return b"", data
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(data, size + 1)
    except zlib.error:
        return None
    if len(found) != size or not unpacker.eof:
        return None
    return found, unpacker.unused_data
