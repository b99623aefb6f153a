"""Every error of Triptych, one class for each way to be wrong.

All derive from `TriptychError`, and each also from the builtin that a caller would expect
(`ValueError`, `EOFError`, `LookupError`, `KeyError`). Errors say where (`frame`: the number of IMAGES frames
before the place; `offset`: bytes from the start of the stream) and, where it helps, `expected` and `got`.
Nothing here imports anything of ours.
"""

from __future__ import annotations

import io
from typing import Self


class TriptychError(Exception):
    """The base of all errors of this package.

    Attributes
    ----------
    offset, frame : int or None
        Where in the stream, if it is known.
    expected, got : object
        The two things that should have been equal, if there are such.
    options : tuple of str
        The options that the message names, as keywords of Python; the command line gives them as they were
        typed.
    """

    def __init__(
        self,
        message: str = "",
        *,
        offset: int | None = None,
        frame: int | None = None,
        expected: object = None,
        got: object = None,
        options: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.frame = frame
        self.expected = expected
        self.got = got
        self.options = options

    def locate(self, *, offset: int | None = None, frame: int | None = None) -> Self:
        """Fill in the place where it is not known yet; give the error itself, to be raised."""
        if self.offset is None:
            self.offset = offset
        if self.frame is None:
            self.frame = frame
        return self

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        found = (("expected", self.expected), ("got", self.got))
        compared = [f"{name} {value}" for name, value in found if value is not None]
        if compared:
            text += f": {', '.join(compared)}"
        place = [
            f"{name} {value}"
            for name, value in (("frame", self.frame), ("offset", self.offset))
            if value is not None
        ]
        return f"{text} (at {', '.join(place)})" if place else text


class FormatError(TriptychError, ValueError):
    """The bytes are not a stream that this version reads."""


class NotTriptych(FormatError):
    """The signature is missing: this is another kind of file."""


class Truncated(FormatError, EOFError):
    """The stream ends inside a header or a payload; the frames before are good."""


class ChecksumMismatch(FormatError):
    """A CRC does not match: bytes were changed on the way."""


class UnsupportedVersion(FormatError):
    """The stream's major version is not ours."""


class UnsupportedFeature(FormatError):
    """The stream needs something that this reader does not have."""


class InvalidFrame(FormatError):
    """A frame breaks a rule of the format, though its checksum is right."""


class LimitExceeded(TriptychError, ValueError):
    """More pixels, images or bytes than the `Limits` of this call allow."""


class RemoteError(TriptychError, OSError):
    """What is behind a URL could not be read: the server or the connection failed, or it knows no ranges."""

    # OSError makes its arguments into attributes in `__new__`; ours come by keyword.
    def __new__(cls, *args: object, **_: object) -> Self:
        """Make it of the message alone."""
        return OSError.__new__(cls, *args)


class RemoteDenied(RemoteError, PermissionError):
    """The server asks for credentials (401), or refuses those that it got (403)."""


class RemoteTimeout(RemoteError, TimeoutError):
    """The server does not answer, or sends next to nothing."""


class SchemeRefused(RemoteError):
    """A URL's scheme is none of a network, and no option allows it."""


class ExtraMissing(TriptychError, ImportError):
    """A mode or a source needs packages that are not installed; the message says which extra brings them."""


class EngineFailed(TriptychError, RuntimeError):
    """The cluster that runs the jobs is not there, does not fit, or was lost; no result of it is kept."""


class DeviceExhausted(TriptychError, MemoryError):
    """The device that runs the networks has no memory left for an image."""


class DictionaryMissing(TriptychError, LookupError):
    """A dictionary that the images need is neither in the stream nor on the search path.

    Attributes
    ----------
    id : str
        The dictionary's id in hex: all of it, or the first half where the stream gives no more.
    """

    def __init__(
        self, message: str = "", *, id: str = "", offset: int | None = None, frame: int | None = None
    ) -> None:
        super().__init__(message, offset=offset, frame=frame)
        self.id = id


class DictionaryMismatch(TriptychError, ValueError):
    """A dictionary is there, and it is of the wrong kind for these images or this mode."""


class EncodeError(TriptychError, ValueError):
    """The images could not be encoded as asked."""


class InvalidImage(EncodeError):
    """Not an image that Triptych encodes: wrong type, dtype or shape."""


class InvalidOption(EncodeError):
    """An option has a value that is not allowed, or two options contradict each other."""


class TooManyColors(EncodeError):
    """Lossless k-means was asked for, and the image has more than 256 colours."""


class TargetBusy(EncodeError):
    """Another Writer is at work on the path that is to be written to."""


class TargetUnreachable(EncodeError):
    """No quality meets `target_size` or `target_psnr`."""


class ReaderClosed(TriptychError, ValueError):
    """Something was asked of a Reader after its `close`."""


class KeyMissing(TriptychError, KeyError):
    """No image of the stream has this key."""


class NotSeekable(TriptychError, io.UnsupportedOperation, TypeError):
    """A pipe can be iterated once, and nothing else.

    It is a `TypeError` too, so that `list(reader)` does without a length.
    """


class NotOneImage(TriptychError, ValueError):
    """`decode` gives one image, and the stream holds none or many: use `Reader`."""


class NotIndexed(TriptychError, ValueError):
    """Indices were asked for of an image that was not indexed, or is not kept exactly."""
