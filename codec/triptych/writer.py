"""`Writer` and `encode`: images in, a stream out.

Images are gathered into frames, frames are encoded in threads or an executor, and written in the order in
which their images came: the same bytes for any number of threads. Memory is that of the frames under way.
Nothing already written is ever changed, and the target is never asked to seek.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack

import numpy as np

from triptych.depth import source_bits
from triptych.dictionary import (
    Dictionary,
    DictionaryLike,
    is_shipped,
    resolve_dictionary,
    short_id,
)
from triptych.errors import EncodeError, InvalidImage, TargetUnreachable, TriptychError
from triptych.framing import HEADER_LEN, INLINE_SLOT
from triptych.images import Shape, as_pixels, check_pillow_mode, is_pillow
from triptych.jobs import Batch, Job, Lost, Outcome, encode_frame
from triptych.keywords import EncodeOptions
from triptych.metadata import build_json, make_attachments
from triptych.modes.auto import Choice, Chooser
from triptych.modes.registry import get_mode
from triptych.options import explain_options, make_options
from triptych.paletteorder import IndexedPicture, as_indexed, indexed_of_pillow, order_palette
from triptych.parallel import OrderedPool
from triptych.part import PartWriter
from triptych.payload import Entry, build_prefix, check_key, check_label
from triptych.sink import SinkLike, open_append, open_sink
from triptych.tail import find_tail
from triptych.urls import StorageOptions

P = ParamSpec("P")
T = TypeVar("T")

OnFailure = Callable[[list[str | None], TriptychError], None]
"""Takes the keys of a frame's images, and why the frame cannot be encoded."""
OnEncoded = Callable[[str, list[str | None], list[float | None]], None]
"""Takes a frame's mode, the keys of its images, and their PSNR in dB, None where they are exact."""


@explain_options(EncodeOptions, threads=1)
def encode(
    image: Any,
    *,
    dictionary: DictionaryLike | None = None,
    key: str | None = None,
    label: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    text: Mapping[str, str | Sequence[str]] | None = None,
    colorimetry: Mapping[str, Any] | None = None,
    duration: float | None = None,
    loop: int | None = None,
    palette: Any = None,
    **options: Unpack[EncodeOptions],
) -> bytes:
    """Encode one image as a complete stream.

    Parameters
    ----------
    image
        uint8 (height, width) or (height, width, channels), or a Pillow image: see `Writer.write`.
    dictionary : Dictionary, path, id or name
        As in `Writer`.
    key, label, metadata, exif, xmp, icc_profile, dpi, text, colorimetry, duration, loop, palette
        As in `Writer.write`.
    **options
        Those of `triptych.options.Options`:

    Returns
    -------
    bytes
        What `decode` and `Reader` read.
    """
    target = io.BytesIO()
    options.setdefault("threads", 1)
    with Writer(target, dictionary, **options) as writer:
        writer.write(
            image,
            key=key,
            label=label,
            metadata=metadata,
            exif=exif,
            xmp=xmp,
            icc_profile=icc_profile,
            dpi=dpi,
            text=text,
            colorimetry=colorimetry,
            duration=duration,
            loop=loop,
            palette=palette,
        )
    return target.getvalue()


