"""Triptych as a format of Pillow: after `register()`, `Image.open` and `save` know .tych files.

Opening reads headers only: size and mode are known before any pixel is decoded, so Pillow's check against
decompression bombs comes in time. The images of a stream are the frames of the Pillow image (`n_frames`,
`seek`); of those that have times, `info` has `duration` and `loop`. What is wrong with a file is an
`OSError`, as Pillow's users expect; what is wrong with an option of `save` is `InvalidOption`. Programs save
by the suffix of a name, so options of other formats are ignored, with one warning.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import IO, Any, Literal

from PIL import Image, ImageFile, ImagePalette, ImageSequence

from triptych.errors import FormatError, InvalidImage, NotTriptych, TriptychError
from triptych.framing import SIGNATURE
from triptych.images import MODES, Pixels, check_pillow_mode
from triptych.interop.animation import Timing, time_frames
from triptych.interop.pictures import LABELS, fit_metadata, pillow_metadata, read_metadata
from triptych.limits import DEFAULT
from triptych.metadata import TAGS, name_attachments
from triptych.options import OPTION_NAMES, make_options
from triptych.paletteorder import find_indices, index_colors, set_palette
from triptych.payload import ImagesPayload
from triptych.reader import Reader
from triptych.scalars import plain_scalar
from triptych.source import open_source
from triptych.table import load_table
from triptych.timing import goes_on, parse_timing
from triptych.verify import verify
from triptych.writer import Writer

__all__ = ["FORMAT", "TriptychImageFile", "register"]

FORMAT = "TRIPTYCH"
# Pillow has a limit of its own for pixels, which its users know how to change.
_LIMITS = dataclasses.replace(DEFAULT, pixels_per_image=1 << 62)
_OF_IMAGES = ("key", "label", "metadata")
# Frames are whole pictures, whatever was disposed of between them.
_OF_PILLOW = frozenset(
    (
        *("append_images", "comment", "disposal", "dpi", "duration", "exif", "icc_profile", "loop", "text"),
        "xmp",
    )
)
_ALIKE, _NO_SLIPS = 0.8, frozenset(("speed",))
"""How like one of our options (`difflib` says) another name is taken for a slip; and what AVIF has."""
_OF_WRITER = frozenset(("append", "dictionary", "on_failure", *OPTION_NAMES))


def register() -> None:
    """Let Pillow open and save .tych files. A second call changes nothing."""
    Image.register_open(FORMAT, TriptychImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, ".tych")
    Image.register_mime(FORMAT, "image/x-triptych")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


class TriptychImageFile(ImageFile.ImageFile):
    """An opened stream. Attributes beyond Pillow's: `info` may hold `key`, `label` and `metadata`."""

    format = FORMAT
    format_description = "Triptych"
    _close_exclusive_fp_after_loading = False  # other frames may still be asked for

    def _open(self) -> None:
        assert self.fp is not None
        self._start = self.fp.tell()
        self._reader: Reader | None = None
        self._frame = -1
        self._loaded = -1
        self._last_read: tuple[int, ImagesPayload] | None = None
        self._played = (0, 0, 0)  # images that belong to one animation, from here to there, and its loop
        try:
            # Not through a Reader: what it says of an image needs the kernels.
            self._table = load_table(open_source(self.fp), _LIMITS, self._ignored_damage())
            self.n_frames = self._table.n_images
            self.is_animated = self.n_frames > 1
            if not self.n_frames:
                raise OSError("the Triptych stream holds no images")
            self._show(0)
        except NotTriptych as error:
            raise SyntaxError(str(error)) from error
        except TriptychError as error:
            raise OSError(f"broken Triptych stream: {error}") from error

    def __setstate__(self, state: Any) -> None:
        """Become one image that is loaded: that is what pickles and deep copies hold."""
        self.fp, self._exclusive_fp, self._reader = None, False, None
        self._min_frame = self._frame = self._loaded = 0
        self.n_frames, self.is_animated = 1, False
        super().__setstate__(state)

    def _ignored_damage(self) -> Any:
        """Give what takes damage: nothing, unless the user told Pillow to load what is left of a file."""
        return (lambda damage: None) if ImageFile.LOAD_TRUNCATED_IMAGES else None

    def _show(self, frame: int) -> None:
        """Take size, mode and info from the headers of a frame."""
        number, image = self._table.frame_of(frame)
        entry = self._payload(number).entry(image)
        if entry.shape.has_bands:
            raise OSError(
                f"an image of {entry.shape.channels} channels is none of Pillow's: use triptych.Reader"
            )
        self._frame = frame
        self._size = (entry.shape.width, entry.shape.height)
        self._mode = MODES[entry.shape.channels - 1]
        self._order = entry.attachments.get(TAGS["palette_order"], b"")
        self.palette = None
        if self._order and self._mode in ("RGB", "RGBA"):
            # What it holds is known with the pixels; that it has alpha, now.
            self.palette = ImagePalette.ImagePalette(self._mode)
            self._mode = "P"
        named = name_attachments(entry.attachments)
        known = {"key": entry.key, "label": entry.label, "metadata": named.get("metadata")}
        info: dict[str | tuple[int, int], Any] = {}
        info.update({name: value for name, value in known.items() if value is not None})
        info.update(pillow_metadata(named))
        self.begins_animation = "loop" in named
        if "duration" in named:
            info |= {"duration": named["duration"], "loop": self._find_loop(frame)}
        self.info = info
        if hasattr(self, "_exif"):
            self._exif = None

    def _payload(self, number: int) -> ImagesPayload:
        """Read an IMAGES frame; the last one is kept, as most often the next image is in it too."""
        if self._last_read is None or self._last_read[0] != number:
            images = self._table.read(number).images
            assert images is not None
            self._last_read = number, images
        return self._last_read[1]

    def _find_loop(self, frame: int) -> int:
        """Return how often the animation of an image is played: its first image says so."""
        start, stop, loop = self._played
        image = frame
        while not start <= image < stop:
            said = self._said(image)
            if image and goes_on(self._said(image - 1), said):
                image -= 1
            else:
                start, stop, loop = image, image + 1, said.get("loop", 0)
        self._played = start, max(stop, frame + 1), loop
        return loop

    def _said(self, image: int) -> dict[str, Any]:
        """Return time and key of an image; what is lost says nothing."""
        number, within = self._table.frame_of(image)
        try:
            payload = self._payload(number)
            timing = parse_timing(payload.attachments[within].get(TAGS["duration"], b""))
            return timing | {"key": payload.keys[within]}
        except FormatError:
            return {}

    def seek(self, frame: int) -> None:
        """Go to an image of the stream."""
        if not self._seek_check(frame):
            return
        if self.fp is None:
            raise ValueError("Operation on closed image")
        try:
            self._show(frame)
        except TriptychError as error:
            raise OSError(f"broken Triptych stream: {error}") from error
        Image._decompression_bomb_check(self.size)

    def tell(self) -> int:
        """Give the number of the current image."""
        return self._frame

    def load(self) -> Any:
        """Decode the pixels of the current image, once."""
        if self._loaded != self._frame and self.fp is not None:
            try:
                if self._reader is None:
                    self.fp.seek(self._start)
                    damage: Literal["raise", "skip"] = "skip" if ImageFile.LOAD_TRUNCATED_IMAGES else "raise"
                    self._reader = Reader(self.fp, _LIMITS, damage=damage)
                pixels = self._reader[self._frame]
            except TriptychError as error:
                raise OSError(f"broken Triptych stream: {error}") from error
            self._take(pixels)
            self.readonly = 0
            self._loaded = self._frame
            if not self.is_animated:
                if self._exclusive_fp:
                    self.fp.close()
                self.fp = None
        return super().load()

    def _take(self, pixels: Pixels) -> None:
        if self.mode != "P":
            self.im = Image.fromarray(pixels).im
            return
        # Where what is attached says nothing the mode has been told, and any palette serves.
        indexed = find_indices(self._order, pixels) or index_colors(pixels)
        if indexed is None:
            raise OSError("an image of more than 256 colours says it was indexed: use triptych.Reader")
        shown = Image.fromarray(indexed.indices)
        set_palette(shown, indexed.palette)
        self.im, self.palette = shown.im, shown.palette
        self.info |= {name: value for name, value in shown.info.items() if name == "transparency"}

    def verify(self) -> None:
        """Check all checksums of the stream."""
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        self.fp.seek(self._start)
        try:
            verify(self.fp, "structure", limits=_LIMITS)
        except TriptychError as error:
            raise OSError(f"broken Triptych stream: {error}") from error
        super().verify()


