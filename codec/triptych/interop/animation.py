"""Frames of Pillow images, and how long each is shown.

Pillow composes the frames of animations to whole pictures, so nothing else of how a file puts them together
(disposal, blending, offsets) matters. Times are those of `Writer.write`: milliseconds, and with the first
frame how often the animation is played. That is what Pillow says of APNG and WebP; of GIF it says how often
all is *repeated*, and nothing where it is shown once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from PIL import Image, ImageSequence

from triptych.errors import InvalidOption
from triptych.timing import build_timing, parse_timing

_ANIMATED = frozenset(("APNG", "AVIF", "FLI", "GIF", "PNG", "WEBP"))
"""Formats in which several images are an animation, also where no time is said."""
_FOR_EVER, _ONCE = 0, 1


class Timing(TypedDict, total=False):
    """What `Writer.write` takes of the time of a frame."""

    duration: float
    loop: int


def count_frames(image: Image.Image) -> int:
    """Return how many images a file has: frames, pages, or sizes of an icon."""
    if image.format == "ICO":
        return len(image.ico.entry)  # type: ignore[attr-defined]
    if image.format == "ICNS":
        return len(image.icns.itersizes())  # type: ignore[attr-defined]
    return getattr(image, "n_frames", 1)


def iterate_frames(image: Image.Image) -> Iterator[Image.Image]:
    """Return all images of a file, one at a time; the largest of an icon comes first."""
    if image.format == "ICO":
        for number in range(count_frames(image)):
            yield image.ico.frame(number)  # type: ignore[attr-defined]
    elif image.format == "ICNS":
        sizes = image.icns.itersizes()  # type: ignore[attr-defined]
        for size in sorted(sizes, key=lambda size: (size[0] * size[2], size[2]), reverse=True):
            yield image.icns.getimage(size)  # type: ignore[attr-defined]
    else:
        yield from ImageSequence.Iterator(image)


def time_frames(
    frames: Iterable[Image.Image], given: Mapping[str, Any] | None = None
) -> Iterator[tuple[Image.Image, Timing]]:
    """Return frames with their times, which are empty where an image is no frame of an animation.

    Parameters
    ----------
    frames : iterable of PIL.Image.Image
        What is between two of them may change the first.
    given : mapping
        Options of Pillow's `save`: `duration` (milliseconds, of all frames or a list) and `loop` go before
        what the images say.

    Raises
    ------
    InvalidOption
        `duration` is a list of fewer times than there are frames.
    """
    given = given or {}
    durations: Any = given.get("duration")
    if hasattr(durations, "tolist"):
        durations = durations.tolist()
    goes_on = False
    for number, frame in enumerate(frames):
        duration = durations
        if isinstance(durations, (list, tuple)):
            if number >= len(durations):
                raise InvalidOption(f"duration has {len(durations)} times, and there are more frames")
            duration = durations[number]
        elif durations is None:
            duration = _read_duration(frame)
        if duration is None and "loop" in given:
            duration = 0
        timing = Timing()
        if duration is not None:
            timing["duration"] = duration
            if not goes_on or getattr(frame, "begins_animation", False):
                timing["loop"] = _read_loop(frame, given)
        goes_on = duration is not None
        yield frame, timing


def _read_duration(frame: Image.Image) -> float | None:
    """Return what a file says of a frame, if that can be stored: files say anything."""
    frame.load()  # some plugins know times only then
    info = frame.info
    is_animated = frame.format in _ANIMATED and getattr(frame, "is_animated", False)
    is_still = info.get("default_image", False) and frame.tell() == 0  # APNG: shown where it cannot be played
    duration = info.get("duration", 0 if is_animated else None)
    try:
        return None if is_still or duration is None else parse_timing(build_timing(duration))["duration"]
    except InvalidOption:
        return 0


def _read_loop(frame: Image.Image, given: Mapping[str, Any]) -> Any:
    """Return how often the animation is played that begins with a frame; files say anything."""
    if "loop" in given:
        return _ONCE if given["loop"] is None else given["loop"]
    loop = frame.info.get("loop")
    if not isinstance(loop, int):
        return _ONCE if frame.format == "GIF" else _FOR_EVER
    return loop + 1 if frame.format == "GIF" and loop else loop
