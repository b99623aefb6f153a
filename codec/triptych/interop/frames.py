"""Pictures and animations as Pillow's `save` takes them: modes, palettes and times that a format holds.

What a format cannot hold is brought to what it can, and said in words: GIF has 256 colours a frame, pixels
that are transparent or not, and times in hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from triptych.images import Pixels

ANIMATED = ("GIF", "PNG", "WEBP")
"""Formats that hold animations with their times."""
_GIF_COLORS, _OPAQUE, _GIF_RESTORES = 256, 128, 2
_MAX_TIMES = {"GIF": 65535, "WEBP": (1 << 24) - 1}
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


def prepare_frames(frames: Sequence[Pixels], infos: Sequence[Mapping[str, Any]], format_name: str) -> Ready:
    """Bring a picture, or the frames of an animation, to what a format holds.

    Parameters
    ----------
    frames : sequence of ndarray of uint8
        (height, width) or (height, width, 1 to 4); several are of one height and width.
    infos : sequence of mappings
        What `Reader.info` says of each.
    """
    if format_name == "GIF":
        images, changes = _indexed(frames)
    else:
        images = [Image.fromarray(frame) for frame in _alike(frames)]
        changes = []
    if len(frames) == 1:
        return Ready(images, {}, changes)
    durations = [1000 * (Fraction(info["duration"]) / 1000).limit_denominator(_U16) for info in infos]
    held = _held_times(durations, format_name)
    loop = infos[0].get("loop", _FOR_EVER)
    held_loop = min(loop, _MAX_LOOPS[format_name])
    if held != durations or held_loop != loop:
        changes.append(f"times are brought to what {format_name} holds")
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:]}
    options["duration"] = [float(time) if time.denominator > 1 else int(time) for time in held]
    if format_name != "GIF":
        options["loop"] = held_loop
    elif held_loop != _ONCE:
        options["loop"] = held_loop - 1 if held_loop else _FOR_EVER  # how often all is repeated
    if format_name == "GIF" and any("transparency" in image.info for image in images):
        # Else the frame before would show through; and each frame has to say what is transparent, so that
        # what is restored is that, also where a frame has no hole itself and Pillow would tidy it away.
        options |= {"disposal": _GIF_RESTORES, "optimize": False}
    return Ready(images, options, changes)


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


def _held_times(durations: Sequence[Fraction], format_name: str) -> list[Fraction]:
    """Give the nearest milliseconds of a format: each frame begins as near to its time as can be."""
    if format_name == "PNG":
        return [1000 * _of_u16(time / 1000) for time in durations]
    unit, most = _UNITS[format_name], _MAX_TIMES[format_name]
    held: list[Fraction] = []
    late = Fraction(0)
    for time in durations:
        late += time
        count = min(max(round(late / unit), int(time > 0)), most)
        held.append(Fraction(count * unit))
        late -= count * unit
    return held


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
