"""`Triptych`, a codec of numcodecs: a chunk of images in, one stream out.

A chunk is a uint8 array whose last two axes are height and width, or last three height, width and channels;
axes before those number the images, which share one stream. The stream alone says how to decode it: options
are what a later chunk is encoded with. What an array's shape does not follow from, its stream tells as
metadata. Images of at most 256 colours, and so all of one channel, are exact; others are lossy unless the
options say otherwise, and a chunk that is read, changed in part and written again loses again.

A dictionary is in the codec's configuration, which numcodecs' users keep once for all chunks (zarr in the
metadata of the array); the chunks only name it. One given by its id is on the search path of every reader
instead, and a shipped one in the installation.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self, Unpack

import numpy as np
import numpy.typing as npt
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray, ndarray_copy

from triptych.dictionary import (
    ID_LEN,
    NEURAL_PREFIX,
    Dictionary,
    DictionaryLike,
    is_shipped,
    load_dictionary,
    resolve_dictionary,
    shipped_dictionaries,
)
from triptych.errors import InvalidFrame, InvalidImage, InvalidOption
from triptych.images import MODES, Pixels
from triptych.keywords import CodingOptions
from triptych.limits import DEFAULT
from triptych.options import Options, explain_options, make_options
from triptych.reader import Reader
from triptych.scalars import plain_scalar
from triptych.writer import Writer

__all__ = ["Triptych"]

_DATA = "data:image/x-triptych;base64,"
"""How the configuration says a dictionary: a data URI (RFC 2397) of its file."""
_OF_CALLS = frozenset(("executor", "limits", "threads"))
"""Options that say where and within which bounds work is done, not what a chunk becomes."""
_MAX_AXES = 32
"""As many as arrays of any numpy have."""
_DEFAULTS = {field.name: getattr(Options(), field.name) for field in fields(Options)}


@explain_options(CodingOptions, embed=False)
class Triptych(Codec):  # type: ignore[misc]  # numcodecs states no types
    """A codec of images for numcodecs, and for arrays of zarr format 2.

    Parameters
    ----------
    dictionary : Dictionary, path, bytes, id or name
        What the images share. The configuration holds the dictionary itself; of one given by its id, and of
        a shipped one, the id.
    channels_last : bool
        Whether the last axis is channels. By default it is where there are three axes or more, and the last
        has a length of 1 to 4.
    **options
        Those of `triptych.options.Options`, but for `executor`, `limits` and `threads`; `embed=True` puts the
        dictionary into every chunk:

    Raises
    ------
    InvalidOption
        No such option, or a wrong value.

    Examples
    --------
    >>> import numcodecs
    >>> numcodecs.register_codec(Triptych)
    >>> codec = numcodecs.get_codec({"id": "triptych", "n_colors": 4})
    >>> chunk = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) // 8
    >>> bool((codec.decode(codec.encode(chunk)) == chunk).all())
    True
    """

    codec_id = "triptych"

    def __init__(
        self,
        *,
        dictionary: DictionaryLike | None = None,
        channels_last: bool | None = None,
        **options: Unpack[CodingOptions],
    ) -> None:
        for name in sorted(_OF_CALLS.intersection(options)):
            raise InvalidOption(f"{name} is no option of an array codec: it does not change a chunk")
        channels_last = plain_scalar(channels_last)
        if channels_last is not None and not isinstance(channels_last, bool):  # 1 would be stored as such
            raise InvalidOption(f"channels_last must be one of None, True, False, not {channels_last!r}")
        checked = make_options({**options, "embed": options.get("embed") or False})
        self._channels_last = channels_last
        self._options = {
            name: getattr(checked, name)
            for name, default in _DEFAULTS.items()
            if getattr(checked, name) != default and name not in _OF_CALLS
        }
        self._named, self._dictionary = _name_dictionary(dictionary, checked.mode)

    def get_config(self) -> dict[str, Any]:
        """Give what makes this codec again, as JSON has it: what differs from the defaults."""
        config = {"id": self.codec_id} | self._options
        if config["embed"] is False:
            del config["embed"]
        if "keep" in config:
            config["keep"] = [list(color) for color in self._options["keep"]]
        if self._channels_last is not None:
            config["channels_last"] = self._channels_last
        if self._named is not None:
            config["dictionary"] = self._named
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a codec of what `get_config` gave, less its id.

        Raises
        ------
        InvalidOption
            As of the class; or the dictionary is a path, see `refuse_paths`.
        """
        refuse_paths(config)
        return cls(**config)

    def __hash__(self) -> int:
        return hash((self._channels_last, self._named, *self._options.items()))

    def __repr__(self) -> str:
        told = self.get_config()
        del told["id"]
        if self._dictionary is not None:
            told["dictionary"] = self._dictionary
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def encode(self, buf: Any) -> bytes:
        """Encode a chunk.

        Parameters
        ----------
        buf : uint8 (..., height, width) or (..., height, width, channels)
            An array or a buffer with axes, of any layout.

        Returns
        -------
        bytes
            A stream that `triptych.Reader` reads too.

        Raises
        ------
        InvalidImage
            Another dtype or another number of axes, or no pixels.
        LimitExceeded
            More bytes than `decode` gives.
        DictionaryMissing
            The dictionary was given by its id, and is not on the search path.
        EncodeError
            The images cannot be encoded with these options.
        """
        array = ensure_ndarray(buf)
        images = self.split_images(array)
        about: dict[str, Any] = {}
        if array.shape != _plain_shape(images.shape):
            about["shape"] = list(array.shape)
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            about["order"] = "F"
        return self.encode_images(images, about)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk.

        Parameters
        ----------
        buf : buffer
            What `encode` gave.
        out : buffer, optional
            Gets the pixels; exactly as many bytes.

        Returns
        -------
        uint8 array, or `out`
            Of the shape and the order that `encode` was given.

        Raises
        ------
        FormatError, LimitExceeded, DictionaryMissing
            As in `triptych.Reader`.
        """
        images, about = self.decode_images(buf)
        shape = about.get("shape", _plain_shape(images.shape))
        if not _is_shape(shape) or math.prod(shape) != images.size:
            raise InvalidFrame("shape of a chunk", expected=f"of {images.size:,} samples", got=shape)
        array = images.reshape(shape)
        return ndarray_copy(np.asfortranarray(array) if about.get("order") == "F" else array, out)

    def split_images(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give a chunk as images (n, height, width, channels)."""
        channels_last = self._channels_last
        if channels_last is None:
            channels_last = array.ndim > 2 and 1 <= array.shape[-1] <= len(MODES)
        shape = array.shape if channels_last else (*array.shape, 1)
        if len(shape) < 3 or array.ndim > _MAX_AXES or 0 in shape:
            raise InvalidImage(
                f"a chunk of images has shape (..., height, width) or (..., height, width, channels), at "
                f"most {_MAX_AXES} axes and at least one pixel, not {array.shape}"
            )
        return array.reshape(-1, *shape[-3:])

    def encode_images(self, images: npt.NDArray[Any], metadata: dict[str, Any]) -> bytes:
        """Write images (n, height, width, channels) and metadata, if there is any, as one stream."""
        DEFAULT.check("decoded_bytes", images.nbytes)
        if self._dictionary is None and self._named is not None:
            self._dictionary = resolve_dictionary(self._named, DEFAULT)
        target = io.BytesIO()
        options = self._options | {"metadata": metadata or None, "threads": 1}
        with Writer(target, self._dictionary, **options) as writer:
            for image in images:
                writer.write(image)
        return target.getvalue()

    def decode_images(self, buf: Any) -> tuple[Pixels, dict[str, Any]]:
        """Read the images (n, height, width, channels) of a stream, and its metadata."""
        with Reader(ensure_bytes(buf), dictionary=self._dictionary) as reader:
            metadata, n_images = reader.metadata, len(reader)
            images: Pixels | None = None
            for number, image in enumerate(reader):
                pixels = image if image.ndim == 3 else image[:, :, None]
                if images is None:
                    # All at once: a reader that gives one after the other checks each alone.
                    DEFAULT.check("decoded_bytes", n_images * pixels.nbytes)
                    images = np.empty((n_images, *pixels.shape), np.uint8)
                if pixels.shape != images.shape[1:]:
                    raise InvalidFrame(
                        f"shape of image {number} of a chunk", expected=images.shape[1:], got=pixels.shape
                    )
                images[number] = pixels
        if images is None:
            raise InvalidFrame("a chunk without images")
        return images, metadata


