"""What datasets of loaders are made of: a stream that each process opens for itself, and items.

A dataset is sent to workers, by fork or by pickling; what must not travel with it (handles, caches) is made
anew where it arrives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from triptych.errors import InvalidOption, TriptychError
from triptych.images import Pixels
from triptych.interop.shards import I64
from triptych.limits import Limits
from triptych.reader import Reader

SourceName = str | os.PathLike[str] | bytes
Fields = str | tuple[str, ...]
Transform = Callable[[Tensor], Any]

FIELDS = ("image", "label", "key", "number")
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

    def __init__(self, source: SourceName, reading: Reading) -> None:
        if not isinstance(source, (str, os.PathLike, bytes)):
            raise InvalidOption(
                f"a dataset reads a path, a URL or bytes, not {type(source).__name__}: workers cannot share "
                "a file object"
            )
        self.source, self.reading = source, reading
        self._reader: Reader | None = None
        self._process = 0

    def __getstate__(self) -> tuple[Any, ...]:
        return self.source, self.reading

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # nothing that travels is more than its arguments

    def __del__(self) -> None:
        self.close()

    @property
    def reader(self) -> Reader:
        """The Reader of this process."""
        if self._reader is None or self._process != os.getpid():
            self.close()
            self._reader, self._process = Reader(self.source, **self.reading), os.getpid()
        return self._reader

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
            name = f"{len(self.source):,} bytes" if isinstance(self.source, bytes) else self.source
            error.add_note(f"image{'s' * (len(concerned) > 1)} {told}{more} of {name}")
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


def build_item(raw: Raw, fields: Fields, transform: Transform | None) -> Any:
    """Make an item: a field, or a tuple of fields."""
    if isinstance(fields, tuple):
        return tuple(build_item(raw, name, transform) for name in fields)
    if fields != "image":
        return field_of(raw, fields)
    image = _as_tensor(raw.content)
    return image if transform is None else transform(image)


def _as_tensor(pixels: Pixels) -> Tensor:
    tensor = torch.from_numpy(pixels)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
