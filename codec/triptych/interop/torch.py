"""Streams as datasets of `torch.utils.data`.

`TriptychDataset` is map-style: any sampler, exact length, one `read_batch` for each batch.
`TriptychIterableDataset` reads frames one after the other, each once in an epoch, shared out to ranks and
workers. `LatentDataset` does so for streams of modes ae and gan and leaves the networks to the main process:
workers decode latents, and `draw` makes a batch of images of them on the device.

Images are uint8 tensors (channels, height, width), grey ones of one channel. They are views of the decoded
(height, width, channels), so nothing is copied before batches are collated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch.utils.data import Dataset

from triptych.interop.items import (
    FIELDS,
    Fields,
    Opened,
    Reading,
    SourceName,
    Transform,
    build_item,
    check_fields,
    has_field,
    read_images,
)
from triptych.interop.torchiterable import TriptychIterableDataset
from triptych.interop.torchlatents import LatentDataset

__all__ = ["LatentDataset", "TriptychDataset", "TriptychIterableDataset"]


class TriptychDataset(Dataset[Any]):
    """The images of a stream, by number.

    Parameters
    ----------
    source : path, URL or bytes
        The stream. Each worker opens it for itself.
    fields : str or tuple of str
        What an item is: one of "image", "label", "key" and "number", or a tuple of such for tuples.
    transform : callable
        Applied to the image, a uint8 tensor (channels, height, width).
    **reading
        `limits`, `dictionary`, `n_components`, `realism` and `storage_options`: as in `triptych.Reader`.

    Raises
    ------
    InvalidOption
        Fields that do not exist; at reading, an image without a label or key that is asked for.
    IndexError
        At reading, a number beyond the length.
    TriptychError
        As in `triptych.Reader`; at reading, with a note that gives the numbers of images. From a worker torch
        raises it again with its type, and its text holds the note.

    Examples
    --------
    >>> import numpy as np, triptych as tp
    >>> dataset = TriptychDataset(tp.encode(np.zeros((4, 6, 3), np.uint8), threads=1))
    >>> len(dataset), dataset[0].shape
    (1, torch.Size([3, 4, 6]))
    """

    def __init__(
        self,
        source: SourceName,
        *,
        fields: Fields | list[str] = "image",
        transform: Transform | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        self._fields, self._transform = check_fields(fields, FIELDS), transform
        self._stream = Opened(source, reading)
        self._length = len(self._stream.reader)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Give a batch: what DataLoader asks for. Each frame is decoded once for all of its images."""
        numbers = [range(self._length)[index] for index in indices]
        raws = read_images(self._stream, numbers, with_pixels=has_field(self._fields, "image"))
        return [build_item(raw, self._fields, self._transform) for raw in raws]

    def close(self) -> None:
        """Close the stream in this process; reading opens it again."""
        self._stream.close()