def refuse_paths(config: Mapping[str, Any]) -> None:
    """Refuse a configuration whose dictionary is a path: it may come from others, and open nothing of theirs.

    Raises
    ------
    InvalidOption
        The dictionary is neither a data URI, nor an id, nor the name of a shipped one.
    """
    given = config.get("dictionary")
    if given is None:
        return
    names = {name.removeprefix(prefix) for name in shipped_dictionaries() for prefix in ("", NEURAL_PREFIX)}
    if not (isinstance(given, str) and (given.startswith(_DATA) or _is_id(given) or given in names)):
        raise InvalidOption(
            f"dictionary of a configuration must be a data URI, an id or the name of a shipped one, not "
            f"{given!r}: give a path to the codec's class"
        )


def _is_id(text: str) -> bool:
    return len(text) == 2 * ID_LEN and not set(text.lower()) - set("0123456789abcdef")


def _name_dictionary(given: DictionaryLike | None, mode: str) -> tuple[str | None, Dictionary | None]:
    """Give what the configuration says of a dictionary, and the dictionary unless it is to be looked for."""
    if given is None:
        return None, None
    if isinstance(given, str) and _is_id(given):
        return given.lower(), None
    if isinstance(given, str) and given.startswith(_DATA):
        try:
            data = base64.b64decode(given.removeprefix(_DATA), validate=True)
        except ValueError as error:  # of its own kind, or because of a character beyond ASCII
            raise InvalidOption(f"dictionary: a data URI whose base64 is damaged ({error})") from error
        dictionary = load_dictionary(data)
    else:
        dictionary = resolve_dictionary(given, DEFAULT, mode)
    if is_shipped(dictionary):
        return dictionary.id, dictionary
    return _DATA + base64.b64encode(dictionary.to_bytes()).decode(), dictionary


def _is_shape(given: Any) -> bool:
    """Say whether metadata give the shape of a chunk: they may come from others."""
    return (
        isinstance(given, (list, tuple))
        and 2 <= len(given) <= _MAX_AXES
        and all(type(side) is int and side >= 1 for side in given)
    )


def _plain_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the shape of a chunk of images (n, height, width, channels) where nothing says another."""
    n_images, height, width, channels = shape
    return (*(n_images,) * (n_images > 1), height, width, *(channels,) * (channels > 1))
