"""The contract between the stream and a mode.

A mode turns images into the *body* of an IMAGES frame and back. It knows nothing of frames, files, keys or
metadata. Inside, an image is a C-contiguous uint8 array (height, width, channels) with 1 to 4 channels
(L, LA, RGB, RGBA); `modes.auto.choose_mode` lets images of more through to PCA alone. The stream calls a mode
from several threads at once, so a mode keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, TargetUnreachable
from triptych.images import Pixels, Shape
from triptych.options import Options

__all__ = ["Mode", "NamesBases", "OpenFrame", "OpensFrames", "Pixels", "Shape", "check_bands", "unreachable"]


def check_bands(shape: Shape, dictionary: Dictionary) -> None:
    """Refuse an image of many bands with a dictionary that is not for such."""
    if shape.has_bands and dictionary.kind != "spectral":
        raise DictionaryMismatch(
            f"kind of the dictionary for an image of {shape.channels} bands",
            expected="spectral",
            got=dictionary.kind,
        )


def unreachable(of: str, options: Options) -> TargetUnreachable:
    """Give the error where nothing that a mode has (`of`) meets the target, with the way out.

    The size is not told: it is what the stream and other images leave of what was asked for.
    """
    if options.target_size is not None:
        return TargetUnreachable(f"{of} fits into target_size: raise it", options=("target_size",))
    return TargetUnreachable(
        f"{of} reaches the target_psnr of {options.target_psnr:g} dB: lower it", options=("target_psnr",)
    )


class Mode(Protocol):
    """One panel. Every method raises only errors of `triptych.errors`."""

    name: str
    code: int
    default_dictionary: str | None
    """The name of the shipped dictionary that serves where none is given."""

    def encode_frame(
        self, images: Sequence[Pixels], options: Options, dictionary: Dictionary | None
    ) -> bytes:
        """Give the body of a frame that holds these images.

        The same images, options and dictionary must give the same bytes, always. `options.target_size` is
        what the body may have.
        """
        ...

    def decode_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        start: int,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> list[Pixels]:
        """Give images `start` to `stop - 1` of a frame. The body may have zero bytes added at its end.

        With n_components, what the first components show; a mode without any raises InvalidOption.
        So does one without a GAN that is given a realism, 0 to 1.
        """
        ...

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one best share a frame, and refuse one that does not fit.

        It is asked before an image is put into a frame with others, which the error then leaves alone.
        """
        ...

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image what can be said without decoding its pixels. The dictionary may be missing."""
        ...


class OpenFrame(Protocol):
    """A frame read as far as its images depend on each other: what is left to do for one takes no other.

    It is smaller than the pixels, so a reader keeps it and shows from it. Any number of threads may.
    """

    nbytes: int
    images: range
    """Those that can be shown, by their numbers in the frame."""

    def show(self, images: Sequence[int], out: Sequence[Pixels] | Pixels) -> None:
        """Write the pixels of images (numbers in the frame) into arrays (height, width, channels).

        `out` is an array for each, or one C-contiguous array (images, height, width, channels).
        """
        ...


@runtime_checkable
class OpensFrames(Protocol):
    """What a mode can do besides, where images are much cheaper to show than frames are to read."""

    def open_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> OpenFrame | None:
        """Read a frame, up to image `stop - 1` at least; arguments and errors are `Mode.decode_frame`'s.

        None: frames with this dictionary have no such state, and are decoded.
        """
        ...


@runtime_checkable
class ExpandsDictionaries(Protocol):
    """What a mode can do besides, where dictionaries of its kinds take more bytes once they are unpacked."""

    def expanded_bytes(self, dictionary: Dictionary) -> int:
        """Say how many bytes a dictionary takes as it is used, at most, before anything is unpacked.

        Raises
        ------
        InvalidFrame
            It does not say, as it is damaged.
        """
        ...


@runtime_checkable
class NamesBases(Protocol):
    """What a mode can do besides, where dictionaries of its kinds name others."""

    def base_of(self, dictionary: Dictionary) -> bytes | None:
        """Give the id of the dictionary that this one names, if it names one; it comes along as `base`."""
        ...