@explain_options(EncodeOptions)
class Writer:
    """Writes images into a stream.

    Parameters
    ----------
    target : path, URL or binary file object
        A path gets the stream when it is whole: at `close` or `flush`; a URL at `close`, and it cannot be
        continued. A pipe is written as the frames come.
    dictionary : Dictionary, path, id or name
        What the images share.
    append : bool
        Continue the stream that is at the target, if there is one. A path is locked while it is written in
        place (by `flock`, where the system has it; a file object is not): another Writer of it is refused.
    metadata : dict
        Of the stream as a whole.
    on_failure : callable
        Called with keys and an error where images cannot be encoded: these are left out, and nothing is
        raised. Where all are left out, `close` takes back what was not flushed.
    on_encoded : callable
        Called with the mode, keys and PSNRs of images when their frame was written. Measuring takes the time
        of decoding images that are not known to be exact.
    chooser : triptych.modes.auto.Chooser
        Who chooses the panel of each image, for callers that know more of a collection than its next image.
    storage_options : mapping
        Of a URL, as in `Reader`.
    **options
        Those of `triptych.options.Options`:

    Notes
    -----
    Used as a context manager, an exception takes back what was not flushed: no file appears under the name of
    a path. With threads, or several images to a frame, an error of encoding may come with a later image; the
    images it is about are left out and the stream stays whole. Such an error from `close` takes all back:
    `flush` first to get it before, or give `on_failure`.
    """

    def __init__(
        self,
        target: SinkLike,
        dictionary: DictionaryLike | None = None,
        append: bool = False,
        *,
        metadata: Mapping[str, Any] | None = None,
        on_failure: OnFailure | None = None,
        on_encoded: OnEncoded | None = None,
        chooser: Chooser | None = None,
        storage_options: StorageOptions | None = None,
        **options: Unpack[EncodeOptions],
    ) -> None:
        self._closed = True  # until there is something to close
        self._options = make_options(options)
        self._limits = self._options.limits
        if self._options.mode != "auto":
            get_mode(self._options.mode)  # a wrong name shows here, not at the first image
        self._dictionary = (
            None if dictionary is None else resolve_dictionary(dictionary, self._limits, self._options.mode)
        )
        header = None if metadata is None else build_json(metadata)
        # Options travel to the jobs; an executor cannot.
        self._chooser = chooser or Chooser(
            dataclasses.replace(self._options, executor=None), self._dictionary
        )
        self._on_failure, self._on_encoded = on_failure, on_encoded
        self._pool: OrderedPool[Outcome] = OrderedPool(self._options.threads, self._options.executor)
        self._batch = Batch()
        self._is_first = True
        self._n_frames = self._n_lost = 0
        self._unsaid: deque[Lost] = deque()
        self._like: tuple[Choice, Shape] | None = None
        self._room = 1
        self._failed = False
        self._begin = 0
        self._sink = open_append(target) if append else open_sink(target, storage_options)
        self._closed = False
        try:
            tail = None
            if append:  # no other Writer can move the end of a path any more
                tail = find_tail(target, self._limits)
                self._begin = tail.size if tail else 0
                self._sink.go_on_at(self._begin)
            self._part = PartWriter(self._sink, self._limits, tail)
            if header is not None:
                self._part.add_metadata(header)
        except BaseException:
            self.abort()
            raise

    def write(
        self,
        image: Any,
        key: str | None = None,
        label: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        exif: bytes | None = None,
        xmp: bytes | None = None,
        icc_profile: bytes | None = None,
        dpi: tuple[float, float] | None = None,
        text: Mapping[str, str | Sequence[str]] | None = None,
        colorimetry: Mapping[str, Any] | None = None,
        duration: float | None = None,
        loop: int | None = None,
        palette: Any = None,
    ) -> None:
        """Add an image.

        Parameters
        ----------
        image
            Anything with `__array_interface__`, `__dlpack__` or a buffer, uint8 of shape (height, width) or
            (height, width, channels) with 1 to 4 channels (L, LA, RGB, RGBA), or up to 512 bands with a
            dictionary that `fit("pca", ...)` made of such images; or a Pillow image. It is copied.
        key : str
            Up to 4,096 bytes of UTF-8; `Reader` finds the image by it.
        label : int
            A class number, or any integer of up to 62 bits.
        metadata : dict
            What JSON can hold.
        exif, xmp, icc_profile : bytes
            Kept unchanged.
        dpi : (float, float)
            Pixels an inch, across and down; kept as float32.
        text : dict
            Texts by keyword, as PNG has them; a list where a keyword comes again. Comments of JPEG and GIF
            are "Comment".
        colorimetry : dict
            How colours are meant where no profile says it: `gamma`, `chromaticity` (x and y of white, red,
            green, blue) and `srgb` (a rendering intent, 0 to 3), as in PNG.
        duration : float
            Of a frame of an animation: milliseconds that it is shown. Kept as a fraction of a second, which
            holds the times of GIF, WebP and APNG files exactly; up to 65,535 seconds.
        loop : int
            Of the first frame of an animation: how often all of it is played, 0 for ever. The images after
            it that have a duration and no loop are its further frames.
        palette : array of uint8, (n, 3) or (n, 4)
            RGB or RGBA of up to 256 entries, where the image is indices into them, uint8 (height, width).
            Its colours are encoded, and where they are kept exactly, `Reader.read_indexed` gives indices and
            palette back. Of a Pillow image of mode P it need not be given.

        Raises
        ------
        InvalidImage, InvalidOption, LimitExceeded
            The image is not added, and the writer goes on.
        """
        self._check_open()
        if is_pillow(image):
            check_pillow_mode(image.mode)
            if (bits := source_bits(image)) > 8:
                self._tell_of_depth(bits)
        indexed = _find_indexed(image, palette)
        pixels = np.array(as_pixels(image)) if indexed is None else indexed.pixels
        shape = Shape(*pixels.shape)
        self._limits.check("pixels_per_image", shape.pixels)
        self._limits.check("decoded_bytes", shape.nbytes)
        said: dict[str, Any] = {"metadata": metadata, "exif": exif, "xmp": xmp, "icc_profile": icc_profile}
        said |= {"dpi": dpi, "text": text, "colorimetry": colorimetry, "duration": duration, "loop": loop}
        attachments = make_attachments(said, self._limits)
        entry = Entry(shape, check_key(key), check_label(label), attachments)
        choice = self._chooser.choose(pixels)
        room = self._images_per_frame(choice, shape)
        # At most one frame is submitted here, after the image is safe in a batch: an error of encoding,
        # perhaps of an earlier image, loses nothing else.
        full = None
        if not self._batch.takes(choice, shape, room, self._limits.decoded_bytes):
            full, self._batch = self._batch, Batch()
        self._batch.add(choice, entry, pixels, room, None if indexed is None else order_palette(indexed))
        if full is None and self._batch.is_full and not self._may_be_only_frame():
            full, self._batch = self._batch, Batch()
        if full is not None:
            self._submit(full)

    def _tell_of_depth(self, bits: int) -> None:
        """Refuse an image of which Pillow reads the upper 8 bits only, or warn of it."""
        about = f"the file of this image has {bits} bits a channel, of which Pillow reads 8"
        if self._options.lossless:
            raise InvalidImage(
                f"lossless: {about}; what image.load() gives is kept exactly, if you take that"
            )
        warnings.warn(about, RuntimeWarning, stacklevel=3)

    def flush(self) -> None:
        """Make everything written so far durable and readable by others.

        The frame that is being gathered is ended, and errors of encoding that were still to come are raised,
        one a call. A path has its name from now on, and an exception later leaves what is there now.
        """
        self._check_open()
        self._finish()
        self._guarded(self._sink.flush)

    def checkpoint(self) -> None:
        """Make the frames that are written by now durable, and readable by others.

        Unlike `flush` it changes no byte of the stream: the frame that is being gathered is gathered on, and
        frames that are being encoded are not waited for. A path has its name from now on.
        """
        self._check_open()
        self._guarded(self._sink.flush)

    @property
    def size(self) -> int:
        """Bytes that this Writer has written by now."""
        return self._part.size - self._begin

    def close(self) -> None:
        """Write what is left, and the index. A second call does nothing."""
        if self._closed:
            return
        try:
            self._check_open()
            self._finish(closing=True)
            if self._n_lost and not self._n_frames:
                self.abort()
                return
            self._guarded(self._part.close)
        except BaseException:
            self.abort()
            raise
        self._closed = True
        self._pool.close()

    def abort(self) -> None:
        """Take back what was not flushed, and close."""
        if not self._closed:
            self._closed = True
            try:
                self._sink.abort()  # first: who waits for threads may be interrupted again
            finally:
                self._pool.close()

    def salvage(self) -> None:
        """Close, and keep the frames that were written, also after a failure in the midst of one.

        For a path that has its name (see `checkpoint`). There is no index: who continues the stream adds it.
        """
        if not self._closed:
            self._closed = True
            self._pool.close()
            self._sink.go_on_at(self._part.whole_size)
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"{self!r} was not closed; what was not flushed is dropped", ResourceWarning, stacklevel=2
            )
            self.abort()

    def _check_open(self) -> None:
        if self._closed:
            raise EncodeError("the Writer is closed")
        if self._failed:
            raise EncodeError("an earlier write to the target failed: what was not flushed is lost")

    def _guarded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what touches the target; after a failure half a frame may be there, so nothing may follow."""
        try:
            return function(*args, **kwargs)
        except BaseException:
            self._failed = True
            raise

    def _embeds(self, dictionary: Dictionary) -> bool:
        return not is_shipped(dictionary) if self._options.embed is None else self._options.embed

    def _images_per_frame(self, choice: Choice, shape: Shape) -> int:
        # Most images are like the one before, and a mode may have to look into its dictionary.
        if (choice, shape) != self._like:
            # Asked for in any case: a mode refuses here what does not fit its dictionary.
            wanted = choice.mode.images_per_frame(shape, choice.options, choice.dictionary)
            wanted = self._options.frame_images or wanted
            # A target size is one for each image.
            fixed = 1 if choice.options.target_size is not None else wanted
            self._room = min(fixed, self._limits.images_per_frame)
            self._like = choice, shape
        return self._room

    def _may_be_only_frame(self) -> bool:
        """Say whether it matters that this may be the only frame: then it waits for the next image."""
        dictionary = None if self._batch.choice is None else self._batch.choice.dictionary
        return self._is_first and dictionary is not None and not self._embeds(dictionary)

    def _submit(self, batch: Batch, *, is_only: bool = False) -> None:
        """Start encoding images as one frame, and write a frame that is due."""
        slot, inline_id = 0, b""
        assert batch.choice is not None
        entries = batch.complete_entries(self._limits)
        mode, options, dictionary = batch.choice.mode, batch.choice.options, batch.choice.dictionary
        if dictionary is not None:
            embed = self._embeds(dictionary)
            if is_only and not embed:
                # One frame names its dictionary in 16 bytes; for more of them a USE frame is shorter.
                slot, inline_id = INLINE_SLOT, short_id(dictionary.id)
            else:
                reference = dictionary if embed else bytes.fromhex(dictionary.id)
                slot = self._guarded(self._part.bind, reference)
        if options.target_size is not None:
            prefix = build_prefix(mode.code, entries, inline_id)
            around = HEADER_LEN + len(prefix) + (self._part.size - self._begin if self._is_first else 0)
            if options.target_size <= around:
                error = TargetUnreachable(
                    f"the stream has {around:,} bytes without any pixels: a target_size of "
                    f"{options.target_size:,} is too small",
                    options=("target_size",),
                )
                self._put(Outcome(None, [Lost([entry.key for entry in entries], error)]))
                self._raise_lost()
                return
            options = dataclasses.replace(options, target_size=options.target_size - around)
        self._is_first = False
        is_measured = self._on_encoded is not None
        job = Job(mode.name, entries, batch.pixels, options, dictionary, inline_id, slot, is_measured)
        for outcome in self._pool.submit(encode_frame, job):
            self._put(outcome)
        self._raise_lost()

    def _finish(self, *, closing: bool = False) -> None:
        if self._batch.entries:
            batch, self._batch = self._batch, Batch()
            self._submit(batch, is_only=closing and self._is_first)
        for outcome in self._pool.drain():
            self._put(outcome)
        self._raise_lost()

    def _put(self, outcome: Outcome) -> None:
        """Write a frame, and say what was left out of it, or note that to be raised."""
        if outcome.encoded is not None:
            self._n_frames += 1
            slot, payload, keys, mode, psnrs = outcome.encoded
            self._guarded(self._part.add_images, slot, payload, keys)
            if self._on_encoded is not None:
                self._on_encoded(mode, keys, psnrs)
        for lost in outcome.lost:
            if self._on_failure is None:
                self._unsaid.append(lost)
            else:
                self._n_lost += 1
                self._on_failure(*lost)

    def _raise_lost(self) -> None:
        """Raise the error of what was left out first and not yet said: one a call."""
        if self._unsaid:
            keys, error = self._unsaid.popleft()
            named = ", ".join(repr(key) for key in keys if key is not None)
            if named:
                error.add_note(f"of the image {named}")
            raise error


def _find_indexed(image: Any, palette: Any) -> IndexedPicture | None:
    """Give an image as indices into a palette, if it is one."""
    if palette is not None:
        return as_indexed(image, palette)
    return indexed_of_pillow(image) if is_pillow(image) else None
