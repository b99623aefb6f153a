"""Pictures, pages and animations as Pillow's `save` takes them, with modes, palettes and times of a format.

What a format cannot hold is brought to what it can, and said in words: GIF has 256 colours a frame, pixels
that are transparent or not, and times in hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from triptych.errors import InvalidImage
from triptych.images import Pixels
from triptych.paletteorder import IndexedPicture, set_palette

ANIMATED = ("GIF", "PNG", "WEBP")
"""Formats that hold animations with their times."""
PAGED = ("TIFF", "ICO")
"""Formats that hold several pictures: pages, or sizes."""
_PALETTED: dict[str, Callable[[int | bytes | None], bool]] = {
    "PNG": lambda transparency: True,
    "GIF": lambda transparency: not isinstance(transparency, bytes),
    **dict.fromkeys(("BMP", "DIB", "TIFF"), lambda transparency: transparency is None),
}
"""Formats with palettes of up to 256 colours in any order, and whether they have these transparent ones: an
entry, or the alpha of each."""
_NO_ALPHA = ("BMP", "DIB", "PPM")
"""Formats that Pillow writes all channels into, and most programs read three of."""
_MAX_ICON = 256
_GIF_COLORS, _OPAQUE, _GIF_RESTORES = 256, 128, 2
_MAX_COUNTS = {"GIF": 65535, "WEBP": (1 << 24) - 1}
_UNITS = {"GIF": 10, "WEBP": 1}
"""Milliseconds."""
_MAX_LOOPS = {"GIF": 65536, "WEBP": 65535, "PNG": (1 << 32) - 1}
_U16 = 65535
_FOR_EVER, _ONCE = 0, 1


class Ready(NamedTuple):
    """Images, the options to save the first with, and what was changed, in words."""

    images: list[Image.Image]
    options: dict[str, Any]
    changes: list[str]


def prepare_frames(
    frames: Sequence[Pixels],
    infos: Sequence[Mapping[str, Any]],
    format_name: str,
    indexed: Sequence[IndexedPicture | None] = (),
) -> Ready:
    """Bring a picture, pages, or the frames of an animation, to what a format holds.

    Parameters
    ----------
    frames : sequence of ndarray of uint8
        (height, width) or (height, width, 1 to 4).
    infos : sequence of mappings
        What `Reader.info` says of each.
    format_name : str
        Any of Pillow's for a picture, one of `ANIMATED` or `PAGED` for several.
    indexed : sequence of IndexedPicture or None
        The same with their palettes, of those that have one: a picture or page keeps it where the format has
        such palettes.

    Raises
    ------
    InvalidImage
        Frames of several sizes; what no icon is.
    """
    kept = [_with_palette(each, format_name) for each in indexed] or [None] * len(frames)
    is_lost = kept.count(None) > list(indexed or kept).count(None)
    changes = [f"the order of its palette is left out, which {format_name} does not hold"] * is_lost
    if format_name in PAGED:
        pages = [image or Image.fromarray(frame) for frame, image in zip(frames, kept, strict=True)]
        options: dict[str, Any] = {"append_images": pages[1:]}
        if format_name == "ICO":
            return Ready(pages, options | {"sizes": _sizes_of_icon(pages)}, changes)
        return Ready(pages, options | {"save_all": True}, changes)
    if len(frames) == 1 and kept[0] is not None:
        return Ready([kept[0]], {"optimize": False} if format_name == "GIF" else {}, [])
    changes *= len(frames) == 1  # frames of an animation have other palettes as it is
    if len({frame.shape[:2] for frame in frames}) > 1:
        raise InvalidImage(f"frames of several sizes make no {format_name}")
    if format_name == "GIF":
        images, reduced = _indexed(frames)
        changes += reduced
    else:
        images = [Image.fromarray(frame) for frame in _alike(frames)]
    if format_name in _NO_ALPHA and any(_has_holes(frame) for frame in frames):
        changes.append(f"transparency is left out, which {format_name} does not hold")
    if len(frames) == 1:
        return Ready(images, {}, changes)
    times = [1000 * (Fraction(info["duration"]) / 1000).limit_denominator(_U16) for info in infos]
    if format_name == "GIF":
        images, times = _merge_equal(images, times)
    held, changed = _held_times(times, format_name)
    changes += changed
    loop = infos[0].get("loop", _FOR_EVER)
    if loop > _MAX_LOOPS[format_name]:
        loop = _MAX_LOOPS[format_name]
        changes.append(f"the animation is played {loop:,} times, the most of {format_name}")
    options = {"save_all": True, "append_images": images[1:]}
    options["duration"] = [float(time) if time.denominator > 1 else int(time) for time in held]
    if format_name != "GIF":
        options["loop"] = loop
    elif loop != _ONCE:
        options["loop"] = loop - 1 if loop else _FOR_EVER  # how often all is repeated
    if format_name == "GIF" and any("transparency" in image.info for image in images):
        # Else the frame before would show through; and each frame has to say what is transparent, so that
        # what is restored is that, also where a frame has no hole itself and Pillow would tidy it away.
        options |= {"disposal": _GIF_RESTORES, "optimize": False}
    return Ready(images, options, changes)


def _with_palette(picture: IndexedPicture | None, format_name: str) -> Image.Image | None:
    """Give a picture of mode P, if it is indexed and a format has such palettes."""
    if picture is None or format_name not in _PALETTED:
        return None
    image = Image.fromarray(picture.indices)
    set_palette(image, picture.palette)
    return image if _PALETTED[format_name](image.info.get("transparency")) else None


def _has_holes(frame: Pixels) -> bool:
    return frame.ndim == 3 and frame.shape[2] % 2 == 0 and bool((frame[:, :, -1] < 255).any())


def _sizes_of_icon(images: Sequence[Image.Image]) -> list[tuple[int, int]]:
    """Give the sizes: Pillow takes others if it is told none, and none above that of the first."""
    sizes = [image.size for image in images]
    most = [min(length, _MAX_ICON) for length in sizes[0]]
    if len(set(sizes)) < len(sizes) or any(w > most[0] or h > most[1] for w, h in sizes):
        raise InvalidImage(
            f"an icon has one picture of each size up to {_MAX_ICON}x{_MAX_ICON}, the largest first"
        )
    return sizes


def _alike(frames: Sequence[Pixels]) -> list[Pixels]:
    """Give frames as many channels as the richest needs, where they are not all of one kind."""
    wide = [frame if frame.ndim == 3 else frame[:, :, None] for frame in frames]
    n_channels = {frame.shape[2] for frame in wide}
    if len(n_channels) == 1:
        return [frame[:, :, 0] if frame.shape[2] == 1 else frame for frame in wide]
    n_colors = 3 if max(n_channels) >= 3 else 1
    has_alpha = any(n % 2 == 0 for n in n_channels)
    return [_as_channels(frame, n_colors, has_alpha) for frame in wide]


def _as_channels(frame: Pixels, n_colors: int, has_alpha: bool) -> Pixels:
    n_channels = frame.shape[2]
    colors = frame[:, :, : 3 if n_channels >= 3 else 1]
    planes = [np.broadcast_to(colors, (*frame.shape[:2], n_colors))]
    if has_alpha:
        planes.append(frame[:, :, -1:] if n_channels % 2 == 0 else np.full_like(frame[:, :, :1], 255))
    return np.concatenate(planes, axis=2)


def _merge_equal(
    images: Sequence[Image.Image], times: Sequence[Fraction]
) -> tuple[list[Image.Image], list[Fraction]]:
    """Make one of frames that are equal to the one before; Pillow does, and minds no longest time."""
    kept: list[Image.Image] = []
    sums: list[Fraction] = []
    for image, time in zip(images, times, strict=True):
        if kept and kept[-1] == image:
            sums[-1] += time
        else:
            kept.append(image)
            sums.append(time)
    return kept, sums


def _held_times(times: Sequence[Fraction], format_name: str) -> tuple[list[Fraction], list[str]]:
    """Give the nearest milliseconds of a format, and what is to be told of it.

    What is rounded is made up for by what follows, so each frame begins as near to its time as can be.
    """
    if format_name == "PNG":
        held = [1000 * _of_u16(time / 1000) for time in times]
        return held, ["times are rounded to what PNG holds"] * (held != times)
    unit, most = _UNITS[format_name], _MAX_COUNTS[format_name]
    held, changes = [], []
    late = Fraction(0)
    for time in times:
        count = min(max(round((late + time) / unit), int(time > 0)), most)
        late = Fraction(0) if count == most else late + time - count * unit
        held.append(Fraction(count * unit))
    if any(time / unit > most for time in times):
        changes.append(f"times are cut to {most * unit / 1000:,} s, the most of {format_name}")
    if any(time % unit for time in times):
        changes.append(f"times are rounded to {unit} ms, as {format_name} has them")
    return held, changes


def _of_u16(number: Fraction) -> Fraction:
    """Give the nearest fraction of two 16-bit numbers."""
    return number if number.numerator <= _U16 else number.limit_denominator(max(1, int(_U16 / number)))


def _indexed(frames: Sequence[Pixels]) -> tuple[list[Image.Image], list[str]]:
    """Give frames in palettes of their own: exactly where they have few enough colours."""
    changes = []
    colors = [_as_channels(frame[:, :, None] if frame.ndim == 2 else frame, 3, True) for frame in frames]
    holes = [frame[:, :, 3] < _OPAQUE for frame in colors]
    if any(((frame[:, :, 3] != 0) & (frame[:, :, 3] != 255)).any() for frame in colors):
        changes.append("half transparent pixels become transparent or not, as GIF has them")
    has_holes = any(hole.any() for hole in holes)
    most = _GIF_COLORS - has_holes
    reduced = [_reduce(frame[:, :, :3], hole, most) for frame, hole in zip(colors, holes, strict=True)]
    if not all(is_exact for _, _, is_exact in reduced):
        changes.append(f"colours are reduced to the {_GIF_COLORS} of GIF")
    # Pillow finds what differs from a background by its colours: no colour may look like a hole.
    unseen = _first_missing([palette for _, palette, _ in reduced])
    images = []
    for (indices, palette, _), hole in zip(reduced, holes, strict=True):
        if has_holes:
            indices[hole] = len(palette)
            palette = np.append(palette, np.uint32(unseen))
        image = Image.fromarray(indices)
        image.putpalette(
            np.stack([palette >> 16, palette >> 8 & 255, palette & 255], 1).astype(np.uint8).tobytes()
        )
        if has_holes:
            image.info["transparency"] = len(palette) - 1
        images.append(image)
    return images, changes


def _reduce(
    colors: Pixels, hole: npt.NDArray[np.bool_], most: int
) -> tuple[Pixels, npt.NDArray[np.uint32], bool]:
    """Give indices of at most so many colours, the colours as 0xRRGGBB, and whether nothing was lost."""
    keys = _keys(colors)
    palette = np.unique(keys[~hole])
    if len(palette) <= most:
        return np.searchsorted(palette, keys).astype(np.uint8), palette, True
    image = Image.fromarray(np.ascontiguousarray(colors)).quantize(most)
    table = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:most]
    return np.array(image), _keys(table), False


def _keys(colors: Pixels) -> npt.NDArray[np.uint32]:
    keys: npt.NDArray[np.uint32] = colors.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return keys


def _first_missing(palettes: Sequence[npt.NDArray[np.uint32]]) -> int:
    """Give the first colour that no palette has."""
    used = np.unique(np.concatenate(palettes))
    gaps = np.flatnonzero(used != np.arange(len(used)))
    return int(gaps[0]) if gaps.size else len(used)