def _save_all(image: Image.Image, handle: IO[bytes], filename: str | bytes) -> None:
    with closing(_frames(image)) as frames:
        _write(image, handle, time_frames(frames, image.encoderinfo))


def _save(image: Image.Image, handle: IO[bytes], filename: str | bytes) -> None:
    is_frame = image.encoderinfo.get("duration") is not None
    frames = time_frames([image], image.encoderinfo) if is_frame else [(image, Timing())]
    _write(image, handle, frames, threads=1)


def _frames(image: Image.Image) -> Generator[Image.Image]:
    """Give all frames; each image is then, or when this is closed, at the frame that it was at."""
    for sequence in (image, *image.encoderinfo.get("append_images", ())):
        place = sequence.tell()
        try:
            yield from ImageSequence.Iterator(sequence)
        finally:
            sequence.seek(place)


def _write(
    image: Image.Image, handle: IO[bytes], frames: Iterable[tuple[Image.Image, Timing]], **defaults: Any
) -> None:
    given = image.encoderinfo
    of_image = {name: given[name] for name in _OF_IMAGES if name in given}
    with Writer(handle, **(defaults | _options(given))) as writer:
        for frame, timing in frames:
            try:
                check_pillow_mode(frame.mode)
            except InvalidImage as error:
                raise OSError(f"cannot write mode {frame.mode} as {FORMAT}: {error}") from error
            said, left_out = fit_metadata(read_metadata(frame, given), DEFAULT.metadata_bytes)
            for name in left_out:
                warnings.warn(f"{LABELS[name]} is left out of {FORMAT}: it is too large", stacklevel=4)
            writer.write(frame, **of_image, **said, **timing)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options for a Writer; warn of those of other formats, refuse what looks like a slip."""
    options = {name: value for name, value in given.items() if name in _OF_WRITER}
    foreign = sorted(given.keys() - _OF_WRITER - _OF_PILLOW.union(_OF_IMAGES))
    for name in set(foreign) - _NO_SLIPS:
        if difflib.get_close_matches(name, _OF_WRITER, 1, _ALIKE):
            make_options({name: given[name]})  # raises, and names the options
    if foreign:
        warnings.warn(f"{FORMAT} ignores options that it does not have: {', '.join(foreign)}", stacklevel=5)
    if plain_scalar(options.get("lossless", False)) is True:
        options.pop("quality", None)  # WebP takes both, and there it is effort
    return options
