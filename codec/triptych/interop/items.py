"""What datasets of loaders are made of: a stream that each process opens for itself, and items.

A dataset is sent to workers, by fork or by pickling; what must not travel with it (handles, caches) is made
anew where it arrives.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from triptych.errors import FormatError, InvalidOption, TriptychError, UnsupportedFeature
from triptych.images import Pixels
from triptych.interop.colors import check_mode, color_of, convert
from triptych.interop.shards import I64
from triptych.limits import Limits
from triptych.reader import Reader
from triptych.urls import Sealed, show_url

SourceName = str | os.PathLike[str] | bytes
Fields = str | tuple[str, ...]
Transform = Callable[[Tensor], Any]
OnError = Literal["raise", "skip"]

FIELDS = ("image", "label", "key", "number")
MAX_WORKERS = 1024
_TOLD = 8
"""Images that an error names one by one."""


class Reading(TypedDict, total=False):
    """How a stream is read: as arguments of `triptych.Reader`."""

    limits: Limits | None
    dictionary: Any
    n_components: int | None
    realism: float | None
    storage_options: Mapping[str, Any] | None


class Opened:
    """A stream that each process opens when it first reads from it."""

    def __init__(self, source: SourceName, reading: Reading, on_error: OnError = "raise") -> None:
        if not isinstance(source, (str, os.PathLike, bytes)):
            raise InvalidOption(
                f"a dataset reads a path, a URL or bytes, not {type(source).__name__}: workers cannot share "
                "a file object"
            )
        if on_error not in ("raise", "skip"):
            raise InvalidOption(f"on_error must be one of 'raise', 'skip', not {on_error!r}")
        self.source, self.reading, self.on_error = source, reading, on_error
        self._reader: Reader | None = None
        self._process = 0

    def __getstate__(self) -> tuple[Any, ...]:
        # The options of a URL may hold credentials, which nothing that is printed shows.
        return (Sealed((self.source, self.reading, self.on_error)),)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state[0].value)  # type: ignore[misc]  # nothing that travels is more than its arguments

    def __del__(self) -> None:
        self.close()

    @property
    def reader(self) -> Reader:
        """The Reader of this process."""
        if self._reader is None or self._process != os.getpid():
            self.close()
            self._reader = Reader(self.source, damage=self.on_error, **self.reading)
            self._process = os.getpid()
        return self._reader

    def is_skipped(self, error: FormatError) -> bool:
        """Say whether an error of reading images costs no more than these images."""
        return self.on_error == "skip" and not isinstance(error, UnsupportedFeature)

    def count_images(self) -> int:
        """Return how many images there are, and say so where damage hides how many there were."""
        n_images, damage = len(self.reader), self.reader.damage
        if damage:
            warnings.warn(
                f"{len(damage)} damaged range{'s' * (len(damage) > 1)} of {self._name} left out: how many "
                "images were in them is not known",
                stacklevel=3,
            )
        return n_images

    @property
    def _name(self) -> str:
        if isinstance(self.source, bytes):
            return f"{len(self.source):,} bytes"
        return show_url(os.fspath(self.source))

    def image_counts(self) -> I64:
        """Give the number of images of each frame, as the stream is in this process."""
        parts = self.reader.table.parts
        return np.concatenate(
            [np.zeros(0, np.int64), *(part.index.frames["count"].astype(np.int64) for part in parts)]
        )

    def close(self) -> None:
        """Close what is open; reading opens it again."""
        # In a forked process this closes the copy of the handle that came along.
        reader = self.__dict__.pop("_reader", None)
        self._reader = None
        if reader is not None:
            reader.close()

    @contextmanager
    def naming(self, numbers: Sequence[int]) -> Iterator[None]:
        """Note in an error which of the images that were asked for it concerns."""
        try:
            yield
        except TriptychError as error:
            concerned = list(numbers)
            if error.frame is not None and len(concerned) > 1:
                table = self.reader.table
                concerned = [n for n in concerned if table.frame_of(n)[0] == error.frame] or concerned
            told = ", ".join(map(str, concerned[:_TOLD]))
            more = f" and {len(concerned) - _TOLD:,} more" if len(concerned) > _TOLD else ""
            error.add_note(f"image{'s' * (len(concerned) > 1)} {told}{more} of {self._name}")
            raise


class Raw(NamedTuple):
    """What is known of an image that an item will be made of."""

    number: int
    label: int | None
    key: str | None
    content: Any
    """Pixels, or whatever a dataset gives instead."""


def read_images(stream: Opened, numbers: Sequence[int], *, with_pixels: bool) -> list[Raw]:
    """Read images and what is said of them; each frame is decoded once."""
    reader = stream.reader
    with stream.naming(numbers):
        pixels: Sequence[Pixels | None] = [None] * len(numbers)
        if with_pixels:
            pixels = reader.read_batch(numbers)
        raws: dict[int, Raw] = {}
        for frame, images, ats in reader.table.group(numbers):
            payload = reader.read_frame(frame).images
            assert payload is not None
            for image, at in zip(images, ats, strict=True):
                raws[at] = Raw(numbers[at], payload.labels[image], payload.keys[image], pixels[at])
    return [raws[at] for at in range(len(numbers))]


def check_fields(fields: Any, known: Sequence[str]) -> Fields:
    """Return fields that images have, a list of them as a tuple; refuse others."""
    checked: Fields = tuple(fields) if isinstance(fields, list) else fields
    names = (checked,) if isinstance(checked, str) else checked
    if not isinstance(names, tuple) or not set(names) <= set(known):
        raise InvalidOption(f"fields must be one of {', '.join(known)}, or a tuple of such, not {fields!r}")
    return checked


def field_of(raw: Raw, name: str) -> Any:
    """Give a field of an image, or refuse what it does not have."""
    value = getattr(raw, name)
    if value is None:
        raise InvalidOption(f"fields: image {raw.number} has no {name}")
    return value


def has_field(fields: Fields, name: str) -> bool:
    """Say whether an item has a field."""
    return name == fields or name in (fields if isinstance(fields, tuple) else ())


class Skipped:
    """How many images were skipped: each process counts its own, in memory that all of them share."""

    def __init__(self) -> None:
        self._counts = torch.zeros(1 + MAX_WORKERS, dtype=torch.int64)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._share()

    def _share(self) -> None:
        self._counts.share_memory_()  # type: ignore[no-untyped-call]  # torch states no types for it

    def add(self, count: int) -> None:
        """Count images that this process skipped."""
        info = get_worker_info()
        self._counts[0 if info is None else 1 + info.id] += count

    @property
    def total(self) -> int:
        """Images that all processes skipped."""
        return int(self._counts.sum())


class Builder:
    """Makes items of what was read of images: a field, or a tuple of fields."""

    def __init__(self, fields: Fields, transform: Transform | None, mode: Any) -> None:
        self.fields, self._transform, self._mode = fields, transform, check_mode(mode)
        self._first: tuple[int, str] | None = None
        self._is_warned = False

    def build(self, raw: Raw) -> Any:
        """Make an item of an image."""
        if isinstance(self.fields, str):
            return self._field(raw, self.fields)
        return tuple(self._field(raw, name) for name in self.fields)

    def _field(self, raw: Raw, name: str) -> Any:
        if name != "image":
            return field_of(raw, name)
        pixels: Pixels = raw.content
        if self._mode is not None:
            pixels = convert(pixels, self._mode)
        elif self._transform is None:
            self._compare(raw)
        image = _as_tensor(pixels)
        return image if self._transform is None else self._transform(image)

    def _compare(self, raw: Raw) -> None:
        """Say what helps, before a batch of several modes cannot be stacked."""
        color = color_of(raw.content)
        self._first = self._first or (raw.number, color)
        number, first = self._first
        if color != first and not self._is_warned:
            self._is_warned = True
            warnings.warn(
                f"image {number} is {first} and image {raw.number} is {color}, and a batch is stacked of "
                "images of one mode: give the dataset mode='RGB', which converts them",
                stacklevel=2,
            )


def _as_tensor(pixels: Pixels) -> Tensor:
    tensor = torch.from_numpy(pixels)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
